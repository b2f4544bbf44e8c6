//! `emit-oci`: confines a bundle.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{Context, sandbox};
use crate::{
    emit::oci::{Config, Parts},
    error::{Error, Exit, Result},
    output::NamedFile,
    seccomp::runtime::Runtime,
};

/// What a bundle calls its configuration.
const CONFIG: &str = "config.json";

/// Arguments of the command.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    sandbox: sandbox::Args,
    /// The bundle, or its config.json: what is in it stays, but for what the recordings show to be too wide.
    #[arg(long, value_name = "DIR|FILE")]
    bundle: PathBuf,
    /// Write the bundle's own config.json.
    #[arg(long, conflicts_with = "output")]
    in_place: bool,
    /// Who will run it: what it calls itself before the workload starts is in the filter.
    #[arg(long, value_enum, default_value_t = Runtime::Runc)]
    runtime: Runtime,
    /// Leave AppArmor as the bundle has it, for kernels without: with a profile no container would start there.
    #[arg(long, conflicts_with = "apparmor")]
    no_apparmor: bool,
}

/// Runs the command. Nothing is written when something is refused.
pub fn main(context: Context, args: Args) -> Result<Exit> {
    let Args { mut sandbox, bundle, in_place, runtime, no_apparmor } = args;
    let file = if bundle.is_dir() { bundle.join(CONFIG) } else { bundle };
    let name = file.display().to_string();
    let bytes = fs::read(&file).map_err(|e| {
        Error::usage(format!("could not read {name}"))
            .because(e)
            .hint("name a bundle's folder or its config.json; `runc spec` writes one")
    })?;
    let mut config = Config::read(&bytes, &name)?;
    let made = sandbox.make(context, runtime)?;
    let report = config.confine(&Parts {
        needs: &made.needs,
        sandbox: &made.sandbox,
        syscalls: &made.syscalls,
        apparmor: (!no_apparmor).then_some(&made.profile),
    })?;
    if in_place {
        sandbox.output.clone_from(&file);
    }
    sandbox.write(context, Some(&made), vec![NamedFile::text(CONFIG, config.json()?)])?;
    for change in &report.changes {
        context.note(format!("  {}: {}  # {}", change.key, change.what, change.why));
    }
    for note in &report.notes {
        context.note(format!("  note: {note}"));
    }
    sandbox::Args::notes(context, &made);
    if sandbox.output != Path::new("-") && !no_apparmor {
        context.note(format!(
            "  next: load the AppArmor profile {} where the bundle runs (emit-apparmor, apparmor_parser -r)",
            made.profile.as_str()
        ));
    }
    Ok(Exit::Clean)
}
