//! Executing what was brought along: from every place that can be written, and from memory.

use std::{collections::BTreeSet, sync::atomic::Ordering};

use nix::{errno::Errno, libc, sys::signal::Signal};

use super::{
    Check, Ended, Subject,
    files::{is_file, make, name, own_file, remove},
};
use crate::probe::{
    board::{Arg, Board, Seen, n},
    elf,
};

const WHY: &str = "a place that is writable and executable is where an attacker's program is put and started";

/// Where programs are put by habit, mounted or not.
const HABITUAL: [&str; 7] = ["/tmp", "/var/tmp", "/dev/shm", "/run", "/var/run", "/root", "/home"];

pub fn checks(subject: &Subject) -> Vec<Check> {
    let mounts = subject.mounts.iter().filter(|mount| mount.is_writable() && !mount.is_kernels());
    let points = mounts.map(|mount| mount.point.clone()).filter(|point| !is_file(point));
    let mut places: BTreeSet<Vec<u8>> = points.collect();
    places.extend(HABITUAL.iter().map(|place| place.as_bytes().to_vec()));
    let mut out: Vec<Check> = places.iter().map(|place| from(place, subject)).collect();
    out.push(from_memory());
    out
}

fn from(place: &[u8], subject: &Subject) -> Check {
    let path = own_file(place, subject);
    let program = elf::program();
    let place = name(place);
    Check::tried(format!("exec:{place}"), format!("execute from {place}"), WHY, move |board| {
        let file = match make(board, &path, 0o700) {
            Ok(file) => file,
            // Nothing can be put there, so nothing can be executed from there.
            Err(Errno::ENOTDIR | Errno::ENOENT) => return Seen::closed(format_args!("no such folder")),
            Err(errno) => return Seen::closed(format_args!("nothing can be put there: {errno:?}")),
        };
        let written = write_all(board, file, &program);
        // A file that is open for writing is not executed.
        let _ = board.call(libc::SYS_close, &mut [n(file)]);
        let errno = match written {
            Ok(()) => {
                let mut args = [Arg::Path(&path), n(0), n(0)];
                execute(board, libc::SYS_execve, &mut args)
            }
            Err(errno) => errno,
        };
        remove(board, &path);
        Seen::refused(errno)
    })
    .with_end(executed)
}

fn from_memory() -> Check {
    let program = elf::program();
    let why = "a program in memory needs no writable place, and no mount option stops it";
    Check::tried("exec-memory", "execute from memory (memfd_create)", why, move |board| {
        let mut args = [Arg::Path(c"probe"), n(i64::from(libc::MFD_CLOEXEC))];
        let file = match board.call(libc::SYS_memfd_create, &mut args) {
            Ok(file) => file,
            Err(errno) => return Seen::refused(errno),
        };
        if let Err(errno) = write_all(board, file, &program) {
            return Seen::refused(errno);
        }
        let mut args = [n(file), Arg::Path(c""), n(0), n(0), n(i64::from(libc::AT_EMPTY_PATH))];
        let first = execute(board, libc::SYS_execveat, &mut args);
        // The same by the call that every program needs.
        let mut path = *b"/proc/self/fd/000\0";
        let digits = [file / 100 % 10, file / 10 % 10, file % 10];
        for (place, digit) in path.iter_mut().skip(14).zip(digits) {
            *place = b'0' + u8::try_from(digit).unwrap_or(0);
        }
        // /proc has no leading zeroes.
        let zeroes = digits.iter().take(2).take_while(|digit| **digit == 0).count();
        path.copy_within(14 + zeroes..18, 14);
        let mut args = [Arg::In(&path), n(0), n(0)];
        let second = execute(board, libc::SYS_execve, &mut args);
        Seen::closed(format_args!("execveat {first:?}, execve {second:?}"))
    })
    .with_end(executed)
}

fn write_all(board: &Board, file: i64, bytes: &[u8]) -> Result<(), Errno> {
    let length = i64::try_from(bytes.len()).unwrap_or(0);
    match board.call(libc::SYS_write, &mut [n(file), Arg::In(bytes), n(length)])? {
        written if written == length => Ok(()),
        _ => Err(Errno::ENOSPC),
    }
}

/// Comes back only when it failed.
fn execute(board: &Board, call: libc::c_long, args: &mut [Arg<'_>]) -> Errno {
    board.executing.store(1, Ordering::SeqCst);
    let errno = board.call(call, args).err().unwrap_or(Errno::UnknownErrno);
    board.executing.store(0, Ordering::SeqCst);
    errno
}

/// The program that the child became ends with a code of its own; where a filter takes its exit from it, by its last
/// instruction.
fn executed(ended: Ended, board: &Board) -> Option<Seen> {
    let was = board.executing.load(Ordering::SeqCst) == 1;
    let ran = matches!(ended, Ended::Exited(elf::CODE) | Ended::Killed(Signal::SIGILL));
    (was && ran).then(|| Seen::open(format_args!("a program was put there and ran (it was removed)")))
}
