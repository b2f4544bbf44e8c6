//! Reading and writing recordings: versions, compression, errors that say what is wrong with the file.

use std::{fs::File, io::Read, path::Path};

use serde::Deserialize;

use super::{
    FileAccess, Recording, SCHEMA, printable,
    reading::{self, Fault, FileRef, List},
    stream,
};
use crate::{
    error::{Error, Result},
    output,
};

/// Larger than any recording of a sane run; stops a decompression bomb before memory does.
const MAX_BYTES: u64 = 4 << 30;

/// Takes a file access; an error says what is wrong with it.
pub type Each<'a> = dyn FnMut(List, &FileRef<'_>) -> Result<(), String> + 'a;

/// Reads a recording from `path` (`-` is stdin); Zstandard content is decompressed, whatever the name ends in.
pub fn load(path: &Path) -> Result<Recording> {
    collect(|each| load_each(path, each))
}

/// Reads a recording from JSON; `name` is what messages call it.
pub fn from_json(json: &[u8], name: &str) -> Result<Recording> {
    collect(|each| read(json, name, each))
}

/// A recording with all its file accesses.
fn collect(read: impl FnOnce(&mut Each<'_>) -> Result<Recording>) -> Result<Recording> {
    let (mut granted, mut failed) = (Vec::new(), Vec::new());
    let mut recording = read(&mut |list, file| {
        let list = if list == List::Granted { &mut granted } else { &mut failed };
        list.push(file.to_access()?);
        Ok(())
    })?;
    recording.files.append(&mut granted);
    recording.failed.files.append(&mut failed);
    recording.normalize();
    Ok(recording)
}

/// As [`load`], but the file accesses are given to `each` one by one, in the order of the file, and not kept.
pub fn load_each(path: &Path, each: &mut Each<'_>) -> Result<Recording> {
    let name = path.display().to_string();
    if path == Path::new("-") {
        return read_each(std::io::stdin().lock(), &name, each);
    }
    read_each(File::open(path).map_err(|e| unread(&name, e))?, &name, each)
}

/// As [`load_each`], of bytes from anywhere; `name` is what messages call them.
pub fn read_each(mut source: impl Read, name: &str, each: &mut Each<'_>) -> Result<Recording> {
    const ZSTANDARD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
    let unread = |e| unread(name, e);
    let mut start = Vec::new();
    source.by_ref().take(ZSTANDARD.len() as u64).read_to_end(&mut start).map_err(unread)?;
    let packed = start == ZSTANDARD;
    let whole = std::io::Cursor::new(start).chain(source);
    if packed {
        let decoder = zstd::Decoder::new(whole).map_err(unread)?;
        read(decoder.take(MAX_BYTES), name, each)
    } else {
        read(whole, name, each)
    }
}

fn unread(name: &str, error: std::io::Error) -> Error {
    Error::usage(format!("could not read the recording {name}"))
        .because(error)
        .hint("make one with `sandbox-trace record -o FILE`")
}

fn read(source: impl Read, name: &str, each: &mut Each<'_>) -> Result<Recording> {
    #[derive(Deserialize)]
    struct Header {
        schema: Option<String>,
    }
    let (head, fault) = match reading::read(source, each) {
        Ok(head) => (head, None),
        Err((fault, head)) => (head, Some(fault)),
    };
    // The version first: what a foreign file lacks is no news.
    let header: Result<Header, _> = serde_json::from_slice(&head);
    match (header, fault) {
        (Ok(Header { schema: Some(schema) }), _) if schema != SCHEMA => Err(foreign_schema(name, &schema)),
        (_, Some(fault)) => Err(broken(name, fault)),
        (Err(e), None) => Err(broken(name, Fault::of(&e, 0))),
        (Ok(Header { schema: None }), None) => {
            Err(Error::usage(format!("{name} is JSON but not a recording: it has no \"schema\""))
                .hint("a recording is the JSON that `sandbox-trace record -o FILE` writes"))
        }
        (Ok(_), None) => serde_json::from_slice(&head).map_err(|e| broken(name, Fault::of(&e, 0))),
    }
}

fn broken(name: &str, fault: Fault) -> Error {
    let (line, column, what, cut) = match fault {
        Fault::Source(e) => {
            return Error::usage(format!("{name} is truncated or damaged, or can't be read"))
                .because(e)
                .hint("record again, or restore the file");
        }
        Fault::Text { line, column, what, cut } => (line, column, what, cut),
    };
    let (says, hint) = if cut {
        ("ends in the middle: the file is truncated", "record again, or restore the file")
    } else {
        ("is not a recording", "a recording is the JSON that `sandbox-trace record -o FILE` writes")
    };
    let place = if column > 0 { format!("line {line}, column {column}") } else { format!("line {line}") };
    // serde quotes what it did not expect.
    Error::usage(format!("{name} {says} ({place})")).because(printable(&what)).hint(hint)
}

fn foreign_schema(name: &str, schema: &str) -> Error {
    let schema = super::BytePath::from(schema);
    let text = schema.to_string();
    match text.strip_prefix("sandbox-trace/recording/v") {
        Some(version) if version.parse::<u32>().is_ok_and(|v| v > 1) => Error::usage(format!(
            "{name} has the schema {text}, written by a newer sandbox-trace; this one ({}) reads up to {SCHEMA}",
            env!("CARGO_PKG_VERSION")
        ))
        .hint("update sandbox-trace"),
        _ => Error::usage(format!("{name} has the schema \"{text}\"; a recording has \"{SCHEMA}\""))
            .hint("a recording is the JSON that `sandbox-trace record -o FILE` writes"),
    }
}

/// The bytes of a recording as JSON, one fact a line where it matters: indented, with a final newline.
pub fn to_json(recording: &Recording) -> Result<Vec<u8>> {
    let mut json = serde_json::to_vec_pretty(recording)
        .map_err(|e| Error::usage("could not write the recording as JSON").because(e))?;
    json.push(b'\n');
    Ok(json)
}

/// Writes a recording whole or not at all; `.zst` at the end of the name compresses it.
pub fn save(recording: &Recording, path: &Path) -> Result<()> {
    let (files, failed) = (&recording.files, &recording.failed.files);
    save_streamed(recording, || files.iter().cloned(), || failed.iter().cloned(), path)
}

/// As [`save`], with file accesses that are made while they are written instead of those in `head`.
pub fn save_streamed<I, J>(
    head: &Recording,
    granted: impl Fn() -> I,
    failed: impl Fn() -> J,
    path: &Path,
) -> Result<()>
where
    I: Iterator<Item = FileAccess>,
    J: Iterator<Item = FileAccess>,
{
    output::write_with(path, |out| {
        if path.extension().is_some_and(|e| e == "zst") {
            let mut packed = zstd::Encoder::new(out, 0)?;
            stream::write_json(&mut packed, head, granted, failed)?;
            packed.finish()?.flush()
        } else {
            stream::write_json(out, head, granted, failed)
        }
    })
}
