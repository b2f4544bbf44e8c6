//! All that confines a running container, as the kernel shows it, for `audit`: beside [`in_force`](super::in_force)
//! its mounts, namespaces, users, limits and devices. Reads and judges nothing.
//!
//! The container may be hostile, be paused or end at any moment: what can't be read is said, nothing waits for ever, and
//! a process that is gone is an error.

mod limits;
mod mounts;

use std::{
    collections::BTreeSet, fs, os::unix::fs::FileTypeExt as _, path::Path, sync::mpsc, thread, time::Duration,
};

use super::{
    container::{Found, Runtimes},
    in_force::{Status, read_filters},
    labels,
};
use crate::{
    audit::{Held, HeldMount, checks},
    error::{Error, Result},
    recording::{BytePath, Container},
    seccomp::{capabilities::Capabilities, chain::Chain},
};

/// How long looking into the container's own files may take: a file system of its own making may never answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// The most entries of its `/dev` that are looked at.
const MAX_DEVICES: usize = 4096;

/// A running container.
#[derive(Debug)]
pub struct Confinement {
    /// What its runtime tells of it.
    pub container: Container,
    /// Its filters, or why they could not be read.
    pub filters: Result<Chain, String>,
    /// What is in force.
    pub held: Held,
}

/// Reads what confines the running container `name`.
pub fn confinement(name: &str) -> Result<Confinement> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| {
        Error::host("could not ask for the container").because(e).hint("the machine may be short of memory")
    })?;
    let (container, pid) = runtime.block_on(async {
        let runtimes = Runtimes::connect().await?;
        match runtimes.find(name).await? {
            Some(Found { pid: Some(pid), container, .. }) => Ok((container, pid)),
            Some(_) => Err(Error::usage(format!("the container {name} does not run"))
                .hint("start it: what is in force can be seen only while it runs; --compose and --docker-run look at files")),
            None => Err(runtimes.unknown(name).await),
        }
    })?;
    let born = birth(pid).ok_or_else(|| gone(name))?;
    let status = Status::read(pid)?;
    let held = held(pid, &status).ok_or_else(|| gone(name))?;
    let filters = if status.has_filters {
        read_filters(pid).map_err(|e| format!("the filter in force could not be read: {}", e.in_one_line()))
    } else {
        Ok(Chain::default())
    };
    // Another process may have got its number while it was looked at.
    if birth(pid) != Some(born) {
        return Err(gone(name));
    }
    Ok(Confinement { container, filters, held })
}

fn gone(name: &str) -> Error {
    Error::incomplete(format!("the container {name} ended while it was looked at"))
        .hint("audit it while it runs; if it ends by itself, `docker logs` may say why")
}

/// When a process started, in ticks since the machine did: with its number it is that process and no other.
fn birth(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may hold anything, parentheses too. A process that has ended and was not asked for yet counts as gone.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    (!matches!(state, "Z" | "X")).then(|| fields.nth(18)?.parse().ok())?
}

/// `None` if the process is gone.
fn held(pid: u32, status: &Status) -> Option<Held> {
    let info = fs::read(format!("/proc/{pid}/mountinfo")).ok()?;
    let mounts = mounts::parse(&info);
    let mut notes = Vec::new();
    let map = fs::read_to_string(format!("/proc/{pid}/uid_map")).ok()?;
    let [_, host_uid, ..] = status.uids;
    let (limits, unread_limits) = limits::read(pid);
    let devices = within_patience(move || devices(pid)).unwrap_or_else(|| {
        notes.push("its /dev could not be looked at in time: devices in it are not known".to_owned());
        Vec::new()
    });
    let (exposed, writable) = kernel_files(&mounts);
    Some(Held {
        host_uid,
        own_uid: own_uid(&map, host_uid),
        hosts_users: is_hosts(pid, "user").unwrap_or(true),
        bounding: Capabilities::from_mask(status.bounding),
        no_new_privileges: status.no_new_privileges,
        label: labels::label_of(pid).filter(|_| labels::has_apparmor()),
        hosts_namespaces: ["pid", "ipc", "uts", "net", "cgroup", "mnt"]
            .into_iter()
            .filter(|name| is_hosts(pid, name) == Some(true))
            .map(str::to_owned)
            .collect::<BTreeSet<_>>(),
        mounts,
        limits,
        unread_limits,
        devices,
        exposed,
        writable,
        notes,
    })
}

/// Whether a namespace of a process is the one that this process is in.
fn is_hosts(pid: u32, name: &str) -> Option<bool> {
    let own = fs::read_link(format!("/proc/self/ns/{name}")).ok()?;
    let its = fs::read_link(format!("/proc/{pid}/ns/{name}")).ok()?;
    Some(own == its)
}

/// What a user of the host is called in a user namespace.
fn own_uid(map: &str, host: u32) -> Option<u32> {
    map.lines().find_map(|line| {
        let mut numbers = line.split_whitespace().map(str::parse::<u32>);
        let (inside, outside, count) = (numbers.next()?.ok()?, numbers.next()?.ok()?, numbers.next()?.ok()?);
        let offset = host.checked_sub(outside)?;
        (offset < count).then(|| inside.checked_add(offset))?
    })
}

/// Runs something that may never return; what did not in time is left to the end of this process.
fn within_patience<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (sender, receiver) = mpsc::channel();
    // The receiver may be gone by then.
    thread::spawn(move || drop(sender.send(work())));
    receiver.recv_timeout(PATIENCE).ok()
}

/// Block devices in a process's `/dev`, and the machine's memory.
fn devices(pid: u32) -> Vec<BytePath> {
    let mut out = Vec::new();
    let entries = fs::read_dir(format!("/proc/{pid}/root/dev")).into_iter().flatten().flatten();
    for entry in entries.take(MAX_DEVICES) {
        let name = entry.file_name();
        let memory = matches!(name.to_str(), Some("mem" | "kmem" | "port"));
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_block_device() || (memory && kind.is_char_device()) {
            out.push(Path::new("/dev").join(name).into_os_string().into_encoded_bytes().into());
        }
    }
    out.sort();
    out
}

/// Which of the files that runtimes hide are seen, and which of those that they make read-only can be written.
fn kernel_files(mounts: &[HeldMount]) -> (Vec<String>, Vec<String>) {
    // A path is the kernel's own file if the mount that it is on is.
    let on = |path: &str| {
        let below = |mount: &&HeldMount| {
            let target = mount.target.as_bytes();
            let target = target.strip_suffix(b"/").unwrap_or(target);
            path.as_bytes().strip_prefix(target).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
        };
        let longest = mounts.iter().filter(below).max_by_key(|mount| mount.target.as_bytes().len());
        longest.filter(|mount| matches!(mount.kind.as_str(), "proc" | "sysfs"))
    };
    // What this kernel does not have needs no mask.
    let here = |paths: &'static [&'static str]| paths.iter().copied().filter(|path| Path::new(path).exists());
    let exposed = here(checks::HIDDEN).filter(|path| on(path).is_some());
    let writable = here(checks::READ_ONLY)
        .chain(["/sys/kernel"])
        .filter(|path| on(path).is_some_and(|mount| !mount.read_only));
    (exposed.map(str::to_owned).collect(), writable.map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_in_the_map() {
        assert_eq!(own_uid("         0          0 4294967295\n", 1000), Some(1000));
        let rootless = "0 1000 1\n1 100000 65536\n";
        assert_eq!(own_uid(rootless, 1000), Some(0));
        assert_eq!(own_uid(rootless, 100_004), Some(5));
        assert_eq!((own_uid(rootless, 0), own_uid("odd", 0)), (None, None));
    }

    #[test]
    fn a_process_is_told_from_the_next_with_its_number() {
        assert!(birth(std::process::id()).is_some_and(|born| born > 0));
        assert_eq!(birth(u32::MAX), None);
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let ended = (0..200).any(|_| {
            thread::sleep(Duration::from_millis(10));
            birth(child.id()).is_none()
        });
        assert!(ended);
        child.wait().unwrap();
    }

    #[test]
    fn masks_are_what_lies_over_the_kernels_files() {
        let mount = |target: &str, kind: &str, read_only| HeldMount {
            target: target.into(),
            kind: kind.into(),
            read_only,
            ..HeldMount::default()
        };
        let bare = [mount("/", "overlay", true), mount("/proc", "proc", false), mount("/sys", "sysfs", true)];
        let (exposed, writable) = kernel_files(&bare);
        assert!(writable.contains(&"/proc/sys".to_owned()) && !writable.contains(&"/sys/kernel".to_owned()));
        assert!(exposed.iter().all(|path| path.starts_with("/proc/") || path.starts_with("/sys/")));
        let masked =
            [&bare[..], &[mount("/proc/sys", "proc", true), mount("/proc/kcore", "tmpfs", false)]].concat();
        let (exposed, writable) = kernel_files(&masked);
        assert!(!writable.contains(&"/proc/sys".to_owned()) && !exposed.contains(&"/proc/kcore".to_owned()));
        assert_eq!(kernel_files(&[mount("/", "overlay", false)]), (vec![], vec![]));
    }

    #[test]
    fn what_never_answers_is_given_up() {
        assert_eq!(within_patience(|| 1), Some(1));
        assert_eq!(within_patience(thread::park), None);
    }
}
