//! The cgroups of one recording: usually one, several where several were named or where a container was started again.

use std::path::{Path, PathBuf};

use crate::{
    kernel::cgroup::{Cgroup, Hierarchy, Meters, Usage},
    recording::BytePath,
};

/// The cgroups that are recorded, each with all below it.
#[derive(Debug, Default)]
pub struct Scope {
    cgroups: Vec<Cgroup>,
    /// Paths below the hierarchy's root, also of those that are gone.
    paths: Vec<PathBuf>,
}

impl Scope {
    /// These cgroups.
    pub fn of(cgroups: Vec<Cgroup>) -> Self {
        let mut scope = Self::default();
        for cgroup in cgroups {
            scope.add(cgroup);
        }
        scope
    }

    fn add(&mut self, cgroup: Cgroup) {
        if !self.paths.contains(&cgroup.path) {
            self.paths.push(cgroup.path.clone());
        }
        self.cgroups.retain(|other| other.path != cgroup.path);
        self.cgroups.push(cgroup);
    }

    /// Takes in the cgroup at `path`, which may be gone again; nothing to do for one below another.
    pub fn meet(&mut self, hierarchy: &Hierarchy, path: &Path) {
        if let Some(cgroup) = Cgroup::find(hierarchy, path)
            && !self.paths.iter().any(|above| path.starts_with(above) && path != above)
        {
            self.add(cgroup);
        } else if !self.paths.iter().any(|above| path.starts_with(above)) {
            self.paths.push(path.to_owned());
        }
    }

    /// The cgroups.
    pub fn cgroups(&self) -> &[Cgroup] {
        &self.cgroups
    }

    /// The path of the first, and those of the others.
    pub fn paths(&self) -> (BytePath, Vec<BytePath>) {
        let mut paths = self.paths.iter().map(|path| BytePath::from(path.as_path()));
        (paths.next().unwrap_or_default(), paths.collect())
    }

    /// Whether any process is in one of them; `None` when all are gone.
    pub fn populated(&self) -> Option<bool> {
        self.cgroups.iter().filter_map(Cgroup::populated).reduce(|a, b| a || b)
    }

    /// All their processes.
    pub fn processes(&self) -> Vec<u32> {
        self.cgroups.iter().flat_map(Cgroup::processes).collect()
    }

    /// How many threads their processes have.
    pub fn threads(&self) -> u64 {
        let of = |pid: u32| std::fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count) as u64;
        self.processes().into_iter().map(of).sum()
    }

    /// What they use together. `meters` are the first one's, for a host that keeps its accounts elsewhere.
    pub fn usage(&self, meters: &Meters) -> Usage {
        let others = Meters::default();
        let sum = |a: Option<u64>, b: Option<u64>| match (a, b) {
            (Some(a), Some(b)) => Some(a.saturating_add(b)),
            (a, b) => a.or(b),
        };
        self.cgroups
            .iter()
            .enumerate()
            .map(|(index, cgroup)| if index == 0 { meters.read(cgroup) } else { others.read(cgroup) })
            .reduce(|a, b| Usage {
                memory_peak: sum(a.memory_peak, b.memory_peak),
                pids: sum(a.pids, b.pids),
                cpu_usec: sum(a.cpu_usec, b.cpu_usec),
            })
            .unwrap_or_default()
    }
}
