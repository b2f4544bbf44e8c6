//! From recordings, requirements and verdicts to a document: what it says and in which order.

mod allowed;
mod measured;
mod network;
mod refused;
mod verdict;

use super::{Block, Cell, Document, Figure, Input, Mark, Section, count, findings, safe};
use crate::{
    output::grouped,
    recording::{BytePath, Recording},
    requirements::{Evidence, Requirements},
    verify::{Verdicts, attacks::Judged, filters::Filters},
    width::{self, Width},
};

/// How many rows a table has at most.
const ROWS: usize = 400;

/// What a report is made of.
#[derive(Debug)]
pub struct Subject<'a> {
    /// The files.
    pub inputs: Vec<Input>,
    /// The recordings, each with its name; their file accesses are in `needs` and `refused`, and may be left out.
    pub recordings: &'a [(String, Recording)],
    /// Accesses to files that a security module refused.
    pub refused: &'a [Refused],
    /// How many attempts to access files failed for other reasons.
    pub failed: u64,
    /// What the recordings need.
    pub needs: &'a Requirements,
    /// What the files do with it; absent where no file was given.
    pub verdicts: Option<&'a Verdicts>,
    /// Which attacks the files deny.
    pub judged: Option<&'a Judged>,
    /// The seccomp profile, compiled.
    pub filters: Option<&'a Filters>,
    /// How much the files admit.
    pub width: &'a Width,
    /// What the runtime itself calls: the reason for what is allowed and was not seen.
    pub runtime: Option<(&'static str, std::collections::BTreeSet<String>)>,
}

/// An access that a security module refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The path.
    pub path: BytePath,
    /// The letters.
    pub access: String,
    /// What the caller got.
    pub error: String,
    /// Who.
    pub by: String,
    /// How often.
    pub count: u64,
}

/// Makes the document.
pub fn document(subject: &Subject<'_>) -> Document {
    let calls = subject.width.syscalls.as_ref();
    let unused = calls.and_then(|calls| calls.unused.as_deref()).unwrap_or_default();
    let found = findings::all(subject.needs, subject.filters, subject.verdicts, unused);
    let (verdict, reasons) = verdict::headline(subject, &found);
    Document {
        subject: name(subject),
        verdict,
        reasons,
        figures: figures(subject),
        sections: vec![
            verdict::section(subject, &found),
            allowed::section(subject),
            refused::section(subject),
            measured::section(subject),
        ],
        inputs: subject.inputs.clone(),
        verified: subject.verdicts.is_some(),
        complete: subject.recordings.iter().all(|(_, recording)| recording.complete),
    }
}

/// What was recorded: the container, the command, or the cgroup.
fn name(subject: &Subject<'_>) -> String {
    let mut names: Vec<String> = Vec::new();
    for (_, recording) in subject.recordings {
        let target = &recording.target;
        let name = match &target.container {
            Some(container) => format!("container {}", safe(&container.name)),
            None if target.command.is_empty() => format!("cgroup {}", target.cgroup),
            None => {
                let words: Vec<String> = target.command.iter().map(ToString::to_string).collect();
                words.join(" ")
            }
        };
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let more = names.len().saturating_sub(1);
    let first = names.into_iter().next().unwrap_or_default();
    let short: String = first.chars().take(160).collect();
    let cut = if short.len() < first.len() { "…" } else { "" };
    if more == 0 { format!("{short}{cut}") } else { format!("{short}{cut} and {more} more") }
}

fn figures(subject: &Subject<'_>) -> Vec<Figure> {
    let needs = subject.needs;
    let used = count(&needs.syscalls.keys().collect::<Vec<_>>());
    let of = width::DOCKER_DEFAULT as u64;
    let (value, label, beside) = match &subject.width.syscalls {
        Some(calls) => (
            grouped(calls.allowed as u64),
            "system calls allowed",
            format!("{} used; Docker's default allows {of}", grouped(used)),
        ),
        None => (grouped(used), "system calls used", format!("Docker's default allows {of}")),
    };
    let paths = needs.files.len() as u64;
    let written = needs.files.iter().filter(|need| need.access().intersects(super::tree::WRITES)).count();
    let executed = needs.files.iter().filter(|need| need.access().intersects(super::tree::EXECUTES)).count();
    let mut out = vec![
        Figure { value, label, beside },
        Figure {
            value: grouped(paths),
            label: "paths used",
            beside: format!("{} written, {} made code of", grouped(written as u64), grouped(executed as u64)),
        },
        Figure {
            value: grouped(needs.network.len() as u64),
            label: "kinds of sockets",
            beside: needs
                .network
                .keys()
                .map(|key| format!("{} {}", safe(&key.family.1), safe(&key.socket_type.1)))
                .take(4)
                .collect::<Vec<_>>()
                .join(", "),
        },
        Figure {
            value: if needs.unobserved.contains("capabilities") {
                "?".into()
            } else {
                grouped(needs.capabilities.len() as u64)
            },
            label: "capabilities used",
            beside: if needs.unobserved.contains("capabilities") {
                "not observed on this kernel".into()
            } else {
                needs.capabilities.keys().map(|name| safe(name)).take(4).collect::<Vec<_>>().join(", ")
            },
        },
    ];
    if let Some(judged) = subject.judged {
        out.push(Figure {
            value: format!("{} of {}", grouped(judged.denied), grouped(judged.checked)),
            label: "known attacks denied",
            beside: format!("{} not for these files to deny", judged.not_asked.len() + judged.noted.len()),
        });
    }
    out
}

/// Who, when first, how often: the last columns of a table of needs.
fn evidence(evidence: &Evidence) -> [Cell; 3] {
    let first = evidence.first_ms.map_or_else(|| "–".to_owned(), super::duration);
    [Cell::Code(evidence.who()), Cell::Text(first), Cell::Number(evidence.count)]
}

/// A judgement as a block.
fn mark(mark: Mark, text: impl Into<String>) -> Block {
    Block::Mark(mark, text.into())
}

/// The first of `list`, and how many there are beside.
fn shown<T>(list: &[T], rows: usize) -> (&[T], u64) {
    let shown = list.get(..rows).unwrap_or(list);
    (shown, count(list) - count(shown))
}

fn section(id: &'static str, title: &'static str, blocks: Vec<Block>) -> Section {
    Section { id, title, blocks }
}
