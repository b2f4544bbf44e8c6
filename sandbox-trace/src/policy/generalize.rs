//! Recorded paths → the patterns that the next run's paths match too. Pure: the same needs are the same rules.
//!
//! Three kinds of evidence, in this order: a name that is random by its form (a UUID, a digest, what `mkstemp` makes);
//! names that differ between recordings of one workload; many names of one form in one folder. What is random
//! becomes one character class a character where its length is known, a number otherwise: AppArmor has no repetition
//! of a class, and `*` is "anything but /". Sensitive places stay as they were recorded ([`places`]).

mod folder;
mod forms;
mod names;
mod places;

use std::collections::{BTreeMap, HashMap};

use self::folder::Item;
use crate::{
    apparmor::pattern::Pattern,
    error::Error,
    recording::{Access, BytePath},
    requirements::Requirements,
};

/// How far rules go beyond what was recorded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Generalization {
    /// Only what can't be written exactly: process and thread ids below /proc.
    Exact,
    /// Also names that are random by their form or vary between the recordings, and folders with many files.
    #[default]
    Balanced,
    /// As balanced, from fewer examples.
    Broad,
}

/// Permissions that run a file's code.
pub const RUNS: Access = Access::EXEC.union(Access::MAP_EXEC);

/// Permissions that change a file or its name.
pub const WRITES: Access = Access::WRITE
    .union(Access::APPEND)
    .union(Access::CREATE)
    .union(Access::DELETE)
    .union(Access::SETATTR)
    .union(Access::LINK);

/// What one pattern allows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileRule {
    /// As recorded, links left out.
    pub access: Access,
    /// Whether it holds for the files' owner alone.
    pub owner: bool,
    /// The recorded paths that it is made of, where the pattern matches others too: how many, and the first.
    pub stands_for: Option<(usize, BytePath)>,
}

/// The rules for all that was accessed.
#[derive(Debug, Default)]
pub struct Generalized {
    /// By pattern.
    pub files: BTreeMap<Pattern, FileRule>,
    /// New name and existing name of hard links.
    pub links: Vec<(Pattern, Pattern)>,
    /// What no rule can express.
    pub inexpressible: Vec<Error>,
    /// What a reader of the profile should know, in sentences.
    pub notes: Vec<String>,
}

/// Longer paths stay as they are: no program opens one at once, and each folder costs its path's length.
const LONGEST: usize = 8192;

/// Makes the rules.
pub fn rules(needs: &Requirements, level: Generalization) -> Generalized {
    let mut out = Generalized::default();
    let mut items = Vec::with_capacity(needs.files.len());
    let mut ends: HashMap<&[u8], Option<Pattern>> = HashMap::new();
    let mut pairs = Vec::new();
    for need in needs.files.iter() {
        let mut access = need.access();
        let recordings = need.runs();
        if let Some(why) = [Some(need.path()), need.target()]
            .into_iter()
            .flatten()
            .find_map(|path| Pattern::literal(path).err())
        {
            out.inexpressible.push(why);
            continue;
        }
        if access.contains(Access::LINK) {
            let Some(target) = need.target() else {
                out.inexpressible.push(Error::incomplete(format!(
                    "the recording does not say what {} was linked to",
                    BytePath::from(need.path())
                )));
                continue;
            };
            pairs.push((need.path(), target));
            for end in [need.path(), target] {
                ends.insert(end, None);
                items.push(Item { path: end, access: Access::none(), owner: None, recordings });
            }
            access = access.filter(|one| one != Access::LINK);
            if access.is_empty() {
                continue;
            }
        }
        if need.path().len() > LONGEST {
            let rule = FileRule { access, ..FileRule::default() };
            out.files.insert(Pattern::of_expressible(need.path()), rule);
            continue;
        }
        items.push(Item { path: need.path(), access, owner: need.owner(), recordings });
    }
    if !pairs.is_empty() {
        items.sort_by(|a, b| a.path.cmp(b.path));
    }
    folder::rules(&items, level, &mut ends, &mut out);
    read_what_was_missed(needs, &mut out);
    for (new, existing) in pairs {
        if let (Some(Some(new)), Some(Some(existing))) = (ends.get(new), ends.get(existing)) {
            out.links.push((new.clone(), existing.clone()));
        }
    }
    out
}

/// Where names are generalised, what one run looked for in vain the next may find: git asks for the folder of an object
/// before it has one. Reading is added to rules that are there, no rule is made.
fn read_what_was_missed(needs: &Requirements, out: &mut Generalized) {
    let mut wide: Vec<(&Pattern, &mut FileRule)> = out
        .files
        .iter_mut()
        .filter(|(pattern, rule)| names::is_ours(pattern.pieces()) && !rule.access.contains(Access::READ))
        .collect();
    for missed in needs.missed.iter() {
        for (pattern, rule) in &mut wide {
            // A folder that is not there was asked for without its slash.
            let folder = [missed.path(), b"/"].concat();
            if names::matches(pattern.pieces(), missed.path()) || names::matches(pattern.pieces(), &folder) {
                rule.access |= Access::READ;
            }
        }
        wide.retain(|(_, rule)| !rule.access.contains(Access::READ));
        if wide.is_empty() {
            return;
        }
    }
}

#[cfg(test)]
mod tests;
