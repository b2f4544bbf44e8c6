//! Harness of the end-to-end tests.
//!
//! The tests in `tests/tests/host_*` need root, this machine's kernel and its container runtimes; those in
//! `tests/tests/vm_*` boot guests with AppArmor, one for each supported kernel line. A component that is missing fails
//! the test that needs it, with the command that installs it: a test that quietly did nothing proves nothing.

pub mod agent;
pub mod cgroup;
pub mod checks;
pub mod command;
pub mod confined;
pub mod docker;
pub mod memory;
pub mod openclaw;
pub mod pages;
pub mod product;
pub mod recorded;
pub mod refusal;
pub mod rootfs;
pub mod runc;
pub mod seccomp;
pub mod setup;
pub mod strace;
pub mod synthetic;
pub mod systemd;
pub mod vm;
pub mod workloads;
