//! `merge`: recordings of one workload → one recording.

use std::path::PathBuf;

use super::{Context, READING, load_recordings};
use crate::{
    error::{Exit, Result},
    output::counted,
    recording, requirements,
};

/// Unites recordings of one workload, for example those of a recorder that was restarted: facts are united, counts
/// and losses add up, and the whole is complete if every part is. The order of the names makes no difference.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The recordings.
    #[arg(required = true, value_name = "RECORDING")]
    recordings: Vec<PathBuf>,
    /// Where the merged recording goes; `-` is stdout, `.zst` at the end compresses.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

/// Runs the command.
pub fn main(context: Context, args: &Args) -> Result<Exit> {
    let progress = context.progress(READING);
    let merged = recording::merge(load_recordings(&args.recordings)?)?;
    progress.stage("writing");
    recording::save(&merged, &args.output)?;
    drop(progress);
    let state = if merged.complete {
        "complete".to_owned()
    } else {
        format!("INCOMPLETE: {}", requirements::describe_losses(&merged.losses))
    };
    context.note(format!(
        "✓ {} merged: {}, {}, {}, {state}",
        counted(args.recordings.len() as u64, "recording"),
        counted(merged.syscalls.len() as u64, "syscall"),
        counted(merged.files.len() as u64, "path"),
        counted(merged.executables.len() as u64, "executable"),
    ));
    Ok(Exit::Clean)
}
