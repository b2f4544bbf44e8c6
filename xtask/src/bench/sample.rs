//! One sample: a workload under one tracer, and what it cost.

use std::{
    fmt, thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use super::{
    bpf::{Floor, tracing_programs},
    lab::Lab,
    recorder::{Recorder, Report},
    running::Running,
    subject::Subject,
    tools,
    workloads::Kind,
};

/// How long a recorder gets to read what is in its ring: it looks every 100 ms.
const DRAIN: Duration = Duration::from_millis(250);

/// What is attached while a workload runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Variant {
    Untraced,
    /// Empty programs on `sys_enter` and `sys_exit`.
    Floor,
    /// An empty program on `sys_exit`.
    FloorExit,
    /// sandbox-trace records the workload.
    Traced,
    /// sandbox-trace records something else.
    Bystander,
    /// `strace -f`.
    Strace,
    /// bpftrace counts calls by number.
    Bpftrace,
}

impl Variant {
    /// All that are compared with no tracing.
    pub const TRACERS: [Self; 6] =
        [Self::Floor, Self::FloorExit, Self::Traced, Self::Bystander, Self::Strace, Self::Bpftrace];

    /// Whether a benchmark is worth something without it: a machine may not let other tools trace.
    pub fn is_optional(self) -> bool {
        matches!(self, Self::Strace | Self::Bpftrace)
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Untraced => "untraced",
            Self::Floor => "floor",
            Self::FloorExit => "floor, exit only",
            Self::Traced => "traced",
            Self::Bystander => "bystander",
            Self::Strace => "strace -f",
            Self::Bpftrace => "bpftrace",
        })
    }
}

/// What to run.
#[derive(Debug, Clone, Copy)]
pub struct Job<'a> {
    pub kind: &'a Kind,
    pub size: u64,
    /// A call that is made at least so often in all.
    pub witness: (&'static str, u64),
    /// Paths that are used at least.
    pub paths: u64,
}

/// What a workload cost.
#[derive(Debug, Clone)]
pub struct Sample {
    /// CPU time of the workload for one unit of size, in seconds.
    pub cpu: f64,
    /// The same with the tracer's own.
    pub cpu_with_tracer: f64,
    pub wall: f64,
    /// Tracing programs that were attached already: somebody else's.
    pub foreign: usize,
    /// The recorder, where it was one.
    pub recorder: Option<Report>,
}

/// What is attached before the workload starts.
enum Tracer {
    Nothing,
    Floor { _attached: Floor },
    Recorder(Recorder),
    Bpftrace(Running),
}

/// Takes a sample.
pub fn take(lab: &Lab, job: Job<'_>, variant: Variant) -> Result<Sample> {
    let groups = &lab.cgroups;
    let recording = lab.path("recording.json");
    let foreign = tracing_programs()?;
    let record = |target| Recorder::start(&lab.product, target, &groups.tracers, &recording);
    let tracer = match variant {
        Variant::Untraced | Variant::Strace => Tracer::Nothing,
        Variant::Floor => Tracer::Floor { _attached: Floor::attach(&[c"sys_enter", c"sys_exit"])? },
        Variant::FloorExit => Tracer::Floor { _attached: Floor::attach(&[c"sys_exit"])? },
        Variant::Traced => Tracer::Recorder(record(&groups.work)?),
        Variant::Bystander => Tracer::Recorder(record(&groups.idle)?),
        Variant::Bpftrace => Tracer::Bpftrace(tools::bpftrace(&groups.tracers)?),
    };
    if matches!(tracer, Tracer::Floor { .. }) {
        // Everything else shows by what it counted that it was there.
        ensure!(tracing_programs()? > 0, "the empty programs are not attached");
    }
    let mut subject = Subject::start(lab, job.kind, job.size)?;
    // It can only attach to what is there.
    let strace = match variant {
        Variant::Strace => Some(tools::strace(subject.pid(), &groups.tracers)?),
        _ => None,
    };

    let before = (groups.work.cpu()?, groups.tracers.cpu()?, Instant::now());
    subject.work()?;
    let (wall, cpu) = (before.2.elapsed(), groups.work.cpu()?.saturating_sub(before.0));
    let usage = match &tracer {
        Tracer::Recorder(recorder) => {
            thread::sleep(DRAIN);
            Some(recorder.usage()?)
        }
        _ => None,
    };
    let tracer_cpu = groups.tracers.cpu()?.saturating_sub(before.1);

    if let Some(strace) = strace {
        ensure!(!tracer_cpu.is_zero(), "strace did nothing");
        tools::end_strace(strace)?;
    }
    let report = match tracer {
        Tracer::Nothing | Tracer::Floor { .. } => None,
        Tracer::Recorder(recorder) => {
            let report = recorder.stop(usage.context("the recorder was not looked at")?, &recording)?;
            check(&report, job, variant)?;
            Some(report)
        }
        Tracer::Bpftrace(bpftrace) => {
            tools::end_bpftrace(bpftrace, job.witness.1)?;
            None
        }
    };
    subject.end()?;
    ensure!(!cpu.is_zero(), "the workload used no CPU time that its cgroup knows of");
    #[expect(clippy::cast_precision_loss, reason = "sizes are far below 2^52")]
    let size = job.size as f64;
    Ok(Sample {
        cpu: cpu.as_secs_f64() / size,
        cpu_with_tracer: (cpu + tracer_cpu).as_secs_f64() / size,
        wall: wall.as_secs_f64() / size,
        foreign,
        recorder: report,
    })
}

/// The recorder saw the workload if it was to, and only then: what is measured is a recorder that works.
fn check(report: &Report, job: Job<'_>, variant: Variant) -> Result<()> {
    let (call, at_least) = job.witness;
    let seen = report.calls.get(call).copied().unwrap_or(0);
    if variant == Variant::Bystander {
        // The sleeper is in one call, maybe this one, all the time.
        ensure!(seen <= 1, "the recorder was to see nothing, and saw {call} {seen} times");
        return Ok(());
    }
    // Where something was lost the report says so.
    if report.lost() == 0 {
        ensure!(seen >= at_least, "the recorder saw {call} {seen} times of at least {at_least}");
        ensure!(
            report.paths >= job.paths,
            "the recorder saw {} paths of at least {}",
            report.paths,
            job.paths
        );
    }
    Ok(())
}
