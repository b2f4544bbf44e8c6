//! `refresh`: a release pipeline's one call on a workload's folder.

use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    time::SystemTime,
};

use super::Context;
use crate::{
    error::{Error, Exit, Result},
    output,
    record::rfc3339,
    refresh::{self, Date, Outcome, Question, Verdict, look, markdown},
    sources::{self, Source},
};

/// Makes the profiles of a workload anew from what was kept and new recordings, proves them, compares them with what is
/// committed, and writes them if they are no wider, or if what is wider was approved in workload.toml.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The workload's folder, with its workload.toml.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// The new recordings: files, folders of them, or addresses as `merge` takes them.
    #[arg(long = "recording", required = true, num_args = 1.., value_name = "FILE|FOLDER|URL")]
    recordings: Vec<OsString>,
    /// Change nothing, and tell what would be.
    #[arg(long)]
    check: bool,
    /// Where the summary goes, as Markdown; - is standard output.
    #[arg(long, value_name = "FILE", default_value = "-")]
    summary: PathBuf,
    /// Print the outcome as JSON to standard output; the summary then goes only where --summary says.
    #[arg(long)]
    json: bool,
    /// The workload's root file system: then the summary counts the files that the profile admits.
    #[arg(long, value_name = "DIR")]
    rootfs: Option<PathBuf>,
    /// The target kernel's AppArmor features: a copy of its /sys/kernel/security/apparmor/features.
    #[arg(long, value_name = "DIR")]
    apparmor_features: Option<PathBuf>,
    /// The day by which approvals expire, as YYYY-MM-DD [default: today].
    #[arg(long, value_name = "DATE")]
    today: Option<Date>,
    /// Accept recordings that lost something.
    #[arg(long)]
    allow_incomplete: bool,
}

/// Runs the command.
pub fn main(context: Context, args: &Args) -> Result<Exit> {
    let folder = args.folder.as_path();
    if !args.check {
        if refresh::resume(folder)? {
            context.note("  note: an earlier refresh was interrupted; its files are in their places now");
        }
    } else if refresh::is_interrupted(folder) {
        return Err(Error::usage(format!("an earlier refresh of {} was interrupted", folder.display()))
            .hint("run it once without --check: it finishes what was begun"));
    }
    let today = args.today.map_or_else(today, Ok)?;
    let work = tempfile::tempdir().map_err(|e| {
        Error::host("could not make a temporary folder").because(e).hint("make room for it, or set TMPDIR")
    })?;
    let recordings = at_hand(&args.recordings, work.path())?;
    let progress = context.progress("making the profiles and proving them");
    let mut found = look(&Question {
        folder,
        recordings: &recordings,
        today,
        work: work.path(),
        rootfs: args.rootfs.as_deref(),
        features: args.apparmor_features.as_deref(),
        allow_incomplete: args.allow_incomplete,
    })?;
    drop(progress);
    if !args.check {
        found.write(folder)?;
    }
    let outcome = &found.outcome;
    if args.json {
        output::stdout(json(outcome)?)?;
    }
    if !(args.json && args.summary == Path::new("-")) {
        output::write_file(&args.summary, markdown(outcome).as_bytes())?;
    }
    next(context, args, outcome);
    Ok(outcome.verdict.exit())
}

/// The recordings as files: they are read more than once.
fn at_hand(places: &[OsString], work: &Path) -> Result<Vec<PathBuf>> {
    let copy = |(number, source): (usize, &Source)| {
        if let Some(path) = source.path() {
            return Ok(path.to_owned());
        }
        // Named by its last part, which messages show.
        let name = source.name().rsplit('/').next().unwrap_or_default();
        let fail = |e| {
            Error::host("could not keep a recording for a moment")
                .because(e)
                .hint("set TMPDIR to a folder with room")
        };
        let folder = work.join(format!("recording-{number}"));
        fs::create_dir(&folder).map_err(fail)?;
        let path = folder.join(if name.is_empty() || name == ".." { "recording" } else { name });
        let mut file = fs::File::create(&path).map_err(fail)?;
        io::copy(&mut source.open()?, &mut file).map_err(fail)?;
        Ok(path)
    };
    sources::find(places)?.iter().enumerate().map(copy).collect()
}

/// What to do now.
fn next(context: Context, args: &Args, outcome: &Outcome) {
    let folder = args.folder.display();
    context.note(match outcome.verdict {
        Verdict::Tampered => format!("  next: git checkout -- {folder}, and find out who changed it"),
        Verdict::Failed => {
            "  next: find out what needs what is blocked or open, or report this as a fault of sandbox-trace"
                .into()
        }
        Verdict::Widened => {
            format!("  next: approve it in {folder}/workload.toml, or find out why the release does this")
        }
        Verdict::Unproven => "  next: record where `sandbox-trace doctor` finds nothing missing".into(),
        _ if args.check => format!("  next: the same without --check writes {folder}"),
        _ => format!("  next: git add {folder}"),
    });
}

fn json(outcome: &Outcome) -> Result<Vec<u8>> {
    let mut json = serde_json::to_vec_pretty(outcome)
        .map_err(|e| Error::usage("could not write the outcome as JSON").because(e))?;
    json.push(b'\n');
    Ok(json)
}

/// The system's date, in UTC.
fn today() -> Result<Date> {
    let now = rfc3339(SystemTime::now());
    let day = now.split('T').next().unwrap_or_default();
    day.parse().map_err(|why: String| Error::host(why).hint("name the day with --today YYYY-MM-DD"))
}
