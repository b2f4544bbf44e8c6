//! Two sets of recordings: what the new ones need that the old ones did not, at the level of what would become a
//! privilege. Paths are generalised and arguments limited as the emitters do it, so that a process id or the name of a
//! temporary file is no news.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    About, Change, Diff, Kind, Risk,
    grants::{Atom, Grant, Grants, compare},
    risk,
    seccomp::{
        cube::{Cube, product},
        described,
    },
};
use crate::{
    apparmor::{
        glob::{Glob, Variables},
        pattern::Pattern,
    },
    linux,
    policy::{
        arguments::{Mode, Sets, limits},
        danger,
        generalize::{self, FileRule, Generalization},
    },
    recording::{Access, BytePath, printable},
    requirements::{Requirements, SyscallNeed},
};

/// How far what was recorded is taken, as for the emitters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Level {
    /// How paths are generalised.
    pub generalize: Generalization,
    /// Which arguments of calls count.
    pub args: Mode,
}

impl Default for Level {
    fn default() -> Self {
        Self { generalize: Generalization::default(), args: Mode::Safe }
    }
}

/// What `new` needs and `old` did not, with the evidence of `new`; and the reverse.
pub fn recordings(old: &Requirements, new: &Requirements) -> Diff {
    recordings_at(old, new, Level::default())
}

/// As [`recordings`], at this level.
pub fn recordings_at(old: &Requirements, new: &Requirements, level: Level) -> Diff {
    let mut diff = rules(old, new, level.generalize);
    diff.added.extend(calls(old, new, level.args));
    diff.removed.extend(calls(new, old, level.args).into_iter().map(gone));
    diff.added.extend(addresses(old, new));
    diff.removed.extend(addresses(new, old).into_iter().map(gone));
    for kind in old.unobserved.symmetric_difference(&new.unobserved) {
        let which = if old.unobserved.contains(kind) { "old" } else { "new" };
        diff.notes.push(format!(
            "the {which} recordings did not observe {}: what differs there may be no difference",
            printable(kind)
        ));
    }
    diff.sort();
    diff.attach_evidence(new);
    diff
}

fn gone(change: Change) -> Change {
    Change { risk: Risk::None, reason: String::new(), ..change }
}

/// Files, links, sockets, capabilities.
fn rules(old: &Requirements, new: &Requirements, level: Generalization) -> Diff {
    let (before, now) = (generalize::rules(old, level), generalize::rules(new, level));
    // A path that both have as it is can hold nothing else: most paths of a large recording.
    let same = |other: &BTreeMap<Pattern, FileRule>, pattern: &Pattern, rule: &FileRule| {
        pattern.is_literal()
            && other.get(pattern).is_some_and(|o| (o.access, o.owner) == (rule.access, rule.owner))
    };
    let side = |files: &BTreeMap<Pattern, FileRule>,
                other: &BTreeMap<Pattern, FileRule>,
                links: &[(Pattern, Pattern)],
                needs: &Requirements| {
        let mut grants = BTreeSet::new();
        for (pattern, rule) in files.iter().filter(|(pattern, rule)| !same(other, pattern, rule)) {
            let path = glob(pattern);
            for letter in letters(rule.access) {
                grants.insert(Grant::File {
                    path: path.clone(),
                    owner: rule.owner,
                    letter: letter.to_owned(),
                });
            }
        }
        grants.extend(links.iter().map(|(new, existing)| Grant::Link {
            new: glob(new),
            existing: glob(existing),
            owner: false,
        }));
        for key in needs.network.keys() {
            let name =
                |known: Option<&str>, own: &str| Some(known.map_or_else(|| printable(own), str::to_owned));
            grants.insert(Grant::Network {
                family: name(linux::family(key.family.0), &key.family.1),
                socket: name(linux::socket_type(key.socket_type.0), &key.socket_type.1),
            });
        }
        for (name, (number, _)) in &needs.capabilities {
            let known = linux::capability(*number).map_or_else(|| printable(name), str::to_owned);
            grants.insert(Grant::Capability(Some(known)));
        }
        let atom = |grant| Atom { profile: String::new(), deny: false, grant };
        Grants { atoms: grants.into_iter().map(atom).collect(), variables: Variables::new() }
    };
    compare(
        &side(&before.files, &now.files, &before.links, old),
        &side(&now.files, &before.files, &now.links, new),
    )
}

fn glob(pattern: &Pattern) -> Glob {
    let text = pattern.text();
    Glob::parse(text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(&text))
}

/// The letters of a rule that gives the access.
fn letters(access: Access) -> Vec<&'static str> {
    let write = Access::WRITE | Access::CREATE | Access::DELETE | Access::SETATTR;
    [
        (Access::READ, "r"),
        (write, "w"),
        (Access::APPEND, "a"),
        (Access::LOCK, "k"),
        (Access::MAP_EXEC, "m"),
        (Access::EXEC, "ix"),
    ]
    .into_iter()
    .filter(|(some, _)| access.intersects(*some))
    .map(|(_, letter)| letter)
    .collect()
}

/// Whether a profile would admit it: of `clone3` that was never there it would not.
fn is_given(name: &str, need: &SyscallNeed) -> bool {
    name != "clone3" || !need.only_enosys()
}

/// Calls, and arguments of calls, that `old` did not need.
fn calls(old: &Requirements, new: &Requirements, mode: Mode) -> Vec<Change> {
    let mut out = Vec::new();
    for (key, need) in new.syscalls.iter().filter(|((_, name), need)| is_given(name, need)) {
        let (arch, name) = key;
        match old.syscalls.get(key).filter(|need| is_given(name, need)) {
            None => out.push(call(arch, name, need)),
            Some(before) => out.extend(arguments(arch, name, before, need, new, mode)),
        }
    }
    out
}

fn on(arch: &str) -> String {
    if arch == "x86_64" { String::new() } else { format!("on {}", printable(arch)) }
}

fn call(arch: &str, name: &str, need: &SyscallNeed) -> Change {
    let (mut risk, mut reason) = risk::call(name);
    let mut values = need.args.keys().flat_map(|tuple| danger::in_arguments(name, tuple));
    if let Some((value, why)) = values.next()
        && risk < Risk::High
    {
        (risk, reason) = (Risk::High, format!("{value}: {why}"));
    }
    let detail = if need.refused.is_empty() {
        String::new()
    } else {
        "a filter in force refused it while it was recorded".to_owned()
    };
    Change {
        kind: Kind::Syscall,
        what: printable(name),
        access: on(arch),
        detail,
        risk,
        reason,
        about: About::Call { name: name.to_owned(), arch: Some(arch.to_owned()) },
        ..Change::default()
    }
}

fn cubes(sets: &Sets) -> Vec<Cube> {
    sets.iter()
        .filter_map(|set| {
            let conditions: Vec<Vec<Cube>> =
                set.iter().map(|c| vec![Cube::of(c.index, c.mask, c.value)]).collect();
            product(&conditions)
        })
        .flatten()
        .collect()
}

/// Arguments that a profile made of `before` would not admit.
fn arguments(
    arch: &str,
    name: &str,
    before: &SyscallNeed,
    need: &SyscallNeed,
    new: &Requirements,
    mode: Mode,
) -> Vec<Change> {
    let Some(admitted) = limits(name, &[before], mode, None, &mut Vec::new()) else { return Vec::new() };
    let admitted = cubes(&admitted);
    let change = |access: String, with: Vec<Cube>, (risk, reason): (Risk, String)| Change {
        kind: Kind::Argument,
        what: printable(name),
        access: [access, on(arch)].join(" ").trim_end().to_owned(),
        risk,
        reason,
        about: About::Arguments { name: name.to_owned(), with },
        ..Change::default()
    };
    if need.args.is_empty() {
        let unknown = change("any".into(), vec![Cube::ALL], risk::arguments(name));
        return vec![Change { detail: "the recording does not hold its arguments".into(), ..unknown }];
    }
    let mut out: BTreeMap<String, (Vec<Cube>, (Risk, String))> = BTreeMap::new();
    for (tuple, evidence) in &need.args {
        if admitted.iter().any(|cube| cube.has(tuple)) || is_socket_of(name, tuple, new) {
            continue;
        }
        let alone =
            SyscallNeed { args: [(tuple.clone(), evidence.clone())].into(), ..SyscallNeed::default() };
        let own = limits(name, &[&alone], mode, None, &mut Vec::new()).map(|sets| cubes(&sets));
        let dangers = danger::in_arguments(name, tuple);
        let judged = match dangers.first() {
            Some((value, why)) => (Risk::High, format!("{value}: {why}")),
            None => risk::arguments(name),
        };
        let whole: Vec<Vec<Cube>> =
            tuple.iter().map(|(index, register)| vec![Cube::of(*index, u64::MAX, *register)]).collect();
        let exact = product(&whole).unwrap_or_default();
        // Beside the tuple's own set there are those that are always given.
        let own: Vec<Cube> = own
            .unwrap_or_default()
            .into_iter()
            .filter(|cube| cube.has(tuple) && !admitted.contains(cube))
            .take(1)
            .collect();
        // The names of families say as much as those of the dangers among them.
        let named = !dangers.is_empty() && !matches!(name, "socket" | "socketpair");
        let shown = match own.first().or(exact.first()) {
            _ if named => dangers.iter().map(|(value, _)| *value).collect::<Vec<_>>().join(", "),
            Some(cube) => described(name, cube),
            None => "any".to_owned(),
        };
        out.entry(shown).or_insert_with(|| (Vec::new(), judged)).0.extend(exact);
    }
    out.into_iter().map(|(shown, (with, judged))| change(shown, with, judged)).collect()
}

/// Whether it makes a socket that is among the uses of the network, where it is compared by family and type.
fn is_socket_of(name: &str, tuple: &BTreeMap<u8, u64>, needs: &Requirements) -> bool {
    let part = |index: u8, mask: u64| tuple.get(&index).and_then(|value| u16::try_from(value & mask).ok());
    let (Some(family), Some(kind)) = (part(0, 0xffff_ffff), part(1, 0xf)) else { return false };
    matches!(name, "socket" | "socketpair")
        && needs.network.keys().any(|key| (key.family.0, key.socket_type.0) == (family, kind))
}

/// Places that `old` did not talk to.
fn addresses(old: &Requirements, new: &Requirements) -> Vec<Change> {
    let shown = |needs: &Requirements| -> BTreeSet<(String, String)> {
        let each = needs.addresses.keys();
        each.filter_map(|key| Some((key.operation.clone(), address(&key.address)?))).collect()
    };
    shown(new)
        .difference(&shown(old))
        .map(|(operation, shown)| {
            let near = ["127.", "[::1]", "unix:"].iter().any(|start| shown.starts_with(start));
            let (risk, reason) = match (near, operation.as_str()) {
                (true, _) => (Risk::Low, "stays on this machine"),
                (false, "bind") => (Risk::Medium, "can be reached from elsewhere"),
                _ => (Risk::Medium, "reaches another machine"),
            };
            Change {
                kind: Kind::Address,
                what: shown.clone(),
                access: operation.clone(),
                risk,
                reason: reason.into(),
                about: About::Address { operation: operation.clone(), shown: shown.clone() },
                ..Change::default()
            }
        })
        .collect()
}

/// An address as it is compared. `None` for a socket that is a file: it is among the files. Numbers in an abstract name
/// are mostly ids, and stand for any.
pub(super) fn address(address: &BytePath) -> Option<String> {
    let Some(name) = address.as_bytes().strip_prefix(b"unix:") else { return Some(address.to_string()) };
    if name.first() != Some(&b'@') {
        return None;
    }
    let mut out = Vec::new();
    for run in name.chunk_by(|a, b| a.is_ascii_digit() == b.is_ascii_digit()) {
        let digits = run.first().is_some_and(u8::is_ascii_digit);
        out.extend_from_slice(if digits { b"*" } else { run });
    }
    Some(format!("unix:{}", BytePath::from(out)))
}

#[cfg(test)]
mod tests;
