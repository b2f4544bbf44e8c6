//! `probe`: what a container's confinement really stops, tried from inside it.
//!
//! [`confinement`] reads what the container's first process is confined by, takes it on in a forked child and proves,
//! seen from the host, that it did; [`checks`] is the list of what is tried; [`run`] gives each check a child of its own
//! and ends it; [`report`] is what people and scripts read. The children are forks of this very program: nothing has
//! to exist in the container.
//!
//! It needs root and `/proc`, because the host is its subject, as it is for `doctor` and `explain`. It must not know how
//! a profile is made, only what is in force.

mod board;
mod checks;
mod confinement;
mod elf;
mod host;
mod report;
mod run;

use std::collections::BTreeSet;

pub use self::{
    checks::{Expected, families},
    report::{Counts, Outcome, Report, Verdict},
};
use crate::{
    error::{Error, Result},
    record,
};

/// What to probe.
#[derive(Debug, Default)]
pub struct Options {
    /// The container's name or id.
    pub container: String,
    /// Only these checks, by id or by the part of it before the colon; empty for all.
    pub only: Vec<String>,
    /// Fill large memory and pid limits too.
    pub full: bool,
    /// What the container is meant to have.
    pub expected: Expected,
}

/// Tries everything inside the confinement of the container, and leaves the container as it was. `said` is told of
/// each check that is about to be tried: how many were before it, of how many, and its title.
pub fn probe(options: &Options, said: &mut dyn FnMut(usize, usize, &str)) -> Result<Report> {
    let (container, pid) = record::locate(&options.container)?;
    // A process that is held still can't be asked for its filters, nor can a child run beside it.
    let process = confinement::Process::open(pid)?;
    if confinement::cgroups::Cgroups::read(pid)?.is_frozen() {
        return Err(Error::usage(format!("the container {} is paused", options.container)).hint(
            "let it go on first, with `docker unpause` for example: nothing runs in a paused container",
        ));
    }
    let in_force = record::in_force_of(container, pid)?;
    let plan = confinement::Plan::read(&in_force, &process)?;
    let mut checks = checks::all(&checks::Subject::read(&in_force, &plan, options)?);
    checks::select(&mut checks, &options.only)?;
    let result = run::run(&plan, &process, &checks, said);
    // Whatever went wrong on the way did so because of this.
    if !process.is_alive() {
        return Err(Error::incomplete(format!(
            "the container {} ended while it was probed",
            options.container
        ))
        .hint("probe it again once it runs for longer; nothing of this probe is left"));
    }
    let finished = result?;
    Ok(Report::new(&in_force, &plan, finished))
}

/// The ids that `--only` may name, for messages.
fn ids(checks: &[checks::Check]) -> BTreeSet<&str> {
    checks.iter().map(|check| check.id.as_str()).collect()
}
