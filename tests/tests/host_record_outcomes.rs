//! What becomes of a recording when something goes wrong around it: a killed recorder, a full disk, a target that is
//! removed, frozen or out of memory. And what the recorder costs in memory, and may still do.

use std::{
    fs,
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use nix::{
    errno::Errno,
    libc,
    mount::{MntFlags, MsFlags, mount, umount2},
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use sandbox_trace_tests::{
    cgroup::Cgroup,
    command::{self, Background},
    memory,
    product::{self, Recorder},
    recorded::{Recorded, recorder},
};
use serde_json::Value;

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");

/// A process that is moved into the cgroup before it begins.
fn start_in(cgroup: &Cgroup, line: &[&str]) -> Result<Background> {
    let script = "echo $$ >\"$0/cgroup.procs\"; exec \"$@\"";
    let child = Command::new("sh")
        .arg("-c")
        .arg(script)
        .arg(cgroup.path())
        .args(line)
        .stdin(Stdio::null())
        .spawn()?;
    Ok(Background(child))
}

fn signal(child: &Child, signal: Signal) -> Result<()> {
    Ok(kill(Pid::from_raw(i32::try_from(child.id())?), signal)?)
}

/// A recorder with options of its own, once it has said `armed`.
fn armed(log: &Path, arguments: &[&str], command: &[&str]) -> Result<Background> {
    let mut line = Command::new(product::binary()?);
    line.arg("record")
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(log)?);
    if !command.is_empty() {
        line.arg("--").args(command);
    }
    let mut process = Background(line.spawn()?);
    command::wait_until("armed", Duration::from_secs(60), || {
        let said = fs::read_to_string(log)?;
        if said.lines().any(|line| line == "armed") {
            return Ok(true);
        }
        ensure!(process.0.try_wait()?.is_none(), "the recorder ended: {said}");
        Ok(false)
    })?;
    Ok(process)
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("an odd temporary folder")
}

fn names(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut names = fs::read_dir(folder)?.map(|e| Ok(e?.path())).collect::<Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}

#[test]
fn a_recorder_that_is_killed_leaves_its_last_checkpoint() -> Result<()> {
    const MOMENTS: u64 = 50;
    command::require_root()?;
    let (dir, logs) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let (file, log) = (dir.path().join("recording.json"), logs.path().join("log"));
    let cgroup = Cgroup::create()?;
    // New to each recorder, and enough that writing them takes some time.
    let script = "while :; do \"$0\" missing /nowhere 5000; sleep 0.3; done";
    let mut work = start_in(&cgroup, &["sh", "-c", script, WORKLOAD])?;
    let place = text(cgroup.path())?.to_owned();
    let options = ["--cgroup", &place, "-o", text(&file)?, "--checkpoint", "100ms"];
    let mut checkpoints = 0;
    for moment in 0..MOMENTS {
        let _ = fs::remove_file(&file);
        let mut recorder = armed(&log, &options, &[])?;
        // Spread over some periods, and over the time that writing takes.
        thread::sleep(Duration::from_millis(moment * 7919 % 600));
        signal(&recorder.0, Signal::SIGKILL)?;
        ensure!(recorder.0.wait()?.signal() == Some(9), "it ended otherwise");
        // Its writer dies with it, but not in the same instant.
        thread::sleep(Duration::from_millis(20));
        let mut names = names(dir.path())?;
        for _ in 0..50 {
            if names.len() <= 1 {
                break;
            }
            thread::sleep(Duration::from_millis(100));
            names = self::names(dir.path())?;
        }
        if names.is_empty() {
            continue;
        }
        ensure!(names == [file.clone()], "litter: {names:?}");
        let json: Value = serde_json::from_slice(&fs::read(&file)?).context("a torn checkpoint")?;
        ensure!(json["complete"] == false && json["target"]["ended"] == "checkpoint", "{}", json["target"]);
        ensure!(json["losses"].as_object().is_some_and(|l| !l.is_empty()), "{}", json["losses"]);
        ensure!(json["warnings"].to_string().contains("checkpoint"), "{}", json["warnings"]);
        let merged = logs.path().join("merged.json");
        let merge = ["merge", "--allow-incomplete", text(&file)?, "-o", text(&merged)?];
        product::sandbox_trace(merge)?;
        checkpoints += 1;
    }
    println!("{checkpoints} of {MOMENTS} left a checkpoint");
    ensure!(checkpoints >= MOMENTS / 2, "only {checkpoints} checkpoints");
    // The next one that ends in peace replaces it, and is whole.
    let mut recorder = armed(&log, &options, &[])?;
    thread::sleep(Duration::from_millis(350));
    signal(&recorder.0, Signal::SIGTERM)?;
    ensure!(recorder.0.wait()?.success(), "{}", fs::read_to_string(&log)?);
    let recorded = Recorded::load(&file)?;
    ensure!(recorded.json["target"]["ended"] == "signal");
    ensure!(names(dir.path())? == [file], "litter");
    work.0.kill()?;
    work.0.wait()?;
    Ok(())
}

#[test]
fn a_recorder_that_is_killed_while_a_checkpoint_gets_its_name_leaves_it_whole() -> Result<()> {
    command::require_root()?;
    let (dir, logs) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let file = dir.path().join("recording.json");
    // The checkpoint has its temporary name for a second. With -D, the process started is the recorder itself.
    let mut recorder = Background(
        Command::new(command::require("strace")?)
            .args(["-D", "-f", "-qq", "-e", "trace=linkat", "-e", "inject=linkat:delay_exit=1s", "-o"])
            .arg(logs.path().join("strace"))
            .arg(product::binary()?)
            .args(["record", "-o", text(&file)?, "--checkpoint", "100ms", "--", "sleep", "60"])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?,
    );
    let temporary = dir.path().join(".recording.json.part");
    command::wait_until("a temporary name", Duration::from_secs(60), || Ok(temporary.exists()))?;
    signal(&recorder.0, Signal::SIGKILL)?;
    ensure!(recorder.0.wait()?.signal() == Some(9), "it ended otherwise");
    command::wait_until("the file's own name", Duration::from_secs(10), || {
        Ok(names(dir.path())? == [file.clone()])
    })?;
    let json: Value = serde_json::from_slice(&fs::read(&file)?).context("a torn checkpoint")?;
    ensure!(json["target"]["ended"] == "checkpoint", "{}", json["target"]);
    Ok(())
}

#[test]
fn two_parts_of_a_run_merge_into_one() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let folder = fs::canonicalize(dir.path())?;
    fs::write(folder.join("both"), "x")?;
    let mut parts = Vec::new();
    for part in ["first", "second"] {
        fs::write(folder.join(part), "x")?;
        let file = folder.join(format!("{part}.json"));
        let line = ["cat", text(&folder.join("both"))?, text(&folder.join(part))?].map(str::to_owned);
        command::succeed(&mut recorder(&file, &[], line)?)?;
        parts.push(file);
    }
    let (one, other) = (text(&parts[0])?, text(&parts[1])?);
    let [ab, ba] = ["ab.json", "ba.json"].map(|name| folder.join(name));
    product::sandbox_trace(["merge", "-q", one, other, "-o", text(&ab)?])?;
    product::sandbox_trace(["merge", "-q", other, one, "-o", text(&ba)?])?;
    ensure!(fs::read(&ab)? == fs::read(&ba)?, "the order makes a difference");
    let (a, b, whole) = (Recorded::load(&parts[0])?, Recorded::load(&parts[1])?, Recorded::load(&ab)?);
    let count = |recorded: &Recorded, name| recorded.call("x86_64", name).and_then(|c| c["count"].as_u64());
    // What can't be told apart again is not added up: the most of one run.
    ensure!(
        count(&whole, "openat") == count(&a, "openat").max(count(&b, "openat")),
        "{:?}",
        count(&whole, "openat")
    );
    // The same again, and with what it has already, changes nothing.
    let again = folder.join("again.json");
    product::sandbox_trace(["merge", "-q", text(&ab)?, one, text(&ba)?, other, "-o", text(&again)?])?;
    ensure!(fs::read(&ab)? == fs::read(&again)?, "a run that came twice makes a difference");
    let found = whole.files_below(&folder)?;
    for name in ["both", "first", "second"] {
        ensure!(found.contains_key(&(name.as_bytes().to_vec(), None)), "no {name}");
    }
    for emit in [&["emit-seccomp"][..], &["emit-apparmor", "--name", "agent", "--generalize", "exact"]] {
        let of = |files: &[&str]| product::sandbox_trace([emit, files, &["-q"]].concat());
        ensure!(of(&[text(&ab)?])? == of(&[one, other])?, "{emit:?}: the policy differs");
    }
    Ok(())
}

/// A small file system, gone at the end.
struct Disk(tempfile::TempDir);

impl Disk {
    fn of(size: &str) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let options = format!("size={size}");
        mount(Some("tmpfs"), dir.path(), Some("tmpfs"), MsFlags::empty(), Some(options.as_str()))?;
        Ok(Self(dir))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = umount2(self.0.path(), MntFlags::MNT_DETACH);
    }
}

#[test]
fn a_full_disk_keeps_the_old_file_and_the_new_facts() -> Result<()> {
    command::require_root()?;
    let (disk, spare) = (Disk::of("64k")?, tempfile::tempdir()?);
    let file = disk.0.path().join("recording.json");
    fs::write(&file, "the old one")?;
    let mut record = recorder(&file, &["--checkpoint", "100ms"], [WORKLOAD, "missing", "/nowhere", "5000"])?;
    record.env("TMPDIR", spare.path());
    let output = command::run(&mut record)?;
    let said = command::describe(&record, &output);
    ensure!(output.status.code() == Some(5), "{said}");
    ensure!(said.contains("could not write") && said.contains("No space left"), "{said}");
    ensure!(fs::read_to_string(&file)? == "the old one", "the old file was touched");
    ensure!(names(disk.0.path())? == [file], "litter");
    let saved = names(spare.path())?;
    let [saved] = saved.as_slice() else { bail!("saved {saved:?}\n{said}") };
    ensure!(said.contains(text(saved)?), "it doesn't say where:\n{said}");
    let recorded = Recorded::load(saved)?;
    let failed = recorded.json["failed"]["files"].as_array().map_or(0, Vec::len);
    ensure!(failed >= 5000, "{failed} attempts");
    Ok(())
}

#[test]
fn a_cgroup_that_is_removed_ends_its_recording() -> Result<()> {
    command::require_root()?;
    let dir = tempfile::tempdir()?;
    let cgroup = Cgroup::create()?;
    let recorder = Recorder::start(cgroup.path(), dir.path())?;
    let mut work = start_in(&cgroup, &["cat", "/etc/hostname"])?;
    work.0.wait()?;
    command::wait_until("an empty cgroup", Duration::from_secs(5), || {
        Ok(fs::remove_dir(cgroup.path()).is_ok())
    })?;
    let recorded = Recorded::load(&recorder.finish()?)?;
    ensure!(recorded.json["target"]["ended"] == "target-ended", "{}", recorded.json["target"]);
    ensure!(
        recorded.list("files").iter().any(|file| file["path"] == "/etc/hostname"),
        "its facts are missing"
    );
    Ok(())
}

#[test]
fn a_command_that_is_killed_for_its_memory_is_recorded_to_its_end() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("recording.json");
    // Its own cgroup has its name in the v1 hierarchy of the memory controller, or in the unified one.
    let script = "name=sandbox-trace-$PPID
        for limit in /sys/fs/cgroup/memory/$name/memory.limit_in_bytes /sys/fs/cgroup/$name/memory.max; do
            [ -e $limit ] && echo 16777216 >$limit && limited=1
        done
        [ \"$limited\" ] || exit 99
        cat /etc/hostname; exec tail /dev/zero";
    let mut record = recorder(&file, &[], ["sh", "-c", script])?;
    let output = command::run(&mut record)?;
    ensure!(output.status.code() == Some(1), "{}", command::describe(&record, &output));
    let recorded = Recorded::load(&file)?;
    ensure!(recorded.json["target"]["exit_code"] == 137, "{}", recorded.json["target"]);
    ensure!(recorded.list("files").iter().any(|file| file["path"] == "/etc/hostname"), "a fact is missing");
    ensure!(recorded.json["executables"].to_string().contains("tail"), "{}", recorded.json["executables"]);
    Ok(())
}

#[test]
fn a_frozen_target_does_not_hold_up_its_recorder() -> Result<()> {
    command::require_root()?;
    let dir = tempfile::tempdir()?;
    let cgroup = Cgroup::create()?;
    let recorder = Recorder::start(cgroup.path(), dir.path())?;
    let mut work = start_in(&cgroup, &["sh", "-c", "cat /etc/hostname; exec sleep 100"])?;
    thread::sleep(Duration::from_millis(500));
    fs::write(cgroup.path().join("cgroup.freeze"), "1")?;
    command::wait_until("a frozen cgroup", Duration::from_secs(5), || {
        Ok(fs::read_to_string(cgroup.path().join("cgroup.events"))?.contains("frozen 1"))
    })?;
    let start = Instant::now();
    let recording = recorder.stop(Signal::SIGINT);
    let took = start.elapsed();
    fs::write(cgroup.path().join("cgroup.freeze"), "0")?;
    work.0.kill()?;
    work.0.wait()?;
    let recorded = Recorded::load(&recording?)?;
    ensure!(took < Duration::from_secs(5), "it took {took:?}");
    ensure!(recorded.json["target"]["ended"] == "signal");
    ensure!(recorded.list("files").iter().any(|file| file["path"] == "/etc/hostname"), "a fact is missing");
    // Blocked when it was frozen: it has not returned from it.
    ensure!(recorded.call("x86_64", "clock_nanosleep").is_some(), "the blocked call is missing");
    Ok(())
}

#[test]
fn a_target_that_never_rests_does_not_hold_up_its_recorder() -> Result<()> {
    command::require_root()?;
    let dir = tempfile::tempdir()?;
    let cgroup = Cgroup::create()?;
    let (file, log) = (dir.path().join("recording.json"), dir.path().join("log"));
    let mut recorder = armed(&log, &["--cgroup", text(cgroup.path())?, "-o", text(&file)?], &[])?;
    let mut work = Vec::new();
    for folder in ["/nowhere/1", "/nowhere/2"] {
        work.push(start_in(&cgroup, &[WORKLOAD, "missing", folder, "1000000000"])?);
    }
    thread::sleep(Duration::from_secs(1));
    let start = Instant::now();
    signal(&recorder.0, Signal::SIGTERM)?;
    let status = recorder.0.wait()?;
    let took = start.elapsed();
    for process in &mut work {
        process.0.kill()?;
        process.0.wait()?;
    }
    println!("ended {took:?} after SIGTERM");
    ensure!(status.success(), "{status}: {}", fs::read_to_string(&log)?);
    ensure!(took < Duration::from_secs(30), "it took {took:?}");
    // It may outrun the reader: then the recording says so.
    let json: Value = serde_json::from_slice(&fs::read(&file)?)?;
    let lost = json["losses"].as_object().context("no losses")?.values().any(|n| n != 0);
    ensure!(json["complete"] == !lost && json["target"]["ended"] == "signal", "{}", json["losses"]);
    Ok(())
}

/// A line of /proc/PID/status.
fn status(pid: &str, name: &str) -> Result<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    Ok(line.with_context(|| format!("no {name}"))?.trim().to_owned())
}

/// The scheduling policy of a thread.
fn policy(thread: &str) -> Result<libc::c_int> {
    let pid = Pid::from_raw(thread.parse()?);
    // SAFETY: this takes a number alone.
    let policy = Errno::result(unsafe { libc::sched_getscheduler(pid.as_raw()) })?;
    // The flag says what becomes of what it starts, not of itself.
    Ok(policy & !libc::SCHED_RESET_ON_FORK)
}

#[test]
fn an_armed_recorder_has_few_privileges_and_its_command_all() -> Result<()> {
    // For a command the recorder has made cgroups, which it removes.
    const DAC_OVERRIDE: u64 = 1 << 1;
    const DAC_READ_SEARCH: u64 = 1 << 2;
    const KILL: u64 = 1 << 5;
    const SYS_PTRACE: u64 = 1 << 19;
    const BPF: u64 = 1 << 39;
    command::require_root()?;
    let dir = tempfile::tempdir()?;
    let (file, log, seen) =
        (dir.path().join("recording.json"), dir.path().join("log"), dir.path().join("status"));
    let script = "cat /proc/self/status >\"$0.part\"; mv \"$0.part\" \"$0\"; exec sleep 100";
    let options = ["-o", text(&file)?];
    let mut recorder = armed(&log, &options, &["sh", "-c", script, text(&seen)?])?;
    command::wait_until("the command", Duration::from_secs(10), || Ok(seen.exists()))?;
    let pid = recorder.0.id().to_string();
    let held = |name: &str| -> Result<u64> { Ok(u64::from_str_radix(&status(&pid, name)?, 16)?) };
    let kept = DAC_OVERRIDE | DAC_READ_SEARCH | KILL | SYS_PTRACE | BPF;
    for name in ["CapPrm", "CapEff", "CapBnd"] {
        ensure!(held(name)? & !kept == 0, "{name} is {:x}", held(name)?);
    }
    ensure!(held("CapPrm")? == u64::from_str_radix(&status("self", "CapPrm")?, 16)? & kept, "one is missing");
    ensure!(held("CapInh")? == 0 && held("CapAmb")? == 0, "it passes some on");
    ensure!(status(&pid, "NoNewPrivs")? == "1");
    // None of its threads kept more: one reads the ring, and one may be looking at executables.
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let thread = format!("{pid}/task/{}", thread?.file_name().to_string_lossy());
        for name in ["CapPrm", "CapEff", "CapBnd"] {
            let held = u64::from_str_radix(&status(&thread, name)?, 16)?;
            ensure!(held & !kept == 0, "{name} of {thread} is {held:x}");
        }
    }
    // Who reads the ring comes first; nothing that it started does.
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let thread = thread?.file_name().to_string_lossy().into_owned();
        let expected = if thread == pid { libc::SCHED_RR } else { libc::SCHED_OTHER };
        ensure!(policy(&thread)? == expected, "thread {thread} has scheduling policy {}", policy(&thread)?);
    }
    let command = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
    let command = command.split_whitespace().next().context("it has no command")?;
    ensure!(policy(command)? == libc::SCHED_OTHER, "the command has scheduling policy {}", policy(command)?);
    let of_command = fs::read_to_string(&seen)?;
    for name in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp"] {
        let own = format!("{name}:\t{}", status("self", name)?);
        ensure!(of_command.lines().any(|line| line == own), "the command has another {name} than {own:?}");
    }
    signal(&recorder.0, Signal::SIGTERM)?;
    ensure!(recorder.0.wait()?.code().is_some());
    let recorded = Recorded::load(&file)?;
    ensure!(recorded.json["target"]["exit_code"] == 143, "{}", recorded.json["target"]);
    Ok(())
}

#[test]
fn memory_grows_by_little_a_path() -> Result<()> {
    const PATHS: u64 = 100_000;
    command::require_root()?;
    let dir = tempfile::tempdir()?;
    let (file, log) = (dir.path().join("recording.json"), dir.path().join("log"));
    let cgroup = Cgroup::create()?;
    let mut recorder = armed(&log, &["--cgroup", text(cgroup.path())?, "-o", text(&file)?], &[])?;
    let pid = recorder.0.id().to_string();
    // What loading the programs took for a moment is not what a recording takes.
    fs::write(format!("/proc/{pid}/clear_refs"), "5")?;
    let before: u64 = status(&pid, "VmRSS")?.trim_end_matches(" kB").parse()?;
    let watch = memory::Watch::new(recorder.0.id());
    // At a pace that a busy machine's reader keeps up with.
    let script =
        "i=0; while [ $i -lt 100 ]; do i=$((i + 1)); \"$0\" missing /nowhere/$i 1000; sleep 0.1; done";
    let mut work = start_in(&cgroup, &["sh", "-c", script, WORKLOAD])?;
    ensure!(work.0.wait()?.success(), "the work failed");
    let status = recorder.0.wait()?;
    ensure!(status.success(), "the recorder ended with {status}");
    let after = watch.peak_kib()?;
    let recorded = Recorded::load(&file)?;
    let found = recorded.failed_files().len();
    let each = after.saturating_sub(before) * 1024 / PATHS;
    println!("{before} KiB when armed, {after} at most; {each} bytes for each of {found} paths");
    ensure!(u64::try_from(found)? >= PATHS, "{found} attempts");
    ensure!(before <= 32 << 10, "{before} KiB when armed");
    ensure!(each <= 268, "{each} bytes a path: a million would take more than 256 MiB");
    Ok(())
}
