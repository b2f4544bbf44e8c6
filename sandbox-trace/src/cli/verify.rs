//! `verify`: replays recordings against profiles, and asks whether attacks are denied.

mod print;

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Serialize;

use super::{Context, READING, live};
use crate::{
    error::{Error, Exit, Result},
    output,
    record::{self, InForce},
    requirements::{self, Requirements},
    schemas::text::CapabilityName,
    seccomp::{bpf::MAX_INSTRUCTIONS, capabilities::Capabilities, runtime::Runtime},
    verify::{
        self, Blocked, Checked, Unproven, Verdicts,
        attacks::{self, Files, Judged},
        filters::{Container, Filters},
    },
};

/// The schema of `--json`.
const SCHEMA: &str = "sandbox-trace/verify/v1";

/// Arguments of the command.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("profiles").required(true).multiple(true))]
pub struct Args {
    /// The recordings; all that they hold must be allowed.
    #[arg(required_unless_present_any = ["must_deny", "container"], value_name = "RECORDING")]
    recordings: Vec<PathBuf>,
    /// The seccomp profile, as Docker and OCI runtimes take it. Several are in force together.
    #[arg(long, value_name = "FILE", group = "profiles")]
    seccomp: Vec<PathBuf>,
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
    /// The container's capabilities (`none` for none): those that are needed must be among them, and Docker's
    /// profiles have rules that depend on them.
    #[arg(long, value_name = "CAP,…", value_delimiter = ',', group = "profiles")]
    capabilities: Option<Vec<String>>,
    /// The version of the container's kernel, as `uname -r` says it: Docker's profiles have rules that depend on it.
    #[arg(long, value_name = "VERSION")]
    kernel: Option<String>,
    /// Verify against what the kernel holds for this running container: its seccomp filters and capabilities.
    #[arg(long, value_name = "NAME", group = "profiles", conflicts_with_all = ["seccomp", "capabilities"])]
    container: Option<String>,
    /// Check that attacks are denied: those of FILE, or the built-in list.
    #[arg(long, value_name = "FILE", num_args = 0..=1)]
    must_deny: Option<Vec<PathBuf>>,
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
#[derive(Serialize, JsonSchema)]
pub(crate) struct Report<'a> {
    /// The format and its version.
    #[schemars(extend("const" = SCHEMA))]
    schema: &'static str,
    /// How many facts were replayed; the sum of `checked_by_kind`.
    checked: u64,
    /// How many of each kind.
    checked_by_kind: Checked,
    /// Needed and denied, sorted.
    blocked: &'a [Blocked],
    /// Facts that can't be decided, sorted.
    unproven: &'a [Unproven],
    /// What became of the attacks, with `--must-deny`.
    #[serde(skip_serializing_if = "Option::is_none")]
    attacks: Option<&'a Judged>,
    /// What the kernel holds for the container's first process, with `--container`.
    #[serde(skip_serializing_if = "Option::is_none")]
    container: Option<Held>,
    /// What else a reader should know, in sentences.
    notes: &'a [String],
    /// The second run under the profiles, with `--live`.
    #[serde(skip_serializing_if = "Option::is_none")]
    live: Option<&'a verify::live::Live>,
}

/// What the kernel holds for a container, as scripts read it.
#[derive(Serialize, JsonSchema)]
struct Held {
    /// The container's name.
    name: String,
    /// Its id.
    id: String,
    /// Who keeps it.
    runtime: String,
    /// Its first process, as the host numbers it.
    #[schemars(range(min = 1))]
    pid: u32,
    /// How many instructions each seccomp filter has, newest first.
    #[schemars(inner(range(min = 1, max = MAX_INSTRUCTIONS)))]
    filters: Vec<usize>,
    /// The AppArmor label, such as `docker-default (enforce)`; absent where the kernel has no AppArmor.
    #[serde(skip_serializing_if = "Option::is_none")]
    apparmor: Option<String>,
    /// The capabilities that it can have.
    #[schemars(with = "Vec<CapabilityName>")]
    bounding: Vec<String>,
    /// The capabilities that it has.
    #[schemars(with = "Vec<CapabilityName>")]
    effective: Vec<String>,
    /// Whether its processes can't gain privileges by executing files.
    no_new_privileges: bool,
}

/// Runs the command.
pub fn main(context: Context, args: Args) -> Result<Exit> {
    let profiles = live::Profiles {
        seccomp: args.seccomp.clone(),
        runtime: args.runtime,
        no_new_privileges: args.no_new_privileges,
        apparmor: args.apparmor.clone(),
        apparmor_features: args.apparmor_features.clone(),
    };
    let progress = context.progress(READING);
    let needs = if args.recordings.is_empty() {
        None
    } else {
        Some(requirements::load(&args.recordings, args.allow_incomplete)?)
    };
    let attacks = args.must_deny.map(|file| match file.first() {
        Some(file) => attacks::load(file),
        None => attacks::built_in(),
    });
    let attacks = attacks.transpose()?;
    let held = args.container.as_deref().map(record::in_force).transpose()?;
    let given = match &held {
        Some(held) => Some(held.bounding.clone()),
        None => args.capabilities.as_deref().map(Capabilities::parse).transpose()?,
    };
    let container = Container {
        runtime: args.runtime,
        no_new_privileges: args.no_new_privileges,
        capabilities: given.clone(),
        kernel: args.kernel,
    };
    let filters = match &held {
        Some(held) => Some(Filters::held(held.filters.clone())),
        None if args.seccomp.is_empty() => None,
        None => Some(Filters::load(&args.seccomp, &container)?),
    };
    progress.stage("replaying them");
    let mut verdicts = Verdicts::default();
    if let (Some(needs), Some(filters)) = (&needs, &filters) {
        verdicts.merge(verify::seccomp::against(needs, filters, &container)?);
    }
    let apparmor =
        args.apparmor.as_deref().map(|file| verify::apparmor::load(file, args.apparmor_features.as_deref()));
    let apparmor = apparmor.transpose()?.map(|(profile, notes)| {
        verdicts.notes.extend(notes);
        profile
    });
    if let (Some(needs), Some(profile)) = (&needs, &apparmor) {
        verify::apparmor::replay(needs, profile, &mut verdicts);
    }
    if let (Some(needs), Some(given)) = (&needs, &given) {
        verdicts.merge(verify::capabilities::verify(needs, given, |name| format!("cap_add: {name}")));
    }
    verdicts.notes.extend(notes(needs.as_ref(), held.as_ref(), apparmor.is_some()));
    let files =
        Files { filters: filters.as_ref(), apparmor: apparmor.as_ref(), capabilities: given.as_ref() };
    let judged = attacks.map(|attacks| attacks::judge(&attacks, files));
    drop(progress);
    // Last: the recorder gives up privileges that the replay may need.
    let live = live::run(args.live, &args.recordings, &profiles)?;
    if args.json {
        output::stdout(json(&verdicts, judged.as_ref(), held.as_ref(), live.as_ref())?)?;
    } else {
        if let Some(held) = &held {
            print::in_force(context, held);
        }
        if needs.is_some() {
            print::verdicts(context, &verdicts)?;
        } else {
            verdicts.notes.iter().for_each(|note| context.note(format!("  note: {note}")));
        }
        if let Some(judged) = &judged {
            print::attacks(context, judged)?;
        }
        live::print(context, live.as_ref())?;
    }
    let open = judged.as_ref().is_some_and(|judged| !judged.open.is_empty());
    let unproven = judged.as_ref().is_some_and(|judged| !judged.unproven.is_empty());
    let exit = if open || !verdicts.blocked.is_empty() {
        Exit::Found
    } else if unproven || !verdicts.unproven.is_empty() {
        Exit::Incomplete
    } else {
        Exit::Clean
    };
    Ok(live::with(live.as_ref(), exit))
}

/// What readers should know beside the verdicts.
fn notes(needs: Option<&Requirements>, held: Option<&InForce>, has_profile: bool) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(needs) = needs.filter(|needs| needs.losses.values().any(|lost| *lost > 0)) {
        notes.push(format!(
            "the recordings are incomplete ({}): something needed may not have been checked",
            requirements::describe_losses(&needs.losses)
        ));
    }
    if let Some(held) = held {
        if held.filters.filters().is_empty() {
            notes.push("the container's first process is under no seccomp filter".into());
        }
        let label = held.label.as_ref().filter(|label| **label != "unconfined".into());
        if let Some(label) = label.filter(|_| !has_profile) {
            notes.push(format!(
                "the container runs under AppArmor's {label}, which a kernel does not give back: its rules are \
                 replayed with --apparmor FILE"
            ));
        }
    }
    notes
}

fn json(
    verdicts: &Verdicts,
    attacks: Option<&Judged>,
    held: Option<&InForce>,
    live: Option<&verify::live::Live>,
) -> Result<Vec<u8>> {
    let names = |capabilities: &Capabilities| capabilities.names().map(ToOwned::to_owned).collect();
    let report = Report {
        schema: SCHEMA,
        checked: print::total(verdicts.checked),
        checked_by_kind: verdicts.checked,
        blocked: &verdicts.blocked,
        unproven: &verdicts.unproven,
        attacks,
        container: held.map(|held| Held {
            name: held.container.name.clone(),
            id: held.container.id.clone(),
            runtime: held.container.runtime.clone(),
            pid: held.pid,
            filters: held.filters.filters().iter().map(|filter| filter.instructions().len()).collect(),
            apparmor: held.label.as_ref().map(ToString::to_string),
            bounding: names(&held.bounding),
            effective: names(&held.effective),
            no_new_privileges: held.no_new_privileges,
        }),
        notes: &verdicts.notes,
        live,
    };
    let mut json = serde_json::to_vec_pretty(&report)
        .map_err(|e| Error::usage("could not write the verdicts as JSON").because(e))?;
    json.push(b'\n');
    Ok(json)
}
