//! The report as people read it: the worst first, then what can't be told, then one line that sums up.

use std::fmt::Write as _;

use comfy_table::{ContentArrangement, Table, presets};

use crate::{
    audit::{Report, Severity},
    output::counted,
};

/// The report; with `all`, the checks that passed as well.
pub fn text(report: &Report, all: bool) -> String {
    let several = report.subjects.len() > 1;
    let mut out = String::new();
    if !report.findings.is_empty() {
        let mut table = table();
        let mut header = vec!["severity", "check", "seen", "fix"];
        if several {
            header.insert(1, "container");
        }
        table.set_header(header);
        for finding in &report.findings {
            let place = finding.line.map_or_else(String::new, |line| format!(" (line {line})"));
            let mut row = vec![
                finding.severity.name().to_owned(),
                finding.id.to_owned(),
                format!("{}: {}{place}", finding.title, finding.evidence),
                finding.fix.clone(),
            ];
            if several {
                row.insert(1, finding.subject.clone());
            }
            table.add_row(row);
        }
        out += &lines(&table);
    }
    let listed = [(&report.unknown, "can't be told here"), (&report.passed, "passed")];
    for (list, what) in
        listed.into_iter().filter(|(list, what)| !list.is_empty() && (all || *what != "passed"))
    {
        let _ = writeln!(out, "\n{what}:");
        let mut table = table();
        for decided in list {
            let of =
                if several { format!("{} {}", decided.subject, decided.id) } else { decided.id.to_owned() };
            table.add_row([format!("  {of}"), decided.evidence.clone()]);
        }
        out += &lines(&table);
    }
    if !out.is_empty() {
        out.push('\n');
    }
    for subject in &report.subjects {
        let sign =
            if report.findings.iter().any(|f| f.subject == subject.name && f.severity >= Severity::Medium) {
                '✗'
            } else {
                '✓'
            };
        let _ = writeln!(out, "{sign} {}: {}", subject.name, summary(report, &subject.name, subject.score));
    }
    out
}

fn summary(report: &Report, name: &str, score: f64) -> String {
    let of = |severity: Severity| {
        report.findings.iter().filter(|f| f.subject == name && f.severity == severity).count()
    };
    let all = [Severity::Critical, Severity::High, Severity::Medium, Severity::Low, Severity::Info];
    let counts: Vec<String> = all
        .into_iter()
        .map(|severity| (of(severity), severity.name()))
        .filter(|(count, _)| *count > 0)
        .map(|(count, name)| format!("{count} {name}"))
        .collect();
    let counts = if counts.is_empty() { "nothing found".to_owned() } else { counts.join(", ") };
    let passed = report.passed.iter().filter(|decided| decided.subject == name).count();
    let unknown = report.unknown.iter().filter(|decided| decided.subject == name).count();
    let passed = counted(u64::try_from(passed).unwrap_or(u64::MAX), "check");
    format!("exposure {score:.1} of 10 ({counts}); {passed} passed, {unknown} can't be told")
}

/// What to do about it.
pub fn next_step(report: &Report, without_recordings: bool) -> Option<String> {
    report.worst().filter(|worst| *worst >= Severity::Medium)?;
    Some(if without_recordings {
        "sandbox-trace record --container NAME -o run.json, then emit-docker or emit-compose writes what closes these; \
         audit --recording run.json says what was never used"
            .to_owned()
    } else {
        "emit-docker or emit-compose writes from the recordings what closes these".to_owned()
    })
}

fn table() -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    // Without a terminal there is no width to arrange for.
    if table.width().is_none() {
        table.set_width(160);
    }
    table
}

fn lines(table: &Table) -> String {
    table.lines().fold(String::new(), |mut out, line| {
        let _ = writeln!(out, "{}", line.trim_end());
        out
    })
}
