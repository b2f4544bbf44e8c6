//! What is in force on a running container, as the kernel shows it. Filled by `record::confinement`.

use std::collections::BTreeSet;

use crate::{
    recording::{BytePath, Limits},
    seccomp::capabilities::Capabilities,
};

/// What is in force.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Held {
    /// The effective user id of its first process, as the host numbers it.
    pub host_uid: u32,
    /// The same, as the container numbers it; absent if it has no number there.
    pub own_uid: Option<u32>,
    /// Whether it is in the host's user namespace.
    pub hosts_users: bool,
    /// What it can ever have.
    pub bounding: Capabilities,
    /// Whether its processes can't gain privileges by executing files.
    pub no_new_privileges: bool,
    /// Its `AppArmor` label; absent where the kernel has no `AppArmor`.
    pub label: Option<BytePath>,
    /// Its mounts, by target: of several at one place the uppermost.
    pub mounts: Vec<HeldMount>,
    /// The namespaces that are the host's own: `pid`, `ipc`, `uts`, `net`, `cgroup`, `mnt`.
    pub hosts_namespaces: BTreeSet<String>,
    /// Its limits; what is absent has none.
    pub limits: Limits,
    /// Limits that could not be read: `memory`, `swap`, `cpu`, `pids`.
    pub unread_limits: BTreeSet<&'static str>,
    /// Block devices and the machine's memory, as it sees them in its `/dev`.
    pub devices: Vec<BytePath>,
    /// Files of `/proc` and `/sys` that runtimes hide and that it sees.
    pub exposed: Vec<String>,
    /// Places of `/proc` and `/sys` that runtimes make read-only and that it may write.
    pub writable: Vec<String>,
    /// What could not be read, in sentences.
    pub notes: Vec<String>,
}

impl Held {
    /// The mount at this very place.
    pub fn mount(&self, target: &[u8]) -> Option<&HeldMount> {
        self.mounts.iter().find(|mount| mount.target.as_bytes() == target)
    }
}

/// A mount in force.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeldMount {
    /// Where.
    pub target: BytePath,
    /// What of its file system is seen there: `/` for all of it.
    pub root: BytePath,
    /// The file system's type.
    pub kind: String,
    /// Whether it can't be written.
    pub read_only: bool,
    /// The options of the mount and of its file system.
    pub options: Vec<String>,
}
