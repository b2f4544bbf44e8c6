//! `doctor`: What this host can do.

use super::Context;
use crate::error::{Error, Exit, Result};

/// Arguments of the command.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the command.
pub fn main(_context: Context, _args: Args) -> Result<Exit> {
    Err(Error::host("to come"))
}
