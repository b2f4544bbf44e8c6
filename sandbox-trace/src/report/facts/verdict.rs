//! The verdict: what is blocked, which attacks are possible, what is dangerous.

use super::{ROWS, Subject, mark, shown};
use crate::{
    output::{counted, grouped},
    report::{
        Bar, Block, Cell, Data, Mark, Plot, Role, Section, Table, count,
        findings::{self, Finding, State},
        safe,
    },
    requirements,
    verify::Kind,
};

type Judgement = (Mark, String);

/// The answer and its reasons, the worst first.
pub(super) fn headline(subject: &Subject<'_>, found: &[Finding]) -> (Judgement, Vec<Judgement>) {
    let mut reasons: Vec<Judgement> = Vec::new();
    match subject.verdicts {
        None => reasons.push((Mark::Warn, "no profile was given: nothing was verified".into())),
        Some(verdicts) => {
            let checked = checked(subject);
            if !verdicts.blocked.is_empty() {
                let n = count(&verdicts.blocked);
                let would = if n == 1 { "needed thing would be" } else { "needed things would be" };
                reasons.push((Mark::Bad, format!("{} {would} blocked", grouped(n))));
            } else if !verdicts.unproven.is_empty() {
                reasons.push((Mark::Warn, "nothing needed is known to be blocked".into()));
            } else {
                let facts = counted(checked, "fact");
                reasons.push((Mark::Good, format!("nothing needed is blocked: {facts} replayed")));
            }
            if !verdicts.unproven.is_empty() {
                let n = counted(count(&verdicts.unproven), "fact");
                reasons.push((Mark::Warn, format!("{n} can't be proven")));
            }
        }
    }
    if let Some(judged) = subject.judged {
        let said = format!("{} of {} are denied", grouped(judged.denied), counted(judged.checked, "attack"));
        let how = match (judged.open.len(), judged.unproven.len()) {
            (0, 0) => Mark::Good,
            (0, _) => Mark::Warn,
            _ => Mark::Bad,
        };
        reasons.push((how, said));
    }
    let live = |state: State| !matches!(state, State::Survived);
    let dangerous = found.iter().filter(|finding| live(finding.state)).count() as u64;
    if dangerous == 0 {
        reasons.push((Mark::Good, "nothing dangerous is asked for or let through".into()));
    } else {
        let worst = if found.iter().any(|f| f.state.words().0 == Mark::Bad) { Mark::Bad } else { Mark::Warn };
        let things = if dangerous == 1 { "dangerous thing is" } else { "dangerous things are" };
        let names: Vec<&str> =
            found.iter().filter(|f| live(f.state)).map(|f| f.what.as_str()).take(5).collect();
        let said = format!("{} {things} asked for or let through: {}", grouped(dangerous), names.join(", "));
        reasons.push((worst, said));
    }
    let incomplete = subject.recordings.iter().filter(|(_, recording)| !recording.complete).count() as u64;
    if incomplete > 0 {
        let losses = requirements::describe_losses(&subject.needs.losses);
        let are = if incomplete == 1 { "is" } else { "are" };
        let said = format!("{} {are} incomplete ({})", counted(incomplete, "recording"), safe(&losses));
        reasons.push((Mark::Warn, said));
    } else {
        let all = counted(count(subject.recordings), "recording");
        let are = if subject.recordings.len() == 1 { "is" } else { "are" };
        reasons.push((Mark::Good, format!("{all} {are} complete: nothing was lost")));
    }
    reasons.sort_by_key(|(mark, _)| std::cmp::Reverse(*mark));
    let worst = reasons.first().map_or(Mark::Good, |(mark, _)| *mark);
    let profiles =
        if subject.verdicts.is_some() { "The profiles fit" } else { "Nothing dangerous was recorded" };
    let verdict = match (worst, subject.verdicts.is_some()) {
        (Mark::Good, _) => profiles.to_owned(),
        (Mark::Warn, true) => "Not everything is proven".to_owned(),
        (Mark::Warn, false) => "Not verified: no profile was given".to_owned(),
        (Mark::Bad, _) => "Something has to be looked at before this is signed".to_owned(),
    };
    ((worst, verdict), reasons)
}

fn checked(subject: &Subject<'_>) -> u64 {
    subject.verdicts.map_or(0, |v| {
        let c = v.checked;
        c.seccomp + c.files + c.network + c.capabilities
    })
}

const KINDS: [(Kind, &str); 4] = [
    (Kind::Seccomp, "system calls, through the compiled filter"),
    (Kind::File, "paths, through the compiled profile"),
    (Kind::Network, "sockets, through the compiled profile"),
    (Kind::Capability, "capabilities"),
];

pub(super) fn section(subject: &Subject<'_>, found: &[Finding]) -> Section {
    let mut blocks = Vec::new();
    if let Some(verdicts) = subject.verdicts {
        blocks.push(Block::Heading("Needed things, replayed"));
        let c = verdicts.checked;
        let bars = KINDS.iter().zip([c.seccomp, c.files, c.network, c.capabilities]).filter_map(
            |((kind, label), checked)| {
                let blocked = verdicts.blocked.iter().filter(|b| b.kind == *kind).count() as u64;
                let unproven = verdicts.unproven.iter().filter(|u| u.kind == *kind).count() as u64;
                let good = checked.saturating_sub(blocked).saturating_sub(unproven);
                (checked > 0).then(|| Bar {
                    label: (*label).into(),
                    parts: vec![(good, Role::Good), (unproven, Role::Warn), (blocked, Role::Bad)],
                    value: format!("{} of {} pass", grouped(good), grouped(checked)),
                    of: Some(checked.max(good + unproven + blocked)),
                    limit: None,
                })
            },
        );
        let bars: Vec<Bar> = bars.collect();
        blocks.push(Block::Plot(Plot {
            id: "verdicts",
            title: "Replayed facts by kind and verdict".into(),
            description: said(&bars),
            data: Data::Bars(
                bars,
                vec![
                    (Role::Good, "passes"),
                    (Role::Warn, "can't be proven"),
                    (Role::Bad, "would be blocked"),
                ],
            ),
        }));
        blocked(subject, &mut blocks);
    }
    blocks.push(Block::Heading("Dangerous findings"));
    if found.is_empty() {
        blocks
            .push(mark(Mark::Good, "None: no dangerous system call, argument, capability or path was used."));
    } else {
        blocks.push(Block::Table(findings::table(found)));
    }
    section_of(blocks)
}

fn section_of(blocks: Vec<Block>) -> Section {
    super::section("verdict", "Verdict", blocks)
}

/// What bars say, in words.
pub(super) fn said(bars: &[Bar]) -> String {
    bars.iter().map(|bar| format!("{}: {}", bar.label, bar.value)).collect::<Vec<_>>().join("; ")
}

fn blocked(subject: &Subject<'_>, blocks: &mut Vec<Block>) {
    let Some(verdicts) = subject.verdicts else { return };
    let kind = |kind: Kind| match kind {
        Kind::Seccomp => "seccomp",
        Kind::File | Kind::Network => "AppArmor",
        Kind::Capability => "capability",
    };
    if !verdicts.blocked.is_empty() {
        let (list, more) = shown(&verdicts.blocked, ROWS);
        let rows = list.iter().map(|b| {
            vec![
                Cell::Code(b.what.clone()),
                Cell::Mark(Mark::Bad, kind(b.kind).into()),
                Cell::Code(b.needed_by.join(", ")),
                Cell::Code(b.rule.clone()),
            ]
        });
        blocks.push(Block::Table(Table {
            caption: "Needed, and would be blocked".into(),
            head: vec!["what", "by", "who needs it", "what would allow it"],
            rows: rows.collect(),
            more,
            folded: false,
        }));
    }
    if !verdicts.unproven.is_empty() {
        let (list, more) = shown(&verdicts.unproven, ROWS);
        let rows = list.iter().map(|u| {
            let why = Cell::Text(u.why.clone());
            vec![Cell::Code(u.what.clone()), Cell::Mark(Mark::Warn, kind(u.kind).into()), why]
        });
        blocks.push(Block::Table(Table {
            caption: "Can't be proven".into(),
            head: vec!["what", "by", "what is missing"],
            rows: rows.collect(),
            more,
            folded: false,
        }));
    }
    if let Some(judged) = subject.judged {
        blocks.push(Block::Heading("Attacks"));
        let said = format!(
            "{} of {} are denied by the files that were given.",
            grouped(judged.denied),
            counted(judged.checked, "known attack")
        );
        let how = if judged.open.is_empty() { Mark::Good } else { Mark::Bad };
        blocks.push(mark(how, said));
        let open = judged.open.iter().map(|open| {
            let how = Cell::Code(open.how.clone());
            vec![Cell::Text(open.name.clone()), how, Cell::Mark(Mark::Bad, open.why.clone())]
        });
        let unproven = judged.unproven.iter().map(|u| {
            vec![Cell::Text(u.name.clone()), Cell::Text("–".into()), Cell::Mark(Mark::Warn, u.why.clone())]
        });
        let rows: Vec<Vec<Cell>> = open.chain(unproven).collect();
        if !rows.is_empty() {
            blocks.push(Block::Table(Table {
                caption: "Attacks that are possible, or not proven denied".into(),
                head: vec!["attack", "way", "why"],
                rows,
                ..Table::default()
            }));
        }
        if !judged.not_asked.is_empty() {
            blocks.push(Block::Text(format!(
                "{} can be denied only by a kind of file that was not given: {}.",
                counted(count(&judged.not_asked), "more attack"),
                judged.not_asked.join(", ")
            )));
        }
    }
}
