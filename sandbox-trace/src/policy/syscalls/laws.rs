//! Laws of every policy, held against the filter that a runtime would load: emitted, compiled, interpreted.

use proptest::{collection::vec, prelude::*, sample::select};

use super::*;
use crate::{
    emit,
    policy::danger::Is,
    recording::samples,
    requirements::fold,
    seccomp::{
        bpf::{Call as Made, Outcome},
        compile::{Filter, compile},
        profile,
    },
};

/// The calls that are recorded with arguments, and the positions that are.
const CALLS: [(&str, &[u8]); 13] = [
    ("clone", &[0]),
    ("fcntl", &[1]),
    ("ioctl", &[1]),
    ("keyctl", &[0]),
    ("madvise", &[2]),
    ("mmap", &[2, 3]),
    ("personality", &[0]),
    ("prctl", &[0]),
    ("setns", &[1]),
    ("setsockopt", &[1, 2]),
    ("socket", &[0, 1, 2]),
    ("socketpair", &[0, 1, 2]),
    ("unshare", &[0]),
];

/// Ordinary values, dangerous ones, and both with something in the half of the register that the kernel drops.
fn register() -> impl Strategy<Value = u64> {
    let dangerous: Vec<u64> = danger::VALUES
        .iter()
        .map(|value| match value.is {
            Is::Exactly(value) | Is::Flag(value) => value.into(),
        })
        .collect();
    let low = prop_oneof![
        4 => 0_u64..64,
        2 => select(dangerous),
        1 => select(vec![0x5401, 0x8_0001, 0x1000_0011, 0x3d_0f00, 0xffff_ffff, 0x7e02_0000]),
        1 => any::<u32>().prop_map(u64::from),
    ];
    (low, select(vec![0, 0, 0, 1, 0xffff_ffff])).prop_map(|(low, high): (u64, u64)| high << 32 | low)
}

/// Recorded calls: the index into [`CALLS`], and values for its positions.
fn recorded() -> impl Strategy<Value = Vec<(usize, [u64; 3])>> {
    vec((0..CALLS.len(), [register(), register(), register()]), 1..25)
}

fn options() -> impl Strategy<Value = Options> {
    let runtime = select(vec![Runtime::None, Runtime::Docker, Runtime::Crun]);
    let mode = select(vec![Mode::Off, Mode::Safe, Mode::Strict]);
    (runtime, mode, any::<bool>(), any::<bool>()).prop_map(|(runtime, mode, portable, nnp)| Options {
        mode,
        allow: danger::table().filter(|(k, ..)| *k != danger::Kind::Capability).map(|e| e.1.into()).collect(),
        runtime,
        no_new_privileges: nnp,
        portable,
    })
}

struct Emitted {
    filter: Filter,
    json: serde_json::Value,
}

fn make(recorded: &[(usize, [u64; 3])], options: &Options) -> Emitted {
    let mut recording = samples::calls(&["read"]);
    for (index, (name, positions)) in CALLS.iter().enumerate() {
        let tuples: Vec<Vec<(u8, u64)>> = recorded
            .iter()
            .filter(|(call, _)| *call == index)
            .map(|(_, values)| positions.iter().copied().zip(*values).collect())
            .collect();
        let tuples: Vec<&[(u8, u64)]> = tuples.iter().map(Vec::as_slice).collect();
        if !tuples.is_empty() {
            samples::add(&mut recording, "x86_64", name, &tuples);
        }
    }
    let policy = policy(&fold(&[("r.json".into(), recording)], false).unwrap(), options).unwrap();
    let json = emit::seccomp::json(&policy).unwrap();
    let profile = profile::from_json(&json, "p.json").unwrap();
    let filter = compile(&profile, options.runtime.answers_enosys()).unwrap();
    Emitted { filter, json: serde_json::from_slice(&json).unwrap() }
}

fn ask(made: &Emitted, name: &str, args: &[(u8, u64)]) -> Outcome {
    let mut all = [None; 6];
    for (index, value) in args {
        all[usize::from(*index)] = Some(*value);
    }
    let nr = name.parse::<syscalls::x86_64::Sysno>().unwrap() as u32;
    made.filter.program.outcome(&Made { nr, arch: Arch::X8664.audit(), args: all })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_was_recorded_goes_on_and_no_other_danger_does(
        recorded in recorded(),
        options in options(),
        high in select(vec![0_u64, 1, 0xffff_ffff]),
    ) {
        let made = make(&recorded, &options);
        for (call, values) in &recorded {
            let (name, positions) = CALLS[*call];
            let tuple: Vec<(u8, u64)> = positions.iter().copied().zip(*values).collect();
            prop_assert!(ask(&made, name, &tuple).always_goes_on(), "{}{:x?} {:?}", name, tuple, options.mode);
        }
        let seen = |name: &'static str| recorded.iter().filter(move |(call, _)| CALLS[*call].0 == name);
        let position = |name: &str, index: u8| {
            let (_, positions) = CALLS.iter().find(|(call, _)| *call == name).unwrap();
            positions.iter().position(|p| *p == index).unwrap()
        };
        for value in danger::VALUES.iter().filter(|_| options.mode != Mode::Off) {
            let slot = position(value.call, value.index);
            if seen(value.call).any(|(_, values)| value.is_in(values[slot])) {
                continue;
            }
            let (Is::Exactly(low) | Is::Flag(low)) = value.is;
            let outcome = ask(&made, value.call, &[(value.index, high << 32 | u64::from(low))]);
            prop_assert!(outcome.never_goes_on(), "{} {:?}", value.name, options.mode);
        }
        for bit in (0..32).filter(|_| options.mode != Mode::Off).map(|bit| 1_u64 << bit) {
            let makes = |flags: u64| arguments::namespace_flags("clone", flags);
            if makes(bit) == 0 || seen("clone").any(|(_, values)| makes(values[0]) == bit) {
                continue;
            }
            prop_assert!(ask(&made, "clone", &[(0, high << 32 | bit | 0x11)]).never_goes_on(), "{:x}", bit);
        }
    }

    #[test]
    fn strict_admits_no_more_than_safe_and_safe_no_more_than_off(
        recorded in recorded(),
        options in options(),
        tried in vec((0..CALLS.len(), [register(), register(), register()]), 60),
    ) {
        let made = |mode| make(&recorded, &Options { mode, ..options.clone() });
        let (off, safe, strict) = (made(Mode::Off), made(Mode::Safe), made(Mode::Strict));
        for (call, values) in tried.iter().chain(&recorded) {
            let (name, positions) = CALLS[*call];
            let args: Vec<(u8, u64)> = positions.iter().copied().zip(*values).collect();
            let goes_on = |made: &Emitted| ask(made, name, &args).always_goes_on();
            prop_assert!(!goes_on(&strict) || goes_on(&safe), "{}{:x?}", name, args);
            prop_assert!(!goes_on(&safe) || goes_on(&off), "{}{:x?}", name, args);
        }
    }

    /// runc takes a rule with two conditions on one argument for a choice between them.
    #[test]
    fn no_rule_has_two_conditions_on_one_argument(recorded in recorded(), options in options()) {
        let made = make(&recorded, &options);
        for rule in made.json["syscalls"].as_array().unwrap() {
            let args = rule["args"].as_array().cloned().unwrap_or_default();
            let indices: BTreeSet<u64> = args.iter().map(|arg| arg["index"].as_u64().unwrap()).collect();
            prop_assert_eq!(indices.len(), args.len(), "{}", rule);
        }
    }
}
