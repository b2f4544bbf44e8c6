//! `refresh`: what a release pipeline keeps of a workload, made anew. Recordings go in; the files that would be written,
//! the proof of them, and what they give beyond what is committed come out. Only [`Refresh::write`] changes anything.
//!
//! Everything is done by the parts that have commands of their own. No clock: the caller says what day it is.

mod date;
mod folder;
mod lock;
pub mod make;
mod outcome;
mod privilege;
mod settings;
mod summary;
#[cfg(test)]
mod tests;
mod workload;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

pub use self::{
    date::Date,
    outcome::{FileState, Limit, Outcome, SCHEMA, State, Tampered, Verdict, Widths},
    privilege::{Approved, Privilege},
    summary::markdown,
};
use self::{
    folder::Folder,
    lock::{Lock, Provenance},
    make::{APPARMOR, Made, SECCOMP},
    workload::Workload,
};
use crate::{
    diff::{self, Diff},
    error::{Error, Result},
    output::NamedFile,
    recording::{self, Access, Batch, List, Merger, Recording},
    requirements::{self, Requirements},
    verify::{
        self, Verdicts,
        attacks::{self, Judged},
        filters::{Container, Filters},
    },
    width::{self, Width},
};

/// The kept recording's file.
pub const RECORDING: &str = "recording.json.zst";
/// The summary of the last change.
pub const SUMMARY: &str = "SUMMARY.md";

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// The workload's folder.
    pub folder: &'a Path,
    /// The new recordings.
    pub recordings: &'a [PathBuf],
    /// Today.
    pub today: Date,
    /// A folder of the caller's, for files on their way through the compilers.
    pub work: &'a Path,
    /// The workload's root file system: then files are counted too.
    pub rootfs: Option<&'a Path>,
    /// The target kernel's AppArmor features, if not this host's.
    pub features: Option<&'a Path>,
    /// Accept recordings that lost something.
    pub allow_incomplete: bool,
}

/// A refresh that was looked at, and not written.
#[derive(Debug)]
pub struct Refresh {
    /// What was found.
    pub outcome: Outcome,
    /// All that the folder would hold, the lock last. Empty where nothing may be written.
    files: Vec<NamedFile>,
}

impl Refresh {
    /// Writes the folder, all or nothing, if the outcome lets it. Returns whether it did.
    pub fn write(&mut self, folder: &Path) -> Result<bool> {
        if self.files.is_empty() {
            return Ok(false);
        }
        Folder(folder).replace(&self.files)?;
        self.outcome.written = true;
        Ok(true)
    }
}

/// Puts files in their places that an earlier refresh left on the way there. Returns whether there were any.
pub fn resume(folder: &Path) -> Result<bool> {
    let folder = Folder(folder);
    let interrupted = folder.is_interrupted();
    folder.finish()?;
    Ok(interrupted)
}

/// Whether an earlier refresh was stopped in the middle: see [`resume`].
pub fn is_interrupted(folder: &Path) -> bool {
    Folder(folder).is_interrupted()
}

/// Looks at what a refresh would do.
pub fn look(question: &Question<'_>) -> Result<Refresh> {
    let folder = Folder(question.folder);
    let workload = workload::load(question.folder)?;
    let lock = Lock::load(&folder)?;
    let tampered = tampered(&folder, lock.as_ref())?;
    let mut outcome = Outcome::of(&workload, question.folder);
    if !tampered.is_empty() {
        outcome.tampered = tampered;
        outcome.verdict = Verdict::Tampered;
        return Ok(Refresh { outcome, files: Vec::new() });
    }
    let lock = lock.unwrap_or_default();
    let is_first = lock.files.is_empty();

    let merged = merge(question, &workload, &mut outcome)?;
    let needs = requirements::load(std::slice::from_ref(&merged), question.allow_incomplete)?;
    let made = make::make(&workload, &needs, &lock.limits, RECORDING, question.allow_incomplete)?;
    let digest = lock::sha256(
        format!("{:?}", (&workload.name, workload.runtime.name(), &workload.options)).as_bytes(),
    );
    let tool = concat!("sandbox-trace ", env!("CARGO_PKG_VERSION"));
    // Another version may write the same in other words: then the words are taken over, too.
    let anew = lock.tool != tool || lock.options != digest;
    let (diff, mut files) = settle(&folder, &lock, &made, anew)?;
    describe(question, &workload, diff, is_first, &mut outcome)?;
    outcome.notes.extend(made.notes.iter().cloned());
    outcome.limits = limits(&lock.limits, &made.limits);
    outcome.moved = outcome.recorded.moved_from(&lock.recorded);

    let paths = unfold(question.work, &files)?;
    prove(question, &workload, &needs, &paths, &mut outcome)?;
    outcome.width = widths(question, &folder, &paths, &needs)?;
    outcome.verdict = verdict(&outcome, is_first);

    let kept = NamedFile::text(RECORDING, read(&merged)?);
    outcome.files = states(&folder, &lock, &files, &kept)?;
    if verdict_forbids(outcome.verdict) {
        return Ok(Refresh { outcome, files: Vec::new() });
    }
    let is_changed = |file: &FileState| file.state != State::Kept && file.name != RECORDING;
    let summary = match folder.read(SUMMARY)? {
        Some(summary) if !outcome.files.iter().any(is_changed) => summary,
        _ => {
            let done = Outcome { written: true, ..outcome.clone() };
            markdown(&done).into_bytes()
        }
    };
    files.push(NamedFile::text(SUMMARY, summary));
    files.push(kept);
    let lock = Lock {
        version: 0,
        tool: tool.to_owned(),
        options: digest,
        grants: made.grants.map(|grants| grants.into_keys().collect()),
        limits: made.limits,
        recorded: outcome.recorded.clone(),
        files: lock::digests(&files),
    };
    files.push(NamedFile::text(lock::FILE, lock.text()?));
    Ok(Refresh { outcome, files })
}

/// Whether nothing may be written.
fn verdict_forbids(verdict: Verdict) -> bool {
    matches!(verdict, Verdict::Tampered | Verdict::Failed | Verdict::Widened | Verdict::Unproven)
}

impl Outcome {
    fn of(workload: &Workload, folder: &Path) -> Self {
        Self {
            schema: SCHEMA,
            workload: recording::printable(&workload.name),
            folder: recording::printable(&folder.display().to_string()),
            verdict: Verdict::Unchanged,
            written: false,
            runs: 0,
            added: Vec::new(),
            removed: Vec::new(),
            tampered: Vec::new(),
            checked: verify::Checked::default(),
            blocked: Vec::new(),
            unproven: Vec::new(),
            attacks: Judged::default(),
            width: Widths::default(),
            limits: Vec::new(),
            recorded: Provenance::default(),
            moved: Vec::new(),
            files: Vec::new(),
            notes: Vec::new(),
            to_approve: String::new(),
        }
    }
}

/// The files that are not as they were written. A kept recording without a lock is one whose lock was taken away.
fn tampered(folder: &Folder<'_>, lock: Option<&Lock>) -> Result<Vec<Tampered>> {
    let found = match lock {
        Some(lock) => lock.tampered(folder)?,
        None if folder.path(RECORDING).exists() => vec![(lock::FILE.to_owned(), true)],
        None => Vec::new(),
    };
    Ok(found.into_iter().map(|(file, gone)| Tampered { file, gone }).collect())
}

/// The kept recording and the new ones as one, in a file, without what the last runs did not need where that is asked
/// for. Notes what the new ones were made on.
fn merge(question: &Question<'_>, workload: &Workload, outcome: &mut Outcome) -> Result<PathBuf> {
    let mut merger = Merger::default();
    let mut add = |path: &Path, see: &mut dyn FnMut(&[u8])| {
        let mut batch = Batch::default();
        let head = recording::load_each(path, &mut |list, file| {
            if list == List::Granted && file.access.intersects(Access::MAP_EXEC) {
                see(&file.path()?);
            }
            batch.push(list, file)
        })?;
        merger.add_batch(&path.display().to_string(), head.clone(), &mut batch)?;
        Ok(head)
    };
    let mut new = Vec::new();
    for path in question.recordings {
        let head = add(path, &mut |file| outcome.recorded.add_file(file))?;
        outcome.recorded.add(&head);
        new.push(head);
    }
    let kept = question.folder.join(RECORDING);
    if kept.exists() {
        add(&kept, &mut |_| ())?;
    }
    let mut whole = merger.finish()?;
    if let Some(last) = workload.options.last {
        whole = recording::keep_last(whole, last.get());
    }
    // Another image than the last release's, another mount: the container is this release's.
    let (container, notes) = newest_container(&new);
    whole.target.container = container.or(whole.target.container);
    outcome.notes.extend(notes);
    outcome.runs = whole.run_count();
    let path = question.work.join(RECORDING);
    recording::save(&whole, &path)?;
    Ok(path)
}

/// How the last of these recordings was started, without what only that start has; and what is to be said of the others.
fn newest_container(recordings: &[Recording]) -> (Option<recording::Container>, Option<String>) {
    let started =
        |one: &&Recording| (one.started.clone(), one.target.container.as_ref().map(|c| c.id.clone()));
    let alike = |one: &Recording| {
        let container = one.target.container.clone()?;
        Some(recording::Container { id: String::new(), name: String::new(), ..container })
    };
    let newest = recordings.iter().max_by_key(started).and_then(alike);
    let differ = recordings.iter().any(|one| alike(one) != newest);
    let note = "the new recordings were started in different ways: the files follow the one that began last";
    (newest, differ.then(|| note.to_owned()))
}

/// The differences to what is committed, and the files: those whose meaning is the same are left as they are.
fn settle(folder: &Folder<'_>, lock: &Lock, made: &Made, anew: bool) -> Result<(Diff, Vec<NamedFile>)> {
    let mut diff = Diff::default();
    let mut files = Vec::new();
    for file in &made.files {
        let Some(old) = folder.read(&file.name)? else {
            files.push(file.clone());
            continue;
        };
        let same = if [SECCOMP, APPARMOR].contains(&file.name.as_str()) {
            let name = folder.path(&file.name).display().to_string();
            let found = diff::files((&name, &old), (&file.name, &file.bytes))?;
            let same = found.added.is_empty() && found.removed.is_empty();
            diff = diff.unite(found.of_file(&file.name));
            same
        } else {
            make::same_but_comments(&file.name, &old, &file.bytes)
        };
        if same && !anew {
            files.push(NamedFile { bytes: old, ..file.clone() });
        } else {
            files.push(file.clone());
        }
    }
    if let (Some(old), Some(new)) = (&lock.grants, &made.grants) {
        diff = diff.unite(settings::diff(old, new));
    }
    Ok((diff, files))
}

/// What the differences are, who needs them, and who approved.
fn describe(
    question: &Question<'_>,
    workload: &Workload,
    mut diff: Diff,
    is_first: bool,
    outcome: &mut Outcome,
) -> Result<()> {
    if !diff.added.is_empty() {
        // Of the new recordings alone, by their own names: they are what brought it.
        let new = requirements::load(question.recordings, question.allow_incomplete)?;
        diff.attach_evidence(&new);
    }
    let judged = privilege::judge(&diff.added, &workload.approvals, question.today);
    outcome.added = judged.privileges;
    outcome.added.sort_by_key(|privilege| privilege.approved.is_some());
    outcome.removed = diff.removed;
    outcome.notes.append(&mut diff.notes);
    if !is_first {
        outcome.notes.extend(judged.notes);
    }
    let open: Vec<&Privilege> = outcome.added.iter().filter(|one| one.approved.is_none()).collect();
    outcome.to_approve = privilege::entries(&open, question.today);
    Ok(())
}

/// The files below a folder, where compilers read them as a runtime would.
fn unfold(work: &Path, files: &[NamedFile]) -> Result<BTreeMap<String, PathBuf>> {
    let fail = |e: std::io::Error| {
        Error::host(format!("could not write to {}", work.display()))
            .because(e)
            .hint("make room there, or set TMPDIR")
    };
    let mut out = BTreeMap::new();
    for file in files.iter().filter(|file| [SECCOMP, APPARMOR].contains(&file.name.as_str())) {
        let path = work.join(&file.name);
        fs::write(&path, &file.bytes).map_err(fail)?;
        out.insert(file.name.clone(), path);
    }
    Ok(out)
}

/// Replays what is needed against the files, and asks them about attacks.
fn prove(
    question: &Question<'_>,
    workload: &Workload,
    needs: &Requirements,
    paths: &BTreeMap<String, PathBuf>,
    outcome: &mut Outcome,
) -> Result<()> {
    let container = Container { no_new_privileges: true, ..Container::of(workload.runtime) };
    let mut verdicts = Verdicts::default();
    let filters = paths.get(SECCOMP).map(|path| Filters::load(&[path], &container)).transpose()?;
    if let Some(filters) = &filters {
        verdicts.merge(verify::seccomp::against(needs, filters, &container)?);
    }
    let loaded =
        paths.get(APPARMOR).map(|path| verify::apparmor::load(path, question.features)).transpose()?;
    if let Some((profile, notes)) = &loaded {
        verdicts.notes.extend(notes.iter().cloned());
        verify::apparmor::replay(needs, profile, &mut verdicts);
    }
    let list = match &workload.options.must_deny {
        Some(name) => attacks::load(&question.folder.join(name))?,
        None => attacks::built_in()?,
    };
    let files = attacks::Files {
        filters: filters.as_ref(),
        apparmor: loaded.as_ref().map(|(profile, _)| profile),
        capabilities: None,
    };
    outcome.attacks = attacks::judge(&list, files);
    outcome.checked = verdicts.checked;
    outcome.blocked = verdicts.blocked;
    outcome.unproven = verdicts.unproven;
    // Where the files were for their proof is of no interest to anybody.
    let work = format!("{}/", question.work.display());
    outcome.notes.extend(verdicts.notes.iter().map(|note| note.replace(&work, "")));
    Ok(())
}

/// How much is admitted, by what is committed and by what would be.
fn widths(
    question: &Question<'_>,
    folder: &Folder<'_>,
    paths: &BTreeMap<String, PathBuf>,
    needs: &Requirements,
) -> Result<Widths> {
    let measure = |seccomp: Option<&Path>,
                   apparmor: Option<&Path>,
                   needs: Option<&Requirements>|
     -> Result<Option<Width>> {
        let apparmor = apparmor.zip(question.rootfs);
        if seccomp.is_none() && apparmor.is_none() {
            return Ok(None);
        }
        width::measure(&width::Question {
            seccomp,
            capabilities: None,
            apparmor,
            features: question.features,
            needs,
        })
        .map(Some)
    };
    let there = |name: &str| Some(folder.path(name)).filter(|path| path.exists());
    let (seccomp, apparmor) = (there(SECCOMP), there(APPARMOR));
    let new = |name: &str| paths.get(name).map(PathBuf::as_path);
    Ok(Widths {
        before: measure(seccomp.as_deref(), apparmor.as_deref(), None)?,
        after: measure(new(SECCOMP), new(APPARMOR), Some(needs))?,
    })
}

fn verdict(outcome: &Outcome, is_first: bool) -> Verdict {
    if !outcome.blocked.is_empty() || !outcome.attacks.open.is_empty() {
        Verdict::Failed
    } else if outcome.added.iter().any(|privilege| privilege.approved.is_none()) {
        Verdict::Widened
    } else if !outcome.unproven.is_empty() || !outcome.attacks.unproven.is_empty() {
        Verdict::Unproven
    } else if is_first {
        Verdict::New
    } else if !outcome.added.is_empty() {
        Verdict::Approved
    } else if !outcome.removed.is_empty() {
        Verdict::Narrowed
    } else {
        Verdict::Unchanged
    }
}

/// The limits that move.
fn limits(old: &BTreeMap<String, u64>, new: &BTreeMap<String, u64>) -> Vec<Limit> {
    let names: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    names
        .into_iter()
        .filter(|name| old.get(*name) != new.get(*name))
        .map(|name| Limit {
            name: recording::printable(name),
            before: old.get(name).copied(),
            after: new.get(name).copied(),
        })
        .collect()
}

/// What becomes of each file, the summary and the lock aside.
fn states(folder: &Folder<'_>, lock: &Lock, files: &[NamedFile], kept: &NamedFile) -> Result<Vec<FileState>> {
    let mut out = Vec::new();
    for file in files.iter().chain([kept]) {
        let state = match folder.read(&file.name)? {
            None => State::New,
            Some(old) if old == file.bytes => State::Kept,
            Some(_) => State::Changed,
        };
        out.push(FileState { name: file.name.clone(), state });
    }
    let gone = |name: &String| *name != SUMMARY && !out.iter().any(|file| file.name == *name);
    let removed: Vec<String> = lock.files.iter().map(|file| file.name.clone()).filter(gone).collect();
    out.extend(removed.into_iter().map(|name| FileState { name, state: State::Removed }));
    out.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(out)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(|e| {
        Error::host(format!("could not read {}", path.display()))
            .because(e)
            .hint("the folder is this program's own")
    })
}
