//! What a policy admits, refuses and says.

use super::*;
use crate::{error::Exit, recording::samples, requirements::fold};

fn options() -> Options {
    Options {
        mode: Mode::Safe,
        allow: BTreeSet::new(),
        runtime: Runtime::None,
        no_new_privileges: false,
        portable: false,
    }
}

fn make(recording: crate::recording::Recording, options: &Options) -> Result<SyscallPolicy> {
    policy(&fold(&[("r.json".into(), recording)], false).unwrap(), options)
}

fn names(policy: &SyscallPolicy) -> Vec<&str> {
    policy.calls.iter().filter(|(_, c)| c.admits != Admits::Nothing).map(|(name, _)| name.as_str()).collect()
}

#[test]
fn what_was_seen_and_what_the_kernel_needs_is_admitted_and_nothing_else() {
    let policy = make(samples::calls(&["read", "statx"]), &options()).unwrap();
    assert_eq!(names(&policy), ["exit", "exit_group", "read", "restart_syscall", "rt_sigreturn", "statx"]);
    assert_eq!((policy.count(Why::Seen), policy.count(Why::Kernel)), (2, 4));
    assert!(policy.notes.is_empty(), "{:?}", policy.notes);
}

#[test]
fn the_runtime_s_base_is_added_and_never_limited() {
    let mut recording = samples::calls(&["read"]);
    samples::add(&mut recording, "x86_64", "prctl", &[&[(0, 15)]]);
    let docker =
        make(recording, &Options { runtime: Runtime::Docker, mode: Mode::Strict, ..options() }).unwrap();
    assert_eq!(docker.calls["openat"].admits, Admits::Always);
    // But for the options of prctl: which ones a runtime uses is measured.
    assert!(matches!(&docker.calls["prctl"].admits, Admits::When(sets) if sets.len() > 1));
    assert_eq!(docker.calls["capset"].why, Why::Runtime);
}

#[test]
fn dangerous_calls_are_refused_unless_named() {
    let recording = samples::calls(&["read", "mount", "ptrace"]);
    let error = make(recording.clone(), &options()).unwrap_err();
    assert_eq!(error.exit(), Exit::Refused);
    assert!(error.to_string().contains("/usr/bin/app"), "{error}");
    assert!(error.hint_text().unwrap().contains("--allow mount --allow ptrace"));
    let allow = ["mount", "ptrace", "bpf"].map(String::from).into();
    let policy = make(recording, &Options { allow, ..options() }).unwrap();
    assert!(policy.calls.contains_key("mount") && !policy.calls.contains_key("bpf"));
    assert!(policy.notes.iter().any(|n| n.contains("--allow bpf was not needed")));
}

#[test]
fn what_a_filter_refused_is_given_and_said_and_what_is_dangerous_only_said() {
    let mut recording = samples::calls(&["read", "getppid", "keyctl"]);
    for name in ["getppid", "keyctl"] {
        samples::refuse(&mut recording, name);
    }
    let policy = make(recording.clone(), &options()).unwrap();
    assert!(policy.calls.contains_key("getppid") && !policy.calls.contains_key("keyctl"));
    assert!(policy.notes[0].contains("1 call was refused") && policy.notes[0].ends_with("getppid"));
    assert!(policy.notes[1].contains("not added") && policy.notes[1].contains("keyctl"));
    let allow = ["keyctl"].map(String::from).into();
    let policy = make(recording, &Options { allow, ..options() }).unwrap();
    assert!(policy.calls.contains_key("keyctl"));
    assert!(!policy.notes.iter().any(|note| note.contains("not added")), "{:?}", policy.notes);
}

#[test]
fn an_unknown_name_to_allow_is_wrong_usage() {
    let allow = ["mout"].map(String::from).into();
    let error = make(samples::calls(&["read"]), &Options { allow, ..options() }).unwrap_err();
    assert_eq!(error.exit(), Exit::Usage);
}

#[test]
fn namespaces_are_refused_unless_named_and_then_exactly_those_are_given() {
    for (name, flags) in [("clone", 0x1000_0011), ("clone3", 0x80)] {
        let mut recording = samples::calls(&["read"]);
        samples::add(&mut recording, "x86_64", name, &[&[(0, 0x11)], &[(0, flags)]]);
        let error = make(recording.clone(), &options()).unwrap_err();
        assert_eq!(error.exit(), Exit::Refused);
        assert!(error.to_string().contains("makes new namespaces"), "{error}");
        let allow = [NAMESPACES].map(String::from).into();
        let policy = make(recording, &Options { allow, ..options() }).unwrap();
        match &policy.calls[name].admits {
            Admits::When(sets) => assert_eq!((name, sets.len()), ("clone", 2)),
            other => assert_eq!((name, other), ("clone3", &Admits::Always)),
        }
    }
}

#[test]
fn a_clone3_that_never_existed_goes_on_not_existing() {
    let mut recording = samples::calls(&["read", "clone3"]);
    let clone3 = recording.syscalls.iter_mut().find(|s| s.name == "clone3").unwrap();
    (clone3.succeeded, clone3.errors) = (false, vec!["ENOSYS".into()]);
    let policy = make(recording, &options()).unwrap();
    assert_eq!(policy.calls["clone3"].admits, Admits::Nothing);
    assert_eq!(policy.count(Why::Seen), 1);
}

#[test]
fn a_number_without_a_name_is_left_out_if_it_failed_and_an_error_if_it_worked() {
    let mut recording = samples::calls(&["read", "syscall_9999"]);
    assert_eq!(make(recording.clone(), &options()).unwrap_err().exit(), Exit::Incomplete);
    for syscall in recording.syscalls.iter_mut().filter(|s| s.name != "read") {
        (syscall.succeeded, syscall.errors) = (false, vec!["ENOSYS".into()]);
    }
    let policy = make(recording, &options()).unwrap();
    assert!(!policy.calls.contains_key("syscall_9999"));
    assert!(policy.notes.iter().any(|n| n.contains("9999")));
}

#[test]
fn other_architectures_bring_their_own_signal_return() {
    let mut recording = samples::calls(&["read"]);
    samples::add(&mut recording, "i386", "socketcall", &[]);
    let policy = make(recording, &options()).unwrap();
    assert_eq!(policy.architectures, BTreeSet::from([Arch::X8664, Arch::I386]));
    assert!(policy.calls.contains_key("sigreturn"));
    assert!(policy.notes.iter().any(|n| n.contains("every listed architecture")));
    assert!(!policy.notes.iter().any(|n| n.contains("any family")));
    let mut recording = samples::calls(&["read"]);
    samples::add(&mut recording, "i386", "socket", &[&[(0, 2)]]);
    let policy = make(recording, &options()).unwrap();
    assert!(policy.notes.iter().any(|n| n.contains("any family")), "{:?}", policy.notes);
}

#[test]
fn dangerous_values_are_refused_together_unless_each_is_named() {
    let mut recording = samples::calls(&["read", "mount"]);
    samples::add(&mut recording, "x86_64", "ioctl", &[&[(1, 0x5401)], &[(1, 0x5412)]]);
    samples::add(&mut recording, "x86_64", "socket", &[&[(0, 38), (1, 5)]]);
    let error = make(recording.clone(), &options()).unwrap_err();
    assert_eq!(error.exit(), Exit::Refused);
    let hint = error.hint_text().unwrap();
    assert!(hint.contains("--allow ioctl:TIOCSTI --allow mount --allow socket:AF_ALG"), "{hint}");
    let text = error.to_string();
    assert!(text.contains("types into the terminal") && text.contains("/usr/bin/app (0.0 s"), "{text}");
    let allow = ["ioctl:TIOCSTI", "socket:AF_ALG", "mount", "socket:AF_XDP"].map(String::from).into();
    let policy = make(recording.clone(), &Options { allow, ..options() }).unwrap();
    assert!(policy.notes.iter().any(|n| n.contains("--allow socket:AF_XDP was not needed")));
    assert_eq!(policy.notes.iter().filter(|n| n.contains("not needed")).count(), 1, "{:?}", policy.notes);
    let allow = ["ioctl:TIOCSTY"].map(String::from).into();
    let error = make(recording, &Options { allow, ..options() }).unwrap_err();
    assert_eq!(error.exit(), Exit::Usage);
    assert!(error.hint_text().unwrap().contains("ioctl:TIOCSTI"));
}

#[test]
fn a_dangerous_value_that_a_filter_refused_is_left_out_and_said() {
    let mut recording = samples::calls(&["read"]);
    samples::add(&mut recording, "x86_64", "socket", &[&[(0, 38), (1, 5)]]);
    samples::refuse(&mut recording, "socket");
    let policy = make(recording.clone(), &options()).unwrap();
    assert!(!policy.calls.contains_key("socket"));
    assert!(policy.notes.iter().any(|n| n.contains("socket:AF_ALG")), "{:?}", policy.notes);
    let allow = ["socket:AF_ALG"].map(String::from).into();
    let policy = make(recording, &Options { allow, ..options() }).unwrap();
    assert!(matches!(policy.calls["socket"].admits, Admits::When(_)));
}

#[test]
fn a_clone3_that_clone_can_stand_in_for_gets_enosys_where_arguments_are_limited() {
    let mut recording = samples::calls(&["read"]);
    samples::add(&mut recording, "x86_64", "clone3", &[&[(0, 0x3d_0f00)]]);
    for mode in [Mode::Safe, Mode::Strict] {
        let policy = make(recording.clone(), &Options { mode, ..options() }).unwrap();
        assert_eq!(policy.calls["clone3"].admits, Admits::Nothing);
        assert!(matches!(&policy.calls["clone"].admits, Admits::When(sets) if sets.len() == 1));
        assert!(policy.notes.iter().any(|n| n.contains("gets ENOSYS")), "{:?}", policy.notes);
    }
    let off = make(recording, &Options { mode: Mode::Off, ..options() }).unwrap();
    assert_eq!(off.calls["clone3"].admits, Admits::Always);
    assert!(!off.calls.contains_key("clone"));
}

#[test]
fn what_callers_fall_back_from_gets_enosys_unless_it_was_seen() {
    let policy = make(samples::calls(&["read", "statx"]), &options()).unwrap();
    assert_eq!(policy.calls["statx"].admits, Admits::Always);
    for name in ["clone3", "faccessat2", "close_range", "futex_requeue"] {
        assert_eq!(policy.calls[name], Call { why: Why::Fallback, admits: Admits::Nothing }, "{name}");
    }
    // Dangerous ones are refused as such, but for mount's newer interface beside mount.
    assert!(!policy.calls.contains_key("io_uring_setup") && !policy.calls.contains_key("fsopen"));
    let allow = ["mount"].map(String::from).into();
    let policy = make(samples::calls(&["read", "mount"]), &Options { allow, ..options() }).unwrap();
    assert_eq!(policy.calls["fsopen"].admits, Admits::Nothing);
    let mut recording = samples::calls(&["read"]);
    samples::add(&mut recording, "i386", "read", &[]);
    let policy = make(recording, &options()).unwrap();
    assert_eq!(policy.calls["clock_gettime64"].admits, Admits::Nothing);
}

#[test]
fn portable_adds_twins_with_their_limits_and_says_so() {
    let mut recording = samples::calls(&["open", "unlink", "fork", "getrlimit", "mount"]);
    samples::add(&mut recording, "x86_64", "socket", &[&[(0, 2), (1, 0x8_0002), (2, 0)]]);
    let allow: BTreeSet<String> = ["mount"].map(String::from).into();
    let portable = Options { allow: allow.clone(), portable: true, ..options() };
    let with = make(recording.clone(), &portable).unwrap();
    let without = make(recording, &Options { allow, ..options() }).unwrap();
    let added: Vec<&str> = names(&with).into_iter().filter(|n| !names(&without).contains(n)).collect();
    assert_eq!(added, ["clone", "creat", "openat", "openat2", "prlimit64", "unlinkat", "vfork"]);
    assert_eq!(with.count(Why::Twin), 7);
    assert_eq!(with.calls["clone"].admits, Admits::When(arguments::plain_clone()));
    assert_eq!(with.calls["prlimit64"].admits, Admits::When(arguments::only(0, 0)));
    // fsopen does what mount does, and is dangerous.
    assert_eq!(with.calls["fsopen"].admits, Admits::Nothing);
    let sockets = |policy: &SyscallPolicy| match &policy.calls["socket"].admits {
        Admits::When(sets) => sets.iter().map(|s| (s[0].value, s[1].value)).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    assert_eq!(sockets(&without), [(2, 2)]);
    assert_eq!(sockets(&with), [(2, 1), (2, 2), (10, 1), (10, 2)]);
    assert!(with.notes.iter().any(|n| n.contains("--portable adds") && n.ends_with("unlinkat, vfork")));
}

#[test]
fn strict_conditions_that_would_not_fit_become_safe_ones() {
    let mut recording = samples::calls(&["read"]);
    let tuples: Vec<Vec<(u8, u64)>> = (0..60).map(|n| vec![(0, n), (1, n), (2, n), (3, n)]).collect();
    let tuples: Vec<&[(u8, u64)]> = tuples.iter().map(Vec::as_slice).collect();
    for name in ["mmap", "mprotect", "setsockopt", "getsockopt"] {
        samples::add(&mut recording, "x86_64", name, &tuples);
    }
    let policy = make(recording, &Options { mode: Mode::Strict, ..options() }).unwrap();
    assert_eq!(policy.limited().len(), 2, "{:?}", policy.limited());
    assert_eq!(policy.notes.iter().filter(|n| n.contains("too many")).count(), 2, "{:?}", policy.notes);
}
