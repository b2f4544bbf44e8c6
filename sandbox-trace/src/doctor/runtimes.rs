//! The OCI runtimes: runc and crun.

use std::time::Duration;

use super::{Check, Subject};
use crate::program;

pub(super) const RUNC: Subject = Subject {
    id: "runc",
    title: "runc",
    why: "The runtime of Docker and containerd: profiles for it are tried with the real one.",
    needed: false,
};
pub(super) const CRUN: Subject = Subject {
    id: "crun",
    title: "crun",
    why: "The runtime of Podman: profiles for it are tried with the real one.",
    needed: false,
};

const LIMIT: Duration = Duration::from_secs(5);

pub(super) fn check(of: Subject) -> Check {
    let Some(path) = program::find(of.id) else {
        return of
            .warning("not installed", format!("apt-get install {}, where containers run under it", of.id));
    };
    match program::output(&path, &["--version"], LIMIT) {
        Ok(said) => of.ok(format!("{} at {}", version(&said), path.display())),
        Err(error) => of.warning(
            format!("{}: {error}", path.display()),
            format!("apt-get install --reinstall {}", of.id),
        ),
    }
}

/// `runc version 1.1.5+ds1` and `crun version 1.8.1`, followed by more lines.
fn version(said: &str) -> &str {
    let line = said.lines().next().unwrap_or_default();
    line.rsplit(' ').next().filter(|word| !word.is_empty()).unwrap_or("of unknown version")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_the_last_word_of_the_first_line() {
        assert_eq!(version("runc version 1.1.5+ds1\ncommit: 1.1.5\n"), "1.1.5+ds1");
        assert_eq!(version("crun version 1.8.1\n"), "1.8.1");
        assert_eq!(version(""), "of unknown version");
    }
}
