//! `emit-apparmor`: Write an AppArmor profile from recordings.

use std::path::PathBuf;

use super::{Context, READING};
use crate::{
    apparmor::{compiler, features::Features, pattern::Pattern, policy},
    emit::{self, apparmor::ProfileName},
    error::{Error, Exit, Result},
    output,
    policy::{
        deny_baseline,
        generalize::Generalization,
        paths::{self, AppArmorPolicy, Given, Options},
    },
    requirements,
};

/// Arguments of the command.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Recordings of the workload; what any of them needs is allowed.
    #[arg(required = true, value_name = "RECORDING")]
    recordings: Vec<PathBuf>,
    /// The profile's name: letters, digits, '.', '_' and '-'.
    #[arg(long)]
    name: String,
    /// Where to write the profile; - is standard output.
    #[arg(long, short, default_value = "-", value_name = "FILE")]
    output: PathBuf,
    /// How far rules go beyond the recorded paths.
    #[arg(long, value_enum, default_value_t, value_name = "LEVEL")]
    generalize: Generalization,
    /// Allow something dangerous that the recording asks for: a capability, a path, a system call (repeatable).
    #[arg(long, value_name = "WHAT")]
    allow: Vec<String>,
    /// Accept a recording that lost something, and leave out what no rule can express.
    #[arg(long)]
    allow_incomplete: bool,
    /// Deny by name what agents never need (the guide's list and Docker's), but for what the profile allows.
    #[arg(long)]
    deny_baseline: bool,
    /// Write the profile without compiling it first.
    #[arg(long)]
    no_check: bool,
    /// The kernel features to compile the check for: a copy of a kernel's
    /// /sys/kernel/security/apparmor/features [default: this host's, else Linux 6.1's]
    #[arg(long, value_name = "DIR")]
    apparmor_features: Option<PathBuf>,
}

/// Runs the command.
#[expect(clippy::needless_pass_by_value, reason = "every command has this signature")]
pub fn main(context: Context, args: Args) -> Result<Exit> {
    let name: ProfileName = args.name.parse()?;
    let progress = context.progress(READING);
    let needs = requirements::load(&args.recordings, args.allow_incomplete)?;
    progress.stage("generalising the paths");
    let options = Options {
        generalize: args.generalize,
        allow: args.allow.iter().cloned().collect(),
        allow_incomplete: args.allow_incomplete,
    };
    let policy = paths::policy(&needs, &options)?;
    let mut text = emit::apparmor::text(&policy, &name);
    drop(progress);
    if args.deny_baseline {
        text = with_denies(context, &args, &policy, &text)?;
    }
    if !args.no_check {
        check(context, &args, &text)?;
    }
    output::write_file(&args.output, text.as_bytes())?;
    summary(context, &args, &policy);
    Ok(Exit::Clean)
}

/// The text with deny rules that take nothing of it away.
fn with_denies(context: Context, args: &Args, policy: &AppArmorPolicy, text: &str) -> Result<String> {
    let progress = context.progress("choosing the denies");
    let features = Features::find(args.apparmor_features.as_deref())?;
    let mounts = policy.given.contains(&Given::Mount);
    let baseline = deny_baseline::choose(text, mounts, &features)?;
    drop(progress);
    for reason in &baseline.left_out {
        context.note(format!("  note: {reason}"));
    }
    Ok(deny_baseline::insert(text, &baseline))
}

/// Compiles the text, so that a profile that no host would load is never written.
fn check(context: Context, args: &Args, text: &str) -> Result<()> {
    if compiler::installed().is_none() {
        context.note("  not compiled: apparmor_parser is not installed (apt-get install apparmor)");
        return Ok(());
    }
    let features = Features::find(args.apparmor_features.as_deref())?;
    let _progress = context.progress("compiling the profile, to check it");
    let compiled = compiler::compile(text.as_bytes(), "the profile", &features).map_err(|error| {
        if error.to_string().contains("Too many states") {
            return error;
        }
        Error::host(error.to_string()).hint(
            "the profile was not written; if /etc/apparmor.d lacks abi/3.0 or the tunables, install apparmor's files, \
             else report this as a fault of sandbox-trace (--no-check writes it all the same)",
        )
    })?;
    policy::unpack(&compiled.policy).map(drop)
}

fn summary(context: Context, args: &Args, policy: &AppArmorPolicy) {
    let count = |n: usize, noun: &str| output::counted(u64::try_from(n).unwrap_or(u64::MAX), noun);
    let wide = policy.files.keys().filter(|pattern| !Pattern::is_literal(pattern)).count();
    let links = match policy.links.len() {
        0 => String::new(),
        n => format!(", {}", count(n, "hard link")),
    };
    let file = args.output.display();
    let shown = if args.output.as_os_str() == "-" { "the profile".into() } else { file.to_string() };
    context.note(format!(
        "✓ {shown}: {} ({wide} generalised){links}, {}, {}",
        count(policy.files.len(), "path rule"),
        count(policy.network.len(), "network rule"),
        match policy.capabilities.len() {
            1 => "1 capability".into(),
            n => format!("{n} capabilities"),
        }
    ));
    for kind in &policy.unobserved {
        context.note(format!(
            "  warning: {} were not observed while recording, so the profile has no rules for them",
            crate::recording::BytePath::from(kind.as_str())
        ));
    }
    for gap in &policy.gaps {
        context.note(format!("  gap: {gap}"));
    }
    for note in &policy.notes {
        context.note(format!("  note: {note}"));
    }
    if args.output.as_os_str() != "-" {
        let recordings: Vec<String> = args.recordings.iter().map(|path| path.display().to_string()).collect();
        context.note(format!(
            "  next: sandbox-trace verify {} --apparmor {file}, then load it with sudo apparmor_parser -r {file}",
            recordings.join(" ")
        ));
    }
}
