//! Verify against the emitted files: what was emitted from a recording blocks nothing of it, and one thing taken out
//! is the one thing that is named.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use sandbox_trace_tests::{
    command,
    product::{binary, sandbox_trace},
    recorded::record,
};
use serde_json::Value;

/// A recording and both profiles of it.
struct Emitted {
    dir: tempfile::TempDir,
    recording: PathBuf,
    file: PathBuf,
}

impl Emitted {
    fn create() -> Result<Self> {
        command::require("apparmor_parser")?;
        let dir = tempfile::tempdir()?;
        let file = fs::canonicalize(dir.path())?.join("needed \"by\n all");
        fs::write(&file, "x")?;
        let script = "cat \"$0\"; mkdir \"$0.d\"; rmdir \"$0.d\"";
        let recording =
            record(dir.path(), ["sh".as_ref(), "-c".as_ref(), script.as_ref(), file.as_os_str()])?.path;
        let emitted = Self { dir, recording, file };
        let (seccomp, apparmor) = (emitted.path("seccomp.json"), emitted.path("apparmor"));
        let recording = emitted.recording.as_os_str();
        sandbox_trace(["emit-seccomp".as_ref(), recording, "-o".as_ref(), seccomp.as_os_str()])?;
        sandbox_trace([
            "emit-apparmor".as_ref(),
            recording,
            "--name".as_ref(),
            "sandbox-trace-test".as_ref(),
            "--generalize".as_ref(),
            "exact".as_ref(),
            "-o".as_ref(),
            apparmor.as_os_str(),
        ])?;
        Ok(emitted)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The verdicts, and the exit code.
    fn verify(&self, seccomp: &Path, apparmor: &Path) -> Result<(Value, Option<i32>)> {
        let mut command = Command::new(binary()?);
        command.arg("verify").arg(&self.recording).arg("--json");
        command.arg("--seccomp").arg(seccomp).arg("--apparmor").arg(apparmor);
        let output = command::run(&mut command)?;
        let verdicts =
            serde_json::from_slice(&output.stdout).with_context(|| command::describe(&command, &output))?;
        Ok((verdicts, output.status.code()))
    }
}

fn blocked(verdicts: &Value) -> Vec<(&str, &str, &str)> {
    verdicts["blocked"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|b| {
            let text = |name: &str| b[name].as_str().unwrap_or("");
            (text("kind"), text("what"), text("rule"))
        })
        .collect()
}

#[test]
fn what_was_emitted_blocks_nothing() -> Result<()> {
    let emitted = Emitted::create()?;
    let (verdicts, exit) = emitted.verify(&emitted.path("seccomp.json"), &emitted.path("apparmor"))?;
    ensure!(exit == Some(0) && blocked(&verdicts).is_empty(), "{exit:?} {verdicts:#}");
    ensure!(verdicts["unproven"].as_array().is_some_and(Vec::is_empty), "{verdicts:#}");
    let by_kind = &verdicts["checked_by_kind"];
    ensure!(by_kind["seccomp"].as_u64() > Some(10) && by_kind["files"].as_u64() > Some(5), "{by_kind}");
    Ok(())
}

#[test]
fn a_call_taken_out_is_named() -> Result<()> {
    let emitted = Emitted::create()?;
    let mut profile: Value = serde_json::from_slice(&fs::read(emitted.path("seccomp.json"))?)?;
    let mut removed = 0;
    for rule in profile["syscalls"].as_array_mut().context("no rules")? {
        let names = rule["names"].as_array_mut().context("no names")?;
        let before = names.len();
        names.retain(|name| name != "rmdir");
        removed += before - names.len();
    }
    ensure!(removed == 1, "rmdir was there {removed} times");
    let edited = emitted.path("edited.json");
    fs::write(&edited, serde_json::to_vec(&profile)?)?;
    let (verdicts, exit) = emitted.verify(&edited, &emitted.path("apparmor"))?;
    let found = blocked(&verdicts);
    ensure!(exit == Some(1) && found.len() == 1, "{exit:?} {found:?}");
    let (kind, what, rule) = found[0];
    ensure!(kind == "seccomp" && what.starts_with("rmdir ") && rule.contains("rmdir"), "{found:?}");
    let by = &verdicts["blocked"][0]["needed_by"];
    ensure!(
        by.as_array().is_some_and(|by| by.iter().any(|e| e.as_str().is_some_and(|e| e.ends_with("rmdir")))),
        "{by}"
    );
    Ok(())
}

#[test]
fn a_rule_taken_out_is_named() -> Result<()> {
    let emitted = Emitted::create()?;
    let profile = fs::read_to_string(emitted.path("apparmor"))?;
    // The folder's random name is in the rules of the file and of its `.d`; the file's own ends with `all`.
    let is_the_rule =
        |line: &&str| line.contains("needed") && line.contains("by") && line.contains("all\" r");
    ensure!(profile.lines().filter(is_the_rule).count() == 1, "no one rule for the file in:\n{profile}");
    let kept: Vec<&str> = profile.lines().filter(|line| !is_the_rule(line)).collect();
    let edited = emitted.path("edited");
    fs::write(&edited, kept.join("\n") + "\n")?;
    let (verdicts, exit) = emitted.verify(&emitted.path("seccomp.json"), &edited)?;
    let found = blocked(&verdicts);
    ensure!(exit == Some(1) && found.len() == 1, "{exit:?} {found:?}");
    let (kind, what, _) = found[0];
    let shown = emitted.file.display().to_string().replace('\n', "\\x0a");
    ensure!(kind == "file" && what == format!("{shown} r"), "{found:?}, not {shown}");
    Ok(())
}
