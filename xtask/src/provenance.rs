//! What the checked-in eBPF object was built from, and with: `sandbox-trace/bpf/sandbox-trace.bpf.json`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::workspace;

const SCHEMA: &str = "sandbox-trace/bpf-provenance/v1";

/// The tools that built an object, as they name their own versions.
#[derive(Debug)]
pub struct Tools {
    pub rustc: String,
    pub cargo: String,
    pub bpf_linker: String,
    pub llvm: String,
}

/// The object in the tree.
pub fn object_path() -> PathBuf {
    workspace::root().join("sandbox-trace/bpf/sandbox-trace.bpf.o")
}

fn json_path() -> PathBuf {
    object_path().with_extension("json")
}

/// Writes the JSON beside the object in the tree.
pub fn write(tools: &Tools) -> Result<()> {
    let object = object_path();
    let value = json!({
        "schema": SCHEMA,
        "source_sha256": source_sha256()?,
        "object_sha256": file_sha256(&object)?,
        "rustc": tools.rustc,
        "cargo": tools.cargo,
        "bpf_linker": tools.bpf_linker,
        "llvm": tools.llvm,
    });
    fs::write(json_path(), format!("{value:#}\n")).context("can't write the provenance")
}

/// Fails unless the object in the tree is the one that the JSON describes, built from the sources in the tree.
/// Needs no compiler.
pub fn check() -> Result<()> {
    const FIX: &str = "run cargo xtask build-ebpf";
    let path = json_path();
    let text = fs::read(&path).with_context(|| format!("can't read {}: {FIX}", path.display()))?;
    let value: Value =
        serde_json::from_slice(&text).with_context(|| format!("{} is not JSON: {FIX}", path.display()))?;
    if value["schema"] != SCHEMA {
        bail!("{} is not {SCHEMA}: {FIX}", path.display());
    }
    if value["object_sha256"] != file_sha256(&object_path()).context(FIX)? {
        bail!("sandbox-trace.bpf.o is not the object that sandbox-trace.bpf.json describes: {FIX}");
    }
    if value["source_sha256"] != source_sha256()? {
        bail!("the eBPF sources have changed since sandbox-trace.bpf.o was built: {FIX}");
    }
    Ok(())
}

/// A hash over what decides the object: each source file's name and content, and the version of aya-ebpf.
fn source_sha256() -> Result<String> {
    let package = workspace::root().join("sandbox-trace-ebpf");
    let mut files = vec![package.join("Cargo.toml")];
    collect(&package.join("src"), &mut files)?;
    files.sort();
    let mut hash = Sha256::new();
    for file in files {
        let name = file.strip_prefix(&package)?.display().to_string();
        let content = fs::read(&file).with_context(|| format!("can't read {}", file.display()))?;
        // The length keeps the border between one file and the next unambiguous.
        hash.update(format!("{name}\n{}\n", content.len()));
        hash.update(content);
    }
    hash.update(format!("aya-ebpf {}\n", locked_version("aya-ebpf")?));
    Ok(hex(&hash.finalize()))
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(dir).with_context(|| format!("can't list {}", dir.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

/// The version of a package in Cargo.lock, which writes `name` and then `version` for each.
fn locked_version(package: &str) -> Result<String> {
    let lock = fs::read_to_string(workspace::root().join("Cargo.lock")).context("can't read Cargo.lock")?;
    let name = format!("name = \"{package}\"");
    let mut lines = lock.lines().skip_while(|line| *line != name).skip(1);
    let version = lines.next().and_then(|line| line.strip_prefix("version = "));
    Ok(version.with_context(|| format!("Cargo.lock has no {package}"))?.trim_matches('"').to_owned())
}

fn file_sha256(file: &Path) -> Result<String> {
    let bytes = fs::read(file).with_context(|| format!("can't read {}", file.display()))?;
    Ok(hex(&Sha256::digest(bytes)))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
