//! A sandbox made by hand, with something in each of its parts: what the printers' tests print.

use crate::{
    policy::{
        arguments::Mode,
        sandbox::{Because, Connect, Limits, Listen, Log, Network, Sandbox, Source, Tmpfs, User, Volume},
        syscalls::{self, SyscallPolicy},
    },
    recording::{Healthcheck, Port, samples},
    requirements::{Requirements, fold},
    seccomp::runtime::Runtime,
};

/// `value`, because of a reason that tries to end its comment's line.
pub(crate) fn because<T>(value: T) -> Because<T> {
    Because { value, why: "seen in r.json".into() }
}

/// An agent that writes its logs, serves a port and asks one peer.
pub(crate) fn sandbox() -> Sandbox {
    let tmpfs = Tmpfs { path: "/tmp".into(), bytes: 16 << 20, exec: false, mode: 0o1777, owner: None };
    let volume = |target: &str, source: &str, writable| {
        because(Volume { target: target.into(), source: Source::Host(source.into()), writable, exec: false })
    };
    Sandbox {
        name: "agent".into(),
        image: Some(because("example/agent@sha256:00".into())),
        entrypoint: None,
        command: Some(because(vec!["/usr/bin/agent".into(), "--port".into(), "18789".into()])),
        working_dir: None,
        environment: vec!["TOKEN".into()],
        user: because(User {
            spec: Some("1000:1001".into()),
            root: false,
            ids: Some((1000, 1001)),
            blockers: vec![],
        }),
        groups: vec![],
        capabilities: vec![because("NET_BIND_SERVICE".into())],
        read_only: because(true),
        tmpfs: vec![because(tmpfs)],
        volumes: vec![
            volume("/app/config", "/srv/agent/config", false),
            volume("/app/logs", "/srv/agent/logs", true),
        ],
        devices: vec![],
        network: because(Network::Bridge(None)),
        ports: vec![because(Port {
            container: 18789,
            protocol: "tcp".into(),
            host_ip: Some("127.0.0.1".into()),
            host: Some(18789),
        })],
        listens: vec![because(Listen { port: 18789, protocol: "tcp" })],
        connects: vec![because(Connect { address: [192, 0, 2, 7].into(), port: 443, protocol: "tcp" })],
        families: vec![because("AF_UNIX".into()), because("AF_INET".into())],
        limits: Limits {
            memory_bytes: Some(because(256 << 20)),
            cpu_millis: Some(because(1500)),
            pids: Some(because(40)),
            shm_bytes: None,
        },
        log: because(Log { driver: "json-file".into(), options: vec![] }),
        restart: because("unless-stopped".into()),
        healthcheck: Some(because(Healthcheck {
            test: vec!["CMD".into(), "/usr/bin/agent".into(), "--health".into()],
            interval_ms: Some(30_000),
            timeout_ms: Some(10_000),
            start_period_ms: Some(40_000),
            retries: Some(3),
        })),
        stop_signal: None,
        init: false,
        sysctls: vec![],
        writes: vec![because("/app/logs/".into()), because("/tmp/".into())],
        executes_from: vec![],
        makes_code: false,
        notes: vec![],
    }
}

/// Needs and the policy of their calls: some plain ones, one limited by its arguments.
pub(crate) fn calls() -> (Requirements, SyscallPolicy) {
    let mut recording = samples::calls(&["read", "write", "openat", "execve", "newfstatat"]);
    samples::add(&mut recording, "x86_64", "socket", &[&[(0, 2), (1, 1)], &[(0, 1), (1, 1)]]);
    let needs = fold(&[("r.json".into(), recording)], false).unwrap();
    let options = syscalls::Options {
        mode: Mode::Safe,
        allow: [].into(),
        runtime: Runtime::Runc,
        no_new_privileges: true,
        portable: false,
    };
    let policy = syscalls::policy(&needs, &options).unwrap();
    (needs, policy)
}
