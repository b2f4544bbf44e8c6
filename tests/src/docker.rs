//! Containers with Docker: an engine of the tests' own, so that the machine's is left alone.

use std::{
    ffi::OsStr,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};

use crate::{
    cgroup::Cgroup,
    command::{self, Background, require, succeed},
    rootfs,
};

/// The image with the agent.
pub const IMAGE: &str = "sandbox-trace-test";

/// The runtime's name in the engine, and a program that stands before it.
const RUNTIME: (&str, &str) = ("runc-here", include_str!("docker/runc-here.py"));

/// A dockerd with its own data, socket and containers; it ends with the test.
#[derive(Debug)]
pub struct Engine {
    // In this order, for their `Drop`: the engine must end before its folder goes.
    process: Background,
    dir: tempfile::TempDir,
    client: PathBuf,
}

impl Engine {
    /// Starts it and gives it the image with the agent.
    pub fn start() -> Result<Self> {
        Self::start_by(Command::new(require("dockerd")?))
    }

    /// As [`Engine::start`], in a mount namespace of its own, as a service manager gives it with `PrivateMounts=`.
    pub fn start_in_private_mounts() -> Result<Self> {
        let mut command = Command::new(require("unshare")?);
        command.args(["--mount", "--propagation", "slave"]).arg(require("dockerd")?);
        Self::start_by(command)
    }

    /// As [`Engine::start`], with bridges, a packet filter and published ports: all in a network namespace of its own,
    /// which [`Engine::inside`] reaches. This machine's own networks are left alone.
    pub fn start_with_networks() -> Result<Self> {
        let mut command = Command::new(require("unshare")?);
        command
            .args(["--net", "sh", "-ec", "ip link set lo up; exec \"$0\" \"$@\""])
            .arg(require("dockerd")?);
        require("ip")?;
        require("iptables")?;
        Self::start_on(command, &[])
    }

    fn start_by(dockerd: Command) -> Result<Self> {
        // The agent needs its loopback alone: leave the machine's bridges and packet filter as they are.
        Self::start_on(dockerd, &["--bridge=none", "--iptables=false", "--ip6tables=false"])
    }

    fn start_on(mut dockerd: Command, options: &[&str]) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let log = dir.path().join("dockerd.log");
        let output = fs::File::create(&log)?;
        let path = |name: &str| dir.path().join(name);
        let (name, program) = RUNTIME;
        fs::write(path(name), program)?;
        fs::set_permissions(path(name), fs::Permissions::from_mode(0o755))?;
        let child = dockerd
            .arg("--data-root")
            .arg(path("data"))
            .arg("--exec-root")
            .arg(path("exec"))
            .arg("--pidfile")
            .arg(path("pid"))
            .arg("--host")
            .arg(socket(dir.path()))
            .args(options)
            .arg(format!("--add-runtime={name}={}", path(name).display()))
            .arg(format!("--default-runtime={name}"))
            .args(["--exec-opt", "native.cgroupdriver=cgroupfs"])
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .context("can't start dockerd")?;
        let mut process = Background(child);
        let client = require("docker")?;
        command::wait_until("dockerd's answer", Duration::from_secs(60), || {
            if let Some(status) = process.0.try_wait()? {
                bail!("dockerd ended, {status}:\n{}", fs::read_to_string(&log)?);
            }
            let mut ask = Command::new(&client);
            ask.arg("--host").arg(socket(dir.path())).arg("version");
            Ok(command::run(&mut ask)?.status.success())
        })?;
        let engine = Self { process, dir, client };
        engine.import_image()?;
        Ok(engine)
    }

    fn import_image(&self) -> Result<()> {
        let root = self.dir.path().join("image");
        fs::create_dir(&root)?;
        rootfs::build(&root)?;
        self.import(&root, &[], IMAGE)
    }

    /// What `DOCKER_HOST` must be for this engine.
    pub fn host(&self) -> String {
        socket(self.dir.path())
    }

    /// Where the engine keeps everything: no container has such a path.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A program in the engine's network namespace: where its published ports are.
    pub fn inside(&self, program: &OsStr) -> Result<Command> {
        let mut command = Command::new(require("nsenter")?);
        command.arg(format!("--net=/proc/{}/ns/net", self.process.0.id())).arg(program);
        Ok(command)
    }

    /// Imports a root file system as an image, with changes as a Dockerfile writes them.
    pub fn import(&self, root: &Path, changes: &[&str], image: &str) -> Result<()> {
        let archive = self.dir.path().join("image.tar");
        succeed(Command::new("tar").arg("-cf").arg(&archive).arg("-C").arg(root).arg("."))?;
        let mut command = self.docker();
        command.arg("import");
        for change in changes {
            command.args(["--change", change]);
        }
        succeed(command.arg(&archive).arg(image))?;
        fs::remove_file(archive).map_err(Into::into)
    }

    /// `docker ARGS…`, which must succeed; gives what it wrote.
    pub fn call<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Result<String> {
        let output = succeed(self.docker().args(args))?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// `docker ARGS…` in the background.
    pub fn spawn<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Result<Background> {
        let mut command = self.docker();
        command.args(args).stdin(Stdio::null()).stdout(Stdio::null());
        command.spawn().map(Background).context("can't start docker")
    }

    fn docker(&self) -> Command {
        // A container that hangs must not hang the tests.
        let mut command = Command::new("timeout");
        command.arg("120").arg(&self.client).arg("--host").arg(socket(self.dir.path()));
        command
    }

    /// Runs `args` in a container below `cgroup`, to its end. `seccomp` is a profile's file, or `unconfined`; with
    /// none, Docker's default applies.
    pub fn run(&self, cgroup: &Cgroup, seccomp: Option<&OsStr>, args: &[String]) -> Result<Output> {
        let mut command = self.docker();
        command
            .args(["run", "--rm", "--read-only", "--network=none", "--tmpfs=/tmp", "--cgroup-parent"])
            .arg(cgroup.name())
            // Enough for every attack to work, so that a denial is the filter's doing.
            .args(["--cap-add=SYS_ADMIN", "--cap-add=SYS_PTRACE"]);
        if let Some(seccomp) = seccomp {
            let mut option = std::ffi::OsString::from("seccomp=");
            option.push(seccomp);
            command.arg("--security-opt").arg(option);
        }
        command::run(command.arg(IMAGE).args(args))
    }
}

fn socket(dir: &Path) -> String {
    format!("unix://{}/docker.sock", dir.display())
}
