//! The command's own process: forked with this one's table of descriptors, so that the listener that it makes is here
//! at once, and no call is needed to hand it over that the filter might refuse. `execve` gives it a table of its own.

use std::{
    ffi::{CStr, CString, c_int},
    sync::atomic::{AtomicI32, Ordering},
    time::Duration,
};

use nix::{
    errno::Errno,
    libc,
    sys::{
        signal::{SigHandler, SigSet, SigmaskHow, Signal, signal, sigprocmask},
        wait::{WaitPidFlag, WaitStatus, waitid},
    },
    unistd::Pid,
};

use super::notify::{self, Listener};
use crate::{
    error::{Error, Result},
    start::{Failure, Stage, Start},
};

/// How long to wait before the child is looked at again; it has a few microseconds of work.
const LOOK: Duration = Duration::from_micros(50);

/// What the child says, in memory that both have: after the filter is in force, no call is certain to work.
struct Shared {
    /// The listener's number plus one.
    listener: AtomicI32,
    /// The error number of loading the filter.
    load: AtomicI32,
    /// The error number of `execve`.
    execute: AtomicI32,
    /// Not 0 once the process has said itself what went wrong.
    said: AtomicI32,
}

/// A command that was started, or is being started.
pub struct Child {
    /// Its process.
    pub pid: Pid,
    /// Where its filter's questions arrive, if it has one.
    pub listener: Option<Listener>,
    shared: &'static Shared,
    file: CString,
}

impl Child {
    /// Forks and starts the command; `mask` are the signals that it is to block, as this process was started, and
    /// `ignored` says that it is to ignore the ends of its children. `say` tells what went wrong in it.
    ///
    /// This process must have one thread.
    pub fn start(start: Start, mask: &SigSet, ignored: bool, say: fn(&Error)) -> Result<Self> {
        let shared = shared()?;
        let file = start.file().to_owned();
        let with_filter = start.filter().is_some();
        // SAFETY: this process has one thread, so no lock is held by another and the copy may do what it likes. glibc
        // is not told of the fork; nothing below uses what it keeps of a process, but its allocator.
        let pid = unsafe {
            libc::syscall(libc::SYS_clone, libc::c_long::from(libc::CLONE_FILES | libc::SIGCHLD), 0, 0, 0, 0)
        };
        let pid = Errno::result(pid).map_err(|e| Error::host("could not fork the command").because(e))?;
        if pid == 0 {
            become_command(start, mask, ignored, shared, say);
        }
        let pid = Pid::from_raw(c_int::try_from(pid).unwrap_or(0));
        let mut child = Self { pid, listener: None, shared, file };
        if with_filter {
            child.listener = child.wait_for_listener();
        }
        Ok(child)
    }

    /// The listener; `None` if the child ended without one.
    fn wait_for_listener(&self) -> Option<Listener> {
        loop {
            let ended = self.has_ended();
            match self.shared.listener.load(Ordering::Acquire) {
                0 if ended => return None,
                0 => std::thread::sleep(LOOK),
                // SAFETY: the child made it in the table that it shares with this process; it closes it, if at all,
                // in its own copy.
                number => return Some(unsafe { Listener::from_raw(number - 1) }),
            }
        }
    }

    /// Whether the process has ended; it is left for `waitpid`.
    fn has_ended(&self) -> bool {
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        !matches!(waitid(nix::sys::wait::Id::Pid(self.pid), flags), Ok(WaitStatus::StillAlive))
    }

    /// Whether it did not become the command, and said why.
    pub fn has_failed(&self) -> bool {
        self.shared.said.load(Ordering::Acquire) != 0
    }

    /// Why it did not become the command, once it has ended.
    pub fn failure(&self) -> Option<Failure> {
        let errno = |word: &AtomicI32| match word.load(Ordering::Acquire) {
            0 => None,
            number => Some(Errno::from_raw(number)),
        };
        let file: &CStr = &self.file;
        errno(&self.shared.load)
            .map(|e| Stage::Load.failure(file, e))
            .or_else(|| errno(&self.shared.execute).map(|e| Stage::Execute.failure(file, e)))
    }
}

/// A page that stays shared with what is forked from here on. It is never given back: the process ends with it.
fn shared() -> Result<&'static Shared> {
    // SAFETY: the kernel chooses the place; nothing else is mapped there.
    let page = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            size_of::<Shared>(),
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    if page == libc::MAP_FAILED {
        return Err(Error::host("could not share memory with the command").because(Errno::last()));
    }
    // SAFETY: the page is zeroed, aligned, large enough and never unmapped, and atomics may be shared.
    Ok(unsafe { &*page.cast::<Shared>() })
}

/// What the forked process does: it becomes the command, or ends.
fn become_command(start: Start, mask: &SigSet, ignored: bool, shared: &'static Shared, say: fn(&Error)) -> ! {
    let end = |code: c_int| -> ! {
        // SAFETY: this ends the process, and runs nothing that was registered for its end.
        unsafe { libc::_exit(code) }
    };
    if sigprocmask(SigmaskHow::SIG_SETMASK, Some(mask), None).is_err() {
        end(125);
    }
    if ignored {
        // SAFETY: a signal that is ignored runs no handler.
        let _ = unsafe { signal(Signal::SIGCHLD, SigHandler::SigIgn) };
    }
    let ready = match start.ready() {
        Ok(ready) => ready,
        Err(error) => {
            say(&error);
            shared.said.store(1, Ordering::Release);
            end(125)
        }
    };
    let load = |filter: &crate::seccomp::bpf::Program| {
        let number = notify::load(filter)?;
        shared.listener.store(number + 1, Ordering::Release);
        Ok(())
    };
    ready.exec_silently(load, |stage, errno| {
        let word = if stage == Stage::Load { &shared.load } else { &shared.execute };
        word.store(errno as i32, Ordering::Release);
    });
    end(125)
}
