//! The first few of many, in their order, without keeping the many.

use std::collections::BTreeSet;

/// At most `limit` values, the smallest of all that came: the same whatever order they came in.
#[derive(Debug, Clone)]
pub struct Smallest<T> {
    limit: usize,
    kept: BTreeSet<T>,
}

impl<T: Ord> Smallest<T> {
    pub fn new(limit: usize) -> Self {
        Self { limit, kept: BTreeSet::new() }
    }

    /// Keeps the value if it is among the smallest.
    pub fn offer(&mut self, value: T) {
        if self.kept.len() < self.limit || self.kept.last().is_some_and(|last| value < *last) {
            self.kept.insert(value);
            if self.kept.len() > self.limit {
                self.kept.pop_last();
            }
        }
    }

    /// In their order.
    pub fn sorted(self) -> impl Iterator<Item = T> {
        self.kept.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_stay_whatever_the_order() {
        for values in [[5, 1, 4, 2, 3], [1, 2, 3, 4, 5], [5, 4, 3, 2, 1]] {
            let mut smallest = Smallest::new(3);
            for value in values {
                smallest.offer(value);
            }
            assert_eq!(smallest.sorted().collect::<Vec<_>>(), [1, 2, 3]);
        }
    }
}
