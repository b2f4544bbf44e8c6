//! Making, removing, renaming and linking names.

use std::os::fd::AsRawFd as _;

use nix::libc::{self, AT_FDCWD, AT_REMOVEDIR, O_DIRECTORY, O_PATH, RENAME_EXCHANGE};

use crate::sys::{call, fails, file, folder, link, open, owned};

pub fn prepare() {
    for name in ["removed", "removed_at", "real/removed", "rename_old", "renameat_old", "exchange_a"] {
        file(name);
    }
    for name in ["exchange_b", "link_old", "linkat_old", "link_target", "rename_over", "rename_over_old"] {
        file(name);
    }
    file("odd_\"\n_removed");
    for name in ["rmdir", "removed_dir", "full/inside", "rename_dir_old", "dirfd2", "rename_dir_gone"] {
        folder(name);
    }
    link("link_target", "link_removed");
    link("link_target", "link_hard");
}

pub fn run() {
    made();
    removed();
    renamed();
    linked();
    failures();
}

fn made() {
    call!(SYS_mkdir, "mkdir", 0o755);
    call!(SYS_mkdirat, AT_FDCWD, "mkdir_slash/", 0o755);
    call!(SYS_mkdir, "linked/mkdir", 0o755);
    call!(SYS_mkdir, "sub/../mkdir_dotdot", 0o755);
    let directory = open("dirfd2", O_PATH | O_DIRECTORY);
    call!(SYS_mkdirat, &directory, "mkdir_rel", 0o755);
    call!(SYS_mknod, "fifo", libc::S_IFIFO | 0o644, 0);
    call!(SYS_mknodat, &directory, "fifo_rel", libc::S_IFIFO | 0o644, 0);
    call!(SYS_symlink, "anywhere", "symlink");
    call!(SYS_symlinkat, "/any/where", &directory, "symlink_rel");
    bind("socket");
}

/// Makes a name by binding a socket to it.
fn bind(name: &str) {
    let socket = owned(call!(SYS_socket, libc::AF_UNIX, libc::SOCK_STREAM, 0));
    // SAFETY: a structure of integers.
    let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    address.sun_family = u16::try_from(libc::AF_UNIX).expect("a small number");
    for (place, byte) in address.sun_path.iter_mut().zip(name.bytes()) {
        *place = byte.cast_signed();
    }
    call!(SYS_bind, socket.as_raw_fd(), &address, size_of_val(&address));
}

fn removed() {
    call!(SYS_unlink, "removed");
    call!(SYS_unlinkat, AT_FDCWD, "removed_at", 0);
    call!(SYS_unlink, "linked/removed");
    call!(SYS_unlink, "odd_\"\n_removed");
    // The link goes, not what it points to.
    call!(SYS_unlink, "link_removed");
    call!(SYS_rmdir, "rmdir");
    call!(SYS_unlinkat, AT_FDCWD, "removed_dir", AT_REMOVEDIR);
}

fn renamed() {
    call!(SYS_rename, "rename_old", "rename_new");
    call!(SYS_renameat, AT_FDCWD, "renameat_old", AT_FDCWD, "linked/renameat_new");
    call!(SYS_rename, "rename_dir_old", "rename_dir_new");
    call!(SYS_rename, "rename_over_old", "rename_over");
    call!(SYS_renameat2, AT_FDCWD, "exchange_a", AT_FDCWD, "exchange_b", RENAME_EXCHANGE);
    // Gone before anybody can look whether it is a folder.
    call!(SYS_mkdir, "rename_dir_brief", 0o755);
    call!(SYS_rename, "rename_dir_brief", "rename_dir_briefer");
    call!(SYS_rmdir, "rename_dir_briefer");
}

fn linked() {
    call!(SYS_link, "link_old", "link_new");
    call!(SYS_linkat, AT_FDCWD, "linkat_old", AT_FDCWD, "linked/linkat_new", 0);
    // A name for the symbolic link itself.
    call!(SYS_link, "link_hard", "link_hard_new");
}

fn failures() {
    fails!(ENOTEMPTY, SYS_rmdir, "full");
    fails!(ENOTEMPTY, SYS_unlinkat, AT_FDCWD, "full", AT_REMOVEDIR);
    fails!(ENOENT, SYS_unlink, "missing_removed");
    fails!(EISDIR, SYS_unlink, "full");
    fails!(EEXIST, SYS_mkdir, "full", 0o755);
    fails!(ENOENT, SYS_rename, "missing_old", "missing_new");
    fails!(EEXIST, SYS_link, "link_old", "link_target");
    fails!(ENOTDIR, SYS_rmdir, "link_old");
}
