//! cgroups: finding the v2 hierarchy (alone, or beside v1 controllers), a target's directory, who is in it, what it
//! uses.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::error::{Error, Result};

/// How the host mounts its cgroups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchy {
    /// Where cgroup v2 is mounted.
    pub root: PathBuf,
    /// The v1 controllers and where they are mounted; empty on a unified host.
    pub controllers: Vec<(String, PathBuf)>,
}

impl Hierarchy {
    /// Finds the mounts of this process's mount namespace.
    pub fn find() -> Result<Self> {
        let mounts = fs::read_to_string("/proc/self/mounts")
            .map_err(|e| Error::host("could not read /proc/self/mounts").because(e).hint("mount /proc"))?;
        Self::parse(&mounts).ok_or_else(|| {
            Error::host("no cgroup v2 hierarchy is mounted")
                .hint("mount one with `mount -t cgroup2 none /sys/fs/cgroup`, or boot with systemd's default")
        })
    }

    /// Reads `/proc/PID/mounts`.
    pub fn parse(mounts: &str) -> Option<Self> {
        let mut root = None;
        let mut controllers = Vec::new();
        for line in mounts.lines() {
            let mut words = line.split(' ').skip(1);
            let (Some(place), Some(kind), Some(options)) = (words.next(), words.next(), words.next()) else {
                continue;
            };
            match kind {
                "cgroup2" if root.is_none() => root = Some(PathBuf::from(place)),
                "cgroup" => controllers.extend(
                    options
                        .split(',')
                        .filter(|o| matches!(*o, "memory" | "pids" | "cpuacct"))
                        .map(|o| (o.to_owned(), PathBuf::from(place))),
                ),
                _ => {}
            }
        }
        root.map(|root| Self { root, controllers })
    }

    /// The paths, below the root, of the uppermost cgroups whose own names `is_wanted` says yes to.
    pub fn uppermost(&self, is_wanted: impl Fn(&str) -> bool) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut queue = vec![self.root.clone()];
        while let Some(directory) = queue.pop() {
            for child in children(&directory) {
                if child.file_name().and_then(|name| name.to_str()).is_some_and(&is_wanted) {
                    found.push(self.below_root(&child));
                } else {
                    queue.push(child);
                }
            }
        }
        found.sort();
        found
    }

    /// The path below the root, with a leading slash, of a cgroup that a user names: a directory in the hierarchy, or
    /// such a path.
    pub fn below_root(&self, name: &Path) -> PathBuf {
        let below = name.strip_prefix(&self.root).or_else(|_| name.strip_prefix("/")).unwrap_or(name);
        Path::new("/").join(below)
    }

    /// The path below the root of a process's cgroup; `None` if there is no such process, or no longer its cgroup.
    pub fn of_process(&self, pid: u32) -> Option<PathBuf> {
        let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
        let path = text.lines().find_map(|line| line.strip_prefix("0::"))?;
        (!path.ends_with(" (deleted)")).then(|| PathBuf::from(path))
    }

    /// `unified` or `hybrid`.
    pub fn kind(&self) -> &'static str {
        if self.controllers.is_empty() { "unified" } else { "hybrid" }
    }
}

/// A cgroup v2 directory.
#[derive(Debug)]
pub struct Cgroup {
    directory: PathBuf,
    /// The path below the hierarchy's root, with a leading slash.
    pub path: PathBuf,
    handle: File,
}

impl Cgroup {
    /// Opens the cgroup that a user names: a directory in the hierarchy, or a path below its root.
    pub fn open(hierarchy: &Hierarchy, name: &Path) -> Result<Self> {
        let below_root = hierarchy.root.join(name.strip_prefix("/").unwrap_or(name));
        let candidates =
            if name.starts_with(&hierarchy.root) { vec![name.to_owned()] } else { vec![below_root] };
        for directory in &candidates {
            if directory.join("cgroup.procs").exists() {
                return Self::at(hierarchy, directory);
            }
        }
        let looked: Vec<String> = candidates.iter().map(|c| c.display().to_string()).collect();
        Err(Error::usage(format!("there is no cgroup {}", name.display()))
            .because(io::Error::new(io::ErrorKind::NotFound, format!("looked for {}", looked.join(", "))))
            .hint(format!(
                "name a directory below {}; the cgroup of a process is the `0::` line of /proc/PID/cgroup",
                hierarchy.root.display()
            )))
    }

    /// Opens the cgroup at a path below the hierarchy's root; `None` if there is none.
    pub fn find(hierarchy: &Hierarchy, path: &Path) -> Option<Self> {
        let directory = hierarchy.root.join(path.strip_prefix("/").unwrap_or(path));
        directory.join("cgroup.procs").exists().then(|| Self::at(hierarchy, &directory).ok()).flatten()
    }

    /// Makes a new cgroup at the root of the hierarchy.
    pub fn create(hierarchy: &Hierarchy, name: &str) -> Result<Self> {
        let directory = hierarchy.root.join(name);
        fs::create_dir(&directory).map_err(|e| {
            Error::host(format!("could not make the cgroup {}", directory.display()))
                .because(e)
                .hint("run as root, with the cgroup hierarchy mounted writable")
        })?;
        Self::at(hierarchy, &directory)
    }

    fn at(hierarchy: &Hierarchy, directory: &Path) -> Result<Self> {
        let handle = File::open(directory).map_err(|e| {
            Error::usage(format!("could not open the cgroup {}", directory.display()))
                .because(e)
                .hint("run as root")
        })?;
        let below = directory.strip_prefix(&hierarchy.root).unwrap_or(directory);
        Ok(Self { directory: directory.to_owned(), path: Path::new("/").join(below), handle })
    }

    /// The id that the kernel knows the cgroup by.
    pub fn id(&self) -> io::Result<u64> {
        use std::os::unix::fs::MetadataExt as _;
        self.handle.metadata().map(|directory| directory.ino())
    }

    /// Calls `take` with the ids of the cgroup and of all below it, each before those below it are looked for.
    pub fn each_below(&self, take: &mut dyn FnMut(u64) -> Result<()>) -> Result<()> {
        use std::os::unix::fs::MetadataExt as _;
        let mut queue = vec![self.directory.clone()];
        while let Some(directory) = queue.pop() {
            // One that was removed meanwhile has no tasks.
            let Ok(metadata) = fs::metadata(&directory) else { continue };
            take(metadata.ino())?;
            queue.extend(children(&directory));
        }
        Ok(())
    }

    /// The open directory, as the kernel takes it for a target.
    pub fn handle(&self) -> &File {
        &self.handle
    }

    /// Moves a process into the cgroup.
    pub fn add(&self, pid: u32) -> Result<()> {
        fs::write(self.directory.join("cgroup.procs"), pid.to_string()).map_err(|e| {
            Error::host(format!("could not move process {pid} into {}", self.directory.display())).because(e)
        })
    }

    /// Whether any process is in the cgroup or below it; `None` when the cgroup is gone.
    pub fn populated(&self) -> Option<bool> {
        // The root cgroup has no such file, and is never empty.
        match fs::read_to_string(self.directory.join("cgroup.events")) {
            Ok(text) => Some(text.lines().any(|line| line == "populated 1")),
            Err(_) if self.path == Path::new("/") => Some(true),
            Err(_) => None,
        }
    }

    /// The processes in the cgroup and below it.
    pub fn processes(&self) -> Vec<u32> {
        let mut out = Vec::new();
        let mut queue = vec![self.directory.clone()];
        while let Some(directory) = queue.pop() {
            let procs = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
            out.extend(procs.lines().filter_map(|line| line.parse::<u32>().ok()).filter(|pid| *pid != 0));
            queue.extend(children(&directory));
        }
        out
    }

    /// Removes a cgroup that the recorder made.
    pub fn remove(&self, hierarchy: &Hierarchy) {
        disband(&self.directory, &hierarchy.root.join(own_path("")));
    }

    fn number(&self, file: &str) -> Option<u64> {
        fs::read_to_string(self.directory.join(file)).ok()?.trim().parse().ok()
    }
}

fn children(directory: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(|e| e.path())
}

/// What a cgroup uses now, and its own peaks where the kernel keeps them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Peak memory in bytes.
    pub memory_peak: Option<u64>,
    /// Tasks, or their peak where the kernel keeps one.
    pub pids: Option<u64>,
    /// CPU time in microseconds.
    pub cpu_usec: Option<u64>,
}

/// Where a target's use can be read: the v2 directory, or v1 controllers beside it.
#[derive(Debug, Default)]
pub struct Meters {
    memory: Option<PathBuf>,
    pids: Option<PathBuf>,
    cpu: Option<PathBuf>,
    created: Vec<PathBuf>,
}

impl Meters {
    /// Makes v1 cgroups of the same name beside a new v2 cgroup and moves the process into them, so that a hybrid
    /// host accounts for it too.
    pub fn create(hierarchy: &Hierarchy, name: &str, pid: u32) -> Self {
        let mut meters = Self::default();
        for (controller, root) in &hierarchy.controllers {
            let directory = root.join(name);
            let made = fs::create_dir(&directory).is_ok();
            if fs::write(directory.join("cgroup.procs"), pid.to_string()).is_ok() {
                meters.set(controller, directory.clone());
            }
            if made {
                meters.created.push(directory);
            }
        }
        meters
    }

    /// The v1 cgroups that a process is in, for a target that somebody else made.
    pub fn of_process(hierarchy: &Hierarchy, pid: u32) -> Self {
        let mut meters = Self::default();
        let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        for line in text.lines() {
            let mut fields = line.splitn(3, ':').skip(1);
            let (Some(names), Some(path)) = (fields.next(), fields.next()) else { continue };
            for (controller, root) in &hierarchy.controllers {
                // The root cgroup would count the whole host.
                if path != "/" && names.split(',').any(|name| name == controller) {
                    meters.set(controller, root.join(path.trim_start_matches('/')));
                }
            }
        }
        meters
    }

    fn set(&mut self, controller: &str, directory: PathBuf) {
        match controller {
            "memory" => self.memory = Some(directory),
            "pids" => self.pids = Some(directory),
            _ => self.cpu = Some(directory),
        }
    }

    /// Reads what the target uses.
    pub fn read(&self, cgroup: &Cgroup) -> Usage {
        let v1 = |directory: &Option<PathBuf>, file: &str| -> Option<u64> {
            fs::read_to_string(directory.as_ref()?.join(file)).ok()?.trim().parse().ok()
        };
        let cpu_stat = || {
            let text = fs::read_to_string(cgroup.directory.join("cpu.stat")).ok()?;
            text.lines().find_map(|line| line.strip_prefix("usage_usec ")?.parse().ok())
        };
        Usage {
            memory_peak: cgroup
                .number("memory.peak")
                .or_else(|| v1(&self.memory, "memory.max_usage_in_bytes"))
                .or_else(|| cgroup.number("memory.current")),
            pids: cgroup
                .number("pids.peak")
                .or_else(|| cgroup.number("pids.current"))
                .or_else(|| v1(&self.pids, "pids.current")),
            cpu_usec: v1(&self.cpu, "cpuacct.usage").map(|ns| ns / 1000).or_else(cpu_stat),
        }
    }

    /// Removes the v1 cgroups that were made for the target.
    pub fn remove(&self, hierarchy: &Hierarchy) {
        for directory in &self.created {
            let controller =
                hierarchy.controllers.iter().find(|(_, root)| directory.parent() == Some(root.as_path()));
            if let Some((controller, root)) = controller {
                disband(directory, &root.join(own_path(controller)));
            }
        }
    }
}

/// This process's cgroup, below the root of the v1 hierarchy of `controller`, or of the v2 hierarchy for none.
fn own_path(controller: &str) -> PathBuf {
    let text = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let path = text.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (names, path) = (fields.next()?, fields.next()?);
        names.split(',').any(|name| name == controller).then_some(path)
    });
    PathBuf::from(path.unwrap_or_default().trim_start_matches('/'))
}

/// Moves the processes that are left in a cgroup to `home`, where they would be had they not been recorded, and
/// removes the cgroup.
fn disband(directory: &Path, home: &Path) {
    const TRIES: u32 = 50;
    for attempt in 1..=TRIES {
        // New ones may come as long as there are old ones.
        for pid in fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default().lines() {
            let _ = fs::write(home.join("cgroup.procs"), pid);
        }
        match fs::remove_dir(directory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                if attempt == TRIES {
                    tracing::warn!("the cgroup {} stays: {error}", directory.display());
                }
            }
            _ => return,
        }
        // A process that is just ending can't be moved, and is gone in a moment.
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unified_and_hybrid_hosts_are_told_apart() {
        let unified = "cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0\n";
        let found = Hierarchy::parse(unified).unwrap();
        assert_eq!((found.kind(), found.root.as_path()), ("unified", Path::new("/sys/fs/cgroup")));
        let hybrid = "cgroup /sys/fs/cgroup/memory cgroup rw,relatime,memory 0 0\n\
                      cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        let found = Hierarchy::parse(hybrid).unwrap();
        assert_eq!(found.kind(), "hybrid");
        assert_eq!(found.root, Path::new("/sys/fs/cgroup/unified"));
        assert_eq!(Hierarchy::parse("proc /proc proc rw 0 0\n"), None);
    }
}
