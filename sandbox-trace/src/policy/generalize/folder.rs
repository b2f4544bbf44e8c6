//! Goes through what was accessed folder by folder. Folders whose names are generalised together are gone through
//! together, so that a pattern's last component is learnt from all of them.

use std::collections::HashMap;

use foldhash::fast::FixedState;

use super::{
    FileRule, Generalization, Generalized, RUNS, WRITES,
    forms::{self, Group},
    names,
    places::{self, Place},
};
use crate::{
    apparmor::pattern::{Pattern, Piece},
    recording::{Access, BytePath},
};

/// A path, and what was done with it; the end of a hard link has no access of its own.
#[derive(Debug, Clone, Copy)]
pub struct Item<'a> {
    pub path: &'a [u8],
    pub access: Access,
    pub owner: Option<bool>,
    /// The recordings that have it, a bit each.
    pub recordings: u64,
}

/// Items of one folder: a range of the list, and where in their paths the folder's own ends.
#[derive(Debug, Clone, Copy)]
struct Source {
    from: usize,
    to: usize,
    depth: usize,
}

/// A folder that is to be gone through, or several as one.
struct Folder<'a> {
    sources: Vec<Source>,
    prefix: Vec<Piece>,
    /// Its path, as long as no part of it was generalised.
    literal: Option<&'a [u8]>,
    place: Place,
    in_cache: bool,
}

/// A name in a folder.
#[derive(Debug, Clone)]
pub struct Entry<'a> {
    /// Without a slash.
    pub name: &'a [u8],
    pub access: Access,
    /// Whether only owners had it.
    pub owner: bool,
    /// The recordings in which it, or something below it, was accessed.
    pub recordings: u64,
    /// How many paths it stands for.
    pub count: u32,
    /// The first of them.
    pub first: &'a [u8],
}

/// What a folder holds.
#[derive(Default)]
struct Content<'a> {
    files: Vec<Entry<'a>>,
    folders: Vec<Entry<'a>>,
    /// Of each folder.
    below: Vec<Vec<Source>>,
    /// Files, by position, and folders that hard links lead to or from.
    link_ends: HashMap<(bool, usize), Vec<&'a [u8]>>,
    /// Names that ran and were not written.
    run: Vec<&'a [u8]>,
}

/// Fills in the rules, and the patterns of the ends of links. The items are in the order of their paths.
pub fn rules<'a>(
    items: &[Item<'a>],
    level: Generalization,
    ends: &mut HashMap<&'a [u8], Option<Pattern>>,
    out: &mut Generalized,
) {
    let mut walk = Walk { items, level, ends, out, pinned: 0 };
    let root = Source { from: 0, to: items.len(), depth: 0 };
    let mut todo = vec![Folder {
        sources: vec![root],
        prefix: Vec::new(),
        literal: Some(b""),
        place: Place::Root,
        in_cache: false,
    }];
    while let Some(folder) = todo.pop() {
        walk.folder(&folder, &mut todo);
    }
    if walk.pinned > 0 {
        let note = format!(
            "{} in sensitive places (settings, homes) were not in all recordings; rules there are exact all the same",
            crate::output::counted(walk.pinned, "name")
        );
        walk.out.notes.push(note);
    }
}

struct Walk<'w, 'a> {
    items: &'w [Item<'a>],
    level: Generalization,
    ends: &'w mut HashMap<&'a [u8], Option<Pattern>>,
    out: &'w mut Generalized,
    /// Names in pinned places that differ between recordings.
    pinned: u64,
}

impl<'a> Walk<'_, 'a> {
    fn folder(&mut self, folder: &Folder<'a>, todo: &mut Vec<Folder<'a>>) {
        let free = self.level > Generalization::Exact
            && matches!(folder.place, Place::Temporary | Place::Data)
            && !folder.prefix.is_empty();
        if let Some(path) = folder.literal.filter(|path| self.is_tree(folder, path)) {
            return self.tree(path, folder);
        }
        let content = self.content(folder, free);
        if folder.place == Place::Pinned && self.level > Generalization::Exact {
            let all = content.files.iter().fold(0, |all, file| all | file.recordings);
            let differ = content.files.iter().filter(|file| file.recordings != all).count();
            // What is below /proc and /sys is not the workload's to name.
            let own = folder.literal.is_some_and(|path| places::has_owners(Place::Pinned, path));
            self.pinned += if own || all == 0 { u64::try_from(differ).unwrap_or(0) } else { 0 };
        }
        let look = names::Look {
            temporary: folder.place == Place::Temporary,
            short_lived: false,
            in_cache: folder.in_cache,
        };
        let all = content.files.iter().chain(&content.folders).fold(0, |all, entry| all | entry.recordings);
        let level = self.level;
        let group = |entries: &[Entry<'a>], are_files: bool| {
            if free {
                forms::groups(entries, &forms::Evidence { all, level, look, are_files })
            } else {
                (0..entries.len()).map(Group::literal).collect()
            }
        };
        for group in group(&content.files, true) {
            self.files(folder, &content, group);
        }
        for group in group(&content.folders, false) {
            self.folders(folder, &content, &group, todo);
        }
    }

    /// What is in the folder, each name once.
    fn content(&mut self, folder: &Folder<'a>, free: bool) -> Content<'a> {
        let mut out = Content::default();
        let mut known: HashMap<(&[u8], bool), usize, FixedState> = HashMap::default();
        let several = folder.sources.len() > 1;
        for source in &folder.sources {
            let mut at = source.from;
            while at < source.to {
                let Some(item) = self.items.get(at) else { break };
                let rest = item.path.get(source.depth..).unwrap_or(&[]);
                let slash = rest.iter().position(|byte| *byte == b'/');
                if rest.is_empty() {
                    at += 1;
                    continue;
                }
                let end = slash.map_or(rest.len(), |slash| slash + 1);
                let whole = item.path.get(..source.depth + end).unwrap_or(item.path);
                let is_folder = slash.is_some();
                let mut entry = Entry {
                    name: rest.get(..slash.unwrap_or(rest.len())).unwrap_or(rest),
                    access: Access::none(),
                    owner: true,
                    recordings: 0,
                    count: 0,
                    first: whole,
                };
                let list = if is_folder { &mut out.folders } else { &mut out.files };
                let position = if several { known.get(&(entry.name, is_folder)).copied() } else { None }
                    .unwrap_or(list.len());
                let from = at;
                while let Some(item) = self.items.get(at).filter(|_| at < source.to) {
                    let same = if is_folder { item.path.starts_with(whole) } else { item.path == whole };
                    if !same {
                        break;
                    }
                    entry.recordings |= item.recordings;
                    if item.path.len() == whole.len() {
                        let mut access = item.access;
                        if free && access.intersects(RUNS) {
                            // What only looks alike must not run: the recorded names do.
                            self.exact(item.path, access, item.owner == Some(true) && self.owners(folder));
                            if !access.intersects(WRITES) {
                                out.run.push(entry.name);
                            }
                            access = access.filter(|one| !RUNS.contains(one));
                        }
                        entry.access |= access;
                        entry.owner &= access.is_empty() || item.owner == Some(true);
                        entry.count += u32::from(!access.is_empty());
                        if !self.ends.is_empty() && self.ends.contains_key(item.path) {
                            out.link_ends.entry((is_folder, position)).or_default().push(item.path);
                        }
                    }
                    at += 1;
                }
                let list = if is_folder { &mut out.folders } else { &mut out.files };
                let below = Source { from, to: at, depth: whole.len() };
                if let Some(present) = list.get_mut(position) {
                    present.access |= entry.access;
                    present.owner &= entry.owner;
                    present.recordings |= entry.recordings;
                    present.count += entry.count;
                    present.first = present.first.min(entry.first);
                    if is_folder && let Some(sources) = out.below.get_mut(position) {
                        sources.push(below);
                    }
                } else {
                    if several {
                        known.insert((entry.name, is_folder), position);
                    }
                    list.push(entry);
                    if is_folder {
                        out.below.push(vec![below]);
                    }
                }
            }
        }
        out
    }

    fn files(&mut self, folder: &Folder<'a>, content: &Content<'a>, group: Group) {
        let members = || group.members.iter().filter_map(|at| content.files.get(*at));
        let access = members().fold(Access::none(), |all, file| all | file.access);
        let Some(pieces) = &group.pieces else {
            for at in &group.members {
                let Some(file) = content.files.get(*at) else { continue };
                let pattern = self.pattern_of(folder, file);
                self.link_ends(content, false, *at, &pattern);
                self.add(pattern, file.access, file.owner && self.owners(folder), file.count, file.first);
            }
            return;
        };
        // Write and execute don't meet in one generalised place: where something ran, what looks like it stays as it is.
        if access.intersects(WRITES) && content.run.iter().any(|name| names::matches(pieces, name)) {
            return self.files(folder, content, Group { pieces: None, members: group.members });
        }
        let pattern = Pattern::of_pieces(folder.prefix.iter().chain(pieces).cloned());
        for at in &group.members {
            self.link_ends(content, false, *at, &pattern);
        }
        let owner = members().all(|file| file.owner) && self.owners(folder);
        let count = members().map(|file| file.count).sum();
        let first = members().filter(|file| file.count > 0).map(|file| file.first).min().unwrap_or(b"");
        self.add(pattern, access, owner, count, first);
    }

    fn folders(
        &mut self,
        folder: &Folder<'a>,
        content: &Content<'a>,
        group: &Group,
        todo: &mut Vec<Folder<'a>>,
    ) {
        let members = || group.members.iter().filter_map(|at| content.folders.get(*at));
        let slash = Piece::Literal(b"/".to_vec());
        let Some(pieces) = &group.pieces else {
            for at in &group.members {
                let Some(below) = content.folders.get(*at) else { continue };
                let literal = folder.literal.map(|_| below.first);
                let pattern = self.pattern_of(folder, below);
                self.link_ends(content, true, *at, &pattern);
                let place = match literal {
                    _ if places::is_key(below.name) => Place::Pinned,
                    // A pinned name pins all below it.
                    Some(path) if folder.place != Place::Pinned || places::of(path) == Place::Temporary => {
                        places::of(path)
                    }
                    _ => folder.place,
                };
                let name = [Piece::Literal(below.name.to_vec()), slash.clone()];
                let prefix = Pattern::of_pieces(folder.prefix.iter().cloned().chain(name));
                todo.push(Folder {
                    sources: content.below.get(*at).cloned().unwrap_or_default(),
                    prefix: prefix.pieces().to_vec(),
                    literal,
                    place,
                    in_cache: below.name == b"__pycache__",
                });
                let owner = below.owner && self.owners(folder);
                self.add(pattern, below.access, owner, below.count, below.first);
            }
            return;
        };
        let pattern =
            Pattern::of_pieces(folder.prefix.iter().chain(pieces).cloned().chain(std::iter::once(slash)));
        for at in &group.members {
            self.link_ends(content, true, *at, &pattern);
        }
        let access = members().fold(Access::none(), |all, below| all | below.access);
        let owner = members().all(|below| below.owner) && self.owners(folder);
        let count = members().map(|below| below.count).sum();
        let first = members().filter(|below| below.count > 0).map(|below| below.first).min().unwrap_or(b"");
        todo.push(Folder {
            sources: group
                .members
                .iter()
                .filter_map(|at| content.below.get(*at))
                .flatten()
                .copied()
                .collect(),
            prefix: pattern.pieces().to_vec(),
            literal: None,
            place: folder.place,
            in_cache: false,
        });
        self.add(pattern, access, owner, count, first);
    }

    /// The pattern of one name that no other is like.
    fn pattern_of(&self, folder: &Folder<'a>, entry: &Entry<'a>) -> Pattern {
        if folder.literal.is_some() {
            // What O_TMPFILE made is called by its inode's number, which no rule can foresee.
            let is_file = !entry.first.ends_with(b"/") && !entry.access.intersects(RUNS);
            if is_file && let Some(pieces) = names::unnamed(entry.name) {
                return Pattern::of_pieces(folder.prefix.iter().cloned().chain(pieces));
            }
            let system = folder.place == Place::System && self.level > Generalization::Exact;
            if system && let Some(pieces) = names::library(entry.name) {
                return Pattern::of_pieces(folder.prefix.iter().cloned().chain(pieces));
            }
            if self.level > Generalization::Exact
                && let Some(pieces) = names::device(entry.first)
            {
                return Pattern::of_pieces(pieces);
            }
            // Process ids below /proc are written as variables at every level.
            return Pattern::of_expressible(entry.first);
        }
        let slash: &[u8] = if entry.first.ends_with(b"/") { b"/" } else { b"" };
        let name = [Piece::Literal(entry.name.to_vec()), Piece::Literal(slash.to_vec())];
        Pattern::of_pieces(folder.prefix.iter().cloned().chain(name))
    }

    fn owners(&self, folder: &Folder<'a>) -> bool {
        self.level > Generalization::Exact
            && folder.literal.map_or_else(
                || places::has_owners(folder.place, b""),
                |path| places::has_owners(folder.place, path),
            )
    }

    fn link_ends(&mut self, content: &Content<'a>, is_folder: bool, at: usize, pattern: &Pattern) {
        for path in content.link_ends.get(&(is_folder, at)).into_iter().flatten() {
            self.ends.insert(path, Some(pattern.clone()));
        }
    }

    fn exact(&mut self, path: &'a [u8], access: Access, owner: bool) {
        self.add(Pattern::of_expressible(path), access, owner, 1, path);
    }

    /// Adds a rule, or what it allows to the one that is there.
    fn add(&mut self, pattern: Pattern, access: Access, owner: bool, count: u32, first: &[u8]) {
        if access.is_empty() {
            return;
        }
        let wide = !pattern.is_literal();
        let is_new = !self.out.files.contains_key(&pattern);
        let rule: &mut FileRule = self.out.files.entry(pattern).or_default();
        rule.owner = owner && (is_new || rule.owner);
        rule.access |= access;
        if wide {
            let (known, earliest) = rule.stands_for.take().unwrap_or((0, BytePath::from(first)));
            let first = if first < earliest.as_bytes() { BytePath::from(first) } else { earliest };
            rule.stands_for = Some((known + count as usize, first));
        }
    }

    /// Whether the folder is a package's tree of which enough was read to say that its programs are in use.
    fn is_tree(&self, folder: &Folder<'a>, path: &[u8]) -> bool {
        self.level > Generalization::Exact && folder.place == Place::System && places::is_tree(path)
    }

    /// One rule for reading a package's tree. Writing, running and key material stay as recorded.
    fn tree(&mut self, path: &[u8], folder: &Folder<'a>) {
        const ENOUGH: usize = 4;
        let reads = Access::READ | Access::MAP_EXEC;
        let items: Vec<Item<'a>> = folder
            .sources
            .iter()
            .filter_map(|source| self.items.get(source.from..source.to))
            .flatten()
            .filter(|item| item.path.len() > path.len())
            .copied()
            .collect();
        let plain = |item: &&Item<'a>| {
            let rest = item.path.get(path.len()..).unwrap_or(&[]);
            reads.contains(item.access)
                && !item.access.is_empty()
                && !rest.split(|b| *b == b'/').any(places::is_key)
        };
        let covered = items.iter().filter(plain).count();
        let whole = covered >= ENOUGH;
        let written = items.iter().any(|item| item.access.intersects(WRITES));
        for item in &items {
            let mapped = item.access.contains(Access::MAP_EXEC);
            let is_library = item.path.ends_with(b".so");
            let pattern = match (whole && plain(&item), mapped) {
                (true, false) => Some("**"),
                (true, true) if is_library && !written => Some("**.so"),
                _ => None,
            };
            let pattern = match pattern {
                Some(glob) => {
                    let literal = Piece::Literal(path.to_vec());
                    Pattern::of_pieces([literal, Piece::Glob(glob.to_owned())])
                }
                None => Pattern::of_expressible(item.path),
            };
            if self.ends.contains_key(item.path) {
                self.ends.insert(item.path, Some(Pattern::of_expressible(item.path)));
            }
            self.add(pattern, item.access, false, 1, item.path);
        }
    }
}
