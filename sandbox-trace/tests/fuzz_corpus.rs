//! Replays the inputs that fuzzing started from, and those that once found a fault, through the fuzz targets' own
//! functions: what was mended stays mended, with an ordinary compiler.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may stop where it stands")]

use std::{fs, path::Path};

#[path = "../../fuzz/src/lib.rs"]
mod targets;

type Target = (&'static str, fn(&[u8]));

const TARGETS: [Target; 9] = [
    ("address", targets::address),
    ("apparmor_policy", targets::apparmor_policy),
    ("btf", targets::btf),
    ("byte_path", targets::byte_path),
    ("executable", targets::executable),
    ("mounts", targets::mounts),
    ("recording", targets::recording),
    ("ring_record", targets::ring_record),
    ("seccomp_profile", targets::seccomp_profile),
];

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap_or_else(|e| panic!("{}: {e}", folder.display()))
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn every_input_of_the_corpus_is_read_without_a_fault() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
    let corpus = fuzz.join("corpus");
    let expected: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
    assert_eq!(names(&corpus), expected, "a folder of inputs for each target");
    let sources: Vec<String> = expected.iter().map(|name| format!("{name}.rs")).collect();
    assert_eq!(names(&fuzz.join("fuzz_targets")), sources, "each target is replayed here");
    for (name, target) in TARGETS {
        let inputs = names(&corpus.join(name));
        assert!(!inputs.is_empty(), "no inputs for {name}");
        for input in inputs {
            let bytes = fs::read(corpus.join(name).join(&input)).unwrap();
            // The message of an assertion within does not name the input.
            assert!(std::panic::catch_unwind(|| target(&bytes)).is_ok(), "{name}/{input}: see above");
        }
    }
}
