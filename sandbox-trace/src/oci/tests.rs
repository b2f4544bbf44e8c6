use std::fs;

use serde_json::json;

use super::*;
use crate::error::Exit;

fn described(config: &Value) -> Container {
    let mut container = Container::default();
    describe(config, &mut container);
    container
}

#[test]
fn a_configuration_is_described_in_full() {
    let config = json!({
        "root": {"path": "rootfs", "readonly": true},
        "process": {
            "args": ["/bin/agent", "--port", "1"], "cwd": "/work", "env": ["PATH=/bin", "TOKEN=secret=x", "EMPTY", "=odd"],
            "user": {"uid": 1000, "gid": 50, "additionalGids": [4, 27]}, "noNewPrivileges": true,
            "capabilities": {"bounding": ["CAP_KILL"], "effective": [], "permitted": ["CAP_KILL"]},
            "apparmorProfile": "agent"
        },
        "mounts": [
            {"destination": "/work", "type": "bind", "source": "/data", "options": ["rbind", "rw", "ro"]},
            {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["nosuid", "size=131072k"]}
        ],
        "linux": {
            "seccomp": {"defaultAction": "SCMP_ACT_ERRNO"},
            "namespaces": [{"type": "pid"}, {"type": "network"}, {"type": "ipc", "path": "/proc/1/ns/ipc"},
                {"type": "uts", "path": "/proc/77/ns/uts"}, {"type": "mount"}, {"type": "cgroup"}],
            "resources": {"memory": {"limit": 1_048_576, "swap": -1}, "cpu": {"quota": 50_000, "period": 200_000},
                "pids": {"limit": 12},
                "devices": [{"allow": false, "access": "rwm"}, {"allow": true, "type": "c", "major": 1, "minor": 3, "access": "rw"}]},
            "devices": [{"path": "/dev/null", "type": "c", "major": 1, "minor": 3}, {"path": "/dev/x", "type": "b", "major": 9, "minor": 0}],
            "sysctl": {"net.core.somaxconn": "7"},
            "maskedPaths": ["/proc/kcore"], "readonlyPaths": ["/proc/sys"]
        }
    });
    let found = described(&config);
    let text = |list: &[&str]| list.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>();
    let expected = Container {
        command: text(&["/bin/agent", "--port", "1"]),
        working_dir: Some("/work".into()),
        environment: text(&["EMPTY", "PATH", "TOKEN"]),
        user: Some("1000:50".into()),
        groups: text(&["4", "27"]),
        network_mode: Some("none".into()),
        namespaces: [("ipc", "host"), ("uts", "path:/proc/77/ns/uts"), ("user", "host")]
            .map(|(a, b)| (a.to_owned(), b.to_owned()))
            .into(),
        read_only: Some(true),
        no_new_privileges: Some(true),
        capabilities_added: text(&["CAP_KILL"]),
        capabilities_dropped: text(&["ALL"]),
        seccomp: Some("custom".into()),
        apparmor: Some("agent".into()),
        mounts: vec![
            Mount {
                target: "/dev/shm".into(),
                kind: "tmpfs".into(),
                mode: "rw".into(),
                options: text(&["nosuid", "size=131072k"]),
                ..Mount::default()
            },
            Mount {
                target: "/work".into(),
                source: Some("/data".into()),
                kind: "bind".into(),
                mode: "ro".into(),
                options: text(&["rbind", "rw", "ro"]),
                ..Mount::default()
            },
        ],
        devices: text(&["/dev/null:/dev/null:rw", "/dev/x:/dev/x:rwm"]),
        sysctls: [("net.core.somaxconn".to_owned(), "7".to_owned())].into(),
        masked_paths: Some(text(&["/proc/kcore"])),
        readonly_paths: Some(text(&["/proc/sys"])),
        limits: Limits {
            memory_bytes: Some(1 << 20),
            memory_swap_bytes: None,
            cpu_millis: Some(250),
            pids: Some(12),
            shm_bytes: Some(128 << 20),
        },
        ..Container::default()
    };
    assert_eq!(found, expected);
    assert!(!format!("{found:?}").contains("secret"));
}

#[test]
fn what_is_missing_is_the_hosts_or_none() {
    let found = described(&json!({"process": {}}));
    assert_eq!(found.network_mode.as_deref(), Some("host"));
    assert_eq!(found.namespaces.len(), 6);
    assert!(found.namespaces.values().all(|whose| whose == "host"));
    assert_eq!(
        (found.user, found.read_only, found.seccomp.as_deref()),
        (None, Some(false), Some("unconfined"))
    );
    assert_eq!((found.capabilities_added.len(), found.capabilities_dropped), (0, vec!["ALL".to_owned()]));
    assert_eq!((found.masked_paths, found.limits), (Some(vec![]), Limits::default()));
}

#[test]
fn a_network_that_somebody_else_connects_is_not_called_none() {
    let network = |config: Value| described(&config).network_mode;
    let of = |path: &str| json!({"linux": {"namespaces": [{"type": "network", "path": path}]}});
    assert_eq!(network(of("/var/run/netns/cni-1")), None);
    assert_eq!(network(of("/proc/1/ns/net")).as_deref(), Some("host"));
    assert_eq!(network(of("/proc/9/ns/net")).as_deref(), Some("path:/proc/9/ns/net"));
    let hooks = json!({"hooks": {"prestart": []}, "linux": {"namespaces": [{"type": "network"}]}});
    assert_eq!(network(hooks), None);
}

#[test]
fn what_a_person_named_is_read_or_refused_with_the_place() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join(CONFIG);
    let refused = |path: &Path| {
        let error = read_bundle(path).unwrap_err();
        assert_eq!(error.exit(), Exit::Usage, "{error}");
        (error.in_one_line(), error.hint_text().unwrap_or_default().to_owned())
    };
    let (says, hint) = refused(dir.path());
    assert!(says.contains("config.json") && hint.contains("bundle"), "{says} {hint}");
    fs::write(&file, "{\"process\": {},\n  \"a\u{1b}[31m\": tru }").unwrap();
    let (says, _) = refused(dir.path());
    assert!(says.contains("line 2, column") && !says.contains('\u{1b}'), "{says}");
    for text in ["{}", "[]", "7", "{\"process\": null}", "{\"process\": 3}"] {
        fs::write(&file, text).unwrap();
        let (says, hint) = refused(&file);
        assert!(says.contains("has no process") && hint.contains("runc spec"), "{text}: {says} {hint}");
    }
    fs::write(&file, "").unwrap();
    assert!(refused(&file).0.contains("line 1"));
    fs::write(&file, "{\"process\": {}}").unwrap();
    for path in [dir.path(), &file] {
        assert!(read_bundle(path).unwrap()["process"].is_object());
    }
}

#[test]
fn anything_may_stand_anywhere() {
    // Types that the format does not have in these places: ignored, never a panic.
    for odd in [json!(null), json!(-1), json!("x"), json!([1, "a", {}]), json!({"a": [{}]})] {
        for key in ["root", "process", "mounts", "linux", "annotations", "hooks"] {
            let mut config = json!({});
            config[key] = odd.clone();
            described(&config);
        }
        for key in ["seccomp", "namespaces", "resources", "devices", "sysctl", "maskedPaths"] {
            described(&json!({"linux": {key: odd.clone()}}));
        }
    }
    assert_eq!(size("99999999999g"), None);
    assert_eq!((size("64m"), size("7"), size(""), size("k")), (Some(64 << 20), Some(7), None, None));
}
