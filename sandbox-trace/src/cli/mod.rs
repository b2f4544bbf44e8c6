//! The command line: one file a subcommand, and the way from an error to an exit code.

mod audit;
mod compose_file;
mod config;
mod diff;
mod doctor;
mod emit_apparmor;
mod emit_compose;
mod emit_docker;
mod emit_k8s;
mod emit_oci;
mod emit_seccomp;
mod emit_systemd;
pub mod examples;
mod live;
mod merge;
mod probe;
mod record;
mod refresh;
mod report;
mod run;
mod sandbox;
mod verify;
mod width;

use std::{ffi::OsString, path::PathBuf, process::ExitCode};

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

pub(crate) use self::{
    audit::Json as AuditJson, probe::Json as ProbeJson, verify::Report as VerifyJson,
    width::Report as WidthJson,
};
use crate::{
    error::{Error, Exit, Result},
    output::{self, Progress},
    recording::{self, Recording},
};

/// What the exit codes mean, as `--help` says it.
pub const EXIT_CODES: &str = "\
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
    /// Take defaults of options from this file [default: ./sandbox-trace.toml where there is one]. `/dev/null` has none.
    #[arg(long, global = true, value_name = "FILE", env = "SANDBOX_TRACE_CONFIG", hide_env_values = true)]
    config: Option<PathBuf>,
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
    /// Write a hardened Pod with its network policy and profiles for Kubernetes.
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
    /// Write a page for the reviewer: verdict, what is allowed and why, what was refused, how it was measured.
    Report(Box<report::Args>),
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

/// The first stage of the progress that most commands show.
const READING: &str = "reading the recordings";

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

    /// Says, on a terminal, what is being done while it takes long.
    fn progress(self, stage: &str) -> Progress {
        Progress::start(self.quiet, stage)
    }
}

/// The whole command line, with the examples of each command: for `--help`, the man pages and the completions.
pub fn command() -> clap::Command {
    examples::add(Cli::command())
}

/// Why a command line is not taken.
enum Rejected {
    Clap(clap::Error),
    Config(Error),
}

/// Parses the command line with the defaults of the configuration file, and says which those are.
fn parse(args: &[OsString]) -> Result<Cli, Rejected> {
    let mut definition = command();
    let defaults = config::Defaults::find(args, &definition).map_err(Rejected::Config)?;
    if let Some(defaults) = &defaults {
        definition = defaults.apply(definition);
    }
    let matches = definition.try_get_matches_from_mut(args).map_err(Rejected::Clap)?;
    let cli = Cli::from_arg_matches(&matches).map_err(Rejected::Clap)?;
    if let Some(defaults) = &defaults {
        defaults.tell(Context { quiet: cli.quiet }, &matches, &definition);
    }
    Ok(cli)
}

/// Parses the command line, runs the command, reports an error and maps it to the documented exit code.
pub fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    let cli = match parse(&args) {
        Ok(cli) => cli,
        Err(rejected) => {
            let failed = match rejected {
                Rejected::Clap(error) => {
                    let _ = error.print();
                    // Help and version are no failures.
                    error.use_stderr()
                }
                Rejected::Config(error) => {
                    tell(&error);
                    true
                }
            };
            return match (failed, is_run(&args)) {
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
        Command::Report(args) => report::main(context, &args),
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
            tell(&error);
            ExitCode::from(error.exit() as u8)
        }
    }
}

/// Whether `run` is asked for: a wrapper around it must tell its usage from the command's. For when nothing parses.
fn is_run(args: &[OsString]) -> bool {
    let matches = command().ignore_errors(true).try_get_matches_from(args);
    matches.is_ok_and(|matches| matches.subcommand_name() == Some("run"))
}

/// Prints an error as people read it: what failed, why, what to do.
fn tell(error: &Error) {
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
    use std::{collections::BTreeSet, ffi::OsString, fs, path::Path};

    use super::{command, is_run};

    #[test]
    fn the_command_line_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn run_is_known_in_a_line_that_is_wrong() {
        let is_run = |line: &str| is_run(&line.split(' ').map(OsString::from).collect::<Vec<_>>());
        assert!(is_run("sandbox-trace run --no-such-option"));
        assert!(is_run("sandbox-trace -q --config run run"));
        assert!(is_run("sandbox-trace run"));
        assert!(!is_run("sandbox-trace record --no-such-option -- run"));
        assert!(!is_run("sandbox-trace --no-such-option"));
    }

    /// The files themselves are held against outputs by the end-to-end tests; here, that none was forgotten.
    #[test]
    fn every_json_output_has_a_schema_that_a_test_holds_it_against() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut schemas: BTreeSet<String> = ["recording", "attacks", "bench"].map(str::to_owned).into();
        for subcommand in command().get_subcommands() {
            if subcommand.get_arguments().any(|argument| argument.get_long() == Some("json")) {
                // What `merge` prints is a list, named for what it lists.
                let name = subcommand.get_name();
                schemas.insert(if name == "merge" { "stale" } else { name }.to_owned());
            }
        }
        let files = fs::read_dir(root.join("docs/schemas")).unwrap().map(|entry| entry.unwrap().file_name());
        let files: BTreeSet<String> = files.map(|name| name.into_string().unwrap()).collect();
        let expected: BTreeSet<String> = schemas.iter().map(|name| format!("{name}-v1.json")).collect();
        assert_eq!(files, expected);
        let tests = fs::read_dir(root.join("tests/tests")).unwrap().map(|entry| entry.unwrap().path());
        let tests = tests.filter(|path| path.is_file()).map(|path| fs::read_to_string(path).unwrap());
        let tests: String = tests.collect();
        for name in schemas {
            let text = fs::read_to_string(root.join(format!("docs/schemas/{name}-v1.json"))).unwrap();
            let schema: serde_json::Value = serde_json::from_str(&text).unwrap();
            let tag = &schema["properties"]["schema"]["const"];
            assert_eq!(*tag, format!("sandbox-trace/{name}/v1"), "{name}");
            assert!(tests.contains(&format!("{name}-v1.json")), "no test reads the schema of {name}");
        }
    }
}
