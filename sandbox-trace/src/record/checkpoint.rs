//! Checkpoints: the recording so far, written while the recording goes on.
//!
//! A forked process writes it: it has the facts as they were at one moment, shares their memory until it changes, and
//! the ring goes on being read meanwhile. (Redis saves its snapshots in the same way.)

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use nix::{
    libc,
    sys::{
        prctl::set_pdeathsig,
        signal::{SigHandler, SigSet, Signal, kill, signal},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::{ForkResult, Pid, fork, getppid},
};
use tokio::time::Instant;

use crate::{error::Error, output};

/// What ends the writer: not SIGKILL, because this one waits while a file that is whole gets its name.
const END: Signal = Signal::SIGUSR1;

/// When checkpoints are due, and the process that writes one.
pub struct Checkpoints {
    every: Option<Duration>,
    due: Instant,
    writer: Option<Pid>,
    /// A checkpoint that can't be written is told once: the next ones fail for the same reason.
    told: bool,
}

impl Checkpoints {
    /// The first is due after `every`.
    pub fn new(every: Option<Duration>) -> Self {
        Self { every, due: Instant::now() + every.unwrap_or_default(), writer: None, told: false }
    }

    /// Starts the clock anew.
    pub fn start(&mut self) {
        self.due = Instant::now() + self.every.unwrap_or_default();
    }

    /// If a checkpoint is due and none is being written, has one written by `write`, in a process of its own.
    pub fn look(&mut self, write: impl FnOnce() -> Result<(), Error>) {
        let Some(every) = self.every else { return };
        if let Some(writer) = self.writer {
            match waitpid(writer, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) => return,
                Ok(WaitStatus::Exited(_, 0)) => self.told = false,
                _ => self.told = true,
            }
            self.writer = None;
        }
        if Instant::now() < self.due {
            return;
        }
        self.due = Instant::now() + every;
        let recorder = nix::unistd::getpid();
        // SAFETY: the one other thread that a recorder has (see `identity`) holds no lock that the child needs: the
        // allocator's are taken care of by fork itself, and what it found is read without one.
        match unsafe { fork() } {
            Ok(ForkResult::Parent { child }) => self.writer = Some(child),
            Ok(ForkResult::Child) => write_and_exit(recorder, self.told, write),
            Err(error) => tracing::warn!("no checkpoint: could not fork: {error}"),
        }
    }

    /// Ends the writing of a checkpoint: the whole recording is about to replace it.
    pub fn stop(&mut self) {
        if let Some(writer) = self.writer.take() {
            let _ = kill(writer, END);
            let _ = waitpid(writer, None);
        }
    }
}

/// The child's life. It must not return: it has a copy of all that its parent is in the middle of.
fn write_and_exit(recorder: Pid, told: bool, write: impl FnOnce() -> Result<(), Error>) -> ! {
    // What is half written when the recorder is killed must not appear after it.
    for (of, handler) in [
        (Signal::SIGINT, SigHandler::SigIgn),
        (Signal::SIGTERM, SigHandler::SigIgn),
        (END, SigHandler::SigDfl),
    ] {
        // SAFETY: neither runs a handler.
        let _ = unsafe { signal(of, handler) };
    }
    // Whoever started the recorder may have had it blocked.
    let _ = SigSet::from(END).thread_unblock();
    let _ = set_pdeathsig(END);
    let code = if getppid() == recorder {
        match catch_unwind(AssertUnwindSafe(write)) {
            Ok(Ok(())) => 0,
            Ok(Err(error)) => {
                if !told {
                    output::note(format!("warning: no checkpoint: {error}"));
                    if let Some(cause) = std::error::Error::source(&error) {
                        output::note(format!("  because: {cause}"));
                    }
                    output::note("  the recording goes on, and is written at its end");
                }
                1
            }
            Err(_) => 1,
        }
    } else {
        1
    };
    // SAFETY: nothing of the parent's may run here, destructors of what it shares with the kernel least of all.
    unsafe { libc::_exit(code) }
}
