//! `bench`: what recording costs, beside no tracing, the floor that the kernel sets, and other tracers; in one run,
//! interleaved, as ratios; and what the commands cost that read a recording. `docs/benchmarks.md` says how to read it.

mod analysis;
mod bpf;
mod cgroups;
mod demands;
mod growth;
mod lab;
mod ratio;
mod recorder;
mod report;
mod rounds;
mod running;
mod sample;
mod subject;
mod tools;
mod workloads;

use std::{
    io::Write as _,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};

/// Arguments of the task.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Write all results, every sample included, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// How often each variant of each workload is measured; 5 when not given, 1 with --quick.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: Option<u32>,
    /// Only these: W1, W1b, W2, W3, W4, W5, growth, analysis, or a whole name such as W2-cold.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    only: Vec<String>,
    /// Small and few samples: shows that everything works, and says little about costs.
    #[arg(long)]
    quick: bool,
    /// Fail unless all demands are met.
    #[arg(long)]
    check: bool,
}

/// Runs the task.
pub fn main(args: &Args) -> Result<()> {
    let selected = |name: &str| args.only.is_empty() || args.only.iter().any(|only| selects(only, name));
    for only in &args.only {
        ensure!(names().any(|name| selects(only, name)), "there is no workload {only}; there are {}", list());
    }
    if let Some(file) = &args.json {
        // Found out before the run, not after it.
        let folder = file.parent().filter(|folder| *folder != Path::new(""));
        ensure!(folder.is_none_or(Path::is_dir), "can't write {}: its folder is missing", file.display());
    }
    let rounds = args.rounds.unwrap_or(if args.quick { 1 } else { 5 });
    let host = report::host()?;
    let (mut rows, mut paths, mut processes) = (Vec::new(), Vec::new(), Vec::new());
    // What comes after a recording needs neither root nor anything attached.
    if recorded().any(selected) {
        let lab = lab::Lab::open(args.quick)?;
        let mut shuffle = ratio::Shuffle::new();
        for workload in workloads::ALL.iter().filter(|workload| selected(workload.name)) {
            eprintln!("bench: {}, {}", workload.name, workload.what);
            rows.push(rounds::workload(&lab, workload, rounds, &mut shuffle)?);
        }
        if selected(growth::PROCESSES) {
            processes = growth::processes(&lab, rounds, &mut shuffle)?;
        }
        if selected(growth::PATHS) {
            paths = growth::paths(&lab, rounds, &mut shuffle)?;
        }
    }
    let analysis = if selected(analysis::NAME) { analysis::measure(args.quick, rounds)? } else { Vec::new() };
    let mut demands = demands::check(&rows, &paths, &processes);
    if !args.quick {
        demands.extend(analysis::demands(&analysis));
    }
    let results =
        report::Results { quick: args.quick, rounds, host, rows, paths, processes, analysis, demands };
    results.print();
    if let Some(file) = &args.json {
        write(file, &results)?;
    }
    if args.check && !results.met() {
        bail!("demands are not met, see the table");
    }
    Ok(())
}

fn names() -> impl Iterator<Item = &'static str> {
    recorded().chain([analysis::NAME])
}

/// Those that record something.
fn recorded() -> impl Iterator<Item = &'static str> {
    workloads::ALL.iter().map(|workload| workload.name).chain([growth::PROCESSES, growth::PATHS])
}

fn list() -> String {
    names().collect::<Vec<_>>().join(", ")
}

/// Whether what was asked for is this name, or its beginning up to a dash.
fn selects(only: &str, name: &str) -> bool {
    name.strip_prefix(only).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

/// Whole or not at all.
fn write(file: &Path, results: &report::Results) -> Result<()> {
    let folder = file.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
    let mut temporary = tempfile::Builder::new()
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
        .tempfile_in(folder)?;
    serde_json::to_writer_pretty(&mut temporary, &results.json())?;
    writeln!(temporary)?;
    temporary.persist(file).with_context(|| format!("can't write {}", file.display()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::selects;

    #[test]
    fn a_group_is_its_name_up_to_a_dash() {
        assert!(selects("W1", "W1-getppid") && selects("W2-cold", "W2-cold"));
        assert!(!selects("W1", "W1b-fcntl") && !selects("W2-c", "W2-cold") && !selects("", "W1-getppid"));
    }
}
