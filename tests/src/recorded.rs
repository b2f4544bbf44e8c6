//! A recording as the tests look at it: read from its file by the documented format, not by the library.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    fs,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::{command, product};

/// A recording's contents.
#[derive(Debug)]
pub struct Recorded {
    /// All of it.
    pub json: Value,
    /// Where it was read from.
    pub path: PathBuf,
}

/// What was done with one path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Access {
    /// The letters.
    pub letters: String,
    /// The operations, in order.
    pub operations: Vec<String>,
    /// The existing name, for a hard link.
    pub target: Option<Vec<u8>>,
}

/// A path, and the error that using it ended in; none for what was granted.
pub type FileKey = (Vec<u8>, Option<String>);

impl Recorded {
    /// Reads a recording, which must be a complete one.
    pub fn load(path: &Path) -> Result<Self> {
        let bytes = fs::read(path).with_context(|| format!("no recording {}", path.display()))?;
        let json: Value = serde_json::from_slice(&bytes)?;
        ensure!(json["schema"] == "sandbox-trace/recording/v1", "schema {}", json["schema"]);
        ensure!(json["complete"] == true, "the recording lost something: {}", json["losses"]);
        let lost = json["losses"].as_object().context("no losses")?.values().any(|n| n != 0);
        ensure!(!lost, "it says complete, and yet: {}", json["losses"]);
        Ok(Self { json, path: path.to_owned() })
    }

    /// The entries of a list.
    pub fn list(&self, name: &str) -> &[Value] {
        self.json[name].as_array().map_or(&[], Vec::as_slice)
    }

    /// The accesses to files that failed.
    pub fn failed_files(&self) -> &[Value] {
        self.json["failed"]["files"].as_array().map_or(&[], Vec::as_slice)
    }

    /// The call of this name on this architecture.
    pub fn call(&self, arch: &str, name: &str) -> Option<&Value> {
        self.list("syscalls").iter().find(|call| call["arch"] == arch && call["name"] == name)
    }

    /// The names of all calls on an architecture.
    pub fn calls(&self, arch: &str) -> BTreeSet<String> {
        let of_arch = self.list("syscalls").iter().filter(|call| call["arch"] == arch);
        of_arch.filter_map(|call| call["name"].as_str().map(str::to_owned)).collect()
    }

    /// The values that were recorded of argument `position` of a call.
    pub fn arguments(&self, arch: &str, name: &str, position: u8) -> BTreeSet<u64> {
        let tuples = self.call(arch, name).and_then(|call| call["args"].as_array());
        let values = tuples.into_iter().flatten().map(|tuple| &tuple["values"][position.to_string()]);
        values.filter_map(Value::as_u64).collect()
    }

    /// The executables that a fact names.
    pub fn by(&self, fact: &Value) -> BTreeSet<String> {
        let indices = fact["by"].as_array().into_iter().flatten().filter_map(Value::as_u64);
        indices
            .filter_map(|index| self.list("executables").get(usize::try_from(index).ok()?))
            .filter_map(|executable| executable["path"].as_str().map(str::to_owned))
            .collect()
    }

    /// Every access, granted and failed, to what is below `folder`, by the path from there. A path may have several
    /// entries: one for each target of a hard link.
    pub fn files_below(&self, folder: &Path) -> Result<BTreeMap<FileKey, Vec<Access>>> {
        let mut out: BTreeMap<FileKey, Vec<Access>> = BTreeMap::new();
        let failed = self.json["failed"]["files"].as_array().context("no failed files")?;
        let below = |text: &Value| -> Result<Option<Vec<u8>>> {
            let path = decode(text.as_str().context("a path that is no text")?)?;
            let folder = [folder.as_os_str().as_bytes(), b"/"].concat();
            Ok(path.strip_prefix(folder.as_slice()).filter(|rest| !rest.is_empty()).map(<[u8]>::to_vec))
        };
        for file in self.list("files").iter().chain(failed) {
            let Some(path) = below(&file["path"])? else { continue };
            let target = match &file["link_target"] {
                Value::Null => None,
                text => Some(below(text)?.with_context(|| format!("a link to {text}"))?),
            };
            let operations = file["operations"].as_array().context("no operations")?;
            out.entry((path, file["error"].as_str().map(str::to_owned))).or_default().push(Access {
                letters: file["access"].as_str().context("no access")?.to_owned(),
                operations: operations.iter().filter_map(|o| o.as_str().map(str::to_owned)).collect(),
                target,
            });
        }
        Ok(out)
    }
}

/// The bytes behind a recording's text: a backslash is doubled, other bytes are `\xNN`.
pub fn decode(text: &str) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        (rest, out) = match (first, tail) {
            (b'\\', [b'\\', tail @ ..]) => (tail, [out, b"\\".to_vec()].concat()),
            (b'\\', [b'x', tail @ ..]) => {
                let (digits, tail) = tail.split_at_checked(2).context("a cut escape")?;
                let byte = u8::from_str_radix(std::str::from_utf8(digits)?, 16)?;
                (tail, [out, vec![byte]].concat())
            }
            (b'\\', _) => bail!("a bad escape in {text:?}"),
            (byte, tail) => (tail, [out, vec![*byte]].concat()),
        };
    }
    Ok(out)
}

/// `record -o FILE OPTIONS -- COMMAND`, to be run.
pub fn recorder(
    file: &Path,
    options: &[&str],
    command: impl IntoIterator<Item = impl AsRef<OsStr>>,
) -> Result<Command> {
    command::require_root()?;
    let mut recorder = Command::new(product::binary()?);
    // What the tests expect is what the calls say; `vm_lsm` holds the hooks against it.
    recorder
        .args(["record", "--hooks", "syscalls", "-o"])
        .arg(file)
        .args(options)
        .arg("--")
        .args(command)
        .stdin(Stdio::null());
    Ok(recorder)
}

/// Records a command that must succeed, into `dir`.
pub fn record(dir: &Path, command: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Result<Recorded> {
    record_with_output(dir, command).map(|(recorded, _)| recorded)
}

/// As [`record`]; gives what was written, too.
pub fn record_with_output(
    dir: &Path,
    command: impl IntoIterator<Item = impl AsRef<OsStr>>,
) -> Result<(Recorded, Output)> {
    let file = dir.join("recording.json");
    let output = command::succeed(&mut recorder(&file, &[], command)?)?;
    Ok((Recorded::load(&file)?, output))
}
