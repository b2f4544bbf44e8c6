//! Whether this kernel takes the tracing programs: each is given to the verifier by itself and attached for a
//! moment, with no target. What one kernel refuses is then known by name, and nothing is recorded.

use std::path::Path;

use sandbox_trace_ebpf::program;

use super::{
    lsm,
    tracer::{self, CAPABILITIES, CGROUPS, How, Kernel, REQUIRED},
};
use crate::error::Result;

/// A tracing program, and what the kernel said to it.
#[derive(Debug)]
pub struct Probe {
    /// The program's name.
    pub name: &'static str,
    /// The kernel's answer.
    pub answer: Result<()>,
}

/// The programs; `record` works without [`CAPABILITIES`] alone.
pub fn names() -> impl Iterator<Item = &'static str> {
    let tails = program::NAMES_BY_INDEX.into_iter().skip(1);
    REQUIRED.into_iter().chain(tails).chain(CGROUPS).chain([CAPABILITIES])
}

/// Loads each program. The error is that of the maps, without which no program can be tried.
pub fn programs(btf_file: &Path) -> Result<Vec<Probe>> {
    let kernel = Kernel::read(btf_file)?;
    let mut ebpf = tracer::load(&kernel, &[], How::PROBE)?;
    let probe = |name| {
        // The target map is empty: an attached program finds every task outside of it.
        let answer = if name == CAPABILITIES {
            tracer::attach_raw(&mut ebpf, name)
        } else {
            tracer::try_btf(&mut ebpf, &kernel, name)
        };
        Probe { name, answer }
    };
    Ok(names().map(probe).collect())
}

/// How many of the security hooks this kernel takes; the error says why `record` uses none of them.
pub fn security_hooks(btf_file: &Path) -> Result<usize> {
    let (mut ebpf, hooks) = lsm::load(&Kernel::read(btf_file)?, How::PROBE)?;
    lsm::attach(&mut ebpf, &hooks)?;
    Ok(hooks.len())
}
