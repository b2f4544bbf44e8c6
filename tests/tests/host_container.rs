//! What a recording says that a container was started with, against what a real Docker engine was told.

use std::{collections::BTreeMap, ffi::OsStr, path::Path, process::Command};

use anyhow::{Context, Result, ensure};
use sandbox_trace_tests::{
    command,
    docker::{Engine, IMAGE},
    product::{self, Recorder},
    recorded::Recorded,
};
use serde_json::{Value, json};

/// An image with settings of its own, made from the tests' image.
const OWN: &str = "sandbox-trace-own:1";

fn recorded(engine: &Engine, args: &[&str]) -> Result<Value> {
    let dir = tempfile::tempdir()?;
    let options: Vec<&OsStr> = ["--container", "agent", "--wait"].map(OsStr::new).to_vec();
    let recorder = Recorder::start_on(&options, dir.path(), &[("DOCKER_HOST", &engine.host())])?;
    engine.call(["run", "--name", "agent"].iter().chain(args))?;
    let recorded = Recorded::load(&recorder.finish()?)?;
    engine.call(["rm", "--force", "--volumes", "agent"])?;
    let text = recorded.json.to_string();
    ensure!(!text.contains("of-no-ones-business"), "a variable's value is in the recording");
    Ok(recorded.json["target"]["container"].clone())
}

#[test]
fn a_container_is_recorded_with_the_very_options_that_it_was_started_with() -> Result<()> {
    command::require_root()?;
    let engine = Engine::start()?;
    // The tests' image once more, with these lines of a Dockerfile.
    engine.import(
        &engine.dir().join("image"),
        &[
            "USER 7:8",
            "WORKDIR /opt",
            "ENV FROM_IMAGE=of-no-ones-business-1 CHANGED=of-no-ones-business-2",
            "ENTRYPOINT [\"/bin/sh\"]",
            "CMD [\"-c\", \":\"]",
            "EXPOSE 80/tcp",
            "VOLUME /vol",
            "HEALTHCHECK --interval=7s CMD true",
        ],
        OWN,
    )?;
    let data = engine.dir().join("shared");
    std::fs::create_dir(&data)?;
    let bind = format!("{}:/work:ro", data.display());
    let args: Vec<&str> = vec![
        "--read-only",
        "--network=none",
        "--user=1000:1001",
        "--group-add=27",
        "--cap-drop=ALL",
        "--cap-add=KILL",
        "--security-opt=no-new-privileges",
        "--security-opt=systempaths=unconfined",
        "--env=GIVEN=of-no-ones-business-3",
        "--env=CHANGED=of-no-ones-business-4",
        "--env=FROM_IMAGE=of-no-ones-business-1",
        "--workdir=/tmp",
        "--publish=127.0.0.1:18789:80",
        "--publish=9/udp",
        "--pid=host",
        "--ipc=host",
        "--uts=host",
        "--cgroupns=private",
        "--volume",
        &bind,
        "--volume=named:/named",
        "--tmpfs=/tmp:size=64m,noexec",
        "--mount=type=tmpfs,destination=/scratch,tmpfs-size=1048576,tmpfs-mode=0700",
        "--device=/dev/zero:/dev/nil:r",
        "--memory=64m",
        "--memory-swap=96m",
        "--cpu-period=50000",
        "--cpu-quota=25000",
        "--pids-limit=40",
        "--restart=on-failure:2",
        "--log-opt=max-size=1m",
        "--log-opt=max-file=2",
        "--health-cmd=exit 0",
        "--health-timeout=1500ms",
        "--health-start-period=2s",
        "--health-retries=4",
        "--stop-signal=SIGINT",
        OWN,
        "-c",
        ": < /etc/passwd",
    ];
    let mut container = recorded(&engine, &args)?;
    let fields = container.as_object_mut().context("no container")?;
    for (name, begins) in [
        ("id", ""),
        ("image_id", "sha256:"),
        ("oci_runtime", "runc"),
        ("runtime_version", ""),
        ("apparmor", ""),
    ] {
        // The last of them is there on a machine with AppArmor alone.
        let value = fields.remove(name);
        let text = value.as_ref().and_then(Value::as_str);
        ensure!(text.is_some_and(|text| text.starts_with(begins)) || name == "apparmor", "{name}: {value:?}");
    }
    // An anonymous volume's folder has a name that the engine made up.
    let mounts = fields.get_mut("mounts").and_then(Value::as_array_mut).context("no mounts")?;
    for mount in mounts.iter_mut().filter(|mount| mount["type"] == "volume") {
        let source = mount.as_object_mut().and_then(|mount| mount.remove("source"));
        ensure!(
            source.is_some_and(|s| s.as_str().is_some_and(|s| Path::new(s).starts_with(engine.dir()))),
            "{mount}"
        );
    }
    let expected = json!({
        "runtime": "docker",
        "name": "agent",
        "image": OWN,
        "rootless": false,
        "command": ["/bin/sh", "-c", ": < /etc/passwd"],
        "entrypoint_words": 1,
        "working_dir": "/tmp",
        "environment": ["CHANGED", "GIVEN"],
        "user": "1000:1001",
        "groups": ["27"],
        "network_mode": "none",
        "ports": [
            {"container": 9, "protocol": "udp"},
            {"container": 80, "protocol": "tcp", "host_ip": "127.0.0.1", "host": 18789}
        ],
        "namespaces": {"ipc": "host", "pid": "host", "uts": "host"},
        "privileged": false,
        "read_only": true,
        "no_new_privileges": true,
        "capabilities_added": ["KILL"],
        "capabilities_dropped": ["ALL"],
        "seccomp": "default",
        // What the engine makes of sharing the host's namespaces.
        "security_options": ["label=disable"],
        "mounts": [
            {"target": "/named", "type": "volume", "mode": "rw", "volume": "named", "options": ["z"]},
            {"target": "/scratch", "type": "tmpfs", "mode": "rw", "options": ["size=1048576", "mode=700"]},
            {"target": "/tmp", "type": "tmpfs", "mode": "rw", "options": ["size=64m", "noexec"]},
            {"target": "/vol", "type": "volume", "mode": "rw"},
            {"target": "/work", "source": data, "type": "bind", "mode": "ro", "options": ["ro"]}
        ],
        "devices": ["/dev/zero:/dev/nil:r"],
        "masked_paths": [],
        "readonly_paths": [],
        "limits": {"memory_bytes": 64 << 20, "memory_swap_bytes": 96 << 20, "cpu_millis": 500, "pids": 40},
        "restart": "on-failure:2",
        "log_driver": "json-file",
        "log_options": {"max-file": "2", "max-size": "1m"},
        "healthcheck": {"test": ["CMD-SHELL", "exit 0"], "interval_ms": 7000, "timeout_ms": 1500,
            "start_period_ms": 2000, "retries": 4},
        "stop_signal": "SIGINT",
        "image_defaults": {
            "user": "7:8",
            "entrypoint": ["/bin/sh"],
            "command": ["-c", ":"],
            "working_dir": "/opt",
            "volumes": ["/vol"],
            "ports": ["80/tcp"],
            "healthcheck": {"test": ["CMD-SHELL", "true"], "interval_ms": 7000}
        }
    });
    ensure!(container == expected, "recorded {container:#}\nexpected {expected:#}");
    Ok(())
}

#[test]
fn what_was_not_asked_for_is_not_there() -> Result<()> {
    command::require_root()?;
    let engine = Engine::start()?;
    let plain = recorded(&engine, &["--cgroupns=private", IMAGE, "/bin/sh", "-c", ":"])?;
    for absent in [
        "entrypoint_words",
        "environment",
        "user",
        "groups",
        "ports",
        "namespaces",
        "capabilities_added",
        "capabilities_dropped",
        "mounts",
        "devices",
        "sysctls",
        "limits",
        "log_options",
        "healthcheck",
        "stop_signal",
        "init",
    ] {
        ensure!(plain.get(absent).is_none(), "{absent}: {plain:#}");
    }
    ensure!(plain["network_mode"] != "default" && plain["restart"] == "no", "{plain:#}");
    ensure!(plain["no_new_privileges"] == false && plain["seccomp"] == "default", "{plain:#}");
    ensure!(plain["command"] == json!(["/bin/sh", "-c", ":"]), "{plain:#}");
    let masked = plain["masked_paths"].as_array().context("no masked paths")?;
    ensure!(masked.iter().any(|path| path == "/proc/kcore"), "{plain:#}");

    let open = recorded(
        &engine,
        &[
            "--privileged",
            "--cgroupns=host",
            "--init=false",
            "--cpus=1.5",
            "--shm-size=1m",
            "--entrypoint=",
            IMAGE,
            "/bin/sh",
            "-c",
            ":",
        ],
    )?;
    ensure!(open["privileged"] == true && open["seccomp"] == "unconfined", "{open:#}");
    ensure!(open["masked_paths"] == json!([]) && open["namespaces"] == json!({"cgroup": "host"}), "{open:#}");
    ensure!(open["limits"] == json!({"cpu_millis": 1500, "shm_bytes": 1 << 20}), "{open:#}");
    ensure!(open["command"][0] == "/bin/sh" && open.get("entrypoint_words").is_none(), "{open:#}");
    Ok(())
}

/// Ids are random: as many containers are made as it takes for two of them to begin alike.
#[test]
fn a_beginning_that_two_ids_have_is_refused_and_both_are_named() -> Result<()> {
    command::require_root()?;
    let engine = Engine::start()?;
    let mut by_digit: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    // 16 digits: the 17th at the latest.
    let (begin, both) = loop {
        let count: usize = by_digit.values().map(Vec::len).sum();
        ensure!(count < 17, "{by_digit:?}");
        let name = format!("agent-{count}");
        let id = engine.call(["create", "--name", &name, IMAGE, "/bin/sh", "-c", ":"])?;
        let begin = id[..1].to_owned();
        let alike = by_digit.entry(begin.clone()).or_default();
        alike.push((id, name));
        if alike.len() > 1 {
            break (begin, alike.clone());
        }
    };
    let mut record = Command::new(product::binary()?);
    record.args(["record", "-o", "/dev/null", "--container", &begin]).env("DOCKER_HOST", engine.host());
    let output = command::run(&mut record)?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(2), "{}", command::describe(&record, &output));
    for (id, name) in &both {
        ensure!(said.contains(&id[..12]) && said.contains(name.as_str()), "{said}");
    }
    ensure!(said.contains("write more of the id"), "{said}");
    Ok(())
}
