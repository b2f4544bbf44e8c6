//! Debian's archive, apart from the machine's own package sources: releases that this machine does not follow, read
//! with lists and caches of our own, so that nothing about the machine's updates changes.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result};

use crate::process;

const MAIN: &str = "http://deb.debian.org/debian";
const SECURITY: &str = "http://deb.debian.org/debian-security";
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Some releases of Debian.
#[derive(Debug)]
pub struct Archive {
    dir: tempfile::TempDir,
    options: Vec<String>,
}

impl Archive {
    /// Fetches the lists of these suites. A security suite lies on a server of its own.
    pub fn of(suites: &[&str]) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let place = |name: &str| dir.path().join(name).display().to_string();
        for folder in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(place(folder))?;
        }
        let mut sources = String::new();
        for suite in suites {
            let site = if suite.ends_with("-security") { SECURITY } else { MAIN };
            sources += &format!("deb [signed-by={KEYRING} target=Packages] {site} {suite} main\n");
        }
        fs::write(place("sources.list"), sources)?;
        let mut options = vec![
            format!("-oDir::Etc::sourcelist={}", place("sources.list")),
            "-oDir::Etc::sourceparts=-".to_owned(),
            format!("-oDir::State::Lists={}", place("lists")),
            format!("-oDir::Cache={}", place("cache")),
            "-oAcquire::Languages=none".to_owned(),
            "-oAcquire::Retries=3".to_owned(),
            // apt's own user can't enter the temporary folder. The signatures are checked all the same.
            "-oAPT::Sandbox::User=root".to_owned(),
        ];
        // A release that is no longer maintained stays as it is, and its lists run out.
        options.push("-oAcquire::Check-Valid-Until=false".to_owned());
        let archive = Self { options, dir };
        process::run(archive.with_options(&mut Command::new("apt-get")).args(["update", "-q"]))?;
        Ok(archive)
    }

    /// Makes an apt command look here instead of at the machine's sources.
    pub fn with_options<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.args(&self.options)
    }

    /// The package that `meta` depends on.
    pub fn dependency(&self, meta: &str) -> Result<String> {
        // A newer version of it may be installed here, from another release: only the archive's counts.
        let status = self.dir.path().join("status");
        fs::write(&status, "")?;
        let mut command = Command::new("apt-cache");
        self.with_options(&mut command).arg(format!("-oDir::State::status={}", status.display()));
        let depends = process::output(command.args(["depends", meta]))?;
        let first = depends.lines().find_map(|line| line.trim().strip_prefix("Depends: "));
        Ok(first.with_context(|| format!("{meta} depends on nothing"))?.to_owned())
    }

    /// Downloads a package into `folder`, which has no other.
    pub fn download(&self, package: &str, folder: &Path) -> Result<PathBuf> {
        let mut command = Command::new("apt-get");
        process::run(self.with_options(&mut command).args(["download", "-q", package]).current_dir(folder))?;
        fs::read_dir(folder)?
            .flatten()
            .map(|entry| entry.path())
            .find(|path| path.extension().is_some_and(|ending| ending == "deb"))
            .with_context(|| format!("apt-get download {package} left no file"))
    }
    /// Puts the one file of a package that `pattern` names at `place`, all of it or nothing. The package is unpacked,
    /// not installed.
    pub fn unpack(&self, package: &str, pattern: &str, place: &Path) -> Result<()> {
        let folder = place.parent().context("a file without a folder")?;
        fs::create_dir_all(folder)?;
        // Beside its place, so that it can be moved there at once: half a file must not look like one.
        let work = tempfile::tempdir_in(folder)?;
        let deb = self.download(package, work.path())?;
        let mut unpack =
            Command::new("dpkg-deb").arg("--fsys-tarfile").arg(&deb).stdout(Stdio::piped()).spawn()?;
        let tar = unpack.stdout.take().context("dpkg-deb has no output")?;
        let unpacked = process::run(
            Command::new("tar")
                .args(["--extract", "--wildcards", "--transform=s,.*,file,", "--directory"])
                .arg(work.path())
                .arg(pattern)
                .stdin(tar),
        );
        unpack.wait()?;
        unpacked?;
        fs::rename(work.path().join("file"), place)
            .with_context(|| format!("{} has no {pattern}", deb.display()))
    }
}
