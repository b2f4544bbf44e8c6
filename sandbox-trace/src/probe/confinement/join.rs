//! Takes a confinement on, for good. The filters are loaded while the caller still has every privilege, and are not
//! asked before the tracer lets go (`PTRACE_O_SUSPEND_SECCOMP`, as CRIU restores them): so neither must a filter allow
//! what comes after it, nor does a container without `no_new_privs` need a difference.

use std::{
    io::Write as _,
    os::fd::{AsRawFd as _, RawFd},
};

use nix::{
    errno::Errno,
    fcntl::{OFlag, open, openat},
    libc,
    mount::{MsFlags, mount},
    sched::{CloneFlags, setns, unshare},
    sys::stat::Mode,
    unistd::{Gid, Uid, chroot, fchdir, setfsgid, setfsuid, setgroups, setresgid, setresuid, write},
};

use super::read::Plan;
use crate::seccomp::load;

/// A step that failed.
#[derive(Debug, Clone, Copy)]
pub struct Step(pub &'static str, pub Errno);

/// What a child is for.
#[derive(Debug, Clone, Copy, Default)]
pub struct How {
    /// It gets a copy of the mount namespace to itself: what it mounts goes away with it.
    pub private_mounts: bool,
}

fn step<T>(what: &'static str) -> impl Fn(Errno) -> Result<T, Step> {
    move |errno| Err(Step(what, errno))
}

/// Enters the mount namespace and the root directory, and keeps every privilege: for removing what was left behind.
pub fn enter_files(plan: &Plan) -> Result<(), Step> {
    for namespace in plan.namespaces.iter().filter(|namespace| namespace.differs && namespace.name == "mnt") {
        setns(&namespace.file, namespace.flag).or_else(step("enter the mount namespace"))?;
    }
    fchdir(&plan.root).and_then(|()| chroot(".")).or_else(step("change to its root directory"))
}

/// Takes everything on, in this process. The pid namespace is taken on by being forked into it.
pub fn take_on(plan: &Plan, how: How) -> Result<(), Step> {
    // Before the host's files are out of reach.
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    let proc = open("/proc", OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
        .or_else(step("open /proc"))?;
    // What a check does with keys must not reach the keys of whoever started the probe.
    // SAFETY: a null name makes a new keyring; nothing is read.
    unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, 0) };
    for mut file in &plan.cgroup_files {
        file.write_all(b"0").map_err(|e| Step("join its cgroups", errno_of(&e)))?;
    }
    for namespace in plan.namespaces.iter().filter(|namespace| namespace.differs) {
        if !matches!(namespace.name, "pid" | "user") {
            setns(&namespace.file, namespace.flag).or_else(step(entering(namespace.name)))?;
        }
    }
    fchdir(&plan.root).and_then(|()| chroot(".")).or_else(step("change to its root directory"))?;
    if let Some(cwd) = &plan.cwd {
        // It may be a directory that nobody can enter any more.
        let _ = fchdir(cwd);
    }
    nix::sys::stat::umask(Mode::from_bits_truncate(plan.umask));
    if let Some(persona) = plan.personality {
        // SAFETY: this takes a number alone, and changes how later programs are laid out.
        unsafe { libc::personality(libc::c_ulong::from(persona)) };
    }
    set_rlimits(plan);
    let groups: Vec<Gid> = plan.status.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
    setgroups(&groups).or_else(step("take on its groups"))?;
    for namespace in plan.namespaces.iter().filter(|namespace| namespace.differs && namespace.name == "user")
    {
        setns(&namespace.file, namespace.flag).or_else(step(entering("user")))?;
    }
    if how.private_mounts {
        let none: Option<&str> = None;
        unshare(CloneFlags::CLONE_NEWNS)
            .and_then(|()| mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none))
            .or_else(step("copy its mount namespace"))?;
    }
    for filter in &plan.filters {
        load::load(filter).or_else(step("load its seccomp filters"))?;
    }
    take_on_identity(plan, proc.as_raw_fd())?;
    // What is owned must not be closed behind its owner's back.
    drop(proc);
    // SAFETY: these take numbers alone. The first two are cleared by a change of user; a child that outlives the
    // process that watches it must end.
    unsafe {
        libc::prctl(libc::PR_SET_DUMPABLE, 0);
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
    }
    close_all();
    Ok(())
}

/// `KEYCTL_JOIN_SESSION_KEYRING` (include/uapi/linux/keyctl.h).
const KEYCTL_JOIN_SESSION_KEYRING: libc::c_long = 1;

fn entering(name: &str) -> &'static str {
    match name {
        "cgroup" => "enter its cgroup namespace",
        "ipc" => "enter its ipc namespace",
        "uts" => "enter its uts namespace",
        "net" => "enter its network namespace",
        "time" => "enter its time namespace",
        "user" => "enter its user namespace",
        _ => "enter its mount namespace",
    }
}

fn errno_of(error: &std::io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(0))
}

/// A limit that can't be set is told by the proof.
fn set_rlimits(plan: &Plan) {
    for (number, current, highest) in &plan.rlimits {
        let limit = libc::rlimit64 { rlim_cur: *current, rlim_max: *highest };
        // SAFETY: the kernel reads one `rlimit64`.
        unsafe { libc::prlimit64(0, *number, &raw const limit, std::ptr::null_mut()) };
    }
}

/// User, groups, capabilities, label and `no_new_privs`.
fn take_on_identity(plan: &Plan, proc: RawFd) -> Result<(), Step> {
    let status = &plan.status;
    for number in (0..64u64).filter(|number| status.bounding >> number & 1 == 0) {
        // SAFETY: this takes a number alone.
        let dropped = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, number, 0u64, 0u64, 0u64) };
        match Errno::result(dropped) {
            // The kernel knows no capability with that number.
            Err(Errno::EINVAL) | Ok(_) => {}
            Err(errno) => return Err(Step("give up capabilities of its bounding set", errno)),
        }
    }
    // SAFETY: this takes numbers alone.
    unsafe { libc::prctl(libc::PR_SET_KEEPCAPS, 1u64, 0u64, 0u64, 0u64) };
    let [real, effective, saved, of_files] = plan.gids.map(Gid::from_raw);
    setresgid(real, effective, saved).or_else(step("become its group"))?;
    setfsgid(of_files);
    let [real, effective, saved, of_files] = plan.uids.map(Uid::from_raw);
    setresuid(real, effective, saved).or_else(step("become its user"))?;
    setfsuid(of_files);
    let held = capabilities().or_else(step("read its own capabilities"))?;
    set_capabilities(held, held, 0).or_else(step("keep capabilities for the label"))?;
    if let Some(change) = &plan.change_label {
        // Opened just now, because only its opener may write it; the privileges are still there, because without
        // them some kernels stack the new label on the old one.
        // SAFETY: the number is that of a directory which is open until this process closes everything.
        let proc = unsafe { std::os::fd::BorrowedFd::borrow_raw(proc) };
        ["thread-self/attr/apparmor/current", "thread-self/attr/current"]
            .iter()
            .find_map(|name| openat(proc, *name, OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty()).ok())
            .ok_or(Errno::ENOENT)
            .and_then(|file| write(&file, change))
            .or_else(step("take on its security label"))?;
    }
    set_capabilities(status.permitted, status.effective, status.inheritable)
        .or_else(step("take on its capabilities"))?;
    for number in (0..64u64).filter(|number| status.ambient >> number & 1 == 1) {
        // SAFETY: this takes numbers alone.
        let raised =
            unsafe { libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE, number, 0u64, 0u64) };
        Errno::result(raised).or_else(step("take on its ambient capabilities"))?;
    }
    // SAFETY: this takes numbers alone.
    unsafe { libc::prctl(libc::PR_SET_KEEPCAPS, 0u64, 0u64, 0u64, 0u64) };
    if status.no_new_privileges {
        nix::sys::prctl::set_no_new_privs().or_else(step("set no_new_privs"))?;
    }
    Ok(())
}

/// `struct __user_cap_header_struct` and two of `struct __user_cap_data_struct`, as words: version 3.
const CAPABILITY_VERSION: u32 = 0x2008_0522;

/// The permitted set.
fn capabilities() -> Result<u64, Errno> {
    let (mut header, mut words) = ([CAPABILITY_VERSION, 0], [0u32; 6]);
    // SAFETY: the kernel reads and writes the header, and writes six words.
    Errno::result(unsafe { libc::syscall(libc::SYS_capget, header.as_mut_ptr(), words.as_mut_ptr()) })?;
    Ok(u64::from(words[1]) | u64::from(words[4]) << 32)
}

fn set_capabilities(permitted: u64, effective: u64, inheritable: u64) -> Result<(), Errno> {
    let low = |mask: u64| u32::try_from(mask & 0xffff_ffff).unwrap_or(0);
    let header = [CAPABILITY_VERSION, 0];
    let mut words = [0u32; 6];
    for (half, word) in words.chunks_mut(3).enumerate() {
        for (place, mask) in word.iter_mut().zip([effective, permitted, inheritable]) {
            *place = low(mask >> (32 * half));
        }
    }
    // SAFETY: the kernel reads the header and six words.
    Errno::result(unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), words.as_ptr()) }).map(drop)
}

/// Nothing of the host's stays open but its /dev/null.
fn close_all() {
    // SAFETY: what these numbers belong to is not used any more.
    let closed = unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0) };
    if closed != 0 {
        // Linux before 5.9.
        for number in 3..4096 {
            // SAFETY: as above.
            unsafe { libc::close(number) };
        }
    }
}
