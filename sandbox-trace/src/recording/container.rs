//! What a container was started with, as far as its runtime tells: a recording is read by people who do not have the
//! container any more.

use serde::{Deserialize, Serialize};

use super::BytePath;

/// The container that was recorded.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
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
    /// The user that was configured, as it was written. Absent for the image's own, and for root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// `bridge`, `none`, `host`, `container:ID`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_mode: Option<String>,
    /// Whether it was started with all privileges.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub privileged: Option<bool>,
    /// Whether its root file system was read-only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_only: Option<bool>,
    /// Capabilities beyond the runtime's default, as they were written.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub capabilities_added: Vec<String>,
    /// Capabilities that were taken away, as they were written.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub capabilities_dropped: Vec<String>,
    /// The seccomp profile: `default` (the runtime's), `unconfined`, or `custom`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seccomp: Option<String>,
    /// The AppArmor profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub apparmor: Option<String>,
    /// Other security options, as they were written.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub security_options: Vec<String>,
    /// What was mounted into it, by `target`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<Mount>,
}

/// One mount.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
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
    pub mode: String,
}
