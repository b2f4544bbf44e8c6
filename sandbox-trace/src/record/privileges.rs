//! What the recorder may still do once its programs are attached: it reads what a possibly hostile target chose, so
//! it keeps no more than it uses.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::Path,
};

use nix::{errno::Errno, libc};

use crate::error::{Error, Result};

/// Capabilities by number (include/uapi/linux/capability.h).
mod capability {
    pub const DAC_OVERRIDE: u32 = 1;
    pub const DAC_READ_SEARCH: u32 = 2;
    pub const FOWNER: u32 = 3;
    pub const KILL: u32 = 5;
    pub const SYS_PTRACE: u32 = 19;
    pub const BPF: u32 = 39;
}

/// The third layout of `capset`: two words a set (Linux 2.6.26).
const VERSION: u32 = 0x2008_0522;

#[repr(C)]
struct Header {
    version: u32,
    pid: libc::c_int,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Words {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// A capability that a recorder needs: its number, its name, and what for.
pub type Needed = (u32, &'static str, &'static str);

/// In the order in which people write them. `CAP_SYS_ADMIN` has the first two in it (`bpf_capable`, `perfmon_capable`).
pub const NEEDED: [Needed; 4] = [
    (39, "CAP_BPF", "loads the tracing programs"),
    (38, "CAP_PERFMON", "attaches them, and lets them read the kernel's memory"),
    (19, "CAP_SYS_PTRACE", "reads the root directory and the namespaces of other users' processes"),
    (2, "CAP_DAC_READ_SEARCH", "goes through directories that are closed to others"),
];
const ADMIN: u32 = 21;
/// In which `CAP_SYS_ADMIN` is.
const IN_ADMIN: [u32; 2] = [39, 38];

/// Those of [`NEEDED`] that are not in a set.
pub fn lacking(effective: u64) -> Vec<Needed> {
    let has = |number: u32| effective >> number & 1 != 0;
    let stands_for = |number: u32| has(ADMIN) && IN_ADMIN.contains(&number);
    NEEDED.into_iter().filter(|(number, ..)| !has(*number) && !stands_for(*number)).collect()
}

/// Fails if this process can't record. A command gets a cgroup of its own, which is root's to make.
pub fn require(a_command: bool) -> Result<()> {
    let status = fs::read_to_string("/proc/self/status")
        .map_err(|e| Error::host("could not read /proc/self/status").because(e).hint("mount /proc"))?;
    let effective = status
        .lines()
        .find_map(|line| u64::from_str_radix(line.strip_prefix("CapEff:")?.trim(), 16).ok())
        .unwrap_or_default();
    let root = nix::unistd::geteuid().is_root();
    let lacking = lacking(effective);
    if !lacking.is_empty() {
        let names: Vec<&str> = lacking.iter().map(|(_, name, _)| *name).collect();
        let what: Vec<&str> = lacking.iter().map(|(.., what)| *what).collect();
        let error = Error::host(format!("recording needs {}: it {}", names.join(", "), what.join(", ")));
        return Err(if root {
            error.hint("give this container or service these capabilities, or run it on the host itself")
        } else {
            error.hint("run it with sudo; `sandbox-trace doctor` says how to do without root")
        });
    }
    if a_command && !root && effective >> capability::DAC_OVERRIDE & 1 == 0 {
        return Err(Error::host("recording a command needs root: it makes a cgroup for it")
            .hint("run it with sudo, or start the command in a cgroup and record that one with --cgroup"));
    }
    Ok(())
}

/// Gives up, in this thread and for good, every capability but those that the rest of a recording uses. `output` is
/// where the recording goes; `own_cgroups` says that the recorder has cgroups of its own to remove. Programs and
/// processes that were started before are not touched.
///
/// A host that does not let go of them is told in the log, and recorded on all the same.
pub fn give_up(output: &Path, own_cgroups: bool) {
    let mut keep = 0;
    for (number, _why) in [
        (capability::SYS_PTRACE, "/proc/PID/{root,exe,ns,task/TID/syscall} of the target's processes"),
        (capability::DAC_READ_SEARCH, "directories of the target that are closed to others"),
        (capability::KILL, "passing a signal on to a command that changed its user"),
        (capability::BPF, "reading maps: from Linux 5.19 on not needed any more"),
    ] {
        keep |= 1u64 << number;
    }
    if is_anothers(output) {
        keep |= 1 << capability::DAC_OVERRIDE | 1 << capability::FOWNER;
    }
    // The root of a cgroup hierarchy is closed to writing, for root too.
    if own_cgroups {
        keep |= 1 << capability::DAC_OVERRIDE;
    }
    if let Err(error) = keep_only(keep) {
        tracing::warn!("could not give up privileges: {error}");
    }
}

/// Whether this user needs an override to put a file there: it belongs to somebody else.
fn is_anothers(output: &Path) -> bool {
    let own = nix::unistd::geteuid().as_raw();
    let folder = match output.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let closed = |path: &Path| {
        fs::metadata(path).is_ok_and(|m| m.uid() != own || m.permissions().mode() & 0o300 != 0o300)
    };
    let special = fs::metadata(output).is_ok_and(|m| !m.is_file() && m.uid() != own);
    output != Path::new("-") && (special || closed(folder))
}

fn keep_only(keep: u64) -> nix::Result<()> {
    let mut header = Header { version: VERSION, pid: 0 };
    let mut words = [Words::default(); 2];
    // SAFETY: the kernel writes two `Words` behind the second pointer, which has room for them.
    Errno::result(unsafe {
        libc::syscall(libc::SYS_capget, std::ptr::from_mut(&mut header), words.as_mut_ptr())
    })?;
    for number in 0..64u64 {
        if keep >> number & 1 == 0 {
            // SAFETY: this takes a number alone. EINVAL: the kernel has no such capability; EPERM: a recorder without
            // CAP_SETPCAP keeps its bounding set, which no_new_privs below makes of no use.
            unsafe { libc::prctl(libc::PR_CAPBSET_DROP, number, 0u64, 0u64, 0u64) };
        }
    }
    let parts = [keep & 0xffff_ffff, keep >> 32].map(|part| u32::try_from(part).unwrap_or(0));
    for (word, part) in words.iter_mut().zip(parts) {
        word.permitted &= part;
        word.effective = word.permitted;
        word.inheritable = 0;
    }
    // SAFETY: the kernel reads one header and two `Words`, before the call returns.
    Errno::result(unsafe { libc::syscall(libc::SYS_capset, std::ptr::from_ref(&header), words.as_ptr()) })?;
    // SAFETY: this takes numbers alone.
    Errno::result(unsafe {
        libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0u64, 0u64, 0u64)
    })?;
    nix::sys::prctl::set_no_new_privs()
}
