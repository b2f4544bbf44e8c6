//! Prints policy as files. Pure and deterministic: the same policy is the same bytes.

pub mod apparmor;
pub mod compose;
pub mod docker;
pub mod k8s;
pub mod oci;
pub mod quantity;
pub mod seccomp;
pub mod shell;
pub mod systemd;
#[cfg(test)]
pub(crate) mod testing;
