//! Starts the command that is to be recorded: in a fresh cgroup, held back before its first instruction until the
//! programs are attached.

use std::{
    ffi::{OsStr, OsString},
    io::{self, Read as _, Write as _},
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::{ffi::OsStrExt as _, process::CommandExt as _},
    },
    process::{Child, Command},
    thread::JoinHandle,
};

use nix::unistd::{close, read};

use crate::{
    error::{Error, Result},
    start::Start,
};

/// A command that has been forked and waits to be let go.
pub struct Held {
    /// Its process id.
    pub pid: u32,
    name: OsString,
    release: io::PipeWriter,
    spawned: JoinHandle<io::Result<Child>>,
}

impl Held {
    /// Forks a process that waits, with this process's stdin, stdout and stderr. With `under` the command is executed
    /// under profiles, and writes to stderr, since stdout is for what is found out about it.
    pub fn fork(command: &[OsString], under: Option<&Start>) -> Result<Self> {
        let [name, arguments @ ..] = command else {
            return Err(
                Error::usage("there is no command to record").hint("sandbox-trace record -- COMMAND [ARG…]")
            );
        };
        let failed = |e: io::Error| Error::host("could not make a pipe to the command").because(e);
        let (mut pid_in, pid_out) = io::pipe().map_err(failed)?;
        let (release_in, release) = io::pipe().map_err(failed)?;
        let under = under.cloned();
        // Looked up already: under a filter a failed look-up has no way to say so.
        let file =
            under.as_ref().map_or(name.as_os_str(), |start| OsStr::from_bytes(start.file().to_bytes()));
        let mut child = Command::new(file);
        child.arg0(name).args(arguments);
        let release_in = OwnedFd::from(release_in);
        let pid_out = OwnedFd::from(pid_out);
        let writer = release.as_raw_fd();
        // SAFETY: between fork and exec only system calls are made that may be; entering an AppArmor profile allocates,
        // for which glibc's `fork` leaves its allocator usable.
        unsafe {
            child.pre_exec(move || {
                // The fork has a copy of the writing end: as long as it is open, the pipe has no end.
                close(writer)?;
                let pid = std::process::id().to_ne_bytes();
                nix::unistd::write(&pid_out, &pid)?;
                // One byte lets the command go; the end of the pipe means that the recorder gave up.
                let mut byte = [0];
                if read(&release_in, &mut byte)? != 1 {
                    return Err(io::ErrorKind::Interrupted.into());
                }
                match &under {
                    Some(start) => nix::unistd::dup2_stdout(io::stderr())
                        .map_err(io::Error::from)
                        .and_then(|()| start.confine()),
                    None => Ok(()),
                }
            });
        }
        // `spawn` returns only after the exec, so it waits in a thread of its own.
        let spawned = std::thread::Builder::new()
            .name("spawn".into())
            .spawn(move || child.spawn())
            .map_err(|e| Error::host("could not start a thread").because(e))?;
        let mut pid = [0; 4];
        if let Err(e) = pid_in.read_exact(&mut pid) {
            let cause = spawned.join().ok().and_then(Result::err).unwrap_or(e);
            return Err(Error::host("could not fork the command").because(cause));
        }
        Ok(Self { pid: u32::from_ne_bytes(pid), name: name.clone(), release, spawned })
    }

    /// Ends the process without executing anything; when this returns it is gone.
    pub fn abandon(self) {
        drop(self.release);
        let _ = self.spawned.join();
    }

    /// Lets the command go; gives it back once it has been executed.
    pub fn release(mut self) -> Result<Child> {
        let sent = self.release.write_all(&[1]);
        drop(self.release);
        let name = self.name.display();
        let started = self.spawned.join().map_err(|_| Error::host(format!("could not start {name}")))?;
        sent.map_err(|e| Error::host(format!("could not start {name}")).because(e))?;
        started.map_err(|e| {
            Error::usage(format!("could not start {name}"))
                .because(e)
                .hint("check the name and that it is executable; sandbox-trace looks in PATH")
        })
    }
}
