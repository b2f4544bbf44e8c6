//! A recording that nobody made, as large as a long training run's: the same bytes for the same size, so that what
//! reads it can be measured and compared.
//!
//! Most of its paths are a data set's, as they are in a real one; the others are what a Python program needs of a
//! system. The format is the published one.

use std::{
    io::{BufWriter, Write},
    path::Path,
};

use anyhow::{Result, ensure};
use serde_json::{Value, json};

/// How many images a folder of the data set has.
const SHARD: u64 = 1_000;

/// Other paths than the data set's: one in so many.
const OTHERS: u64 = 100;

/// How large a recording is.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// Distinct paths.
    pub paths: u64,
    /// Distinct system calls, by number on each architecture.
    pub calls: u64,
}

impl Size {
    /// A million paths and 400 calls.
    pub const LARGE: Self = Self { paths: 1_000_000, calls: 400 };
}

/// The profile's level of generalisation that such a recording is for: one rule a path would be too many for any
/// kernel.
pub const GENERALIZE: &str = "balanced";

/// Writes a recording of this size to `file`.
pub fn recording(file: &Path, size: Size) -> Result<()> {
    let mut out = BufWriter::new(std::fs::File::create(file)?);
    // Access by access, as a million of them as values would take a gigabyte.
    let mut head = head(size)?;
    let tail = head.split_off(head.len() - 1);
    out.write_all(&head)?;
    out.write_all(b",\"files\":[")?;
    let mut paths: Vec<(String, &str, &str)> = (0..size.paths).map(path).collect();
    paths.sort();
    for (position, (path, access, operation)) in paths.iter().enumerate() {
        let comma = if position == 0 { "" } else { "," };
        write!(
            out,
            "{comma}\n{{\"path\":\"{path}\",\"access\":\"{access}\",\"owner\":false,\"operations\":[\"{operation}\"],\"count\":2,\
             \"first_ms\":{position},\"last_ms\":{position},\"by\":[0]}}"
        )?;
    }
    out.write_all(b"]")?;
    out.write_all(&tail)?;
    out.flush()?;
    Ok(())
}

/// The path with this number: no two have the same.
fn path(number: u64) -> (String, &'static str, &'static str) {
    if !number.is_multiple_of(OTHERS) {
        let image = number - number / OTHERS;
        let path = format!("/data/train/shard-{:04}/img-{:06}.jpg", image / SHARD, image);
        return (path, "r", "open");
    }
    let number = number / OTHERS;
    match number % 8 {
        0 => (format!("/usr/lib/x86_64-linux-gnu/lib{}.so.{}", word(number), number % 10), "rm", "mmap"),
        1 => (format!("/usr/lib/python3.11/{}/{}.py", word(number / 64), word(number)), "r", "open"),
        2 => {
            let module = word(number);
            (
                format!("/usr/lib/python3.11/{}/__pycache__/{module}.cpython-311.pyc", word(number / 64)),
                "r",
                "open",
            )
        }
        3 => (format!("/proc/{}/stat", 1_000 + number), "r", "open"),
        4 => (format!("/tmp/tmp{:08}", number), "rwcd", "open"),
        5 => (format!("/app/checkpoints/step-{:07}.pt", number * 10), "rwcd", "rename"),
        6 => (format!("/app/logs/run-{:04}/events.{:06}.log", number % 50, number), "wac", "open"),
        _ => (format!("/usr/share/{}/{}.json", word(number / 256), word(number)), "r", "open"),
    }
}

/// A name like a module's, another for each number.
fn word(number: u64) -> String {
    const SYLLABLES: [&str; 16] = [
        "ab", "con", "data", "el", "form", "gra", "hel", "in", "json", "kit", "lo", "mod", "net", "op",
        "par", "re",
    ];
    let mut out = String::new();
    let mut rest = number;
    loop {
        out += SYLLABLES[usize::try_from(rest % 16).unwrap_or(0)];
        rest /= 16;
        if rest == 0 {
            return out;
        }
    }
}

/// All but the files.
fn head(size: Size) -> Result<Vec<u8>> {
    let head = json!({
        "schema": "sandbox-trace/recording/v1", "tool": "synthetic", "complete": true, "losses": {"ring_full": 0},
        "warnings": [], "started": "2025-01-01T00:00:00Z", "duration_ms": 3_600_000,
        "host": {"kernel": "6.1.0", "arch": "x86_64", "cgroup": "unified", "hooks": "syscalls",
                 "observed": ["syscalls", "files", "network", "capabilities"]},
        "target": {"kind": "cgroup", "cgroup": "/synthetic", "boundary": "none", "ended": "target-ended"},
        "executables": [{"path": "/usr/bin/python3.11", "executed": true}],
        "syscalls": calls(size.calls)?,
        "network": [{"operation": "socket", "family": "inet", "family_nr": 2, "socket_type": "stream", "type_nr": 1,
                     "protocol": 6, "first_ms": 1, "by": [0]}],
        "capabilities": [], "credentials": [], "resources": {},
    });
    Ok(head.to_string().into_bytes())
}

/// Ordinary calls, each with its architecture and number: those of x86-64 first, then those of 32-bit programs.
const CALLS: &str = include_str!("synthetic/calls.txt");

fn calls(number: u64) -> Result<Vec<Value>> {
    let number = usize::try_from(number)?;
    let calls = CALLS.lines().take(number).map(|line| {
        let mut words = line.split(' ');
        let (arch, nr, name) =
            (words.next(), words.next().and_then(|nr| nr.parse::<u32>().ok()), words.next());
        json!({"arch": arch, "nr": nr, "name": name, "count": 7, "succeeded": true, "first_ms": 1, "by": [0]})
    });
    let calls: Vec<Value> = calls.collect();
    ensure!(calls.len() == number, "there are only {} calls to choose from", calls.len());
    Ok(calls)
}

/// Makes a tree of this many small files below `root`, in folders of a hundred like those of an image with libraries.
pub fn tree(root: &Path, files: u64) -> Result<()> {
    for number in 0..files {
        let folder = root.join(format!("usr/lib/part{:02}/package{:04}", number / 10_000, number / 100));
        if number % 100 == 0 {
            std::fs::create_dir_all(&folder)?;
        }
        std::fs::File::create(folder.join(format!("module_{number:06}.py")))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_path_is_another_and_the_same_each_time() {
        let paths: BTreeSet<String> = (0..50_000).map(|number| path(number).0).collect();
        assert_eq!(paths.len(), 50_000);
        let data = paths.iter().filter(|path| path.starts_with("/data/train/shard-")).count();
        assert_eq!(data, 49_500);
    }

    #[test]
    fn a_small_one_is_a_recording() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let [first, second] = ["a", "b"].map(|name| folder.path().join(name));
        recording(&first, Size { paths: 1_000, calls: 400 })?;
        recording(&second, Size { paths: 1_000, calls: 400 })?;
        let bytes = std::fs::read(&first)?;
        assert_eq!(bytes, std::fs::read(&second)?);
        let value: Value = serde_json::from_slice(&bytes)?;
        assert_eq!(value["files"].as_array().map(Vec::len), Some(1_000));
        assert_eq!(value["syscalls"].as_array().map(Vec::len), Some(400));
        Ok(())
    }
}
