//! What was collected → the lists of a recording, and the file accesses one by one while they are written.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    collect::{Boundary, Collector, place},
    counts::Tallies,
    facts::Facts,
    files::{Files, Order, Print},
    filters::Doubt,
    identity::Identity,
    meaning::{
        call_name, capability_name, error_name, family_name, is_probe, operation, refused_by,
        socket_type_name,
    },
    saturation::{Curve, Kind},
    seen::{ExeId, Seen},
    strings::Strings,
};
use crate::{
    kernel::specs,
    recording::{
        ArgTuple, BytePath, CapabilityUse, Credential, Executable, ExecutableIndex, FileAccess, NetworkUse,
        Recording, Refusal, Seccomp, Syscall,
    },
};

/// The file accesses of a finished recording.
pub struct Accesses {
    files: Files,
    strings: Strings,
    order: Order,
    tallies: Tallies,
    names: Names,
}

impl Accesses {
    /// Those that were granted, or those that failed, in the recording's order.
    pub fn iter(&self, failed: bool) -> impl Iterator<Item = FileAccess> + '_ {
        self.order.accesses(failed, &self.files, &self.strings, &self.tallies, &self.names)
    }
}

/// Whether facts of a place count.
fn is_wanted(boundary: Boundary, of: u8) -> bool {
    boundary == Boundary::None || of == place::INSIDE
}

/// Fills in what was collected, all but the file accesses, which come back apart. `start_ns` is when the recording
/// began, on the clock of the facts.
pub fn print(collector: Collector, boundary: Boundary, start_ns: u64, recording: &mut Recording) -> Accesses {
    let Collector { mut by_place, files, strings, exes, counts, filters, identities, storages, .. } =
        collector;
    let tallies = counts.tally(files.len());
    for facts in &mut by_place {
        facts.settle(&tallies);
    }
    let [host, setup, mut facts, filtered_setup] = by_place;
    match boundary {
        Boundary::Container => {
            let Facts { calls, filters, .. } = filtered_setup;
            facts.merge(Facts { calls, filters, ..Facts::default() });
        }
        Boundary::None => [host, setup, filtered_setup].into_iter().for_each(|other| facts.merge(other)),
    }
    if !facts.filters.is_empty() {
        let (filters, attributed) = filters.describe(&facts.filters);
        recording.target.seccomp = Some(Seccomp { filters, attributed });
    }
    recording.warnings.extend(facts.doubts());
    let (storage, unmeasured) = storages.results(|of| is_wanted(boundary, of));
    recording.resources.storage = storage;
    recording.warnings.extend(unmeasured);
    let mut used: BTreeSet<ExeId> = facts.executed.clone();
    used.extend(facts.calls.values().flat_map(|call| call.seen.by.iter()));
    used.extend(facts.network.values().flat_map(|socket| socket.seen.by.iter()));
    used.extend(facts.capabilities.values().flat_map(|c| c.seen.by.iter()));
    used.extend(facts.credentials.values().flat_map(super::seen::By::iter));
    for (_, file) in files.iter().filter(|(key, _)| is_wanted(boundary, key.place)) {
        used.extend(file.seen.by.iter());
    }
    let paths: Vec<Option<BytePath>> =
        exes.iter().map(|exe| exe.path.map(|path| strings.get(path).into())).collect();
    let scripts = |exe: ExeId| -> BTreeSet<BytePath> {
        let of = facts.scripts.get(&exe).into_iter().flatten();
        of.map(|script| strings.get(*script).into()).collect()
    };
    let known = |exe: ExeId| Known {
        path: paths.get(exe as usize).cloned().flatten().unwrap_or_default(),
        identity: identities.get(exe),
        executed: facts.executed.contains(&exe),
        scripts: scripts(exe),
    };
    let names = Names::of(&used, exes.len(), known, start_ns);
    recording.executables.clone_from(&names.executables);
    let mut curve = facts.curve(&names);
    facts.print(&names, &strings, recording);
    let order = Order::of(&files, &strings, |of| is_wanted(boundary, of));
    order.first_ns(&files).for_each(|ns| curve.add(Kind::Path, names.milliseconds(ns)));
    recording.saturation = curve.points();
    Accesses { files, strings, order, tallies, names }
}

impl Facts {
    fn merge(&mut self, other: Self) {
        let Self { calls, network, capabilities, credentials, executed, scripts, filters } = other;
        self.filters.extend(filters);
        for (exe, of) in scripts {
            self.scripts.entry(exe).or_default().extend(of);
        }
        for (key, call) in calls {
            let mine = self.calls.entry(key).or_default();
            mine.seen.merge(&call.seen);
            mine.often.add(call.often);
            mine.succeeded |= call.succeeded;
            mine.errors.extend(call.errors);
            mine.refused.extend(call.refused);
            mine.passed |= call.passed;
            mine.doubts.extend(call.doubts);
            for (values, tuple) in call.tuples {
                let mine = mine.tuples.entry(values).or_default();
                mine.seen.merge(&tuple.seen);
                mine.often.add(tuple.often);
                mine.passed |= tuple.passed;
            }
        }
        for (key, socket) in network {
            let mine = self.network.entry(key).or_default();
            mine.seen.merge(&socket.seen);
            mine.refused |= socket.refused;
        }
        for (key, capability) in capabilities {
            let mine = self.capabilities.entry(key).or_default();
            mine.seen.merge(&capability.seen);
            mine.calls.extend(capability.calls);
            mine.often.add(capability.often);
            mine.refused |= capability.refused;
            mine.needed = match (mine.needed, capability.needed) {
                (Some(a), Some(b)) => Some(a || b),
                (a, b) => a.or(b),
            };
        }
        for (key, by) in credentials {
            let mine = self.credentials.entry(key).or_default();
            mine.merge(&by);
        }
        self.executed.extend(executed);
    }

    /// What could not be told of refusals, in sentences.
    fn doubts(&self) -> Vec<String> {
        let of = |doubt: Doubt| -> Option<String> {
            let names: BTreeSet<String> = self
                .calls
                .iter()
                .filter(|(_, call)| call.doubts.contains(&doubt))
                .map(|((arch, nr), _)| call_name(*arch, *nr))
                .collect();
            let names: Vec<String> = names.into_iter().collect();
            (!names.is_empty()).then(|| names.join(", "))
        };
        let mut out = Vec::new();
        if let Some(names) = of(Doubt::Unread) {
            out.push(format!(
                "a seccomp filter was in force that could not be read (the kernel keeps them with \
                 CONFIG_CHECKPOINT_RESTORE): calls that it refused are recorded as calls that failed, maybe among {names}"
            ));
        }
        if let Some(names) = of(Doubt::Decided) {
            out.push(format!(
                "a seccomp filter leaves calls to a supervisor or a tracer, whose refusals can't be told from \
                 failures: {names}"
            ));
        }
        if let Some(names) = of(Doubt::Arguments) {
            out.push(format!(
                "a seccomp filter looks at arguments that are not recorded: of {names}, some calls may have been \
                 refused and are recorded as failed"
            ));
        }
        out
    }

    /// New calls, sockets and capabilities over time.
    fn curve(&self, names: &Names) -> Curve {
        let mut curve = Curve::default();
        let mut add = |kind, seen: &Seen| curve.add(kind, names.milliseconds(seen.first_ns));
        self.calls.values().for_each(|call| add(Kind::Syscall, &call.seen));
        let granted = self.network.iter().filter(|((.., errno), _)| *errno == 0);
        granted.for_each(|(_, socket)| add(Kind::Network, &socket.seen));
        self.capabilities.values().for_each(|capability| add(Kind::Capability, &capability.seen));
        curve
    }

    fn print(self, names: &Names, strings: &Strings, recording: &mut Recording) {
        recording.syscalls = self
            .calls
            .into_iter()
            .map(|((arch, nr), call)| {
                // The first sight of a tuple may be later than the kernel side's clock tells of the call.
                let newest = call.tuples.values().map(|tuple| tuple.seen.first_ns).max();
                let newest = newest.unwrap_or_default().max(call.seen.first_ns);
                let last_ms = call.often.last_ms(names.milliseconds(newest));
                Syscall {
                    arch: specs::arch_name(arch).into(),
                    nr,
                    name: call_name(arch, nr),
                    count: call.often.count(),
                    args: call
                        .tuples
                        .into_iter()
                        .map(|(values, tuple)| ArgTuple {
                            values,
                            count: tuple.often.count(),
                            first_ms: names.milliseconds(tuple.seen.first_ns),
                            last_ms: tuple.often.last_ms(names.milliseconds(tuple.seen.first_ns)),
                            by: names.by(&tuple.seen),
                            runs: None,
                            refused: !tuple.passed,
                        })
                        .collect(),
                    errors: call
                        .errors
                        .iter()
                        .map(|e| error_name(*e))
                        .collect::<BTreeSet<_>>()
                        .into_iter()
                        .collect(),
                    succeeded: call.succeeded,
                    refused: (!call.refused.is_empty()).then(|| Refusal {
                        by: "seccomp".into(),
                        answers: call.refused.into_iter().collect(),
                        always: !call.passed,
                    }),
                    first_ms: names.milliseconds(call.seen.first_ns),
                    last_ms,
                    by: names.by(&call.seen),
                    runs: None,
                }
            })
            .collect();
        for ((operation_nr, family, kind, protocol, address, errno), socket) in self.network {
            let usage = NetworkUse {
                operation: operation(operation_nr).into(),
                family: family_name(family),
                family_nr: family,
                socket_type: socket_type_name(kind),
                type_nr: kind,
                protocol,
                address: address.map(|id| strings.get(id).into()),
                error: (errno != 0).then(|| error_name(errno)),
                refused_by: refused_by(socket.refused),
                count: socket.often.count(),
                first_ms: names.milliseconds(socket.seen.first_ns),
                last_ms: socket.often.last_ms(names.milliseconds(socket.seen.first_ns)),
                by: names.by(&socket.seen),
                runs: None,
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
                probe: match capability.needed {
                    Some(needed) => !needed,
                    None => capability.calls.iter().all(|(arch, nr)| is_probe(number, *arch, *nr)),
                },
                refused_by: refused_by(capability.refused),
                syscalls: capability
                    .calls
                    .iter()
                    .map(|(arch, nr)| call_name(*arch, *nr))
                    .collect::<BTreeSet<_>>()
                    .into_iter()
                    .collect(),
                count: capability.often.count(),
                first_ms: names.milliseconds(capability.seen.first_ns),
                last_ms: capability.often.last_ms(names.milliseconds(capability.seen.first_ns)),
                by: names.by(&capability.seen),
                runs: None,
            })
            .collect();
        recording.credentials = self
            .credentials
            .into_iter()
            .map(|((uid, gid), by)| Credential { uid, gid, by: names.indices(by.iter()), runs: None })
            .collect();
    }
}

/// What is known of an executable.
struct Known<'a> {
    path: BytePath,
    identity: Option<&'a Identity>,
    executed: bool,
    scripts: BTreeSet<BytePath>,
}

/// What makes two executables the same.
type Is<'a> = (BytePath, Option<&'a Identity>);

/// Executables → the recording's list, sorted by path.
struct Names {
    executables: Vec<Executable>,
    /// By [`ExeId`].
    index: Vec<Option<ExecutableIndex>>,
    start_ns: u64,
}

impl Names {
    fn of<'a>(
        used: &BTreeSet<ExeId>,
        exes: usize,
        known: impl Fn(ExeId) -> Known<'a>,
        start_ns: u64,
    ) -> Self {
        // One entry a path and identity, though two mounts or two inodes may have had them.
        let mut entries: BTreeMap<Is<'_>, (Executable, Vec<ExeId>)> = BTreeMap::new();
        for exe in used {
            let Known { path, identity, executed, scripts } = known(*exe);
            let (entry, exes) = entries.entry((path.clone(), identity)).or_default();
            entry.path = path;
            entry.executed |= executed;
            match identity {
                Some(Identity::BuildId(id)) => entry.build_id = Some(id.clone()),
                Some(Identity::Sha256(hash)) => entry.sha256 = Some(hash.clone()),
                None => {}
            }
            entry.scripts.extend(scripts);
            exes.push(*exe);
        }
        let mut index = vec![None; exes];
        let mut executables = Vec::with_capacity(entries.len());
        for (number, (mut executable, exes)) in (0..).zip(entries.into_values()) {
            executable.scripts.sort();
            executable.scripts.dedup();
            executables.push(executable);
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
