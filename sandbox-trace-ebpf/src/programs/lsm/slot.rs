//! Working memory for security hooks. Unlike tracepoints they run with preemption on: while one task is interrupted
//! in a hook, another may enter one on the same CPU, or return from a system call. So a hook claims memory of its own.

use core::intrinsics::{AtomicOrdering::SeqCst, atomic_cxchg};

use aya_ebpf::{helpers::generated::bpf_get_current_pid_tgid, macros::map, maps::PerCpuArray};
use sandbox_trace_ebpf::loss;

use crate::kernel::count_loss;

/// 1 when hooks are attached. A constant to the verifier, which drops all of this otherwise.
#[unsafe(no_mangle)]
pub static HOOKS: u32 = 0;

/// Hooks that can be under way on a CPU at a time; user space gives `SCRATCH` one slot more.
const SLOTS: usize = 3;

/// Which task holds which of this CPU's slots.
#[map]
static OWNERS: PerCpuArray<[u64; SLOTS]> = PerCpuArray::with_max_entries(1, 0);

#[inline(always)]
fn attached() -> bool {
    // SAFETY: a static of this program; volatile, so that the object file's 0 is not folded in.
    unsafe { core::ptr::read_volatile(&raw const HOOKS) != 0 }
}

#[inline(always)]
fn me() -> u64 {
    // SAFETY: the helper takes nothing. Thread 0 of each CPU is never in a target, so that 0 is nobody.
    unsafe { bpf_get_current_pid_tgid() }
}

/// The owners' place: slots of this CPU, which the task stays on while a program runs.
#[inline(always)]
fn owners() -> Option<*mut u64> {
    OWNERS.get_ptr_mut(0).map(<*mut [u64; SLOTS]>::cast)
}

/// The slot of the working memory that is the current task's: its claim, or 0, the tracepoints'.
#[inline(always)]
pub fn index() -> u32 {
    if !attached() {
        return 0;
    }
    let Some(owners) = owners() else { return 0 };
    let me = me();
    let mut index = 0;
    for slot in 0..SLOTS {
        // SAFETY: below the length of the array.
        let other = unsafe { owners.add(slot).read_volatile() } ^ me;
        // 1 if `other` is 0, without a branch: the verifier would follow each to the end of the program.
        let mine = 1 - ((other | other.wrapping_neg()) >> 63);
        index += core::hint::black_box(mine) * (slot as u64 + 1);
    }
    index as u32
}

/// Claims a slot for the current task; false, and counted, if all are taken. Without hooks there is nothing to claim.
#[inline(always)]
pub fn claim() -> bool {
    if !attached() {
        return true;
    }
    let Some(owners) = owners() else { return false };
    let me = me();
    for slot in 0..SLOTS {
        // SAFETY: an aligned word below the length of the array, which only this CPU's tasks touch. The kernel has the
        // instruction from 5.12 on; the standard library does not offer it for this target.
        let (_, taken) = unsafe { atomic_cxchg::<u64, { SeqCst }, { SeqCst }>(owners.add(slot), 0, me) };
        if taken {
            return true;
        }
    }
    count_loss(loss::HOOK_BUSY);
    false
}

/// Gives the current task's slot back.
#[inline(always)]
pub fn release() {
    if !attached() {
        return;
    }
    let Some(owners) = owners() else { return };
    let slot = (index() as usize).wrapping_sub(1);
    if slot < SLOTS {
        // SAFETY: below the length of the array, and the current task's own.
        unsafe { owners.add(slot).write_volatile(0) };
    }
}
