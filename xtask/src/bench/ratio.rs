//! Ratios of samples, and their median and spread.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

/// What a tracer made of a workload: its sample divided by the mean of the untraced ones before and after it.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Ratio {
    pub cpu: f64,
    pub cpu_with_tracer: f64,
    pub wall: f64,
}

/// The middle one of several, and the outer ones.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

impl Spread {
    /// Of these; `None` if there are none.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let upper = *values.get(middle)?;
        let median =
            if values.len() % 2 == 1 { upper } else { f64::midpoint(*values.get(middle - 1)?, upper) };
        Some(Self { median, min, max })
    }
}

/// A generator of unpredictable orders (xorshift64*): nothing of a machine's own rhythm may fall on one variant.
#[derive(Debug)]
pub struct Shuffle(u64);

impl Shuffle {
    pub fn new() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |time| time.as_nanos());
        Self(u64::try_from(now & u128::from(u64::MAX)).unwrap_or(1) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33
    }

    /// Puts them in another order (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let other = usize::try_from(self.next()).unwrap_or(0) % (last + 1);
            items.swap(last, other);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        let spread = Spread::of([3.0, 1.0, 2.0]).map(|s| (s.min, s.median, s.max));
        assert_eq!(spread, Some((1.0, 2.0, 3.0)));
        assert_eq!(Spread::of([4.0, 1.0]).map(|s| s.median), Some(2.5));
        assert!(Spread::of([]).is_none());
    }

    #[test]
    fn shuffling_keeps_all_and_reaches_every_order() {
        let mut shuffle = Shuffle(42);
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..200 {
            let mut items = [1, 2, 3];
            shuffle.shuffle(&mut items);
            assert_eq!(items.iter().sum::<i32>(), 6);
            seen.insert(items);
        }
        assert_eq!(seen.len(), 6);
    }
}
