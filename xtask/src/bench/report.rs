//! The results as tables for people and as JSON.

use std::{collections::BTreeMap, fs};

use anyhow::Result;
use comfy_table::{CellAlignment, Table, presets};
use serde_json::{Value, json};

use super::{
    analysis,
    demands::{Found, Unit, float},
    growth::Step,
    ratio::Spread,
    rounds::{Cell, Row},
    sample::Variant,
};

/// All that a run found.
#[derive(Debug)]
pub struct Results {
    pub quick: bool,
    pub rounds: u32,
    pub host: Value,
    pub rows: Vec<Row>,
    pub paths: Vec<Step>,
    pub processes: Vec<Step>,
    pub analysis: Vec<analysis::Row>,
    pub demands: Vec<Found>,
}

/// What is known of the machine. Its load when the run began says how far to trust the rest.
pub fn host() -> Result<Value> {
    let first = |file: &str, key: &str| -> Option<String> {
        let text = fs::read_to_string(file).ok()?;
        let line = text.lines().find(|line| line.starts_with(key))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let uname = nix::sys::utsname::uname()?;
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    Ok(json!({
        "kernel": uname.release().to_string_lossy(),
        "cpu": first("/proc/cpuinfo", "model name"),
        "cpus": std::thread::available_parallelism()?.get(),
        "memory": first("/proc/meminfo", "MemTotal"),
        "load_average": load.split(' ').next().and_then(|load| load.parse::<f64>().ok()),
    }))
}

impl Results {
    fn every_row(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().chain(self.paths.iter().chain(&self.processes).map(|step| &step.row))
    }

    /// Samples, and how many of them somebody else's tracing programs disturbed.
    fn disturbance(&self) -> (usize, usize) {
        self.every_row()
            .fold((0, 0), |(taken, disturbed), row| (taken + row.taken, disturbed + row.disturbed))
    }

    pub fn met(&self) -> bool {
        self.demands.iter().all(|found| found.met)
    }

    pub fn json(&self) -> Value {
        let (taken, disturbed) = self.disturbance();
        json!({
            "schema": "sandbox-trace/bench/v1",
            "quick": self.quick,
            "rounds": self.rounds,
            "host": self.host,
            "samples": { "taken": taken, "disturbed": disturbed },
            "workloads": self.rows,
            "analysis": self.analysis,
            "growth": { "paths": self.paths, "processes": self.processes },
            "demands": self.demands,
            "met": self.met(),
        })
    }

    /// Prints everything.
    pub fn print(&self) {
        if !self.rows.is_empty() {
            println!("\nCPU time of the workload, untraced = 1: median [min–max] of {} rounds", self.rounds);
            println!("{}", ratios(&self.rows, &Variant::TRACERS, |cell| cell.cpu));
            println!("\nCPU time of the workload and the tracer");
            let tools = [Variant::Traced, Variant::Strace, Variant::Bpftrace];
            println!("{}", ratios(&self.rows, &tools, |cell| cell.cpu_with_tracer));
            println!("\nTime on the clock");
            println!("{}", ratios(&self.rows, &tools, |cell| cell.wall));
        }
        if self.every_row().next().is_some() {
            println!("\nThe recorder: the most of all samples");
            println!("{}", recorders(self.every_row()));
        }
        if !self.analysis.is_empty() {
            println!(
                "\nCommands that read a recording: median [min–max] of the time on the clock, the most memory"
            );
            println!("{}", analyses(&self.analysis));
        }
        println!("\nDemands");
        println!("{}", demands(&self.demands));
        for reason in self.unavailable() {
            println!("not available: {reason}");
        }
        let (taken, disturbed) = self.disturbance();
        if disturbed > 0 {
            println!(
                "{disturbed} of {taken} samples began while other tracing programs were attached: the untraced runs were \
                 not untraced, and the ratios are too small"
            );
        }
    }

    /// Each reason once, with the workloads that it concerns.
    fn unavailable(&self) -> Vec<String> {
        let mut reasons: BTreeMap<(String, &str), Vec<&str>> = BTreeMap::new();
        for row in &self.rows {
            for cell in &row.variants {
                if let Some(reason) = &cell.unavailable {
                    reasons.entry((cell.variant.to_string(), reason)).or_default().push(&row.name);
                }
            }
        }
        let line = |((variant, reason), rows): ((String, &str), Vec<&str>)| {
            format!("{variant} on {}: {reason}", rows.join(", "))
        };
        reasons.into_iter().map(line).collect()
    }
}

fn table(heads: &[String]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY).set_header(heads);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn ratios(rows: &[Row], variants: &[Variant], of: fn(&Cell) -> Option<Spread>) -> Table {
    let heads = std::iter::once("workload".to_owned()).chain(variants.iter().map(ToString::to_string));
    let mut table = table(&heads.collect::<Vec<_>>());
    for row in rows {
        let cells =
            variants.iter().map(|variant| row.cell(*variant).and_then(of).map_or("n/a".into(), spread));
        table.add_row(std::iter::once(row.name.clone()).chain(cells));
    }
    table
}

fn spread(spread: Spread) -> String {
    let Spread { median, min, max } = spread;
    if median >= 10.0 {
        format!("{median:.1} [{min:.1}–{max:.1}]")
    } else {
        format!("{median:.2} [{min:.2}–{max:.2}]")
    }
}

fn analyses(rows: &[analysis::Row]) -> Table {
    let mut table = table(&["", "input", "time", "memory", "compiler's memory"].map(str::to_owned));
    for row in rows {
        let seconds = match (&row.failed, row.seconds) {
            (Some(_), _) => "FAILED".to_owned(),
            (None, seconds) => {
                seconds.map_or("n/a".into(), |s| format!("{:.2} s [{:.2}–{:.2}]", s.median, s.min, s.max))
            }
        };
        let compiler =
            if row.compiler_peak_bytes == 0 { String::new() } else { mib(float(row.compiler_peak_bytes)) };
        table.add_row([
            row.name.to_owned(),
            row.input.clone(),
            seconds,
            mib(float(row.peak_bytes)),
            compiler,
        ]);
    }
    for row in rows.iter().filter_map(|row| row.failed.as_ref().map(|why| (row.name, why))) {
        eprintln!("bench: {} failed: {}", row.0, row.1);
    }
    table
}

fn recorders<'a>(rows: impl Iterator<Item = &'a Row>) -> Table {
    let heads = [
        "",
        "traced",
        "in all",
        "load",
        "finish",
        "memory",
        "peak",
        "peak at end",
        "maps",
        "ring",
        "paths",
        "lost",
    ];
    let mut table = table(&heads.map(str::to_owned));
    for row in rows {
        let Some(cell) = row.cell(Variant::Traced) else { continue };
        let most = |of: fn(&super::recorder::Report) -> u64| cell.recorders.iter().map(of).max().unwrap_or(0);
        let longest = |of: fn(&super::recorder::Report) -> f64| {
            format!("{:.2} s", cell.recorders.iter().map(of).fold(0.0, f64::max))
        };
        table.add_row([
            row.name.clone(),
            cell.cpu.map_or("n/a".into(), |s| format!("{:.2}", s.median)),
            cell.cpu_with_tracer.map_or("n/a".into(), |s| format!("{:.2}", s.median)),
            longest(|r| r.load_s),
            longest(|r| r.finish_s),
            mib(float(most(|r| r.rss_bytes))),
            mib(float(most(|r| r.peak_rss_bytes))),
            mib(float(most(|r| r.peak_rss_at_end_bytes))),
            mib(float(most(|r| r.maps_bytes))),
            mib(float(most(|r| r.ring_bytes))),
            most(|r| r.paths).to_string(),
            row.recorders().map(super::recorder::Report::lost).sum::<u64>().to_string(),
        ]);
    }
    table
}

fn mib(bytes: f64) -> String {
    format!("{:.1} MiB", bytes / f64::from(1 << 20))
}

fn demands(found: &[Found]) -> Table {
    let mut table = table(&["", "measured", "at most", "", "stretch"].map(str::to_owned));
    for demand in found {
        let text = |value: f64| match demand.unit {
            Unit::Ratio => format!("{value:.2}"),
            Unit::Bytes => mib(value),
            Unit::Seconds => format!("{value:.2} s"),
            Unit::Losses => format!("{value}"),
        };
        let stretch = demand.stretch.map(|at_most| {
            format!("{} {}", text(at_most), if demand.measured <= at_most { "met" } else { "not met" })
        });
        table.add_row([
            demand.what.clone(),
            text(demand.measured),
            text(demand.at_most),
            if demand.met { "met" } else { "NOT MET" }.to_owned(),
            stretch.unwrap_or_default(),
        ]);
    }
    table
}
