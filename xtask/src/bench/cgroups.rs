//! The cgroups that the benchmark places processes in. Every variant of a workload runs in the same one, so that the
//! tracer is all that differs; and a cgroup's own clock is what CPU time is read from, children included.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process, thread,
    time::Duration,
};

use anyhow::{Context, Result};
use sandbox_trace_tests::cgroup::v2_root;

const PREFIX: &str = "sandbox-trace-bench-";

/// A cgroup.
#[derive(Debug)]
pub struct Group {
    pub path: PathBuf,
}

impl Group {
    fn create(path: PathBuf) -> Result<Self> {
        fs::create_dir(&path).with_context(|| format!("can't make the cgroup {}", path.display()))?;
        Ok(Self { path })
    }

    /// The file that a process writes `0` to in order to join.
    pub fn door(&self) -> Result<File> {
        let file = self.path.join("cgroup.procs");
        File::options().write(true).open(&file).with_context(|| format!("can't open {}", file.display()))
    }

    /// The CPU time, user and system, of all that ever ran in it.
    pub fn cpu(&self) -> Result<Duration> {
        let file = self.path.join("cpu.stat");
        let text = fs::read_to_string(&file).with_context(|| format!("can't read {}", file.display()))?;
        let usec = text.lines().find_map(|line| line.strip_prefix("usage_usec "));
        let usec = usec.with_context(|| format!("no usage_usec in {}", file.display()))?;
        Ok(Duration::from_micros(usec.trim().parse()?))
    }
}

/// All of them; removed at the end.
#[derive(Debug)]
pub struct Cgroups {
    root: Group,
    /// Where workloads run.
    pub work: Group,
    /// What a recorder watches that is to see nothing: one process that sleeps.
    pub idle: Group,
    /// Where tracers run.
    pub tracers: Group,
}

impl Cgroups {
    pub fn create() -> Result<Self> {
        let hierarchy = v2_root()?;
        remove_stale(&hierarchy);
        let root = Group::create(hierarchy.join(format!("{PREFIX}{}", process::id())))?;
        let [work, idle, tracers] =
            ["work", "idle", "tracers"].map(|name| Group::create(root.path.join(name)));
        Ok(Self { work: work?, idle: idle?, tracers: tracers?, root })
    }
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        for group in [&self.work, &self.idle, &self.tracers, &self.root] {
            // The kernel takes a moment to let go of processes that have ended.
            for _ in 0..50 {
                match fs::remove_dir(&group.path) {
                    Err(error) if error.raw_os_error() == Some(nix::libc::EBUSY) => {
                        thread::sleep(Duration::from_millis(20));
                    }
                    _ => break,
                }
            }
        }
    }
}

/// Removes what a benchmark left that was killed.
fn remove_stale(hierarchy: &Path) {
    for entry in fs::read_dir(hierarchy).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.strip_prefix(PREFIX)) else { continue };
        if Path::new("/proc").join(pid).exists() {
            continue;
        }
        for child in ["work", "idle", "tracers", ""] {
            // Only what is empty can be removed, and nothing else should be.
            let _ = fs::remove_dir(entry.path().join(child));
        }
    }
}
