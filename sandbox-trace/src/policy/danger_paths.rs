//! Paths that are never given silently: ways out of a container, or into its host, that are files.

use crate::recording::Access;

/// A dangerous access to a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DangerousPath {
    /// What `--allow` names it by, beside the path itself.
    pub name: &'static str,
    /// What it is dangerous for.
    pub reason: &'static str,
}

/// Which accesses of an entry are dangerous.
#[derive(Debug, Clone, Copy)]
enum On {
    Any,
    Write,
}

/// The first match counts. A name that ends in `*` stands for all that begins so, `PID` for a process id, and
/// one that ends in `/**` for all below it. An entry without a reason is what a later one excepts.
const PATHS: &[(&str, On, &str)] = &[
    ("/run/docker.sock", On::Any, "controls the container engine: root on the host"),
    ("/var/run/docker.sock", On::Any, "controls the container engine: root on the host"),
    ("/run/containerd/containerd.sock", On::Any, "controls the container engine: root on the host"),
    ("/var/run/containerd/containerd.sock", On::Any, "controls the container engine: root on the host"),
    ("/run/podman/podman.sock", On::Any, "controls the container engine"),
    ("/run/crio/crio.sock", On::Any, "controls the container engine: root on the host"),
    ("/var/run/crio/crio.sock", On::Any, "controls the container engine: root on the host"),
    ("/proc/sysrq-trigger", On::Any, "commands the kernel: restarts, crashes, kills"),
    ("/proc/kcore", On::Any, "reads the machine's memory"),
    ("/dev/mem", On::Any, "reads and writes the machine's memory"),
    ("/dev/kmem", On::Any, "reads and writes the kernel's memory"),
    ("/dev/port", On::Any, "reads and writes I/O ports"),
    ("/dev/sd*", On::Any, "reads and writes a disk past every file system"),
    ("/dev/nvme*", On::Any, "reads and writes a disk past every file system"),
    ("/dev/vd*", On::Any, "reads and writes a disk past every file system"),
    ("/dev/xvd*", On::Any, "reads and writes a disk past every file system"),
    ("/dev/dm-*", On::Any, "reads and writes a disk past every file system"),
    ("/proc/PID/mem", On::Any, "reads and writes a process's memory"),
    ("/proc/sys/**", On::Write, "changes the kernel's settings"),
    ("/sys/fs/cgroup/**", On::Write, ""),
    ("/sys/**", On::Write, "changes devices and the kernel"),
];

/// Whether this access to this path is dangerous.
pub fn of(path: &[u8], access: Access) -> Option<DangerousPath> {
    if is_release_agent(path) && access.intersects(Access::CHANGE) {
        return Some(DangerousPath {
            name: "/sys/fs/cgroup/release_agent",
            reason: "names a program that the host runs as root",
        });
    }
    PATHS
        .iter()
        .find(|(name, _, _)| matches(name, path))
        .filter(|(_, on, reason)| {
            !reason.is_empty()
                && match on {
                    On::Any => !access.is_empty(),
                    On::Write => access.intersects(Access::CHANGE),
                }
        })
        .map(|(name, _, reason)| DangerousPath { name, reason })
}

/// A path for each entry, to ask of what is written with wildcards.
pub fn examples() -> Vec<Vec<u8>> {
    let entries = PATHS.iter().filter(|(_, _, reason)| !reason.is_empty()).map(|(name, _, _)| {
        name.replace("PID", "1").replace("/**", "/kernel/x").replace("sd*", "sda").replace('*', "0")
    });
    entries.chain(["/sys/fs/cgroup/memory/release_agent".to_owned()]).map(String::into_bytes).collect()
}

/// Cgroup v1 has one in every hierarchy's root.
fn is_release_agent(path: &[u8]) -> bool {
    path.starts_with(b"/sys/fs/cgroup/") && path.ends_with(b"/release_agent")
}

fn matches(name: &str, path: &[u8]) -> bool {
    if let Some(folder) = name.strip_suffix("**") {
        return path.starts_with(folder.as_bytes());
    }
    if let Some(start) = name.strip_suffix('*') {
        return path
            .strip_prefix(start.as_bytes())
            .is_some_and(|rest| !rest.is_empty() && !rest.contains(&b'/'));
    }
    match name.split_once("PID") {
        Some((before, after)) => path
            .strip_prefix(before.as_bytes())
            .and_then(|rest| rest.strip_suffix(after.as_bytes()))
            // A thread's file is its process's file: /proc/PID/task/TID/mem.
            .is_some_and(|id| {
                let parts: Vec<&[u8]> = id.split(|byte| *byte == b'/').collect();
                match parts.as_slice() {
                    [pid] => is_number(pid),
                    [pid, b"task", tid] => is_number(pid) && is_number(tid),
                    _ => false,
                }
            }),
        None => name.as_bytes() == path,
    }
}

fn is_number(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(u8::is_ascii_digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(path: &str, access: &str) -> Option<&'static str> {
        of(path.as_bytes(), access.parse().unwrap()).map(|danger| danger.name)
    }

    #[test]
    fn every_example_is_dangerous() {
        for example in examples() {
            assert!(of(&example, Access::CHANGE).is_some(), "{}", String::from_utf8_lossy(&example));
        }
    }

    #[test]
    fn dangerous_accesses_are_found_and_ordinary_ones_are_not() {
        assert_eq!(name("/run/docker.sock", "w"), Some("/run/docker.sock"));
        assert_eq!(name("/dev/sda1", "r"), Some("/dev/sd*"));
        assert_eq!(name("/dev/nvme0n1p1", "r"), Some("/dev/nvme*"));
        assert_eq!(name("/proc/412/mem", "r"), Some("/proc/PID/mem"));
        assert_eq!(name("/proc/412/task/413/mem", "w"), Some("/proc/PID/mem"));
        assert_eq!(name("/proc/sys/kernel/core_pattern", "w"), Some("/proc/sys/**"));
        assert_eq!(name("/proc/sys/kernel/core_pattern", "r"), None);
        assert_eq!(name("/sys/class/net/eth0/mtu", "w"), Some("/sys/**"));
        assert_eq!(name("/sys/class/net/eth0/mtu", "r"), None);
        assert_eq!(name("/sys/fs/cgroup/memory.max", "w"), None);
        assert_eq!(name("/sys/fs/cgroup/rdma/release_agent", "w"), Some("/sys/fs/cgroup/release_agent"));
        for path in
            ["/dev/null", "/dev/sd", "/dev/sd/x", "/proc/412/status", "/proc/meminfo", "/home/dev/mem"]
        {
            assert_eq!(name(path, "rw"), None, "{path}");
        }
    }
}
