//! Real workloads of Debian's packages, as programs that take a seed: what a run reads, writes, names and how much of it
//! differs from seed to seed. Each checks its own work and says so in its last line.
//!
//! This knows nothing of runtimes; `trial` runs them.

pub mod guest;
pub mod lab;
pub mod root;
pub mod table;
pub mod trial;

use anyhow::{Context, Result, ensure};

/// Seeds of the recordings.
pub const TRAINING: [u32; 2] = [3, 14];

/// Seeds of the runs under a profile: no recording had them.
pub const FRESH: [u32; 3] = [101, 1_208, 20_017];

/// The workloads' own files, all of them executable.
pub const PROGRAMS: [(&str, &str); 15] = [
    ("begin", include_str!("workloads/programs/begin")),
    ("chain", include_str!("workloads/programs/chain")),
    ("compile.sh", include_str!("workloads/programs/compile.sh")),
    ("database.sh", include_str!("workloads/programs/database.sh")),
    ("events.py", include_str!("workloads/programs/events.py")),
    ("finish", include_str!("workloads/programs/finish")),
    ("interpreter", include_str!("workloads/programs/interpreter")),
    ("pipeline.sh", include_str!("workloads/programs/pipeline.sh")),
    ("report.pl", include_str!("workloads/programs/report.pl")),
    ("static.sh", include_str!("workloads/programs/static.sh")),
    ("store.sh", include_str!("workloads/programs/store.sh")),
    ("threads.py", include_str!("workloads/programs/threads.py")),
    ("train.py", include_str!("workloads/programs/train.py")),
    ("version.sh", include_str!("workloads/programs/version.sh")),
    ("web.sh", include_str!("workloads/programs/web.sh")),
];

/// A workload.
#[derive(Debug, Clone, Copy)]
pub struct Workload {
    /// What it is called in tables and messages.
    pub name: &'static str,
    program: Program,
}

#[derive(Debug, Clone, Copy)]
enum Program {
    /// The demo agent, in a number of rounds that the seed decides.
    Agent,
    /// A file of [`PROGRAMS`], which gets the seed as its argument.
    File(&'static str),
}

const fn workload(name: &'static str, file: &'static str) -> Workload {
    Workload { name, program: Program::File(file) }
}

/// Every workload.
pub const ALL: [Workload; 13] = [
    Workload { name: "agent", program: Program::Agent },
    workload("threads", "threads.py"),
    workload("events", "events.py"),
    workload("training", "train.py"),
    workload("nginx", "web.sh"),
    workload("pipeline", "pipeline.sh"),
    workload("git", "version.sh"),
    workload("gcc", "compile.sh"),
    workload("sqlite", "database.sh"),
    workload("static", "static.sh"),
    workload("script", "chain"),
    workload("perl", "report.pl"),
    workload("redis", "store.sh"),
];

/// The workloads to try: all, or those in `MATRIX=git,nginx`.
#[must_use]
pub fn chosen() -> Vec<Workload> {
    let names = std::env::var("MATRIX").ok();
    let wanted = |workload: &Workload| {
        names.as_ref().is_none_or(|names| names.split(',').any(|name| name == workload.name))
    };
    ALL.into_iter().filter(wanted).collect()
}

impl Workload {
    /// Its command line for a seed.
    #[must_use]
    pub fn command(&self, seed: u32) -> Vec<String> {
        let mut args = vec![format!("{}/begin", root::DIR), (seed % 9).to_string()];
        match self.program {
            Program::Agent => {
                args.extend(crate::agent::work());
                args.extend(["--rounds".to_owned(), (2 + seed % 5).to_string()]);
            }
            Program::File(file) => args.extend([format!("{}/{file}", root::DIR), seed.to_string()]),
        }
        args
    }

    /// Fails unless the workload's own last line says that it did its work, for this seed.
    pub fn expect_worked(&self, seed: u32, output: &str) -> Result<()> {
        if matches!(self.program, Program::Agent) {
            return crate::agent::expect_worked(output);
        }
        let last = output.lines().last().with_context(|| format!("{} said nothing", self.name))?;
        ensure!(last.starts_with(&format!("ok {seed} ")), "{} said {last:?}", self.name);
        Ok(())
    }
}
