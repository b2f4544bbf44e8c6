//! What is allowed, and why: system calls, files, sockets, capabilities, resources.

use std::collections::{BTreeMap, BTreeSet};

use super::{ROWS, Subject, evidence, network, shown, verdict::said};
use crate::{
    linux,
    output::{counted, grouped},
    recording::{Access, BytePath, Limits},
    report::{
        Bar, Block, Cell, Data, Plot, Role, Section, Span, Table, count, duration, safe, size,
        tree::{self, EXECUTES, WRITES},
    },
    seccomp::arch::Arch,
    width,
};

/// How many executables, endpoints and folders a plot shows.
pub(super) const BARS: usize = 14;
const FOLDERS: usize = 18;
/// How many paths a table names.
const PATHS: usize = 300;

pub(super) fn section(subject: &Subject<'_>) -> Section {
    let mut blocks = vec![Block::Heading("System calls")];
    calls(subject, &mut blocks);
    blocks.push(Block::Heading("Files"));
    files(subject, &mut blocks);
    blocks.push(Block::Heading("Network"));
    network::blocks(subject, &mut blocks);
    blocks.push(Block::Heading("Capabilities"));
    capabilities(subject, &mut blocks);
    blocks.push(Block::Heading("Resources"));
    resources(subject, &mut blocks);
    super::section("allowed", "What is allowed, and why", blocks)
}

fn bar(label: impl Into<String>, n: u64, role: Role, value: String) -> Bar {
    Bar { label: label.into(), parts: vec![(n, role)], value, of: None, limit: None }
}

fn calls(subject: &Subject<'_>, blocks: &mut Vec<Block>) {
    let needs = subject.needs;
    let native = needs.syscalls.keys().filter(|(arch, _)| arch == Arch::X8664.name()).count() as u64;
    let width = subject.width.syscalls.as_ref();
    let of = width.map_or_else(|| syscalls::x86_64::Sysno::iter().count(), |calls| calls.of) as u64;
    let docker = width::DOCKER_DEFAULT as u64;
    let mut bars = vec![bar("used in the recordings", native, Role::Read, grouped(native))];
    if let Some(calls) = width {
        let unused = calls.unused.as_ref().map_or(0, |unused| count(unused));
        let allowed = calls.allowed as u64;
        bars.push(Bar {
            parts: vec![(allowed.saturating_sub(unused), Role::Read), (unused, Role::Warn)],
            ..bar(
                "allowed by the profile",
                0,
                Role::Read,
                format!("{} ({unused} of them unused)", grouped(allowed)),
            )
        });
    }
    bars.push(bar("allowed by Docker's default", docker, Role::Muted, grouped(docker)));
    bars.push(bar("all of x86-64", of, Role::Muted, grouped(of)));
    for bar in &mut bars {
        bar.of = Some(of);
    }
    let legend = match width {
        Some(_) => vec![(Role::Read, "used"), (Role::Warn, "allowed and not used")],
        None => Vec::new(),
    };
    blocks.push(Block::Plot(Plot {
        id: "calls",
        title: "System calls allowed, against Docker's default and all".into(),
        description: said(&bars),
        data: Data::Bars(bars, legend),
    }));
    if let Some(plot) = executables(subject) {
        blocks.push(Block::Plot(plot));
    }
    let limited: BTreeSet<&str> =
        width.iter().flat_map(|calls| calls.limited_by_arguments.iter().copied()).collect();
    let all: Vec<_> = needs.syscalls.iter().collect();
    let (list, more) = shown(&all, ROWS);
    let rows = list.iter().map(|((arch, name), need)| {
        let native = arch == Arch::X8664.name();
        let shown = if native { safe(name) } else { format!("{} ({})", safe(name), safe(arch)) };
        let limits = if need.args.is_empty() {
            String::new()
        } else if limited.contains(name.as_str()) {
            format!("{} of arguments, and no others", counted(need.args.len() as u64, "tuple"))
        } else {
            format!("{} of arguments seen", counted(need.args.len() as u64, "tuple"))
        };
        let mut row = vec![Cell::Code(shown), Cell::Text(limits)];
        row.extend(evidence(&need.evidence));
        row
    });
    blocks.push(Block::Table(Table {
        caption: format!("{} that the recordings made", counted(count(&all), "system call")),
        head: vec!["call", "arguments", "who", "first", "times"],
        rows: rows.collect(),
        more,
        folded: true,
    }));
    if let Some(unused) = width.and_then(|calls| calls.unused.as_ref()).filter(|list| !list.is_empty()) {
        let rows = unused.iter().map(|name| {
            let why = match &subject.runtime {
                Some((runtime, base)) if base.contains(*name) => {
                    format!("{runtime} makes it before the workload starts")
                }
                _ if *name == "clone" && needs.syscalls.keys().any(|(_, name)| name == "clone3") => {
                    "stands in for clone3, whose flags no filter can see".into()
                }
                _ if matches!(*name, "exit" | "exit_group" | "restart_syscall" | "rt_sigreturn") => {
                    "the kernel's own returns and exits".into()
                }
                _ => "not seen: other timings, sizes or versions, or somebody added it".into(),
            };
            vec![Cell::Code((*name).to_owned()), Cell::Text(why)]
        });
        blocks.push(Block::Table(Table {
            caption: format!(
                "{} that the profile allows and no recording made",
                counted(count(unused), "system call")
            ),
            head: vec!["call", "why it may be there"],
            rows: rows.collect(),
            more: 0,
            folded: true,
        }));
    }
    for (arch, n) in width.iter().flat_map(|calls| &calls.other_architectures) {
        blocks.push(Block::Text(format!(
            "The profile also lets {} of {arch} through.",
            counted(*n as u64, "call")
        )));
    }
}

fn executables(subject: &Subject<'_>) -> Option<Plot> {
    let mut by: BTreeMap<&BytePath, u64> = BTreeMap::new();
    for need in subject.needs.syscalls.values() {
        for who in &need.evidence.by {
            *by.entry(who).or_default() += 1;
        }
    }
    let mut list: Vec<_> = by.into_iter().collect();
    list.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    let (list, more) = shown(&list, BARS);
    let bars: Vec<Bar> = list
        .iter()
        .map(|(path, n)| {
            let name = if path.is_empty() { "an unnamed executable".to_owned() } else { path.to_string() };
            bar(name, *n, Role::Read, counted(*n, "call"))
        })
        .collect();
    let beside = if more > 0 { format!(" ({} more are not shown)", grouped(more)) } else { String::new() };
    (!bars.is_empty()).then(|| Plot {
        id: "executables",
        title: format!("Distinct system calls by executable{beside}"),
        description: said(&bars),
        data: Data::Bars(bars, Vec::new()),
    })
}

fn files(subject: &Subject<'_>, blocks: &mut Vec<Block>) {
    let files = &subject.needs.files;
    let folders = tree::folders(files, FOLDERS);
    let all = folders.first().map_or([0; 4], |root| root.counts);
    let [paths, read, written, executed] = all.map(grouped);
    blocks.push(Block::Plot(Plot {
        id: "files",
        title: "The file tree by permission: distinct paths that were read, written, made code of".into(),
        description: format!(
            "{paths} paths: {read} read, {written} written, {executed} executed or mapped as code; the table of paths below says which"
        ),
        data: Data::Tree(folders),
    }));
    if let Some(width) = &subject.width.files {
        let used = |of: fn(&width::Used) -> u64| width.used.as_ref().map_or(0, of);
        let row = |what: &str, admitted, used| {
            vec![Cell::Text(what.into()), Cell::Number(admitted), Cell::Number(used), Cell::Number(width.of)]
        };
        blocks.push(Block::Table(Table {
            caption: "How wide the profile is: files of the root file system".into(),
            head: vec!["permission", "admitted", "used", "of"],
            rows: vec![
                row("readable", width.readable, used(|used| used.read)),
                row("writable", width.writable, used(|used| used.written)),
                row("executable", width.executable, used(|used| used.executed)),
                row("writable and executable", width.writable_and_executable, 0),
            ],
            ..Table::default()
        }));
        let rows: Vec<Vec<Cell>> = width
            .widest
            .iter()
            .map(|one| vec![Cell::Code(one.path.to_string()), Cell::Number(one.readable_unused)])
            .collect();
        if !rows.is_empty() {
            blocks.push(Block::Table(Table {
                caption: "Folders with the most files that may be read and were not".into(),
                head: vec!["folder", "readable and unused"],
                rows,
                more: 0,
                folded: true,
            }));
        }
    }
    for (what, any) in [("written", WRITES), ("executed or mapped as code", EXECUTES), ("read", Access::READ)]
    {
        // Each path once: where the most is at stake.
        let here = |access: Access| {
            access.intersects(any)
                && (any == WRITES || !access.intersects(WRITES))
                && (any != Access::READ || !access.intersects(EXECUTES))
        };
        let mut rows = Vec::new();
        let mut found = 0u64;
        for need in files.iter().filter(|need| here(need.access())) {
            found += 1;
            if rows.len() < PATHS {
                let mut path = BytePath::from(need.path()).to_string();
                if let Some(target) = need.target() {
                    path += " → ";
                    path += &BytePath::from(target).to_string();
                }
                let mut row = vec![Cell::Code(path), Cell::Code(need.access().to_string())];
                row.extend(evidence(&need.evidence(need.access())));
                rows.push(row);
            }
        }
        if found > 0 {
            let more = found - count(&rows);
            let only = if any == Access::READ { " only" } else { "" };
            blocks.push(Block::Table(Table {
                caption: format!("{} {what}{only}", counted(found, "path")),
                head: vec!["path", "access", "who", "first", "times"],
                rows,
                more,
                folded: true,
            }));
        }
    }
}

/// The longest run, in milliseconds.
pub(super) fn longest(subject: &Subject<'_>) -> u64 {
    subject.recordings.iter().map(|(_, recording)| recording.duration_ms).max().unwrap_or(0)
}

fn capabilities(subject: &Subject<'_>, blocks: &mut Vec<Block>) {
    if subject.needs.unobserved.contains("capabilities") {
        blocks.push(Block::Text(
            "A recording was made on a kernel that does not show which capabilities are asked for: what is not here may have been used."
                .into(),
        ));
    }
    let mut spans: BTreeMap<(String, Role), Span> = BTreeMap::new();
    for (_, recording) in subject.recordings {
        for one in &recording.capabilities {
            let role = match (one.granted, one.probe) {
                (_, true) => Role::Muted,
                (true, false) => Role::Read,
                (false, false) => Role::Bad,
            };
            let calls: Vec<String> = one.syscalls.iter().take(3).map(|name| safe(name)).collect();
            let span = spans.entry((safe(&one.name), role)).or_insert(Span {
                label: safe(&one.name),
                first_ms: one.first_ms,
                last_ms: one.last_ms,
                role,
                note: calls.join(", "),
            });
            span.first_ms = span.first_ms.min(one.first_ms);
            span.last_ms = span.last_ms.max(one.last_ms).max(one.first_ms);
        }
    }
    if spans.is_empty() {
        blocks.push(Block::Text("None was asked for.".into()));
        return;
    }
    let rows: Vec<Vec<Cell>> = subject
        .needs
        .capabilities
        .iter()
        .map(|(name, (_, one))| {
            let mut row = vec![Cell::Code(safe(name))];
            row.extend(evidence(one));
            row
        })
        .collect();
    let spans: Vec<Span> = spans.into_values().take(linux::capabilities().count() * 2).collect();
    let refused = spans.iter().filter(|span| span.role == Role::Bad).count() as u64;
    blocks.push(Block::Plot(Plot {
        id: "capabilities",
        title: "Capabilities over the run".into(),
        description: format!("{} used, {} refused", count(&rows), grouped(refused)),
        data: Data::Spans(
            spans,
            longest(subject),
            vec![
                (Role::Read, "used"),
                (Role::Bad, "refused"),
                (Role::Muted, "only tried by the kernel: no need"),
            ],
        ),
    }));
    if !rows.is_empty() {
        blocks.push(Block::Table(Table {
            caption: "Capabilities that are needed".into(),
            head: vec!["capability", "who", "first", "times"],
            rows,
            ..Table::default()
        }));
    }
}

fn resources(subject: &Subject<'_>, blocks: &mut Vec<Block>) {
    let runs = &subject.needs.runs;
    let most = |of: &dyn Fn(&crate::requirements::Run) -> Option<u64>| runs.iter().filter_map(of).max();
    let limit = |of: fn(&Limits) -> Option<u64>| {
        runs.iter().filter_map(|run| run.container.as_ref()).filter_map(|c| of(&c.limits)).min()
    };
    let cpus = |millis: u64| format!("{}.{:02} CPUs", millis / 1000, millis % 1000 / 10);
    let mut bars = Vec::new();
    let mut add = |label: &str, peak: Option<u64>, limit: Option<u64>, show: &dyn Fn(u64) -> String| {
        let Some(peak) = peak else { return };
        let over = limit.is_some_and(|limit| peak >= limit);
        let of = match limit {
            Some(limit) => format!("{} of {}", show(peak), show(limit)),
            None => format!("{}, no limit set", show(peak)),
        };
        bars.push(Bar {
            label: label.into(),
            // Without a limit there is nothing that it would be a part of.
            parts: limit.map(|_| (peak, if over { Role::Bad } else { Role::Read })).into_iter().collect(),
            value: of,
            of: Some(limit.unwrap_or(peak).max(peak)),
            limit,
        });
    };
    add("memory, peak", most(&|run| run.resources.memory_peak_bytes), limit(|l| l.memory_bytes), &size);
    add("tasks, peak", most(&|run| run.resources.pids_peak), limit(|l| l.pids), &|n| counted(n, "task"));
    add("CPU use, peak", most(&|run| run.resources.cpu_peak_millis), limit(|l| l.cpu_millis), &cpus);
    let mut storage: BTreeMap<&BytePath, u64> = BTreeMap::new();
    for one in runs.iter().flat_map(|run| &run.resources.storage) {
        let most = storage.entry(&one.path).or_default();
        *most = one.peak_bytes.max(*most);
    }
    let mut storage: Vec<_> = storage.into_iter().collect();
    storage.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    for (path, bytes) in storage.iter().take(6) {
        add(&path.to_string(), Some(*bytes), None, &size);
    }
    if bars.is_empty() {
        blocks.push(Block::Text("The host measured none.".into()));
        return;
    }
    blocks.push(Block::Plot(Plot {
        id: "resources",
        title: "Peaks of resources against limits".into(),
        description: said(&bars),
        data: Data::Bars(bars, Vec::new()),
    }));
    let rows = runs.iter().map(|run| {
        let or =
            |n: Option<u64>, show: &dyn Fn(u64) -> String| Cell::Text(n.map_or_else(|| "–".into(), show));
        vec![
            Cell::Code(safe(&run.name)),
            or(run.resources.memory_peak_bytes, &size),
            or(run.resources.pids_peak, &grouped),
            or(run.resources.cpu_peak_millis, &cpus),
            or(run.resources.cpu_usec.map(|usec| usec / 1000), &duration),
        ]
    });
    blocks.push(Block::Table(Table {
        caption: "Resources by run (recordings hold peaks, not their course)".into(),
        head: vec!["recording", "memory, peak", "tasks, peak", "CPU use, peak", "CPU time"],
        rows: rows.take(ROWS).collect(),
        more: count(runs).saturating_sub(ROWS as u64),
        folded: runs.len() > 4,
    }));
}
