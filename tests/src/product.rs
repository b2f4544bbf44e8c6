//! The sandbox-trace binary, and a recorder that runs beside a container.

use std::{
    env,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::command::{self, Background};

/// The binary under test: `SANDBOX_TRACE_BIN`, or a release build of this workspace.
pub fn binary() -> Result<PathBuf> {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    if let Some(path) = BINARY.get() {
        return Ok(path.clone());
    }
    let path = match env::var_os("SANDBOX_TRACE_BIN") {
        Some(path) => PathBuf::from(path),
        None => build()?,
    };
    ensure!(path.is_file(), "{} is not a file", path.display());
    Ok(BINARY.get_or_init(|| path).clone())
}

fn build() -> Result<PathBuf> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    command::succeed(
        Command::new(cargo)
            .args(["build", "--release", "--package", "sandbox-trace"])
            .current_dir(env!("CARGO_MANIFEST_DIR")),
    )?;
    Ok(target_dir().join("release/sandbox-trace"))
}

/// Cargo's target folder.
pub fn target_dir() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    root.join(env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into()))
}

/// Runs the product with these arguments; it must succeed. Returns its standard output.
pub fn sandbox_trace<I: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = I>) -> Result<String> {
    let output = command::succeed(Command::new(binary()?).args(args))?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// `sandbox-trace record --cgroup`, armed.
#[derive(Debug)]
pub struct Recorder {
    process: Background,
    log: PathBuf,
    recording: PathBuf,
}

impl Recorder {
    /// Starts to record `cgroup` into `dir` and returns once nothing can be missed any more.
    pub fn start(cgroup: &Path, dir: &Path) -> Result<Self> {
        Self::start_on(&["--cgroup".as_ref(), cgroup.as_os_str()], dir, &[])
    }

    /// As [`Recorder::start`], on the target that `options` name, with these environment variables.
    pub fn start_on(options: &[&OsStr], dir: &Path, environment: &[(&str, &str)]) -> Result<Self> {
        let mut recorder = Self::spawn(Command::new(binary()?), options, dir, environment)?;
        recorder.armed()?;
        Ok(recorder)
    }

    /// As [`Recorder::start_on`], but returns at once. `program` is the product, or what starts it.
    pub fn spawn(
        mut program: Command,
        options: &[&OsStr],
        dir: &Path,
        environment: &[(&str, &str)],
    ) -> Result<Self> {
        let log = dir.join("recorder.log");
        let recording = dir.join("recording.json");
        let child = program
            .args(["record", "--hooks", "syscalls"])
            .args(options)
            .envs(environment.iter().copied())
            .arg("-o")
            .arg(&recording)
            .stdin(Stdio::null())
            .stderr(fs::File::create(&log)?)
            .spawn()
            .context("can't start the recorder")?;
        Ok(Self { process: Background(child), log, recording })
    }

    /// The recorder's process.
    pub fn id(&self) -> u32 {
        self.process.0.id()
    }

    /// Waits until nothing can be missed any more.
    pub fn armed(&mut self) -> Result<()> {
        command::wait_until("the recorder's `armed`", Duration::from_secs(60), || {
            let said = fs::read_to_string(&self.log)?;
            if let Some(status) = self.process.0.try_wait()? {
                bail!("the recorder ended early, {status}:\n{said}");
            }
            Ok(said.lines().any(|line| line == "armed"))
        })
    }

    /// Ends the recording with a signal. Returns the recording's file.
    pub fn stop(self, signal: nix::sys::signal::Signal) -> Result<PathBuf> {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.process.0.id())?);
        nix::sys::signal::kill(pid, signal)?;
        self.finish()
    }

    /// Waits until the recorder has seen the target's end by itself. Returns the recording's file.
    pub fn finish(mut self) -> Result<PathBuf> {
        let mut status = None;
        command::wait_until("the recorder's end after its target's", Duration::from_secs(60), || {
            status = self.process.0.try_wait()?;
            Ok(status.is_some())
        })?;
        let said = fs::read_to_string(&self.log)?;
        ensure!(status.is_some_and(|status| status.success()), "the recorder failed, {status:?}:\n{said}");
        let value: Value = serde_json::from_slice(&fs::read(&self.recording)?)?;
        ensure!(value["complete"] == true, "the recording lost something: {}", value["losses"]);
        Ok(self.recording)
    }
}
