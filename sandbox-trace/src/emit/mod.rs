//! Prints policy as files. Pure and deterministic: the same policy is the same bytes.

pub mod apparmor;
pub mod k8s;
pub mod oci;
pub mod seccomp;
pub mod systemd;
#[cfg(test)]
pub(crate) mod testing;
