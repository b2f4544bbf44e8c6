//! Who else's code is in the binary: each crate with its version and licence, and the notices that it comes with, which
//! its licence asks to be passed on. It reads the crates' own files, as Cargo has unpacked them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::{process, workspace};

const HEAD: &str = "\
This program is linked with the crates below, each under its own licence, with Rust's standard library (MIT OR
Apache-2.0; https://github.com/rust-lang/rust), and with the DejaVu font. It uses the system's libseccomp (LGPL-2.1) and
C library (LGPL-2.1) as shared libraries. Crates that only generated code while it was built are among them.
";

/// What `cargo metadata` says, as far as it is needed here.
#[derive(Debug, Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
}

#[derive(Debug, Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    manifest_path: PathBuf,
}

#[derive(Debug, Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Debug, Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dependency>,
}

#[derive(Debug, Deserialize)]
struct Dependency {
    pkg: String,
    dep_kinds: Vec<Kind>,
}

#[derive(Debug, Deserialize)]
struct Kind {
    /// `dev`, `build`, or nothing for what is linked.
    kind: Option<String>,
}

/// Writes the list and the notices of what `package` is linked with.
pub fn write(package: &str, file: &Path) -> Result<()> {
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let said = process::output(
        Command::new("cargo")
            .args(["metadata", "--format-version=1", "--locked", "--filter-platform", &target])
            .current_dir(workspace::root()),
    )?;
    let metadata: Metadata = serde_json::from_str(&said).context("can't read what cargo metadata says")?;
    let mut text = HEAD.to_owned();
    // One text is the notice of many crates.
    let mut notices: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for crate_ in linked(&metadata, package)? {
        let licence = crate_.license.as_deref();
        let name = format!("{} {}", crate_.name, crate_.version);
        let _ = write!(text, "\n{name}: {}", licence.with_context(|| format!("{name} names no licence"))?);
        let folder = crate_.manifest_path.parent().context("a manifest without a folder")?;
        for path in notice_files(folder)? {
            let notice =
                String::from_utf8_lossy(&fs::read(&path)?).replace("\r\n", "\n").trim_end().to_owned();
            notices.entry(notice).or_default().insert(name.clone());
        }
    }
    text.push('\n');
    // By the crates, so that a new version of one moves no other.
    let mut notices: Vec<_> = notices.into_iter().map(|(notice, of)| (of, notice)).collect();
    notices.sort();
    for (of, notice) in notices {
        let names: Vec<String> = of.into_iter().collect();
        let _ = write!(text, "\n{}\n{}\n\n{notice}\n", "-".repeat(80), names.join(", "));
    }
    fs::write(file, text).with_context(|| format!("can't write {}", file.display()))
}

/// The package and all that is linked into it, by name.
fn linked<'a>(metadata: &'a Metadata, package: &str) -> Result<Vec<&'a Package>> {
    let nodes: BTreeMap<&str, &Node> = metadata.resolve.nodes.iter().map(|node| (&*node.id, node)).collect();
    let first = metadata.packages.iter().find(|one| one.name == package);
    let mut queue = vec![&*first.with_context(|| format!("no package {package}"))?.id];
    let mut seen = BTreeSet::new();
    while let Some(id) = queue.pop() {
        if !seen.insert(id) {
            continue;
        }
        let node = nodes.get(id).with_context(|| format!("cargo metadata has no {id}"))?;
        let linked = |dependency: &&Dependency| dependency.dep_kinds.iter().any(|kind| kind.kind.is_none());
        queue.extend(node.deps.iter().filter(linked).map(|dependency| &*dependency.pkg));
    }
    let mut packages: Vec<&Package> =
        metadata.packages.iter().filter(|package| seen.contains(&*package.id)).collect();
    packages.sort_by_key(|package| (&package.name, &package.version));
    ensure!(packages.len() > 50, "{} crates only", packages.len());
    Ok(packages)
}

/// The files of a crate that hold licences. Code that it brings along has them in folders further down.
fn notice_files(folder: &Path) -> Result<Vec<PathBuf>> {
    const WORDS: [&str; 5] = ["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE"];
    // Not part of what is linked.
    const LEFT_OUT: [&str; 4] = ["tests", "scripts", "resources", "target"];
    let mut found = Vec::new();
    let mut queue = vec![folder.to_owned()];
    while let Some(folder) = queue.pop() {
        for entry in fs::read_dir(&folder).with_context(|| format!("can't list {}", folder.display()))? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let kind = entry.file_type()?;
            if kind.is_dir() && !LEFT_OUT.contains(&&*name) {
                queue.push(entry.path());
            }
            let source = Path::new(&name).extension().is_some_and(|ending| ending == "rs");
            if kind.is_file() && !source && WORDS.iter().any(|word| name.to_uppercase().contains(word)) {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    Ok(found)
}
