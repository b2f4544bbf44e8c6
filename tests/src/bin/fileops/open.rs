//! Opening files, in all ways and by all kinds of names.

use std::{
    ffi::OsStr,
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
};

use nix::libc::{
    self, AT_EMPTY_PATH, AT_FDCWD, AT_SYMLINK_FOLLOW, O_APPEND, O_CREAT, O_DIRECTORY, O_EXCL, O_PATH,
    O_RDONLY, O_RDWR, O_TMPFILE, O_TRUNC, O_WRONLY,
};

use crate::sys::{call, fails, file, folder, link, open, owned};

/// Names that a careless writer of text would break on.
const ODD: [&[u8]; 5] = [b"new\nline", b"qu\"ote", b"back\\slash", b"not-utf8-\xff\xfe", b"glob-*?[a]{b,c}"];

pub fn prepare() {
    for name in ["r", "w", "rw", "a", "path", "openat2", "truncated", "by_open", "by_creat", "reopened"] {
        file(format!("open_{name}"));
    }
    for name in ["listed", "tmp", "sub", "real", "dirfd", "A/B"] {
        folder(name);
    }
    link("real", "linked");
    for name in ["dotdot", "real/through", "dirfd/rel", "A/B/f"] {
        file(name);
    }
    folder(deep());
    file(format!("{}/f", deep()));
    file("n".repeat(255));
    for name in ODD {
        file(OsStr::from_bytes(name));
    }
}

/// 64 folders, one in the other.
fn deep() -> String {
    ["d"; 64].join("/")
}

pub fn run() {
    modes();
    temporary();
    paths();
    failures();
}

fn modes() {
    open("open_r", O_RDONLY);
    open("open_w", O_WRONLY);
    open("open_rw", O_RDWR);
    open("open_a", O_WRONLY | O_APPEND);
    open("open_truncated", O_WRONLY | O_TRUNC);
    open("open_created", O_WRONLY | O_CREAT | O_TRUNC);
    open("open_created_r", O_RDONLY | O_CREAT);
    open("open_created_once", O_RDWR | O_CREAT | O_EXCL);
    open("listed", O_RDONLY | O_DIRECTORY);
    owned(call!(SYS_open, "open_by_open", O_RDONLY));
    owned(call!(SYS_creat, "open_by_creat", 0o644));
    // SAFETY: a structure of integers.
    let mut how: libc::open_how = unsafe { std::mem::zeroed() };
    how.flags = O_RDWR as u64;
    owned(call!(SYS_openat2, AT_FDCWD, "open_openat2", &how, size_of_val(&how)));
    // No access of the file itself, but a way to open it by its descriptor.
    open("open_path", O_PATH);
    let handle = open("open_reopened", O_PATH);
    open(&format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&handle)), O_RDONLY);
}

/// Files without a name, that get one later; prints their inode numbers, which are part of their paths.
fn temporary() {
    for (index, name) in ["by_empty_path", "by_proc"].iter().enumerate() {
        let fd = open("tmp", O_TMPFILE | O_RDWR);
        let new = format!("tmp/{name}");
        if index == 0 {
            call!(SYS_linkat, &fd, "", AT_FDCWD, new.as_str(), AT_EMPTY_PATH);
        } else {
            let old = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&fd));
            call!(SYS_linkat, AT_FDCWD, old.as_str(), AT_FDCWD, new.as_str(), AT_SYMLINK_FOLLOW);
        }
        println!("{}", std::fs::File::from(fd).metadata().expect("an inode").ino());
    }
}

fn paths() {
    let here = std::env::current_dir().expect("the folder");
    open("linked/through", O_RDONLY);
    open("sub/../dotdot", O_RDONLY);
    let directory = open("dirfd", O_PATH | O_DIRECTORY);
    owned(call!(SYS_openat, &directory, "rel", O_RDONLY));
    let absolute = here.join("absolute");
    open(absolute.as_os_str().as_bytes(), O_WRONLY | O_CREAT);
    open(&format!("{}/f", deep()), O_RDONLY);
    open(&"n".repeat(255), O_RDONLY);
    for name in ODD {
        open(name, O_RDONLY);
    }
    // The very file under two names in turn: both must be known.
    open("A/B/f", O_RDONLY);
    call!(SYS_rename, "A", "C");
    open("C/B/f", O_RDONLY);
}

fn failures() {
    fails!(ENOENT, SYS_openat, AT_FDCWD, "missing", O_RDONLY);
    fails!(ENOENT, SYS_openat, AT_FDCWD, "linked/missing", O_RDWR);
    fails!(ENOENT, SYS_openat, AT_FDCWD, "sub/../missing_dotdot", O_RDONLY);
    fails!(ENOENT, SYS_openat, AT_FDCWD, &b"missing\n\"\xff"[..], O_RDONLY);
    let directory = open("dirfd", O_PATH | O_DIRECTORY);
    fails!(ENOENT, SYS_openat, &directory, "missing_rel", O_RDONLY);
    fails!(ENOENT, SYS_open, "missing_by_open", O_RDONLY);
    fails!(ENOENT, SYS_creat, "no_folder/creat", 0o644);
    fails!(ENOTDIR, SYS_openat, AT_FDCWD, "open_r/below", O_RDONLY);
    fails!(EEXIST, SYS_openat, AT_FDCWD, "open_rw", O_RDWR | O_CREAT | O_EXCL);
    fails!(EISDIR, SYS_openat, AT_FDCWD, "listed", O_WRONLY);
}
