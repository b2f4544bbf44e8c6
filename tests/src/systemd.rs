//! A real systemd as the first process of namespaces of its own, over this machine's files and without changing them: one
//! service is started as its unit and drop-in say, and seen to its end.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::{
    agent,
    command::{require, require_path, run},
};

/// The unit that is started.
pub const UNIT: &str = "agent.service";

/// The root file system is this machine's, with a layer in memory over it; devices are bound one by one, the cgroups
/// are those below the one that it starts in. The kernel's log is a file, where systemd writes what it does.
const BOOT: &str = r#"
mount --make-rprivate /
mount -t tmpfs tmpfs "$1/layer"
mkdir "$1/layer/upper" "$1/layer/work" "$1/layer/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/layer/upper,workdir=$1/layer/work" "$1/layer/root"
R="$1/layer/root"
mkdir -p "$R/out" "$R/opt/agent"
mount --bind "$1/out" "$R/out"
mount --bind "$2" "$R/opt/agent"
rm -rf "$R/etc/systemd/system"
cp -r "$1/units" "$R/etc/systemd/system"
mount -t proc proc "$R/proc"
mount -t sysfs sysfs "$R/sys"
mount -t tmpfs -o mode=755 tmpfs "$R/sys/fs/cgroup" || true
umount "$R/sys/fs/cgroup"
mount -t cgroup2 cgroup2 "$R/sys/fs/cgroup"
mount -t tmpfs -o mode=755 tmpfs "$R/run"
mount -t tmpfs -o mode=1777 tmpfs "$R/tmp"
mount -t tmpfs -o mode=755 tmpfs "$R/dev"
for device in null zero full random urandom tty; do
    touch "$R/dev/$device"
    mount --bind "/dev/$device" "$R/dev/$device"
done
touch "$R/dev/kmsg"
mount --bind "$1/out/log" "$R/dev/kmsg"
ln -s pts/ptmx "$R/dev/ptmx"
mkdir "$R/dev/pts" "$R/dev/shm" "$R/dev/mqueue" "$R/old"
mount -t devpts -o newinstance devpts "$R/dev/pts"
cd "$R"
pivot_root . old
umount -l old
exec env -i container=sandbox-trace PATH=/usr/sbin:/usr/bin /lib/systemd/systemd --system --unit=test.target \
    --log-target=kmsg --show-status=no
"#;

/// The service and what it is started with.
#[derive(Debug)]
pub struct Machine {
    dir: PathBuf,
}

/// How a service ended.
#[derive(Debug)]
pub struct Ended {
    /// What systemd wrote about it.
    pub log: String,
    /// What the service wrote to its standard output.
    pub stdout: String,
}

impl Machine {
    /// In `dir`, an empty folder.
    pub fn create(dir: &Path) -> Result<Self> {
        require_path(Path::new("/lib/systemd/systemd"))?;
        for folder in ["layer", "out", "units"] {
            fs::create_dir_all(dir.join(folder))?;
        }
        // The service writes there as the user that its unit names.
        fs::set_permissions(dir.join("out"), fs::Permissions::from_mode(0o777))?;
        let target = "[Unit]\nDefaultDependencies=no\nWants=agent.service\nAfter=agent.service\n";
        fs::write(dir.join("units/test.target"), target)?;
        Ok(Self { dir: dir.to_owned() })
    }

    /// The folder of the units, which drop-ins are put into.
    pub fn units(&self) -> PathBuf {
        self.dir.join("units")
    }

    /// Writes the unit that runs `args`, the agent's folder being [`agent::DIR`].
    pub fn write_unit(&self, args: &[String]) -> Result<()> {
        let words: Vec<String> = args.iter().map(|arg| format!("\"{arg}\"")).collect();
        let text = format!(
            "[Unit]\nDefaultDependencies=no\nSuccessAction=exit-force\nFailureAction=exit-force\n\n[Service]\n\
             Type=oneshot\nExecStart={}\nStandardOutput=truncate:/out/stdout\nStandardError=append:/out/stdout\n",
            words.join(" ")
        );
        fs::write(self.units().join(UNIT), text).context("can't write the unit")
    }

    /// Starts the service under systemd and waits for its end.
    pub fn run(&self) -> Result<Ended> {
        let out = self.dir.join("out");
        for file in ["log", "stdout"] {
            fs::write(out.join(file), "")?;
        }
        let mut command = Command::new("timeout");
        command.arg("120").arg(require("unshare")?);
        command.args(["--pid", "--fork", "--mount", "--ipc", "--uts", "--cgroup", "--net", "--kill-child"]);
        command.args(["sh", "-euc", BOOT, "boot"]).arg(&self.dir).arg(agent::source());
        let output = run(&mut command)?;
        let read = |file: &str| -> Result<String> {
            Ok(String::from_utf8_lossy(&fs::read(out.join(file))?).into_owned())
        };
        let log = format!("{}{}", String::from_utf8_lossy(&output.stderr), read("log")?);
        Ok(Ended { log, stdout: read("stdout")? })
    }
}

impl Ended {
    /// Whether the service ended well.
    pub fn succeeded(&self) -> bool {
        self.log.contains("Finished agent.service")
            || self.log.contains("agent.service: Deactivated successfully")
    }
}
