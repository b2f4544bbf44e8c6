//! `probe` on real containers: what is open in a plain one, that nothing is in a hardened one, that no shell is needed
//! in it, and that the container is as it was.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, anyhow, ensure};
use sandbox_trace_tests::{
    command::{self, Background, require},
    docker::{Engine, IMAGE},
    product,
    recorded::record,
};
use serde_json::Value;

/// What a probe said, and its exit code.
struct Probed {
    value: Value,
    code: Option<i32>,
}

impl Probed {
    fn verdict(&self, id: &str) -> Option<&str> {
        self.check(id)?["verdict"].as_str()
    }

    fn check(&self, id: &str) -> Option<&Value> {
        self.value["checks"].as_array()?.iter().find(|check| check["id"] == id)
    }

    /// Fails unless these checks have this verdict.
    fn expect(&self, verdict: &str, ids: &[&str]) -> Result<()> {
        for id in ids {
            let found = self.verdict(id);
            ensure!(found == Some(verdict), "{id} is not {verdict}: {:?}", self.check(id));
        }
        Ok(())
    }

    /// The checks with a verdict, with what they saw.
    fn with(&self, verdict: &str) -> Vec<String> {
        let checks = self.value["checks"].as_array().into_iter().flatten();
        checks
            .filter(|check| check["verdict"] == verdict)
            .map(|check| format!("{}: {}", check["id"], check["seen"]))
            .collect()
    }
}

fn run(engine: &Engine, args: &[&str]) -> Result<Output> {
    let mut probe = Command::new("timeout");
    probe.arg("200").arg(product::binary()?).arg("probe").args(args).env("DOCKER_HOST", engine.host());
    command::run(&mut probe)
}

fn probe(engine: &Engine, args: &[&str]) -> Result<Probed> {
    let output = run(engine, &[&["--json", "--container"], args].concat())?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let value = serde_json::from_slice(&output.stdout).with_context(|| format!("{args:?}: {said}"))?;
    let probed = Probed { value, code: output.status.code() };
    ensure!(!said.contains("panicked"), "{said}");
    ensure!(schema()?.is_valid(&probed.value), "against its schema: {:#}", probed.value);
    Ok(probed)
}

fn schema() -> Result<jsonschema::Validator> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/schemas/probe-v1.json");
    let schema: Value = serde_json::from_slice(&fs::read(file)?)?;
    jsonschema::meta::validate(&schema).map_err(|e| anyhow!("{e}"))?;
    jsonschema::draft202012::new(&schema).map_err(|e| anyhow!("{e}"))
}

/// Gives the engine an image that is busybox alone: a static program, no shell's name, no folder.
fn import_static(engine: &Engine) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let root = dir.path().join("root");
    fs::create_dir(&root)?;
    fs::copy(require("busybox")?, root.join("busybox"))?;
    let archive = dir.path().join("image.tar");
    command::succeed(Command::new("tar").arg("-cf").arg(&archive).arg("-C").arg(&root).arg("busybox"))?;
    engine.call(["import".as_ref(), archive.as_os_str(), "static".as_ref()]).map(drop)
}

fn start(engine: &Engine, name: &str, options: &[&str], command: &[&str]) -> Result<()> {
    let mut args = vec!["run", "-d", "--name", name];
    args.extend(options);
    args.extend(command);
    engine.call(args).map(drop)
}

/// A program that does nothing for long.
const IDLE: [&str; 4] = [IMAGE, "python3", "-c", "import time\nwhile True: time.sleep(0.05)"];
const STATIC: [&str; 4] = ["static", "/busybox", "sleep", "1000"];

/// All that can be seen of a container from outside.
#[derive(Debug, PartialEq)]
struct State {
    processes: BTreeSet<String>,
    changes: String,
    status: String,
    mounts: String,
}

fn state(engine: &Engine, name: &str) -> Result<State> {
    let pid = engine.call(["inspect", "--format", "{{.State.Pid}}", name])?;
    let id = engine.call(["inspect", "--format", "{{.Id}}", name])?;
    let mut processes = BTreeSet::new();
    // Every process of the machine that is in one of the container's cgroups or in its pid namespace, zombies too.
    let own = fs::read_link(format!("/proc/{pid}/ns/pid"))?;
    for entry in fs::read_dir("/proc")?.flatten() {
        let path = entry.path();
        let inside = fs::read_to_string(path.join("cgroup")).is_ok_and(|text| text.contains(&id));
        let same = fs::read_link(path.join("ns/pid")).is_ok_and(|link| link == own);
        if inside || same {
            let status = fs::read_to_string(path.join("status"))?;
            let traced = status.lines().find(|line| line.starts_with("TracerPid")).unwrap_or_default();
            processes.insert(format!("{} {traced}", entry.file_name().to_string_lossy()));
        }
    }
    Ok(State {
        processes,
        changes: files_changed(engine, name)?,
        status: engine.call([
            "inspect",
            "--format",
            "{{.State.Status}} {{.State.Pid}} {{.RestartCount}}",
            name,
        ])?,
        mounts: fs::read_to_string(format!("/proc/{pid}/mountinfo"))?,
    })
}

/// What `docker diff` lists, in an order: it has none.
fn files_changed(engine: &Engine, name: &str) -> Result<String> {
    let listed = engine.call(["diff", name])?;
    let mut lines: Vec<&str> = listed.lines().collect();
    lines.sort_unstable();
    Ok(lines.join("\n"))
}

/// Names in a folder of the container, as the host sees them.
fn names(engine: &Engine, name: &str, folder: &str) -> Result<Vec<PathBuf>> {
    let pid = engine.call(["inspect", "--format", "{{.State.Pid}}", name])?;
    let folder = fs::read_dir(format!("/proc/{pid}/root{folder}"))?;
    Ok(folder.flatten().map(|entry| entry.path()).collect())
}

#[test]
fn a_plain_container_is_open_and_stays_as_it_was() -> Result<()> {
    command::require_root()?;
    let engine = Engine::start()?;
    start(&engine, "plain", &[], &IDLE)?;
    let before = state(&engine, "plain")?;
    let found = probe(&engine, &["plain"])?;
    ensure!(found.code == Some(1), "{:?}", found.code);
    found.expect(
        "open",
        &[
            "write:/",
            "write:/etc",
            "exec:/",
            "exec:/tmp",
            "exec-memory",
            "user",
            "setuid-root",
            "no-new-privileges",
            "capability:CHOWN",
            "capability:NET_RAW",
            "capability:SETUID",
            "mknod",
            "chroot",
            "ptrace",
            "socket:raw",
            "socket:netlink-route",
            "pid-limit",
            "memory-limit",
            "cpu-limit",
        ],
    )?;
    // Docker's own defaults hold.
    found.expect(
        "closed",
        &[
            "capability:SYS_ADMIN",
            "mount:tmpfs",
            "mount:fsopen",
            "umount",
            "pivot-root",
            "unshare:mnt",
            "setns:mnt",
            "module:init",
            "bpf",
            "keyctl",
            "reboot",
            "swapon",
            "clock:set",
            "sethostname",
            "kernel-write:/proc/sysrq-trigger",
            "kernel-read:/proc/kcore",
            "pid-namespace",
            "seccomp",
            "runtime-socket",
            "file-handle",
            "exec:/dev/shm",
        ],
    )?;
    let confinement = &found.value["confinement"];
    ensure!(confinement["seccomp_filters"] == 1 && confinement["uid"] == 0, "{confinement}");
    ensure!(confinement["proven"].as_u64() > Some(80), "{confinement}");
    ensure!(
        found.value["cleaned"].as_array().is_some_and(|list| list.len() > 5),
        "{}",
        found.value["cleaned"]
    );
    let after = state(&engine, "plain")?;
    ensure!(before == after, "before {before:#?}\nafter {after:#?}");

    // The same in words.
    let output = run(&engine, &["--container", "plain", "--only", "user,write"])?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.code() == Some(1), "{}", text);
    let lines: Vec<&str> = text.lines().collect();
    ensure!(
        lines.get(1).is_some_and(|line| line.trim().starts_with('✗') && line.trim().ends_with("open")),
        "{text}"
    );
    ensure!(text.contains("why: root in a container"), "{text}");
    ensure!(lines.last().is_some_and(|line| line.contains("8 open, 0 unknown")), "{text}");
    Ok(())
}

#[test]
fn a_hardened_container_of_a_single_program_has_nothing_open() -> Result<()> {
    command::require_root()?;
    let dir = tempfile::tempdir()?;
    let busybox = require("busybox")?;
    let recording = record(dir.path(), [busybox.as_os_str(), "sleep".as_ref(), "1".as_ref()])?.path;
    let filter = dir.path().join("seccomp.json");
    let text = |path: &Path| path.to_str().map(str::to_owned).context("an odd temporary folder");
    product::sandbox_trace([
        "emit-seccomp",
        &text(&recording)?,
        "-q",
        "-o",
        &text(&filter)?,
        "--runtime",
        "docker",
    ])?;
    let engine = Engine::start()?;
    import_static(&engine)?;
    let seccomp = format!("--security-opt=seccomp={}", filter.display());
    let hardened = [
        "--read-only",
        "--cap-drop=ALL",
        "--user=65534:65534",
        "--tmpfs=/tmp:rw,noexec,nosuid,nodev,size=1m",
        "--pids-limit=30",
        "--memory=32m",
        "--memory-swap=32m",
        "--cpus=1",
        "--network=none",
        "--security-opt=no-new-privileges",
    ];
    start(&engine, "hardened", &[&hardened[..], &[&seccomp]].concat(), &STATIC)?;
    let before = state(&engine, "hardened")?;
    let found = probe(&engine, &["hardened"])?;
    ensure!(found.with("open").is_empty() && found.code == Some(0), "{:#?}", found.with("open"));
    // A kernel without AppArmor, and families of sockets that are not in it, are all that can't be told.
    let unknown = found.with("unknown");
    ensure!(
        unknown.iter().all(|id| id.starts_with("\"apparmor") || id.starts_with("\"socket:")),
        "{unknown:#?}"
    );
    ensure!(found.value["confinement"]["uid"] == 65534, "{}", found.value["confinement"]);
    let after = state(&engine, "hardened")?;
    ensure!(before == after, "before {before:#?}\nafter {after:#?}");
    ensure!(names(&engine, "hardened", "/tmp")?.is_empty());

    // The same limits under Docker's own filter, which lets processes be started and memory be used: they are reached.
    start(&engine, "limited", &hardened, &STATIC)?;
    let before = state(&engine, "limited")?;
    let found =
        probe(&engine, &["limited", "--only", "pid-limit,memory-limit,exec,write,swap-limit,cpu-limit"])?;
    found.expect(
        "closed",
        &["pid-limit", "memory-limit", "cpu-limit", "swap-limit", "exec:/tmp", "write:/"],
    )?;
    let seen =
        |id: &str| found.check(id).and_then(|check| check["seen"].as_str()).unwrap_or_default().to_owned();
    // The container's own process and the probe's child are among the 30.
    ensure!(seen("pid-limit") == "stopped after 28 (limit 30)", "{}", seen("pid-limit"));
    // Up to the limit of 32 MiB, but for what the kernel has charged to the container beside.
    let memory = seen("memory-limit");
    let at =
        memory.strip_prefix("ended by the kernel at ").and_then(|rest| rest.split(' ').next()?.parse().ok());
    ensure!(at.is_some_and(|mib: u32| (24..=32).contains(&mib)), "{memory}");
    let after = state(&engine, "limited")?;
    ensure!(before == after, "before {before:#?}\nafter {after:#?}");
    Ok(())
}

/// Everything works there, and nothing happens.
#[test]
fn a_privileged_container_is_wide_open_and_the_host_is_as_it_was() -> Result<()> {
    command::require_root()?;
    let engine = Engine::start()?;
    let volume = tempfile::tempdir()?;
    let share = format!("--volume={}:/share", volume.path().display());
    // What --privileged stands for, but the one capability that a test machine may lack itself.
    let options = [
        "--cap-add=ALL",
        "--cap-drop=SYS_RESOURCE",
        "--security-opt=seccomp=unconfined",
        "--security-opt=systempaths=unconfined",
        "--volume=/sys:/sys",
        "--network=host",
        "--pid=host",
        "--volume=/etc:/host/etc",
        &share,
    ];
    start(&engine, "privileged", &options, &IDLE)?;
    let watched = || -> Result<Vec<String>> {
        let files =
            ["/proc/sys/kernel/core_pattern", "/proc/sys/kernel/hostname", "/proc/modules", "/proc/swaps"];
        // A kernel may have no modules.
        files
            .iter()
            .filter(|file| Path::new(file).exists())
            .map(|file| Ok(fs::read_to_string(file)?))
            .collect()
    };
    let (before, state_before) = (watched()?, changes(&engine, "privileged")?);
    let found = probe(&engine, &["privileged"])?;
    ensure!(found.code == Some(1));
    found.expect(
        "open",
        &[
            "seccomp",
            "write:/etc",
            "exec:/tmp",
            "mount:tmpfs",
            "mount:bind",
            "mount:remount",
            "mount:fsopen",
            "mount:open_tree",
            "umount",
            "pivot-root",
            "unshare:user",
            "unshare:net",
            "ptrace",
            "pid-namespace",
            "foreign-roots",
            "capability:SYS_ADMIN",
            "reboot",
            "sethostname",
            "bpf",
            "keyctl",
            "io-uring",
            "mknod",
            "interfaces",
            "egress",
            "file-handle",
            "host-folders",
            "setuid-file:/share",
            "kernel-write:/proc/sys/kernel/core_pattern",
            "release-agent",
        ],
    )?;
    ensure!(watched()? == before, "the host changed");
    ensure!(changes(&engine, "privileged")? == state_before, "the container changed");
    ensure!(fs::read_dir(volume.path())?.count() == 0, "something is left in the volume");
    Ok(())
}

/// What can be told of a container that shares the host's processes.
fn changes(engine: &Engine, name: &str) -> Result<[String; 3]> {
    let pid = engine.call(["inspect", "--format", "{{.State.Pid}}", name])?;
    Ok([
        files_changed(engine, name)?,
        engine.call(["top", name, "-o", "pid"])?,
        fs::read_to_string(format!("/proc/{pid}/mountinfo"))?,
    ])
}

/// A route to the internet, and somebody at the other end of the wire: this machine. No packet goes further.
#[test]
fn a_container_on_a_wire_reaches_its_gateway() -> Result<()> {
    command::require_root()?;
    let (ip, nsenter) = (require("ip")?, require("nsenter")?);
    let engine = Engine::start()?;
    start(&engine, "wired", &["--network=none"], &IDLE)?;
    let found = probe(&engine, &["wired", "--only", "egress,interfaces"])?;
    found.expect("closed", &["egress", "interfaces"])?;
    let pid = engine.call(["inspect", "--format", "{{.State.Pid}}", "wired"])?;
    let wire = format!("probe{}", std::process::id() % 100_000);
    let host = |args: &[&str]| command::succeed(Command::new(&ip).args(args)).map(drop);
    let inside = |args: &[&str]| {
        command::succeed(Command::new(&nsenter).args(["-t", &pid, "-n"]).arg(&ip).args(args)).map(drop)
    };
    // It goes away with the container's network namespace.
    host(&["link", "add", &wire, "type", "veth", "peer", "name", "wire0", "netns", &pid])?;
    host(&["addr", "add", "198.18.77.1/30", "dev", &wire])?;
    host(&["link", "set", &wire, "up"])?;
    inside(&["addr", "add", "198.18.77.2/30", "dev", "wire0"])?;
    inside(&["link", "set", "wire0", "up"])?;
    inside(&["route", "add", "default", "via", "198.18.77.1"])?;
    let found = probe(&engine, &["wired", "--only", "egress,interfaces"])?;
    found.expect("open", &["egress", "interfaces"])?;
    let seen = found.check("egress").map(|check| check["seen"].to_string()).unwrap_or_default();
    ensure!(seen.contains("the gateway 198.18.77.1 answers"), "{seen}");
    Ok(())
}

#[test]
fn a_container_that_ends_or_is_paused_is_told_and_nothing_hangs() -> Result<()> {
    command::require_root()?;
    let engine = Engine::start()?;
    start(&engine, "brief", &[], &IDLE)?;
    let mut command = Command::new("timeout");
    command.arg("60").arg(product::binary()?).args(["probe", "--container", "brief"]);
    let child = command
        .env("DOCKER_HOST", engine.host())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("can't start the probe")?;
    let mut child = Background(child);
    // Once its helper is in there.
    let pid: i32 = engine.call(["inspect", "--format", "{{.State.Pid}}", "brief"])?.parse()?;
    let own = fs::read_link(format!("/proc/{pid}/ns/pid"))?;
    command::wait_until("the probe's helper", Duration::from_secs(20), || {
        let inside = fs::read_dir("/proc")?
            .flatten()
            .filter(|entry| fs::read_link(entry.path().join("ns/pid")).is_ok_and(|link| link == own));
        Ok(inside.count() > 1)
    })?;
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::SIGKILL)?;
    command::wait_until("the probe's end", Duration::from_secs(30), || Ok(child.0.try_wait()?.is_some()))?;
    let status = child.0.wait()?;
    let mut said = String::new();
    std::io::Read::read_to_string(&mut child.0.stderr.take().context("no stderr")?, &mut said)?;
    ensure!(matches!(status.code(), Some(2 | 3)), "{status}: {said}");
    ensure!(said.contains("ended"), "{said}");

    start(&engine, "still", &[], &IDLE)?;
    engine.call(["pause", "still"])?;
    let output = run(&engine, &["--container", "still"])?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.code() == Some(2) && said.contains("is paused"), "{output:?}");
    engine.call(["unpause", "still"])?;

    let output = run(&engine, &["--container", "nobody"])?;
    ensure!(output.status.code() == Some(2), "{output:?}");
    let output = run(&engine, &["--container", "still", "--only", "nothing"])?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.code() == Some(2) && said.contains("no check nothing"), "{said}");
    Ok(())
}
