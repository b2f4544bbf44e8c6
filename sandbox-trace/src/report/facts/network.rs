//! Sockets: their kinds, and the addresses that they were used with.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    ROWS, Subject,
    allowed::{BARS, longest},
    evidence, shown,
};
use crate::{
    output::{counted, grouped},
    report::{Block, Cell, Data, Plot, Role, Span, Table, count, duration, safe},
};

/// What was done with an address, over all recordings.
#[derive(Default)]
struct Endpoint {
    first_ms: Option<u64>,
    last_ms: u64,
    count: u64,
    by: BTreeSet<String>,
    errors: BTreeSet<String>,
    granted: bool,
}

/// By address, operation, and family and type.
type Endpoints = BTreeMap<(String, String, String), Endpoint>;

fn endpoints(subject: &Subject<'_>) -> Endpoints {
    let mut all = Endpoints::new();
    for (_, recording) in subject.recordings {
        for one in recording.network.iter().chain(&recording.failed.network) {
            let Some(address) = &one.address else { continue };
            let kind = format!("{} {}", safe(&one.family), safe(&one.socket_type));
            let entry = all.entry((address.to_string(), safe(&one.operation), kind)).or_default();
            entry.first_ms = Some(entry.first_ms.map_or(one.first_ms, |first| first.min(one.first_ms)));
            entry.last_ms = entry.last_ms.max(one.last_ms).max(one.first_ms);
            entry.count = entry.count.saturating_add(one.count);
            entry.by.extend(one.by.iter().map(|index| recording.executable(*index).to_string()));
            entry.granted |= one.error.is_none();
            entry.errors.extend(one.error.as_ref().map(|error| match &one.refused_by {
                Some(by) => format!("{} by {}", safe(error), safe(by)),
                None => safe(error),
            }));
        }
    }
    all
}

pub(super) fn blocks(subject: &Subject<'_>, blocks: &mut Vec<Block>) {
    let kinds = subject.needs.network.iter().map(|(key, one)| {
        let mut row = vec![Cell::Code(safe(&key.family.1)), Cell::Code(safe(&key.socket_type.1))];
        row.extend(evidence(one));
        row
    });
    let rows: Vec<Vec<Cell>> = kinds.collect();
    if rows.is_empty() {
        blocks.push(Block::Text("No socket was made.".into()));
    } else {
        blocks.push(Block::Table(Table {
            caption: "Kinds of sockets".into(),
            head: vec!["family", "type", "who", "first", "times"],
            rows,
            ..Table::default()
        }));
    }
    let all = endpoints(subject);
    if all.is_empty() {
        blocks.push(Block::Text("No address was bound, connected or sent to.".into()));
        return;
    }
    blocks.push(Block::Plot(plot(subject, &all)));
    let list: Vec<_> = all.iter().collect();
    let (list, more) = shown(&list, ROWS);
    let rows = list.iter().map(|((address, operation, kind), one)| {
        let done = one.granted.then_some("done");
        let results: Vec<&str> = done.into_iter().chain(one.errors.iter().map(String::as_str)).collect();
        let by: Vec<&str> = one.by.iter().map(String::as_str).collect();
        vec![
            Cell::Code(address.clone()),
            Cell::Text(format!("{operation}, {kind}")),
            Cell::Text(results.join(", ")),
            Cell::Code(by.join(", ")),
            Cell::Text(duration(one.first_ms.unwrap_or(0))),
            Cell::Number(one.count),
        ]
    });
    blocks.push(Block::Table(Table {
        caption: counted(all.len() as u64, "endpoint"),
        head: vec!["address", "operation", "result", "who", "first", "times"],
        rows: rows.collect(),
        more,
        folded: true,
    }));
}

fn plot(subject: &Subject<'_>, all: &Endpoints) -> Plot {
    let mut spans: Vec<Span> = all
        .iter()
        .map(|((address, operation, _), one)| Span {
            label: format!("{operation} {address}"),
            first_ms: one.first_ms.unwrap_or(0),
            last_ms: one.last_ms,
            role: if one.granted { Role::Read } else { Role::Bad },
            note: format!("{}×", grouped(one.count)),
        })
        .collect();
    spans.sort_by(|a, b| (a.first_ms, &a.label).cmp(&(b.first_ms, &b.label)));
    let total = count(&spans);
    spans.truncate(BARS);
    let more = total - count(&spans);
    let beside = if more > 0 { format!(" (the first {BARS} of {})", grouped(total)) } else { String::new() };
    Plot {
        id: "network",
        title: format!("Network endpoints over the run{beside}"),
        description: format!("{}; the table below has all of them", counted(total, "endpoint")),
        data: Data::Spans(
            spans,
            longest(subject),
            vec![(Role::Read, "went through"), (Role::Bad, "only failed")],
        ),
    }
}
