//! What was sent already, and how often it happened since: the sets, and what this CPU counts by itself.

use core::arch::asm;

use sandbox_trace_ebpf::{
    Header, record,
    seen::{COUNT_LIMIT, RecentCall, SeenFact, SeenSet},
};

use crate::{
    kernel::{unfollowed, verified_once},
    maps::{self, Scratch},
    ring::Record,
};

/// The sets of keys that were sent.
#[derive(Clone, Copy)]
pub enum Seen {
    /// [`maps::CALLS_SEEN`]
    Calls,
    /// [`maps::FILES_SEEN`]
    Files,
}

#[inline(always)]
fn set_of(seen: Seen, key: u64) -> Option<*mut SeenSet> {
    match seen {
        Seen::Calls => maps::CALLS_SEEN.get_ptr_mut((key >> 32) as u32 & (maps::CALL_SETS - 1)),
        Seen::Files => maps::FILES_SEEN.get_ptr_mut((key >> 32) as u32 & (maps::FILE_SETS - 1)),
    }
}

/// The slot of a fact that was sent. Other CPUs may write it: at worst a fact is sent twice.
#[inline(always)]
fn find(seen: Seen, key: u64) -> Option<*mut SeenFact> {
    let set = set_of(seen, key)?.cast::<SeenFact>();
    for way in 0..4 {
        // SAFETY: a set has four slots.
        let slot = unsafe { set.add(way) };
        // SAFETY: a map slot.
        if unsafe { (*slot).key } == key {
            return Some(slot);
        }
    }
    None
}

/// The slot for a fact that is sent now: an empty one, or one that is pushed out.
#[inline(always)]
pub fn place(scratch: *mut Scratch, seen: Seen, key: u64) -> Option<*mut SeenFact> {
    let set = set_of(seen, key)?.cast::<SeenFact>();
    // The key's own bits choose whom to push out.
    let mut chosen = key & 3;
    for way in 0..4 {
        // SAFETY: a map slot, and a set has four. Another CPU may have sent the same fact meanwhile.
        let holder = unsafe { (*set.add(way)).key };
        if holder == 0 || holder == key {
            chosen = way as u64;
            break;
        }
    }
    let chosen = unfollowed(scratch, chosen);
    // SAFETY: a set has four slots.
    Some(unsafe { set.add((chosen & 3) as usize) })
}

/// When it is, in milliseconds of the recording; see [`maps::NOW`].
#[inline(always)]
pub fn now_ms() -> u32 {
    maps::NOW.get(0).copied().unwrap_or(0)
}

verified_once! {
    call_seen(key) = note_call;
    file_seen(key) = note_file;
    recent_changed(key) = change_recent;
}

/// Whether a fact with this key was sent; if so, it happened once more.
#[inline(always)]
pub fn is_seen(seen: Seen, key: u64) -> bool {
    0 != match seen {
        Seen::Calls => call_seen(key),
        Seen::Files => file_seen(key),
    }
}

#[inline(always)]
fn note_call(key: u64) -> u64 {
    u64::from(note(Seen::Calls, key))
}

#[inline(always)]
fn note_file(key: u64) -> u64 {
    u64::from(note(Seen::Files, key))
}

#[inline(always)]
fn note(seen: Seen, key: u64) -> bool {
    let Some(slot) = find(seen, key) else { return false };
    if !add(slot, 1) {
        return false;
    }
    // SAFETY: a map slot.
    unsafe { (*slot).last_ms = now_ms() };
    true
}

/// Adds to a slot's count; false if it would not fit.
#[inline(always)]
fn add(slot: *mut SeenFact, count: u64) -> bool {
    // SAFETY: a map slot; other CPUs may add to it at the same time.
    unsafe {
        if u64::from((*slot).count) + count > COUNT_LIMIT {
            return false;
        }
        // Old BPF adds whole words only: the count is the lower half of one, and does not reach the upper. Written as
        // an instruction because `core` has no atomic addition for a target that can't compare and swap.
        asm!("lock *(u64 *)({slot} + 8) += {count}", slot = in(reg) slot, count = in(reg) count);
    }
    true
}

/// Whether a call with this key was sent; if so, it happened once more. The hot path: a call that this CPU made
/// lately is counted in memory of its own.
#[inline(always)]
pub fn is_call_seen(key: u64) -> bool {
    let Some(recent) = recent_of(key) else { return false };
    // SAFETY: a slot of this CPU.
    unsafe {
        if (*recent).key == key {
            (*recent).count += 1;
            (*recent).last_ms = u64::from(now_ms());
            return true;
        }
    }
    recent_changed(key) != 0
}

#[inline(always)]
fn recent_of(key: u64) -> Option<*mut RecentCall> {
    maps::RECENT.get_ptr_mut((key >> 22) as u32 & (maps::RECENT_CALLS - 1))
}

/// Gives a slot of [`maps::RECENT`] to another call, if that was sent.
#[inline(always)]
fn change_recent(key: u64) -> u64 {
    let Some(recent) = recent_of(key) else { return 0 };
    settle(recent);
    let seen = find(Seen::Calls, key).is_some();
    if seen {
        // SAFETY: a slot of this CPU.
        unsafe { *recent = RecentCall { key, count: 1, last_ms: u64::from(now_ms()) } };
    }
    u64::from(seen)
}

/// Moves what this CPU counted to the fact's slot, or to user space if that is gone.
#[inline(always)]
fn settle(recent: *mut RecentCall) {
    // SAFETY: a slot of this CPU.
    let old = unsafe { *recent };
    if old.count == 0 {
        return;
    }
    // SAFETY: as above.
    unsafe { (*recent).count = 0 };
    if let Some(slot) = find(Seen::Calls, old.key)
        && add(slot, old.count)
    {
        // SAFETY: a map slot.
        unsafe { (*slot).last_ms = old.last_ms as u32 };
        return;
    }
    let Some(mut record) = Record::empty() else { return };
    let header = record.header();
    *header = Header::EMPTY;
    header.kind = record::kind::COUNT;
    header.key = old.key;
    header.args[0] = old.count;
    header.args[1] = old.last_ms;
    record.send();
}
