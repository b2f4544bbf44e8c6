//! The file accesses of many recordings, united as they come: a look-up each. Knows nothing of what reads them.

use std::collections::{BTreeMap, HashMap};

use foldhash::fast::RandomState;
use sha2::{Digest as _, Sha256};

use super::{Seen, executables, facts, runs::Places};
use crate::recording::{Access, BytePath, ExecutableIndex, FileAccess, FileRef, List, Recording, RunSet};

/// Values that come again and again, each once.
struct Interned<T> {
    places: HashMap<T, u32, RandomState>,
    list: Vec<T>,
}

impl<T> Default for Interned<T> {
    fn default() -> Self {
        Self { places: HashMap::default(), list: Vec::new() }
    }
}

impl<T: Clone + Eq + std::hash::Hash> Interned<T> {
    fn place<Q: ?Sized + Eq + std::hash::Hash + ToOwned<Owned = T>>(&mut self, value: &Q) -> u32
    where
        T: std::borrow::Borrow<Q>,
    {
        if let Some(place) = self.places.get(value) {
            return *place;
        }
        let place = u32::try_from(self.list.len()).unwrap_or(u32::MAX);
        self.list.push(value.to_owned());
        self.places.insert(value.to_owned(), place);
        place
    }

    fn get(&self, place: u32) -> Option<&T> {
        self.list.get(place as usize)
    }
}

/// The file accesses of one recording, in as little memory as they need until the rest of it is known.
#[derive(Default)]
pub struct Batch {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
    operations: Interned<Vec<String>>,
    /// Lists of operations as they are written, which is nearly always in the same way.
    written: HashMap<Box<str>, u32, RandomState>,
    executables: Interned<Vec<ExecutableIndex>>,
    texts: Interned<String>,
    /// In which runs, for those that say so.
    seen: Vec<(Option<RunSet>, BTreeMap<Access, RunSet>)>,
}

/// An access; what it has of variable length is in the batch.
#[derive(Clone, Copy)]
struct Entry {
    failed: bool,
    path: (usize, usize),
    target: Option<(usize, usize)>,
    access: Access,
    owner: Option<bool>,
    operations: u32,
    error: Option<u32>,
    refused_by: Option<u32>,
    count: u64,
    first_ms: u64,
    last_ms: u64,
    by: u32,
    seen: Option<usize>,
}

impl Batch {
    /// Adds an access as it is read.
    pub fn push(&mut self, list: List, file: &FileRef<'_>) -> Result<(), String> {
        let text = file.operations_text();
        let operations = if let Some(known) = self.written.get(text) {
            *known
        } else {
            let mut operations = file.operations()?;
            facts::tidy(&mut operations);
            let new = self.operations.place(operations.as_slice());
            self.written.insert(text.into(), new);
            new
        };
        let path = self.keep(file.path()?.as_ref());
        let target = file.link_target().map(|target| self.keep(target));
        let seen = self.seen(file.runs.as_ref(), &file.accesses);
        self.entries.push(Entry {
            failed: list == List::Failed,
            path,
            target,
            access: file.access,
            owner: file.owner,
            operations,
            error: file.error.as_deref().map(|error| self.texts.place(error)),
            refused_by: file.refused_by().map(|name| self.texts.place(name)),
            count: file.count,
            first_ms: file.first_ms,
            last_ms: file.last_ms,
            by: self.executables.place(file.by.as_slice()),
            seen,
        });
        Ok(())
    }

    /// Forgets all but the memory.
    pub fn clear(&mut self) {
        let (bytes, entries) = (std::mem::take(&mut self.bytes), std::mem::take(&mut self.entries));
        *self = Self { bytes, entries, ..Self::default() };
        self.bytes.clear();
        self.entries.clear();
    }

    /// Takes the accesses out of a recording.
    pub fn take(&mut self, recording: &mut Recording) {
        let (granted, failed) =
            (std::mem::take(&mut recording.files), std::mem::take(&mut recording.failed.files));
        for (is_failed, mut file) in
            granted.into_iter().map(|file| (false, file)).chain(failed.into_iter().map(|file| (true, file)))
        {
            facts::tidy(&mut file.operations);
            let path = self.keep(file.path.as_bytes());
            let target = file.link_target.as_ref().map(|target| self.keep(target.as_bytes()));
            let seen = self.seen(file.runs.as_ref(), &file.accesses);
            self.entries.push(Entry {
                failed: is_failed,
                path,
                target,
                access: file.access,
                owner: file.owner,
                operations: self.operations.place(file.operations.as_slice()),
                error: file.error.as_deref().map(|error| self.texts.place(error)),
                refused_by: file.refused_by.as_deref().map(|name| self.texts.place(name)),
                count: file.count,
                first_ms: file.first_ms,
                last_ms: file.last_ms,
                by: self.executables.place(file.by.as_slice()),
                seen,
            });
        }
    }

    fn keep(&mut self, bytes: &[u8]) -> (usize, usize) {
        let from = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        (from, self.bytes.len())
    }

    fn seen(&mut self, runs: Option<&RunSet>, accesses: &BTreeMap<Access, RunSet>) -> Option<usize> {
        if runs.is_none() && accesses.is_empty() {
            return None;
        }
        self.seen.push((runs.cloned(), accesses.clone()));
        Some(self.seen.len() - 1)
    }

    fn bytes(&self, (from, to): (usize, usize)) -> &[u8] {
        self.bytes.get(from..to).unwrap_or_default()
    }

    fn text(&self, place: Option<u32>) -> Option<&str> {
        place.and_then(|place| self.texts.get(place)).map(String::as_str)
    }

    fn key<'a>(&'a self, one: &Entry) -> impl Ord + use<'a> {
        let target = one.target.map(|target| self.bytes(target));
        let operations = self.operations.get(one.operations);
        (one.failed, self.bytes(one.path), target, self.text(one.error), operations)
    }

    /// Brings all into the order that a recording has, where they mostly are in it.
    pub fn sort(&mut self) {
        if !self.entries.is_sorted_by(|a, b| self.key(a) <= self.key(b)) {
            let mut entries = std::mem::take(&mut self.entries);
            entries.sort_by(|a, b| self.key(a).cmp(&self.key(b)));
            self.entries = entries;
        }
    }

    /// Adds all to a digest; what varies in length goes after its length.
    pub fn digest(&self, hash: &mut Sha256) {
        fn bytes(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
            let length = bytes.map_or(u32::MAX, |bytes| u32::try_from(bytes.len()).unwrap_or(u32::MAX - 1));
            out.extend(length.to_le_bytes());
            out.extend_from_slice(bytes.unwrap_or_default());
        }
        let mut out = Vec::new();
        let operations: Vec<Vec<u8>> = self
            .operations
            .list
            .iter()
            .map(|list| {
                let mut out = Vec::new();
                for name in list {
                    bytes(&mut out, Some(name.as_bytes()));
                }
                out
            })
            .collect();
        for one in &self.entries {
            out.push(u8::from(one.failed));
            bytes(&mut out, Some(self.bytes(one.path)));
            bytes(&mut out, one.target.map(|target| self.bytes(target)));
            bytes(&mut out, operations.get(one.operations as usize).map(Vec::as_slice));
            bytes(&mut out, self.text(one.error).map(str::as_bytes));
            bytes(&mut out, self.text(one.refused_by).map(str::as_bytes));
            out.extend(one.access.bits().to_le_bytes());
            out.push(one.owner.map_or(2, u8::from));
            for number in [one.count, one.first_ms, one.last_ms] {
                out.extend(number.to_le_bytes());
            }
            let by = self.executables.get(one.by).map(Vec::as_slice).unwrap_or_default();
            out.extend(u32::try_from(by.len()).unwrap_or(u32::MAX).to_le_bytes());
            for index in by {
                out.extend(index.to_le_bytes());
            }
            if out.len() > 1 << 16 {
                hash.update(&out);
                out.clear();
            }
        }
        hash.update(&out);
    }
}

/// An access of any of the recordings.
struct Fact {
    failed: bool,
    target: Option<Box<[u8]>>,
    error: Option<u32>,
    /// What was done, and in which runs just that.
    accesses: Vec<(Access, RunSet)>,
    owner: Option<bool>,
    /// Places of names, sorted by them.
    operations: Vec<u32>,
    refused_by: Option<u32>,
    count: u64,
    first_ms: u64,
    last_ms: u64,
    by: Vec<ExecutableIndex>,
}

/// All accesses, by path.
#[derive(Default)]
pub struct FileTable {
    /// Where each path's facts are: by number, so that a path is looked up once.
    places: HashMap<Box<[u8]>, usize, RandomState>,
    facts: Vec<Vec<Fact>>,
    /// Names of operations, errors, and refusers.
    texts: Interned<String>,
}

impl FileTable {
    /// Adds a recording's accesses; `executables` and `places` say what its numbers are here.
    pub fn add(&mut self, batch: &Batch, executables: &[ExecutableIndex], places: &Places) {
        let texts: Vec<u32> = batch.texts.list.iter().map(|text| self.texts.place(text.as_str())).collect();
        let operations: Vec<Vec<u32>> = batch
            .operations
            .list
            .iter()
            .map(|list| {
                let mut places: Vec<u32> = list.iter().map(|name| self.texts.place(name.as_str())).collect();
                places.sort_unstable();
                places
            })
            .collect();
        let by: Vec<Vec<ExecutableIndex>> = batch
            .executables
            .list
            .iter()
            .map(|list| {
                let mut by = list.clone();
                executables::renumber(&mut by, executables);
                by
            })
            .collect();
        let text = |place: Option<u32>| place.and_then(|place| texts.get(place as usize).copied());
        for one in &batch.entries {
            let (path, target) = (batch.bytes(one.path), one.target.map(|target| batch.bytes(target)));
            let operations = operations.get(one.operations as usize).map(Vec::as_slice).unwrap_or_default();
            let by = by.get(one.by as usize).map(Vec::as_slice).unwrap_or_default();
            let (error, refused_by) = (text(one.error), text(one.refused_by));
            let seen = one.seen.and_then(|place| batch.seen.get(place));
            let place = self.places.get(path).copied().unwrap_or(self.facts.len());
            if place == self.facts.len() {
                self.places.insert(path.into(), place);
                self.facts.push(Vec::with_capacity(1));
            }
            let Some(facts) = self.facts.get_mut(place) else { continue };
            let same = |fact: &&mut Fact| {
                fact.failed == one.failed
                    && fact.error == error
                    && fact.target.as_deref() == target
                    // Which operation failed decides whether the attempt is a need: they are kept apart.
                    && (!one.failed || fact.operations == operations)
            };
            if let Some(fact) = facts.iter_mut().find(same) {
                fact.owner = fact.owner.zip(one.owner).map(|(a, b)| a && b);
                facts::add_sorted(&mut fact.operations, operations);
                fact.refused_by = match (fact.refused_by, refused_by) {
                    (Some(a), Some(b)) if a != b => {
                        if self.texts.get(b) < self.texts.get(a) {
                            Some(b)
                        } else {
                            Some(a)
                        }
                    }
                    (a, b) => a.or(b),
                };
                fact.count = fact.count.max(one.count);
                fact.first_ms = fact.first_ms.min(one.first_ms);
                fact.last_ms = fact.last_ms.max(one.last_ms);
                facts::add_sorted(&mut fact.by, by);
                add_access(&mut fact.accesses, one.access, seen, places);
            } else {
                let mut accesses = Vec::with_capacity(1);
                add_access(&mut accesses, one.access, seen, places);
                facts.push(Fact {
                    failed: one.failed,
                    target: target.map(Box::from),
                    error,
                    accesses,
                    owner: one.owner,
                    operations: operations.to_vec(),
                    refused_by,
                    count: one.count,
                    first_ms: one.first_ms,
                    last_ms: one.last_ms,
                    by: by.to_vec(),
                });
            }
        }
    }

    /// All in their order: those that were granted, and those that failed.
    pub fn finish(self, executables: &[ExecutableIndex], seen: &Seen) -> (Vec<FileAccess>, Vec<FileAccess>) {
        let Self { places, facts: mut all, texts } = self;
        let text = |place: u32| texts.get(place).cloned().unwrap_or_default();
        let (mut granted, mut failed) = (Vec::new(), Vec::new());
        for (path, place) in places {
            let facts = all.get_mut(place).map(std::mem::take).unwrap_or_default();
            for mut fact in facts {
                executables::renumber(&mut fact.by, executables);
                let mut operations: Vec<String> = fact.operations.iter().copied().map(text).collect();
                operations.sort();
                let mut runs = RunSet::default();
                fact.accesses.iter().for_each(|(_, set)| runs.add(set));
                let access = fact.accesses.iter().fold(Access::none(), |all, (access, _)| all | *access);
                let apart = |(access, set): &(Access, RunSet)| {
                    (*access, seen.of(set).unwrap_or_else(|| RunSet::first(seen.count)))
                };
                let accesses = if fact.accesses.len() > 1 {
                    fact.accesses.iter().map(apart).collect()
                } else {
                    BTreeMap::new()
                };
                let list = if fact.failed { &mut failed } else { &mut granted };
                list.push(FileAccess {
                    path: BytePath::from(path.as_ref()),
                    access,
                    link_target: fact.target.as_deref().map(BytePath::from),
                    owner: fact.owner,
                    operations,
                    error: fact.error.map(text),
                    refused_by: fact.refused_by.map(text),
                    count: fact.count,
                    first_ms: fact.first_ms,
                    last_ms: fact.last_ms,
                    by: fact.by,
                    runs: seen.of(&runs),
                    accesses,
                });
            }
        }
        for list in [&mut granted, &mut failed] {
            let key = |file: &'_ FileAccess| {
                let FileAccess { path, link_target, error, operations, .. } = file;
                (path.clone(), link_target.clone(), error.clone(), operations.clone())
            };
            list.sort_by_cached_key(key);
        }
        (granted, failed)
    }
}

/// Adds what was done, and in which runs.
fn add_access(
    accesses: &mut Vec<(Access, RunSet)>,
    access: Access,
    seen: Option<&(Option<RunSet>, BTreeMap<Access, RunSet>)>,
    places: &Places,
) {
    let mut add = |access: Access, runs: &RunSet| match accesses.iter_mut().find(|(one, _)| *one == access) {
        Some((_, known)) => known.add(runs),
        None => accesses.push((access, runs.clone())),
    };
    let Some((runs, apart)) = seen else { return add(access, places.all()) };
    let all = places.seen(runs.as_ref());
    let mut told = (Access::none(), RunSet::default());
    for (access, runs) in apart {
        let runs = places.seen(Some(runs));
        told.0 |= *access;
        told.1.add(&runs);
        add(*access, &runs);
    }
    // What the parts leave out, in a file that somebody else wrote, is not lost.
    if told != (access, all.clone()) {
        add(access, &all);
    }
}
