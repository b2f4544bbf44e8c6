//! Room for many small things: lists that grow without being copied, and an index that finds an entry by its content.
//!
//! A recording of a million paths must not need twice its memory each time that a list is full, which is what a `Vec`
//! and a `HashMap` of it do. Nothing here knows what is stored.

use std::{
    hash::{BuildHasher as _, Hash},
    mem::size_of,
};

use foldhash::quality::RandomState;

/// A list that grows by blocks; entries are never moved once there is a second block.
#[derive(Debug)]
pub struct Blocks<T> {
    blocks: Vec<Vec<T>>,
}

impl<T> Default for Blocks<T> {
    fn default() -> Self {
        Self { blocks: Vec::new() }
    }
}

impl<T> Blocks<T> {
    const BLOCK: usize = 4096;

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.blocks.last().map_or(0, |last| (self.blocks.len() - 1) * Self::BLOCK + last.len())
    }

    /// The number that the next entry gets, if there is one left.
    pub fn next(&self) -> Option<u32> {
        // The last number stands for "none" in the index.
        u32::try_from(self.len()).ok().filter(|n| *n < u32::MAX - 1)
    }

    /// Adds an entry.
    pub fn push(&mut self, entry: T) {
        match self.blocks.last_mut() {
            Some(last) if last.len() < Self::BLOCK => last.push(entry),
            last => {
                // The first block grows as it must: most recordings are small.
                let room = if last.is_some() { Self::BLOCK } else { 0 };
                let mut block = Vec::with_capacity(room);
                block.push(entry);
                self.blocks.push(block);
            }
        }
    }

    /// The entry of this number.
    pub fn get(&self, number: u32) -> Option<&T> {
        let number = number as usize;
        self.blocks.get(number / Self::BLOCK)?.get(number % Self::BLOCK)
    }

    /// The entry of this number, to be changed.
    pub fn get_mut(&mut self, number: u32) -> Option<&mut T> {
        let number = number as usize;
        self.blocks.get_mut(number / Self::BLOCK)?.get_mut(number % Self::BLOCK)
    }

    /// All entries, in the order of their numbers.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.blocks.iter().flatten()
    }

    /// The memory that the entries take.
    pub fn bytes(&self) -> usize {
        self.len() * size_of::<T>()
    }
}

/// Finds the number of an entry by its hash: open addressing over numbers, each with half of its hash, so that other
/// entries are not looked at in vain. The hash is keyed anew in each run, as the target chooses what is hashed.
///
/// It has many parts that grow one at a time. To make a table of a million twice as large takes longer than a full ring
/// of records waits.
#[derive(Debug)]
pub struct Index {
    parts: Vec<Part>,
    /// Slots of all parts.
    slots: usize,
    keys: RandomState,
}

/// The entries whose hashes end in the same bits.
#[derive(Debug, Default)]
struct Part {
    /// A power of two of them, or none.
    slots: Vec<Slot>,
    count: usize,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    /// The upper half of the hash.
    half: u32,
    entry: u32,
}

impl Slot {
    const EMPTY: Self = Self { half: 0, entry: u32::MAX };

    fn is_empty(self) -> bool {
        self.entry == u32::MAX
    }
}

impl Default for Index {
    fn default() -> Self {
        let parts = (0..Self::PARTS).map(|_| Part::default()).collect();
        Self { parts, slots: 0, keys: RandomState::default() }
    }
}

impl Index {
    const PARTS: u64 = 256;

    /// The hash of a key.
    pub fn hash(&self, key: &impl Hash) -> u64 {
        self.keys.hash_one(key)
    }

    /// The entry with this hash for which `same` says yes.
    pub fn find(&self, hash: u64, same: impl Fn(u32) -> bool) -> Option<u32> {
        let (part, half) = Self::cut(hash);
        let slots = self.parts.get(part)?.probe(half).take_while(|slot| !slot.is_empty());
        slots.filter(|slot| slot.half == half).map(|slot| slot.entry).find(|entry| same(*entry))
    }

    /// Adds an entry that is not there.
    pub fn insert(&mut self, hash: u64, entry: u32) {
        let (part, half) = Self::cut(hash);
        if let Some(part) = self.parts.get_mut(part) {
            self.slots += part.make_room();
            part.place(Slot { half, entry });
            part.count += 1;
        }
    }

    /// The number of a hash's part, and what chooses the slot in it.
    fn cut(hash: u64) -> (usize, u32) {
        ((hash % Self::PARTS) as usize, (hash >> 32) as u32)
    }

    /// The memory that the index takes.
    pub fn bytes(&self) -> usize {
        self.slots * size_of::<Slot>()
    }
}

impl Part {
    /// Grows if one more would be too many; gives by how many slots.
    fn make_room(&mut self) -> usize {
        let before = self.slots.len();
        if (self.count + 1) * 4 <= before * 3 {
            return 0;
        }
        let room = (before * 2).max(4);
        let old = std::mem::replace(&mut self.slots, vec![Slot::EMPTY; room]);
        old.into_iter().filter(|slot| !slot.is_empty()).for_each(|slot| self.place(slot));
        room - before
    }

    fn place(&mut self, slot: Slot) {
        let start = start(slot.half, self.slots.len());
        let (before, after) = self.slots.split_at_mut(start);
        if let Some(place) = after.iter_mut().chain(before).find(|slot| slot.is_empty()) {
            *place = slot;
        }
    }

    fn probe(&self, half: u32) -> impl Iterator<Item = Slot> {
        let (before, after) = self.slots.split_at(start(half, self.slots.len()));
        after.iter().chain(before).copied()
    }
}

/// Where to look first among so many slots, a power of two or none.
fn start(half: u32, slots: usize) -> usize {
    half as usize & slots.saturating_sub(1)
}

/// Entries by key, in the order in which they came.
#[derive(Debug)]
pub struct Table<K, V> {
    entries: Blocks<(K, V)>,
    index: Index,
}

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Self { entries: Blocks::default(), index: Index::default() }
    }
}

impl<K: Hash + Eq, V> Table<K, V> {
    /// The number of the entry with this key.
    pub fn find(&self, key: &K) -> Option<u32> {
        let same = |entry| self.entries.get(entry).is_some_and(|(other, _)| other == key);
        self.index.find(self.index.hash(key), same)
    }

    /// Adds an entry that is not there; its number, or `None` if there is no number left.
    pub fn insert(&mut self, key: K, value: V) -> Option<u32> {
        let entry = self.entries.next()?;
        let hash = self.index.hash(&key);
        self.entries.push((key, value));
        self.index.insert(hash, entry);
        Some(entry)
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// The entry of this number.
    pub fn get(&self, number: u32) -> Option<&(K, V)> {
        self.entries.get(number)
    }

    /// The value of this number, to be changed.
    pub fn get_mut(&mut self, number: u32) -> Option<&mut V> {
        self.entries.get_mut(number).map(|(_, value)| value)
    }

    /// All entries, in the order of their numbers.
    pub fn iter(&self) -> impl Iterator<Item = &(K, V)> {
        self.entries.iter()
    }

    /// The memory that entries and index take.
    pub fn bytes(&self) -> usize {
        self.entries.bytes() + self.index.bytes()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_table_is_a_map_that_keeps_its_order(keys in prop::collection::vec(0u16..2000, 0..6000)) {
            let (mut table, mut model) = (Table::default(), HashMap::new());
            let mut order = Vec::new();
            for key in keys {
                if let Some(number) = table.find(&key) {
                    *table.get_mut(number).unwrap() += 1;
                } else {
                    prop_assert_eq!(table.insert(key, 1u32), Some(u32::try_from(order.len()).unwrap()));
                    order.push(key);
                }
                *model.entry(key).or_insert(0u32) += 1;
            }
            let expected: Vec<_> = order.iter().map(|key| (*key, model[key])).collect();
            prop_assert_eq!(table.iter().copied().collect::<Vec<_>>(), expected);
            prop_assert_eq!(table.find(&5000), None);
        }
    }

    #[test]
    fn blocks_keep_what_is_beyond_the_first() {
        let mut blocks = Blocks::default();
        for n in 0..10_000u32 {
            assert_eq!(blocks.next(), Some(n));
            blocks.push(n);
        }
        assert_eq!(blocks.len(), 10_000);
        assert_eq!(
            (blocks.get(4095), blocks.get(4096), blocks.get(10_000)),
            (Some(&4095), Some(&4096), None)
        );
    }
}
