//! Reading kernel memory: offsets that user space fills in, direct loads where the verifier knows the type of the
//! pointer or takes our word for it, checked reads everywhere else.
//!
//! Some programs exist in several editions, as a `const E: u8` says: [`OLD`], [`LOOPS`] and [`CAST`].

use core::{arch::asm, mem::MaybeUninit};

use aya_ebpf::helpers::generated::{bpf_probe_read_kernel, bpf_probe_read_user};
use sandbox_trace_ebpf::loss;

use crate::maps::{self, Scratch};

/// The edition for kernels before 5.17, which lack `bpf_loop`, `bpf_find_vma`, `bpf_task_pt_regs` (5.15) and
/// `bpf_get_current_task_btf` (5.11).
pub const OLD: u8 = 0;
/// The edition for kernels that have these.
pub const LOOPS: u8 = 1;
/// The edition for kernels that have `bpf_rdonly_cast` too (6.2): they load what the others ask a helper to read.
/// Only the programs that read much have it.
pub const CAST: u8 = 2;

/// The offset of a member: a number that user space puts into the instruction. Not a pure one for the compiler: it would
/// keep what is cheaper to make again.
macro_rules! off {
    ($field:ident) => {{
        let offset: u64;
        // SAFETY: this only moves a number to a register.
        unsafe {
            core::arch::asm!(
                "{offset} = {number}",
                offset = out(reg) offset,
                number = const sandbox_trace_ebpf::layout::offset_number(
                    core::mem::offset_of!(sandbox_trace_ebpf::KernelLayout, $field)
                ),
                options(nomem, nostack, preserves_flags),
            );
        }
        offset as usize
    }};
}
pub(crate) use off;

/// A constant of the recording, as wide as it is.
macro_rules! constant {
    ($field:ident) => {
        // SAFETY: a static of this program.
        unsafe { core::ptr::read_volatile(&raw const $crate::maps::LAYOUT.$field) }
    };
}
pub(crate) use constant;

/// Makes functions that the verifier looks at once, and not at every call: "global" ones, with numbers for arguments and
/// a number for a result, and nothing known of either. Calls of any other function cost all of its ways each time, and
/// what follows once more for each way. `name(arguments) = body;`, or with a name for each edition.
macro_rules! verified_once {
    ($($name:ident($($argument:ident),*) = $body:expr;)*) => {$(
        verified_once!(@one $name($($argument),*) = $body);
    )*};
    ($($name:ident, $old:ident($($argument:ident),*) = $body:ident;)*) => {$(
        verified_once!(@one $name($($argument),*) = $body::<{ $crate::kernel::LOOPS }>);
        verified_once!(@one $old($($argument),*) = $body::<{ $crate::kernel::OLD }>);
    )*};
    ($($name:ident, $old:ident, $cast:ident($($argument:ident),*) = $body:ident;)*) => {$(
        verified_once!(@one $name($($argument),*) = $body::<{ $crate::kernel::LOOPS }>);
        verified_once!(@one $old($($argument),*) = $body::<{ $crate::kernel::OLD }>);
        verified_once!(@one $cast($($argument),*) = $body::<{ $crate::kernel::CAST }>);
    )*};
    (@one $name:ident($($argument:ident),*) = $body:expr) => {
        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $name($($argument: u64),*) -> u64 {
            $body($($argument),*)
        }
    };
}
pub(crate) use verified_once;

/// Loads a member of a structure whose type the verifier knows. Such loads can't fault: the kernel gives 0.
#[inline(always)]
pub fn load<T: Copy>(base: *const u8, offset: usize) -> T {
    // SAFETY: the verifier checks the access against the kernel's BTF.
    unsafe { core::ptr::read_volatile(base.add(offset).cast::<T>()) }
}

/// A member, loaded where the edition's pointers have types, else read; 0 where there is nothing to read.
#[inline(always)]
pub fn member<const E: u8, T: Copy>(base: *const u8, offset: usize) -> T {
    if E == OLD { read_or_zero(base as u64 + offset as u64) } else { load(base, offset) }
}

/// Reads kernel memory at an address of unknown type; `None` if it isn't readable.
#[inline(always)]
pub fn read<T: Copy>(address: u64) -> Option<T> {
    let mut value = MaybeUninit::<T>::uninit();
    // SAFETY: the helper writes size_of::<T>() bytes, zeros when it fails.
    let result = unsafe {
        bpf_probe_read_kernel(value.as_mut_ptr().cast(), size_of::<T>() as u32, address as *const _)
    };
    // SAFETY: T is plain integers or pointers at every call, and the helper has written all of it.
    (result == 0).then(|| unsafe { value.assume_init() })
}

/// As [`read`], with the zeros that the helper leaves when it fails.
#[inline(always)]
pub fn read_or_zero<T: Copy>(address: u64) -> T {
    let mut value = MaybeUninit::<T>::uninit();
    // SAFETY: as in `read`.
    unsafe {
        bpf_probe_read_kernel(value.as_mut_ptr().cast(), size_of::<T>() as u32, address as *const _);
        value.assume_init()
    }
}

/// A pointer that the verifier lets everybody load from: it takes the type of what is there on trust, and a load that
/// faults gives 0. The call is one instruction when the kernel is done with it.
#[inline(always)]
pub fn trusted(address: u64) -> *const u8 {
    let pointer: *const u8;
    let bytes_type = u64::from(constant!(bytes_type));
    // SAFETY: user space has put the function's number where `CAST_CALL` was. Calls leave these registers in any
    // state.
    unsafe {
        asm!(
            "call {number}",
            number = const sandbox_trace_ebpf::program::CAST_CALL,
            inlateout("r1") address => _,
            inlateout("r2") bytes_type => _,
            lateout("r0") pointer,
            lateout("r3") _,
            lateout("r4") _,
            lateout("r5") _,
        );
    }
    pointer
}

/// Stores a word anywhere. An instruction, because the compiler would make eight of it: it does not know that the
/// processor can.
///
/// # Safety
/// `to` must have room for it.
#[inline(always)]
pub unsafe fn store_unaligned(to: *mut u8, word: u64) {
    // SAFETY: the caller's.
    unsafe { asm!("*(u64 *)({to} + 0) = {word}", to = in(reg) to, word = in(reg) word) };
}

/// Reads kernel memory in the way of the edition, up to 32 bytes; `None` if it isn't readable and the edition can tell,
/// zeros if it can't.
#[inline(always)]
pub fn get<const E: u8, T: Copy>(address: u64) -> Option<T> {
    const WORD: usize = size_of::<u64>();
    const { assert!(size_of::<T>() <= WORD || (size_of::<T>() <= 4 * WORD && size_of::<T>() % WORD == 0)) };
    if E != CAST {
        return read(address);
    }
    let base = trusted(address);
    if size_of::<T>() <= WORD {
        return Some(load(base, 0));
    }
    let mut value = MaybeUninit::<T>::uninit();
    let words = value.as_mut_ptr().cast::<u64>();
    for word in 0..4 {
        if word < size_of::<T>() / WORD {
            // SAFETY: T is whole words, and this is one of them.
            unsafe { words.add(word).write(load(base, word * WORD)) };
        }
    }
    // SAFETY: as in `read`.
    Some(unsafe { value.assume_init() })
}

/// Reads a pointer that is never null; `None` if it can't be read, in every edition.
#[inline(always)]
pub fn pointer<const E: u8>(address: u64) -> Option<u64> {
    get::<E, u64>(address).filter(|pointer| *pointer != 0)
}

/// As [`get`], with zeros for what isn't readable.
#[inline(always)]
pub fn get_or_zero<const E: u8, T: Copy>(address: u64) -> T {
    if E != CAST { read_or_zero(address) } else { load(trusted(address), 0) }
}

/// Reads the target's memory; `None` if it isn't readable now.
#[inline(always)]
pub fn read_user<T: Copy>(address: u64) -> Option<T> {
    let mut value = MaybeUninit::<T>::uninit();
    // SAFETY: as in `read`.
    let result =
        unsafe { bpf_probe_read_user(value.as_mut_ptr().cast(), size_of::<T>() as u32, address as *const _) };
    // SAFETY: as in `read`.
    (result == 0).then(|| unsafe { value.assume_init() })
}

/// Fills an integer, or what is whole words of them, with zeros, a word at a time: the compiler would call `memset`, which
/// goes byte by byte.
#[inline(always)]
pub fn clear<T: Copy>(place: &mut T) {
    let place = &raw mut *place;
    // SAFETY: inside of `place`, and zeros are a value of all types that this is called with: integers.
    unsafe {
        if size_of::<T>() == size_of::<u32>() {
            place.cast::<u32>().write_volatile(0);
        }
        for word in 0..size_of::<T>() / size_of::<u64>() {
            place.cast::<u64>().add(word).write_volatile(0);
        }
    }
}

/// The same value, by way of memory that the verifier does not follow: so that two ways to get here, with different
/// values, go on as one. Without it every branch doubles all that comes behind it.
#[inline(always)]
pub fn unfollowed(scratch: *mut Scratch, value: u64) -> u64 {
    // SAFETY: this CPU's own.
    unsafe {
        core::ptr::write_volatile(&raw mut (*scratch).passing, value);
        core::ptr::read_volatile(&raw const (*scratch).passing)
    }
}

/// Counts something that was lost; see [`loss`].
#[inline(always)]
pub fn count_loss(which: u32) {
    if let Some(counter) = maps::LOSSES.get_ptr_mut(which) {
        // SAFETY: a per-CPU slot.
        unsafe { *counter += 1 };
    }
}

/// Reads and counts what can't be read as a loss.
#[inline(always)]
pub fn must<T>(value: Option<T>) -> Option<T> {
    if value.is_none() {
        count_loss(loss::KERNEL_READ);
    }
    value
}

/// One step of the key hash: multiply and fold, three instructions.
#[inline(always)]
pub fn mix(hash: u64, value: u64) -> u64 {
    let hash = (hash ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    hash ^ (hash >> 29)
}
