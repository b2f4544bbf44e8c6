//! The hooks of the security modules: what AppArmor is asked, with the names that it sees, whoever asks (io_uring and
//! the kernel itself included). The programs run when a hook returns, so that a refusal is seen too.
//!
//! Left out because AppArmor grants or skips them: `inode_getattr` (granted to every path that has a name) and
//! `file_permission` (asked again only of files that another profile opened).

mod capability;
mod file;
pub mod object;
mod path;
pub mod slot;
mod socket;

use self::object::Asked;
use crate::{kernel::LOOPS, task};

/// Sends what a hook was asked, if the current task is recorded. `ask` finds out what that was.
#[inline(always)]
fn recorded(ask: impl FnOnce() -> Option<Asked>) -> i32 {
    if task::is_recorded::<LOOPS>(task::current::<LOOPS>())
        && let Some(asked) = ask()
        && slot::claim()
    {
        object::send(&asked);
        slot::release();
    }
    0
}
