//! `audit`: what stands open in a container's configuration, or in what is in force on a running one.
//!
//! Each check of [`checks::TABLE`] looks at one thing and says: passed, found, not applicable, or that it can't be told
//! from this source. The last is listed apart: it is no pass. Pure: what is asked for comes from a
//! [`Written`], what is in force from a [`Held`]; nothing here reads a file or `/proc`.

pub mod checks;
mod filter;
mod held;
pub mod sarif;
mod score;
mod unused;

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::Serialize;

pub use self::{
    filter::Filter,
    held::{Held, HeldMount},
};
use crate::{docker_syntax::Written, recording::Container, requirements::Requirements, schemas::text::Shown};

/// What a check may be called.
const ID: &str = "^[a-z][a-z-]*$";

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// A layer of defence less.
    Low,
    /// What a hardened container has is missing.
    Medium,
    /// One step from the host, or from what is not the container's.
    High,
    /// The host is open.
    Critical,
}

impl Severity {
    /// As tables and JSON write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

/// Where a configuration comes from: a fix is written in its words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A running container of Docker's or Podman's, or a `docker run` line.
    DockerRun,
    /// A compose file.
    Compose,
    /// An OCI runtime configuration.
    Oci,
}

/// What is audited.
#[derive(Debug, Clone)]
pub struct Subject {
    /// What to call it.
    pub name: String,
    /// `container`, `compose`, `docker-run` or `oci`.
    pub kind: &'static str,
    /// In whose words fixes are written.
    pub source: Source,
    /// The file that it was read from.
    pub file: Option<String>,
    /// What is asked for.
    pub written: Written,
    /// What is in force, for a running container.
    pub held: Option<Held>,
    /// The seccomp filter: of the profile that is asked for, or in force.
    pub filter: Option<Filter>,
    /// Why there is none to look at, where there should be.
    pub filter_unread: Option<String>,
}

impl Subject {
    fn container(&self) -> &Container {
        &self.written.container
    }
}

/// What a check says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// All is well, as far as it looks; why.
    Passed(String),
    /// Something stands open.
    Found(Vec<Found>),
    /// It can't be told from this source; why.
    Unknown(String),
    /// There is nothing that it could be about.
    NotApplicable,
}

/// What stands open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    severity: Severity,
    evidence: String,
    fix: String,
}

/// A finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Finding {
    /// The check's name, which stays; docs/audit.md has them all.
    #[schemars(regex(pattern = ID))]
    pub id: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What it is.
    pub title: &'static str,
    /// What was seen.
    #[schemars(with = "Shown")]
    pub evidence: String,
    /// Why it matters.
    pub why: &'static str,
    /// What to write instead, and where.
    #[schemars(length(min = 1))]
    pub fix: String,
    /// Which container.
    #[schemars(with = "Shown")]
    pub subject: String,
    /// The line of the file, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub line: Option<u32>,
}

/// A check that passed, or that could not be decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Decided {
    /// The check's name, which stays; docs/audit.md has them all.
    #[schemars(regex(pattern = ID))]
    pub id: &'static str,
    /// What it is about.
    pub title: &'static str,
    /// What was seen, or why it can't be told.
    #[schemars(with = "Shown")]
    pub evidence: String,
    /// Which container.
    #[schemars(with = "Shown")]
    pub subject: String,
}

/// A container's part of the report.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Scored {
    /// What it is called.
    #[schemars(with = "Shown")]
    pub name: String,
    /// What it was read from.
    #[schemars(extend("enum" = ["container", "compose", "docker-run", "oci"]))]
    pub kind: &'static str,
    /// The file, where it was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Shown>")]
    pub file: Option<String>,
    /// Its exposure, from 0 to 10.
    #[schemars(range(min = 0, max = 10))]
    pub score: f64,
}

/// The report.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Report {
    /// The exposure of the most exposed container: 0 is all closed, 10 is all open.
    #[schemars(range(min = 0, max = 10))]
    pub score: f64,
    /// What was audited.
    #[schemars(length(min = 1))]
    pub subjects: Vec<Scored>,
    /// What stands open, the worst first.
    pub findings: Vec<Finding>,
    /// The checks that found nothing.
    pub passed: Vec<Decided>,
    /// The checks that could not be decided.
    pub unknown: Vec<Decided>,
    /// What a reader should know.
    pub notes: Vec<String>,
}

impl Report {
    /// The worst finding.
    pub fn worst(&self) -> Option<Severity> {
        self.findings.iter().map(|finding| finding.severity).max()
    }
}

/// Runs all checks on all subjects; with `needs`, also asks what is granted and was never used.
pub fn audit(subjects: &[Subject], needs: Option<&Requirements>) -> Report {
    let mut out = Report {
        score: 0.0,
        subjects: Vec::new(),
        findings: Vec::new(),
        passed: Vec::new(),
        unknown: Vec::new(),
        notes: Vec::new(),
    };
    for subject in subjects {
        let mut outcomes: Vec<_> = checks::TABLE.iter().map(|check| (check, (check.run)(subject))).collect();
        let score = score::exposure(&outcomes);
        // What was not used says nothing of how exposed a container is, only that it need not be.
        if let Some(needs) = needs {
            outcomes.extend(unused::TABLE.iter().map(|unused| (&unused.check, (unused.run)(subject, needs))));
        }
        for (check, outcome) in outcomes {
            take(&mut out, subject, check, outcome);
        }
        let Subject { name, kind, file, written, .. } = subject;
        out.subjects.push(Scored { name: name.clone(), kind, file: file.clone(), score });
        out.score = out.score.max(score);
        out.notes.extend(written.notes.iter().map(|note| format!("{name}: {note}")));
        out.notes.extend(subject.held.iter().flat_map(|held| held.notes.iter().cloned()));
    }
    // Stable: within a severity the order of the table and of the subjects stays.
    out.findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    let mut seen = BTreeSet::new();
    out.notes.retain(|note| seen.insert(note.clone()));
    out
}

fn take(out: &mut Report, subject: &Subject, check: &checks::Check, outcome: Outcome) {
    let checks::Check { id, title, why, .. } = *check;
    let decided = |evidence| Decided { id, title, evidence, subject: subject.name.clone() };
    match outcome {
        Outcome::Passed(evidence) => out.passed.push(decided(evidence)),
        Outcome::Unknown(evidence) => out.unknown.push(decided(evidence)),
        Outcome::NotApplicable => {}
        Outcome::Found(found) => out.findings.extend(found.into_iter().map(|found| Finding {
            id,
            severity: found.severity,
            title,
            evidence: found.evidence,
            why,
            fix: found.fix,
            subject: subject.name.clone(),
            line: line(subject, check.parts),
        })),
    }
}

/// The line that a finding is about: of the first of the parts that is there, or where the container begins.
fn line(subject: &Subject, parts: &[&str]) -> Option<u32> {
    let written = &subject.written;
    let part = parts.iter().find_map(|part| written.lines.get(*part)).copied();
    part.filter(|line| *line > 0).or_else(|| (written.line > 0).then_some(written.line))
}

#[cfg(test)]
mod tests;
