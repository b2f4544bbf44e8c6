//! Compares a child with the container's process, seen from the host: not what the child thinks of itself counts, but
//! what the kernel says of both.

use std::{fs, os::unix::fs::MetadataExt as _};

use nix::{errno::Errno, libc, unistd::Pid};

use super::{join::How, read::Plan};
use crate::record::{self, Status};

/// What is not the same. `host_pid` is the child's id on the host.
pub fn differences(plan: &Plan, host_pid: u32, how: How) -> Vec<String> {
    let mut out = Vec::new();
    match Status::read(host_pid) {
        Ok(status) => compare(&plan.status, &status, &mut out),
        Err(_) => return vec!["its status can't be read".into()],
    }
    let label = record::label_of(host_pid);
    if label != plan.label {
        let shown = |label: Option<_>| {
            label.map_or_else(|| "none".to_owned(), |l: crate::recording::BytePath| l.to_string())
        };
        out.push(format!("the label is {} and not {}", shown(label), shown(plan.label.clone())));
    }
    if fs::read_to_string(format!("/proc/{host_pid}/cgroup")).ok().as_ref() != Some(&plan.cgroups.text) {
        out.push("the cgroups are others".into());
    }
    for namespace in &plan.namespaces {
        let inode =
            fs::metadata(format!("/proc/{host_pid}/ns/{}", namespace.name)).ok().map(|data| data.ino());
        if inode != Some(namespace.inode) && !(namespace.name == "mnt" && how.private_mounts) {
            out.push(format!("the {} namespace is another", namespace.name));
        }
    }
    let root = fs::metadata(format!("/proc/{host_pid}/root/.")).ok().map(|data| (data.dev(), data.ino()));
    if root != Some(plan.root_inode) {
        out.push("the root directory is another".into());
    }
    out
}

fn compare(expected: &Status, found: &Status, out: &mut Vec<String>) {
    let mut same = |what: &str, is_same: bool| {
        if !is_same {
            out.push(format!("{what} differ"));
        }
    };
    same("the user ids", expected.uids == found.uids);
    same("the group ids", expected.gids == found.gids);
    same("the supplementary groups", expected.groups == found.groups);
    same("the inheritable capabilities", expected.inheritable == found.inheritable);
    same("the permitted capabilities", expected.permitted == found.permitted);
    same("the effective capabilities", expected.effective == found.effective);
    same("the bounding capabilities", expected.bounding == found.bounding);
    same("the ambient capabilities", expected.ambient == found.ambient);
    same("the values of no_new_privs", expected.no_new_privileges == found.no_new_privileges);
    same("the seccomp modes", expected.has_filters == found.has_filters);
}

/// Whether the filters of a child that this process traces, and that stands still, are others than the plan's.
pub fn filters_differ(plan: &Plan, child: Pid) -> Option<String> {
    for (position, expected) in plan.filters.iter().enumerate() {
        match record::filter_of(child, position) {
            Ok(Ok(found)) if found.instructions() == expected.instructions() => {}
            _ => return Some(format!("seccomp filter {position} is another")),
        }
    }
    match record::filter_of(child, plan.filters.len()) {
        Err(Errno::ENOENT) => None,
        _ => Some("there are more seccomp filters".into()),
    }
}

/// The names of the resource limits that a child could not take on.
pub fn rlimits_that_differ(plan: &Plan, child: Pid) -> Vec<u32> {
    let differs = |(number, current, highest): &(u32, u64, u64)| {
        let mut limit = libc::rlimit64 { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: the kernel writes one `rlimit64`, and reads none.
        let result = unsafe { libc::prlimit64(child.as_raw(), *number, std::ptr::null(), &raw mut limit) };
        (result == 0 && (limit.rlim_cur, limit.rlim_max) != (*current, *highest)).then_some(*number)
    };
    plan.rlimits.iter().filter_map(differs).collect()
}
