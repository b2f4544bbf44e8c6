//! What recordings say of the whole: host, target, losses, resources.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    facts::{
        add_all, add_call, add_capability, add_credential, add_network, key_of_call, key_of_network, united,
    },
    in_order,
};
use crate::recording::{
    BytePath, Container, Failed, Host, MergedRun, Recording, Resources, Seccomp, Storage, Target,
};

/// All but file accesses, executables and runs, whose numbers are the same in both.
pub fn unite(mut a: Recording, mut b: Recording) -> Recording {
    // One user namespace's numbers mean nothing in another: each becomes what its own target saw.
    if a.target.user_namespace != b.target.user_namespace {
        for one in [&mut a, &mut b] {
            one.credentials = one.own_credentials();
            one.target.user_namespace = None;
        }
    }
    let mut losses = a.losses;
    for (name, lost) in b.losses {
        let most = losses.entry(name).or_default();
        *most = lost.max(*most);
    }
    Recording {
        schema: a.schema,
        tool: a.tool.max(b.tool),
        complete: a.complete && b.complete,
        losses,
        warnings: in_order(a.warnings.into_iter().chain(b.warnings)),
        started: a.started.min(b.started),
        duration_ms: a.duration_ms.max(b.duration_ms),
        runs: Vec::new(),
        host: host(a.host, b.host),
        target: target(a.target, b.target),
        executables: Vec::new(),
        syscalls: united(a.syscalls.into_iter().chain(b.syscalls), key_of_call, add_call),
        files: Vec::new(),
        network: united(a.network.into_iter().chain(b.network), key_of_network, add_network),
        capabilities: united(
            a.capabilities.into_iter().chain(b.capabilities),
            |one| (one.nr, one.granted),
            add_capability,
        ),
        credentials: united(
            a.credentials.into_iter().chain(b.credentials),
            |one| (one.uid, one.gid),
            add_credential,
        ),
        saturation: Vec::new(),
        resources: resources(&a.resources, &b.resources),
        failed: Failed {
            files: Vec::new(),
            network: united(
                a.failed.network.into_iter().chain(b.failed.network),
                key_of_network,
                add_network,
            ),
        },
    }
}

/// What adds up over runs.
#[derive(Default)]
struct Sums {
    losses: BTreeMap<String, u64>,
    incomplete: bool,
    duration_ms: u64,
    cpu_usec: Option<u64>,
}

impl Sums {
    fn of(runs: &[MergedRun]) -> Self {
        let mut out = Self::default();
        for run in runs {
            for (name, lost) in &run.losses {
                let sum = out.losses.entry(name.clone()).or_default();
                *sum = sum.saturating_add(*lost);
            }
            out.incomplete |= !run.complete;
            out.duration_ms = out.duration_ms.saturating_add(run.duration_ms);
            if let Some(used) = run.resources.cpu_usec {
                out.cpu_usec = Some(out.cpu_usec.unwrap_or(0).saturating_add(used));
            }
        }
        out
    }

    fn lost(&self, name: &str) -> u64 {
        self.losses.get(name).copied().unwrap_or(0)
    }
}

/// Sums over the runs, each of which counts once. None is less than what a recording said of itself: a list of runs that
/// somebody cut does not make a loss go away.
pub fn add_up(out: &mut Recording) {
    let sums = Sums::of(&out.runs);
    for (name, lost) in sums.losses {
        let known = out.losses.entry(name).or_default();
        *known = lost.max(*known);
    }
    out.complete &= !sums.incomplete;
    out.duration_ms = out.duration_ms.max(sums.duration_ms);
    out.resources.cpu_usec = out.resources.cpu_usec.max(sums.cpu_usec);
}

/// Leaves out the runs before `from`, and with them what they alone say of the whole. Where a recording says that it lost
/// more than its runs did, that stays.
pub fn forget_runs(out: &mut Recording, from: u32) {
    let before = Sums::of(&out.runs);
    out.runs.drain(..out.runs.len().min(from as usize));
    let after = Sums::of(&out.runs);
    let explained = out.losses.iter().all(|(name, lost)| before.lost(name) == *lost);
    if explained {
        out.losses.iter_mut().for_each(|(name, lost)| *lost = after.lost(name));
        out.complete |= before.incomplete && !after.incomplete;
    }
    out.duration_ms = after.duration_ms;
    let peaks = out.runs.iter().fold(Resources::default(), |all, run| resources(&all, &run.resources));
    let storage = std::mem::take(&mut out.resources.storage);
    out.resources = Resources { cpu_usec: after.cpu_usec, storage, ..peaks };
    let all = |of: fn(&MergedRun) -> &String| {
        in_order(out.runs.iter().flat_map(|run| of(run).split(", ")).map(str::to_owned)).join(", ")
    };
    (out.host.kernel, out.host.hooks) = (all(|run| &run.kernel), all(|run| &run.hooks));
    out.started = out.runs.iter().map(|run| run.started.clone()).min().unwrap_or_default();
}

/// What differs is named with both values; what one recording did not observe, the whole did not.
fn host(a: Host, b: Host) -> Host {
    let both = |a: String, b: String| {
        let values: BTreeSet<&str> = a.split(", ").chain(b.split(", ")).filter(|v| !v.is_empty()).collect();
        values.into_iter().collect::<Vec<_>>().join(", ")
    };
    let observed = |kind: &String| b.observed.contains(kind);
    Host {
        kernel: both(a.kernel, b.kernel),
        arch: a.arch,
        cgroup: both(a.cgroup, b.cgroup),
        hooks: both(a.hooks, b.hooks),
        observed: a.observed.into_iter().filter(observed).collect(),
    }
}

/// The target of several recordings: what they agree in.
fn target(a: Target, b: Target) -> Target {
    let same = |a: String, b: String| if a == b { a } else { "merged".to_owned() };
    Target {
        kind: same(a.kind, b.kind),
        cgroup: if a.cgroup == b.cgroup { a.cgroup } else { BytePath::empty() },
        command: if a.command == b.command { a.command } else { Vec::new() },
        exit_code: if a.exit_code == b.exit_code { a.exit_code } else { None },
        boundary: same(a.boundary, b.boundary),
        ended: same(a.ended, b.ended),
        more_cgroups: if a.more_cgroups == b.more_cgroups { a.more_cgroups } else { Vec::new() },
        container: container(a.container, b.container),
        seccomp: seccomp(a.seccomp, b.seccomp),
        apparmor: {
            let mut labels = a.apparmor;
            add_all(&mut labels, b.apparmor);
            labels
        },
        user_namespace: a.user_namespace.filter(|one| b.user_namespace.as_ref() == Some(one)),
    }
}

/// Containers that were started the same way are one; each start has an id of its own, and may have a name, and its
/// engine may have been updated in between.
fn container(a: Option<Container>, b: Option<Container>) -> Option<Container> {
    let (a, b) = (a?, b?);
    let same = |a: &str, b: &str| if a == b { a.to_owned() } else { String::new() };
    let (id, name) = (same(&a.id, &b.id), same(&a.name, &b.name));
    let runtime_version = a.runtime_version.clone().filter(|one| b.runtime_version.as_ref() == Some(one));
    let a = Container { id: id.clone(), name: name.clone(), runtime_version: runtime_version.clone(), ..a };
    let b = Container { id, name, runtime_version, ..b };
    (a == b).then_some(a)
}

/// All filters of both; attributed only if both are.
fn seccomp(a: Option<Seccomp>, b: Option<Seccomp>) -> Option<Seccomp> {
    match (a, b) {
        (Some(mut a), Some(b)) => {
            add_all(&mut a.filters, b.filters);
            a.attributed &= b.attributed;
            Some(a)
        }
        (a, b) => a.or(b),
    }
}

/// Peaks are peaks; the CPU time of all runs is added up at the end.
fn resources(a: &Resources, b: &Resources) -> Resources {
    Resources {
        memory_peak_bytes: a.memory_peak_bytes.max(b.memory_peak_bytes),
        pids_peak: a.pids_peak.max(b.pids_peak),
        cpu_usec: a.cpu_usec.max(b.cpu_usec),
        cpu_peak_millis: a.cpu_peak_millis.max(b.cpu_peak_millis),
        storage: storage(&a.storage, &b.storage),
    }
}

fn storage(a: &[Storage], b: &[Storage]) -> Vec<Storage> {
    let mut peaks: BTreeMap<&BytePath, (u64, u64)> = BTreeMap::new();
    for one in a.iter().chain(b) {
        let (bytes, files) = peaks.entry(&one.path).or_default();
        *bytes = one.peak_bytes.max(*bytes);
        *files = one.peak_files.max(*files);
    }
    let of = |(path, (peak_bytes, peak_files)): (&BytePath, _)| Storage {
        path: path.clone(),
        peak_bytes,
        peak_files,
    };
    peaks.into_iter().map(of).collect()
}
