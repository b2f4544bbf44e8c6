//! The oldest compiler that the workspace promises to build with, `rust-version` in `Cargo.toml`: tried, not believed.

use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::{process, workspace};

/// What could be found out.
#[derive(Debug, PartialEq, Eq)]
pub enum Tried {
    /// The workspace compiles with exactly that version.
    Compiles,
    /// That compiler is not here; this one is newer.
    Newer(String),
}

/// Compiles the workspace with that version, where it is: it may be the compiler in use, or another of rustup's.
pub fn check() -> Result<Tried> {
    let msrv = env!("CARGO_PKG_RUST_VERSION");
    let version = process::output(Command::new("rustc").arg("--version"))?;
    let here = number(&version).with_context(|| format!("which version is {version}?"))?;
    let wanted = number(msrv).with_context(|| format!("which version is {msrv}?"))?;
    ensure!(here >= wanted, "{version} is older than rust-version, {msrv}");
    let mut cargo = Command::new("cargo");
    if here != wanted {
        let Some(toolchain) = installed(wanted) else { return Ok(Tried::Newer(version)) };
        process::without_cargo_environment(&mut cargo);
        // Beside the usual folder: two compilers in one would take turns at building everything anew.
        cargo.arg(format!("+{toolchain}")).env("CARGO_TARGET_DIR", workspace::target_dir().join("msrv"));
    }
    process::run(cargo.args(["check", "--quiet", "--locked", "--workspace"]).current_dir(workspace::root()))?;
    Ok(Tried::Compiles)
}

/// The name of a tool chain of rustup's with that version.
fn installed(wanted: (u32, u32)) -> Option<String> {
    let list = process::output(Command::new("rustup").args(["toolchain", "list"])).ok()?;
    let mut names = list.lines().filter_map(|line| line.split_whitespace().next());
    names.find(|name| number(name) == Some(wanted)).map(str::to_owned)
}

/// The first two parts of the first word that is a version: of `rustc 1.95.0 (…)`, `1.95` or `1.95.0-x86_64-…`.
fn number(text: &str) -> Option<(u32, u32)> {
    text.split_whitespace().find_map(|word| {
        let mut parts = word.split('.');
        Some((parts.next()?.parse().ok()?, parts.next()?.split('-').next()?.parse().ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn versions_are_read_as_compilers_and_manifests_write_them() {
        assert_eq!(number("rustc 1.95.0 (59807616e 2026-04-14)"), Some((1, 95)));
        assert_eq!(number("rustc 1.97.0-nightly (0000 2026-04-14)"), Some((1, 97)));
        assert_eq!(number("1.95"), Some((1, 95)));
        assert_eq!(number("1.95.0-x86_64-unknown-linux-gnu (active, default)"), Some((1, 95)));
        assert_eq!(number("stable-x86_64-unknown-linux-gnu"), None);
    }
}
