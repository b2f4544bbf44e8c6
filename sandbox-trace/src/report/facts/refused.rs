//! What was refused while it was recorded: by seccomp, by a security module, for want of a capability.

use std::collections::BTreeMap;

use super::{ROWS, Subject, mark, shown};
use crate::{
    output::{counted, grouped},
    report::{Block, Cell, Mark, Section, Table, count, duration, safe},
};

pub(super) fn section(subject: &Subject<'_>) -> Section {
    let mut blocks = Vec::new();
    let tables = [calls(subject), capabilities(subject), files(subject), network(subject)];
    blocks.extend(tables.into_iter().flatten().map(Block::Table));
    if blocks.is_empty() {
        blocks.push(mark(Mark::Good, "No policy refused anything while this was recorded."));
    }
    let filtered = subject.recordings.iter().any(|(_, recording)| recording.target.seccomp.is_some());
    if !filtered {
        blocks.push(Block::Text(
            "No seccomp filter was seen in force on the target, so none could refuse a call.".into(),
        ));
    }
    if subject.failed > 0 {
        blocks.push(Block::Text(format!(
            "{} to use a file failed for other reasons, such as names that do not exist: no refusals, and no needs.",
            counted(subject.failed, "attempt")
        )));
    }
    section_of(blocks)
}

fn section_of(blocks: Vec<Block>) -> Section {
    super::section("refused", "What was refused", blocks)
}

fn table(caption: String, head: Vec<&'static str>, rows: &[Vec<Cell>]) -> Option<Table> {
    let (list, more) = shown(rows, ROWS);
    (!rows.is_empty()).then(|| Table { caption, head, rows: list.to_vec(), more, folded: false })
}

fn calls(subject: &Subject<'_>) -> Option<Table> {
    let needs = subject.needs.syscalls.iter().map(|(key, need)| (key, need, false));
    let survived = subject.needs.survived.iter().map(|(key, need)| (key, need, true));
    let rows: Vec<Vec<Cell>> = needs
        .chain(survived)
        .filter(|(_, need, _)| !need.refused.is_empty())
        .map(|((_, name), need, survived)| {
            let answers: Vec<String> = need.refused.iter().map(|answer| safe(answer)).collect();
            let what = match (survived, need.passed) {
                (true, _) => (Mark::Good, "dangerous, and the target went on: not needed"),
                (false, true) => (Mark::Warn, "sometimes: a need"),
                (false, false) => (Mark::Warn, "always: a need"),
            };
            vec![
                Cell::Code(safe(name)),
                Cell::Code(answers.join(", ")),
                Cell::Mark(what.0, what.1.into()),
                Cell::Code(need.evidence.who()),
                Cell::Number(need.count),
            ]
        })
        .collect();
    let caption = format!("{} that a seccomp filter refused", counted(count(&rows), "system call"));
    table(caption, vec!["call", "the caller got", "refused", "who", "calls"], &rows)
}

fn capabilities(subject: &Subject<'_>) -> Option<Table> {
    let mut all: BTreeMap<String, (u64, u64, Vec<String>, Vec<String>)> = BTreeMap::new();
    for (_, recording) in subject.recordings {
        for one in recording.capabilities.iter().filter(|one| !one.granted && !one.probe) {
            let entry = all.entry(safe(&one.name)).or_insert((0, one.first_ms, Vec::new(), Vec::new()));
            entry.0 = entry.0.saturating_add(one.count);
            entry.1 = entry.1.min(one.first_ms);
            entry.2.extend(one.syscalls.iter().map(|name| safe(name)));
            entry.3.extend(one.by.iter().map(|index| recording.executable(*index).to_string()));
        }
    }
    let joined = |mut list: Vec<String>| {
        list.sort();
        list.dedup();
        list.join(", ")
    };
    let rows: Vec<Vec<Cell>> = all
        .into_iter()
        .map(|(name, (times, first_ms, calls, by))| {
            vec![
                Cell::Code(name),
                Cell::Code(joined(calls)),
                Cell::Code(joined(by)),
                Cell::Text(duration(first_ms)),
                Cell::Number(times),
            ]
        })
        .collect();
    let n = count(&rows);
    let caption = format!(
        "{} {} that the target lacked",
        grouped(n),
        if n == 1 { "capability" } else { "capabilities" }
    );
    table(caption, vec!["capability", "asked for in", "who", "first", "times"], &rows)
}

fn files(subject: &Subject<'_>) -> Option<Table> {
    let rows: Vec<Vec<Cell>> = subject
        .refused
        .iter()
        .map(|one| {
            vec![
                Cell::Code(one.path.to_string()),
                Cell::Code(one.access.clone()),
                Cell::Code(safe(&one.error)),
                Cell::Code(one.by.clone()),
                Cell::Number(one.count),
            ]
        })
        .collect();
    let caption = format!("{} to which a security module refused access", counted(count(&rows), "path"));
    table(caption, vec!["path", "access", "the caller got", "who", "times"], &rows)
}

fn network(subject: &Subject<'_>) -> Option<Table> {
    let mut rows = Vec::new();
    for (_, recording) in subject.recordings {
        for one in recording.failed.network.iter().filter(|one| one.refused_by.is_some()) {
            let by: Vec<String> =
                one.by.iter().map(|index| recording.executable(*index).to_string()).collect();
            rows.push(vec![
                Cell::Code(format!("{} {}", safe(&one.family), safe(&one.socket_type))),
                Cell::Text(safe(&one.operation)),
                Cell::Code(one.address.as_ref().map_or_else(String::new, ToString::to_string)),
                Cell::Code(by.join(", ")),
                Cell::Number(one.count),
            ]);
        }
    }
    let caption = format!("{} of sockets that a security module refused", counted(count(&rows), "use"));
    table(caption, vec!["socket", "operation", "address", "who", "times"], &rows)
}
