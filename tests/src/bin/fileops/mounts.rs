//! Operations through mounts that only this mount namespace has.

use nix::libc::{AT_FDCWD, O_CREAT, O_RDONLY, O_WRONLY};

use crate::sys::{call, fails, file, folder, link, open};

pub fn prepare() {
    folder("bind_source/below");
    file("bind_source/f");
    file("bind_source/below/removed");
    link("below", "bind_source/link");
    folder("bind");
    folder("tmpfs");
}

pub fn run() {
    open("bind/f", O_RDONLY);
    open("bind_source/f", O_RDONLY);
    call!(SYS_unlink, "bind/link/removed");
    fails!(ENOENT, SYS_openat, AT_FDCWD, "bind/link/missing", O_RDONLY);
    open("tmpfs/new", O_WRONLY | O_CREAT);
    call!(SYS_mkdir, "tmpfs/dir", 0o755);
    call!(SYS_rename, "tmpfs/dir", "tmpfs/dir2");
    fails!(ENOENT, SYS_unlink, "tmpfs/missing");
    // Symbolic links in names that are gone are looked up in this namespace, which ends with this process: a recorder on
    // a busy machine would come too late.
    std::thread::sleep(std::time::Duration::from_millis(500));
}
