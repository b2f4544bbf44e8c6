//! `report`: recordings, and what files let through of them, as a page that a security reviewer prints and signs: the
//! verdict first, then what is allowed and why, then what was refused, then how it was measured.
//!
//! [`facts`] makes a [`Document`] of recordings, requirements and verdicts; [`html`], [`text`] and [`image`] show it.
//! Pure: no clock, no look at the host, the same bytes for the same input. Nothing recorded is trusted: every string
//! gets into a document through [`safe`] or [`BytePath`]'s own form, and markup is made by `maud` and `plotters`,
//! which escape what they are given.

pub mod facts;
mod findings;
pub mod html;
pub mod image;
pub mod plot;
pub mod text;
mod tree;

use crate::{output::duration, recording::printable};

/// How good a thing is. Never shown by colour alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mark {
    /// As it should be.
    Good,
    /// A person has to look.
    Warn,
    /// Not as it should be.
    Bad,
}

impl Mark {
    /// The sign that stands for it.
    pub fn sign(self) -> &'static str {
        match self {
            Self::Good => "✓",
            Self::Warn => "!",
            Self::Bad => "✗",
        }
    }
}

/// What one place of a table shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cell {
    /// Words.
    Text(String),
    /// A name: a path, a call.
    Code(String),
    /// A count.
    Number(u64),
    /// A judgement.
    Mark(Mark, String),
}

/// Rows with one header each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Table {
    /// What it shows.
    pub caption: String,
    /// The columns' names.
    pub head: Vec<&'static str>,
    /// The rows; the first cell is the row's header.
    pub rows: Vec<Vec<Cell>>,
    /// How many rows were left out.
    pub more: u64,
    /// Whether it is folded away until somebody opens it. Such tables are not in the terminal's summary.
    pub folded: bool,
}

/// A bar of a chart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bar {
    /// What it is of.
    pub label: String,
    /// Its parts, one after the other, each with what it means.
    pub parts: Vec<(u64, Role)>,
    /// What is written at its end.
    pub value: String,
    /// The whole that it is a part of, if not that of the chart's longest bar.
    pub of: Option<u64>,
    /// Where a limit lies.
    pub limit: Option<u64>,
}

/// When, and how many distinct system calls and paths there were by then.
pub type Point = (u64, u64, u64);

/// One run's curves of how many distinct facts there were by when.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Curve {
    /// The recording.
    pub name: String,
    /// Milliseconds, calls, paths.
    pub points: Vec<Point>,
    /// How long the run took, in milliseconds.
    pub duration_ms: u64,
}

/// A folder, or what is left of one beside the folders below it that are shown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Folder {
    /// How deep it is shown.
    pub depth: usize,
    /// Its name, from the shown folder above on.
    pub name: String,
    /// Its whole path.
    pub path: String,
    /// Paths in it: all, read, written, executed.
    pub counts: [u64; 4],
}

/// When something was first and last seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// What.
    pub label: String,
    /// First, in milliseconds of the run.
    pub first_ms: u64,
    /// Last.
    pub last_ms: u64,
    /// Whether it was given.
    pub role: Role,
    /// What is written beside it.
    pub note: String,
}

/// What a plot is drawn of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Data {
    /// Bars beside each other; what the colours of several parts mean.
    Bars(Vec<Bar>, Vec<(Role, &'static str)>),
    /// Distinct facts over the time of runs.
    Curves(Vec<Curve>),
    /// Folders with how many paths were read, written, executed.
    Tree(Vec<Folder>),
    /// Spans on the time of the longest run, in milliseconds; what the colours mean.
    Spans(Vec<Span>, u64, Vec<(Role, &'static str)>),
}

/// What a colour stands for. The colours themselves are the stylesheet's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Role {
    Ink,
    Muted,
    Grid,
    Track,
    Read,
    Write,
    Execute,
    Good,
    Warn,
    Bad,
}

/// A plot, with what it says in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plot {
    /// What `--png` names it by.
    pub id: &'static str,
    /// What it shows.
    pub title: String,
    /// What can be seen in it, for those who can't see it.
    pub description: String,
    /// What it is drawn of.
    pub data: Data,
}

/// The plots that a report may have, with what they show.
pub const PLOTS: [(&str, &str); 8] = [
    ("verdicts", "replayed facts by kind and verdict"),
    ("calls", "allowed system calls against Docker's default and all"),
    ("executables", "system calls by executable"),
    ("files", "the file tree by permission"),
    ("network", "network endpoints over time"),
    ("capabilities", "capabilities over time"),
    ("resources", "peaks of resources against limits"),
    ("saturation", "system calls and paths over the run"),
];

/// A part of a section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Block {
    /// A heading within the section.
    Heading(&'static str),
    /// A sentence.
    Text(String),
    /// A judgement in a sentence.
    Mark(Mark, String),
    /// Rows.
    Table(Table),
    /// A picture.
    Plot(Plot),
}

/// A section of the page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// Its anchor.
    pub id: &'static str,
    /// Its heading.
    pub title: &'static str,
    /// What is in it.
    pub blocks: Vec<Block>,
}

/// A file that the report is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// What it is.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// SHA-256 of its bytes, in hexadecimal.
    pub sha256: String,
}

/// What everybody looks at first: a number with its unit and what to compare it with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Figure {
    /// The number.
    pub value: String,
    /// What it counts.
    pub label: &'static str,
    /// What to compare it with.
    pub beside: String,
}

/// The whole report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// What was recorded.
    pub subject: String,
    /// The answer.
    pub verdict: (Mark, String),
    /// Its reasons, the worst first.
    pub reasons: Vec<(Mark, String)>,
    /// The numbers.
    pub figures: Vec<Figure>,
    /// The sections.
    pub sections: Vec<Section>,
    /// The files that it is made of.
    pub inputs: Vec<Input>,
    /// Whether files were given that the recordings were replayed through.
    pub verified: bool,
    /// Whether no recording lost anything.
    pub complete: bool,
}

impl Document {
    /// The plots, in the order of the page.
    pub fn plots(&self) -> impl Iterator<Item = &Plot> {
        self.sections.iter().flat_map(|section| &section.blocks).filter_map(|block| match block {
            Block::Plot(plot) => Some(plot),
            _ => None,
        })
    }
}

/// A string of a file that somebody else wrote, so that it can be shown.
fn safe(text: &str) -> String {
    printable(text)
}

/// A size as people say it: `512 B`, `13.7 MiB`.
fn size(bytes: u64) -> String {
    let mut unit = 1u64;
    for name in ["B", "KiB", "MiB", "GiB", "TiB"] {
        let next = unit.saturating_mul(1024);
        if bytes < next || name == "TiB" {
            let tenths = u128::from(bytes) * 10 / u128::from(unit);
            return if name == "B" {
                format!("{bytes} B")
            } else {
                format!("{}.{} {name}", tenths / 10, tenths % 10)
            };
        }
        unit = next;
    }
    format!("{bytes} B")
}

/// A list's length as the counts here are.
fn count<T>(list: &[T]) -> u64 {
    u64::try_from(list.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
