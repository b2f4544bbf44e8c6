//! Where things are in the workspace.

use std::{
    env,
    path::{Path, PathBuf},
};

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
