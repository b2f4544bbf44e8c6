//! Which tasks are recorded, and who they are.

use aya_ebpf::helpers::generated::{
    bpf_current_task_under_cgroup, bpf_get_current_pid_tgid, bpf_get_current_task, bpf_get_current_task_btf,
};
use sandbox_trace_ebpf::{layout::ABSENT, record::class};

use crate::{
    cgroup,
    kernel::{OLD, constant, get_or_zero, member, off, read_or_zero},
    maps, place,
};

/// Pointer to the current task. Of a type that the verifier knows, but in the edition for old kernels.
#[inline(always)]
pub fn current<const E: u8>() -> *const u8 {
    // SAFETY: the helpers take nothing and can't fail.
    unsafe {
        if E == OLD { bpf_get_current_task() as *const u8 } else { bpf_get_current_task_btf() as *const u8 }
    }
}

/// The current task as a number, for what is read now and then.
#[inline(always)]
pub fn address() -> u64 {
    // SAFETY: the helper takes nothing and can't fail.
    unsafe { bpf_get_current_task() }
}

/// Id of a task's cgroup, in the v2 hierarchy.
#[inline(always)]
fn cgroup_id<const E: u8>(task: *const u8) -> u64 {
    let css_set: *const u8 = member::<E, _>(task, off!(task_cgroups));
    let cgroup: *const u8 = member::<E, _>(css_set, off!(css_set_dfl_cgrp));
    let node: *const u8 = member::<E, _>(cgroup, off!(cgroup_kn));
    member::<E, _>(node, off!(kernfs_id))
}

/// Whether a task (the current one) is in the target cgroup or below it.
///
/// Every call of every task on the machine asks this, so the answer is kept for each cgroup id (they are not used
/// again, and a cgroup never moves to another parent): a few loads and no helper, whose return alone costs some
/// 10 ns where returns are guarded (SRSO).
#[inline(always)]
fn is_in_target<const E: u8>(task: *const u8) -> bool {
    let id = cgroup_id::<E>(task);
    let Some(known) = maps::MEMBERS.get_ptr_mut(id as u32 & (maps::MEMBER_SLOTS - 1)) else { return false };
    // SAFETY: a map slot. One word is read and written at once: id and answer always belong together.
    unsafe {
        let answer = core::ptr::read_volatile(known);
        if answer >> 1 == id && id != 0 {
            return answer & 1 != 0;
        }
        // The cheapest such helper, and works on every supported kernel (`bpf_get_current_ancestor_cgroup_id` is
        // refused in tracing programs on 5.10).
        let is = if cgroup::by_id() {
            cgroup::is_member(id)
        } else {
            bpf_current_task_under_cgroup((&raw const maps::TARGET).cast_mut().cast(), 0) == 1
        };
        core::ptr::write_volatile(known, id << 1 | u64::from(is));
        is
    }
}

/// Whether a task (the current one) is in the target and recording has begun.
#[inline(always)]
pub fn is_recorded<const E: u8>(task: *const u8) -> bool {
    is_in_target::<E>(task) && maps::BEGIN.get(0).is_some_and(|pid| *pid == 0)
}

/// As [`is_recorded`], at an exec: that begins the recording if this is the process that it waits for.
#[inline(always)]
pub fn is_recorded_from_exec<const E: u8>() -> bool {
    if !is_in_target::<E>(current::<E>()) {
        return false;
    }
    let Some(pid) = maps::BEGIN.get_ptr_mut(0) else { return false };
    // SAFETY: a map slot; only the one process that is waited for gets past the comparison.
    unsafe {
        if *pid == (bpf_get_current_pid_tgid() >> 32) as u32 {
            *pid = 0;
        }
        *pid == 0
    }
}

/// Who a task is: what image it runs, where, and under which filters.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Who {
    /// The executable's key: its inode and the mount that it was reached by. 0 if the task has no image any more.
    pub exe: u64,
    /// `exe` and all that [`class_of`] depends on, so that a fact is sent again when that changes.
    pub key: u64,
    /// How many seccomp filters are in force.
    pub filters: u64,
}

impl Who {
    /// Whether any seccomp filter is in force.
    #[inline(always)]
    pub fn is_filtered(&self) -> bool {
        self.filters != 0
    }
}

/// Multipliers that keep the parts of a key apart; they are summed, so that the processor multiplies at once what a
/// chain of [`crate::kernel::mix`] would make it wait for.
const PARTS: [u64; 5] = [
    0x9e37_79b9_7f4a_7c15,
    0xc2b2_ae3d_27d4_eb4f,
    0x1656_67b1_9e37_79f9,
    0xd6e8_feb8_6659_fd93,
    0xff51_afd7_ed55_8ccd,
];

/// A kernel pointer as a number that identifies it. The verifier allows no other arithmetic on typed pointers than
/// a difference; the other operand is an address that stays the same for the life of the program. A pointer without
/// a type is a number already.
#[inline(always)]
fn identity<const E: u8>(pointer: *const u8) -> u64 {
    if E == OLD { pointer as u64 } else { (pointer as u64).wrapping_sub((&raw const maps::LAYOUT) as u64) }
}

/// The file that a task's image was started from; 0 if it has none any more.
#[inline(always)]
pub fn image<const E: u8>(task: u64) -> u64 {
    let mm: u64 = get_or_zero::<E, _>(task + off!(task_mm) as u64);
    if mm == 0 { 0 } else { get_or_zero::<E, _>(mm + off!(mm_exe_file) as u64) }
}

/// How many seccomp filters a task has; before Linux 5.11, which does not count them, 1 if any.
#[inline(always)]
fn filters<const E: u8>(task: *const u8) -> u64 {
    if E == OLD && off!(task_filter_count) as u32 == ABSENT {
        u64::from(read_or_zero::<u64>(task as u64 + off!(task_filter) as u64) != 0)
    } else {
        u64::from(member::<E, u32>(task, off!(task_filter_count)))
    }
}

/// A handful of direct loads; no helper is called but in the edition for old kernels.
#[inline(always)]
pub fn identify<const E: u8>(task: *const u8) -> Who {
    let filters = filters::<E>(task);
    let mut who = Who { exe: 0, key: 0, filters };
    let mm: *const u8 = member::<E, _>(task, off!(task_mm));
    if !mm.is_null() {
        let file: *const u8 = member::<E, _>(mm, off!(mm_exe_file));
        if !file.is_null() {
            let inode: *const u8 = member::<E, _>(file, off!(file_inode));
            let mnt: *const u8 = member::<E, _>(file, off!(file_mnt));
            let inode = (identity::<E>(inode) ^ constant!(seed)).wrapping_mul(PARTS[0]);
            who.exe = inode.wrapping_add(identity::<E>(mnt).wrapping_mul(PARTS[1]));
        }
    }
    // Spread over all bits: what comes next is combined by exclusive or, and a number that is one more would make one
    // call under a filter look like its neighbour without.
    who.key = who.exe.wrapping_add(filters.wrapping_mul(PARTS[4]));
    if cgroup::by_id() {
        // While nobody knows whose a cgroup is, its facts must not hide another's.
        who.key = who.key.wrapping_add(cgroup_id::<E>(task).wrapping_mul(PARTS[3]));
    }
    let nsproxy: *const u8 = member::<E, _>(task, off!(task_nsproxy));
    if !nsproxy.is_null() {
        let mnt_ns = identity::<E>(member::<E, _>(nsproxy, off!(nsproxy_mnt_ns)));
        who.key = who.key.wrapping_add(mnt_ns.wrapping_mul(PARTS[2]));
    }
    who
}

/// [`identify`] for the current task. The keys of the two editions are not the same.
#[inline(always)]
pub fn identify_current<const E: u8>() -> Who {
    identify::<E>(current::<E>())
}

/// Remembers what image the current process runs, where that must be known when it ends.
#[inline(always)]
pub fn note(who: &Who) {
    if constant!(forgets_images) == 0 {
        return;
    }
    // SAFETY: the helper takes nothing.
    let pids = unsafe { bpf_get_current_pid_tgid() };
    let _ = maps::PROCESSES.insert((pids >> 32) as u32, who.exe, 0);
}

/// [`identify_current`] for a task that ends: before Linux 6.16 it has no image any more when that is told.
#[inline(always)]
pub fn identify_last<const E: u8>() -> Who {
    let mut who = identify_current::<E>();
    if who.exe == 0 {
        // SAFETY: the helper takes nothing.
        let pids = unsafe { bpf_get_current_pid_tgid() };
        if let Some(exe) = maps::PROCESSES.get_ptr((pids >> 32) as u32) {
            // SAFETY: a plain number is copied out of the map.
            who.exe = unsafe { *exe };
            // As `identify` makes it.
            who.key = who.key.wrapping_add(who.exe);
        }
    }
    who
}

/// Inode number of the mount namespace that a task is in, 0 if it is in none any more.
#[inline(always)]
pub fn mount_namespace_of<const E: u8>(task: u64) -> u32 {
    let nsproxy: u64 = get_or_zero::<E, _>(task + off!(task_nsproxy) as u64);
    if nsproxy == 0 {
        return 0;
    }
    namespace_inum::<E>(get_or_zero::<E, _>(nsproxy + off!(nsproxy_mnt_ns) as u64))
}

/// Inode number of a mount namespace, 0 if there is none.
#[inline(always)]
pub fn namespace_inum<const E: u8>(mnt_ns: u64) -> u32 {
    if mnt_ns == 0 { 0 } else { get_or_zero::<E, _>(mnt_ns + off!(mnt_ns_inum) as u64) }
}

/// Inode number of the namespace that a mount is attached in; 0 for a detached or kernel-internal mount.
#[inline(always)]
pub fn mount_namespace_inum<const E: u8>(mnt: u64) -> u32 {
    if mnt == 0 {
        return 0;
    }
    let ns: u64 = get_or_zero::<E, _>(mnt - off!(mount_mnt) as u64 + off!(mount_ns) as u64);
    namespace_inum::<E>(ns)
}

/// Where the task stands; costs reads, so it is asked for new facts only.
#[inline(always)]
pub fn class_of<const E: u8>(exe: u64, filters: u64) -> u8 {
    let filtered = if filters > u64::from(constant!(base_filters)) { class::FILTERED } else { 0 };
    let task = address();
    let elsewhere =
        if mount_namespace_of::<E>(task) == constant!(host_mnt_ns) { 0 } else { class::ELSEWHERE };
    place::of::<E>(task, exe) | elsewhere | filtered
}
