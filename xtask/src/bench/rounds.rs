//! The rounds of one workload: every tracer in every round, in another order each time, an untraced run before and
//! after each. A machine whose speed drifts moves a sample and its neighbours alike.

use anyhow::{Context, Result};
use serde::Serialize;

use super::{
    lab::Lab,
    ratio::{Ratio, Shuffle, Spread},
    recorder::Report,
    sample::{self, Job, Sample, Variant},
    workloads::Workload,
};

/// What one tracer made of a workload. No sample is left out.
#[derive(Debug, Serialize)]
pub struct Cell {
    pub variant: Variant,
    /// How much work one of its samples was.
    pub size: u64,
    pub samples: Vec<Ratio>,
    /// Of the CPU time, the tracer's own left out.
    pub cpu: Option<Spread>,
    pub cpu_with_tracer: Option<Spread>,
    pub wall: Option<Spread>,
    /// What each recorder used and missed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub recorders: Vec<Report>,
    /// Why there are no samples, or no more.
    pub unavailable: Option<String>,
}

impl Cell {
    pub fn new(variant: Variant, size: u64) -> Self {
        Self {
            variant,
            size,
            samples: Vec::new(),
            cpu: None,
            cpu_with_tracer: None,
            wall: None,
            recorders: Vec::new(),
            unavailable: None,
        }
    }

    fn add(&mut self, sample: Sample, before: &Sample, after: &Sample) {
        let ratio = |of: fn(&Sample) -> f64, plain: fn(&Sample) -> f64| {
            of(&sample) / f64::midpoint(plain(before), plain(after))
        };
        self.samples.push(Ratio {
            cpu: ratio(|s| s.cpu, |s| s.cpu),
            cpu_with_tracer: ratio(|s| s.cpu_with_tracer, |s| s.cpu),
            wall: ratio(|s| s.wall, |s| s.wall),
        });
        self.recorders.extend(sample.recorder);
    }

    fn finish(&mut self) {
        let spread = |of: fn(&Ratio) -> f64| Spread::of(self.samples.iter().map(of));
        (self.cpu, self.cpu_with_tracer, self.wall) =
            (spread(|r| r.cpu), spread(|r| r.cpu_with_tracer), spread(|r| r.wall));
    }
}

/// All that was measured of one workload.
#[derive(Debug, Serialize)]
pub struct Row {
    pub name: String,
    pub what: String,
    /// How long one unit of the work took untraced, in nanoseconds of CPU time: what the ratios are ratios of.
    pub untraced_ns: Option<Spread>,
    pub variants: Vec<Cell>,
    /// Samples, untraced ones included, and how many of them began while somebody else's tracing programs were attached.
    pub taken: usize,
    pub disturbed: usize,
}

impl Row {
    pub fn cell(&self, variant: Variant) -> Option<&Cell> {
        self.variants.iter().find(|cell| cell.variant == variant)
    }

    /// The median ratio of the CPU times.
    pub fn median(&self, variant: Variant) -> Option<f64> {
        Some(self.cell(variant)?.cpu?.median)
    }

    pub fn recorders(&self) -> impl Iterator<Item = &Report> {
        self.variants.iter().flat_map(|cell| &cell.recorders)
    }
}

/// Measures a workload under all tracers.
pub fn workload(lab: &Lab, workload: &Workload, rounds: u32, shuffle: &mut Shuffle) -> Result<Row> {
    let jobs = |variant| workload.job(lab.quick, variant);
    measure(lab, (workload.name, workload.what), jobs, &Variant::TRACERS, rounds, shuffle)
}

/// Measures a job under these tracers.
pub fn measure<'a>(
    lab: &Lab,
    (name, what): (&str, &str),
    job: impl Fn(Variant) -> Job<'a>,
    variants: &[Variant],
    rounds: u32,
    shuffle: &mut Shuffle,
) -> Result<Row> {
    let take =
        |variant| sample::take(lab, job(variant), variant).with_context(|| format!("{name}, {variant}"));
    let mut cells: Vec<Cell> =
        variants.iter().map(|variant| Cell::new(*variant, job(*variant).size)).collect();
    // The first run fills caches.
    take(Variant::Untraced)?;
    let (mut taken, mut disturbed, mut untraced) = (0, 0, Vec::new());
    let mut note = |sample: &Sample| {
        taken += 1;
        disturbed += usize::from(sample.foreign > 0);
    };
    for _ in 0..rounds {
        let mut before = take(Variant::Untraced)?;
        note(&before);
        untraced.push(before.cpu * 1e9);
        shuffle.shuffle(&mut cells);
        for cell in cells.iter_mut().filter(|cell| cell.unavailable.is_none()) {
            let sample = match take(cell.variant) {
                Ok(sample) => sample,
                Err(error) if cell.variant.is_optional() => {
                    cell.unavailable = Some(format!("{:#}", error.root_cause()));
                    continue;
                }
                Err(error) => return Err(error),
            };
            let after = take(Variant::Untraced)?;
            note(&sample);
            note(&after);
            untraced.push(after.cpu * 1e9);
            cell.add(sample, &before, &after);
            before = after;
        }
    }
    cells.sort_by_key(|cell| cell.variant);
    cells.iter_mut().for_each(Cell::finish);
    Ok(Row {
        name: name.to_owned(),
        what: what.to_owned(),
        untraced_ns: Spread::of(untraced),
        variants: cells,
        taken,
        disturbed,
    })
}
