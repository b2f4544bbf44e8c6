//! How often facts happened, and when last. The kernel side counts by key, user space keeps facts: here is which key
//! belongs to which fact, in as little memory as a million of them need. Nothing here knows what a fact is.

use std::collections::BTreeSet;

use super::store::Table;

/// A fact, by number: an access to a file by its place in the list of those, any other by a number of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FactId(u32);

impl FactId {
    /// No fact.
    pub const NONE: Self = Self(u32::MAX);
    /// Set in the numbers of facts that are no accesses to files.
    const OTHER: u32 = 1 << 31;

    /// The access to a file with this number.
    pub fn file(number: u32) -> Self {
        // Memory ends long before there are that many.
        if number < Self::OTHER { Self(number) } else { Self::NONE }
    }

    /// A fact of another kind that has no number yet; `next` is the number that it gets.
    pub fn other(next: &mut u32) -> Self {
        if *next >= Self::OTHER - 1 {
            return Self::NONE;
        }
        let id = Self(*next | Self::OTHER);
        *next += 1;
        id
    }
}

impl Default for FactId {
    fn default() -> Self {
        Self::NONE
    }
}

/// What is known of a key.
#[derive(Debug, Clone, Copy, Default)]
struct Entry {
    count: u64,
    last_ms: u32,
    /// The fact, or the first of several: a rename is two.
    fact: FactId,
}

/// Keys, their counts, and their facts.
#[derive(Debug, Default)]
pub struct Counts {
    keys: Table<u64, Entry>,
    /// Other facts that a key belongs to, by the key's place in the list.
    also: Table<(u32, FactId), ()>,
    /// The number that the next fact that is no access to a file gets.
    pub next: u32,
}

impl Counts {
    /// Takes in a count of a key; false if the key is new and there is no room for it.
    pub fn add(&mut self, key: u64, count: u64, last_ms: u64, room: bool) -> bool {
        let number = match self.keys.find(&key) {
            None if room => self.keys.insert(key, Entry::default()),
            known => known,
        };
        let Some(entry) = number.and_then(|number| self.keys.get_mut(number)) else { return false };
        entry.count = entry.count.saturating_add(count);
        entry.last_ms = entry.last_ms.max(u32::try_from(last_ms).unwrap_or(u32::MAX));
        true
    }

    /// Whether it is known which facts a key belongs to.
    pub fn is_linked(&self, key: u64) -> bool {
        let entry = self.keys.find(&key).and_then(|number| self.keys.get(number));
        entry.is_some_and(|(_, entry)| entry.fact != FactId::NONE)
    }

    /// What happens with this key is this fact, too. Without room for a new key it is not counted.
    pub fn link(&mut self, key: u64, fact: FactId, room: bool) {
        let number = match self.keys.find(&key) {
            None if room => self.keys.insert(key, Entry::default()),
            known => known,
        };
        let Some((number, entry)) = number.and_then(|number| Some((number, self.keys.get_mut(number)?)))
        else {
            return;
        };
        if entry.fact == FactId::NONE {
            entry.fact = fact;
        } else if entry.fact != fact && room && self.also.find(&(number, fact)).is_none() {
            self.also.insert((number, fact), ());
        }
    }

    /// All keys with their counts.
    pub fn iter(&self) -> impl Iterator<Item = (u64, u64, u64)> {
        self.keys.iter().map(|(key, entry)| (*key, entry.count, entry.last_ms.into()))
    }

    /// How often any of these facts happened.
    pub fn sum(&self, facts: &BTreeSet<FactId>) -> u64 {
        self.keys.iter().filter(|(_, entry)| facts.contains(&entry.fact)).map(|(_, entry)| entry.count).sum()
    }

    /// The memory that it takes.
    pub fn bytes(&self) -> usize {
        self.keys.bytes() + self.also.bytes()
    }

    /// Adds up the keys of each fact. There are so many accesses to `files`.
    pub fn tally(self, files: usize) -> Tallies {
        let facts = files + self.next as usize;
        let mut out = Tallies { files, counts: vec![0; facts], last_ms: vec![0; facts] };
        for (_, entry) in self.keys.iter() {
            out.add(entry.fact, entry);
        }
        for ((number, fact), ()) in self.also.iter() {
            if let Some((_, entry)) = self.keys.get(*number) {
                out.add(*fact, entry);
            }
        }
        out
    }
}

/// How often each fact happened, and when last.
#[derive(Debug)]
pub struct Tallies {
    files: usize,
    counts: Vec<u64>,
    last_ms: Vec<u32>,
}

impl Tallies {
    fn place(&self, fact: FactId) -> usize {
        match fact.0 & FactId::OTHER {
            0 => fact.0 as usize,
            _ => self.files.saturating_add((fact.0 & !FactId::OTHER) as usize),
        }
    }

    fn add(&mut self, fact: FactId, entry: &Entry) {
        let place = self.place(fact);
        if let (Some(count), Some(last_ms)) = (self.counts.get_mut(place), self.last_ms.get_mut(place)) {
            *count = count.saturating_add(entry.count);
            *last_ms = entry.last_ms.max(*last_ms);
        }
    }

    /// Of one fact.
    pub fn of(&self, fact: FactId) -> Often {
        let place = self.place(fact);
        let count = self.counts.get(place).copied().unwrap_or_default();
        let last_ms = self.last_ms.get(place).copied().unwrap_or_default().into();
        Often { fact, count, last_ms }
    }
}

/// How often a fact happened, as far as it is known yet, and when last.
#[derive(Debug, Clone, Copy, Default)]
pub struct Often {
    /// The fact's number.
    pub fact: FactId,
    count: u64,
    last_ms: u64,
}

impl Often {
    /// The fact happened once more than the kernel side counts.
    pub fn once_more(&mut self) {
        self.count = self.count.saturating_add(1);
    }

    /// Adds what happened of it elsewhere.
    pub fn add(&mut self, other: Self) {
        self.count = self.count.saturating_add(other.count);
        self.last_ms = self.last_ms.max(other.last_ms);
    }

    /// How often: a fact that was seen happened.
    pub fn count(&self) -> u64 {
        self.count.max(1)
    }

    /// When last. The kernel side's clock is behind by up to a tenth of a second, that of first sights is not.
    pub fn last_ms(&self, first_ms: u64) -> u64 {
        self.last_ms.max(first_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_one_fact_add_up_and_one_key_may_be_two_facts() {
        let mut counts = Counts::default();
        let (a, b) = (FactId::file(0), FactId::file(1));
        let call = FactId::other(&mut counts.next);
        // A count may come before the fact.
        assert!(counts.add(7, 2, 30, true));
        counts.link(7, a, true);
        counts.link(8, a, true);
        // A rename, sent twice.
        for _ in 0..2 {
            counts.link(9, a, true);
            counts.link(9, b, true);
        }
        counts.link(10, call, true);
        assert!(counts.add(8, 3, 10, true) && counts.add(9, 10, 20, true) && counts.add(10, 4, 5, true));
        assert!(counts.is_linked(9) && !counts.is_linked(11));
        assert_eq!(counts.sum(&[call].into()), 4);
        let tallies = counts.tally(2);
        let of = |fact| (tallies.of(fact).count(), tallies.of(fact).last_ms(0));
        assert_eq!((of(a), of(b), of(call)), ((15, 30), (10, 20), (4, 5)));
    }

    #[test]
    fn without_room_known_keys_go_on_counting() {
        let mut counts = Counts::default();
        assert!(counts.add(1, 1, 1, true));
        assert!(counts.add(1, 1, 1, false) && !counts.add(2, 1, 1, false));
        counts.link(1, FactId::file(0), false);
        counts.link(2, FactId::file(0), false);
        assert_eq!(counts.tally(1).of(FactId::file(0)).count(), 2);
    }
}
