//! Memory that is not used any more goes back to the kernel.

use nix::libc;

/// Settles how memory is taken, before there are other threads: what is large comes from the kernel by itself and goes
/// back as soon as it is not used (glibc would otherwise learn from the first large thing to keep the next ones), and
/// the threads that load the programs have no stocks of their own.
pub fn settle() {
    #[cfg(target_env = "gnu")]
    // SAFETY: these set numbers of the allocator.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 128 << 10);
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

/// Gives back what the allocator holds: loading the programs takes many times the memory that recording does.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: this only returns pages that nothing is allocated in.
    unsafe {
        libc::malloc_trim(0);
    }
}
