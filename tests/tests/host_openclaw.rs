//! The worked example, from the first recording to the attack on what was made of it: the agent of
//! `profiles/openclaw/` is recorded in a container that nothing confines, every format is emitted, the container is
//! started as `emit-docker` says, does its work, passes the guide's tests, and is audited and attacked; so is the one
//! that nothing confines.
//!
//! What the tool says of both is left in `target/openclaw/`.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use sandbox_trace_tests::{
    command,
    openclaw::{self, NAME, OpenClaw},
    product::{self, binary},
};
use serde_json::Value;

/// The guide's sections, and what is found where nothing was done for them: of each, all these checks.
const SECTIONS: [(&str, &[&str]); 8] = [
    ("capability dropping", &["capabilities-not-dropped"]),
    ("filesystem restrictions", &["root-writable", "writable-mount"]),
    ("resource limits", &["memory-limit", "cpu-limit", "pids-limit"]),
    ("seccomp and AppArmor", &["seccomp", "apparmor"]),
    ("security options", &["no-new-privileges"]),
    ("network", &["ports-exposed", "network-egress"]),
    ("rootless containers", &["user-namespace"]),
    ("logs", &["log-limit"]),
];

#[test]
fn the_example_is_recorded_confined_audited_and_attacked() -> Result<()> {
    command::require_root()?;
    let dir = tempfile::tempdir()?;
    let seen = product::target_dir().join("openclaw");
    fs::create_dir_all(&seen)?;
    let openclaw = OpenClaw::start()?;

    let recording = openclaw.record(dir.path())?;
    the_recording_is_of_a_user_without_privileges(&recording)?;
    let out = dir.path().join("sandbox");
    fs::create_dir(&out)?;
    openclaw::emit(&recording, &out)?;

    openclaw.run_plainly()?;
    openclaw.work(1)?;
    let (code, audit) = examine(&openclaw, "audit", &seen.join("audit-plain.txt"))?;
    ensure!(code == 1, "the audit of a container that nothing confines ends with {code}");
    let findings = audit["findings"].as_array().context("no findings")?;
    for (section, checks) in SECTIONS {
        for check in checks {
            let found = findings.iter().any(|finding| finding["id"] == *check);
            ensure!(found, "{section}: {check} was not found: {audit:#}");
        }
    }
    let (code, probe) = examine(&openclaw, "probe", &seen.join("probe-plain.txt"))?;
    let open = titles(&probe, "checks", |check| check["verdict"] == "open");
    ensure!(
        code == 1 && open.len() >= 5,
        "the attack on a container that nothing confines: {code}, {open:?}"
    );
    openclaw.stop()?;

    command::succeed(&mut openclaw.shell(&out.join("docker-run.sh"))?)?;
    openclaw.work(2)?;
    openclaw.wait_healthy()?;
    the_guides_tests(&openclaw)?;
    let (code, audit) = examine(&openclaw, "audit", &seen.join("audit.txt"))?;
    let severe = |finding: &Value| {
        ["medium", "high", "critical"].iter().any(|severity| finding["severity"] == *severity)
    };
    let severe = titles(&audit, "findings", severe);
    ensure!(code == 0 && severe.is_empty(), "the audit of what was emitted: {code}, {severe:?}");
    let (code, probe) = examine(&openclaw, "probe", &seen.join("probe.txt"))?;
    let open = titles(&probe, "checks", |check| check["verdict"] == "open");
    ensure!(code == 0 && open.is_empty(), "the attack on what was emitted: {code}, {open:?}");
    // It is as it was: it works on, and ends when it is asked to.
    openclaw.work(1)?;
    openclaw.stop()
}

fn the_recording_is_of_a_user_without_privileges(recording: &Path) -> Result<()> {
    let value: Value = serde_json::from_slice(&fs::read(recording)?)?;
    let users: BTreeSet<_> =
        value["credentials"].as_array().into_iter().flatten().map(|one| one["uid"].as_u64()).collect();
    ensure!(users == [Some(1000)].into(), "it ran as {users:?}");
    // What overlayfs does with its own credentials is nothing that the agent needs.
    let needs = |one: &&Value| one["granted"] == true && one["probe"] == false;
    let needed: Vec<&Value> = value["capabilities"].as_array().into_iter().flatten().filter(needs).collect();
    ensure!(needed.is_empty(), "a user without capabilities used {needed:?}");
    Ok(())
}

/// What lies in `profiles/openclaw/` is what this version of the tool makes of the recording there.
#[test]
fn the_example_s_files_are_made_of_its_recording() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let kept = openclaw::source();
    fs::copy(kept.join(openclaw::RECORDING), dir.path().join(openclaw::RECORDING))?;
    openclaw::emit(Path::new(openclaw::RECORDING), dir.path())?;
    let files = files_below(dir.path())?;
    ensure!(files.len() > 12, "{files:?}");
    for file in files {
        let name = file.strip_prefix(dir.path())?;
        let same = fs::read(kept.join(name)).is_ok_and(|own| fs::read(&file).is_ok_and(|new| own == new));
        ensure!(same, "profiles/openclaw/{}: `cargo xtask examples` makes it anew", name.display());
    }
    Ok(())
}

fn files_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut out = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() { out.extend(files_below(&path)?) } else { out.push(path) }
    }
    Ok(out)
}

/// `audit` or `probe` of the container: as a person sees it, left in a file, and as a script does.
fn examine(openclaw: &OpenClaw, what: &str, text: &Path) -> Result<(i32, Value)> {
    let ask = |more: &[&str]| -> Result<std::process::Output> {
        let mut command = Command::new(binary()?);
        command.args([what, "--container", NAME]).args(more).env("DOCKER_HOST", openclaw.engine.host());
        command::run(&mut command)
    };
    let shown = ask(&[])?;
    fs::write(text, [shown.stdout, shown.stderr].concat())?;
    let output = ask(&["--json"])?;
    let value = serde_json::from_slice(&output.stdout)
        .with_context(|| format!("{what}: {}", String::from_utf8_lossy(&output.stderr)))?;
    Ok((output.status.code().unwrap_or(-1), value))
}

fn titles(value: &Value, list: &str, which: impl Fn(&Value) -> bool) -> Vec<String> {
    let all = value[list].as_array().into_iter().flatten();
    all.filter(|one| which(one)).map(|one| format!("{}: {}", one["title"], one["evidence"])).collect()
}

/// The guide's security test suite, as the agent's own interpreter does it: the image has no other tools, and the
/// filter would not let them work. Each ends with 0 if the boundary held.
const TESTS: [(&str, &str); 7] = [
    (
        "1: root filesystem write",
        "
import errno
for path in ('/test.txt', '/usr/bin/x', '/app/x', '/etc/x'):
    try:
        open(path, 'w')
    except OSError as error:
        assert error.errno == errno.EROFS, (path, error)
    else:
        raise SystemExit(f'{path} was written')
",
    ),
    (
        "2: execute from tmpfs",
        "
import os
path = '/tmp/test.py'
with open(path, 'w') as file:
    file.write('#!/usr/bin/python3\\nprint(1)\\n')
try:
    os.chmod(path, 0o755)
except PermissionError:
    pass  # the agent never changes modes, and the filter knows
try:
    os.execv(path, [path])
except PermissionError:
    os.unlink(path)
else:
    raise SystemExit('executed')
",
    ),
    (
        "3: capabilities",
        "
status = dict(line.split(':', 1) for line in open('/proc/self/status'))
for name in ('CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb'):
    assert int(status[name], 16) == 0, (name, status[name])
",
    ),
    (
        "4: process limit",
        "
import os
# They wait for the end of a pipe: the agent kills nobody, and the filter knows.
wait, end = os.pipe()
children = []
try:
    for _ in range(150):
        child = os.fork()
        if child == 0:
            os.close(end)
            os.read(wait, 1)
            os._exit(0)
        children.append(child)
except BlockingIOError:
    pass
os.close(end)
for child in children:
    os.waitpid(child, 0)
assert len(children) < 100, f'{len(children)} processes'
",
    ),
    (
        "5: memory limit",
        "
import os
child = os.fork()
if child == 0:
    with open('/proc/self/oom_score_adj', 'w') as file:
        file.write('1000')
    kept = [bytearray(b'x') * (1 << 20) for _ in range(3 << 10)]
    os._exit(0)
_, status = os.waitpid(child, 0)
assert status != 0, 'three gigabytes'
",
    ),
    (
        "6: network access",
        "
import socket
routes = [line.split() for line in open('/proc/net/route')]
gateways = [socket.inet_ntoa(bytes.fromhex(one[2])[::-1]) for one in routes if one[1] == '00000000']
assert gateways, routes
for address in [('192.0.2.1', 80)] + [(gateway, port) for gateway in gateways for port in (22, 80, 2375)]:
    with socket.socket() as one:
        one.settimeout(2)
        try:
            one.connect(address)
        except OSError:
            continue
        raise SystemExit(f'{address} answered')
",
    ),
    ("7: user", "import os\nassert os.getuid() == 1000 and os.geteuid() == 1000, os.getuid()"),
];

fn the_guides_tests(openclaw: &OpenClaw) -> Result<()> {
    let limit = |format: &str| openclaw.engine.call(["inspect", "--format", format, NAME]);
    let baseline = limit(
        "User={{.Config.User}} ReadOnly={{.HostConfig.ReadonlyRootfs}} CapDrop={{.HostConfig.CapDrop}}",
    )?;
    ensure!(baseline == "User=1000:1000 ReadOnly=true CapDrop=[ALL]", "{baseline}");
    for option in ["{{.HostConfig.PidsLimit}}", "{{.HostConfig.Memory}}"] {
        let value = limit(option)?;
        ensure!(value.parse::<u64>().is_ok_and(|value| value > 0), "{option} is {value}");
    }
    let pid = limit("{{.State.Pid}}")?;
    for (test, program) in TESTS {
        openclaw
            .engine
            .call(["exec", NAME, "/usr/bin/python3", "-c", program])
            .with_context(|| format!("the guide's test {test}"))?;
        ensure!(limit("{{.State.Pid}}")? == pid, "the container did not survive the guide's test {test}");
    }
    Ok(())
}
