//! The published schemas in `docs/schemas`, against the types that they are made from, and by what they refuse.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may stop where it stands")]

use std::{collections::BTreeSet, fs, path::PathBuf};

use jsonschema::Validator;
use sandbox_trace::schemas;
use serde_json::{Value, json};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/schemas")
}

/// Where two texts differ first: the line, and what each has there.
fn difference(committed: &str, made: &str) -> Option<String> {
    let (mut old, mut new) = (committed.split('\n'), made.split('\n'));
    (1..).find_map(|line| match (old.next(), new.next()) {
        (None, None) => Some(None),
        (old, new) if old == new => None,
        (old, new) => {
            let shown = |text: Option<&str>| text.map_or("the end".to_owned(), |text| format!("{text:?}"));
            Some(Some(format!("line {line} is {}, and should be {}", shown(old), shown(new))))
        }
    })?
}

fn validator(name: &str) -> Validator {
    let published = schemas::ALL.iter().find(|one| one.name == name).unwrap();
    jsonschema::draft202012::new(&serde_json::from_str(&published.text()).unwrap()).unwrap()
}

#[test]
fn the_files_are_what_the_types_say() {
    let differing: Vec<String> = schemas::ALL
        .iter()
        .filter_map(|schema| {
            let name = schema.file_name();
            let committed = fs::read_to_string(folder().join(&name)).unwrap_or_default();
            Some(format!("docs/schemas/{name}: {}", difference(&committed, &schema.text())?))
        })
        .collect();
    assert!(differing.is_empty(), "run cargo xtask schemas\n{}", differing.join("\n"));
}

#[test]
fn a_difference_is_shown_where_it_begins() {
    assert_eq!(difference("a\nb\n", "a\nb\n"), None);
    let at = |committed, made| difference(committed, made).unwrap();
    assert_eq!(at("a\nb\n", "a\nc\n"), "line 2 is \"b\", and should be \"c\"");
    assert_eq!(at("a\n", "a"), "line 2 is \"\", and should be the end");
    assert_eq!(at("", "a\n"), "line 1 is \"\", and should be \"a\"");
}

/// All but the one of the benchmark, which the program does not print.
#[test]
fn every_file_is_made() {
    let files =
        fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut made: BTreeSet<String> = schemas::ALL.iter().map(schemas::Published::file_name).collect();
    made.insert("bench-v1.json".into());
    assert_eq!(files.collect::<BTreeSet<_>>(), made);
}

#[test]
fn each_is_a_schema_with_a_name_and_no_marks_of_rustdoc() {
    for published in &schemas::ALL {
        let name = published.name;
        let schema: Value = serde_json::from_str(&published.text()).unwrap();
        jsonschema::meta::validate(&schema).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(schema["properties"]["schema"]["const"], format!("sandbox-trace/{name}/v1"));
        assert!(schema["$id"].as_str().unwrap().ends_with(&published.file_name()));
        readable(&schema, name);
    }
}

/// That every key says what it is, in plain text, and that no keyword is one that validators don't know.
fn readable(schema: &Value, at: &str) {
    let Value::Object(map) = schema else {
        return schema.as_array().into_iter().flatten().for_each(|one| readable(one, at));
    };
    if let Some(text) = map.get("description").and_then(Value::as_str) {
        assert!(
            !text.contains("[`")
                && !text.contains("crate::")
                && !text.contains("Self::")
                && !text.contains('\n'),
            "{at}: {text}"
        );
    }
    assert!(!map.contains_key("format"), "{at}");
    for (key, value) in map {
        readable(value, &format!("{at}/{key}"));
    }
}

#[test]
fn the_built_in_attacks_keep_to_their_schema_and_broken_ones_do_not() {
    let schema = validator("attacks");
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/verify/attacks/built-in.json");
    let built_in: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    assert!(schema.is_valid(&built_in), "{:?}", schema.iter_errors(&built_in).next());
    let of = |step: Value| json!({ "schema": "sandbox-trace/attacks/v1", "attacks": [{ "name": "a", "why": "b", "ways": [[step]] }] });
    for good in [
        json!({ "call": "unshare", "args": { "0": "0x10000000", "5": 1 }, "arch": "i386" }),
        json!({ "file": "/a", "access": "rw" }),
        json!({ "capability": "sys_admin", "in_user_namespace": true }),
        json!({ "socket": "inet", "type": "raw" }),
        json!({ "mount": "/a", "source": "b", "fstype": "proc", "flags": 4096 }),
        json!({ "umount": "/a" }),
    ] {
        assert!(schema.is_valid(&of(good.clone())), "{good}");
    }
    for bad in [
        json!({}),
        json!({ "call": null, "file": "/a", "access": "r" }),
        json!({ "call": "read", "umount": "/a" }),
        json!({ "call": "read", "access": "r" }),
        json!({ "call": "read", "args": { "6": 1 } }),
        json!({ "call": "read", "args": { "0": "10" } }),
        json!({ "call": "read", "args": { "0": -1 } }),
        json!({ "call": "read", "arch": "arm64" }),
        json!({ "file": "/a" }),
        json!({ "file": "a", "access": "r" }),
        json!({ "file": "/a", "access": "l" }),
        json!({ "socket": "inet", "type": "any" }),
        json!({ "mount": "/a", "flags": 4_294_967_296_u64 }),
        json!({ "umount": "/a", "unknown": 1 }),
    ] {
        assert!(!schema.is_valid(&of(bad.clone())), "{bad}");
    }
    for (pointer, value) in
        [("/attacks", json!([])), ("/attacks/0/ways", json!([])), ("/attacks/0/ways", json!([[]]))]
    {
        let mut list = of(json!({ "umount": "/a" }));
        *list.pointer_mut(pointer).unwrap() = value;
        assert!(!schema.is_valid(&list), "{list}");
    }
}

#[test]
fn the_parts_of_an_output_agree() {
    let doctor = validator("doctor");
    let report = |can_record: bool, status: &str, fix: Value| {
        let check =
            json!({ "id": "a", "title": "A", "status": status, "found": "b", "why": "c", "fix": fix });
        json!({ "schema": "sandbox-trace/doctor/v1", "can_record": can_record, "checks": [check] })
    };
    assert!(doctor.is_valid(&report(true, "ok", Value::Null)));
    assert!(doctor.is_valid(&report(false, "missing", "d".into())));
    for bad in [
        report(true, "missing", "d".into()),
        report(false, "warning", "d".into()),
        report(true, "ok", "d".into()),
        report(true, "warning", Value::Null),
        report(true, "fine", "d".into()),
    ] {
        assert!(!doctor.is_valid(&bad), "{bad}");
    }
    let diff = validator("diff");
    let change = |reason: Option<&str>| {
        let mut change = json!({ "kind": "file", "what": "/a", "access": "r", "detail": "", "risk": "low" });
        if let Some(reason) = reason {
            change["reason"] = reason.into();
        }
        change
    };
    let of = |added: Value, removed: Value| json!({ "schema": "sandbox-trace/diff/v1", "widened": true, "added": [added], "removed": [removed], "cosmetic": [] });
    assert!(diff.is_valid(&of(change(Some("why")), change(None))));
    assert!(!diff.is_valid(&of(change(None), change(None))), "what is new has a reason");
    let (mut unknown, mut odd) = (change(None), change(None));
    unknown["kind"] = "thought".into();
    odd["what"] = "/a\u{1b}".into();
    assert!(
        !diff.is_valid(&of(change(Some("why")), unknown)) && !diff.is_valid(&of(change(Some("why")), odd))
    );
    let width = validator("width");
    let counts = json!({ "schema": "sandbox-trace/width/v1", "notes": [] });
    assert!(!width.is_valid(&counts), "something was counted");
}
