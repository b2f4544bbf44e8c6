//! Calls that get `ENOSYS` where they are not admitted: whoever makes them knows kernels that lack them, and goes on
//! with something older. `EPERM`, the answer to all other calls, would be taken for a failure.
//!
//! The table holds every call from 424 (Linux 5.1) to 456 (6.7) that isn't dangerous, and older ones that a library
//! tries first. Two things follow from how runtimes load a profile:
//! - runc answers numbers above the largest one that a profile names with `ENOSYS` itself. To name 456 moves that
//!   limit up there: a number below it that is not in the table would get `EPERM` from then on. Hence all of them.
//! - Names that the runtime's libseccomp does not know are no rules. 456 is where libseccomp 2.5.4 ends (Debian 12,
//!   Ubuntu 22.04); runc answers for what is above, and crun and systemd answer `EPERM`.
//!
//! Dangerous calls get `EPERM`: the refusal is meant, and programs that probe for them (`io_uring`) take any error.
//! But where `mount` was given by name, the calls of the newer mount interface get `ENOSYS`, on which libmount falls
//! back to `mount`.

/// A call, who makes it, and what they do instead.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fallback {
    pub name: &'static str,
    /// Only where this call is admitted.
    pub only_with: Option<&'static str>,
    /// Who tries it, and what they do on `ENOSYS`.
    pub reason: &'static str,
}

const fn to(name: &'static str, reason: &'static str) -> Fallback {
    Fallback { name, only_with: None, reason }
}

const fn mount(name: &'static str) -> Fallback {
    Fallback { name, only_with: Some("mount"), reason: "libmount 2.39 and later: mount" }
}

/// Sorted by name.
pub(super) const TABLE: &[Fallback] = &[
    to("cachestat", "new in Linux 6.5; its users go on without"),
    to("clone3", "glibc from 2.34 for threads and posix_spawn: clone, whose flags a filter can see"),
    to(
        "close_range",
        "glibc's closefrom, CPython's subprocess, Java, systemd: /proc/self/fd, or close by close",
    ),
    to("copy_file_range", "coreutils, Go, Rust, CPython: sendfile, or read and write"),
    to("epoll_pwait2", "libevent, systemd: epoll_wait, with milliseconds"),
    to("execveat", "glibc's fexecve: execve of /proc/self/fd/N"),
    to("faccessat2", "glibc from 2.33 and musl for faccessat with flags: faccessat and fstatat; Go alike"),
    to("fchmodat2", "glibc from 2.39 and musl from 1.2.5 for AT_SYMLINK_NOFOLLOW: chmod of /proc/self/fd/N"),
    mount("fsconfig"),
    mount("fsmount"),
    mount("fsopen"),
    mount("fspick"),
    to("futex_requeue", "new in Linux 6.7: futex"),
    to("futex_wait", "new in Linux 6.7: futex"),
    to("futex_waitv", "Wine: futex, eventfd"),
    to("futex_wake", "new in Linux 6.7: futex"),
    to("getrandom", "glibc, Go, Rust, CPython, OpenSSL: /dev/urandom"),
    to("landlock_add_rule", "programs that confine themselves go on without, as on kernels before 5.13"),
    to(
        "landlock_create_ruleset",
        "programs that confine themselves go on without, as on kernels before 5.13",
    ),
    to("landlock_restrict_self", "programs that confine themselves go on without, as on kernels before 5.13"),
    to("map_shadow_stack", "glibc from 2.39: goes on without a shadow stack"),
    to("membarrier", "liburcu, .NET, Java: slower barriers of their own"),
    to("memfd_create", "systemd, Wayland, Mesa, Java: a deleted temporary file"),
    to("memfd_secret", "GnuTLS, systemd: locked memory"),
    to("mlock2", "glibc: mlock"),
    mount("mount_setattr"),
    mount("move_mount"),
    mount("open_tree"),
    to(
        "openat2",
        "libpathrs, systemd, tar, Samba, Go's containers' libraries: openat, component by component",
    ),
    to("pidfd_open", "CPython's asyncio, Go from 1.23, glibc, systemd: process ids"),
    to("pidfd_send_signal", "Go from 1.23, systemd: kill"),
    to("preadv2", "glibc, without flags: preadv"),
    to("process_mrelease", "out-of-memory daemons go on without"),
    to("pwritev2", "glibc, without flags: pwritev"),
    to("renameat2", "glibc without flags, coreutils: renameat"),
    to("rseq", "glibc from 2.35: goes on without, and asks the kernel for the CPU's number"),
    to("set_mempolicy_home_node", "new in Linux 5.17; its users go on without"),
    to("statx", "Rust, libuv, Qt, coreutils, glibc on 32 bits: newfstatat"),
];

/// What i386 programs try first, because it holds times after 2038.
pub(super) const I386: &[&str] = &[
    "clock_getres_time64",
    "clock_gettime64",
    "clock_nanosleep_time64",
    "futex_time64",
    "io_pgetevents_time64",
    "mq_timedreceive_time64",
    "mq_timedsend_time64",
    "ppoll_time64",
    "pselect6_time64",
    "recvmmsg_time64",
    "rt_sigtimedwait_time64",
    "sched_rr_get_interval_time64",
    "semtimedop_time64",
    "timer_gettime64",
    "timer_settime64",
    "timerfd_gettime64",
    "timerfd_settime64",
    "utimensat_time64",
];

/// What those who make this call do when it gets `ENOSYS`, if they are known to go on with something else.
pub fn reason(name: &str) -> Option<&'static str> {
    let of_table = || TABLE.iter().find(|entry| entry.name == name).map(|entry| entry.reason);
    let of_i386 = || I386.contains(&name).then_some("32-bit libraries: the call with times before 2038");
    of_table().or_else(of_i386)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::danger;

    #[test]
    fn the_table_is_sorted_known_and_free_of_dangers_but_those_that_mount_excuses() {
        assert!(TABLE.is_sorted_by(|a, b| a.name < b.name));
        for entry in TABLE {
            assert!(entry.name.parse::<syscalls::x86_64::Sysno>().is_ok(), "{}", entry.name);
            let dangerous = danger::reason(danger::SYSCALLS, entry.name).is_some();
            assert_eq!(dangerous, entry.only_with.is_some(), "{}", entry.name);
            assert!(!entry.reason.is_empty());
        }
        for name in I386 {
            assert!(name.parse::<syscalls::x86::Sysno>().is_ok(), "{name}");
            assert!(name.parse::<syscalls::x86_64::Sysno>().is_err(), "{name} is on x86-64 too");
        }
    }

    #[test]
    fn no_number_that_the_table_moves_below_runc_s_limit_is_forgotten() {
        for nr in 424..=456 {
            let name = syscalls::x86_64::Sysno::new(nr).unwrap().name();
            let dangerous = danger::reason(danger::SYSCALLS, name).is_some();
            assert!(dangerous || TABLE.iter().any(|entry| entry.name == name), "{name}");
        }
        let largest = TABLE.iter().map(|e| e.name.parse::<syscalls::x86_64::Sysno>().unwrap() as i32).max();
        assert_eq!(largest, Some(456));
    }

    #[test]
    fn the_documentation_lists_the_table() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/seccomp.md");
        let text = std::fs::read_to_string(path).unwrap();
        for entry in TABLE.iter().filter(|entry| entry.only_with.is_none()) {
            let row = format!("| `{}` | {} |", entry.name, entry.reason);
            assert!(text.contains(&row), "docs/seccomp.md lacks the line {row}");
        }
    }
}
