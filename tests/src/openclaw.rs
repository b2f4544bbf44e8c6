//! The example of `profiles/openclaw/`: its image, its folders on the host, and somebody who gives it tasks.

use std::{
    ffi::OsStr,
    fs,
    os::unix::fs::{PermissionsExt as _, chown},
    path::{Path, PathBuf},
    process::{Command, Output},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use crate::{
    command::{self, require, run, succeed, wait_until},
    docker::Engine,
    product::{Recorder, binary},
    rootfs,
};

/// The image, as its users would name it.
pub const IMAGE: &str = "openclaw";
/// The container.
pub const NAME: &str = "openclaw";
/// Whom it runs as.
pub const USER: u32 = 1000;
/// The port that it serves.
pub const PORT: u16 = 18789;

/// Where the emitted script mounts the folder with the logs.
const WRITTEN: &str = "/run/sandbox-trace/openclaw/volume1";

/// What the Dockerfile beside the agent says of the image.
const CHANGES: [&str; 5] = [
    "USER 1000:1000",
    "WORKDIR /app",
    "EXPOSE 18789",
    "HEALTHCHECK --interval=1s --timeout=10s --start-period=40s CMD [\"python3\", \"/app/openclaw.py\", \"--health\"]",
    "CMD [\"python3\", \"/app/openclaw.py\"]",
];

/// Gives tasks and compares the answers: `PORT ROUNDS`.
const CLIENT: &str = r#"
import hashlib, http.client, json, sys
port, rounds = int(sys.argv[1]), int(sys.argv[2])
def ask(method, path, body=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request(method, path, body)
    response = connection.getresponse()
    return response.status, json.loads(response.read())
status, health = ask("GET", "/health")
assert (status, health["status"]) == (200, "ok"), health
for number in range(rounds):
    text = f"claw {number} claw"
    status, answer = ask("POST", "/task", json.dumps({"skill": "digest", "input": text}))
    assert (status, answer.get("output", "").strip()) == (200, hashlib.sha256(text.encode()).hexdigest()), answer
    status, answer = ask("POST", "/task", json.dumps({"skill": "words", "input": text}))
    assert (status, answer.get("output", "").split("\n")[0]) == (200, "claw 2"), answer
status, answer = ask("POST", "/task", json.dumps({"skill": "rm", "input": ""}))
assert status == 400, answer
print("ok")
"#;

/// Where the example's sources are.
#[must_use]
pub fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../profiles/openclaw")
}

/// The recording that lies beside the example.
pub const RECORDING: &str = "recording.json.zst";
/// Every format in the folder `out`, and the proof of the two profiles. A recording's relative name is one in `out`.
pub fn emit(recording: &Path, out: &Path) -> Result<()> {
    let recording = recording.to_str().context("a path that is not UTF-8")?;
    let call = |args: &[&str]| succeed(Command::new(binary()?).args(args).current_dir(out)).map(drop);
    for folder in ["kubernetes", "oci", "systemd"] {
        fs::create_dir_all(out.join(folder))?;
    }
    call(&["emit-docker", recording, "-o", "./"])?;
    call(&["emit-compose", recording, "-o", "./"])?;
    call(&["emit-k8s", recording, "-o", "kubernetes/"])?;
    call(&["emit-systemd", recording, "-o", "systemd/"])?;
    // A bundle as runc begins one.
    let bundle = tempfile::tempdir()?;
    succeed(Command::new(require("runc")?).arg("spec").current_dir(bundle.path()))?;
    let bundle = bundle.path().to_str().context("a path that is not UTF-8")?;
    call(&["emit-oci", recording, "--bundle", bundle, "-o", "oci/config.json"])?;
    let profiles = ["--seccomp", "seccomp.json", "--apparmor", "apparmor.profile"];
    call(&[&["verify", recording, "--must-deny"], &profiles[..]].concat())
}

/// Makes `profiles/openclaw/` anew: of the recording that is there.
pub fn emit_example() -> Result<()> {
    emit(Path::new(RECORDING), &source())
}

/// Makes `profiles/openclaw/` anew: a recording, and all that is made of it.
pub fn record_example() -> Result<()> {
    command::require_root()?;
    let home = Path::new("/srv/openclaw");
    ensure!(!home.exists(), "{} is there: the example's folders are to be there", home.display());
    let dir = tempfile::tempdir()?;
    let made = || -> Result<PathBuf> { OpenClaw::start_at(home)?.record(dir.path()) };
    let recording = made();
    fs::remove_dir_all(home)?;
    let compressed = zstd::encode_all(fs::File::open(recording?)?, 19)?;
    fs::write(source().join(RECORDING), compressed)?;
    emit_example()
}

/// An engine with the image, and the agent's folders on the host.
#[derive(Debug)]
pub struct OpenClaw {
    /// The engine.
    pub engine: Engine,
    home: PathBuf,
    _dir: tempfile::TempDir,
}

impl OpenClaw {
    /// Starts the engine and makes the image and the folders.
    pub fn start() -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let home = dir.path().join("openclaw");
        Self::start_in(dir, home)
    }

    /// As [`OpenClaw::start`], with its folders in `home`, which must not exist.
    pub fn start_at(home: &Path) -> Result<Self> {
        Self::start_in(tempfile::tempdir()?, home.to_owned())
    }

    fn start_in(dir: tempfile::TempDir, home: PathBuf) -> Result<Self> {
        let engine = Engine::start_with_networks()?;
        let root = dir.path().join("root");
        fs::create_dir(&root)?;
        build(&root)?;
        engine.import(&root, &CHANGES, IMAGE)?;
        fs::create_dir(&home).with_context(|| format!("can't make {}", home.display()))?;
        for folder in ["config", "skills"] {
            succeed(Command::new("cp").arg("-r").arg(source().join("agent").join(folder)).arg(&home))?;
        }
        fs::create_dir(home.join("logs"))?;
        chown(home.join("logs"), Some(USER), Some(USER))?;
        fs::set_permissions(&home, fs::Permissions::from_mode(0o755))?;
        Ok(Self { engine, home, _dir: dir })
    }

    /// The folder of the host with `config`, `skills` and `logs`.
    #[must_use]
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// What every container of the agent is started with: its folders and its port, and nothing that confines it.
    #[must_use]
    pub fn options(&self) -> Vec<String> {
        let mut out: Vec<String> = ["--name", NAME, "--publish", "18789:18789"].map(Into::into).into();
        for folder in ["config", "skills", "logs"] {
            out.extend(["--volume".into(), format!("{}/{folder}:/app/{folder}", self.home.display())]);
        }
        out
    }

    /// `docker run` as somebody who thinks of nothing starts it.
    pub fn run_plainly(&self) -> Result<String> {
        let mut args: Vec<String> = vec!["run".into(), "--detach".into()];
        args.extend(self.options());
        args.push(IMAGE.into());
        self.engine.call(args)
    }

    /// The recording of a run in which the agent works, is asked for its health and ends; made in `dir`.
    pub fn record(&self, dir: &Path) -> Result<PathBuf> {
        let options = ["--container", NAME, "--wait"].map(OsStr::new);
        let recorder = Recorder::start_on(&options, dir, &[("DOCKER_HOST", &self.engine.host())])?;
        self.run_plainly()?;
        self.work(3)?;
        self.wait_healthy()?;
        // Longer than the time between two looks at what the folders hold.
        thread::sleep(Duration::from_secs(2));
        self.stop()?;
        recorder.finish()
    }

    /// Waits until the agent answers, gives it tasks and compares the answers.
    pub fn work(&self, rounds: u32) -> Result<()> {
        let answer = |rounds: u32| -> Result<Output> {
            let mut client = self.engine.inside(require("python3")?.as_os_str())?;
            run(client.args(["-c", CLIENT]).arg(PORT.to_string()).arg(rounds.to_string()))
        };
        wait_until("the agent's first answer", Duration::from_secs(60), || Ok(answer(0)?.status.success()))?;
        let output = answer(rounds)?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    /// Waits until the engine calls the container healthy.
    pub fn wait_healthy(&self) -> Result<()> {
        wait_until("the container's health", Duration::from_secs(60), || {
            let state = self.engine.call(["inspect", "--format", "{{.State.Health.Status}}", NAME])?;
            Ok(state == "healthy")
        })
    }

    /// Ends and removes the container.
    pub fn stop(&self) -> Result<()> {
        self.engine.call(["stop", "--time", "20", NAME])?;
        self.engine.call(["rm", "--volumes", NAME]).map(drop)
    }

    /// A shell command with this engine's client, in its network namespace.
    pub fn shell(&self, script: &Path) -> Result<Command> {
        let mut command = self.engine.inside(OsStr::new("sh"))?;
        command.arg(script).env("DOCKER_HOST", self.engine.host());
        // A docker without an engine may come first in PATH.
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        Ok(command)
    }
}

impl Drop for OpenClaw {
    /// Takes away the mount that the emitted script made of the folder with the logs; there is none if it was not run.
    fn drop(&mut self) {
        let _ = Command::new("umount").args(["--quiet", "--", WRITTEN]).status();
    }
}

/// The image's root file system: what the Dockerfile makes, from this machine's own files.
fn build(root: &Path) -> Result<()> {
    rootfs::build(root)?;
    let app = root.join("app");
    for folder in ["config", "skills", "logs"] {
        fs::create_dir_all(app.join(folder))?;
    }
    fs::create_dir_all(root.join("run/openclaw"))?;
    fs::create_dir_all(root.join("var"))?;
    std::os::unix::fs::symlink("../run", root.join("var/run"))?;
    for folder in ["app/logs", "run/openclaw"] {
        chown(root.join(folder), Some(USER), Some(USER))?;
    }
    fs::copy(source().join("agent/openclaw.py"), app.join("openclaw.py"))?;
    let add = |file: &str, line: &str| -> Result<()> {
        let path = root.join("etc").join(file);
        let text = fs::read_to_string(&path)?;
        fs::write(&path, text + line).map_err(Into::into)
    };
    add("passwd", "openclaw:x:1000:1000::/app:/bin/sh\n")?;
    add("group", "openclaw:x:1000:\n")
}
