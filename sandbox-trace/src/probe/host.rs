//! What checks must know of the host.

use std::{collections::BTreeSet, fs, net::Ipv4Addr};

/// The host, as far as checks depend on it.
#[derive(Debug, Clone, Default)]
pub struct Host {
    /// Memory that could be used at once, in bytes.
    pub memory_available: u64,
    /// Swap, in bytes.
    pub swap: u64,
    /// Protocols that are in the kernel now, as `/proc/net/protocols` names them.
    pub protocols: BTreeSet<String>,
    /// The device that the host's root file system is on, and which part of it.
    pub root: Option<(String, String)>,
}

impl Host {
    /// Reads it.
    pub fn read() -> Self {
        let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let of = |name: &str| {
            let value = memory.lines().find_map(|line| line.strip_prefix(name));
            let kib = value.and_then(|value| value.trim().trim_end_matches(" kB").trim().parse::<u64>().ok());
            kib.unwrap_or(0).saturating_mul(1024)
        };
        let protocols = fs::read_to_string("/proc/net/protocols").unwrap_or_default();
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let root = mounts.lines().rev().find_map(|line| {
            let mut fields = line.split(' ').skip(2);
            let (device, root, point) = (fields.next()?, fields.next()?, fields.next()?);
            (point == "/").then(|| (device.to_owned(), root.to_owned()))
        });
        Self {
            memory_available: of("MemAvailable:"),
            swap: of("SwapTotal:"),
            protocols: protocols
                .lines()
                .skip(1)
                .filter_map(|line| line.split_whitespace().next().map(str::to_owned))
                .collect(),
            root,
        }
    }
}

/// Whether an address is this machine's own.
pub fn is_own_address(address: Ipv4Addr) -> bool {
    fs::read_to_string("/proc/net/fib_trie").is_ok_and(|trie| is_local(&trie, address))
}

/// Whether the kernel's routing tables hold an address as a local one: its line, and what it is on the next.
fn is_local(trie: &str, address: Ipv4Addr) -> bool {
    let wanted = address.to_string();
    let lines = trie.lines().zip(trie.lines().skip(1));
    lines.into_iter().any(|(line, next)| {
        line.trim().strip_prefix("|-- ") == Some(wanted.as_str()) && next.trim() == "/32 host LOCAL"
    })
}

/// On how many CPUs a process may run, of how many.
pub fn cpus_of(pid: u32) -> (usize, usize) {
    let count = |pid: i32| {
        nix::sched::sched_getaffinity(nix::unistd::Pid::from_raw(pid)).map_or(0, |set| {
            (0..nix::sched::CpuSet::count()).filter(|cpu| set.is_set(*cpu).unwrap_or(false)).count()
        })
    };
    let online = fs::read_dir("/sys/devices/system/cpu").into_iter().flatten().flatten().filter(|entry| {
        let name = entry.file_name();
        name.to_str().and_then(|name| name.strip_prefix("cpu")).is_some_and(|n| n.parse::<u32>().is_ok())
    });
    (count(i32::try_from(pid).unwrap_or(0)), online.count())
}

/// Some processes that are not in these cgroups, the first one of the machine before all.
pub fn processes_outside(cgroups: &str) -> Vec<u32> {
    const MOST: usize = 64;
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut pids: Vec<u32> = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    pids.sort_unstable();
    let own = std::process::id();
    pids.retain(|pid| {
        *pid != own && fs::read_to_string(format!("/proc/{pid}/cgroup")).is_ok_and(|text| text != cgroups)
    });
    pids.truncate(MOST);
    pids
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_addresses_are_told_from_others() {
        let trie = "Local:\n  +-- 172.17.0.0/16 2 0 2\n     |-- 172.17.0.0\n        /16 link UNICAST\n     |-- 172.17.0.1\n        /32 host LOCAL\n";
        assert!(is_local(trie, Ipv4Addr::new(172, 17, 0, 1)));
        assert!(!is_local(trie, Ipv4Addr::new(172, 17, 0, 0)));
    }
}
