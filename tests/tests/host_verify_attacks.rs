//! `verify --must-deny` through the binary: what is emitted denies the built-in list, files that allow everything
//! leave it open by name, and a list of one's own is asked about.

use std::{ffi::OsStr, fs, process::Command};

use anyhow::{Context, Result, ensure};
use sandbox_trace_tests::{
    command,
    product::{binary, sandbox_trace},
    recorded::record,
};
use serde_json::Value;

/// The verdicts as JSON, and the exit code.
fn verify<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Result<(Value, Option<i32>)> {
    let mut verify = Command::new(binary()?);
    verify.arg("verify").arg("--json").args(args);
    let output = command::run(&mut verify)?;
    let verdicts =
        serde_json::from_slice(&output.stdout).with_context(|| command::describe(&verify, &output))?;
    Ok((verdicts, output.status.code()))
}

fn length(value: &Value) -> usize {
    value.as_array().map_or(usize::MAX, Vec::len)
}

#[test]
fn an_emitted_pair_denies_the_built_in_list_and_files_that_allow_all_deny_nothing() -> Result<()> {
    command::require_root()?;
    command::require("apparmor_parser")?;
    let dir = tempfile::tempdir()?;
    let path = |name: &str| -> Result<String> {
        Ok(dir.path().join(name).to_str().context("an odd temporary folder")?.to_owned())
    };
    let recording = record(
        dir.path(),
        [
            "python3",
            "-c",
            "import threading, socket\nsocket.socket().close()\n\
        t = threading.Thread(target=print)\nt.start()\nt.join()",
        ],
    )?
    .path;
    let recording = recording.to_str().context("an odd temporary folder")?;
    let (seccomp, apparmor) = (path("seccomp.json")?, path("apparmor")?);
    sandbox_trace(["emit-seccomp", recording, "--runtime", "docker", "-o", &seccomp])?;
    sandbox_trace(["emit-apparmor", recording, "--name", "sandbox-trace-test", "-o", &apparmor])?;
    let pair = ["--runtime", "docker", "--seccomp", &seccomp, "--apparmor", &apparmor, "--must-deny"];

    let (found, exit) = verify([recording].iter().chain(&pair))?;
    let attacks = &found["attacks"];
    ensure!(exit == Some(0), "{exit:?} {found:#}");
    ensure!(attacks["denied"] == attacks["checked"] && attacks["checked"].as_u64() > Some(80), "{attacks:#}");
    ensure!(length(&attacks["not_asked"]) == 0, "{attacks:#}");
    // Without a recording, and for people.
    let text = sandbox_trace(["verify"].iter().chain(&pair))?;
    ensure!(text.contains("attacks are denied"), "{text}");

    let (all, everything) = (path("all.json")?, path("all")?);
    fs::write(&all, r#"{"defaultAction":"SCMP_ACT_ALLOW"}"#)?;
    fs::write(&everything, "profile all {\n  file,\n  network,\n  capability,\n  mount,\n  umount,\n}\n")?;
    let (found, exit) = verify(["--seccomp", &all, "--must-deny"])?;
    ensure!(exit == Some(1) && found["attacks"]["denied"] == 0, "{found:#}");
    ensure!(length(&found["attacks"]["open"]) > 35, "{found:#}");
    let (found, exit) = verify(["--seccomp", &all, "--apparmor", &everything, "--must-deny"])?;
    let attacks = &found["attacks"];
    ensure!(
        exit == Some(1) && length(&attacks["open"]) > 80 && length(&attacks["not_asked"]) == 0,
        "{found:#}"
    );
    Ok(())
}

#[test]
fn filters_in_force_together_deny_what_any_of_them_denies() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let file = |name: &str, content: &str| -> Result<String> {
        let path = dir.path().join(name);
        fs::write(&path, content)?;
        Ok(path.to_str().context("an odd temporary folder")?.to_owned())
    };
    let without = |call: &str| {
        format!(
            r#"{{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{{"names":["{call}"],"action":"SCMP_ACT_ERRNO"}}]}}"#
        )
    };
    let (a, b) = (file("a.json", &without("bpf"))?, file("b.json", &without("ptrace"))?);
    let list = file(
        "list.json",
        r#"{"schema":"sandbox-trace/attacks/v1","attacks":[
            {"name":"one","why":"w","ways":[[{"call":"bpf"}]]},
            {"name":"two","why":"w","ways":[[{"call":"ptrace"}]]},
            {"name":"three","why":"w","ways":[[{"capability":"bpf"},{"call":"read"}]]}]}"#,
    )?;
    for (files, open) in
        [(vec![&a], vec!["two", "three"]), (vec![&b], vec!["one", "three"]), (vec![&a, &b], vec!["three"])]
    {
        let args: Vec<&str> = files.iter().flat_map(|file| ["--seccomp", file.as_str()]).collect();
        let (found, exit) = verify(args.iter().chain(&["--must-deny", &list]))?;
        let names: Vec<&str> = found["attacks"]["open"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|entry| entry["name"].as_str())
            .collect();
        ensure!(exit == Some(1) && names == open, "{found:#}");
    }
    // The container's capabilities are as good as a file.
    let (found, exit) =
        verify(["--seccomp", &a, "--seccomp", &b, "--capabilities", "none", "--must-deny", &list])?;
    ensure!(exit == Some(0) && found["attacks"]["denied"] == 3, "{found:#}");
    Ok(())
}
