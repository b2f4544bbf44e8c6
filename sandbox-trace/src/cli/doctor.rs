//! `doctor`: what this host can do.

use super::Context;
use crate::{
    doctor,
    error::{Error, Exit, Result},
    output,
};

/// Says what this host can do, and the fix for what it can't. Exits with 0 when `record` works here, with 5 when it
/// does not.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print the checks as JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
#[expect(clippy::needless_pass_by_value, reason = "every command has this signature")]
pub fn main(context: Context, args: Args) -> Result<Exit> {
    let report = doctor::examine();
    if args.json {
        let mut json = serde_json::to_vec_pretty(&report)
            .map_err(|e| Error::usage("could not write the checks as JSON").because(e))?;
        json.push(b'\n');
        output::stdout(json)?;
    } else if !context.quiet || !report.can_record {
        output::stdout(doctor::text(&report, !context.quiet))?;
    }
    Ok(report.exit())
}
