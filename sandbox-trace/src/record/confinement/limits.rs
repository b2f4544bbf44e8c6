//! The limits of a process's cgroups, of both versions: the smallest of a cgroup and those above it is in force.

#![expect(
    clippy::option_option,
    reason = "the outer one: nothing could be read; the inner one: there is no limit"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use crate::recording::Limits;

/// Limits that a kernel writes where there is none: version 1 writes the largest page-aligned number.
const NO_LIMIT: u64 = 1 << 62;

/// The limits, and those of which nothing could be read.
pub fn read(pid: u32) -> (Limits, BTreeSet<&'static str>) {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let cgroups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    let places = places(&mounts, &cgroups);
    let mut unread = BTreeSet::new();
    let mut out = Limits::default();
    let mut take = |name: &'static str, found: Option<Option<u64>>| {
        if found.is_none() {
            unread.insert(name);
        }
        found.flatten()
    };
    let v1 = |controller: &str, file: &str| {
        places.v1.get(controller).and_then(|at| smallest(at, |dir| number(dir, file)))
    };
    let v2 = |file: &str| places.v2.as_ref().and_then(|at| smallest(at, |dir| number(dir, file)));
    out.memory_bytes = take("memory", v1("memory", "memory.limit_in_bytes").or_else(|| v2("memory.max")));
    out.pids = take("pids", v1("pids", "pids.max").or_else(|| v2("pids.max")));
    let quota = places.v1.get("cpu").and_then(|at| smallest(at, quota_v1));
    let quota = quota.or_else(|| places.v2.as_ref().and_then(|at| smallest(at, quota_v2)));
    out.cpu_millis = take("cpu", quota);
    // Version 1 counts memory and swap together, version 2 swap alone.
    let together = v1("memory", "memory.memsw.limit_in_bytes");
    let alone = || v2("memory.swap.max").map(|swap| Some(out.memory_bytes?.saturating_add(swap?)));
    out.memory_swap_bytes = take("swap", together.or_else(alone));
    (out, unread)
}

/// A cgroup's directory, and the root of its hierarchy.
type Place = (PathBuf, PathBuf);

#[derive(Debug, Default, PartialEq, Eq)]
struct Places {
    v2: Option<Place>,
    v1: BTreeMap<String, Place>,
}

fn places(mounts: &str, cgroups: &str) -> Places {
    let mut out = Places::default();
    let of = |controller: &str| {
        cgroups.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            let (list, path) = (fields.next()?, fields.next()?);
            list.split(',').any(|own| own == controller).then(|| path.trim_start_matches('/').to_owned())
        })
    };
    for line in mounts.lines() {
        let mut words = line.split(' ').skip(1);
        let (Some(root), Some(kind), Some(options)) = (words.next(), words.next(), words.next()) else {
            continue;
        };
        let root = PathBuf::from(root);
        match kind {
            "cgroup2" if out.v2.is_none() => out.v2 = of("").map(|path| (root.join(path), root)),
            "cgroup" => {
                for controller in options.split(',').filter(|o| matches!(*o, "memory" | "pids" | "cpu")) {
                    if let Some(path) = of(controller) {
                        out.v1
                            .entry(controller.to_owned())
                            .or_insert_with(|| (root.join(path), root.clone()));
                    }
                }
            }
            _ => {}
        }
    }
    out
}

/// The smallest limit of a cgroup and those above it. The outer `None`: nothing could be read.
fn smallest((directory, root): &Place, read: impl Fn(&Path) -> Option<Option<u64>>) -> Option<Option<u64>> {
    let mut out: Option<Option<u64>> = None;
    for at in directory.ancestors().take_while(|at| at.starts_with(root)) {
        if let Some(limit) = read(at) {
            out = Some(match (out.flatten(), limit) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            });
        }
    }
    out
}

fn number(directory: &Path, file: &str) -> Option<Option<u64>> {
    let text = fs::read_to_string(directory.join(file)).ok()?;
    Some(text.trim().parse().ok().filter(|limit| *limit < NO_LIMIT))
}

/// Thousandths of a CPU.
fn millis(quota: Option<u64>, period: u64) -> Option<u64> {
    quota?.checked_mul(1000)?.checked_div(period)
}

fn quota_v1(directory: &Path) -> Option<Option<u64>> {
    let quota = number(directory, "cpu.cfs_quota_us")?;
    Some(millis(quota, number(directory, "cpu.cfs_period_us")??))
}

fn quota_v2(directory: &Path) -> Option<Option<u64>> {
    let text = fs::read_to_string(directory.join("cpu.max")).ok()?;
    let (quota, period) = text.trim().split_once(' ')?;
    Some(millis(quota.parse().ok(), period.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_are_found_and_the_smallest_limit_holds() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().display();
        let mounts = format!(
            "cgroup2 {root}/two cgroup2 rw 0 0\ncgroup {root}/mem cgroup rw,memory 0 0\ncgroup {root}/c cgroup rw,cpu,cpuacct 0 0\n"
        );
        let found = places(&mounts, "5:cpu,cpuacct:/d/x\n4:memory:/d/x\n0::/d/x\n");
        assert_eq!(found.v2.as_ref().unwrap().0, dir.path().join("two/d/x"));
        assert_eq!(found.v1["cpu"].0, dir.path().join("c/d/x"));
        fs::create_dir_all(dir.path().join("two/d/x")).unwrap();
        for (file, text) in
            [("d/pids.max", "10\n"), ("d/x/pids.max", "max\n"), ("d/x/cpu.max", "50000 100000\n")]
        {
            fs::write(dir.path().join("two").join(file), text).unwrap();
        }
        let at = found.v2.unwrap();
        assert_eq!(smallest(&at, |dir| number(dir, "pids.max")), Some(Some(10)));
        assert_eq!(smallest(&at, quota_v2), Some(Some(500)));
        assert_eq!(smallest(&at, |dir| number(dir, "memory.max")), None);
        fs::write(dir.path().join("two/d/pids.max"), "9223372036854771712").unwrap();
        assert_eq!(smallest(&at, |dir| number(dir, "pids.max")), Some(None));
    }
}
