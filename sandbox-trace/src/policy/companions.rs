//! Calls that a program makes or not by timing and by the size of its input: a training run may well see none of them,
//! and production needs them. A call's companions are admitted with it; none gives anything that the seen call does not.
//!
//! Found by runs on other inputs: a shell's `wait` calls `rt_sigsuspend` only if the child still runs, and without it
//! turns in circles for ever.

/// What is admitted beside any of the first: `(seen, admitted, reason)`.
const COMPANIONS: &[(&[&str], &[&str], &str)] = &[
    (
        &["wait4", "waitid"],
        &["rt_sigprocmask", "rt_sigsuspend"],
        "shells wait for a child that still runs by waiting for its signal",
    ),
    (
        &["wait4", "waitid"],
        &["clock_nanosleep"],
        "who waits for a child with a time limit (CPython's subprocess) sleeps between two looks if it still runs",
    ),
    (
        &["brk", "mmap"],
        &["brk", "madvise", "mmap", "mremap", "munmap"],
        "an allocator takes, grows and gives back memory by the size of what it holds",
    ),
    (
        &["clone", "clone3", "futex"],
        &["futex", "sched_yield"],
        "threads wait for each other only when they meet",
    ),
    (
        &["brk", "mmap"],
        &["getpid", "gettid", "rt_sigprocmask", "tgkill", "writev"],
        "a C library that finds a fault says so and ends the program with SIGABRT",
    ),
    (
        &["connect"],
        &["getsockopt", "poll"],
        "a connection that is not there at once is waited for and asked how it went",
    ),
];

/// The companions of `name`.
pub fn of(name: &str) -> impl Iterator<Item = &'static str> {
    COMPANIONS
        .iter()
        .filter(move |(seen, _, _)| seen.contains(&name))
        .flat_map(|(_, companions, _)| companions.iter().copied())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{danger, safe};

    #[test]
    fn companions_are_known_harmless_and_have_a_reason() {
        for (seen, companions, reason) in COMPANIONS {
            assert!(!reason.is_empty());
            for name in seen.iter().chain(*companions) {
                assert!(name.parse::<syscalls::x86_64::Sysno>().is_ok(), "{name}");
                assert_eq!(danger::reason(danger::SYSCALLS, name), None, "{name}");
            }
            for name in *companions {
                assert!(safe::limit(name).is_none(), "{name}");
            }
        }
    }
}
