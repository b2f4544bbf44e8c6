//! Seccomp filters: which ones judged a call, and their instructions.
//!
//! A call that a filter refuses looks like one that failed. User space tells them apart by running the filters, so
//! it gets the instructions that the kernel keeps of each (`CONFIG_CHECKPOINT_RESTORE`), once. What a filter is
//! called is a hash over its instructions and not its address, which the next filter may have after it.
//!
//! One part of one filter each time that the program runs; it goes on to itself by tail call.

use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use sandbox_trace_ebpf::{
    Header, loss,
    record::{self, FILTER_PART, FILTER_PARTS, FilterPart},
};

use crate::{
    call,
    kernel::{LOOPS, constant, count_loss, mix, must, off, read, read_or_zero},
    maps,
    ring::Record,
    seen::{self, Seen},
    task,
};

/// A chain of filters that is being read.
#[repr(C)]
pub struct Reading {
    /// The key of the call's fact.
    fact: u64,
    /// The key of the address where the chain begins.
    address: u64,
    /// The filter that comes next, and the instruction of it.
    next: u64,
    at: u64,
    /// The key of the chain so far.
    chain: u64,
    /// How many of `parts` are there.
    count: u64,
    /// Instructions of the part that is being read.
    length: u64,
    parts: [FilterPart; FILTER_PARTS],
}

/// Where the chain of filters begins that the current task is under, and a key of that address: good enough to ask
/// whether a fact is new.
#[inline(always)]
pub fn address_key() -> (u64, u64) {
    let filter = read_or_zero::<u64>(task::address() + off!(task_filter) as u64);
    (filter, mix(filter ^ constant!(seed), 3))
}

/// Whether the filters at this address were read lately.
#[inline(always)]
pub fn is_met(address: u64) -> bool {
    slot_of(address).is_some_and(|slot| {
        // SAFETY: a map slot, one word.
        unsafe { *slot == address }
    })
}

#[inline(always)]
fn slot_of(address: u64) -> Option<*mut u64> {
    maps::CHAINS_MET.get_ptr_mut((address >> 32) as u32 & (maps::CHAIN_SLOTS - 1))
}

/// Begins with the filters of a task; the call is in the working memory already.
#[inline(always)]
pub fn begin(fact: u64, filter: u64, address: u64) {
    let Some(scratch) = maps::scratch() else { return };
    // SAFETY: only one call is looked at on a CPU.
    let reading = unsafe { &mut (*scratch).reading };
    reading.fact = fact;
    reading.address = address;
    reading.next = filter;
    reading.at = 0;
    reading.chain = constant!(seed);
    reading.count = 0;
}

/// Reads one part. False when there is none any more.
#[inline(always)]
pub fn read_part() -> bool {
    let Some(scratch) = maps::scratch() else { return false };
    // SAFETY: as in `begin`.
    let reading = unsafe { &mut (*scratch).reading };
    let count = reading.count;
    if reading.next == 0 || count >= FILTER_PARTS as u64 {
        return false;
    }
    let Some((at, length, whole, key)) = part_of(reading) else {
        reading.next = 0;
        return false;
    };
    // SAFETY: below the length by the check above.
    unsafe {
        let part = (&raw mut reading.parts).cast::<FilterPart>().add(count as usize);
        *part = FilterPart { key, at: at as u32, length: length as u32 };
    }
    reading.chain = mix(mix(reading.chain, key), at << 32 | length);
    reading.count = count + 1;
    if at + length < whole {
        reading.at = at + length;
    } else {
        reading.at = 0;
        reading.next = must(read(reading.next + off!(filter_prev) as u64)).unwrap_or(0);
    }
    true
}

/// Reads and sends the part that comes next: where it begins, its length, its filter's length, its key.
#[inline(always)]
fn part_of(reading: &mut Reading) -> Option<(u64, u64, u64, u64)> {
    let program: u64 = must(read(reading.next + off!(filter_prog) as u64))?;
    let kept: u64 = must(read(program + off!(prog_orig) as u64))?;
    if kept == 0 {
        return Some((0, 0, 0, 0));
    }
    let whole = u64::from(must(read::<u16>(kept + off!(fprog_len) as u64))?);
    let instructions: u64 = must(read(kept + off!(fprog_filter) as u64))?;
    let at = reading.at;
    let left = whole.wrapping_sub(at);
    reading.length = if left > FILTER_PART as u64 { FILTER_PART as u64 } else { left };
    let mut record = Record::empty()?;
    let length = record.instructions(instructions + at * 8, &raw const reading.length);
    let key = hash(&record, length, &raw const reading.length);
    if !seen::is_seen(Seen::Calls, key) {
        let (who, _) = call::under_way()?;
        record.fill::<LOOPS>(record::kind::FILTER_PART, who);
        record.header().args[0] = key;
        record.send_new(Seen::Calls, key, false);
    }
    Some((at, length, whole, key))
}

/// A hash over the instructions behind the header. `length` is in memory, so that the verifier does not follow it.
#[inline(always)]
fn hash(record: &Record, length: u64, length_at: *const u64) -> u64 {
    let mut key = mix(constant!(seed), length << 8 | 5);
    for index in 0..FILTER_PART as u64 {
        // SAFETY: this CPU's own memory.
        if index >= unsafe { core::ptr::read_volatile(length_at) } {
            break;
        }
        key = mix(key, record.word(Header::SIZE + index as usize * 8));
    }
    key
}

/// All parts are read: says which chain it is, and then the call. Gives the program that comes next, or 0.
#[inline(always)]
pub fn finish<const E: u8>() -> u32 {
    let Some(scratch) = maps::scratch() else { return 0 };
    // SAFETY: as in `begin`.
    let reading = unsafe { &mut (*scratch).reading };
    let Some((who, call)) = call::under_way() else { return 0 };
    let truncated = reading.next != 0;
    if truncated {
        count_loss(loss::FILTERS_UNREAD);
    }
    let chain = mix(reading.chain, reading.count) | 1;
    let mut known = seen::is_seen(Seen::Calls, chain);
    if !known && let Some(mut record) = Record::empty() {
        record.fill::<LOOPS>(record::kind::FILTER_CHAIN, who);
        record.header().args[0] = chain;
        record.header().args[1] = u64::from(truncated);
        for index in 0..FILTER_PARTS {
            if index as u64 >= reading.count {
                break;
            }
            // SAFETY: below the length.
            let part = unsafe { *(&raw const reading.parts).cast::<FilterPart>().add(index) };
            record.part(index, part);
        }
        known = record.send_new(Seen::Calls, chain, false);
    }
    if known && let Some(slot) = slot_of(reading.address) {
        // SAFETY: a map slot, one word.
        unsafe { *slot = reading.address };
    }
    call::send::<E>(who, call, reading.fact, chain);
    call::program_for::<E>(task::current::<E>(), call)
}

impl Record {
    /// Appends `*count` instructions of kernel memory, at most [`FILTER_PART`]; gives how many.
    #[inline(always)]
    fn instructions(&mut self, address: u64, count: *const u64) -> u64 {
        // SAFETY: this CPU's own memory. Volatile, so that the bound below is applied to what was read.
        let count = unsafe { core::ptr::read_volatile(count) };
        if count > FILTER_PART as u64 {
            return 0;
        }
        // SAFETY: the buffer has room for the header and so many instructions.
        let result = unsafe {
            let at = self.buffer().add(Header::SIZE);
            bpf_probe_read_kernel(at.cast(), (count * 8) as u32, address as *const _)
        };
        if result != 0 {
            count_loss(loss::KERNEL_READ);
            return 0;
        }
        self.set_end(Header::SIZE as u64 + count * 8);
        count
    }

    /// The word at a place in the buffer that is known when the program is loaded.
    #[inline(always)]
    fn word(&self, at: usize) -> u64 {
        // SAFETY: the header and the instructions of a part are in the buffer.
        unsafe { self.buffer().add(at).cast::<u64>().read_volatile() }
    }

    /// Writes one part of a chain.
    #[inline(always)]
    fn part(&mut self, index: usize, part: FilterPart) {
        let at = Header::SIZE + index * size_of::<FilterPart>();
        // SAFETY: the buffer has room for the header and all parts.
        unsafe { self.buffer().add(at).cast::<FilterPart>().write_volatile(part) };
        self.set_end((at + size_of::<FilterPart>()) as u64);
    }
}
