//! AppArmor as a format: how names and patterns are written, the compiler, the compiled policy.
//!
//! Nothing here may know recordings' meaning or policy choices: this is what `apparmor_parser` and the kernel
//! take and do. Kernel claims are about Linux 6.1 (`security/apparmor/`), measured against a running kernel.

pub mod compiler;
pub mod dfa;
pub mod escape;
pub mod features;
pub mod glob;
pub mod mount;
pub mod network;
pub mod pattern;
pub mod perms;
pub mod policy;
pub mod rule;
mod stream;
pub mod text;

#[cfg(test)]
pub(crate) mod testing;
