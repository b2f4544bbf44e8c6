//! What a recording must say of workloads that are known call by call: the same on this machine's kernel and on each
//! that a guest boots.

pub mod calls;
pub mod files;
pub mod same_run;
pub mod witness;
