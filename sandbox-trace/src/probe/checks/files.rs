//! Writing where nothing should be written: the root file system, the kernel's settings, the host's files.

use std::ffi::{CStr, CString};

use nix::{errno::Errno, libc};

use super::{Check, Subject};
use crate::{
    probe::{
        board::{Arg, Board, Seen, n},
        report::Verdict,
    },
    recording::BytePath,
};

const ROOT_FILES: &str =
    "a writable root file system lets an attacker change the application and leave a back door";
const SETTINGS: &str = "the kernel's settings are the host's: some of them run a program as the host's root";
const MASKED: &str =
    "these files tell about the host's kernel and hardware, which an attack is made to measure with";
const HOST_FILES: &str =
    "a file of another user's on the host, put there setuid, gives its user's rights to whoever runs it";

/// Where a hardened container has nothing to write.
const PLACES: [&str; 8] = ["/", "/usr", "/usr/bin", "/etc", "/root", "/lib", "/opt", "/var/lib"];

/// What is opened for writing, and never written.
const WRITES: [(&str, &str); 14] = [
    ("/proc/sys/kernel/core_pattern", "names the program that gets core dumps, run as the host's root"),
    ("/proc/sys/kernel/modprobe", "names the program that loads modules, run as the host's root"),
    ("/proc/sys/kernel/hostname", "is the container's own name, but all of /proc/sys is open where this is"),
    ("/proc/sys/vm/overcommit_memory", "decides how much memory the whole host promises"),
    ("/proc/sys/net/ipv4/ip_forward", "decides where packets go"),
    ("/proc/sys/fs/binfmt_misc/register", "names programs that open other programs, on the whole host"),
    ("/proc/sysrq-trigger", "reboots the host, or kills its processes, by one letter"),
    ("/proc/irq/default_smp_affinity", "is the host's hardware"),
    ("/sys/kernel/uevent_helper", "names a program that is run as the host's root for every device"),
    ("/sys/kernel/mm/transparent_hugepage/enabled", "is a setting of the whole host's memory"),
    ("/sys/power/state", "puts the host to sleep"),
    ("/sys/kernel/security/apparmor/.replace", "replaces the profiles of the whole host"),
    ("/sys/fs/cgroup/cgroup.procs", "moves processes between cgroups, out of the limits"),
    ("/sys/fs/cgroup/cgroup.subtree_control", "changes which limits there are"),
];

/// What Docker hides, and what it should.
const HIDDEN: [&str; 15] = [
    "/proc/kcore",
    "/proc/keys",
    "/proc/timer_list",
    "/proc/sched_debug",
    "/proc/latency_stats",
    "/proc/kmsg",
    "/proc/sysrq-trigger",
    "/proc/asound",
    "/proc/acpi",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
    "/sys/kernel/debug",
    "/sys/kernel/tracing",
    "/sys/kernel/security",
];

pub fn checks(subject: &Subject) -> Vec<Check> {
    let mut out: Vec<Check> = PLACES.iter().map(|place| write(place, subject)).collect();
    for (path, why) in WRITES {
        out.push(open_for_writing(path, why));
    }
    out.extend(HIDDEN.iter().map(|path| read(path)));
    for mount in subject.mounts.iter().filter(|mount| mount.is_hosts() && mount.is_writable()) {
        if mount.point != b"/" && !is_file(&mount.point) {
            out.push(setuid_file(&mount.point, subject));
        }
    }
    out.push(host_mounts(subject));
    out
}

/// Mounts of single files: what engines write, sockets, and what hides parts of `/proc`.
pub fn is_file(point: &[u8]) -> bool {
    matches!(point, b"/etc/hosts" | b"/etc/hostname" | b"/etc/resolv.conf" | b"/run/.containerenv")
        || point.ends_with(b".sock")
        || point.starts_with(b"/proc/")
}

/// What a path is called in an id.
pub fn name(path: &[u8]) -> String {
    BytePath::from(path.to_vec()).to_string()
}

/// A path as the kernel takes it. Nothing that comes from the kernel has a NUL in it.
pub fn c_string(bytes: &[u8]) -> CString {
    CString::new(bytes).unwrap_or_default()
}

/// A path of this probe's own file in a folder.
pub fn own_file(folder: &[u8], subject: &Subject) -> CString {
    let folder = folder.strip_suffix(b"/").unwrap_or(folder);
    c_string(&[folder, b"/", subject.file_name.as_bytes()].concat())
}

/// Makes a new file and leaves a note of it.
pub fn make(board: &Board, path: &CStr, mode: i64) -> Result<i64, Errno> {
    let flags = i64::from(libc::O_CREAT | libc::O_EXCL | libc::O_WRONLY | libc::O_CLOEXEC | libc::O_NOFOLLOW);
    board.left.set(path.to_bytes());
    let at = i64::from(libc::AT_FDCWD);
    let result = match board.call(libc::SYS_openat, &mut [n(at), Arg::Path(path), n(flags), n(mode)]) {
        // A filter may have been made for programs that use the older call.
        #[cfg(target_arch = "x86_64")]
        Err(Errno::EPERM | Errno::ENOSYS) => {
            board.call(libc::SYS_open, &mut [Arg::Path(path), n(flags), n(mode)])
        }
        result => result,
    };
    match result {
        Ok(_) => board.made.set(path.to_bytes()),
        Err(_) => board.left.set(b""),
    }
    result
}

/// Removes it; what can't be removed here is removed from outside.
pub fn remove(board: &Board, path: &CStr) {
    let at = i64::from(libc::AT_FDCWD);
    if board.call(libc::SYS_unlinkat, &mut [n(at), Arg::Path(path), n(0)]).is_ok() {
        board.left.set(b"");
    }
}

/// Opens a path.
pub fn open(board: &Board, path: &CStr, flags: i32) -> Result<i64, Errno> {
    let at = i64::from(libc::AT_FDCWD);
    board.call(libc::SYS_openat, &mut [n(at), Arg::Path(path), n(i64::from(flags | libc::O_CLOEXEC)), n(0)])
}

fn write(place: &str, subject: &Subject) -> Check {
    let path = own_file(place.as_bytes(), subject);
    Check::tried(format!("write:{place}"), format!("write to {place}"), ROOT_FILES, move |board| {
        match make(board, &path, 0o600) {
            Ok(_) => {
                remove(board, &path);
                Seen::open(format_args!("a file could be made (it was removed)"))
            }
            Err(errno) => Seen::refused(errno),
        }
    })
}

fn open_for_writing(path: &'static str, why: &'static str) -> Check {
    let file = c_string(path.as_bytes());
    Check::tried(format!("kernel-write:{path}"), format!("write to {path}"), SETTINGS, move |board| {
        // Opening is what is decided about. Nothing is ever written.
        match open(board, &file, libc::O_WRONLY | libc::O_NONBLOCK) {
            Ok(_) => Seen::open(format_args!("it could be opened for writing; it {why}")),
            Err(errno) => Seen::refused(errno),
        }
    })
}

fn read(path: &str) -> Check {
    let file = c_string(path.as_bytes());
    // Reading this one takes messages away from whoever is meant to read them.
    let only_open = path == "/proc/kmsg";
    // Nothing can be read from it: only whether it is hidden can be told.
    let is_write_only = path == "/proc/sysrq-trigger";
    Check::tried(format!("kernel-read:{path}"), format!("read {path}"), MASKED, move |board| {
        let flags = if is_write_only { libc::O_WRONLY } else { libc::O_RDONLY };
        let opened = match open(board, &file, flags | libc::O_NONBLOCK) {
            Ok(opened) => opened,
            Err(errno) => return Seen::refused(errno),
        };
        if only_open || is_write_only {
            return Seen::open(format_args!("it could be opened"));
        }
        let mut bytes = [0u8; 512];
        let size = n(512);
        match board.call(libc::SYS_read, &mut [n(opened), Arg::Out(&mut bytes[..1]), n(1)]) {
            Ok(0) => Seen::closed(format_args!("hidden: it is empty")),
            Ok(_) => Seen::open(format_args!("it could be read")),
            Err(Errno::EISDIR) => {
                match board.call(libc::SYS_getdents64, &mut [n(opened), Arg::Out(&mut bytes), size]) {
                    // A mask is an empty folder: its own entry and its parent's, of 24 bytes each.
                    Ok(length) if length <= 48 => Seen::closed(format_args!("hidden: it is empty")),
                    Ok(_) => Seen::open(format_args!("it could be listed")),
                    Err(errno) => Seen::refused(errno),
                }
            }
            Err(errno) => Seen::refused(errno),
        }
    })
}

/// Whether the container can leave files on the host that give root's rights to whoever executes them there.
fn setuid_file(point: &[u8], subject: &Subject) -> Check {
    let path = own_file(point, subject);
    let is_hosts_root = subject.status.uids[1] == 0;
    let nosuid = subject.mounts.iter().any(|mount| mount.point == point && mount.has("nosuid"));
    let point = name(point);
    let check = Check::tried(
        format!("setuid-file:{point}"),
        format!("leave a setuid program on the host, through {point}"),
        HOST_FILES,
        move |board| {
            let made = match make(board, &path, 0o600) {
                Ok(made) => made,
                Err(errno) => return Seen::refused(errno),
            };
            let changed = board.call(libc::SYS_fchmod, &mut [n(made), n(0o6700)]);
            remove(board, &path);
            match changed {
                Err(errno) => Seen::refused(errno),
                Ok(_) if !is_hosts_root => {
                    Seen::closed(format_args!("it would be no root's: the container's user is another"))
                }
                // The mount's option binds the container; the host has its own mount of the same files.
                Ok(_) => Seen::open(format_args!(
                    "a setuid file of root's could be made (it was removed){}",
                    if nosuid { "; nosuid binds the container alone" } else { "" }
                )),
            }
        },
    );
    check.expecting("not as root")
}

/// Folders of the host that no container needs whole.
const SENSITIVE: [&str; 14] = [
    "/", "/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/proc", "/root", "/run", "/sbin", "/sys", "/usr",
    "/var",
];

fn host_mounts(subject: &Subject) -> Check {
    let mut found = Vec::new();
    for mount in subject.mounts.iter().filter(|mount| mount.is_hosts() && mount.point != b"/") {
        let Some((device, root)) = &subject.host.root else { continue };
        if *device != mount.device {
            continue;
        }
        let whole = mount.root.strip_prefix(root.trim_end_matches('/').as_bytes()).unwrap_or(&mount.root);
        let place = if whole.is_empty() { "/".to_owned() } else { name(whole) };
        let is_home = place.strip_prefix("/home/").is_some_and(|user| !user.contains('/'));
        if SENSITIVE.contains(&place.as_str()) || is_home {
            let mode = if mount.is_writable() { "rw" } else { "ro" };
            found.push(format!("{place} at {} ({mode})", name(&mount.point)));
        }
    }
    let (verdict, seen) = if found.is_empty() {
        (Verdict::Closed, "none".to_owned())
    } else {
        (Verdict::Open, format!("the host's {}", found.join(", ")))
    };
    let why = "with the host's own folders a container has what they hold: keys, accounts, other containers";
    Check::told("host-folders", "folders of the host in the container", why, verdict, seen).expecting("none")
}
