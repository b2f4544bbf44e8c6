//! Recording without root: with the documented capabilities alone, and what is said when one of them is missing.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, chown},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use sandbox_trace_tests::{
    cgroup::Cgroup,
    command::{self, Background},
    docker::{Engine, IMAGE},
    product,
    recorded::Recorded,
    setup::was_read,
};

/// As docs/rootless.md has them.
const NEEDED: [&str; 4] = ["bpf", "perfmon", "sys_ptrace", "dac_read_search"];
const NOBODY: u32 = 65534;

/// The product as a user with these capabilities and no other, in the groups that are given.
fn as_nobody(dir: &Path, capabilities: &[&str], groups: Option<u32>) -> Result<Command> {
    // A copy that this user may execute, wherever the build is.
    let binary = dir.join("sandbox-trace");
    if !binary.exists() {
        fs::copy(product::binary()?, &binary)?;
        chown(dir, Some(NOBODY), Some(NOBODY))?;
    }
    let list: Vec<String> = capabilities.iter().map(|name| format!("+{name}")).collect();
    let list = if list.is_empty() { "-all".to_owned() } else { format!("-all,{}", list.join(",")) };
    let nobody = NOBODY.to_string();
    let mut command = Command::new(command::require("setpriv")?);
    command.args(["--reuid", &nobody, "--regid", &nobody]);
    match groups {
        Some(group) => command.args(["--groups", &group.to_string()]),
        None => command.arg("--clear-groups"),
    };
    command.args(["--bounding-set", &list, "--inh-caps", &list, "--ambient-caps", &list]).arg(binary);
    Ok(command)
}

/// Starts `record OPTIONS` and waits until nothing can be missed any more.
fn armed(mut record: Command, dir: &Path, options: &[&str]) -> Result<Background> {
    let log = dir.join("log");
    let child = record
        .args(["record", "--hooks", "syscalls", "-o"])
        .arg(dir.join("recording.json"))
        .args(options)
        .stdin(Stdio::null())
        .stderr(fs::File::create(&log)?)
        .spawn()?;
    let mut recorder = Background(child);
    command::wait_until("the recorder's `armed`", Duration::from_secs(60), || {
        let said = fs::read_to_string(&log)?;
        ensure!(recorder.0.try_wait()?.is_none(), "the recorder ended early:\n{said}");
        Ok(said.lines().any(|line| line == "armed"))
    })?;
    Ok(recorder)
}

fn finished(mut recorder: Background, dir: &Path) -> Result<Recorded> {
    let mut status = None;
    command::wait_until("the recorder's end", Duration::from_secs(60), || {
        status = recorder.0.try_wait()?;
        Ok(status.is_some())
    })?;
    ensure!(status.is_some_and(|s| s.success()), "{}", fs::read_to_string(dir.join("log"))?);
    let file = dir.join("recording.json");
    ensure!(fs::metadata(&file)?.uid() == NOBODY, "the recording is somebody else's");
    Recorded::load(&file)
}

#[test]
fn a_cgroup_is_recorded_with_the_documented_capabilities_alone() -> Result<()> {
    command::require_root()?;
    let dir = tempfile::tempdir()?;
    let cgroup = Cgroup::create()?;
    let path = cgroup.path().to_str().context("an odd path")?;
    let recorder = armed(as_nobody(dir.path(), &NEEDED, None)?, dir.path(), &["--cgroup", path])?;
    // Root's process, in a folder that is closed to all others, behind a link that only a look can resolve.
    let work = tempfile::tempdir()?;
    let script = "cd \"$0\"; mkdir closed; chmod 700 closed; ln -s closed link; echo x >link/file; mv link/file closed/other";
    let join =
        format!("echo $$ > {path}/cgroup.procs; exec /bin/sh -ec '{script}' {}", work.path().display());
    command::succeed(Command::new("sh").args(["-ec", &join]))?;
    let recorded = finished(recorder, dir.path())?;
    let below = recorded.files_below(work.path())?;
    for name in ["closed/file", "closed/other"] {
        ensure!(below.contains_key(&(name.as_bytes().to_vec(), None)), "{name} is not in {below:?}");
    }
    let shell = recorded.list("executables").iter().find(|e| e["executed"] == true);
    let shell = shell.context("nothing was executed")?;
    ensure!(shell.get("build_id").is_some() || shell.get("sha256").is_some(), "{shell}");
    Ok(())
}

#[test]
fn a_container_is_recorded_with_the_documented_capabilities_and_the_sockets_group() -> Result<()> {
    command::require_root()?;
    let engine = Engine::start()?;
    let dir = tempfile::tempdir()?;
    let socket = engine.dir().join("docker.sock");
    let mut record = as_nobody(dir.path(), &NEEDED, Some(fs::metadata(&socket)?.gid()))?;
    record.env("DOCKER_HOST", engine.host());
    let recorder = armed(record, dir.path(), &["--wait", "--container", "agent"])?;
    let run = ["run", "--rm", "--network=none", "--name=agent", IMAGE, "/bin/sh", "-c", ": < /etc/shadow"];
    engine.call(run)?;
    let recorded = finished(recorder, dir.path())?;
    ensure!(was_read(&recorded, "/etc/shadow"), "what the program did is not in the recording");
    ensure!(recorded.json["target"]["container"]["name"] == "agent", "{}", recorded.json["target"]);
    Ok(())
}

#[test]
fn without_one_of_them_it_says_which_and_how_to_go_on() -> Result<()> {
    command::require_root()?;
    let dir = tempfile::tempdir()?;
    let cgroup = Cgroup::create()?;
    for missing in NEEDED {
        let rest: Vec<&str> = NEEDED.into_iter().filter(|name| *name != missing).collect();
        let mut record = as_nobody(dir.path(), &rest, None)?;
        record.args(["record", "-o", "/dev/null", "--cgroup"]).arg(cgroup.path());
        let output = command::run(&mut record)?;
        let said = String::from_utf8_lossy(&output.stderr);
        let name = format!("recording needs CAP_{}:", missing.to_uppercase());
        ensure!(
            output.status.code() == Some(5) && said.contains(&name) && said.contains("doctor"),
            "{}",
            command::describe(&record, &output)
        );
    }
    let mut doctor = as_nobody(dir.path(), &[], None)?;
    let output = command::run(doctor.arg("doctor"))?;
    let said = String::from_utf8_lossy(&output.stdout).split_whitespace().collect::<Vec<_>>().join(" ");
    ensure!(output.status.code() == Some(5), "{}", command::describe(&doctor, &output));
    ensure!(said.contains("cap_bpf,cap_perfmon,cap_sys_ptrace,cap_dac_read_search+ep"), "{said}");
    // All of them, and a command all the same: its cgroup is root's to make.
    let mut record = as_nobody(dir.path(), &NEEDED, None)?;
    let output = command::run(record.args(["record", "-o", "/dev/null", "--", "true"]))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(5) && said.contains("--cgroup"), "{said}");
    Ok(())
}
