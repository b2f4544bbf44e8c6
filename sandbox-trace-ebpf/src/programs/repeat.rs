//! Loops that the verifier accepts.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_loop;

use crate::kernel::OLD;

/// A step of a loop: gives 0 to go on. Its state is in this CPU's working memory.
pub type Step = unsafe extern "C" fn(u32, *mut c_void) -> i64;

/// Runs `step` up to `times`, or `MOST`, times; gives how often it ran.
#[inline(always)]
pub fn repeat<const E: u8, const MOST: u32>(times: u32, step: Step) -> u32 {
    let times = if times > MOST { MOST } else { times };
    if E != OLD {
        // SAFETY: the steps ignore their context.
        return unsafe { bpf_loop(times, step as *mut c_void, core::ptr::null_mut(), 0) } as u32;
    }
    // The verifier walks through every iteration; what a step leaves is in a map, where it does not look.
    let mut ran = 0;
    while ran < MOST {
        // SAFETY: as above.
        if ran >= times || unsafe { step(ran, core::ptr::null_mut()) } != 0 {
            break;
        }
        ran += 1;
    }
    ran
}
