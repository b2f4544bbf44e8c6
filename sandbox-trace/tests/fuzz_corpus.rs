//! Replays the inputs that fuzzing started from, and those that once found a fault, through the fuzz targets' own
//! functions: what was mended stays mended, with an ordinary compiler.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may stop where it stands")]

use std::{fs, path::Path};

use proptest::{prelude::*, sample::Index};

#[path = "../../fuzz/src/lib.rs"]
mod targets;

type Target = (&'static str, fn(&[u8]));

fn corpus() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus")
}

const TARGETS: [Target; 13] = [
    ("address", targets::address),
    ("apparmor_policy", targets::apparmor_policy),
    ("apparmor_text", targets::apparmor_text),
    ("btf", targets::btf),
    ("byte_path", targets::byte_path),
    ("compose_file", targets::compose_file),
    ("docker_run", targets::docker_run),
    ("executable", targets::executable),
    ("mounts", targets::mounts),
    ("recording", targets::recording),
    ("recording_stream", targets::recording_stream),
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
    let corpus = corpus();
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

/// What may be done to an input.
#[derive(Debug, Clone)]
enum Change {
    Set(Index, u8),
    Flip(Index, u8),
    /// A number of four bytes that is at the edge of something.
    Number(Index, u32),
    Insert(Index, Vec<u8>),
    Remove(Index, usize),
    /// A part of it, again at another place.
    Repeat(Index, Index, usize),
    Cut(Index),
}

fn change() -> impl Strategy<Value = Change> {
    let edge = proptest::sample::select(vec![0, 1, 4, 8, 0x7fff_ffff, 0x8000_0000, u32::MAX - 3, u32::MAX]);
    prop_oneof![
        4 => any::<(Index, u8)>().prop_map(|(at, byte)| Change::Set(at, byte)),
        4 => (any::<Index>(), 0_u8..8).prop_map(|(at, bit)| Change::Flip(at, 1 << bit)),
        3 => (any::<Index>(), edge).prop_map(|(at, number)| Change::Number(at, number)),
        2 => (any::<Index>(), prop::collection::vec(any::<u8>(), 1..8)).prop_map(|(at, new)| Change::Insert(at, new)),
        2 => (any::<Index>(), 1_usize..16).prop_map(|(at, length)| Change::Remove(at, length)),
        2 => (any::<Index>(), any::<Index>(), 1_usize..64).prop_map(|(from, to, n)| Change::Repeat(from, to, n)),
        1 => any::<Index>().prop_map(Change::Cut),
    ]
}

fn apply(bytes: &mut Vec<u8>, change: Change) {
    // One past the end is a place to insert at.
    let place = |at: Index, bytes: &[u8]| at.index(bytes.len() + 1);
    match change {
        Change::Set(at, byte) => {
            let at = place(at, bytes);
            bytes.splice(at..(at + 1).min(bytes.len()), [byte]);
        }
        Change::Flip(at, bit) => {
            let at = place(at, bytes);
            bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= bit);
        }
        Change::Number(at, number) => {
            // Most numbers of binary formats are aligned.
            let at = place(at, bytes) & !3;
            bytes.splice(at..(at + 4).min(bytes.len()), number.to_le_bytes());
        }
        Change::Insert(at, new) => drop(bytes.splice(place(at, bytes)..place(at, bytes), new)),
        Change::Remove(at, length) => {
            let at = place(at, bytes);
            bytes.drain(at..(at + length).min(bytes.len()));
        }
        Change::Repeat(from, to, length) => {
            let (from, to) = (place(from, bytes), place(to, bytes));
            let part: Vec<u8> = bytes.iter().copied().skip(from).take(length).collect();
            bytes.splice(to..to, part);
        }
        Change::Cut(at) => bytes.truncate(place(at, bytes)),
    }
}

proptest! {
    // PROPTEST_CASES makes it longer.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// What libFuzzer does with more patience: no input that is near to one of the corpus is a fault either.
    #[test]
    fn no_damaged_input_is_a_fault(
        which: Index, changes in prop::collection::vec(change(), 1..12), byte_for_byte in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        for (name, target) in TARGETS {
            let inputs = names(&corpus().join(name));
            let mut bytes = fs::read(corpus().join(name).join(which.get(&inputs))).unwrap();
            changes.iter().cloned().for_each(|change| apply(&mut bytes, change));
            for input in [&bytes, &byte_for_byte] {
                let read = std::panic::catch_unwind(|| target(input));
                prop_assert!(read.is_ok(), "{name} with {}: see above", input.escape_ascii());
            }
        }
    }
}
