//! Record → emit-seccomp → verify → run again under the filter, with a real Docker engine.

use std::{ffi::OsStr, fs};

use anyhow::{Context, Result, ensure};
use sandbox_trace_tests::{
    agent,
    cgroup::Cgroup,
    command,
    docker::Engine,
    product::{Recorder, sandbox_trace},
    seccomp,
};

const ATTACKS: [&str; 3] = ["mount", "ptrace", "unshare"];
const RUNS: u32 = 10;

fn work(engine: &Engine, seccomp: Option<&OsStr>) -> Result<()> {
    let cgroup = Cgroup::create()?;
    let output = engine.run(&cgroup, seccomp, &agent::work())?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    agent::expect_worked(&String::from_utf8_lossy(&output.stdout))
}

fn attack(engine: &Engine, seccomp: Option<&OsStr>, name: &str) -> Result<Option<String>> {
    let cgroup = Cgroup::create()?;
    let output = engine.run(&cgroup, seccomp, &agent::attack(name))?;
    agent::attack_result(&String::from_utf8_lossy(&output.stdout))
        .with_context(|| format!("attack {name}: {}", String::from_utf8_lossy(&output.stderr)))
}

/// What the other test rests on: nothing but the filter stops an attack, and a filter does stop it.
#[test]
fn attacks_work_without_a_filter_and_not_with_one() -> Result<()> {
    command::require_root()?;
    let dir = tempfile::tempdir()?;
    let engine = Engine::start()?;
    let filter = dir.path().join("filter.json");
    fs::write(&filter, seccomp::all_but(&ATTACKS).to_string())?;
    work(&engine, Some(filter.as_os_str()))?;
    for name in ATTACKS {
        let open = attack(&engine, Some(OsStr::new("unconfined")), name)?;
        ensure!(open.is_none(), "{name} is denied without a filter: {open:?}");
        let filtered = attack(&engine, Some(filter.as_os_str()), name)?;
        ensure!(filtered.as_deref() == Some("EPERM"), "{name} is not denied");
    }
    Ok(())
}

/// Recorded under Docker's default profile, as it would be in production.
#[test]
fn a_recorded_profile_blocks_nothing_needed() -> Result<()> {
    command::require_root()?;
    let dir = tempfile::tempdir()?;
    let engine = Engine::start()?;

    let cgroup = Cgroup::create()?;
    let recorder = Recorder::start(cgroup.path(), dir.path())?;
    let output = engine.run(&cgroup, None, &agent::work())?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let recording = recorder.finish()?;

    let profile = dir.path().join("seccomp.json");
    sandbox_trace([
        "emit-seccomp".as_ref(),
        recording.as_os_str(),
        "--runtime".as_ref(),
        "docker".as_ref(),
        "-o".as_ref(),
        profile.as_os_str(),
    ])?;
    sandbox_trace(["verify".as_ref(), recording.as_os_str(), "--seccomp".as_ref(), profile.as_os_str()])?;
    for run in 1..=RUNS {
        work(&engine, Some(profile.as_os_str())).with_context(|| format!("run {run} of {RUNS}"))?;
    }
    for name in ATTACKS {
        let answer = attack(&engine, Some(profile.as_os_str()), name)?;
        ensure!(answer.is_some(), "{name} works under the emitted profile");
    }
    Ok(())
}
