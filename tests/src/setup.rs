//! What a container runtime does before the container's first program, and no profile may have.

use std::path::Path;

use anyhow::{Result, ensure};

use crate::recorded::Recorded;

/// Calls that a container is set up with and that the programs of these tests never make.
const CALLS: [&str; 11] = [
    "mount",
    "umount2",
    "pivot_root",
    "setns",
    "unshare",
    "move_mount",
    "open_tree",
    "fsopen",
    "mknodat",
    "sethostname",
    "keyctl",
];

/// Fails if anything of a runtime's set-up is in the recording: its calls, the host's paths below `host`, or itself
/// among the executables, whatever it is called: all that ran must be one of `programs`.
pub fn expect_none(recorded: &Recorded, host: &Path, programs: &[&str]) -> Result<()> {
    let calls = recorded.calls("x86_64");
    for call in CALLS {
        ensure!(!calls.contains(call), "{call} is in the recording, of {:?}", recorded.call("x86_64", call));
    }
    let host = host.to_string_lossy();
    for file in recorded.list("files").iter().chain(recorded.failed_files()) {
        let path = file["path"].as_str().unwrap_or_default();
        ensure!(!path.contains(&*host), "a path of the host's is in the recording: {file}");
        for word in
            ["/proc/self/exe", "/setgroups", "/uid_map", "exec.fifo", "/attr/", ".pivot_root", "oom_score"]
        {
            ensure!(!path.contains(word), "the runtime's own file is in the recording: {file}");
        }
    }
    for executable in recorded.list("executables") {
        let path = executable["path"].as_str().unwrap_or_default();
        // A call that was under a filter is the runtime's need of the filter, and may be in it; a file never.
        let counts = |list: &str| recorded.list(list).iter().any(|fact| recorded.by(fact).contains(path));
        ensure!(!counts("files") || programs.contains(&path), "{path} is in the recording");
    }
    Ok(())
}

/// Fails unless the exec of `program` and its dynamic loader's work are in the recording.
pub fn expect_first_exec(recorded: &Recorded, program: &str) -> Result<()> {
    let access = |path: &str| -> String {
        let all = recorded.list("files").iter().filter(|file| file["path"].as_str() == Some(path));
        all.filter_map(|file| file["access"].as_str()).collect()
    };
    ensure!(access(program).contains('x'), "no exec of {program}: {:?}", recorded.list("files"));
    let library = recorded.list("files").iter().find(|file| {
        file["path"].as_str().is_some_and(|path| path.ends_with("/libc.so.6"))
            && file["access"].as_str().is_some_and(|letters| letters.contains('r') && letters.contains('m'))
    });
    ensure!(library.is_some(), "the loader's libc is not in the recording: {:?}", recorded.list("files"));
    let cache = recorded.failed_files().iter().find(|file| file["path"] == "/etc/ld.so.cache");
    ensure!(cache.is_some(), "the loader's look at its cache is not in the recording");
    let call = recorded.call("x86_64", "execve");
    ensure!(call.is_some_and(|call| call["succeeded"] == true), "no execve");
    Ok(())
}

/// Whether a path was read.
pub fn was_read(recorded: &Recorded, path: &str) -> bool {
    recorded
        .list("files")
        .iter()
        .any(|file| file["path"] == path && file["access"].as_str().is_some_and(|a| a.contains('r')))
}
