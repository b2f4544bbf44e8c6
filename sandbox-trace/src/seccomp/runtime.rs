//! The container runtimes: what they add to a filter, and what they themselves call once it is in force.
//!
//! The base sets are measured and kept as data in `profiles/runtime/`; each file says how it was measured.

use std::collections::BTreeSet;

use serde::Deserialize;

use crate::error::{Error, ErrorKind, Result};

/// Who loads the filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Runtime {
    /// runc, called directly or by containerd, Podman, Kubernetes.
    Runc,
    /// crun.
    Crun,
    /// Docker with runc.
    Docker,
    /// No container runtime: `sandbox-trace run`, systemd.
    None,
}

impl Runtime {
    /// The name that people use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Runc => "runc",
            Self::Crun => "crun",
            Self::Docker => "docker",
            Self::None => "none",
        }
    }

    /// Whether the runtime puts runc's `ENOSYS` answers for newer system calls before the filter.
    pub fn answers_enosys(self) -> bool {
        matches!(self, Self::Runc | Self::Docker)
    }

    /// What the runtime calls after it has loaded the filter, up to and including starting the workload.
    pub fn base(self, no_new_privileges: bool) -> Result<Option<Base>> {
        let json = match (self, no_new_privileges) {
            (Self::None, _) => return Ok(None),
            // Docker's runtime is runc, and with no_new_privs the filter comes last, whoever called it.
            (Self::Runc | Self::Docker, true) => include_str!("../../profiles/runtime/runc-nnp.json"),
            (Self::Runc, false) => include_str!("../../profiles/runtime/runc.json"),
            (Self::Docker, false) => include_str!("../../profiles/runtime/docker.json"),
            (Self::Crun, true) => include_str!("../../profiles/runtime/crun-nnp.json"),
            (Self::Crun, false) => include_str!("../../profiles/runtime/crun.json"),
        };
        serde_json::from_str(json).map(Some).map_err(|e| {
            Error::new(ErrorKind::Host, format!("the built-in base of {} is damaged", self.name())).because(e)
        })
    }
}

/// A measured base.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Base {
    /// `runc-nnp`, `runc`, …
    pub name: String,
    /// `runc`, `crun`, `docker`.
    pub runtime: String,
    /// Whether it holds for containers with `no_new_privs`.
    pub no_new_privileges: bool,
    /// How it was measured.
    pub source: String,
    /// The calls without which a container does not start, or not always.
    pub required: BTreeSet<String>,
    /// Those and the ones that make it safe with other versions and timings: what a profile should allow.
    pub syscalls: BTreeSet<String>,
    /// Calls of which the runtime uses certain arguments only.
    #[serde(default)]
    pub arguments: Vec<Limit>,
}

/// The values of an argument that a runtime uses.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Limit {
    /// The call.
    pub call: String,
    /// The argument's position; the kernel takes its low 32 bits.
    pub index: u8,
    /// The values without which a container does not start.
    pub required: Vec<u64>,
    /// Those and the ones that make it safe with other versions.
    pub values: Vec<u64>,
}

impl Base {
    /// How the runtime's use of `call` is limited.
    pub fn limit(&self, call: &str) -> Option<&Limit> {
        self.arguments.iter().find(|limit| limit.call == call)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_base_reads_and_is_what_it_says() {
        for runtime in [Runtime::Runc, Runtime::Crun, Runtime::Docker] {
            for nnp in [false, true] {
                let base = runtime.base(nnp).unwrap().unwrap();
                assert_eq!(base.no_new_privileges, nnp);
                assert!(base.required.is_subset(&base.syscalls), "{}", base.name);
                assert!(base.required.contains("execve"), "{}", base.name);
                assert!(!base.source.is_empty());
                for name in &base.syscalls {
                    assert!(libseccomp::ScmpSyscall::from_name(name).is_ok(), "{name}");
                }
                for limit in &base.arguments {
                    assert!(base.syscalls.contains(&limit.call), "{}: {}", base.name, limit.call);
                    assert!(limit.required.iter().all(|value| limit.values.contains(value)), "{}", base.name);
                }
            }
        }
        // Docker's runtime is runc.
        let base = |runtime: Runtime| runtime.base(false).unwrap().unwrap();
        let (runc, docker) = (base(Runtime::Runc), base(Runtime::Docker));
        assert!(runc.syscalls.is_subset(&docker.syscalls));
        assert_eq!(runc.arguments, docker.arguments);
        assert!(Runtime::None.base(false).unwrap().is_none());
        assert!(Runtime::Docker.base(true).unwrap().unwrap().syscalls.len() < 20);
    }
}
