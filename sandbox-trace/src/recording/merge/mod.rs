//! Recordings of many runs, shards, ranks or nodes → one recording. Pure: the same recordings give the same bytes, in
//! whatever order and grouping they come, and however often one comes.
//!
//! That holds since nothing is added up that can't be told apart again: facts are united, counts are the most that one
//! recording had, first times the earliest, last times the latest. What does add up (losses, durations, CPU time) is kept
//! of each run, by the run's id, and summed at the end. When new facts came is dropped: what was new in each run says
//! nothing of when all of them together had seen it.

mod executables;
mod facts;
mod files;
mod recent;
mod runs;
#[cfg(test)]
mod tests;
mod whole;

use std::collections::BTreeSet;

use self::files::FileTable;
pub use self::{
    files::Batch,
    recent::{Stale, StaleFact, keep_last, stale},
};
use super::{ExecutableIndex, Failed, Recording, RunSet};
use crate::error::{Error, Result};

/// Unites recordings, each with the name that messages use.
pub fn merge(recordings: Vec<(String, Recording)>) -> Result<Recording> {
    let mut merger = Merger::default();
    for (name, recording) in recordings {
        merger.add(&name, recording)?;
    }
    merger.finish()
}

/// Recordings in the making of one. It holds what they have in common once, so that its size is that of the result.
#[derive(Default)]
pub struct Merger {
    /// The first recording's name, for messages, and all but its file accesses with all others' united.
    head: Option<(String, Recording)>,
    executables: executables::Table,
    runs: runs::Runs,
    files: FileTable,
}

impl Merger {
    /// Adds a recording; `name` is what messages call it.
    pub fn add(&mut self, name: &str, mut recording: Recording) -> Result<()> {
        let mut batch = Batch::default();
        batch.take(&mut recording);
        self.add_batch(name, recording, &mut batch)
    }

    /// Adds a recording whose file accesses were read into `batch`, which is empty then, for the next one. An error leaves
    /// everything as it was.
    pub fn add_batch(&mut self, name: &str, mut head: Recording, batch: &mut Batch) -> Result<()> {
        if let Some((first, known)) = &self.head
            && known.host.arch != head.host.arch
        {
            return Err(Error::usage(format!(
                "{name} was made on {}, {first} on {}: their facts can't be united",
                head.host.arch, known.host.arch
            ))
            .hint("merge recordings of one architecture, and make a policy for each"));
        }
        head.normalize();
        batch.sort();
        let places = runs::Places::new(self.runs.add(runs::of(&head, batch)?));
        let executables = self.executables.add(std::mem::take(&mut head.executables));
        each_fact(&mut head, |by, runs| {
            executables::renumber(by, &executables);
            *runs = Some(places.seen(runs.as_ref()));
        });
        head.runs.clear();
        self.files.add(batch, &executables, &places);
        batch.clear();
        self.head = Some(match self.head.take() {
            Some((first, known)) => (first, whole::unite(known, head)),
            // With itself: what is written in several ways has one from the start.
            None => (name.to_owned(), whole::unite(head.clone(), head)),
        });
        Ok(())
    }

    /// Adds all that another one has.
    pub fn absorb(&mut self, other: Self) -> Result<()> {
        let Some((name, _)) = &other.head else { return Ok(()) };
        let name = name.clone();
        self.add(&name, other.finish()?)
    }

    /// The one recording.
    pub fn finish(self) -> Result<Recording> {
        let Some((_, mut out)) = self.head else {
            return Err(Error::usage("there is no recording to merge").hint("name two or more"));
        };
        let (executables, new_executable) = self.executables.finish();
        let (runs, new_run) = self.runs.finish();
        let seen = Seen { count: u32::try_from(runs.len()).unwrap_or(u32::MAX), new: new_run };
        each_fact(&mut out, |by, runs| {
            executables::renumber(by, &new_executable);
            *runs = runs.take().and_then(|set| seen.of(&set));
        });
        (out.files, out.failed.files) = self.files.finish(&new_executable, &seen);
        (out.executables, out.runs) = (executables, runs);
        whole::add_up(&mut out);
        out.normalize();
        Ok(out)
    }
}

/// What a finished recording says of the runs that a fact was seen in.
struct Seen {
    count: u32,
    new: Vec<u32>,
}

impl Seen {
    /// Nothing where all have it.
    fn of(&self, runs: &RunSet) -> Option<RunSet> {
        (runs.len() < u64::from(self.count))
            .then(|| runs.renumbered(|run| self.new.get(run as usize).copied()))
    }
}

/// Every fact but the file accesses: who made it, and in which runs.
fn each_fact(
    recording: &mut Recording,
    mut change: impl FnMut(&mut Vec<ExecutableIndex>, &mut Option<RunSet>),
) {
    for call in &mut recording.syscalls {
        change(&mut call.by, &mut call.runs);
        call.args.iter_mut().for_each(|tuple| change(&mut tuple.by, &mut tuple.runs));
    }
    let Failed { network, .. } = &mut recording.failed;
    recording.network.iter_mut().chain(network).for_each(|one| change(&mut one.by, &mut one.runs));
    recording.capabilities.iter_mut().for_each(|one| change(&mut one.by, &mut one.runs));
    recording.credentials.iter_mut().for_each(|one| change(&mut one.by, &mut one.runs));
}

/// Sorted, each once.
fn in_order(list: impl IntoIterator<Item = String>) -> Vec<String> {
    list.into_iter().collect::<BTreeSet<_>>().into_iter().collect()
}
