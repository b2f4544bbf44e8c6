//! Which folders must be writable, and what else they hold. Knows paths and accesses, not mounts.

use std::collections::BTreeMap;

use crate::{
    recording::{Access, BytePath},
    requirements::{Evidence, Files},
};

/// Everything that changes a folder.
const NAMES: Access = Access::CREATE.union(Access::DELETE).union(Access::LINK);
/// Everything that runs a file's contents.
const RUN: Access = Access::EXEC.union(Access::MAP_EXEC);

/// A folder that is written to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Folder {
    /// How many paths directly in it were written to.
    pub paths: u64,
    /// One of them.
    pub example: BytePath,
    /// Who did it.
    pub evidence: Evidence,
    /// Whether all that was done in it was making folders, which are written to themselves.
    pub makes_folders_only: bool,
    /// Whether anything below it was there before, and was read or changed: an empty file system in its place would
    /// hide that.
    pub holds_content: Option<BytePath>,
    /// Whether anything below it was executed.
    pub runs: bool,
}

impl Folder {
    /// `3 paths written, such as /tmp/x, by /usr/bin/python3`
    pub fn why(&self) -> String {
        let such = if self.paths == 1 { ":" } else { ", such as" };
        format!(
            "{} written{such} {} (by {})",
            crate::output::counted(self.paths, "path"),
            self.example,
            self.evidence.who()
        )
    }
}

/// The folder that holds a path, with `/` at its end. A path that ends in `/` is a folder in another one.
pub fn parent(path: &[u8]) -> &[u8] {
    let own = path.strip_suffix(b"/").unwrap_or(path);
    let end = own.iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1);
    own.get(..end).unwrap_or_default()
}

/// Python writes compiled modules beside their sources where it can, and goes on without where it can't.
fn is_byte_code(path: &[u8]) -> bool {
    path.split(|byte| *byte == b'/').any(|name| name == b"__pycache__")
}

/// The folders that were written to, among those that `concerns`, by path. What comes before another is above it or apart.
/// Also whether compiled Python modules were written, which needs no place.
pub fn folders(files: &Files, concerns: impl Fn(&[u8]) -> bool) -> (BTreeMap<BytePath, Folder>, bool) {
    let mut out: BTreeMap<BytePath, Folder> = BTreeMap::new();
    let mut byte_code = false;
    for need in files.iter().filter(|need| need.access().intersects(Access::CHANGE) && concerns(need.path()))
    {
        if is_byte_code(need.path()) {
            byte_code = true;
            continue;
        }
        let (path, access) = (need.path(), need.access());
        // Changing a folder's own mode is no change of what is above it.
        let is_folder = path.ends_with(b"/");
        let at = if is_folder && !access.intersects(NAMES) { path } else { parent(path) };
        let folder = out.entry(at.into()).or_insert_with(|| Folder {
            example: path.into(),
            makes_folders_only: true,
            ..Folder::default()
        });
        folder.paths += 1;
        folder.makes_folders_only &=
            is_folder && access.contains(Access::CREATE) && !access.intersects(Access::DELETE);
        folder.evidence.by.extend(need.evidence(Access::CHANGE).by);
    }
    (out, byte_code)
}

/// Finds out what else is below the folders.
pub fn look_below(files: &Files, folders: &mut BTreeMap<BytePath, Folder>) {
    for need in files.iter() {
        let (path, access) = (need.path(), need.access());
        if !access.intersects(RUN.union(Access::READ).union(Access::CHANGE)) || is_byte_code(path) {
            continue;
        }
        // What was made in the run needs nothing to be there before it.
        let was_there = !path.ends_with(b"/") && !access.intersects(Access::CREATE.union(Access::LINK));
        let mut above = parent(path);
        while !above.is_empty() {
            if let Some(folder) = folders.get_mut(&BytePath::from(above)) {
                folder.runs |= access.intersects(RUN);
                if was_there && folder.holds_content.is_none() {
                    folder.holds_content = Some(path.into());
                }
            }
            above = parent(above);
        }
    }
}
