//! Recordings that no policy may be made from: refused with an exit code, a line and a hint, and nothing is written.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use sandbox_trace_tests::{
    cgroup::Cgroup,
    command,
    product::{Recorder, binary},
    recorded::{record, recorder},
    refusal::{self, holds_only},
};
use serde_json::Value;

/// Both emitters, on a file that lies in `dir/in`, into `dir/out`.
fn emitters(dir: &Path, recording: &Path, options: &[&str]) -> Result<[Command; 2]> {
    let out = dir.join("out");
    fs::create_dir_all(&out)?;
    let emit = |verb: &[&str]| -> Result<Command> {
        let mut command = Command::new(binary()?);
        command.args(verb).args(options).arg(recording).arg("-o").arg(out.join(verb[0]));
        Ok(command)
    };
    Ok([emit(&["emit-seccomp"])?, emit(&["emit-apparmor", "--name", "sandbox-trace-test"])?])
}

fn refused(dir: &Path, recording: &Path, code: i32, what: &str) -> Result<()> {
    for mut command in emitters(dir, recording, &[])? {
        refusal::run(&mut command)?.refused(code, what)?;
        holds_only(&dir.join("out"), &[])?;
    }
    let mut verify = Command::new(binary()?);
    verify.arg("verify").arg(recording).args(["--seccomp", "/dev/null"]);
    refusal::run(&mut verify)?.refused(code, what).map(drop)
}

/// A good recording, as text.
fn good(dir: &Path) -> Result<(PathBuf, Value)> {
    let recorded = record(dir, ["cat", "/etc/hostname"])?;
    Ok((recorded.path, recorded.json))
}

#[test]
fn truncated() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (path, _) = good(dir.path())?;
    let text = fs::read(&path)?;
    for length in [0, 1, text.len() / 2, text.len() - 3] {
        fs::write(&path, &text[..length])?;
        refused(dir.path(), &path, 2, "truncated")?;
    }
    Ok(())
}

#[test]
fn foreign() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("foreign.json");
    for (text, what) in [
        ("{\"name\": \"x\"}", "no \"schema\""),
        ("{\"schema\": \"sandbox-trace/verify/v1\"}", "sandbox-trace/verify/v1"),
        ("{\"schema\": \"evil\\u001b[2J\\nschema\"}", "evil\\x1b[2J\\x0aschema"),
        ("[1, 2]", "is not a recording"),
        ("not JSON", "is not a recording"),
        ("{\"schema\": \"sandbox-trace/recording/v1\"}", "is not a recording"),
    ] {
        fs::write(&path, text)?;
        refused(dir.path(), &path, 2, what)?;
    }
    refused(dir.path(), &dir.path().join("missing.json"), 2, "could not read")
}

#[test]
fn of_a_newer_version() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (path, mut json) = good(dir.path())?;
    json["schema"] = "sandbox-trace/recording/v2".into();
    fs::write(&path, json.to_string())?;
    refused(dir.path(), &path, 2, "newer sandbox-trace")?;
    let [mut command, _] = emitters(dir.path(), &path, &[])?;
    let said = refusal::run(&mut command)?.stderr();
    ensure!(said.contains("update sandbox-trace"), "{said}");
    Ok(())
}

#[test]
fn incomplete() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (path, mut json) = good(dir.path())?;
    json["complete"] = false.into();
    json["losses"]["ring_full"] = 12.into();
    fs::write(&path, json.to_string())?;
    refused(dir.path(), &path, 3, "ring_full 12")?;
    for mut command in emitters(dir.path(), &path, &["--allow-incomplete"])? {
        refusal::run(&mut command)?.with(0)?;
    }
    holds_only(&dir.path().join("out"), &["emit-apparmor", "emit-seccomp"])
}

#[test]
fn empty() -> Result<()> {
    command::require_root()?;
    let dir = tempfile::tempdir()?;
    let cgroup = Cgroup::create()?;
    let recorder = Recorder::start(cgroup.path(), dir.path())?;
    let path = recorder.stop(nix::sys::signal::Signal::SIGTERM)?;
    refused(dir.path(), &path, 3, "no facts")
}

#[test]
fn compressed() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("recording.json.zst");
    refusal::run(&mut recorder(&path, &[], ["cat", "/etc/hostname"])?)?.with(0)?;
    let packed = fs::read(&path)?;
    ensure!(packed.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]), "not Zstandard");
    for mut command in emitters(dir.path(), &path, &[])? {
        refusal::run(&mut command)?.with(0)?;
    }
    let profile: Value = serde_json::from_slice(&fs::read(dir.path().join("out/emit-seccomp"))?)?;
    ensure!(
        profile["syscalls"]
            .as_array()
            .context("no rules")?
            .iter()
            .any(|rule| rule["names"].to_string().contains("openat")),
        "{profile}"
    );
    fs::remove_dir_all(dir.path().join("out"))?;
    fs::write(&path, &packed[..packed.len() / 2])?;
    refused(dir.path(), &path, 2, "truncated")
}
