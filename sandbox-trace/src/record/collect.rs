//! Facts → a recording: each fact is kept once, with who caused it and when it was first seen.
//!
//! Facts are kept apart by where the task stood (see [`class`]), because only the end of the run tells whether the
//! target was a container, whose runtime's set-up does not count.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use nix::errno::Errno;
use sandbox_trace_ebpf::{
    Header,
    record::{class, flag},
    seen::SeenFact,
    spec::op,
};

use super::{
    address::{self, Address},
    decode::{Body, Fact, Name},
    live::Blocked,
    meaning::{
        access_of, call_name, capability_name, error_name, family_name, is_probe, named, operation,
        socket_type_name,
    },
    roots::Roots,
};
use crate::{
    kernel::{specs, tracer::Count},
    recording::{
        Access, ArgTuple, BytePath, CapabilityUse, Credential, Executable, ExecutableIndex, Failed,
        FileAccess, NetworkUse, Recording, Syscall,
    },
};

/// Most facts of one kind that are kept; a target that makes more on purpose is reported as a loss.
const MAX_FACTS: usize = 4_000_000;
/// Most argument tuples that are kept of one call.
const MAX_TUPLES: usize = 4096;

/// An executable, by the kernel side's key.
type Key = u64;

/// First sight, and who.
#[derive(Debug, Clone, Default)]
struct Seen {
    first_ns: u64,
    by: BTreeSet<Key>,
}

impl Seen {
    fn add(&mut self, header: &Header) {
        self.first_ns = if self.first_ns == 0 { header.time_ns } else { self.first_ns.min(header.time_ns) };
        if header.exe != 0 {
            self.by.insert(header.exe);
        }
    }

    fn merge(&mut self, other: Self) {
        self.first_ns = match (self.first_ns, other.first_ns) {
            (0, first) | (first, 0) => first,
            (a, b) => a.min(b),
        };
        self.by.extend(other.by);
    }
}

#[derive(Debug, Clone, Default)]
struct Call {
    seen: Seen,
    succeeded: bool,
    errors: BTreeSet<u32>,
    tuples: BTreeMap<BTreeMap<u8, u64>, BTreeSet<Key>>,
    /// Keys of the facts that it was made of.
    keys: BTreeSet<u64>,
}

#[derive(Debug, Clone, Default)]
struct File {
    seen: Seen,
    access: Access,
    owner: Option<bool>,
    operations: BTreeSet<&'static str>,
    /// A security module refused it.
    refused: bool,
}

#[derive(Debug, Clone, Default)]
struct Capability {
    seen: Seen,
    calls: BTreeSet<(u8, u32)>,
    /// The kernel said of some question that it needs the answer; `None` where it does not say.
    needed: Option<bool>,
    /// A security module refused it.
    refused: bool,
}

#[derive(Debug, Clone, Default)]
struct Socket {
    seen: Seen,
    /// A security module refused it.
    refused: bool,
}

/// Path, link target, error.
type FileKey = (BytePath, Option<BytePath>, u32);
/// Operation, family, type, protocol, address, error.
type NetworkKey = (u8, u16, u16, u32, Option<BytePath>, u32);

/// The facts of one place that a task can stand in.
#[derive(Debug, Default)]
struct Facts {
    calls: BTreeMap<(u8, u32), Call>,
    files: BTreeMap<FileKey, File>,
    network: BTreeMap<NetworkKey, Socket>,
    /// By number, and whether it was granted.
    capabilities: BTreeMap<(u32, bool), Capability>,
    credentials: BTreeMap<(u32, u32), BTreeSet<Key>>,
    executed: BTreeSet<Key>,
}

/// Keeps facts until the recording is made of them.
#[derive(Debug, Default)]
pub struct Collector {
    by_class: [Facts; 3],
    /// Calls of a runtime's set-up that were made with a filter in force: the runtime's needs of the filter.
    filtered_setup: Facts,
    executables: HashMap<Key, BytePath>,
    roots: Roots,
    /// Paths that a directory was seen at, with their slash.
    directories: HashSet<Vec<u8>>,
    /// Distinct facts so far, for the progress line.
    pub distinct: Distinct,
    /// Ring records that could not be read.
    pub undecodable: u64,
    overflow: u64,
    tuple_overflow: u64,
    /// How often facts happened, by key.
    counts: HashMap<u64, Count>,
}

/// How many distinct facts there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Distinct {
    /// System calls, by architecture and number.
    pub syscalls: u64,
    /// Paths that were accessed.
    pub paths: u64,
    /// Uses of sockets.
    pub network: u64,
    /// Capabilities.
    pub capabilities: u64,
}

impl Distinct {
    /// All kinds together.
    pub fn total(self) -> u64 {
        self.syscalls + self.paths + self.network + self.capabilities
    }
}

/// Where facts begin to count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Boundary {
    /// Inside the container: what runs an image from inside it, and calls under a filter of its own.
    Container,
    /// Everything in the target.
    None,
}

impl Collector {
    /// Takes in one fact.
    pub fn add(&mut self, fact: Fact) {
        let Fact { header, body } = fact;
        if header.pushed_out.key != 0 {
            let SeenFact { key, count, last_ms } = header.pushed_out;
            self.counts.entry(key).or_default().add(u64::from(count), u64::from(last_ms));
        }
        match body {
            Body::Count => {
                let [count, last_ms, ..] = header.args;
                self.counts.entry(header.key).or_default().add(count, last_ms);
            }
            Body::Executable(path) => {
                if self.executables.len() < MAX_FACTS {
                    self.executables.insert(header.exe, path.into());
                }
            }
            Body::Call => self.call(&header),
            Body::Capability => self.capability(&header),
            Body::File(path, target) => self.file(&header, path, target),
            Body::Names { first, second } => self.names(&header, first, second),
            Body::Exec { path, script } => self.exec(&header, path, script),
            Body::Network { address, base } => self.network(&header, &address, base),
        }
    }

    fn facts(&mut self, header: &Header) -> &mut Facts {
        let facts = match header.class & !class::FILTERED {
            class::SETUP if header.class & class::FILTERED != 0 => &mut self.filtered_setup,
            class::SETUP => &mut self.by_class[1],
            class::INSIDE => &mut self.by_class[2],
            _ => &mut self.by_class[0],
        };
        facts.credentials.entry((header.uid, header.gid)).or_default().insert(header.exe);
        facts
    }

    fn call(&mut self, header: &Header) {
        let tuple: BTreeMap<u8, u64> =
            (0u8..).zip(header.args).filter(|(index, _)| header.mask & (1 << index) != 0).collect();
        let facts = self.facts(header);
        let new = !facts.calls.contains_key(&(header.arch, header.nr));
        let call = facts.calls.entry((header.arch, header.nr)).or_default();
        call.seen.add(header);
        call.keys.insert(header.key);
        if header.errno == 0 {
            call.succeeded = true;
        } else {
            call.errors.insert(header.errno);
        }
        let mut full = false;
        if header.mask != 0 {
            full = call.tuples.len() >= MAX_TUPLES && !call.tuples.contains_key(&tuple);
            if !full {
                call.tuples.entry(tuple).or_default().insert(header.exe);
            }
        }
        self.tuple_overflow += u64::from(full);
        self.distinct.syscalls += u64::from(new);
    }

    fn capability(&mut self, header: &Header) {
        let [number, ..] = header.args;
        let facts = self.facts(header);
        let key = (u32::try_from(number).unwrap_or(u32::MAX), header.errno == 0);
        let new = !facts.capabilities.contains_key(&key);
        let entry = facts.capabilities.entry(key).or_default();
        entry.seen.add(header);
        entry.calls.insert((header.arch, header.nr));
        entry.refused |= header.flags & flag::REFUSED != 0;
        if header.flags & flag::HOOK != 0 {
            let audited = header.flags & flag::UNAUDITED == 0;
            entry.needed = Some(entry.needed.unwrap_or_default() || audited);
        }
        self.distinct.capabilities += u64::from(new);
    }

    fn file(&mut self, header: &Header, mut path: Vec<u8>, target: Option<Vec<u8>>) {
        const S_IFMT: u64 = 0o170_000;
        const S_IFDIR: u64 = 0o040_000;
        let [bits, mode, ..] = header.args;
        if mode & S_IFMT == S_IFDIR && path != b"/" {
            path.push(b'/');
        }
        let owner = Some(header.flags & flag::OWNER != 0);
        self.access(header, path, access_of(bits), owner, target);
    }

    fn access(
        &mut self,
        header: &Header,
        path: Vec<u8>,
        access: Access,
        owner: Option<bool>,
        link_target: Option<Vec<u8>>,
    ) {
        let facts = self.facts(header);
        let key = (path.into(), link_target.map(BytePath::from), header.errno);
        let new = !facts.files.contains_key(&key);
        if new && facts.files.len() >= MAX_FACTS {
            self.overflow += 1;
            return;
        }
        let file = facts.files.entry(key).or_default();
        file.owner = match (new, file.owner, owner) {
            (true, _, owner) => owner,
            (false, Some(a), Some(b)) => Some(a && b),
            _ => None,
        };
        file.seen.add(header);
        file.access |= access;
        file.operations.insert(operation(header.op));
        file.refused |= header.flags & flag::REFUSED != 0;
        self.distinct.paths += u64::from(new && header.errno == 0);
    }

    fn exec(&mut self, header: &Header, path: Vec<u8>, script: Option<Name>) {
        self.facts(header).executed.insert(header.exe);
        // The policy is asked about the file that exec was given: for a script, the script. Its interpreter is
        // opened by the kernel and needs nothing as long as the profile stays the same.
        let path = match script {
            Some(name) => self.roots.of(header).path(&name, true),
            None => path,
        };
        let header = Header { op: op::EXEC, ..*header };
        self.access(&header, path, Access::EXEC, None, None);
    }

    fn names(&mut self, header: &Header, first: Option<Name>, second: Option<Name>) {
        let place = self.roots.of(header);
        for (path, access, link_target) in named(place, &self.directories, header, first, second) {
            if path.ends_with(b"/") && self.directories.len() < MAX_FACTS {
                self.directories.insert(path.clone());
            }
            self.access(header, path, access, None, link_target);
        }
    }

    fn network(&mut self, header: &Header, bytes: &[u8], base: Vec<u8>) {
        let [family, socket_type, protocol, ..] = header.args;
        let address = match address::parse(bytes) {
            None => None,
            Some(Address::Text(text)) => Some(text),
            Some(Address::Path(path)) => {
                let path = self.roots.of(header).path(&Name { base, name: path }, true);
                // Where the hooks are, the name that a socket gets is a fact of its own.
                if header.op == op::BIND && header.flags & flag::HOOK == 0 {
                    self.access(header, path.clone(), Access::CREATE, Some(true), None);
                }
                Some([b"unix:".as_slice(), &path].concat())
            }
        };
        let key = (
            header.op,
            u16::try_from(family).unwrap_or(u16::MAX),
            u16::try_from(socket_type).unwrap_or(u16::MAX),
            u32::try_from(protocol).unwrap_or(u32::MAX),
            address.map(BytePath::from),
            // A connection in progress was allowed, which is all that counts here.
            if header.errno == Errno::EINPROGRESS as u32 { 0 } else { header.errno },
        );
        let facts = self.facts(header);
        let new = !facts.network.contains_key(&key);
        if new && facts.network.len() >= MAX_FACTS {
            self.overflow += 1;
            return;
        }
        let socket = facts.network.entry(key).or_default();
        socket.seen.add(header);
        socket.refused |= header.flags & flag::REFUSED != 0;
        self.distinct.network += u64::from(new);
    }

    /// Takes in a call that a live task is blocked in.
    pub fn blocked_call(&mut self, blocked: &Blocked) {
        // `/proc` knows the image by its path, the facts by the kernel side's key.
        let known = self.executables.iter().find(|(_, path)| **path == blocked.image);
        let exe = known.map_or(0, |(key, _)| *key);
        self.call(&Header { exe, ..blocked.header });
    }

    /// Takes in what the kernel side's maps counted.
    pub fn count(&mut self, counts: &HashMap<u64, Count>) {
        for (key, count) in counts {
            self.counts.entry(*key).or_default().add(count.count, count.last_ms);
        }
    }

    /// How often calls with this number were made, on all architectures.
    pub fn calls_with_number(&self, nr: u32) -> u64 {
        let all = self.by_class.iter().chain([&self.filtered_setup]);
        all.flat_map(|facts| facts.calls.iter().filter(|((_, n), _)| *n == nr))
            .map(|(_, call)| call.count(&self.counts))
            .sum()
    }

    /// To be called now and then.
    pub fn tidy(&mut self) {
        self.roots.tidy();
    }

    /// Whether any task ran an image from inside another mount namespace.
    pub fn has_container(&self) -> bool {
        let [_, _, inside] = &self.by_class;
        !inside.executed.is_empty() || !inside.calls.is_empty()
    }

    /// What could not be kept.
    pub fn losses(&self) -> [(&'static str, u64); 3] {
        [
            ("facts_overflow", self.overflow),
            ("arguments_overflow", self.tuple_overflow),
            ("undecodable", self.undecodable),
        ]
    }

    /// Fills in what was collected. `start_ns` is when the recording began, on the clock of the facts.
    pub fn finish(self, boundary: Boundary, start_ns: u64, recording: &mut Recording) {
        let [host, setup, inside] = self.by_class;
        let facts = match boundary {
            Boundary::Container => {
                let mut facts = inside;
                facts.merge(Facts { calls: self.filtered_setup.calls, ..Facts::default() });
                facts
            }
            Boundary::None => {
                let mut facts = host;
                for other in [setup, inside, self.filtered_setup] {
                    facts.merge(other);
                }
                facts
            }
        };
        let names = Names::of(&facts, &self.executables, start_ns);
        facts.print(&names, &self.counts, recording);
        recording.executables = names.executables;
    }
}

impl Call {
    /// How often it was made; a call that a task is still blocked in has not been counted, but was made.
    fn count(&self, counts: &HashMap<u64, Count>) -> u64 {
        let counted: u64 = self.keys.iter().filter_map(|key| counts.get(key)).map(|c| c.count).sum();
        counted.max(1)
    }
}

impl Facts {
    fn merge(&mut self, other: Self) {
        let Self { calls, files, network, capabilities, credentials, executed } = other;
        for (key, call) in calls {
            let mine = self.calls.entry(key).or_default();
            mine.seen.merge(call.seen);
            mine.keys.extend(call.keys);
            mine.succeeded |= call.succeeded;
            mine.errors.extend(call.errors);
            for (tuple, by) in call.tuples {
                mine.tuples.entry(tuple).or_default().extend(by);
            }
        }
        for (key, file) in files {
            let new = !self.files.contains_key(&key);
            let mine = self.files.entry(key).or_default();
            mine.owner = match (new, mine.owner, file.owner) {
                (true, _, owner) => owner,
                (false, Some(a), Some(b)) => Some(a && b),
                _ => None,
            };
            mine.seen.merge(file.seen);
            mine.access |= file.access;
            mine.operations.extend(file.operations);
            mine.refused |= file.refused;
        }
        for (key, socket) in network {
            let mine = self.network.entry(key).or_default();
            mine.seen.merge(socket.seen);
            mine.refused |= socket.refused;
        }
        for (key, capability) in capabilities {
            let mine = self.capabilities.entry(key).or_default();
            mine.seen.merge(capability.seen);
            mine.calls.extend(capability.calls);
            mine.refused |= capability.refused;
            mine.needed = match (mine.needed, capability.needed) {
                (Some(a), Some(b)) => Some(a || b),
                (a, b) => a.or(b),
            };
        }
        for (key, by) in credentials {
            self.credentials.entry(key).or_default().extend(by);
        }
        self.executed.extend(executed);
    }

    fn print(self, names: &Names, counts: &HashMap<u64, Count>, recording: &mut Recording) {
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
                    .map(|(values, by)| ArgTuple { values, by: names.indices(&by) })
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
                by: names.indices(&call.seen.by),
            })
            .collect();
        recording.failed = Failed::default();
        for ((path, link_target, errno), file) in self.files {
            let access = FileAccess {
                path,
                access: file.access,
                link_target,
                owner: file.owner,
                operations: file.operations.into_iter().map(Into::into).collect(),
                error: (errno != 0).then(|| error_name(errno)),
                refused_by: refused_by(file.refused),
                first_ms: names.milliseconds(file.seen.first_ns),
                by: names.indices(&file.seen.by),
            };
            if errno == 0 { recording.files.push(access) } else { recording.failed.files.push(access) }
        }
        for ((operation_nr, family, kind, protocol, address, errno), socket) in self.network {
            let usage = NetworkUse {
                operation: operation(operation_nr).into(),
                family: family_name(family),
                family_nr: family,
                socket_type: socket_type_name(kind),
                type_nr: kind,
                protocol,
                address,
                error: (errno != 0).then(|| error_name(errno)),
                refused_by: refused_by(socket.refused),
                first_ms: names.milliseconds(socket.seen.first_ns),
                by: names.indices(&socket.seen.by),
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
                first_ms: names.milliseconds(capability.seen.first_ns),
                by: names.indices(&capability.seen.by),
            })
            .collect();
        recording.credentials = self
            .credentials
            .into_iter()
            .map(|((uid, gid), by)| Credential { uid, gid, by: names.indices(&by) })
            .collect();
    }
}

/// Who refused an attempt, as a recording names it.
fn refused_by(refused: bool) -> Option<String> {
    refused.then(|| "lsm".to_owned())
}

/// Executable keys → the recording's list, sorted by path.
struct Names {
    executables: Vec<Executable>,
    index: HashMap<Key, ExecutableIndex>,
    start_ns: u64,
}

impl Names {
    fn of(facts: &Facts, paths: &HashMap<Key, BytePath>, start_ns: u64) -> Self {
        let mut used: BTreeSet<Key> = facts.executed.clone();
        used.extend(facts.calls.values().flat_map(|call| call.seen.by.iter()));
        used.extend(facts.files.values().flat_map(|file| file.seen.by.iter()));
        used.extend(facts.network.values().flat_map(|socket| socket.seen.by.iter()));
        used.extend(facts.capabilities.values().flat_map(|c| c.seen.by.iter()));
        used.extend(facts.credentials.values().flatten());
        used.remove(&0);
        let path = |key: &Key| paths.get(key).cloned().unwrap_or_default();
        // One entry a path, though two mounts or two inodes may have had it.
        let mut by_path: BTreeMap<BytePath, bool> = BTreeMap::new();
        for key in &used {
            *by_path.entry(path(key)).or_default() |= facts.executed.contains(key);
        }
        let position: HashMap<&BytePath, ExecutableIndex> = by_path.keys().zip(0..).collect();
        let index = used.iter().filter_map(|key| Some((*key, *position.get(&path(key))?))).collect();
        let executables = by_path
            .iter()
            .map(|(path, executed)| Executable { path: path.clone(), executed: *executed })
            .collect();
        Self { executables, index, start_ns }
    }

    fn indices(&self, keys: &BTreeSet<Key>) -> Vec<ExecutableIndex> {
        let set: BTreeSet<ExecutableIndex> =
            keys.iter().filter_map(|key| self.index.get(key).copied()).collect();
        set.into_iter().collect()
    }

    fn milliseconds(&self, ns: u64) -> u64 {
        ns.saturating_sub(self.start_ns) / 1_000_000
    }
}
