//! The independent witness: every call that strace sees in a second run of a command is in the recording of the first.

use std::{collections::BTreeSet, ffi::OsStr, fs, process::Command};

use anyhow::{Result, ensure};

use crate::{
    command,
    recorded::{Recorded, record},
};

/// Calls that one run makes and another doesn't, whoever looks.
const BY_CHANCE: [(&str, &str); 6] = [
    ("futex", "made only when a lock is taken"),
    ("sched_yield", "made only when a lock is taken"),
    ("restart_syscall", "made when a stop by the tracer interrupts a wait"),
    ("madvise", "made when a thread's stack is given back, or is cached"),
    ("munmap", "made when a thread's stack is given back, or is cached"),
    ("rt_sigreturn", "made when a signal comes while its handler is still set"),
];

/// Records a command, runs it once more under strace, and compares.
pub fn compare(line: &[&OsStr]) -> Result<Recorded> {
    let dir = tempfile::tempdir()?;
    let recorded = record(dir.path(), line)?;
    let log = dir.path().join("strace");
    command::succeed(Command::new(command::require("strace")?).args(["-f", "-o"]).arg(&log).args(line))?;
    let witnessed = names(&String::from_utf8_lossy(&fs::read(&log)?));
    ensure!(witnessed.len() > 5, "strace saw {witnessed:?}");
    let seen = recorded.calls("x86_64");
    let missing: Vec<&String> = witnessed
        .difference(&seen)
        .filter(|name| !BY_CHANCE.iter().any(|(chance, _)| chance == name))
        .collect();
    ensure!(missing.is_empty(), "strace saw {missing:?}, the recording has only {seen:?}");
    for name in ["execve", "exit_group"] {
        ensure!(seen.contains(name), "no {name}");
    }
    Ok(recorded)
}

/// The names in strace's log: `PID name(arguments) = result`; the resumption of a call has its name, too.
fn names(log: &str) -> BTreeSet<String> {
    let name = |line: &str| -> Option<String> {
        let (_, rest) = line.split_once(' ')?;
        let rest = rest.trim_start();
        let name = match rest.strip_prefix("<... ") {
            Some(resumed) => resumed.split(' ').next()?,
            None => rest.split_once('(')?.0,
        };
        let is_name =
            name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
        is_name.then(|| name.to_owned())
    };
    log.lines().filter_map(name).collect()
}
