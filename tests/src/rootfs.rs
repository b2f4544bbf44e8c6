//! A small root file system from this machine's own files: Python, a shell and the agent. No registry is needed,
//! and the container runs the very programs that the host tests run.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::{
    agent,
    command::{require, require_path, succeed},
};

/// Parts of Python's library that nothing here imports and that make most of its size.
const LEFT_OUT: [&str; 8] =
    ["dist-packages", "ensurepip", "idlelib", "lib2to3", "pydoc_data", "test", "tkinter", "unittest"];

/// Makes the root file system in `root`, an existing empty folder.
pub fn build(root: &Path) -> Result<()> {
    for dir in
        ["usr/bin", "usr/sbin", "usr/lib", "usr/lib64", "dev", "etc", "opt", "proc", "root", "run", "sys"]
    {
        fs::create_dir_all(root.join(dir))?;
    }
    for dir in ["bin", "sbin", "lib", "lib64"] {
        symlink(format!("usr/{dir}"), root.join(dir))?;
    }
    fs::create_dir(root.join("tmp"))?;
    fs::set_permissions(root.join("tmp"), fs::Permissions::from_mode(0o1777))?;

    let etc = [
        ("passwd", "root:x:0:0:root:/root:/bin/sh\n"),
        ("group", "root:x:0:\n"),
        ("shadow", "root:*:19000:0:99999:7:::\n"),
        // The tool server looks its own address up: from a file, never over the network.
        ("hosts", "127.0.0.1 localhost\n"),
        ("nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\n"),
    ];
    for (name, content) in etc {
        fs::write(root.join("etc").join(name), content)?;
    }

    let python = Path::new("/usr/bin/python3");
    require_path(python)?;
    add_program(root, python)?;
    add_program(root, &require("sh")?)?;
    add_python_library(root, python)?;

    let agent = root.join(agent::DIR.trim_start_matches('/'));
    fs::create_dir_all(&agent)?;
    for name in ["agent.py", "config.json"] {
        fs::copy(agent::source().join(name), agent.join(name))?;
    }
    Ok(())
}

/// Copies a program to its own place, with the libraries that it is linked with.
pub fn add_program(root: &Path, program: &Path) -> Result<()> {
    copy(root, program)?;
    add_libraries(root, &[program.to_owned()])
}

/// Copies a folder as it is.
pub fn add_folder(root: &Path, folder: &Path) -> Result<()> {
    require_path(folder)?;
    let parent = inside(root, folder).parent().context("a folder without a parent")?.to_owned();
    fs::create_dir_all(&parent)?;
    succeed(Command::new("cp").arg("-a").arg(folder).arg(&parent)).map(drop)
}

/// A path of this machine, in the root file system.
pub fn inside(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

fn add_python_library(root: &Path, python: &Path) -> Result<()> {
    let ask = "import sysconfig; print(sysconfig.get_path('stdlib'))";
    let output = succeed(Command::new(python).args(["-I", "-c", ask]))?;
    let library = PathBuf::from(String::from_utf8(output.stdout)?.trim());
    let target = inside(root, &library);
    fs::create_dir_all(&target)?;
    for entry in fs::read_dir(&library)? {
        let entry = entry?;
        let name = entry.file_name();
        if LEFT_OUT.iter().any(|part| name == *part) || name.to_string_lossy().starts_with("config-") {
            continue;
        }
        // -a keeps the time stamps, without which Python would compile its library again.
        succeed(Command::new("cp").arg("-a").arg(entry.path()).arg(&target))?;
    }
    let modules: Vec<PathBuf> =
        fs::read_dir(library.join("lib-dynload"))?.flatten().map(|entry| entry.path()).collect();
    add_libraries(root, &modules)
}

/// Copies the libraries that `files` are linked with. Asks the real loader, through ldd.
pub fn add_libraries(root: &Path, files: &[PathBuf]) -> Result<()> {
    // ldd fails on a static program, which is no reason to fail here.
    let output = Command::new(require("ldd")?).args(files).output()?;
    let text = String::from_utf8(output.stdout)?;
    let libraries: BTreeSet<&str> =
        text.split_whitespace().filter(|word| word.starts_with('/') && !word.ends_with(':')).collect();
    for library in libraries {
        copy(root, Path::new(library))?;
    }
    Ok(())
}

/// Copies a file under the name by which it is asked for, following symlinks.
fn copy(root: &Path, file: &Path) -> Result<()> {
    let target = inside(root, file);
    let parent = target.parent().context("a file without a folder")?;
    fs::create_dir_all(parent)?;
    if !target.exists() {
        fs::copy(file, &target).with_context(|| format!("can't copy {}", file.display()))?;
    }
    Ok(())
}
