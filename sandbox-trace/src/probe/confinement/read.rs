//! Reads what confines a process, all of it before anything is taken on: afterwards the host's files are out of reach.

use std::{
    fs::{self, File},
    os::{
        fd::{AsFd as _, FromRawFd as _, OwnedFd},
        unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    },
    sync::Arc,
};

use nix::{
    errno::Errno,
    libc,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sched::CloneFlags,
};

use super::cgroups::Cgroups;
use crate::{
    error::{Error, Result},
    record::InForce,
    recording::BytePath,
    seccomp::bpf::Program,
};

/// A process, held so that its number can't come to mean another one unnoticed.
#[derive(Debug)]
pub struct Process(OwnedFd);

impl Process {
    /// The process that runs as `pid` now.
    pub fn open(pid: u32) -> Result<Self> {
        // SAFETY: this takes numbers alone.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
        let fd = Errno::result(fd).map_err(|e| match e {
            Errno::ESRCH => ended(pid).because(e),
            e => Error::host("could not hold on to the container's first process")
                .because(e)
                .hint("it needs Linux 5.3"),
        })?;
        // SAFETY: the number is a new file descriptor that nobody else owns.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(i32::try_from(fd).unwrap_or(-1)) }))
    }

    /// Whether it has not ended.
    pub fn is_alive(&self) -> bool {
        let mut fds = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::ZERO) == Ok(0)
    }
}

fn ended(pid: u32) -> Error {
    Error::incomplete(format!("the container's first process ({pid}) ended just now"))
        .hint("probe the container while it runs")
}

/// One of its namespaces.
#[derive(Debug)]
pub struct Namespace {
    /// Its name in `/proc/PID/ns`.
    pub name: &'static str,
    /// Its flag.
    pub flag: CloneFlags,
    /// It is not this process's own.
    pub differs: bool,
    /// What it is entered by.
    pub file: File,
    /// Which one it is.
    pub inode: u64,
}

/// `CLONE_NEWTIME`, which nix does not have.
const CLONE_NEWTIME: i32 = 0x80;

/// The namespaces in the order in which they are entered: the user namespace last, because all others can be entered
/// from outside of it, and not all from inside.
pub const NAMESPACES: [(&str, i32); 8] = [
    ("pid", libc::CLONE_NEWPID),
    ("cgroup", libc::CLONE_NEWCGROUP),
    ("ipc", libc::CLONE_NEWIPC),
    ("uts", libc::CLONE_NEWUTS),
    ("net", libc::CLONE_NEWNET),
    ("time", CLONE_NEWTIME),
    ("mnt", libc::CLONE_NEWNS),
    ("user", libc::CLONE_NEWUSER),
];

/// All that a child takes on.
#[derive(Debug)]
pub struct Plan {
    /// The process.
    pub pid: u32,
    /// Its status as the host sees it.
    pub status: crate::record::Status,
    /// Its user ids, in the numbers of its own user namespace.
    pub uids: [u32; 4],
    /// Its group ids, likewise.
    pub gids: [u32; 4],
    /// Its seccomp filters, oldest first.
    pub filters: Vec<Arc<Program>>,
    /// Its label.
    pub label: Option<BytePath>,
    /// What is written to take the label on, where it is not this process's own.
    pub change_label: Option<Vec<u8>>,
    /// Its namespaces.
    pub namespaces: Vec<Namespace>,
    /// Its cgroups.
    pub cgroups: Cgroups,
    /// Where a process writes itself into them.
    pub cgroup_files: Vec<File>,
    /// Its root directory.
    pub root: File,
    /// Which directory that is.
    pub root_inode: (u64, u64),
    /// Its working directory, while there is one.
    pub cwd: Option<File>,
    /// Its resource limits: number, current, highest.
    pub rlimits: Vec<(u32, u64, u64)>,
    /// The mode bits that new files don't get.
    pub umask: u32,
    /// How the kernel is to behave for it, where that can be read.
    pub personality: Option<u32>,
    /// Its id in its own pid namespace.
    pub inside_pid: i32,
}

impl Plan {
    /// Reads it. `process` is the same process as that of `in_force`.
    pub fn read(in_force: &InForce, process: &Process) -> Result<Self> {
        let plan = Self::of(in_force).map_err(|e| {
            if process.is_alive() {
                Error::host(format!("could not read what confines process {}", in_force.pid))
                    .because(e)
                    .hint("run the probe as root, in the host's own namespaces")
            } else {
                ended(in_force.pid)
            }
        })??;
        if process.is_alive() { Ok(plan) } else { Err(ended(in_force.pid)) }
    }

    fn of(in_force: &InForce) -> std::io::Result<Result<Self>> {
        let pid = in_force.pid;
        let proc = format!("/proc/{pid}");
        let cgroups = match Cgroups::read(pid) {
            Ok(cgroups) => cgroups,
            Err(error) => return Ok(Err(error)),
        };
        let mut cgroup_files = Vec::new();
        for place in &cgroups.places {
            cgroup_files.push(File::options().write(true).open(place.dir.join("cgroup.procs"))?);
        }
        let status_text = fs::read_to_string(format!("{proc}/status"))?;
        let field = |name: &str| status_text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let directory = |name: &str| {
            File::options()
                .read(true)
                .custom_flags(libc::O_PATH | libc::O_DIRECTORY)
                .open(format!("{proc}/{name}"))
        };
        let root = directory("root")?;
        let root_data = root.metadata()?;
        let own_label = crate::record::label_of(std::process::id());
        let change_label = in_force.label.clone().filter(|label| Some(label) != own_label.as_ref());
        let (uid_map, gid_map) =
            (fs::read_to_string(format!("{proc}/uid_map"))?, fs::read_to_string(format!("{proc}/gid_map"))?);
        Ok(Ok(Self {
            pid,
            status: in_force.status.clone(),
            uids: in_force.status.uids.map(|id| inside(&uid_map, id)),
            gids: in_force.status.gids.map(|id| inside(&gid_map, id)),
            filters: in_force.filters.filters().iter().rev().cloned().collect(),
            label: in_force.label.clone(),
            change_label: change_label.map(|label| label_change(label.as_bytes())),
            namespaces: namespaces(&proc)?,
            cgroups,
            cgroup_files,
            root_inode: (root_data.dev(), root_data.ino()),
            root,
            cwd: directory("cwd").ok(),
            rlimits: rlimits(pid),
            umask: field("Umask:").and_then(|text| u32::from_str_radix(text, 8).ok()).unwrap_or(0o022),
            personality: fs::read_to_string(format!("{proc}/personality"))
                .ok()
                .and_then(|text| u32::from_str_radix(text.trim(), 16).ok()),
            inside_pid: field("NSpid:")
                .and_then(|text| text.split_whitespace().last()?.parse().ok())
                .unwrap_or(1),
        }))
    }

    /// A namespace by its name.
    pub fn namespace(&self, name: &str) -> Option<&Namespace> {
        self.namespaces.iter().find(|namespace| namespace.name == name)
    }

    /// Whether a namespace is the container's own, and not the host's.
    pub fn owns(&self, name: &str) -> bool {
        self.namespace(name).is_some_and(|namespace| namespace.differs)
    }

    /// The namespaces that are not the host's, by name.
    pub fn own_namespaces(&self) -> Vec<&'static str> {
        let mut names: Vec<&str> = self
            .namespaces
            .iter()
            .filter(|namespace| namespace.differs)
            .map(|namespace| namespace.name)
            .collect();
        names.sort_unstable();
        names
    }

    /// Whether a filter leaves a call to a supervisor, which a copy of the filter does not have.
    fn is_supervised(&self) -> bool {
        let chain = crate::seccomp::chain::Chain::new(self.filters.clone());
        chain.can_answer(|action| action == crate::seccomp::bpf::Action::Notify)
    }

    /// What differs on purpose, and what the kernel does not let anybody read.
    pub fn differences(&self) -> Vec<String> {
        let mut out = vec![
            "oom_score_adj is 1000: should memory run out, the kernel ends the probe's process first".to_owned(),
            "the children can't be dumped or traced by the container's own processes".into(),
            "Landlock rules, securebits and open files of the container's processes are not taken on: the kernel does not show the first two".into(),
        ];
        if self.personality.is_none() {
            out.push("the personality could not be read, and is the probe's own".into());
        }
        if self.is_supervised() {
            out.push("what a filter leaves to a supervisor fails with ENOSYS: the copy has none".into());
        }
        out
    }
}

fn namespaces(proc: &str) -> std::io::Result<Vec<Namespace>> {
    let mut out = Vec::new();
    for (name, flag) in NAMESPACES {
        // A kernel without this kind has no link for it.
        let Ok(own) = fs::metadata(format!("/proc/self/ns/{name}")) else { continue };
        let file = File::open(format!("{proc}/ns/{name}"))?;
        let inode = file.metadata()?.ino();
        let flag = CloneFlags::from_bits_retain(flag);
        out.push(Namespace { name, flag, differs: inode != own.ino(), file, inode });
    }
    Ok(out)
}

/// What a user or group id of the host is in a user namespace with this map; itself where it is not mapped.
fn inside(map: &str, id: u32) -> u32 {
    let ranges = map.lines().filter_map(|line| {
        let mut numbers = line.split_whitespace().map(|number| number.parse::<u32>().ok());
        Some((numbers.next()??, numbers.next()??, numbers.next()??))
    });
    for (inside, outside, count) in ranges {
        if let Some(offset) = id.checked_sub(outside).filter(|offset| *offset < count) {
            return inside.saturating_add(offset);
        }
    }
    id
}

/// `docker-default (enforce)` → `changeprofile docker-default`. Other security modules take the label itself.
fn label_change(label: &[u8]) -> Vec<u8> {
    if !crate::start::apparmor_enabled() {
        return label.to_vec();
    }
    let mode = label.ends_with(b")").then(|| label.windows(2).rposition(|two| two == b" (")).flatten();
    let name = mode.and_then(|end| label.get(..end)).unwrap_or(label);
    [b"changeprofile ", name].concat()
}

fn rlimits(pid: u32) -> Vec<(u32, u64, u64)> {
    // RLIMIT_NLIMITS is 16 (include/uapi/asm-generic/resource.h).
    (0..16u32)
        .filter_map(|number| {
            let mut limit = libc::rlimit64 { rlim_cur: 0, rlim_max: 0 };
            // SAFETY: the kernel writes one `rlimit64`, and reads none.
            let result = unsafe {
                libc::prlimit64(i32::try_from(pid).ok()?, number, std::ptr::null(), &raw mut limit)
            };
            (result == 0).then_some((number, limit.rlim_cur, limit.rlim_max))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_mapped_into_a_user_namespace() {
        let map = "         0     100000      65536\n     65536        500          1\n";
        assert_eq!(
            [inside(map, 100_000), inside(map, 100_005), inside(map, 500), inside(map, 7)],
            [0, 5, 65_536, 7]
        );
        assert_eq!(inside("0 0 4294967295\n", 65_534), 65_534);
    }

    #[test]
    fn this_process_is_told_apart_from_one_that_ended() {
        assert!(Process::open(std::process::id()).unwrap().is_alive());
        assert!(Process::open(u32::MAX >> 1).is_err());
    }
}
