//! runc, crun and Docker on one root file system: a container a run, each as the runtime's users start it.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::root;
use crate::{
    cgroup::Cgroup,
    command::{require, run, succeed},
    docker::Engine,
};

/// The image with the workloads.
const IMAGE: &str = "sandbox-trace-workloads";

/// What Docker gives a container, and so what all three get.
const CAPABILITIES: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

/// A container runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Runtime {
    /// runc, called directly.
    Runc,
    /// crun, called directly.
    Crun,
    /// A Docker engine with runc.
    Docker,
}

impl Runtime {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Runc, Self::Crun, Self::Docker];

    /// What `--runtime` calls it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Runc => "runc",
            Self::Crun => "crun",
            Self::Docker => "docker",
        }
    }
}

/// The runtimes, with what they share.
#[derive(Debug)]
pub struct Lab {
    engine: Engine,
    dir: tempfile::TempDir,
    template: Value,
}

impl Lab {
    /// Makes the root file system and starts the engine.
    pub fn start() -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let rootfs = dir.path().join("rootfs");
        fs::create_dir(&rootfs)?;
        root::build(&rootfs)?;
        succeed(Command::new(require("runc")?).arg("spec").current_dir(dir.path()))?;
        let template = serde_json::from_slice(&fs::read(dir.path().join("config.json"))?)?;
        let engine = Engine::start()?;
        let archive = dir.path().join("image.tar");
        succeed(Command::new("tar").arg("-cf").arg(&archive).arg("-C").arg(&rootfs).arg("."))?;
        engine.call(["import".into(), archive.clone().into_os_string(), IMAGE.into()])?;
        fs::remove_file(archive)?;
        Ok(Self { engine, dir, template })
    }

    /// The root file system.
    pub fn root(&self) -> PathBuf {
        self.dir.path().join("rootfs")
    }

    /// Runs `args` in a container of its own below `cgroup`, to its end; without a filter where there is no `seccomp`.
    pub fn run(
        &self,
        runtime: Runtime,
        cgroup: &Cgroup,
        seccomp: Option<&Path>,
        args: &[String],
    ) -> Result<Output> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let id = format!("matrix-{}-{number}", std::process::id());
        let bundle = self.dir.path().join(format!("bundle-{number}"));
        // A container that hangs must not hang the tests.
        let mut command = Command::new("timeout");
        command.arg("120");
        match runtime {
            Runtime::Docker => {
                let mut option = OsString::from("seccomp=");
                option.push(seccomp.map_or("unconfined".as_ref(), Path::as_os_str));
                command.arg(require("docker")?).arg("--host").arg(self.engine.host());
                command.args(["run", "--rm", "--read-only", "--network=none", "--tmpfs=/tmp:exec"]);
                command.args(["--tmpfs=/data:exec", "--cgroup-parent"]).arg(cgroup.name());
                command.arg("--security-opt").arg(option).arg(IMAGE).args(args);
            }
            Runtime::Runc => {
                self.write_bundle(&bundle, &format!("{}/{id}", cgroup.name()), seccomp, args, true)?;
                command.arg(require("runc")?).arg("--root").arg(self.dir.path().join("runc"));
                command.args(["run", "--bundle"]).arg(&bundle).arg(&id);
            }
            Runtime::Crun => {
                self.write_bundle(&bundle, "/unused", seccomp, args, false)?;
                // crun refuses a host that has cgroup v1 beside v2: in namespaces of its own it finds v2 alone.
                command.arg(require("unshare")?).args(["--mount", "--cgroup", "--propagation=private"]);
                command.args(["sh", "-ec", "mount -t cgroup2 none /sys/fs/cgroup && exec \"$0\" \"$@\""]);
                command.arg(require("crun")?).arg("--cgroup-manager=disabled");
                command.arg("--root").arg(self.dir.path().join("crun"));
                command.args(["run", "--bundle"]).arg(&bundle).arg(&id);
            }
        }
        run(&mut command)
    }

    fn write_bundle(
        &self,
        bundle: &Path,
        cgroup: &str,
        seccomp: Option<&Path>,
        args: &[String],
        cgroups: bool,
    ) -> Result<()> {
        let mut config = self.template.clone();
        config["root"] = json!({ "path": self.root(), "readonly": true });
        let process = config["process"].as_object_mut().context("runc spec wrote no process")?;
        process.insert("terminal".into(), false.into());
        process.insert("args".into(), json!(args));
        // The filter is then loaded early, and the runtime itself lives under it: the harder case, and Docker's.
        process.insert("noNewPrivileges".into(), false.into());
        // The machine may lack CAP_SYS_RESOURCE.
        process.remove("rlimits");
        process.insert(
            "capabilities".into(),
            json!({ "bounding": CAPABILITIES, "effective": CAPABILITIES, "permitted": CAPABILITIES }),
        );
        let mounts = config["mounts"].as_array_mut().context("runc spec wrote no mounts")?;
        for place in ["/tmp", "/data"] {
            mounts.push(json!({
                "destination": place, "type": "tmpfs", "source": "tmpfs",
                "options": ["nosuid", "nodev", "mode=1777"]
            }));
        }
        if !cgroups {
            mounts.retain(|mount| mount["destination"] != "/sys/fs/cgroup");
        }
        config["linux"]["cgroupsPath"] = cgroup.into();
        if let Some(file) = seccomp {
            config["linux"]["seccomp"] = serde_json::from_slice(&fs::read(file)?)?;
        }
        fs::create_dir(bundle)?;
        fs::write(bundle.join("config.json"), serde_json::to_vec_pretty(&config)?)
            .context("can't write config.json")
    }
}
