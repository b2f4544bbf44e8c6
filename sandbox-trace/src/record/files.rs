//! The file accesses of a recording, in as little memory as a million of them need.
//!
//! Paths are ids of [`Strings`]; an access becomes a [`FileAccess`] only while it is written.

use std::{cmp::Ordering, collections::BTreeMap};

use super::{
    counts::{FactId, Often, Tallies},
    meaning::{error_name, operation, refused_by},
    seen::Seen,
    store::Table,
    strings::{StringId, Strings},
};
use crate::recording::{Access, BytePath, ExecutableIndex, FileAccess};

/// What makes two accesses the same fact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileKey {
    /// The path.
    pub path: StringId,
    /// For a hard link, the existing name.
    pub link_target: Option<StringId>,
    /// Error number, 0 for what was granted.
    pub errno: u16,
    /// Where the task stood.
    pub place: u8,
}

/// An access.
#[derive(Debug, Clone, Default)]
pub struct File {
    /// When, and by whom.
    pub seen: Seen,
    /// A bit for each operation, by number.
    operations: u64,
    access: Access,
    owner: Option<bool>,
    /// A security module refused it.
    pub refused: bool,
}

impl File {
    /// An access as it is seen for the first time, but for [`File::seen`].
    pub fn new(access: Access, owner: Option<bool>, op: u8) -> Self {
        Self { seen: Seen::default(), operations: bit(op), access, owner, refused: false }
    }

    /// Takes in another sight of it, but for [`File::seen`].
    pub fn add(&mut self, access: Access, owner: Option<bool>, op: u8) {
        self.operations |= bit(op);
        self.access |= access;
        self.owner = both(self.owner, owner);
    }

    fn merge(&mut self, other: &Self) {
        self.seen.merge(&other.seen);
        self.operations |= other.operations;
        self.access |= other.access;
        self.owner = both(self.owner, other.owner);
        self.refused |= other.refused;
    }
}

fn bit(op: u8) -> u64 {
    1u64.checked_shl(u32::from(op)).unwrap_or(0)
}

/// The owner did it only if it was the owner each time.
fn both(a: Option<bool>, b: Option<bool>) -> Option<bool> {
    Some(a? && b?)
}

/// All accesses.
pub type Files = Table<FileKey, File>;

/// The order in which accesses are written: by path, link target and error's name.
pub struct Order {
    granted: Vec<u32>,
    failed: Vec<u32>,
}

impl Order {
    /// Puts the accesses of these places in order.
    pub fn of(files: &Files, strings: &Strings, counts: impl Fn(u8) -> bool) -> Self {
        let ranks = strings.ranks();
        let rank = |id: StringId| ranks.get(id as usize).copied().unwrap_or(u32::MAX);
        let compare = |a: &u32, b: &u32| -> Ordering {
            let (Some((a, _)), Some((b, _))) = (files.get(*a), files.get(*b)) else { return Ordering::Equal };
            rank(a.path)
                .cmp(&rank(b.path))
                .then_with(|| a.link_target.map(rank).cmp(&b.link_target.map(rank)))
                .then_with(|| {
                    if a.errno == b.errno {
                        return Ordering::Equal;
                    }
                    error_name(a.errno.into()).cmp(&error_name(b.errno.into()))
                })
        };
        let select = |failed: bool| {
            let mut list: Vec<u32> = (0u32..)
                .zip(files.iter())
                .filter(|(_, (key, _))| counts(key.place) && (key.errno != 0) == failed)
                .map(|(number, _)| number)
                .collect();
            list.sort_unstable_by(compare);
            list
        };
        Self { granted: select(false), failed: select(true) }
    }

    /// When each access that was granted was first seen, on the clock of the facts.
    pub fn first_ns<'a>(&'a self, files: &'a Files) -> impl Iterator<Item = u64> + 'a {
        let first = |number: &u32| files.get(*number).map(|(_, file)| file.seen.first_ns);
        self.granted.chunk_by(same(files)).filter_map(move |group| group.iter().filter_map(first).min())
    }

    /// The accesses that were granted, or those that failed, each made as it is asked for. `print` says what the
    /// recording's index of an executable and a time are.
    pub fn accesses<'a>(
        &'a self,
        failed: bool,
        files: &'a Files,
        strings: &'a Strings,
        tallies: &'a Tallies,
        print: &'a dyn Print,
    ) -> impl Iterator<Item = FileAccess> + 'a {
        let list = if failed { &self.failed } else { &self.granted };
        list.chunk_by(same(files)).filter_map(move |group| {
            let mut entries = group.iter().filter_map(|number| files.get(*number));
            let (key, first) = entries.next()?;
            let mut file = first.clone();
            entries.for_each(|(_, other)| file.merge(other));
            let mut often = Often::default();
            for number in group {
                often.add(tallies.of(FactId::file(*number)));
            }
            Some(access(strings, print, *key, &file, often))
        })
    }
}

/// The same access in several places is one fact.
fn same(files: &Files) -> impl Fn(&u32, &u32) -> bool {
    |a, b| match (files.get(*a), files.get(*b)) {
        (Some((a, _)), Some((b, _))) => (a.path, a.link_target, a.errno) == (b.path, b.link_target, b.errno),
        _ => false,
    }
}

/// How a recording tells time and executables.
pub trait Print {
    /// The recording's indices of executables.
    fn by(&self, seen: &Seen) -> Vec<ExecutableIndex>;
    /// Milliseconds of the run.
    fn milliseconds(&self, ns: u64) -> u64;
}

fn access(strings: &Strings, print: &dyn Print, key: FileKey, file: &File, often: Often) -> FileAccess {
    let first_ms = print.milliseconds(file.seen.first_ns);
    let text = |id: StringId| BytePath::from(strings.get(id));
    let mut operations: Vec<String> =
        (0..64u8).filter(|op| file.operations & bit(*op) != 0).map(|op| operation(op).to_owned()).collect();
    operations.sort_unstable();
    operations.dedup();
    FileAccess {
        path: text(key.path),
        access: file.access,
        link_target: key.link_target.map(text),
        owner: file.owner,
        operations,
        error: (key.errno != 0).then(|| error_name(key.errno.into())),
        refused_by: refused_by(file.refused),
        count: often.count(),
        first_ms,
        last_ms: often.last_ms(first_ms),
        by: print.by(&file.seen),
        runs: None,
        accesses: BTreeMap::new(),
    }
}
