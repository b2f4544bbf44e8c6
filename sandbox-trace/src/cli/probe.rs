//! `probe`: what a container's confinement really stops.

use std::{fmt::Write as _, path::PathBuf};

use comfy_table::{Table, presets};
use indicatif::ProgressBar;
use schemars::JsonSchema;
use serde::Serialize;

use super::Context;
use crate::{
    error::{Error, Exit, Result},
    output,
    probe::{self, Expected, Options, Outcome, Report, Verdict},
    requirements,
    seccomp::capabilities::Capabilities,
};

/// The schema of `--json`.
const SCHEMA: &str = "sandbox-trace/probe/v1";

/// Arguments of the command.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The running container, by name or id.
    #[arg(long, value_name = "NAME", required_unless_present = "list")]
    container: Option<String>,
    /// Only these checks: `write:/etc`, or `write` for all whose id begins so.
    #[arg(long, value_name = "ID,…", value_delimiter = ',')]
    only: Vec<String>,
    /// Say what is tried, and try nothing.
    #[arg(long, conflicts_with_all = ["container", "only", "full", "recordings", "capabilities", "json"])]
    list: bool,
    /// Recordings: what they needed is no open boundary.
    #[arg(long = "recording", value_name = "FILE")]
    recordings: Vec<PathBuf>,
    /// Capabilities that the container is meant to have (`none` for none).
    #[arg(long, value_name = "CAP,…", value_delimiter = ',')]
    capabilities: Option<Vec<String>>,
    /// Also reach limits above 4,096 processes or 4 GiB on purpose.
    #[arg(long)]
    full: bool,
    /// Print all checks, and more, as JSON.
    #[arg(long)]
    json: bool,
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
pub fn main(context: Context, args: Args) -> Result<Exit> {
    if args.list {
        output::stdout(list())?;
        return Ok(Exit::Clean);
    }
    // What was lost makes less expected, never more.
    let needs =
        (!args.recordings.is_empty()).then(|| requirements::load(&args.recordings, true)).transpose()?;
    let mut expected = needs.as_ref().map(Expected::from_requirements).unwrap_or_default();
    if let Some(names) = &args.capabilities {
        expected.capabilities = Capabilities::parse(names)?;
    }
    let container = args.container.unwrap_or_default();
    let options = Options { container: container.clone(), only: args.only, full: args.full, expected };
    let bar = if context.quiet { ProgressBar::hidden() } else { ProgressBar::new_spinner() };
    let report = probe::probe(&options, &mut |index, of, title| {
        bar.set_message(format!("{} of {of}: {}", index + 1, crate::recording::printable(title)));
        bar.tick();
    });
    bar.finish_and_clear();
    let report = report?;
    if args.json {
        let mut json = serde_json::to_vec_pretty(&Json { schema: SCHEMA, report: &report })
            .map_err(|e| Error::usage("could not write the checks as JSON").because(e))?;
        json.push(b'\n');
        output::stdout(json)?;
    } else {
        output::stdout(text(&report))?;
        for cleaned in &report.cleaned {
            tracing::info!("{cleaned}");
        }
        if report.counts.open > 0 {
            let name = crate::recording::printable(&container);
            context
                .note(format!("  next: sandbox-trace audit --container {name}   (which option closes what)"));
        }
    }
    Ok(if report.counts.open > 0 { Exit::Found } else { Exit::Clean })
}

/// What is tried.
fn list() -> String {
    let families = probe::families();
    let width = families.iter().map(|(id, _)| id.chars().count()).max().unwrap_or(0);
    families.iter().fold(String::new(), |mut out, (id, title)| {
        let _ = writeln!(out, "{id:width$}  {title}");
        out
    })
}

/// The table: open boundaries first, then what could not be told, then what holds. Capabilities that the container
/// does not have are one line.
fn text(report: &Report) -> String {
    let is_boring = |check: &&Outcome| {
        check.id.starts_with("capability:") && check.verdict == Verdict::Closed && check.seen == "not held"
    };
    let boring = report.checks.iter().filter(is_boring).count();
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["", "boundary", "expected", "seen", "verdict"]);
    for (verdict, sign, word) in
        [(Verdict::Open, "✗", "open"), (Verdict::Unknown, "?", "unknown"), (Verdict::Closed, " ", "closed")]
    {
        for check in report.checks.iter().filter(|check| check.verdict == verdict && !is_boring(check)) {
            table.add_row([sign, &check.title, &check.expected, &check.seen, word]);
        }
    }
    if boring > 0 {
        let words =
            if boring == 1 { "1 other capability".into() } else { format!("{boring} other capabilities") };
        table.add_row([" ", &words, "not held", "not held", "closed"]);
    }
    let mut out: String =
        table.lines().flat_map(|line| [line.trim_end().to_owned(), "\n".to_owned()]).collect();
    let mut told = std::collections::BTreeSet::new();
    for check in report.checks.iter().filter(|check| check.verdict == Verdict::Open) {
        if told.insert(&check.why) {
            let _ = writeln!(out, "  why: {} ({})", check.why, check.id);
        }
    }
    let counts = report.counts;
    let unknown: Vec<&str> = report
        .checks
        .iter()
        .filter(|check| check.verdict == Verdict::Unknown)
        .map(|check| check.seen.as_str())
        .collect();
    let sign = if counts.open > 0 { "✗" } else { "✓" };
    let _ = write!(out, "{sign} {} closed, {} open, {} unknown", counts.closed, counts.open, counts.unknown);
    let _ = match unknown.as_slice() {
        [] => writeln!(out),
        [only] => writeln!(out, " ({only})"),
        [first, rest @ ..] => writeln!(out, " ({first}; {} more)", rest.len()),
    };
    out
}
