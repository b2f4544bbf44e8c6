//! The sample in `docs/examples`, made by `record`, against what reads it and what describes it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may stop where it stands")]

use std::{collections::BTreeSet, fs, path::PathBuf};

use sandbox_trace::recording;
use serde_json::Value;

fn docs(file: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs").join(file);
    fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
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
    let sample: Value = serde_json::from_slice(&docs("examples/recording.json")).unwrap();
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
    let sample: Value = serde_json::from_slice(&docs("examples/recording.json")).unwrap();
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
