//! The tracers that sandbox-trace is compared with.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;

use super::{
    cgroups::Group,
    running::{Listen, Running},
};
use crate::process;

/// Counts all calls of all processes by number, as a person would who wants a seccomp profile.
const COUNT_BY_ID: &str = "tracepoint:raw_syscalls:sys_enter { @calls[args->id] = count(); } \
     interval:ms:100 { printf(\"ready\\n\"); }";

/// bpftrace looks tracepoints up in tracefs, which not every machine has mounted: in a mount namespace of its own.
const WITH_TRACEFS: &str = "[ -d /sys/kernel/tracing/events ] || mount -t tracefs tracefs /sys/kernel/tracing
[ -d /sys/kernel/debug/tracing/events ] || mount -t debugfs debugfs /sys/kernel/debug
exec bpftrace -e \"$1\" 2>&1";

/// strace on a process and all that it starts, its output thrown away.
pub fn strace(pid: u32, place: &Group) -> Result<Running> {
    let program = process::find("strace").context("strace is not installed")?;
    let mut command = Command::new(program);
    command.args(["-f", "-o", "/dev/null", "-p", &pid.to_string()]);
    let mut strace = Running::spawn(&mut command, place, Listen::Stderr)?;
    strace.expect("a process", |line| line.contains(" attached"))?;
    Ok(strace)
}

/// Ends strace; what it followed goes on.
pub fn end_strace(strace: Running) -> Result<()> {
    strace.signal(Signal::SIGINT)?;
    strace.wait().map(drop)
}

/// bpftrace, attached.
pub fn bpftrace(place: &Group) -> Result<Running> {
    process::find("bpftrace").context("bpftrace is not installed")?;
    let mut command = Command::new("unshare");
    command.args(["--mount", "--", "sh", "-c", WITH_TRACEFS, "sh", COUNT_BY_ID]);
    let mut bpftrace = Running::spawn(&mut command, place, Listen::Stdout)?;
    // The clock may begin before the tracepoint is attached, but not two ticks before.
    for _ in 0..3 {
        bpftrace.expect("its first ticks", |line| line == "ready")?;
    }
    Ok(bpftrace)
}

/// Ends bpftrace, which must have counted at least this many calls.
pub fn end_bpftrace(bpftrace: Running, at_least: u64) -> Result<()> {
    bpftrace.signal(Signal::SIGINT)?;
    let ended = bpftrace.wait()?;
    let counted = ended.said.iter().filter_map(|line| count(line)).sum::<u64>();
    ensure!(
        counted >= at_least,
        "bpftrace counted {counted} calls of at least {at_least}; it said: {}",
        ended
            .said
            .iter()
            .filter(|line| !line.is_empty() && *line != "ready" && count(line).is_none())
            .cloned()
            .collect::<Vec<_>>()
            .join(" / ")
    );
    Ok(())
}

/// The count in a line like `@calls[110]: 1500000`.
fn count(line: &str) -> Option<u64> {
    let (_, count) = line.strip_prefix("@calls[")?.split_once("]: ")?;
    count.parse().ok()
}

#[cfg(test)]
mod tests {
    #[test]
    fn counts_are_told_from_other_lines() {
        assert_eq!(super::count("@calls[110]: 1500000"), Some(1_500_000));
        assert_eq!(super::count("Attaching 2 probes..."), None);
    }
}
