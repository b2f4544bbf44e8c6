//! From requirements to policy: what is dangerous, what the runtimes need, how paths generalise. Pure.

pub mod arguments;
pub mod companions;
pub(crate) mod cover;
pub mod danger;
pub mod danger_paths;
pub mod deny_baseline;
pub(crate) mod fallbacks;
pub mod generalize;
pub mod paths;
mod safe;
pub mod sandbox;
pub mod syscalls;
mod twins;
