//! For code hosts.

use serde_json::{Value, json};

use super::{beside, named};
use crate::{
    diff::{Diff, Kind, Risk},
    sarif::{self, Found, Level, Rule, plain},
};

/// For code hosts: SARIF 2.1.0, a result for each new privilege.
pub fn sarif(diff: &Diff) -> Value {
    let mut kinds: Vec<Kind> = diff.added.iter().map(|change| change.kind).collect();
    kinds.sort();
    kinds.dedup();
    let names: Vec<(String, String)> = kinds
        .iter()
        .map(|kind| (format!("new-{}", kind.name()), format!("A new privilege: {}", about(*kind))))
        .collect();
    let rules: Vec<Rule<'_>> = names
        .iter()
        .map(|(id, short)| Rule {
            id,
            short,
            full: "The new side allows, or needs, what the old one did not.",
            help: "Find out why it is needed. If it is right, approve it; if not, keep the old profile.",
        })
        .collect();
    let found: Vec<Found<'_>> = diff
        .added
        .iter()
        .zip(diff.added.iter().map(|change| kinds.iter().position(|kind| *kind == change.kind)))
        .filter_map(|(change, at)| {
            let beside = beside(change);
            let beside = if beside.is_empty() { beside } else { format!(" ({beside})") };
            let message = format!("new {} {}: {}{beside}", change.kind, named(change), change.reason);
            Some(Found {
                rule: names.get(at?)?.0.as_str(),
                level: level(change.risk),
                message: plain(&message),
                subject: &change.what,
                file: change.file.as_deref().map(|file| (file, None)),
                properties: json!({"risk": change.risk.name()}),
            })
        })
        .collect();
    sarif::log("diff", &rules, &found)
}

fn level(risk: Risk) -> Level {
    match risk {
        Risk::None | Risk::Low => Level::Note,
        Risk::Medium => Level::Warning,
        Risk::High | Risk::Critical => Level::Error,
    }
}

fn about(kind: Kind) -> &'static str {
    match kind {
        Kind::Syscall => "a system call",
        Kind::Argument => "arguments of a system call",
        Kind::Architecture => "an architecture",
        Kind::Default => "what is not listed",
        Kind::Exec => "a program that is executed",
        Kind::File => "an access to files",
        Kind::Link => "a hard link",
        Kind::Network => "sockets of a family and type",
        Kind::Address => "an address",
        Kind::Capability => "a capability",
        Kind::Signal => "signals",
        Kind::Ptrace => "looking into other processes",
        Kind::Rule => "a rule",
        Kind::Text => "a file's text",
    }
}
