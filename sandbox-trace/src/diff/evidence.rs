//! Finds in recordings who needs a new privilege.

use std::collections::{BTreeSet, HashMap};

use super::{Diff, Evidence, recordings, seccomp::cube::Cube};
use crate::{
    apparmor::glob::{Glob, Variables},
    linux,
    recording::Access,
    requirements::{self, AddressKey, FileNeed, Requirements},
};

/// What a change is about, in the terms that recordings have.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum About {
    /// Nothing that a recording has.
    #[default]
    Nothing,
    /// A system call, on one architecture or all.
    Call {
        /// Its name.
        name: String,
        /// The architecture, as recordings name it.
        arch: Option<String>,
    },
    /// A system call with some of these arguments.
    Arguments {
        /// Its name.
        name: String,
        /// Which.
        with: Vec<Cube>,
    },
    /// An access to paths.
    Path {
        /// Which.
        path: Glob,
        /// Any of these.
        access: Access,
        /// Only those of files that belong to the process's user.
        owner: bool,
    },
    /// A hard link.
    Link {
        /// The new name.
        new: Glob,
        /// The existing one.
        existing: Glob,
    },
    /// Sockets; what is not named is any.
    Socket {
        /// Their family, as `AppArmor` names it.
        family: Option<String>,
        /// Their type.
        socket: Option<String>,
    },
    /// A capability, as `AppArmor` names it.
    Capability(String),
    /// Places that a socket is bound or connected to.
    Address {
        /// `bind` or `connect`.
        operation: String,
        /// The address, as a change shows it.
        shown: String,
    },
}

/// Facts of one change, put together.
#[derive(Default)]
struct Found {
    all: requirements::Evidence,
    any: bool,
}

impl Found {
    fn add(&mut self, one: &requirements::Evidence) {
        let all = &mut self.all;
        self.any = true;
        all.by.extend(one.by.iter().cloned());
        all.count = all.count.saturating_add(one.count);
        all.first_ms = match (all.first_ms, one.first_ms) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        all.last_ms = all.last_ms.max(one.last_ms);
        all.recordings.extend(&one.recordings);
    }
}

impl Diff {
    /// Says of each new privilege who needs it, as far as these recordings tell.
    pub fn attach_evidence(&mut self, needs: &Requirements) {
        let mut found: Vec<Found> =
            self.added.iter().map(|change| beside_files(&change.about, needs)).collect();
        let abouts: Vec<&About> = self.added.iter().map(|change| &change.about).collect();
        in_files(&abouts, needs, &mut found);
        for (change, found) in self.added.iter_mut().zip(found).filter(|(_, found)| found.any) {
            change.evidence = Some(of(found.all, needs));
        }
    }
}

/// With the recordings' names.
pub(super) fn of(found: requirements::Evidence, needs: &Requirements) -> Evidence {
    let name = |position: &u32| {
        let run = usize::try_from(*position).ok().and_then(|at| needs.runs.get(at));
        run.map(|run| crate::recording::printable(&run.name))
    };
    Evidence {
        runs: found.recordings.iter().filter_map(name).collect(),
        of: needs.runs.len(),
        by: found.by,
        count: found.count,
        first_ms: found.first_ms,
        last_ms: found.last_ms,
    }
}

fn beside_files(about: &About, needs: &Requirements) -> Found {
    let mut found = Found::default();
    match about {
        About::Call { name, arch } => {
            for ((own, call), need) in &needs.syscalls {
                if call == name && arch.as_ref().is_none_or(|arch| arch == own) {
                    found.add(&need.evidence);
                }
            }
        }
        About::Arguments { name, with } => {
            for (_, need) in needs.syscalls.iter().filter(|((_, call), _)| call == name) {
                let tuples = need.args.iter().filter(|(tuple, _)| with.iter().any(|cube| cube.has(tuple)));
                tuples.for_each(|(_, evidence)| found.add(evidence));
            }
        }
        About::Socket { family, socket } => {
            for (key, evidence) in &needs.network {
                let is = |wanted: &Option<String>, name: Option<&str>| {
                    wanted.as_deref().is_none_or(|wanted| Some(wanted) == name)
                };
                if is(family, linux::family(key.family.0))
                    && is(socket, linux::socket_type(key.socket_type.0))
                {
                    found.add(evidence);
                }
            }
        }
        About::Capability(wanted) => {
            for (number, evidence) in needs.capabilities.values() {
                if linux::capability(*number) == Some(wanted) {
                    found.add(evidence);
                }
            }
        }
        About::Address { operation, shown } => {
            let same = |key: &&AddressKey| {
                key.operation == *operation && recordings::address(&key.address).as_ref() == Some(shown)
            };
            needs.addresses.iter().filter(|(key, _)| same(key)).for_each(|(_, one)| found.add(one));
        }
        About::Path { .. } | About::Link { .. } | About::Nothing => {}
    }
    found
}

/// One walk over the accesses for all changes: there may be a million of the first and thousands of the others.
fn in_files(abouts: &[&About], needs: &Requirements, found: &mut [Found]) {
    let none = Variables::new();
    let mut exact: HashMap<&[u8], Vec<usize>> = HashMap::new();
    let mut wide: Vec<(usize, Vec<u8>)> = Vec::new();
    for (at, about) in abouts.iter().enumerate() {
        let (About::Path { path, .. } | About::Link { new: path, .. }) = about else { continue };
        match path.literal() {
            Some(literal) => exact.entry(literal).or_default().push(at),
            None => wide.push((at, path.prefix())),
        }
    }
    if exact.is_empty() && wide.is_empty() {
        return;
    }
    for need in needs.files.iter() {
        let path = need.path();
        let hits: BTreeSet<usize> = exact
            .get(path)
            .into_iter()
            .flatten()
            .copied()
            .chain(wide.iter().filter(|(_, prefix)| path.starts_with(prefix)).map(|(at, _)| *at))
            .collect();
        for at in hits {
            let (Some(about), Some(found)) = (abouts.get(at), found.get_mut(at)) else { continue };
            if let Some(evidence) = of_need(about, &need, &none) {
                found.add(&evidence);
            }
        }
    }
}

fn of_need(about: &About, need: &FileNeed<'_>, none: &Variables) -> Option<requirements::Evidence> {
    match about {
        About::Path { path, access, .. } => (need.access().intersects(*access)
            && path.matches(need.path(), none))
        .then(|| need.evidence(*access)),
        About::Link { new, existing } => {
            let target = need.target()?;
            (new.matches(need.path(), none) && existing.matches(target, none))
                .then(|| need.evidence(Access::LINK))
        }
        _ => None,
    }
}
