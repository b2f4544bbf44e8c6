//! Which tasks are recorded, and who they are.

use aya_ebpf::helpers::generated::{
    bpf_current_task_under_cgroup, bpf_get_current_pid_tgid, bpf_get_current_task_btf,
};
use sandbox_trace_ebpf::record::class;

use crate::{
    kernel::{constant, load, off, read},
    maps,
};

/// Whether the current task is in the target cgroup or below it. The cheapest such test, and works on every
/// supported kernel (`bpf_get_current_ancestor_cgroup_id` is refused in tracing programs on 5.10).
#[inline(always)]
pub fn is_in_target() -> bool {
    // SAFETY: a map of this program.
    unsafe { bpf_current_task_under_cgroup((&raw const maps::TARGET).cast_mut().cast(), 0) == 1 }
}

/// Whether the current task is in the target and recording has begun.
#[inline(always)]
pub fn is_recorded() -> bool {
    is_in_target() && maps::BEGIN.get(0).is_some_and(|pid| *pid == 0)
}

/// At an exec: begins the recording if this is the process that it waits for; whether it has begun.
#[inline(always)]
pub fn begins_at_exec() -> bool {
    let Some(pid) = maps::BEGIN.get_ptr_mut(0) else { return false };
    // SAFETY: a map slot; only the one process that is waited for gets past the comparison.
    unsafe {
        if *pid == (bpf_get_current_pid_tgid() >> 32) as u32 {
            *pid = 0;
        }
        *pid == 0
    }
}

/// Pointer to the current task, of a type that the verifier knows (Linux 5.11).
#[inline(always)]
pub fn current() -> *const u8 {
    // SAFETY: the helper takes nothing and can't fail.
    unsafe { bpf_get_current_task_btf() as *const u8 }
}

/// Who a task is: what image it runs, where, and under which filters.
pub struct Who {
    /// The executable's key: its inode and the mount that it was reached by. 0 if the task has no image any more.
    pub exe: u64,
    /// `exe` and all that [`class_of`] depends on, so that a fact is sent again when that changes.
    pub key: u64,
    filters: u32,
}

/// Multipliers that keep the parts of a key apart; they are summed, so that the processor multiplies at once what a
/// chain of [`crate::kernel::mix`] would make it wait for.
const PARTS: [u64; 3] = [0x9e37_79b9_7f4a_7c15, 0xc2b2_ae3d_27d4_eb4f, 0x1656_67b1_9e37_79f9];

/// A kernel pointer as a number that identifies it. The verifier allows no other arithmetic on typed pointers than
/// a difference; the other operand is an address that stays the same for the life of the program.
#[inline(always)]
fn identity(pointer: *const u8) -> u64 {
    (pointer as u64).wrapping_sub((&raw const maps::LAYOUT) as u64)
}

/// The file that a task's image was started from; null if it has none any more.
#[inline(always)]
pub fn image(task: *const u8) -> *const u8 {
    let mm: *const u8 = load(task, off!(task_mm));
    if mm.is_null() {
        return core::ptr::null();
    }
    load(mm, off!(mm_exe_file))
}

/// A handful of direct loads; no helper is called.
#[inline(always)]
pub fn identify(task: *const u8) -> Who {
    let filters: u32 = load(task, off!(task_filter_count));
    let mut who = Who { exe: 0, key: 0, filters };
    let file = image(task);
    if !file.is_null() {
        let inode: *const u8 = load(file, off!(file_inode));
        let mnt: *const u8 = load(file, off!(file_mnt));
        let inode = (identity(inode) ^ constant!(seed)).wrapping_mul(PARTS[0]);
        who.exe = inode.wrapping_add(identity(mnt).wrapping_mul(PARTS[1]));
    }
    who.key = who.exe ^ u64::from(filters);
    let nsproxy: *const u8 = load(task, off!(task_nsproxy));
    if !nsproxy.is_null() {
        let mnt_ns = identity(load(nsproxy, off!(nsproxy_mnt_ns)));
        who.key = who.key.wrapping_add(mnt_ns.wrapping_mul(PARTS[2]));
    }
    who
}

/// Inode number of the mount namespace that a task is in, 0 if it is in none any more.
#[inline(always)]
pub fn mount_namespace_of(task: *const u8) -> u32 {
    let nsproxy: u64 = load(task, off!(task_nsproxy));
    if nsproxy == 0 {
        return 0;
    }
    namespace_inum(read(nsproxy + off!(nsproxy_mnt_ns) as u64).unwrap_or(0))
}

/// Inode number of a mount namespace, 0 if there is none.
#[inline(always)]
pub fn namespace_inum(mnt_ns: u64) -> u32 {
    if mnt_ns == 0 { 0 } else { read(mnt_ns + off!(mnt_ns_inum) as u64).unwrap_or(0) }
}

/// Inode number of the namespace that a mount is attached in; 0 for a detached or kernel-internal mount.
#[inline(always)]
pub fn mount_namespace_inum(mnt: u64) -> u32 {
    if mnt == 0 {
        return 0;
    }
    let ns = read::<u64>(mnt - off!(mount_mnt) as u64 + off!(mount_ns) as u64).unwrap_or(0);
    namespace_inum(ns)
}

/// Where the task stands; costs reads, so it is asked for new facts only.
#[inline(always)]
pub fn class_of(who: &Who) -> u8 {
    let task = current();
    let host = constant!(host_mnt_ns);
    let filtered = if who.filters > constant!(base_filters) { class::FILTERED } else { 0 };
    if mount_namespace_of(task) == host {
        return class::HOST | filtered;
    }
    let file = image(task);
    let mnt = if file.is_null() { 0 } else { read(file as u64 + off!(file_mnt) as u64).unwrap_or(0) };
    let image = mount_namespace_inum(mnt);
    // An image on a mount of the host's namespace was carried in: the runtime's. One on a mount of another
    // namespace was started there. One on a detached mount or a memfd is either; its exec told which.
    let inside = if image == 0 { maps::INSIDE.get_ptr(who.exe).is_some() } else { image != host };
    (if inside { class::INSIDE } else { class::SETUP }) | filtered
}
