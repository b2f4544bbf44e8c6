//! `sandbox-trace.lock`: what was written last, and from what. It tells files that somebody changed from those that
//! `refresh` wrote.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    path::{Component, Path},
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::folder::Folder;
use crate::{
    error::{Error, Result},
    output::NamedFile,
    recording::{self, Recording, printable},
};

/// The file's name.
pub const FILE: &str = "sandbox-trace.lock";
/// The version that this program writes.
const VERSION: u32 = 1;
const HINT: &str = "restore it from version control; it is written by `sandbox-trace refresh` alone";
const HEAD: &str = "# Written by `sandbox-trace refresh`, which finds by it what was changed by others: commit it, don't edit it.\n";

/// What was written last.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    /// The version of this format.
    pub version: u32,
    /// The program and version that wrote it.
    pub tool: String,
    /// Digest of the options in force.
    pub options: String,
    /// What the container is given beside its profiles; absent where no format says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grants: Option<BTreeSet<String>>,
    /// Its limits.
    pub limits: BTreeMap<String, u64>,
    /// What the last recordings were made on.
    pub recorded: Provenance,
    /// The files.
    #[serde(rename = "file", default)]
    pub files: Vec<Locked>,
}

/// A file, as it was written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Locked {
    /// Its name in the folder.
    pub name: String,
    /// Its SHA-256, in hexadecimal.
    pub sha256: String,
}

/// What recordings were made on and of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(!deny_unknown_fields)]
pub struct Provenance {
    /// Kernels, as `uname -r` says them.
    pub kernels: BTreeSet<String>,
    /// Architectures.
    pub architectures: BTreeSet<String>,
    /// Container runtimes.
    pub runtimes: BTreeSet<String>,
    /// C libraries.
    pub libc: BTreeSet<String>,
    /// Images, by digest where they have one.
    pub images: BTreeSet<String>,
    /// Recorders.
    pub tools: BTreeSet<String>,
}

impl Provenance {
    /// Adds what a recording says of itself.
    pub fn add(&mut self, recording: &Recording) {
        let shown = |text: &String| printable(text);
        self.kernels.insert(shown(&recording.host.kernel));
        self.architectures.insert(shown(&recording.host.arch));
        self.tools.insert(shown(&recording.tool));
        let Some(container) = &recording.target.container else { return };
        let with =
            container.oci_runtime.as_ref().map_or_else(String::new, |program| format!(" with {program}"));
        let versions = container.runtime_version.as_ref().map_or_else(String::new, |all| format!(" ({all})"));
        self.runtimes.insert(shown(&format!("{}{with}{versions}", container.runtime)));
        let image =
            container.image_digest.as_ref().or(container.image_id.as_ref()).or(container.image.as_ref());
        self.images.extend(image.map(shown));
    }

    /// Notes a file of a recording if it is a C library: its name is all that a recording has of it, and says which one,
    /// and of glibc before 2.34 which version.
    pub fn add_file(&mut self, path: &[u8]) {
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        let is_library = [&b"libc.so."[..], b"libc-", b"ld-musl-", b"libc.musl-"]
            .iter()
            .any(|start| name.starts_with(start));
        if is_library && name.windows(3).any(|part| part == b".so") {
            self.libc.insert(recording::BytePath::from(name).to_string());
        }
    }

    /// What is new beside the last recordings, in sentences: it may do things differently.
    pub fn moved_from(&self, last: &Self) -> Vec<String> {
        let kinds = [
            ("kernel", &self.kernels, &last.kernels),
            ("architecture", &self.architectures, &last.architectures),
            ("container runtime", &self.runtimes, &last.runtimes),
            ("C library", &self.libc, &last.libc),
        ];
        kinds
            .into_iter()
            .filter(|(_, _, old)| !old.is_empty())
            .flat_map(|(kind, new, old)| {
                let was = old.iter().cloned().collect::<Vec<_>>().join(", ");
                new.difference(old)
                    .map(|one| format!("recorded on another {kind} than last time: {one}, and it was {was}"))
                    .collect::<Vec<_>>()
            })
            .collect()
    }
}

/// The digest of bytes, in hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |mut out, byte| {
        // Writing to a string does not fail.
        let _ = write!(out, "{byte:02x}");
        out
    })
}

/// The digests of files, in order of their names.
pub fn digests(files: &[NamedFile]) -> Vec<Locked> {
    let mut out: Vec<Locked> =
        files.iter().map(|file| Locked { name: file.name.clone(), sha256: sha256(&file.bytes) }).collect();
    out.sort();
    out
}

impl Lock {
    /// The lock of a folder; none where nothing was written yet.
    pub fn load(folder: &Folder<'_>) -> Result<Option<Self>> {
        let text = folder.read(FILE)?;
        text.map(|text| Self::parse(&text, &folder.path(FILE).display().to_string())).transpose()
    }

    /// Reads a lock; `name` is what messages call it.
    pub fn parse(text: &[u8], name: &str) -> Result<Self> {
        let bad = |what: &str| Error::usage(format!("{name} is no lock: {}", printable(what))).hint(HINT);
        let text = std::str::from_utf8(text).map_err(|_| bad("it is not UTF-8"))?;
        let lock: Self = toml::from_str(text).map_err(|e| bad(e.message()))?;
        if lock.version > VERSION {
            return Err(Error::usage(format!(
                "{name} was written by a newer sandbox-trace ({})",
                printable(&lock.tool)
            ))
            .hint("update sandbox-trace"));
        }
        // Files are removed by these names.
        let odd = lock.files.iter().find(|file| {
            file.name == super::workload::FILE
                || !Path::new(&file.name).components().all(|part| matches!(part, Component::Normal(_)))
        });
        match odd {
            Some(file) => Err(bad(&format!("\"{}\" is no file that refresh writes", file.name))),
            None => Ok(lock),
        }
    }

    /// Its text.
    pub fn text(&self) -> Result<String> {
        let written = Self { version: VERSION, ..self.clone() };
        let text =
            toml::to_string(&written).map_err(|e| Error::usage("could not write the lock").because(e))?;
        Ok(HEAD.to_owned() + &text)
    }

    /// The files that are not as they were written: their names, and whether they are gone.
    pub fn tampered(&self, folder: &Folder<'_>) -> Result<Vec<(String, bool)>> {
        let mut out = Vec::new();
        for file in &self.files {
            match folder.read(&file.name)? {
                None => out.push((printable(&file.name), true)),
                Some(bytes) if sha256(&bytes) != file.sha256 => out.push((printable(&file.name), false)),
                Some(_) => {}
            }
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_read_as_it_was_written() {
        let files = [NamedFile::text("b", "2"), NamedFile::text("a", "1")];
        let mut lock = Lock { version: VERSION, tool: "t".into(), files: digests(&files), ..Lock::default() };
        lock.grants = Some(["network bridge".to_owned()].into());
        lock.limits.insert("tmpfs /tmp".into(), 7);
        lock.recorded.kernels.insert("6.1".into());
        let text = lock.text().unwrap();
        assert_eq!(Lock::parse(text.as_bytes(), "lock").unwrap(), lock);
        assert_eq!(text, lock.text().unwrap());
        for (from, to) in [
            ("name = \"a\"", "name = \"../a\""),
            ("name = \"a\"", "name = \"workload.toml\""),
            ("tool", "fool"),
            ("version = 1", "version = 2"),
        ] {
            assert!(Lock::parse(text.replacen(from, to, 1).as_bytes(), "lock").is_err(), "{to}");
        }
    }

    #[test]
    fn changed_and_missing_files_are_found() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder(dir.path());
        let files = ["a", "b", "c"].map(|name| NamedFile::text(name, "text"));
        let lock = Lock { files: digests(&files), ..Lock::default() };
        std::fs::write(dir.path().join("a"), "text").unwrap();
        std::fs::write(dir.path().join("b"), "other").unwrap();
        assert_eq!(lock.tampered(&folder).unwrap(), [("b".into(), false), ("c".into(), true)]);
    }

    #[test]
    fn c_libraries_are_known_by_name() {
        let mut found = Provenance::default();
        for path in [
            "/lib/x86_64-linux-gnu/libc.so.6",
            "/lib/libc-2.31.so",
            "/lib/ld-musl-x86_64.so.1",
            "/lib/libcrypt.so.1",
            "/etc/libc-x",
        ] {
            found.add_file(path.as_bytes());
        }
        assert_eq!(
            found.libc.into_iter().collect::<Vec<_>>(),
            ["ld-musl-x86_64.so.1", "libc-2.31.so", "libc.so.6"]
        );
    }

    #[test]
    fn another_kernel_is_pointed_out() {
        let of = |kernels: &[&str]| Provenance {
            kernels: kernels.iter().map(|k| (*k).to_owned()).collect(),
            ..Provenance::default()
        };
        assert_eq!(of(&["6.1"]).moved_from(&of(&[])), [""; 0]);
        assert_eq!(of(&["6.1"]).moved_from(&of(&["6.1", "6.12"])), [""; 0]);
        assert_eq!(
            of(&["6.18", "6.1"]).moved_from(&of(&["6.1"])),
            ["recorded on another kernel than last time: 6.18, and it was 6.1"]
        );
    }
}
