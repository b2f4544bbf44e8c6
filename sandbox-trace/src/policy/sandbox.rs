//! Recordings → the sandbox around a workload: all that confines it beside its seccomp filter and its AppArmor
//! profile. The one model that `emit-docker`, `emit-compose`, `emit-oci`, `emit-k8s` and `emit-systemd` print; each
//! part says what it was told from. Knows no format.

#[cfg(test)]
pub(crate) mod samples;

use std::collections::BTreeSet;

use crate::{
    error::Result,
    recording::{BytePath, Healthcheck, Port},
    requirements::Requirements,
};

/// A part of a sandbox, and the evidence for it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Because<T> {
    /// The part.
    pub value: T,
    /// Why: one line of plain text, without control characters, fit for a comment in any format that ends at the
    /// line's end.
    pub why: String,
}

/// The sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sandbox {
    /// What to call it: letters, digits, `.`, `_` and `-`.
    pub name: String,
    /// The image, by digest where the recording has one.
    pub image: Option<Because<String>>,
    /// The entry point, where it is not the image's own.
    pub entrypoint: Option<Because<Vec<String>>>,
    /// The words after the entry point, where they are not the image's own.
    pub command: Option<Because<Vec<String>>>,
    /// The working directory, where it is not the image's own.
    pub working_dir: Option<Because<String>>,
    /// The names of environment variables to pass on; their values are not recorded.
    pub environment: Vec<String>,
    /// Whom it runs as.
    pub user: Because<User>,
    /// Groups beside the user's own.
    pub groups: Vec<String>,
    /// The capabilities to give beside none, in upper case without `CAP_`, in order of their names.
    pub capabilities: Vec<Because<String>>,
    /// Whether the root file system is read-only.
    pub read_only: Because<bool>,
    /// File systems in memory, by path.
    pub tmpfs: Vec<Because<Tmpfs>>,
    /// What is mounted, by target.
    pub volumes: Vec<Because<Volume>>,
    /// Devices of the host, as `HOST:CONTAINER:PERMISSIONS`.
    pub devices: Vec<Because<String>>,
    /// The network.
    pub network: Because<Network>,
    /// Ports to publish, each with the host's address.
    pub ports: Vec<Because<Port>>,
    /// Ports that it listens on, at any address but loopback.
    pub listens: Vec<Because<Listen>>,
    /// Whom it connected to beyond loopback.
    pub connects: Vec<Because<Connect>>,
    /// Socket families, as C names them: `AF_UNIX`, `AF_INET`; in order of their numbers.
    pub families: Vec<Because<String>>,
    /// How much of the machine it may use.
    pub limits: Limits,
    /// The log driver and its options.
    pub log: Because<Log>,
    /// When it is started again: `no`, `always`, `unless-stopped`, `on-failure`, `on-failure:3`.
    pub restart: Because<String>,
    /// The health check, where it is not the image's own.
    pub healthcheck: Option<Because<Healthcheck>>,
    /// The signal that asks it to stop, where it is neither the image's nor the runtime's own.
    pub stop_signal: Option<String>,
    /// Whether an init process of the runtime's comes before the program.
    pub init: bool,
    /// Kernel parameters of its namespaces, as they were configured.
    pub sysctls: Vec<(String, String)>,
    /// Every place that was written to, as a folder with `/` at its end or a file: what a format without mounts must
    /// leave writable.
    pub writes: Vec<Because<BytePath>>,
    /// Every folder in which a file that was written there was executed or mapped executable.
    pub executes_from: Vec<BytePath>,
    /// Whether memory was made executable that was writable before (a just-in-time compiler).
    pub makes_code: bool,
    /// What a person should know, in sentences.
    pub notes: Vec<String>,
}

/// Whom a container runs as.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct User {
    /// `UID:GID` or the name as it was configured; `None` to leave it to the image, or root where that names none.
    pub spec: Option<String>,
    /// Whether that is root.
    pub root: bool,
    /// Numbers, where they are known.
    pub ids: Option<(u32, u32)>,
    /// What stands in the way of a user other than root, in words; empty if it is none or nothing does.
    pub blockers: Vec<String>,
}

/// A file system in memory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tmpfs {
    /// Where.
    pub path: BytePath,
    /// How much it holds, in bytes.
    pub bytes: u64,
    /// Whether files on it may be executed.
    pub exec: bool,
    /// Its mode, such as 0o1777.
    pub mode: u32,
    /// Whose it is.
    pub owner: Option<(u32, u32)>,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Volume {
    /// Where.
    pub target: BytePath,
    /// What.
    pub source: Source,
    /// Whether it can be written.
    pub writable: bool,
    /// Whether files on it may be executed.
    pub exec: bool,
}

/// What a volume is made of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// A path of the host.
    Host(BytePath),
    /// A volume of the engine's, by name.
    Named(String),
    /// A volume of the engine's without a name, new for each container and filled from the image.
    Anonymous,
}

/// The network of a container.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Network {
    /// Nothing but its own loopback.
    None,
    /// The engine's bridge, or the network of this name.
    Bridge(Option<String>),
    /// The host's own.
    Host,
}

/// A port that is listened on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listen {
    /// The port.
    pub port: u16,
    /// `tcp` or `udp`.
    pub protocol: &'static str,
}

/// A peer that was connected to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Connect {
    /// Its address.
    pub address: std::net::IpAddr,
    /// Its port.
    pub port: u16,
    /// `tcp` or `udp`.
    pub protocol: &'static str,
}

/// How much of the machine a container may use; `None` where nothing was measured.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    /// Memory, in bytes; there is no swap beside it.
    pub memory_bytes: Option<Because<u64>>,
    /// CPU time, in thousandths of a CPU.
    pub cpu_millis: Option<Because<u64>>,
    /// Tasks at once.
    pub pids: Option<Because<u64>>,
    /// The size of `/dev/shm`, in bytes, where it is not the runtime's default of 64 MiB.
    pub shm_bytes: Option<Because<u64>>,
}

/// Where output goes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Log {
    /// The driver.
    pub driver: String,
    /// Its options, by name.
    pub options: Vec<(String, String)>,
}

/// How a sandbox is made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// What to call it.
    pub name: Option<String>,
    /// The image, where it is not the recorded one.
    pub image: Option<String>,
    /// Whom to run as, where it is not the recorded user.
    pub user: Option<String>,
    /// How much is given beyond the recorded peaks, in percent.
    pub headroom: u32,
    /// What is dangerous and given all the same, by name.
    pub allow: BTreeSet<String>,
}

/// Makes the sandbox.
pub fn sandbox(needs: &Requirements, options: &Options) -> Result<Sandbox> {
    todo!("{needs:?}{options:?}")
}
