//! What a recording of each of `calls`' groups must say, and of a task that is blocked at the end.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::{
    cgroup::Cgroup,
    command::{self, Background},
    product::Recorder,
    recorded::Recorded,
};

/// `calls i386`: a call of the 32-bit gate is not taken for the 64-bit one of that number.
pub fn i386(recorded: &Recorded, calls: &Path) -> Result<()> {
    let call = recorded.call("i386", "getpid").context("no getpid of i386")?;
    ensure!(call["nr"] == 20 && call["succeeded"] == true && call["count"] == 1, "{call}");
    let mistaken = recorded.call("x86_64", "writev").map(|call| recorded.by(call)).unwrap_or_default();
    ensure!(!mistaken.contains(&name_of(calls)?), "it was taken for writev");
    by_only(recorded, call, calls)
}

/// `calls signal`: what never returns, or leaves no number.
pub fn signal(recorded: &Recorded, calls: &Path) -> Result<()> {
    for name in ["execve", "rt_sigreturn", "exit_group"] {
        let call = recorded.call("x86_64", name).with_context(|| format!("no {name}"))?;
        ensure!(recorded.by(call).contains(&name_of(calls)?), "{call} not by {}", calls.display());
    }
    Ok(())
}

/// `calls arguments`: each as it was.
pub fn arguments(recorded: &Recorded) -> Result<()> {
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

/// `calls ids`: who the program was, and which capabilities it used.
pub fn ids_and_capabilities(recorded: &Recorded, calls: &Path) -> Result<()> {
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
            by_only(recorded, used, calls)?;
        }
    } else {
        // The tracepoint came with Linux 6.14: on a kernel that has it, not seeing is a failure.
        ensure!(!Path::new("/sys/kernel/tracing/events/capability").exists(), "not observed");
        ensure!(!recorded.list("capabilities").iter().any(|_| true), "seen without a hook");
    }
    let resources = &recorded.json["resources"];
    for name in ["memory_peak_bytes", "pids_peak", "cpu_usec"] {
        if name == "memory_peak_bytes" && fs::read_to_string("/proc/sys/kernel/osrelease")?.starts_with("5.")
        {
            // The file memory.peak came with Linux 5.19.
            continue;
        }
        ensure!(resources[name].as_u64().is_some_and(|n| n > 0), "no {name} in {resources}");
    }
    Ok(())
}

/// `calls network PLACE`: sockets and their addresses; `said` is what it wrote.
pub fn network(recorded: &Recorded, calls: &Path, place: &Path, said: &str) -> Result<()> {
    let port = said.trim();
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
        let fact = find(granted, operation, family, kind, address)?;
        // Other programs of one recording may have sockets, too.
        ensure!(recorded.by(&fact).contains(&name_of(calls)?), "{fact} by {:?}", recorded.by(&fact));
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

/// `workload idle` in a cgroup that is recorded: the call that it has not returned from is known.
pub fn blocked_at_the_end(workload: &Path) -> Result<()> {
    command::require_root()?;
    let dir = tempfile::tempdir()?;
    let cgroup = Cgroup::create()?;
    let recorder = Recorder::start(cgroup.path(), dir.path())?;
    let script = "echo $$ >\"$0/cgroup.procs\" && exec \"$1\" idle 1000";
    let child = Command::new("sh")
        .args(["-c", script])
        .arg(cgroup.path())
        .arg(workload)
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

/// The fact is the test program's, and nobody else's.
pub fn by_only(recorded: &Recorded, fact: &Value, program: &Path) -> Result<()> {
    let by = recorded.by(fact);
    ensure!(by == BTreeSet::from([name_of(program)?]), "{fact} by {by:?}");
    Ok(())
}

fn name_of(program: &Path) -> Result<String> {
    Ok(fs::canonicalize(program)?.display().to_string())
}
