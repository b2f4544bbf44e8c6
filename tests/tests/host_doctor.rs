//! `doctor` on this host: as root, with a kernel that hides its types, and as nobody.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    process::{Command, Output},
};

use anyhow::{Context, Result, ensure};
use sandbox_trace_tests::{command, product};
use serde_json::Value;

const HOST_LACKS_SOMETHING: i32 = 5;

fn checks(output: &Output) -> Result<Value> {
    let report: Value = serde_json::from_slice(&output.stdout)
        .with_context(|| format!("not JSON: {}", String::from_utf8_lossy(&output.stdout)))?;
    ensure!(report["schema"] == "sandbox-trace/doctor/v1", "{report}");
    Ok(report)
}

fn check<'a>(report: &'a Value, id: &str) -> Result<&'a Value> {
    let list = report["checks"].as_array().context("no checks")?;
    list.iter().find(|check| check["id"] == id).with_context(|| format!("no check {id}: {report}"))
}

#[test]
fn root_can_record_here() -> Result<()> {
    command::require_root()?;
    let output = command::run(Command::new(product::binary()?).args(["doctor", "--json"]))?;
    let report = checks(&output)?;
    ensure!(output.status.code() == Some(0), "{report}");
    ensure!(report["can_record"] == true, "{report}");
    for id in ["privileges", "kernel", "btf", "program.sys_exit", "program.sys_exit_file", "cgroup", "runc"] {
        ensure!(check(&report, id)?["status"] != "missing", "{report}");
    }
    for check in report["checks"].as_array().context("no checks")? {
        ensure!((check["status"] == "ok") == check["fix"].is_null(), "{check}");
    }
    let text = product::sandbox_trace(["doctor"])?;
    let verdict = text.lines().last().context("nothing said")?;
    ensure!(verdict.contains("`sandbox-trace record` works on this host"), "{text}");
    ensure!(product::sandbox_trace(["doctor", "--quiet"])?.is_empty());
    Ok(())
}

#[test]
fn a_kernel_without_type_information_is_told_with_the_fix() -> Result<()> {
    command::require_root()?;
    let doctor = |args: &[&str]| {
        let mut command = Command::new(product::binary()?);
        command::run(command.arg("doctor").args(args).env("SANDBOX_TRACE_BTF", "/nonexistent"))
    };
    let output = doctor(&["--json"])?;
    let report = checks(&output)?;
    ensure!(output.status.code() == Some(HOST_LACKS_SOMETHING), "{report}");
    ensure!(report["can_record"] == false, "{report}");
    let btf = check(&report, "btf")?;
    ensure!(btf["status"] == "missing", "{btf}");
    ensure!(btf["found"].as_str().is_some_and(|found| found.contains("/nonexistent")), "{btf}");
    let fix = btf["fix"].as_str().context("no fix")?;
    ensure!(fix.contains("SANDBOX_TRACE_BTF") && fix.contains("CONFIG_DEBUG_INFO_BTF=y"), "{btf}");
    ensure!(check(&report, "program.sys_exit")?["status"] == "missing", "{report}");
    // What does not need the kernel's types is looked at all the same.
    ensure!(check(&report, "cgroup")?["status"] == "ok", "{report}");

    let output = doctor(&[])?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.code() == Some(HOST_LACKS_SOMETHING), "{text}");
    ensure!(text.lines().last().is_some_and(|line| line.contains("can't work on this host")), "{text}");
    Ok(())
}

#[test]
fn nobody_is_told_that_root_is_missing() -> Result<()> {
    command::require_root()?;
    // Where the binary is built, others may not look.
    let dir = tempfile::tempdir()?;
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))?;
    let binary = dir.path().join("sandbox-trace");
    fs::copy(product::binary()?, &binary)?;
    let output = command::run(
        Command::new(command::require("setpriv")?)
            .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .arg(&binary)
            .args(["doctor", "--json"])
            .current_dir("/"),
    )?;
    let report = checks(&output)?;
    ensure!(output.status.code() == Some(HOST_LACKS_SOMETHING), "{report}");
    ensure!(report["can_record"] == false, "{report}");
    let privileges = check(&report, "privileges")?;
    ensure!(privileges["status"] == "missing", "{privileges}");
    ensure!(privileges["fix"].as_str().is_some_and(|fix| fix.contains("root")), "{privileges}");
    ensure!(check(&report, "libseccomp")?["status"] == "ok", "{report}");
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(!stderr.contains("panicked"), "{stderr}");
    Ok(())
}
