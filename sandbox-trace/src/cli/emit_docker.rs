//! `emit-docker`: writes a script around one `docker run` command.

use std::path::Path;

use super::{Context, sandbox};
use crate::{
    emit::docker::{self, Origin},
    error::{Exit, Result},
    output::NamedFile,
    seccomp::runtime::Runtime,
};

/// Arguments of the command.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    sandbox: sandbox::Args,
}

/// Runs the command.
pub fn main(context: Context, args: Args) -> Result<Exit> {
    let args = args.sandbox;
    let made = args.make(context, Runtime::Docker)?;
    let recordings: Vec<String> = args.recordings.iter().map(|path| path.display().to_string()).collect();
    let origin = Origin { recordings: &recordings, seccomp: &made.seccomp, apparmor: &made.profile };
    let script = docker::script(&made.sandbox, origin)?;
    args.write(context, Some(&made), vec![NamedFile::script("docker-run.sh", script)])?;
    sandbox::Args::notes(context, &made);
    if args.is_folder() {
        context.note(format!("  next: sh {}", args.output.join("docker-run.sh").display()));
    } else if args.output != Path::new("-") {
        context.note(format!(
            "  next: put {} and apparmor.profile beside it (-o FOLDER/ writes all three)",
            made.seccomp
        ));
    }
    Ok(Exit::Clean)
}
