//! Sandboxes that the emitters' tests print.

use super::{Because, Connect, Limits, Listen, Log, Network, Sandbox, Source, Tmpfs, User, Volume};
use crate::recording::{Healthcheck, Port};

fn because<T>(value: T, why: &str) -> Because<T> {
    Because { value, why: why.to_owned() }
}

/// An agent like the guide's: configuration and skills to read, logs to write, a health endpoint on loopback.
pub(crate) fn agent() -> Sandbox {
    let host = |target: &str, source: &str, writable: bool, why: &str| {
        let source = Source::Host(source.into());
        because(Volume { target: target.into(), source, writable, exec: false }, why)
    };
    let memory = |path: &str, mib: u64, mode: u32, why: &str| {
        because(Tmpfs { path: path.into(), bytes: mib << 20, exec: false, mode, owner: None }, why)
    };
    Sandbox {
        name: "clawdbot-production".to_owned(),
        image: Some(because(
            format!("anthropic/clawdbot@sha256:{}", "0123456789abcdef".repeat(4)),
            "recorded with it, by digest",
        )),
        entrypoint: None,
        command: None,
        working_dir: None,
        environment: vec!["OPENCLAW_TOKEN".to_owned()],
        user: because(
            User {
                spec: Some("1000:1000".to_owned()),
                root: false,
                ids: Some((1000, 1000)),
                blockers: Vec::new(),
            },
            "every process ran as 1000:1000",
        ),
        groups: Vec::new(),
        capabilities: vec![because("NET_BIND_SERVICE".to_owned(), "/usr/bin/python3.11, 2 times")],
        read_only: because(true, "every place that was written to is a tmpfs or a volume"),
        tmpfs: vec![
            memory("/tmp", 100, 0o1777, "peak 41 MiB, and as much again; nothing was executed there"),
            memory("/var/run", 10, 0o755, "a PID file"),
        ],
        volumes: vec![
            host("/app/config", "/home/user/.openclaw/config", false, "read alone, 12 files"),
            host("/app/logs", "/home/user/.openclaw/logs", true, "written: agent.log and 3 others"),
            host("/app/skills", "/home/user/.openclaw/skills", false, "read alone, 40 files"),
        ],
        devices: Vec::new(),
        network: because(Network::Bridge(None), "it is asked at a published port"),
        ports: vec![because(
            Port {
                container: 18789,
                protocol: "tcp".to_owned(),
                host_ip: Some("127.0.0.1".to_owned()),
                host: Some(18789),
            },
            "it listens there; published on loopback alone",
        )],
        listens: vec![because(Listen { port: 18789, protocol: "tcp" }, "/usr/bin/python3.11")],
        connects: Vec::new(),
        families: vec![because("AF_UNIX".to_owned(), "1 time"), because("AF_INET".to_owned(), "9 times")],
        limits: Limits {
            memory_bytes: Some(because(2 << 30, "peak 1.0 GiB, and 100 % headroom")),
            cpu_millis: Some(because(2000, "peak 1.0 CPUs, and 100 % headroom")),
            pids: Some(because(100, "peak 50 tasks, and 100 % headroom")),
            shm_bytes: None,
        },
        log: because(
            Log {
                driver: "json-file".to_owned(),
                options: vec![
                    ("max-file".to_owned(), "3".to_owned()),
                    ("max-size".to_owned(), "10m".to_owned()),
                ],
            },
            "logs can't fill the disk",
        ),
        restart: because("unless-stopped".to_owned(), "as it was configured"),
        healthcheck: Some(because(
            Healthcheck {
                test: ["CMD", "curl", "-f", "http://localhost:18789/health"].map(str::to_owned).to_vec(),
                interval_ms: Some(30_000),
                timeout_ms: Some(10_000),
                start_period_ms: Some(40_000),
                retries: Some(3),
            },
            "as it was configured",
        )),
        stop_signal: None,
        init: false,
        sysctls: Vec::new(),
        writes: vec![because("/app/logs/".into(), "4 files"), because("/tmp/".into(), "9 files")],
        executes_from: Vec::new(),
        makes_code: false,
        notes: vec!["one recording: a second run shows what varies".to_owned()],
    }
}

/// A batch job without a network: a named volume, and a tmpfs in which it executes what it builds.
pub(crate) fn batch() -> Sandbox {
    let tmpfs = Tmpfs {
        path: "/build".into(),
        bytes: 256 << 20,
        exec: true,
        mode: 0o700,
        owner: Some((65534, 65534)),
    };
    let volume = |target: &str, source, writable| {
        because(Volume { target: target.into(), source, writable, exec: false }, "checkpoints")
    };
    Sandbox {
        name: "train".to_owned(),
        image: Some(because(
            "registry.example:5000/train:1.2".to_owned(),
            "a local image, which has no digest",
        )),
        entrypoint: Some(because(vec!["/usr/bin/env".to_owned(), "-i".to_owned()], "as it was configured")),
        command: Some(because(
            ["sh", "-c", "cd /build &&\n\tmake \"$TARGET\" '*'"].map(str::to_owned).to_vec(),
            "as it was configured",
        )),
        working_dir: Some(because("/build".to_owned(), "as it was configured")),
        environment: Vec::new(),
        user: because(
            User { spec: None, root: true, ids: Some((0, 0)), blockers: vec!["CHOWN was used".to_owned()] },
            "left to the image",
        ),
        groups: vec!["video".to_owned()],
        capabilities: Vec::new(),
        tmpfs: vec![because(tmpfs, "peak 120 MiB; /build/a.out was executed there")],
        volumes: vec![
            volume("/data", Source::Anonymous, false),
            volume("/out", Source::Named("checkpoints".to_owned()), true),
        ],
        devices: vec![because("/dev/kvm:/dev/kvm:rw".to_owned(), "opened by /usr/bin/make")],
        network: because(Network::None, "nothing but loopback was used"),
        ports: Vec::new(),
        listens: Vec::new(),
        limits: Limits { shm_bytes: Some(because(1 << 30, "as it was configured")), ..Limits::default() },
        restart: because("no".to_owned(), "it ended by itself"),
        healthcheck: None,
        stop_signal: Some("SIGINT".to_owned()),
        init: true,
        sysctls: vec![("net.ipv4.ip_unprivileged_port_start".to_owned(), "0".to_owned())],
        makes_code: true,
        notes: Vec::new(),
        ..agent()
    }
}

/// Whatever a hostile container may be called and do, as far as an engine lets it.
pub(crate) fn hostile() -> Sandbox {
    let evil = "$(touch /tmp/pwned) `id` ${HOME} \"; ' # \\ , : {{x}} *";
    let volume = |target: &str| {
        let source = Source::Host(format!("/srv/{evil}").as_str().into());
        let target = target.into();
        because(Volume { target, source, writable: true, exec: false }, "x\n  privileged: true\r\u{1b}[2J")
    };
    let mut notes = vec![format!("{evil}\nprivileged: true")];
    notes.push("a".repeat(300));
    Sandbox {
        name: "hostile".to_owned(),
        command: Some(because(
            [
                "--privileged",
                evil,
                "",
                "a\n\u{1b}]0;x\u{7}b",
                "- x",
                "y: z",
                "\u{202e}r",
                "é",
                "true",
                "0x1f",
                "~",
                "null",
            ]
            .map(str::to_owned)
            .to_vec(),
            "$(id)\n`id`",
        )),
        environment: vec!["A".to_owned(), "B-$(id)".to_owned()],
        volumes: vec![volume(&format!("/mnt/{evil}")), volume("/mnt/b")],
        connects: ["192.0.2.7", "2001:db8::1"]
            .iter()
            .filter_map(|text| text.parse().ok())
            .map(|address| because(Connect { address, port: 443, protocol: "tcp" }, "once"))
            .collect(),
        notes,
        ..agent()
    }
}
