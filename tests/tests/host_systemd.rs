//! Record → emit-systemd → systemd's own checks → the service under a real systemd, with its attacks.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use sandbox_trace_tests::{
    agent,
    command::{self, require},
    product::{binary, sandbox_trace},
    systemd::{Ended, Machine, UNIT},
};

/// What `systemd-analyze security` may find, in tenths. It gives 9.5 to a service without options.
const EXPOSURE: &str = "25";

/// Records the agent as it runs on this machine.
fn record(dir: &Path) -> Result<PathBuf> {
    let recording = dir.join("recording.json");
    let mut args: Vec<String> = vec!["/usr/bin/python3".into()];
    args.push(agent::source().canonicalize()?.join("agent.py").display().to_string());
    args.extend(["--workdir".into(), dir.join("work").display().to_string()]);
    let output = command::succeed(
        Command::new(binary()?)
            .args(["record", "--hooks", "syscalls", "-o"])
            .arg(&recording)
            .arg("--")
            .args(&args)
            .env_clear()
            .env("PATH", "/usr/bin:/bin"),
    )?;
    agent::expect_worked(&String::from_utf8_lossy(&output.stdout))?;
    Ok(recording)
}

fn emit(recording: &Path, units: &Path) -> Result<String> {
    let mut folder = units.as_os_str().to_owned();
    folder.push("/");
    sandbox_trace([
        "emit-systemd".as_ref(),
        recording.as_os_str(),
        "--unit".as_ref(),
        "agent".as_ref(),
        "-o".as_ref(),
        folder.as_os_str(),
    ])?;
    fs::read_to_string(units.join("agent.service.d/50-sandbox.conf")).context("no drop-in")
}

#[test]
fn systemd_takes_every_line_and_finds_little_exposure() -> Result<()> {
    command::require_root()?;
    let dir = tempfile::tempdir()?;
    let recording = record(dir.path())?;
    let units = dir.path().join("root/etc/systemd/system");
    fs::create_dir_all(&units)?;
    fs::write(units.join(UNIT), "[Unit]\nDefaultDependencies=no\n[Service]\nExecStart=/usr/bin/python3\n")?;
    let program = dir.path().join("root/usr/bin/python3");
    fs::create_dir_all(program.parent().context("a path without a folder")?)?;
    fs::copy("/usr/bin/python3", &program)?;
    let analyze = |args: &[&str]| {
        let mut command = Command::new(require("systemd-analyze")?);
        command.args(args).arg("--root").arg(dir.path().join("root")).arg("--man=no").arg(UNIT);
        command::run(&mut command)
    };
    let security = ["security", "--offline=true", "--no-pager", "--threshold", EXPOSURE];
    ensure!(!analyze(&security)?.status.success(), "a bare service is found to be safe");
    let text = emit(&recording, &units)?;
    let output = analyze(&["verify"])?;
    let said = String::from_utf8_lossy(&output.stderr);
    // systemd warns of calls that are newer than it is, and leaves them out.
    let complaints: Vec<&str> =
        said.lines().filter(|line| !line.contains("Failed to parse system call, ignoring")).collect();
    ensure!(output.status.success() && complaints.is_empty(), "{said}\n{text}");
    let output = analyze(&security)?;
    ensure!(output.status.success(), "{}\n{text}", String::from_utf8_lossy(&output.stdout));
    Ok(())
}

#[test]
fn the_service_works_under_systemd_and_its_attacks_do_not() -> Result<()> {
    command::require_root()?;
    let dir = tempfile::tempdir()?;
    let recording = record(dir.path())?;
    let machine = Machine::create(&dir.path().join("machine"))?;

    // Without the drop-in the attacks work: what stops them is it.
    machine.write_unit(&agent::attack("mount"))?;
    ensure!(attacked(&machine.run()?)?.is_none(), "the attack is denied without a drop-in");

    let text = emit(&recording, &machine.units())?;
    machine.write_unit(&agent::work())?;
    let ended = machine.run()?;
    ensure!(ended.succeeded(), "{}\n{}\n{text}", ended.log, ended.stdout);
    agent::expect_worked(&ended.stdout)?;
    for attack in ["mount", "ptrace", "unshare"] {
        machine.write_unit(&agent::attack(attack))?;
        ensure!(attacked(&machine.run()?)?.is_some(), "{attack} works under the drop-in");
    }

    // What the kernel holds against it.
    let look = "import sys\nsys.stdout.write(open('/proc/self/status').read())\n\
                for place in ('/usr/x', '/etc/x', '/home/x'):\n try: open(place, 'w')\n except OSError as e: print(place, e.errno)";
    machine.write_unit(&["/usr/bin/python3".into(), "-c".into(), look.replace('\n', "\\n")])?;
    let ended = machine.run()?;
    for line in ["NoNewPrivs:\t1", "Seccomp:\t2", "CapBnd:\t0000000000000000", "CapEff:\t0000000000000000"] {
        ensure!(ended.stdout.lines().any(|one| one == line), "no {line:?}\n{}\n{}", ended.stdout, ended.log);
    }
    ensure!(ended.stdout.contains("/usr/x 30") && ended.stdout.contains("/etc/x 30"), "{}", ended.stdout);
    Ok(())
}

fn attacked(ended: &Ended) -> Result<Option<String>> {
    agent::attack_result(&ended.stdout).with_context(|| format!("{}\n{}", ended.stdout, ended.log))
}
