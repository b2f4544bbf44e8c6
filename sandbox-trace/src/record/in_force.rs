//! What the kernel holds against a running container: the seccomp filters of its first process, its `AppArmor` label
//! and its capabilities. Reads and judges nothing.
//!
//! The filters are read by `ptrace`, which needs the process to stop for a moment. However this ends, the process
//! goes on: a tracer that is gone lets go of what it traced.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    libc,
    sys::{
        ptrace,
        signal::Signal,
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};

use super::{
    container::{Found, Runtimes},
    labels,
};
use crate::{
    error::{Error, Result},
    recording::{BytePath, Container},
    seccomp::{
        bpf::{Instruction, MAX_INSTRUCTIONS, Program},
        capabilities::Capabilities,
        chain::Chain,
    },
};

/// How long the process may take to stop. One that runs stops at once; only an uninterruptible sleep takes longer.
const PATIENCE: Duration = Duration::from_secs(3);
/// `PTRACE_SECCOMP_GET_FILTER` (linux/ptrace.h).
const GET_FILTER: libc::c_uint = 0x420c;
/// The longest chain that the kernel takes: 32,768 instructions, and four for each filter (kernel/seccomp.c).
const MAX_FILTERS: usize = 32_768 / 5;

/// What is in force on a container.
#[derive(Debug, Clone)]
pub struct InForce {
    /// What its runtime tells of it.
    pub container: Container,
    /// Its first process.
    pub pid: u32,
    /// Its filters.
    pub filters: Chain,
    /// Its label, such as `docker-default (enforce)`; `None` where the kernel has no `AppArmor`.
    pub label: Option<BytePath>,
    /// What it can ever have.
    pub bounding: Capabilities,
    /// What its first process has.
    pub effective: Capabilities,
    /// Whether its processes can't gain privileges by executing files.
    pub no_new_privileges: bool,
    /// All that its status tells.
    pub status: Status,
}

/// Reads what is in force on the running container `name`.
pub fn in_force(name: &str) -> Result<InForce> {
    let (container, pid) = locate(name)?;
    in_force_of(container, pid)
}

/// The running container `name`, and its first process.
pub fn locate(name: &str) -> Result<(Container, u32)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| {
        Error::host("could not ask for the container").because(e).hint("the machine may be short of memory")
    })?;
    runtime.block_on(async {
        let runtimes = Runtimes::connect().await?;
        match runtimes.find(name).await? {
            Some(Found { pid: Some(pid), container, .. }) => Ok((container, pid)),
            Some(_) => Err(Error::usage(format!("the container {name} does not run"))
                .hint("start it: a kernel holds filters for processes, not for containers that ended")),
            None => Err(runtimes.unknown(name).await),
        }
    })
}

/// Reads what is in force on the container whose first process is `pid`.
pub fn in_force_of(container: Container, pid: u32) -> Result<InForce> {
    let status = Status::read(pid)?;
    // Processes without a filter need not be stopped to know that.
    let filters = if status.has_filters { read_filters(pid)? } else { Chain::default() };
    Ok(InForce {
        container,
        pid,
        filters,
        label: labels::label_of(pid),
        bounding: Capabilities::from_mask(status.bounding),
        effective: Capabilities::from_mask(status.effective),
        no_new_privileges: status.no_new_privileges,
        status,
    })
}

/// What `/proc/PID/status` tells of a process, in the numbers of the reader's user namespace. Capabilities are masks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// Real, effective, saved and file system user id.
    pub uids: [u32; 4],
    /// Real, effective, saved and file system group id.
    pub gids: [u32; 4],
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// What passes through an exec, with files that allow it.
    pub inheritable: u64,
    /// What it may make effective.
    pub permitted: u64,
    /// What it has.
    pub effective: u64,
    /// What it can ever have.
    pub bounding: u64,
    /// What passes through every exec.
    pub ambient: u64,
    /// Whether it can't gain privileges by executing files.
    pub no_new_privileges: bool,
    /// Whether seccomp filters are in force on it.
    pub has_filters: bool,
}

impl Status {
    /// Reads it.
    pub fn read(pid: u32) -> Result<Self> {
        let text = std::fs::read_to_string(format!("/proc/{pid}/status")).map_err(|e| {
            Error::usage(format!("the container's first process ({pid}) can't be looked at"))
                .because(e)
                .hint("it may have ended just now; a container of another machine has other ids")
        })?;
        Self::parse(&text).ok_or_else(|| {
            Error::host(format!("/proc/{pid}/status lacks what is needed"))
                .hint("seccomp and capabilities must be in the kernel (CONFIG_SECCOMP_FILTER)")
        })
    }

    fn parse(text: &str) -> Option<Self> {
        let field = |name: &str| {
            text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
        };
        let mask = |name: &str| u64::from_str_radix(field(name)?, 16).ok();
        let numbers = |name: &str| -> Option<Vec<u32>> {
            field(name)?.split_whitespace().map(|number| number.parse().ok()).collect()
        };
        Some(Self {
            uids: numbers("Uid")?.try_into().ok()?,
            gids: numbers("Gid")?.try_into().ok()?,
            groups: numbers("Groups")?,
            inheritable: mask("CapInh")?,
            permitted: mask("CapPrm")?,
            effective: mask("CapEff")?,
            bounding: mask("CapBnd")?,
            ambient: mask("CapAmb")?,
            no_new_privileges: field("NoNewPrivs")? == "1",
            has_filters: field("Seccomp")? == "2",
        })
    }
}

/// The filters of a process, newest first.
pub(super) fn read_filters(pid: u32) -> Result<Chain> {
    let failed = |what: &str, e: Errno, hint: &str| {
        Err(Error::host(format!("could not {what} process {pid} to read its seccomp filters"))
            .because(e)
            .hint(hint))
    };
    let process = Pid::from_raw(i32::try_from(pid).unwrap_or(i32::MAX));
    if let Err(e) = ptrace::seize(process, ptrace::Options::empty()) {
        return failed("attach to", e, "be root on the container's host, and end a debugger or strace of it");
    }
    let stopped = ptrace::interrupt(process).and_then(|()| stop(process));
    let signal = match stopped {
        Ok(signal) => signal,
        Err(e) => {
            // It lets go of itself when this process ends, and goes on all the while.
            return failed("stop", e, "it may be in an uninterruptible wait: try again");
        }
    };
    let filters = all_filters(process);
    // A signal that was on its way goes on. The process can only be gone.
    let _ = ptrace::detach(process, signal);
    filters
}

/// Waits until the process has stopped; gives the signal that it stopped for, if it was one of its own.
fn stop(process: Pid) -> Result<Option<Signal>, Errno> {
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        match waitpid(process, Some(WaitPidFlag::__WALL | WaitPidFlag::WNOHANG))? {
            WaitStatus::Stopped(_, signal) => return Ok(Some(signal)),
            WaitStatus::PtraceEvent(..) => return Ok(None),
            WaitStatus::Exited(..) | WaitStatus::Signaled(..) => return Err(Errno::ESRCH),
            _ => thread::sleep(Duration::from_millis(1)),
        }
    }
    Err(Errno::ETIMEDOUT)
}

fn all_filters(process: Pid) -> Result<Chain> {
    let mut filters = Vec::new();
    while filters.len() < MAX_FILTERS {
        match filter(process, filters.len()) {
            Ok(program) => filters.push(Arc::new(program?)),
            Err(Errno::ENOENT) => break,
            Err(e) => {
                let hint = match e {
                    Errno::EACCES | Errno::EPERM => {
                        "it takes CAP_SYS_ADMIN, and a process that is under no filter itself: run on the host as root"
                    }
                    Errno::EIO | Errno::EINVAL => "the kernel must have CONFIG_CHECKPOINT_RESTORE",
                    _ => "verify against the profile's file instead: --seccomp FILE",
                };
                return Err(Error::host(format!("could not read the seccomp filters of process {process}"))
                    .because(e)
                    .hint(hint));
            }
        }
    }
    // The kernel counts from the oldest.
    filters.reverse();
    Ok(Chain::new(filters))
}

/// One filter, by its position from the oldest. The outer error is the kernel's.
pub fn filter(process: Pid, position: usize) -> Result<Result<Program>, Errno> {
    let mut instructions = vec![Instruction { code: 0, jt: 0, jf: 0, k: 0 }; MAX_INSTRUCTIONS];
    // SAFETY: the kernel writes at most as many instructions as it ever loads into one filter, for which there is
    // room, and no pointer stays with it. `Instruction` is laid out as `struct sock_filter`.
    let count = Errno::result(unsafe {
        libc::ptrace(GET_FILTER, process.as_raw(), position, instructions.as_mut_ptr().cast::<libc::c_void>())
    })?;
    instructions.truncate(usize::try_from(count).unwrap_or(0));
    Ok(Program::new(instructions).map_err(|e| {
        Error::host(format!("a seccomp filter of process {process} can't be understood: {e}"))
            .hint("verify against the profile's file instead: --seccomp FILE")
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_by_its_names() {
        let text = "Name:\tCapEff:\nUid:\t1\t2\t3\t4\nGid:\t5\t5\t5\t5\nGroups:\t5 7 \nCapInh:\t0\nCapPrm:\t1\n\
                    CapEff:\t00000000a80425fb\nCapBnd:\t000001ffffffffff\nCapAmb:\t0\n\
                    NoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t1\n";
        let expected = Status {
            uids: [1, 2, 3, 4],
            gids: [5; 4],
            groups: vec![5, 7],
            permitted: 1,
            inheritable: 0,
            ambient: 0,
            bounding: 0x1ff_ffff_ffff,
            effective: 0xa804_25fb,
            no_new_privileges: true,
            has_filters: true,
        };
        assert_eq!(Status::parse(text), Some(expected));
        assert_eq!(Status::parse("CapBnd:\t0\n"), None);
        let own = Status::read(std::process::id()).unwrap();
        assert_eq!(own.effective & !own.bounding, 0);
    }

    #[test]
    fn a_process_that_is_not_there_is_an_error() {
        assert_eq!(Status::read(u32::MAX).unwrap_err().exit(), crate::error::Exit::Usage);
    }
}
