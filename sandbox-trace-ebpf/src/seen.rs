//! What was sent already, and how often it happened since: sets of slots in maps. A set is never full: a key that
//! wants in pushes another out, whose count goes to user space with the record of the new one; if the old one happens
//! again, it is only sent again.

/// A fact that was sent.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct SeenFact {
    /// Its key; 0 for an empty slot.
    pub key: u64,
    /// How often it happened, as far as it is not counted elsewhere.
    pub count: u32,
    /// When it happened last, in milliseconds of the recording.
    pub last_ms: u32,
}

impl SeenFact {
    /// An empty slot.
    pub const NONE: Self = Self { key: 0, count: 0, last_ms: 0 };
}

/// Slots of the same index: one cache line.
pub type SeenSet = [SeenFact; 4];

/// A call that a CPU made lately. It is in a [`SeenSet`] too, or was.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct RecentCall {
    /// Its key; 0 for an empty slot.
    pub key: u64,
    /// How often this CPU made it and has not told the set.
    pub count: u64,
    /// When, in milliseconds of the recording.
    pub last_ms: u64,
}

// SAFETY: integers without padding.
#[cfg(feature = "user")]
unsafe impl aya::Pod for SeenFact {}
// SAFETY: integers without padding.
#[cfg(feature = "user")]
unsafe impl aya::Pod for RecentCall {}

/// A set's counts are moved to user space at this value, long before they overflow.
pub const COUNT_LIMIT: u64 = 1 << 30;
