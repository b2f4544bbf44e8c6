//! What is tried, by subject. A check is harmless even where everything works: it changes nothing that is not put back,
//! nothing that is not the child's own, and where a call can be refused for its arguments after it was allowed, it is
//! made with arguments that can't work.

mod capabilities;
mod escapes;
mod execution;
mod files;
mod identity;
mod kernel;
mod limits;
mod namespaces;
mod network;
mod processes;
mod subject;

use std::time::Duration;

use nix::{errno::Errno, libc, sys::signal::Signal};

pub use self::subject::{Expected, Subject};
use super::{
    board::{Arg, Board, Seen},
    report::Verdict,
};
use crate::error::{Error, Result};

/// A boundary, and how to tell whether it holds.
pub struct Check {
    /// What scripts call it: `write:/etc`.
    pub id: String,
    /// What it is about.
    pub title: String,
    /// What a hardened container answers.
    pub expected: String,
    /// Why it matters.
    pub why: &'static str,
    /// How to tell.
    pub task: Task,
}

/// How to tell whether a boundary holds.
pub enum Task {
    /// What is in force tells it by itself.
    Told(Verdict, String),
    /// It is tried.
    Try(Attempt),
}

/// Something to try in a confined child of its own.
pub struct Attempt {
    /// Runs in the child: it makes system calls, and takes no memory.
    pub inside: Box<dyn Fn(&Board) -> Seen>,
    /// Whether the child has the mount namespace to itself.
    pub private_mounts: bool,
    /// How long it may take.
    pub patience: Duration,
    /// What it means that the child ended without an answer; `None` where that is nothing special.
    pub after: Option<fn(Ended, &Board) -> Option<Seen>>,
}

/// How a child ended that gave no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// By itself, or as the program that it became.
    Exited(i32),
    /// By a signal.
    Killed(Signal),
    /// It was ended because it took too long.
    Late,
}

impl Attempt {
    /// What the end of a child without an answer means.
    pub fn judge(&self, ended: Ended, board: &Board) -> Seen {
        if let Some(seen) = self.after.and_then(|after| after(ended, board)) {
            return seen;
        }
        let calling = board.calling.load(std::sync::atomic::Ordering::SeqCst);
        let name = calling
            .checked_sub(1)
            .and_then(|number| syscalls::Sysno::new(usize::try_from(number).ok()?))
            .map_or("no call", |call| call.name());
        match ended {
            // What a filter answers that kills.
            Ended::Killed(Signal::SIGSYS) => {
                Seen::closed(format_args!("killed by SIGSYS (the filter) in {name}"))
            }
            Ended::Killed(signal) => Seen::unknown(format_args!("ended by {} in {name}", signal.as_str())),
            Ended::Exited(code) => Seen::unknown(format_args!("ended with {code} in {name}")),
            Ended::Late => {
                Seen::unknown(format_args!("no answer from {name} in {} s", self.patience.as_secs()))
            }
        }
    }
}

/// How long a check may take that does not say otherwise.
const PATIENCE: Duration = Duration::from_secs(3);

impl Check {
    /// A check that is tried.
    fn tried(
        id: impl Into<String>,
        title: impl Into<String>,
        why: &'static str,
        inside: impl Fn(&Board) -> Seen + 'static,
    ) -> Self {
        let attempt =
            Attempt { inside: Box::new(inside), private_mounts: false, patience: PATIENCE, after: None };
        Self { id: id.into(), title: title.into(), expected: "denied".into(), why, task: Task::Try(attempt) }
    }

    /// A check that needs no trying.
    fn told(
        id: impl Into<String>,
        title: impl Into<String>,
        why: &'static str,
        verdict: Verdict,
        seen: impl Into<String>,
    ) -> Self {
        let task = Task::Told(verdict, seen.into());
        Self { id: id.into(), title: title.into(), expected: "denied".into(), why, task }
    }

    /// Expects something else than a refusal.
    fn expecting(self, expected: impl Into<String>) -> Self {
        Self { expected: expected.into(), ..self }
    }

    fn change(mut self, change: impl FnOnce(&mut Attempt)) -> Self {
        if let Task::Try(attempt) = &mut self.task {
            change(attempt);
        }
        self
    }

    /// Its child has a mount namespace to itself.
    fn with_private_mounts(self) -> Self {
        self.change(|attempt| attempt.private_mounts = true)
    }

    /// Its child may end instead of answering.
    fn with_end(self, after: fn(Ended, &Board) -> Option<Seen>) -> Self {
        self.change(|attempt| attempt.after = Some(after))
    }

    /// Its child may take so long.
    fn with_patience(self, patience: Duration) -> Self {
        self.change(|attempt| attempt.patience = patience)
    }
}

/// All checks for a container, in the order in which they are shown and made: what could hinder others comes last.
pub fn all(subject: &Subject) -> Vec<Check> {
    let mut out = Vec::new();
    out.extend(files::checks(subject));
    out.extend(execution::checks(subject));
    out.extend(identity::checks(subject));
    out.extend(capabilities::checks(subject));
    out.extend(network::checks(subject));
    out.extend(namespaces::checks(subject));
    out.extend(processes::checks(subject));
    out.extend(kernel::checks(subject));
    out.extend(escapes::checks(subject));
    out.extend(limits::checks(subject));
    out
}

/// Keeps the checks that are named, by id or by what is before the colon of it.
pub fn select(checks: &mut Vec<Check>, only: &[String]) -> Result<()> {
    let names = |check: &Check, name: &str| {
        check.id == name || check.id.split_once(':').is_some_and(|(family, _)| family == name)
    };
    if let Some(unknown) = only.iter().find(|name| !checks.iter().any(|check| names(check, name))) {
        let ids: Vec<&str> = super::ids(checks).into_iter().collect();
        return Err(Error::usage(format!("there is no check {}", crate::recording::printable(unknown)))
            .hint(format!("for this container there are {}", crate::recording::printable(&ids.join(", ")))));
    }
    checks.retain(|check| only.is_empty() || only.iter().any(|name| names(check, name)));
    Ok(())
}

/// What is tried on an ordinary container: the ids, or the families of those that depend on the container, and titles.
pub fn families() -> Vec<(String, String)> {
    let mut out: Vec<(String, String)> = Vec::new();
    for check in all(&Subject::ordinary()) {
        let family = check.id.split_once(':').map(|(family, _)| family.to_owned());
        let (id, title) = match family {
            Some(family) => (format!("{family}:…"), check.title),
            None => (check.id, check.title),
        };
        if !out.iter().any(|(known, _)| *known == id) {
            out.push((id, title));
        }
    }
    out
}

/// A call that must be refused. Errors in `passes` come only after it was allowed.
fn refused(board: &Board, call: libc::c_long, args: &mut [Arg<'_>], passes: &[Errno]) -> Seen {
    match board.call(call, args) {
        Ok(_) => Seen::open(format_args!("allowed")),
        Err(errno) if passes.contains(&errno) => {
            Seen::open(format_args!("allowed ({errno:?} only for its arguments, which can't work)"))
        }
        Err(errno) => Seen::refused(errno),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn ids_are_unique_and_every_check_says_why() {
        let checks = all(&Subject::ordinary());
        let ids: BTreeSet<&str> = checks.iter().map(|check| check.id.as_str()).collect();
        assert_eq!(ids.len(), checks.len());
        assert!(checks.len() > 90, "{}", checks.len());
        for check in &checks {
            assert!(
                !check.why.is_empty() && !check.title.is_empty() && !check.expected.is_empty(),
                "{}",
                check.id
            );
        }
    }

    #[test]
    fn checks_are_named_by_id_or_family() {
        let select = |only: &[&str]| {
            let mut checks = all(&Subject::ordinary());
            let only: Vec<String> = only.iter().map(|name| (*name).to_owned()).collect();
            select(&mut checks, &only).map(|()| checks.len())
        };
        assert_eq!(select(&["write:/etc"]).unwrap(), 1);
        assert!(select(&["write"]).unwrap() > 3);
        let error = select(&["fly\u{1b}"]).unwrap_err();
        assert!(
            error.to_string().contains("\\x1b") && error.hint_text().unwrap().contains("write:/etc"),
            "{error}"
        );
    }

    #[test]
    fn the_docs_name_every_family() {
        let docs = include_str!("../../../../docs/probe.md");
        for (id, _) in families() {
            let id = id.trim_end_matches('…');
            assert!(docs.contains(&format!("`{id}")), "{id} is not in docs/probe.md");
        }
    }
}
