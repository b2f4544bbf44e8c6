//! The invariant that carries the product: what was emitted from a recording blocks nothing in it, and what was
//! not recorded is denied.

use proptest::prelude::*;

use super::*;
use crate::{
    emit,
    error::Exit,
    policy::{
        arguments::Mode,
        companions, danger,
        syscalls::{Admits, Options, policy},
    },
    recording::{Recording, samples},
    requirements::fold,
    seccomp::{bpf::Call, capabilities::Capabilities, compile::compile, profile},
};

fn needs(recording: Recording) -> Requirements {
    fold(&[("r.json".into(), recording)], false).unwrap()
}

/// Every name that `emit-seccomp --allow` takes.
fn everything() -> BTreeSet<String> {
    let all = danger::table().filter(|(kind, _, _)| *kind != danger::Kind::Capability);
    all.map(|(_, name, _)| name.to_owned()).collect()
}

fn emit(needs: &Requirements, mode: Mode, runtime: Runtime) -> Vec<u8> {
    let options = Options { mode, allow: everything(), runtime, no_new_privileges: false, portable: false };
    emit::seccomp::json(&policy(needs, &options).unwrap()).unwrap()
}

fn judge(needs: &Requirements, json: &[u8], runtime: Runtime) -> Verdicts {
    replay(needs, profile::from_json(json, "p.json").unwrap(), &Container::of(runtime)).unwrap()
}

const HAND_MADE: &str = r#"{"defaultAction":"SCMP_ACT_ERRNO","architectures":["SCMP_ARCH_X86_64"],
    "syscalls":[{"names":["read","write"],"action":"SCMP_ACT_ALLOW"},
                {"names":["socket"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":1,"op":"SCMP_CMP_EQ"}]},
                {"names":["mount"],"action":"SCMP_ACT_ALLOW","includes":{"caps":["CAP_SYS_ADMIN"]}},
                {"names":["getppid"],"action":"SCMP_ACT_NOTIFY"}]}"#;

#[test]
fn blocked_facts_name_the_fact_its_answer_who_and_the_rule() {
    let mut recording = samples::calls(&["read", "statx"]);
    samples::add(&mut recording, "x86_64", "socket", &[&[(0, 16), (1, 0x80003)], &[(0, 1)]]);
    samples::add(&mut recording, "i386", "read", &[]);
    let verdicts = judge(&needs(recording), HAND_MADE.as_bytes(), Runtime::None);
    let found: Vec<(&str, &str)> =
        verdicts.blocked.iter().map(|b| (b.what.as_str(), b.rule.as_str())).collect();
    assert_eq!(
        found,
        [
            ("read on i386 → thread killed", "\"architectures\": add \"SCMP_ARCH_X86\""),
            ("socket(16, 0x80003) → EPERM", "\"socket\" with argument 0 = 16 and argument 1 = 0x80003"),
            ("statx → EPERM", "\"statx\""),
        ]
    );
    assert!(verdicts.blocked.iter().all(|b| b.needed_by == ["/usr/bin/app"]));
    assert_eq!(verdicts.checked.seccomp, 5);
    assert!(verdicts.unproven.is_empty(), "{:?}", verdicts.unproven);
}

#[test]
fn what_the_file_or_the_recording_leaves_open_is_unproven_not_guessed() {
    let recording = samples::calls(&["socket", "mount", "getppid", "read"]);
    let verdicts = judge(&needs(recording), HAND_MADE.as_bytes(), Runtime::None);
    let open: Vec<&str> = verdicts.unproven.iter().map(|u| u.what.as_str()).collect();
    assert_eq!(open, ["getppid", "mount", "socket"]);
    assert!(verdicts.blocked.is_empty());
    assert!(verdicts.unproven[1].why.contains("CAP_SYS_ADMIN"));
    // With the container's capabilities it is decided.
    for (capability, blocked) in [("none", 1), ("sys_admin", 0)] {
        let capabilities = Some(Capabilities::parse(&[capability.into()]).unwrap());
        let container = Container { capabilities, ..Container::of(Runtime::None) };
        let profile = profile::from_json(HAND_MADE.as_bytes(), "p.json").unwrap();
        let verdicts = replay(&needs(samples::calls(&["mount"])), profile, &container).unwrap();
        assert_eq!((verdicts.blocked.len(), verdicts.unproven.len()), (blocked, 0));
    }
}

#[test]
fn the_runtime_s_own_calls_are_needs_when_a_runtime_is_named() {
    let recording = samples::calls(&["read"]);
    let verdicts = judge(&needs(recording.clone()), HAND_MADE.as_bytes(), Runtime::Docker);
    let execve = verdicts.blocked.iter().find(|b| b.what.starts_with("execve")).unwrap();
    assert_eq!(execve.needed_by, ["runc"]);
    let needs = needs(recording);
    let emitted = emit(&needs, Mode::Safe, Runtime::Docker);
    assert_eq!(judge(&needs, &emitted, Runtime::Docker).blocked, []);
}

#[test]
fn a_call_that_never_existed_may_go_on_not_existing() {
    let mut recording = samples::calls(&["read", "clone3", "syscall_500"]);
    for syscall in recording.syscalls.iter_mut().filter(|s| s.name != "read") {
        (syscall.succeeded, syscall.errors) = (false, vec!["ENOSYS".into()]);
    }
    let needs = needs(recording);
    let emitted = emit(&needs, Mode::Safe, Runtime::Docker);
    let verdicts = judge(&needs, &emitted, Runtime::Docker);
    assert_eq!((verdicts.blocked, verdicts.unproven, verdicts.notes), (vec![], vec![], vec![]));
    // Without runc's answers the unnamed number gets the default.
    let verdicts = judge(&needs, &emitted, Runtime::None);
    assert_eq!(verdicts.blocked, []);
    assert!(verdicts.notes[0].contains("number 500") && verdicts.notes[0].contains("EPERM"));
}

#[test]
fn a_hostile_name_can_t_move_a_terminal_s_cursor() {
    let mut recording = samples::calls(&["read"]);
    recording.syscalls[0].name = "statx\u{1b}[2J".into();
    recording.syscalls[0].nr = 332;
    let verdicts = judge(&needs(recording), HAND_MADE.as_bytes(), Runtime::None);
    assert_eq!(verdicts.blocked[0].what, r"statx\x1b[2J → EPERM");
}

#[test]
fn unknown_names_in_a_file_are_noted() {
    let json = HAND_MADE.replace("\"write\"", "\"no_such_call\"");
    let verdicts = judge(&needs(samples::calls(&["read"])), json.as_bytes(), Runtime::None);
    assert!(verdicts.notes.iter().any(|n| n.contains("no_such_call")), "{:?}", verdicts.notes);
}

#[test]
fn a_file_that_is_not_a_profile_is_wrong_usage() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "{\"defaultAction\": \"SCMP_").unwrap();
    let needs = needs(samples::calls(&["read"]));
    assert_eq!(verify(&needs, file.path(), &Container::of(Runtime::None)).unwrap_err().exit(), Exit::Usage);
    let missing = Path::new("/nonexistent.json");
    assert_eq!(verify(&needs, missing, &Container::of(Runtime::None)).unwrap_err().exit(), Exit::Usage);
}

/// Names that both this libseccomp and the recorder's table know on x86-64.
fn all_names() -> Vec<&'static str> {
    syscalls::x86_64::Sysno::iter()
        .map(|s| s.name())
        .filter(|name| number(name, Arch::X8664).is_some())
        .collect()
}

/// Recordings of random calls on random architectures, some with argument tuples, some that only got ENOSYS.
fn recordings() -> impl Strategy<Value = Recording> {
    let names = proptest::sample::subsequence(all_names(), 1..60);
    let i386 = proptest::sample::subsequence(
        vec!["read", "ipc", "mmap2", "stat64", "sigreturn", "time", "socketcall", "socket", "clone", "bind"],
        0..8,
    );
    let value = prop_oneof![0u64..50, Just(0xffff_ffff), Just(0x7e02_0011), any::<u64>()];
    let tuple = proptest::collection::btree_map(0u8..6, value, 0..4);
    let tuples = proptest::collection::vec(tuple, 0..6);
    let with_args = vec!["socket", "socketpair", "clone", "clone3", "unshare", "prctl", "ioctl", "fcntl"];
    let with_args = proptest::sample::subsequence(with_args, 0..8);
    (names, i386, with_args, proptest::collection::vec(tuples, 8), any::<u64>()).prop_map(
        |(names, i386, with_args, tuples, enosys)| {
            let names: Vec<&str> = names.into_iter().filter(|n| !with_args.contains(n)).collect();
            let mut recording = samples::calls(&names);
            for (i, syscall) in recording.syscalls.iter_mut().enumerate() {
                if i < 64 && (enosys >> i) % 8 == 0 {
                    (syscall.succeeded, syscall.errors) = (false, vec!["ENOSYS".into()]);
                }
            }
            // The same calls on another architecture, with and without tuples of their own.
            for (i, name) in i386.into_iter().enumerate() {
                let known = matches!(name, "socketcall" | "socket" | "clone") && enosys >> i & 1 == 0;
                let first = [(0u8, enosys >> 32 & 0x1f)];
                let tuples: &[&[(u8, u64)]] = if known { &[&first, &[(0, 2)]] } else { &[] };
                samples::add(&mut recording, "i386", name, tuples);
            }
            for (name, tuples) in with_args.iter().zip(&tuples) {
                let tuples: Vec<Vec<(u8, u64)>> =
                    tuples.iter().map(|t| t.iter().map(|(i, v)| (*i, *v)).collect()).collect();
                let tuples: Vec<&[(u8, u64)]> = tuples.iter().map(Vec::as_slice).collect();
                samples::add(&mut recording, "x86_64", name, &tuples);
            }
            recording
        },
    )
}

/// Values that differ in one half of a register, or in one bit.
fn near() -> impl Strategy<Value = u64> {
    proptest::sample::select(vec![0, 1, 2, 0x1_0000_0001, 0x1_0000_0000, 0x1000_0011, 0x11, u64::MAX])
}

fn modes() -> impl Strategy<Value = (Mode, Runtime)> {
    (
        prop_oneof![Just(Mode::Off), Just(Mode::Safe), Just(Mode::Strict)],
        prop_oneof![Just(Runtime::None), Just(Runtime::Docker), Just(Runtime::Crun)],
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn what_was_emitted_blocks_nothing_that_was_recorded(recording in recordings(), (mode, runtime) in modes()) {
        let needs = needs(recording);
        let emitted = emit(&needs, mode, runtime);
        prop_assert_eq!(&emitted, &emit(&needs, mode, runtime));
        let verdicts = judge(&needs, &emitted, runtime);
        prop_assert_eq!(verdicts.blocked, vec![]);
        prop_assert_eq!(verdicts.unproven, vec![]);
    }

    #[test]
    fn arguments_that_were_not_recorded_are_denied(
        recorded in proptest::collection::vec(proptest::collection::btree_map(0u8..5, near(), 1..4), 1..6),
        name in proptest::sample::select(vec!["prctl", "ioctl", "socket", "clone", "personality", "mmap"]),
        tried in proptest::collection::vec(proptest::array::uniform6(near()), 20),
    ) {
        let mut recording = samples::calls(&["read"]);
        let tuples: Vec<Vec<(u8, u64)>> =
            recorded.iter().map(|t| t.iter().map(|(i, v)| (*i, *v)).collect()).collect();
        let tuples: Vec<&[(u8, u64)]> = tuples.iter().map(Vec::as_slice).collect();
        samples::add(&mut recording, "x86_64", name, &tuples);
        let needs = needs(recording);
        for mode in [Mode::Safe, Mode::Strict] {
            let options = Options {
                mode,
                allow: everything(),
                runtime: Runtime::None,
                no_new_privileges: false,
                portable: false,
            };
            let policy = policy(&needs, &options).unwrap();
            let file = emit::seccomp::json(&policy).unwrap();
            let filter = compile(&profile::from_json(&file, "p.json").unwrap(), false).unwrap();
            let nr = number(name, Arch::X8664).unwrap();
            for args in &tried {
                let admitted = match &policy.calls[name].admits {
                    Admits::Always => true,
                    Admits::Nothing => false,
                    Admits::When(sets) => sets.iter().any(|set| {
                        set.iter().all(|c| args[usize::from(c.index)] & c.mask == c.value)
                    }),
                };
                let call = Call { nr, arch: Arch::X8664.audit(), args: args.map(Some) };
                let outcome = filter.program.outcome(&call);
                prop_assert_eq!(outcome.always_goes_on(), admitted, "{:?} {:x?}", mode, args);
                prop_assert_eq!(outcome.never_goes_on(), !admitted);
            }
        }
    }

    #[test]
    fn what_was_not_recorded_is_denied(names in proptest::sample::subsequence(all_names(), 1..60)) {
        let needs = needs(samples::calls(&names));
        let emitted = emit(&needs, Mode::Safe, Runtime::None);
        let profile = profile::from_json(&emitted, "p.json").unwrap();
        let filter = compile(&profile, false).unwrap();
        let kernel = ["exit", "exit_group", "restart_syscall", "rt_sigreturn"];
        for name in all_names() {
            let nr = number(name, Arch::X8664).unwrap();
            let outcome = filter.program.outcome(&Call { nr, arch: Arch::X8664.audit(), args: [None; 6] });
            let comes_along = names.iter().flat_map(|seen| companions::of(seen)).any(|one| one == name);
            let admitted = names.contains(&name) || kernel.contains(&name) || comes_along;
            prop_assert_eq!(outcome.always_goes_on(), admitted, "{}", name);
            prop_assert_eq!(outcome.never_goes_on(), !admitted, "{}", name);
        }
    }

    #[test]
    fn a_name_taken_out_of_the_file_is_the_one_that_is_reported(
        names in proptest::sample::subsequence(all_names(), 2..40),
        pick: proptest::sample::Index,
    ) {
        let needs = needs(samples::calls(&names));
        let emitted = emit(&needs, Mode::Safe, Runtime::None);
        let gone = *pick.get(&names);
        let mut file: serde_json::Value = serde_json::from_slice(&emitted).unwrap();
        for rule in file["syscalls"].as_array_mut().unwrap() {
            rule["names"].as_array_mut().unwrap().retain(|name| name != gone);
        }
        let verdicts = judge(&needs, &serde_json::to_vec(&file).unwrap(), Runtime::None);
        prop_assert_eq!(verdicts.blocked.len(), 1);
        prop_assert_eq!(&verdicts.blocked[0].what, &format!("{gone} → EPERM"));
        prop_assert_eq!(&verdicts.blocked[0].rule, &format!("\"{gone}\""));
    }
}
