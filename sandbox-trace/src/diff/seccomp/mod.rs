//! Two seccomp profiles, by what they admit: which calls, with which arguments, on which architectures. Order, grouping
//! and names that come twice make no difference.
//!
//! Where a profile's rules don't say exactly what is admitted (rules of opposite actions overlap, a comparison is not
//! known), the new side is taken as wide as it may be and the old one as narrow.

pub mod cube;

use std::collections::{BTreeMap, BTreeSet};

use self::cube::{Cube, comparison, product, without};
use super::{About, Change, Diff, Kind, Risk, risk};
use crate::{
    linux,
    recording::printable,
    seccomp::profile::{ActionName, Arg, Profile, Rule},
};

/// How much an action lets pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    /// Nothing.
    Denies,
    /// What somebody else decides: a supervisor, a tracer.
    Asks,
    /// Everything.
    Admits,
}

fn level(action: &ActionName) -> Level {
    match action.action.as_str() {
        "SCMP_ACT_NOTIFY" | "SCMP_ACT_TRACE" => Level::Asks,
        "SCMP_ACT_ERRNO"
        | "SCMP_ACT_KILL"
        | "SCMP_ACT_KILL_THREAD"
        | "SCMP_ACT_KILL_PROCESS"
        | "SCMP_ACT_TRAP" => Level::Denies,
        // ALLOW and LOG; and what no runtime takes.
        _ => Level::Admits,
    }
}

/// What a call gets, in words.
fn answer(action: &ActionName) -> String {
    match (action.action.as_str(), action.errno) {
        ("SCMP_ACT_ALLOW", _) => "is admitted".into(),
        ("SCMP_ACT_LOG", _) => "is admitted and logged".into(),
        ("SCMP_ACT_ERRNO", errno) => {
            // What runtimes give where none is named.
            let number = i32::try_from(errno.unwrap_or(1)).unwrap_or(0);
            format!("gets {:?}", nix::errno::Errno::from_raw(number))
        }
        ("SCMP_ACT_NOTIFY", _) => "is for a supervisor to decide".into(),
        ("SCMP_ACT_TRACE", _) => "is for a tracer to decide".into(),
        ("SCMP_ACT_TRAP", _) => "gets SIGSYS".into(),
        ("SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD", _) => "ends the thread".into(),
        ("SCMP_ACT_KILL_PROCESS", _) => "ends the process".into(),
        (other, _) => printable(other),
    }
}

/// A set of arguments between two bounds.
#[derive(Debug, Clone, Default)]
struct Bounds {
    /// It has no more than these.
    most: Vec<Cube>,
    /// And no less than these.
    least: Vec<Cube>,
}

/// What one rule's conditions admit.
fn conditions(args: &[Arg]) -> Bounds {
    let cubes: Option<Vec<Vec<Cube>>> =
        args.iter().map(|arg| comparison(&arg.op, arg.index, arg.value, arg.value_two)).collect();
    let Some(cubes) = cubes else { return Bounds { most: vec![Cube::ALL], least: vec![] } };
    let least = product(&cubes);
    let positions: BTreeSet<u32> = args.iter().map(|arg| arg.index).collect();
    // runc makes a rule with two conditions on one argument an alternative of all its conditions.
    let most = if positions.len() < args.len() { Some(cubes.concat()) } else { least.clone() };
    Bounds { most: most.unwrap_or_else(|| vec![Cube::ALL]), least: least.unwrap_or_default() }
}

/// The rules for one call.
struct Call<'a> {
    default: &'a ActionName,
    rules: Vec<&'a Rule>,
}

impl<'a> Call<'a> {
    fn of(profile: &'a Profile, name: &str) -> Self {
        let rules = profile.rules.iter().filter(|rule| rule.names.iter().any(|n| n == name)).collect();
        Self { default: &profile.default, rules }
    }

    /// What it is, whatever the file looks like.
    fn identity(&self) -> BTreeSet<String> {
        let rule = |rule: &&Rule| {
            let mut args: Vec<String> = rule.args.iter().map(|arg| format!("{arg:?}")).collect();
            args.sort();
            format!("{} {args:?} {}", answer(&rule.action), needed(rule))
        };
        self.rules.iter().map(rule).chain([format!("otherwise {}", answer(self.default))]).collect()
    }

    /// What is admitted at least at this level, in every container, and beside it where `depends` holds.
    fn admitted(&self, least_level: Level, depends: &str) -> Bounds {
        let mut admits = Bounds::default();
        let mut denies = Bounds::default();
        for rule in &self.rules {
            let depending = needed(rule);
            let bounds = conditions(&rule.args);
            let holds = depending.is_empty() || depending == depends;
            let side = if level(&rule.action) >= least_level { &mut admits } else { &mut denies };
            // A rule that may not be there is there for one bound alone.
            let for_most = holds;
            let is_denial = level(&rule.action) < least_level;
            if for_most || is_denial {
                side.most.extend(&bounds.most);
            }
            if holds {
                side.least.extend(&bounds.least);
            }
        }
        let open = level(self.default) >= least_level;
        let unknown = |cubes: Option<Vec<Cube>>, otherwise: Vec<Cube>| cubes.unwrap_or(otherwise);
        if open {
            let all = [Cube::ALL];
            let mut most = unknown(without(&all, &denies.least), all.to_vec());
            most.extend(admits.most);
            return Bounds { most, least: unknown(without(&all, &denies.most), vec![]) };
        }
        let least = unknown(without(&admits.least, &denies.most), vec![]);
        Bounds { most: admits.most, least }
    }
}

/// What a rule depends on, in words; empty for one that always holds.
fn needed(rule: &Rule) -> String {
    let mut all: Vec<String> = rule.depends_on.iter().map(ToString::to_string).collect();
    all.sort();
    all.join(" and ")
}

/// What `new` admits and `old` did not, and the reverse.
pub fn seccomp(old: &Profile, new: &Profile) -> Diff {
    let mut diff = Diff::default();
    architectures(old, new, &mut diff);
    defaults(old, new, &mut diff);
    let names = |profile: &Profile| -> BTreeSet<String> {
        profile.rules.iter().flat_map(|rule| rule.names.iter().cloned()).collect()
    };
    for name in names(old).union(&names(new)) {
        call(name, &Call::of(old, name), &Call::of(new, name), &mut diff);
    }
    if diff.is_empty() && old != new {
        diff.cosmetic.push(Change {
            kind: Kind::Text,
            what: "rules".into(),
            detail: "their order or grouping differs".into(),
            ..Change::default()
        });
    }
    diff.sort();
    diff
}

/// Without a list the profile is for the native architecture alone.
fn listed(profile: &Profile) -> BTreeSet<&str> {
    if profile.architectures.is_empty() {
        return BTreeSet::from(["SCMP_ARCH_X86_64"]);
    }
    profile.architectures.iter().map(String::as_str).collect()
}

fn architectures(old: &Profile, new: &Profile, diff: &mut Diff) {
    let (before, now) = (listed(old), listed(new));
    let change = |arch: &&str, risk: Risk| Change {
        kind: Kind::Architecture,
        what: printable(arch),
        detail: "every listed call on this architecture".into(),
        risk,
        reason: if risk == Risk::None {
            String::new()
        } else {
            "another table of calls, and less tested code of the kernel".into()
        },
        ..Change::default()
    };
    diff.added.extend(now.difference(&before).map(|arch| change(arch, Risk::Medium)));
    diff.removed.extend(before.difference(&now).map(|arch| change(arch, Risk::None)));
}

fn defaults(old: &Profile, new: &Profile, diff: &mut Diff) {
    let (before, now) = (&old.default, &new.default);
    if answer(before) == answer(now) {
        return;
    }
    let mut change = Change {
        kind: Kind::Default,
        what: "calls without a rule".into(),
        access: answer(now),
        detail: format!("before: {}", answer(before)),
        ..Change::default()
    };
    match level(now).cmp(&level(before)) {
        std::cmp::Ordering::Greater => {
            change.risk = Risk::Critical;
            change.reason = "what nobody listed is not denied any more".into();
            diff.added.push(change);
        }
        std::cmp::Ordering::Less => diff.removed.push(change),
        std::cmp::Ordering::Equal => diff.cosmetic.push(change),
    }
}

fn call(name: &str, old: &Call<'_>, new: &Call<'_>, diff: &mut Diff) {
    if old.identity() == new.identity() {
        return;
    }
    let (mut gained, mut lost) = (widening(name, old, new), widening(name, new, old));
    for change in &mut lost {
        (change.risk, change.reason) = (Risk::None, String::new());
    }
    // What is admitted is the same: what the rest gets may be another.
    let answers = |call: &Call<'_>| -> BTreeSet<String> {
        let rules = call.rules.iter().map(|rule| answer(&rule.action));
        let always = call.rules.iter().any(|rule| rule.args.is_empty() && rule.depends_on.is_empty());
        rules.chain((!always).then(|| answer(call.default))).collect()
    };
    let (before, now) = (answers(old), answers(new));
    let own_rules = !(old.rules.is_empty() && new.rules.is_empty());
    if gained.is_empty() && lost.is_empty() && own_rules {
        let words = |answers: &BTreeSet<String>| answers.iter().cloned().collect::<Vec<_>>().join(" or ");
        let detail = if before == now {
            "the same in other rules".to_owned()
        } else {
            format!("{} (before: {})", words(&now), words(&before))
        };
        diff.cosmetic.push(Change {
            kind: Kind::Syscall,
            what: printable(name),
            detail,
            ..Change::default()
        });
    }
    diff.added.append(&mut gained);
    diff.removed.append(&mut lost);
}

/// What `new` may admit of a call and `old` is not certain to.
fn widening(name: &str, old: &Call<'_>, new: &Call<'_>) -> Vec<Change> {
    let depends: BTreeSet<String> =
        new.rules.iter().map(|rule| needed(rule)).chain([String::new()]).collect();
    let mut out = Vec::new();
    // What was said of one level need not be said of the next.
    let mut told: Vec<(&str, Vec<Cube>)> = Vec::new();
    for least in [Level::Admits, Level::Asks] {
        let always = new.admitted(least, "").most;
        for depends in &depends {
            let (before, now) = (old.admitted(least, depends), new.admitted(least, depends));
            // What holds in every container was said already.
            let known = if depends.is_empty() { vec![] } else { always.clone() };
            let said = told.iter().filter(|(of, _)| of.is_empty() || of == depends);
            let held: Vec<Cube> = before
                .least
                .into_iter()
                .chain(known)
                .chain(said.flat_map(|(_, cubes)| cubes.clone()))
                .collect();
            let gained = match without(&now.most, &held) {
                Some(left) if left.is_empty() => continue,
                left => left,
            };
            told.push((depends, now.most.clone()));
            let mut detail = Vec::new();
            if least == Level::Asks {
                detail.push("for a supervisor or tracer to decide".to_owned());
            }
            if !depends.is_empty() {
                detail.push(format!("depends on {depends}"));
            }
            let was_there = !old.admitted(least, depends).most.is_empty();
            let changes = if was_there {
                arguments(name, &now.most, &held, gained.as_deref())
            } else {
                vec![whole(name, &now.most)]
            };
            out.extend(changes.into_iter().map(|change| Change { detail: detail.join(", "), ..change }));
        }
    }
    out
}

/// A call that was not admitted at all.
fn whole(name: &str, admitted: &[Cube]) -> Change {
    let any = admitted.contains(&Cube::ALL);
    let (mut risk, mut reason) = risk::call(name);
    if let Some((value, why)) = dangerous(name, admitted, &[]).into_iter().next()
        && risk < Risk::High
    {
        (risk, reason) = (Risk::High, format!("{value}: {why}"));
    }
    Change {
        kind: Kind::Syscall,
        what: printable(name),
        access: if any { String::new() } else { in_short(name, admitted) },
        risk,
        reason,
        about: if any {
            About::Call { name: name.to_owned(), arch: None }
        } else {
            About::Arguments { name: name.to_owned(), with: admitted.to_vec() }
        },
        ..Change::default()
    }
}

/// More than this are told by their number.
const LISTED: usize = 8;

/// More arguments of a call that was admitted with some.
fn arguments(name: &str, admitted: &[Cube], held: &[Cube], gained: Option<&[Cube]>) -> Vec<Change> {
    let change = |access: String, with: Vec<Cube>, (risk, reason): (Risk, String)| Change {
        kind: Kind::Argument,
        what: printable(name),
        access,
        risk,
        reason,
        about: About::Arguments { name: name.to_owned(), with },
        ..Change::default()
    };
    let judged = |cubes: &[Cube]| match dangerous(name, cubes, held).into_iter().next() {
        Some((value, why)) => (Risk::High, format!("{value}: {why}")),
        None => risk::arguments(name),
    };
    let Some(gained) = gained else {
        return vec![change("more than can be compared".into(), admitted.to_vec(), judged(admitted))];
    };
    if admitted.contains(&Cube::ALL) {
        return vec![change("any".into(), gained.to_vec(), judged(admitted))];
    }
    // As the rules have them, but those that were admitted before.
    let new: BTreeSet<Cube> = admitted
        .iter()
        .filter(|cube| without(&[**cube], held).is_none_or(|left| !left.is_empty()))
        .copied()
        .collect();
    if new.len() > LISTED {
        let named = dangerous(name, admitted, held);
        if !named.is_empty() {
            let of = |value: &str| {
                risk::values(name).into_iter().filter(|v| v.0 == value).flat_map(|v| v.2).collect()
            };
            return named
                .into_iter()
                .map(|(value, why)| change(value.to_owned(), of(value), (Risk::High, why)))
                .collect();
        }
        let cubes: Vec<Cube> = new.into_iter().collect();
        return vec![change(in_short(name, &cubes), gained.to_vec(), judged(&cubes))];
    }
    // What is left of the rules may be said in fewer words than the rules.
    let exact = gained.len() <= new.len();
    let shown: BTreeSet<Cube> = if exact { gained.iter().copied().collect() } else { new };
    shown.into_iter().map(|cube| change(described(name, &cube), vec![cube], judged(&[cube]))).collect()
}

/// The dangerous values that are among `cubes`, and not in `held`.
fn dangerous(name: &str, cubes: &[Cube], held: &[Cube]) -> Vec<(&'static str, String)> {
    let among = |value: &[Cube]| {
        let both: Vec<Cube> =
            value.iter().flat_map(|v| cubes.iter().filter_map(|cube| cube.and(v))).collect();
        without(&both, held).is_none_or(|left| !left.is_empty())
    };
    risk::values(name)
        .into_iter()
        .filter(|(_, _, value)| among(value))
        .map(|(name, why, _)| (name, why))
        .collect()
}

fn in_short(name: &str, cubes: &[Cube]) -> String {
    match cubes {
        cubes if cubes.len() <= LISTED => {
            let all: BTreeSet<String> = cubes.iter().map(|cube| described(name, cube)).collect();
            all.into_iter().collect::<Vec<_>>().join(" or ")
        }
        cubes => format!("{} sets of arguments", cubes.len()),
    }
}

/// The conditions in words, with the names of sockets.
pub(super) fn described(name: &str, cube: &Cube) -> String {
    const LOW: u64 = 0xffff_ffff;
    let is_socket = matches!(name, "socket" | "socketpair");
    let parts: BTreeMap<u8, (u64, u64)> =
        cube.parts().map(|(index, mask, value)| (index, (mask, value))).collect();
    let number = |value: u64| u16::try_from(value).ok();
    let shown = parts.iter().map(|(index, (mask, value))| match (index, *mask) {
        (0, LOW | u64::MAX) if is_socket => match number(*value).and_then(linux::family) {
            Some(family) => format!("AF_{}", family.to_ascii_uppercase()),
            None => format!("family {value}"),
        },
        (1, 0xf) if is_socket => match number(*value).and_then(linux::socket_type) {
            Some(kind) => format!("SOCK_{}", kind.to_ascii_uppercase()),
            None => format!("type {value}"),
        },
        (_, LOW | u64::MAX) => format!("arg{index} = {value:#x}"),
        (_, mask) => format!("arg{index} & {mask:#x} = {value:#x}"),
    });
    let shown: Vec<String> = shown.collect();
    if shown.is_empty() { "any".into() } else { shown.join(", ") }
}

#[cfg(test)]
mod tests;
