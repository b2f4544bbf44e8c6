//! Completeness: every call that strace sees is in the recording; and what sees less is told what it can't see.

use std::{collections::BTreeSet, fs, path::Path};

use anyhow::{Context, Result, ensure};
use sandbox_trace_tests::{
    checks::{calls, witness::compare},
    command,
    recorded::{record, record_with_output},
};

const CALLS: &str = env!("CARGO_BIN_EXE_calls");
const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");

#[test]
fn threaded_python() -> Result<()> {
    let program = "import threading, queue, time, os, tempfile\n\
        q = queue.Queue()\n\
        def work():\n    for _ in range(50): q.put(os.getpid()); time.sleep(0.0005)\n\
        ts = [threading.Thread(target=work) for _ in range(8)]\n\
        [t.start() for t in ts]; [t.join() for t in ts]\n\
        with tempfile.TemporaryFile() as f: f.write(b'x')\n";
    let python = command::require("python3")?;
    let recorded =
        compare(&[python.as_ref(), "-I".as_ref(), "-B".as_ref(), "-c".as_ref(), program.as_ref()])?;
    let peak = recorded.json["resources"]["pids_peak"].as_u64();
    ensure!(peak.is_some_and(|tasks| tasks >= 1), "{}", recorded.json["resources"]);
    Ok(())
}

#[test]
fn a_shell_pipeline() -> Result<()> {
    let script = "ls / | sort -r | head -2 >/dev/null; cat /etc/passwd | wc -l; (exit 3) || true";
    let recorded = compare(&["sh".as_ref(), "-c".as_ref(), script.as_ref()])?;
    let executed: BTreeSet<&str> = recorded
        .list("executables")
        .iter()
        .filter(|executable| executable["executed"] == true)
        .filter_map(|executable| executable["path"].as_str()?.rsplit('/').next())
        .collect();
    for name in ["ls", "sort", "head", "cat", "wc"] {
        ensure!(executed.contains(name), "{name} is not among {executed:?}");
    }
    Ok(())
}

#[test]
fn a_storm_of_short_processes() -> Result<()> {
    let script = "i=0; while [ $i -lt 500 ]; do /bin/true; i=$((i+1)); done";
    let recorded = compare(&["sh".as_ref(), "-c".as_ref(), script.as_ref()])?;
    let count = |name: &str| recorded.call("x86_64", name).and_then(|call| call["count"].as_u64());
    ensure!(count("execve") == Some(501), "{:?} executions", count("execve"));
    ensure!(count("exit_group") == Some(501), "{:?} exits", count("exit_group"));
    Ok(())
}

#[test]
fn a_static_binary() -> Result<()> {
    let busybox = command::require("busybox")?;
    let script = "busybox ls / | busybox wc -l";
    compare(&[busybox.as_ref(), "sh".as_ref(), "-c".as_ref(), script.as_ref()]).map(drop)
}

#[test]
fn a_git_commit() -> Result<()> {
    // Git is no component of the tests; where it is there, it is a good workload.
    command::require("git")?;
    let script = "d=$(mktemp -d) && cd $d && git init -q . && echo x >f && git add f && \
        git -c user.name=t -c user.email=t@t -c gc.auto=0 commit -qm t; r=$?; cd / && rm -r $d; exit $r";
    compare(&["sh".as_ref(), "-c".as_ref(), script.as_ref()]).map(drop)
}

#[test]
fn a_call_of_the_32_bit_gate_is_not_taken_for_a_64_bit_one() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let recorded = record(dir.path(), [CALLS, "i386"])?;
    ensure!(recorded.call("x86_64", "writev").is_none(), "it was taken for writev");
    calls::i386(&recorded, Path::new(CALLS))
}

#[test]
fn what_never_returns_or_has_no_number_is_seen() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let recorded = record(dir.path(), [CALLS, "signal"])?;
    for name in ["execve", "rt_sigreturn", "exit_group"] {
        let call = recorded.call("x86_64", name).with_context(|| format!("no {name}"))?;
        ensure!(call["count"] == 1, "{call}");
        calls::by_only(&recorded, call, Path::new(CALLS))?;
    }
    calls::signal(&recorded, Path::new(CALLS))
}

#[test]
fn a_call_that_a_task_is_blocked_in_at_the_end_is_seen() -> Result<()> {
    calls::blocked_at_the_end(Path::new(WORKLOAD))
}

#[test]
fn arguments_are_recorded_as_they_were() -> Result<()> {
    let dir = tempfile::tempdir()?;
    calls::arguments(&record(dir.path(), [CALLS, "arguments"])?)
}

#[test]
fn ids_and_capabilities() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let recorded = record(dir.path(), [CALLS.as_ref(), "ids".as_ref(), dir.path().as_os_str()])?;
    calls::ids_and_capabilities(&recorded, Path::new(CALLS))
}

#[test]
fn sockets_and_their_addresses() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let place = fs::canonicalize(dir.path())?;
    let line = [CALLS.as_ref(), "network".as_ref(), place.as_os_str()];
    let (recorded, output) = record_with_output(&place, line)?;
    calls::network(&recorded, Path::new(CALLS), &place, &String::from_utf8(output.stdout)?)
}
