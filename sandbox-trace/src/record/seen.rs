//! When a fact was seen, and by which executables: the part that all kinds of facts have, in few bytes.

use std::mem::size_of;

use sandbox_trace_ebpf::Header;

/// An executable, by its place in the collector's list.
pub type ExeId = u32;

/// First sight, and who.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// When first, on the clock of the facts; 0 is never.
    pub first_ns: u64,
    /// Who.
    pub by: By,
}

impl Seen {
    /// Takes in one more sight. Returns how much memory that took beside the entry itself.
    pub fn add(&mut self, header: &Header, exe: Option<ExeId>) -> usize {
        self.first_ns = earliest(self.first_ns, header.time_ns);
        exe.map_or(0, |exe| self.by.add(exe))
    }

    /// Both together.
    pub fn merge(&mut self, other: &Self) {
        self.first_ns = earliest(self.first_ns, other.first_ns);
        self.by.merge(&other.by);
    }
}

fn earliest(a: u64, b: u64) -> u64 {
    match (a, b) {
        (0, first) | (first, 0) => first,
        (a, b) => a.min(b),
    }
}

/// A sorted set of executables. Most facts have one or two, a shared library may have thousands.
#[derive(Debug, Clone)]
pub enum By {
    /// At most two; [`ExeId::MAX`] is none.
    Few([ExeId; 2]),
    /// More than two.
    #[expect(clippy::box_collection, reason = "it keeps the set as small as its common case")]
    Many(Box<Vec<ExeId>>),
}

impl Default for By {
    fn default() -> Self {
        Self::Few([ExeId::MAX; 2])
    }
}

impl By {
    /// The members, sorted.
    pub fn iter(&self) -> impl Iterator<Item = ExeId> + '_ {
        match self {
            Self::Few(few) => few.as_slice(),
            Self::Many(many) => many.as_slice(),
        }
        .iter()
        .copied()
        .filter(|exe| *exe != ExeId::MAX)
    }

    /// Adds all of another set.
    pub fn merge(&mut self, other: &Self) {
        for exe in other.iter() {
            self.add(exe);
        }
    }

    /// Adds one. Returns how much memory that took beside the set itself.
    pub fn add(&mut self, exe: ExeId) -> usize {
        match self {
            Self::Few([a, _]) if *a == exe => 0,
            Self::Few([_, b]) if *b == exe => 0,
            Self::Few([a, b]) if *b == ExeId::MAX => {
                *b = exe;
                if *b < *a {
                    std::mem::swap(a, b);
                }
                0
            }
            Self::Few(few) => {
                let mut many = few.to_vec();
                many.push(exe);
                many.sort_unstable();
                *self = Self::Many(Box::new(many));
                // The vector, its allocation, and what an allocator adds to each.
                size_of::<Vec<ExeId>>() + size_of::<[ExeId; 8]>() + 16
            }
            Self::Many(many) => match many.binary_search(&exe) {
                Ok(_) => 0,
                Err(place) => {
                    many.insert(place, exe);
                    // Vectors grow by doubling.
                    2 * size_of::<ExeId>()
                }
            },
        }
    }
}

impl FromIterator<ExeId> for By {
    fn from_iter<I: IntoIterator<Item = ExeId>>(all: I) -> Self {
        let mut by = Self::default();
        for exe in all {
            by.add(exe);
        }
        by
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_set_of_executables_is_a_sorted_set(all in prop::collection::vec(0u32..8, 0..12)) {
            let expected: Vec<_> = all.iter().copied().collect::<BTreeSet<_>>().into_iter().collect();
            prop_assert_eq!(all.into_iter().collect::<By>().iter().collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn a_fact_s_share_is_small() {
        assert!(size_of::<Seen>() <= 24);
    }
}
