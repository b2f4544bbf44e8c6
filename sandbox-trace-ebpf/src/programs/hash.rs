//! A hash over what lies in this CPU's working memory: the names that are part of a fact's key.

use core::ffi::c_void;

use sandbox_trace_ebpf::record;

use crate::{
    kernel::{OLD, mix, verified_once},
    maps,
    repeat::repeat,
};

verified_once! {
    hash_record, hash_record_old(hash, at, length) = hash_here;
}

/// The place of a hash over the scratch buffer.
#[repr(C)]
pub struct Hashing {
    hash: u64,
    at: u64,
}

/// Bytes that one step of a hash takes.
pub const HASHED_BYTES: usize = 32;
/// Most steps of one hash: a string has `PATH_MAX` bytes.
const HASH_STEPS: u32 = 4096 / HASHED_BYTES as u32;

unsafe extern "C" fn hash_step(_index: u32, _context: *mut c_void) -> i64 {
    let Some(scratch) = maps::scratch() else { return 1 };
    // SAFETY: only one hash is under way on a CPU. Parts begin at whole words; the mask says so to the verifier.
    unsafe {
        let hashing = &mut (*scratch).hashing;
        let at = hashing.at & !7;
        if at > (record::RECORD_BYTES - HASHED_BYTES) as u64 {
            return 1;
        }
        let words = (&raw const (*scratch).record).cast::<u8>().add(at as usize).cast::<u64>();
        let mut hash = hashing.hash;
        for word in 0..HASHED_BYTES / 8 {
            hash = mix(hash, words.add(word).read_volatile());
        }
        hashing.hash = hash;
        hashing.at = at + HASHED_BYTES as u64;
    }
    0
}

/// Mixes `length` bytes at the aligned place `at` of this CPU's scratch buffer, and the zeros behind them, into a key.
#[inline(always)]
pub fn hash_scratch<const E: u8>(hash: u64, at: u64, length: u64) -> u64 {
    if E == OLD { hash_record_old(hash, at, length) } else { hash_record(hash, at, length) }
}

#[inline(always)]
fn hash_here<const E: u8>(hash: u64, at: u64, length: u64) -> u64 {
    let Some(scratch) = maps::scratch() else { return hash };
    // SAFETY: as in `hash_step`.
    let hashing = unsafe { &mut (*scratch).hashing };
    *hashing = Hashing { hash: mix(hash, length), at };
    repeat::<E, HASH_STEPS>((length as u32).div_ceil(HASHED_BYTES as u32), hash_step);
    hashing.hash
}
