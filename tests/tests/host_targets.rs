//! What `record` can be pointed at, besides a container: several cgroups, one that does not exist yet, a process.

use std::{
    ffi::OsStr,
    fs,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use sandbox_trace_tests::{
    cgroup::Cgroup,
    command::{self, Background},
    product::{self, Recorder},
    recorded::Recorded,
    setup::was_read,
};

/// Runs a shell script in a cgroup, to its end.
fn run_in(cgroup: &Path, script: &str) -> Result<()> {
    let join = format!("echo $$ > {}/cgroup.procs; exec /bin/sh -ec \"$0\"", cgroup.display());
    command::succeed(Command::new("sh").args(["-ec", &join, script])).map(drop)
}

/// A process that sits in a cgroup until it is killed.
fn sitting_in(cgroup: &Path) -> Result<Background> {
    let join = format!("echo $$ > {}/cgroup.procs; exec sleep 1000", cgroup.display());
    let child = Command::new("sh").args(["-ec", &join]).stdin(Stdio::null()).spawn()?;
    let pid = child.id();
    let sitter = Background(child);
    command::wait_until("the process in its cgroup", Duration::from_secs(10), || {
        Ok(fs::read_to_string(format!("/proc/{pid}/comm"))?.trim() == "sleep")
    })?;
    Ok(sitter)
}

#[test]
fn several_cgroups_are_one_recording_with_all_below_them() -> Result<()> {
    command::require_root()?;
    let dir = tempfile::tempdir()?;
    let (first, second, other) = (Cgroup::create()?, Cgroup::create()?, Cgroup::create()?);
    let before = first.path().join("before/deep");
    fs::create_dir_all(&before)?;
    let file = |name: &str| -> Result<String> {
        let path = dir.path().join(name);
        fs::write(&path, "")?;
        Ok(path.to_string_lossy().into_owned())
    };
    // One keeps the target alive until all is done.
    let mut sitter = sitting_in(second.path())?;
    let options =
        ["--cgroup".as_ref(), first.path().as_os_str(), "--cgroup".as_ref(), second.path().as_os_str()];
    let recorder = Recorder::start_on(&options, dir.path(), &[])?;
    let after = second.path().join("after/deep");
    fs::create_dir_all(&after)?;
    let mut expected = Vec::new();
    for (name, cgroup) in [("a", first.path()), ("b", second.path()), ("c", &before), ("d", &after)] {
        let path = file(name)?;
        run_in(cgroup, &format!(": < {path}"))?;
        expected.push(path);
    }
    let foreign = file("e")?;
    run_in(other.path(), &format!(": < {foreign}"))?;
    sitter.stop();
    let recorded = Recorded::load(&recorder.finish()?)?;
    for path in &expected {
        ensure!(was_read(&recorded, path), "{path} is not in the recording");
    }
    ensure!(!was_read(&recorded, &foreign), "another cgroup's file is in the recording");
    let target = &recorded.json["target"];
    ensure!(
        target["cgroup"] == first.name().as_str() && target["more_cgroups"][0] == second.name().as_str(),
        "{target}"
    );
    Ok(())
}

#[test]
fn a_cgroup_that_does_not_exist_yet_is_recorded_from_its_first_task() -> Result<()> {
    command::require_root()?;
    let dir = tempfile::tempdir()?;
    // The name of one that was there, and the folder above it not there either.
    let parent = Cgroup::create()?;
    let (path, name) = (parent.path().join("agents/one"), format!("{}/agents/one", parent.name()));
    let recorder =
        Recorder::start_on(&["--wait".as_ref(), "--cgroup".as_ref(), OsStr::new(&name)], dir.path(), &[])?;
    let (mine, foreign) = (dir.path().join("mine"), dir.path().join("foreign"));
    for file in [&mine, &foreign] {
        fs::write(file, "")?;
    }
    // Beside it, above it, and with a name that begins alike.
    for beside in ["agents", "agents/one-more", "agents/on"] {
        fs::create_dir(parent.path().join(beside))?;
        run_in(&parent.path().join(beside), &format!(": < {}", foreign.display()))?;
    }
    fs::create_dir(&path)?;
    let below = path.join("below");
    fs::create_dir(&below)?;
    run_in(&below, &format!(": < {}", mine.display()))?;
    let recorded = Recorded::load(&recorder.finish()?)?;
    ensure!(was_read(&recorded, &mine.to_string_lossy()), "{:?}", recorded.list("files"));
    ensure!(!was_read(&recorded, &foreign.to_string_lossy()), "what another did is in the recording");
    ensure!(recorded.json["target"]["cgroup"] == name.as_str(), "{}", recorded.json["target"]);
    // Every call of the target is counted, and no other's: one shell, started by another shell.
    let executed = recorded.call("x86_64", "execve").context("no execve")?;
    ensure!(executed["count"] == 1, "{executed}");
    Ok(())
}

#[test]
fn a_process_stands_for_its_cgroup() -> Result<()> {
    command::require_root()?;
    let dir = tempfile::tempdir()?;
    let cgroup = Cgroup::create()?;
    let mut sitter = sitting_in(cgroup.path())?;
    let pid = sitter.0.id().to_string();
    let recorder = Recorder::start_on(&["--pid".as_ref(), OsStr::new(&pid)], dir.path(), &[])?;
    let file = dir.path().join("file");
    fs::write(&file, "")?;
    run_in(cgroup.path(), &format!(": < {}", file.display()))?;
    sitter.stop();
    let recorded = Recorded::load(&recorder.finish()?)?;
    ensure!(was_read(&recorded, &file.to_string_lossy()), "{:?}", recorded.list("files"));
    let target = &recorded.json["target"];
    ensure!(target["kind"] == "process" && target["cgroup"] == cgroup.name().as_str(), "{target}");
    Ok(())
}

#[test]
fn a_process_whose_cgroup_is_everybodys_is_refused() -> Result<()> {
    command::require_root()?;
    let own = Cgroup::create()?;
    // In a cgroup of its own, so that its own and the root differ.
    let says = |pid: &str, words: &str| -> Result<()> {
        let script = format!(
            "echo $$ > {}/cgroup.procs; exec \"$0\" record -o /dev/null --pid {pid}",
            own.path().display()
        );
        let mut shell = Command::new("sh");
        shell.args(["-ec", &script]).arg(product::binary()?);
        let output = command::run(&mut shell)?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.code() == Some(2) && said.contains(words),
            "{}",
            command::describe(&shell, &output)
        );
        Ok(())
    };
    says("$$", "the recorder's own cgroup")?;
    says("2", "is in the root cgroup")?; // the kernel's threads are nowhere else
    says("4194305", "there is no process") // beyond the largest id
}
