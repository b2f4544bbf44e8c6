//! What a container was started with, as far as its runtime tells: a recording is read by people who do not have the
//! container any more, and what is emitted from it keeps what was configured on purpose.
//!
//! `record` fills it from the runtime; `audit` from what it is given to look at. Values of environment variables are
//! not in it: they hold secrets.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::BytePath;

/// A container's configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Container {
    /// Who keeps it: `docker`, `podman`, `cri-o`, `containerd`, `runc`, `crun`.
    pub runtime: String,
    /// Its id.
    pub id: String,
    /// The name that it was given; the id for runtimes without names.
    pub name: String,
    /// The image, as it was named at the start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// The image's own id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_id: Option<String>,
    /// `NAME@sha256:…`, for an image that came from a registry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_digest: Option<String>,
    /// The program that makes containers, for an engine that has several: `runc`, `crun`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oci_runtime: Option<String>,
    /// The versions of its engine and of what that runs containers with: `Engine 27.1.1, containerd 1.7.19, runc 1.1.13`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime_version: Option<String>,
    /// Whether its engine runs without root on the host: its root is another user's process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rootless: Option<bool>,
    /// The program and arguments that it starts with, whoever they come from: entry point and command together.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1))]
    pub command: Vec<String>,
    /// How many of `command`'s first words are the entry point; absent for none.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(range(min = 1))]
    pub entrypoint_words: u32,
    /// The working directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<String>,
    /// The names of environment variables that were given beside the image's own; never their values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1))]
    pub environment: Vec<String>,
    /// The user that was configured, as it was written. Absent for root where the image names none either.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Groups beside the user's own, as they were written.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1))]
    pub groups: Vec<String>,
    /// `bridge`, `none`, `host`, `container:ID`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_mode: Option<String>,
    /// Ports of the container that the host forwards.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1))]
    pub ports: Vec<Port>,
    /// Namespaces other than the network's that are not the container's own: `pid`, `ipc`, `uts`, `user`, `cgroup` →
    /// `host`, `container:ID`, ….
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("minProperties" = 1))]
    pub namespaces: BTreeMap<String, String>,
    /// Whether it was started with all privileges.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub privileged: Option<bool>,
    /// Whether its root file system was read-only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_only: Option<bool>,
    /// Whether its processes can't gain privileges by executing files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_new_privileges: Option<bool>,
    /// Capabilities beyond the runtime's default, as they were written.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1))]
    pub capabilities_added: Vec<String>,
    /// Capabilities that were taken away, as they were written.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1))]
    pub capabilities_dropped: Vec<String>,
    /// The seccomp profile: `default` (the runtime's), `unconfined`, or `custom`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["default", "unconfined", "custom"]))]
    pub seccomp: Option<String>,
    /// The AppArmor profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub apparmor: Option<String>,
    /// Other security options, as they were written.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1))]
    pub security_options: Vec<String>,
    /// What was mounted into it, by `target`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1))]
    pub mounts: Vec<Mount>,
    /// Devices of the host that it was given: `HOST:CONTAINER:rwm`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1))]
    pub devices: Vec<String>,
    /// Kernel parameters of its namespaces.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("minProperties" = 1))]
    pub sysctls: BTreeMap<String, String>,
    /// Paths of `/proc` and `/sys` that are hidden; absent where the runtime doesn't tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub masked_paths: Option<Vec<String>>,
    /// Paths of `/proc` and `/sys` that can't be written; absent where the runtime doesn't tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub readonly_paths: Option<Vec<String>>,
    /// How much of the machine it may use.
    #[serde(default, skip_serializing_if = "Limits::is_empty")]
    #[schemars(extend("minProperties" = 1))]
    pub limits: Limits,
    /// When it is started again: `no`, `always`, `unless-stopped`, `on-failure`, `on-failure:3`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart: Option<String>,
    /// Where its output goes: `json-file`, `journald`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_driver: Option<String>,
    /// The log driver's options: `max-size`, `max-file`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("minProperties" = 1))]
    pub log_options: BTreeMap<String, String>,
    /// How it is asked whether it is well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    /// The signal that asks it to stop, where it is not the runtime's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
    /// Whether the runtime puts an init process of its own before the program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init: Option<bool>,
    /// What of this the image brings along by itself; absent where it isn't known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_defaults: Option<ImageDefaults>,
}

/// One mount.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Mount {
    /// Where, in the container.
    pub target: BytePath,
    /// What: a path of the host, a volume's folder; absent for file systems without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<BytePath>,
    /// `bind`, `volume`, `tmpfs`, …
    #[serde(rename = "type")]
    pub kind: String,
    /// `ro` or `rw`.
    #[schemars(extend("enum" = ["ro", "rw"]))]
    pub mode: String,
    /// The volume's name, for a named one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<String>,
    /// The mount options, as they were written: `noexec`, `size=64m`, ….
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1))]
    pub options: Vec<String>,
}

/// A port of the container that the host forwards.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Port {
    /// The container's port.
    pub container: u16,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
    /// The host's address; absent for all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_ip: Option<String>,
    /// The host's port; absent where the runtime chooses one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub host: Option<u16>,
}

/// How much of the machine a container may use; what is absent has no limit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Limits {
    /// Memory, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Memory and swap together, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_swap_bytes: Option<u64>,
    /// CPU time, in thousandths of a CPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_millis: Option<u64>,
    /// Tasks at once; threads count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pids: Option<u64>,
    /// The size of `/dev/shm`, in bytes, where it was configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shm_bytes: Option<u64>,
}

impl Limits {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// How a container is asked whether it is well. What is absent is the runtime's default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Healthcheck {
    /// As Docker writes it: `CMD` and words, `CMD-SHELL` and a line, or `NONE`.
    #[schemars(length(min = 1))]
    pub test: Vec<String>,
    /// Time between two checks, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval_ms: Option<u64>,
    /// How long a check may take, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// How long failures don't count at the start, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_period_ms: Option<u64>,
    /// How many failures in a row make it unhealthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retries: Option<u32>,
}

/// What an image brings along.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ImageDefaults {
    /// The user, as it is written; absent for root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The entry point.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1))]
    pub entrypoint: Vec<String>,
    /// The command.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1))]
    pub command: Vec<String>,
    /// The working directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<String>,
    /// Places that get a volume where none is given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1))]
    pub volumes: Vec<String>,
    /// Ports that the image says it listens on: `80/tcp`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1))]
    pub ports: Vec<String>,
    /// Its health check.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    /// Its stop signal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(n: &u32) -> bool {
    *n == 0
}
