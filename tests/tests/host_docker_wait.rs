//! `record --container`, of a container that does not exist yet and of one that runs, with a real Docker engine.

use std::{ffi::OsStr, fs, path::Path, process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use nix::libc;
use sandbox_trace_tests::{
    cgroup::Cgroup,
    command,
    docker::{Engine, IMAGE},
    product::{self, Recorder},
    recorded::Recorded,
    setup,
};

const STARTS: u32 = 20;
/// The image's shell, under the one name that the kernel has for it.
const SHELL: &str = "/usr/bin/sh";
/// A look at a file that nothing else looks at.
const LOOK: &str = ": < /etc/shadow";

fn waiting(engine: &Engine, name: &str, dir: &Path) -> Result<Recorder> {
    recorder(engine, &["--container", name, "--wait"], dir)
}

fn recorder(engine: &Engine, options: &[&str], dir: &Path) -> Result<Recorder> {
    let options: Vec<&OsStr> = options.iter().map(OsStr::new).collect();
    Recorder::start_on(&options, dir, &[("DOCKER_HOST", &engine.host())])
}

fn run<'a>(name: &'a str, script: &'a str) -> [&'a str; 10] {
    ["run", "--rm", "--network=none", "--name", name, "--read-only", IMAGE, "/bin/sh", "-c", script]
}

#[test]
fn the_first_exec_is_recorded_20_starts_of_20() -> Result<()> {
    command::require_root()?;
    let engine = Engine::start()?;
    for start in 1..=STARTS {
        let dir = tempfile::tempdir()?;
        let name = format!("agent-{start}");
        let recorder = waiting(&engine, &name, dir.path())?;
        engine.call(run(&name, LOOK))?;
        let recorded = Recorded::load(&recorder.finish()?)?;
        let check = || -> Result<()> {
            setup::expect_first_exec(&recorded, SHELL)?;
            setup::expect_none(&recorded, engine.dir(), &[SHELL])?;
            ensure!(
                setup::was_read(&recorded, "/etc/shadow"),
                "what the program did is not in the recording"
            );
            let target = &recorded.json["target"];
            ensure!(target["kind"] == "container" && target["boundary"] == "container", "{target}");
            ensure!(target["ended"] == "target-ended", "{target}");
            let container = &target["container"];
            ensure!(container["name"] == name.as_str() && container["runtime"] == "docker", "{container}");
            ensure!(container["image"] == IMAGE && container["network_mode"] == "none", "{container}");
            ensure!(container["read_only"] == true && container["seccomp"] == "default", "{container}");
            let id = container["id"].as_str().context("no id")?;
            ensure!(target["cgroup"].as_str().is_some_and(|path| path.contains(id)), "{target}");
            Ok(())
        };
        check().with_context(|| format!("start {start} of {STARTS}"))?;
    }
    Ok(())
}

#[test]
fn a_container_that_starts_before_the_awaited_one_is_not_taken_for_it() -> Result<()> {
    command::require_root()?;
    let engine = Engine::start()?;
    let dir = tempfile::tempdir()?;
    let recorder = waiting(&engine, "agent", dir.path())?;
    // It does what the other will do, so that its facts could hide the other's; and something else.
    let _other = engine.spawn(run("other", ": < /etc/shadow; : < /etc/passwd; read x < /dev/zero"))?;
    command::wait_until("the other container", Duration::from_secs(30), || {
        Ok(!engine.call(["ps", "-q", "--filter", "name=other"])?.is_empty())
    })?;
    engine.call(run("agent", LOOK))?;
    let recorded = Recorded::load(&recorder.finish()?)?;
    engine.call(["kill", "other"])?;
    setup::expect_first_exec(&recorded, SHELL)?;
    setup::expect_none(&recorded, engine.dir(), &[SHELL])?;
    ensure!(setup::was_read(&recorded, "/etc/shadow"), "what the program did is not in the recording");
    ensure!(!setup::was_read(&recorded, "/etc/passwd"), "what another container did is in the recording");
    ensure!(recorded.json["target"]["container"]["name"] == "agent", "{}", recorded.json["target"]);
    Ok(())
}

#[test]
fn a_container_that_was_created_before_is_recorded_from_each_start() -> Result<()> {
    command::require_root()?;
    let engine = Engine::start()?;
    let id = engine.call(["create"].into_iter().chain(run("agent", LOOK).into_iter().skip(2)))?;
    // By name, by the beginning of its id; and started again.
    for target in ["agent", &id[..12]] {
        let dir = tempfile::tempdir()?;
        let recorder = waiting(&engine, target, dir.path())?;
        engine.call(["start", "--attach", "agent"])?;
        let recorded = Recorded::load(&recorder.finish()?)?;
        setup::expect_first_exec(&recorded, SHELL)?;
        setup::expect_none(&recorded, engine.dir(), &[SHELL])?;
        ensure!(recorded.json["target"]["container"]["id"] == id.as_str(), "{}", recorded.json["target"]);
    }
    Ok(())
}

#[test]
fn a_container_that_ends_before_the_recorder_is_armed_is_waited_for() -> Result<()> {
    command::require_root()?;
    let engine = Engine::start()?;
    let dir = tempfile::tempdir()?;
    // The image has a shell alone, which waits for a line.
    let old = run("agent", "read line");
    engine.call(["run", "--detach", "--interactive"].into_iter().chain(old.into_iter().skip(1)))?;
    // The recorder has found the container when it is held at its first bpf call. With -D, it is the process started.
    let mut strace = Command::new(command::require("strace")?);
    strace.args(["-D", "-qq", "-e", "trace=bpf", "-e", "inject=bpf:delay_enter=10s:when=1", "-o"]);
    strace.arg(dir.path().join("strace")).arg(product::binary()?);
    let options = ["--container", "agent", "--wait"].map(OsStr::new);
    let mut recorder = Recorder::spawn(strace, &options, dir.path(), &[("DOCKER_HOST", &engine.host())])?;
    let call = format!("/proc/{}/syscall", recorder.id());
    let is_held = || Ok(fs::read_to_string(&call)?.starts_with(&format!("{} ", libc::SYS_bpf)));
    command::wait_until("the recorder's first bpf call", Duration::from_secs(60), is_held)?;
    engine.call(["rm", "--force", "agent"])?;
    ensure!(is_held()?, "the container took too long to end");
    recorder.armed()?;
    engine.call(run("agent", LOOK))?;
    let recorded = Recorded::load(&recorder.finish()?)?;
    setup::expect_first_exec(&recorded, SHELL)?;
    setup::expect_none(&recorded, engine.dir(), &[SHELL])?;
    ensure!(setup::was_read(&recorded, "/etc/shadow"), "what the program did is not in the recording");
    Ok(())
}

#[test]
fn a_container_that_its_policy_starts_again_is_one_recording() -> Result<()> {
    command::require_root()?;
    let engine = Engine::start()?;
    let dir = tempfile::tempdir()?;
    let recorder = waiting(&engine, "agent", dir.path())?;
    // Fails the first time; the second time it finds the file that it left.
    let script = "test -e /tmp/x && : < /etc/shadow && exit 0; : > /tmp/x; exit 1";
    engine.call([
        "run",
        "-d",
        "--network=none",
        "--name=agent",
        "--restart=on-failure:3",
        IMAGE,
        "/bin/sh",
        "-c",
        script,
    ])?;
    let recorded = Recorded::load(&recorder.finish()?)?;
    setup::expect_first_exec(&recorded, SHELL)?;
    setup::expect_none(&recorded, engine.dir(), &[SHELL])?;
    ensure!(setup::was_read(&recorded, "/etc/shadow"), "the second start is not in the recording");
    Ok(())
}

#[test]
fn a_running_container_is_recorded_with_what_is_executed_in_it() -> Result<()> {
    command::require_root()?;
    running(&Engine::start()?)
}

/// The engine's programs are in a mount namespace that is neither the recorder's nor the container's.
#[test]
fn an_engine_with_mounts_of_its_own_is_not_taken_for_the_container() -> Result<()> {
    command::require_root()?;
    let engine = Engine::start_in_private_mounts()?;
    running(&engine)?;
    let dir = tempfile::tempdir()?;
    let recorder = waiting(&engine, "from-the-start", dir.path())?;
    engine.call(run("from-the-start", LOOK))?;
    let recorded = Recorded::load(&recorder.finish()?)?;
    setup::expect_first_exec(&recorded, SHELL)?;
    setup::expect_none(&recorded, engine.dir(), &[SHELL])
}

/// As above, with a namespace that did not exist when the recorder looked at those of the host.
#[test]
fn an_engine_that_starts_later_is_not_taken_for_the_container() -> Result<()> {
    command::require_root()?;
    let dir = tempfile::tempdir()?;
    let cgroup = Cgroup::create()?;
    let recorder = Recorder::start(cgroup.path(), dir.path())?;
    let engine = Engine::start_in_private_mounts()?;
    let output = engine.run(&cgroup, None, &["/bin/sh", "-c", LOOK].map(String::from))?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let recorded = Recorded::load(&recorder.finish()?)?;
    setup::expect_first_exec(&recorded, SHELL)?;
    setup::expect_none(&recorded, engine.dir(), &[SHELL])
}

fn running(engine: &Engine) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let data = dir.path().join("data");
    std::fs::create_dir(&data)?;
    let volume = format!("{}:/data:ro", data.display());
    let script = "trap 'exit 0' TERM; while :; do read x < /dev/null; /usr/bin/python3 -c 'import time; time.sleep(0.2)'; done";
    engine.call([
        "run",
        "-d",
        "--rm",
        "--network=none",
        "--name=agent",
        "--user=1000:1000",
        "--cap-drop=ALL",
        "--cap-add=KILL",
        "--volume",
        &volume,
        IMAGE,
        "/bin/sh",
        "-c",
        script,
    ])?;
    let recorder = recorder(engine, &["--container", "agent"], dir.path())?;
    engine.call(["exec", "agent", "/bin/sh", "-c", ": < /etc/hosts; : < /etc/group"])?;
    engine.call(["exec", "--user=0", "agent", "/bin/sh", "-c", LOOK])?;
    engine.call(["stop", "agent"])?;
    let recorded = Recorded::load(&recorder.finish()?)?;
    setup::expect_first_exec(&recorded, SHELL)?;
    setup::expect_none(&recorded, engine.dir(), &[SHELL, "/usr/bin/python3"])?;
    for path in ["/etc/group", "/etc/shadow"] {
        ensure!(
            setup::was_read(&recorded, path),
            "{path}: what was executed in the container is not in the recording"
        );
    }
    let target = &recorded.json["target"];
    let container = &target["container"];
    ensure!(container["user"] == "1000:1000" && container["privileged"] == false, "{container}");
    ensure!(container["capabilities_dropped"][0] == "ALL", "{container}");
    ensure!(container["capabilities_added"][0].as_str().is_some_and(|c| c.ends_with("KILL")), "{container}");
    let mount = container["mounts"].as_array().and_then(|all| all.iter().find(|m| m["target"] == "/data"));
    let mount = mount.with_context(|| format!("no mount: {container}"))?;
    ensure!(mount["mode"] == "ro" && mount["type"] == "bind", "{mount}");
    ensure!(mount["source"].as_str() == data.to_str(), "{mount}");
    Ok(())
}

#[test]
fn what_is_not_there_is_said() -> Result<()> {
    command::require_root()?;
    let engine = Engine::start()?;
    engine.call(["create", "--name=agent-7", IMAGE, "/bin/sh"])?;
    let fails = |options: &[&str], host: &str, code: i32, words: &[&str]| -> Result<()> {
        let mut command = Command::new(product::binary()?);
        command.args(["record", "-o", "/dev/null"]).args(options).env("DOCKER_HOST", host);
        let output = command::run(&mut command)?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.code() == Some(code), "{}", command::describe(&command, &output));
        for word in words {
            ensure!(said.contains(word), "{word:?} is not in {said}");
        }
        Ok(())
    };
    let host = engine.host();
    fails(&["--container", "agent-8"], &host, 2, &["there is no container agent-8", "agent-7", "--wait"])?;
    fails(&["--container", "agent-7"], &host, 2, &["agent-7 does not run", "--wait"])?;
    fails(&["--container", "../x"], &host, 2, &["there is no container"])?;
    fails(&["--container", "a"], "unix:///nonexistent/docker.sock", 5, &["/nonexistent/docker.sock"])?;
    fails(&["--container", "a"], "tcp://127.0.0.1:1", 2, &["unix://"])?;
    fails(&["--container", "a", "--cgroup", "/a"], &host, 2, &["cannot be used with"])?;
    fails(&["--pid", "1", "--wait"], &host, 2, &["cannot be used with"])
}
