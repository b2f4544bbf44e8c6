//! What was collected → the lists of a recording, and the file accesses one by one while they are written.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    collect::{Boundary, Collector, Counts, Facts, place},
    files::{Files, Order, Print},
    meaning::{call_name, capability_name, error_name, family_name, is_probe, operation, socket_type_name},
    seen::{ExeId, Seen},
    strings::Strings,
};
use crate::{
    kernel::specs,
    recording::{
        ArgTuple, BytePath, CapabilityUse, Credential, Executable, ExecutableIndex, FileAccess, NetworkUse,
        Recording, Syscall,
    },
};

/// The file accesses of a finished recording.
pub struct Accesses {
    files: Files,
    strings: Strings,
    order: Order,
    names: Names,
}

impl Accesses {
    /// Those that were granted, or those that failed, in the recording's order.
    pub fn iter(&self, failed: bool) -> impl Iterator<Item = FileAccess> + '_ {
        self.order.accesses(failed, &self.files, &self.strings, &self.names)
    }
}

/// Whether facts of a place count.
fn counts(boundary: Boundary, of: u8) -> bool {
    boundary == Boundary::None || of == place::INSIDE
}

/// Fills in what was collected, all but the file accesses, which come back apart. `start_ns` is when the recording
/// began, on the clock of the facts.
pub fn print(collector: Collector, boundary: Boundary, start_ns: u64, recording: &mut Recording) -> Accesses {
    let Collector { by_place, files, strings, exes, counts: how_often, .. } = collector;
    let [host, setup, mut facts, filtered_setup] = by_place;
    match boundary {
        Boundary::Container => facts.merge(Facts { calls: filtered_setup.calls, ..Facts::default() }),
        Boundary::None => [host, setup, filtered_setup].into_iter().for_each(|other| facts.merge(other)),
    }
    let mut used: BTreeSet<ExeId> = facts.executed.clone();
    used.extend(facts.calls.values().flat_map(|call| call.seen.by.iter()));
    used.extend(facts.network.values().flat_map(|seen| seen.by.iter()));
    used.extend(facts.capabilities.values().flat_map(|c| c.seen.by.iter()));
    used.extend(facts.credentials.values().flat_map(|by| by.iter()));
    for (_, file) in files.iter().filter(|(key, _)| counts(boundary, key.place)) {
        used.extend(file.seen.by.iter());
    }
    let paths: Vec<Option<BytePath>> =
        exes.iter().map(|exe| exe.path.map(|path| strings.get(path).into())).collect();
    let names = Names::of(&used, &facts.executed, &paths, start_ns);
    recording.executables.clone_from(&names.executables);
    facts.print(&names, &strings, &how_often, recording);
    drop(how_often);
    let order = Order::of(&files, &strings, |of| counts(boundary, of));
    Accesses { files, strings, order, names }
}

impl Facts {
    fn merge(&mut self, other: Self) {
        let Self { calls, network, capabilities, credentials, executed } = other;
        for (key, call) in calls {
            let mine = self.calls.entry(key).or_default();
            mine.seen.merge(&call.seen);
            mine.keys.extend(call.keys);
            mine.succeeded |= call.succeeded;
            mine.errors.extend(call.errors);
            for (tuple, by) in call.tuples {
                let mine = mine.tuples.entry(tuple).or_default();
                mine.merge(&by);
            }
        }
        for (key, seen) in network {
            self.network.entry(key).or_default().merge(&seen);
        }
        for (key, capability) in capabilities {
            let mine = self.capabilities.entry(key).or_default();
            mine.seen.merge(&capability.seen);
            mine.calls.extend(capability.calls);
        }
        for (key, by) in credentials {
            let mine = self.credentials.entry(key).or_default();
            mine.merge(&by);
        }
        self.executed.extend(executed);
    }

    fn print(self, names: &Names, strings: &Strings, counts: &Counts, recording: &mut Recording) {
        recording.syscalls = self
            .calls
            .into_iter()
            .map(|((arch, nr), call)| Syscall {
                arch: specs::arch_name(arch).into(),
                nr,
                name: call_name(arch, nr),
                count: call.count(counts),
                args: call
                    .tuples
                    .into_iter()
                    .map(|(values, by)| ArgTuple { values, by: names.indices(by.iter()) })
                    .collect(),
                errors: call
                    .errors
                    .iter()
                    .map(|e| error_name(*e))
                    .collect::<BTreeSet<_>>()
                    .into_iter()
                    .collect(),
                succeeded: call.succeeded,
                first_ms: names.milliseconds(call.seen.first_ns),
                by: names.by(&call.seen),
            })
            .collect();
        for ((operation_nr, family, kind, protocol, address, errno), seen) in self.network {
            let usage = NetworkUse {
                operation: operation(operation_nr).into(),
                family: family_name(family),
                family_nr: family,
                socket_type: socket_type_name(kind),
                type_nr: kind,
                protocol,
                address: address.map(|id| strings.get(id).into()),
                error: (errno != 0).then(|| error_name(errno)),
                first_ms: names.milliseconds(seen.first_ns),
                by: names.by(&seen),
            };
            if errno == 0 { recording.network.push(usage) } else { recording.failed.network.push(usage) }
        }
        recording.capabilities = self
            .capabilities
            .into_iter()
            .map(|((number, granted), capability)| CapabilityUse {
                name: capability_name(number),
                nr: number,
                granted,
                probe: capability.calls.iter().all(|(arch, nr)| is_probe(number, *arch, *nr)),
                syscalls: capability
                    .calls
                    .iter()
                    .map(|(arch, nr)| call_name(*arch, *nr))
                    .collect::<BTreeSet<_>>()
                    .into_iter()
                    .collect(),
                first_ms: names.milliseconds(capability.seen.first_ns),
                by: names.by(&capability.seen),
            })
            .collect();
        recording.credentials = self
            .credentials
            .into_iter()
            .map(|((uid, gid), by)| Credential { uid, gid, by: names.indices(by.iter()) })
            .collect();
    }
}

/// Executables → the recording's list, sorted by path.
struct Names {
    executables: Vec<Executable>,
    /// By [`ExeId`].
    index: Vec<Option<ExecutableIndex>>,
    start_ns: u64,
}

impl Names {
    fn of(
        used: &BTreeSet<ExeId>,
        executed: &BTreeSet<ExeId>,
        paths: &[Option<BytePath>],
        start_ns: u64,
    ) -> Self {
        let path = |exe: ExeId| paths.get(exe as usize).cloned().flatten().unwrap_or_default();
        // One entry a path, though two mounts or two inodes may have had it.
        let mut by_path: BTreeMap<BytePath, (bool, Vec<ExeId>)> = BTreeMap::new();
        for exe in used {
            let entry = by_path.entry(path(*exe)).or_default();
            entry.0 |= executed.contains(exe);
            entry.1.push(*exe);
        }
        let mut index = vec![None; paths.len()];
        let mut executables = Vec::with_capacity(by_path.len());
        for (number, (path, (executed, exes))) in (0..).zip(by_path) {
            executables.push(Executable { path, executed });
            for exe in exes {
                if let Some(slot) = index.get_mut(exe as usize) {
                    *slot = Some(number);
                }
            }
        }
        Self { executables, index, start_ns }
    }

    fn indices(&self, exes: impl Iterator<Item = ExeId>) -> Vec<ExecutableIndex> {
        let mut all: Vec<_> =
            exes.filter_map(|exe| self.index.get(exe as usize).copied().flatten()).collect();
        all.sort_unstable();
        all.dedup();
        all
    }
}

impl Print for Names {
    fn by(&self, seen: &Seen) -> Vec<ExecutableIndex> {
        self.indices(seen.by.iter())
    }

    fn milliseconds(&self, ns: u64) -> u64 {
        ns.saturating_sub(self.start_ns) / 1_000_000
    }
}
