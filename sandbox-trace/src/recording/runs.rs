//! Which runs a merged recording is made of, and in which of them a fact was seen.
//!
//! A set of runs is text in the file (`0-3,7`: positions in the list of runs), since as a list of numbers it would be
//! longer than all else. A fact that every run has carries none.

use std::{borrow::Cow, collections::BTreeMap, fmt, num::NonZeroU64, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::{Recording, Resources};
use crate::schemas::text::{self, Sha256, Time};

/// One of the runs that a merged recording is made of. What can only be added up over runs is kept of each run, so that a
/// run that comes twice counts once.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct MergedRun {
    /// When it started, RFC 3339 in UTC. The runs are in this order.
    #[schemars(with = "Time")]
    pub started: String,
    /// SHA-256 of the recording's content, in hexadecimal: the same for the same recording, however the file is written.
    #[schemars(with = "Sha256")]
    pub id: String,
    /// How long it took.
    pub duration_ms: u64,
    /// The program and version that recorded it.
    pub tool: String,
    /// The kernel that it ran on.
    pub kernel: String,
    /// The hook set that recorded it.
    pub hooks: String,
    /// Whether nothing of it was lost.
    pub complete: bool,
    /// What was lost; only what is not 0.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(with = "BTreeMap<String, NonZeroU64>", extend("minProperties" = 1))]
    pub losses: BTreeMap<String, u64>,
    /// What it consumed, storage aside.
    #[serde(default)]
    #[schemars(!default)]
    pub resources: Resources,
}

/// A set of runs, as positions in [`Recording::runs`].
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunSet {
    /// First and last of each stretch; sorted, with gaps between them.
    stretches: Vec<(u32, u32)>,
}

impl RunSet {
    /// One run.
    pub fn one(run: u32) -> Self {
        Self { stretches: vec![(run, run)] }
    }

    /// The first `count` runs.
    pub fn first(count: u32) -> Self {
        Self { stretches: count.checked_sub(1).map(|last| (0, last)).into_iter().collect() }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.stretches.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> u64 {
        self.stretches.iter().map(|(first, last)| u64::from(last - first) + 1).sum()
    }

    /// Whether `run` is among them.
    pub fn contains(&self, run: u32) -> bool {
        self.stretches.iter().any(|(first, last)| (*first..=*last).contains(&run))
    }

    /// The first one.
    pub fn earliest(&self) -> Option<u32> {
        self.stretches.first().map(|(first, _)| *first)
    }

    /// The last one.
    pub fn latest(&self) -> Option<u32> {
        self.stretches.last().map(|(_, last)| *last)
    }

    /// All of them, in their order.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.stretches.iter().flat_map(|(first, last)| *first..=*last)
    }

    /// Those below `count`: a recording is input, and a position may be any number.
    #[must_use]
    pub fn below(&self, count: u32) -> Self {
        let cut = |(first, last): &(u32, u32)| (*first < count).then(|| (*first, (*last).min(count - 1)));
        Self { stretches: self.stretches.iter().filter_map(cut).collect() }
    }

    /// Adds a run.
    pub fn insert(&mut self, run: u32) {
        match self.stretches.last_mut() {
            Some((first, last)) if (*first..=*last).contains(&run) => {}
            Some((_, last)) if last.checked_add(1) == Some(run) => *last = run,
            Some((_, last)) if *last > run => {
                self.stretches.push((run, run));
                self.tidy();
            }
            _ => self.stretches.push((run, run)),
        }
    }

    /// Adds all of `other`.
    pub fn add(&mut self, other: &Self) {
        if self != other {
            self.stretches.extend_from_slice(&other.stretches);
            self.tidy();
        }
    }

    /// The same runs where `new` has their new positions; those without one are left out.
    #[must_use]
    pub fn renumbered(&self, new: impl Fn(u32) -> Option<u32>) -> Self {
        let mut out = Self { stretches: self.iter().filter_map(new).map(|run| (run, run)).collect() };
        out.tidy();
        out
    }

    fn tidy(&mut self) {
        self.stretches.sort_unstable();
        self.stretches.dedup_by(|next, kept| {
            let joined = next.0 <= kept.1.saturating_add(1);
            if joined {
                kept.1 = kept.1.max(next.1);
            }
            joined
        });
    }
}

impl FromIterator<u32> for RunSet {
    fn from_iter<I: IntoIterator<Item = u32>>(runs: I) -> Self {
        let mut out = Self { stretches: runs.into_iter().map(|run| (run, run)).collect() };
        out.tidy();
        out
    }
}

impl fmt::Display for RunSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (first, last)) in self.stretches.iter().enumerate() {
            if n > 0 {
                f.write_str(",")?;
            }
            if first == last { write!(f, "{first}")? } else { write!(f, "{first}-{last}")? }
        }
        Ok(())
    }
}

impl FromStr for RunSet {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fault = || format!("{text:?} is no set of runs: it is written as 0-3,7");
        let number = |digits: &str| match digits.as_bytes() {
            [b'0'..=b'9', ..] => digits.parse::<u32>().map_err(|_| fault()),
            _ => Err(fault()),
        };
        let mut out = Self::default();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let stretch = (number(first)?, number(last)?);
            if stretch.0 > stretch.1 {
                return Err(fault());
            }
            out.stretches.push(stretch);
        }
        out.tidy();
        Ok(out)
    }
}

impl JsonSchema for RunSet {
    fn schema_name() -> Cow<'static, str> {
        "RunSet".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let description = "Runs of a merged recording, as positions in `runs`: 0-3,7.";
        text::of(r"^\d+(?:-\d+)?(?:,\d+(?:-\d+)?)*$", description)
    }
}

impl Serialize for RunSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RunSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

impl Recording {
    /// How many runs it is made of: 1 if it is none that was merged.
    pub fn run_count(&self) -> u32 {
        u32::try_from(self.runs.len()).unwrap_or(u32::MAX).max(1)
    }

    /// In which runs a fact was seen, of which the file says `runs`: all, where it says nothing or nothing sensible.
    pub fn seen_in(&self, runs: Option<&RunSet>) -> RunSet {
        let count = self.run_count();
        runs.map(|set| set.below(count)).filter(|set| !set.is_empty()).unwrap_or_else(|| RunSet::first(count))
    }

    /// A run by its position; none for a recording that was not merged.
    pub fn run(&self, position: u32) -> Option<&MergedRun> {
        self.runs.get(position as usize)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_set_is_a_set(a in prop::collection::vec(0u32..40, 0..30), b in prop::collection::vec(0u32..40, 0..30)) {
            let as_set = |list: &[u32]| list.iter().copied().collect::<BTreeSet<u32>>();
            let mut one: RunSet = a.iter().copied().collect();
            let mut step = RunSet::default();
            for run in &a {
                step.insert(*run);
            }
            prop_assert_eq!(&step, &one);
            prop_assert_eq!(one.len(), as_set(&a).len() as u64);
            if !one.is_empty() {
                prop_assert_eq!(one.to_string().parse::<RunSet>().unwrap(), one.clone());
            }
            one.add(&b.iter().copied().collect());
            let both: BTreeSet<u32> = as_set(&a).union(&as_set(&b)).copied().collect();
            prop_assert_eq!(one.iter().collect::<BTreeSet<_>>(), both.clone());
            prop_assert_eq!(one.iter().count(), both.len());
            prop_assert_eq!((one.earliest(), one.latest()), (both.first().copied(), both.last().copied()));
            prop_assert!(both.iter().all(|run| one.contains(*run)) && !one.contains(40));
            let low: Vec<u32> = both.iter().copied().filter(|run| *run < 20).collect();
            prop_assert_eq!(one.below(20).iter().collect::<Vec<_>>(), low);
            let turned = one.renumbered(|run| (run != 3).then_some(39 - run));
            prop_assert_eq!(turned.len(), both.iter().filter(|run| **run != 3).count() as u64);
        }
    }

    #[test]
    fn text_that_is_no_set_is_refused() {
        for text in ["", "1,", "a", "-1", "3-1", "+1", "1-2-3", "4294967296", " 1"] {
            assert!(text.parse::<RunSet>().is_err(), "{text:?}");
        }
        assert_eq!("7,0-3,2-5".parse::<RunSet>().unwrap().to_string(), "0-5,7");
        // Nothing grows with the numbers that a file names.
        assert_eq!("0-4294967295".parse::<RunSet>().unwrap().below(3).to_string(), "0-2");
    }
}
