//! A report as SARIF.

use serde_json::{Value, json};

use super::{Finding, Report, Severity};
use crate::sarif::{self, Found, Level, Rule};

/// The report as a SARIF log.
pub fn log(report: &Report) -> Value {
    let mut rules: Vec<Rule<'_>> = Vec::new();
    for finding in &report.findings {
        if !rules.iter().any(|rule| rule.id == finding.id) {
            let Finding { id, title, why, fix, .. } = finding;
            rules.push(Rule { id, short: title, full: why, help: fix });
        }
    }
    let found: Vec<Found<'_>> = report
        .findings
        .iter()
        .map(|finding| Found {
            rule: finding.id,
            level: level(finding.severity),
            message: format!("{}: {}. Fix: {}", finding.title, finding.evidence, finding.fix),
            subject: &finding.subject,
            file: report
                .subjects
                .iter()
                .find(|subject| subject.name == finding.subject)
                .and_then(|subject| Some((subject.file.as_deref()?, finding.line))),
            properties: json!({"severity": finding.severity.name()}),
        })
        .collect();
    sarif::log("audit", &rules, &found)
}

fn level(severity: Severity) -> Level {
    match severity {
        Severity::Info => Level::Note,
        Severity::Low | Severity::Medium => Level::Warning,
        Severity::High | Severity::Critical => Level::Error,
    }
}
