//! Facts → a recording: each fact is kept once, with who caused it and when it was first seen.
//!
//! Facts are kept apart by where the task stood (see [`class`]), because only the end of the run tells whether the
//! target was a container, whose runtime's set-up does not count.

use std::collections::{BTreeMap, HashMap, HashSet};

use nix::errno::Errno;
use sandbox_trace_ebpf::{
    Header,
    record::{class, flag},
    seen::SeenFact,
    spec::op,
};

use super::{
    address::{self, Address},
    counts::{Counts, FactId},
    decode::{Body, Fact, Name},
    facts::{Call, Facts},
    files::{File, FileKey, Files},
    filters::{Filters, Verdict},
    identity::Identities,
    live::Blocked,
    meaning::{access_of, named},
    roots::Roots,
    seen::ExeId,
    storage::{self, Storages},
    strings::{StringId, Strings},
};
use crate::{kernel::tracer::Count, recording::Access};

/// Most memory for paths, accesses and executables; what a target makes beyond on purpose is reported as a loss. It
/// holds some two million paths of ordinary length.
const MAX_BYTES: usize = 176 << 20;
/// Most uses of sockets that are kept: each address is one, and a scan of a network makes many.
const MAX_NETWORK: usize = 100_000;
/// Most pairs of user and group id that are kept: all that a user namespace usually has.
const MAX_CREDENTIALS: usize = 65_536;
/// Most argument tuples that are kept of one call.
const MAX_TUPLES: usize = 4096;
/// Most scripts that are kept of one interpreter.
const MAX_SCRIPTS: usize = 4096;

/// Where a task stood, as a number: [`class`], and apart from it the calls of a runtime's set-up that were made with
/// a filter in force, which are the runtime's needs of the filter.
pub mod place {
    /// In the host's mount namespace.
    pub const HOST: u8 = 0;
    /// A container runtime's set-up.
    pub const SETUP: u8 = 1;
    /// Inside the container.
    pub const INSIDE: u8 = 2;
    /// A container runtime's set-up, under a filter.
    pub const FILTERED_SETUP: u8 = 3;
}

/// An executable that caused facts.
#[derive(Debug, Clone, Copy, Default)]
pub struct Exe {
    /// Its path; none until the kernel side has sent it.
    pub(super) path: Option<StringId>,
}

/// Keeps facts until the recording is made of them.
#[derive(Debug, Default)]
pub struct Collector {
    pub(super) by_place: [Facts; 4],
    pub(super) files: Files,
    pub(super) strings: Strings,
    pub(super) exes: Vec<Exe>,
    exe_ids: HashMap<u64, ExeId>,
    roots: Roots,
    pub(super) filters: Filters,
    pub(super) identities: Identities,
    pub(super) storages: Storages,
    /// Paths that a directory was seen at, with their slash.
    directories: HashSet<StringId>,
    /// Distinct facts so far, for the progress line.
    pub distinct: Distinct,
    /// Ring records that could not be read.
    pub undecodable: u64,
    overflow: u64,
    tuple_overflow: u64,
    /// How often facts happened, by key.
    pub(super) counts: Counts,
    /// Whether the record that is taken in tells what its key belongs to. One that is sent again does not: its names
    /// may be another path by now, which would get all that was counted.
    links: bool,
    /// Memory that is taken beside files, strings and counts.
    other_bytes: usize,
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
            self.count_one(key, u64::from(count), u64::from(last_ms));
        }
        self.links = header.key != 0 && !self.counts.is_linked(header.key);
        match body {
            Body::Count => {
                let [count, last_ms, ..] = header.args;
                self.count_one(header.key, count, last_ms);
            }
            Body::Executable(path) => self.executable(&header, &path),
            Body::Call => self.call(&header),
            Body::FilterPart(bytes) => self.filters.add_part(header.args[0], bytes),
            Body::FilterChain(parts, truncated) => {
                self.filters.add_chain(header.args[0], truncated, &parts);
            }
            Body::Capability => self.capability(&header),
            Body::File(path, target) => self.file(&header, path, target.as_deref()),
            Body::Names { first, second } => self.names(&header, first, second),
            Body::Exec { path, script } => self.exec(&header, path, script),
            Body::Network { address, base } => self.network(&header, &address, base),
            // For who waits for a target.
            Body::Cgroup(_) => {}
        }
    }

    /// Goes on with what another one has collected; only counts are taken along.
    pub fn become_of(&mut self, other: Self) {
        let before = std::mem::replace(self, other);
        for (key, count, last_ms) in before.counts.iter() {
            self.count_one(key, count, last_ms);
        }
        self.undecodable += before.undecodable;
        self.overflow += before.overflow;
    }

    /// Whether there is no more room for facts that were not seen before.
    fn full(&self) -> bool {
        self.strings.bytes() + self.files.bytes() + self.counts.bytes() + self.other_bytes >= MAX_BYTES
    }

    /// The id of a string; `None` if it is a new one and there is no room.
    fn string(&mut self, bytes: &[u8]) -> Option<StringId> {
        if self.full() { self.strings.find(bytes) } else { self.strings.keep(bytes) }
    }

    /// Who caused a fact; `None` if the task had no executable any more.
    fn exe(&mut self, header: &Header) -> Option<ExeId> {
        const BYTES: usize = 64;
        if header.exe == 0 {
            return None;
        }
        if let Some(id) = self.exe_ids.get(&header.exe) {
            return Some(*id);
        }
        if self.full() {
            self.overflow += 1;
            return None;
        }
        let id = ExeId::try_from(self.exes.len()).ok()?;
        self.exes.push(Exe::default());
        self.exe_ids.insert(header.exe, id);
        self.other_bytes += BYTES;
        Some(id)
    }

    fn executable(&mut self, header: &Header, path: &[u8]) {
        let Some(id) = self.exe(header) else { return };
        self.identities.ask(id, self.roots.of(header).root, path);
        let path = self.string(path);
        self.overflow += u64::from(path.is_none());
        if let Some(exe) = self.exes.get_mut(id as usize) {
            exe.path = path;
        }
    }

    fn place(header: &Header) -> u8 {
        match header.class & class::PLACE {
            class::SETUP if header.class & class::FILTERED != 0 => place::FILTERED_SETUP,
            class::SETUP => place::SETUP,
            class::INSIDE => place::INSIDE,
            _ => place::HOST,
        }
    }

    /// The facts of the place where the task stood; the executable counts as one that ran there.
    fn facts(&mut self, header: &Header, exe: Option<ExeId>) -> &mut Facts {
        let place = usize::from(Self::place(header));
        let [host, ..] = &self.by_place;
        // A place is always one of the four.
        let known = self.by_place.get(place).unwrap_or(host);
        let new = !known.credentials.contains_key(&(header.uid, header.gid));
        let room = !new || known.credentials.len() < MAX_CREDENTIALS;
        self.overflow += u64::from(!room);
        let place = if place < self.by_place.len() { place } else { 0 };
        #[expect(clippy::indexing_slicing, reason = "the line above has it in range")]
        let facts = &mut self.by_place[place];
        if room {
            let by = facts.credentials.entry((header.uid, header.gid)).or_default();
            if let Some(exe) = exe {
                self.other_bytes += by.add(exe);
            }
        }
        facts
    }

    fn call(&mut self, header: &Header) {
        let tuple: BTreeMap<u8, u64> =
            (0u8..).zip(header.args).filter(|(index, _)| header.mask & (1 << index) != 0).collect();
        let verdict = self.filters.judge(header);
        if header.flags & flag::KILLED != 0 && verdict == Verdict::Passed {
            // A signal from elsewhere ended the thread; the call itself was seen when it returned.
            return;
        }
        let exe = self.exe(header);
        let mut next = self.counts.next;
        let facts = self.facts(header, exe);
        if header.filters != 0 {
            facts.filters.insert(header.filters);
        }
        let new = !facts.calls.contains_key(&(header.arch, header.nr));
        let call = facts.calls.entry((header.arch, header.nr)).or_default();
        let mut bytes = call.seen.add(header, exe);
        if new {
            call.often.fact = FactId::other(&mut next);
        }
        let mut fact = call.often.fact;
        if header.key == 0 {
            // A task is still in it, so it was not counted, but it was made.
            call.often.once_more();
        }
        let passed = !matches!(verdict, Verdict::Refused(_));
        call.passed |= passed;
        if header.errno != 0 {
            call.errors.insert(header.errno);
        } else if passed {
            call.succeeded = true;
        }
        match verdict {
            Verdict::Passed => {}
            Verdict::Refused(answer) => _ = call.refused.insert(answer),
            Verdict::Unknown(doubt) => _ = call.doubts.insert(doubt),
        }
        let mut full = false;
        if header.mask != 0 {
            full = call.tuples.len() >= MAX_TUPLES && !call.tuples.contains_key(&tuple);
            if !full {
                let tuple = call.tuples.entry(tuple).or_default();
                bytes += tuple.seen.add(header, exe);
                tuple.passed |= passed;
                if tuple.often.fact == FactId::NONE {
                    tuple.often.fact = FactId::other(&mut next);
                }
                fact = tuple.often.fact;
            }
        }
        self.other_bytes += bytes;
        self.tuple_overflow += u64::from(full);
        self.distinct.syscalls += u64::from(new);
        self.counts.next = next;
        self.link(header.key, fact);
    }

    fn capability(&mut self, header: &Header) {
        let [number, ..] = header.args;
        let exe = self.exe(header);
        let mut next = self.counts.next;
        let facts = self.facts(header, exe);
        let key = (u32::try_from(number).unwrap_or(u32::MAX), header.errno == 0);
        let new = !facts.capabilities.contains_key(&key);
        let entry = facts.capabilities.entry(key).or_default();
        let bytes = entry.seen.add(header, exe);
        entry.calls.insert((header.arch, header.nr));
        entry.refused |= header.flags & flag::REFUSED != 0;
        if header.flags & flag::HOOK != 0 {
            let audited = header.flags & flag::UNAUDITED == 0;
            entry.needed = Some(entry.needed.unwrap_or_default() || audited);
        }
        if new {
            entry.often.fact = FactId::other(&mut next);
        }
        let fact = entry.often.fact;
        self.other_bytes += bytes;
        self.distinct.capabilities += u64::from(new);
        self.counts.next = next;
        self.link(header.key, fact);
    }

    fn file(&mut self, header: &Header, mut path: Vec<u8>, target: Option<&[u8]>) {
        const S_IFMT: u64 = 0o170_000;
        const S_IFDIR: u64 = 0o040_000;
        let [bits, mode, ..] = header.args;
        if mode & S_IFMT == S_IFDIR && path != b"/" {
            path.push(b'/');
        }
        let owner = Some(header.flags & flag::OWNER != 0);
        self.access(header, &path, access_of(bits), owner, target);
    }

    fn access(
        &mut self,
        header: &Header,
        path: &[u8],
        access: Access,
        owner: Option<bool>,
        link_target: Option<&[u8]>,
    ) {
        if header.errno == 0 && access.intersects(storage::WRITES) {
            self.written(header, path);
        }
        let exe = self.exe(header);
        self.facts(header, exe);
        let path = self.string(path);
        let link_target = link_target.map(|target| self.string(target));
        let (Some(path), Some(link_target)) = (path, link_target.map_or(Some(None), |id| id.map(Some)))
        else {
            self.overflow += 1;
            return;
        };
        let errno = u16::try_from(header.errno).unwrap_or(u16::MAX);
        let key = FileKey { path, link_target, errno, place: Self::place(header) };
        let known = self.files.find(&key);
        let number = match known {
            Some(number) => Some(number),
            None if self.full() => None,
            None => self.files.insert(key, File::new(access, owner, header.op)),
        };
        let Some(file) = number.and_then(|number| self.files.get_mut(number)) else {
            self.overflow += 1;
            return;
        };
        if known.is_some() {
            file.add(access, owner, header.op);
        }
        let bytes = file.seen.add(header, exe);
        file.refused |= header.flags & flag::REFUSED != 0;
        self.other_bytes += bytes;
        self.distinct.paths += u64::from(known.is_none() && header.errno == 0);
        self.link(header.key, number.map_or(FactId::NONE, FactId::file));
    }

    /// Something was written: from now on its folder is looked at.
    fn written(&mut self, header: &Header, path: &[u8]) {
        let place = Self::place(header);
        if let Some(folder) = self.storages.wanted(place, path) {
            let own = header.class & class::ELSEWHERE == 0;
            self.storages.ask(place, self.roots.of(header).root, own, folder);
        }
    }

    fn exec(&mut self, header: &Header, path: Vec<u8>, script: Option<Name>) {
        let exe = self.exe(header);
        let facts = self.facts(header, exe);
        facts.executed.extend(exe);
        // The policy is asked about the file that exec was given: for a script, the script. Its interpreter is
        // opened by the kernel and needs nothing as long as the profile stays the same.
        let path = match script {
            Some(name) => {
                let path = self.roots.of(header).path(&name, true);
                if let (Some(exe), Some(script)) = (exe, self.string(&path)) {
                    let scripts = self.facts(header, Some(exe)).scripts.entry(exe).or_default();
                    if scripts.len() < MAX_SCRIPTS {
                        scripts.insert(script);
                    }
                }
                path
            }
            None => path,
        };
        let header = Header { op: op::EXEC, ..*header };
        self.access(&header, &path, Access::EXEC, None, None);
    }

    fn names(&mut self, header: &Header, first: Option<Name>, second: Option<Name>) {
        let place = self.roots.of(header);
        let known_directory =
            |path: &[u8]| self.strings.find(path).is_some_and(|id| self.directories.contains(&id));
        for (path, access, link_target) in named(place, &known_directory, header, first, second) {
            if path.ends_with(b"/")
                && let Some(id) = self.string(&path)
                && self.directories.insert(id)
            {
                self.other_bytes += 8;
            }
            self.access(header, &path, access, None, link_target.as_deref());
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
                    self.access(header, &path, Access::CREATE, Some(true), None);
                }
                Some([b"unix:".as_slice(), &path].concat())
            }
        };
        let address = match address.map(|address| self.string(&address)) {
            None => None,
            Some(Some(id)) => Some(id),
            Some(None) => {
                self.overflow += 1;
                return;
            }
        };
        let key = (
            header.op,
            u16::try_from(family).unwrap_or(u16::MAX),
            u16::try_from(socket_type).unwrap_or(u16::MAX),
            u32::try_from(protocol).unwrap_or(u32::MAX),
            address,
            // A connection in progress was allowed, which is all that counts here.
            if header.errno == Errno::EINPROGRESS as u32 { 0 } else { header.errno },
        );
        let exe = self.exe(header);
        let mut next = self.counts.next;
        let facts = self.facts(header, exe);
        let new = !facts.network.contains_key(&key);
        if new && facts.network.len() >= MAX_NETWORK {
            self.overflow += 1;
            return;
        }
        let socket = facts.network.entry(key).or_default();
        let bytes = socket.seen.add(header, exe);
        socket.refused |= header.flags & flag::REFUSED != 0;
        if new {
            socket.often.fact = FactId::other(&mut next);
        }
        let fact = socket.often.fact;
        self.other_bytes += bytes;
        self.distinct.network += u64::from(new);
        self.counts.next = next;
        self.link(header.key, fact);
    }

    /// Takes in a call that a live task is blocked in.
    pub fn blocked_call(&mut self, blocked: &Blocked) {
        // `/proc` knows the image by its path, the facts by the kernel side's key.
        let path = self.strings.find(blocked.image.as_bytes());
        let known = self.exe_ids.iter().find(|(_, id)| {
            path.is_some() && self.exes.get(**id as usize).is_some_and(|exe| exe.path == path)
        });
        let exe = known.map_or(0, |(key, _)| *key);
        self.call(&Header { exe, ..blocked.header });
    }

    /// Takes in what the kernel side's maps counted, of the facts that are here.
    pub fn count(&mut self, counts: &HashMap<u64, Count>) {
        for (key, count) in counts {
            self.counts.add(*key, count.count, count.last_ms, false);
        }
    }

    /// The record's key is this fact's.
    fn link(&mut self, key: u64, fact: FactId) {
        if self.links && key != 0 && fact != FactId::NONE {
            let room = !self.full();
            self.counts.link(key, fact, room);
        }
    }

    fn count_one(&mut self, key: u64, count: u64, last_ms: u64) {
        let room = !self.full();
        if !self.counts.add(key, count, last_ms, room) {
            self.overflow += 1;
        }
    }

    /// How often calls with this number were made, on all architectures.
    pub fn calls_with_number(&self, nr: u32) -> u64 {
        let all = self.by_place.iter().flat_map(|facts| facts.calls.iter());
        let calls: Vec<&Call> = all.filter(|((_, n), _)| *n == nr).map(|(_, call)| call).collect();
        if calls.is_empty() {
            return 0;
        }
        let facts = calls
            .iter()
            .flat_map(|call| call.tuples.values().map(|tuple| tuple.often.fact).chain([call.often.fact]));
        self.counts.sum(&facts.collect()).max(1)
    }

    /// Waits a moment for what is not known yet of executables.
    pub fn finish(&mut self) {
        // First: what the target had mounted may go any moment.
        self.storages.finish();
        self.identities.wait();
    }

    /// To be called now and then.
    pub fn tidy(&mut self) {
        self.roots.tidy();
        self.storages.take();
    }

    /// Whether any task ran an image from inside another mount namespace.
    pub fn has_container(&self) -> bool {
        let [_, _, inside, _] = &self.by_place;
        !inside.executed.is_empty() || !inside.calls.is_empty()
    }

    /// What could not be kept.
    pub fn losses(&self) -> [(&'static str, u64); 4] {
        [
            ("facts_overflow", self.overflow),
            ("filters_overflow", self.filters.overflow),
            ("arguments_overflow", self.tuple_overflow),
            ("undecodable", self.undecodable),
        ]
    }
}
