//! Reading kernel memory: offsets from the read-only data, direct loads where the verifier knows the type of the
//! pointer, checked reads everywhere else.
//!
//! Some programs exist in two editions, as a `const OLD: bool` says. `OLD` is for kernels before 5.17, which lack
//! `bpf_loop`, `bpf_find_vma`, `bpf_task_pt_regs` (5.15) and `bpf_get_current_task_btf` (5.11).

use core::mem::MaybeUninit;

use aya_ebpf::helpers::generated::{bpf_probe_read_kernel, bpf_probe_read_user};
use sandbox_trace_ebpf::loss;

use crate::maps;

/// The offset of a member. A volatile read: the compiler must not fold the zeros of the object file.
macro_rules! off {
    ($field:ident) => {
        // SAFETY: a static of this program.
        unsafe { core::ptr::read_volatile(&raw const $crate::maps::LAYOUT.$field) as usize }
    };
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
    ($($name:ident($($argument:ident),*) = $body:ident;)*) => {$(
        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $name($($argument: u64),*) -> u64 {
            $body($($argument),*)
        }
    )*};
    ($($name:ident, $old:ident($($argument:ident),*) = $body:ident;)*) => {$(
        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $name($($argument: u64),*) -> u64 {
            $body::<false>($($argument),*)
        }
        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $old($($argument: u64),*) -> u64 {
            $body::<true>($($argument),*)
        }
    )*};
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
pub fn member<const OLD: bool, T: Copy>(base: *const u8, offset: usize) -> T {
    if OLD { read_or_zero(base as u64 + offset as u64) } else { load(base, offset) }
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
