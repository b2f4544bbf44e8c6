//! `emit-apparmor` as scripts see it: exit codes, what is written and what is not.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test says what failed by panicking")]

use std::{
    path::Path,
    process::{Command, Output},
};

use sandbox_trace::recording::{self, Recording};

/// A recording with these files and, if asked, observed capabilities.
fn recording(folder: &Path, files: &[(&str, &str)], complete: bool) -> std::path::PathBuf {
    let files: Vec<serde_json::Value> = files
        .iter()
        .map(|(path, access)| {
            serde_json::json!({"path": path, "access": access, "operations": ["open"], "first_ms": 5, "by": [0]})
        })
        .collect();
    let json = serde_json::json!({
        "schema": recording::SCHEMA, "tool": "test", "complete": complete,
        "losses": {"ring_full": i32::from(!complete)}, "started": "2024-01-01T00:00:00Z", "duration_ms": 1000,
        "host": {"kernel": "6.1", "arch": "x86_64", "cgroup": "unified", "hooks": "syscalls",
                 "observed": ["syscalls", "files", "network"]},
        "target": {"kind": "command", "cgroup": "/x", "boundary": "none", "ended": "target-ended"},
        "executables": [{"path": "/usr/bin/agent", "executed": true}],
        "syscalls": [], "files": files, "network": [], "capabilities": [], "credentials": [], "resources": {},
    });
    let parsed: Recording = serde_json::from_value(json).unwrap();
    let file = folder.join("run.json");
    recording::save(&parsed, &file).unwrap();
    file
}

fn emit(recording: &Path, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sandbox-trace"));
    command.arg("emit-apparmor").arg(recording).args(more).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_profile_is_printed_or_written_with_a_summary() {
    let folder = tempfile::tempdir().unwrap();
    let run = recording(folder.path(), &[("/a", "r"), ("/tmp/tmpab12cd34", "rw")], true);
    let printed = emit(&run, &["--name", "agent"]);
    assert_eq!(printed.status.code(), Some(0), "{}", stderr(&printed));
    let profile = folder.path().join("agent.profile");
    let written = emit(&run, &["--name", "agent", "-o", profile.to_str().unwrap()]);
    assert_eq!(std::fs::read(&profile).unwrap(), printed.stdout);
    let said = stderr(&written);
    assert!(said.contains("2 path rules (1 generalised)"), "{said}");
    assert!(said.contains("capabilities were not observed"), "{said}");
    assert!(said.contains("next: sandbox-trace verify"), "{said}");
    assert!(emit(&run, &["--name", "agent", "--quiet"]).stderr.is_empty());
    let exact = emit(&run, &["--name", "agent", "--generalize", "exact"]);
    assert!(String::from_utf8_lossy(&exact.stdout).contains("\n  /tmp/tmpab12cd34 rw,\n"));
}

#[test]
fn what_fails_has_its_exit_code_and_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("agent.profile");
    let o = ["--name", "agent", "-o", target.to_str().unwrap()];
    let check = |files: &[(&str, &str)], complete, more: &[&str], code, part: &str| {
        let output = emit(&recording(folder.path(), files, complete), &[&o[..], more].concat());
        assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
        assert!(stderr(&output).contains(part), "{}", stderr(&output));
        assert_eq!(target.exists(), code == 0);
        let _ = std::fs::remove_file(&target);
    };
    check(&[("/a", "r")], true, &["--apparmor-features", "/no/such"], 2, "/no/such");
    check(&[("/dev/mem", "r")], true, &[], 4, "--allow /dev/mem");
    check(&[("/dev/mem", "r")], true, &["--allow", "/dev/mem"], 0, "1 path rule ");
    check(&[("/a", "r")], false, &[], 3, "ring_full 1");
    check(&[("/a", "r")], false, &["--allow-incomplete"], 0, "gap: the recording lost something");
    check(&[("pipe:[1]", "r")], true, &[], 3, "pipe:[1]");
    let bad = emit(&recording(folder.path(), &[("/a", "r")], true), &["--name", "a b"]);
    assert_eq!(bad.status.code(), Some(2));
}

#[test]
fn denies_take_nothing_away_and_say_what_they_leave_out() {
    let folder = tempfile::tempdir().unwrap();
    let files =
        [("/dev/null", "rw"), ("/tmp/tool", "rx"), ("/app/data", "rw"), ("/proc/sys/kernel/osrelease", "r")];
    let run = recording(folder.path(), &files, true);
    let profile = folder.path().join("agent.profile");
    let file = profile.to_str().unwrap();
    let written = emit(&run, &["--name", "agent", "-o", file, "--deny-baseline"]);
    let said = stderr(&written);
    assert_eq!(written.status.code(), Some(0), "{said}");
    assert!(said.contains("`deny /dev/** w` is left out") && said.contains("/dev/null"), "{said}");
    assert!(said.contains("`deny /tmp/** x` is left out") && said.contains("/tmp/tool"), "{said}");
    let text = std::fs::read_to_string(&profile).unwrap();
    for part in [
        "\n  deny /var/tmp/** x,\n",
        "\n  deny /proc/sys/** w,\n",
        "\n  deny mount,\n",
        "is left out",
        "audit deny",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains("\n  deny /tmp/** x,"), "{text}");
    let mut verify = Command::new(env!("CARGO_BIN_EXE_sandbox-trace"));
    let verified = verify.arg("verify").arg(&run).args(["--apparmor", file]).output().unwrap();
    assert_eq!(verified.status.code(), Some(0), "{}", stderr(&verified));
    let again = emit(&run, &["--name", "agent", "--deny-baseline"]);
    assert_eq!(again.stdout, text.as_bytes());
}
