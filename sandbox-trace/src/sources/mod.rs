//! Where recordings lie: files, folders, object stores. Knows how their bytes are got, not what is in them.

mod merging;
#[cfg(feature = "s3")]
mod objects;

use std::{
    ffi::{OsStr, OsString},
    fs::{self, File},
    io::Read,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

pub use self::merging::{Merged, merge};
use crate::{
    error::{Error, Result},
    recording::printable,
};

/// How deep folders are looked through: a loop of mounts ends.
const MAX_DEPTH: usize = 16;

/// A recording that can be read.
#[derive(Debug, Clone)]
pub struct Source {
    name: String,
    place: Place,
}

#[derive(Debug, Clone)]
enum Place {
    File(PathBuf),
    #[cfg(feature = "s3")]
    Object(objects::Object),
}

impl Source {
    /// What messages call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it is, if it is a file that can be read more than once.
    pub fn path(&self) -> Option<&Path> {
        match &self.place {
            Place::File(path) => Some(path.as_path()).filter(|path| path.is_file()),
            #[cfg(feature = "s3")]
            Place::Object(_) => None,
        }
    }

    /// Its bytes, as they lie there.
    pub fn open(&self) -> Result<Box<dyn Read>> {
        let unread = |e: std::io::Error| {
            Error::usage(format!("could not read the recording {}", self.name))
                .because(e)
                .hint("make one with `sandbox-trace record -o FILE`")
        };
        match &self.place {
            Place::File(path) if path == Path::new("-") => Ok(Box::new(std::io::stdin())),
            Place::File(path) => Ok(Box::new(File::open(path).map_err(unread)?)),
            #[cfg(feature = "s3")]
            Place::Object(object) => object.open(&self.name),
        }
    }

    fn file(path: PathBuf) -> Self {
        Self { name: path.display().to_string(), place: Place::File(path) }
    }
}

/// The recordings at these places, in the order of their names within each: a file itself, of a folder (a path or
/// `file:///…`) or of an object store (`s3://BUCKET/PREFIX`) all that is named `*.json`, `*.zst`, at any depth.
pub fn find(places: &[OsString]) -> Result<Vec<Source>> {
    let mut out = Vec::new();
    for place in places {
        let text = place.to_string_lossy();
        match text.split_once("://") {
            Some(("file", rest)) if rest.starts_with('/') => {
                let path = place.as_bytes().get("file://".len()..).unwrap_or_default();
                local(Path::new(OsStr::from_bytes(path)), &mut out)?;
            }
            Some(("s3", _)) => stored(&text, &mut out)?,
            // A file may be called what it likes, unless it isn't there.
            Some((scheme, _)) if !Path::new(place).exists() => {
                return Err(Error::usage(format!(
                    "{}: recordings can't be read from {}",
                    printable(&text),
                    printable(scheme)
                ))
                .hint("name a file, a folder, file:///FOLDER or s3://BUCKET/PREFIX"));
            }
            _ => local(Path::new(place), &mut out)?,
        }
    }
    Ok(out)
}

/// A file, or the recordings in a folder.
fn local(path: &Path, out: &mut Vec<Source>) -> Result<()> {
    if !path.is_dir() {
        out.push(Source::file(path.to_owned()));
        return Ok(());
    }
    let before = out.len();
    folder(path, 0, out).map_err(|(path, e)| {
        Error::usage(format!("could not look through {}", path.display()))
            .because(e)
            .hint("the folder must be readable, and what is in it must stay while it is read")
    })?;
    if out.len() == before {
        return Err(none_in(&path.display().to_string()));
    }
    Ok(())
}

fn folder(path: &Path, depth: usize, out: &mut Vec<Source>) -> Result<(), (PathBuf, std::io::Error)> {
    let fault = |e: std::io::Error| (path.to_owned(), e);
    let mut entries: Vec<fs::DirEntry> = fs::read_dir(path).and_then(Iterator::collect).map_err(fault)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        // Links are followed to files, as Kubernetes mounts them, not to folders, where they may lead in circles.
        if entry.file_type().map_err(fault)?.is_dir() {
            if depth < MAX_DEPTH && !is_hidden(entry.file_name().as_bytes()) {
                folder(&path, depth + 1, out)?;
            }
        } else if is_recording(entry.file_name().as_bytes()) && path.is_file() {
            out.push(Source::file(path));
        }
    }
    Ok(())
}

#[cfg(feature = "s3")]
fn stored(url: &str, out: &mut Vec<Source>) -> Result<()> {
    let found = objects::list(url)?;
    if found.is_empty() {
        return Err(none_in(&printable(url)));
    }
    out.extend(found.into_iter().map(|(name, object)| Source { name, place: Place::Object(object) }));
    Ok(())
}

#[cfg(not(feature = "s3"))]
fn stored(url: &str, _: &mut Vec<Source>) -> Result<()> {
    Err(Error::host(format!("{}: this sandbox-trace was built without object stores", printable(url))).hint(
        "install it with `cargo install sandbox-trace --features s3`, or copy the recordings to a folder",
    ))
}

fn none_in(place: &str) -> Error {
    Error::usage(format!("there is no recording in {place}"))
        .hint("recordings are the files that end in .json or .zst, in it or below")
}

/// Whether a name is one that a recording has. What is being written has a hidden one.
fn is_recording(name: &[u8]) -> bool {
    !is_hidden(name) && [".json", ".zst"].iter().any(|end| name.ends_with(end.as_bytes()))
}

fn is_hidden(name: &[u8]) -> bool {
    name.starts_with(b".")
}

#[cfg(test)]
mod tests;
