//! What the recorder is given and how it ends: each fault has its exit code, a line and a hint, and leaves nothing; each
//! end gives a whole recording.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use sandbox_trace_tests::{
    cgroup::Cgroup,
    command::{self, Background},
    product::{Recorder, binary},
    recorded::{Recorded, recorder},
    refusal::{self, holds_only, no_cgroups_of},
};

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");
const NOBODY: u32 = 65534;

/// `record -o DIR/out/recording.json -- touch DIR/ran`: whether the command ran can be told.
fn touching(dir: &Path) -> Result<Command> {
    fs::create_dir_all(dir.join("out"))?;
    recorder(&dir.join("out/recording.json"), &[], ["touch".as_ref(), dir.join("ran").as_os_str()])
}

/// Neither a recording, whole or half, nor a command that ran without one.
fn nothing_happened(dir: &Path) -> Result<()> {
    holds_only(&dir.join("out"), &[])?;
    ensure!(!dir.join("ran").exists(), "the command ran");
    Ok(())
}

#[test]
fn a_cgroup_that_is_not_there() -> Result<()> {
    command::require_root()?;
    let dir = tempfile::tempdir()?;
    let mut command = Command::new(binary()?);
    command.args(["record", "--cgroup", "/no/such/cgroup", "-o"]).arg(dir.path().join("recording.json"));
    refusal::run(&mut command)?.refused(2, "/no/such/cgroup")?;
    holds_only(dir.path(), &[])
}

#[test]
fn not_root() -> Result<()> {
    let dir = tempfile::tempdir()?;
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777))?;
    // The build's folder may be closed to others.
    let copy = dir.path().join("sandbox-trace");
    fs::copy(binary()?, &copy)?;
    let mut command = Command::new(&copy);
    command.args(["record", "-o"]).arg(dir.path().join("recording.json")).args(["--", "true"]);
    refusal::run(command.current_dir("/").uid(NOBODY).gid(NOBODY))?.refused(5, "needs CAP_BPF")?;
    holds_only(dir.path(), &["sandbox-trace"])
}

#[test]
fn no_type_information() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut command = touching(dir.path())?;
    refusal::run(command.env("SANDBOX_TRACE_BTF", "/nonexistent"))?.refused(5, "/nonexistent")?;
    nothing_happened(dir.path())
}

#[test]
fn an_output_that_cannot_be_written() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let ran = dir.path().join("ran");
    for output in ["missing/recording.json", "."] {
        let mut command = recorder(&dir.path().join(output), &[], ["touch".as_ref(), ran.as_os_str()])?;
        refusal::run(&mut command)?.refused(2, "could not write")?;
        holds_only(dir.path(), &[])?;
    }
    Ok(())
}

#[test]
fn a_command_that_cannot_be_started() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("recording.json");
    for name in ["sandbox-trace-no-such-command", "/etc/passwd"] {
        refusal::run(&mut recorder(&file, &[], [name])?)?.refused(2, name)?;
        holds_only(dir.path(), &[])?;
    }
    Ok(())
}

#[test]
fn a_command_that_fails_leaves_a_whole_recording() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("recording.json");
    for (script, code) in [("exit 3", 3), ("kill -9 $$", 137)] {
        let ended = refusal::run(&mut recorder(&file, &[], ["sh", "-c", script])?)?.with(1)?;
        ensure!(ended.stderr().contains(&format!("exited with {code}")), "{}", ended.stderr());
        let recorded = Recorded::load(&file)?;
        ensure!(recorded.json["target"]["exit_code"] == code, "{}", recorded.json["target"]);
        ensure!(recorded.call("x86_64", "execve").is_some(), "no execve");
        holds_only(dir.path(), &["recording.json"])?;
    }
    Ok(())
}

/// A recorder with a command that says its process id and then sleeps for long.
fn idle(file: &Path, options: &[&str]) -> Result<(Background, i32)> {
    let script = "echo $$; exec \"$0\" idle 1000";
    let child = recorder(file, options, ["sh", "-c", script, WORKLOAD])?
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context("can't start the recorder")?;
    let mut process = Background(child);
    let mut line = String::new();
    let stdout = process.0.stdout.take().context("no output")?;
    BufReader::new(stdout).read_line(&mut line)?;
    Ok((process, line.trim().parse()?))
}

fn whole(mut recorder: Background, file: &Path, ended: &str) -> Result<Recorded> {
    let mut status = None;
    command::wait_until("the recorder's end", Duration::from_secs(30), || {
        status = recorder.0.try_wait()?;
        Ok(status.is_some())
    })?;
    ensure!(status.is_some_and(|status| status.code() == Some(0)), "{status:?}");
    no_cgroups_of(recorder.0.id())?;
    let recorded = Recorded::load(file)?;
    ensure!(recorded.json["target"]["ended"] == ended, "{}", recorded.json["target"]);
    ensure!(recorded.call("x86_64", "execve").is_some(), "no execve");
    Ok(recorded)
}

fn pid_of(process: &Background) -> Result<Pid> {
    Ok(Pid::from_raw(i32::try_from(process.0.id())?))
}

#[test]
fn sigterm_ends_the_command_and_the_recording() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("recording.json");
    let (recorder, command) = idle(&file, &[])?;
    kill(pid_of(&recorder)?, Signal::SIGTERM)?;
    whole(recorder, &file, "signal")?;
    ensure!(kill(Pid::from_raw(command), None).is_err(), "the command was not told");
    holds_only(dir.path(), &["recording.json"])
}

/// A terminal tells the command itself; here nobody does, and a second signal ends the wait for it.
#[test]
fn sigint_ends_the_recording_and_leaves_a_command_that_was_not_told() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("recording.json");
    let (recorder, command) = idle(&file, &[])?;
    kill(pid_of(&recorder)?, Signal::SIGINT)?;
    std::thread::sleep(Duration::from_millis(300));
    kill(pid_of(&recorder)?, Signal::SIGINT)?;
    let recorded = whole(recorder, &file, "signal");
    kill(Pid::from_raw(command), Signal::SIGKILL).context("the command is gone")?;
    ensure!(recorded?.call("x86_64", "clock_nanosleep").is_some(), "the blocked call is missing");
    Ok(())
}

#[test]
fn the_time_is_up() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("recording.json");
    let (recorder, command) = idle(&file, &["--duration", "1s"])?;
    let recorded = whole(recorder, &file, "duration");
    kill(Pid::from_raw(command), Signal::SIGKILL).context("the command did not outlive the recording")?;
    let duration = recorded?.json["duration_ms"].as_u64();
    ensure!(duration.is_some_and(|ms| (1_000..5_000).contains(&ms)), "{duration:?} ms");
    Ok(())
}

#[test]
fn the_commands_streams_are_its_own() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let line = ["sh", "-c", "echo out; echo err >&2"];
    let ended = refusal::run(&mut recorder(&dir.path().join("r.json"), &[], line)?)?.with(0)?;
    ensure!(ended.output.stdout == b"out\n", "{:?}", ended.output.stdout);
    ensure!(ended.stderr().lines().any(|line| line == "err"), "{}", ended.stderr());
    // To stdout: behind what the command wrote, whole.
    let ended = refusal::run(&mut recorder(Path::new("-"), &[], line)?)?.with(0)?;
    let json = ended.output.stdout.strip_prefix(b"out\n").context("the command's own output is not first")?;
    let json: serde_json::Value = serde_json::from_slice(json)?;
    ensure!(json["complete"] == true, "{json}");
    holds_only(dir.path(), &["r.json"])
}

#[test]
fn a_cgroup_that_is_removed_ends_the_recording() -> Result<()> {
    command::require_root()?;
    let dir = tempfile::tempdir()?;
    let cgroup = Cgroup::create()?;
    let recorder = Recorder::start(cgroup.path(), dir.path())?;
    fs::remove_dir(cgroup.path())?;
    let recorded = Recorded::load(&recorder.finish()?)?;
    ensure!(recorded.list("syscalls").is_empty(), "{:?}", recorded.list("syscalls"));
    Ok(())
}

#[test]
fn a_cgroup_that_fills_and_empties_in_a_moment_ends_the_recording() -> Result<()> {
    command::require_root()?;
    let dir = tempfile::tempdir()?;
    let cgroup = Cgroup::create()?;
    let recorder = Recorder::start(cgroup.path(), dir.path())?;
    // Nobody comes for some time: an empty cgroup is waited for.
    std::thread::sleep(Duration::from_millis(500));
    let script = "echo $$ >\"$0/cgroup.procs\" && exec cat /etc/hostname";
    command::succeed(Command::new("sh").args(["-c", script]).arg(cgroup.path()))?;
    let recorded = Recorded::load(&recorder.finish()?)?;
    let files = recorded.list("files");
    ensure!(files.iter().any(|file| file["path"] == "/etc/hostname" && file["access"] == "r"), "{files:#?}");
    ensure!(recorded.call("x86_64", "exit_group").is_some(), "no exit_group");
    Ok(())
}
