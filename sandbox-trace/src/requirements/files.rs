//! File accesses that must be allowed: a million of them in one piece of memory, in the order of their paths, so that a
//! folder is a range. Knows nothing of what becomes of them.

use std::{cmp::Ordering, collections::BTreeSet, fmt};

use super::Evidence;
use crate::recording::{Access, BytePath};

/// Who did something, how often and when, in which runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Occurrence {
    /// The recording that has it, by its place among all.
    pub recording: u32,
    /// What [`Files::runs`] returned for the runs that have it.
    pub runs: u32,
    /// What [`Files::who`] returned for the executables.
    pub who: u32,
    /// How often.
    pub count: u64,
    /// Milliseconds into the run, first.
    pub first_ms: u64,
    /// Milliseconds into the run, last.
    pub last_ms: u64,
}

/// One access, as one recording has it.
#[derive(Debug, Clone, Copy)]
struct Use {
    path: Span,
    target: Span,
    access: Access,
    owner: Option<bool>,
    linked: bool,
    recording: u32,
    runs: u32,
    who: u32,
    first_ms: u32,
    last_ms: u32,
    count: u64,
}

/// Some of the bytes.
#[derive(Debug, Clone, Copy, Default)]
struct Span {
    at: u64,
    length: u32,
}

/// The accesses. What was added counts once [`Files::sort`] was called.
#[derive(Clone, Default)]
pub struct Files {
    bytes: Vec<u8>,
    uses: Vec<Use>,
    who: Vec<BTreeSet<BytePath>>,
    runs: Vec<u64>,
}

impl Files {
    /// Makes a set of executables known; several may be the same.
    pub fn who(&mut self, executables: BTreeSet<BytePath>) -> u32 {
        self.who.push(executables);
        u32::try_from(self.who.len() - 1).unwrap_or(u32::MAX)
    }

    /// Says who a number of [`Files::who`] stands for, where that was not known before.
    pub fn resolve(&mut self, who: u32, executables: BTreeSet<BytePath>) {
        if let Some(slot) = usize::try_from(who).ok().and_then(|who| self.who.get_mut(who)) {
            *slot = executables;
        }
    }

    /// Makes a set of runs known, a bit each, of 64: the next ones share theirs. Several may be the same.
    pub fn runs(&mut self, runs: u64) -> u32 {
        self.runs.push(runs);
        u32::try_from(self.runs.len() - 1).unwrap_or(u32::MAX)
    }

    /// Says which runs a number of [`Files::runs`] stands for, where that was not known before.
    pub fn resolve_runs(&mut self, place: u32, runs: u64) {
        if let Some(slot) = usize::try_from(place).ok().and_then(|place| self.runs.get_mut(place)) {
            *slot = runs;
        }
    }

    /// Adds an access.
    pub fn add(
        &mut self,
        path: &[u8],
        target: Option<&[u8]>,
        access: Access,
        owner: Option<bool>,
        occurrence: Occurrence,
    ) {
        let Occurrence { recording, runs, who, count, first_ms, last_ms } = occurrence;
        let path = self.keep(path);
        let short = |ms: u64| u32::try_from(ms).unwrap_or(u32::MAX);
        let linked = target.is_some();
        let target = target.map_or_else(Span::default, |target| self.keep(target));
        let (first_ms, last_ms) = (short(first_ms), short(last_ms.max(first_ms)));
        self.uses.push(Use {
            path,
            target,
            access,
            owner,
            linked,
            recording,
            runs,
            who,
            first_ms,
            last_ms,
            count,
        });
    }

    fn keep(&mut self, bytes: &[u8]) -> Span {
        let at = self.bytes.len() as u64;
        self.bytes.extend_from_slice(bytes);
        // Longer than any path; the reader has limits of its own.
        Span { at, length: u32::try_from(bytes.len()).unwrap_or(u32::MAX) }
    }

    fn text(&self, span: Span) -> &[u8] {
        let from = usize::try_from(span.at).unwrap_or(usize::MAX);
        self.bytes.get(from..from.saturating_add(span.length as usize)).unwrap_or(&[])
    }

    fn target(&self, one: &Use) -> Option<&[u8]> {
        one.linked.then(|| self.text(one.target))
    }

    fn order(&self, a: &Use, b: &Use) -> Ordering {
        (self.text(a.path), self.target(a)).cmp(&(self.text(b.path), self.target(b)))
    }

    /// Brings all into order. Recordings are sorted already, so that this is mostly one look at each.
    pub fn sort(&mut self) {
        let mut uses = std::mem::take(&mut self.uses);
        uses.sort_by(|a, b| self.order(a, b));
        self.uses = uses;
    }

    /// Adds one access in its place, for those who make needs by hand.
    pub fn insert(
        &mut self,
        path: &[u8],
        target: Option<&[u8]>,
        access: Access,
        owner: Option<bool>,
        evidence: &Evidence,
    ) {
        let who = self.who(evidence.by.clone());
        let (first_ms, last_ms) = (evidence.first_ms.unwrap_or(0), evidence.last_ms.unwrap_or(0));
        let occurrence = Occurrence { recording: 0, runs: 0, who, count: evidence.count, first_ms, last_ms };
        self.add(path, target, access, owner, occurrence);
        self.sort();
    }

    /// The needs, one for each path and link target, in their order.
    pub fn iter(&self) -> impl Iterator<Item = FileNeed<'_>> + Clone {
        self.uses.chunk_by(|a, b| self.order(a, b).is_eq()).map(|uses| FileNeed { files: self, uses })
    }

    /// How many paths and link targets there are.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.uses.is_empty()
    }
}

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// The same needs, whoever had them and however often.
impl PartialEq for Files {
    fn eq(&self, other: &Self) -> bool {
        self.iter().map(|need| need.what()).eq(other.iter().map(|need| need.what()))
    }
}

impl Eq for Files {}

/// A file access that must be allowed.
#[derive(Clone, Copy)]
pub struct FileNeed<'a> {
    files: &'a Files,
    uses: &'a [Use],
}

impl<'a> FileNeed<'a> {
    /// The path.
    pub fn path(&self) -> &'a [u8] {
        self.uses.first().map_or(&[], |one| self.files.text(one.path))
    }

    /// For a hard link, the existing name.
    pub fn target(&self) -> Option<&'a [u8]> {
        self.uses.first().and_then(|one| self.files.target(one))
    }

    /// All that was done.
    pub fn access(&self) -> Access {
        self.uses.iter().fold(Access::none(), |all, one| all | one.access)
    }

    /// True if every access was the owner's, false if one was not, `None` if unknown.
    pub fn owner(&self) -> Option<bool> {
        let mut owners = self.uses.iter().map(|one| one.owner);
        let first = owners.next().flatten();
        owners.fold(first, |all, owner| match (all, owner) {
            (Some(all), Some(owner)) => Some(all && owner),
            _ => None,
        })
    }

    /// The runs that have it, a bit each; what was made by hand is of one run.
    pub fn runs(&self) -> u64 {
        let of = |one: &Use| {
            usize::try_from(one.runs).ok().and_then(|place| self.files.runs.get(place)).copied().unwrap_or(1)
        };
        self.uses.iter().fold(0, |all, one| all | of(one))
    }

    /// Who did any of `access`, how often and when. How often each of several permissions was needed is not known: at
    /// most this often.
    pub fn evidence(&self, access: Access) -> Evidence {
        let mut out = Evidence::default();
        for one in self.uses.iter().filter(|one| one.access.intersects(access)) {
            let by = usize::try_from(one.who).ok().and_then(|who| self.files.who.get(who));
            out.by.extend(by.into_iter().flatten().cloned());
            let (first, last) = (u64::from(one.first_ms), u64::from(one.last_ms));
            out.first_ms = Some(out.first_ms.map_or(first, |known| known.min(first)));
            out.last_ms = out.last_ms.max(Some(last));
            out.count = out.count.saturating_add(one.count);
            out.recordings.insert(one.recording);
        }
        out
    }

    fn what(&self) -> (&'a [u8], Option<&'a [u8]>, Access, Option<bool>) {
        (self.path(), self.target(), self.access(), self.owner())
    }
}

impl fmt::Debug for FileNeed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (path, target, access, owner) = self.what();
        write!(f, "{} {access} {owner:?}", BytePath::from(path))?;
        target.map_or(Ok(()), |target| write!(f, " -> {}", BytePath::from(target)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uses_of_one_path_are_one_need() {
        let mut files = Files::default();
        let who = files.who(BTreeSet::from(["/bin/a".into()]));
        let other = files.who(BTreeSet::from(["/bin/b".into()]));
        files.runs(1);
        files.runs(2);
        let at =
            |runs, who, first_ms| Occurrence { recording: runs, runs, who, count: 2, first_ms, last_ms: 9 };
        files.add(b"/b", None, Access::WRITE, Some(true), at(1, other, 3));
        files.add(b"/a", None, Access::READ, Some(true), at(0, who, 5));
        files.add(b"/b", None, Access::READ, Some(true), at(0, who, 5));
        files.add(b"/b", Some(b"/a"), Access::LINK, None, at(0, who, 5));
        files.sort();
        let needs: Vec<_> = files.iter().collect();
        assert_eq!(needs.len(), 3);
        assert_eq!((needs[1].path(), needs[1].access()), (b"/b".as_slice(), Access::READ | Access::WRITE));
        assert_eq!((needs[0].runs(), needs[1].runs()), (1, 3));
        assert_eq!(needs[2].target(), Some(b"/a".as_slice()));
        let write = needs[1].evidence(Access::WRITE);
        assert_eq!((write.who(), write.count, write.first_ms), ("/bin/b".into(), 2, Some(3)));
        assert_eq!(needs[1].evidence(Access::WRITE | Access::READ).by.len(), 2);
    }

    #[test]
    fn one_stranger_makes_it_not_the_owners_alone() {
        let owner = |owners: &[Option<bool>]| {
            let mut files = Files::default();
            for owner in owners {
                files.insert(b"/a", None, Access::READ, *owner, &Evidence::default());
            }
            files.iter().next().unwrap().owner()
        };
        assert_eq!(owner(&[Some(true), Some(true)]), Some(true));
        assert_eq!(owner(&[Some(true), Some(false)]), Some(false));
        assert_eq!(owner(&[Some(true), None]), None);
        assert_eq!((owner(&[Some(false), None]), owner(&[None, Some(false)])), (None, None));
    }
}
