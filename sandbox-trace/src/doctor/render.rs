//! The report as people read it: one line a check, the fix under each that is not in order, the verdict last.

use std::fmt::Write as _;

use super::{Check, Report, Status};
use crate::output::counted;

/// The table. `all`: also what is in order.
pub fn text(report: &Report, all: bool) -> String {
    let shown: Vec<&Check> = report.checks.iter().filter(|check| all || check.status != Status::Ok).collect();
    let width = shown.iter().map(|check| check.title.chars().count()).max().unwrap_or(0);
    let mut out = String::new();
    // Checks that fail together for one reason say once what to do.
    for group in shown.chunk_by(|a, b| a.fix.is_some() && a.fix == b.fix) {
        for check in group {
            let _ = writeln!(out, "{}  {:width$}  {}", label(check.status), check.title, check.found);
        }
        let Some((check, others)) = group.split_first() else { continue };
        if let Some(fix) = &check.fix {
            if others.is_empty() {
                paragraph(&mut out, "why", check.why);
            }
            paragraph(&mut out, "fix", fix);
        }
    }
    out += &verdict(report);
    out.push('\n');
    out
}

/// How far a paragraph goes to the right, and where it begins.
const COLUMNS: usize = 100;
const INDENT: &str = "             ";

/// Words under a check's line, broken between them.
fn paragraph(out: &mut String, head: &str, text: &str) {
    let mut line = format!("{INDENT}{head} ");
    for word in text.split(' ') {
        if line.chars().count() + 1 + word.chars().count() > COLUMNS {
            let _ = writeln!(out, "{line}");
            line = format!("{INDENT}    ");
        }
        line.push(' ');
        line += word;
    }
    let _ = writeln!(out, "{line}");
}

/// A sign and the word that it stands for: neither colour nor a font decides what is read.
fn label(status: Status) -> &'static str {
    match status {
        Status::Ok => "✓ ok     ",
        Status::Warning => "! warning",
        Status::Missing => "✗ missing",
    }
}

fn verdict(report: &Report) -> String {
    let count = |status| report.checks.iter().filter(|check| check.status == status).count() as u64;
    let warnings = counted(count(Status::Warning), "warning");
    match count(Status::Missing) {
        0 => format!("✓ `sandbox-trace record` works on this host ({warnings})"),
        1 => format!("✗ `sandbox-trace record` can't work on this host: 1 thing is missing ({warnings})"),
        n => format!("✗ `sandbox-trace record` can't work on this host: {n} things are missing ({warnings})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(title: &str, status: Status, fix: Option<&str>) -> Check {
        Check {
            id: title.to_lowercase(),
            title: title.into(),
            status,
            found: format!("{title} was looked at"),
            why: "The reason.",
            fix: fix.map(str::to_owned),
        }
    }

    #[test]
    fn the_fix_is_under_its_line_and_the_verdict_last() {
        let report = Report::new(vec![
            check("BTF", Status::Missing, Some("Do this.")),
            check("sys_exit", Status::Missing, Some("Do that.")),
            check("sys_exit_file", Status::Missing, Some("Do that.")),
            check("runc", Status::Ok, None),
            check(
                "crun",
                Status::Warning,
                Some(
                    "Install it: a long way to say it, so that the line has to be broken somewhere between its words.",
                ),
            ),
        ]);
        insta::assert_snapshot!(text(&report, true), @r"
        ✗ missing  BTF            BTF was looked at
                     why  The reason.
                     fix  Do this.
        ✗ missing  sys_exit       sys_exit was looked at
        ✗ missing  sys_exit_file  sys_exit_file was looked at
                     fix  Do that.
        ✓ ok       runc           runc was looked at
        ! warning  crun           crun was looked at
                     why  The reason.
                     fix  Install it: a long way to say it, so that the line has to be broken somewhere
                          between its words.
        ✗ `sandbox-trace record` can't work on this host: 3 things are missing (1 warning)
        ");
        assert!(!text(&report, false).contains("runc"));
    }

    #[test]
    fn one_missing_thing_and_none() {
        let one = Report::new(vec![check("BTF", Status::Missing, Some("Do this."))]);
        assert!(verdict(&one).ends_with("can't work on this host: 1 thing is missing (0 warnings)"));
        let none = Report::new(vec![check("crun", Status::Warning, Some("Install it."))]);
        assert_eq!(text(&none, true).lines().last().unwrap(), verdict(&none));
        assert!(verdict(&none).contains("works on this host (1 warning)"));
    }
}
