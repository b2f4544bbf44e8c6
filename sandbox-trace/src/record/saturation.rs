//! New facts over time: when a training run stopped teaching. Pure.

use crate::recording::{SATURATION_POINTS as POINTS, Saturation};

/// A kind of facts.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// A system call.
    Syscall,
    /// A path.
    Path,
    /// A use of a socket.
    Network,
    /// A capability.
    Capability,
}

/// New facts by time, in spans that get twice as long whenever there would be too many.
#[derive(Debug)]
pub struct Curve {
    span_ms: u64,
    /// What is new in each span, and when the last of it was.
    spans: Vec<Saturation>,
}

impl Default for Curve {
    fn default() -> Self {
        Self { span_ms: 1, spans: Vec::new() }
    }
}

impl Curve {
    /// A fact was first seen at this time.
    pub fn add(&mut self, kind: Kind, first_ms: u64) {
        while first_ms / self.span_ms >= POINTS as u64 {
            self.span_ms = self.span_ms.saturating_mul(2);
            self.spans = self
                .spans
                .chunks(2)
                .map(|pair| pair.iter().fold(Saturation::default(), |sum, span| both(&sum, span)))
                .collect();
        }
        let place = usize::try_from(first_ms / self.span_ms).unwrap_or(POINTS);
        if self.spans.len() <= place {
            self.spans.resize(place + 1, Saturation::default());
        }
        let Some(span) = self.spans.get_mut(place) else { return };
        span.ms = span.ms.max(first_ms);
        match kind {
            Kind::Syscall => span.syscalls += 1,
            Kind::Path => span.paths += 1,
            Kind::Network => span.network += 1,
            Kind::Capability => span.capabilities += 1,
        }
    }

    /// How many there were by when, wherever that changed.
    pub fn points(&self) -> Vec<Saturation> {
        let mut sum = Saturation::default();
        let new = self.spans.iter().filter(|span| span.total() > 0);
        new.map(|span| {
            sum = both(&sum, span);
            sum.clone()
        })
        .collect()
    }
}

fn both(a: &Saturation, b: &Saturation) -> Saturation {
    Saturation {
        ms: a.ms.max(b.ms),
        syscalls: a.syscalls + b.syscalls,
        paths: a.paths + b.paths,
        network: a.network + b.network,
        capabilities: a.capabilities + b.capabilities,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_rises_in_few_points_to_all_facts_whatever_their_order(
            times in prop::collection::vec(0u64..100_000_000, 0..300),
        ) {
            let (mut curve, mut other) = (Curve::default(), Curve::default());
            for ms in &times {
                curve.add(Kind::Path, *ms);
            }
            for ms in times.iter().rev() {
                other.add(Kind::Path, *ms);
            }
            let points = curve.points();
            prop_assert_eq!(&points, &other.points());
            prop_assert!(points.len() <= POINTS);
            prop_assert!(points.windows(2).all(|two| two[0].ms < two[1].ms && two[0].paths < two[1].paths));
            let last = points.last().map(|last| (last.ms, last.paths));
            prop_assert_eq!(last, times.iter().max().map(|last| (*last, times.len() as u64)));
            // A point says how many there were by then.
            for point in &points {
                prop_assert_eq!(times.iter().filter(|ms| **ms <= point.ms).count() as u64, point.paths);
            }
        }
    }
}
