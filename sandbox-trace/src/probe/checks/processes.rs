//! Looking into and taking over other processes.

use nix::{errno::Errno, libc};

use super::{Check, Subject, files, refused};
use crate::probe::{
    board::{Arg, Board, Seen, n},
    report::Verdict,
};

const WHY: &str =
    "a process that can be read or steered gives away its keys, and does what an attacker wants in its name";

pub fn checks(subject: &Subject) -> Vec<Check> {
    let neighbour = i64::from(subject.inside_pid);
    vec![
        Check::tried("ptrace", "trace a neighbour (ptrace)", WHY, move |board| {
            // It is let go of when this child ends; it does not even stop.
            let mut args = [n(i64::from(libc::PTRACE_SEIZE)), n(neighbour), n(0), n(0)];
            refused(board, libc::SYS_ptrace, &mut args, &[])
        }),
        Check::tried("read-memory", "read a neighbour's memory (process_vm_readv)", WHY, move |board| {
            // One byte from an address where nothing is: that is found out after the permission.
            let mut byte = [0u8; 1];
            let local = iovec(byte.as_mut_ptr() as usize);
            let remote = iovec(0x10);
            let mut args = [n(neighbour), Arg::In(&local), n(1), Arg::In(&remote), n(1), n(0)];
            refused(board, libc::SYS_process_vm_readv, &mut args, &[Errno::EFAULT])
        }),
        Check::tried("pidfd-getfd", "take a neighbour's open file (pidfd_getfd)", WHY, move |board| {
            let process = match board.call(libc::SYS_pidfd_open, &mut [n(neighbour), n(0)]) {
                Ok(process) => process,
                Err(errno) => return Seen::refused(errno),
            };
            // A number that no process has open: that is found out after the permission.
            let mut args = [n(process), n(0x7fff_fff0), n(0)];
            refused(board, libc::SYS_pidfd_getfd, &mut args, &[Errno::EBADF])
        }),
        processes(subject),
        foreign_roots(subject),
    ]
}

/// `struct iovec` of one byte.
fn iovec(address: usize) -> [u8; 16] {
    let mut out = [0u8; 16];
    for (place, byte) in out.iter_mut().zip((address as u64).to_ne_bytes()) {
        *place = byte;
    }
    for (place, byte) in out.iter_mut().skip(8).zip(1u64.to_ne_bytes()) {
        *place = byte;
    }
    out
}

fn processes(subject: &Subject) -> Check {
    let (verdict, seen) = if subject.shares_pids {
        (Verdict::Open, "the host's: it has no pid namespace of its own")
    } else {
        (Verdict::Closed, "its own alone")
    };
    Check::told("pid-namespace", "processes that it sees", WHY, verdict, seen).expecting("its own alone")
}

/// Where the container sees processes that are not its own, whether one of them lends it its root directory.
fn foreign_roots(subject: &Subject) -> Check {
    const WHY: &str =
        "/proc/PID/root is the way into the file system of a process: of the host, where that is the host's";
    let (id, title) = ("foreign-roots", "the root directory of another's process (/proc/PID/root)");
    if !subject.shares_pids {
        return Check::told(id, title, WHY, Verdict::Closed, "no process of another's is in its /proc");
    }
    let paths: Vec<_> = subject
        .foreign
        .iter()
        .flat_map(|pid| {
            ["root", "cwd"].map(|name| files::c_string(format!("/proc/{pid}/{name}/.").as_bytes()))
        })
        .collect();
    Check::tried(id, title, WHY, move |board| {
        let mut last = Errno::ENOENT;
        for path in &paths {
            match open_folder(board, path) {
                Ok(_) => {
                    return Seen::open(format_args!("{} could be opened", path.to_str().unwrap_or("one")));
                }
                Err(errno) => last = errno,
            }
        }
        Seen::refused(last)
    })
}

fn open_folder(board: &Board, path: &std::ffi::CStr) -> Result<i64, Errno> {
    files::open(board, path, libc::O_PATH | libc::O_DIRECTORY)
}
