//! Record → emit-oci → the bundle under runc and crun: the agent works, attacks don't, the kernel holds what was written.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use anyhow::{Context, Result, ensure};
use sandbox_trace_tests::{
    agent,
    cgroup::Cgroup,
    command::{self, require, run},
    product::{Recorder, binary, sandbox_trace},
    runc::{Bundle, Options},
};
use serde_json::{Value, json};

/// A bundle whose agent was recorded, before it is confined.
struct Recorded {
    bundle: Bundle,
    recording: PathBuf,
    dir: tempfile::TempDir,
}

fn record() -> Result<Recorded> {
    command::require_root()?;
    let dir = tempfile::tempdir()?;
    let bundle = Bundle::create(&dir.path().join("bundle"))?;
    let cgroup = Cgroup::create()?;
    let recorder = Recorder::start(cgroup.path(), dir.path())?;
    let output = bundle.run(&cgroup, &Options { seccomp: None, no_new_privileges: true }, &agent::work())?;
    agent::expect_worked(&String::from_utf8_lossy(&output.stdout))?;
    let recording = recorder.finish()?;
    // As it would be without sandbox-trace: writable, with the host's namespaces and all devices.
    let file = bundle.dir().join("config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&file)?)?;
    config["root"]["readonly"] = false.into();
    config["process"]["noNewPrivileges"] = false.into();
    config["linux"]["namespaces"] = json!([{ "type": "mount" }, { "type": "pid" }]);
    config["linux"]["resources"] = json!({ "devices": [{ "allow": true, "access": "rwm" }] });
    for key in ["maskedPaths", "readonlyPaths"] {
        config["linux"].as_object_mut().context("no linux")?.remove(key);
    }
    let mounts = config["mounts"].as_array_mut().context("no mounts")?;
    // Without a cgroup namespace of its own it could not be mounted on every host.
    mounts.retain(|mount| mount["destination"] != "/sys/fs/cgroup");
    config["annotations"] = json!({ "kept": "yes" });
    fs::write(&file, serde_json::to_vec_pretty(&config)?)?;
    Ok(Recorded { bundle, recording, dir })
}

impl Recorded {
    fn config(&self) -> Result<Value> {
        Ok(serde_json::from_slice(&fs::read(self.bundle.dir().join("config.json"))?)?)
    }

    fn emit(&self, more: &[&str]) -> Result<String> {
        let bundle = self.bundle.dir();
        let mut args =
            vec!["emit-oci".as_ref(), self.recording.as_os_str(), "--bundle".as_ref(), bundle.as_os_str()];
        args.extend(more.iter().map(std::ffi::OsStr::new));
        sandbox_trace(args)
    }

    /// Runs `args` with the configuration as it is, but for its terminal and its cgroup.
    fn start(&self, config: &Value, cgroup: &str, args: &[String]) -> Result<Output> {
        let mut config = config.clone();
        config["process"]["args"] = json!(args);
        config["linux"]["cgroupsPath"] = cgroup.into();
        fs::write(self.bundle.dir().join("config.json"), serde_json::to_vec(&config)?)?;
        run(Command::new("timeout")
            .arg("120")
            .arg(require("runc")?)
            .arg("--root")
            .arg(self.dir.path().join("runc"))
            .args(["run", "--bundle"])
            .arg(self.bundle.dir())
            .arg(format!("oci-{}", cgroup.replace('/', "-").trim_matches('-'))))
    }

    fn start_with_crun(&self, config: &Value, id: &str, args: &[String]) -> Result<Output> {
        let mut config = config.clone();
        config["process"]["args"] = json!(args);
        // Without a manager of cgroups crun can't limit anything; on this host it would refuse to.
        config["linux"]["resources"] = json!({});
        fs::write(self.bundle.dir().join("config.json"), serde_json::to_vec(&config)?)?;
        run(Command::new("timeout")
            .args(["120", "unshare", "--mount", "--cgroup", "--propagation=private"])
            .args(["sh", "-ec", "mount -t cgroup2 none /sys/fs/cgroup && exec \"$0\" \"$@\""])
            .arg(require("crun")?)
            .args(["--cgroup-manager=disabled", "--root"])
            .arg(self.dir.path().join("crun"))
            .args(["run", "--bundle"])
            .arg(self.bundle.dir())
            .arg(id))
    }
}

fn said(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_confined_bundle_works_and_its_attacks_do_not() -> Result<()> {
    let recorded = record()?;
    recorded.emit(&["--no-apparmor", "--in-place", "--quiet"])?;
    let config = recorded.config()?;
    ensure!(
        config["annotations"]["kept"] == "yes" && config["process"]["args"] == json!(agent::work()),
        "{config}"
    );

    let cgroup = Cgroup::create()?;
    let output = recorded.start(&config, &format!("{}/work", cgroup.name()), &agent::work())?;
    let (stdout, stderr) = said(&output);
    ensure!(output.status.success(), "{}\n{stderr}", output.status);
    agent::expect_worked(&stdout)?;
    for name in ["mount", "ptrace", "unshare"] {
        let output = recorded.start(&config, &format!("{}/{name}", cgroup.name()), &agent::attack(name))?;
        let (stdout, stderr) = said(&output);
        let result = agent::attack_result(&stdout).with_context(|| stderr)?;
        ensure!(result.is_some(), "{name} works in the confined bundle");
    }
    let output = recorded.start_with_crun(&config, &format!("oci-{}", std::process::id()), &agent::work())?;
    let (stdout, stderr) = said(&output);
    ensure!(output.status.success(), "crun: {}\n{stderr}", output.status);
    agent::expect_worked(&stdout)
}

/// What a program in the container sees of its own walls.
const LOOK: &str = "
import os
print(open('/proc/self/status').read())
for place in ('/x', '/tmp/x', '/proc/sys/kernel/domainname'):
    try:
        open(place, 'w').close()
        print('wrote', place)
    except OSError as error:
        print('denied', place, error.errno)
print('keys', len(open('/proc/kcore', 'rb').read(8)) if os.path.exists('/proc/kcore') else 0)
for line in open('/proc/self/mounts'):
    if line.split()[1] == '/tmp': print('tmp', line.split()[3])
";

#[test]
fn the_kernel_holds_what_the_bundle_says() -> Result<()> {
    let recorded = record()?;
    recorded.emit(&["--no-apparmor", "--in-place", "--quiet"])?;
    let config = recorded.config()?;
    let cgroup = Cgroup::create()?;
    let look = ["/usr/bin/python3", "-c", LOOK].map(str::to_owned);
    let output = recorded.start(&config, &format!("{}/look", cgroup.name()), &look)?;
    let (stdout, stderr) = said(&output);
    ensure!(output.status.success(), "{}\n{stdout}\n{stderr}", output.status);
    for line in [
        "NoNewPrivs:\t1",
        "Seccomp:\t2",
        "CapInh:\t0000000000000000",
        "CapPrm:\t0000000000000000",
        "CapEff:\t0000000000000000",
        "CapBnd:\t0000000000000000",
        "CapAmb:\t0000000000000000",
        "denied /x 30",
        "wrote /tmp/x",
        "denied /proc/sys/kernel/domainname 30",
        "keys 0",
    ] {
        ensure!(stdout.lines().any(|one| one == line), "no {line:?}:\n{stdout}\n{stderr}");
    }
    let options = stdout.lines().find_map(|line| line.strip_prefix("tmp ")).context("no /tmp")?;
    for option in ["nosuid", "nodev", "noexec"] {
        ensure!(options.split(',').any(|one| one == option), "/tmp is mounted {options}");
    }
    Ok(())
}

#[test]
fn limits_are_in_force_in_the_container_s_cgroup() -> Result<()> {
    let recorded = record()?;
    recorded.emit(&["--no-apparmor", "--in-place", "--quiet"])?;
    let mut config = recorded.config()?;
    let resources = &config["linux"]["resources"];
    let (memory, pids) = (resources["memory"]["limit"].as_u64(), resources["pids"]["limit"].as_u64());
    // The agent waits for a line that never comes, so that its cgroup can be looked at.
    config["process"]["args"] = json!(["/bin/sh", "-c", "read line"]);
    config["linux"].as_object_mut().context("no linux")?.remove("seccomp");
    let cgroup = Cgroup::create()?;
    config["linux"]["cgroupsPath"] = format!("{}/limits", cgroup.name()).into();
    fs::write(recorded.bundle.dir().join("config.json"), serde_json::to_vec(&config)?)?;
    let child = Command::new(require("runc")?)
        .arg("--root")
        .arg(recorded.dir.path().join("runc"))
        .args(["run", "--bundle"])
        .arg(recorded.bundle.dir())
        .arg(format!("limits-{}", std::process::id()))
        .stdin(std::process::Stdio::piped())
        .spawn()?;
    let mut child = command::Background(child);
    let value = |names: [String; 2]| -> Option<u64> {
        names.iter().find_map(|name| fs::read_to_string(name).ok())?.trim().parse().ok()
    };
    let place = format!("{}/limits", cgroup.name());
    let files = |v1: &str, v2: &str| {
        [
            format!("/sys/fs/cgroup/{v1}", v1 = v1.replace("CGROUP", &place)),
            format!("/sys/fs/cgroup{place}/{v2}"),
        ]
    };
    let limits = || {
        (
            value(files("memoryCGROUP/memory.limit_in_bytes", "memory.max")),
            value(files("pidsCGROUP/pids.max", "pids.max")),
        )
    };
    let mut seen = (None, None);
    command::wait_until("the limits in the container's cgroup", std::time::Duration::from_secs(30), || {
        seen = limits();
        ensure!(child.0.try_wait()?.is_none(), "the container ended early");
        Ok((memory.is_none() || seen.0 == memory.map(|m| m / 4096 * 4096))
            && (pids.is_none() || seen.1 == pids))
    })
    .with_context(|| format!("wanted {memory:?} {pids:?}, seen {seen:?}"))?;
    // The line ends it.
    use std::io::Write as _;
    child.0.stdin.take().context("no standard input")?.write_all(b"\n")?;
    child.0.wait()?;
    ensure!(
        memory.is_some() || pids.is_some() || !measures(),
        "nothing was measured, and so nothing limited"
    );
    Ok(())
}

/// Whether this host measures what a cgroup uses: a hybrid one has the controllers elsewhere.
fn measures() -> bool {
    fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").is_ok_and(|list| list.contains("memory"))
}

fn refused(args: &[&str], recording: &Path) -> Result<(Option<i32>, String)> {
    let output = run(Command::new(binary()?).arg("emit-oci").arg(recording).args(args))?;
    Ok((output.status.code(), said(&output).1))
}

#[test]
fn what_is_no_bundle_is_an_error_that_says_what_to_do() -> Result<()> {
    let recorded = record()?;
    let before = recorded.config()?;
    let file = recorded.dir.path().join("x.json");
    let name = file.display().to_string();
    for (text, part) in [
        ("{\n \"ociVersion\": \"1.0.2\",\n \"process\": {]\n}", "line 3 column"),
        ("{\"ociVersion\":\"1.0.2\",\"linux\":{}}", "no process"),
        ("{\"ociVersion\":\"1.0.2\",\"process\":{},\"windows\":{}}", "windows"),
        ("{\"defaultAction\":\"SCMP_ACT_ALLOW\"}", "not the configuration of an OCI bundle"),
    ] {
        fs::write(&file, text)?;
        let (code, said) = refused(&["--bundle", &name], &recorded.recording)?;
        ensure!(code == Some(2) && said.contains(part) && said.contains("try:"), "{code:?} {said}");
    }
    let (code, said) = refused(&[], &recorded.recording)?;
    ensure!(code == Some(2) && said.contains("--bundle"), "{code:?} {said}");
    let (code, said) = refused(&["--bundle", "/nowhere"], &recorded.recording)?;
    ensure!(code == Some(2) && said.contains("could not read /nowhere"), "{code:?} {said}");
    // A folder gets the profiles beside the configuration, and the bundle stays as it was.
    let out = recorded.dir.path().join("out");
    recorded.emit(&["-o", &format!("{}/", out.display())])?;
    for name in ["config.json", "seccomp.json", "apparmor.profile"] {
        ensure!(out.join(name).is_file(), "no {name}");
    }
    ensure!(recorded.config()? == before, "the bundle was changed");
    let emitted: Value = serde_json::from_slice(&fs::read(out.join("config.json"))?)?;
    ensure!(emitted["process"]["apparmorProfile"].is_string(), "no profile: {emitted}");
    Ok(())
}
