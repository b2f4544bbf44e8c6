//! What is released: the Debian package in a clean Debian, where it records; the archive, the checksums, the unit.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use sandbox_trace_tests::{
    command::{self, require},
    product,
};
use serde_json::Value;

/// The mounts that a recorder needs, and that go away with the process.
const RECORD: &str = r#"
mount --make-rprivate /
mount -t proc proc "$1/proc"
mount --rbind /sys "$1/sys"
mount --rbind /dev "$1/dev"
exec chroot "$1" sandbox-trace record --hooks syscalls -o /recording.json -- /bin/true
"#;

/// Makes the release of these sources, with the binary under test.
fn dist(folder: &Path) -> Result<()> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["run", "--quiet", "--package", "xtask", "--", "dist", "--binary"]).arg(product::binary()?);
    command.arg("--output").arg(folder).current_dir(env!("CARGO_MANIFEST_DIR"));
    command::succeed(&mut command).map(drop)
}

fn file(folder: &Path, ending: &str) -> Result<PathBuf> {
    let mut entries = fs::read_dir(folder)?.flatten().map(|entry| entry.path());
    entries
        .find(|path| path.to_string_lossy().ends_with(ending))
        .with_context(|| format!("no file *{ending} in {}", folder.display()))
}

/// A minimal Debian 12 with the package and what it depends on, all installed by apt.
fn debian(root: &Path, package: &Path) -> Result<()> {
    let mut command = Command::new(require("mmdebstrap")?);
    command.args([
        "--mode=root",
        "--variant=minbase",
        "--quiet",
        "--aptopt=APT::Install-Recommends \"false\"",
    ]);
    // Documentation is left out of nothing: the package's own is looked for.
    command.args(["--hook-dir=/usr/share/mmdebstrap/hooks/file-mirror-automount", "--include"]).arg(package);
    command.args(["bookworm", &root.display().to_string()]);
    command::succeed(&mut command).map(drop)
}

#[test]
fn a_clean_debian_with_the_package_records() -> Result<()> {
    command::require_root()?;
    let dir = tempfile::tempdir()?;
    let release = dir.path().join("release");
    dist(&release)?;
    command::succeed(
        Command::new("sha256sum").args(["--check", "--strict", "SHA256SUMS"]).current_dir(&release),
    )?;
    let sums = fs::read_to_string(release.join("SHA256SUMS"))?;
    ensure!(sums.lines().count() == 3, "{sums}");

    let package = file(&release, ".deb")?;
    let field = |name: &str| -> Result<String> {
        let output = command::succeed(Command::new("dpkg-deb").arg("--field").arg(&package).arg(name))?;
        Ok(String::from_utf8(output.stdout)?)
    };
    ensure!(field("Depends")?.contains("libseccomp2"), "{}", field("Depends")?);
    ensure!(field("Recommends")?.contains("apparmor"), "{}", field("Recommends")?);

    let root = dir.path().join("root");
    debian(&root, &package)?;
    for path in [
        "usr/share/man/man1/sandbox-trace.1.gz",
        "usr/share/man/man1/sandbox-trace-record.1.gz",
        "usr/share/bash-completion/completions/sandbox-trace",
        "usr/share/zsh/vendor-completions/_sandbox-trace",
        "usr/share/fish/vendor_completions.d/sandbox-trace.fish",
        "usr/share/doc/sandbox-trace/copyright",
        "usr/share/doc/sandbox-trace/sandbox-trace.cdx.json",
        "usr/lib/systemd/system/sandbox-trace@.service",
    ] {
        ensure!(root.join(path).is_file(), "the package has no {path}");
    }

    let mut record = Command::new("unshare");
    record.args(["--mount", "sh", "-euc", RECORD, "sh"]).arg(&root);
    command::succeed(&mut record)?;
    let recording: Value = serde_json::from_slice(&fs::read(root.join("recording.json"))?)?;
    ensure!(recording["complete"] == true, "{}", recording["losses"]);
    let executables = recording["executables"].as_array().context("no executables")?;
    let ran =
        |path: &str| executables.iter().any(|one| one["path"].as_str().is_some_and(|p| p.ends_with(path)));
    ensure!(ran("/bin/true"), "{executables:?}");

    // What every service is ordered after; the root has no systemd.
    for name in ["basic", "shutdown", "sysinit"] {
        fs::write(root.join(format!("usr/lib/systemd/system/{name}.target")), "[Unit]\n")?;
    }
    let mut verify = Command::new(require("systemd-analyze")?);
    verify.args(["verify", "--man=no", "--root"]).arg(&root).arg("sandbox-trace@my-agent.service");
    let output = command::run(&mut verify)?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success() && said.is_empty(), "{said}");
    Ok(())
}

#[test]
fn the_release_of_the_same_sources_is_the_same() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (one, other) = (dir.path().join("one"), dir.path().join("other"));
    dist(&one)?;
    dist(&other)?;
    let sums = |folder: &Path| fs::read_to_string(folder.join("SHA256SUMS"));
    ensure!(sums(&one)? == sums(&other)?, "{}\n{}", sums(&one)?, sums(&other)?);

    let bill: Value = serde_json::from_slice(&fs::read(file(&one, ".cdx.json")?)?)?;
    ensure!(bill["bomFormat"] == "CycloneDX", "{bill}");
    let components = bill["components"].as_array().context("no components")?;
    for name in ["aya", "libseccomp", "serde_json"] {
        ensure!(components.iter().any(|component| component["name"] == name), "the bill lacks {name}");
    }
    let listed =
        command::succeed(Command::new("tar").arg("--list").arg("--file").arg(file(&one, ".tar.gz")?))?;
    let listed = String::from_utf8(listed.stdout)?;
    for name in ["/sandbox-trace", "/docs/man/sandbox-trace.1.gz", "/LICENSE-MIT", "/sandbox-trace.cdx.json"]
    {
        ensure!(listed.lines().any(|line| line.ends_with(name)), "{listed}");
    }
    Ok(())
}
