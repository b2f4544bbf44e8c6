//! The report of a real run, in a real browser: it shows what it should, in light and dark and on paper, and neither
//! the page nor a file name makes the browser load, run or complain about anything.

use std::{
    fs::{self, File},
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use sandbox_trace_tests::{
    command::{self, Background},
    product::{binary, sandbox_trace},
    recorded::record,
};

/// Starts the browser on a file, waits for its end, and gives what the page's console said.
fn browse(folder: &Path, page: &Path, options: &[&str]) -> Result<String> {
    let log = folder.join("browser.log");
    let profile = tempfile::tempdir_in(folder)?;
    let child = Command::new(command::require("chromium")?)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .args(["--hide-scrollbars", "--window-size=1000,2000", "--enable-logging=stderr", "--v=0"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .args(options)
        .arg(format!("file://{}", page.display()))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(File::create(&log)?)
        .spawn()
        .context("can't start the browser")?;
    let mut browser = Background(child);
    let mut status = None;
    command::wait_until("the browser's end", Duration::from_secs(120), || {
        status = browser.0.try_wait()?;
        Ok(status.is_some())
    })?;
    let said = fs::read_to_string(&log)?;
    ensure!(status.is_some_and(|status| status.success()), "the browser failed, {status:?}:\n{said}");
    Ok(said.lines().filter(|line| line.contains("CONSOLE")).collect::<Vec<_>>().join("\n"))
}

/// The colour of a picture's first pixel.
fn corner(file: &Path) -> Result<Vec<u8>> {
    let bytes = fs::read(file).with_context(|| format!("no picture {}", file.display()))?;
    let mut reader = png::Decoder::new(std::io::Cursor::new(bytes)).read_info()?;
    let mut pixels = vec![0; reader.output_buffer_size()];
    reader.next_frame(&mut pixels)?;
    Ok(pixels[..3].to_vec())
}

/// A run whose files have names that break out of careless pages, and profiles for it.
fn recorded(folder: &Path) -> Result<[PathBuf; 3]> {
    let data = folder.join("data");
    fs::create_dir(&data)?;
    let names: [&[u8]; 4] = [
        b"<script>alert(1)<",
        b"\"><img src=x onerror=alert(1)>",
        b"<title><\xff\n\x1b[2J",
        "\u{202e}gpj.exe".as_bytes(),
    ];
    for name in names {
        fs::write(data.join(std::ffi::OsStr::from_bytes(name)), "x")?;
    }
    let script = "cat \"$0\"/*; sort /etc/passwd >\"$0/sorted\"";
    let recording = record(folder, ["sh".as_ref(), "-c".as_ref(), script.as_ref(), data.as_os_str()])?.path;
    let (seccomp, apparmor) = (folder.join("seccomp.json"), folder.join("apparmor"));
    let input = recording.as_os_str();
    let none: [&std::ffi::OsStr; 2] = ["--runtime".as_ref(), "none".as_ref()];
    sandbox_trace(["emit-seccomp".as_ref(), input, none[0], none[1], "-o".as_ref(), seccomp.as_os_str()])?;
    let name: [&std::ffi::OsStr; 2] = ["--name".as_ref(), "report".as_ref()];
    sandbox_trace(["emit-apparmor".as_ref(), input, name[0], name[1], "-o".as_ref(), apparmor.as_os_str()])?;
    Ok([recording, seccomp, apparmor])
}

#[test]
fn a_browser_shows_the_report_and_has_nothing_to_say() -> Result<()> {
    command::require_root()?;
    let dir = tempfile::tempdir()?;
    let folder = fs::canonicalize(dir.path())?;
    let [recording, seccomp, apparmor] = recorded(&folder)?;
    let page = folder.join("report.html");
    let report = |form: &[&str], to: &Path| {
        let mut product = Command::new(binary()?);
        product.arg("report").arg(&recording).arg("--seccomp").arg(&seccomp).arg("--apparmor").arg(&apparmor);
        product.args(form).arg("-o").arg(to);
        let output = command::run(&mut product)?;
        ensure!(output.status.success(), "{}", command::describe(&product, &output));
        fs::read(to).context("no report")
    };
    let html = report(&[], &page)?;
    ensure!(html == report(&[], &folder.join("again.html"))?, "the same input is another page");
    let html = String::from_utf8(html)?;
    ensure!(html.contains("The profiles fit") && html.contains("&lt;script&gt;alert(1)&lt;"), "{html}");
    ensure!(!html.contains("<script") && !html.contains("<img"), "a name became markup");

    for (scheme, background) in [("1", [255, 255, 255]), ("0", [0x10, 0x15, 0x1c])] {
        let picture = folder.join(format!("scheme-{scheme}.png"));
        let prefers = format!("--blink-settings=preferredColorScheme={scheme}");
        let said = browse(&folder, &page, &[&prefers, &format!("--screenshot={}", picture.display())])?;
        ensure!(said.is_empty(), "{said}");
        ensure!(corner(&picture)? == background, "scheme {scheme}: {:?}", corner(&picture)?);
    }
    let paper = folder.join("report.pdf");
    let said = browse(&folder, &page, &[&format!("--print-to-pdf={}", paper.display())])?;
    ensure!(said.is_empty(), "{said}");
    ensure!(fs::read(&paper)?.starts_with(b"%PDF"), "not printed");

    // One plot alone, as pixels and as a picture that a browser shows by itself.
    let png = folder.join("saturation.png");
    report(&["--png", "saturation"], &png)?;
    ensure!(corner(&png)? == [255, 255, 255], "{:?}", corner(&png)?);
    let svg = folder.join("files.svg");
    report(&["--svg", "files"], &svg)?;
    let said = browse(&folder, &svg, &[&format!("--screenshot={}", folder.join("svg.png").display())])?;
    ensure!(said.is_empty(), "{said}");

    let text = String::from_utf8(report(&["--text"], &folder.join("report.txt"))?)?;
    ensure!(text.starts_with("✓ The profiles fit") && !text.contains('\x1b'), "{text}");
    Ok(())
}

/// A page that does what the report must not: else silence would prove nothing.
#[test]
fn the_browser_would_complain() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let page = dir.path().join("page.html");
    fs::write(
        &page,
        "<!DOCTYPE html><meta http-equiv=Content-Security-Policy content=\"default-src 'none'\"><script>alert(1)</script>",
    )?;
    let picture = dir.path().join("page.png");
    let said = browse(dir.path(), &page, &[&format!("--screenshot={}", picture.display())])?;
    ensure!(said.contains("Content Security Policy"), "{said:?}");
    Ok(())
}
