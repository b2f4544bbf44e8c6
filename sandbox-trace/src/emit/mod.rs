//! Prints policy as files. Pure and deterministic: the same policy is the same bytes.

pub mod apparmor;
pub mod docker;
pub mod quantity;
pub mod seccomp;
pub mod shell;
