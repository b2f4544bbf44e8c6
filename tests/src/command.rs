//! Finding and running programs.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

/// What to do about a missing component.
pub const SETUP: &str = "run cargo xtask setup --for test";

/// A program that a test can't do without.
pub fn require(name: &str) -> Result<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    // Debian's folders first: another program of the same name may come first in PATH, a docker without an
    // engine for example.
    ["/usr/sbin", "/usr/bin", "/sbin", "/bin"]
        .map(PathBuf::from)
        .into_iter()
        .chain(env::split_paths(&path))
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
        .with_context(|| format!("{name} is missing: {SETUP}"))
}

/// A file or folder that a test can't do without.
pub fn require_path(path: &Path) -> Result<&Path> {
    if path.exists() { Ok(path) } else { bail!("{} is missing: {SETUP}", path.display()) }
}

/// Fails unless the test runs as root.
pub fn require_root() -> Result<()> {
    if nix::unistd::geteuid().is_root() { Ok(()) } else { bail!("this test needs root") }
}

/// Runs a command to its end; what it wrote is in the error if it failed.
pub fn succeed(command: &mut Command) -> Result<Output> {
    let output = run(command)?;
    if !output.status.success() {
        bail!("{}", describe(command, &output));
    }
    Ok(output)
}

/// Runs a command to its end, whatever that is.
pub fn run(command: &mut Command) -> Result<Output> {
    command.stdin(Stdio::null()).output().with_context(|| format!("can't run {command:?}"))
}

/// A command, how it ended and what it wrote.
pub fn describe(command: &Command, output: &Output) -> String {
    format!(
        "{command:?}: {}\n--- stdout\n{}--- stderr\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// Asks again and again until `ready` says yes, for at most `limit`.
pub fn wait_until(what: &str, limit: Duration, mut ready: impl FnMut() -> Result<bool>) -> Result<()> {
    let start = Instant::now();
    while !ready()? {
        if start.elapsed() > limit {
            bail!("{what}: not after {} s", limit.as_secs());
        }
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// A process that ends with the test, however the test ends.
#[derive(Debug)]
pub struct Background(pub Child);

impl Background {
    /// Sends SIGTERM, waits, and kills what does not listen.
    pub fn stop(&mut self) {
        if matches!(self.0.try_wait(), Ok(Some(_))) {
            return;
        }
        if let Ok(pid) = i32::try_from(self.0.id()) {
            // It may be gone already.
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::SIGTERM);
        }
        let ended =
            wait_until("the end of a process", Duration::from_secs(20), || Ok(self.0.try_wait()?.is_some()));
        if ended.is_err() {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.stop();
    }
}
