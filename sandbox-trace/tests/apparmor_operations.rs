//! From what is recorded of an operation to what the kernel asks for when it happens again: the emitted profile,
//! compiled by the real compiler, answers each question, and no more than was recorded.
//!
//! The questions are those of Linux 6.1 (security/apparmor/), as measured with a kernel that enforces.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "a test says what failed by panicking")]

use sandbox_trace::{
    apparmor::{
        compiler,
        features::Features,
        perms::{APPEND, EXEC, LOCK, MAP_EXEC, READ, Subject, WRITE},
        policy::{PATH_ATTACH_DISCONNECTED, Profile, unpack},
    },
    emit,
    policy::{
        generalize::Generalization,
        paths::{self, Options},
    },
    requirements::{Evidence, NetworkKey, Requirements},
};

/// The profile for these accesses; `NEW -> OLD` is a link.
fn profile(files: &[(&str, &str)], generalize: Generalization) -> Profile {
    let mut needs = Requirements::default();
    for (path, access) in files {
        let (path, target) =
            path.split_once(" -> ").map_or((*path, None), |(path, to)| (path, Some(to.as_bytes())));
        let access = access.parse().unwrap();
        needs.files.insert(path.as_bytes(), target, access, Some(false), &Evidence::default());
    }
    compiled(&needs, generalize)
}

fn compiled(needs: &Requirements, generalize: Generalization) -> Profile {
    let policy = paths::policy(needs, &Options { generalize, ..Options::default() }).unwrap();
    let text = emit::apparmor::text(&policy, &"agent".parse().unwrap());
    let compiled = compiler::compile(text.as_bytes(), "the profile", &Features::built_in().unwrap());
    let policy = compiled.unwrap_or_else(|error| panic!("apt-get install apparmor: {error}\n{text}")).policy;
    unpack(&policy).unwrap().remove(0)
}

fn allows(profile: &Profile, path: &str, request: u32) -> bool {
    profile.file_perms(path.as_bytes(), Subject::Other).allows(request)
}

/// What was recorded of an operation, what the kernel asks for, and what the profile must not give.
type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a [(&'a str, u32)], &'a [(&'a str, u32)]);

const CASES: &[Case<'_>] = &[
    (
        "a directory is listed",
        &[("/d/", "r")],
        &[("/d/", READ)],
        &[("/d", READ), ("/d/x", READ), ("/d/", WRITE)],
    ),
    (
        "a file is made and written at its end only",
        &[("/d/log", "ac")],
        // O_CREAT asks for w whatever the file is opened for.
        &[("/d/log", APPEND), ("/d/log", WRITE)],
        &[("/d/log", READ)],
    ),
    (
        "a file that is there is written at its end only",
        &[("/d/log", "a")],
        &[("/d/log", APPEND)],
        &[("/d/log", WRITE), ("/d/log", READ)],
    ),
    (
        "flock, exclusive, on a file that is open for reading",
        &[("/d/f", "rwk")],
        &[("/d/f", READ | WRITE | LOCK)],
        &[("/d/f", EXEC)],
    ),
    ("flock, shared", &[("/d/f", "rk")], &[("/d/f", READ | LOCK)], &[("/d/f", WRITE)]),
    (
        "a directory gets another name",
        &[("/d/old/", "rwd"), ("/d/new/", "wc")],
        &[("/d/old/", READ | WRITE), ("/d/new/", WRITE)],
        &[("/d/old", WRITE), ("/d/new", WRITE), ("/d/new/", READ)],
    ),
    (
        "two files change places",
        &[("/d/a", "rw"), ("/d/b", "rw")],
        &[("/d/a", READ | WRITE), ("/d/b", READ | WRITE)],
        &[("/d/a", LOCK), ("/d/", WRITE)],
    ),
    (
        "a script is started: x and r on it, nothing on its interpreter",
        &[("/d/script", "rx")],
        &[("/d/script", EXEC | READ)],
        &[("/bin/sh", EXEC), ("/d/script", WRITE)],
    ),
    (
        "a library is mapped",
        &[("/lib/x.so", "rm")],
        &[("/lib/x.so", READ | MAP_EXEC)],
        &[("/lib/x.so", EXEC)],
    ),
    // The kernel has no path for it but `/`, if disconnected paths have names at all.
    ("a program in memory (memfd) is started", &[("/", "x")], &[("/", EXEC)], &[("/", READ), ("/x", EXEC)]),
    ("a Unix socket is bound to a path", &[("/d/s", "c")], &[("/d/s", WRITE)], &[("/d/s", READ)]),
];

#[test]
fn each_operation_is_allowed_again_and_no_other() {
    for (what, recorded, asked, not_given) in CASES {
        let profile = profile(recorded, Generalization::Exact);
        for (path, request) in *asked {
            assert!(allows(&profile, path, *request), "{what}: {path} {request:#x}");
        }
        for (path, request) in *not_given {
            assert!(!allows(&profile, path, *request), "{what}: {path} {request:#x} is too much");
        }
    }
}

#[test]
fn programs_without_a_path_have_one_in_the_profile() {
    let profile = profile(&[("/", "x")], Generalization::Exact);
    assert_eq!(profile.path_flags & PATH_ATTACH_DISCONNECTED, PATH_ATTACH_DISCONNECTED);
    assert!(profile.file_perms(b"/", Subject::Owner).executes());
}

#[test]
fn a_file_without_a_name_is_another_in_the_next_run() {
    let recorded = [("/tmp/#4711", "rw"), ("/tmp/result -> /tmp/#4711", "l")];
    let profile = profile(&recorded, Generalization::Balanced);
    assert!(allows(&profile, "/tmp/#99", READ | WRITE));
    for subject in [Subject::Owner, Subject::Other] {
        assert!(profile.allows_link(b"/tmp/result", b"/tmp/#123456", subject));
        assert!(!profile.allows_link(b"/tmp/other", b"/tmp/#123456", subject));
        assert!(!profile.allows_link(b"/tmp/result", b"/tmp/secret", subject));
    }
    assert!(!allows(&profile, "/tmp/x99", READ));
}

#[test]
fn a_link_is_a_pair_whatever_else_its_names_are_used_for() {
    // Written under its new name, read under the old one: a rule with the letter alone would want equal permissions.
    let profile =
        profile(&[("/d/new -> /d/old", "l"), ("/d/new", "w"), ("/d/old", "r")], Generalization::Exact);
    for subject in [Subject::Owner, Subject::Other] {
        assert!(profile.allows_link(b"/d/new", b"/d/old", subject));
        assert!(!profile.allows_link(b"/d/old", b"/d/new", subject));
        assert!(!profile.allows_link(b"/d/new", b"/etc/passwd", subject));
    }
}

#[test]
fn sockets_have_rules_by_family_and_type() {
    let mut needs = Requirements::default();
    for (family, kind) in [((1, "unix"), (1, "stream")), ((16, "netlink"), (3, "raw"))] {
        let key = NetworkKey { family: (family.0, family.1.into()), socket_type: (kind.0, kind.1.into()) };
        needs.network.insert(key, Evidence::default());
    }
    let profile = compiled(&needs, Generalization::Exact);
    for (family, kind, allowed) in [(1, 1, true), (1, 2, false), (16, 3, true), (16, 2, false), (2, 1, false)]
    {
        assert_eq!(profile.allows_socket(family, kind), allowed, "{family} {kind}");
    }
}

/// Classes of the policy database (`AA_CLASS_*` of security/apparmor/include/apparmor.h).
const SIGNAL: u8 = 10;
const LABEL: u8 = 16;
const PTRACE: u8 = 9;

#[test]
fn the_runtime_may_stop_the_container_and_processes_may_signal_and_see_each_other() {
    // apparmor/lib.c: W is send, R is receive; ptrace: R is read, W is trace.
    const SEND: u32 = WRITE;
    const RECEIVE: u32 = READ;
    let profile = profile(&[("/a", "r")], Generalization::Exact);
    let classes = profile.classes.as_ref().unwrap();
    let accept = |start: &[u8], peer: &str| {
        let state = classes.dfa.walk(classes.start, start);
        classes.dfa.accept(classes.dfa.walk(state, peer.as_bytes()))
    };
    // 15 is SIGTERM, 9 SIGKILL, 0 the question whether it exists in AppArmor's own numbers (35), 6 SIGABRT.
    for signal in [15, 9, 35, 6] {
        for peer in ["unconfined", "runc", "crun"] {
            assert_eq!(accept(&[SIGNAL, signal], peer) & (SEND | RECEIVE), RECEIVE, "{peer} {signal}");
        }
        assert_eq!(accept(&[SIGNAL, signal], "agent") & (SEND | RECEIVE), SEND | RECEIVE, "{signal}");
        assert_eq!(accept(&[SIGNAL, signal], "other") & (SEND | RECEIVE), 0, "{signal}");
    }
    // The class of labels first, then that of ptrace, then the peer: read, and not trace.
    let traces = |peer: &str| accept(&[LABEL, PTRACE], peer) & (READ | WRITE);
    assert_eq!((traces("agent"), traces("unconfined")), (READ, 0));
}
