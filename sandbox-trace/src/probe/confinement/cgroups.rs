//! The cgroups of a process in every hierarchy that the host has mounted, and the limits in force there: version 1,
//! version 2, and hosts with both.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::error::{Error, Result};

/// A cgroup in one hierarchy.
#[derive(Debug, Clone)]
pub struct Place {
    /// The controllers of a version 1 hierarchy; empty for version 2.
    controllers: Vec<String>,
    /// Its directory.
    pub dir: PathBuf,
    /// Where its hierarchy is mounted: no cgroup is above that.
    top: PathBuf,
}

impl Place {
    /// What a file says, here and in each cgroup above: limits add up.
    fn upwards<'a>(&'a self, file: &'a str) -> impl Iterator<Item = (&'a Path, String)> {
        let dirs = self.dir.ancestors().take_while(|dir| dir.starts_with(&self.top));
        dirs.filter_map(move |dir| Some((dir, fs::read_to_string(dir.join(file)).ok()?.trim().to_owned())))
    }

    /// The smallest number that a file says, here or above, and where.
    fn smallest(&self, file: &str) -> Option<(u64, PathBuf)> {
        let numbers = self.upwards(file).filter_map(|(dir, text)| Some((text.parse().ok()?, dir.to_owned())));
        numbers.min_by_key(|(number, _)| *number)
    }
}

/// All cgroups of a process.
#[derive(Debug, Clone)]
pub struct Cgroups {
    /// `/proc/PID/cgroup`.
    pub text: String,
    /// One a hierarchy.
    pub places: Vec<Place>,
}

/// How much memory may be used.
#[derive(Debug, Clone)]
pub struct Memory {
    /// The limit, in bytes.
    pub limit: Option<u64>,
    /// Of swap, beyond the limit, in bytes: `None` where there is no limit.
    pub swap: Option<u64>,
    /// Whether the kernel keeps count of swap at all.
    pub counts_swap: bool,
    /// Why the limit must not be reached on purpose, if so.
    pub keep_off: Option<&'static str>,
    /// How often the kernel ended a process for it.
    events: Option<PathBuf>,
}

impl Memory {
    /// No limit at all.
    pub fn none() -> Self {
        Self { limit: None, swap: None, counts_swap: false, keep_off: None, events: None }
    }

    /// How many processes the kernel has ended for this limit.
    pub fn kills(&self) -> Option<u64> {
        let text = fs::read_to_string(self.events.as_ref()?).ok()?;
        text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
    }
}

/// What version 1 says where there is no limit: the largest number of pages, in bytes.
const NO_LIMIT: u64 = 1 << 62;

impl Cgroups {
    /// Those of a process.
    pub fn read(pid: u32) -> Result<Self> {
        let gone = |e| {
            Error::incomplete(format!("process {pid} ended just now"))
                .because(e)
                .hint("probe the container while it runs")
        };
        let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).map_err(gone)?;
        let mounts = fs::read_to_string("/proc/self/mountinfo")
            .map_err(|e| Error::host("could not read /proc/self/mountinfo").because(e).hint("mount /proc"))?;
        let places = places(&text, &mounts).map_err(|controllers| {
            Error::host(format!("the cgroup hierarchy {controllers} of the container is not mounted here"))
                .hint("run the probe in the host's mount and cgroup namespaces")
        })?;
        Ok(Self { text, places })
    }

    /// Where a controller is: in its own hierarchy of version 1, or in version 2.
    fn of(&self, controller: &str) -> Option<(&Place, bool)> {
        let own = self.places.iter().find(|place| place.controllers.iter().any(|name| name == controller));
        own.map(|place| (place, false)).or_else(|| {
            self.places.iter().find(|place| place.controllers.is_empty()).map(|place| (place, true))
        })
    }

    /// Whether everything in there is held still.
    pub fn is_frozen(&self) -> bool {
        let one = self.places.iter().find(|place| place.controllers.iter().any(|name| name == "freezer"));
        let old = one.is_some_and(|place| place.upwards("freezer.state").any(|(_, state)| state != "THAWED"));
        let two = self.places.iter().find(|place| place.controllers.is_empty());
        old || two.is_some_and(|place| {
            place.upwards("cgroup.events").any(|(_, text)| text.lines().any(|line| line == "frozen 1"))
        })
    }

    /// How many tasks there may be, and how many there are where that is said.
    pub fn tasks(&self) -> (Option<u64>, u64) {
        let Some((place, _)) = self.of("pids") else { return (None, 0) };
        let Some((limit, dir)) = place.smallest("pids.max") else { return (None, 0) };
        let now = fs::read_to_string(dir.join("pids.current")).ok();
        (Some(limit), now.and_then(|text| text.trim().parse().ok()).unwrap_or(0))
    }

    /// How much memory.
    pub fn memory(&self) -> Memory {
        let mut memory = Memory::none();
        let Some((place, is_two)) = self.of("memory") else { return memory };
        let (limit_file, events) = if is_two {
            ("memory.max", "memory.events")
        } else {
            ("memory.limit_in_bytes", "memory.oom_control")
        };
        let Some((limit, dir)) = place.smallest(limit_file).filter(|(limit, _)| *limit < NO_LIMIT) else {
            return memory;
        };
        memory.limit = Some(limit);
        memory.events = Some(dir.join(events));
        if is_two {
            memory.counts_swap = dir.join("memory.swap.max").exists();
            memory.swap = place.smallest("memory.swap.max").map(|(swap, _)| swap);
            if place.upwards("memory.oom.group").any(|(_, text)| text == "1") {
                memory.keep_off =
                    Some("memory.oom.group is set: reaching the limit would end the whole container");
            }
        } else {
            memory.counts_swap = dir.join("memory.memsw.limit_in_bytes").exists();
            let both = place.smallest("memory.memsw.limit_in_bytes").filter(|(both, _)| *both < NO_LIMIT);
            memory.swap = both.map(|(both, _)| both.saturating_sub(limit));
            let disabled = |text: String| text.lines().any(|line| line == "oom_kill_disable 1");
            if place.upwards("memory.oom_control").any(|(_, text)| disabled(text)) {
                memory.keep_off =
                    Some("the kernel is told to end nothing: reaching the limit would stop the container");
            }
        }
        memory
    }

    /// How much CPU time, in thousandths of a CPU.
    pub fn cpu_millis(&self) -> Option<u64> {
        let (place, is_two) = self.of("cpu")?;
        let millis = |quota: &str, period: &str| {
            quota.parse::<u64>().ok()?.checked_mul(1000)?.checked_div(period.parse().ok()?)
        };
        if is_two {
            let each = place.upwards("cpu.max").filter_map(|(_, text)| {
                let (quota, period) = text.split_once(' ')?;
                millis(quota, period)
            });
            return each.min();
        }
        let each = place.upwards("cpu.cfs_quota_us").filter_map(|(dir, quota)| {
            millis(&quota, fs::read_to_string(dir.join("cpu.cfs_period_us")).ok()?.trim())
        });
        each.min()
    }
}

/// Where the cgroups of `/proc/PID/cgroup` are; else the hierarchy that is nowhere.
fn places(text: &str, mountinfo: &str) -> Result<Vec<Place>, String> {
    let mut out = Vec::new();
    for line in text.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let place = mountinfo.lines().find_map(|mount| place(controllers, path, mount));
        out.push(place.ok_or_else(|| {
            if controllers.is_empty() { "of version 2".into() } else { controllers.to_owned() }
        })?);
    }
    Ok(out)
}

/// The cgroup, if the line of a `mountinfo` is of its hierarchy.
fn place(controllers: &str, path: &str, mount: &str) -> Option<Place> {
    let (place, kind) = mount.split_once(" - ")?;
    let mut place = place.split(' ').skip(3);
    let (root, top) = (place.next()?, place.next()?);
    let mut kind = kind.split(' ');
    let (fs, options) = (kind.next()?, kind.nth(1)?);
    let names: Vec<String> =
        controllers.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
    let is_it = match fs {
        "cgroup2" => names.is_empty(),
        "cgroup" => {
            !names.is_empty() && names.iter().all(|name| options.split(',').any(|option| option == name))
        }
        _ => false,
    };
    let below = if root == "/" { path } else { path.strip_prefix(root)? };
    // A path out of the reader's cgroup namespace can't be reached by a mount of it.
    if !is_it || below.split('/').any(|part| part == "..") {
        return None;
    }
    let top = PathBuf::from(top);
    let dir = top.join(below.trim_start_matches('/'));
    Some(Place { controllers: names, dir, top })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "24 23 0:20 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
        25 24 0:21 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
        26 24 0:22 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n\
        27 24 0:23 /part /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";

    fn dirs(text: &str) -> Result<Vec<String>, String> {
        Ok(places(text, MOUNTS)?.iter().map(|place| place.dir.display().to_string()).collect())
    }

    #[test]
    fn each_hierarchy_is_found_where_it_is_mounted() {
        assert_eq!(
            dirs("4:cpu,cpuacct:/docker/a:b\n1:name=systemd:/\n0::/part/docker/x\n").unwrap(),
            [
                "/sys/fs/cgroup/cpu,cpuacct/docker/a:b",
                "/sys/fs/cgroup/systemd/",
                "/sys/fs/cgroup/unified/docker/x"
            ]
        );
        assert_eq!(dirs("2:rdma:/x\n").unwrap_err(), "rdma");
        assert_eq!(dirs("0::/elsewhere\n").unwrap_err(), "of version 2");
        assert_eq!(dirs("0::/part/../../x\n").unwrap_err(), "of version 2");
    }

    #[test]
    fn the_smallest_limit_counts_wherever_it_is() {
        let top = tempfile::tempdir().unwrap();
        let dir = top.path().join("a/b");
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("pids.max"), "max\n").unwrap();
        fs::write(dir.join("cpu.max"), "50000 100000\n").unwrap();
        fs::write(top.path().join("a/pids.max"), "100\n").unwrap();
        fs::write(top.path().join("a/pids.current"), "7\n").unwrap();
        fs::write(dir.join("memory.max"), "1048576\n").unwrap();
        fs::write(dir.join("memory.swap.max"), "max\n").unwrap();
        fs::write(dir.join("memory.events"), "oom 3\noom_kill 2\n").unwrap();
        let place = Place { controllers: Vec::new(), dir, top: top.path().to_owned() };
        let cgroups = Cgroups { text: String::new(), places: vec![place] };
        assert_eq!(cgroups.tasks(), (Some(100), 7));
        assert_eq!(cgroups.cpu_millis(), Some(500));
        let memory = cgroups.memory();
        assert_eq!((memory.limit, memory.swap, memory.counts_swap), (Some(1 << 20), None, true));
        assert_eq!(memory.kills(), Some(2));
        assert!(memory.keep_off.is_none() && !cgroups.is_frozen());
        fs::write(top.path().join("a/memory.oom.group"), "1\n").unwrap();
        fs::write(top.path().join("a/cgroup.events"), "populated 1\nfrozen 1\n").unwrap();
        assert!(cgroups.memory().keep_off.is_some() && cgroups.is_frozen());
    }
}
