//! `fold`: recordings → what must be allowed, each with its evidence. Pure and order-independent.
//!
//! Failed attempts become requirements only where the kernel asks the policy before it finds the failure
//! (see [`asked_before_failing`]): a profile without them would turn `EWOULDBLOCK` into `EACCES`.

mod files;
mod refused;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::PathBuf,
};

pub use self::files::{FileNeed, Files, Occurrence};
use crate::{
    error::{Error, Result},
    recording::{
        self, Access, BytePath, Container, Credential, ExecutableIndex, FileAccess, NetworkUse, Recording,
        Resources, RunSet,
    },
};

/// Who needed something, how often, and when.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Evidence {
    /// The executables.
    pub by: BTreeSet<BytePath>,
    /// Milliseconds into the run that first saw it.
    pub first_ms: Option<u64>,
    /// Milliseconds into the run that last saw it.
    pub last_ms: Option<u64>,
    /// How often it happened, over all recordings.
    pub count: u64,
    /// The recordings that have it, by position in [`Requirements::runs`].
    pub recordings: BTreeSet<u32>,
}

/// How often a fact happened, when first and when last.
type Often = (u64, u64, u64);

impl Evidence {
    fn add(
        &mut self,
        (position, recording): (u32, &Recording),
        by: &[ExecutableIndex],
        (count, first_ms, last_ms): Often,
    ) {
        self.recordings.insert(position);
        self.by.extend(by.iter().map(|index| recording.executable(*index).clone()));
        self.first_ms = Some(self.first_ms.map_or(first_ms, |first| first.min(first_ms)));
        // Of old recordings the last sight is not known; the first one is one.
        self.last_ms = self.last_ms.max(Some(last_ms.max(first_ms)));
        self.count = self.count.saturating_add(count);
    }

    /// The executables in one line, for messages: `/usr/bin/node, /bin/sh`.
    pub fn who(&self) -> String {
        let names: Vec<String> = self
            .by
            .iter()
            .map(|path| if path.is_empty() { "an unnamed executable".into() } else { path.to_string() })
            .collect();
        if names.is_empty() { "an unknown executable".into() } else { names.join(", ") }
    }
}

/// A system call that must be allowed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SyscallNeed {
    /// The number on its architecture.
    pub nr: u32,
    /// How often it was made, over all recordings.
    pub count: u64,
    /// The distinct recorded argument tuples (position → value) with who made them. Empty if the call has no
    /// argument policy.
    pub args: BTreeMap<BTreeMap<u8, u64>, Evidence>,
    /// Whether it ever succeeded.
    pub succeeded: bool,
    /// The errors that it returned, by name.
    pub errors: BTreeSet<String>,
    /// Who made it.
    pub evidence: Evidence,
    /// What callers got from a filter that refused it while it was recorded. Empty if none did.
    pub refused: BTreeSet<String>,
    /// Whether any call got past the filters.
    pub passed: bool,
    /// The recorded arguments with which one did.
    pub passed_args: BTreeSet<BTreeMap<u8, u64>>,
}

impl SyscallNeed {
    /// Whether all that the target ever got was "no such system call": it lives without it, but it must go on
    /// getting that very answer.
    pub fn only_enosys(&self) -> bool {
        !self.succeeded && self.errors.len() == 1 && self.errors.contains("ENOSYS")
    }
}

/// A use of sockets that must be allowed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct NetworkKey {
    /// Number and name of the address family.
    pub family: (u16, String),
    /// Number and name of the socket type.
    pub socket_type: (u16, String),
}

/// A place that a socket was bound or connected to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct AddressKey {
    /// `bind`, or `connect`, which sending to an address is too.
    pub operation: String,
    /// The address, as recordings have it.
    pub address: BytePath,
}

/// What must be allowed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Requirements {
    /// By architecture (`x86_64`, `i386`, `x32`) and name.
    pub syscalls: BTreeMap<(String, String), SyscallNeed>,
    /// Dangerous calls that a filter refused, and the target went on: no needs, but a person may want to know.
    pub survived: BTreeMap<(String, String), SyscallNeed>,
    /// By path and link target.
    pub files: Files,
    /// What was looked for and not there: no need, but where such names are generalised, the next run may find it.
    pub missed: Files,
    /// By family and type.
    pub network: BTreeMap<NetworkKey, Evidence>,
    /// The places that sockets were bound and connected to.
    pub addresses: BTreeMap<AddressKey, Evidence>,
    /// By name; only those that were granted and are needed, with the number.
    pub capabilities: BTreeMap<String, (u32, Evidence)>,
    /// What the recordings did not observe (`capabilities` on kernels without the tracepoint).
    pub unobserved: BTreeSet<String>,
    /// What made recordings incomplete: counter → how much.
    pub losses: BTreeMap<String, u64>,
    /// What each recording tells of the run itself, in the order of the recordings.
    pub runs: Vec<Run>,
    /// The folders between which files were renamed.
    pub moves: Moves,
}

/// The folders out of and into which files were renamed, each with `/` at its end. Which went where is not known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Moves {
    /// Where the old names were.
    pub from: BTreeSet<Vec<u8>>,
    /// Where the new ones are.
    pub into: BTreeSet<Vec<u8>>,
}

/// What a rename does to a folder.
const NAMES: Access = Access::CREATE.union(Access::DELETE);

/// One run: what was recorded, and what it consumed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Run {
    /// The recording's name, for messages.
    pub name: String,
    /// How long it took.
    pub duration_ms: u64,
    /// The command, where one was recorded.
    pub command: Vec<BytePath>,
    /// The container, where it was one.
    pub container: Option<Container>,
    /// Uses of sockets that succeeded, with their addresses.
    pub network: Vec<NetworkUse>,
    /// User and group ids that it ran with.
    pub credentials: Vec<Credential>,
    /// Peaks of what it consumed.
    pub resources: Resources,
}

/// The kinds that a recording can observe.
pub const KINDS: [&str; 4] = ["syscalls", "files", "network", "capabilities"];

/// Folds recordings into requirements. An empty recording, and one that lost something when
/// `allow_incomplete` is false, is an error: no policy is made from nothing or from half the evidence.
pub fn fold(recordings: &[(String, Recording)], allow_incomplete: bool) -> Result<Requirements> {
    let mut fold = Fold::default();
    for (name, recording) in recordings {
        fold.recording(name, recording, allow_incomplete)?;
    }
    Ok(fold.end())
}

/// Reads recordings and folds them. Their file accesses are never in memory as values: a million take some 100 MB.
pub fn load(paths: &[PathBuf], allow_incomplete: bool) -> Result<Requirements> {
    let mut fold = Fold::default();
    for path in paths {
        let recording = recording::load_each(path, &mut |_, file| {
            let at = (file.count, file.first_ms, file.last_ms);
            let asked = match &file.error {
                None => true,
                Some(error) => asked_before_failing(error, &file.operations()?),
            };
            let missed = file.error.as_deref() == Some("ENOENT") && file.access == Access::READ;
            if file.error.is_none() && file.access.intersects(NAMES) && file.is_renamed() {
                fold.renamed(&file.path()?, file.access);
            }
            if asked {
                fold.file(
                    &file.path()?,
                    file.link_target(),
                    file.access,
                    file.owner,
                    (&file.by, file.runs.as_ref()),
                    at,
                );
            } else if missed {
                fold.missed(&file.path()?);
            }
            Ok(())
        })?;
        fold.recording(&path.display().to_string(), &recording, allow_incomplete)?;
    }
    Ok(fold.end())
}

/// Requirements in the making.
#[derive(Default)]
struct Fold {
    out: Requirements,
    /// The executables that accesses of the present recording name, by their indices: resolved when its list is known.
    who: HashMap<Vec<ExecutableIndex>, u32>,
    /// The same of the runs that have an access, of a merged recording; absent are all.
    seen: HashMap<Option<RunSet>, u32>,
    /// How many runs were folded before the present recording's.
    runs: u32,
    /// Whether it has file accesses.
    has_files: bool,
}

impl Fold {
    /// Which recording is being folded, by its place among all.
    fn position(&self) -> u32 {
        u32::try_from(self.out.runs.len()).unwrap_or(u32::MAX)
    }

    fn file(
        &mut self,
        path: &[u8],
        target: Option<&[u8]>,
        access: Access,
        owner: Option<bool>,
        (by, runs): (&[ExecutableIndex], Option<&RunSet>),
        (count, first_ms, last_ms): Often,
    ) {
        let recording = self.position();
        let files = &mut self.out.files;
        let who = if let Some(known) = self.who.get(by) {
            *known
        } else {
            let new = files.who(BTreeSet::new());
            self.who.insert(by.to_vec(), new);
            new
        };
        let runs = match (runs, self.seen.get(&runs.cloned())) {
            (_, Some(known)) => *known,
            (runs, None) => *self.seen.entry(runs.cloned()).or_insert(files.runs(0)),
        };
        let occurrence = Occurrence { recording, runs, who, count, first_ms, last_ms };
        files.add(path, target, access, owner, occurrence);
        self.has_files = true;
    }

    /// A file moved between these folders, as far as one recording tells.
    fn renamed(&mut self, path: &[u8], access: Access) {
        let own = path.strip_suffix(b"/").unwrap_or(path);
        let folder =
            own.iter().rposition(|byte| *byte == b'/').and_then(|at| own.get(..=at)).unwrap_or_default();
        let moves = &mut self.out.moves;
        let side = if access.intersects(Access::DELETE) { &mut moves.from } else { &mut moves.into };
        if !side.contains(folder) {
            side.insert(folder.to_vec());
        }
    }

    fn missed(&mut self, path: &[u8]) {
        self.out.missed.add(path, None, Access::READ, None, Occurrence::default());
    }

    /// Takes in a recording, whose file accesses may have come before.
    fn recording(&mut self, name: &str, recording: &Recording, allow_incomplete: bool) -> Result<()> {
        if recording.is_empty() && !self.has_files {
            return Err(Error::incomplete(format!(
                "{name} has no facts: the target did nothing while it was recorded"
            ))
            .hint("start the recording before the workload, and check that it names the workload's cgroup"));
        }
        for (what, count) in recording.losses.iter().filter(|(_, count)| **count > 0) {
            *self.out.losses.entry(what.clone()).or_default() += count;
        }
        if !recording.complete && !allow_incomplete {
            let lost = describe_losses(&recording.losses);
            return Err(Error::incomplete(format!("{name} is incomplete ({lost})")).hint(
                "record again, or accept a profile that may block something needed with --allow-incomplete",
            ));
        }
        for kind in KINDS {
            if !recording.host.observed.iter().any(|seen| seen == kind) {
                self.out.unobserved.insert(kind.to_owned());
            }
        }
        for file in &recording.failed.files {
            if file.error.as_deref() == Some("ENOENT") && file.access == Access::READ {
                self.missed(file.path.as_bytes());
            }
        }
        let failed = recording.failed.files.iter().filter(|file| {
            file.error.as_deref().is_some_and(|error| asked_before_failing(error, &file.operations))
        });
        for file in &recording.files {
            if file.access.intersects(NAMES) && file.operations.iter().any(|operation| operation == "rename")
            {
                self.renamed(file.path.as_bytes(), file.access);
            }
        }
        for file in recording.files.iter().chain(failed) {
            let FileAccess { path, link_target, access, owner, count, first_ms, last_ms, by, runs, .. } =
                file;
            let target = link_target.as_ref().map(BytePath::as_bytes);
            self.file(
                path.as_bytes(),
                target,
                *access,
                *owner,
                (by, runs.as_ref()),
                (*count, *first_ms, *last_ms),
            );
        }
        let at = (self.position(), recording);
        fold_one(&mut self.out, at);
        self.out.runs.push(Run {
            name: name.to_owned(),
            duration_ms: recording.duration_ms,
            command: recording.target.command.clone(),
            container: recording.target.container.clone(),
            network: recording.network.clone(),
            // Whom it ran as is said in its own numbers.
            credentials: recording.own_credentials(),
            resources: recording.resources.clone(),
        });
        refused::add_sockets(&mut self.out, at);
        for (indices, who) in self.who.drain() {
            let by = indices.iter().map(|index| recording.executable(*index).clone()).collect();
            self.out.files.resolve(who, by);
        }
        for (runs, place) in self.seen.drain() {
            let bits = recording.seen_in(runs.as_ref());
            let bits = bits.iter().fold(0, |all, run| all | 1_u64 << (self.runs.wrapping_add(run) % 64));
            self.out.files.resolve_runs(place, bits);
        }
        self.runs = self.runs.wrapping_add(recording.run_count());
        self.has_files = false;
        Ok(())
    }

    fn end(mut self) -> Requirements {
        self.out.files.sort();
        self.out.missed.sort();
        refused::set_apart(&mut self.out);
        self.out
    }
}

/// `ring_full 12, path_too_deep 1`, or that the recording ended early.
pub fn describe_losses(losses: &BTreeMap<String, u64>) -> String {
    let lost: Vec<String> =
        losses.iter().filter(|(_, n)| **n > 0).map(|(what, n)| format!("{what} {n}")).collect();
    if lost.is_empty() { "it was cut short".into() } else { lost.join(", ") }
}

fn fold_one(out: &mut Requirements, (position, recording): (u32, &Recording)) {
    let at = (position, recording);
    for syscall in &recording.syscalls {
        let need = out.syscalls.entry((syscall.arch.clone(), syscall.name.clone())).or_default();
        need.nr = syscall.nr;
        need.count = need.count.saturating_add(syscall.count);
        need.succeeded |= syscall.succeeded;
        need.errors.extend(syscall.errors.iter().cloned());
        let often = (syscall.count, syscall.first_ms, syscall.last_ms);
        need.evidence.add(at, &syscall.by, often);
        need.add_refusals(syscall);
        for tuple in &syscall.args {
            let first_ms = tuple.first_ms.max(syscall.first_ms);
            let often = (tuple.count, first_ms, tuple.last_ms);
            need.args.entry(tuple.values.clone()).or_default().add(at, &tuple.by, often);
        }
    }
    for network in &recording.network {
        let key = NetworkKey {
            family: (network.family_nr, network.family.clone()),
            socket_type: (network.type_nr, network.socket_type.clone()),
        };
        let often = (network.count, network.first_ms, network.last_ms);
        out.network.entry(key).or_default().add(at, &network.by, often);
        let operation = match network.operation.as_str() {
            "bind" => "bind",
            "connect" | "sendto" | "send" => "connect",
            _ => continue,
        };
        if let Some(address) = network.address.clone().filter(|_| network.error.is_none()) {
            let key = AddressKey { operation: operation.to_owned(), address };
            out.addresses.entry(key).or_default().add(at, &network.by, often);
        }
    }
    for capability in recording.capabilities.iter().filter(|c| c.granted && !c.probe) {
        let entry = out.capabilities.entry(capability.name.clone()).or_default();
        entry.0 = capability.nr;
        let often = (capability.count, capability.first_ms, capability.last_ms);
        entry.1.add(at, &capability.by, often);
    }
}

/// Whether the kernel asks the security module before it finds out that the operation fails this way. Then a
/// profile without the permission changes the error, and programs that expect it (a lock that is taken, a
/// directory that is not empty, a FIFO without a reader) break.
///
/// Source: the order of checks in fs/open.c, fs/namei.c, fs/locks.c of Linux 6.1. A name that does not exist,
/// and a refusal by mode bits, fails before.
fn asked_before_failing(error: &str, operations: &[String]) -> bool {
    operations.iter().any(|operation| match operation.as_str() {
        "open" => matches!(error, "ENXIO" | "ENODEV" | "EIO" | "EAGAIN" | "EINTR" | "EBUSY" | "ENOMEDIUM"),
        "lock" => matches!(error, "EAGAIN" | "EACCES" | "EINTR" | "EDEADLK" | "ENOLCK"),
        "rmdir" => matches!(error, "ENOTEMPTY" | "EBUSY" | "ENOTDIR"),
        "unlink" => matches!(error, "EISDIR" | "EBUSY" | "ENOTEMPTY" | "ENOTDIR"),
        "rename" => matches!(error, "ENOTEMPTY" | "EBUSY" | "EISDIR" | "ENOTDIR"),
        "exec" => matches!(error, "ENOEXEC"),
        _ => false,
    })
}
