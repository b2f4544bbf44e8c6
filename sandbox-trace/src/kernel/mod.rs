//! What needs the running kernel: struct offsets from its BTF, loading and attaching the programs, cgroups.
//! Nothing else in the crate knows aya.

pub mod btf;
pub mod cgroup;
mod edition;
pub mod layout;
pub mod lsm;
pub mod namespaces;
pub mod probe;
pub mod programs;
pub mod specs;
pub mod tracer;
