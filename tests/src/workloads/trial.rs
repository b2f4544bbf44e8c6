//! One workload's way: recorded twice, both profiles emitted and verified, run again on input that no recording had.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{
    FRESH, TRAINING, Workload,
    lab::{Lab, Runtime},
    table::Row,
};
use crate::{
    cgroup::Cgroup,
    product::{Recorder, sandbox_trace},
};

/// How AppArmor paths are generalised.
pub const LEVELS: [&str; 2] = ["exact", "balanced"];

/// What a workload's recordings and profiles are, in a folder of its own.
#[derive(Debug)]
pub struct Trial<'a> {
    lab: &'a Lab,
    workload: Workload,
    dir: PathBuf,
    recordings: Vec<PathBuf>,
}

impl<'a> Trial<'a> {
    /// Records the training runs, in runc and without a filter, below `dir`.
    pub fn record(lab: &'a Lab, workload: Workload, dir: &Path) -> Result<Self> {
        let dir = dir.join(workload.name);
        fs::create_dir_all(&dir)?;
        let mut trial = Self { lab, workload, dir, recordings: Vec::new() };
        for seed in TRAINING {
            // Names with the time to the second differ between runs: two within one second would not show it.
            thread::sleep(Duration::from_millis(1100));
            let recording = trial.record_one(seed)?;
            trial.recordings.push(recording);
        }
        Ok(trial)
    }

    /// One more recording, of the workload with this seed.
    pub fn record_one(&self, seed: u32) -> Result<PathBuf> {
        let folder = self.dir.join(format!("seed-{seed}"));
        fs::create_dir_all(&folder)?;
        let cgroup = Cgroup::create()?;
        let recorder = Recorder::start(cgroup.path(), &folder)?;
        self.work(Runtime::Runc, &cgroup, None, seed).context("while it was recorded")?;
        recorder.finish()
    }

    /// Emits the filter for a runtime and proves that it blocks nothing recorded.
    pub fn seccomp(&self, runtime: Runtime) -> Result<PathBuf> {
        let file = self.dir.join(format!("seccomp-{}.json", runtime.name()));
        let rest = ["--runtime".as_ref(), runtime.name().as_ref(), "-o".as_ref(), file.as_os_str()];
        self.product("emit-seccomp", &rest)?;
        let rest = ["--seccomp".as_ref(), file.as_os_str(), "--runtime".as_ref(), runtime.name().as_ref()];
        self.product("verify", &rest)?;
        Ok(file)
    }

    /// Emits the AppArmor profile at a level and proves that it blocks nothing recorded.
    pub fn apparmor(&self, level: &str) -> Result<PathBuf> {
        let file = self.dir.join(format!("apparmor-{level}"));
        let name = format!("matrix-{}", self.workload.name);
        let rest = ["--name", &name, "--generalize", level, "-o"].map(OsStr::new);
        self.product("emit-apparmor", &[&rest[..], &[file.as_os_str()]].concat())?;
        self.product("verify", &["--apparmor".as_ref(), file.as_os_str()])?;
        Ok(file)
    }

    /// Runs the workload on each fresh seed under a filter.
    pub fn run_fresh(&self, runtime: Runtime, filter: &Path) -> Result<()> {
        for seed in FRESH {
            let cgroup = Cgroup::create()?;
            self.work(runtime, &cgroup, Some(filter), seed)
                .with_context(|| format!("{} under its filter, seed {seed}", runtime.name()))?;
        }
        Ok(())
    }

    /// Records the workload on a fresh seed and replays it against a profile of the training runs.
    pub fn verify_fresh(&self, profile: &Path) -> Result<()> {
        let fresh = self.record_one(FRESH[0])?;
        let args = ["verify".as_ref(), fresh.as_os_str(), "--apparmor".as_ref(), profile.as_os_str()];
        sandbox_trace(args).map(drop)
    }

    fn work(&self, runtime: Runtime, cgroup: &Cgroup, seccomp: Option<&Path>, seed: u32) -> Result<()> {
        let output = self.lab.run(runtime, cgroup, seccomp, &self.workload.command(seed))?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{}: {}\n{stderr}", self.workload.name, output.status);
        self.workload
            .expect_worked(seed, &String::from_utf8_lossy(&output.stdout))
            .with_context(|| stderr.into_owned())
    }

    fn product(&self, command: &str, rest: &[&OsStr]) -> Result<String> {
        let args = [command.as_ref()].into_iter().chain(self.recordings.iter().map(|file| file.as_os_str()));
        sandbox_trace(args.chain(rest.iter().copied()))
    }

    /// Fails unless every built-in attack is denied by this pair.
    pub fn must_deny(&self, filter: &Path, profile: &Path) -> Result<()> {
        let files = ["--seccomp".as_ref(), filter.as_os_str(), "--apparmor".as_ref(), profile.as_os_str()];
        let rest = ["--runtime", "docker", "--must-deny"].map(OsStr::new);
        self.product("verify", &[&files[..], &rest[..]].concat()).map(drop)
    }

    /// What the emitted profiles admit.
    pub fn row(&self, filter: &Path, profiles: &[(&'static str, PathBuf)]) -> Result<Row> {
        let mut row = Row { name: self.workload.name, calls: allowed(filter)?, files: Vec::new() };
        for (level, profile) in profiles {
            let root = self.lab.root();
            let (rootfs, json) = (OsStr::new("--rootfs"), OsStr::new("--json"));
            let rest = ["--apparmor".as_ref(), profile.as_os_str(), rootfs, root.as_os_str(), json];
            let report: Value = serde_json::from_str(&self.product("width", &rest)?)?;
            row.files.push((level, report["files"].clone()));
        }
        Ok(row)
    }
}

/// How many system calls a filter lets through, limited by arguments or not.
fn allowed(filter: &Path) -> Result<usize> {
    let profile: Value = serde_json::from_slice(&fs::read(filter)?)?;
    let groups = profile["syscalls"].as_array().context("a profile without system calls")?;
    let names: BTreeSet<&str> = groups
        .iter()
        .filter(|group| group["action"] == "SCMP_ACT_ALLOW")
        .flat_map(|group| group["names"].as_array().into_iter().flatten())
        .filter_map(Value::as_str)
        .collect();
    Ok(names.len())
}
