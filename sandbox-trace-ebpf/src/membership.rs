//! How the programs tell whose task it is, and the states of a cgroup while a target is waited for.

/// One target: the task is in or below the cgroup in the map `TARGET`.
pub const BY_TARGET: u32 = 0;
/// Several targets, or one that is waited for: the id of the task's cgroup is in the map `CGROUPS`.
pub const BY_ID: u32 = 1;

/// A member that may be another's: user space does not know it yet.
pub const PROVISIONAL: u32 = 1;
/// A member that is the target, or below it.
pub const WANTED: u32 = 2;

/// Bits of the map `WAITING`.
pub mod waiting {
    /// New cgroups become provisional members, and not only those below members.
    pub const NOW: u32 = 1;
    /// Once a wanted cgroup is removed, wait again.
    pub const AGAIN: u32 = 2;
}

/// Most members at a time.
pub const MAX_CGROUPS: u32 = 16 << 10;
/// Answers that are remembered by the low bits of a cgroup's id, in the map `MEMBERS`; a power of two.
pub const ANSWERS: u32 = 1 << 8;
