//! What is known of each kind of fact but accesses to files (see [`super::files`]), until the recording is made of it.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    counts::{Often, Tallies},
    filters::Doubt,
    seen::{By, ExeId, Seen},
    strings::StringId,
};

/// What is known of one system call.
#[derive(Debug, Clone, Default)]
pub struct Call {
    pub(super) seen: Seen,
    pub(super) often: Often,
    pub(super) succeeded: bool,
    pub(super) errors: BTreeSet<u32>,
    pub(super) tuples: BTreeMap<BTreeMap<u8, u64>, Tuple>,
    /// What callers got that a filter refused.
    pub(super) refused: BTreeSet<String>,
    /// Whether any call got past the filters.
    pub(super) passed: bool,
    pub(super) doubts: BTreeSet<Doubt>,
}

/// What is known of one tuple of arguments.
#[derive(Debug, Clone, Default)]
pub struct Tuple {
    pub(super) seen: Seen,
    pub(super) often: Often,
    /// Whether any call with it got past the filters.
    pub(super) passed: bool,
}

/// What is known of one capability.
#[derive(Debug, Clone, Default)]
pub struct Capability {
    pub(super) seen: Seen,
    pub(super) often: Often,
    pub(super) calls: BTreeSet<(u8, u32)>,
    /// The kernel said of some question that it needs the answer; `None` where it does not say.
    pub(super) needed: Option<bool>,
    /// A security module refused it.
    pub(super) refused: bool,
}

/// What is known of a use of sockets.
#[derive(Debug, Clone, Default)]
pub struct Socket {
    pub(super) seen: Seen,
    pub(super) often: Often,
    /// A security module refused it.
    pub(super) refused: bool,
}

/// Operation, family, type, protocol, address, error.
pub type NetworkKey = (u8, u16, u16, u32, Option<StringId>, u32);

/// The facts of one place that a task can stand in, but for the accesses to files.
#[derive(Debug, Default)]
pub struct Facts {
    pub(super) calls: BTreeMap<(u8, u32), Call>,
    pub(super) network: BTreeMap<NetworkKey, Socket>,
    /// By number, and whether it was granted.
    pub(super) capabilities: BTreeMap<(u32, bool), Capability>,
    pub(super) credentials: BTreeMap<(u32, u32), By>,
    pub(super) executed: BTreeSet<ExeId>,
    /// The scripts that an interpreter was started for.
    pub(super) scripts: BTreeMap<ExeId, BTreeSet<StringId>>,
    /// The chains of seccomp filters that were in force.
    pub(super) filters: BTreeSet<u64>,
}

impl Call {
    /// Takes in how often it, and each tuple, happened.
    pub fn settle(&mut self, tallies: &Tallies) {
        self.often.add(tallies.of(self.often.fact));
        for tuple in self.tuples.values_mut() {
            tuple.often.add(tallies.of(tuple.often.fact));
            self.often.add(tuple.often);
        }
    }
}

impl Facts {
    /// Takes in how often each of these facts happened.
    pub fn settle(&mut self, tallies: &Tallies) {
        self.calls.values_mut().for_each(|call| call.settle(tallies));
        self.network.values_mut().for_each(|socket| socket.often.add(tallies.of(socket.often.fact)));
        self.capabilities.values_mut().for_each(|one| one.often.add(tallies.of(one.often.fact)));
    }
}
