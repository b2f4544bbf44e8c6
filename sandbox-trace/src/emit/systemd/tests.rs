use super::*;
use crate::{
    emit::testing::{because, calls, sandbox},
    policy::sandbox::{Network, User},
    recording::{BytePath, NetworkUse},
    requirements::Evidence,
};

fn make(sandbox: &Sandbox, files: &[(&str, Access)], seen: &[&str]) -> DropIn {
    let (mut needs, syscalls) = calls();
    for (path, access) in files {
        needs.files.insert(path.as_bytes(), None, *access, None, &Evidence::default());
    }
    for name in seen {
        needs.syscalls.entry(("x86_64".into(), (*name).into())).or_default();
    }
    let profile = "agent".parse().unwrap();
    drop_in(&Parts { needs: &needs, sandbox, syscalls: &syscalls, apparmor: Some(&profile) })
}

/// A service that does nothing but compute.
fn quiet() -> Sandbox {
    let mut sandbox = sandbox();
    sandbox.capabilities.clear();
    sandbox.listens.clear();
    sandbox.connects.clear();
    sandbox.families.clear();
    sandbox.writes.clear();
    sandbox.network = because(Network::None);
    sandbox
}

#[test]
fn the_whole_file() {
    let text = make(&sandbox(), &[], &[]).text().replace(env!("CARGO_PKG_VERSION"), "VERSION");
    insta::assert_snapshot!(text);
}

#[test]
fn a_quiet_service_gets_every_wall() {
    let text = make(&quiet(), &[], &[]).text();
    for line in [
        "CapabilityBoundingSet=",
        "PrivateUsers=yes",
        "RestrictAddressFamilies=none",
        "PrivateNetwork=yes",
        "ProtectSystem=strict",
        "PrivateTmp=yes",
        "ProtectHome=yes",
        "PrivateDevices=yes",
        "ProtectProc=invisible",
        "ProcSubset=pid",
        "ProtectKernelTunables=yes",
        "RestrictNamespaces=yes",
        "RestrictSUIDSGID=yes",
        "MemoryDenyWriteExecute=yes",
        "LimitCORE=0",
    ] {
        assert!(text.lines().any(|one| one == line), "{line}\n{text}");
    }
}

#[test]
fn what_was_used_is_not_taken_away() {
    let read = Access::READ;
    let cases: &[(&str, Access, &str)] = &[
        ("/proc/meminfo", read, "ProcSubset=pid"),
        ("/proc/12/mounts", read, "ProcSubset=pid"),
        ("/proc/1/stat", read, "ProtectProc=invisible"),
        ("/proc/", read, "ProtectProc=invisible"),
        ("/dev/fuse", read, "PrivateDevices=yes"),
        ("/dev/zero", Access::MAP_EXEC, "PrivateDevices=yes"),
        ("/dev/kmsg", read, "ProtectKernelLogs=yes"),
        ("/proc/sys/vm/x", Access::WRITE, "ProtectKernelTunables=yes"),
        ("/usr/lib/modules/x.ko", read, "ProtectKernelModules=yes"),
        ("/sys/fs/cgroup/x/y", Access::CREATE, "ProtectControlGroups=yes"),
        ("/tmp/of-others", read, "PrivateTmp=yes"),
        ("/home/x/y", read, "ProtectHome=yes"),
        ("/var/core.1", Access::CREATE, "LimitCORE=0"),
    ];
    for (path, access, line) in cases {
        let text = make(&quiet(), &[(path, *access)], &[]).text();
        assert!(!text.lines().any(|one| one == *line), "{path}: {text}");
    }
    for (call, line) in [
        ("unshare", "RestrictNamespaces=yes"),
        ("sched_setattr", "RestrictRealtime=yes"),
        ("personality", "LockPersonality=yes"),
        ("fchmod", "RestrictSUIDSGID=yes"),
        ("clock_settime", "ProtectClock=yes"),
        ("sethostname", "ProtectHostname=yes"),
        ("shmget", "PrivateIPC=yes"),
        ("keyctl", "KeyringMode=private"),
        ("syslog", "ProtectKernelLogs=yes"),
    ] {
        let text = make(&quiet(), &[], &[call]).text();
        assert!(!text.lines().any(|one| one == line), "{call}: {text}");
    }
    let mut jit = quiet();
    jit.makes_code = true;
    assert!(!make(&jit, &[], &[]).text().contains("\nMemoryDenyWriteExecute="));
}

#[test]
fn a_service_that_is_called_is_reached_and_peers_at_home_are_named() {
    let text = make(&sandbox(), &[], &[]).text();
    assert!(!text.contains("\nPrivateNetwork") && !text.contains("\nIPAddressDeny"), "{text}");
    let mut asks = sandbox();
    asks.listens.clear();
    asks.connects[0].value.address = [10, 1, 2, 3].into();
    let text = make(&asks, &[], &[]).text();
    assert!(
        text.contains("\nIPAddressDeny=any\n") && text.contains("\nIPAddressAllow=localhost 10.1.2.3\n"),
        "{text}"
    );
    // The internet's addresses change.
    asks.connects[0].value.address = [192, 0, 2, 7].into();
    assert!(!make(&asks, &[], &[]).text().contains("\nIPAddressDeny"));
}

#[test]
fn an_abstract_socket_of_the_host_keeps_the_host_s_network() {
    let (mut needs, syscalls) = calls();
    let sandbox = quiet();
    let socket = |operation: &str| NetworkUse {
        operation: operation.into(),
        family: "unix".into(),
        family_nr: 1,
        socket_type: "stream".into(),
        type_nr: 1,
        protocol: 0,
        address: Some("unix:@bus".into()),
        error: None,
        refused_by: None,
        count: 1,
        first_ms: 0,
        last_ms: 0,
        by: vec![],
        runs: None,
    };
    let mut text = |uses: Vec<NetworkUse>| {
        needs.runs[0].network = uses;
        drop_in(&Parts { needs: &needs, sandbox: &sandbox, syscalls: &syscalls, apparmor: None }).text()
    };
    assert!(!text(vec![socket("connect")]).contains("\nPrivateNetwork"));
    assert!(text(vec![socket("bind"), socket("connect")]).contains("\nPrivateNetwork=yes"));
}

#[test]
fn places_are_named_where_they_can_be() {
    let mut sandbox = quiet();
    let place = |path: &[u8]| because(BytePath::from(path));
    sandbox.writes = [
        &b"/run/agent/x/"[..],
        b"/srv/a b%/",
        b"/srv/a b%/below/",
        b"/tmp/own/",
        b"/var/log/agent/",
        b"/x\xff/",
    ]
    .map(place)
    .to_vec();
    sandbox.executes_from = vec!["/srv/a b%/bin/".into()];
    let out = make(&sandbox, &[], &[]);
    let text = out.text();
    let set: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    for line in [
        "RuntimeDirectory=agent",
        "ReadWritePaths=\"/srv/a b%%\"",
        "ReadWritePaths=/var/log/agent",
        "NoExecPaths=-/tmp -/var/tmp -/dev/shm /var/log/agent",
    ] {
        assert!(set.contains(&line), "{line}\n{text}");
    }
    assert!(!set.iter().any(|line| line.contains("below") || line.contains("own")), "{text}");
    assert_eq!(out.gaps.len(), 1);
    assert!(out.gaps[0].contains(r"/x\xff/"), "{:?}", out.gaps);
}

#[test]
fn nothing_recorded_makes_a_line_of_its_own() {
    let mut sandbox = quiet();
    let evil = "/a\nExecStartPre=/bin/sh\\";
    sandbox.writes = vec![because(evil.into())];
    sandbox.user.why = evil.into();
    sandbox.families = vec![because("AF_UNIX\nUser=root".into())];
    let out = make(&sandbox, &[(evil, ANY)], &[]);
    let text = out.text();
    assert!(!text.contains("\nExecStartPre") && !text.contains("\nUser=root"), "{text}");
    assert!(text.bytes().all(|byte| byte == b'\n' || (b' '..=b'~').contains(&byte)), "{text}");
}

#[test]
fn root_has_no_user_and_nothing_ambient() {
    let mut sandbox = sandbox();
    sandbox.user = because(User {
        spec: None,
        root: true,
        ids: Some((0, 0)),
        blockers: vec!["reads /etc/shadow".into()],
    });
    let text = make(&sandbox, &[], &[]).text();
    assert!(!text.contains("\nUser="), "{text}");
    assert!(text.contains("\nCapabilityBoundingSet=CAP_NET_BIND_SERVICE\nAmbientCapabilities=\n"), "{text}");
    assert!(text.contains("reads /etc/shadow"));
}
