//! The same recordings give the same bytes: from another folder, in another order, under another name, in another
//! locale and time zone, for another user's home, on a terminal of another width.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use sandbox_trace_tests::{command, product::binary, recorded::record};

/// Names that locales sort, fold and print in different ways, and one that no locale can read.
const NAMES: [&[u8]; 9] = [
    b"I",
    b"i",
    "ı".as_bytes(),
    "İ".as_bytes(),
    "é".as_bytes(),
    b"e\xcc\x81",
    b"\xff\xfe",
    b"_a",
    b"Zebra 1,000.5",
];

/// One way to be run.
struct Place {
    folder: PathBuf,
    environment: BTreeMap<&'static str, String>,
    /// The recordings' files, in the order in which they are given.
    recordings: Vec<PathBuf>,
}

impl Place {
    /// A folder with copies of the recordings under these names.
    fn new(
        folder: PathBuf,
        recordings: &[(&Path, &str)],
        environment: &[(&'static str, &str)],
    ) -> Result<Self> {
        fs::create_dir_all(folder.join("home"))?;
        let mut out = Vec::new();
        for (from, name) in recordings {
            fs::copy(from, folder.join(name))?;
            out.push(PathBuf::from(name));
        }
        let mut environment: BTreeMap<&'static str, String> =
            environment.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        environment.insert("HOME", folder.join("home").display().to_string());
        environment.insert("TMPDIR", folder.display().to_string());
        Ok(Self { folder, environment, recordings: out })
    }

    /// Runs the product here; its exit code must be this. Gives its standard output.
    fn run(&self, arguments: &[&str], code: i32) -> Result<Vec<u8>> {
        let mut product = Command::new(binary()?);
        product.env_clear().env("PATH", std::env::var_os("PATH").context("no PATH")?);
        product.envs(&self.environment).current_dir(&self.folder);
        product.args(&arguments[..1]).args(&self.recordings).args(&arguments[1..]);
        let output = command::run(&mut product)?;
        ensure!(output.status.code() == Some(code), "{}", command::describe(&product, &output));
        Ok(output.stdout)
    }

    /// Everything that is made of the recordings, by name.
    fn products(&self) -> Result<BTreeMap<&'static str, Vec<u8>>> {
        let mut out = BTreeMap::new();
        for (name, arguments) in [
            ("seccomp", &["emit-seccomp"][..]),
            ("seccomp strict", &["emit-seccomp", "--args", "strict", "--runtime", "crun"]),
            ("apparmor exact", &["emit-apparmor", "--name", "same", "--generalize", "exact"]),
            ("apparmor", &["emit-apparmor", "--name", "same"]),
            ("apparmor broad", &["emit-apparmor", "--name", "same", "--generalize", "broad"]),
        ] {
            let printed = self.run(arguments, 0)?;
            let written = self.run(&[arguments, &["-o", "made"]].concat(), 0)?;
            ensure!(
                written.is_empty() && fs::read(self.folder.join("made"))? == printed,
                "{name}: to a file"
            );
            ensure!(printed.len() > 300, "{name} is hardly anything: {}", printed.escape_ascii());
            out.insert(name, printed);
        }
        self.run(&["merge", "-o", "merged"], 0)?;
        out.insert("merged", fs::read(self.folder.join("merged"))?);
        for (name, file) in [("seccomp", "seccomp.json"), ("apparmor", "profile")] {
            fs::write(self.folder.join(file), out.get(name).context("not made")?)?;
        }
        let both = ["verify", "--json", "--seccomp", "seccomp.json", "--apparmor", "profile"];
        out.insert("verdicts", self.run(&both, 0)?);
        // Verdicts that say a lot: of a profile that allows next to nothing.
        fs::write(self.folder.join("narrow"), "abi <abi/3.0>,\nprofile narrow {\n  /etc/** r,\n}\n")?;
        out.insert("blocked", self.run(&["verify", "--json", "--apparmor", "narrow"], 1)?);
        Ok(out)
    }
}

#[test]
fn the_same_recordings_are_the_same_files_everywhere() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (one, other, data) = (dir.path().join("one"), dir.path().join("other"), dir.path().join("data"));
    for folder in [&one, &other, &data] {
        fs::create_dir(folder)?;
    }
    for name in NAMES {
        fs::write(data.join(std::ffi::OsStr::from_bytes(name)), "x")?;
    }
    let all =
        "cat \"$0\"/*; for n in \"$0\"/*; do ln \"$n\" \"$n.l\"; done; mktemp; date; TZ=Asia/Tokyo date";
    let first = record(&one, ["sh".as_ref(), "-c".as_ref(), all.as_ref(), data.as_os_str()])?.path;
    let second = record(&other, ["sh", "-c", "sort /etc/passwd | head -n 3; ls /tmp; nproc"])?.path;

    let here = Place::new(
        dir.path().join("here"),
        &[(&first, "a.json"), (&second, "b.json")],
        &[("LC_ALL", "C"), ("TZ", "UTC"), ("COLUMNS", "40"), ("NO_COLOR", "1")],
    )?;
    let there = Place::new(
        dir.path().join("somewhere else/ünd \"länger\""),
        // The other way round.
        &[(&second, "recorded later.json"), (&first, "x.json")],
        &[
            ("LC_ALL", "tr_TR.UTF-8"),
            ("LANG", "tr_TR.UTF-8"),
            ("TZ", "Pacific/Chatham"),
            ("COLUMNS", "300"),
            ("CLICOLOR_FORCE", "1"),
            ("TERM", "xterm-256color"),
            ("RUST_LOG", "info"),
        ],
    )?;
    let (expected, found) = (here.products()?, there.products()?);
    for (name, bytes) in &expected {
        let other = found.get(name).context("not made there")?;
        ensure!(
            bytes == other,
            "{name} differs:\n{}\n{}",
            String::from_utf8_lossy(bytes),
            String::from_utf8_lossy(other)
        );
        for place in [&here, &there] {
            let folder = place.folder.display().to_string();
            let text = String::from_utf8_lossy(bytes);
            ensure!(!text.contains(&folder), "{name} names the folder where it was made: {folder}");
        }
    }
    // Twice in one place, as maps and threads may differ from run to run.
    ensure!(here.products()? == expected, "another run made something else");
    Ok(())
}
