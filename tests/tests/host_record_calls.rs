//! Completeness: every call that strace sees is in the recording; and what sees less is told what it can't see.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use sandbox_trace_tests::{
    cgroup::Cgroup,
    command::{self, Background},
    product::Recorder,
    recorded::{Recorded, record, record_with_output},
};
use serde_json::Value;

const CALLS: &str = env!("CARGO_BIN_EXE_calls");
const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");

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
fn compare(line: &[&OsStr]) -> Result<Recorded> {
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
    let call = recorded.call("i386", "getpid").context("no getpid of i386")?;
    ensure!(call["nr"] == 20 && call["succeeded"] == true && call["count"] == 1, "{call}");
    ensure!(recorded.call("x86_64", "writev").is_none(), "it was taken for writev");
    by_calls(&recorded, call)
}

#[test]
fn what_never_returns_or_has_no_number_is_seen() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let recorded = record(dir.path(), [CALLS, "signal"])?;
    for name in ["execve", "rt_sigreturn", "exit_group"] {
        let call = recorded.call("x86_64", name).with_context(|| format!("no {name}"))?;
        ensure!(call["count"] == 1, "{call}");
        by_calls(&recorded, call)?;
    }
    Ok(())
}

#[test]
fn a_call_that_a_task_is_blocked_in_at_the_end_is_seen() -> Result<()> {
    command::require_root()?;
    let dir = tempfile::tempdir()?;
    let cgroup = Cgroup::create()?;
    let recorder = Recorder::start(cgroup.path(), dir.path())?;
    let script = "echo $$ >\"$0/cgroup.procs\" && exec \"$1\" idle 1000";
    let child = Command::new("sh")
        .args(["-c", script])
        .arg(cgroup.path())
        .arg(WORKLOAD)
        .stdin(Stdio::null())
        .spawn()
        .context("can't start the workload")?;
    let mut idle = Background(child);
    let status = format!("/proc/{}/syscall", idle.0.id());
    // clock_nanosleep has the number 230.
    command::wait_until("sleep", Duration::from_secs(20), || {
        Ok(fs::read_to_string(&status)?.starts_with("230 "))
    })?;
    let recorded = Recorded::load(&recorder.stop(Signal::SIGINT)?)?;
    idle.stop();
    let call = recorded.call("x86_64", "clock_nanosleep").context("no clock_nanosleep")?;
    ensure!(call["count"] == 1, "{call}");
    ensure!(recorded.json["target"]["ended"] == "signal", "{}", recorded.json["target"]);
    ensure!(recorded.call("x86_64", "exit_group").is_none(), "it has not ended");
    Ok(())
}

#[test]
fn arguments_are_recorded_as_they_were() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let recorded = record(dir.path(), [CALLS, "arguments"])?;
    let has = |name: &str, position: u8, values: &[u64]| {
        let found = recorded.arguments("x86_64", name, position);
        ensure!(
            values.iter().all(|value| found.contains(value)),
            "{name} {position}: {found:?}, not {values:?}"
        );
        Ok(())
    };
    has("prctl", 0, &[3, 38])?;
    has("ioctl", 1, &[0x5413])?;
    has("socket", 0, &[1, 16])?;
    has("socket", 1, &[0x8_0002, 0x8_0003])?;
    has("clone", 0, &[17])?;
    // A thread is made with the flags of pthread_create, by clone3 or, where a filter hides that one, by clone.
    const THREAD: u64 = 0x0001_0f00;
    let flags: Vec<u64> =
        ["clone3", "clone"].iter().flat_map(|name| recorded.arguments("x86_64", name, 0)).collect();
    ensure!(flags.iter().any(|flags| flags & THREAD == THREAD), "{flags:x?}");
    Ok(())
}

#[test]
fn ids_and_capabilities() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let recorded = record(dir.path(), [CALLS.as_ref(), "ids".as_ref(), dir.path().as_os_str()])?;
    let ids: BTreeSet<(u64, u64)> = recorded
        .list("credentials")
        .iter()
        .filter_map(|ids| Some((ids["uid"].as_u64()?, ids["gid"].as_u64()?)))
        .collect();
    ensure!(ids == BTreeSet::from([(0, 0), (0, 65533), (65534, 65533)]), "{ids:?}");
    let observed = recorded.json["host"]["observed"].as_array().context("nothing observed")?;
    if observed.iter().any(|kind| kind == "capabilities") {
        for name in ["chown", "setuid", "setgid"] {
            let used =
                recorded.list("capabilities").iter().find(|c| c["name"] == name && c["granted"] == true);
            let used = used.with_context(|| format!("no capability {name}"))?;
            ensure!(used["probe"] == false, "{used}");
            by_calls(&recorded, used)?;
        }
    } else {
        // The tracepoint came with Linux 6.14: on a kernel that has it, not seeing is a failure.
        ensure!(!Path::new("/sys/kernel/tracing/events/capability").exists(), "not observed");
        ensure!(!recorded.list("capabilities").iter().any(|_| true), "seen without a hook");
    }
    let resources = &recorded.json["resources"];
    for name in ["memory_peak_bytes", "pids_peak", "cpu_usec"] {
        ensure!(resources[name].as_u64().is_some_and(|n| n > 0), "no {name} in {resources}");
    }
    Ok(())
}

#[test]
fn sockets_and_their_addresses() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let place = fs::canonicalize(dir.path())?;
    let (recorded, output) =
        record_with_output(&place, [CALLS.as_ref(), "network".as_ref(), place.as_os_str()])?;
    let port = String::from_utf8(output.stdout)?;
    let port = port.trim();
    let path = |name: &str| format!("unix:{}/{name}", place.display());
    let granted = recorded.list("network");
    let failed = recorded.json["failed"]["network"].as_array().context("no failed network")?;
    let find = |list: &[Value], operation: &str, family: &str, kind: &str, address: Option<&str>| {
        let wanted = |n: &&Value| {
            n["operation"] == operation
                && n["family"] == family
                && n["socket_type"] == kind
                && n["address"].as_str() == address
        };
        let found = list.iter().find(wanted).cloned();
        found.with_context(|| format!("no {operation} {family} {kind} {address:?} in {list:#?}"))
    };
    let server = format!("127.0.0.1:{port}");
    for (operation, family, kind, address) in [
        ("socket", "inet", "stream", None),
        ("socket", "inet", "dgram", None),
        ("socket", "unix", "stream", None),
        ("socketpair", "unix", "stream", None),
        ("bind", "inet", "stream", Some("127.0.0.1:0")),
        ("connect", "inet", "stream", Some(server.as_str())),
        ("sendto", "inet", "dgram", Some(server.as_str())),
        ("bind", "unix", "stream", Some(path("stream.socket").as_str())),
        ("connect", "unix", "stream", Some(path("stream.socket").as_str())),
        ("bind", "unix", "stream", Some("unix:@sandbox-trace-test")),
        ("connect", "unix", "stream", Some("unix:@sandbox-trace-test")),
    ] {
        by_calls(&recorded, &find(granted, operation, family, kind, address)?)?;
    }
    let refused = find(failed, "connect", "inet", "stream", Some("127.0.0.1:1"))?;
    ensure!(refused["error"] == "ECONNREFUSED", "{refused}");
    let missing = find(failed, "connect", "unix", "stream", Some(&path("missing.socket")))?;
    ensure!(missing["error"] == "ENOENT", "{missing}");
    if Path::new("/proc/net/if_inet6").exists() {
        let all = [granted, failed].concat();
        find(&all, "bind", "inet6", "stream", Some("[::1]:0"))?;
        find(&all, "connect", "inet6", "stream", Some("[::1]:1"))?;
    }
    Ok(())
}

/// The fact is the test program's, and nobody else's.
fn by_calls(recorded: &Recorded, fact: &Value) -> Result<()> {
    let by = recorded.by(fact);
    ensure!(by == BTreeSet::from([fs::canonicalize(CALLS)?.display().to_string()]), "{fact} by {by:?}");
    Ok(())
}
