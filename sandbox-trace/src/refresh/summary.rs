//! An outcome as Markdown: for a pull request, for the job's page, and for people at a terminal. What is recorded is
//! hostile: it stands in code spans, from which nothing gets out.

use std::fmt::Write as _;

use super::{
    outcome::{Outcome, State, Verdict, Widths},
    privilege::Privilege,
};
use crate::{
    diff::Kind,
    output::{counted, grouped},
    recording::printable,
    width::Width,
};

/// More lines than this of one kind nobody reads; the JSON has all.
const SHOWN: usize = 40;

/// The summary.
pub fn markdown(outcome: &Outcome) -> String {
    let mut out = format!("## sandbox-trace: {}\n\n{}\n", code(&outcome.workload), answer(outcome));
    let mut section = |title: &str, body: String| {
        if !body.is_empty() {
            let _ = write!(out, "\n### {title}\n\n{body}");
        }
    };
    section("Changed by others", tampered(outcome));
    section("New privileges", added(outcome));
    section("To approve them", to_approve(outcome));
    section("Privileges that are gone", removed(outcome));
    if outcome.verdict != Verdict::Tampered {
        section("Verified", verified(outcome));
        section("Width", widths(&outcome.width));
        section("Limits that move", limits(outcome));
        section("Recorded on", recorded(outcome));
        section("Files", files(outcome));
        section("To know", list(outcome.notes.iter().map(|note| text(note))));
    }
    out
}

/// The answer in a line, and what was done.
fn answer(outcome: &Outcome) -> String {
    let folder = code(&outcome.folder);
    let wanted = outcome.added.iter().filter(|privilege| privilege.approved.is_none()).count();
    let gone = counted(number(outcome.removed.len()), "privilege");
    let said = match outcome.verdict {
        Verdict::Tampered => format!("✗ **{folder} is not as `refresh` left it.**"),
        Verdict::Failed => "✗ **The profiles of this release fail their proof.**".into(),
        Verdict::Widened => format!(
            "✗ **The release wants {} more than {folder} allows.**",
            counted(number(wanted), "privilege")
        ),
        Verdict::Unproven => "? **It can't be proven that the profiles of this release are right.**".into(),
        Verdict::New => format!("✓ **The first profiles of {folder}.**"),
        Verdict::Approved => {
            format!("✓ **{} more, all of them approved.**", counted(number(outcome.added.len()), "privilege"))
        }
        Verdict::Narrowed => format!("✓ **Narrower: {gone} less, and none more.**"),
        Verdict::Unchanged => "✓ **The same privileges as before.**".into(),
    };
    let runs = match outcome.runs {
        0 => String::new(),
        runs => format!(" From {}.", counted(runs.into(), "run")),
    };
    let done = if outcome.written { "" } else { " Nothing was written." };
    format!("{said}{runs}{done}")
}

fn tampered(outcome: &Outcome) -> String {
    if outcome.tampered.is_empty() {
        return String::new();
    }
    let lines = outcome.tampered.iter().map(|file| {
        let what = if file.gone { "is gone" } else { "was changed: its digest is not the lock's" };
        format!("{} {what}", code(&file.file))
    });
    list(lines)
        + "\nRestore them from version control. What a profile should allow beside what is recorded belongs into \
           `workload.toml`.\n"
}

fn added(outcome: &Outcome) -> String {
    let mut out = String::new();
    for privilege in outcome.added.iter().take(SHOWN) {
        let mark = if privilege.approved.is_some() { "✓" } else { "✗" };
        let access =
            if privilege.access.is_empty() { String::new() } else { format!(" {}", code(&privilege.access)) };
        let _ = write!(out, "- {mark} {} {}{access}", privilege.kind, code(&privilege.what));
        if !privilege.detail.is_empty() {
            let _ = write!(out, ", {}", text(&privilege.detail));
        }
        let _ = write!(out, " — risk {}", privilege.risk.name());
        if !privilege.reason.is_empty() {
            let _ = write!(out, ": {}", text(&privilege.reason));
        }
        out.push('\n');
        if let Some(evidence) = evidence(privilege) {
            let _ = writeln!(out, "  - {evidence}");
        }
        if let Some(approved) = &privilege.approved {
            let _ = writeln!(
                out,
                "  - approved by {} until {}: {}",
                code(&approved.by),
                approved.expires,
                code(&approved.reason)
            );
        }
        if !privilege.files.is_empty() {
            let files: Vec<String> = privilege.files.iter().map(|file| code(file)).collect();
            let _ = writeln!(out, "  - in {}", files.join(", "));
        }
    }
    more(&mut out, outcome.added.len());
    out
}

/// `needed by /usr/bin/python3.11, in run2.json (1 of 1 recordings), 3 times, first after 1.2 s, last after 1.3 s`
fn evidence(privilege: &Privilege) -> Option<String> {
    let Some(evidence) = &privilege.evidence else {
        // What the container is given has its evidence as the reason.
        return (privilege.kind != Kind::Rule).then(|| {
            "no recording tells who needs it: it comes with a rule that stands for more than was seen".into()
        });
    };
    let who: Vec<String> = evidence.by.iter().map(|path| code(&path.to_string())).collect();
    let who = if who.is_empty() { "an unknown executable".into() } else { who.join(", ") };
    let mut out = format!("needed by {who}");
    if !evidence.runs.is_empty() {
        let runs: Vec<String> = evidence.runs.iter().take(SHOWN).map(|run| code(run)).collect();
        let _ = write!(out, ", in {}", runs.join(", "));
        if evidence.of > 1 {
            let _ = write!(out, " ({} of {} recordings)", evidence.runs.len(), evidence.of);
        }
    }
    if evidence.count > 0 {
        let _ = write!(out, ", {}", counted(evidence.count, "time"));
    }
    let seconds = |ms: u64| format!("{}.{} s", grouped(ms / 1000), ms % 1000 / 100);
    if let Some(first) = evidence.first_ms {
        let _ = write!(out, ", first {} into the run", seconds(first));
    }
    if let Some(last) = evidence.last_ms.filter(|last| Some(*last) > evidence.first_ms) {
        let _ = write!(out, ", last {}", seconds(last));
    }
    Some(out)
}

fn to_approve(outcome: &Outcome) -> String {
    if outcome.to_approve.is_empty() {
        return String::new();
    }
    // The entries hold recorded names: a longer fence than any in them.
    let fence = "`".repeat(longest_run(&outcome.to_approve).max(2) + 1);
    format!(
        "If they are right, say why and who says so in {}:\n\n{fence}toml\n{}\n{fence}\n",
        code(&format!("{}/workload.toml", outcome.folder.trim_end_matches('/'))),
        outcome.to_approve
    )
}

fn removed(outcome: &Outcome) -> String {
    let mut out = list(outcome.removed.iter().take(SHOWN).map(|change| {
        let access =
            if change.access.is_empty() { String::new() } else { format!(" {}", code(&change.access)) };
        let file = change.file.as_ref().map_or_else(String::new, |file| format!(", in {}", code(file)));
        format!("{} {}{access}{file}", change.kind, code(&change.what))
    }));
    more(&mut out, outcome.removed.len());
    out
}

fn verified(outcome: &Outcome) -> String {
    let checked = outcome.checked;
    let facts = checked.seccomp + checked.files + checked.network + checked.capabilities;
    let mut lines = vec![match outcome.blocked.len() {
        0 => format!("✓ nothing needed is blocked: {} replayed", counted(facts, "fact")),
        n => format!("✗ {} needed would be blocked", counted(number(n), "thing")),
    }];
    lines.extend(outcome.blocked.iter().take(SHOWN).map(|blocked| {
        format!("✗ blocked: {}, needed by {}", code(&blocked.what), code(&blocked.needed_by.join(", ")))
    }));
    lines.extend(
        outcome
            .unproven
            .iter()
            .take(SHOWN)
            .map(|one| format!("? not proven: {}: {}", code(&one.what), text(&one.why))),
    );
    let attacks = &outcome.attacks;
    let mark = if attacks.open.is_empty() { "✓" } else { "✗" };
    lines.push(format!(
        "{mark} {} of {} are denied",
        grouped(attacks.denied),
        counted(attacks.checked, "attack")
    ));
    lines.extend(
        attacks
            .open
            .iter()
            .map(|open| format!("✗ open: {}, by {}: {}", code(&open.name), code(&open.how), text(&open.why))),
    );
    lines.extend(
        attacks
            .unproven
            .iter()
            .map(|one| format!("? not proven to be denied: {}: {}", code(&one.name), text(&one.why))),
    );
    list(lines)
}

fn widths(widths: &Widths) -> String {
    type Number = fn(&Width) -> Option<u64>;
    let rows: [(&str, Number); 4] = [
        ("system calls", |width| width.syscalls.as_ref().map(|calls| number(calls.allowed))),
        ("files readable", |width| width.files.as_ref().map(|files| files.readable)),
        ("files writable", |width| width.files.as_ref().map(|files| files.writable)),
        ("files executable", |width| width.files.as_ref().map(|files| files.executable)),
    ];
    let mut out = String::new();
    for (name, of) in rows {
        let Some(after) = widths.after.as_ref().and_then(of) else { continue };
        let before = widths.before.as_ref().and_then(of).map_or_else(|| "–".into(), grouped);
        let _ = writeln!(out, "| {name} | {before} | {} |", grouped(after));
    }
    if out.is_empty() { out } else { "| admitted | committed | now |\n|---|---:|---:|\n".to_owned() + &out }
}

fn limits(outcome: &Outcome) -> String {
    let value = |value: Option<u64>| value.map_or_else(|| "none".into(), grouped);
    let moved = outcome.limits.iter().filter(|_| outcome.verdict != Verdict::New);
    list(
        moved.map(|limit| format!("{}: {} → {}", code(&limit.name), value(limit.before), value(limit.after))),
    )
}

fn recorded(outcome: &Outcome) -> String {
    let recorded = &outcome.recorded;
    let kinds = [
        ("kernel", &recorded.kernels),
        ("architecture", &recorded.architectures),
        ("container runtime", &recorded.runtimes),
        ("C library", &recorded.libc),
        ("image", &recorded.images),
        ("recorder", &recorded.tools),
    ];
    let lines = kinds.into_iter().filter(|(_, values)| !values.is_empty()).map(|(kind, values)| {
        let values: Vec<String> = values.iter().map(|value| code(value)).collect();
        format!("{kind}: {}", values.join(", "))
    });
    list(lines.chain(outcome.moved.iter().map(|moved| format!("⚠ {}", text(moved)))))
}

fn files(outcome: &Outcome) -> String {
    let changed = outcome.files.iter().filter(|file| file.state != State::Kept);
    list(changed.map(|file| {
        let state = match file.state {
            State::New => "new",
            State::Changed | State::Kept => "changed",
            State::Removed => "removed",
        };
        format!("{} {state}", code(&file.name))
    }))
}

fn list(lines: impl IntoIterator<Item = String>) -> String {
    lines.into_iter().flat_map(|line| ["- ".to_owned(), line, "\n".to_owned()]).collect()
}

fn more(out: &mut String, all: usize) {
    if let Some(more) = all.checked_sub(SHOWN).filter(|more| *more > 0) {
        let _ = writeln!(out, "- … and {} more: `--json` has all of them", grouped(number(more)));
    }
}

fn number(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

/// Text in a code span: between more backticks than it has in a row, without line ends.
fn code(text: &str) -> String {
    let text = printable(text);
    let fence = "`".repeat(longest_run(&text) + 1);
    // A span may not begin or end with a backtick, nor be empty.
    let pad = if text.is_empty() || text.starts_with('`') || text.ends_with('`') { " " } else { "" };
    // In the cells of tables and in lists alike.
    format!("{fence}{pad}{text}{pad}{fence}")
}

fn longest_run(text: &str) -> usize {
    text.split(|c| c != '`').map(str::len).max().unwrap_or(0)
}

/// A sentence of this program's that may hold a recorded name: nothing in it is markup.
fn text(text: &str) -> String {
    let mut out = String::new();
    for c in printable(text).chars() {
        if "\\`*_{}[]<>()#+!|~&@".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_gets_out_of_a_code_span() {
        assert_eq!(code("/a"), "`/a`");
        assert_eq!(code("a``b"), "```a``b```");
        assert_eq!(code("`x"), "`` `x ``");
        assert_eq!(code("a\nb"), "`a\\x0ab`");
        assert_eq!(text("<img src=x> [a](b) `c`"), "\\<img src=x\\> \\[a\\]\\(b\\) \\`c\\`");
    }
}
