//! Calls into the kernel that belong to the host's administrator, and those that kernels are broken into by.

use nix::{errno::Errno, libc};

use super::{Check, Subject, files, refused};
use crate::probe::board::{Arg, Board, Seen, n};

const LOAD: &str = "who loads code into the kernel owns the host";
const HOST: &str = "it is a setting of the whole host";
const ATTACKED: &str = "it is a large part of the kernel that applications don't need, and that exploits do";

/// Capabilities by number (include/uapi/linux/capability.h).
const SYS_ADMIN: u32 = 21;
const SYS_TIME: u32 = 25;

pub fn checks(subject: &Subject) -> Vec<Check> {
    let mut out = modules();
    out.extend(attacked());
    out.extend(keys());
    out.extend(host(subject));
    out.push(devices());
    out.push(make_device(subject));
    out.push(terminal());
    out
}

fn modules() -> Vec<Check> {
    vec![
        Check::tried("module:init", "load a kernel module", LOAD, |board| {
            // One byte is no module: that is found out after the permission.
            let mut args = [Arg::In(b"x"), n(1), Arg::Path(c"")];
            refused(board, libc::SYS_init_module, &mut args, &[Errno::ENOEXEC, Errno::EINVAL])
        }),
        Check::tried("module:finit", "load a kernel module from a file", LOAD, |board| {
            let mut args = [n(-1), Arg::Path(c""), n(0)];
            refused(board, libc::SYS_finit_module, &mut args, &[Errno::EBADF, Errno::ENOEXEC])
        }),
        Check::tried("module:delete", "unload a kernel module", LOAD, |board| {
            let mut args = [Arg::Path(c"sandbox_trace_no_such_module"), n(i64::from(libc::O_NONBLOCK))];
            refused(board, libc::SYS_delete_module, &mut args, &[Errno::ENOENT])
        }),
        Check::tried("kexec", "start another kernel (kexec_load)", LOAD, |board| {
            // No such flag, and more parts than there may be.
            let mut args = [n(0), n(1000), n(0), n(0x8000)];
            refused(board, libc::SYS_kexec_load, &mut args, &[Errno::EINVAL])
        }),
    ]
}

fn attacked() -> Vec<Check> {
    vec![
        Check::tried("bpf", "make a BPF map", ATTACKED, |board| {
            // union bpf_attr for BPF_MAP_CREATE: an array of one word.
            let mut attr = [0u8; 64];
            for (place, word) in attr.chunks_mut(4).zip([2u32, 4, 4, 1]) {
                place.copy_from_slice(&word.to_ne_bytes());
            }
            refused(board, libc::SYS_bpf, &mut [n(0), Arg::In(&attr), n(64)], &[])
        }),
        Check::tried("perf-event", "measure the machine (perf_event_open)", ATTACKED, |board| {
            // struct perf_event_attr: software, 64 bytes, the dummy event, without the kernel.
            let mut attr = [0u8; 64];
            let words = attr.chunks_mut(8).zip([1u64 | 64 << 32, 9, 0, 0, 0, 1 << 5 | 1 << 6]);
            for (place, word) in words {
                place.copy_from_slice(&word.to_ne_bytes());
            }
            let mut args = [Arg::In(&attr), n(0), n(-1), n(-1), n(0)];
            refused(board, libc::SYS_perf_event_open, &mut args, &[Errno::ENOENT, Errno::EINVAL])
        }),
        Check::tried("userfaultfd", "answer page faults (userfaultfd)", ATTACKED, |board| {
            refused(board, libc::SYS_userfaultfd, &mut [n(i64::from(libc::O_CLOEXEC | 1))], &[])
        }),
        Check::tried(
            "io-uring",
            "make calls by io_uring",
            "what io_uring does is not asked of a seccomp filter",
            |board| {
                let mut parameters = [0u8; 120];
                refused(board, libc::SYS_io_uring_setup, &mut [n(1), Arg::Out(&mut parameters)], &[])
            },
        ),
        Check::tried("fanotify", "watch file systems (fanotify_init)", ATTACKED, |board| {
            refused(board, libc::SYS_fanotify_init, &mut [n(0), n(0)], &[])
        }),
        Check::tried("personality", "switch address randomisation off (personality)", ATTACKED, |board| {
            refused(board, libc::SYS_personality, &mut [n(0x0004_0000)], &[])
        }),
        Check::tried("kernel-log", "read the kernel's log (syslog)", HOST, |board| {
            let mut bytes = [0u8; 16];
            refused(board, libc::SYS_syslog, &mut [n(3), Arg::Out(&mut bytes), n(16)], &[])
        }),
    ]
}

fn keys() -> Vec<Check> {
    const WHY: &str = "keys are not divided by namespaces: another container of the same user has the same";
    // The child has a session keyring of its own by now, so that nobody's keys are looked at.
    vec![
        Check::tried("keyctl", "use keyrings (keyctl)", WHY, |board| {
            refused(board, libc::SYS_keyctl, &mut [n(0), n(-3), n(0)], &[Errno::ENOKEY])
        }),
        Check::tried("add-key", "keep a key in the kernel (add_key)", WHY, |board| {
            let mut args =
                [Arg::Path(c"user"), Arg::Path(c"sandbox-trace-probe"), Arg::In(b"x"), n(1), n(-2)];
            refused(board, libc::SYS_add_key, &mut args, &[])
        }),
    ]
}

fn host(subject: &Subject) -> Vec<Check> {
    let (admin, time) = (subject.has_capability(SYS_ADMIN), subject.has_capability(SYS_TIME));
    let mut out = vec![
        Check::tried("reboot", "reboot the host", HOST, |board| {
            // The magic numbers are wrong: it can't act.
            refused(board, libc::SYS_reboot, &mut [n(0), n(0), n(0), n(0)], &[Errno::EINVAL])
        }),
        Check::tried("swapon", "use a file as swap", HOST, |board| {
            let mut args = [Arg::Path(c"/sandbox-trace-no-such-file"), n(0)];
            refused(board, libc::SYS_swapon, &mut args, &[Errno::ENOENT])
        }),
        Check::tried("clock:set", "set the clock", HOST, move |board| {
            // No such time: that is found out before the permission, which is looked up.
            let bad = [0xffu8; 16];
            match board.call(libc::SYS_clock_settime, &mut [n(0), Arg::In(&bad)]) {
                Err(Errno::EINVAL) if time => {
                    Seen::open(format_args!("the filter allows it, and CAP_SYS_TIME is held"))
                }
                Err(Errno::EINVAL) => Seen::closed(format_args!("CAP_SYS_TIME is not held")),
                Err(errno) => Seen::refused(errno),
                Ok(_) => Seen::open(format_args!("allowed")),
            }
        }),
        Check::tried("clock:adjust", "adjust the clock", HOST, |board| {
            // struct timex: ADJ_TICK, with a tick that no clock has.
            let mut timex = [0u8; 208];
            if let Some(modes) = timex.first_chunk_mut::<4>() {
                *modes = 0x4000u32.to_ne_bytes();
            }
            refused(board, libc::SYS_adjtimex, &mut [Arg::Out(&mut timex)], &[Errno::EINVAL])
        }),
        Check::tried("sethostname", "change the host's name", HOST, |board| {
            // Longer than a name may be.
            refused(board, libc::SYS_sethostname, &mut [Arg::In(&[b'x'; 65]), n(65)], &[Errno::EINVAL])
        }),
        Check::tried("acct", "keep account of all processes (acct)", HOST, |board| {
            let mut args = [Arg::Path(c"/sandbox-trace-no-such-file")];
            refused(board, libc::SYS_acct, &mut args, &[Errno::ENOENT])
        }),
        Check::tried("quotactl", "change quotas (quotactl)", HOST, move |board| {
            // Q_SETQUOTA on a device that does not exist: found out before the permission.
            let mut args = [n(0x8000_0800), Arg::Path(c"/sandbox-trace-no-such-file"), n(0), n(0)];
            match board.call(libc::SYS_quotactl, &mut args) {
                Err(Errno::ENOENT) if admin => {
                    Seen::open(format_args!("the filter allows it, and CAP_SYS_ADMIN is held"))
                }
                Err(Errno::ENOENT) => Seen::closed(format_args!("CAP_SYS_ADMIN is not held")),
                Err(errno) => Seen::refused(errno),
                Ok(_) => Seen::open(format_args!("allowed")),
            }
        }),
    ];
    #[cfg(target_arch = "x86_64")]
    out.extend([
        Check::tried("io-ports:all", "talk to the hardware (iopl)", LOAD, |board| {
            refused(board, libc::SYS_iopl, &mut [n(3)], &[])
        }),
        Check::tried("io-ports:one", "talk to one device's port (ioperm)", LOAD, |board| {
            refused(board, libc::SYS_ioperm, &mut [n(0x80), n(1), n(1)], &[])
        }),
    ]);
    out
}

/// Opening these does nothing by itself. A watchdog or a tape is not among them.
const DEVICES: [&std::ffi::CStr; 22] = [
    c"/dev/kmsg",
    c"/dev/mem",
    c"/dev/kmem",
    c"/dev/port",
    c"/dev/kvm",
    c"/dev/fuse",
    c"/dev/net/tun",
    c"/dev/loop-control",
    c"/dev/loop0",
    c"/dev/mapper/control",
    c"/dev/sda",
    c"/dev/sda1",
    c"/dev/sdb",
    c"/dev/vda",
    c"/dev/vda1",
    c"/dev/vdb",
    c"/dev/xvda",
    c"/dev/nvme0n1",
    c"/dev/dm-0",
    c"/dev/md0",
    c"/dev/vhost-net",
    c"/dev/vsock",
];

fn devices() -> Check {
    let why = "a device of the host is a way past all that a container is made of: its disk holds every file";
    Check::tried("devices", "open the host's devices", why, |board| {
        let mut refusal = None;
        for device in DEVICES {
            match files::open(board, device, libc::O_RDONLY | libc::O_NONBLOCK | libc::O_NOCTTY) {
                Ok(_) => {
                    return Seen::open(format_args!("{} could be opened", device.to_str().unwrap_or("one")));
                }
                Err(Errno::ENOENT | Errno::ENOTDIR) => {}
                Err(errno) => refusal = Some(errno),
            }
        }
        refusal.map_or_else(|| Seen::closed(format_args!("there are none")), Seen::refused)
    })
}

/// A block device of a number that no driver has, which is never opened.
fn make_device(subject: &Subject) -> Check {
    let places = ["/tmp", "/dev", "/run", "/var/tmp", "/"];
    let mut paths: Vec<_> = places.iter().map(|place| files::own_file(place.as_bytes(), subject)).collect();
    let writable = subject.mounts.iter().filter(|mount| mount.is_writable() && !mount.is_kernels());
    paths.extend(writable.map(|mount| files::own_file(&mount.point, subject)));
    let why = "a device node of its own making is the host's disk by another name";
    Check::tried("mknod", "make a device node", why, move |board| {
        let mut last = Errno::ENOENT;
        for path in &paths {
            board.left.set(path.to_bytes());
            let mode = i64::from(libc::S_IFBLK | 0o600);
            let number = i64::try_from(libc::makedev(259, 1_048_575)).unwrap_or(0);
            match make_node(board, path, mode, number) {
                Ok(_) => {
                    board.made.set(path.to_bytes());
                    files::remove(board, path);
                    return Seen::open(format_args!("a block device could be made (it was removed)"));
                }
                Err(errno) => {
                    board.left.set(b"");
                    // A place where nothing can be made says nothing about devices; EPERM comes before that.
                    if last != Errno::EPERM {
                        last = errno;
                    }
                }
            }
        }
        Seen::refused(last)
    })
}

fn make_node(board: &Board, path: &std::ffi::CStr, mode: i64, number: i64) -> Result<i64, Errno> {
    let at = i64::from(libc::AT_FDCWD);
    match board.call(libc::SYS_mknodat, &mut [n(at), Arg::Path(path), n(mode), n(number)]) {
        #[cfg(target_arch = "x86_64")]
        Err(Errno::EPERM | Errno::ENOSYS) => {
            board.call(libc::SYS_mknod, &mut [Arg::Path(path), n(mode), n(number)])
        }
        result => result,
    }
}

/// Typing into a terminal that is the child's own.
fn terminal() -> Check {
    let why = "who types into a terminal types into the shell of whoever attached it";
    Check::tried("type-into-terminal", "type into a terminal (TIOCSTI)", why, |board| {
        let (tiocsptlck, tiocgptpeer, tiocsctty, tiocsti) = (0x4004_5431, 0x5441, 0x540e, 0x5412);
        let step = |words: &str, errno: Errno| Seen::closed(format_args!("{words}: {errno:?}"));
        let terminal = match files::open(board, c"/dev/ptmx", libc::O_RDWR | libc::O_NOCTTY) {
            Ok(terminal) => terminal,
            Err(errno) => return step("no terminal can be made", errno),
        };
        let zero = 0i32.to_ne_bytes();
        if let Err(errno) = board.call(libc::SYS_ioctl, &mut [n(terminal), n(tiocsptlck), Arg::In(&zero)]) {
            return step("no terminal can be unlocked", errno);
        }
        let flags = i64::from(libc::O_RDWR | libc::O_NOCTTY);
        let end = match board.call(libc::SYS_ioctl, &mut [n(terminal), n(tiocgptpeer), n(flags)]) {
            Ok(end) => end,
            Err(errno) => return step("no terminal can be opened", errno),
        };
        if let Err(errno) = board.call(libc::SYS_ioctl, &mut [n(end), n(tiocsctty), n(0)]) {
            return step("no terminal can be taken", errno);
        }
        refused(board, libc::SYS_ioctl, &mut [n(end), n(tiocsti), Arg::In(b"x")], &[])
    })
}
