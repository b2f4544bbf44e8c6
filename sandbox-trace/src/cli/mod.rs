//! The command line: one file a subcommand, and the way from an error to an exit code.

mod audit;
mod compose_file;
mod diff;
mod doctor;
mod emit_apparmor;
mod emit_compose;
mod emit_docker;
mod emit_k8s;
mod emit_oci;
mod emit_seccomp;
mod emit_systemd;
mod live;
mod merge;
mod probe;
mod record;
mod refresh;
mod run;
mod sandbox;
mod verify;
mod width;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

use crate::{
    error::{Error, Exit, Result},
    output,
    recording::{self, Recording},
};

const EXIT_CODES: &str = "\
Exit codes: 0 done and nothing found · 1 something found (blocked, a failed command) · 2 usage or unreadable input ·
3 incomplete or not provable · 4 refused: dangerous without --allow · 5 the host lacks something.
`run` exits as its command does (128 + signal), 125 for its own failures.";

/// Records what a container does with eBPF, writes the least-privilege seccomp and AppArmor profiles for it, and
/// proves that they block nothing needed.
#[derive(Debug, Parser)]
#[command(name = "sandbox-trace", version, after_help = EXIT_CODES, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Say only what must be said.
    #[arg(long, short, global = true)]
    quiet: bool,
    /// Log what is done, to stderr; twice for more. `SANDBOX_TRACE_LOG` takes a filter.
    #[arg(long, short, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Record what a cgroup or a command does.
    Record(record::Args),
    /// Write a seccomp profile (OCI and Docker JSON) from recordings.
    EmitSeccomp(emit_seccomp::Args),
    /// Write an AppArmor profile from recordings.
    EmitApparmor(emit_apparmor::Args),
    /// Write a docker run command for the whole sandbox, each flag with its evidence, from recordings.
    EmitDocker(emit_docker::Args),
    /// Write a compose file for the whole sandbox, or harden a service of one that is there.
    EmitCompose(Box<emit_compose::Args>),
    /// Write a hardened Pod with its NetworkPolicy and profiles for Kubernetes.
    EmitK8s(emit_k8s::Args),
    /// Confine an OCI bundle: the whole sandbox in its config.json.
    EmitOci(emit_oci::Args),
    /// Write a drop-in that confines a service of systemd.
    EmitSystemd(emit_systemd::Args),
    /// Replay recordings against profiles: is anything needed blocked?
    Verify(verify::Args),
    /// Count what profiles admit: files of a root file system, system calls.
    Width(width::Args),
    /// Say what a new recording or profile allows that the old one did not.
    Diff(diff::Args),
    /// Unite recordings of one workload into one.
    Merge(merge::Args),
    /// Make a workload's profiles anew, prove them, and write them if they are no wider or what is wider is approved.
    Refresh(refresh::Args),
    /// Try, from inside a running container, what its confinement stops.
    Probe(probe::Args),
    /// Run a command under a seccomp profile.
    Run(run::Args),
    /// Say what stands open in a container, a compose file, an OCI bundle or a docker run line.
    Audit(Box<audit::Args>),
    /// Say what this host can do, and the fix for what it can't.
    Doctor(doctor::Args),
}

/// What every command is told.
#[derive(Debug, Clone, Copy)]
struct Context {
    quiet: bool,
}

impl Context {
    /// A line for people on stderr, unless they asked for quiet.
    fn note(self, line: impl AsRef<str>) {
        if !self.quiet {
            output::note(line);
        }
    }
}

/// Parses the command line, runs the command, reports an error and maps it to the documented exit code.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            // Help and version are no failures; a wrapper around `run` must tell its usage from the command's.
            let is_run = std::env::args_os().skip(1).find(|arg| !arg.as_encoded_bytes().starts_with(b"-"));
            return match (error.use_stderr(), is_run.is_some_and(|arg| arg == "run")) {
                (false, _) => ExitCode::SUCCESS,
                (true, true) => ExitCode::from(run::OWN_FAILURE),
                (true, false) => ExitCode::from(Exit::Usage as u8),
            };
        }
    };
    init_log(cli.verbose);
    let context = Context { quiet: cli.quiet };
    let outcome = match cli.command {
        Command::Record(args) => record::main(context, args),
        Command::EmitSeccomp(args) => emit_seccomp::main(context, args),
        Command::EmitApparmor(args) => emit_apparmor::main(context, args),
        Command::EmitDocker(args) => emit_docker::main(context, args),
        Command::EmitCompose(args) => emit_compose::main(context, *args),
        Command::EmitK8s(args) => emit_k8s::main(context, &args),
        Command::EmitOci(args) => emit_oci::main(context, args),
        Command::EmitSystemd(args) => emit_systemd::main(context, args),
        Command::Verify(args) => verify::main(context, args),
        Command::Width(args) => width::main(context, args),
        Command::Diff(args) => diff::main(context, &args),
        Command::Merge(args) => merge::main(context, &args),
        Command::Refresh(args) => refresh::main(context, &args),
        Command::Probe(args) => probe::main(context, args),
        Command::Run(args) => return run::main(args),
        Command::Audit(args) => audit::main(context, &args),
        Command::Doctor(args) => doctor::main(context, args),
    };
    match outcome {
        Ok(exit) => ExitCode::from(exit as u8),
        Err(error) => {
            report(&error);
            ExitCode::from(error.exit() as u8)
        }
    }
}

/// Prints an error as people read it: what failed, why, what to do.
fn report(error: &Error) {
    let kind = if error.exit() == Exit::Refused { "refused" } else { "error" };
    output::note(format!("{kind}: {error}"));
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        output::note(format!("  because: {cause}"));
        source = cause.source();
    }
    if let Some(hint) = error.hint_text() {
        output::note(format!("  try: {hint}"));
    }
}

fn init_log(verbose: u8) {
    let level = match verbose {
        0 => "warn",
        1 => "info,aya=warn",
        _ => "debug",
    };
    let filter = tracing_subscriber::EnvFilter::try_from_env("SANDBOX_TRACE_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(level));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).without_time().init();
}

/// Reads the recordings named on the command line, each with the name that messages use.
fn load_recordings(paths: &[PathBuf]) -> Result<Vec<(String, Recording)>> {
    paths.iter().map(|path| Ok((path.display().to_string(), recording::load(path)?))).collect()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::Cli;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
