//! The programs' editions for older kernels on this machine's kernel, held against the same expectations. Operations on
//! files are left out: the edition for old kernels finds what `mprotect` makes executable on old kernels only. The guests
//! have them, each with its own edition.

use std::{fs, process::Command};

use anyhow::{Result, ensure};
use sandbox_trace_tests::command;

fn records_the_same(edition: &str) -> Result<()> {
    command::require_root()?;
    let output = Command::new(env!("CARGO_BIN_EXE_checks"))
        .arg("calls")
        .env("SANDBOX_TRACE_EDITION", edition)
        .output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}");
    ensure!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    ensure!(said.lines().any(|line| line.starts_with("ok ")), "it checked nothing: {said}");
    Ok(())
}

#[test]
fn the_edition_for_old_kernels_records_the_same() -> Result<()> {
    records_the_same("old")
}

#[test]
fn the_edition_without_casts_records_the_same() -> Result<()> {
    records_the_same("loops")
}

#[test]
fn the_edition_that_casts_loads_where_the_kernel_has_the_function() -> Result<()> {
    // The kernel's type information lists its functions by name, each with its NUL.
    const FUNCTION: &[u8] = b"\0bpf_rdonly_cast\0";
    let types = fs::read("/sys/kernel/btf/vmlinux")?;
    if !types.windows(FUNCTION.len()).any(|bytes| bytes == FUNCTION) {
        println!("skipped: this kernel has no bpf_rdonly_cast (Linux 6.2 has)");
        return Ok(());
    }
    records_the_same("cast")
}
