//! Writing a recording whose file accesses are made one by one, so that a million of them never lie in memory
//! together. The bytes are those that [`super::to_json`] gives for the same facts.

use std::io::{self, Write};

use serde::{Serialize, Serializer, ser::SerializeStruct as _};

use super::{Failed, FileAccess, NetworkUse, Recording};

/// Makes a list anew each time that it is written.
struct Lazy<F>(F);

impl<F, I> Serialize for Lazy<F>
where
    F: Fn() -> I,
    I: Iterator<Item = FileAccess>,
{
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq((self.0)())
    }
}

struct Document<'a, F, G> {
    head: &'a Recording,
    granted: Lazy<F>,
    failed: Lazy<G>,
}

#[derive(Serialize)]
struct FailedDocument<'a, G: Serialize> {
    files: &'a G,
    network: &'a [NetworkUse],
}

impl<F, G, I, J> Serialize for Document<'_, F, G>
where
    F: Fn() -> I,
    I: Iterator<Item = FileAccess>,
    G: Fn() -> J,
    J: Iterator<Item = FileAccess>,
{
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // All fields, in their order: a new one is missed by the compiler, not by a reader.
        let Recording {
            schema,
            tool,
            complete,
            losses,
            warnings,
            started,
            duration_ms,
            runs,
            host,
            target,
            executables,
            syscalls,
            files: _,
            network,
            capabilities,
            credentials,
            saturation,
            resources,
            failed: Failed { files: _, network: failed_network },
        } = self.head;
        let mut out = serializer.serialize_struct("Recording", 19)?;
        out.serialize_field("schema", schema)?;
        out.serialize_field("tool", tool)?;
        out.serialize_field("complete", complete)?;
        out.serialize_field("losses", losses)?;
        out.serialize_field("warnings", warnings)?;
        out.serialize_field("started", started)?;
        out.serialize_field("duration_ms", duration_ms)?;
        if !runs.is_empty() {
            out.serialize_field("runs", runs)?;
        }
        out.serialize_field("host", host)?;
        out.serialize_field("target", target)?;
        out.serialize_field("executables", executables)?;
        out.serialize_field("syscalls", syscalls)?;
        out.serialize_field("files", &self.granted)?;
        out.serialize_field("network", network)?;
        out.serialize_field("capabilities", capabilities)?;
        out.serialize_field("credentials", credentials)?;
        out.serialize_field("saturation", saturation)?;
        out.serialize_field("resources", resources)?;
        let failed = FailedDocument { files: &self.failed, network: failed_network };
        out.serialize_field("failed", &failed)?;
        out.end()
    }
}

/// Writes `head` as JSON, with the file accesses that `granted` and `failed` give instead of its own.
pub fn write_json<I, J>(
    out: &mut dyn Write,
    head: &Recording,
    granted: impl Fn() -> I,
    failed: impl Fn() -> J,
) -> io::Result<()>
where
    I: Iterator<Item = FileAccess>,
    J: Iterator<Item = FileAccess>,
{
    let document = Document { head, granted: Lazy(granted), failed: Lazy(failed) };
    serde_json::to_writer_pretty(&mut *out, &document)?;
    out.write_all(b"\n")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::recording::{Access, from_json, samples, to_json};

    #[test]
    fn the_bytes_are_those_of_the_recording_at_once() {
        let mut whole = samples::calls(&["read", "mmap"]);
        for (path, error) in [("/b", None), ("/a/", None), ("/c", Some("ENOENT".to_owned()))] {
            let list = if error.is_some() { &mut whole.failed.files } else { &mut whole.files };
            list.push(FileAccess {
                path: path.into(),
                access: Access::READ,
                link_target: None,
                owner: Some(true),
                refused_by: None,
                operations: vec!["open".into()],
                error,
                count: 2,
                first_ms: 3,
                last_ms: 4,
                by: vec![0],
                runs: None,
                accesses: BTreeMap::new(),
            });
        }
        whole.normalize();
        let mut head = whole.clone();
        (head.files, head.failed.files) = (vec![], vec![]);
        let mut streamed = Vec::new();
        let (granted, failed) = (|| whole.files.iter().cloned(), || whole.failed.files.iter().cloned());
        write_json(&mut streamed, &head, granted, failed).unwrap();
        assert_eq!(String::from_utf8_lossy(&streamed), String::from_utf8(to_json(&whole).unwrap()).unwrap());
        assert_eq!(from_json(&streamed, "it").unwrap(), whole);
    }
}
