//! Where the benchmark works: its cgroups, its folder, the programs that it needs.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use nix::sys::statfs::{TMPFS_MAGIC, statfs};
use tempfile::TempDir;

use super::{
    cgroups::Cgroups,
    running::{Listen, Running},
    workloads::{C_SOURCE, QUICK_TREE, TREE},
};
use crate::{
    process,
    setup::{self, Purpose},
    workspace,
};

/// Its folder's name, with the process's number behind it.
pub const PREFIX: &str = "sandbox-trace-bench-";

/// Fields are dropped in this order: processes before their cgroups.
#[derive(Debug)]
pub struct Lab {
    /// What the bystander's recorder watches.
    _idle: Running,
    pub cgroups: Cgroups,
    dir: TempDir,
    /// sandbox-trace.
    pub product: PathBuf,
    /// The tests' `workload`.
    pub workload: PathBuf,
    pub quick: bool,
}

impl Lab {
    /// Builds and installs what is missing, and makes the files.
    pub fn open(quick: bool) -> Result<Self> {
        ensure!(nix::unistd::geteuid().is_root(), "the benchmark attaches eBPF programs: run it as root");
        setup::ensure(&[Purpose::Build, Purpose::Bench])?;
        let release = workspace::target_dir().join("release");
        let product = match env::var_os("SANDBOX_TRACE_BIN") {
            Some(binary) => PathBuf::from(binary),
            None => {
                build(&["--package", "sandbox-trace"])?;
                release.join("sandbox-trace")
            }
        };
        build(&["--package", "sandbox-trace-tests", "--bin", "workload"])?;
        let workload = release.join("workload");

        let cgroups = Cgroups::create()?;
        let mut command = Command::new(&workload);
        command.args(["held", "idle", "0"]);
        let mut idle = Running::spawn(&mut command, &cgroups.idle, Listen::Stdout)?;
        idle.expect("`ready`", |line| line == "ready")?;
        let memory = memory();
        remove_stale(&memory);
        let prefix = format!("{PREFIX}{}-", std::process::id());
        let dir = tempfile::Builder::new().prefix(&prefix).tempdir_in(memory)?;
        let lab = Self { _idle: idle, cgroups, dir, product, workload, quick };
        fs::write(lab.path("small.c"), C_SOURCE)?;
        lab.make("tree", &lab.tree(), if quick { QUICK_TREE } else { TREE })?;
        Ok(lab)
    }

    /// A file or folder of the benchmark.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The files that the workloads share, in folders of 1000.
    pub fn tree(&self) -> PathBuf {
        self.path("tree")
    }

    /// As many names as paths are to be told apart.
    pub fn links(&self) -> PathBuf {
        self.path("links")
    }

    /// Makes files: a `tree`, or cheaper `links`.
    pub fn make(&self, how: &str, dir: &Path, number: u64) -> Result<()> {
        let mut command = Command::new(&self.workload);
        command.arg(how).arg(dir).arg(number.to_string());
        process::output(&mut command).map(drop)
    }
}

fn build(what: &[&str]) -> Result<()> {
    let mut command = Command::new("cargo");
    command.args(["build", "--quiet", "--release"]).args(what).current_dir(workspace::root());
    process::run(&mut command).context("the benchmark needs release builds")
}

/// Removes what a benchmark left that was killed: a million names take memory.
fn remove_stale(memory: &Path) {
    for entry in fs::read_dir(memory).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let rest = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        if let Some((pid, _)) = rest.and_then(|rest| rest.split_once('-'))
            && pid.parse::<u32>().is_ok()
            && !Path::new("/proc").join(pid).exists()
        {
            // What can't be removed is somebody else's.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// A folder in memory, so that no disk is measured; else the one for temporary files.
pub fn memory() -> PathBuf {
    let shm = Path::new("/dev/shm");
    let in_memory = statfs(shm).is_ok_and(|fs| fs.filesystem_type() == TMPFS_MAGIC);
    if in_memory { shm.to_owned() } else { env::temp_dir() }
}
