//! The demo agent as the tests call it, and what it says.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// Where the agent is in a container and in the guest.
pub const DIR: &str = "/opt/agent";

/// The agent's folder in the repository.
pub fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../profiles/demo-agent")
}

/// The agent's command line in a container: a normal run.
pub fn work() -> Vec<String> {
    args(&["--workdir", "/tmp/agent"])
}

/// The agent's command line in a container: an attack.
pub fn attack(name: &str) -> Vec<String> {
    args(&["--attack", name])
}

fn args(rest: &[&str]) -> Vec<String> {
    let agent = format!("{DIR}/agent.py");
    ["/usr/bin/python3", agent.as_str()].iter().chain(rest).map(|arg| (*arg).to_owned()).collect()
}

/// Fails unless the agent said that it did all its work.
pub fn expect_worked(output: &str) -> Result<()> {
    let summary = last_line(output)?;
    ensure!(summary["status"] == "ok" && summary["rounds"] == summary["stored"], "the agent says {summary}");
    Ok(())
}

/// What an attack met: the error's name if it was denied, `None` if it worked.
pub fn attack_result(output: &str) -> Result<Option<String>> {
    let result = last_line(output)?;
    let denied = result["denied"].as_bool().context("no `denied` in what the attack says")?;
    let errno = result["errno"].as_str().map(str::to_owned);
    ensure!(denied == errno.is_some(), "the attack was not tried: {result}");
    Ok(errno)
}

fn last_line(output: &str) -> Result<Value> {
    let line = output.lines().last().context("the agent said nothing")?;
    serde_json::from_str(line).with_context(|| format!("the agent said {line:?}"))
}
