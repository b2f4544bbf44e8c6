//! `run`: a command under a seccomp profile.

use std::process::ExitCode;

/// Arguments of the command.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the command; exits as the command does.
pub fn main(_args: Args) -> ExitCode {
    ExitCode::from(125)
}
