//! A denied call as a person reads it: its name, and its arguments by name where this module knows what they mean.
//!
//! Every byte that the task chose is shown in the one safe form of [`BytePath`], inside quotes.

use nix::libc;

use super::{memory::Memory, names, names::Table};
use crate::{
    linux,
    record::address::{self, Address},
    recording::BytePath,
    seccomp::arch::Arch,
};

/// What an argument is.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// A descriptor, or another small signed number.
    Int,
    /// A number without a sign.
    Size,
    /// A user or group id.
    Id,
    /// A path or another string.
    Text,
    /// The directory that a path is relative to.
    Directory,
    /// A number that people write in octal.
    Mode,
    /// Bits.
    Flags(Table),
    /// One of these.
    One(Table),
    /// `open(2)`: an access mode and bits.
    Open,
    /// `openat2(2)`: a pointer to flags and mode.
    OpenHow,
    /// `clone(2)`: bits and a signal.
    CloneFlags,
    /// `clone3(2)`: a pointer to flags and more.
    Clone3,
    /// An address family.
    Family,
    /// A socket type with its flags.
    SocketType,
    /// A protocol of the family in the first argument.
    Protocol,
    /// A socket address; its length is the next argument.
    Address,
    /// A signal.
    Signal,
    /// A pointer to what is not shown.
    Pointer,
}

use Kind::{
    Address as Addr, Clone3, CloneFlags, Directory, Family, Flags, Id, Int, Mode, One, Open, OpenHow,
    Pointer, Protocol, Signal, Size, SocketType, Text,
};

/// The calls whose arguments are known.
const CALLS: &[(&str, &[Kind])] = &[
    ("accept", &[Int, Pointer, Pointer]),
    ("accept4", &[Int, Pointer, Pointer, Flags(names::SOCKET)]),
    ("access", &[Text, Flags(names::ACCESS)]),
    ("acct", &[Text]),
    ("add_key", &[Text, Text, Pointer, Size, Int]),
    ("adjtimex", &[Pointer]),
    ("bind", &[Int, Addr, Size]),
    ("bpf", &[One(names::BPF), Pointer, Size]),
    ("chdir", &[Text]),
    ("chmod", &[Text, Mode]),
    ("chown", &[Text, Id, Id]),
    ("chroot", &[Text]),
    ("clock_adjtime", &[Int, Pointer]),
    ("clock_settime", &[Int, Pointer]),
    ("clone", &[CloneFlags]),
    ("clone3", &[Clone3, Size]),
    ("close", &[Int]),
    ("close_range", &[Size, Size, Size]),
    ("connect", &[Int, Addr, Size]),
    ("creat", &[Text, Mode]),
    ("delete_module", &[Text, Flags(names::OPEN)]),
    ("epoll_create1", &[Flags(names::OPEN)]),
    ("execve", &[Text, Pointer, Pointer]),
    ("execveat", &[Directory, Text, Pointer, Pointer, Flags(names::AT)]),
    ("faccessat", &[Directory, Text, Flags(names::ACCESS)]),
    ("faccessat2", &[Directory, Text, Flags(names::ACCESS), Flags(names::AT)]),
    ("fchmod", &[Int, Mode]),
    ("fchmodat", &[Directory, Text, Mode]),
    ("fchmodat2", &[Directory, Text, Mode, Flags(names::AT)]),
    ("fchown", &[Int, Id, Id]),
    ("fchownat", &[Directory, Text, Id, Id, Flags(names::AT)]),
    ("fcntl", &[Int, One(names::FCNTL), Size]),
    ("finit_module", &[Int, Text, Int]),
    ("fork", &[]),
    ("fsconfig", &[Int, Int, Text, Pointer, Int]),
    ("fsmount", &[Int, Int, Int]),
    ("fsopen", &[Text, Int]),
    ("fstat", &[Int, Pointer]),
    ("ftruncate", &[Int, Size]),
    ("getcwd", &[Pointer, Size]),
    ("getegid", &[]),
    ("geteuid", &[]),
    ("getgid", &[]),
    ("getpgid", &[Int]),
    ("getpgrp", &[]),
    ("getpid", &[]),
    ("getppid", &[]),
    ("getpriority", &[Int, Int]),
    ("getrandom", &[Pointer, Size, Size]),
    ("getsid", &[Int]),
    ("getsockopt", &[Int, One(names::LEVEL), Int, Pointer, Pointer]),
    ("gettid", &[]),
    ("getuid", &[]),
    ("getxattr", &[Text, Text, Pointer, Size]),
    ("init_module", &[Pointer, Size, Text]),
    ("inotify_add_watch", &[Int, Text, Size]),
    ("inotify_init", &[]),
    ("inotify_init1", &[Flags(names::OPEN)]),
    ("io_uring_enter", &[Int, Size, Size, Size, Pointer, Size]),
    ("io_uring_register", &[Int, Size, Pointer, Size]),
    ("io_uring_setup", &[Size, Pointer]),
    ("ioctl", &[Int, One(names::IOCTL), Pointer]),
    ("ioperm", &[Size, Size, Int]),
    ("iopl", &[Int]),
    ("keyctl", &[One(names::KEYCTL), Int, Int, Int, Int]),
    ("kill", &[Int, Signal]),
    ("lchown", &[Text, Id, Id]),
    ("link", &[Text, Text]),
    ("linkat", &[Directory, Text, Directory, Text, Flags(names::AT)]),
    ("listen", &[Int, Int]),
    ("lstat", &[Text, Pointer]),
    ("memfd_create", &[Text, Flags(names::MEMFD)]),
    ("mkdir", &[Text, Mode]),
    ("mkdirat", &[Directory, Text, Mode]),
    ("mknod", &[Text, Mode, Size]),
    ("mknodat", &[Directory, Text, Mode, Size]),
    ("mlock", &[Pointer, Size]),
    ("mlockall", &[Size]),
    ("mmap", &[Pointer, Size, Flags(names::PROTECTION), Flags(names::MAPPING), Int, Size]),
    ("mount", &[Text, Text, Text, Flags(names::MOUNT), Pointer]),
    ("mount_setattr", &[Directory, Text, Flags(names::AT), Pointer, Size]),
    ("move_mount", &[Directory, Text, Directory, Text, Size]),
    ("mprotect", &[Pointer, Size, Flags(names::PROTECTION)]),
    ("name_to_handle_at", &[Directory, Text, Pointer, Pointer, Flags(names::AT)]),
    ("newfstatat", &[Directory, Text, Pointer, Flags(names::AT)]),
    ("open", &[Text, Open, Mode]),
    ("open_by_handle_at", &[Int, Pointer, Open]),
    ("open_tree", &[Directory, Text, Flags(names::AT)]),
    ("openat", &[Directory, Text, Open, Mode]),
    ("openat2", &[Directory, Text, OpenHow, Size]),
    ("perf_event_open", &[Pointer, Int, Int, Int, Size]),
    ("personality", &[One(names::PERSONALITY)]),
    ("pidfd_getfd", &[Int, Int, Size]),
    ("pidfd_open", &[Int, Size]),
    ("pidfd_send_signal", &[Int, Signal, Pointer, Size]),
    ("pipe", &[Pointer]),
    ("pipe2", &[Pointer, Flags(names::OPEN)]),
    ("pivot_root", &[Text, Text]),
    ("prctl", &[One(names::PRCTL), Size]),
    ("prlimit64", &[Int, Int, Pointer, Pointer]),
    ("process_vm_readv", &[Int, Pointer, Size, Pointer, Size, Size]),
    ("process_vm_writev", &[Int, Pointer, Size, Pointer, Size, Size]),
    ("ptrace", &[One(names::PTRACE), Int]),
    ("quotactl", &[Size, Text, Int, Pointer]),
    ("read", &[Int, Pointer, Size]),
    ("readlink", &[Text, Pointer, Size]),
    ("readlinkat", &[Directory, Text, Pointer, Size]),
    ("reboot", &[Size, Size, Size]),
    ("rename", &[Text, Text]),
    ("renameat", &[Directory, Text, Directory, Text]),
    ("renameat2", &[Directory, Text, Directory, Text, Size]),
    ("request_key", &[Text, Text, Text, Int]),
    ("rmdir", &[Text]),
    ("sched_setaffinity", &[Int, Size, Pointer]),
    ("sched_setattr", &[Int, Pointer, Size]),
    ("sched_setscheduler", &[Int, Int, Pointer]),
    ("sched_yield", &[]),
    ("seccomp", &[Size, Size, Pointer]),
    ("sendto", &[Int, Pointer, Size, Size, Addr, Size]),
    ("setdomainname", &[Text, Size]),
    ("setgid", &[Id]),
    ("setgroups", &[Size, Pointer]),
    ("sethostname", &[Text, Size]),
    ("setns", &[Int, Flags(names::NAMESPACES)]),
    ("setpgid", &[Int, Int]),
    ("setpriority", &[Int, Int, Int]),
    ("setregid", &[Id, Id]),
    ("setresgid", &[Id, Id, Id]),
    ("setresuid", &[Id, Id, Id]),
    ("setreuid", &[Id, Id]),
    ("setrlimit", &[Int, Pointer]),
    ("setsid", &[]),
    ("setsockopt", &[Int, One(names::LEVEL), Int, Pointer, Size]),
    ("settimeofday", &[Pointer, Pointer]),
    ("setuid", &[Id]),
    ("setxattr", &[Text, Text, Pointer, Size, Int]),
    ("shmget", &[Size, Size, Mode]),
    ("socket", &[Family, SocketType, Protocol]),
    ("socketpair", &[Family, SocketType, Protocol, Pointer]),
    ("stat", &[Text, Pointer]),
    ("statfs", &[Text, Pointer]),
    ("statx", &[Directory, Text, Flags(names::AT), Size, Pointer]),
    ("swapoff", &[Text]),
    ("swapon", &[Text, Size]),
    ("symlink", &[Text, Text]),
    ("symlinkat", &[Text, Directory, Text]),
    ("sync", &[]),
    ("sysinfo", &[Pointer]),
    ("syslog", &[Int, Pointer, Int]),
    ("tgkill", &[Int, Int, Signal]),
    ("tkill", &[Int, Signal]),
    ("truncate", &[Text, Size]),
    ("umask", &[Mode]),
    ("umount2", &[Text, Flags(names::UMOUNT)]),
    ("uname", &[Pointer]),
    ("unlink", &[Text]),
    ("unlinkat", &[Directory, Text, Flags(names::AT)]),
    ("unshare", &[Flags(names::NAMESPACES)]),
    ("userfaultfd", &[Flags(names::OPEN)]),
    ("utimensat", &[Directory, Text, Pointer, Flags(names::AT)]),
    ("vfork", &[]),
    ("vhangup", &[]),
    ("write", &[Int, Pointer, Size]),
];

/// What the arguments of a call are, if that is known.
pub fn kinds(name: &str) -> Option<&'static [Kind]> {
    CALLS
        .binary_search_by_key(&name, |(name, _)| name)
        .ok()
        .and_then(|at| CALLS.get(at))
        .map(|(_, kinds)| *kinds)
}

/// The name of a call; its number if this version knows none.
pub fn name(arch: Arch, nr: u32) -> String {
    use sandbox_trace_ebpf::arch;
    let number = match arch {
        Arch::X8664 => arch::X86_64,
        Arch::I386 => arch::I386,
        Arch::X32 => arch::X32,
    };
    crate::kernel::specs::name(number, nr).map_or_else(|| format!("syscall_{nr}"), str::to_owned)
}

/// A call in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// As it is shown.
    pub text: String,
    /// Equal for calls that are told as one.
    pub key: String,
}

/// Describes a call: `socket(AF_NETLINK, SOCK_RAW, 0)`.
pub fn describe(arch: Arch, nr: u32, args: &[u64; 6], memory: &dyn Memory) -> Described {
    let name = name(arch, nr);
    let suffix = if arch == Arch::X8664 { String::new() } else { format!(" [{}]", arch.name()) };
    let Some(kinds) = kinds(&name) else {
        // Addresses and what registers happened to hold differ from call to call.
        let numbers: Vec<String> = args.iter().map(|arg| format!("{arg:#x}")).collect();
        return Described {
            text: format!("{name}({}){suffix}", numbers.join(", ")),
            key: format!("{name}{suffix}"),
        };
    };
    let mut shown: Vec<String> = Vec::new();
    for (index, (kind, value)) in kinds.iter().zip(args).enumerate() {
        // A mode that the kernel does not look at is what the register held.
        if matches!(kind, Mode) && index > 0 && matches!(kinds.get(index - 1), Some(Open)) {
            let opens = args.get(index - 1).copied().unwrap_or(0);
            let makes = u64::from((libc::O_CREAT | 0o20_000_000).unsigned_abs());
            if opens & makes == 0 {
                continue;
            }
        }
        let next = args.get(index + 1).copied().unwrap_or(0);
        shown.push(argument(*kind, *value, next, args, memory));
    }
    let text = format!("{name}({}){suffix}", shown.join(", "));
    Described { key: text.clone(), text }
}

fn argument(kind: Kind, value: u64, next: u64, args: &[u64; 6], memory: &dyn Memory) -> String {
    let low = value & 0xffff_ffff;
    match kind {
        Directory if signed(value) == libc::AT_FDCWD => "AT_FDCWD".into(),
        Int | Directory => signed(value).to_string(),
        Size => {
            if value < 1 << 32 {
                value.to_string()
            } else {
                format!("{value:#x}")
            }
        }
        Id if low == names::UNCHANGED => "-1".into(),
        Id => low.to_string(),
        Text => text(value, memory),
        Mode => format!("{low:#o}"),
        Flags(table) => names::flags(table, low, Vec::new()),
        // The kernel looks at the low half of these alone.
        One(table) => names::name(table, low).map_or_else(|| format!("{low:#x}"), str::to_owned),
        Open => open_flags(low),
        OpenHow => memory
            .bytes(value, 8)
            .and_then(|bytes| bytes.first_chunk().copied())
            .map_or_else(|| "?".into(), |flags| format!("{{{}}}", open_flags(u64::from_le_bytes(flags)))),
        CloneFlags => {
            let signal = low & 0xff;
            let mut shown = names::flags(names::CLONE, low & !0xff, Vec::new());
            if signal != 0 {
                let name = signal_name(signal);
                shown = if shown == "0" { name } else { format!("{shown}|{name}") };
            }
            shown
        }
        Clone3 => memory.bytes(value, 8).and_then(|bytes| bytes.first_chunk().copied()).map_or_else(
            || "?".into(),
            |flags| format!("{{{}}}", names::flags(names::CLONE, u64::from_le_bytes(flags), Vec::new())),
        ),
        Family => family(low),
        SocketType => {
            let kind = low & 0xf;
            let name = u16::try_from(kind).ok().and_then(linux::socket_type);
            let name = name.map_or_else(|| kind.to_string(), |name| format!("SOCK_{}", name.to_uppercase()));
            names::flags(names::SOCKET, low & !0xf, vec![name])
        }
        Protocol => {
            let table = match args.first().map(|family| family & 0xffff_ffff) {
                Some(2 | 10) => names::INTERNET,
                Some(16) => names::NETLINK,
                _ => &[],
            };
            names::name(table, low).map_or_else(|| low.to_string(), str::to_owned)
        }
        Addr => socket_address(value, next, memory),
        Signal => signal_name(low),
        Pointer => {
            if value == 0 {
                "NULL".into()
            } else {
                "…".into()
            }
        }
    }
}

/// An argument that the kernel takes for an `int`.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "the kernel takes the low half"
)]
fn signed(value: u64) -> i32 {
    value as i32
}

/// The name of an address family.
pub fn family(number: u64) -> String {
    let name = u16::try_from(number).ok().and_then(linux::family);
    name.map_or_else(|| number.to_string(), |name| format!("AF_{}", name.to_uppercase()))
}

fn signal_name(number: u64) -> String {
    let name = i32::try_from(number).ok().and_then(|n| nix::sys::signal::Signal::try_from(n).ok());
    name.map_or_else(|| number.to_string(), |name| name.as_str().to_owned())
}

fn open_flags(value: u64) -> String {
    let (mode, rest) = (value & 3, value & !3);
    let mode = match mode {
        0 => "O_RDONLY",
        1 => "O_WRONLY",
        2 => "O_RDWR",
        _ => "O_ACCMODE",
    };
    // Always set for 64-bit programs by some libraries, and without a meaning there.
    names::flags(names::OPEN, rest & !0o100_000, vec![mode.into()])
}

fn text(address: u64, memory: &dyn Memory) -> String {
    if address == 0 {
        return "NULL".into();
    }
    memory.string(address).map_or_else(|| "?".into(), |bytes| quoted(&bytes))
}

/// Bytes that somebody else chose, as one word in quotes: neither a quote nor anything else in them ends it.
pub fn quoted(bytes: &[u8]) -> String {
    format!("\"{}\"", BytePath::from(bytes).to_string().replace('"', "\\x22"))
}

fn socket_address(address: u64, length: u64, memory: &dyn Memory) -> String {
    if address == 0 {
        return "NULL".into();
    }
    // sizeof(struct sockaddr_storage)
    let length = usize::try_from(length.min(128)).unwrap_or(128);
    match memory.bytes(address, length).as_deref().and_then(address::parse) {
        Some(Address::Text(text)) => BytePath::from(text.as_slice()).to_string(),
        Some(Address::Path(path)) => format!("unix:{}", quoted(&path)),
        None => "?".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Memory that is there from an address on.
    struct At(u64, Vec<u8>);

    impl Memory for At {
        fn read(&self, address: u64, buffer: &mut [u8]) -> usize {
            let Some(from) =
                address.checked_sub(self.0).and_then(|n| self.1.get(usize::try_from(n).unwrap()..))
            else {
                return 0;
            };
            let length = from.len().min(buffer.len());
            buffer[..length].copy_from_slice(&from[..length]);
            length
        }
    }

    fn shown(name: &str, args: &[u64], memory: &[u8]) -> String {
        let nr = (0..500).find(|nr| super::name(Arch::X8664, *nr) == name).unwrap();
        let mut all = [0; 6];
        all[..args.len()].copy_from_slice(args);
        describe(Arch::X8664, nr, &all, &At(0x1000, memory.to_vec())).text
    }

    #[test]
    fn calls_are_shown_with_names() {
        let none: &[u8] = b"";
        let rows: &[(&str, &[u64], &[u8], &str)] = &[
            ("socket", &[16, 3, 0], none, "socket(AF_NETLINK, SOCK_RAW, 0)"),
            (
                "socket",
                &[2, 0o2_004_001, 6],
                none,
                "socket(AF_INET, SOCK_STREAM|SOCK_NONBLOCK|SOCK_CLOEXEC, IPPROTO_TCP)",
            ),
            ("socket", &[99, 15, 7], none, "socket(99, 15, 7)"),
            ("open", &[0x1000, 0o1101, 0o644], b"/a\0", "open(\"/a\", O_WRONLY|O_CREAT|O_TRUNC, 0o644)"),
            (
                "openat",
                &[0xffff_ff9c, 0x1000, 0o2_000_000, 77],
                b"/a\0",
                "openat(AT_FDCWD, \"/a\", O_RDONLY|O_CLOEXEC)",
            ),
            ("openat", &[5, 0x9999], none, "openat(5, ?, O_RDONLY)"),
            (
                "openat2",
                &[5, 0x1000, 0x1002, 24],
                b"a\0\x01\0\0\0\0\0\0\0",
                "openat2(5, \"a\", {O_WRONLY}, 24)",
            ),
            ("mount", &[0x1000, 0x1000, 0, 0x1000], b"x\0", "mount(\"x\", \"x\", NULL, MS_BIND, NULL)"),
            ("kill", &[0xffff_ffff, 9], none, "kill(-1, SIGKILL)"),
            ("kill", &[1, 64], none, "kill(1, 64)"),
            ("clone", &[0x1000_0011], none, "clone(CLONE_NEWUSER|SIGCHLD)"),
            ("clone", &[0x11], none, "clone(SIGCHLD)"),
            ("prctl", &[22, 2], none, "prctl(PR_SET_SECCOMP, 2)"),
            ("ioctl", &[0, 0x1_0000_5412, 1], none, "ioctl(0, TIOCSTI, …)"),
            ("ioctl", &[0, 0x1234, 0], none, "ioctl(0, 0x1234, NULL)"),
            (
                "connect",
                &[3, 0x1000, 16],
                b"\x02\0\0\x50\x7f\0\0\x01\0\0\0\0\0\0\0\0",
                "connect(3, 127.0.0.1:80, 16)",
            ),
            ("connect", &[3, 0x1000, 5], b"\x01\0/a\0", "connect(3, unix:\"/a\", 5)"),
            ("connect", &[3, 0x1000, 500], none, "connect(3, ?, 500)"),
            ("setuid", &[0xffff_ffff], none, "setuid(-1)"),
            ("unshare", &[0x1002_0000], none, "unshare(CLONE_NEWNS|CLONE_NEWUSER)"),
            ("getppid", &[1, 2, 3], none, "getppid()"),
        ];
        for (name, args, memory, text) in rows {
            assert_eq!(shown(name, args, memory), *text);
        }
    }

    #[test]
    fn hostile_names_stay_inside_their_quotes() {
        let path = b"/a\", O_RDONLY) \x1b[31m\n\xff\\\xe2\x80\xae\0";
        let text = shown("unlink", &[0x1000], path);
        assert_eq!(text, r#"unlink("/a\x22, O_RDONLY) \x1b[31m\x0a\xff\\\xe2\x80\xae")"#);
    }

    #[test]
    fn the_table_is_sorted_and_knows_no_call_that_is_not_one() {
        assert!(CALLS.is_sorted_by_key(|(name, _)| name));
        let known = |name: &str| (0..500).any(|nr| super::name(Arch::X8664, nr) == name);
        for (name, kinds) in CALLS {
            assert!(known(name), "{name}");
            assert!(kinds.len() <= 6, "{name}");
        }
    }

    #[test]
    fn calls_with_unknown_arguments_are_told_as_one() {
        let two = [1, 2].map(|n| describe(Arch::X8664, 499, &[n, 0, 0, 0, 0, 0], &At(0, Vec::new())));
        assert_eq!(two[0].key, two[1].key);
        assert_eq!(two[0].text, "syscall_499(0x1, 0x0, 0x0, 0x0, 0x0, 0x0)");
        let i386 = describe(Arch::I386, 20, &[0; 6], &At(0, Vec::new()));
        assert_eq!(i386.text, "getpid() [i386]");
    }
}
