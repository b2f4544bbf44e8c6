//! Many paths as few folders: the largest are opened first, until no more fit.

use std::collections::BTreeMap;

use super::Folder;
use crate::{
    recording::{Access, BytePath},
    requirements::Files,
};

/// Everything that changes a file or its directory.
pub(super) const WRITES: Access = Access::WRITE
    .union(Access::APPEND)
    .union(Access::CREATE)
    .union(Access::DELETE)
    .union(Access::SETATTR)
    .union(Access::LINK);
/// Everything that makes code of a file.
pub(super) const EXECUTES: Access = Access::EXEC.union(Access::MAP_EXEC);

/// A folder with all below it.
#[derive(Default)]
struct Node {
    counts: [u64; 4],
    below: BTreeMap<Vec<u8>, Node>,
    /// Whether it is shown.
    shown: bool,
}

/// How deep a path is followed: a hostile one may have thousands of folders.
const DEEP: usize = 24;

/// The folders of `files`, at most `rows` of them.
pub(super) fn folders(files: &Files, rows: usize) -> Vec<Folder> {
    let mut root = Node::default();
    for need in files.iter() {
        let access = need.access();
        let has =
            [true, access.intersects(Access::READ), access.intersects(WRITES), access.intersects(EXECUTES)];
        root.add(has);
        let mut at = &mut root;
        let mut components =
            need.path().split(|byte| *byte == b'/').filter(|name| !name.is_empty()).peekable();
        for _ in 0..DEEP {
            let Some(name) = components.next() else { break };
            // What has nothing below it is a file, or a directory that only was listed.
            if components.peek().is_none() {
                break;
            }
            at = at.below.entry(name.to_vec()).or_default();
            at.add(has);
        }
    }
    let mut chosen = Vec::new();
    let mut candidates: Vec<(u64, Vec<Vec<u8>>)> = vec![(root.counts[0], Vec::new())];
    while chosen.len() < rows {
        // The largest first; of two, the first by name.
        let Some(best) =
            (0..candidates.len()).max_by(|a, b| match (candidates.get(*a), candidates.get(*b)) {
                (Some(a), Some(b)) => a.0.cmp(&b.0).then(b.1.cmp(&a.1)),
                _ => std::cmp::Ordering::Equal,
            })
        else {
            break;
        };
        let (_, path) = candidates.swap_remove(best);
        let Some(node) = root.at(&path) else { continue };
        for (name, below) in &node.below {
            candidates.push((below.counts[0], [path.as_slice(), std::slice::from_ref(name)].concat()));
        }
        // A folder that only holds another one says nothing: its name goes into the other's.
        let passes = node.below.len() == 1 && node.below.values().all(|one| one.counts == node.counts);
        if !passes || path.is_empty() {
            chosen.push(path);
        }
    }
    for path in &chosen {
        if let Some(node) = root.at_mut(path) {
            node.shown = true;
        }
    }
    let mut out = Vec::new();
    root.print(&mut Vec::new(), 0, 0, &mut out);
    out
}

impl Node {
    fn add(&mut self, has: [bool; 4]) {
        for (count, has) in self.counts.iter_mut().zip(has) {
            *count += u64::from(has);
        }
    }

    fn at(&self, path: &[Vec<u8>]) -> Option<&Self> {
        path.iter().try_fold(self, |node, name| node.below.get(name))
    }

    fn at_mut(&mut self, path: &[Vec<u8>]) -> Option<&mut Self> {
        path.iter().try_fold(self, |node, name| node.below.get_mut(name))
    }

    /// `own` bytes of `path` are those of the shown folder above.
    fn print(&self, path: &mut Vec<u8>, depth: usize, own: usize, out: &mut Vec<Folder>) {
        path.push(b'/');
        let (mut next, mut from) = (depth, own);
        if self.shown {
            let name = path.get(own..).unwrap_or_default();
            out.push(Folder {
                depth,
                name: BytePath::from(name).to_string(),
                path: BytePath::from(path.as_slice()).to_string(),
                counts: self.counts,
            });
            (next, from) = (depth + 1, path.len());
        }
        for (name, below) in &self.below {
            let length = path.len();
            path.extend_from_slice(name);
            below.print(path, next, from, out);
            path.truncate(length);
        }
        path.pop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::requirements::Evidence;

    #[test]
    fn the_largest_folders_are_opened_and_chains_are_one() {
        let mut files = Files::default();
        for (path, access) in [
            ("/usr/lib/python/a.py", "r"),
            ("/usr/lib/python/b.py", "rm"),
            ("/usr/bin/x", "x"),
            ("/tmp/work/a", "rwc"),
            ("/etc/passwd", "r"),
        ] {
            files.insert(path.as_bytes(), None, access.parse().unwrap(), None, &Evidence::default());
        }
        let shown: Vec<(usize, String, [u64; 4])> =
            folders(&files, 9).into_iter().map(|folder| (folder.depth, folder.name, folder.counts)).collect();
        let row = |depth, name: &str, counts| (depth, name.to_owned(), counts);
        assert_eq!(
            shown,
            [
                row(0, "/", [5, 4, 1, 2]),
                row(1, "etc/", [1, 1, 0, 0]),
                row(1, "tmp/work/", [1, 1, 1, 0]),
                row(1, "usr/", [3, 2, 0, 2]),
                row(2, "bin/", [1, 0, 0, 1]),
                row(2, "lib/python/", [2, 2, 0, 1]),
            ]
        );
        assert_eq!(folders(&files, 2).len(), 2);
        assert_eq!(folders(&Files::default(), 5).len(), 1);
    }
}
