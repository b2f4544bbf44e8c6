//! The recorder on each kernel line that it supports, in guests: what it records, what is made of it, and that the
//! kernel enforces that.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use sandbox_trace_tests::{
    agent,
    command::require,
    confined,
    vm::{Guest, Kernel, Outcome, TESTS},
};
use serde_json::Value;

const PROGRAMS: [&str; 4] = [
    env!("CARGO_BIN_EXE_checks"),
    env!("CARGO_BIN_EXE_calls"),
    env!("CARGO_BIN_EXE_fileops"),
    env!("CARGO_BIN_EXE_workload"),
];

/// What the emitted seccomp filter must stop.
const ATTACKS: [&str; 3] = ["unshare", "mount", "ptrace"];

#[test]
fn linux_5_10() -> Result<()> {
    works_on(Kernel::V5_10)
}

#[test]
fn linux_6_1() -> Result<()> {
    works_on(Kernel::V6_1)
}

#[test]
fn linux_6_12() -> Result<()> {
    works_on(Kernel::V6_12)
}

fn works_on(kernel: Kernel) -> Result<()> {
    let mut guest = Guest::new(kernel)?;
    for name in ["strace", "true"] {
        guest = guest.with_program(&require(name)?)?;
    }
    for program in PROGRAMS {
        guest = guest.with_test_program(Path::new(program))?;
    }
    let outcome = guest.run(&script())?;
    println!("{}", outcome.console);
    let release = outcome.file("release")?;
    ensure!(release.starts_with(&format!("{kernel}.")), "booted {release}");
    doctor(&outcome).with_context(|| outcome.console.clone())?;
    ensure!(
        outcome.file("checks.status")?.trim() == "0",
        "the recorder's checks failed:\n{}",
        outcome.console
    );
    ensure!(outcome.status == 0, "the script stopped early:\n{}", outcome.console);
    confined::expect(&outcome, "recorded")?;
    filtered(&outcome)
}

/// Everything is in one script, as the boot is not what is tested.
fn script() -> String {
    let work = agent::work().join(" ");
    let mut script = format!(
        "uname -r > /out/release
sandbox-trace doctor --json > /out/doctor.json
echo $? > /out/doctor.status
{TESTS}/checks
echo $? > /out/checks.status
set -e
sandbox-trace record --hooks syscalls -o /out/recording.json -- {work}
sandbox-trace emit-seccomp /out/recording.json --runtime none -o /out/seccomp.json
sandbox-trace emit-apparmor /out/recording.json --name recorded -o /out/recorded
sandbox-trace verify /out/recording.json --seccomp /out/seccomp.json --apparmor /out/recorded
rm -r /tmp/agent
sandbox-trace run --seccomp /out/seccomp.json -- {work} > /out/filtered
rm -r /tmp/agent
apparmor_parser -r /out/recorded
set +e
"
    );
    for name in ATTACKS {
        let attack = agent::attack(name).join(" ");
        script += &format!("sandbox-trace run --seccomp /out/seccomp.json -- {attack} > /out/{name} 2>&1\n");
    }
    script + &confined::runs("recorded") + "exit 0\n"
}

fn doctor(outcome: &Outcome) -> Result<()> {
    let report: Value = serde_json::from_str(&outcome.file("doctor.json")?)?;
    ensure!(outcome.file("doctor.status")?.trim() == "0" && report["can_record"] == true, "{report:#}");
    let checks = report["checks"].as_array().context("no checks")?;
    let missing: Vec<&Value> = checks.iter().filter(|check| check["status"] == "missing").collect();
    ensure!(missing.is_empty(), "doctor misses {missing:#?}");
    Ok(())
}

/// The agent works under the filter, which stops the attacks.
fn filtered(outcome: &Outcome) -> Result<()> {
    agent::expect_worked(&outcome.file("filtered")?)?;
    for name in ATTACKS {
        let answer = agent::attack_result(&outcome.file(name)?)?;
        ensure!(answer.as_deref() == Some("EPERM"), "{name}: {answer:?}");
    }
    Ok(())
}
