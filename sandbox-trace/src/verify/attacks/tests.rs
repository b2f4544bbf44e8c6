use super::*;
use crate::{
    apparmor::testing,
    emit,
    policy::{
        arguments::Mode,
        syscalls::{Options, policy},
    },
    recording::samples,
    requirements::fold,
    seccomp::{capabilities::Capabilities, profile, runtime::Runtime},
    verify::filters::{Container, Filters},
};

fn filters(json: &str) -> Filters {
    let profile = profile::from_json(json.as_bytes(), "p.json").unwrap();
    Filters::of(vec![("p.json".into(), profile)], &Container::of(Runtime::Docker)).unwrap()
}

fn allow_all() -> Filters {
    filters(r#"{"defaultAction":"SCMP_ACT_ALLOW"}"#)
}

fn list(attacks: &str) -> Result<Vec<Attack>> {
    parse(format!(r#"{{"schema":"sandbox-trace/attacks/v1","attacks":[{attacks}]}}"#).as_bytes(), "a.json")
}

fn one(ways: &str) -> Vec<Attack> {
    list(&format!(r#"{{"name":"it","why":"bad","ways":{ways}}}"#)).unwrap()
}

fn names(open: &[Open]) -> Vec<&str> {
    open.iter().map(|open| open.name.as_str()).collect()
}

/// Calls that nearly every program makes, clone3 and an ioctl with any request among them.
const ORDINARY: [&str; 12] = [
    "read",
    "write",
    "openat",
    "close",
    "mmap",
    "execve",
    "ioctl",
    "clone3",
    "connect",
    "prctl",
    "futex",
    "memfd_create",
];

fn emitted(mode: Mode) -> Filters {
    let mut recording = samples::calls(&ORDINARY);
    samples::add(&mut recording, "x86_64", "clone", &[&[(0, 0x11)], &[(0, 0x3d_0f00)]]);
    samples::add(&mut recording, "x86_64", "socket", &[&[(0, 1), (1, 0x80001)], &[(0, 2), (1, 1)]]);
    samples::add(&mut recording, "x86_64", "personality", &[&[(0, 0xffff_ffff)]]);
    let needs = fold(&[("r.json".into(), recording)], false).unwrap();
    let options = Options {
        mode,
        allow: [].into(),
        runtime: Runtime::Docker,
        no_new_privileges: false,
        portable: false,
    };
    let json = emit::seccomp::json(&policy(&needs, &options).unwrap()).unwrap();
    filters(std::str::from_utf8(&json).unwrap())
}

/// What a workload needs that reads its code and writes its data.
const PROFILE: &str = "  /usr/lib/** rm,\n  /usr/bin/agent rix,\n  /tmp/** rw,\n  /app/** r,\n  owner /app/data/** rwk,
  /etc/passwd r,\n  /proc/@{pid}/status r,\n  /sys/fs/cgroup/** r,\n  network inet stream,\n  network unix stream,
  capability chown,\n  capability setuid,\n  signal (receive) peer=unconfined,\n";

#[test]
fn what_is_emitted_for_an_ordinary_workload_denies_all_of_the_built_in_list() {
    let attacks = built_in().unwrap();
    let profile = testing::rules(PROFILE);
    for mode in [Mode::Safe, Mode::Strict] {
        let filters = emitted(mode);
        let both =
            judge(&attacks, Files { filters: Some(&filters), apparmor: Some(&profile), capabilities: None });
        assert_eq!((both.open.as_slice(), both.unproven.as_slice()), (&[][..], &[][..]));
        assert_eq!((both.denied, both.not_asked.as_slice()), (both.checked, &[][..]));
        assert!(both.checked > 80, "{}", both.checked);
        let noted: Vec<&str> = both.noted.iter().map(|n| n.name.as_str()).collect();
        assert_eq!(noted, ["terminal-input", "engine-socket"]);
        // With the filter alone, what only the other file could deny is not counted.
        let alone = judge(&attacks, Files { filters: Some(&filters), ..Files::default() });
        assert_eq!((names(&alone.open), alone.unproven.len()), (vec![], 0));
        assert!(alone.not_asked.contains(&"sysrq".to_owned()) && alone.checked > 30);
        assert!(alone.noted.iter().any(|n| n.name == "user-namespace-by-clone3"));
    }
}

#[test]
fn files_that_allow_everything_leave_every_attack_open() {
    let attacks = built_in().unwrap();
    let filters = allow_all();
    let profile = testing::rules("  file,\n  network,\n  capability,\n  mount,\n  umount,\n  / ix,\n");
    let judged =
        judge(&attacks, Files { filters: Some(&filters), apparmor: Some(&profile), capabilities: None });
    assert_eq!((judged.denied, judged.unproven.len(), judged.not_asked.len()), (0, 0, 0));
    assert_eq!(judged.open.len() + judged.noted.len(), attacks.len());
    assert!(names(&judged.open).contains(&"drop-and-run"));
    // And each attack that a filter can deny is open with the filter alone.
    let alone = judge(&attacks, Files { filters: Some(&filters), ..Files::default() });
    assert_eq!(alone.denied, 0);
    assert_eq!(alone.open.len() + alone.noted.len() + alone.not_asked.len(), attacks.len());
}

#[test]
fn every_attack_of_the_list_is_denied_by_files_that_allow_nothing_and_has_its_own_name() {
    let attacks = built_in().unwrap();
    let filters = filters(r#"{"defaultAction":"SCMP_ACT_ERRNO","architectures":["SCMP_ARCH_X86_64"]}"#);
    let profile = testing::rules("");
    let judged =
        judge(&attacks, Files { filters: Some(&filters), apparmor: Some(&profile), capabilities: None });
    let count = u64::try_from(attacks.len()).unwrap();
    assert_eq!((judged.checked, judged.denied), (count, count));
    let distinct: std::collections::BTreeSet<&str> = attacks.iter().map(|a| a.name.as_str()).collect();
    assert_eq!(distinct.len(), attacks.len());
    assert!(attacks.iter().all(|a| !a.why.is_empty()));
}

#[test]
fn one_rule_too_many_opens_the_attack_that_it_allows() {
    let attacks = built_in().unwrap();
    let filters = emitted(Mode::Safe);
    for (rule, attack) in [
        ("/tmp/** ix,", "drop-and-run"),
        ("/tmp/** m,", "drop-and-load"),
        ("/etc/** r,", "read-password-hashes"),
        ("owner /root/** rw,", "plant-keys"),
        ("/proc/** w,", "core-pattern"),
        ("/dev/** rw,", "write-disks"),
        ("capability sys_admin,", "capability-sys-admin"),
        ("capability net_admin,", "capability-net-admin"),
    ] {
        let profile = testing::rules(format!("{PROFILE}  {rule}\n"));
        let files = Files { filters: Some(&filters), apparmor: Some(&profile), capabilities: None };
        let judged = judge(&attacks, files);
        assert!(names(&judged.open).contains(&attack), "{rule}: {:?}", names(&judged.open));
    }
}

#[test]
fn a_refusal_of_either_kind_of_file_is_enough_and_every_step_is_needed() {
    let allow = allow_all();
    let (nothing, admin) = (testing::rules(""), testing::rules("  capability sys_admin,\n"));
    let attacks = one(r#"[[{"call":"mount"},{"capability":"sys_admin"}]]"#);
    let denied = |files| judge(&attacks, files).denied == 1;
    let with = |apparmor| Files { filters: Some(&allow), apparmor, capabilities: None };
    assert!(denied(with(Some(&nothing))) && !denied(with(Some(&admin))) && !denied(with(None)));
    let (none, some) = (Capabilities::default(), Capabilities::parse(&["SYS_ADMIN".into()]).unwrap());
    assert!(denied(Files { capabilities: Some(&none), ..with(None) }));
    assert!(!denied(Files { capabilities: Some(&some), ..with(Some(&admin)) }));
    // Capabilities of a new user namespace are not those that the container was given.
    let attacks = one(r#"[[{"call":"unshare"},{"capability":"sys_admin","in_user_namespace":true}]]"#);
    let judged = judge(&attacks, Files { capabilities: Some(&none), ..with(None) });
    assert_eq!(judged.open[0].how, "unshare, then capability sys_admin");
}

#[test]
fn other_entries_of_the_kernel_are_tried_as_well() {
    let both = filters(
        r#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86_64","SCMP_ARCH_X86"],
            "syscalls":[{"names":["read"],"action":"SCMP_ACT_ERRNO"}]}"#,
    );
    let files = Files { filters: Some(&both), ..Files::default() };
    for (ways, denied) in [
        (r#"[[{"call":"read"}]]"#, 1),
        (r#"[[{"call":"read","arch":"x32"}]]"#, 1),
        (r#"[[{"call":"socketcall"}]]"#, 0),
        (r#"[[{"call":"write","arch":"x32"}]]"#, 1),
    ] {
        assert_eq!(judge(&one(ways), files).denied, denied, "{ways}");
    }
}

#[test]
fn what_depends_on_arguments_or_the_container_is_unproven() {
    let some = filters(
        r#"{"defaultAction":"SCMP_ACT_ERRNO","architectures":["SCMP_ARCH_X86_64"],"syscalls":[
            {"names":["bpf"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":5,"op":"SCMP_CMP_EQ"}]},
            {"names":["ptrace"],"action":"SCMP_ACT_NOTIFY"},
            {"names":["mount"],"action":"SCMP_ACT_ALLOW","includes":{"caps":["CAP_SYS_ADMIN"]}}]}"#,
    );
    let files = Files { filters: Some(&some), ..Files::default() };
    for (call, part) in
        [("bpf", "some arguments"), ("ptrace", "a supervisor's decision"), ("mount", "CAP_SYS_ADMIN")]
    {
        let judged = judge(&one(&format!(r#"[[{{"call":"{call}"}}]]"#)), files);
        assert!(judged.unproven[0].why.contains(part), "{:?}", judged.unproven);
        assert_eq!((judged.checked, judged.denied, judged.open.len()), (1, 0, 0));
    }
    let exact = |value| one(&format!(r#"[[{{"call":"bpf","args":{{"0":{value}}}}}]]"#));
    assert_eq!(judge(&exact("5"), files).open[0].how, "bpf(5)");
    assert_eq!(judge(&exact("\"0x6\""), files).denied, 1);
}

#[test]
fn lists_that_mean_nothing_are_refused_with_what_is_wrong() {
    for (attack, part) in [
        (r#"{"name":"a","why":"b","ways":[]}"#, "no way"),
        (r#"{"name":"a","why":"b","ways":[[]]}"#, "without steps"),
        (r#"{"name":"a","why":"b","ways":[[{}]]}"#, "exactly one"),
        (r#"{"name":"a","why":"b","ways":[[{"call":"mount","file":"/a","access":"r"}]]}"#, "exactly one"),
        (r#"{"name":"a","why":"b","ways":[[{"call":"no_such"}]]}"#, "no_such"),
        (r#"{"name":"a","why":"b","ways":[[{"call":"read","args":{"6":1}}]]}"#, "0 to 5"),
        (r#"{"name":"a","why":"b","ways":[[{"call":"read","args":{"0":"five"}}]]}"#, "0 to 5"),
        (r#"{"name":"a","why":"b","ways":[[{"call":"read","arch":"arm"}]]}"#, "x86_64"),
        (r#"{"name":"a","why":"b","ways":[[{"file":"/a"}]]}"#, "letters"),
        (r#"{"name":"a","why":"b","ways":[[{"file":"a","access":"r"}]]}"#, "begin with /"),
        (r#"{"name":"a","why":"b","ways":[[{"capability":"fly"}]]}"#, "no capability"),
        (r#"{"name":"a","why":"b","ways":[[{"socket":"smoke"}]]}"#, "address family"),
        (r#"{"name":"a","why":"b","ways":[[{"socket":"inet","access":"r"}]]}"#, "does not belong"),
        ("", "no attack"),
    ] {
        let error = list(attack).unwrap_err();
        assert!(error.to_string().contains(part), "{attack}: {error}");
        assert_eq!(error.exit(), crate::error::Exit::Usage);
    }
    for (json, part) in [
        ("[]", "no list"),
        ("{}", "no schema"),
        (r#"{"schema":"sandbox-trace/attacks/v2","attacks":[]}"#, "attacks/v2"),
        (r#"{"schema":"sandbox-trace/recording/v1"}"#, "is a recording"),
        (r#"{"schema":"sandbox-trace/attacks/v1","attacks":[],"x":1}"#, "no list"),
    ] {
        let error = parse(json.as_bytes(), "a.json").unwrap_err();
        assert!(error.to_string().contains(part), "{json}: {error}");
    }
}

#[test]
fn text_of_a_list_can_t_move_a_terminal_s_cursor() {
    let attacks = list(r#"{"name":"a\u001b[2J","why":"b\u001b","ways":[[{"call":"mount"}]]}"#).unwrap();
    let allow = allow_all();
    let judged = judge(&attacks, Files { filters: Some(&allow), ..Files::default() });
    assert_eq!((judged.open[0].name.as_str(), judged.open[0].why.as_str()), (r"a\x1b[2J", r"b\x1b"));
}
