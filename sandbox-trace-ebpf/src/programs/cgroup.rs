//! Membership by cgroup id: for several targets at once, and for a target that does not exist yet. A cgroup that is
//! made while the recorder waits is recorded provisionally from its first task on, and user space says afterwards
//! whether it was the one. One target that exists is tested by [`crate::task`], which is cheaper.

use aya_ebpf::{
    helpers::generated::bpf_get_current_cgroup_id,
    macros::map,
    maps::{Array, HashMap},
};
use sandbox_trace_ebpf::{
    Header, loss,
    membership::{self, MAX_CGROUPS, waiting},
    record::kind,
};

use crate::{
    kernel::{count_loss, load, off},
    ring::Record,
};

/// One of [`membership`]'s modes; user space fills it in before the programs load, so that the code of the other
/// mode is not even verified.
#[unsafe(no_mangle)]
pub static MEMBERSHIP: u32 = membership::BY_TARGET;

/// The cgroups that are recorded, by id: [`membership::PROVISIONAL`] or [`membership::WANTED`].
#[map]
pub static CGROUPS: HashMap<u64, u32> = HashMap::with_max_entries(MAX_CGROUPS, 0);

/// Slot 0: bits of [`membership::waiting`].
#[map]
pub static WAITING: Array<u32> = Array::with_max_entries(1, 0);

/// Whether members are known by their id.
#[inline(always)]
pub fn by_id() -> bool {
    // SAFETY: a static of this program. Volatile: the compiler must not fold the object file's value.
    unsafe { core::ptr::read_volatile(&raw const MEMBERSHIP) == membership::BY_ID }
}

/// Id of the current task's cgroup, in the v2 hierarchy.
#[inline(always)]
pub fn current_id() -> u64 {
    // SAFETY: the helper takes nothing.
    unsafe { bpf_get_current_cgroup_id() }
}

#[inline(always)]
fn state_of(id: u64) -> Option<u32> {
    // SAFETY: a plain number is copied out of the map.
    CGROUPS.get_ptr(id).map(|state| unsafe { *state })
}

/// Whether a cgroup is a member.
#[inline(always)]
pub fn is_member(id: u64) -> bool {
    state_of(id).is_some()
}

/// Id of a cgroup. The directory's inode number in user space.
#[inline(always)]
fn id_of(cgroup: *const u8) -> u64 {
    let node: *const u8 = load(cgroup, off!(cgroup_kn));
    if node.is_null() { 0 } else { load(node, off!(kernfs_id)) }
}

/// Whether a cgroup is in the v2 hierarchy; those of v1 controllers have ids of their own.
#[inline(always)]
fn is_v2(cgroup: *const u8) -> bool {
    let root: *const u8 = load(cgroup, off!(cgroup_root));
    !root.is_null() && load::<u32>(root, off!(cgroup_root_hierarchy)) == 0
}

/// A cgroup was made, and nobody has seen it yet: the kernel shows its directory after this hook.
#[inline(always)]
pub fn made(cgroup: *const u8, path: u64) {
    if !is_v2(cgroup) {
        return;
    }
    let parent: *const u8 = load(cgroup, off!(cgroup_parent));
    let parent: *const u8 = if parent.is_null() { parent } else { load(parent, off!(css_cgroup)) };
    let inherited = if parent.is_null() { None } else { state_of(id_of(parent)) };
    let waiting = WAITING.get(0).is_some_and(|bits| *bits & waiting::NOW != 0);
    let state = match inherited {
        Some(state) => state,
        None if waiting => membership::PROVISIONAL,
        None => return,
    };
    let id = id_of(cgroup);
    if CGROUPS.insert(id, state, 0).is_err() {
        count_loss(loss::CGROUPS_FULL);
        return;
    }
    announce(id, u64::from(state), path);
}

/// Tells user space which cgroup an id is, before anything of it.
#[inline(always)]
fn announce(id: u64, state: u64, path: u64) {
    let Some(mut record) = Record::empty() else { return };
    let header = record.header();
    *header = Header::EMPTY;
    header.kind = kind::CGROUP;
    header.cgroup = id;
    header.args[0] = state;
    let length = record.kernel_string(path);
    record.header().args[1] = length;
    // At once: the sooner it is known whose it is, the less is recorded of others.
    record.send_waking(true);
}

/// A cgroup is removed: it has no tasks any more.
#[inline(always)]
pub fn removed(cgroup: *const u8) {
    if !is_v2(cgroup) {
        return;
    }
    let id = id_of(cgroup);
    let Some(state) = state_of(id) else { return };
    let _ = CGROUPS.remove(id);
    if state == membership::WANTED
        && let Some(bits) = WAITING.get_ptr_mut(0)
    {
        // A container that is started again gets a new cgroup of the same path, too soon for user space to say so.
        // SAFETY: a map slot.
        unsafe {
            if *bits & waiting::AGAIN != 0 {
                *bits |= waiting::NOW;
            }
        }
    }
}
