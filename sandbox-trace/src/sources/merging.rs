//! Merges recordings where they lie, several at a time. In memory are the results so far, one a thread, and the recordings
//! that are being read.

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
};

use super::Source;
use crate::{
    error::{Error, Result},
    recording::{self, Batch, Merger, Recording},
    requirements::describe_losses,
};

/// More threads do not read faster than most disks give.
const MOST_THREADS: usize = 8;
/// A file access is some hundred bytes as JSON: threads are worth their start beyond a few recordings.
const ALONE: usize = 4;

/// What came of merging.
#[derive(Debug)]
pub struct Merged {
    /// The one recording.
    pub recording: Recording,
    /// The names of those that are incomplete, in the order of the sources.
    pub incomplete: Vec<String>,
}

/// What one thread has.
#[derive(Default)]
struct Share {
    merger: Merger,
    batch: Batch,
    incomplete: Vec<usize>,
    fault: Option<(usize, Error)>,
}

/// Merges all; an incomplete one is an error unless `allow_incomplete`.
pub fn merge(sources: &[Source], allow_incomplete: bool) -> Result<Merged> {
    let threads = match sources.len() {
        few if few <= ALONE => 1,
        many => thread::available_parallelism().map_or(1, usize::from).min(MOST_THREADS).min(many),
    };
    let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let work = || {
        let mut share = Share::default();
        while !failed.load(Ordering::Relaxed) {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(source) = sources.get(at) else { break };
            match add(&mut share, source, allow_incomplete) {
                Ok(complete) => share.incomplete.extend((!complete).then_some(at)),
                Err(error) => {
                    share.fault = Some((at, error));
                    failed.store(true, Ordering::Relaxed);
                }
            }
        }
        share
    };
    let shares: Vec<Share> = thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let own = work();
        let others = others.into_iter().map(|other| match other.join() {
            Ok(share) => share,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        std::iter::once(own).chain(others).collect()
    });
    let (mut whole, mut incomplete, mut fault) = (Merger::default(), Vec::new(), None::<(usize, Error)>);
    for share in shares {
        // Sources are begun in their order, so that the first fault is the same each time.
        match share.fault {
            Some((at, error)) if fault.as_ref().is_none_or(|(first, _)| at < *first) => {
                fault = Some((at, error));
            }
            None if fault.is_none() => {
                whole.absorb(share.merger)?;
                incomplete.extend(share.incomplete);
            }
            _ => {}
        }
    }
    if let Some((_, error)) = fault {
        return Err(error);
    }
    incomplete.sort_unstable();
    let name = |at: usize| sources.get(at).map(|source| source.name().to_owned());
    Ok(Merged { recording: whole.finish()?, incomplete: incomplete.into_iter().filter_map(name).collect() })
}

/// Adds one, and says whether it is complete.
fn add(share: &mut Share, source: &Source, allow_incomplete: bool) -> Result<bool> {
    let Share { merger, batch, .. } = share;
    let head = recording::read_each(source.open()?, source.name(), &mut |list, file| batch.push(list, file))?;
    if !head.complete && !allow_incomplete {
        let lost = describe_losses(&head.losses);
        return Err(Error::incomplete(format!("{} is incomplete ({lost})", source.name()))
            .hint("leave it out, or merge it with --allow-incomplete: the whole is then incomplete, too"));
    }
    let complete = head.complete;
    merger.add_batch(source.name(), head, batch)?;
    Ok(complete)
}
