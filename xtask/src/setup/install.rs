//! Installs components: with apt-get, with cargo, or by unpacking a package.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

use super::components::{Component, Source};
use crate::{process, workspace};

/// The version of bpf-linker that goes with Debian's compiler: both use LLVM 22.
const BPF_LINKER: &str = "0.13.0";
const LLVM: &str = "/usr/lib/llvm-22";

/// Installs all of `missing`, packages first.
pub fn install(missing: &[&Component]) -> Result<()> {
    let mut packages: Vec<&str> = Vec::new();
    for component in missing {
        match component.source {
            Source::Packages(names) | Source::BpfLinker(names) => packages.extend(names),
            Source::KernelOf(_) => {}
        }
    }
    let Some(apt) = process::find("apt-get") else {
        bail!("there is no apt-get here to install them with; the package names above are Debian's");
    };
    process::run(as_root(&apt)?.args(["update", "-q"]))?;
    if !packages.is_empty() {
        process::run(
            as_root(&apt)?.args(["install", "--yes", "-q", "--no-install-recommends"]).args(&packages),
        )?;
    }
    for component in missing {
        match component.source {
            Source::Packages(_) => {}
            Source::BpfLinker(_) => bpf_linker()?,
            Source::KernelOf(package) => kernel_of(package)?,
        }
    }
    Ok(())
}

/// A command that runs as root and asks nothing.
fn as_root(program: &Path) -> Result<Command> {
    // RUNLEVEL=1 keeps Debian's packages from starting the daemons that they bring: the tests start their own.
    let variables = ["DEBIAN_FRONTEND=noninteractive", "RUNLEVEL=1"];
    let mut command = if nix::unistd::geteuid().is_root() {
        Command::new("env")
    } else if let Some(sudo) = process::find("sudo") {
        let mut command = Command::new(sudo);
        command.arg("env");
        command
    } else {
        bail!("installing packages needs root, and there is no sudo");
    };
    command.args(variables).arg(program).stdin(Stdio::null());
    Ok(command)
}

fn bpf_linker() -> Result<()> {
    // Without LLVM_PREFIX the build takes the first llvm-config, which may be another version's.
    process::run(
        Command::new("cargo")
            .args(["install", "bpf-linker", "--locked", "--version", BPF_LINKER])
            .args(["--no-default-features", "--features", "llvm-22", "--root"])
            .arg(workspace::tools_dir())
            .env("LLVM_PREFIX", LLVM),
    )
}

/// Unpacks the kernel image that `meta` depends on. It is not installed: that would make the machine's own boot
/// loader find it.
fn kernel_of(meta: &str) -> Result<()> {
    let depends = process::output(Command::new("apt-cache").args(["depends", meta]))?;
    let package = depends
        .lines()
        .find_map(|line| line.trim().strip_prefix("Depends: "))
        .with_context(|| format!("{meta} depends on no kernel"))?;
    let work = tempfile::tempdir()?;
    process::run(Command::new("apt-get").args(["download", "-q", package]).current_dir(work.path()))?;
    let deb = fs::read_dir(work.path())?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|ending| ending == "deb"))
        .with_context(|| format!("apt-get download {package} left no file"))?;

    let guest = workspace::guest_dir();
    fs::create_dir_all(&guest)?;
    let mut archive =
        Command::new("dpkg-deb").arg("--fsys-tarfile").arg(&deb).stdout(Stdio::piped()).spawn()?;
    let tar = archive.stdout.take().context("dpkg-deb has no output")?;
    let unpacked = process::run(
        Command::new("tar")
            .args(["--extract", "--wildcards", "--directory"])
            .arg(&guest)
            .arg("./boot/vmlinuz-*")
            .stdin(tar),
    );
    archive.wait()?;
    unpacked
}
