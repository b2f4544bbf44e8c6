//! The reader comes first: it sleeps most of the time, and what it does not fetch in time the ring can't hold.

use nix::{errno::Errno, libc};

/// Lets this thread run as soon as it has something to do, however busy the target keeps the machine. What it starts
/// from now on, threads and processes, is like any other.
///
/// A host that does not allow it is told in the log, and recorded on all the same.
pub fn raise() {
    if let Err(error) = set(libc::SCHED_RR, 1) {
        tracing::info!("the reader has no priority over the target: {error}");
    }
}

/// This thread is like any other again: nothing can be missed any more, and there may be much to write.
pub fn lower() {
    if let Err(error) = set(libc::SCHED_OTHER, 0) {
        tracing::info!("the reader keeps its priority: {error}");
    }
}

fn set(policy: libc::c_int, priority: libc::c_int) -> nix::Result<()> {
    let priority = libc::sched_param { sched_priority: priority };
    // SAFETY: the kernel reads the one structure before the call returns.
    let result =
        unsafe { libc::sched_setscheduler(0, policy | libc::SCHED_RESET_ON_FORK, &raw const priority) };
    Errno::result(result).map(drop)
}
