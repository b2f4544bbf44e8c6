//! `doctor`: what this host can do, why it matters, and the fix for what it can't.
//!
//! A check looks, and changes nothing that outlives it. Each runs on a thread of its own with a time limit, so one
//! that fails or hangs says so and takes no other with it.

mod cgroup;
mod engine;
mod kernel;
mod libraries;
mod privileges;
mod render;
mod runtimes;

use std::{
    path::PathBuf,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use schemars::JsonSchema;
use serde::Serialize;

pub use self::render::text;
use crate::{error::Exit, kernel::layout::KERNEL_BTF, record::BTF_VARIABLE, recording::printable};

/// The schema of `doctor --json`.
pub const SCHEMA: &str = "sandbox-trace/doctor/v1";

/// How long a check may take. The verifier needs about a second for all programs; a loaded machine needs more.
const LIMIT: Duration = Duration::from_mins(1);

/// What a check found, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// All is well.
    Ok,
    /// `record` works without it, and something else is missing or worse.
    Warning,
    /// `record` can't work without it.
    Missing,
}

/// One line of the table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(extend(
    "if" = { "properties": { "status": { "const": "ok" } } },
    "then" = { "properties": { "fix": { "type": "null" } } },
    "else" = { "properties": { "fix": { "type": "string", "minLength": 1 } } },
))]
pub struct Check {
    /// What scripts call it; never changes within version 1.
    #[schemars(regex(pattern = "^[a-z0-9_.-]+$"))]
    pub id: String,
    /// What people call it.
    pub title: String,
    /// The answer.
    pub status: Status,
    /// What was found.
    pub found: String,
    /// What sandbox-trace needs it for.
    pub why: &'static str,
    /// What to do about it; null when the status is `ok`, and only then.
    pub fix: Option<String>,
}

/// All checks, as `--json` prints them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(extend(
    "if" = { "properties": { "can_record": { "const": true } } },
    "then" = { "properties": { "checks": { "not": { "contains": { "properties": { "status": { "const": "missing" } } } } } } },
    "else" = { "properties": { "checks": { "contains": { "properties": { "status": { "const": "missing" } } } } } },
))]
pub struct Report {
    /// The format and its version.
    #[schemars(extend("const" = SCHEMA))]
    schema: &'static str,
    /// Whether `record` works on this host: no check's status is `missing`.
    pub can_record: bool,
    /// Every check, in a fixed order.
    #[schemars(length(min = 1))]
    pub checks: Vec<Check>,
}

/// What a check is about, before it has looked.
#[derive(Debug, Clone, Copy)]
struct Subject {
    id: &'static str,
    title: &'static str,
    why: &'static str,
    /// Whether `record` needs it.
    needed: bool,
}

impl Subject {
    fn ok(self, found: impl AsRef<str>) -> Check {
        self.check(Status::Ok, found.as_ref(), None)
    }

    fn warning(self, found: impl AsRef<str>, fix: impl Into<String>) -> Check {
        self.check(Status::Warning, found.as_ref(), Some(fix.into()))
    }

    fn missing(self, found: impl AsRef<str>, fix: impl Into<String>) -> Check {
        self.check(Status::Missing, found.as_ref(), Some(fix.into()))
    }

    /// What was found comes from programs and files of the host: it must not steer a terminal.
    fn check(self, status: Status, found: &str, fix: Option<String>) -> Check {
        let Self { id, title, why, needed: _ } = self;
        Check { id: id.into(), title: title.into(), status, found: printable(found), why, fix }
    }
}

/// A check that is still to be run.
type Probe = (Subject, fn(Subject) -> Vec<Check>);

/// Looks at everything.
pub fn examine() -> Report {
    let probes: [Probe; 13] = [
        (privileges::SUBJECT, |of| vec![privileges::check(of)]),
        (kernel::VERSION, |of| vec![kernel::version(of)]),
        (kernel::BTF, |of| vec![kernel::btf(of)]),
        (kernel::PROGRAMS, |_| kernel::programs()),
        (kernel::HOOKS, |of| vec![kernel::hooks(of)]),
        (cgroup::SUBJECT, |of| vec![cgroup::check(of)]),
        (kernel::SECCOMP, |of| vec![kernel::seccomp(of)]),
        (libraries::LIBSECCOMP, |of| vec![libraries::libseccomp(of)]),
        (libraries::PARSER, |of| vec![libraries::parser(of)]),
        (libraries::APPARMOR, |of| vec![libraries::apparmor(of)]),
        (runtimes::RUNC, |of| vec![runtimes::check(of)]),
        (runtimes::CRUN, |of| vec![runtimes::check(of)]),
        (engine::SUBJECT, |of| vec![engine::check(of)]),
    ];
    Report::new(run(probes, LIMIT))
}

/// Runs the probes side by side; what has no answer in time, or panicked, becomes a check that says so.
fn run(probes: impl IntoIterator<Item = Probe>, limit: Duration) -> Vec<Check> {
    let end = Instant::now() + limit;
    let answers: Vec<_> = probes
        .into_iter()
        .map(|(subject, probe)| {
            let (sender, receiver) = mpsc::channel();
            // Not joined: a thread that hangs must not keep the answer of the others.
            let started = thread::Builder::new().spawn(move || sender.send(probe(subject)));
            (subject, receiver, started.is_ok())
        })
        .collect();
    let answer = |(subject, receiver, started): (Subject, mpsc::Receiver<Vec<Check>>, bool)| {
        let left = end.saturating_duration_since(Instant::now());
        match receiver.recv_timeout(left) {
            Ok(checks) => checks,
            Err(error) => {
                let what = match error {
                    mpsc::RecvTimeoutError::Timeout => format!("no answer within {} s", limit.as_secs()),
                    _ if !started => "no thread could be started for it".into(),
                    mpsc::RecvTimeoutError::Disconnected => "the check itself failed".into(),
                };
                let fix = "run it again; if it stays so, report it with what was said on stderr";
                vec![if subject.needed { subject.missing(what, fix) } else { subject.warning(what, fix) }]
            }
        }
    };
    answers.into_iter().flat_map(answer).collect()
}

impl Report {
    fn new(checks: Vec<Check>) -> Self {
        let can_record = checks.iter().all(|check| check.status != Status::Missing);
        Self { schema: SCHEMA, can_record, checks }
    }

    /// 0 when `record` works, whatever else is missing; 5 when it does not.
    pub fn exit(&self) -> Exit {
        if self.can_record { Exit::Clean } else { Exit::Host }
    }
}

/// The kernel's type information, from where `record` takes it.
fn btf_file() -> PathBuf {
    std::env::var_os(BTF_VARIABLE).map_or_else(|| PathBuf::from(KERNEL_BTF), PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUBJECT: Subject = Subject { id: "id", title: "Title", why: "Why.", needed: true };

    #[test]
    fn only_what_recording_needs_decides() {
        let fine = Report::new(vec![SUBJECT.ok("here"), SUBJECT.warning("old", "update")]);
        assert_eq!((fine.can_record, fine.exit()), (true, Exit::Clean));
        let broken = Report::new(vec![SUBJECT.ok("here"), SUBJECT.missing("gone", "install")]);
        assert_eq!((broken.can_record, broken.exit()), (false, Exit::Host));
        assert!(Report::new(Vec::new()).can_record);
    }

    #[test]
    fn a_probe_that_hangs_or_fails_takes_no_other_with_it() {
        let other = Subject { needed: false, ..SUBJECT };
        let probes: [Probe; 4] = [
            (other, |_| panic!("on purpose")),
            (SUBJECT, |_| {
                loop {
                    thread::sleep(Duration::from_mins(1));
                }
            }),
            (SUBJECT, |_| panic!("on purpose")),
            (SUBJECT, |of| vec![of.ok("fine")]),
        ];
        let checks = run(probes, Duration::from_secs(2));
        let found: Vec<&str> = checks.iter().map(|check| check.found.as_str()).collect();
        assert_eq!(
            found,
            ["the check itself failed", "no answer within 2 s", "the check itself failed", "fine"]
        );
        let statuses = [Status::Warning, Status::Missing, Status::Missing, Status::Ok];
        assert!(checks.iter().map(|check| check.status).eq(statuses));
    }

    #[test]
    fn what_the_host_says_can_t_steer_a_terminal() {
        assert_eq!(SUBJECT.ok("\x1b[2Jrunc").found, "\\x1b[2Jrunc");
    }

    #[test]
    fn json_has_the_keys_that_scripts_read() {
        let report = Report::new(vec![SUBJECT.ok("here"), SUBJECT.warning("old", "update")]);
        let json = serde_json::to_value(&report).unwrap();
        let expected = serde_json::json!({
            "schema": SCHEMA,
            "can_record": true,
            "checks": [
                {"id": "id", "title": "Title", "status": "ok", "found": "here", "why": "Why.", "fix": null},
                {"id": "id", "title": "Title", "status": "warning", "found": "old", "why": "Why.", "fix": "update"},
            ],
        });
        assert_eq!(json, expected);
    }
}
