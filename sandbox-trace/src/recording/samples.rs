//! Small recordings for tests.

use std::collections::BTreeMap;

use super::{
    ArgTuple, BytePath, Executable, FileAccess, Host, NetworkUse, Recording, Refusal, SCHEMA, Syscall, Target,
};

/// A path that was opened once by the first executable; of whose file, is not known.
pub(crate) fn file(path: impl Into<BytePath>, access: &str) -> FileAccess {
    FileAccess {
        path: path.into(),
        access: access.parse().unwrap(),
        link_target: None,
        owner: None,
        operations: vec!["open".into()],
        error: None,
        refused_by: None,
        count: 1,
        first_ms: 1,
        last_ms: 1,
        by: vec![0],
        runs: None,
        accesses: BTreeMap::new(),
    }
}

/// What the first executable did once with a TCP socket over IPv4.
pub(crate) fn socket(operation: &str, address: Option<BytePath>) -> NetworkUse {
    NetworkUse {
        operation: operation.into(),
        family: "inet".into(),
        family_nr: 2,
        socket_type: "stream".into(),
        type_nr: 1,
        protocol: 6,
        address,
        error: None,
        refused_by: None,
        count: 1,
        first_ms: 1,
        last_ms: 1,
        by: vec![0],
        runs: None,
    }
}

/// A complete recording by `/usr/bin/app` of these x86-64 calls, without arguments. `syscall_N` is number N.
pub(crate) fn calls(names: &[&str]) -> Recording {
    let mut recording = Recording {
        schema: SCHEMA.into(),
        tool: "test".into(),
        complete: true,
        losses: [("ring_full".to_owned(), 0)].into(),
        warnings: vec![],
        started: "2025-01-01T00:00:00Z".into(),
        duration_ms: 1000,
        runs: vec![],
        host: Host {
            observed: crate::requirements::KINDS.map(String::from).to_vec(),
            arch: "x86_64".into(),
            ..Host::default()
        },
        target: Target::default(),
        executables: vec![Executable {
            path: "/usr/bin/app".into(),
            executed: true,
            ..Executable::default()
        }],
        syscalls: vec![],
        files: vec![],
        network: vec![],
        capabilities: vec![],
        credentials: vec![],
        saturation: vec![],
        resources: super::Resources::default(),
        failed: super::Failed::default(),
    };
    for name in names {
        add(&mut recording, "x86_64", name, &[]);
    }
    recording
}

/// Adds a call that succeeded, with these argument tuples.
pub(crate) fn add(recording: &mut Recording, arch: &str, name: &str, tuples: &[&[(u8, u64)]]) {
    recording.syscalls.push(Syscall {
        arch: arch.into(),
        nr: number(arch, name),
        name: name.into(),
        count: 3,
        args: tuples
            .iter()
            .map(|tuple| ArgTuple {
                values: tuple.iter().copied().collect(),
                count: 3,
                first_ms: 10,
                last_ms: 20,
                by: vec![0],
                runs: None,
                refused: false,
            })
            .collect(),
        errors: vec![],
        succeeded: true,
        refused: None,
        first_ms: 10,
        last_ms: 20,
        by: vec![0],
        runs: None,
    });
    recording.normalize();
}

/// Marks a call as refused with `EPERM` in all its uses.
pub(crate) fn refuse(recording: &mut Recording, name: &str) {
    for call in recording.syscalls.iter_mut().filter(|call| call.name == name) {
        (call.succeeded, call.errors) = (false, vec!["EPERM".into()]);
        call.refused = Some(Refusal { by: "seccomp".into(), answers: vec!["EPERM".into()], always: true });
        call.args.iter_mut().for_each(|tuple| tuple.refused = true);
    }
}

fn number(arch: &str, name: &str) -> u32 {
    if let Some(nr) = name.strip_prefix("syscall_") {
        return nr.parse().unwrap();
    }
    let nr = match arch {
        "i386" => name.parse::<syscalls::x86::Sysno>().unwrap() as i32,
        _ => name.parse::<syscalls::x86_64::Sysno>().unwrap() as i32,
    };
    u32::try_from(nr).unwrap()
}
