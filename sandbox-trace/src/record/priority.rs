//! The reader comes first: it sleeps most of the time, and what it does not fetch in time the ring can't hold.

use nix::{errno::Errno, libc};

/// Lets this thread run as soon as it has something to do, however busy the target keeps the machine. What it starts
/// from now on, threads and processes, is like any other.
///
/// A host that does not allow it is told in the log, and recorded on all the same.
pub fn raise() {
    let policy = libc::SCHED_RR | libc::SCHED_RESET_ON_FORK;
    let priority = libc::sched_param { sched_priority: 1 };
    // SAFETY: the kernel reads the one structure before the call returns.
    if let Err(error) = Errno::result(unsafe { libc::sched_setscheduler(0, policy, &raw const priority) }) {
        tracing::info!("the reader has no priority over the target: {error}");
    }
}
