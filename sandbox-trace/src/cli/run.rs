//! `run`: a command under a seccomp profile and an AppArmor profile.

use std::{
    ffi::{CString, OsString},
    path::{Path, PathBuf},
    process::ExitCode,
};

use crate::{
    error::Result,
    explain,
    seccomp::{
        capabilities::Capabilities,
        compile::{Filter, compile},
        profile,
        runtime::Runtime,
    },
    start::{self, Start},
};

/// The exit code of this command's own failures, as `docker run` and `env` have it.
pub const OWN_FAILURE: u8 = 125;

/// Arguments of the command.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The seccomp profile, as Docker and OCI runtimes take it.
    #[arg(long, value_name = "FILE")]
    seccomp: Option<PathBuf>,
    /// Compile the profile as this runtime does; it decides what system calls newer than the profile get.
    #[arg(long, value_enum, default_value_t = Runtime::Docker)]
    runtime: Runtime,
    /// Keep the command and what it starts from gaining privileges; also lets an unprivileged user load a filter.
    #[arg(long)]
    no_new_privileges: bool,
    /// The AppArmor profile that the command runs under; it must be loaded.
    #[arg(long, value_name = "NAME")]
    apparmor: Option<String>,
    /// Tell what the profiles deny, with the arguments, while the command runs and at its end. It is a process of its
    /// own then.
    #[arg(long)]
    explain: bool,
    /// The command and its arguments.
    #[arg(required = true, trailing_var_arg = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// Runs the command: this process becomes it, so it returns only when that fails, or when it was to explain.
pub fn main(args: Args) -> ExitCode {
    let (explain, apparmor) = (args.explain, args.apparmor.clone());
    match prepare(args) {
        Ok(start) if explain => match explain::run(start, apparmor.as_deref(), super::tell) {
            Ok(ended) => ended.end(),
            Err(failure) => {
                super::tell(&failure.error);
                ExitCode::from(failure.code)
            }
        },
        Ok(start) => {
            let failure = start.exec();
            super::tell(&failure.error);
            ExitCode::from(failure.code)
        }
        Err(failure) => {
            super::tell(&failure.error);
            ExitCode::from(failure.code)
        }
    }
}

fn prepare(args: Args) -> Result<Start, start::Failure> {
    let own = |error| start::Failure { code: OWN_FAILURE, error };
    if args.explain && args.seccomp.is_none() && args.apparmor.is_none() {
        return Err(own(crate::Error::usage("there is no profile that could deny anything")
            .hint("name one with --seccomp FILE or --apparmor NAME")));
    }
    let filter = args.seccomp.as_ref().map(|file| filter(file, args.runtime)).transpose().map_err(own)?;
    if let Some(filter) = &filter {
        start::check_exec(&filter.program).map_err(own)?;
    }
    let words = args
        .command
        .into_iter()
        .map(|arg| CString::new(std::os::unix::ffi::OsStringExt::into_vec(arg)))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| own(crate::Error::usage("an argument has a NUL byte").because(e)))?;
    Start::new(words, filter.map(|f| f.program), args.no_new_privileges, args.apparmor)
}

/// The filter of a profile, for this process and this kernel.
pub(super) fn filter(file: &Path, runtime: Runtime) -> Result<Filter> {
    let mut profile = profile::load(file)?;
    // Docker's rules for some capabilities or kernels are settled for this process and this kernel.
    let kernel = nix::sys::utsname::uname().ok();
    profile.resolve(&Capabilities::bounding()?, kernel.as_ref().and_then(|k| k.release().to_str()));
    let filter = compile(&profile, runtime.answers_enosys())?;
    for note in &profile.notes {
        tracing::info!("{note}");
    }
    if !filter.unknown.is_empty() {
        tracing::info!("names that this libseccomp does not know are ignored: {:?}", filter.unknown);
    }
    Ok(filter)
}
