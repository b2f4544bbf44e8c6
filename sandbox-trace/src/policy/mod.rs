//! From requirements to policy: what is dangerous, what the runtimes need, how paths generalise. Pure.

pub mod arguments;
pub mod danger;
pub mod danger_paths;
pub mod deny_baseline;
pub mod generalize;
pub mod paths;
pub mod syscalls;
