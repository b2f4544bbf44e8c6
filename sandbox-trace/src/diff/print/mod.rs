//! A [`Diff`] as text: for people, for a pull request, for scripts, for code hosts. All text of a change is printable
//! already; here it is kept from meaning something in the form that it is written in.

mod markdown;
mod sarif;

use std::fmt::Write as _;

use comfy_table::{ContentArrangement, Table, presets};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

pub use self::{markdown::markdown, sarif::sarif};
use super::{Change, Diff, Evidence, SCHEMA};
use crate::output::{counted, grouped};

/// Of what gives nothing new, more is not shown to people.
const SHOWN: usize = 40;

/// The differences as scripts read them.
#[derive(Serialize, JsonSchema)]
#[schemars(extend("additionalProperties" = false))]
pub(crate) struct Json<'a> {
    /// The format and its version.
    #[schemars(extend("const" = SCHEMA))]
    schema: &'static str,
    /// Whether `added` has anything in it.
    widened: bool,
    #[serde(flatten)]
    diff: &'a Diff,
}

/// For scripts.
pub fn json(diff: &Diff) -> Value {
    serde_json::to_value(Json { schema: SCHEMA, widened: diff.widened(), diff }).unwrap_or_default()
}

/// `✗ 2 new privileges, 1 removed, 3 cosmetic`
pub fn summary(diff: &Diff) -> String {
    let number = |list: &[Change]| u64::try_from(list.len()).unwrap_or(u64::MAX);
    let sign = if diff.widened() { '✗' } else { '✓' };
    if diff.is_empty() {
        return format!("{sign} no difference");
    }
    let new = match number(&diff.added) {
        0 => "nothing new".to_owned(),
        n => counted(n, "new privilege"),
    };
    let others = [(&diff.removed, "removed"), (&diff.cosmetic, "cosmetic")].into_iter();
    let others = others.filter(|(list, _)| !list.is_empty());
    let others = others.map(|(list, what)| format!(", {} {what}", grouped(number(list))));
    format!("{sign} {new}{}", others.collect::<String>())
}

/// For a terminal: the answer first, then what it is made of.
pub fn table(diff: &Diff) -> String {
    let mut out = summary(diff);
    out.push('\n');
    let files = diff.added.iter().chain(&diff.removed).chain(&diff.cosmetic);
    let several = files.filter_map(|change| change.file.as_ref()).collect::<std::collections::BTreeSet<_>>();
    let several = several.len() > 1;
    for (list, sign, limit) in
        [(&diff.added, "+", usize::MAX), (&diff.removed, "−", SHOWN), (&diff.cosmetic, "~", SHOWN)]
    {
        if list.is_empty() {
            continue;
        }
        let mut table = plain_table();
        for change in list.iter().take(limit) {
            let mut row = vec![format!("  {sign} {}", change.kind), named(change)];
            if several {
                row.push(change.file.clone().unwrap_or_default());
            }
            if sign == "+" {
                row.push(format!("{}: {}", change.risk.name(), change.reason));
                row.push(beside(change));
            } else {
                row.push(change.detail.clone());
            }
            table.add_row(row);
        }
        out.push('\n');
        for line in table.lines() {
            let _ = writeln!(out, "{}", line.trim_end());
        }
        let left = list.len().saturating_sub(limit);
        if left > 0 {
            let _ = writeln!(out, "    and {} more; --json has all", grouped(left as u64));
        }
    }
    out
}

/// `/app/models/x r`
fn named(change: &Change) -> String {
    format!("{} {}", change.what, change.access).trim_end().to_owned()
}

/// The detail, and who needs it.
fn beside(change: &Change) -> String {
    let who = change.evidence.as_ref().map(said);
    [Some(change.detail.clone()).filter(|detail| !detail.is_empty()), who]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join("; ")
}

/// `/usr/bin/python3.11, 12×, 0.4 s to 31.2 s into the run, in 2 of 3 recordings`
pub fn said(evidence: &Evidence) -> String {
    let mut parts: Vec<String> = evidence
        .by
        .iter()
        .map(|path| if path.is_empty() { "an unnamed executable".into() } else { path.to_string() })
        .collect();
    if evidence.count > 0 {
        parts.push(format!("{}×", grouped(evidence.count)));
    }
    let seconds = |ms: u64| format!("{}.{} s", grouped(ms / 1000), ms % 1000 / 100);
    match (evidence.first_ms, evidence.last_ms) {
        (Some(first), Some(last)) if seconds(first) != seconds(last) => {
            parts.push(format!("{} to {} into the run", seconds(first), seconds(last)));
        }
        (Some(first), _) => parts.push(format!("{} into the run", seconds(first))),
        _ => {}
    }
    match (evidence.runs.len(), evidence.of) {
        (0, _) => {}
        (1, _) => parts.extend(evidence.runs.iter().map(|run| format!("in {run}"))),
        (n, of) => parts.push(format!("in {n} of {of} recordings")),
    }
    parts.join(", ")
}

fn plain_table() -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    // Without a terminal there is no width to arrange for.
    if table.width().is_none() {
        table.set_width(160);
    }
    table
}

#[cfg(test)]
mod tests;
