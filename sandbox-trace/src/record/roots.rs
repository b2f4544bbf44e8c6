//! The root directories that names are looked up from, one a mount namespace.
//!
//! A process is often gone when its facts are read, and its mount namespace with it. The host's namespace is the
//! recorder's own; another one is held from the first process that is seen in it, for as long as facts of processes
//! that have just ended may still come.

use std::{
    collections::HashMap,
    fs::File,
    io,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    time::{Duration, Instant},
};

use nix::fcntl::OFlag;
use sandbox_trace_ebpf::{Header, record::class};

use super::resolve::Place;

/// How long a namespace is held after a live process was last seen in it: some readings of the ring. Longer would
/// keep the mounts of ended containers.
const HOLD: Duration = Duration::from_secs(1);
/// Most namespaces that are known at a time.
const MAX_NAMESPACES: usize = 1024;
/// Most processes whose namespace is remembered.
const MAX_PROCESSES: usize = 65_536;

/// The root directory of each mount namespace that was met.
#[derive(Debug, Default)]
pub struct Roots {
    own: Option<File>,
    by_namespace: HashMap<u64, Root>,
    by_process: HashMap<u32, u64>,
}

#[derive(Debug)]
struct Root {
    directory: File,
    /// Keeps the namespace's mounts in place.
    namespace: Option<File>,
    seen: Instant,
    /// Whether it was taken from a process behind the set-up. A runtime's first process is in the new namespace before
    /// its root directory is the container's: what it has until then is the host's.
    settled: bool,
}

impl Roots {
    /// Where the names of a fact start. In another mount namespace than the recorder's it is the root of the first
    /// process that was seen there, so that one process's `chroot` does not change the others' names. A process
    /// that is gone is looked up by what was known of it.
    pub fn of(&mut self, header: &Header) -> Place<'_> {
        let tgid = header.tgid;
        if header.class & class::ELSEWHERE == 0 {
            return Place { root: self.own(), tgid };
        }
        Place { root: self.elsewhere(header).map(|root| &root.directory), tgid }
    }

    /// As [`Self::of`], if it is sure that what is seen below that root is what the fact's process saw there.
    pub fn sure(&mut self, header: &Header) -> Option<&File> {
        if header.class & class::ELSEWHERE == 0 {
            return self.own();
        }
        self.elsewhere(header).filter(|root| root.settled).map(|root| &root.directory)
    }

    fn own(&mut self) -> Option<&File> {
        if self.own.is_none() {
            self.own = open_root("self").ok();
        }
        self.own.as_ref()
    }

    fn elsewhere(&mut self, header: &Header) -> Option<&Root> {
        let tgid = header.tgid;
        let is_settled = header.class & class::PLACE != class::SETUP;
        let namespace = self.meet(tgid, is_settled).or_else(|| self.by_process.get(&tgid).copied());
        match namespace {
            Some(namespace) => self.by_namespace.get(&namespace),
            // Gone before it was ever seen: all of a target usually shares one namespace.
            None if self.by_namespace.len() == 1 => self.by_namespace.values().next(),
            None => None,
        }
    }

    /// Looks at a live process: which namespace it is in, and what that one's root is.
    fn meet(&mut self, tgid: u32, is_settled: bool) -> Option<u64> {
        let link = format!("/proc/{tgid}/ns/mnt");
        let number = std::fs::metadata(&link).ok()?.ino();
        // Bounded: the target may start any number of processes.
        if self.by_process.len() > MAX_PROCESSES {
            self.by_process.clear();
        }
        self.by_process.insert(tgid, number);
        if let Some(root) = self.by_namespace.get_mut(&number) {
            root.seen = Instant::now();
            if root.namespace.is_none() {
                root.namespace = File::open(link).ok();
            }
            if is_settled
                && !root.settled
                && let Ok(directory) = open_root(&tgid.to_string())
            {
                (root.directory, root.settled) = (directory, true);
            }
        } else if self.by_namespace.len() < MAX_NAMESPACES
            && let Ok(directory) = open_root(&tgid.to_string())
        {
            let namespace = File::open(link).ok();
            let root = Root { directory, namespace, seen: Instant::now(), settled: is_settled };
            self.by_namespace.insert(number, root);
        }
        Some(number)
    }

    /// Lets go of namespaces that nothing was heard of for some time.
    pub fn tidy(&mut self) {
        for root in self.by_namespace.values_mut().filter(|root| root.seen.elapsed() > HOLD) {
            root.namespace = None;
        }
    }
}

fn open_root(process: &str) -> io::Result<File> {
    File::options()
        .read(true)
        .custom_flags((OFlag::O_PATH | OFlag::O_DIRECTORY).bits())
        .open(format!("/proc/{process}/root"))
}
