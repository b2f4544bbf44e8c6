//! `width`: how much profiles admit.

use std::{fmt::Write as _, path::PathBuf};

use comfy_table::{CellAlignment, Table, presets};
use schemars::JsonSchema;
use serde::Serialize;

use super::{Context, READING};
use crate::{
    error::{Error, Exit, Result},
    output::{self, counted, grouped},
    requirements,
    seccomp::capabilities::Capabilities,
    width::{self, Files, Question, Width},
};

/// The schema of `--json`.
const SCHEMA: &str = "sandbox-trace/width/v1";

/// Arguments of the command.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("measured").required(true).multiple(true))]
pub struct Args {
    /// Recordings: what they used is shown beside what is admitted.
    #[arg(value_name = "RECORDING")]
    recordings: Vec<PathBuf>,
    /// The seccomp profile, as Docker and OCI runtimes take it.
    #[arg(long, value_name = "FILE", group = "measured")]
    seccomp: Option<PathBuf>,
    /// The AppArmor profile; what it admits of the files in --rootfs is counted.
    #[arg(long, value_name = "FILE", group = "measured", requires = "rootfs")]
    apparmor: Option<PathBuf>,
    /// The container's root file system: the folder that is its /.
    #[arg(long, value_name = "DIR", requires = "apparmor")]
    rootfs: Option<PathBuf>,
    /// The target kernel's AppArmor features: a copy of its /sys/kernel/security/apparmor/features.
    #[arg(long, value_name = "DIR", requires = "apparmor")]
    apparmor_features: Option<PathBuf>,
    /// The container's capabilities (`none` for none): Docker's profiles have rules that depend on them.
    #[arg(long, value_name = "CAP,…", value_delimiter = ',', requires = "seccomp")]
    capabilities: Option<Vec<String>>,
    /// Print the counts, and more, as JSON.
    #[arg(long)]
    json: bool,
}

/// The counts as scripts read them.
#[derive(Serialize, JsonSchema)]
#[schemars(extend("anyOf" = [{ "required": ["files", "network", "capabilities"] }, { "required": ["syscalls"] }]))]
pub(crate) struct Report<'a> {
    /// The format and its version.
    #[schemars(extend("const" = SCHEMA))]
    schema: &'static str,
    #[serde(flatten)]
    width: &'a Width,
}

/// Runs the command.
pub fn main(context: Context, args: Args) -> Result<Exit> {
    let capabilities = args.capabilities.map(|names| Capabilities::parse(&names)).transpose()?;
    // What was lost makes what was used look smaller, and nothing that is admitted.
    let progress = context.progress(READING);
    let needs =
        (!args.recordings.is_empty()).then(|| requirements::load(&args.recordings, true)).transpose()?;
    progress.stage("counting what is admitted");
    let mut width = width::measure(&Question {
        seccomp: args.seccomp.as_deref(),
        capabilities: capabilities.as_ref(),
        apparmor: args.apparmor.as_deref().zip(args.rootfs.as_deref()),
        features: args.apparmor_features.as_deref(),
        needs: needs.as_ref(),
    })?;
    drop(progress);
    if let Some(losses) = needs.map(|needs| needs.losses).filter(|losses| losses.values().any(|n| *n > 0)) {
        let lost = requirements::describe_losses(&losses);
        width.notes.push(format!("the recordings are incomplete ({lost}): more was used than is shown"));
    }
    if args.json {
        let mut json = serde_json::to_vec_pretty(&Report { schema: SCHEMA, width: &width })
            .map_err(|e| Error::usage("could not write the counts as JSON").because(e))?;
        json.push(b'\n');
        output::stdout(json)?;
    } else {
        output::stdout(text(&width))?;
        for note in &width.notes {
            context.note(format!("  note: {note}"));
        }
    }
    Ok(if width.is_complete() { Exit::Clean } else { Exit::Incomplete })
}

/// The counts as a table, then what stands out.
fn text(width: &Width) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["", "admitted", "used", "Docker's default", "of"]);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let mut row = |what: &str, admitted: u64, used: Option<u64>, docker: Option<u64>, of: u64| {
        let or_nothing = |n: Option<u64>| n.map_or_else(String::new, grouped);
        table.add_row([what.into(), grouped(admitted), or_nothing(used), or_nothing(docker), grouped(of)]);
    };
    if let Some(calls) = &width.syscalls {
        let used = calls.used.map(count);
        row("system calls", count(calls.allowed), used, Some(count(calls.docker_default)), count(calls.of));
    }
    if let Some(files) = &width.files {
        let used = files.used;
        row("files readable", files.readable, used.map(|used| used.read), None, files.of);
        row("files writable", files.writable, used.map(|used| used.written), None, files.of);
        row("files executable", files.executable, used.map(|used| used.executed), None, files.of);
        row("directories listable", files.directories.readable, None, None, files.directories.of);
    }
    if let Some(network) = &width.network {
        row("kinds of sockets", count(network.allowed), network.used.map(count), None, count(network.of));
    }
    if let Some(capabilities) = &width.capabilities {
        let used = capabilities.used.as_ref().map(|used| count(used.len()));
        row("capabilities", count(capabilities.allowed.len()), used, None, count(capabilities.of));
    }
    let lines = table.lines().flat_map(|line| [line.trim_end().to_owned(), "\n".to_owned()]);
    let mut out: String = lines.collect();
    if let Some(calls) = &width.syscalls {
        if !calls.limited_by_arguments.is_empty() {
            line(&mut out, format_args!("limited by arguments: {}", calls.limited_by_arguments.join(", ")));
        }
        if !calls.supervised.is_empty() {
            line(&mut out, format_args!("left to a tracer or supervisor: {}", calls.supervised.join(", ")));
        }
        for (arch, allowed) in &calls.other_architectures {
            line(
                &mut out,
                format_args!("also for {arch} programs: {}", counted(count(*allowed), "system call")),
            );
        }
    }
    if let Some(files) = &width.files {
        out += &stands_out(files);
    }
    out
}

/// What a reader of the counts should look at.
fn stands_out(files: &Files) -> String {
    const SHOWN: usize = 5;
    let mut out = String::new();
    if files.writable_and_executable > 0 {
        let number = counted(files.writable_and_executable, "file");
        line(&mut out, format_args!("✗ {number} both writable and executable:"));
        for path in files.writable_and_executable_paths.iter().take(SHOWN) {
            line(&mut out, format_args!("    {path}"));
        }
    }
    if files.used.is_some() && !files.widest.is_empty() {
        out += "most files that may be read and were not:\n";
        for widest in files.widest.iter().take(SHOWN) {
            line(&mut out, format_args!("    {}  {}", grouped(widest.readable_unused), widest.path));
        }
    }
    if files.unread_count > 0 {
        let directories = if files.unread_count == 1 { "directory" } else { "directories" };
        line(
            &mut out,
            format_args!(
                "? {} {directories} could not be read, and what is in there is not counted:",
                grouped(files.unread_count)
            ),
        );
        for unread in files.unread.iter().take(SHOWN) {
            line(&mut out, format_args!("    {}  {}", unread.path, unread.why));
        }
    }
    for path in &files.left_out {
        line(&mut out, format_args!("left out: {path}, in which the kernel shows itself"));
    }
    out
}

fn count(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string does not fail.
    let _ = writeln!(out, "{text}");
}
