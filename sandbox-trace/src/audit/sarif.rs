//! A report as SARIF 2.1.0, which code hosts show beside the lines of a file.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{Finding, Report, Severity};

/// Where the schema is.
const SCHEMA: &str = "https://json.schemastore.org/sarif-2.1.0.json";

/// The report as a SARIF log.
pub fn log(report: &Report) -> Value {
    let mut rules: Vec<&Finding> = Vec::new();
    for finding in &report.findings {
        if !rules.iter().any(|rule| rule.id == finding.id) {
            rules.push(finding);
        }
    }
    let index = |id: &str| rules.iter().position(|rule| rule.id == id);
    let results: Vec<Value> = report
        .findings
        .iter()
        .map(|finding| {
            json!({
                "ruleId": finding.id,
                "ruleIndex": index(finding.id),
                "level": level(finding.severity),
                "message": {"text": format!("{}: {}. Fix: {}", finding.title, finding.evidence, finding.fix)},
                "locations": [location(report, finding)],
                "properties": {"severity": finding.severity.name()},
            })
        })
        .collect();
    let rules: Vec<Value> = rules
        .iter()
        .map(|rule| {
            json!({
                "id": rule.id,
                "shortDescription": {"text": rule.title},
                "fullDescription": {"text": rule.why},
                "help": {"text": rule.fix},
            })
        })
        .collect();
    json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": "sandbox-trace audit",
                "version": env!("CARGO_PKG_VERSION"),
                "semanticVersion": env!("CARGO_PKG_VERSION"),
                "rules": rules,
            }},
            "results": results,
        }],
    })
}

fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "note",
        Severity::Low | Severity::Medium => "warning",
        Severity::High | Severity::Critical => "error",
    }
}

fn location(report: &Report, finding: &Finding) -> Value {
    let logical = json!([{"name": finding.subject, "kind": "resource"}]);
    let subject = report.subjects.iter().find(|subject| subject.name == finding.subject);
    let Some(file) = subject.and_then(|subject| subject.file.as_deref()) else {
        return json!({"logicalLocations": logical});
    };
    let mut place = json!({"artifactLocation": {"uri": uri(file)}});
    if let (Some(line), Some(place)) = (finding.line, place.as_object_mut()) {
        place.insert("region".into(), json!({"startLine": line}));
    }
    json!({"physicalLocation": place, "logicalLocations": logical})
}

/// A path as a URI: bytes that a URI has no place for are escaped.
fn uri(path: &str) -> String {
    let mut out = String::new();
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            // Writing to a string does not fail.
            _ => drop(write!(out, "%{byte:02X}")),
        }
    }
    if path.starts_with('/') { format!("file://{out}") } else { out }
}
