//! `docs`: man pages and shell completions, from the command line's own definition, held against the programs that read
//! them.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};

use crate::{
    process,
    setup::{self, Purpose},
    workspace,
};

/// Arguments of the task.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where they go [default: target/docs].
    #[arg(long, short, value_name = "DIR")]
    output: Option<PathBuf>,
}

/// Runs the task.
pub fn main(args: &Args) -> Result<()> {
    setup::ensure(&[Purpose::Build, Purpose::Docs])?;
    let folder = args.output.clone().unwrap_or_else(|| workspace::target_dir().join("docs"));
    write(&folder)?;
    check(&folder)?;
    eprintln!("docs: {}", folder.display());
    Ok(())
}

/// Writes them into a folder, in place of what was there.
pub fn write(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("can't empty {}", folder.display()))?;
    }
    let mut cargo = Command::new("cargo");
    cargo.args(["run", "--quiet", "--locked", "--package", "sandbox-trace", "--example", "docs", "--"]);
    process::run(cargo.arg(folder).arg(workspace::release_date()?).current_dir(workspace::root()))
}

/// Has every file read by what it is for.
pub fn check(folder: &Path) -> Result<()> {
    let pages = files(&folder.join("man"))?;
    ensure!(pages.len() > 10, "{} man pages only", pages.len());
    for page in &pages {
        // What clap_mangen writes has superfluous line breaks, which are warnings.
        silent(Command::new("mandoc").args(["-T", "lint", "-W", "error"]).arg(page))?;
        silent(Command::new("groff").args(["-man", "-ww", "-z", "-K", "utf8", "-T", "utf8"]).arg(page))?;
    }
    for shell in ["bash", "zsh", "fish"] {
        let scripts = files(&folder.join("completions").join(shell))?;
        ensure!(!scripts.is_empty(), "no completions for {shell}");
        for script in scripts {
            silent(Command::new(shell).arg("-n").arg(script))?;
        }
    }
    Ok(())
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("can't list {}", folder.display()))?;
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.map(|e| e.path())).collect::<Result<_, _>>()?;
    files.sort();
    Ok(files)
}

/// Runs a program that has nothing to say if all is well.
fn silent(command: &mut Command) -> Result<()> {
    let shown = process::display(command);
    let output = command.output().with_context(|| format!("can't run `{shown}`"))?;
    let said = [output.stdout, output.stderr].concat();
    if !output.status.success() || !said.is_empty() {
        bail!("`{shown}`: {}\n{}", output.status, String::from_utf8_lossy(&said));
    }
    Ok(())
}
