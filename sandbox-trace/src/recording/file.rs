//! Reading and writing recordings: versions, compression, errors that say what is wrong with the file.

use std::{io::Read as _, path::Path};

use serde::Deserialize;

use super::{FileAccess, Recording, SCHEMA, stream};
use crate::{
    error::{Error, Result},
    output,
};

/// Larger than any recording of a sane run; stops a decompression bomb before memory does.
const MAX_BYTES: u64 = 4 << 30;

/// Reads a recording from `path` (`-` is stdin); `.zst` or any Zstandard content is decompressed.
pub fn load(path: &Path) -> Result<Recording> {
    let name = path.display().to_string();
    let raw = if path == Path::new("-") {
        let mut raw = Vec::new();
        std::io::stdin().lock().read_to_end(&mut raw).map(|_| raw)
    } else {
        std::fs::read(path)
    }
    .map_err(|e| {
        Error::usage(format!("could not read the recording {name}"))
            .because(e)
            .hint("make one with `sandbox-trace record -o FILE`")
    })?;
    let json = if raw.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        let mut json = Vec::new();
        zstd::Decoder::new(raw.as_slice())
            .and_then(|decoder| decoder.take(MAX_BYTES).read_to_end(&mut json))
            .map_err(|e| {
                Error::usage(format!("{name} is a truncated or damaged Zstandard file"))
                    .because(e)
                    .hint("record again, or restore the file")
            })?;
        json
    } else {
        raw
    };
    from_json(&json, &name)
}

/// Reads a recording from JSON; `name` is what messages call it.
pub fn from_json(json: &[u8], name: &str) -> Result<Recording> {
    #[derive(Deserialize)]
    struct Header {
        schema: Option<String>,
    }
    let broken = |e: serde_json::Error| {
        let (what, hint) = if e.is_eof() {
            ("ends in the middle: the file is truncated", "record again, or restore the file")
        } else {
            ("is not a recording", "a recording is the JSON that `sandbox-trace record -o FILE` writes")
        };
        Error::usage(format!("{name} {what} (line {}, column {})", e.line(), e.column()))
            .because(e)
            .hint(hint)
    };
    let header: Header = serde_json::from_slice(json).map_err(broken)?;
    match header.schema.as_deref() {
        Some(SCHEMA) => {}
        Some(other) => return Err(foreign_schema(name, other)),
        None => {
            return Err(Error::usage(format!("{name} is JSON but not a recording: it has no \"schema\""))
                .hint("a recording is the JSON that `sandbox-trace record -o FILE` writes"));
        }
    }
    let mut recording: Recording = serde_json::from_slice(json).map_err(broken)?;
    recording.normalize();
    Ok(recording)
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
