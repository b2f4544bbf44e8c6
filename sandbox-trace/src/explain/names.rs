//! Names of the values that calls take, for people. A value that is not here is shown as its number.

use nix::libc;

/// Values and their names.
pub type Table = &'static [(u64, &'static str)];

/// A table from constants of the C library, each under its own name.
macro_rules! table {
    ($($name:ident),* $(,)?) => { &[$((libc::$name as u64, stringify!($name))),*] };
}

/// `open(2)`, without the access mode. `O_TMPFILE` and `O_SYNC` hold the bits of others, so they come first.
#[allow(clippy::cast_sign_loss, reason = "flags are bits")]
pub const OPEN: Table = table![
    O_TMPFILE,
    O_SYNC,
    O_CREAT,
    O_EXCL,
    O_NOCTTY,
    O_TRUNC,
    O_APPEND,
    O_NONBLOCK,
    O_DSYNC,
    O_ASYNC,
    O_DIRECT,
    O_DIRECTORY,
    O_NOFOLLOW,
    O_NOATIME,
    O_CLOEXEC,
    O_PATH,
];

/// `clone(2)`, without the signal in the low byte.
#[allow(clippy::cast_sign_loss, reason = "flags are bits")]
pub const CLONE: Table = table![
    CLONE_VM,
    CLONE_FS,
    CLONE_FILES,
    CLONE_SIGHAND,
    CLONE_PIDFD,
    CLONE_PTRACE,
    CLONE_VFORK,
    CLONE_PARENT,
    CLONE_THREAD,
    CLONE_NEWNS,
    CLONE_SYSVSEM,
    CLONE_SETTLS,
    CLONE_PARENT_SETTID,
    CLONE_CHILD_CLEARTID,
    CLONE_UNTRACED,
    CLONE_CHILD_SETTID,
    CLONE_NEWCGROUP,
    CLONE_NEWUTS,
    CLONE_NEWIPC,
    CLONE_NEWUSER,
    CLONE_NEWPID,
    CLONE_NEWNET,
    CLONE_IO,
];

/// `unshare(2)` and `setns(2)`: as `clone(2)`, and a bit that is part of its signal there.
#[allow(clippy::cast_sign_loss, reason = "flags are bits")]
pub const NAMESPACES: Table = &[
    (0x80, "CLONE_NEWTIME"),
    (libc::CLONE_FS as u64, "CLONE_FS"),
    (libc::CLONE_FILES as u64, "CLONE_FILES"),
    (libc::CLONE_NEWNS as u64, "CLONE_NEWNS"),
    (libc::CLONE_SYSVSEM as u64, "CLONE_SYSVSEM"),
    (libc::CLONE_NEWCGROUP as u64, "CLONE_NEWCGROUP"),
    (libc::CLONE_NEWUTS as u64, "CLONE_NEWUTS"),
    (libc::CLONE_NEWIPC as u64, "CLONE_NEWIPC"),
    (libc::CLONE_NEWUSER as u64, "CLONE_NEWUSER"),
    (libc::CLONE_NEWPID as u64, "CLONE_NEWPID"),
    (libc::CLONE_NEWNET as u64, "CLONE_NEWNET"),
];

/// `mount(2)`.
pub const MOUNT: Table = table![
    MS_RDONLY,
    MS_NOSUID,
    MS_NODEV,
    MS_NOEXEC,
    MS_SYNCHRONOUS,
    MS_REMOUNT,
    MS_MANDLOCK,
    MS_DIRSYNC,
    MS_NOATIME,
    MS_NODIRATIME,
    MS_BIND,
    MS_MOVE,
    MS_REC,
    MS_SILENT,
    MS_UNBINDABLE,
    MS_PRIVATE,
    MS_SLAVE,
    MS_SHARED,
    MS_RELATIME,
    MS_STRICTATIME,
    MS_LAZYTIME,
];

/// `umount2(2)`.
#[allow(clippy::cast_sign_loss, reason = "flags are bits")]
pub const UMOUNT: Table = table![MNT_FORCE, MNT_DETACH, MNT_EXPIRE, UMOUNT_NOFOLLOW];

/// `mmap(2)` and `mprotect(2)`.
#[allow(clippy::cast_sign_loss, reason = "flags are bits")]
pub const PROTECTION: Table = table![PROT_READ, PROT_WRITE, PROT_EXEC];

/// The kind of a mapping, and its flags. `MAP_SHARED_VALIDATE` is both of its bits.
#[allow(clippy::cast_sign_loss, reason = "flags are bits")]
pub const MAPPING: Table = table![
    MAP_SHARED,
    MAP_PRIVATE,
    MAP_FIXED,
    MAP_ANONYMOUS,
    MAP_GROWSDOWN,
    MAP_DENYWRITE,
    MAP_LOCKED,
    MAP_NORESERVE,
    MAP_POPULATE,
    MAP_NONBLOCK,
    MAP_STACK,
    MAP_HUGETLB,
    MAP_FIXED_NOREPLACE,
];

/// The `AT_*` flags of calls on names.
#[allow(clippy::cast_sign_loss, reason = "flags are bits")]
pub const AT: Table =
    table![AT_SYMLINK_NOFOLLOW, AT_REMOVEDIR, AT_SYMLINK_FOLLOW, AT_NO_AUTOMOUNT, AT_EMPTY_PATH];

/// `faccessat(2)` and `access(2)`.
#[allow(clippy::cast_sign_loss, reason = "flags are bits")]
pub const ACCESS: Table = table![R_OK, W_OK, X_OK];

/// `memfd_create(2)`.
pub const MEMFD: Table = table![MFD_CLOEXEC, MFD_ALLOW_SEALING, MFD_HUGETLB];

/// `prctl(2)`, its first argument.
#[allow(clippy::cast_sign_loss, reason = "they are positive")]
pub const PRCTL: Table = table![
    PR_SET_PDEATHSIG,
    PR_GET_PDEATHSIG,
    PR_GET_DUMPABLE,
    PR_SET_DUMPABLE,
    PR_GET_KEEPCAPS,
    PR_SET_KEEPCAPS,
    PR_GET_TIMING,
    PR_SET_TIMING,
    PR_SET_NAME,
    PR_GET_NAME,
    PR_GET_SECCOMP,
    PR_SET_SECCOMP,
    PR_CAPBSET_READ,
    PR_CAPBSET_DROP,
    PR_GET_TSC,
    PR_SET_TSC,
    PR_GET_SECUREBITS,
    PR_SET_SECUREBITS,
    PR_SET_TIMERSLACK,
    PR_GET_TIMERSLACK,
    PR_SET_MM,
    PR_SET_CHILD_SUBREAPER,
    PR_GET_CHILD_SUBREAPER,
    PR_SET_NO_NEW_PRIVS,
    PR_GET_NO_NEW_PRIVS,
    PR_GET_TID_ADDRESS,
    PR_SET_THP_DISABLE,
    PR_GET_THP_DISABLE,
    PR_CAP_AMBIENT,
    PR_SET_PTRACER,
    PR_SET_VMA,
];

/// `ioctl(2)`, its request.
pub const IOCTL: Table = &[
    (0x5401, "TCGETS"),
    (0x5402, "TCSETS"),
    (0x5403, "TCSETSW"),
    (0x5404, "TCSETSF"),
    (0x5409, "TCSBRK"),
    (0x540b, "TCFLSH"),
    (0x540e, "TIOCSCTTY"),
    (0x540f, "TIOCGPGRP"),
    (0x5410, "TIOCSPGRP"),
    (0x5411, "TIOCOUTQ"),
    (0x5412, "TIOCSTI"),
    (0x5413, "TIOCGWINSZ"),
    (0x5414, "TIOCSWINSZ"),
    (0x541b, "FIONREAD"),
    (0x541c, "TIOCLINUX"),
    (0x541d, "TIOCCONS"),
    (0x5421, "FIONBIO"),
    (0x5422, "TIOCNOTTY"),
    (0x5423, "TIOCSETD"),
    (0x5429, "TIOCGSID"),
    (0x5450, "FIONCLEX"),
    (0x5451, "FIOCLEX"),
    (0x5452, "FIOASYNC"),
    (0x8004_5430, "TIOCGPTN"),
    (0x4004_5431, "TIOCSPTLCK"),
    (0x5441, "TIOCGPTPEER"),
    (0x8910, "SIOCGIFNAME"),
    (0x8912, "SIOCGIFCONF"),
    (0x8913, "SIOCGIFFLAGS"),
    (0x8914, "SIOCSIFFLAGS"),
    (0x8915, "SIOCGIFADDR"),
    (0x8916, "SIOCSIFADDR"),
    (0x8921, "SIOCGIFMTU"),
    (0x8927, "SIOCGIFHWADDR"),
    (0x8933, "SIOCGIFINDEX"),
    (0x8946, "SIOCETHTOOL"),
    (0x1260, "BLKGETSIZE"),
    (0x8008_1272, "BLKGETSIZE64"),
    (0x4004_9409, "FICLONE"),
    (0x4020_940d, "FICLONERANGE"),
    (0x8008_6601, "FS_IOC_GETFLAGS"),
    (0x4008_6602, "FS_IOC_SETFLAGS"),
    (0xc020_660b, "FS_IOC_FIEMAP"),
    (0xae00, "KVM_GET_API_VERSION"),
    (0xae01, "KVM_CREATE_VM"),
];

/// `socket(2)` flags in its type.
#[allow(clippy::cast_sign_loss, reason = "flags are bits")]
pub const SOCKET: Table = table![SOCK_NONBLOCK, SOCK_CLOEXEC];

/// Protocols of `AF_INET` and `AF_INET6`.
#[allow(clippy::cast_sign_loss, reason = "they are positive")]
pub const INTERNET: Table = table![
    IPPROTO_ICMP,
    IPPROTO_IGMP,
    IPPROTO_TCP,
    IPPROTO_UDP,
    IPPROTO_ICMPV6,
    IPPROTO_SCTP,
    IPPROTO_UDPLITE,
    IPPROTO_RAW,
    IPPROTO_MPTCP,
];

/// Protocols of `AF_NETLINK`.
#[allow(clippy::cast_sign_loss, reason = "they are positive")]
pub const NETLINK: Table = table![
    NETLINK_USERSOCK,
    NETLINK_FIREWALL,
    NETLINK_SOCK_DIAG,
    NETLINK_NFLOG,
    NETLINK_XFRM,
    NETLINK_SELINUX,
    NETLINK_ISCSI,
    NETLINK_AUDIT,
    NETLINK_FIB_LOOKUP,
    NETLINK_CONNECTOR,
    NETLINK_NETFILTER,
    NETLINK_DNRTMSG,
    NETLINK_KOBJECT_UEVENT,
    NETLINK_GENERIC,
    NETLINK_SCSITRANSPORT,
    NETLINK_ECRYPTFS,
    NETLINK_RDMA,
    NETLINK_CRYPTO,
];

/// `setsockopt(2)`, its level.
#[allow(clippy::cast_sign_loss, reason = "they are positive")]
pub const LEVEL: Table = table![SOL_SOCKET, SOL_IP, SOL_TCP, SOL_UDP, SOL_IPV6, SOL_NETLINK];

/// `ptrace(2)`, its request.
#[allow(clippy::cast_lossless, reason = "one macro for all tables")]
pub const PTRACE: Table = table![
    PTRACE_TRACEME,
    PTRACE_PEEKTEXT,
    PTRACE_PEEKDATA,
    PTRACE_PEEKUSER,
    PTRACE_POKETEXT,
    PTRACE_POKEDATA,
    PTRACE_POKEUSER,
    PTRACE_CONT,
    PTRACE_KILL,
    PTRACE_SINGLESTEP,
    PTRACE_GETREGS,
    PTRACE_SETREGS,
    PTRACE_ATTACH,
    PTRACE_DETACH,
    PTRACE_SYSCALL,
    PTRACE_SETOPTIONS,
    PTRACE_GETEVENTMSG,
    PTRACE_GETSIGINFO,
    PTRACE_GETREGSET,
    PTRACE_SEIZE,
    PTRACE_INTERRUPT,
    PTRACE_LISTEN,
];

/// `bpf(2)`, its command.
pub const BPF: Table = &[
    (0, "BPF_MAP_CREATE"),
    (1, "BPF_MAP_LOOKUP_ELEM"),
    (2, "BPF_MAP_UPDATE_ELEM"),
    (3, "BPF_MAP_DELETE_ELEM"),
    (4, "BPF_MAP_GET_NEXT_KEY"),
    (5, "BPF_PROG_LOAD"),
    (6, "BPF_OBJ_PIN"),
    (7, "BPF_OBJ_GET"),
    (8, "BPF_PROG_ATTACH"),
    (15, "BPF_OBJ_GET_INFO_BY_FD"),
    (18, "BPF_BTF_LOAD"),
    (28, "BPF_LINK_CREATE"),
];

/// `keyctl(2)`, its operation.
#[allow(clippy::cast_lossless, reason = "one macro for all tables")]
pub const KEYCTL: Table = table![
    KEYCTL_GET_KEYRING_ID,
    KEYCTL_JOIN_SESSION_KEYRING,
    KEYCTL_UPDATE,
    KEYCTL_REVOKE,
    KEYCTL_CHOWN,
    KEYCTL_SETPERM,
    KEYCTL_DESCRIBE,
    KEYCTL_CLEAR,
    KEYCTL_LINK,
    KEYCTL_UNLINK,
    KEYCTL_SEARCH,
    KEYCTL_READ,
];

/// `personality(2)`.
pub const PERSONALITY: Table = &[
    (0, "PER_LINUX"),
    (8, "PER_LINUX32"),
    (0x4_0000, "ADDR_NO_RANDOMIZE"),
    (0x40_0000, "READ_IMPLIES_EXEC"),
    (0x2_0008, "UNAME26|PER_LINUX32"),
    (0xffff_ffff, "0xffffffff"),
];

/// `fcntl(2)`, its command.
#[allow(clippy::cast_sign_loss, reason = "they are positive")]
pub const FCNTL: Table = table![
    F_DUPFD,
    F_GETFD,
    F_SETFD,
    F_GETFL,
    F_SETFL,
    F_GETLK,
    F_SETLK,
    F_SETLKW,
    F_SETOWN,
    F_GETOWN,
    F_SETLEASE,
    F_GETLEASE,
    F_NOTIFY,
    F_DUPFD_CLOEXEC,
    F_SETPIPE_SZ,
    F_GETPIPE_SZ,
    F_ADD_SEALS,
    F_GET_SEALS,
];

/// What setid calls take for "leave it".
pub const UNCHANGED: u64 = 0xffff_ffff;

/// The name of one value.
pub fn name(table: Table, value: u64) -> Option<&'static str> {
    table.iter().find(|(v, _)| *v == value).map(|(_, name)| *name)
}

/// The names of the bits that are set; what is left over as a number, `0` if there is none.
pub fn flags(table: Table, value: u64, mut names: Vec<String>) -> String {
    let mut left = value;
    for (bits, name) in table {
        if *bits != 0 && left & bits == *bits {
            names.push((*name).to_owned());
            left &= !bits;
        }
    }
    if left != 0 {
        names.push(format!("{left:#x}"));
    }
    if names.is_empty() { "0".into() } else { names.join("|") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_have_names_and_the_rest_is_a_number() {
        assert_eq!(flags(MOUNT, 0x1000 | 0x4000, Vec::new()), "MS_BIND|MS_REC");
        assert_eq!(flags(MOUNT, 0, Vec::new()), "0");
        assert_eq!(
            flags(OPEN, 0x8000_0000 | 0o2_000_000, vec!["O_RDONLY".into()]),
            "O_RDONLY|O_CLOEXEC|0x80000000"
        );
        assert_eq!(flags(OPEN, 0o20_200_000, Vec::new()), "O_TMPFILE");
        assert_eq!(name(PRCTL, 38), Some("PR_SET_NO_NEW_PRIVS"));
        assert_eq!(name(IOCTL, 0x5412), Some("TIOCSTI"));
        assert_eq!(name(IOCTL, 1), None);
    }

    #[test]
    fn no_value_has_two_names() {
        for table in [PRCTL, IOCTL, BPF, KEYCTL, PTRACE, FCNTL, INTERNET, NETLINK, LEVEL] {
            let mut values: Vec<u64> = table.iter().map(|(value, _)| *value).collect();
            values.sort_unstable();
            let all = values.len();
            values.dedup();
            assert_eq!(values.len(), all, "{table:?}");
        }
    }
}
