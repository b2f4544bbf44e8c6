//! The one root file system of all workloads: real programs of this machine's packages, and the workloads' own files.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use super::PROGRAMS;
use crate::{
    command::{require, require_path, succeed},
    rootfs,
};

/// Where the workloads' own programs are.
pub const DIR: &str = "/opt/matrix";

/// Programs of Debian packages; those that are linked with something bring it along.
const TOOLS: [&str; 57] = [
    "env",
    "awk",
    "basename",
    "cat",
    "cksum",
    "cmp",
    "cp",
    "cut",
    "date",
    "diff",
    "dirname",
    "find",
    "grep",
    "gzip",
    "head",
    "ls",
    "mkdir",
    "mkfifo",
    "mktemp",
    "mv",
    "paste",
    "printf",
    "rm",
    "sed",
    "seq",
    "sha256sum",
    "sleep",
    "sort",
    "split",
    "tail",
    "tar",
    "tee",
    "touch",
    "tr",
    "uname",
    "uniq",
    "wc",
    "xargs",
    "chmod",
    "ln",
    "expr",
    "id",
    "true",
    "busybox",
    "nginx",
    "sqlite3",
    "git",
    "gcc",
    "as",
    "ld",
    "perl",
    "redis-server",
    "redis-cli",
    "bash",
    "od",
    "comm",
    "readlink",
];

/// What git runs by name from its own folder.
const GIT: [&str; 14] = [
    "git",
    "git-upload-pack",
    "git-receive-pack",
    "git-pack-objects",
    "git-unpack-objects",
    "git-index-pack",
    "git-gc",
    "git-repack",
    "git-prune",
    "git-rerere",
    "git-rev-list",
    "git-merge",
    "git-maintenance",
    "git-pack-refs",
];

/// Makes the root file system in `root`, an existing empty folder.
pub fn build(root: &Path) -> Result<()> {
    rootfs::build(root)?;
    add(root)
}

/// Adds the workloads to a root file system that has the agent.
pub fn add(root: &Path) -> Result<()> {
    for dir in ["data", "var/tmp", "var/log/nginx", "var/lib/nginx"] {
        fs::create_dir_all(root.join(dir))?;
    }
    fs::set_permissions(root.join("var/tmp"), fs::Permissions::from_mode(0o1777))?;
    for name in TOOLS {
        rootfs::add_program(root, &debian(name)?)?;
    }
    add_git(root)?;
    add_compiler(root)?;
    rootfs::add_folder(root, Path::new("/usr/lib/x86_64-linux-gnu/perl-base"))?;
    let folder = rootfs::inside(root, Path::new(DIR));
    fs::create_dir_all(&folder)?;
    for (name, content) in PROGRAMS {
        let file = folder.join(name);
        fs::write(&file, content)?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}

/// A package's program: another of the same name may be in /usr/local.
fn debian(name: &str) -> Result<PathBuf> {
    let found = require(name)?;
    // One name for each program: /bin and /sbin are symbolic links here.
    let text = found.to_string_lossy();
    Ok(if text.starts_with("/bin/") || text.starts_with("/sbin/") {
        PathBuf::from(format!("/usr{text}"))
    } else {
        found
    })
}

fn add_git(root: &Path) -> Result<()> {
    let folder = Path::new("/usr/lib/git-core");
    require_path(folder)?;
    fs::create_dir_all(rootfs::inside(root, folder))?;
    for name in GIT {
        succeed(Command::new("cp").arg("-a").arg(folder.join(name)).arg(rootfs::inside(root, folder)))?;
    }
    rootfs::add_folder(root, Path::new("/usr/share/git-core/templates"))
}

/// The C compiler: what gcc runs, what it links with and the C library's headers.
fn add_compiler(root: &Path) -> Result<()> {
    let ask = |what: &str| -> Result<PathBuf> {
        let output = succeed(Command::new(debian("gcc")?).arg(what))?;
        Ok(PathBuf::from(String::from_utf8(output.stdout)?.trim()))
    };
    let library = ask("-print-libgcc-file-name")?.parent().context("libgcc is in no folder")?.to_owned();
    for name in ["cc1", "collect2", "lto-wrapper", "liblto_plugin.so"] {
        rootfs::add_program(root, &library.join(name))?;
    }
    for name in ["crtbegin.o", "crtbeginS.o", "crtend.o", "crtendS.o", "libgcc.a", "libgcc_s.so"] {
        copy(root, &library.join(name))?;
    }
    rootfs::add_folder(root, &library.join("include"))?;
    let system = ask("-print-file-name=crt1.o")?;
    let system = fs::canonicalize(system)?.parent().context("crt1.o is in no folder")?.to_owned();
    for name in ["crt1.o", "Scrt1.o", "crti.o", "crtn.o", "libc.so", "libc_nonshared.a", "libgcc_s.so.1"] {
        let file = system.join(name);
        // libgcc_s may be in the folder above.
        if file.exists() {
            copy(root, &file)?;
        }
    }
    for folder in ["bits", "sys", "gnu"] {
        rootfs::add_folder(root, &Path::new("/usr/include/x86_64-linux-gnu").join(folder))?;
    }
    for header in ["stdio.h", "features.h", "features-time64.h", "stdc-predef.h"] {
        copy(root, &Path::new("/usr/include").join(header))?;
    }
    let shared = rootfs::inside(root, Path::new("/usr/lib/x86_64-linux-gnu/libc.so.6"));
    if !shared.exists() {
        let target = rootfs::inside(root, Path::new("/lib/x86_64-linux-gnu/libc.so.6"));
        symlink(target, shared)?;
    }
    Ok(())
}

fn copy(root: &Path, file: &Path) -> Result<()> {
    let target = rootfs::inside(root, file);
    fs::create_dir_all(target.parent().context("a file without a folder")?)?;
    fs::copy(file, &target).with_context(|| format!("can't copy {}", file.display()))?;
    Ok(())
}
