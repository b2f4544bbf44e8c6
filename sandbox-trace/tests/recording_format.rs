//! Recordings that `record` made, against what reads them and what describes them.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may stop where it stands")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use jsonschema::Validator;
use sandbox_trace::recording;
use serde_json::{Value, json};

fn docs(file: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs").join(file);
    fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn schema() -> Validator {
    jsonschema::draft202012::new(&serde_json::from_slice(&docs("schemas/recording-v1.json")).unwrap())
        .unwrap()
}

fn sample() -> Value {
    serde_json::from_slice(&docs("examples/recording.json")).unwrap()
}

/// The keys of all objects in `value`. The keys of argument values are positions.
fn keys(value: &Value, out: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            out.extend(map.keys().filter(|key| key.parse::<u8>().is_err()).cloned());
            map.values().for_each(|value| keys(value, out));
        }
        Value::Array(list) => list.iter().for_each(|value| keys(value, out)),
        _ => {}
    }
}

/// The names that `properties` of a schema list.
fn properties(schema: &Value, out: &mut BTreeSet<String>) {
    match schema {
        Value::Object(map) => {
            if let Some(Value::Object(named)) = map.get("properties") {
                out.extend(named.keys().cloned());
            }
            map.values().for_each(|value| properties(value, out));
        }
        Value::Array(list) => list.iter().for_each(|value| properties(value, out)),
        _ => {}
    }
}

#[test]
fn the_sample_is_what_this_version_writes() {
    let sample = docs("examples/recording.json");
    let read = recording::from_json(&sample, "sample").unwrap();
    assert!(read.complete);
    assert!(recording::to_json(&read).unwrap() == sample, "read and written again, the sample is another");
}

#[test]
fn every_key_is_described_and_in_the_schema() {
    let sample = sample();
    let schema: Value = serde_json::from_slice(&docs("schemas/recording-v1.json")).unwrap();
    let text = String::from_utf8(docs("recording.md")).unwrap();
    let (mut used, mut in_schema) = (BTreeSet::new(), BTreeSet::new());
    keys(&sample, &mut used);
    properties(&schema, &mut in_schema);
    let losses: BTreeSet<String> = sample["losses"].as_object().unwrap().keys().cloned().collect();
    for key in used.union(&in_schema) {
        assert!(text.contains(&format!("`{key}`")), "docs/recording.md does not describe {key}");
        assert!(in_schema.contains(key) || losses.contains(key), "the schema does not have {key}");
    }
}

#[test]
fn the_fragments_of_the_description_are_the_samples() {
    let sample = sample();
    let text = String::from_utf8(docs("recording.md")).unwrap();
    let fragments: Vec<&str> =
        text.split("```json\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(fragments.len() > 5);
    for fragment in fragments {
        let fragment: Value =
            serde_json::from_str(&format!("{{{fragment}}}")).unwrap_or_else(|e| panic!("{e}: {fragment}"));
        assert!(is_part_of(&fragment, &sample), "not in the sample: {fragment}");
    }
}

/// Whether `part` is `whole` with keys and elements left out, at any depth; a lone path is one of the files'.
fn is_part_of(part: &Value, whole: &Value) -> bool {
    match (part, whole) {
        (Value::Object(part), Value::Object(whole)) => part.iter().all(|(key, value)| match whole.get(key) {
            Some(found) => is_part_of(value, found),
            None => whole.get("files").and_then(Value::as_array).is_some_and(|files| {
                files.iter().any(|file| file.get(key).is_some_and(|found| found == value))
            }),
        }),
        (Value::Array(part), Value::Array(whole)) => {
            part.iter().all(|one| whole.iter().any(|other| one == other))
        }
        _ => part == whole,
    }
}

#[test]
fn recordings_keep_to_the_schema() {
    let schema = schema();
    let recordings = [
        "examples/recording.json",
        "examples/demo-agent/run1.json.zst",
        "examples/demo-agent/run2.json.zst",
        "../profiles/openclaw/recording.json.zst",
    ];
    for file in recordings {
        let bytes = docs(file);
        let is_compressed = Path::new(file).extension().is_some_and(|ending| ending == "zst");
        let text = if is_compressed { zstd::decode_all(bytes.as_slice()).unwrap() } else { bytes };
        let value: Value = serde_json::from_slice(&text).unwrap();
        let errors: Vec<String> =
            schema.iter_errors(&value).map(|e| format!("{}: {e}", e.instance_path)).collect();
        assert!(errors.is_empty(), "{file}: {errors:#?}");
    }
}

/// What a recording of two runs has beside what one of a single run has.
#[test]
fn a_merged_recording_keeps_to_the_schema() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/examples/demo-agent");
    let run = |name: &str| (name.to_owned(), recording::load(&folder.join(name)).unwrap());
    let merged = recording::merge(vec![run("run1.json.zst"), run("run2.json.zst")]).unwrap();
    let value: Value = serde_json::from_slice(&recording::to_json(&merged).unwrap()).unwrap();
    assert!(value["runs"].as_array().is_some_and(|runs| runs.len() == 2));
    let schema = schema();
    assert!(schema.is_valid(&value), "{:?}", schema.iter_errors(&value).next());
    for (pointer, broken) in [
        ("/runs", json!([])),
        ("/runs/0/id", "0".into()),
        ("/runs/0/losses", json!({})),
        ("/runs/0/losses", json!({ "ring_full": 0 })),
    ] {
        refused(&schema, &value, pointer, Some(broken));
    }
    refused(&schema, &value, "/runs/0/resources", None);
}

/// Puts a value at a place of the recording, or takes away what is there: then the schema must refuse it.
fn refused(schema: &Validator, recording: &Value, pointer: &str, value: Option<Value>) {
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    let mut broken = recording.clone();
    let parent = broken.pointer_mut(parent).unwrap_or_else(|| panic!("there is no {parent}"));
    let what = format!("{pointer}: {value:?}");
    match (parent, value) {
        (Value::Object(map), Some(value)) => drop(map.insert(key.to_owned(), value)),
        (Value::Object(map), None) => assert!(map.remove(key).is_some(), "there is no {pointer}"),
        (list, value) => list[key.parse::<usize>().unwrap()] = value.unwrap(),
    }
    assert!(!schema.is_valid(&broken), "the schema takes {what}");
}

/// A schema that takes everything proves nothing.
#[test]
fn what_breaks_the_format_is_refused() {
    let (schema, sample) = (schema(), sample());
    assert!(schema.is_valid(&sample));
    for gone in [
        "/schema",
        "/complete",
        "/losses",
        "/host",
        "/host/observed",
        "/target/cgroup",
        "/files",
        "/files/0/path",
        "/files/0/by",
        "/failed/files/0/error",
        "/syscalls/0/count",
        "/resources",
    ] {
        refused(&schema, &sample, gone, None);
    }
    let changes = [
        ("/schema", "sandbox-trace/recording/v2".into()),
        ("/started", "yesterday".into()),
        ("/duration_ms", (-1).into()),
        ("/host", Value::Null),
        ("/host/cgroup", "legacy".into()),
        ("/host/observed", json!(["files", "files"])),
        ("/host/observed/0", "thoughts".into()),
        ("/target/boundary", "image".into()),
        ("/target/command", json!([])),
        ("/target/exit_code", Value::Null),
        ("/target/seccomp/filters/0/sha256", "0".into()),
        ("/target/seccomp/filters/0/instructions", 0.into()),
        ("/target/seccomp/filters/0/instructions", 4097.into()),
        // A byte string: a control character as it is, an escape that there is not.
        ("/files/0/path", "/a\nb".into()),
        ("/files/0/path", "/a\u{1b}[2J".into()),
        ("/files/0/path", "/a\\q".into()),
        ("/executables/0/path", "/a\u{85}".into()),
        // Letters: one that there is not, another order, one twice.
        ("/files/0/access", "zr".into()),
        ("/files/0/access", "wr".into()),
        ("/files/0/access", "rr".into()),
        ("/files/0/by/0", (-1).into()),
        ("/files/0/by/0", 4_294_967_296_u64.into()),
        // What failed is kept apart from what did not, and only a link has a target.
        ("/files/0/error", "ENOENT".into()),
        ("/files/0/link_target", "/b".into()),
        ("/files/0/refused_by", "seccomp".into()),
        ("/files/0/accesses", json!({ "r": "0" })),
        ("/files/0/accesses", json!({ "r": "0", "z": "1" })),
        ("/files/0/runs", "0-".into()),
        ("/failed/files/0/error", 2.into()),
        ("/failed/files/0/error", "enoent".into()),
        ("/network/0/error", "ENOENT".into()),
        ("/network/0/family_nr", 65536.into()),
        ("/syscalls/0/arch", "arm64".into()),
        ("/syscalls/0/count", 1.5.into()),
        ("/syscalls/0/errors", json!([])),
        ("/syscalls/3/args/0/values", json!({ "6": 1 })),
        ("/syscalls/3/args/0/refused", false.into()),
        ("/syscalls/0/refused", json!({ "by": "lsm", "answers": ["EPERM"], "always": true })),
        ("/syscalls/0/refused", json!({ "by": "seccomp", "answers": ["maybe"], "always": true })),
        ("/capabilities/0/nr", (-1).into()),
        ("/saturation", vec![sample["saturation"][0].clone(); 65].into()),
        ("/resources/storage", json!([])),
        ("/resources/memory_peak_bytes", Value::Null),
        // A recording that lost something is not complete, and one that is not complete lost something.
        ("/losses/ring_full", 1.into()),
        ("/losses/ring_full", Value::Null),
        ("/complete", false.into()),
    ];
    for (pointer, value) in changes {
        refused(&schema, &sample, pointer, Some(value));
    }
    let mut lost = sample;
    lost["complete"] = false.into();
    lost["losses"]["ring_full"] = 1.into();
    assert!(schema.is_valid(&lost));
}

#[test]
fn what_is_said_of_a_container_keeps_to_the_schema() {
    let (schema, mut recording) = (schema(), sample());
    recording["target"]["container"] = json!({
        "runtime": "docker", "id": "0", "name": "a", "seccomp": "custom", "entrypoint_words": 1,
        "mounts": [{ "target": "/a", "type": "bind", "mode": "ro" }],
        "ports": [{ "container": 80, "protocol": "tcp", "host": 8080 }],
        "limits": { "pids": 64 }, "healthcheck": { "test": ["NONE"] }, "masked_paths": [],
    });
    assert!(schema.is_valid(&recording), "{:?}", schema.iter_errors(&recording).next());
    for (key, value) in [
        ("seccomp", json!("strict")),
        ("entrypoint_words", json!(0)),
        ("command", json!([])),
        ("sysctls", json!({})),
        ("limits", json!({})),
        ("image", Value::Null),
        ("mounts/0/mode", json!("wr")),
        ("mounts/0/target", json!("/a\tb")),
        ("ports/0/host", json!(0)),
        ("ports/0/container", json!(65536)),
        ("healthcheck/test", json!([])),
    ] {
        refused(&schema, &recording, &format!("/target/container/{key}"), Some(value));
    }
}
