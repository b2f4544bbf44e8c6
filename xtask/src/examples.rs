//! `examples`: the worked examples in `profiles/`, made anew by the tool itself.

use anyhow::Result;
use sandbox_trace_tests::openclaw;

use crate::setup::{self, Purpose};

/// Arguments of the task.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Record the agents anew, in a Docker engine of their own; else the recordings stay that are there.
    #[arg(long)]
    record: bool,
}

/// Writes every format of what was recorded.
pub fn main(args: &Args) -> Result<()> {
    if args.record {
        setup::ensure(&[Purpose::Test])?;
        openclaw::record_example()
    } else {
        openclaw::emit_example()
    }
}
