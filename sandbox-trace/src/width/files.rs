//! Files that a compiled AppArmor profile admits, by walking its automaton along with the tree.
//!
//! What mode bits allow is not looked at: they are the image's, and root's capabilities pass them by.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, HashMap},
    path::Path,
};

use schemars::JsonSchema;
use serde::Serialize;

use super::{
    bounded::Smallest,
    tree::{self, Kind, Visitor},
};
use crate::{
    apparmor::{
        dfa::State,
        perms::{self, Subject},
        policy::{Automaton, Mode, Profile},
    },
    error::Result,
    linux,
    recording::{Access, BytePath},
    requirements::Requirements,
};

/// How many paths a list names; the counts beside it are whole.
const LISTED: usize = 20;

/// What AppArmor asks `w` or `a` for.
const WRITES: Access =
    Access::WRITE.union(Access::APPEND).union(Access::CREATE).union(Access::DELETE).union(Access::SETATTR);

/// How many of one kind there are, and how many of them may be used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Counts {
    /// Readable; of directories: their names may be listed.
    pub readable: u64,
    /// Writable, if only at the end; of directories: they may be made and removed under this name.
    pub writable: u64,
    /// All of them.
    pub of: u64,
}

/// What a profile admits of a root file system. A file counts if any process under the profile, its owner's or not,
/// gets the permission from AppArmor.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Files {
    /// Regular files that may be read.
    pub readable: u64,
    /// Regular files that may be written, if only at the end.
    pub writable: u64,
    /// Regular files that may be executed, in whatever profile.
    pub executable: u64,
    /// All regular files, by name: a file with two names counts twice, as AppArmor goes by names.
    pub of: u64,
    /// Of the above: those that only their owner gets.
    pub owner_only: OwnerOnly,
    /// What the recordings used of the regular files that are there; null without recordings.
    pub used: Option<Used>,
    /// Files that may be both written and executed: what an attacker looks for.
    pub writable_and_executable: u64,
    /// The first of them, by path.
    #[schemars(length(max = LISTED))]
    pub writable_and_executable_paths: Vec<BytePath>,
    /// The directories with the most files that may be read and that no recording read, most first.
    #[schemars(length(max = LISTED))]
    pub widest: Vec<Widest>,
    /// Directories.
    pub directories: Counts,
    /// Devices, pipes and sockets.
    pub special: Counts,
    /// Symbolic links, which AppArmor does not mediate: it asks about what they lead to.
    pub symlinks: u64,
    /// How many directories could not be read: what is in them was not counted.
    pub unread_count: u64,
    /// The first of them, with the reason.
    #[schemars(length(max = LISTED))]
    pub unread: Vec<Unread>,
    /// The kernel's own file systems that are mounted in the tree, which were left out.
    pub left_out: Vec<BytePath>,
}

/// Files that a rule with `owner` alone admits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct OwnerOnly {
    /// Readable by their owner only.
    pub readable: u64,
    /// Writable by their owner only.
    pub writable: u64,
    /// Executable by their owner only.
    pub executable: u64,
}

/// What recordings used of what is there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Used {
    /// Files that were read.
    pub read: u64,
    /// Files that were written, truncated, removed, or whose mode was changed.
    pub written: u64,
    /// Files that were executed.
    pub executed: u64,
    /// Recorded paths that are no regular files of this tree: made while it ran, in mounts, or directories.
    pub elsewhere: u64,
}

/// A directory with its files that may be read and were not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Widest {
    /// The directory.
    pub path: BytePath,
    /// How many of its own files may be read and were not.
    pub readable_unused: u64,
}

/// A directory that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Unread {
    /// The directory.
    pub path: BytePath,
    /// Why.
    pub why: String,
}

/// Kinds of sockets: pairs of an address family and a type.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Network {
    /// How many pairs the profile admits.
    pub allowed: usize,
    /// How many the recordings used; null without recordings.
    pub used: Option<usize>,
    /// How many there are.
    pub of: usize,
}

/// Capabilities.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Capabilities {
    /// Those that the profile admits.
    pub allowed: Vec<&'static str>,
    /// Those that the recordings needed; null without recordings.
    pub used: Option<Vec<&'static str>>,
    /// How many there are.
    pub of: usize,
}

/// Says what the profile's mode makes of the numbers.
pub fn note_mode(profile: &Profile, notes: &mut Vec<String>) {
    match profile.mode {
        Mode::Enforce | Mode::Kill => {}
        Mode::Complain => notes.push(format!(
            "{} is in complain mode: it blocks nothing until it is enforced; the counts are for then",
            profile.name
        )),
        Mode::Unconfined => {
            notes.push(format!("{} is in unconfined mode: it admits everything", profile.name));
        }
    }
}

/// Counts what the profile admits of the tree at `rootfs`.
pub fn measure(profile: &Profile, rootfs: &Path, needs: Option<&Requirements>) -> Result<Files> {
    let mut used: HashMap<&[u8], Access> = HashMap::new();
    for need in needs.into_iter().flat_map(|needs| needs.files.iter()) {
        *used.entry(need.path()).or_default() |= need.access();
    }
    let recorded = used.len();
    let mut count = Count {
        profile,
        rules: profile.files.as_ref(),
        used,
        met: 0,
        out: Files { used: needs.map(|_| Used::default()), ..Files::default() },
        path: Vec::new(),
        unused_here: 0,
        widest: Smallest::new(LISTED),
        both: Smallest::new(LISTED),
        unread: Smallest::new(LISTED),
        left_out: BTreeSet::new(),
    };
    let start = count.rules.map_or(State::DEAD, |rules| rules.dfa.step(rules.start, b'/'));
    let root = count.grants(start);
    count.out.directories.add(root);
    tree::walk(rootfs, start, &mut count)?;
    let Count { met, mut out, widest, both, unread, left_out, .. } = count;
    if let Some(used) = &mut out.used {
        used.elsewhere = number(recorded).saturating_sub(met);
    }
    out.widest =
        widest.sorted().map(|(Reverse(readable_unused), path)| Widest { path, readable_unused }).collect();
    out.writable_and_executable_paths = both.sorted().collect();
    out.unread = unread.sorted().map(|(path, why)| Unread { path, why }).collect();
    out.left_out = left_out.into_iter().collect();
    Ok(out)
}

/// What one end of a walk gives.
#[derive(Debug, Clone, Copy, Default)]
struct Grants {
    read: By,
    write: By,
    execute: By,
}

/// Whether the owner gets it, and whether others do.
#[derive(Debug, Clone, Copy, Default)]
struct By {
    owner: bool,
    other: bool,
}

impl By {
    fn any(self) -> bool {
        self.owner || self.other
    }

    /// Counts it, and whether it is the owner's alone.
    fn add_to(self, all: &mut u64, owner_only: &mut u64) {
        *all += u64::from(self.any());
        *owner_only += u64::from(self.owner && !self.other);
    }
}

impl Counts {
    fn add(&mut self, grants: Grants) {
        self.readable += u64::from(grants.read.any());
        self.writable += u64::from(grants.write.any());
        self.of += 1;
    }
}

/// A count that is under way.
struct Count<'a> {
    profile: &'a Profile,
    rules: Option<&'a Automaton>,
    /// What was recorded, by path.
    used: HashMap<&'a [u8], Access>,
    /// How many of them were met.
    met: u64,
    out: Files,
    /// The path of the entry at hand, kept for its room.
    path: Vec<u8>,
    /// Files of the directory at hand that may be read and were not.
    unused_here: u64,
    widest: Smallest<(Reverse<u64>, BytePath)>,
    both: Smallest<BytePath>,
    unread: Smallest<(BytePath, String)>,
    left_out: BTreeSet<BytePath>,
}

impl Count<'_> {
    fn grants(&self, state: State) -> Grants {
        if self.profile.mode == Mode::Unconfined {
            let everyone = By { owner: true, other: true };
            return Grants { read: everyone, write: everyone, execute: everyone };
        }
        let Some(rules) = self.rules.filter(|_| state != State::DEAD) else { return Grants::default() };
        let [owner, other] = [Subject::Owner, Subject::Other].map(|subject| rules.perms(state, subject));
        let by = |of: fn(perms::FilePerms) -> bool| By { owner: of(owner), other: of(other) };
        Grants {
            read: by(|perms| perms.allows(perms::READ)),
            write: by(|perms| perms.allow & (perms::WRITE | perms::APPEND) != 0),
            execute: by(perms::FilePerms::executes),
        }
    }

    fn file(&mut self, grants: Grants, name: &[u8], within: &[u8]) {
        let Grants { read, write, execute } = grants;
        let out = &mut self.out;
        out.of += 1;
        read.add_to(&mut out.readable, &mut out.owner_only.readable);
        write.add_to(&mut out.writable, &mut out.owner_only.writable);
        execute.add_to(&mut out.executable, &mut out.owner_only.executable);
        if write.owner && execute.owner || write.other && execute.other {
            out.writable_and_executable += 1;
            self.both.offer([within, name].concat().into());
        }
        let mut was_read = false;
        if let Some(counts) = &mut out.used
            && !self.used.is_empty()
        {
            self.path.clear();
            self.path.extend_from_slice(within);
            self.path.extend_from_slice(name);
            if let Some(access) = self.used.get(self.path.as_slice()) {
                self.met += 1;
                was_read = access.contains(Access::READ);
                counts.read += u64::from(was_read);
                counts.written += u64::from(access.intersects(WRITES));
                counts.executed += u64::from(access.contains(Access::EXEC));
            }
        }
        self.unused_here += u64::from(read.any() && !was_read);
    }
}

impl Visitor for Count<'_> {
    type Place = State;

    fn directory(&mut self, place: &State, name: &[u8]) -> State {
        let state = self.rules.map_or(State::DEAD, |rules| {
            let state = rules.dfa.walk(*place, name);
            rules.dfa.step(state, b'/')
        });
        let grants = self.grants(state);
        self.out.directories.add(grants);
        state
    }

    fn entry(&mut self, place: &State, name: &[u8], kind: Kind, within: &[u8]) {
        if kind == Kind::Symlink {
            self.out.symlinks += 1;
            return;
        }
        let state = self.rules.map_or(State::DEAD, |rules| rules.dfa.walk(*place, name));
        let grants = self.grants(state);
        match kind {
            Kind::File => self.file(grants, name, within),
            _ => self.out.special.add(grants),
        }
    }

    fn leave(&mut self, path: &[u8]) {
        if self.unused_here > 0 {
            self.widest.offer((Reverse(self.unused_here), path.into()));
            self.unused_here = 0;
        }
    }

    fn unread(&mut self, path: &[u8], why: String) {
        self.out.unread_count += 1;
        self.unread.offer((path.into(), why));
    }

    fn left_out(&mut self, path: &[u8]) {
        self.left_out.insert(path.into());
    }
}

/// Counts the kinds of sockets that the profile admits, of those that have a name.
pub fn network(profile: &Profile, needs: Option<&Requirements>) -> Network {
    let pairs = || linux::families().flat_map(|f| linux::socket_types().map(move |t| (f, t)));
    let allowed = |(family, kind): &(u16, u16)| {
        profile.mode == Mode::Unconfined || profile.allows_socket(*family, *kind)
    };
    Network {
        allowed: pairs().filter(allowed).count(),
        used: needs.map(|needs| needs.network.len()),
        of: pairs().count(),
    }
}

/// Lists the capabilities that the profile admits.
pub fn capabilities(profile: &Profile, needs: Option<&Requirements>) -> Capabilities {
    let named = |allowed: &dyn Fn(u32) -> bool| -> Vec<&'static str> {
        (0_u32..).zip(linux::capabilities()).filter(|(nr, _)| allowed(*nr)).map(|(_, name)| name).collect()
    };
    let needed = |needs: &Requirements, nr| needs.capabilities.values().any(|(needed, _)| *needed == nr);
    Capabilities {
        allowed: named(&|nr| profile.mode == Mode::Unconfined || profile.allows_capability(nr)),
        used: needs.map(|needs| named(&|nr| needed(needs, nr))),
        of: linux::capabilities().count(),
    }
}

fn number(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
