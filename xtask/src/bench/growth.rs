//! How the cost grows: with distinct paths, which the recorder keeps, and with processes, which share its maps.

use anyhow::Result;
use serde::Serialize;

use super::{
    lab::Lab,
    ratio::Shuffle,
    rounds::{self, Row},
    sample::{Job, Variant},
    workloads::{Kind, QUICK_TREE, TREE},
};

pub const PATHS: &str = "growth-paths";
pub const PROCESSES: &str = "growth-processes";

/// One step.
#[derive(Debug, Serialize)]
pub struct Step {
    /// How many paths or processes.
    pub number: u64,
    #[serde(flatten)]
    pub row: Row,
}

/// Opens 10,000, 100,000 and a million distinct paths, once each.
pub fn paths(lab: &Lab, rounds: u32, shuffle: &mut Shuffle) -> Result<Vec<Step>> {
    const KIND: Kind = Kind::Program(&["visit", "LINKS", "SIZE", "1", "1"]);
    let numbers: &[u64] = if lab.quick { &[1_000, 10_000] } else { &[10_000, 100_000, 1_000_000] };
    let most = numbers.iter().max().copied().unwrap_or(0);
    lab.make("links", &lab.links(), most)?;
    let mut steps = Vec::new();
    for &number in numbers {
        eprintln!("bench: {number} paths");
        // A sample of many is long, and has little noise.
        let rounds = if number < most || lab.quick { rounds.min(3) } else { 1 };
        let job = |_| Job { kind: &KIND, size: number, witness: ("openat", number), paths: number };
        let name = format!("{PATHS}-{number}");
        let row = rounds::measure(lab, (&name, "distinct paths"), job, &[Variant::Traced], rounds, shuffle)?;
        steps.push(Step { number, row });
    }
    Ok(steps)
}

/// The same files, opened by 1, 2, 4, 8 and 64 processes at once, each its share.
pub fn processes(lab: &Lab, rounds: u32, shuffle: &mut Shuffle) -> Result<Vec<Step>> {
    const KINDS: [(u64, Kind); 5] = [
        (1, Kind::Program(&["visit", "TREE", "SIZE", "1", "1"])),
        (2, Kind::Program(&["visit", "TREE", "SIZE", "1", "2"])),
        (4, Kind::Program(&["visit", "TREE", "SIZE", "1", "4"])),
        (8, Kind::Program(&["visit", "TREE", "SIZE", "1", "8"])),
        (64, Kind::Program(&["visit", "TREE", "SIZE", "1", "64"])),
    ];
    let size = if lab.quick { QUICK_TREE } else { TREE };
    let mut steps = Vec::new();
    // A quick run has the ends.
    for (number, kind) in KINDS.iter().filter(|(number, _)| !lab.quick || [1, 64].contains(number)) {
        eprintln!("bench: {number} processes");
        let job = |_| Job { kind, size, witness: ("openat", size), paths: size };
        let name = format!("{PROCESSES}-{number}");
        let row =
            rounds::measure(lab, (&name, "processes"), job, &[Variant::Traced], rounds.min(3), shuffle)?;
        steps.push(Step { number: *number, row });
    }
    Ok(steps)
}
