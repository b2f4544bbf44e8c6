//! The runs that recordings are made of, as one list, and what identifies one.

use std::collections::HashMap;

use sha2::{Digest as _, Sha256};

use super::files::Batch;
use crate::{
    error::{Error, Result},
    recording::{MergedRun, Recording, Resources, RunSet},
};

/// Runs by id. A position that was given stays, until all are brought into order.
#[derive(Default)]
pub struct Runs {
    places: HashMap<String, u32>,
    list: Vec<MergedRun>,
}

impl Runs {
    /// Adds a recording's runs; returns the position here of each.
    pub fn add(&mut self, runs: Vec<MergedRun>) -> Vec<u32> {
        let mut out = Vec::with_capacity(runs.len());
        for run in runs {
            let next = u32::try_from(self.list.len()).unwrap_or(u32::MAX);
            let place = *self.places.entry(run.id.clone()).or_insert(next);
            match self.list.get_mut(place as usize) {
                // One id with two meanings was forged; which one counts must not depend on the order.
                Some(known) if *known < run => *known = run,
                Some(_) => {}
                None => self.list.push(run),
            }
            out.push(place);
        }
        out
    }

    /// All in their order, and the place in it of each position that was given.
    pub fn finish(self) -> (Vec<MergedRun>, Vec<u32>) {
        let mut sorted: Vec<(usize, MergedRun)> = self.list.into_iter().enumerate().collect();
        sorted.sort_by(|(_, a), (_, b)| a.cmp(b));
        let mut order = vec![0; sorted.len()];
        for (place, (given, _)) in (0..).zip(&sorted) {
            if let Some(slot) = order.get_mut(*given) {
                *slot = place;
            }
        }
        (sorted.into_iter().map(|(_, run)| run).collect(), order)
    }
}

/// A recording's runs: of one that was not merged, itself. `head` is all of it but its file accesses, in order.
pub fn of(head: &Recording, files: &Batch) -> Result<Vec<MergedRun>> {
    if !head.runs.is_empty() {
        return Ok(head.runs.clone());
    }
    Ok(vec![MergedRun {
        started: head.started.clone(),
        id: id(head, files)?,
        duration_ms: head.duration_ms,
        tool: head.tool.clone(),
        kernel: head.host.kernel.clone(),
        hooks: head.host.hooks.clone(),
        complete: head.complete,
        losses: head.losses.iter().filter(|(_, lost)| **lost > 0).map(|(k, v)| (k.clone(), *v)).collect(),
        resources: Resources { storage: Vec::new(), ..head.resources.clone() },
    }])
}

/// SHA-256 of the content: of all but the file accesses as JSON without white space, then of each access. Not of the
/// file's text, so that compression, indentation and the order of its lists make no difference.
fn id(head: &Recording, files: &Batch) -> Result<String> {
    let mut hash = Sha256::new();
    serde_json::to_writer(&mut hash, head)
        .map_err(|e| Error::usage("could not tell a recording by its content").because(e))?;
    files.digest(&mut hash);
    Ok(format!("{:x}", hash.finalize()))
}

/// Where a recording's runs are in the list of all.
pub struct Places {
    places: Vec<u32>,
    all: RunSet,
}

impl Places {
    /// From what [`Runs::add`] returned.
    pub fn new(places: Vec<u32>) -> Self {
        Self { all: places.iter().copied().collect(), places }
    }

    /// In which runs a fact was seen, of which the file says `runs`: all, where it says nothing or nothing sensible.
    pub fn seen(&self, runs: Option<&RunSet>) -> RunSet {
        let count = u32::try_from(self.places.len()).unwrap_or(u32::MAX);
        runs.map(|set| set.below(count).renumbered(|run| self.places.get(run as usize).copied()))
            .filter(|set| !set.is_empty())
            .unwrap_or_else(|| self.all.clone())
    }

    /// All runs of the recording.
    pub fn all(&self) -> &RunSet {
        &self.all
    }
}
