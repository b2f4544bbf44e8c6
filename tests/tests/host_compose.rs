//! Record → emit-compose → the schema of the compose specification, and Docker's compose, which starts what was emitted.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use sandbox_trace_tests::{
    command::{self, require_path},
    openclaw::{NAME, OpenClaw},
    product::{Recorder, binary, sandbox_trace, target_dir},
};
use serde_json::{Value, json};

/// The agent as somebody who thinks of nothing writes it, beside another service.
const WIDE: &str = r#"# The agent and its database.
x-log: &log
  driver: json-file
x-base: &base
  restart: unless-stopped
  privileged: true

services:
  db:
    image: postgres:16   # never started here
    logging: *log
  # The agent itself.
  agent:
    <<: *base
    image: ${AGENT_IMAGE:-openclaw}   # by variable
    container_name: openclaw
    pid: host
    cap_add: [SYS_ADMIN]
    security_opt: ["seccomp:unconfined"]
    environment:
      MODE: fast   # stays
    ports:
      - "${PORT:-18789}:18789"
      - "9229:9229"
    volumes:
      - HOME/config:/app/config
      - HOME/skills:/app/skills   # the skills
      - HOME/logs:/app/logs
      - /var/run/docker.sock:/var/run/docker.sock
    logging: *log
    deploy:
      resources:
        limits:
          pids: 5000
"#;

fn record(openclaw: &OpenClaw, dir: &Path) -> Result<PathBuf> {
    let options = ["--container", NAME, "--wait"].map(OsStr::new);
    let recorder = Recorder::start_on(&options, dir, &[("DOCKER_HOST", &openclaw.engine.host())])?;
    openclaw.run_plainly()?;
    openclaw.work(3)?;
    openclaw.wait_healthy()?;
    // Longer than the time between two looks at what the folders hold.
    thread::sleep(Duration::from_secs(2));
    openclaw.stop()?;
    recorder.finish()
}

fn emit(recording: &Path, args: &[&OsStr]) -> Result<String> {
    sandbox_trace(["emit-compose".as_ref(), recording.as_os_str()].into_iter().chain(args.iter().copied()))
}

/// `docker-compose -f FILE ARGS…` with the tests' engine.
fn compose(openclaw: &OpenClaw, file: &Path, args: &[&str]) -> Result<Output> {
    let program = target_dir().join("tools/docker-compose");
    let mut command = Command::new("timeout");
    command.arg("120").arg(require_path(&program)?).arg("-f").arg(file).args(args);
    command::run(command.env("DOCKER_HOST", openclaw.engine.host()))
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Whether the compose specification's schema takes a file.
fn is_valid(file: &Path) -> Result<Result<(), String>> {
    let program = target_dir().join("tools/check-jsonschema/bin/check-jsonschema");
    let mut command = Command::new(require_path(&program)?);
    let output = command::run(command.args(["--builtin-schema", "vendor.compose-spec"]).arg(file))?;
    Ok(if output.status.success() { Ok(()) } else { Err(text(&output)) })
}

/// Both readers take the file; gives what compose makes of it.
fn checked(openclaw: &OpenClaw, file: &Path) -> Result<Value> {
    let shown = || fs::read_to_string(file).unwrap_or_default();
    is_valid(file)?.map_err(|what| anyhow::anyhow!("{what}\n{}", shown()))?;
    let output = compose(openclaw, file, &["config", "--format", "json"])?;
    ensure!(output.status.success(), "{}\n{}", text(&output), shown());
    // Neither takes what is no key.
    let bad = file.with_file_name("bad.yaml");
    fs::write(&bad, shown().replace("    cap_drop:", "    cap_drops:"))?;
    ensure!(is_valid(&bad)?.is_err(), "the schema takes what is no key");
    ensure!(!compose(openclaw, &bad, &["config", "-q"])?.status.success(), "compose takes what is no key");
    fs::remove_file(bad)?;
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Starts the service, lets it work, holds what the engine says of it against the file, and ends it.
fn started(openclaw: &OpenClaw, file: &Path, service: &str) -> Result<Value> {
    let config = checked(openclaw, file)?;
    let output = compose(openclaw, file, &["up", "--detach", service])?;
    ensure!(output.status.success(), "{}\n{}", text(&output), fs::read_to_string(file)?);
    openclaw.work(2)?;
    openclaw.wait_healthy()?;
    let said = openclaw.engine.call(["inspect", NAME])?;
    let output = compose(openclaw, file, &["down"])?;
    ensure!(output.status.success(), "{}", text(&output));

    let container: Value = serde_json::from_str::<Value>(&said)?[0].take();
    let (host, wanted) = (&container["HostConfig"], &config["services"][service]);
    let limits = &wanted["deploy"]["resources"]["limits"];
    let number = |value: &Value| value.as_str().and_then(|text| text.parse::<u64>().ok());
    let memory = number(&limits["memory"]).context("no memory limit")?;
    let nanos = limits["cpus"].as_f64().context("no CPU limit")? * 1e9;
    for (key, expected) in [
        ("CapDrop", json!(["ALL"])),
        ("ReadonlyRootfs", json!(true)),
        ("Privileged", json!(false)),
        ("PidsLimit", limits["pids"].clone()),
        ("Memory", json!(memory)),
        ("MemorySwap", json!(memory)),
    ] {
        ensure!(host[key] == expected, "{key} is {} and not {expected}: {wanted}", host[key]);
    }
    ensure!(host["CapAdd"].as_array().is_none_or(Vec::is_empty), "{}", host["CapAdd"]);
    ensure!(host["NanoCpus"].as_f64() == Some(nanos), "{} and not {nanos}", host["NanoCpus"]);
    ensure!(host["PidMode"] == "", "{}", host["PidMode"]);
    let security = host["SecurityOpt"].to_string();
    ensure!(
        security.contains("no-new-privileges") && security.contains("SCMP_ACT_ERRNO"),
        "neither filter nor no-new-privileges: {security}"
    );
    let ports = &host["PortBindings"];
    ensure!(
        *ports == json!({"18789/tcp": [{"HostIp": "127.0.0.1", "HostPort": "18789"}]}),
        "published: {ports}"
    );
    let mounts = container["Mounts"].as_array().context("no mounts")?;
    for (target, writable) in [("/app/config", false), ("/app/skills", false), ("/app/logs", true)] {
        let mount = mounts.iter().find(|mount| mount["Destination"] == target);
        ensure!(mount.is_some_and(|mount| mount["RW"] == writable), "{target}: {mounts:?}");
    }
    ensure!(!mounts.iter().any(|mount| mount["Destination"] == "/var/run/docker.sock"), "{mounts:?}");
    ensure!(host["LogConfig"]["Config"]["max-size"] == "10m", "{}", host["LogConfig"]);
    Ok(container)
}

#[test]
fn what_is_emitted_starts_as_it_says() -> Result<()> {
    command::require_root()?;
    let dir = tempfile::tempdir()?;
    let openclaw = OpenClaw::start()?;
    let recording = record(&openclaw, dir.path())?;

    // With AppArmor, beside another format in one folder.
    let all = dir.path().join("all");
    let folder = format!("{}/", all.display());
    sandbox_trace(["emit-docker".as_ref(), recording.as_os_str(), "-o".as_ref(), folder.as_ref()])?;
    emit(&recording, &["-o".as_ref(), folder.as_ref()])?;
    for name in ["docker-run.sh", "compose.yaml", "seccomp.json", "apparmor.profile"] {
        ensure!(all.join(name).is_file(), "there is no {name}");
    }
    let config = checked(&openclaw, &all.join("compose.yaml"))?;
    let options = config["services"][NAME]["security_opt"].to_string();
    ensure!(options.contains("apparmor:openclaw"), "{options}");

    // This kernel may have no AppArmor, and then no container starts with a profile.
    let new = dir.path().join("new");
    let folder = format!("{}/", new.display());
    emit(&recording, &["-o".as_ref(), folder.as_ref(), "--no-apparmor".as_ref()])?;
    let container = started(&openclaw, &new.join("compose.yaml"), NAME)?;
    let host = &container["HostConfig"];
    ensure!(host["NetworkMode"] == "openclaw-net", "{}", host["NetworkMode"]);
    let tmpfs = host["Tmpfs"].to_string();
    ensure!(tmpfs.contains("noexec,nosuid,nodev,size="), "{tmpfs}");

    hardened(&openclaw, &recording, dir.path())
}

/// A file that a person wrote, in place.
fn hardened(openclaw: &OpenClaw, recording: &Path, dir: &Path) -> Result<()> {
    let folder = dir.join("own");
    fs::create_dir(&folder)?;
    let file = folder.join("docker-compose.yml");
    let before = WIDE.replace("HOME", &openclaw.home().display().to_string());
    fs::write(&file, &before)?;
    fs::copy(dir.join("new/seccomp.json"), folder.join("seccomp.json"))?;
    let options = ["--in".as_ref(), file.as_os_str(), "--in-place".as_ref(), "--no-apparmor".as_ref()];
    ensure!(emit(recording, &options)?.is_empty(), "a result on standard output beside the file");
    let after = fs::read_to_string(&file)?;
    for line in ["  # The agent itself.", "x-base: &base", "      MODE: fast   # stays", "    <<: *base"] {
        ensure!(after.lines().any(|own| own == line), "{line:?} is gone:\n{after}");
    }
    started(openclaw, &file, "agent")?;
    // Once more changes nothing, and to standard output goes the file.
    let options = ["--in".as_ref(), file.as_os_str(), "--no-apparmor".as_ref()];
    ensure!(emit(recording, &options)? == after, "it changes again");

    let fails = |text: &str, more: &[&str], expected: &[&str]| -> Result<()> {
        let bad = dir.join("bad.yaml");
        fs::write(&bad, text)?;
        let mut command = Command::new(binary()?);
        command.arg("emit-compose").arg(recording).arg("--in").arg(&bad).arg("--in-place").args(more);
        let output = command::run(&mut command)?;
        let said = text_of_error(&output);
        ensure!(output.status.code() == Some(2) && output.stdout.is_empty(), "{:?}: {said}", output.status);
        ensure!(expected.iter().all(|part| said.contains(part)), "{said}");
        ensure!(fs::read_to_string(&bad)? == text, "a file was changed that can't be hardened");
        Ok(())
    };
    fails("services:\n  a: {image: x\n  b: [\n", &[], &["is not YAML: line", "column"])?;
    fails("services:\n  a: {image: x}\n  b: {image: y}\n", &[], &["--service", "a, b"])?;
    fails(&before, &["--service", "web"], &["there is no service web"])?;
    fails(
        "services:\n  a:\n    image: x\n    ports: ['80:${P:?which port}']\n",
        &[],
        &["line 4, column 13", "which port"],
    )?;
    Ok(())
}

fn text_of_error(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
