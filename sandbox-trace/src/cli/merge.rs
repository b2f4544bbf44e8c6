//! `merge`: recordings of many runs, shards, ranks or nodes → one recording.

use std::{ffi::OsString, path::PathBuf};

use super::{Context, READING};
use crate::{
    error::{Error, Exit, Result},
    output::{self, counted},
    recording::{self, Recording, Stale},
    requirements, sources,
};

/// How many runs are recent, unless it is said.
const RECENT: &str = "5";
/// How many stale facts are listed for people.
const SHOWN: usize = 20;

/// Unites recordings of one workload: of many runs, shards, ranks or nodes. The order makes no difference, and a run that
/// comes twice, also within a recording that was merged before, counts once.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Recordings, folders of recordings (looked through at any depth for *.json and *.zst), `file:///FOLDER`, or
    /// `s3://BUCKET/PREFIX` where it was built with `--features s3`.
    #[arg(required = true, value_name = "RECORDING|FOLDER|URL")]
    recordings: Vec<OsString>,
    /// Where the merged recording goes; `-` is stdout, `.zst` at the end compresses.
    #[arg(short, long, value_name = "FILE", required_unless_present = "stale")]
    output: Option<PathBuf>,
    /// Keep only what the N most recent runs did, by when they started.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    last: Option<u32>,
    /// List what the N most recent runs no longer did.
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = RECENT,
          value_parser = clap::value_parser!(u32).range(1..))]
    stale: Option<u32>,
    /// Print that list as JSON.
    #[arg(long, requires = "stale")]
    json: bool,
    /// Also merge recordings that lost something: the whole is then incomplete, too.
    #[arg(long)]
    allow_incomplete: bool,
}

/// Runs the command.
pub fn main(context: Context, args: &Args) -> Result<Exit> {
    let to_stdout = args.output.as_ref().is_some_and(|path| path.as_os_str() == "-");
    if args.stale.is_some() && to_stdout {
        return Err(Error::usage("the recording and what is stale in it can't both go to stdout")
            .hint("name a file with -o FILE"));
    }
    let progress = context.progress(READING);
    let found = sources::find(&args.recordings)?;
    let merged = sources::merge(&found, args.allow_incomplete)?;
    for name in &merged.incomplete {
        context.note(format!("{} is incomplete, and so is the whole", recording::printable(name)));
    }
    let mut whole = merged.recording;
    // Before the old runs are left out: it is they that tell what is stale.
    let stale = args.stale.map(|recent| recording::stale(&whole, recent));
    let all = whole.runs.len();
    if let Some(last) = args.last {
        whole = recording::keep_last(whole, last);
    }
    if let Some(output) = &args.output {
        progress.stage("writing");
        recording::save(&whole, output)?;
    }
    drop(progress);
    if args.output.is_some() {
        context.note(summary(found.len(), all, &whole));
    }
    if let Some(stale) = stale {
        output::stdout(if args.json { json(&stale)? } else { listed(&stale) })?;
    }
    Ok(Exit::Clean)
}

fn summary(files: usize, runs: usize, whole: &Recording) -> String {
    let state = if whole.complete {
        "complete".to_owned()
    } else {
        format!("INCOMPLETE: {}", requirements::describe_losses(&whole.losses))
    };
    let kept =
        if whole.runs.len() < runs { format!(", the last {} kept", whole.runs.len()) } else { String::new() };
    format!(
        "✓ {} merged, of {}{kept}: {}, {}, {}, {state}",
        counted(files as u64, "recording"),
        counted(runs as u64, "run"),
        counted(whole.syscalls.len() as u64, "syscall"),
        counted(whole.files.len() as u64, "path"),
        counted(whole.executables.len() as u64, "executable"),
    )
}

fn json(stale: &Stale) -> Result<String> {
    let mut text = serde_json::to_string_pretty(stale)
        .map_err(|e| Error::usage("could not write what is stale as JSON").because(e))?;
    text.push('\n');
    Ok(text)
}

fn listed(stale: &Stale) -> String {
    let recent = counted(stale.recent.into(), "most recent run");
    let mut out = match (stale.facts.len() as u64, stale.recent < stale.runs) {
        (_, false) => format!(
            "nothing can be stale: there are {}, and all are recent\n",
            counted(stale.runs.into(), "run")
        ),
        (0, true) => format!("nothing is stale: the {recent} did all that the {} did\n", stale.runs),
        (n, true) => format!("{} not needed by the {recent} of {}:\n", counted(n, "fact"), stale.runs),
    };
    for fact in stale.facts.iter().take(SHOWN) {
        let access = fact.access.as_ref().map(|access| format!(" {access}")).unwrap_or_default();
        let line = format!(
            "  {} {}{access}  last {} in {}, by {}\n",
            fact.kind,
            fact.what,
            fact.last.started,
            counted(fact.seen_in, "run"),
            fact.by.join(", ")
        );
        out.push_str(&line);
    }
    if stale.facts.len() > SHOWN {
        let more = counted((stale.facts.len() - SHOWN) as u64, "more fact");
        out.push_str("  … and ");
        out.push_str(&more);
        out.push_str(": --json lists all\n");
    }
    out
}
