use serde_json::{Value, json};

use super::*;
use crate::{
    emit::testing::{because, calls, sandbox},
    error::Exit,
    policy::sandbox::{Network, Source, Tmpfs, User},
    recording::{Access, BytePath},
    requirements::Evidence,
};

fn bundle() -> Value {
    json!({
        "ociVersion": "1.0.2-dev",
        "process": {
            "args": ["agent"], "user": { "uid": 0, "gid": 0 }, "cwd": "/",
            "rlimits": [{ "type": "RLIMIT_NOFILE", "soft": 1024, "hard": 1024 }],
            "capabilities": { "bounding": ["CAP_KILL"], "effective": ["CAP_KILL"] }
        },
        "root": { "path": "rootfs" },
        "mounts": [
            { "destination": "/proc", "type": "proc", "source": "proc" },
            { "destination": "/tmp/cache/", "type": "tmpfs", "source": "tmpfs" },
            { "destination": "/app/config", "type": "bind", "source": "/own/config", "options": ["rbind", "rw"] }
        ],
        "linux": {
            "resources": {
                "devices": [{ "allow": true, "access": "rwm" }, { "allow": true, "type": "c", "major": 1, "minor": 3 }],
                "pids": { "limit": 8 }, "memory": { "limit": -1 }
            },
            "namespaces": [{ "type": "pid" }, { "type": "mount" }],
            "maskedPaths": ["/own/secret"]
        },
        "annotations": { "of": "somebody" }
    })
}

fn confine(bundle: &Value, sandbox: &Sandbox) -> (Value, Report) {
    let (needs, syscalls) = calls();
    let profile = "agent".parse().unwrap();
    let parts = Parts { needs: &needs, sandbox, syscalls: &syscalls, apparmor: Some(&profile) };
    let mut config = Config::read(&serde_json::to_vec(bundle).unwrap(), "config.json").unwrap();
    let report = config.confine(&parts).unwrap();
    (serde_json::from_slice(&config.json().unwrap()).unwrap(), report)
}

#[test]
fn what_is_too_wide_is_narrowed_and_all_else_stays() {
    let (out, report) = confine(&bundle(), &sandbox());
    let process = &out["process"];
    assert_eq!(process["args"], json!(["agent"]));
    assert_eq!(process["user"], json!({ "uid": 1000, "gid": 1001 }));
    for set in ["bounding", "effective", "permitted", "inheritable", "ambient"] {
        assert_eq!(process["capabilities"][set], json!(["CAP_NET_BIND_SERVICE"]), "{set}");
    }
    assert_eq!(process["noNewPrivileges"], true);
    assert_eq!(process["apparmorProfile"], "agent");
    assert_eq!(process["rlimits"][0]["type"], "RLIMIT_NOFILE");
    assert_eq!(process["rlimits"][1], json!({ "type": "RLIMIT_CORE", "soft": 0, "hard": 0 }));
    assert_eq!(out["root"], json!({ "path": "rootfs", "readonly": true }));
    assert_eq!(out["annotations"]["of"], "somebody");
    let linux = &out["linux"];
    assert_eq!(linux["seccomp"]["defaultAction"], "SCMP_ACT_ERRNO");
    let resources = &linux["resources"];
    assert_eq!(resources["memory"], json!({ "limit": 256 << 20, "swap": 256 << 20 }));
    assert_eq!(resources["cpu"], json!({ "quota": 150_000, "period": 100_000 }));
    // The lower one was there.
    assert_eq!(resources["pids"]["limit"], 8);
    assert_eq!(
        resources["devices"],
        json!([{ "allow": false, "access": "rwm" }, { "allow": true, "type": "c", "major": 1, "minor": 3 }])
    );
    let types: Vec<&str> =
        linux["namespaces"].as_array().unwrap().iter().map(|n| n["type"].as_str().unwrap()).collect();
    assert_eq!(types, ["pid", "mount", "ipc", "uts", "cgroup"]);
    assert!(report.notes.iter().any(|note| note.contains("the network is the host's")), "{:?}", report.notes);
    let masked = linux["maskedPaths"].as_array().unwrap();
    assert!(masked.contains(&json!("/own/secret")) && masked.contains(&json!("/proc/kcore")));
    assert!(linux["readonlyPaths"].as_array().unwrap().contains(&json!("/proc/sys")));
}

#[test]
fn mounts_come_in_an_order_in_which_none_hides_another() {
    let (out, _) = confine(&bundle(), &sandbox());
    let mounts = out["mounts"].as_array().unwrap();
    let at = |place: &str| mounts.iter().position(|m| m["destination"] == place).unwrap();
    assert_eq!(mounts.len(), 5);
    assert!(at("/tmp") < at("/tmp/cache/"));
    let options = json!(["rw", "nosuid", "nodev", "noexec", "mode=1777", "size=16777216"]);
    assert_eq!(mounts[at("/tmp")]["options"], options);
    // The bundle knows where its files are, the recording how they are used.
    assert_eq!(mounts[at("/app/config")]["source"], "/own/config");
    assert_eq!(mounts[at("/app/config")]["options"], json!(["rbind", "ro", "nosuid", "nodev", "noexec"]));
    assert_eq!(mounts[at("/app/logs")]["source"], "/srv/agent/logs");
    // The same again changes nothing.
    assert_eq!(confine(&out, &sandbox()).0, out);
}

#[test]
fn a_program_of_root_needs_no_ambient_capability_and_no_network_is_a_new_one() {
    let mut sandbox = sandbox();
    sandbox.user = because(User { spec: None, root: true, ids: Some((0, 0)), blockers: vec![] });
    sandbox.network = because(Network::None);
    let mut bundle = bundle();
    bundle["linux"]["namespaces"] = json!([{ "type": "network", "path": "/run/netns/x" }]);
    let (out, _) = confine(&bundle, &sandbox);
    assert_eq!(out["process"]["capabilities"]["ambient"], json!([]));
    assert_eq!(out["process"]["capabilities"]["bounding"], json!(["CAP_NET_BIND_SERVICE"]));
    let networks: Vec<&Value> =
        out["linux"]["namespaces"].as_array().unwrap().iter().filter(|n| n["type"] == "network").collect();
    assert_eq!(networks, [&json!({ "type": "network" })]);
}

#[test]
fn what_was_used_is_not_hidden() {
    let (mut needs, syscalls) = calls();
    needs.files.insert(b"/proc/interrupts", None, Access::READ, None, &Evidence::default());
    needs.files.insert(b"/proc/sys/kernel/x", None, Access::WRITE, None, &Evidence::default());
    needs.files.insert(b"/var/core.1", None, Access::CREATE, None, &Evidence::default());
    let sandbox = sandbox();
    let parts = Parts { needs: &needs, sandbox: &sandbox, syscalls: &syscalls, apparmor: None };
    let bytes = serde_json::to_vec(&bundle()).unwrap();
    let mut config = Config::read(&bytes, "config.json").unwrap();
    config.confine(&parts).unwrap();
    let out: Value = serde_json::from_slice(&config.json().unwrap()).unwrap();
    assert!(!out["linux"]["maskedPaths"].as_array().unwrap().contains(&json!("/proc/interrupts")));
    assert!(!out["linux"]["readonlyPaths"].as_array().unwrap().contains(&json!("/proc/sys")));
    assert_eq!(out["process"]["rlimits"].as_array().unwrap().len(), 1);
    assert!(out["process"].get("apparmorProfile").is_none());
}

#[test]
fn names_that_try_to_be_more_stay_names() {
    let mut sandbox = sandbox();
    let hostile = "/a\"],\"x\":[\"\n";
    sandbox.volumes[1].value.target = hostile.into();
    let (out, report) = confine(&bundle(), &sandbox);
    assert!(out["mounts"].as_array().unwrap().iter().any(|m| m["destination"] == hostile));
    assert!(report.changes.iter().all(|c| !c.what.contains('\n')), "{:?}", report.changes);
}

#[test]
fn what_no_bundle_can_say_is_said() {
    let (needs, syscalls) = calls();
    let mut sandbox = sandbox();
    let path = BytePath::from(&b"/data\xff"[..]);
    sandbox.tmpfs = vec![because(Tmpfs { path, bytes: 1, exec: false, mode: 0o700, owner: Some((1, 2)) })];
    let parts = Parts { needs: &needs, sandbox: &sandbox, syscalls: &syscalls, apparmor: None };
    let bytes = serde_json::to_vec(&bundle()).unwrap();
    let error = Config::read(&bytes, "c").unwrap().confine(&parts).unwrap_err();
    assert_eq!(error.exit(), Exit::Incomplete);
    assert!(error.to_string().contains(r"/data\xff"), "{error}");
    sandbox.tmpfs.clear();
    sandbox.volumes[1].value.source = Source::Named("logs".into());
    let parts = Parts { needs: &needs, sandbox: &sandbox, syscalls: &syscalls, apparmor: None };
    let report = Config::read(&bytes, "c").unwrap().confine(&parts).unwrap();
    assert!(report.notes.iter().any(|note| note.contains("nothing is mounted at /app/logs")));
}

#[test]
fn what_is_no_bundle_is_refused_with_what_to_do() {
    let (needs, syscalls) = calls();
    let sandbox = sandbox();
    let parts = Parts { needs: &needs, sandbox: &sandbox, syscalls: &syscalls, apparmor: None };
    for (json, part) in [
        ("{\n  \"ociVersion\": \"1\",\n  \"process\": }", "line 3"),
        ("[]", "no object"),
        (r#"{"defaultAction":"SCMP_ACT_ERRNO"}"#, "ociVersion"),
        (r#"{"ociVersion":"1","linux":{}}"#, "no process"),
        (r#"{"ociVersion":"1","windows":{},"process":{}}"#, "of windows"),
        (r#"{"ociVersion":"1","process":{},"mounts":{}}"#, "\"mounts\" in c.json is not a list"),
        (r#"{"ociVersion":"1","process":{},"linux":[]}"#, "\"linux\" in c.json is not an object"),
    ] {
        let error = Config::read(json.as_bytes(), "c.json")
            .and_then(|mut config| config.confine(&parts))
            .unwrap_err();
        assert!(error.in_one_line().contains(part), "{json}: {}", error.in_one_line());
        assert_eq!(error.exit(), Exit::Usage, "{json}");
        assert!(error.hint_text().is_some(), "{json}");
    }
}
