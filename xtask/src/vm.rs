//! `vm`: boots one of the kernels that the tests run on and runs a command in it.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Result, bail};
use sandbox_trace_tests::vm::{Guest, Kernel};

use crate::{
    process,
    setup::{self, Purpose},
    workspace,
};

/// Arguments of the task.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which kernel: 5.10, 6.1 or 6.12.
    #[arg(long, default_value = "6.1")]
    kernel: Kernel,
    /// A program or file of this machine that the guest gets, at the same place, with its libraries.
    #[arg(long = "with", value_name = "FILE")]
    with: Vec<PathBuf>,
    /// Where what the command wrote to /out goes.
    #[arg(long, short)]
    output: Option<PathBuf>,
    /// What to run, by the guest's shell; it has sandbox-trace, busybox, python3 and `apparmor_parser`.
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

/// Runs the task.
pub fn main(args: &Args) -> Result<()> {
    setup::ensure(&[Purpose::Build, Purpose::Test])?;
    // The tests' own way to name another binary; else the guest gets the one of these sources.
    if std::env::var_os("SANDBOX_TRACE_BIN").is_none() {
        process::run(
            Command::new("cargo")
                .args(["build", "--release", "--package", "sandbox-trace"])
                .current_dir(workspace::root()),
        )?;
    }
    let mut guest = Guest::new(args.kernel)?.shown();
    for file in &args.with {
        guest = guest.with_program(&absolute(file)?)?;
    }
    let outcome = guest.run(&format!("{}\n", args.command.join(" ")))?;
    if let Some(folder) = &args.output {
        outcome.save(folder)?;
    }
    if outcome.status != 0 {
        bail!("on Linux {}: exit code {}", args.kernel, outcome.status);
    }
    Ok(())
}

fn absolute(file: &Path) -> Result<PathBuf> {
    Ok(std::path::absolute(file)?)
}
