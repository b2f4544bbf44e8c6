//! `setup`: finds what the other tasks need and this machine lacks, says why it is needed, and installs it.

mod archive;
mod components;
mod guest;
mod install;

use anyhow::{Result, bail};
use clap::ValueEnum;

use components::Component;
pub use install::find_cargo_program;

/// Arguments of the task.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to prepare for; everything when not given.
    #[arg(long = "for", value_enum)]
    purposes: Vec<Purpose>,
}

/// What a machine is prepared for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Purpose {
    /// Compiling the product.
    Build,
    /// Compiling the eBPF object.
    Ebpf,
    /// The end-to-end tests.
    Test,
    /// The demo.
    Demo,
    /// The benchmark.
    Bench,
    /// Man pages and completions, held against what reads them.
    Docs,
    /// Licences and sources of the dependencies.
    Deny,
    /// What is released.
    Dist,
}

/// Runs the task.
pub fn main(args: &Args) -> Result<()> {
    ensure(if args.purposes.is_empty() { Purpose::value_variants() } else { &args.purposes })
}

/// Installs what is missing for `purposes`; fails, naming it, where that can't be done.
pub fn ensure(purposes: &[Purpose]) -> Result<()> {
    let wanted: Vec<Component> = components::all()
        .into_iter()
        .filter(|component| purposes.iter().any(|p| component.serves(*p)))
        .collect();
    let missing: Vec<&Component> = wanted.iter().filter(|component| !component.is_present()).collect();
    if missing.is_empty() {
        eprintln!("setup: all {} components are there", wanted.len());
        return Ok(());
    }
    for component in &missing {
        eprintln!("setup: missing {} ({}), {}", component.name, component.why, component.remedy());
    }
    install::install(&missing)?;

    let still: Vec<&str> =
        missing.iter().filter(|component| !component.is_present()).map(|component| component.name).collect();
    if !still.is_empty() {
        bail!("still missing after the installation: {}", still.join(", "));
    }
    eprintln!("setup: installed what was missing");
    Ok(())
}
