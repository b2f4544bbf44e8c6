//! SARIF 2.1.0, which code hosts show beside the lines of a file. Knows nothing of what is found.

use std::fmt::Write as _;

use serde_json::{Value, json};

/// Where the schema is.
const SCHEMA: &str = "https://json.schemastore.org/sarif-2.1.0.json";

/// A kind of finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule<'a> {
    /// Its name; it stays.
    pub id: &'a str,
    /// What it is.
    pub short: &'a str,
    /// Why it matters.
    pub full: &'a str,
    /// What to do.
    pub help: &'a str,
}

/// How loud a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Worth knowing.
    Note,
    /// Worth a look.
    Warning,
    /// Worth stopping for.
    Error,
}

/// A finding.
#[derive(Debug, Clone, PartialEq)]
pub struct Found<'a> {
    /// The rule's name.
    pub rule: &'a str,
    /// How loud.
    pub level: Level,
    /// What was found, as plain text.
    pub message: String,
    /// What it is about, where that is no file.
    pub subject: &'a str,
    /// The file, and the line.
    pub file: Option<(&'a str, Option<u32>)>,
    /// What tools may want beside it.
    pub properties: Value,
}

/// The log of one run of this command.
pub fn log(command: &str, rules: &[Rule<'_>], found: &[Found<'_>]) -> Value {
    let index = |id: &str| rules.iter().position(|rule| rule.id == id);
    let results: Vec<Value> = found
        .iter()
        .map(|found| {
            json!({
                "ruleId": found.rule,
                "ruleIndex": index(found.rule),
                "level": found.level.name(),
                "message": {"text": found.message},
                "locations": [location(found)],
                "properties": found.properties,
            })
        })
        .collect();
    let rules: Vec<Value> = rules
        .iter()
        .map(|rule| {
            json!({
                "id": rule.id,
                "shortDescription": {"text": rule.short},
                "fullDescription": {"text": rule.full},
                "help": {"text": rule.help},
            })
        })
        .collect();
    json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": format!("sandbox-trace {command}"),
                "version": env!("CARGO_PKG_VERSION"),
                "semanticVersion": env!("CARGO_PKG_VERSION"),
                "rules": rules,
            }},
            "results": results,
        }],
    })
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

fn location(found: &Found<'_>) -> Value {
    let logical = json!([{"name": found.subject, "kind": "resource"}]);
    let Some((file, line)) = found.file else {
        return json!({"logicalLocations": logical});
    };
    let artifact = json!({"uri": uri(file)});
    let place = match line {
        Some(line) => json!({"artifactLocation": artifact, "region": {"startLine": line}}),
        None => json!({"artifactLocation": artifact}),
    };
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

/// Plain text in a message, where brackets would make a link.
pub fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '[' | ']' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}
