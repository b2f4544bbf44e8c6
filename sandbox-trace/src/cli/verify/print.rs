//! The verdicts of `verify` as people read them.

use comfy_table::{Table, presets};

use crate::{
    cli::Context,
    error::Result,
    output::{self, counted, grouped},
    record::InForce,
    recording::printable,
    verify::{Checked, Kind, Verdicts, attacks::Judged},
};

/// The answer first, then each fact with who needed it and what would allow it.
pub fn verdicts(context: Context, verdicts: &Verdicts) -> Result<()> {
    let Verdicts { checked, blocked, unproven, notes } = verdicts;
    let evidence = evidence(*checked);
    let verdict = match (blocked.len(), unproven.len()) {
        (0, 0) => "✓ nothing needed is blocked".to_owned(),
        (0, _) => "? nothing needed is known to be blocked".to_owned(),
        (1, _) => "✗ 1 needed thing would be blocked".to_owned(),
        (_, _) => format!("✗ {} needed things would be blocked", grouped(count(blocked))),
    };
    let mut out = format!("{verdict}     {evidence}\n");
    out +=
        &table(blocked.iter().map(|b| {
            [kind(b.kind).into(), b.what.clone(), b.needed_by.join(", "), format!("add {}", b.rule)]
        }));
    if !unproven.is_empty() {
        out += &["? ", &counted(count(unproven), "fact"), " can't be proven\n"].concat();
        out += &table(
            unproven.iter().map(|u| [kind(u.kind).into(), u.what.clone(), u.why.clone(), String::new()]),
        );
    }
    // Quiet is for scripts that look at the exit code: then only bad news is printed.
    if !context.quiet || !blocked.is_empty() || !unproven.is_empty() {
        output::stdout(out)?;
    }
    for note in notes {
        context.note(format!("  note: {note}"));
    }
    if !blocked.is_empty() {
        context.note("  next: make the profile again from these recordings as well, or add the rules above");
    }
    Ok(())
}

fn count<T>(list: &[T]) -> u64 {
    u64::try_from(list.len()).unwrap_or(u64::MAX)
}

/// `1,412 facts: 141 call tuples through the compiled filter, 1,268 paths through the compiled DFA, 3 network`
fn evidence(checked: Checked) -> String {
    let parts: Vec<String> = [
        (checked.seccomp, counted(checked.seccomp, "call tuple") + " through the compiled filter"),
        (checked.files, counted(checked.files, "path") + " through the compiled DFA"),
        (checked.network, grouped(checked.network) + " network"),
        (checked.capabilities, grouped(checked.capabilities) + " capability"),
    ]
    .into_iter()
    .filter(|(count, _)| *count > 0)
    .map(|(_, text)| text)
    .collect();
    let facts = counted(total(checked), "fact");
    if parts.is_empty() { facts } else { format!("{facts}: {}", parts.join(", ")) }
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Seccomp => "seccomp",
        Kind::File | Kind::Network => "apparmor",
        // AppArmor's or the container's: the rule says which.
        Kind::Capability => "capability",
    }
}

/// How many facts were replayed.
pub fn total(checked: Checked) -> u64 {
    checked.seccomp + checked.files + checked.network + checked.capabilities
}

/// `✓ 42 of 42 attacks are denied`, or those that are not, by name.
pub fn attacks(context: Context, judged: &Judged) -> Result<()> {
    let Judged { checked, denied, open, unproven, noted, not_asked } = judged;
    let mark = match (open.len(), unproven.len()) {
        (0, 0) => "✓",
        (0, _) => "?",
        (_, _) => "✗",
    };
    let are = if *denied == 1 { "is" } else { "are" };
    let mut out = format!("{mark} {} of {} {are} denied\n", grouped(*denied), counted(*checked, "attack"));
    out += &table(
        open.iter().map(|open| [open.name.clone(), open.how.clone(), open.why.clone(), String::new()]),
    );
    if !unproven.is_empty() {
        out += &["? ", &counted(count(unproven), "attack"), " can't be proven denied\n"].concat();
        out += &table(unproven.iter().map(|u| [u.name.clone(), u.why.clone(), String::new(), String::new()]));
    }
    if !context.quiet || !open.is_empty() || !unproven.is_empty() {
        output::stdout(out)?;
    }
    for noted in noted {
        context.note(format!("  note: not denied, and not counted: {}: {}", noted.name, noted.why));
    }
    if !not_asked.is_empty() {
        context.note(format!(
            "  note: {} can be denied only by a kind of file that was not given: {}",
            counted(count(not_asked), "more attack"),
            not_asked.join(", ")
        ));
    }
    if !open.is_empty() {
        context.note("  next: take out the rules that allow them, or list the attacks that must be denied yourself: --must-deny FILE");
    }
    Ok(())
}

/// What a kernel holds, in one line.
pub fn in_force(context: Context, held: &InForce) {
    let names: Vec<&str> = held.bounding.names().filter_map(|name| name.strip_prefix("CAP_")).collect();
    let filters: Vec<String> = held
        .filters
        .filters()
        .iter()
        .map(|filter| counted(filter.instructions().len() as u64, "instruction"))
        .collect();
    let filters = match filters.as_slice() {
        [] => "no seccomp filter".to_owned(),
        [one] => format!("1 seccomp filter ({one})"),
        all => format!("{} seccomp filters ({})", all.len(), all.join(", ")),
    };
    let label =
        held.label.as_ref().map_or_else(|| "no AppArmor in the kernel".into(), |l| format!("AppArmor {l}"));
    let capabilities = if names.is_empty() {
        "no capabilities".into()
    } else {
        format!("capabilities {}", names.join(", "))
    };
    let gains = if held.no_new_privileges { ", no new privileges" } else { "" };
    context.note(format!(
        "container {} ({}, process {}): {filters}; {label}; {capabilities}{gains}",
        printable(&held.container.name),
        printable(&held.container.runtime),
        held.pid
    ));
}

/// Columns without borders, indented, with no spaces at the ends of lines.
fn table(rows: impl Iterator<Item = [String; 4]>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    for row in rows {
        table.add_row(row);
    }
    table.lines().flat_map(|line| [" ".to_owned(), line.trim_end().to_owned(), "\n".to_owned()]).collect()
}
