//! What the recorder may still do once its programs are attached: it reads what a possibly hostile target chose, so
//! it keeps no more than it uses.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::Path,
};

use nix::{errno::Errno, libc};

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

/// Whether root needs an override to put a file there: it belongs to somebody else.
fn is_anothers(output: &Path) -> bool {
    let folder = match output.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let closed = |path: &Path| {
        fs::metadata(path).is_ok_and(|m| m.uid() != 0 || m.permissions().mode() & 0o300 != 0o300)
    };
    let special = fs::metadata(output).is_ok_and(|m| !m.is_file() && m.uid() != 0);
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
