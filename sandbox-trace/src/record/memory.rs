//! Memory that is not used any more goes back to the kernel.

use nix::libc;

/// Gives back what the allocator holds: loading the programs takes many times the memory that recording does.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: this only returns pages that nothing is allocated in.
    unsafe {
        libc::malloc_trim(0);
    }
}
