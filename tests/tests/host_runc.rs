//! Record → emit-seccomp → verify → run again under the filter, with real runc on this machine's kernel.

use std::{fs, path::Path};

use anyhow::{Context, Result, ensure};
use sandbox_trace_tests::{
    agent,
    cgroup::Cgroup,
    command,
    product::{Recorder, sandbox_trace},
    runc::{Bundle, Options},
    seccomp,
};
use serde_json::Value;

const ATTACKS: [&str; 3] = ["mount", "ptrace", "unshare"];
const RUNS: u32 = 10;

fn work(bundle: &Bundle, options: &Options<'_>) -> Result<()> {
    let cgroup = Cgroup::create()?;
    let output = bundle.run(&cgroup, options, &agent::work())?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}\n{stderr}", output.status);
    agent::expect_worked(&String::from_utf8_lossy(&output.stdout))
}

fn attack(bundle: &Bundle, options: &Options<'_>, name: &str) -> Result<Option<String>> {
    let cgroup = Cgroup::create()?;
    let output = bundle.run(&cgroup, options, &agent::attack(name))?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    agent::attack_result(&String::from_utf8_lossy(&output.stdout))
        .with_context(|| format!("attack {name}: {}\n{stderr}", output.status))
}

/// What the other tests rest on: nothing but the filter stops an attack, and a filter does stop it.
#[test]
fn attacks_work_without_a_filter_and_not_with_one() -> Result<()> {
    command::require_root()?;
    let dir = tempfile::tempdir()?;
    let bundle = Bundle::create(dir.path())?;
    let filter = seccomp::all_but(&ATTACKS);
    for no_new_privileges in [true, false] {
        let open = Options { seccomp: None, no_new_privileges };
        let filtered = Options { seccomp: Some(&filter), no_new_privileges };
        work(&bundle, &open)?;
        work(&bundle, &filtered)?;
        for name in ATTACKS {
            ensure!(attack(&bundle, &open, name)?.is_none(), "{name} is denied without a filter");
            ensure!(attack(&bundle, &filtered, name)?.as_deref() == Some("EPERM"), "{name} is not denied");
        }
    }
    Ok(())
}

#[test]
fn a_profile_recorded_without_a_filter_blocks_nothing_needed() -> Result<()> {
    flow(None)
}

#[test]
fn a_profile_recorded_under_an_allow_all_filter_blocks_nothing_needed() -> Result<()> {
    flow(Some(&seccomp::all_but(&[])))
}

/// The whole way, with the recording made under `recorded_under`.
fn flow(recorded_under: Option<&Value>) -> Result<()> {
    command::require_root()?;
    let dir = tempfile::tempdir()?;
    let bundle = Bundle::create(&dir.path().join("bundle"))?;
    let recording = record(&bundle, recorded_under, dir.path())?;

    let profile = dir.path().join("seccomp.json");
    sandbox_trace([
        "emit-seccomp".as_ref(),
        recording.as_os_str(),
        "--runtime".as_ref(),
        "runc".as_ref(),
        "-o".as_ref(),
        profile.as_os_str(),
    ])?;
    sandbox_trace(["verify".as_ref(), recording.as_os_str(), "--seccomp".as_ref(), profile.as_os_str()])?;

    let filter: Value = serde_json::from_slice(&fs::read(&profile)?)?;
    for no_new_privileges in [true, false] {
        let options = Options { seccomp: Some(&filter), no_new_privileges };
        for run in 1..=RUNS {
            work(&bundle, &options)
                .with_context(|| format!("run {run} of {RUNS}, no_new_privileges {no_new_privileges}"))?;
        }
        for name in ATTACKS {
            ensure!(attack(&bundle, &options, name)?.is_some(), "{name} works under the emitted profile");
        }
    }
    Ok(())
}

fn record(bundle: &Bundle, seccomp: Option<&Value>, dir: &Path) -> Result<std::path::PathBuf> {
    let cgroup = Cgroup::create()?;
    let recorder = Recorder::start(cgroup.path(), dir)?;
    let output = bundle.run(&cgroup, &Options { seccomp, no_new_privileges: true }, &agent::work())?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    agent::expect_worked(&String::from_utf8_lossy(&output.stdout))?;
    recorder.finish()
}
