//! The independent witness of the very run that is recorded: `record -- strace -f COMMAND`. Every call that strace saw,
//! and every path that it saw used, is in the recording, and not only as strace's own doing.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::{OsStr, OsString},
    fs,
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Result, ensure};
use serde_json::Value;

use crate::{
    command,
    recorded::{Recorded, decode, record},
    strace::{self, Use, Witnessed},
};

/// Records a command under strace, in `folder`, which must outlive what it does there.
pub fn compare(folder: &Path, line: &[&OsStr]) -> Result<(Recorded, Witnessed)> {
    let dir = tempfile::tempdir()?;
    let (log, tracer) = (dir.path().join("strace"), command::require("strace")?);
    // A shell would be one more program: env changes the folder and is gone.
    let mut all: Vec<OsString> = vec![command::require("env")?.into()];
    all.extend(["-C".into(), folder.into(), tracer.clone().into()]);
    all.extend(strace::OPTIONS.map(OsString::from));
    all.extend(["-o".into(), log.clone().into()]);
    all.extend(line.iter().map(|word| (*word).to_owned()));
    let recorded = record(dir.path(), all)?;
    let witnessed = strace::read(&fs::read_to_string(&log)?, folder.as_os_str().as_bytes());
    ensure!(witnessed.unclear.is_empty(), "the witness was not understood: {:#?}", witnessed.unclear);
    ensure!(witnessed.names.len() > 5 && witnessed.uses.len() > 5, "strace saw {witnessed:?}");
    let tracer = fs::canonicalize(tracer)?.display().to_string();
    let missing = missing(&recorded, &witnessed, &tracer)?;
    ensure!(missing.is_empty(), "strace saw what the recording lacks:\n{}", missing.join("\n"));
    Ok((recorded, witnessed))
}

/// What strace saw and the recording does not have.
fn missing(recorded: &Recorded, witnessed: &Witnessed, tracer: &str) -> Result<Vec<String>> {
    let others = |fact: &Value| recorded.by(fact).iter().any(|by| by != tracer);
    let mut missing = Vec::new();
    for name in &witnessed.names {
        // The first exec is made by strace's child while that is strace still.
        let found = recorded.call("x86_64", name).is_some_and(|call| name == "execve" || others(call));
        if !found {
            missing.push(format!("call {name}"));
        }
    }
    let mut files: BTreeMap<Vec<u8>, BTreeSet<char>> = BTreeMap::new();
    for file in recorded.list("files") {
        let letters = file["access"].as_str().unwrap_or_default();
        if letters.contains('x') || others(file) {
            let mut path = decode(file["path"].as_str().unwrap_or_default())?;
            if path.len() > 1 && path.ends_with(b"/") {
                path.pop();
            }
            files.entry(path).or_default().extend(letters.chars());
        }
    }
    let addresses: BTreeSet<(String, Vec<u8>)> = recorded
        .list("network")
        .iter()
        .filter(|used| others(used))
        .filter_map(|used| {
            let address = decode(used["address"].as_str()?).ok()?;
            Some((used["operation"].as_str()?.to_owned(), address))
        })
        .collect();
    for used in &witnessed.uses {
        let found = if used.letters.is_empty() {
            addresses.contains(&(used.call.clone(), used.path.clone()))
        } else {
            let covers = |letters: &BTreeSet<char>| {
                // An entry is the union of all that was done with a path: reading and writing may be one or two.
                used.letters.chars().all(|l| letters.contains(&l) || (l == 'a' && letters.contains(&'w')))
            };
            candidates(used).iter().any(|path| files.get(path).is_some_and(covers))
        };
        if !found && !is_no_file(used) {
            let path = String::from_utf8_lossy(&used.path).escape_debug().to_string();
            let got: Vec<_> = candidates(used).iter().map(|path| files.get(path).cloned()).collect();
            missing.push(format!("{} {path} needs {}, got {got:?}", used.call, used.letters));
        }
    }
    Ok(missing)
}

/// What has a path only for show: no policy names it.
fn is_no_file(used: &Use) -> bool {
    // Memory without a file, which strace shows as a file (`/memfd:name`, `/dev/zero`, `/SYSV…`).
    used.is_resolved
        && [b"/memfd:".as_slice(), b"/dev/zero", b"/SYSV"].iter().any(|p| used.path.starts_with(p))
}

/// The names that the kernel may know a path by: strace shows it as the program gave it, and whether the call follows
/// a link at its end depends on the call. What the links were is asked now: no workload changes them.
fn candidates(used: &Use) -> Vec<Vec<u8>> {
    let path = PathBuf::from(OsString::from_vec(used.path.clone()));
    let mut found = vec![used.path.clone()];
    if used.is_resolved {
        return found;
    }
    if let (Some(parent), Some(name)) =
        (path.parent().and_then(|p| fs::canonicalize(p).ok()), path.file_name())
    {
        found.push(parent.join(name).into_os_string().into_vec());
    }
    if matches!(used.letters, "s" | "x")
        && let Ok(target) = fs::canonicalize(&path)
    {
        found.push(target.into_os_string().into_vec());
    }
    found
}
