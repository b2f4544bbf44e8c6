//! How a command must fail: the documented exit code, one line that says what, a hint, no trace of a panic; and what it
//! must leave behind, which is nothing.

use std::{
    fs,
    path::Path,
    process::{Command, Output, Stdio},
};

use anyhow::{Context, Result, ensure};

use crate::command::describe;

/// How a command ended, and which process it was.
#[derive(Debug)]
pub struct Ended {
    /// What it wrote and how it ended.
    pub output: Output,
    /// Its process id.
    pub pid: u32,
    shown: String,
}

/// Runs a command to its end.
pub fn run(command: &mut Command) -> Result<Ended> {
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("can't run {command:?}"))?;
    let pid = child.id();
    let output = child.wait_with_output()?;
    let shown = describe(command, &output);
    Ok(Ended { output, pid, shown })
}

impl Ended {
    /// Fails unless the exit code is this one, and the recorder's cgroups are gone.
    pub fn with(self, code: i32) -> Result<Self> {
        ensure!(self.output.status.code() == Some(code), "not exit {code}: {}", self.shown);
        ensure!(!self.stderr().contains("panicked"), "{}", self.shown);
        no_cgroups_of(self.pid)?;
        Ok(self)
    }

    /// As [`Ended::with`], for a failure: a line that says `what`, a hint, and nothing on stdout.
    pub fn refused(self, code: i32, what: &str) -> Result<Self> {
        let ended = self.with(code)?;
        let stderr = ended.stderr();
        let errors: Vec<&str> = stderr.lines().filter(|line| line.starts_with("error: ")).collect();
        ensure!(errors.len() == 1 && errors[0].contains(what), "no one line with {what:?}: {}", ended.shown);
        ensure!(stderr.lines().any(|line| line.starts_with("  try: ")), "no hint: {}", ended.shown);
        ensure!(ended.output.stdout.is_empty(), "{}", ended.shown);
        Ok(ended)
    }

    /// What it said on stderr.
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.output.stderr).into_owned()
    }
}

/// Fails if a recorder with this process id has left a cgroup, in any hierarchy.
pub fn no_cgroups_of(recorder: u32) -> Result<()> {
    let name = format!("sandbox-trace-{recorder}");
    let root = Path::new("/sys/fs/cgroup");
    let places = fs::read_dir(root)?.flatten().map(|entry| entry.path()).chain([root.to_owned()]);
    for place in places {
        let left = place.join(&name);
        ensure!(!left.exists(), "{} is left", left.display());
    }
    Ok(())
}

/// Fails unless a folder holds just these names.
pub fn holds_only(folder: &Path, names: &[&str]) -> Result<()> {
    let mut found: Vec<String> =
        fs::read_dir(folder)?.flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    found.sort();
    ensure!(found == names, "{} holds {found:?}, not {names:?}", folder.display());
    Ok(())
}
