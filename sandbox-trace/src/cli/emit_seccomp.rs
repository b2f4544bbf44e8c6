//! `emit-seccomp`: writes a seccomp profile.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use super::{Context, READING};
use crate::{
    emit,
    error::{Exit, Result},
    output::{self, counted},
    policy::{
        arguments::Mode,
        syscalls::{Options, SyscallPolicy, Why, policy},
    },
    requirements,
    seccomp::runtime::Runtime,
    width::DOCKER_DEFAULT,
};

/// Arguments of the command.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The recordings; together they say what is needed.
    #[arg(required = true, value_name = "RECORDING")]
    recordings: Vec<PathBuf>,
    /// Where the profile goes; - is standard output.
    #[arg(long, short, value_name = "FILE", default_value = "-")]
    output: PathBuf,
    /// Who will load the profile: what it calls itself before the workload starts is added.
    #[arg(long, value_enum, default_value_t = Runtime::Docker)]
    runtime: Runtime,
    /// The profile is for containers with `no-new-privileges`: the runtime then needs fewer calls.
    #[arg(long)]
    no_new_privileges: bool,
    /// How far arguments are limited: `safe` limits what reaches far into the kernel and does not vary with the input
    /// (socket families and types, namespaces, personalities, prctl, dangerous ioctls), `strict` everything that was
    /// recorded.
    #[arg(long = "args", value_enum, value_name = "MODE", default_value_t = Mode::Safe)]
    mode: Mode,
    /// Add the calls that other versions of C libraries, runtimes and kernels make in place of those that were seen.
    #[arg(long)]
    portable: bool,
    /// Give this dangerous system call, or value like `ioctl:TIOCSTI`, if a recording asks for it; `namespaces` for
    /// clone with namespace flags.
    #[arg(long, value_name = "NAME")]
    allow: Vec<String>,
    /// Accept recordings that lost something.
    #[arg(long)]
    allow_incomplete: bool,
}

/// Runs the command. Nothing is written when the policy is refused.
pub fn main(context: Context, args: Args) -> Result<Exit> {
    let progress = context.progress(READING);
    let needs = requirements::load(&args.recordings, args.allow_incomplete)?;
    progress.stage("deciding what is allowed");
    let options = Options {
        mode: args.mode,
        allow: args.allow.into_iter().collect(),
        runtime: args.runtime,
        no_new_privileges: args.no_new_privileges,
        portable: args.portable,
    };
    let policy = policy(&needs, &options)?;
    let json = emit::seccomp::json(&policy)?;
    drop(progress);
    output::write_file(&args.output, &json)?;
    let name =
        if args.output == Path::new("-") { "profile".into() } else { args.output.display().to_string() };
    context.note(format!("✓ {name}: {}", summary(&policy, args.runtime)));
    for note in &policy.notes {
        context.note(format!("  note: {note}"));
    }
    if needs.unobserved.contains("syscalls") {
        context.note("  note: a recording was made on a host that could not see system calls: it adds none");
    }
    if !needs.losses.values().all(|lost| *lost == 0) {
        context.note(format!(
            "  note: made from incomplete recordings ({}): something needed may be missing",
            requirements::describe_losses(&needs.losses)
        ));
    }
    if args.output != Path::new("-") {
        let recordings: Vec<String> = args.recordings.iter().map(|r| r.display().to_string()).collect();
        context.note(format!("  next: sandbox-trace verify {} --seccomp {name}", recordings.join(" ")));
    }
    Ok(Exit::Clean)
}

/// `96 syscalls allowed (87 seen, 9 for runc), 205 fewer than Docker's default; 1 limited by arguments (socket)`
fn summary(policy: &SyscallPolicy, runtime: Runtime) -> String {
    let who = if runtime == Runtime::Crun { "crun" } else { "runc" };
    let parts: Vec<String> = [(Why::Seen, "seen".to_owned()), (Why::Runtime, format!("for {who}"))]
        .into_iter()
        .chain([
            (Why::Kernel, "for the kernel's own returns and exits".to_owned()),
            (Why::Companion, "for other timings and sizes".to_owned()),
            (Why::Twin, "as their twins".to_owned()),
        ])
        .map(|(why, text)| (policy.count(why), text))
        .filter(|(count, _)| *count > 0)
        .map(|(count, text)| format!("{count} {text}"))
        .collect();
    let admitted = policy.admitted();
    let mut out = format!("{} allowed ({})", counted(admitted as u64, "syscall"), parts.join(", "));
    if let Some(fewer) = DOCKER_DEFAULT.checked_sub(admitted).filter(|fewer| *fewer > 0) {
        let _ = write!(out, ", {fewer} fewer than Docker's default");
    }
    let limited = policy.limited();
    if !limited.is_empty() {
        let _ = write!(out, "; {} limited by arguments ({})", limited.len(), limited.join(", "));
    }
    out
}
