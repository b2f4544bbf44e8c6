//! Nothing recorded is trusted: a recording full of hostile bytes, through the binary to files and through the real
//! compilers back. What comes out admits what was recorded and nothing else.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a test says what failed by panicking"
)]

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::{Command, Output},
};

use proptest::prelude::*;
use sandbox_trace::{
    apparmor::{
        compiler,
        features::Features,
        perms::{APPEND, READ, Subject, WRITE},
        policy::{self, Mode, Profile},
    },
    recording::{self, BytePath, Recording},
};
use serde_json::{Value, json};

/// What a file name would have to hold to become part of a rule, of a comment or of the file around it.
const FRAGMENTS: [&[u8]; 44] = [
    b"*",
    b"**",
    b"?",
    b"[a-z]",
    b"[^x]",
    b"{a,b}",
    b"{",
    b"}",
    b"@{PROC}",
    b"@{HOME}",
    b"@{pid}",
    b"#include <x>",
    b"#",
    b"\\",
    b"\\\\",
    b"\\101",
    b"\\x41",
    b"\"",
    b"'",
    b",",
    b", /etc/shadow r,",
    b"\n",
    b"\n/etc/shadow rw,\n",
    b"\n}\nprofile evil {\n",
    b"\r",
    b"\t",
    b" ",
    b"  ",
    b"a ",
    b" r,",
    b" -> ",
    b"^",
    b"$(id)",
    b"..",
    b".",
    b"...",
    b"\xff",
    b"\xc3\x28",
    b"\xe2\x80\xae",
    b"\x7f",
    b"\x1b[2J",
    b"f",
    b"file",
    "é".as_bytes(),
];

/// Folders whose names are never generalised, with nothing dangerous in them.
const PINNED: [&str; 3] = ["/etc/x/", "/etc/y z/", "/home/user/x/"];
/// Folders of all kinds.
const ANY: [&str; 6] = ["/etc/x/", "/home/user/x/", "/opt/work/", "/tmp/", "/srv/data/", "/x"];
/// Where names may be generalised.
const OPEN: [&str; 3] = ["/tmp/", "/srv/data/", "/var/tmp/a/"];

/// What must never be admitted when nobody asked for it.
const UNASKED: [&str; 14] = [
    "/",
    "/etc/",
    "/etc/shadow",
    "/etc/passwd",
    "/root/.ssh/id_rsa",
    "/proc/1/mem",
    "/proc/sysrq-trigger",
    "/dev/sda",
    "/usr/bin/id",
    "/home/user/x",
    "/run/docker.sock",
    "/etc/x",
    "/A",
    "/sys/kernel/x",
];

fn component() -> impl Strategy<Value = Vec<u8>> {
    let fragment = proptest::sample::select(FRAGMENTS.to_vec()).prop_map(<[u8]>::to_vec);
    let bytes =
        prop::collection::vec(any::<u8>().prop_filter("part of a name", |b| !b"\0/".contains(b)), 1..12);
    let plain = "[a-c]{1,3}".prop_map(String::into_bytes);
    let part = prop_oneof![5 => fragment, 2 => bytes, 1 => plain];
    let long = prop::sample::select(FRAGMENTS.to_vec())
        .prop_map(|of| of.iter().copied().cycle().take(240).collect());
    prop_oneof![
        30 => prop::collection::vec(part, 1..5).prop_map(|parts| parts.concat()),
        1 => long,
    ]
    .prop_filter("a slash ends a name", |name: &Vec<u8>| !name.contains(&b'/'))
    .prop_filter("not a name", |name| name != b"." && name != b"..")
}

/// A path below one of these folders; a directory's has a slash at its end.
fn path(folders: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    (prop::sample::select(folders), prop::collection::vec(component(), 1..4), prop::bool::weighted(0.1))
        .prop_map(|(folder, names, directory)| {
            let mut path = folder.as_bytes().to_vec();
            path.extend(names.join(&b'/'));
            if directory {
                path.push(b'/');
            }
            path
        })
}

/// Path → whether it was written too.
fn paths(folders: &'static [&'static str]) -> impl Strategy<Value = BTreeMap<Vec<u8>, bool>> {
    prop::collection::btree_map(path(folders), any::<bool>(), 1..30)
}

/// Text that tries to leave the place where it is quoted.
fn hostile_text() -> impl Strategy<Value = String> {
    prop::collection::vec(component(), 1..4)
        .prop_map(|names| String::from_utf8_lossy(&names.concat()).into_owned())
}

fn recording(files: &BTreeMap<Vec<u8>, bool>, executable: &[u8], said: &str) -> Value {
    let files: Vec<Value> = files
        .iter()
        .map(|(path, written)| {
            json!({"path": BytePath::from(path.as_slice()), "access": if *written { "rw" } else { "r" },
                   "operations": [said], "first_ms": 5, "by": [0]})
        })
        .collect();
    json!({
        "schema": recording::SCHEMA, "tool": said, "complete": true, "losses": {}, "warnings": [said],
        "started": "2024-01-01T00:00:00Z", "duration_ms": 1000,
        "host": {"kernel": said, "arch": "x86_64", "cgroup": "unified", "hooks": "lsm",
                 "observed": ["syscalls", "files", "network", "capabilities"]},
        "target": {"kind": "command", "cgroup": BytePath::from(executable), "command": [BytePath::from(executable)],
                   "boundary": "none", "ended": "target-ended", "apparmor": [BytePath::from(executable)]},
        "executables": [{"path": BytePath::from(executable), "executed": true}],
        "syscalls": [{"arch": "x86_64", "nr": 0, "name": "read", "count": 1, "succeeded": true, "first_ms": 1, "by": [0]}],
        "files": files, "network": [], "capabilities": [], "credentials": [], "resources": {},
    })
}

/// Runs an `emit-…` command on the recording. The recording is read by the product: it is a valid one.
fn emit(command: &str, recording: &Value, more: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("run.json");
    fs::write(&file, serde_json::to_vec(recording).unwrap()).unwrap();
    let product = Path::new(env!("CARGO_BIN_EXE_sandbox-trace"));
    Command::new(product).arg(command).arg(&file).args(more).output().unwrap()
}

/// The one profile of an emitted text, which has no rights beside files.
fn compiled(text: &[u8]) -> Profile {
    assert!(compiler::installed().is_some(), "these tests need the real compiler: apt-get install apparmor");
    let compiled = compiler::compile(text, "the profile", &Features::built_in().unwrap())
        .unwrap_or_else(|error| panic!("{error}\n{}", text.escape_ascii()));
    let mut profiles = policy::unpack(&compiled.policy).unwrap();
    assert_eq!(profiles.len(), 1, "{}", text.escape_ascii());
    let profile = profiles.remove(0);
    assert_eq!((profile.name.as_bytes(), profile.mode), (&b"agent"[..], Mode::Enforce));
    assert_eq!(profile.capabilities, 0);
    assert!((0..46).all(|family| (0..11).all(|kind| !profile.allows_socket(family, kind))));
    profile
}

/// What is allowed on a path, to anyone.
fn allowed(profile: &Profile, path: &[u8]) -> u32 {
    profile.file_perms(path, Subject::Owner).allow | profile.file_perms(path, Subject::Other).allow
}

/// Paths that are near to one: a byte more, less, or another; with and without slashes; what it would match as a
/// pattern, and what it would be with another reading of its escapes.
fn neighbours(path: &[u8], at: usize, byte: u8) -> Vec<Vec<u8>> {
    let at = at % path.len();
    let mut out = vec![path[..path.len() - 1].to_vec(), path[..at].to_vec(), [path, b"/"].concat()];
    for byte in
        [byte, b'a', b'x', b'*', b'/', b' ', b'\n', b'\\', path[at].to_ascii_uppercase(), path[at] ^ 0x80]
    {
        let mut changed = path.to_vec();
        changed[at] = byte;
        out.push(changed);
        let mut inserted = path.to_vec();
        inserted.insert(at, byte);
        out.push(inserted);
        out.push([path, &[byte]].concat());
    }
    let mut removed = path.to_vec();
    removed.remove(at);
    out.push(removed);
    let text = path.escape_ascii().to_string();
    for (from, to) in [
        ("*", "x"),
        ("?", "x"),
        ("**", "a/b"),
        ("[a-z]", "m"),
        ("[^x]", "m"),
        ("{a,b}", "a"),
        ("\\\\101", "A"),
        ("\\\\x41", "A"),
        ("\\\\\\\\", "\\\\"),
        ("\\\\", ""),
        ("\\\"", ""),
        ("@{PROC}", "/proc"),
        ("@{pid}", "1"),
        ("#include <x>", ""),
        (",", ""),
        (" ", ""),
        ("\\n", ""),
        ("\\n", " "),
        ("../", ""),
        ("./", ""),
    ] {
        // The escapes that are left are only more hostile names.
        out.push(text.replace(from, to).into_bytes());
    }
    for end in [b'\n', b'"', b',', b' ', b'#', b'{', b'*', b'[', b'\\'] {
        // What would be left if this byte ended the rule.
        out.extend(path.iter().position(|b| *b == end).map(|position| path[..position].to_vec()));
    }
    out
}

/// The profile of the recording gives each file what was recorded, and its neighbours nothing.
fn admits_only(
    files: &BTreeMap<Vec<u8>, bool>,
    recording: &Value,
    level: &str,
    (at, byte): (usize, u8),
) -> Result<(), TestCaseError> {
    let output = emit("emit-apparmor", recording, &["--name", "agent", "--generalize", level]);
    prop_assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let profile = compiled(&output.stdout);
    for (path, written) in files {
        let wanted = if *written { READ | WRITE } else { READ };
        // `w` gives appending too.
        let given = allowed(&profile, path) & !if *written { APPEND } else { 0 };
        prop_assert_eq!(given, wanted, "{}", path.escape_ascii());
        for near in neighbours(path, at, byte).iter().filter(|near| !files.contains_key(*near)) {
            let by = path.escape_ascii();
            prop_assert_eq!(allowed(&profile, near), 0, "{} by the rule for {}", near.escape_ascii(), by);
        }
    }
    for path in UNASKED {
        prop_assert_eq!(allowed(&profile, path.as_bytes()), 0, "{}", path);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(24) })]

    #[test]
    fn a_profile_admits_the_recorded_paths_and_no_others(
        files in paths(&ANY), executable in path(&ANY), said in hostile_text(), at: usize, byte in 1_u8..,
    ) {
        admits_only(&files, &recording(&files, &executable, &said), "exact", (at, byte))?;
    }

    #[test]
    fn pinned_paths_are_admitted_alone_however_far_others_are_generalised(
        files in paths(&PINNED),
        executable in path(&ANY),
        said in hostile_text(),
        level in prop::sample::select(vec!["balanced", "broad"]),
        at: usize,
        byte in 1_u8..,
    ) {
        admits_only(&files, &recording(&files, &executable, &said), level, (at, byte))?;
    }

    #[test]
    fn what_is_generalised_stays_in_its_folder(
        files in paths(&OPEN),
        executable in path(&OPEN),
        level in prop::sample::select(vec!["balanced", "broad"]),
    ) {
        let recording = recording(&files, &executable, "x");
        let output = emit("emit-apparmor", &recording, &["--name", "agent", "--generalize", level]);
        prop_assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let profile = compiled(&output.stdout);
        for (path, written) in &files {
            let wanted = if *written { READ | WRITE } else { READ };
            prop_assert_eq!(allowed(&profile, path) & wanted, wanted, "{}", path.escape_ascii());
            // The same names at the top, in a home, in the settings.
            for folder in OPEN {
                let Some(rest) = path.strip_prefix(folder.as_bytes()) else { continue };
                for other in [&b"/"[..], b"/etc/", b"/home/user/", b"/root/", b"/usr/bin/", b"/proc/1/"] {
                    let moved = [other, rest].concat();
                    prop_assert_eq!(allowed(&profile, &moved), 0, "{}", moved.escape_ascii());
                }
            }
        }
        for path in UNASKED {
            prop_assert_eq!(allowed(&profile, path.as_bytes()), 0, "{}", path);
        }
    }

    #[test]
    fn links_are_given_between_their_own_names_only(
        new in path(&PINNED), existing in path(&PINNED), other in path(&PINNED), at: usize, byte in 1_u8..,
    ) {
        prop_assume!(new != existing && other != new && other != existing);
        prop_assume!(!new.ends_with(b"/") && !existing.ends_with(b"/"));
        let mut recording = recording(&BTreeMap::new(), b"/usr/bin/x", "x");
        recording["files"] = json!([{"path": BytePath::from(new.as_slice()), "access": "l", "operations": ["link"],
            "link_target": BytePath::from(existing.as_slice()), "first_ms": 5, "by": [0]}]);
        let output = emit("emit-apparmor", &recording, &["--name", "agent"]);
        prop_assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let profile = compiled(&output.stdout);
        let links = |from: &[u8], to: &[u8]| profile.allows_link(from, to, Subject::Owner);
        prop_assert!(links(&new, &existing));
        for (from, to) in [(&existing, &new), (&new, &new), (&new, &other), (&other, &existing)] {
            prop_assert!(!links(from, to), "{} -> {}", from.escape_ascii(), to.escape_ascii());
        }
        for near in neighbours(&new, at, byte).iter().filter(|near| **near != new) {
            prop_assert!(!links(near, &existing), "{}", near.escape_ascii());
        }
        for near in neighbours(&existing, at, byte).iter().filter(|near| **near != existing) {
            prop_assert!(!links(&new, near), "{}", near.escape_ascii());
        }
    }

    #[test]
    fn a_path_that_no_rule_can_name_is_refused_and_can_be_left_out(
        files in paths(&PINNED),
        bad in prop_oneof![
            component().prop_map(|name| [b"/etc/x//", name.as_slice()].concat()),
            component().prop_map(|name| [b"/etc/x/", name.as_slice(), b"//"].concat()),
            component().prop_map(|name| [name.as_slice(), b":[1]"].concat()),
        ],
    ) {
        let mut all = files.clone();
        all.insert(bad.clone(), false);
        let recording = recording(&all, b"/usr/bin/x", "x");
        let refused = emit("emit-apparmor", &recording, &["--name", "agent"]);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        prop_assert_eq!(refused.status.code(), Some(3), "{}", said);
        prop_assert!(refused.stdout.is_empty() && said.contains("no AppArmor rule can name"), "{}", said);
        prop_assert!(!said.chars().any(|c| c.is_control() && c != '\n'), "{:?}", said);
        let output = emit("emit-apparmor", &recording, &["--name", "agent", "--allow-incomplete"]);
        prop_assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let profile = compiled(&output.stdout);
        prop_assert_eq!(allowed(&profile, &bad), 0);
        for path in files.keys() {
            prop_assert!(allowed(&profile, path) & READ != 0, "{}", path.escape_ascii());
        }
    }

    #[test]
    fn the_seccomp_profile_stays_the_same_json(
        executable in path(&PINNED), said in hostile_text(), name in hostile_text(), succeeded: bool,
    ) {
        let plain = recording(&BTreeMap::new(), b"/usr/bin/x", "x");
        let expected = emit("emit-seccomp", &plain, &[]);
        prop_assert!(expected.status.success(), "{}", String::from_utf8_lossy(&expected.stderr));
        let hostile = recording(&BTreeMap::new(), &executable, &said);
        let same = emit("emit-seccomp", &hostile, &[]);
        prop_assert_eq!(&same.stdout, &expected.stdout);
        let parsed: Value = serde_json::from_slice(&same.stdout).unwrap();
        let names: Vec<&str> = parsed["syscalls"].as_array().unwrap().iter()
            .flat_map(|rule| rule["names"].as_array().unwrap()).map(|name| name.as_str().unwrap()).collect();
        prop_assert!(names.contains(&"read"));
        prop_assert!(names.iter().all(|name| name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')));

        // A name that no kernel has is refused if it is needed, else left out.
        let mut named = hostile.clone();
        named["syscalls"].as_array_mut().unwrap().push(json!({"arch": "x86_64", "nr": 9999, "name": name,
            "count": 1, "succeeded": succeeded, "errors": ["ENOSYS"], "first_ms": 1, "by": [0]}));
        let output = emit("emit-seccomp", &named, &[]);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        prop_assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{:?}", text);
        if succeeded {
            prop_assert_eq!(output.status.code(), Some(3), "{}", text);
            prop_assert!(output.stdout.is_empty());
        } else {
            prop_assert!(output.status.success(), "{}", text);
            prop_assert_eq!(&output.stdout, &expected.stdout);
        }

        // An architecture is one of three.
        let mut elsewhere = hostile;
        elsewhere["syscalls"][0]["arch"] = json!(name);
        let output = emit("emit-seccomp", &elsewhere, &[]);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        prop_assert_eq!(output.status.code(), Some(2), "{}", text);
        prop_assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{:?}", text);
    }
}

#[test]
fn the_generated_recordings_are_the_formats_own() {
    let value = recording(&BTreeMap::from([(b"/a\xff".to_vec(), true)]), b"/x\n", "\u{1b}");
    let read: Recording = serde_json::from_value(value).unwrap();
    assert_eq!(read.files.first().unwrap().path.as_bytes(), b"/a\xff");
    assert_eq!(read.executables.first().unwrap().path.as_bytes(), b"/x\n");
}

#[test]
fn the_longest_path_is_admitted_alone() {
    for filler in [&b"*"[..], b"\xff", b" ", b"\\", b"{a,b}", b"[^x]"] {
        let mut path = b"/opt/work".to_vec();
        while path.len() < 3900 {
            path.push(b'/');
            path.extend(filler.iter().copied().cycle().take(250));
        }
        let files = BTreeMap::from([(path.clone(), false)]);
        let output = emit("emit-apparmor", &recording(&files, b"/usr/bin/x", "x"), &["--name", "agent"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let profile = compiled(&output.stdout);
        assert_eq!(allowed(&profile, &path), READ);
        for neighbour in neighbours(&path, 2000, b'q').iter().filter(|near| **near != path) {
            assert_eq!(allowed(&profile, neighbour), 0);
        }
    }
}
