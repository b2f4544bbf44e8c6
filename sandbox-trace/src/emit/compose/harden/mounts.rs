//! Volumes and file systems in memory of a service: read-only where nothing was written, gone where they are dangerous
//! and were not used; what the recordings need beside them is added.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Work, parts};
use crate::{
    compose::{
        edit::Change,
        yaml::{Entry, Item, Node},
    },
    emit::compose::service,
    error::Result,
    policy::{
        danger_paths,
        sandbox::{Because, Source, Volume},
    },
    recording::{Access, printable},
};

/// One entry of `volumes`, as far as it matters here.
struct Mount {
    /// With variables in place.
    source: Option<String>,
    /// The same.
    target: String,
    read_only: bool,
    tmpfs: bool,
}

pub fn volumes(work: &mut Work<'_>) -> Result<()> {
    let entries = work.before.get("volumes").and_then(Value::as_array).cloned().unwrap_or_default();
    let mut there: BTreeSet<String> = BTreeSet::new();
    let mut kept = 0;
    let mut own = Vec::new();
    for (position, entry) in entries.iter().enumerate() {
        let index = position.to_string();
        let path = ["volumes", index.as_str()];
        let mount = read(work, &path, entry)?;
        let target = normal(&mount.target).to_owned();
        let dangerous = [mount.source.as_deref(), Some(target.as_str())]
            .into_iter()
            .flatten()
            .find_map(|path| danger_paths::of(path.as_bytes(), Access::READ.union(Access::WRITE)));
        let known = work.sandbox.volumes.iter().find(|volume| is_at(&volume.value, &target));
        if let (None, Some(danger)) = (known, &dangerous) {
            work.remove(
                &path,
                &format!("{} was mounted here and never used: it {}", printable(&target), danger.reason),
            );
            continue;
        }
        if mount.tmpfs
            && work
                .sandbox
                .tmpfs
                .iter()
                .any(|tmpfs| normal_bytes(tmpfs.value.path.as_bytes()) == target.as_bytes())
        {
            work.remove(&path, &format!("{} is among `tmpfs`, with options", printable(&target)));
            continue;
        }
        kept += 1;
        match known {
            Some(volume) if !volume.value.writable && !mount.read_only => {
                read_only(work, &path, entry, &mount, &volume.why);
            }
            None if !mount.read_only && !mount.tmpfs => {
                let why = "it was not mounted when it was recorded: nothing shows that it must be written";
                read_only(work, &path, entry, &mount, why);
                work.notes.push(format!("{} is read-only now: {why}", printable(&target)));
            }
            _ => {}
        }
        own.push(mount.source.clone());
        there.insert(target);
    }
    tmpfs(work, &mut there)?;
    add(work, &there, entries.len())?;
    if kept == 0 && !entries.is_empty() {
        whole(work);
    }
    Ok(())
}

/// A list that loses all of its items goes as one: an empty list is not the same as a key without a value.
fn whole(work: &mut Work<'_>) {
    let added: Vec<Item> = work
        .changes
        .iter()
        .filter(|change| change.path.first().is_some_and(|key| key == "volumes"))
        .filter_map(|change| Some(Item { why: change.why.clone(), node: change.node.clone()? }))
        .collect();
    let reasons: Vec<String> = work
        .changes
        .iter()
        .filter(|change| change.path.first().is_some_and(|key| key == "volumes") && change.node.is_none())
        .filter_map(|change| change.why.clone())
        .collect();
    work.changes.retain(|change| change.path.first().is_none_or(|key| key != "volumes"));
    work.changes.push(Change::set(&["volumes"], Node::List(added), &reasons.join("; ")));
}

fn is_at(volume: &Volume, target: &str) -> bool {
    normal_bytes(volume.target.as_bytes()) == target.as_bytes()
}

fn normal(path: &str) -> &str {
    let short = path.trim_end_matches('/');
    if short.is_empty() { path } else { short }
}

fn normal_bytes(path: &[u8]) -> &[u8] {
    match path {
        [short @ .., b'/'] if !short.is_empty() => short,
        _ => path,
    }
}

fn read(work: &Work<'_>, path: &[&str], entry: &Value) -> Result<Mount> {
    let wrong = || {
        work.file
            .fault_at(work.service, path, "a volume is [SOURCE:]TARGET[:OPTIONS], or has a type and a target")
            .hint("`docker compose config` says what compose makes of the file")
    };
    if let Value::String(text) = entry {
        let given = parts(text);
        let expand = |text: &str| work.expanded(path, text);
        let (source, target, options) = match given.as_slice() {
            [target] => (None, expand(target)?, String::new()),
            [source, target] => (Some(expand(source)?), expand(target)?, String::new()),
            [source, target, options] => (Some(expand(source)?), expand(target)?, expand(options)?),
            _ => return Err(wrong()),
        };
        // A variable that holds colons is more than the part that it stands for.
        if target.contains(':') || source.as_ref().is_some_and(|source| source.contains(':')) {
            return Err(work
                .file
                .fault_at(work.service, path, "a variable stands for more than one part of a volume")
                .hint("write SOURCE:TARGET with a variable in each part"));
        }
        if !target.starts_with('/') {
            return Err(wrong());
        }
        let read_only = options.split(',').any(|option| option == "ro");
        return Ok(Mount { source, target, read_only, tmpfs: false });
    }
    let text = |key: &str| -> Result<Option<String>> {
        entry.get(key).and_then(Value::as_str).map(|text| work.expanded(path, text)).transpose()
    };
    let target = text("target")?.ok_or_else(wrong)?;
    Ok(Mount {
        source: text("source")?,
        target,
        read_only: entry.get("read_only") == Some(&Value::Bool(true)),
        tmpfs: text("type")?.as_deref() == Some("tmpfs"),
    })
}

fn read_only(work: &mut Work<'_>, path: &[&str], entry: &Value, mount: &Mount, why: &str) {
    let Value::String(text) = entry else {
        let path: Vec<&str> = path.iter().copied().chain(["read_only"]).collect();
        work.changes.push(Change::set(&path, Node::flag(true), why));
        return;
    };
    let node = match parts(text).as_slice() {
        [source, target] => Node::Text(format!("{source}:{target}:ro")),
        [source, target, options] => {
            let kept = options.split(',').filter(|option| *option != "rw");
            let options: Vec<&str> = ["ro"].into_iter().chain(kept).collect();
            Node::Text(format!("{source}:{target}:{}", options.join(",")))
        }
        // One without a source has no short form for it.
        _ => Node::Map(vec![
            Entry::new("type", Node::text("volume")),
            Entry::new("target", Node::Text(text.clone())),
            Entry::new("read_only", Node::flag(true)),
        ]),
    };
    debug_assert!(!mount.read_only);
    work.changes.push(Change::set(path, node, why));
}

/// Those that were needed, with options; a person's own for other places stay.
fn tmpfs(work: &mut Work<'_>, there: &mut BTreeSet<String>) -> Result<()> {
    let mut items = Vec::new();
    let mut ours = BTreeSet::new();
    for Because { value, why } in &work.sandbox.tmpfs {
        let text = service::tmpfs_text(value)?;
        let path = String::from_utf8_lossy(normal_bytes(value.path.as_bytes())).into_owned();
        // What the file mounts there counts.
        if there.contains(&path) {
            continue;
        }
        items.push(Item { why: Some(why.clone()), node: Node::Text(text) });
        ours.insert(path);
    }
    for raw in work.texts("tmpfs") {
        let given = work.expanded(&["tmpfs"], &raw)?;
        let path = normal(given.split(':').next().unwrap_or_default()).to_owned();
        if !ours.contains(&path) {
            work.notes.push(format!(
                "the tmpfs {} stays: it was not mounted when it was recorded",
                printable(&path)
            ));
            items.push(Item { why: None, node: Node::Text(raw) });
            ours.insert(path);
        }
    }
    there.append(&mut ours);
    if items.is_empty() {
        return Ok(());
    }
    work.want("tmpfs", Node::List(items), "what is written beside volumes, in memory")
}

fn add(work: &mut Work<'_>, there: &BTreeSet<String>, mut next: usize) -> Result<()> {
    for Because { value, why } in &work.sandbox.volumes {
        let path = String::from_utf8_lossy(normal_bytes(value.target.as_bytes())).into_owned();
        if there.contains(&path) {
            continue;
        }
        let mut volume = value.clone();
        if let Source::Named(name) = &value.source {
            // The service's keys alone are edited, and a name must be declared beside the services.
            work.notes.push(format!(
                "the volume at {} has no name in the file: declare {} under `volumes` to keep what is in it",
                printable(&path),
                printable(name)
            ));
            volume.source = Source::Anonymous;
        }
        let index = next.to_string();
        work.changes.push(Change::set(&["volumes", &index], service::volume(&volume)?, why));
        next += 1;
    }
    if next > 0 && work.before.get("volumes").is_none() {
        whole(work);
        if let Some(change) = work.changes.last_mut() {
            change.why = Some("as it was started".into());
        }
    }
    Ok(())
}
