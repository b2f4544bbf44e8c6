//! What recording may cost, held against what was measured.

use serde::Serialize;

use super::{
    growth::Step,
    ratio::Spread,
    recorder::Report,
    rounds::Row,
    sample::Variant,
    workloads::{ALL, Demand, Limit},
};

const MIB: u64 = 1 << 20;
/// Of the recorder, on every workload.
const RSS: u64 = 32 * MIB;
/// Of the recorder, when a million paths are distinct, to its very end.
const RSS_MILLION: u64 = 256 * MIB;
const MAPS: u64 = 10 * MIB;
const LOAD_S: f64 = 0.3;

/// A demand and what was found.
#[derive(Debug, Clone, Serialize)]
pub struct Found {
    pub what: String,
    pub unit: Unit,
    pub measured: f64,
    pub at_most: f64,
    pub met: bool,
    /// What is hoped for.
    pub stretch: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    Ratio,
    Bytes,
    Seconds,
    Losses,
}

pub fn found(what: String, unit: Unit, measured: f64, at_most: f64) -> Found {
    Found { what, unit, measured, at_most, met: measured <= at_most, stretch: None }
}

/// Holds all demands against the results.
pub fn check(rows: &[Row], paths: &[Step], processes: &[Step]) -> Vec<Found> {
    let mut out = Vec::new();
    for row in rows {
        let Some(workload) = ALL.iter().find(|workload| workload.name == row.name) else { continue };
        out.extend(ratio(row, Variant::Traced, workload.traced));
        out.extend(ratio(row, Variant::Bystander, workload.bystander));
        out.extend(beats(row, Variant::Strace));
        // It reads no paths and no arguments, so only where there are none is it the same work.
        if row.name == "W1-getppid" {
            out.extend(beats(row, Variant::Bpftrace));
        }
    }
    let recorders = || rows.iter().flat_map(Row::recorders);
    if let Some(most) = recorders().map(|report| report.rss_bytes).max() {
        out.push(found("the recorder's memory".into(), Unit::Bytes, float(most), float(RSS)));
    }
    let growth = || paths.iter().chain(processes).map(|step| &step.row);
    let every = || rows.iter().chain(growth());
    if let Some(most) = every().flat_map(Row::recorders).map(|report| report.maps_bytes).max() {
        out.push(found("the kernel's memory for maps".into(), Unit::Bytes, float(most), float(MAPS)));
    }
    if let Some(load) = Spread::of(every().flat_map(Row::recorders).map(|report| report.load_s)) {
        out.push(found("from start to `armed`".into(), Unit::Seconds, load.median, LOAD_S));
    }
    for step in paths.iter().filter(|step| step.number >= 1_000_000) {
        if let Some(most) = step.row.recorders().map(|report| report.peak_rss_at_end_bytes).max() {
            let what = format!("the recorder's memory with {} paths", step.number);
            out.push(found(what, Unit::Bytes, float(most), float(RSS_MILLION)));
        }
    }
    for row in every() {
        let lost: u64 = row.recorders().map(Report::lost).sum();
        out.push(found(format!("{}: lost", row.name), Unit::Losses, float(lost), 0.0));
    }
    out
}

fn ratio(row: &Row, variant: Variant, demand: Demand) -> Option<Found> {
    let at_most = match demand.limit? {
        Limit::AtMost(ratio) => ratio,
        Limit::TimesFloor(factor) => factor * row.median(Variant::Floor)?,
    };
    let measured = row.median(variant)?;
    let found = found(format!("{} {variant}", row.name), Unit::Ratio, measured, at_most);
    Some(Found { stretch: demand.stretch, ..found })
}

/// Recording costs less than another tracer, where that works.
fn beats(row: &Row, other: Variant) -> Option<Found> {
    let (measured, theirs) = (row.median(Variant::Traced)?, row.median(other)?);
    Some(found(format!("{} traced, beside {other}", row.name), Unit::Ratio, measured, theirs))
}

#[expect(clippy::cast_precision_loss, reason = "bytes and counts are far below 2^52")]
pub fn float(number: u64) -> f64 {
    number as f64
}
