//! Rebuilding the file system tree and entering other namespaces. What is mounted is mounted in a mount namespace of
//! the child's own, a copy of the container's with the same owner, and goes away with the child.

use nix::{errno::Errno, libc};

use super::{Check, Subject, refused};
use crate::probe::board::{Arg, Seen, n};

const MOUNT: &str =
    "who can mount can lay files over the container's protections, or the host's disk into it";
const NAMESPACE: &str =
    "a new namespace gives its maker privileges in it, and most kernel exploits begin there";
const ENTER: &str = "entering another namespace is the way out of this one";

pub fn checks(subject: &Subject) -> Vec<Check> {
    let mut out = mounts();
    out.extend(roots());
    out.extend(new_namespaces());
    out.extend(entered(subject));
    out
}

fn mounts() -> Vec<Check> {
    let private = |id: &str, title: &str, inside: fn(&crate::probe::board::Board) -> Seen| {
        Check::tried(id, title, MOUNT, inside).with_private_mounts()
    };
    vec![
        private("mount:tmpfs", "mount a tmpfs", |board| {
            let mut args =
                [Arg::Path(c"none"), Arg::Path(c"/"), Arg::Path(c"tmpfs"), n(0), Arg::Path(c"size=4k")];
            refused(board, libc::SYS_mount, &mut args, &[])
        }),
        private("mount:bind", "bind-mount a folder", |board| {
            let bind = i64::try_from(libc::MS_BIND).unwrap_or(0);
            let mut args = [Arg::Path(c"/"), Arg::Path(c"/"), n(0), n(bind), n(0)];
            refused(board, libc::SYS_mount, &mut args, &[])
        }),
        private("mount:remount", "make the root file system writable (remount)", |board| {
            let again = i64::try_from(libc::MS_REMOUNT | libc::MS_BIND).unwrap_or(0);
            let mut args = [n(0), Arg::Path(c"/"), n(0), n(again), n(0)];
            refused(board, libc::SYS_mount, &mut args, &[])
        }),
        private("mount:proc", "mount a /proc without masks", |board| {
            let mut args = [Arg::Path(c"none"), Arg::Path(c"/"), Arg::Path(c"proc"), n(0), n(0)];
            refused(board, libc::SYS_mount, &mut args, &[])
        }),
        private("mount:fsopen", "mount by the new interface (fsopen)", |board| {
            let mut args = [Arg::Path(c"tmpfs"), n(1)];
            refused(board, libc::SYS_fsopen, &mut args, &[])
        }),
        private("mount:open_tree", "copy a mount (open_tree)", |board| {
            // OPEN_TREE_CLONE and OPEN_TREE_CLOEXEC.
            let how = i64::from(1 | libc::O_CLOEXEC);
            let mut args = [n(i64::from(libc::AT_FDCWD)), Arg::Path(c"/"), n(how)];
            refused(board, libc::SYS_open_tree, &mut args, &[])
        }),
        private("mount:setattr", "change a mount's options (mount_setattr)", |board| {
            // struct mount_attr: set nothing, clear read-only.
            let mut attr = [0u8; 32];
            attr[8] = 1;
            let mut args = [n(i64::from(libc::AT_FDCWD)), Arg::Path(c"/"), n(0), Arg::In(&attr), n(32)];
            refused(board, libc::SYS_mount_setattr, &mut args, &[Errno::EINVAL])
        }),
        private("umount", "take a mount away, and with it a mask", |board| {
            let mut args = [Arg::Path(c"/proc"), n(i64::from(libc::MNT_DETACH))];
            refused(board, libc::SYS_umount2, &mut args, &[Errno::EINVAL])
        }),
    ]
}

fn roots() -> Vec<Check> {
    vec![
        Check::tried("pivot-root", "change the root of the mount namespace (pivot_root)", MOUNT, |board| {
            let mut args = [Arg::Path(c"/"), Arg::Path(c"/")];
            refused(board, libc::SYS_pivot_root, &mut args, &[Errno::EBUSY, Errno::EINVAL])
        })
        .with_private_mounts(),
        Check::tried(
            "chroot",
            "change the root directory (chroot)",
            "a process that may chroot can walk out of one, and mislead setuid programs about their files",
            |board| refused(board, libc::SYS_chroot, &mut [Arg::Path(c"/")], &[]),
        ),
    ]
}

/// Names and flags of `unshare` and `clone3`.
const KINDS: [(&str, i64); 8] = [
    ("user", 0x1000_0000),
    ("mnt", 0x0002_0000),
    ("pid", 0x2000_0000),
    ("net", 0x4000_0000),
    ("ipc", 0x0800_0000),
    ("uts", 0x0400_0000),
    ("cgroup", 0x0200_0000),
    ("time", 0x80),
];

fn new_namespaces() -> Vec<Check> {
    let mut out: Vec<Check> = KINDS
        .into_iter()
        .map(|(name, flag)| {
            Check::tried(
                format!("unshare:{name}"),
                format!("make a {name} namespace"),
                NAMESPACE,
                move |board| refused(board, libc::SYS_unshare, &mut [n(flag)], &[]),
            )
        })
        .collect();
    out.push(Check::tried("clone3-user", "make a user namespace by clone3", NAMESPACE, |board| {
        // struct clone_args: flags, then the exit signal as the fifth word.
        let mut args = [0u8; 64];
        for (place, byte) in args.iter_mut().zip(0x1000_0000u64.to_ne_bytes()) {
            *place = byte;
        }
        for (place, byte) in args.iter_mut().skip(32).zip(17u64.to_ne_bytes()) {
            *place = byte;
        }
        match board.call(libc::SYS_clone3, &mut [Arg::In(&args), n(64)]) {
            // The new process: it does nothing, and is ended with the session.
            Ok(0) => loop {
                std::hint::spin_loop();
            },
            Ok(_) => Seen::open(format_args!("allowed")),
            Err(errno) => Seen::refused(errno),
        }
    }));
    out.push(Check::tried(
        "user-namespace-mount",
        "mount in a user namespace of its own",
        NAMESPACE,
        |board| {
            let both = n(0x1000_0000 | 0x0002_0000);
            if let Err(errno) = board.call(libc::SYS_unshare, &mut [both]) {
                return Seen::refused(errno);
            }
            let mut args =
                [Arg::Path(c"none"), Arg::Path(c"/"), Arg::Path(c"tmpfs"), n(0), Arg::Path(c"size=4k")];
            refused(board, libc::SYS_mount, &mut args, &[])
        },
    ));
    out
}

fn entered(subject: &Subject) -> Vec<Check> {
    // Where /proc shows the host's processes, number 1 is the host's own first process.
    let pid = if subject.shares_pids { 1 } else { subject.inside_pid };
    ["mnt", "net", "pid", "user"]
        .into_iter()
        .map(|name| {
            let path = super::files::c_string(format!("/proc/{pid}/ns/{name}").as_bytes());
            let flag = KINDS.into_iter().find(|(kind, _)| *kind == name).map_or(0, |(_, flag)| flag);
            Check::tried(
                format!("setns:{name}"),
                format!("enter the {name} namespace of process {pid}"),
                ENTER,
                move |board| {
                    let file = match super::files::open(board, &path, libc::O_RDONLY) {
                        Ok(file) => file,
                        Err(errno) => return Seen::refused(errno),
                    };
                    refused(board, libc::SYS_setns, &mut [n(file), n(flag)], &[])
                },
            )
        })
        .collect()
}
