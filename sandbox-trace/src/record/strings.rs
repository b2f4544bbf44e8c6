//! Paths, each kept once: a tree of components, so that a million paths below the same folders cost little more than
//! their last names.
//!
//! A byte string is cut behind each `/`; any byte string comes back as it was. That order of components is also the
//! order of the bytes (see [`Strings::ranks`]).

use super::store::{Blocks, Index};

/// A string of [`Strings`].
pub type StringId = u32;

/// No string: the parent of first components.
const NONE: StringId = u32::MAX;
/// Names lie in blocks of this size and do not cross them.
const BLOCK: usize = 1 << 18;

#[derive(Debug, Clone, Copy)]
struct Node {
    parent: StringId,
    at: u32,
    length: u32,
}

/// The strings.
#[derive(Debug, Default)]
pub struct Strings {
    nodes: Blocks<Node>,
    index: Index,
    names: Vec<Vec<u8>>,
    /// The folder that the last string to be kept is in, with its slash: the next one is often in the same.
    folder: Vec<u8>,
    folder_id: StringId,
}

impl Strings {
    /// The id of a string, which is kept from now on; `None` for a component longer than any name, and when there are
    /// no ids left.
    pub fn keep(&mut self, bytes: &[u8]) -> Option<StringId> {
        let (folder, name) = split(bytes);
        if folder != self.folder {
            let mut id = NONE;
            for part in folder.split_inclusive(|byte| *byte == b'/') {
                id = self.keep_child(id, part)?;
            }
            self.folder.clear();
            self.folder.extend_from_slice(folder);
            self.folder_id = id;
        }
        self.keep_child(if folder.is_empty() { NONE } else { self.folder_id }, name)
    }

    /// The id of a string that is kept already.
    pub fn find(&self, bytes: &[u8]) -> Option<StringId> {
        let (folder, name) = split(bytes);
        let mut id = NONE;
        for part in folder.split_inclusive(|byte| *byte == b'/') {
            id = self.child(id, part, self.hash(id, part))?;
        }
        self.child(id, name, self.hash(id, name))
    }

    /// The string.
    pub fn get(&self, id: StringId) -> Vec<u8> {
        let mut parts = Vec::new();
        let mut next = self.nodes.get(id);
        while let Some(node) = next {
            parts.push(self.name(*node));
            next = self.nodes.get(node.parent);
        }
        parts.reverse();
        parts.concat()
    }

    /// For each string its place among all of them in the order of their bytes.
    ///
    /// Only the last component of a string can lack its `/`, and none has one elsewhere, so where two strings first
    /// differ, their components there differ in the same way as the strings do, or one string ends.
    pub fn ranks(&self) -> Vec<u32> {
        let mut order: Vec<StringId> = (0..).take(self.nodes.len()).collect();
        let key =
            |id: &StringId| self.nodes.get(*id).map(|node| (node.parent.wrapping_add(1), self.name(*node)));
        order.sort_unstable_by(|a, b| key(a).cmp(&key(b)));
        // Where the children of a node begin in that order: 0 for those without a parent.
        let mut first: Vec<u32> = vec![u32::MAX; self.nodes.len() + 1];
        for (place, id) in (0u32..).zip(&order) {
            let parent = self.nodes.get(*id).map_or(0, |node| node.parent.wrapping_add(1) as usize);
            if let Some(first) = first.get_mut(parent).filter(|first| **first == u32::MAX) {
                *first = place;
            }
        }
        let mut ranks = vec![0; self.nodes.len()];
        let mut rank = 0;
        let begin =
            |id: StringId| first.get(id.wrapping_add(1) as usize).copied().filter(|at| *at != u32::MAX);
        // Of each open folder, the place of the child that is next.
        let mut open: Vec<(StringId, u32)> = begin(NONE).map(|at| (NONE, at)).into_iter().collect();
        while let Some((parent, place)) = open.pop() {
            let Some(id) = order.get(place as usize).copied() else { continue };
            if self.nodes.get(id).is_none_or(|node| node.parent != parent) {
                continue;
            }
            if let Some(slot) = ranks.get_mut(id as usize) {
                *slot = rank;
            }
            rank += 1;
            open.push((parent, place + 1));
            open.extend(begin(id).map(|at| (id, at)));
        }
        ranks
    }

    /// The memory that all strings take.
    pub fn bytes(&self) -> usize {
        self.nodes.bytes() + self.index.bytes() + self.names.iter().map(Vec::capacity).sum::<usize>()
    }

    fn hash(&self, parent: StringId, name: &[u8]) -> u64 {
        self.index.hash(&(parent, name))
    }

    fn child(&self, parent: StringId, name: &[u8], hash: u64) -> Option<StringId> {
        let same =
            |id| self.nodes.get(id).is_some_and(|node| node.parent == parent && self.name(*node) == name);
        self.index.find(hash, same)
    }

    fn keep_child(&mut self, parent: StringId, name: &[u8]) -> Option<StringId> {
        let hash = self.hash(parent, name);
        match self.child(parent, name, hash) {
            None => self.add(parent, name, hash),
            known => known,
        }
    }

    fn add(&mut self, parent: StringId, name: &[u8], hash: u64) -> Option<StringId> {
        let id = self.nodes.next()?;
        if name.len() > BLOCK {
            return None;
        }
        if self.names.last().is_none_or(|last| last.len() + name.len() > BLOCK) {
            // The first block grows as it must.
            let room = if self.names.is_empty() { 0 } else { BLOCK };
            self.names.push(Vec::with_capacity(room));
        }
        let block = self.names.len() - 1;
        let last = self.names.last_mut()?;
        let node = Node {
            parent,
            at: u32::try_from(block * BLOCK + last.len()).ok()?,
            length: u32::try_from(name.len()).ok()?,
        };
        last.extend_from_slice(name);
        self.nodes.push(node);
        self.index.insert(hash, id);
        Some(id)
    }

    fn name(&self, node: Node) -> &[u8] {
        slice(&self.names, node)
    }
}

fn slice(names: &[Vec<u8>], node: Node) -> &[u8] {
    let (at, length) = (node.at as usize, node.length as usize);
    names.get(at / BLOCK).and_then(|block| block.get(at % BLOCK..at % BLOCK + length)).unwrap_or_default()
}

/// Cuts in front of the last component, which may end in a slash.
fn split(bytes: &[u8]) -> (&[u8], &[u8]) {
    let before = bytes.len().saturating_sub(1);
    let slash = bytes.get(..before).and_then(|bytes| bytes.iter().rposition(|byte| *byte == b'/'));
    bytes.split_at(slash.map_or(0, |slash| slash + 1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_string() -> impl Strategy<Value = Vec<u8>> {
        // Few letters, so that prefixes and repetitions are frequent; `!` sorts before `/`, `a` behind it.
        prop::collection::vec(prop::sample::select(b"a!/\xff\0".to_vec()), 0..12)
    }

    proptest! {
        #[test]
        fn strings_come_back_and_are_kept_once(all in prop::collection::vec(any_string(), 0..60)) {
            let mut strings = Strings::default();
            for bytes in &all {
                let known = strings.find(bytes);
                let id = strings.keep(bytes).unwrap();
                prop_assert!(known.is_none_or(|known| known == id));
                prop_assert_eq!(&strings.get(id), bytes);
                prop_assert_eq!(strings.keep(bytes), Some(id));
            }
        }

        #[test]
        fn ranks_are_the_order_of_the_bytes(all in prop::collection::vec(any_string(), 0..60)) {
            let mut strings = Strings::default();
            let ids: Vec<_> = all.iter().map(|bytes| (bytes, strings.keep(bytes).unwrap())).collect();
            let ranks = strings.ranks();
            for (a, id_a) in &ids {
                for (b, id_b) in &ids {
                    prop_assert_eq!(a.cmp(b), ranks[*id_a as usize].cmp(&ranks[*id_b as usize]), "{:?} {:?}", a, b);
                }
            }
        }
    }

    #[test]
    fn a_million_paths_take_little_more_than_their_names() {
        let mut strings = Strings::default();
        for n in 0..1_000_000 {
            strings.keep(format!("/data/{}/{}/file-{n}", n / 10_000, n / 100).as_bytes()).unwrap();
        }
        let each = strings.bytes() / 1_000_000;
        assert!(each <= 48, "{each} bytes a path");
    }
}
