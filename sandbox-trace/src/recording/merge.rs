//! Recordings of one workload → one recording. Pure: the same recordings give the same bytes, in whatever order they
//! are named.
//!
//! Facts are united: counts add up, first times are the earliest, last times the latest, executables unite. When new facts
//! came is dropped: what was new in each run says nothing of when all of them together had seen it. Merging is commutative and
//! associative; on the facts it is idempotent, on counts and losses it adds.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    ArgTuple, BytePath, CapabilityUse, Container, Credential, Executable, ExecutableIndex, Failed,
    FileAccess, Host, NetworkUse, Recording, Refusal, Resources, Seccomp, Storage, Syscall, Target,
};
use crate::error::{Error, Result};

/// Unites recordings, each with the name that messages use.
pub fn merge(recordings: Vec<(String, Recording)>) -> Result<Recording> {
    let mut rest = recordings.into_iter();
    let Some((first_name, first)) = rest.next() else {
        return Err(Error::usage("there is no recording to merge").hint("name two or more"));
    };
    let mut out = with_own_executables(first);
    for (name, other) in rest {
        if other.host.arch != out.host.arch {
            return Err(Error::usage(format!(
                "{name} was made on {}, {first_name} on {}: their facts can't be united",
                other.host.arch, out.host.arch
            ))
            .hint("merge recordings of one architecture, and make a policy for each"));
        }
        out = unite(out, with_own_executables(other));
    }
    out.normalize();
    Ok(out)
}

/// Merges executables of the same path and drops indices that point nowhere, as [`unite`] leaves them.
fn with_own_executables(mut recording: Recording) -> Recording {
    let mut table = Table::default();
    table.add(&recording.executables);
    recording.renumber(&table.renumbering(&recording.executables));
    recording.executables = table.list();
    collapse(recording)
}

/// One entry a fact, also when a recording that somebody else wrote has several.
fn collapse(mut recording: Recording) -> Recording {
    recording.syscalls = united(std::mem::take(&mut recording.syscalls), key_of_call, add_call);
    recording.files = united(std::mem::take(&mut recording.files), key_of_file, add_file);
    recording.network = united(std::mem::take(&mut recording.network), key_of_network, add_network);
    recording.capabilities =
        united(std::mem::take(&mut recording.capabilities), |c| (c.nr, c.granted), add_capability);
    recording.credentials =
        united(std::mem::take(&mut recording.credentials), |c| (c.uid, c.gid), add_credential);
    recording.resources.storage = storage(&recording.resources.storage, &[]);
    let failed = std::mem::take(&mut recording.failed);
    recording.failed = Failed {
        // Which operation failed decides whether the attempt is a need: they are kept apart.
        files: united(failed.files, |file| (key_of_file(file), file.operations.clone()), add_file),
        network: united(failed.network, key_of_network, add_network),
    };
    recording
}

fn unite(mut a: Recording, mut b: Recording) -> Recording {
    // One user namespace's numbers mean nothing in another: each becomes what its own target saw.
    if a.target.user_namespace != b.target.user_namespace {
        for one in [&mut a, &mut b] {
            one.credentials = one.own_credentials();
            one.target.user_namespace = None;
        }
    }
    let mut table = Table::default();
    table.add(&a.executables);
    table.add(&b.executables);
    for one in [&mut a, &mut b] {
        one.renumber(&table.renumbering(&one.executables));
    }
    let mut losses = a.losses;
    for (name, lost) in b.losses {
        let sum = losses.entry(name).or_default();
        *sum = sum.saturating_add(lost);
    }
    let chain = |a: Vec<String>, b: Vec<String>| -> Vec<String> {
        a.into_iter().chain(b).collect::<BTreeSet<_>>().into_iter().collect()
    };
    collapse(Recording {
        schema: a.schema,
        tool: a.tool.max(b.tool),
        complete: a.complete && b.complete,
        losses,
        warnings: chain(a.warnings, b.warnings),
        started: a.started.min(b.started),
        duration_ms: a.duration_ms.saturating_add(b.duration_ms),
        host: host(a.host, b.host),
        target: target(a.target, b.target),
        executables: table.list(),
        syscalls: [a.syscalls, b.syscalls].concat(),
        files: [a.files, b.files].concat(),
        network: [a.network, b.network].concat(),
        capabilities: [a.capabilities, b.capabilities].concat(),
        credentials: [a.credentials, b.credentials].concat(),
        saturation: Vec::new(),
        resources: resources(&a.resources, &b.resources),
        failed: Failed {
            files: [a.failed.files, b.failed.files].concat(),
            network: [a.failed.network, b.failed.network].concat(),
        },
    })
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

/// Containers that were started the same way are one; each start has an id of its own, and may have a name.
fn container(a: Option<Container>, b: Option<Container>) -> Option<Container> {
    let (a, b) = (a?, b?);
    let same = |a: &str, b: &str| if a == b { a.to_owned() } else { String::new() };
    let (id, name) = (same(&a.id, &b.id), same(&a.name, &b.name));
    let a = Container { id: id.clone(), name: name.clone(), ..a };
    let b = Container { id, name, ..b };
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

/// Refused in one and passed in the other is refused, but not always.
fn refused(a: Option<Refusal>, b: Option<Refusal>) -> Option<Refusal> {
    match (a, b) {
        (Some(mut a), Some(b)) => {
            least(&mut a.by, b.by);
            add_all(&mut a.answers, b.answers);
            a.always &= b.always;
            Some(a)
        }
        (a, b) => a.or(b).map(|refused| Refusal { always: false, ..refused }),
    }
}

/// Peaks are peaks; CPU time adds up.
fn resources(a: &Resources, b: &Resources) -> Resources {
    Resources {
        memory_peak_bytes: a.memory_peak_bytes.max(b.memory_peak_bytes),
        pids_peak: a.pids_peak.max(b.pids_peak),
        cpu_usec: match (a.cpu_usec, b.cpu_usec) {
            (Some(a), Some(b)) => Some(a.saturating_add(b)),
            (a, b) => a.or(b),
        },
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

/// What an executable is: path, build id, hash.
type ExecutableKey = (BytePath, Option<String>, Option<String>);

fn key_of_executable(executable: &Executable) -> ExecutableKey {
    (executable.path.clone(), executable.build_id.clone(), executable.sha256.clone())
}

/// Executables by what they are.
#[derive(Default)]
struct Table {
    executables: BTreeMap<ExecutableKey, Executable>,
}

impl Table {
    fn add(&mut self, executables: &[Executable]) {
        for executable in executables {
            let entry = self.executables.entry(key_of_executable(executable)).or_insert_with(|| Executable {
                executed: false,
                scripts: Vec::new(),
                ..executable.clone()
            });
            entry.executed |= executable.executed;
            add_all(&mut entry.scripts, executable.scripts.clone());
        }
    }

    /// The new index of each old one.
    fn renumbering(&self, old: &[Executable]) -> Vec<Option<ExecutableIndex>> {
        let place: BTreeMap<&ExecutableKey, ExecutableIndex> = self.executables.keys().zip(0..).collect();
        old.iter().map(|executable| place.get(&key_of_executable(executable)).copied()).collect()
    }

    fn list(self) -> Vec<Executable> {
        self.executables.into_values().collect()
    }
}

impl Recording {
    /// Changes every index of an executable; those without a new one are dropped.
    fn renumber(&mut self, new: &[Option<ExecutableIndex>]) {
        let all = |by: &mut Vec<ExecutableIndex>| {
            let mut list: Vec<_> =
                by.iter().filter_map(|old| new.get(*old as usize).copied().flatten()).collect();
            list.sort_unstable();
            list.dedup();
            *by = list;
        };
        for call in &mut self.syscalls {
            all(&mut call.by);
            call.args.iter_mut().for_each(|tuple| all(&mut tuple.by));
        }
        self.files.iter_mut().chain(&mut self.failed.files).for_each(|file| all(&mut file.by));
        self.network.iter_mut().chain(&mut self.failed.network).for_each(|network| all(&mut network.by));
        self.capabilities.iter_mut().for_each(|capability| all(&mut capability.by));
        self.credentials.iter_mut().for_each(|credential| all(&mut credential.by));
    }
}

/// One entry a key, in the order of the keys.
fn united<T, K: Ord>(list: Vec<T>, key: impl Fn(&T) -> K, add: impl Fn(&mut T, T)) -> Vec<T> {
    let mut out: BTreeMap<K, T> = BTreeMap::new();
    for item in list {
        match out.entry(key(&item)) {
            std::collections::btree_map::Entry::Vacant(entry) => drop(entry.insert(item)),
            std::collections::btree_map::Entry::Occupied(mut entry) => add(entry.get_mut(), item),
        }
    }
    out.into_values().collect()
}

fn add_all<T: Ord>(list: &mut Vec<T>, other: Vec<T>) {
    list.extend(other);
    list.sort_unstable();
    list.dedup();
}

fn least(name: &mut String, other: String) {
    if other < *name {
        *name = other;
    }
}

/// What one recording could not tell, another may.
fn refuser(name: &mut Option<String>, other: Option<String>) {
    *name = match (name.take(), other) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    };
}

fn key_of_call(call: &Syscall) -> (String, u32) {
    (call.arch.clone(), call.nr)
}

fn add_call(call: &mut Syscall, other: Syscall) {
    // Names come from the recorder's own table, and a newer one may know more.
    if call.name.starts_with("syscall_") || (!other.name.starts_with("syscall_") && other.name < call.name) {
        call.name = other.name;
    }
    call.count = call.count.saturating_add(other.count);
    let tuples = [std::mem::take(&mut call.args), other.args].concat();
    call.args = united(
        tuples,
        |tuple| tuple.values.clone(),
        |tuple: &mut ArgTuple, other| {
            add_all(&mut tuple.by, other.by);
            tuple.refused &= other.refused;
            tuple.count = tuple.count.saturating_add(other.count);
            tuple.first_ms = tuple.first_ms.min(other.first_ms);
            tuple.last_ms = tuple.last_ms.max(other.last_ms);
        },
    );
    add_all(&mut call.errors, other.errors);
    call.succeeded |= other.succeeded;
    call.refused = refused(call.refused.take(), other.refused);
    call.first_ms = call.first_ms.min(other.first_ms);
    call.last_ms = call.last_ms.max(other.last_ms);
    add_all(&mut call.by, other.by);
}

fn key_of_file(file: &FileAccess) -> (BytePath, Option<BytePath>, Option<String>) {
    (file.path.clone(), file.link_target.clone(), file.error.clone())
}

fn add_file(file: &mut FileAccess, other: FileAccess) {
    file.access |= other.access;
    file.owner = file.owner.zip(other.owner).map(|(a, b)| a && b);
    add_all(&mut file.operations, other.operations);
    file.count = file.count.saturating_add(other.count);
    file.first_ms = file.first_ms.min(other.first_ms);
    file.last_ms = file.last_ms.max(other.last_ms);
    add_all(&mut file.by, other.by);
    refuser(&mut file.refused_by, other.refused_by);
}

type NetworkKey = (String, u16, u16, u32, Option<BytePath>, Option<String>);

fn key_of_network(network: &NetworkUse) -> NetworkKey {
    let NetworkUse { operation, family_nr, type_nr, protocol, address, error, .. } = network;
    (operation.clone(), *family_nr, *type_nr, *protocol, address.clone(), error.clone())
}

fn add_network(network: &mut NetworkUse, other: NetworkUse) {
    // Other versions may know other names for a number.
    least(&mut network.family, other.family);
    least(&mut network.socket_type, other.socket_type);
    network.count = network.count.saturating_add(other.count);
    network.first_ms = network.first_ms.min(other.first_ms);
    network.last_ms = network.last_ms.max(other.last_ms);
    add_all(&mut network.by, other.by);
    refuser(&mut network.refused_by, other.refused_by);
}

fn add_capability(capability: &mut CapabilityUse, other: CapabilityUse) {
    // One question that was no probe makes it a need.
    capability.probe &= other.probe;
    least(&mut capability.name, other.name);
    add_all(&mut capability.syscalls, other.syscalls);
    capability.count = capability.count.saturating_add(other.count);
    capability.first_ms = capability.first_ms.min(other.first_ms);
    capability.last_ms = capability.last_ms.max(other.last_ms);
    add_all(&mut capability.by, other.by);
    refuser(&mut capability.refused_by, other.refused_by);
}

fn add_credential(credential: &mut Credential, other: Credential) {
    add_all(&mut credential.by, other.by);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        recording::{Access, IdRange, Saturation, UserNamespace, samples, to_json},
        requirements::{Evidence, Requirements, fold},
    };

    const PATHS: [&str; 4] = ["/a", "/b/", "/c d", "/usr/bin/x"];

    fn executables() -> impl Strategy<Value = Vec<Executable>> {
        prop::collection::vec((0usize..4, any::<bool>()), 1..4).prop_map(|list| {
            list.into_iter()
                .map(|(path, executed)| Executable {
                    path: PATHS[path].into(),
                    executed,
                    ..Executable::default()
                })
                .collect()
        })
    }

    fn by() -> impl Strategy<Value = Vec<ExecutableIndex>> {
        // Also indices that point nowhere: a recording is input.
        prop::collection::vec(0u32..5, 0..4)
    }

    prop_compose! {
        fn file(failed: bool)(path in 0usize..4, access in 1usize..6, target in any::<bool>(), owner: Option<bool>,
                first_ms in 0u64..100, by in by()) -> FileAccess {
            let letters = ["r", "rw", "x", "m", "l"];
            FileAccess {
                path: PATHS[path].into(),
                access: letters[access - 1].parse::<Access>().unwrap(),
                link_target: target.then(|| "/t".into()),
                owner,
                refused_by: (failed && first_ms % 2 == 0).then(|| "lsm".into()),
                operations: vec![if access == 5 { "link" } else { "open" }.to_owned()],
                error: failed.then(|| "ENXIO".to_owned()),
                count: first_ms % 7,
                first_ms,
                last_ms: first_ms * 3 % 100,
                by,
            }
        }
    }

    prop_compose! {
        fn any_recording()(
            executables in executables(),
            calls in prop::collection::vec((0usize..3, by(), 0u64..100, prop::option::of(0u64..3)), 1..5),
            files in prop::collection::vec(file(false), 0..5),
            failed in prop::collection::vec(file(true), 0..4),
            network in prop::collection::vec((0u16..3, by(), prop::option::of(0usize..4)), 0..4),
            capabilities in prop::collection::vec((0u32..3, any::<bool>(), any::<bool>(), by()), 0..4),
            credentials in prop::collection::vec((0u32..2, by()), 0..3),
            complete: bool,
            lost in 0u64..3,
            memory: Option<u64>,
            storage in prop::collection::vec((0usize..4, 0u64..9), 0..3),
            namespace in prop::option::of(0u32..2),
            second in 0u8..60,
        ) -> Recording {
            let mut out = samples::calls(&[]);
            out.executables = executables;
            out.complete = complete && lost == 0;
            out.losses.insert("ring_full".into(), lost);
            out.started = format!("2025-01-01T00:00:{second:02}Z");
            out.resources.memory_peak_bytes = memory;
            out.resources.storage = storage
                .into_iter()
                .map(|(path, n)| Storage { path: PATHS[path].into(), peak_bytes: n, peak_files: 9 - n })
                .collect();
            out.target.user_namespace = namespace.map(|outside| {
                let map = vec![IdRange { inside: 5, outside, count: 1 }];
                UserNamespace { uid_map: map.clone(), gid_map: map }
            });
            for (name, by, first_ms, argument) in calls {
                let name = ["read", "mmap", "socket"][name];
                samples::add(&mut out, "x86_64", name, &[]);
                let nr = out.syscalls.iter().position(|c| c.name == name).unwrap();
                let call = &mut out.syscalls[nr];
                call.args = argument
                    .map(|n| ArgTuple {
                        values: [(0, n)].into(),
                        count: first_ms % 3,
                        first_ms,
                        last_ms: first_ms + n,
                        by: by.clone(),
                        refused: n % 2 == 0,
                    })
                    .into_iter()
                    .collect();
                // What is refused, and how, must not depend on the order either.
                call.refused = argument.filter(|n| n % 2 == 0).map(|n| Refusal {
                    by: "seccomp".into(),
                    answers: vec![format!("E{n}")],
                    always: n % 4 == 0,
                });
                (call.by, call.first_ms, call.last_ms) = (by, first_ms, first_ms * 7 % 100);
            }
            out.files = files;
            out.failed.files = failed;
            out.network = network.into_iter().map(|(family_nr, by, address)| NetworkUse {
                operation: "socket".into(),
                family: format!("family_{family_nr}"),
                family_nr,
                socket_type: "stream".into(),
                type_nr: 1,
                protocol: 0,
                address: address.map(|path| PATHS[path].into()),
                error: None,
                refused_by: None,
                count: 2,
                first_ms: 5,
                last_ms: 6 + u64::from(family_nr),
                by,
            }).collect();
            out.capabilities = capabilities.into_iter().map(|(nr, granted, probe, by)| CapabilityUse {
                name: format!("capability_{nr}"),
                nr,
                granted,
                probe,
                refused_by: None,
                syscalls: vec!["chown".into()],
                count: 3,
                first_ms: 7,
                last_ms: 8 + u64::from(nr),
                by,
            }).collect();
            out.credentials = credentials.into_iter().map(|(uid, by)| Credential { uid, gid: uid, by }).collect();
            out.saturation = vec![Saturation { ms: second.into(), paths: 1, ..Saturation::default() }];
            out.normalize();
            out
        }
    }

    fn named(list: &[&Recording]) -> Vec<(String, Recording)> {
        list.iter().zip('a'..).map(|(one, name)| (name.to_string(), (*one).clone())).collect()
    }

    fn merged(list: &[&Recording]) -> Recording {
        merge(named(list)).unwrap()
    }

    /// What does not add up.
    fn facts(mut recording: Recording) -> Recording {
        recording.losses.clear();
        recording.duration_ms = 0;
        recording.resources.cpu_usec = None;
        recording.saturation.clear();
        for call in &mut recording.syscalls {
            call.count = 0;
            call.args.iter_mut().for_each(|tuple| tuple.count = 0);
        }
        recording.files.iter_mut().chain(&mut recording.failed.files).for_each(|file| file.count = 0);
        recording.network.iter_mut().chain(&mut recording.failed.network).for_each(|one| one.count = 0);
        recording.capabilities.iter_mut().for_each(|one| one.count = 0);
        recording
    }

    proptest! {
        #[test]
        fn the_order_makes_no_difference(a in any_recording(), b in any_recording()) {
            let (one, other) = (merged(&[&a, &b]), merged(&[&b, &a]));
            prop_assert_eq!(to_json(&one).unwrap(), to_json(&other).unwrap());
        }

        #[test]
        fn the_grouping_makes_no_difference(a in any_recording(), b in any_recording(), c in any_recording()) {
            let (left, right) = (merged(&[&merged(&[&a, &b]), &c]), merged(&[&a, &merged(&[&b, &c])]));
            prop_assert_eq!(to_json(&left).unwrap(), to_json(&right).unwrap());
            prop_assert_eq!(to_json(&left).unwrap(), to_json(&merged(&[&a, &b, &c])).unwrap());
        }

        #[test]
        fn a_recording_adds_no_fact_to_itself(a in any_recording()) {
            let one = merged(&[&a]);
            prop_assert_eq!(facts(merged(&[&a, &a])), facts(one.clone()));
            prop_assert_eq!(merged(&[&one]), one);
        }

        #[test]
        fn the_policy_is_that_of_all_recordings(a in any_recording(), b in any_recording()) {
            let whole = fold(&[("m".to_owned(), merged(&[&a, &b]))], true).unwrap();
            let parts = fold(&named(&[&a, &b]), true).unwrap();
            prop_assert_eq!(without_evidence(whole), without_evidence(parts));
        }
    }

    /// What must be allowed, by whom aside: a merged fact has one list of who made it, for all its permissions.
    fn without_evidence(mut all: Requirements) -> Requirements {
        for call in all.syscalls.values_mut() {
            call.evidence = Evidence::default();
            call.args.values_mut().for_each(|evidence| *evidence = Evidence::default());
        }
        all.network.values_mut().for_each(|evidence| *evidence = Evidence::default());
        all.capabilities.values_mut().for_each(|(_, evidence)| *evidence = Evidence::default());
        all
    }

    #[test]
    fn architectures_are_not_mixed() {
        let a = samples::calls(&["read"]);
        let mut b = a.clone();
        b.host.arch = "aarch64".into();
        let error = merge(vec![("a".into(), a), ("b".into(), b)]).unwrap_err();
        assert_eq!(error.exit(), crate::error::Exit::Usage);
        assert!(error.to_string().contains("aarch64"), "{error}");
    }

    #[test]
    fn counts_add_up_and_times_span_both() {
        let mut a = samples::calls(&[]);
        samples::add(&mut a, "x86_64", "mmap", &[&[(2, 1)]]);
        let mut b = a.clone();
        let call = &mut b.syscalls[0];
        (call.first_ms, call.last_ms) = (1, 5);
        (call.args[0].count, call.args[0].last_ms) = (40, 900);
        let whole = merged(&[&a, &b]);
        let call = &whole.syscalls[0];
        assert_eq!((call.count, call.first_ms, call.last_ms), (6, 1, 20));
        assert_eq!((call.args[0].count, call.args[0].first_ms, call.args[0].last_ms), (43, 10, 900));
    }

    #[test]
    fn one_that_is_incomplete_makes_the_whole_so() {
        let a = samples::calls(&["read"]);
        let mut b = a.clone();
        (b.complete, b.target.ended) = (false, "checkpoint".into());
        b.losses.insert("ring_full".into(), 2);
        let whole = merged(&[&a, &b, &b]);
        assert!(!whole.complete);
        assert_eq!(whole.losses["ring_full"], 4);
        assert_eq!(whole.target.ended, "merged");
    }
}
