//! Containers with runc: a bundle made from `runc spec`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::{
    cgroup::Cgroup,
    command::{require, run, succeed},
    rootfs,
};

/// A bundle with the agent's root file system.
#[derive(Debug)]
pub struct Bundle {
    dir: PathBuf,
    runc: PathBuf,
}

/// What differs from one container to the next.
#[derive(Debug)]
pub struct Options<'a> {
    /// The content of a profile file, for `linux.seccomp`.
    pub seccomp: Option<&'a Value>,
    /// `noNewPrivileges`: it decides whether runc loads the filter before or after it drops privileges.
    pub no_new_privileges: bool,
}

impl Bundle {
    /// Makes a bundle in `dir`.
    pub fn create(dir: &Path) -> Result<Self> {
        let runc = require("runc")?;
        fs::create_dir_all(dir.join("rootfs"))?;
        rootfs::build(&dir.join("rootfs"))?;
        succeed(Command::new(&runc).arg("spec").current_dir(dir))?;
        Ok(Self { dir: dir.to_owned(), runc })
    }

    /// Runs `args` in a container below `cgroup`, to its end.
    pub fn run(&self, cgroup: &Cgroup, options: &Options<'_>, args: &[String]) -> Result<Output> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let id = format!("agent-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        self.write_config(&format!("{}/{id}", cgroup.name()), options, args)?;
        // A container that hangs must not hang the tests.
        run(Command::new("timeout")
            .arg("120")
            .arg(&self.runc)
            .arg("--root")
            .arg(self.dir.join("state"))
            .args(["run", "--bundle"])
            .arg(&self.dir)
            .arg(format!("{id}-{}", std::process::id())))
    }

    /// The bundle's folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Writes the bundle's configuration, for a container in `cgroup`.
    pub fn write_config(&self, cgroup: &str, options: &Options<'_>, args: &[String]) -> Result<()> {
        // The template is kept: each container's file is made from it.
        let template = self.dir.join("spec.json");
        let file = self.dir.join("config.json");
        if !template.exists() {
            fs::rename(&file, &template)?;
        }
        let mut config: Value = serde_json::from_slice(&fs::read(&template)?)?;
        let process = config["process"].as_object_mut().context("runc spec wrote no process")?;
        process.insert("terminal".into(), false.into());
        process.insert("args".into(), json!(args));
        process.insert("noNewPrivileges".into(), options.no_new_privileges.into());
        // The machine may lack CAP_SYS_RESOURCE.
        process.remove("rlimits");
        // Privileges enough for every attack to work, so that a denial is the filter's doing and nothing else's.
        let capabilities = json!(["CAP_KILL", "CAP_SYS_ADMIN", "CAP_SYS_PTRACE"]);
        for set in ["bounding", "effective", "permitted"] {
            config["process"]["capabilities"][set] = capabilities.clone();
        }
        config["mounts"].as_array_mut().context("runc spec wrote no mounts")?.push(json!({
            "destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "nodev", "mode=1777"]
        }));
        config["linux"]["cgroupsPath"] = cgroup.into();
        if let Some(seccomp) = options.seccomp {
            config["linux"]["seccomp"] = seccomp.clone();
        }
        fs::write(&file, serde_json::to_vec_pretty(&config)?).context("can't write config.json")
    }
}
