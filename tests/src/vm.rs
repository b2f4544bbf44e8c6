//! A guest with AppArmor: one of Debian's kernels and an initramfs under QEMU, without KVM. It runs one script and hands
//! back what the script wrote.

mod kernel;

use std::{
    env, fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};

pub use self::kernel::Kernel;
use crate::{
    command::{self, Background, require, succeed},
    product, rootfs,
};

/// What runs as PID 1: sets the guest up, runs /script, shows what it says, and sends /out over the second serial
/// port, where no kernel message can come between.
const INIT: &str = r#"#!/bin/busybox sh
export PATH=/usr/bin:/usr/sbin:/run/busybox PYTHONDONTWRITEBYTECODE=1 HOME=/root
/bin/busybox mkdir -p /run/busybox /out
/bin/busybox --install -s /run/busybox
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t securityfs securityfs /sys/kernel/security
mount -t tracefs tracefs /sys/kernel/tracing
mount -t cgroup2 cgroup2 /sys/fs/cgroup
echo '+memory +pids' > /sys/fs/cgroup/cgroup.subtree_control
mount -t tmpfs -o mode=1777 tmpfs /tmp
ip link set lo up
# Each denial must reach dmesg, however many there are.
echo 0 > /proc/sys/kernel/printk_ratelimit
stty -F /dev/ttyS0 raw
stty -F /dev/ttyS1 raw
[ -f /opt/sandbox-trace.bpf.o ] && export SANDBOX_TRACE_BPF_OBJECT=/opt/sandbox-trace.bpf.o
export SANDBOX_TRACE_BIN=/usr/bin/sandbox-trace
{ sh /script < /dev/null; echo $? > /out/status; } 2>&1 | tee /out/console > /dev/ttyS0
dmesg > /out/dmesg
tar -C /out -czf - . | base64 > /dev/ttyS1
poweroff -f
"#;

/// Where the tests' own programs are.
pub const TESTS: &str = "/opt/tests";

/// The longest that a guest may take; it boots in seconds, and all else is ten to twenty times as
/// slow as on the machine.
const LIMIT: Duration = Duration::from_secs(600);

/// What a script left behind in /out.
#[derive(Debug)]
pub struct Outcome {
    dir: tempfile::TempDir,
    /// The script's exit code.
    pub status: i32,
    /// What the script wrote to stdout and stderr.
    pub console: String,
    /// The guest kernel's messages.
    pub dmesg: String,
}

impl Outcome {
    /// A text file that the script wrote to /out.
    pub fn file(&self, name: &str) -> Result<String> {
        fs::read_to_string(self.dir.path().join(name))
            .with_context(|| format!("the guest left no {name}; its console:\n{}", self.console))
    }

    /// Copies all that the script wrote to /out.
    pub fn save(&self, folder: &Path) -> Result<()> {
        fs::create_dir_all(folder)?;
        succeed(Command::new("cp").arg("-r").arg(self.dir.path().join(".")).arg(folder)).map(drop)
    }

    /// AppArmor's denials for a profile.
    pub fn denials(&self, profile: &str) -> Vec<&str> {
        let profile = format!("profile=\"{profile}\"");
        self.dmesg
            .lines()
            .filter(|line| line.contains("apparmor=\"DENIED\"") && line.contains(&profile))
            .collect()
    }
}

/// A guest that is about to boot: it has the agent, AppArmor's tools and the product.
#[derive(Debug)]
pub struct Guest {
    work: tempfile::TempDir,
    kernel: Kernel,
    shown: bool,
}

impl Guest {
    /// Prepares one.
    pub fn new(kernel: Kernel) -> Result<Self> {
        let guest = Self { work: tempfile::tempdir()?, kernel, shown: false };
        let root = guest.root();
        fs::create_dir(&root)?;
        rootfs::build(&root)?;
        add_tools(&root)?;
        Ok(guest)
    }

    fn root(&self) -> PathBuf {
        self.work.path().join("root")
    }

    /// Shows what the guest says while it runs.
    #[must_use]
    pub fn shown(self) -> Self {
        Self { shown: true, ..self }
    }

    /// Adds to the guest's root file system what `add` adds to a folder.
    pub fn with_root(self, add: impl FnOnce(&Path) -> Result<()>) -> Result<Self> {
        add(&self.root())?;
        Ok(self)
    }

    /// Adds a text file; the path is absolute.
    pub fn with_file(self, path: &str, content: &str) -> Result<Self> {
        let target = rootfs::inside(&self.root(), Path::new(path));
        fs::create_dir_all(target.parent().context("a file without a folder")?)?;
        fs::write(target, content)?;
        Ok(self)
    }

    /// Adds a program, or any file, of this machine at its own place, and the libraries that it is linked with.
    pub fn with_program(self, program: &Path) -> Result<Self> {
        rootfs::add_program(&self.root(), program)?;
        Ok(self)
    }

    /// Adds a program of the tests, below [`TESTS`]: where it was built may be a folder that the guest mounts over.
    pub fn with_test_program(self, program: &Path) -> Result<Self> {
        let root = self.root();
        let folder = rootfs::inside(&root, Path::new(TESTS));
        fs::create_dir_all(&folder)?;
        fs::copy(program, folder.join(program.file_name().context("a program without a name")?))?;
        rootfs::add_libraries(&root, &[program.to_owned()])?;
        Ok(self)
    }

    /// Boots, runs a shell script and waits for the guest's end. What the script writes to /out comes back.
    pub fn run(self, script: &str) -> Result<Outcome> {
        let work = self.work.path();
        let root = self.root();
        fs::write(root.join("script"), script)?;
        fs::write(root.join("init"), INIT)?;
        fs::set_permissions(root.join("init"), fs::Permissions::from_mode(0o755))?;
        let initrd = work.join("initrd");
        require("cpio")?;
        succeed(
            Command::new("sh")
                .args(["-c", "find . -print0 | cpio --quiet --null --create --format=newc > \"$0\""])
                .arg(&initrd)
                .current_dir(&root),
        )?;
        let answer = work.join("answer");
        self.boot(&initrd, &answer)?;
        unpack(&answer, work)
    }

    fn boot(&self, initrd: &Path, answer: &Path) -> Result<()> {
        let log = self.work.path().join("qemu.log");
        let output = || -> Result<Stdio> {
            if self.shown {
                Ok(Stdio::inherit())
            } else {
                Ok(fs::File::options().create(true).append(true).open(&log)?.into())
            }
        };
        let said = || fs::read_to_string(&log).unwrap_or_else(|_| "(see above)".into());
        let child = Command::new(require("qemu-system-x86_64")?)
            // Emulation only: it works on machines without nested virtualisation too.
            .args([
                "-accel",
                "tcg",
                "-cpu",
                "max",
                "-smp",
                "2",
                "-m",
                "2048",
                "-nodefaults",
                "-display",
                "none",
            ])
            .args(["-no-reboot", "-serial", "stdio", "-serial"])
            .arg(format!("file:{}", answer.display()))
            .arg("-kernel")
            .arg(self.kernel.image()?)
            .arg("-initrd")
            .arg(initrd)
            .args(["-append", KERNEL_ARGS])
            .stdin(Stdio::null())
            .stdout(output()?)
            .stderr(output()?)
            .spawn()
            .context("can't start QEMU")?;
        let mut guest = Background(child);
        let ended = command::wait_until("the guest's end", LIMIT, || Ok(guest.0.try_wait()?.is_some()));
        ended.with_context(|| format!("Linux {} said:\n{}", self.kernel, said()))?;
        if fs::metadata(answer).map_or(0, |meta| meta.len()) == 0 {
            bail!("Linux {} sent no answer; it said:\n{}", self.kernel, said());
        }
        Ok(())
    }
}

fn add_tools(root: &Path) -> Result<()> {
    rootfs::add_program(root, &require("busybox")?)?;
    rootfs::add_program(root, &require("apparmor_parser")?)?;
    for folder in ["/etc/apparmor.d/abi", "/etc/apparmor.d/abstractions", "/etc/apparmor.d/tunables"] {
        rootfs::add_folder(root, Path::new(folder))?;
    }
    for folder in ["/etc/apparmor", "/usr/share/apparmor-features"] {
        // Not every version of the package has them.
        if Path::new(folder).is_dir() {
            rootfs::add_folder(root, Path::new(folder))?;
        }
    }
    let binary = product::binary()?;
    let inside = root.join("usr/bin/sandbox-trace");
    fs::copy(&binary, &inside)?;
    if let Some(object) = env::var_os("SANDBOX_TRACE_BPF_OBJECT") {
        fs::copy(object, root.join("opt/sandbox-trace.bpf.o")).context("can't copy the eBPF object")?;
    }
    rootfs::add_libraries(root, &[binary])
}

const KERNEL_ARGS: &str = "console=ttyS0 quiet panic=1 log_buf_len=8M audit_backlog_limit=65536 \
    lsm=landlock,lockdown,yama,apparmor,bpf apparmor=1";

fn unpack(answer: &Path, work: &Path) -> Result<Outcome> {
    let archive = work.join("answer.tar.gz");
    let decoded = succeed(Command::new("base64").args(["--decode", "--ignore-garbage"]).arg(answer))?;
    fs::write(&archive, decoded.stdout)?;
    let dir = tempfile::tempdir()?;
    succeed(Command::new("tar").arg("-xzf").arg(&archive).arg("-C").arg(dir.path()))?;
    let read = |name: &str| -> Result<String> {
        let bytes = fs::read(dir.path().join(name)).with_context(|| format!("the guest left no {name}"))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let (status, console, dmesg) = (read("status")?.trim().parse()?, read("console")?, read("dmesg")?);
    ensure!(dmesg.contains("AppArmor: AppArmor initialized"), "the guest's kernel has no AppArmor:\n{dmesg}");
    Ok(Outcome { status, console, dmesg, dir })
}
