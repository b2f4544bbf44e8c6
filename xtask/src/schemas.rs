//! `schemas`: the published JSON schemas, from the product's own types. A test of the product says when they are to be
//! written anew.

use std::{path::PathBuf, process::Command};

use anyhow::Result;

use crate::{
    process,
    setup::{self, Purpose},
    workspace,
};

/// Arguments of the task.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where they go [default: docs/schemas].
    #[arg(long, short, value_name = "DIR")]
    output: Option<PathBuf>,
}

/// Runs the task.
pub fn main(args: &Args) -> Result<()> {
    setup::ensure(&[Purpose::Build])?;
    let folder = args.output.clone().unwrap_or_else(|| workspace::root().join("docs/schemas"));
    let mut cargo = Command::new("cargo");
    cargo.args(["run", "--quiet", "--locked", "--package", "sandbox-trace", "--example", "schemas", "--"]);
    // A folder that was named is one of where the task was called.
    process::run(cargo.arg(std::path::absolute(&folder)?).current_dir(workspace::root()))?;
    eprintln!("schemas: {}", folder.display());
    Ok(())
}
