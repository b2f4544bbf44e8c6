//! `verify --container` against a real Docker engine: what is read is what the container was started with, and the
//! container goes on.

use std::{ffi::OsStr, fs, process::Command};

use anyhow::{Context, Result, ensure};
use sandbox_trace_tests::{
    command,
    docker::{Engine, IMAGE},
    product,
    recorded::record,
    seccomp,
};
use serde_json::Value;

/// Starts a container that does nothing, with these options.
fn start(engine: &Engine, name: &str, options: &[&str]) -> Result<()> {
    let mut args = vec!["run", "-d", "--rm", "--network=none", "--name", name];
    args.extend(options);
    args.extend([IMAGE, "python3", "-c", "import time\nwhile True: time.sleep(0.01)"]);
    engine.call(args).map(drop)
}

/// The verdicts, and the exit code.
fn verify<S: AsRef<OsStr>>(engine: &Engine, args: &[S]) -> Result<(Value, Option<i32>)> {
    let mut verify = Command::new(product::binary()?);
    verify.arg("verify").args(args).arg("--json").env("DOCKER_HOST", engine.host());
    let output = command::run(&mut verify)?;
    let verdicts =
        serde_json::from_slice(&output.stdout).with_context(|| command::describe(&verify, &output))?;
    Ok((verdicts, output.status.code()))
}

fn names(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().filter_map(|entry| entry["name"].as_str()).collect()
}

/// Nobody traces it, and it still runs.
fn ensure_goes_on(pid: u64) -> Result<()> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    ensure!(field("TracerPid:") == Some("0"), "{status}");
    ensure!(field("State:").is_some_and(|state| state.starts_with(['S', 'R'])), "{status}");
    Ok(())
}

#[test]
fn what_the_kernel_holds_is_what_the_container_was_started_with() -> Result<()> {
    command::require_root()?;
    let engine = Engine::start()?;
    start(&engine, "closed", &["--cap-drop=ALL", "--cap-add=CHOWN", "--security-opt=no-new-privileges"])?;
    start(
        &engine,
        "open",
        &["--security-opt=seccomp=unconfined", "--cap-add=SYS_ADMIN", "--cap-add=SYS_PTRACE"],
    )?;

    let (closed, exit) = verify(&engine, &["--container", "closed", "--must-deny"])?;
    let held = &closed["container"];
    ensure!(held["filters"].as_array().is_some_and(|all| all.len() == 1), "{held}");
    ensure!(held["filters"][0].as_u64() > Some(300), "{held}");
    ensure!(
        held["bounding"] == serde_json::json!(["CAP_CHOWN"]) && held["no_new_privileges"] == true,
        "{held}"
    );
    // Docker's default filter allows ptrace since Linux 4.8, and denies bpf; mounting takes a capability too.
    let open = names(&closed["attacks"]["open"]);
    ensure!(exit == Some(1) && open.contains(&"ptrace-attach"), "{exit:?} {open:?}");
    ensure!(!open.contains(&"bpf") && !open.contains(&"mount"), "{open:?}");

    let (all, exit) = verify(&engine, &["--container", "open", "--must-deny"])?;
    ensure!(all["container"]["filters"] == serde_json::json!([]), "{}", all["container"]);
    let open = names(&all["attacks"]["open"]);
    ensure!(
        exit == Some(1) && ["bpf", "mount", "ptrace-attach"].iter().all(|name| open.contains(name)),
        "{open:?}"
    );

    for held in [&closed, &all] {
        ensure_goes_on(held["container"]["pid"].as_u64().context("no pid")?)?;
    }
    Ok(())
}

#[test]
fn recordings_are_verified_against_the_filter_in_force() -> Result<()> {
    command::require_root()?;
    let dir = tempfile::tempdir()?;
    let script = format!("mkdir {0}/d; rmdir {0}/d", dir.path().display());
    let recording = record(dir.path(), ["sh", "-c", &script])?.path;
    let filter = dir.path().join("filter.json");
    fs::write(&filter, seccomp::all_but(&["rmdir"]).to_string())?;
    let option = format!("--security-opt=seccomp={}", filter.display());
    let engine = Engine::start()?;
    start(&engine, "filtered", &[&option])?;
    start(&engine, "plain", &["--security-opt=seccomp=unconfined"])?;

    let recording = recording.to_str().context("an odd temporary folder")?;
    let (found, exit) = verify(&engine, &[recording, "--container", "filtered"])?;
    let calls: Vec<&str> = found["blocked"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|blocked| blocked["kind"] == "seccomp")
        .filter_map(|blocked| blocked["what"].as_str())
        .collect();
    ensure!(exit == Some(1) && calls == ["rmdir → EPERM"], "{exit:?} {found:#}");
    let (found, _) = verify(&engine, &[recording, "--container", "plain"])?;
    let blocked = found["blocked"].as_array().context("no list")?;
    ensure!(blocked.iter().all(|blocked| blocked["kind"] != "seccomp"), "{found:#}");
    ensure_goes_on(found["container"]["pid"].as_u64().context("no pid")?)
}

#[test]
fn a_container_that_is_not_there_is_wrong_usage() -> Result<()> {
    command::require_root()?;
    let engine = Engine::start()?;
    let mut verify = Command::new(product::binary()?);
    verify.args(["verify", "--container", "nobody", "--must-deny"]).env("DOCKER_HOST", engine.host());
    let output = command::run(&mut verify)?;
    ensure!(output.status.code() == Some(2), "{}", command::describe(&verify, &output));
    ensure!(String::from_utf8_lossy(&output.stderr).contains("no container nobody"), "{output:?}");
    Ok(())
}
