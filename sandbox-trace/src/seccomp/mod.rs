//! seccomp as a format: the OCI and Docker JSON, the filter compiled from it as a runtime compiles it, the
//! interpreter of that filter, and loading it into this process.
//!
//! Nothing here knows the policy model. A file from anywhere is read, compiled and judged the same way.

pub mod arch;
pub mod bpf;
pub mod capabilities;
pub mod chain;
pub mod compile;
pub mod load;
pub mod profile;
pub mod runtime;
