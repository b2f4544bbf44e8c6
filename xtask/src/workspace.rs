//! Where things are in the workspace.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::process;

/// The workspace's root folder.
pub fn root() -> PathBuf {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask).to_owned()
}

/// Cargo's target folder, honouring `CARGO_TARGET_DIR`.
pub fn target_dir() -> PathBuf {
    match env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => root().join(dir),
        None => root().join("target"),
    }
}

/// Tools that `setup` builds for this workspace alone, kept with the build cache.
pub fn tools_dir() -> PathBuf {
    target_dir().join("tools")
}

/// When what is released was made, in seconds since 1970: `SOURCE_DATE_EPOCH`, or the last commit's time, so that the
/// same sources give the same files at any time.
pub fn release_time() -> Result<String> {
    if let Ok(time) = env::var("SOURCE_DATE_EPOCH") {
        return Ok(time);
    }
    process::output(Command::new("git").args(["log", "-1", "--format=%ct"]).current_dir(root()))
        .context("name the release's time with SOURCE_DATE_EPOCH where there is no git repository")
}

/// The day of [`release_time`].
pub fn release_date() -> Result<String> {
    process::output(
        Command::new("date").args(["--utc", "+%Y-%m-%d", "--date"]).arg(format!("@{}", release_time()?)),
    )
}
