//! Containers that an ordinary user started, with a real runc that has no privilege.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, chown},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use sandbox_trace_tests::{
    cgroup::Cgroup,
    command::{self, Background},
    product::{self, Recorder},
    recorded::Recorded,
    rootfs,
};
use serde_json::{Value, json};

/// A user that no machine has; nor the next one.
const USER: u32 = 61_234;

/// A user's runtime directory, as a login makes it; gone with the test.
struct RuntimeDir(PathBuf);

impl RuntimeDir {
    fn create(user: u32) -> Result<Self> {
        let path = PathBuf::from(format!("/run/user/{user}"));
        fs::create_dir_all(&path)?;
        chown(&path, Some(user), Some(user))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700))?;
        Ok(Self(path))
    }
}

impl Drop for RuntimeDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A bundle that runs `program` in Python, as `runc spec --rootless` makes it.
fn bundle(dir: &Path, program: &str) -> Result<()> {
    // The user must get there.
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755))?;
    fs::create_dir(dir.join("rootfs"))?;
    rootfs::build(&dir.join("rootfs"))?;
    let mut spec = Command::new(command::require("runc")?);
    command::succeed(spec.args(["spec", "--rootless"]).current_dir(dir))?;
    let file = dir.join("config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&file)?)?;
    config["process"]["terminal"] = false.into();
    config["process"]["args"] = json!(["/usr/bin/python3", "-I", "-c", program]);
    // More than the host may allow.
    config["process"].as_object_mut().context("no process")?.remove("rlimits");
    for which in ["uidMappings", "gidMappings"] {
        config["linux"][which] = json!([{"containerID": 0, "hostID": USER, "size": 1}]);
    }
    config["mounts"].as_array_mut().context("no mounts")?.push(json!({
        "destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "nodev", "mode=1777"]
    }));
    fs::write(&file, serde_json::to_vec(&config)?)?;
    // What is said of the container is believed of a file that is the user's own.
    chown(&file, Some(USER), Some(USER)).map_err(Into::into)
}

/// `runc run` as the user, in a cgroup. Without delegation it stays in the one that it was started in.
fn start(bundle: &Path, runtime_dir: &Path, cgroup: &Cgroup, name: &str) -> Result<Background> {
    let script = format!(
        "echo $$ > {}/cgroup.procs; exec setpriv --reuid {USER} --regid {USER} --clear-groups \
         env XDG_RUNTIME_DIR={} \"$0\" run --bundle {} {name}",
        cgroup.path().display(),
        runtime_dir.display(),
        bundle.display()
    );
    let mut shell = Command::new("sh");
    shell.args(["-ec", &script]).arg(command::require("runc")?).stdin(Stdio::null());
    shell.spawn().map(Background).context("can't start a shell")
}

const PROGRAM: &str = "
import os, time
time.sleep(1)
open('/tmp/made', 'w').write('x'); os.mkdir('/tmp/folder')
assert os.getuid() == 0
time.sleep(2)";

#[test]
fn a_rootless_container_is_recorded_in_its_own_paths_with_both_numbers_of_its_users() -> Result<()> {
    command::require_root()?;
    let (dir, out) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let runtime_dir = RuntimeDir::create(USER)?;
    bundle(dir.path(), PROGRAM)?;
    let cgroup = Cgroup::create()?;
    let recorder = Recorder::start(cgroup.path(), out.path())?;
    let mut container = start(dir.path(), &runtime_dir.0, &cgroup, "by-cgroup")?;
    let recorded = Recorded::load(&recorder.finish()?)?;
    ensure!(container.0.wait()?.success(), "the container failed");
    check(&recorded)?;
    ensure!(recorded.json["target"]["boundary"] == "container", "{}", recorded.json["target"]);

    // By its name, while it runs. The recorder is root's, and finds the user's.
    let mut container = start(dir.path(), &runtime_dir.0, &cgroup, "by-name")?;
    let state = runtime_dir.0.join("runc/by-name/state.json");
    command::wait_until("the container", Duration::from_secs(20), || Ok(state.exists()))?;
    let out = tempfile::tempdir()?;
    let recorder = Recorder::start_on(&["--container".as_ref(), "by-name".as_ref()], out.path(), &[])?;
    let recorded = Recorded::load(&recorder.finish()?)?;
    ensure!(container.0.wait()?.success(), "the container failed");
    let target = &recorded.json["target"];
    ensure!(target["user_namespace"] == numbers(), "{target}");
    let container = &target["container"];
    ensure!(container["runtime"] == "runc" && container["rootless"] == true, "{container}");
    ensure!(container["network_mode"] == "host" && container.get("user").is_none(), "{container}");
    ensure!(container["namespaces"].get("user").is_none(), "{container}");
    Ok(())
}

fn numbers() -> Value {
    let map = json!([{"inside": 0, "outside": USER, "count": 1}]);
    json!({"uid_map": map, "gid_map": map})
}

fn check(recorded: &Recorded) -> Result<()> {
    let target = &recorded.json["target"];
    ensure!(target["user_namespace"] == numbers(), "{target}");
    let credentials = recorded.list("credentials");
    ensure!(
        credentials.iter().all(|one| one["uid"] == USER && one["gid"] == USER) && !credentials.is_empty(),
        "{credentials:?}"
    );
    let files = recorded.list("files");
    for path in ["/tmp/made", "/tmp/folder/"] {
        ensure!(files.iter().any(|file| file["path"] == path), "{path} is not in {files:#?}");
    }
    let outside = |file: &Value| file["path"].as_str().is_some_and(|path| path.contains("/rootfs/"));
    ensure!(!files.iter().any(outside), "a path of the host's is in {files:#?}");
    Ok(())
}

/// The user may write anything into the user's files: a process of root's is no container of the user's.
#[test]
fn a_user_cannot_pass_anothers_process_off_as_a_container() -> Result<()> {
    command::require_root()?;
    let liar = USER + 1;
    let runtime_dir = RuntimeDir::create(liar)?;
    let mut sitter = Background(Command::new("sleep").arg("1000").spawn()?);
    let folder = runtime_dir.0.join("runc/liar");
    fs::create_dir_all(&folder)?;
    let state = folder.join("state.json");
    fs::write(&state, json!({"init_process_pid": sitter.0.id()}).to_string())?;
    chown(&state, Some(liar), Some(liar))?;
    let mut record = Command::new(product::binary()?);
    let output = command::run(record.args(["record", "-o", "/dev/null", "--container", "liar"]))?;
    sitter.stop();
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.code() == Some(2) && said.contains("the container liar does not run"),
        "{}",
        command::describe(&record, &output)
    );
    Ok(())
}
