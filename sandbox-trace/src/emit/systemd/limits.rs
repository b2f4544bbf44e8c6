//! How much of the machine it may use.

use super::{DropIn, Parts};
use crate::recording::Access;

/// Prints the options.
pub(super) fn print(parts: &Parts<'_>, out: &mut DropIn) {
    let limits = &parts.sandbox.limits;
    if let Some(memory) = &limits.memory_bytes {
        out.set("MemoryMax", &memory.value.to_string(), &memory.why);
        out.line("MemorySwapMax", "0");
    }
    if let Some(pids) = &limits.pids {
        out.set("TasksMax", &pids.value.to_string(), &pids.why);
    }
    if let Some(cpu) = &limits.cpu_millis {
        // In percent of one CPU.
        out.set("CPUQuota", &format!("{}%", cpu.value.div_ceil(10).max(1)), &cpu.why);
    }
    let is_core = |path: &[u8]| {
        let base = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        base == b"core" || base.starts_with(b"core.")
    };
    if !parts.used(Access::CREATE, is_core) {
        out.set("LimitCORE", "0", "No core dump was written.");
    }
}
