//! Two `AppArmor` profiles, by their rules: what a rule stands for, and what else in a profile gives or takes.

use std::collections::BTreeSet;

use super::{
    Diff, Risk,
    grants::{Atom, Grant, Grants, compare},
};
use crate::{
    apparmor::{
        glob::Glob,
        text::{self, Block, Source, Word, line_of},
    },
    error::Result,
    recording::printable,
};

/// What the text of a `new` profile allows and an `old` one did not, and the reverse. Errors name a text that is no
/// profile.
pub fn apparmor(old: &str, new: &str) -> Result<Diff> {
    let (old, new) = (text::read(old, "the old file")?, text::read(new, "the new file")?);
    Ok(of_sources(&old, &new))
}

/// As [`apparmor`], of what was read already.
pub fn of_sources(old: &Source, new: &Source) -> Diff {
    // One profile in each file: a new name makes it no other one.
    let named = old.profiles.len() != 1 || new.profiles.len() != 1;
    let mut diff = compare(&grants(old, named), &grants(new, named));
    if !named {
        let name = |source: &Source| source.profiles.first().map(|block| block.name.clone());
        if let (Some(old), Some(new)) = (name(old), name(new))
            && old != new
        {
            diff.cosmetic.push(super::Change {
                what: printable(&new),
                detail: format!("was named {}", printable(&old)),
                ..super::Change::default()
            });
        }
    }
    redefined(old, new, &mut diff);
    diff.sort();
    diff
}

/// Variables that both sides' rules use, with other values. Where one side alone uses it, its rules differ anyway.
fn redefined(old: &Source, new: &Source, diff: &mut Diff) {
    let (used_before, used_now) = (used(old), used(new));
    for name in used_before.intersection(&used_now) {
        let values = |source: &Source| source.variables.get(name).cloned().unwrap_or_default();
        let (before, now) = (values(old), values(new));
        let change = |value: &String, given: bool| super::Change {
            what: printable(&format!("@{{{name}}}")),
            access: printable(value),
            detail: "a value of a variable".into(),
            risk: if given { Risk::Medium } else { Risk::None },
            reason: if given { "every rule with the variable has it".into() } else { String::new() },
            ..super::Change::default()
        };
        diff.added.extend(now.difference(&before).map(|value| change(value, true)));
        diff.removed.extend(before.difference(&now).map(|value| change(value, false)));
    }
}

/// The variables that its rules, and the values of its variables, have.
fn used(source: &Source) -> BTreeSet<String> {
    let mut out = BTreeSet::new();
    let mut add = |text: &str| {
        out.extend(Glob::parse(text).variables().into_iter().map(str::to_owned));
    };
    source.variables.values().flatten().for_each(|value| add(value));
    let mut open: Vec<&Block> = source.profiles.iter().collect();
    while let Some(block) = open.pop() {
        block.rules.iter().flatten().for_each(|word| add(&word.text));
        open.extend(&block.children);
    }
    out
}

/// All that the file permits.
fn grants(source: &Source, named: bool) -> Grants {
    let mut out = Grants { atoms: BTreeSet::new(), variables: source.variables.clone() };
    let mut add = |line: String| {
        let grant = Grant::Other { line, takes: false };
        out.atoms.insert(Atom { profile: String::new(), deny: false, grant });
    };
    source.preamble.iter().cloned().for_each(&mut add);
    for block in &source.profiles {
        profile(block, if named { &block.name } else { "" }, &block.name, &mut out.atoms);
    }
    out
}

fn profile(block: &Block, place: &str, own: &str, out: &mut BTreeSet<Atom>) {
    let mut add = |deny: bool, grant: Grant| {
        out.insert(Atom { profile: place.to_owned(), deny, grant });
    };
    for flag in &block.flags {
        let line = format!("flags=({flag})");
        match flag.as_str() {
            "enforce" | "audit" => {}
            // The profile denies nothing, or less.
            "complain" | "unconfined" | "default_allow" | "prompt" => {
                add(false, Grant::Class { class: "flags".into(), rest: flag.clone() });
            }
            "attach_disconnected" | "mediate_deleted" | "chroot_relative" | "namespace_relative" => {
                add(false, Grant::Class { class: "flag".into(), rest: flag.clone() });
            }
            "kill" | "no_attach_disconnected" | "delegate_deleted" => {
                add(false, Grant::Other { line, takes: true });
            }
            _ => add(false, Grant::Other { line, takes: false }),
        }
    }
    if !block.attachment.is_empty() {
        add(false, Grant::Other { line: format!("attaches to {}", block.attachment), takes: false });
    }
    for include in &block.includes {
        add(false, Grant::Class { class: "include".into(), rest: after_keyword(include) });
    }
    for rule in &block.rules {
        for (deny, grant) in atoms(rule, own) {
            add(deny, grant);
        }
    }
    for child in &block.children {
        let place = format!("{place}//{}", child.name);
        // An empty child denies everything; that it is there is no permission.
        profile(child, &place, &child.name, out);
    }
}

fn after_keyword(line: &str) -> String {
    line.split_once(' ').map_or(line, |(_, rest)| rest).to_owned()
}

/// Classes of rules that give what they name, and all of it without further words.
const CLASSES: [&str; 14] = [
    "file",
    "mount",
    "remount",
    "umount",
    "unmount",
    "pivot_root",
    "unix",
    "dbus",
    "change_profile",
    "userns",
    "mqueue",
    "io_uring",
    "all",
    "change_hat",
];

/// What a rule stands for, and whether it denies that.
fn atoms(rule: &[Word], own: &str) -> Vec<(bool, Grant)> {
    let mut words = rule;
    let (mut deny, mut owner) = (false, false);
    while let Some((first, rest)) = words.split_first().filter(|(word, _)| !word.quoted) {
        match first.text.as_str() {
            "audit" | "quiet" | "allow" => {}
            "deny" => deny = true,
            "owner" => owner = true,
            _ => break,
        }
        words = rest;
    }
    let grants = known(words, owner, own).unwrap_or_else(|| {
        let takes = words.first().is_some_and(|word| word.text == "set") && !deny;
        let line = if deny || !owner { line_of(words) } else { format!("owner {}", line_of(words)) };
        vec![Grant::Other { line, takes }]
    });
    grants.into_iter().map(|grant| (deny, grant)).collect()
}

fn known(words: &[Word], owner: bool, own: &str) -> Option<Vec<Grant>> {
    let (first, rest) = words.split_first()?;
    let keyword = if first.quoted { "" } else { first.text.as_str() };
    match keyword {
        "capability" | "network" if owner => None,
        "capability" if rest.is_empty() => Some(vec![Grant::Capability(None)]),
        "capability" => Some(rest.iter().map(|word| Grant::Capability(Some(word.text.clone()))).collect()),
        "network" => {
            let word = |at: usize| rest.get(at).map(|word| word.text.clone());
            // `network tcp`, `network inet tcp`, and addresses stay as they are.
            let plain = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            (rest.len() <= 2 && rest.iter().all(|word| plain(&word.text)))
                .then(|| vec![Grant::Network { family: word(0), socket: word(1) }])
        }
        "signal" if !owner => signal(rest, own),
        "ptrace" if !owner => ptrace(rest, own),
        "link" => link(rest, owner),
        "file" if !rest.is_empty() => file(rest, owner),
        class if CLASSES.contains(&class) && !owner => {
            let class = if class == "unmount" { "umount" } else { class };
            Some(vec![Grant::Class { class: class.to_owned(), rest: line_of(rest) }])
        }
        _ => file(words, owner),
    }
}

/// A path, whose variables' values are part of it: `None` if a word can't be one.
fn path(word: &Word) -> Option<Glob> {
    let starts = ["/", "@{", "{", "\\", "*", "["].iter().any(|start| word.text.starts_with(start));
    starts.then(|| Glob::parse(&word.text))
}

/// `/path rw,`, `rw /path,`.
fn file(words: &[Word], owner: bool) -> Option<Vec<Grant>> {
    let [a, b] = words else { return None };
    let (path, letters) = match (path(a), path(b)) {
        (Some(path), None) if !b.quoted => (path, letters(&b.text)?),
        (None, Some(path)) if !a.quoted => (path, letters(&a.text)?),
        _ => return None,
    };
    Some(letters.into_iter().map(|letter| Grant::File { path: path.clone(), owner, letter }).collect())
}

/// Letters, one by one; a way to execute is one.
fn letters(text: &str) -> Option<Vec<String>> {
    let mut out = BTreeSet::new();
    let mut way = String::new();
    for c in text.chars() {
        match c {
            'r' | 'w' | 'a' | 'k' | 'l' | 'm' if way.is_empty() => drop(out.insert(c.to_string())),
            'p' | 'P' | 'c' | 'C' | 'u' | 'U' | 'i' => way.push(c),
            'x' => {
                way.push('x');
                out.insert(std::mem::take(&mut way));
            }
            _ => return None,
        }
    }
    (way.is_empty() && !out.is_empty()).then(|| out.into_iter().collect())
}

/// `link [subset] /new -> /existing,`.
fn link(words: &[Word], owner: bool) -> Option<Vec<Grant>> {
    let [new, arrow, existing] = words else { return None };
    (!arrow.quoted && arrow.text == "->")
        .then(|| Some(vec![Grant::Link { new: path(new)?, existing: path(existing)?, owner }]))?
}

/// `(send, receive) set=(hup, int) peer=NAME`.
fn signal(words: &[Word], own: &str) -> Option<Vec<Grant>> {
    let mut accesses = Vec::new();
    let mut signals = Vec::new();
    let mut peer = None;
    for word in words {
        if let Some(name) = word.text.strip_prefix("peer=") {
            peer = Some(named(name, own));
        } else if let Some(set) = word.text.strip_prefix("set=") {
            signals.extend(listed(set));
        } else {
            accesses.extend(listed(&word.text));
        }
    }
    let accesses = expanded(
        &accesses,
        &[("r", "receive"), ("w", "send"), ("read", "receive"), ("write", "send")],
        &["send", "receive"],
    )?;
    let signals: Vec<Option<String>> =
        if signals.is_empty() { vec![None] } else { signals.into_iter().map(Some).collect() };
    let each = accesses.iter().flat_map(|letter| {
        let peer = &peer;
        signals.iter().map(move |signal| Grant::Signal {
            letter: letter.clone(),
            signal: signal.clone(),
            peer: peer.clone(),
        })
    });
    Some(each.collect())
}

/// `(read, readby) peer=NAME`.
fn ptrace(words: &[Word], own: &str) -> Option<Vec<Grant>> {
    let mut accesses = Vec::new();
    let mut peer = None;
    for word in words {
        match word.text.strip_prefix("peer=") {
            Some(name) => peer = Some(named(name, own)),
            None => accesses.extend(listed(&word.text)),
        }
    }
    let all = ["read", "readby", "trace", "tracedby"];
    let accesses = expanded(&accesses, &[("r", "read"), ("w", "trace")], &all)?;
    Some(accesses.into_iter().map(|letter| Grant::Ptrace { letter, peer: peer.clone() }).collect())
}

/// The words of `(a, b)`, or of `a`.
fn listed(text: &str) -> Vec<String> {
    let inner = text.strip_prefix('(').and_then(|text| text.strip_suffix(')')).unwrap_or(text);
    inner.split([',', ' ', '\t', '\n']).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// With short forms made long, all where none is named; `None` if one is not known.
fn expanded(named: &[String], short: &[(&str, &str)], all: &[&str]) -> Option<BTreeSet<String>> {
    if named.is_empty() {
        return Some(all.iter().map(|word| (*word).to_owned()).collect());
    }
    let mut out = BTreeSet::new();
    for word in named {
        match (word.as_str(), short.iter().find(|(from, _)| from == word)) {
            ("rw", _) => out.extend(short.iter().map(|(_, to)| (*to).to_owned())),
            (_, Some((_, to))) => drop(out.insert((*to).to_owned())),
            (word, None) if all.contains(&word) => drop(out.insert(word.to_owned())),
            _ => return None,
        }
    }
    Some(out)
}

/// A peer's name; the profile's own is the same whatever it is.
fn named(name: &str, own: &str) -> String {
    let name = name.trim_matches('"');
    if name == own { "@{profile_name}".to_owned() } else { name.to_owned() }
}

#[cfg(test)]
mod tests;
