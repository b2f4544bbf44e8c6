//! For a comment on a pull request, as GitHub and GitLab render it.

use std::fmt::Write as _;

use super::{beside, named, summary};
use crate::{
    diff::{Change, Diff},
    output::grouped,
};

/// A comment has room for 65,536 characters.
const ROOM: usize = 60_000;

/// For a comment on a pull request: a line with the answer, a table of what is new, the rest folded away.
pub fn markdown(diff: &Diff) -> String {
    let mut out = format!("**{}**\n", summary(diff));
    if !diff.added.is_empty() {
        let heads = ["risk", "privilege", "why it matters", "needed by"];
        rows(&mut out, &heads, &diff.added, ROOM / 2, |change| {
            vec![
                format!("**{}**", change.risk.name()),
                subject(change),
                text(&change.reason),
                text(&beside(change)),
            ]
        });
    }
    for (list, what) in [(&diff.removed, "removed"), (&diff.cosmetic, "cosmetic")] {
        if list.is_empty() {
            continue;
        }
        let _ = write!(out, "\n<details><summary>{} {what}</summary>\n", grouped(list.len() as u64));
        rows(&mut out, &["what", "detail"], list, ROOM / 4, |change| {
            vec![subject(change), text(&change.detail)]
        });
        out.push_str("\n</details>\n");
    }
    for note in &diff.notes {
        let _ = write!(out, "\n{}\n", text(note));
    }
    out
}

fn subject(change: &Change) -> String {
    let file = change.file.as_ref().map(|file| format!(" in {}", code(file))).unwrap_or_default();
    format!("{} {}{file}", change.kind, code(&named(change)))
}

/// A table with as many rows as there is room for.
fn rows(
    out: &mut String,
    heads: &[&str],
    list: &[Change],
    room: usize,
    cells: impl Fn(&Change) -> Vec<String>,
) {
    let _ = write!(out, "\n| {} |\n|{}\n", heads.join(" | "), " --- |".repeat(heads.len()));
    let mut used = 0;
    for (at, change) in list.iter().enumerate() {
        let row = format!("| {} |\n", cells(change).join(" | "));
        used += row.len();
        if used > room && at > 0 {
            let left = u64::try_from(list.len() - at).unwrap_or(u64::MAX);
            let _ = write!(out, "\nand {} more; `sandbox-trace diff --json` has all\n", grouped(left));
            return;
        }
        out.push_str(&row);
    }
}

/// A name, as it is. Within the element everything is still Markdown, so nothing is left that means something there.
fn code(name: &str) -> String {
    format!("<code>{}</code>", text(name))
}

/// Text without markup: what could be some is written as a character reference, which is never one.
pub(super) fn text(plain: &str) -> String {
    let mut out = String::with_capacity(plain.len());
    for c in plain.chars() {
        let kept = match c {
            // `www.` makes a link.
            '.' => !out.to_ascii_lowercase().ends_with("www"),
            ' ' | '/' | '-' | ',' | ';' | '(' | ')' | '=' | '+' | '%' => true,
            // The rest of the world's letters, and the signs that this program writes.
            c if c.is_alphanumeric() || c == '×' => true,
            _ => false,
        };
        if kept {
            out.push(c);
        } else if c.is_control() {
            // Printable text has none.
            out.push('\u{fffd}');
        } else {
            let _ = write!(out, "&#{};", u32::from(c));
        }
    }
    out
}
