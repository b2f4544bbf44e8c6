//! A cgroup v2 folder that is there before its container, so that a recorder can be armed on it.

use std::{
    fs,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context, Result};

/// A cgroup below the v2 root, removed at the end.
#[derive(Debug)]
pub struct Cgroup {
    name: String,
    path: PathBuf,
}

impl Cgroup {
    /// Makes one with a name of its own.
    pub fn create() -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("sandbox-trace-test-{}-{}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = v2_root()?.join(&name);
        fs::create_dir(&path).with_context(|| format!("can't make {}", path.display()))?;
        Ok(Self { name, path })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path below the cgroup root, as runtimes want it.
    pub fn name(&self) -> String {
        format!("/{}", self.name)
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        remove(&self.path);
        // On a hybrid machine the runtime also made folders of that name in each v1 hierarchy.
        for hierarchy in fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
            remove(&hierarchy.path().join(&self.name));
        }
    }
}

/// Removes a cgroup and those below it. Never the files: they go with their folder.
fn remove(cgroup: &Path) {
    for entry in fs::read_dir(cgroup).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove(&entry.path());
        }
    }
    // Absent, or still busy, which leaves an empty folder until the next boot.
    let _ = fs::remove_dir(cgroup);
}

/// Where cgroup v2 is mounted: `/sys/fs/cgroup`, or a folder below it on a hybrid machine.
pub fn v2_root() -> Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").context("can't read /proc/self/mounts")?;
    mounts
        .lines()
        .map(|line| line.split(' ').collect::<Vec<_>>())
        .find(|fields| fields.get(2) == Some(&"cgroup2"))
        .and_then(|fields| fields.get(1).map(PathBuf::from))
        .context("cgroup v2 is not mounted; `sandbox-trace doctor` says how to mount it")
}
