//! What is dangerous in what recordings ask for, and in what files let through.

use std::collections::{BTreeMap, BTreeSet};

use super::{Cell, Mark, Table, safe};
use crate::{
    policy::{danger, danger_paths},
    recording::BytePath,
    requirements::{Evidence, Requirements},
    seccomp::arch::Arch,
    verify::{
        Kind, Verdicts,
        filters::{Answer, Filters, registers},
    },
};

/// Something dangerous.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    /// What `--allow` names it by.
    pub what: String,
    /// What it is dangerous for.
    pub reason: String,
    /// Who asked.
    pub who: String,
    /// How often, and when first.
    pub count: u64,
    pub first_ms: Option<u64>,
    pub state: State,
}

/// What became, or becomes, of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum State {
    /// The files let it through.
    Open,
    /// It was asked for; no file says whether it is let through.
    Asked,
    /// The files let it through, and no recording asked for it.
    Unused,
    /// The files deny it.
    Denied,
    /// A filter refused it while it was recorded, and the target went on.
    Survived,
}

impl State {
    /// What it means, for people.
    pub fn words(self) -> (Mark, &'static str) {
        match self {
            Self::Open => (Mark::Bad, "used, and the files let it through"),
            Self::Asked => (Mark::Bad, "used; no file was given that decides about it"),
            Self::Unused => (Mark::Bad, "let through, and never used"),
            Self::Denied => (Mark::Warn, "used, and the files deny it"),
            Self::Survived => (Mark::Good, "refused while it was recorded, and the target went on"),
        }
    }
}

/// All of them, the worst first.
pub(super) fn all(
    needs: &Requirements,
    filters: Option<&Filters>,
    verdicts: Option<&Verdicts>,
    unused: &[&str],
) -> Vec<Finding> {
    let mut out: BTreeMap<(State, String), Finding> = BTreeMap::new();
    let mut add = |what: String, reason: &str, evidence: &Evidence, state: State| {
        let new = Finding {
            who: evidence.who(),
            count: evidence.count,
            first_ms: evidence.first_ms,
            reason: reason.to_owned(),
            what: what.clone(),
            state,
        };
        out.entry((state, what)).or_insert(new);
    };
    for ((arch, name), need) in &needs.syscalls {
        let state = |tuple: &BTreeMap<u8, u64>| match (filters, Arch::from_name(arch)) {
            (Some(filters), Some(arch)) => match filters.answer(name, &registers(arch, need.nr, tuple)) {
                Answer::Blocked(_) => State::Denied,
                _ => State::Open,
            },
            _ => State::Asked,
        };
        if let Some(reason) = danger::reason(danger::SYSCALLS, name) {
            add(safe(name), reason, &need.evidence, state(&BTreeMap::new()));
        }
        for (tuple, evidence) in &need.args {
            for (what, reason) in danger::in_arguments(name, tuple) {
                add(what.to_owned(), &reason, evidence, state(tuple));
            }
        }
    }
    // What a profile says of files and capabilities is in the verdicts.
    let apparmor = verdicts.filter(|verdicts| verdicts.checked.files > 0);
    let denied = |kind: Kind, start: &str| {
        apparmor.map_or(State::Asked, |verdicts| {
            let is = verdicts.blocked.iter().any(|b| b.kind == kind && b.what.starts_with(start));
            if is { State::Denied } else { State::Open }
        })
    };
    for (name, (_, evidence)) in &needs.capabilities {
        if let Some(reason) = danger::reason(danger::CAPABILITIES, name) {
            add(format!("capability {}", safe(name)), reason, evidence, denied(Kind::Capability, name));
        }
    }
    for need in needs.files.iter() {
        if let Some(danger) = danger_paths::of(need.path(), need.access()) {
            let path = BytePath::from(need.path()).to_string();
            let state = denied(Kind::File, &format!("{path} "));
            add(path, danger.reason, &need.evidence(need.access()), state);
        }
    }
    for ((_, name), need) in &needs.survived {
        match danger::reason(danger::SYSCALLS, name) {
            Some(reason) => add(safe(name), reason, &need.evidence, State::Survived),
            None => {
                for (tuple, evidence) in &need.args {
                    for (what, reason) in danger::in_arguments(name, tuple) {
                        add(what.to_owned(), &reason, evidence, State::Survived);
                    }
                }
            }
        }
    }
    let used: BTreeSet<&str> = needs.syscalls.keys().map(|(_, name)| name.as_str()).collect();
    for name in unused.iter().filter(|name| !used.contains(*name)) {
        if let Some(reason) = danger::reason(danger::SYSCALLS, name) {
            add((*name).to_owned(), reason, &Evidence::default(), State::Unused);
        }
    }
    out.into_values().collect()
}

/// As a table.
pub(super) fn table(findings: &[Finding]) -> Table {
    let rows = findings.iter().map(|finding| {
        let (mark, words) = finding.state.words();
        let who = if finding.state == State::Unused { "nobody".to_owned() } else { finding.who.clone() };
        let first = finding.first_ms.map_or_else(|| "–".to_owned(), super::duration);
        vec![
            Cell::Code(finding.what.clone()),
            Cell::Text(finding.reason.clone()),
            Cell::Mark(mark, words.to_owned()),
            Cell::Code(who),
            Cell::Text(first),
            Cell::Number(finding.count),
        ]
    });
    Table {
        caption: "Dangerous things that were asked for, or that the files let through".into(),
        head: vec!["what", "what it can do", "state", "who", "first", "times"],
        rows: rows.collect(),
        ..Table::default()
    }
}
