//! `probe` under a kernel that enforces AppArmor, with cgroups of version 2 alone: the label is taken on, and it is what
//! refuses.

use anyhow::{Context, Result, ensure};
use sandbox_trace_tests::{
    command::require,
    vm::{Guest, Kernel},
};
use serde_json::{Value, json};

/// Enough for a program that does nothing.
const CAGED: &str = r"
profile caged flags=(attach_disconnected) {
  /busybox mrix,
  /proc/** r,
  /sys/** r,
  network unix stream,
  signal,
}
";

/// Two containers that differ in the profile alone. A guest's root can't be pivoted away from: it is the kernel's own.
const SCRIPT: &str = r#"
apparmor_parser -r /etc/apparmor.d/caged || exit 1
for name in caged free; do
    mkdir -p /bundle/$name/rootfs/proc /bundle/$name/rootfs/sys /bundle/$name/rootfs/tmp /bundle/$name/rootfs/dev || exit 2
    cp /bin/busybox /bundle/$name/rootfs/busybox || exit 3
    (cd /bundle/$name && runc run --no-pivot -d $name < /dev/null > /out/$name.runc 2>&1) || exit 4
    sandbox-trace probe --container $name --json > /out/$name.json 2> /out/$name.err
    echo $? > /out/$name.status
    runc ps $name | wc -l > /out/$name.ps
    runc kill $name KILL
done
"#;

fn config(name: &str, profile: Option<&str>) -> String {
    let mut config = json!({
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": 0, "gid": 0}, "args": ["/busybox", "sleep", "1000"], "cwd": "/", "env": ["PATH=/"],
            "noNewPrivileges": false,
            "capabilities": {"bounding": ["CAP_CHOWN"], "effective": ["CAP_CHOWN"], "permitted": ["CAP_CHOWN"]},
        },
        "root": {"path": "rootfs", "readonly": false},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "nodev", "mode=1777"]},
        ],
        "linux": {
            "cgroupsPath": format!("/{name}"),
            "namespaces": [{"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}, {"type": "network"}, {"type": "cgroup"}],
            "resources": {"pids": {"limit": 20}, "memory": {"limit": 33_554_432, "swap": 33_554_432}},
            "seccomp": {
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{"names": ["keyctl", "capset"], "action": "SCMP_ACT_LOG"}, {"names": ["bpf"], "action": "SCMP_ACT_KILL_PROCESS"}],
            },
        },
    });
    if let Some(profile) = profile {
        config["process"]["apparmorProfile"] = profile.into();
    }
    config.to_string()
}

#[test]
fn the_label_is_taken_on_and_refuses() -> Result<()> {
    let outcome = Guest::new(Kernel::V6_1)?
        .with_program(&require("runc")?)?
        .with_file("/etc/apparmor.d/caged", CAGED)?
        .with_file("/bundle/caged/config.json", &config("caged", Some("caged")))?
        .with_file("/bundle/free/config.json", &config("free", None))?
        .run(SCRIPT)?;
    ensure!(outcome.status == 0, "{}: {}", outcome.status, outcome.console);
    let read = |name: &str| -> Result<Value> {
        let text = outcome.file(&format!("{name}.json"))?;
        serde_json::from_str(&text)
            .with_context(|| format!("{name}: {}", outcome.file(&format!("{name}.err")).unwrap_or_default()))
    };
    let check = |value: &Value, id: &str| {
        let checks = value["checks"].as_array().into_iter().flatten();
        checks
            .filter(|check| check["id"] == id)
            .map(|check| format!("{} {}", check["verdict"], check["seen"]))
            .collect::<String>()
    };
    let (caged, free) = (read("caged")?, read("free")?);
    ensure!(caged["confinement"]["apparmor"] == "caged (enforce)", "{}", caged["confinement"]);
    ensure!(free["confinement"]["apparmor"] == "unconfined", "{}", free["confinement"]);
    for id in ["write:/", "exec:/tmp", "write:/etc", "socket:netlink-route"] {
        let seen = check(&caged, id);
        ensure!(
            seen.starts_with("\"closed\"") && (seen.contains("EACCES") || id == "write:/etc"),
            "caged {id}: {seen}"
        );
    }
    for id in ["write:/", "exec:/tmp", "socket:netlink-route", "apparmor"] {
        ensure!(check(&free, id).starts_with("\"open\""), "free {id}: {}", check(&free, id));
    }
    for (name, value) in [("caged", &caged), ("free", &free)] {
        // The filter's own answer, and limits of version 2.
        ensure!(check(value, "bpf").contains("SIGSYS"), "{name}: {}", check(value, "bpf"));
        ensure!(
            check(value, "pid-limit").contains("stopped after 18 (limit 20)"),
            "{name}: {}",
            check(value, "pid-limit")
        );
        ensure!(
            check(value, "memory-limit").contains("ended by the kernel"),
            "{name}: {}",
            check(value, "memory-limit")
        );
        // A line of names and the container's one process.
        ensure!(
            outcome.file(&format!("{name}.ps"))?.trim() == "2",
            "{name}: {}",
            outcome.file(&format!("{name}.ps"))?
        );
    }
    Ok(())
}
