//! A process that the benchmark started: in a cgroup from its first instruction, heard line by line, and never left
//! behind.

use std::{
    io::{BufRead as _, BufReader, Read, Write as _},
    os::unix::process::CommandExt as _,
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use nix::{
    sys::{
        prctl::set_pdeathsig,
        signal::{Signal, kill},
    },
    unistd::Pid,
};

use super::cgroups::Group;
use crate::process;

/// How long anything may take. A workload that hangs is a failure, not a measurement.
pub const LIMIT: Duration = Duration::from_secs(180);

/// Which of its outputs is listened to. Errors are shown all the same; other output goes nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listen {
    Stdout,
    Stderr,
}

/// A process that was started.
#[derive(Debug)]
pub struct Running {
    child: Child,
    name: String,
    lines: Receiver<String>,
    /// What was said so far, for messages.
    said: Vec<String>,
    reaped: bool,
}

/// How a process ended.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    /// All that it said.
    pub said: Vec<String>,
}

impl Running {
    /// Starts `command` in `group`.
    pub fn spawn(command: &mut Command, group: &Group, listen: Listen) -> Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        let (stdout, stderr) = match listen {
            Listen::Stdout => (Stdio::piped(), Stdio::inherit()),
            Listen::Stderr => (Stdio::null(), Stdio::piped()),
        };
        let door = group.door()?;
        let join = move || {
            nix::unistd::write(&door, b"0")?;
            // Ctrl-C reaches all of them; a SIGKILL of this process only itself.
            set_pdeathsig(Signal::SIGKILL)?;
            Ok(())
        };
        // SAFETY: between fork and exec this makes two system calls and touches no lock and no heap.
        unsafe { command.pre_exec(join) };
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(stdout)
            .stderr(stderr)
            .spawn()
            .with_context(|| format!("can't start `{}`", process::display(command)))?;
        let lines = match listen {
            Listen::Stdout => child.stdout.take().map(lines_of),
            Listen::Stderr => child.stderr.take().map(lines_of),
        };
        let lines = lines.with_context(|| format!("{name} has no output"))?;
        Ok(Self { child, name, lines, said: Vec::new(), reaped: false })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line.
    pub fn expect(&mut self, what: &str, wanted: impl Fn(&str) -> bool) -> Result<()> {
        let start = Instant::now();
        loop {
            match self.lines.recv_timeout(LIMIT.saturating_sub(start.elapsed())) {
                Ok(line) => {
                    let found = wanted(&line);
                    self.said.push(line);
                    if found {
                        return Ok(());
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    bail!("{}: no {what} after {} s", self.name, LIMIT.as_secs())
                }
                Err(RecvTimeoutError::Disconnected) => {
                    bail!("{} ended before {what}:\n{}", self.name, self.said.join("\n"))
                }
            }
        }
    }

    /// Says a line to it.
    pub fn tell(&mut self, line: &str) -> Result<()> {
        let stdin = self.child.stdin.as_mut().with_context(|| format!("{} has no input", self.name))?;
        writeln!(stdin, "{line}").with_context(|| format!("{} does not listen", self.name))
    }

    /// Ends its input.
    pub fn hang_up(&mut self) {
        self.child.stdin = None;
    }

    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill(Pid::from_raw(i32::try_from(self.pid())?), signal)
            .with_context(|| format!("can't signal {}", self.name))
    }

    /// Waits for its end.
    pub fn wait(mut self) -> Result<Ended> {
        let start = Instant::now();
        let ended = loop {
            if let Some(ended) = self.reap()? {
                break ended;
            }
            if start.elapsed() > LIMIT {
                bail!("{} does not end", self.name);
            }
            thread::sleep(Duration::from_millis(2));
        };
        // The pipe ends with its last writer.
        while let Ok(line) = self.lines.recv_timeout(Duration::from_secs(1)) {
            self.said.push(line);
        }
        Ok(Ended { said: std::mem::take(&mut self.said), ..ended })
    }

    /// As [`Self::wait`], and it must have succeeded.
    pub fn succeed(self) -> Result<Ended> {
        let name = self.name.clone();
        let ended = self.wait()?;
        if !ended.status.success() {
            bail!("{name} failed, {}:\n{}", ended.status, ended.said.join("\n"));
        }
        Ok(ended)
    }

    fn reap(&mut self) -> Result<Option<Ended>> {
        let status = self.child.try_wait().context("can't wait for a process")?;
        self.reaped = status.is_some();
        Ok(status.map(|status| Ended { status, said: Vec::new() }))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.reaped {
            // It may have ended already; what matters is that it has when this returns.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Reads lines in a thread of its own, so that a writer never waits for the benchmark.
fn lines_of(output: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut reader = BufReader::new(output);
        let mut line = Vec::new();
        while matches!(reader.read_until(b'\n', &mut line), Ok(1..)) {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            if sender.send(text).is_err() {
                break;
            }
            line.clear();
        }
    });
    receiver
}
