//! What a Pod mounts, and where.

use std::collections::BTreeSet;

use super::{
    Objects, Parts, object_name, text,
    yaml::{Item, Map, item},
};
use crate::{
    error::Result,
    policy::sandbox::{Because, Source, Volume},
};

/// Volumes of a Pod, and the mounts of its container.
#[derive(Debug, Default)]
pub(super) struct Volumes {
    pub(super) items: Vec<Item>,
    pub(super) mounts: Vec<Item>,
    /// Whether any of them takes the group of the Pod.
    pub(super) has_claims: bool,
    names: BTreeSet<String>,
}

impl Volumes {
    /// Those of the sandbox.
    pub(super) fn of(parts: &Parts<'_>, out: &mut Objects) -> Result<Self> {
        let mut volumes = Self::default();
        let sandbox = parts.sandbox;
        let mut runs = Vec::new();
        for tmpfs in &sandbox.tmpfs {
            let path = text(&tmpfs.value.path)?;
            volumes.memory(path, tmpfs.value.bytes, &tmpfs.why);
            if !tmpfs.value.exec {
                runs.push(path);
            }
        }
        if !runs.is_empty() {
            out.notes.push(format!(
                "Kubernetes mounts no emptyDir noexec: what is written to {} can be executed; the AppArmor profile \
                 forbids it",
                runs.join(" ")
            ));
        }
        if let Some(shm) = &sandbox.limits.shm_bytes {
            volumes.memory("/dev/shm", shm.value, &shm.why);
        }
        for volume in &sandbox.volumes {
            volumes.volume(volume)?;
        }
        Ok(volumes)
    }

    fn memory(&mut self, path: &str, bytes: u64, why: &str) {
        let name = self.name(path);
        let mut empty = Map::default();
        empty.set("medium", "Memory").set("sizeLimit", bytes.to_string());
        let mut volume = Map::default();
        volume.set("name", name.as_str()).set("emptyDir", empty);
        self.items.push(item(&format!("in memory, {bytes} bytes: {why}"), volume));
        self.mount(&name, path, true, why);
    }

    fn volume(&mut self, volume: &Because<Volume>) -> Result<()> {
        let Volume { target, source, writable, .. } = &volume.value;
        let path = text(target)?;
        let name = self.name(path);
        let mut map = Map::default();
        map.set("name", name.as_str());
        let why = match source {
            Source::Host(host) => {
                let mut host_path = Map::default();
                host_path.set("path", text(host)?);
                map.set("hostPath", host_path);
                "a folder of the node: a ConfigMap, a Secret or a PersistentVolumeClaim moves with the Pod"
            }
            Source::Named(claim) => {
                self.has_claims = true;
                let mut source = Map::default();
                source.set("claimName", object_name(claim)?);
                map.set("persistentVolumeClaim", source);
                "a volume of the engine's: make the claim first"
            }
            Source::Anonymous => {
                map.set("emptyDir", Map::default());
                "a volume without a name: new for each Pod, and empty"
            }
        };
        self.items.push(item(why, map));
        self.mount(&name, path, *writable, &volume.why);
        Ok(())
    }

    fn mount(&mut self, name: &str, path: &str, writable: bool, why: &str) {
        let mut mount = Map::default();
        mount.set("name", name).set("mountPath", path);
        if !writable {
            mount.set("readOnly", true);
        }
        self.mounts.push(item(why, mount));
    }

    /// A name for what is mounted at `path`, which no other has.
    fn name(&mut self, path: &str) -> String {
        let base = object_name(path).unwrap_or_else(|_| "root".to_owned());
        // Room for a number.
        let base: String = base.chars().take(56).collect();
        let base = base.trim_end_matches('-').to_owned();
        let mut name = base.clone();
        let mut number = 2;
        while !self.names.insert(name.clone()) {
            name = format!("{base}-{number}");
            number += 1;
        }
        name
    }
}
