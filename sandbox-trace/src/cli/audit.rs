//! `audit`: what stands open.

mod print;
mod subjects;

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Serialize;

use super::{Context, READING};
use crate::{
    audit::{self, Report, Severity, sarif},
    error::{Error, Exit, Result},
    output, requirements,
};

/// The schema of `--json`.
const SCHEMA: &str = "sandbox-trace/audit/v1";

/// Arguments of the command.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("subject").required(true))]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub struct Args {
    /// A running container: what is in force on it.
    #[arg(long, value_name = "NAME", group = "subject")]
    container: Option<String>,
    /// A compose file; all of its services, unless --service names some.
    #[arg(long, value_name = "FILE", group = "subject")]
    compose: Option<PathBuf>,
    /// Only this service of the compose file.
    #[arg(long, value_name = "NAME", requires = "compose")]
    service: Vec<String>,
    /// An OCI bundle's folder, or its config.json.
    #[arg(long, value_name = "PATH", group = "subject")]
    oci: Option<PathBuf>,
    /// A script with a `docker run` line; - is standard input.
    #[arg(long, value_name = "FILE", group = "subject")]
    docker_run: Option<PathBuf>,
    /// A `docker run` line: -- docker run OPTIONS IMAGE
    #[arg(last = true, value_name = "docker run", group = "subject")]
    words: Vec<String>,
    /// Recordings of the workload: what is granted and was never used is found, too.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    recording: Vec<PathBuf>,
    /// Accept recordings that lost something.
    #[arg(long, requires = "recording")]
    allow_incomplete: bool,
    /// Print the report as JSON.
    #[arg(long, conflicts_with = "sarif")]
    json: bool,
    /// Print the findings as SARIF 2.1.0.
    #[arg(long)]
    sarif: bool,
    /// Exit 1 if there is a finding at least as bad; `none` never does.
    #[arg(long, value_enum, value_name = "SEVERITY", default_value_t = FailOn::Medium)]
    fail_on: FailOn,
    /// List the checks that passed, too.
    #[arg(long, conflicts_with_all = ["json", "sarif"])]
    all: bool,
}

/// From which finding on the exit code is 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum FailOn {
    Info,
    Low,
    Medium,
    High,
    Critical,
    None,
}

impl FailOn {
    fn severity(self) -> Option<Severity> {
        match self {
            Self::Info => Some(Severity::Info),
            Self::Low => Some(Severity::Low),
            Self::Medium => Some(Severity::Medium),
            Self::High => Some(Severity::High),
            Self::Critical => Some(Severity::Critical),
            Self::None => None,
        }
    }
}

/// The report as scripts read it.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Json<'a> {
    /// The format and its version.
    #[schemars(extend("const" = SCHEMA))]
    schema: &'static str,
    #[serde(flatten)]
    report: &'a Report,
}

/// Runs the command.
pub fn main(context: Context, args: &Args) -> Result<Exit> {
    let subjects = subjects::read(args)?;
    let progress = context.progress(READING);
    let needs = (!args.recording.is_empty())
        .then(|| requirements::load(&args.recording, args.allow_incomplete))
        .transpose()?;
    let mut report = audit::audit(&subjects.subjects, needs.as_ref());
    drop(progress);
    report.notes.splice(0..0, subjects.notes);
    if args.json {
        let json = serde_json::to_vec_pretty(&Json { schema: SCHEMA, report: &report });
        print_json(json)?;
    } else if args.sarif {
        print_json(serde_json::to_vec_pretty(&sarif::log(&report)))?;
    } else {
        output::stdout(print::text(&report, args.all))?;
        for note in &report.notes {
            context.note(format!("  note: {note}"));
        }
        if let Some(next) = print::next_step(&report, args.recording.is_empty()) {
            context.note(format!("  next: {next}"));
        }
    }
    let bad = args.fail_on.severity().is_some_and(|least| report.worst() >= Some(least));
    Ok(if bad { Exit::Found } else { Exit::Clean })
}

fn print_json(json: serde_json::Result<Vec<u8>>) -> Result<()> {
    let mut json = json.map_err(|e| Error::usage("could not write the report as JSON").because(e))?;
    json.push(b'\n');
    output::stdout(json)
}
