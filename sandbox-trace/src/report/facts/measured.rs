//! How it was measured: the runs, the machines, what was in force, what a reader should know.

use std::collections::BTreeSet;

use super::{ROWS, Subject, shown};
use crate::{
    output::grouped,
    recording::Recording,
    report::{Block, Cell, Curve, Data, Mark, Plot, Section, Table, count, duration, safe},
    requirements,
};

/// How many runs have a curve, and how many points one has.
const CURVES: usize = 24;
const POINTS: usize = 400;

pub(super) fn section(subject: &Subject<'_>) -> Section {
    let mut blocks = Vec::new();
    blocks.extend(saturation(subject).map(Block::Plot));
    blocks.push(Block::Table(runs(subject)));
    blocks.push(Block::Table(hosts(subject)));
    blocks.push(Block::Table(executables(subject)));
    blocks.push(Block::Heading("What to keep in mind"));
    let mut notes: Vec<String> = Vec::new();
    let warnings = subject.recordings.iter().flat_map(|(_, recording)| &recording.warnings);
    notes.extend(warnings.map(|warning| safe(warning)));
    notes.extend(subject.verdicts.iter().flat_map(|verdicts| verdicts.notes.iter().cloned()));
    notes.extend(subject.width.notes.iter().cloned());
    for kind in &subject.needs.unobserved {
        notes.push(format!(
            "{} could not be observed on a host: those that are not here may have been used",
            safe(kind)
        ));
    }
    let mut seen = BTreeSet::new();
    notes.retain(|note| seen.insert(note.clone()));
    blocks.extend(notes.into_iter().take(ROWS).map(|note| Block::Mark(Mark::Warn, note)));
    blocks.push(Block::Text(
        "Facts are recorded in the kernel with eBPF, each once, with how often, when and by whom. The verdict comes from \
         replaying them through the files that were given: libseccomp compiles the filter and its program is interpreted, \
         apparmor_parser compiles the profile and its automaton is walked, as a kernel would. What no recording did is \
         not proven to work, and what no list names is not proven to be denied."
            .into(),
    ));
    super::section("measured", "How it was measured", blocks)
}

fn saturation(subject: &Subject<'_>) -> Option<Plot> {
    let with: Vec<&(String, Recording)> =
        subject.recordings.iter().filter(|(_, recording)| !recording.saturation.is_empty()).collect();
    let (list, more) = shown(&with, CURVES);
    let mut said = Vec::new();
    let curves: Vec<Curve> = list
        .iter()
        .map(|(name, recording)| {
            let all = &recording.saturation;
            let every = all.len().div_ceil(POINTS).max(1);
            let kept = |at: &usize| at.is_multiple_of(every) || at + 1 == all.len();
            let points = all.iter().enumerate().filter(|(at, _)| kept(at));
            if let Some(last) = all.last() {
                said.push(format!(
                    "{}: {} system calls and {} paths, the last new fact after {} of {}",
                    safe(name),
                    grouped(last.syscalls),
                    grouped(last.paths),
                    duration(last.ms),
                    duration(recording.duration_ms)
                ));
            }
            Curve {
                name: safe(name),
                points: points.map(|(_, one)| (one.ms, one.syscalls, one.paths)).collect(),
                duration_ms: recording.duration_ms,
            }
        })
        .collect();
    said.truncate(6);
    let beside = if more > 0 { format!(" (the first {CURVES} runs)") } else { String::new() };
    (!curves.is_empty()).then(|| Plot {
        id: "saturation",
        title: format!("When the runs stopped teaching: distinct system calls and paths over time{beside}"),
        description: said.join("; "),
        data: Data::Curves(curves),
    })
}

fn runs(subject: &Subject<'_>) -> Table {
    let (list, more) = shown(subject.recordings, ROWS);
    let rows = list.iter().map(|(name, recording)| {
        let complete = if recording.complete {
            Cell::Mark(Mark::Good, "complete".into())
        } else {
            Cell::Mark(Mark::Warn, safe(&requirements::describe_losses(&recording.losses)))
        };
        vec![
            Cell::Code(safe(name)),
            Cell::Text(safe(&recording.started)),
            Cell::Text(duration(recording.duration_ms)),
            complete,
            Cell::Text(format!("{} ({})", safe(&recording.target.kind), safe(&recording.target.ended))),
        ]
    });
    Table {
        caption: "Recordings".into(),
        head: vec!["recording", "started", "took", "complete", "target (ended by)"],
        rows: rows.collect(),
        more,
        folded: false,
    }
}

fn hosts(subject: &Subject<'_>) -> Table {
    let mut rows: Vec<Vec<Cell>> = Vec::new();
    for (_, recording) in subject.recordings {
        let host = &recording.host;
        let mut force: Vec<String> = Vec::new();
        if let Some(seccomp) = &recording.target.seccomp {
            for filter in seccomp.filters.iter().take(6) {
                let short: String = safe(&filter.sha256).chars().take(12).collect();
                force
                    .push(format!("seccomp filter {short}… ({} instructions)", grouped(filter.instructions)));
            }
        }
        force.extend(recording.target.apparmor.iter().take(6).map(|label| format!("AppArmor {label}")));
        if force.is_empty() {
            force.push("none seen".into());
        }
        let observed: Vec<String> = host.observed.iter().map(|kind| safe(kind)).collect();
        let image = recording.target.container.as_ref().map_or_else(String::new, |container| {
            let parts = [&container.image, &container.image_digest];
            parts.into_iter().flatten().map(|part| safe(part)).collect::<Vec<_>>().join(", ")
        });
        let row = vec![
            Cell::Code(format!("{} {}", safe(&host.kernel), safe(&host.arch))),
            Cell::Text(format!("{} ({})", safe(&host.hooks), observed.join(", "))),
            Cell::Text(force.join("; ")),
            Cell::Code(image),
            Cell::Text(safe(&recording.tool)),
        ];
        if !rows.contains(&row) {
            rows.push(row);
        }
    }
    let (list, more) = shown(&rows, ROWS);
    Table {
        caption: "Machines, and what was in force there".into(),
        head: vec!["kernel", "hooks (what they see)", "in force", "image", "recorded by"],
        rows: list.to_vec(),
        more,
        folded: false,
    }
}

fn executables(subject: &Subject<'_>) -> Table {
    let mut all: BTreeSet<(String, String)> = BTreeSet::new();
    for one in subject.recordings.iter().flat_map(|(_, recording)| &recording.executables) {
        let identity = match (&one.build_id, &one.sha256) {
            (Some(id), _) => format!("build id {}", safe(id)),
            (None, Some(sum)) => format!("sha256 {}", safe(sum)),
            (None, None) => "not known".into(),
        };
        all.insert((one.path.to_string(), identity));
    }
    let rows: Vec<Vec<Cell>> =
        all.into_iter().map(|(path, identity)| vec![Cell::Code(path), Cell::Code(identity)]).collect();
    let (list, more) = shown(&rows, ROWS);
    Table {
        caption: format!("Executables ({})", grouped(count(&rows))),
        head: vec!["path", "identity"],
        rows: list.to_vec(),
        more,
        folded: true,
    }
}
