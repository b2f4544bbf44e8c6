//! What the most recent runs of a merged recording still needed, and what they no longer did. Knows no clock: the runs
//! are in the order in which they started.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::Serialize;

use super::{each_fact, executables, whole};
use crate::recording::{Access, ExecutableIndex, FileAccess, Recording, RunSet};

/// The schema of [`Stale`] as JSON.
const SCHEMA: &str = "sandbox-trace/stale/v1";

/// What recent runs no longer needed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Stale {
    /// The format and its version.
    #[schemars(extend("const" = SCHEMA))]
    pub schema: &'static str,
    /// How many runs there are.
    #[schemars(range(min = 1))]
    pub runs: u32,
    /// How many of them are recent.
    #[schemars(range(min = 1))]
    pub recent: u32,
    /// When the first of the recent ones started; absent where every run is recent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// What was last seen before.
    pub facts: Vec<StaleFact>,
}

/// A fact that no recent run has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct StaleFact {
    /// What kind of fact.
    #[schemars(extend("enum" = ["syscall", "argument", "file", "network", "capability", "credential"]))]
    pub kind: &'static str,
    /// What it is, safe to print.
    pub what: String,
    /// The letters that are no longer needed, for a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Access>")]
    pub access: Option<String>,
    /// How many runs had it.
    #[schemars(range(min = 1))]
    pub seen_in: u64,
    /// The first run that had it.
    pub first: RunName,
    /// The last run that had it.
    pub last: RunName,
    /// Who made it.
    pub by: Vec<String>,
}

/// Which run it was.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct RunName {
    /// SHA-256 of the recording's content, in hexadecimal.
    pub id: String,
    /// When it started, RFC 3339 in UTC.
    pub started: String,
}

/// Lists what the `recent` most recent runs did not do. Attempts that failed are no needs and not among it.
pub fn stale(recording: &Recording, recent: u32) -> Stale {
    let recent = recent.min(recording.run_count());
    let from = recording.run_count() - recent;
    let list = Lister { recording, from, out: Vec::new() }.all();
    let since = (from > 0).then(|| recording.run(from).map(|run| run.started.clone())).flatten();
    Stale { schema: SCHEMA, runs: recording.run_count(), recent, since, facts: list }
}

struct Lister<'a> {
    recording: &'a Recording,
    from: u32,
    out: Vec<StaleFact>,
}

impl Lister<'_> {
    fn all(mut self) -> Vec<StaleFact> {
        let recording = self.recording;
        for call in &recording.syscalls {
            let name = if call.arch == recording.host.arch {
                call.name.clone()
            } else {
                format!("{} ({})", call.name, call.arch)
            };
            if self.add("syscall", &name, None, call.runs.as_ref(), &call.by) {
                continue;
            }
            for tuple in &call.args {
                let values: Vec<String> =
                    tuple.values.iter().map(|(at, value)| format!("{at}={value:#x}")).collect();
                let what = format!("{name} {}", values.join(" "));
                self.add("argument", &what, None, tuple.runs.as_ref(), &tuple.by);
            }
        }
        for file in &recording.files {
            self.file(file);
        }
        for network in &recording.network {
            let mut what = format!("{} {} {}", network.operation, network.family, network.socket_type);
            if let Some(address) = &network.address {
                what.push(' ');
                what.push_str(&address.to_string());
            }
            self.add("network", &what, None, network.runs.as_ref(), &network.by);
        }
        for one in recording.capabilities.iter().filter(|one| one.granted && !one.probe) {
            self.add("capability", &one.name, None, one.runs.as_ref(), &one.by);
        }
        for one in &recording.credentials {
            self.add("credential", &format!("{}:{}", one.uid, one.gid), None, one.runs.as_ref(), &one.by);
        }
        self.out
    }

    /// A path that is still used may be used for less.
    fn file(&mut self, file: &FileAccess) {
        let mut what = file.path.to_string();
        if let Some(target) = &file.link_target {
            what.push_str(" -> ");
            what.push_str(&target.to_string());
        }
        if self.add("file", &what, Some(file.access.to_string()), file.runs.as_ref(), &file.by) {
            return;
        }
        let recent = |runs: &RunSet| self.recording.seen_in(Some(runs)).latest() >= Some(self.from);
        let now = file.accesses.iter().filter(|(_, runs)| recent(runs)).map(|(access, _)| *access);
        let now = now.reduce(|all, access| all | access).unwrap_or(file.access);
        let gone = file.access.filter(|one| !now.contains(one));
        if !gone.is_empty() {
            let mut runs = RunSet::default();
            file.accesses.iter().filter(|(one, _)| one.intersects(gone)).for_each(|(_, set)| runs.add(set));
            self.add("file", &what, Some(gone.to_string()), Some(&runs), &file.by);
        }
    }

    /// Lists a fact if no recent run has it, and says whether that is so.
    fn add(
        &mut self,
        kind: &'static str,
        what: &str,
        access: Option<String>,
        runs: Option<&RunSet>,
        by: &[ExecutableIndex],
    ) -> bool {
        let runs = self.recording.seen_in(runs);
        if runs.latest() >= Some(self.from) {
            return false;
        }
        let name = |run: Option<u32>| {
            let run = run.and_then(|run| self.recording.run(run));
            run.map(|run| RunName { id: safe(&run.id), started: safe(&run.started) }).unwrap_or_default()
        };
        let by: BTreeSet<String> =
            by.iter().map(|index| self.recording.executable(*index).to_string()).collect();
        self.out.push(StaleFact {
            kind,
            what: safe_escapes(what),
            access,
            seen_in: runs.len(),
            first: name(runs.earliest()),
            last: name(runs.latest()),
            by: by.into_iter().collect(),
        });
        true
    }
}

fn safe(text: &str) -> String {
    crate::recording::printable(text)
}

/// Names in a recording may hold anything; paths are safe already, and their backslashes must not be doubled.
fn safe_escapes(text: &str) -> String {
    if text.chars().any(char::is_control) { safe(text) } else { text.to_owned() }
}

/// Only what the `recent` most recent runs have. What a fact says beside that stays as all runs made it: counts, times,
/// errors, and who.
pub fn keep_last(mut recording: Recording, recent: u32) -> Recording {
    let count = recording.run_count();
    let from = count - recent.min(count);
    if from == 0 {
        return recording;
    }
    let left = count - from;
    let keep = |runs: &mut Option<RunSet>| match runs {
        None => true,
        Some(set) => {
            let now = set.below(count).renumbered(|run| run.checked_sub(from));
            let any = !now.is_empty() || set.below(count).is_empty();
            *runs = (!now.is_empty() && now.len() < u64::from(left)).then_some(now);
            any
        }
    };
    recording.syscalls.retain_mut(|call| {
        call.args.retain_mut(|tuple| keep(&mut tuple.runs));
        keep(&mut call.runs)
    });
    recording.files.retain_mut(|file| keep_accesses(file, left, &keep));
    recording.failed.files.retain_mut(|file| keep_accesses(file, left, &keep));
    recording.network.retain_mut(|one| keep(&mut one.runs));
    recording.failed.network.retain_mut(|one| keep(&mut one.runs));
    recording.capabilities.retain_mut(|one| keep(&mut one.runs));
    recording.credentials.retain_mut(|one| keep(&mut one.runs));
    only_named_executables(&mut recording);
    whole::forget_runs(&mut recording, from);
    recording
}

fn keep_accesses(file: &mut FileAccess, runs_left: u32, keep: &impl Fn(&mut Option<RunSet>) -> bool) -> bool {
    if !keep(&mut file.runs) {
        return false;
    }
    let left = std::mem::take(&mut file.accesses).into_iter().filter_map(|(access, runs)| {
        let mut kept = Some(runs);
        keep(&mut kept).then_some((access, kept))
    });
    let left: Vec<_> = left.collect();
    if let Some(now) = left.iter().map(|(access, _)| *access).reduce(|all, access| all | access) {
        file.access = now;
    }
    if left.len() > 1 {
        let all = || RunSet::first(runs_left);
        file.accesses = left.into_iter().map(|(access, runs)| (access, runs.unwrap_or_else(all))).collect();
    }
    true
}

fn only_named_executables(recording: &mut Recording) {
    let mut named = BTreeSet::new();
    each_fact(recording, |by, _| named.extend(by.iter().copied()));
    recording.files.iter().chain(&recording.failed.files).for_each(|file| named.extend(&file.by));
    let mut new = Vec::with_capacity(recording.executables.len());
    let mut next = 0;
    for index in (0..).take(recording.executables.len()) {
        new.push(next);
        next += ExecutableIndex::from(named.contains(&index));
    }
    let mut index = 0;
    recording.executables.retain(|_| {
        index += 1;
        named.contains(&(index - 1))
    });
    each_fact(recording, |by, _| executables::renumber(by, &new));
    let files = recording.files.iter_mut().chain(&mut recording.failed.files);
    files.for_each(|file| executables::renumber(&mut file.by, &new));
}
