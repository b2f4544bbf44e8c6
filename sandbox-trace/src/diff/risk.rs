//! How bad a new privilege can be, from the tables of dangerous things.

use super::{Risk, seccomp::cube::Cube};
use crate::{
    apparmor::glob::{Glob, Variables},
    policy::{
        arguments::namespace_flags,
        danger::{self, Is},
        danger_paths,
        generalize::{RUNS, WRITES},
    },
    recording::Access,
};

/// Calls of the table that are a way to the host by themselves.
const CRITICAL_CALLS: &[&str] = &[
    "bpf",
    "create_module",
    "finit_module",
    "init_module",
    "ioperm",
    "iopl",
    "kexec_file_load",
    "kexec_load",
    "mount",
    "open_by_handle_at",
    "pivot_root",
    "ptrace",
    "reboot",
    "setns",
];

/// Capabilities that are a way to the host by themselves.
const CRITICAL_CAPABILITIES: &[&str] = &[
    "bpf",
    "dac_read_search",
    "mac_admin",
    "mac_override",
    "sys_admin",
    "sys_module",
    "sys_ptrace",
    "sys_rawio",
];

/// A system call, whatever its arguments are.
pub fn call(name: &str) -> (Risk, String) {
    match danger::reason(danger::SYSCALLS, name) {
        Some(why) if CRITICAL_CALLS.contains(&name) => (Risk::Critical, why.into()),
        Some(why) => (Risk::High, why.into()),
        None => (Risk::Low, "not in the table of dangerous calls".into()),
    }
}

/// The dangerous values of arguments of `name`, each with what it stands for: name, reason, the arguments.
pub fn values(name: &str) -> Vec<(&'static str, String, Vec<Cube>)> {
    const LOW: u64 = 0xffff_ffff;
    let bits = |index: u8, bits: u64| -> Vec<Cube> {
        (0..64)
            .map(|at| 1_u64 << at)
            .filter(|bit| bits & bit != 0)
            .map(|bit| Cube::of(index, bit, bit))
            .collect()
    };
    let mut out = Vec::new();
    let namespaces = (0..64).map(|at| 1_u64 << at).filter(|bit| namespace_flags(name, *bit) != 0);
    let flags = namespaces.fold(0, |all, bit| all | bit);
    // Of clone3 the flags are in memory: no filter sees them.
    if flags != 0 && name == "clone" {
        out.push((
            danger::NAMESPACES,
            "makes new namespaces, and with a user namespace new capabilities".into(),
            bits(0, flags),
        ));
    }
    for value in danger::VALUES.iter().filter(|value| value.call == name) {
        let cubes = match value.is {
            Is::Exactly(exact) => vec![Cube::of(value.index, LOW, exact.into())],
            Is::Flag(flags) => bits(value.index, flags.into()),
        };
        out.push((value.name, value.reason.to_owned(), cubes));
    }
    out
}

/// Arguments of a call that are not dangerous by value.
pub fn arguments(name: &str) -> (Risk, String) {
    match danger::reason(danger::SYSCALLS, name) {
        Some(_) => call(name),
        None => (Risk::Low, "more arguments of a call that was there".into()),
    }
}

/// An access to paths.
pub fn path(path: &Glob, access: Access) -> (Risk, String) {
    let none = Variables::new();
    let danger = match path.literal() {
        Some(literal) => danger_paths::of(literal, access),
        None => danger_paths::examples()
            .into_iter()
            .filter(|example| path.matches(example, &none))
            .find_map(|example| danger_paths::of(&example, access)),
    };
    if let Some(danger) = danger {
        let critical = ["root", "memory", "past every", "commands the kernel", "container engine"];
        let risk = if critical.iter().any(|word| danger.reason.contains(word)) {
            Risk::Critical
        } else {
            Risk::High
        };
        return (risk, format!("{}: {}", danger.name, danger.reason));
    }
    let text = path.text();
    let wide = path.literal().is_none();
    let key = [
        "secret",
        "passwd",
        "shadow",
        "token",
        "credential",
        ".ssh/",
        "id_rsa",
        "id_ed25519",
        ".pem",
        ".aws/",
        ".kube/",
    ];
    if access.contains(Access::EXEC) {
        (if wide { Risk::High } else { Risk::Medium }, "runs a program".into())
    } else if key.iter().any(|part| text.contains(part)) {
        (Risk::Medium, "its name is one that keys and credentials have".into())
    } else if access.intersects(RUNS) {
        (Risk::Low, "maps code".into())
    } else if access.intersects(WRITES) {
        let system =
            ["/etc/", "/usr/", "/bin/", "/sbin/", "/lib", "/boot/", "/proc/", "/sys/", "/root/", "@{PROC}"];
        if system.iter().any(|start| text.starts_with(start)) {
            (Risk::Medium, "changes what the system and other programs use".into())
        } else if text.contains("**") {
            (Risk::Medium, "changes everything below a folder".into())
        } else {
            (Risk::Low, "changes files".into())
        }
    } else if text == "/**" || text == "**" || text == "/*" {
        (Risk::High, "reads everything".into())
    } else {
        (Risk::Low, "reads files".into())
    }
}

/// Sockets; what is not named is any.
pub fn socket(family: Option<&str>, kind: Option<&str>) -> (Risk, String) {
    let Some(family) = family else { return (Risk::High, "sockets of every family".into()) };
    let name = format!("socket:AF_{}", family.to_ascii_uppercase());
    if let Some(value) = danger::VALUES.iter().find(|value| value.name == name) {
        return (Risk::High, value.reason.into());
    }
    match (family, kind) {
        ("unix", _) => (Risk::Low, "talks to processes on this machine".into()),
        ("netlink", _) => (Risk::Low, "asks the kernel for its settings".into()),
        ("inet" | "inet6", Some("raw")) => (Risk::Medium, "makes packets of its own".into()),
        ("inet" | "inet6", _) => (Risk::Medium, "reaches the network".into()),
        _ => (Risk::Medium, "a family that few programs need".into()),
    }
}

/// A capability by name, or all.
pub fn capability(name: Option<&str>) -> (Risk, String) {
    let Some(name) = name else { return (Risk::Critical, "every capability".into()) };
    match danger::reason(danger::CAPABILITIES, name) {
        Some(why) if CRITICAL_CAPABILITIES.contains(&name) => (Risk::Critical, why.into()),
        Some(why) => (Risk::High, why.into()),
        None => (Risk::Medium, "a part of root's power".into()),
    }
}

/// A rule of `AppArmor`'s that is known by its first word.
pub fn class(name: &str) -> (Risk, String) {
    match name {
        "flags" => (Risk::Critical, "the profile does not deny any more".into()),
        "flag" => (Risk::Low, "changes which name a file is asked for by".into()),
        "all" => (Risk::Critical, "everything".into()),
        "file" => (Risk::Critical, "every file".into()),
        "mount" | "remount" | "umount" | "pivot_root" => {
            (Risk::Critical, "changes the file system tree".into())
        }
        "change_profile" | "change_hat" => (Risk::High, "leaves this profile for another".into()),
        "userns" => (Risk::High, "makes user namespaces, and in them new capabilities".into()),
        "io_uring" => (Risk::High, "does file and network operations past system call filters".into()),
        "include" => (Risk::Medium, "what the included file gives is not looked at".into()),
        _ => (Risk::Medium, "talks to other processes".into()),
    }
}
