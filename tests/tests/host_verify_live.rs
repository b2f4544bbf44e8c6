//! `verify --live`: a second run under the profiles is told from the first.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use anyhow::{Context, Result, ensure};
use sandbox_trace_tests::{
    command,
    product::{binary, sandbox_trace},
    recorded::record_with_output,
};
use serde_json::Value;

const SCRIPT: &str = "mkdir \"$0/d\" && cat /etc/hostname > \"$0/d/f\" && rm -r \"$0/d\" && echo done";

struct First {
    dir: tempfile::TempDir,
    recording: PathBuf,
    seccomp: PathBuf,
}

impl First {
    fn run() -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let words = ["sh".as_ref(), "-c".as_ref(), SCRIPT.as_ref(), dir.path().as_os_str()];
        let recording = record_with_output(dir.path(), words)?.0.path;
        let seccomp = dir.path().join("seccomp.json");
        let runtime = ["--runtime", "none", "-o"].map(AsRef::as_ref);
        sandbox_trace(
            ["emit-seccomp".as_ref(), recording.as_os_str()]
                .into_iter()
                .chain(runtime)
                .chain([seccomp.as_os_str()]),
        )?;
        Ok(Self { dir, recording, seccomp })
    }

    fn verify(&self, options: &[&str], seccomp: &Path, script: &str) -> Result<Output> {
        let mut verify = Command::new(binary()?);
        verify.arg("verify").arg(&self.recording).args(options).arg("--seccomp").arg(seccomp);
        verify.args(["--live", "--", "sh", "-c", script]).arg(self.dir.path());
        command::run(&mut verify)
    }

    fn json(&self, seccomp: &Path, script: &str) -> Result<(Value, Option<i32>)> {
        let output = self.verify(&["--json"], seccomp, script)?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let value: Value = serde_json::from_slice(&output.stdout).with_context(|| said)?;
        Ok((value["live"].clone(), output.status.code()))
    }

    /// The profile without some calls, which end a task if `kill` says so.
    fn without(&self, names: &[&str], kill: bool) -> Result<PathBuf> {
        let mut profile: Value = serde_json::from_slice(&fs::read(&self.seccomp)?)?;
        let rules = profile["syscalls"].as_array_mut().context("no rules")?;
        for rule in rules.iter_mut() {
            let list = rule["names"].as_array_mut().context("no names")?;
            list.retain(|name| !names.iter().any(|gone| name == gone));
        }
        rules.retain(|rule| rule["names"].as_array().is_some_and(|names| !names.is_empty()));
        if kill {
            rules.push(serde_json::json!({ "names": names, "action": "SCMP_ACT_KILL_PROCESS" }));
        }
        let file = self.dir.path().join("edited.json");
        fs::write(&file, serde_json::to_vec(&profile)?)?;
        Ok(file)
    }
}

fn denied(live: &Value) -> Vec<(&str, &str)> {
    let list = live["denied"].as_array().into_iter().flatten();
    list.map(|d| (d["what"].as_str().unwrap_or(""), d["answer"].as_str().unwrap_or(""))).collect()
}

#[test]
fn the_same_work_under_its_own_profile_is_the_same() -> Result<()> {
    let first = First::run()?;
    let (live, exit) = first.json(&first.seccomp, SCRIPT)?;
    ensure!(exit == Some(0), "{exit:?} {live:#}");
    ensure!(
        live["exit_code"] == 0 && live["expected_exit_code"] == 0 && live["complete"] == true,
        "{live:#}"
    );
    ensure!(denied(&live).is_empty(), "{live:#}");
    let output = first.verify(&[], &first.seccomp, SCRIPT)?;
    let (said, told) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(said.contains("✓ live: it ended with 0, as recorded; nothing was denied"), "{said}");
    // Standard output is the verdict's alone.
    ensure!(told.lines().any(|line| line == "done") && !said.contains("done"), "{said}\n{told}");
    Ok(())
}

#[test]
fn a_call_that_is_denied_is_named_with_what_did_not_happen_then() -> Result<()> {
    let first = First::run()?;
    let (live, exit) = first.json(&first.without(&["mkdir", "mkdirat"], false)?, SCRIPT)?;
    ensure!(exit == Some(1), "{exit:?} {live:#}");
    ensure!(denied(&live) == [("mkdir", "EPERM")], "{live:#}");
    let by = live["denied"][0]["by"].as_array().context("no by")?;
    ensure!(by.iter().any(|by| by.as_str().is_some_and(|by| by.ends_with("/mkdir"))), "{live:#}");
    ensure!(live["exit_code"] == 1 && live["expected_exit_code"] == 0, "{live:#}");
    let missing: Vec<_> = live["missing"].as_array().into_iter().flatten().collect();
    let has = |kind: &str, what: &str| {
        missing
            .iter()
            .any(|m| m["kind"] == kind && m["what"].as_str().is_some_and(|text| text.contains(what)))
    };
    ensure!(has("executable", "/cat") && has("file", "/etc/hostname") && has("syscall", "mkdir"), "{live:#}");
    ensure!(!has("file", "/libc.so.6"), "{live:#}");
    Ok(())
}

#[test]
fn a_kill_is_another_outcome_and_a_denial() -> Result<()> {
    let first = First::run()?;
    let (live, exit) = first.json(&first.without(&["mkdir", "mkdirat"], true)?, SCRIPT)?;
    ensure!(exit == Some(1) && denied(&live) == [("mkdir", "killed")], "{exit:?} {live:#}");
    Ok(())
}

#[test]
fn another_outcome_is_found_though_nothing_was_denied() -> Result<()> {
    let first = First::run()?;
    let (live, exit) = first.json(&first.seccomp, "exit 3")?;
    ensure!(exit == Some(1) && denied(&live).is_empty(), "{exit:?} {live:#}");
    ensure!(live["exit_code"] == 3 && live["expected_exit_code"] == 0, "{live:#}");
    let output = first.verify(&[], &first.seccomp, "exit 3")?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(said.contains("✗ live: it ended with 3, not with 0; nothing was denied"), "{said}");
    ensure!(said.contains("missing  executable  /usr/bin/cat"), "{said}");
    Ok(())
}

#[test]
fn a_kernel_without_apparmor_is_said() -> Result<()> {
    let first = First::run()?;
    let profile = first.dir.path().join("apparmor");
    fs::write(&profile, "profile sandbox-trace-not-loaded {\n  file,\n}\n")?;
    let option = profile.to_str().context("an odd temporary folder")?;
    let output = first.verify(&["--json", "--apparmor", option], &first.seccomp, SCRIPT)?;
    let enabled =
        fs::read_to_string("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text.starts_with('Y'));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if enabled {
        ensure!(output.status.code() == Some(5) && said.contains("apparmor_parser -r"), "{said}");
        return Ok(());
    }
    let value: Value = serde_json::from_slice(&output.stdout).with_context(|| said)?;
    let notes = value["live"]["notes"].as_array().context("no notes")?;
    let note = notes.iter().any(|note| note.as_str().is_some_and(|note| note.contains("no AppArmor")));
    ensure!(note && denied(&value["live"]).is_empty(), "{value:#}");
    Ok(())
}

#[test]
fn the_command_and_the_option_go_together() -> Result<()> {
    for args in [
        &["verify", "r.json", "--seccomp", "p.json", "--live"] as &[&str],
        &["verify", "r.json", "--seccomp", "p.json", "--", "true"],
        &["verify", "r.json", "--live", "--", "true"],
    ] {
        let output = command::run(Command::new(binary()?).args(args))?;
        ensure!(output.status.code() == Some(2), "{args:?}: {}", output.status);
    }
    Ok(())
}
