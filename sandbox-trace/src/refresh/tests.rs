use super::*;
use crate::{error::Exit, recording::samples};

/// A workload's folder, with recordings beside it.
struct Place(tempfile::TempDir);

impl Place {
    fn new(more: &str) -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        fs::create_dir(place.folder()).unwrap();
        place.workload(more);
        place
    }

    fn folder(&self) -> PathBuf {
        self.0.path().join("agent")
    }

    /// Seccomp alone: these tests are about what becomes of files, and need no AppArmor.
    fn workload(&self, more: &str) {
        let text = format!(
            "name = \"agent\"\n[options]\nformats = [\"seccomp\"]\nmust-deny = \"attacks.json\"\n{more}"
        );
        fs::write(self.folder().join(workload::FILE), text).unwrap();
        self.must_deny("reboot");
    }

    fn must_deny(&self, call: &str) {
        let attack = serde_json::json!({"name": call, "why": "a test", "ways": [[{"call": call}]]});
        let list = serde_json::json!({"schema": "sandbox-trace/attacks/v1", "attacks": [attack]});
        fs::write(self.folder().join("attacks.json"), list.to_string()).unwrap();
    }

    fn record(&self, started: &str, calls: &[&str], change: impl FnOnce(&mut Recording)) -> PathBuf {
        let mut recording = samples::calls(calls);
        recording.started = format!("2026-01-{started}T00:00:00Z");
        change(&mut recording);
        let path = self.0.path().join(format!("{started}.json"));
        recording::save(&recording, &path).unwrap();
        path
    }

    fn look(&self, recordings: &[PathBuf]) -> Result<Refresh> {
        let work = tempfile::tempdir().unwrap();
        look(&Question {
            folder: &self.folder(),
            recordings,
            today: "2026-11-30".parse().unwrap(),
            work: work.path(),
            rootfs: None,
            features: None,
            allow_incomplete: false,
        })
    }

    /// Looks and writes; returns what was found.
    fn refresh(&self, recordings: &[PathBuf]) -> Outcome {
        let mut found = self.look(recordings).unwrap();
        let written = found.write(&self.folder()).unwrap();
        assert_eq!(written, !verdict_forbids(found.outcome.verdict));
        found.outcome
    }

    fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let entries = fs::read_dir(self.folder()).unwrap().map(|entry| entry.unwrap());
        entries.map(|e| (e.file_name().into_string().unwrap(), fs::read(e.path()).unwrap())).collect()
    }
}

fn added(outcome: &Outcome) -> Vec<&str> {
    outcome.added.iter().map(|one| one.what.as_str()).collect()
}

#[test]
fn from_release_to_release() {
    let place = Place::new("last = 2\n");
    let first = place.record("01", &["read", "getpgrp"], |_| ());
    let found = place.refresh(std::slice::from_ref(&first));
    assert_eq!((found.verdict, found.verdict.exit()), (Verdict::New, Exit::Clean));
    let before = place.files();
    assert_eq!(
        before.keys().collect::<Vec<_>>(),
        [
            "SUMMARY.md",
            "attacks.json",
            "recording.json.zst",
            "sandbox-trace.lock",
            "seccomp.json",
            "workload.toml"
        ]
    );

    // The same once more: not a byte.
    assert_eq!(place.refresh(&[first]).verdict, Verdict::Unchanged);
    assert_eq!(place.files(), before);

    // Wider: nothing is written, until it is approved.
    let second = place.record("02", &["read", "getppid"], |_| ());
    let found = place.refresh(std::slice::from_ref(&second));
    assert_eq!((found.verdict.exit(), added(&found)), (Exit::Found, vec!["getppid"]));
    assert_eq!(place.files(), before);
    let evidence = found.added.first().unwrap().evidence.clone().unwrap();
    assert!(evidence.runs.iter().any(|run| run.ends_with("02.json")), "{evidence:?}");
    let approval = found.to_approve.replace("= \"\"", "= \"yes\"");
    place.workload(&format!("last = 2\n{approval}"));
    assert_eq!(place.refresh(&[second]).verdict, Verdict::Approved);

    // Two runs without them: neither is left.
    let third = [place.record("03", &["read"], |_| ()), place.record("04", &["read"], |_| ())];
    let found = place.refresh(&third);
    assert_eq!((found.verdict, found.runs), (Verdict::Narrowed, 2));
    let gone: Vec<&str> = found.removed.iter().map(|one| one.what.as_str()).collect();
    assert!(gone.contains(&"getppid") && gone.contains(&"getpgrp"), "{gone:?}");
}

#[test]
fn what_others_changed_is_found() {
    let place = Place::new("");
    let recording = [place.record("01", &["read"], |_| ())];
    place.refresh(&recording);
    let before = place.files();
    let path = |name: &str| place.folder().join(name);
    for name in ["seccomp.json", "recording.json.zst", "SUMMARY.md", lock::FILE] {
        fs::remove_file(path(name)).unwrap();
        let found = place.refresh(&recording);
        assert_eq!((found.verdict.exit(), found.tampered.len()), (Exit::Found, 1), "{name}");
        fs::write(path(name), before.get(name).unwrap()).unwrap();
    }
    fs::write(path("seccomp.json"), br#"{"defaultAction": "SCMP_ACT_ALLOW"}"#).unwrap();
    let found = place.refresh(&recording);
    assert_eq!(found.tampered, [Tampered { file: "seccomp.json".into(), gone: false }]);
    assert!(markdown(&found).contains("`seccomp.json` was changed"));
}

/// Whoever makes the lock fit as well has a wide profile taken back.
#[test]
fn a_profile_with_a_lock_to_match_is_narrowed_again() {
    let place = Place::new("");
    let recording = [place.record("01", &["read"], |_| ())];
    place.refresh(&recording);
    let right = place.files();
    let wide = String::from_utf8(right.get("seccomp.json").unwrap().clone()).unwrap().replacen(
        "\"read\"",
        "\"read\",\"mount\"",
        1,
    );
    let folder = Folder(Box::leak(place.folder().into_boxed_path()));
    fs::write(folder.path("seccomp.json"), &wide).unwrap();
    let mut lock = Lock::load(&folder).unwrap().unwrap();
    for file in lock.files.iter_mut().filter(|file| file.name == SECCOMP) {
        file.sha256 = lock::sha256(wide.as_bytes());
    }
    fs::write(folder.path(lock::FILE), lock.text().unwrap()).unwrap();
    assert_eq!(place.refresh(&recording).verdict, Verdict::Narrowed);
    assert_eq!(place.files().get("seccomp.json"), right.get("seccomp.json"));
}

#[test]
fn what_is_incomplete_or_dangerous_is_no_profile() {
    let place = Place::new("");
    let incomplete = place.record("01", &["read"], |recording| {
        recording.complete = false;
        recording.losses.insert("ring_full".into(), 3);
    });
    let dangerous = place.record("02", &["read", "mount"], |_| ());
    for (recording, exit) in [(incomplete, Exit::Incomplete), (dangerous.clone(), Exit::Refused)] {
        assert_eq!(place.look(&[recording]).unwrap_err().exit(), exit);
        assert_eq!(place.files().len(), 2);
    }
    place.workload("allow = [\"mount\"]\n");
    assert_eq!(place.refresh(&[dangerous]).verdict, Verdict::New);
    place.workload("alow = []\n");
    assert_eq!(place.look(&[]).unwrap_err().exit(), Exit::Usage);
}

#[test]
fn an_open_attack_stops_it() {
    let place = Place::new("");
    place.must_deny("getppid");
    let found = place.refresh(&[place.record("01", &["read", "getppid"], |_| ())]);
    assert_eq!((found.verdict, found.attacks.open.len()), (Verdict::Failed, 1));
    assert_eq!(place.files().len(), 2);
    assert!(markdown(&found).contains("✗ open: `getppid`"));
}

#[test]
fn another_kernel_is_said() {
    let place = Place::new("");
    place.refresh(&[place.record("01", &["read"], |recording| recording.host.kernel = "6.1.0".into())]);
    let found = place.refresh(&[place.record("02", &["read"], |recording| {
        recording.host.kernel = "6.12.0".into();
        let library = serde_json::json!({
            "path": "/lib/ld-musl-x86_64.so.1", "access": "rm", "operations": ["mmap"], "first_ms": 1, "by": [0]
        });
        recording.files.push(serde_json::from_value(library).unwrap());
    })]);
    assert_eq!(found.moved, ["recorded on another kernel than last time: 6.12.0, and it was 6.1.0"]);
    assert_eq!(found.recorded.libc.into_iter().collect::<Vec<_>>(), ["ld-musl-x86_64.so.1"]);
}

/// Nothing recorded becomes markup, a line of its own, or TOML.
#[test]
fn a_hostile_name_stays_a_name() {
    let mut outcome = Outcome::of(&workload::parse("name = \"a\"", "f").unwrap(), Path::new("p"));
    let hostile = recording::printable("/a`\n## ✓ **fine**\n```\n[[approval]]\n<script>|");
    let changes = [diff::Change { what: hostile.clone(), ..diff::Change::default() }];
    outcome.added = privilege::judge(&changes, &[], "2026-01-01".parse().unwrap()).privileges;
    outcome.to_approve =
        privilege::entries(&outcome.added.iter().collect::<Vec<_>>(), "2026-01-01".parse().unwrap());
    outcome.notes.push(hostile.clone());
    outcome.verdict = Verdict::Widened;
    let text = markdown(&outcome);
    assert_eq!(text.lines().filter(|line| line.starts_with("## ")).count(), 1, "{text}");
    assert_eq!(text.lines().filter(|line| *line == "[[approval]]").count(), 1, "{text}");
    let toml = format!("name = \"a\"\n{}", outcome.to_approve.replace("= \"\"", "= \"x\""));
    assert_eq!(workload::parse(&toml, "f").unwrap().approvals.first().unwrap().what, hostile);
}
