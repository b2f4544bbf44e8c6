//! The programs' edition for old kernels on this machine's kernel, held against the same expectations.

use std::process::Command;

use anyhow::{Result, ensure};
use sandbox_trace_tests::command;

#[test]
fn the_edition_for_old_kernels_records_the_same() -> Result<()> {
    command::require_root()?;
    let output = Command::new(env!("CARGO_BIN_EXE_checks"))
        .arg("calls")
        .env("SANDBOX_TRACE_EDITION", "old")
        .output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}");
    ensure!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    ensure!(said.lines().any(|line| line.starts_with("ok ")), "it checked nothing: {said}");
    Ok(())
}
