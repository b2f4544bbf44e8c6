//! `verify`: replays recordings against profiles.

use std::path::PathBuf;

use comfy_table::{Table, presets};
use serde::Serialize;

use super::{Context, live};
use crate::{
    error::{Error, Exit, Result},
    output::{self, counted, grouped},
    requirements,
    seccomp::{capabilities::Capabilities, runtime::Runtime},
    verify::{self, Blocked, Checked, Kind, Unproven, Verdicts},
};

/// The schema of `--json`.
const SCHEMA: &str = "sandbox-trace/verify/v1";

/// Arguments of the command.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("profiles").required(true).multiple(true))]
pub struct Args {
    /// The recordings; all that they hold must be allowed.
    #[arg(required = true, value_name = "RECORDING")]
    recordings: Vec<PathBuf>,
    /// The seccomp profile, as Docker and OCI runtimes take it.
    #[arg(long, value_name = "FILE", group = "profiles")]
    seccomp: Option<PathBuf>,
    /// The AppArmor profile.
    #[arg(long, value_name = "FILE", group = "profiles")]
    apparmor: Option<PathBuf>,
    /// The target kernel's AppArmor features: a copy of its /sys/kernel/security/apparmor/features.
    #[arg(long, value_name = "DIR", requires = "apparmor")]
    apparmor_features: Option<PathBuf>,
    /// Compile the seccomp profile as this runtime does, and check what it calls itself as well.
    #[arg(long, value_enum, default_value_t = Runtime::None)]
    runtime: Runtime,
    /// The containers run with `no-new-privileges`: the runtime then calls less.
    #[arg(long)]
    no_new_privileges: bool,
    /// The container's capabilities (`none` for none): Docker's profiles have rules that depend on them.
    #[arg(long, value_name = "CAP,…", value_delimiter = ',')]
    capabilities: Option<Vec<String>>,
    /// Accept recordings that lost something.
    #[arg(long)]
    allow_incomplete: bool,
    /// Print the verdicts as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    live: live::Args,
}

/// The verdicts as scripts read them.
#[derive(Serialize)]
struct Report<'a> {
    schema: &'static str,
    checked: u64,
    checked_by_kind: Checked,
    blocked: &'a [Blocked],
    unproven: &'a [Unproven],
    notes: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    live: Option<&'a verify::live::Live>,
}

/// Runs the command.
pub fn main(context: Context, args: Args) -> Result<Exit> {
    let Args { recordings, seccomp, apparmor, apparmor_features, .. } = args;
    let profiles = live::Profiles {
        seccomp: seccomp.clone(),
        runtime: args.runtime,
        no_new_privileges: args.no_new_privileges,
        apparmor: apparmor.clone(),
        apparmor_features: apparmor_features.clone(),
    };
    let container = verify::seccomp::Container {
        runtime: args.runtime,
        no_new_privileges: args.no_new_privileges,
        capabilities: args.capabilities.map(|names| Capabilities::parse(&names)).transpose()?,
    };
    let needs = requirements::fold(&super::load_recordings(&recordings)?, args.allow_incomplete)?;
    let mut verdicts = Verdicts::default();
    if let Some(file) = seccomp {
        verdicts.merge(verify::seccomp::verify(&needs, &file, &container)?);
    }
    if let Some(file) = apparmor {
        verdicts.merge(verify::apparmor::verify(&needs, &file, apparmor_features.as_deref())?);
    }
    if !needs.losses.values().all(|lost| *lost == 0) {
        verdicts.notes.push(format!(
            "the recordings are incomplete ({}): something needed may not have been checked",
            requirements::describe_losses(&needs.losses)
        ));
    }
    // Last: the recorder gives up privileges that the replay may need.
    let live = live::run(args.live, &recordings, &profiles)?;
    if args.json {
        output::stdout(json(&verdicts, live.as_ref())?)?;
    } else {
        print(context, &verdicts)?;
        live::print(context, live.as_ref())?;
    }
    Ok(live::with(
        live.as_ref(),
        if !verdicts.blocked.is_empty() {
            Exit::Found
        } else if verdicts.unproven.is_empty() {
            Exit::Clean
        } else {
            Exit::Incomplete
        },
    ))
}

fn json(verdicts: &Verdicts, live: Option<&verify::live::Live>) -> Result<Vec<u8>> {
    let report = Report {
        schema: SCHEMA,
        checked: total(verdicts.checked),
        checked_by_kind: verdicts.checked,
        blocked: &verdicts.blocked,
        unproven: &verdicts.unproven,
        notes: &verdicts.notes,
        live,
    };
    let mut json = serde_json::to_vec_pretty(&report)
        .map_err(|e| Error::usage("could not write the verdicts as JSON").because(e))?;
    json.push(b'\n');
    Ok(json)
}

fn total(checked: Checked) -> u64 {
    checked.seccomp + checked.files + checked.network + checked.capabilities
}

/// The answer first, then each fact with who needed it and what would allow it.
fn print(context: Context, verdicts: &Verdicts) -> Result<()> {
    let Verdicts { checked, blocked, unproven, notes } = verdicts;
    let evidence = evidence(*checked);
    let verdict = match (blocked.len(), unproven.len()) {
        (0, 0) => "✓ nothing needed is blocked".to_owned(),
        (0, _) => "? nothing needed is known to be blocked".to_owned(),
        (1, _) => "✗ 1 needed thing would be blocked".to_owned(),
        (_, _) => format!("✗ {} needed things would be blocked", grouped(count(blocked))),
    };
    let mut out = format!("{verdict}     {evidence}\n");
    out +=
        &table(blocked.iter().map(|b| {
            [kind(b.kind).into(), b.what.clone(), b.needed_by.join(", "), format!("add {}", b.rule)]
        }));
    if !unproven.is_empty() {
        out += &["? ", &counted(count(unproven), "fact"), " can't be proven\n"].concat();
        out += &table(
            unproven.iter().map(|u| [kind(u.kind).into(), u.what.clone(), u.why.clone(), String::new()]),
        );
    }
    // Quiet is for scripts that look at the exit code: then only bad news is printed.
    if !context.quiet || !blocked.is_empty() || !unproven.is_empty() {
        output::stdout(out)?;
    }
    for note in notes {
        context.note(format!("  note: {note}"));
    }
    if !blocked.is_empty() {
        context.note("  next: make the profile again from these recordings as well, or add the rules above");
    }
    Ok(())
}

fn count<T>(list: &[T]) -> u64 {
    u64::try_from(list.len()).unwrap_or(u64::MAX)
}

/// `1,412 facts: 141 call tuples through the compiled filter, 1,268 paths through the compiled DFA, 3 network`
fn evidence(checked: Checked) -> String {
    let parts: Vec<String> = [
        (checked.seccomp, counted(checked.seccomp, "call tuple") + " through the compiled filter"),
        (checked.files, counted(checked.files, "path") + " through the compiled DFA"),
        (checked.network, grouped(checked.network) + " network"),
        (checked.capabilities, grouped(checked.capabilities) + " capability"),
    ]
    .into_iter()
    .filter(|(count, _)| *count > 0)
    .map(|(_, text)| text)
    .collect();
    let facts = counted(total(checked), "fact");
    if parts.is_empty() { facts } else { format!("{facts}: {}", parts.join(", ")) }
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Seccomp => "seccomp",
        Kind::File | Kind::Network | Kind::Capability => "apparmor",
    }
}

/// Columns without borders, indented, with no spaces at the ends of lines.
fn table(rows: impl Iterator<Item = [String; 4]>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    for row in rows {
        table.add_row(row);
    }
    table.lines().flat_map(|line| [" ".to_owned(), line.trim_end().to_owned(), "\n".to_owned()]).collect()
}
