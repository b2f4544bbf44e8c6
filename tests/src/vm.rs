//! A guest with AppArmor: a kernel and an initramfs under QEMU, without KVM. It runs one script and hands back what
//! the script wrote.

use std::{
    env, fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};

use crate::{
    command::{self, Background, SETUP, require, require_path, succeed},
    product, rootfs,
};

/// What runs as PID 1: sets the guest up, runs /script, and sends /out over the second serial port, where no kernel
/// message can come between.
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
mount -t tmpfs -o mode=1777 tmpfs /tmp
ip link set lo up
# Each denial must reach dmesg, however many there are.
echo 0 > /proc/sys/kernel/printk_ratelimit
stty -F /dev/ttyS1 raw
[ -f /opt/sandbox-trace.bpf.o ] && export SANDBOX_TRACE_BPF_OBJECT=/opt/sandbox-trace.bpf.o
sh /script < /dev/null > /out/console 2>&1
echo $? > /out/status
dmesg > /out/dmesg
tar -C /out -czf - . | base64 > /dev/ttyS1
poweroff -f
"#;

/// The longest that a guest may take; it boots in seconds, and Python under emulation is slow.
const LIMIT: Duration = Duration::from_secs(300);

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

    /// AppArmor's denials for a profile.
    pub fn denials(&self, profile: &str) -> Vec<&str> {
        let profile = format!("profile=\"{profile}\"");
        self.dmesg
            .lines()
            .filter(|line| line.contains("apparmor=\"DENIED\"") && line.contains(&profile))
            .collect()
    }
}

/// Runs a shell script in a guest that has the agent, AppArmor's tools, the product, and `files` (absolute path
/// and content). What the script writes to /out comes back.
pub fn run(script: &str, files: &[(&str, &str)]) -> Result<Outcome> {
    run_with(script, files, &[])
}

/// As [`run`], in a guest that has these programs of the host, too, in their own places.
pub fn run_with(script: &str, files: &[(&str, &str)], programs: &[&Path]) -> Result<Outcome> {
    let work = tempfile::tempdir()?;
    let root = work.path().join("root");
    fs::create_dir(&root)?;
    rootfs::build(&root)?;
    add_tools(&root)?;
    for program in programs {
        rootfs::add_program(&root, program)?;
    }
    for (path, content) in files {
        let target = rootfs::inside(&root, Path::new(path));
        fs::create_dir_all(target.parent().context("a file without a folder")?)?;
        fs::write(target, content)?;
    }
    fs::write(root.join("script"), script)?;
    fs::write(root.join("init"), INIT)?;
    fs::set_permissions(root.join("init"), fs::Permissions::from_mode(0o755))?;

    let initrd = work.path().join("initrd");
    require("cpio")?;
    succeed(
        Command::new("sh")
            .args(["-c", "find . -print0 | cpio --quiet --null --create --format=newc > \"$0\""])
            .arg(&initrd)
            .current_dir(&root),
    )?;
    let answer = work.path().join("answer");
    boot(&initrd, &answer, work.path())?;
    unpack(&answer, work.path())
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

fn kernel() -> Result<PathBuf> {
    let boot = product::target_dir().join("guest/boot");
    require_path(&boot)?;
    let mut kernels: Vec<PathBuf> = fs::read_dir(&boot)?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz-")))
        .collect();
    kernels.sort();
    kernels.pop().with_context(|| format!("there is no kernel in {}: {SETUP}", boot.display()))
}

fn boot(initrd: &Path, answer: &Path, work: &Path) -> Result<()> {
    let log = work.join("qemu.log");
    let output = fs::File::create(&log)?;
    let child = Command::new(require("qemu-system-x86_64")?)
        // Emulation only: it works on machines without nested virtualisation too.
        .args(["-accel", "tcg", "-cpu", "max", "-smp", "2", "-m", "2048", "-nodefaults", "-display", "none"])
        .args(["-no-reboot", "-serial", "stdio", "-serial"])
        .arg(format!("file:{}", answer.display()))
        .arg("-kernel")
        .arg(kernel()?)
        .arg("-initrd")
        .arg(initrd)
        .args(["-append", KERNEL_ARGS])
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        .spawn()
        .context("can't start QEMU")?;
    let mut guest = Background(child);
    let ended = command::wait_until("the guest's end", LIMIT, || Ok(guest.0.try_wait()?.is_some()));
    ended.with_context(|| format!("the guest said:\n{}", fs::read_to_string(&log).unwrap_or_default()))?;
    let size = fs::metadata(answer).map_or(0, |meta| meta.len());
    if size == 0 {
        bail!("the guest sent no answer; it said:\n{}", fs::read_to_string(&log)?);
    }
    Ok(())
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
