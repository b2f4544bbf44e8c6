//! Calls that do the same for a program and that versions of C libraries, language runtimes and the kernel swap:
//! `--portable` adds the twins of what was seen, so that a profile outlives an update of the image.
//!
//! A twin never gives more than its like: nothing dangerous is one, `clone` makes no namespaces, `prlimit64` changes
//! the caller's own limits alone. `execve` and `execveat` are no twins (the latter executes what has no name), nor are
//! calls that a library falls back from when they are missing ([`fallbacks`](super::fallbacks) has those).

use super::arguments::{self, Sets};

/// Each group's calls stand in for each other. A call may be in several groups: `unlinkat` does what `unlink` and
/// what `rmdir` does. Then its twins are of both, theirs only of their own.
pub(super) const GROUPS: &[&[&str]] = &[
    &["accept", "accept4"],
    &["access", "faccessat", "faccessat2"],
    &["alarm", "setitimer"],
    &["chmod", "fchmodat", "fchmodat2"],
    &["chown", "fchownat"],
    &["lchown", "fchownat"],
    &["clock_gettime", "gettimeofday", "time"],
    &["clock_nanosleep", "nanosleep"],
    &["clone", "fork", "vfork"],
    &["close", "close_range"],
    &["creat", "open", "openat", "openat2"],
    &["dup2", "dup3"],
    &["epoll_create", "epoll_create1"],
    &["epoll_pwait", "epoll_pwait2", "epoll_wait"],
    &["eventfd", "eventfd2"],
    &["fstat", "lstat", "newfstatat", "stat", "statx"],
    &["futimesat", "utime", "utimensat", "utimes"],
    &["getdents", "getdents64"],
    &["getpgid", "getpgrp"],
    &["getrlimit", "prlimit64"],
    &["setrlimit", "prlimit64"],
    &["inotify_init", "inotify_init1"],
    &["link", "linkat"],
    &["mkdir", "mkdirat"],
    &["mknod", "mknodat"],
    &["mlock", "mlock2"],
    &["pipe", "pipe2"],
    &["poll", "ppoll"],
    &["preadv", "preadv2"],
    &["pwritev", "pwritev2"],
    &["pselect6", "select"],
    &["read", "readv"],
    &["readlink", "readlinkat"],
    &["recvfrom", "recvmmsg", "recvmsg"],
    &["rename", "renameat", "renameat2"],
    &["rmdir", "unlinkat"],
    &["sendmmsg", "sendmsg", "sendto"],
    &["signalfd", "signalfd4"],
    &["symlink", "symlinkat"],
    &["tgkill", "tkill"],
    &["unlink", "unlinkat"],
    &["wait4", "waitid"],
    &["write", "writev"],
];

/// The calls that stand in for `name`.
pub(super) fn of(name: &str) -> impl Iterator<Item = &'static str> {
    GROUPS.iter().filter(move |group| group.contains(&name)).flat_map(|group| group.iter().copied())
}

/// Under which conditions a twin is admitted.
pub(super) fn limit(twin: &str) -> Option<Sets> {
    match twin {
        "clone" => Some(arguments::plain_clone()),
        "prlimit64" => Some(arguments::only(0, 0)),
        _ => None,
    }
}

/// Socket families that stand in for each other: which of them a program takes depends on the addresses that a name
/// server answers with.
pub(super) const INTERNET: [u64; 2] = [2, 10];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{danger, safe};

    #[test]
    fn twins_are_known_never_dangerous_and_limited_where_their_like_is() {
        for name in GROUPS.iter().flat_map(|group| group.iter()) {
            assert!(name.parse::<syscalls::x86_64::Sysno>().is_ok(), "{name}");
            assert_eq!(danger::reason(danger::SYSCALLS, name), None, "{name}");
            assert_eq!(safe::limit(name).is_some(), *name == "clone", "{name}");
            assert!(of(name).any(|twin| twin != *name), "{name} is alone");
        }
        assert!(limit("clone").is_some() && limit("prlimit64").is_some());
    }
}
