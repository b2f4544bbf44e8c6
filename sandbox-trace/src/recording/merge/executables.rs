//! Executables of several recordings as one list. Knows nothing of what they did.

use std::collections::BTreeMap;

use crate::recording::{BytePath, Executable, ExecutableIndex};

/// What an executable is: path, build id, hash.
type Key = (BytePath, Option<String>, Option<String>);

/// Executables by what they are. An index that was given stays, until all are brought into order.
#[derive(Default)]
pub struct Table {
    places: BTreeMap<Key, ExecutableIndex>,
    list: Vec<Executable>,
}

impl Table {
    /// Adds a recording's list; returns the index here of each.
    pub fn add(&mut self, executables: Vec<Executable>) -> Vec<ExecutableIndex> {
        let mut out = Vec::with_capacity(executables.len());
        for executable in executables {
            let key = (executable.path.clone(), executable.build_id.clone(), executable.sha256.clone());
            let next = ExecutableIndex::try_from(self.list.len()).unwrap_or(ExecutableIndex::MAX);
            let place = *self.places.entry(key).or_insert(next);
            if let Some(known) = self.list.get_mut(place as usize) {
                known.executed |= executable.executed;
                super::facts::add_all(&mut known.scripts, executable.scripts);
            } else {
                let mut new = executable;
                super::facts::tidy(&mut new.scripts);
                self.list.push(new);
            }
            out.push(place);
        }
        out
    }

    /// All in their order, and the place in it of each index that was given.
    pub fn finish(self) -> (Vec<Executable>, Vec<ExecutableIndex>) {
        let mut order = vec![0; self.list.len()];
        for (place, given) in (0..).zip(self.places.values()) {
            if let Some(slot) = order.get_mut(*given as usize) {
                *slot = place;
            }
        }
        let mut list: Vec<(ExecutableIndex, Executable)> = order.iter().copied().zip(self.list).collect();
        list.sort_by_key(|(place, _)| *place);
        (list.into_iter().map(|(_, executable)| executable).collect(), order)
    }
}

/// The same executables by their new indices; those that have none, since they never pointed anywhere, are left out.
pub fn renumber(by: &mut Vec<ExecutableIndex>, new: &[ExecutableIndex]) {
    *by = by.iter().filter_map(|old| new.get(*old as usize).copied()).collect();
    super::facts::tidy(by);
}
