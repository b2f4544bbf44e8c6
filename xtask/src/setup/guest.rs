//! What the test guests need of Debian's other releases: their kernels, and a QEMU that boots the newest of them.

use std::{fs, process::Command};

use anyhow::Result;
use sandbox_trace_tests::vm::Kernel;

use super::{archive::Archive, install::as_root};
use crate::process;

const QEMU: &str = "qemu-system-x86";

/// Debian 12's QEMU 7.2 crashes Linux 6.12 at the start in one boot of three; 10.0 in none of twenty.
const QEMU_MAJOR: u32 = 10;

/// Where a kernel comes from: a suite, and the meta-package that depends on the newest build. The security suites
/// have each kernel that is maintained, and short lists.
pub fn package(kernel: Kernel) -> (&'static str, &'static str) {
    match kernel {
        Kernel::V5_10 => ("bullseye-security", "linux-image-cloud-amd64"),
        Kernel::V6_1 => ("bookworm-security", "linux-image-cloud-amd64"),
        Kernel::V6_12 => ("bookworm-security", "linux-image-6.12-cloud-amd64"),
    }
}

/// Unpacks kernel images from their packages. They are not installed: that would make the machine's own boot loader
/// find them.
pub fn fetch_kernels(kernels: &[Kernel]) -> Result<()> {
    if kernels.is_empty() {
        return Ok(());
    }
    for suite in ["bullseye-security", "bookworm-security"] {
        let wanted: Vec<Kernel> =
            kernels.iter().copied().filter(|kernel| package(*kernel).0 == suite).collect();
        if wanted.is_empty() {
            continue;
        }
        let archive = Archive::of(&[suite])?;
        for kernel in wanted {
            fetch_kernel(&archive, kernel)?;
        }
    }
    Ok(())
}

fn fetch_kernel(archive: &Archive, kernel: Kernel) -> Result<()> {
    let (_, meta) = package(kernel);
    archive.unpack(&archive.dependency(meta)?, "./boot/vmlinuz-*", &kernel.place())
}

/// True if QEMU is there and new enough.
pub fn has_qemu() -> bool {
    // `QEMU emulator version 10.0.2 (Debian …)`
    let said = process::output(Command::new("qemu-system-x86_64").arg("--version"));
    let major = said.ok().and_then(|said| said.split_once("version ")?.1.split_once('.')?.0.parse().ok());
    major.is_some_and(|major: u32| major >= QEMU_MAJOR)
}

/// Installs QEMU: on Debian 12 from its backports, elsewhere from the machine's own sources.
pub fn install_qemu() -> Result<()> {
    let install = ["install", "--yes", "-q", "--no-install-recommends"];
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    if !release.lines().any(|line| line == "VERSION_CODENAME=bookworm") {
        process::run(as_root("apt-get")?.args(["update", "-q"]))?;
        return process::run(as_root("apt-get")?.args(install).arg(QEMU));
    }
    let archive = Archive::of(&["bookworm", "bookworm-updates", "bookworm-security", "bookworm-backports"])?;
    let mut command = as_root("apt-get")?;
    archive.with_options(&mut command).args(install).args(["-t", "bookworm-backports", QEMU]);
    process::run(&mut command)
}
