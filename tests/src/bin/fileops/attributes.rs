//! Changing mode, owner and length; locking.

use nix::libc::{
    self, AT_EMPTY_PATH, AT_FDCWD, AT_SYMLINK_NOFOLLOW, F_OFD_SETLK, F_SETLK, LOCK_EX, LOCK_NB, LOCK_SH,
    O_RDONLY, O_RDWR, O_WRONLY,
};

use crate::sys::{call, fails, file, link, open};

pub fn prepare() {
    for name in ["chmod", "fchmod", "fchmodat", "chown", "fchown", "fchownat", "truncate", "ftruncate"] {
        file(name);
    }
    for name in ["flock_sh", "flock_ex", "fcntl_r", "fcntl_w", "ofd_w", "busy", "real/chmod"] {
        file(name);
    }
    link("chmod_followed", "chmod_link");
    file("chmod_followed");
    for name in ["lchown_link", "fchownat_link"] {
        link("chown", name);
    }
}

pub fn run() {
    call!(SYS_chmod, "chmod", 0o600);
    call!(SYS_chmod, "linked/chmod", 0o600);
    call!(SYS_chmod, "chmod_link", 0o600);
    call!(SYS_chmod, "sub", 0o700);
    call!(SYS_fchmod, &open("fchmod", O_RDONLY), 0o600);
    call!(SYS_fchmodat, AT_FDCWD, "fchmodat", 0o600);
    call!(SYS_chown, "chown", 1, 1);
    call!(SYS_lchown, "lchown_link", 1, 1);
    call!(SYS_fchown, &open("fchown", O_RDONLY), 1, 1);
    call!(SYS_fchownat, AT_FDCWD, "fchownat_link", 1, 1, AT_SYMLINK_NOFOLLOW);
    call!(SYS_fchownat, &open("fchownat", O_RDONLY), "", 1, 1, AT_EMPTY_PATH);
    call!(SYS_truncate, "truncate", 0usize);
    call!(SYS_ftruncate, &open("ftruncate", O_WRONLY), 0usize);
    locks();
}

fn locks() {
    call!(SYS_flock, &open("flock_sh", O_RDONLY), LOCK_SH);
    call!(SYS_flock, &open("flock_ex", O_RDONLY), LOCK_EX);
    let lock = |kind: i32| {
        // SAFETY: a structure of integers.
        let mut lock: libc::flock = unsafe { std::mem::zeroed() };
        lock.l_type = i16::try_from(kind).expect("a small number");
        lock
    };
    call!(SYS_fcntl, &open("fcntl_r", O_RDONLY), F_SETLK, &lock(libc::F_RDLCK));
    call!(SYS_fcntl, &open("fcntl_w", O_RDWR), F_SETLK, &lock(libc::F_WRLCK));
    call!(SYS_fcntl, &open("ofd_w", O_RDWR), F_OFD_SETLK, &lock(libc::F_WRLCK));
    let holder = open("busy", O_RDONLY);
    call!(SYS_flock, &holder, LOCK_EX);
    fails!(EAGAIN, SYS_flock, &open("busy", O_RDONLY), LOCK_SH | LOCK_NB);
}
