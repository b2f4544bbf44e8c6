//! How much of the machine a workload gets: the peaks of its runs, with headroom.

use super::{Because, Limits, Options};
use crate::{output::grouped, requirements::Run};

const MIB: u64 = 1 << 20;
/// The runtime itself starts inside of the limit.
const LEAST_MEMORY: u64 = 32 * MIB;
/// What `docker exec` and a health check add beside the workload.
const SPARE_TASKS: u64 = 8;
/// A smaller share would make every start slow.
const LEAST_CPU: u64 = 500;
/// What the runtime gives without being asked.
const DEFAULT_SHM: u64 = 64 * MIB;

/// The limits. What is kept in memory as files counts as memory: `in_memory` bytes of it may be used beside the peak.
pub fn limits(runs: &[Run], in_memory: u64, options: &Options, notes: &mut Vec<String>) -> Limits {
    let peak = |of: fn(&Run) -> Option<u64>| runs.iter().filter_map(of).max();
    let memory = peak(|run| run.resources.memory_peak_bytes);
    let tasks = peak(|run| run.resources.pids_peak);
    let cpu = peak(|run| run.resources.cpu_peak_millis);
    for (found, what) in [(memory, "memory"), (tasks, "tasks"), (cpu, "CPU time")] {
        if found.is_none() {
            notes.push(format!("the recordings hold no peak of {what}: there is no limit for it"));
        }
    }
    let headroom = format!("{} % headroom", options.headroom);
    let memory_bytes = memory.map(|peak| {
        let bytes = options.with_headroom(peak).max(LEAST_MEMORY).saturating_add(in_memory);
        let files = match in_memory {
            0 => String::new(),
            n => format!(", and {} MiB for files in memory", grouped(n / MIB)),
        };
        let why = format!("at most {} MiB were used; {headroom}{files}", grouped(peak.div_ceil(MIB)));
        Because::new(bytes.next_multiple_of(MIB), why)
    });
    let pids = tasks.map(|peak| {
        let limit = options.with_headroom(peak).max(peak + SPARE_TASKS);
        Because::new(
            limit,
            format!("at most {} tasks ran at once; {headroom}, at least {SPARE_TASKS}", grouped(peak)),
        )
    });
    let cpu_millis = cpu.map(|peak| {
        let limit = options.with_headroom(peak).max(LEAST_CPU).next_multiple_of(100);
        let shown = format!("{}.{:02}", peak / 1000, peak % 1000 / 10);
        Because::new(
            limit,
            format!("at most {shown} CPUs were used at once; {headroom}, at least half a CPU"),
        )
    });
    let shm = runs
        .iter()
        .flat_map(|run| &run.resources.storage)
        .filter(|one| one.path.as_bytes() == b"/dev/shm/")
        .map(|one| one.peak_bytes)
        .max()
        .unwrap_or(0);
    let configured = runs.iter().filter_map(|run| run.container.as_ref()?.limits.shm_bytes).max();
    let wanted = options.with_headroom(shm).next_multiple_of(MIB);
    let shm_bytes = if wanted > DEFAULT_SHM {
        Some(Because::new(
            wanted,
            format!("at most {} MiB were used; {headroom}", grouped(shm.div_ceil(MIB))),
        ))
    } else {
        configured.filter(|bytes| *bytes < DEFAULT_SHM).map(|bytes| Because::new(bytes, "as it was started"))
    };
    Limits { memory_bytes, cpu_millis, pids, shm_bytes }
}
