//! Installs components: with apt-get or with cargo.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Result, bail};

use super::{
    archive::Archive,
    components::{Component, Source},
    guest,
};
use crate::{process, workspace};

/// The version of bpf-linker that goes with Debian's compiler: both use LLVM 22.
const BPF_LINKER: &str = "0.13.0";
const LLVM: &str = "/usr/lib/llvm-22";

/// Installs all of `missing`, packages first.
pub fn install(missing: &[&Component]) -> Result<()> {
    let mut packages: Vec<&str> = Vec::new();
    let mut kernels = Vec::new();
    for component in missing {
        match component.source {
            Source::Packages(names) | Source::BpfLinker(names) | Source::Python(_, names) => {
                packages.extend(names)
            }
            Source::Kernel(kernel) => kernels.push(kernel),
            Source::Qemu | Source::Compose | Source::Cargo(..) => {}
        }
    }
    let cargo_alone = missing.iter().all(|component| matches!(component.source, Source::Cargo(..)));
    if !cargo_alone && process::find("apt-get").is_none() {
        bail!("there is no apt-get here to install them with; the package names above are Debian's");
    }
    if !packages.is_empty() {
        process::run(as_root("apt-get")?.args(["update", "-q"]))?;
        process::run(
            as_root("apt-get")?.args(["install", "--yes", "-q", "--no-install-recommends"]).args(&packages),
        )?;
    }
    for component in missing {
        match component.source {
            Source::Packages(_) | Source::Kernel(_) => {}
            Source::BpfLinker(_) => bpf_linker()?,
            Source::Cargo(name, version) => cargo_program(name, version)?,
            Source::Qemu => guest::install_qemu()?,
            Source::Python(name, _) => python(name)?,
            Source::Compose => compose()?,
        }
    }
    guest::fetch_kernels(&kernels)
}

/// A command that runs as root and asks nothing.
pub fn as_root(program: &str) -> Result<Command> {
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

/// Debian 12 has compose 1.29 alone, which does not know all keys; this release's needs no newer C library.
pub const COMPOSE_SUITE: &str = "trixie";

/// Where Docker's compose is. The tests look there too.
pub fn compose_program() -> PathBuf {
    workspace::tools_dir().join("docker-compose")
}

fn compose() -> Result<()> {
    let program = "./usr/libexec/docker/cli-plugins/docker-compose";
    Archive::of(&[COMPOSE_SUITE])?.unpack("docker-compose", program, &compose_program())
}

/// Without optimisation: they are built in half of the time, and run for seconds.
fn cargo_program(name: &str, version: &str) -> Result<()> {
    process::run(
        Command::new("cargo")
            .args(["install", name, "--locked", "--debug", "--version", version, "--root"])
            .arg(workspace::tools_dir()),
    )
}

/// Where a program that cargo installed is, if it is there.
pub fn find_cargo_program(name: &str) -> Option<PathBuf> {
    let own = workspace::tools_dir().join("bin").join(name);
    if own.is_file() { Some(own) } else { process::find(name) }
}

/// Where a program of a Python package is. The tests look there too.
pub fn python_program(name: &str) -> PathBuf {
    workspace::tools_dir().join(name).join("bin").join(name)
}

/// Debian's Python: another one on PATH may lack the module that makes environments. `package` may name extras.
fn python(package: &str) -> Result<()> {
    let name = package.split_once('[').map_or(package, |(name, _)| name);
    let environment = workspace::tools_dir().join(name);
    process::run(Command::new("/usr/bin/python3").args(["-m", "venv", "--clear"]).arg(&environment))?;
    process::run(Command::new(environment.join("bin/pip")).args(["install", "--quiet", package]))
}
