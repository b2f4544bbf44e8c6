//! Where a recording begins, with real runc and crun: nothing of what they do to set a container up, or to enter one,
//! is in it.

use std::{
    ffi::OsString,
    fs,
    io::Write as _,
    path::Path,
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use sandbox_trace_tests::{
    cgroup::Cgroup,
    command,
    product::Recorder,
    recorded::Recorded,
    runc::{Bundle, Options},
    seccomp, setup,
};
use serde_json::Value;

const SHELL: &str = "/usr/bin/sh";
/// Ends when it is told to: it is executed in meanwhile.
const MAIN: &str = ": < /etc/hosts; while test ! -e /tmp/end; do read x < /dev/null; done";

/// A runtime that waits for its go in the cgroup, in a mount and a cgroup namespace of its own: crun refuses a host that
/// has cgroup v1 beside v2, and there it finds v2 alone.
fn held(cgroup: &Cgroup, script: &str, bundle: &Bundle) -> Result<Child> {
    let join = format!(
        "echo $$ > {}/cgroup.procs && mount -t cgroup2 none /sys/fs/cgroup && read go && {script}",
        cgroup.path().display()
    );
    Command::new(command::require("unshare")?)
        .args(["--mount", "--cgroup", "--propagation=private", "timeout", "120", "sh", "-ec", &join])
        .env("CRUN", command::require("crun")?)
        .env("BUNDLE", bundle.dir())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("can't start unshare")
}

fn crun(filter: Option<&Value>, no_new_privileges: bool) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let bundle = Bundle::create(&dir.path().join("bundle"))?;
    let options = Options { seccomp: filter, no_new_privileges };
    let args = ["/bin/sh", "-c", MAIN].map(String::from);
    bundle.write_config("/unused", &options, &args)?;
    without_cgroups(&bundle)?;
    let cgroup = Cgroup::create()?;
    let script = "run() { \"$CRUN\" --cgroup-manager=disabled --root \"$BUNDLE/state\" \"$@\"; }; \
        run run --bundle \"$BUNDLE\" -d agent >&2 </dev/null; \
        run exec agent /bin/sh -c ': < /etc/shadow; : > /tmp/end'; \
        while run list -q | grep -q agent && test \"$(run state agent | grep -c running)\" = 1; do sleep 0.1; done; \
        run delete -f agent";
    let mut runtime = held(&cgroup, script, &bundle)?;
    // The runtime's namespace exists: it has joined the cgroup.
    command::wait_until("the runtime in the cgroup", std::time::Duration::from_secs(20), || {
        let procs = fs::read_to_string(cgroup.path().join("cgroup.procs"))?;
        ensure!(runtime.try_wait()?.is_none(), "unshare ended early");
        Ok(!procs.trim().is_empty())
    })?;
    let recorder = Recorder::start(cgroup.path(), dir.path())?;
    runtime.stdin.take().context("no stdin")?.write_all(b"go\n")?;
    let output = runtime.wait_with_output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    check(&recorder.finish()?, dir.path())
}

/// crun mounts the container's cgroups from the host's, which this host's hybrid hierarchy does not let it.
fn without_cgroups(bundle: &Bundle) -> Result<()> {
    let file = bundle.dir().join("config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&file)?)?;
    config["mounts"].as_array_mut().context("no mounts")?.retain(|m| m["destination"] != "/sys/fs/cgroup");
    fs::write(&file, config.to_string()).context("can't write config.json")
}

fn runc(filter: Option<&Value>, no_new_privileges: bool) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let bundle = Bundle::create(&dir.path().join("bundle"))?;
    let options = Options { seccomp: filter, no_new_privileges };
    let args = ["/bin/sh", "-c", MAIN].map(String::from);
    let cgroup = Cgroup::create()?;
    bundle.write_config(&format!("{}/agent", cgroup.name()), &options, &args)?;
    let recorder = Recorder::start(cgroup.path(), dir.path())?;
    let call = |args: &[&str]| {
        let mut runc = Command::new("timeout");
        let words: Vec<OsString> = args.iter().map(Into::into).collect();
        runc.arg("120")
            .arg(command::require("runc")?)
            .arg("--root")
            .arg(dir.path().join("state"))
            .args(words);
        // A detached container keeps its caller's output open.
        let status = runc.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status()?;
        ensure!(status.success(), "{runc:?}: {status}");
        Ok(())
    };
    let name = format!("agent-{}", std::process::id());
    call(&["run", "-d", "--bundle", bundle.dir().to_str().context("an odd folder")?, &name])?;
    call(&["exec", &name, "/bin/sh", "-c", ": < /etc/shadow; : > /tmp/end"])?;
    let recording = recorder.finish()?;
    call(&["delete", "-f", &name])?;
    check(&recording, dir.path())
}

fn check(recording: &Path, host: &Path) -> Result<()> {
    let recorded = Recorded::load(recording)?;
    ensure!(recorded.json["target"]["boundary"] == "container", "{}", recorded.json["target"]);
    setup::expect_first_exec(&recorded, SHELL)?;
    for path in ["/etc/hosts", "/etc/shadow"] {
        ensure!(
            setup::was_read(&recorded, path),
            "{path} is not in the recording: {:?}",
            recorded.list("files")
        );
    }
    setup::expect_none(&recorded, host, &[SHELL])
}

#[test]
fn nothing_of_cruns_set_up_is_recorded() -> Result<()> {
    command::require_root()?;
    for no_new_privileges in [true, false] {
        crun(None, no_new_privileges).with_context(|| format!("no_new_privileges {no_new_privileges}"))?;
    }
    Ok(())
}

#[test]
fn nothing_of_cruns_set_up_is_recorded_under_a_filter() -> Result<()> {
    command::require_root()?;
    for no_new_privileges in [true, false] {
        crun(Some(&seccomp::all_but(&[])), no_new_privileges)
            .with_context(|| format!("no_new_privileges {no_new_privileges}"))?;
    }
    Ok(())
}

#[test]
fn nothing_of_runcs_set_up_is_recorded() -> Result<()> {
    command::require_root()?;
    for no_new_privileges in [true, false] {
        runc(None, no_new_privileges).with_context(|| format!("no_new_privileges {no_new_privileges}"))?;
    }
    Ok(())
}

#[test]
fn nothing_of_runcs_set_up_is_recorded_under_a_filter() -> Result<()> {
    command::require_root()?;
    for no_new_privileges in [true, false] {
        runc(Some(&seccomp::all_but(&[])), no_new_privileges)
            .with_context(|| format!("no_new_privileges {no_new_privileges}"))?;
    }
    Ok(())
}
