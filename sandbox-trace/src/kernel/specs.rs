//! The table of what to record of each system call, by name; and the names themselves, by architecture.

use sandbox_trace_ebpf::{
    MAX_NR, arch,
    spec::{CallSpec, NONE, SPECS, kind, op},
};

const P: CallSpec = CallSpec::PLAIN;

/// A call on one path: (directory argument or [`NONE`], path argument).
const fn one(op: u8, dir1: u8, path1: u8) -> CallSpec {
    CallSpec { kind: kind::NAMES, op, dir1, path1, ..P }
}

/// A call on two paths.
const fn two(op: u8, dir1: u8, path1: u8, dir2: u8, path2: u8) -> CallSpec {
    CallSpec { kind: kind::NAMES, op, dir1, path1, dir2, path2, ..P }
}

/// A call whose distinct values of the given arguments are recorded.
const fn args(mask: u8) -> CallSpec {
    CallSpec { args: mask, ..P }
}

const fn flags(spec: CallSpec, flags: u8) -> CallSpec {
    CallSpec { flags, ..spec }
}

const fn fd(kind: u8, op: u8, dir1: u8) -> CallSpec {
    CallSpec { kind, op, dir1, ..P }
}

/// Every call of which more than number and outcome is recorded; the argument positions hold on all three
/// architectures. Position bits in `args` are the arguments that a filter can usefully compare.
const TABLE: &[(&str, CallSpec)] = &[
    // Opening.
    ("open", CallSpec { kind: kind::OPEN, op: op::OPEN, path1: 0, flags: 1, ..P }),
    ("openat", CallSpec { kind: kind::OPEN, op: op::OPEN, dir1: 0, path1: 1, flags: 2, ..P }),
    ("openat2", CallSpec { kind: kind::OPEN_HOW, op: op::OPEN, dir1: 0, path1: 1, flags: 2, ..P }),
    ("open_by_handle_at", CallSpec { kind: kind::OPEN_HANDLE, op: op::OPEN, flags: 2, ..P }),
    // Mapping, locking, changing by descriptor.
    ("mmap", CallSpec { kind: kind::MMAP, dir1: 4, flags: 2, args: 0b1100, ..P }),
    ("mmap2", CallSpec { kind: kind::MMAP, dir1: 4, flags: 2, args: 0b1100, ..P }),
    ("mprotect", CallSpec { kind: kind::MPROTECT, dir1: 0, flags: 2, args: 0b100, ..P }),
    ("pkey_mprotect", CallSpec { kind: kind::MPROTECT, dir1: 0, flags: 2, args: 0b100, ..P }),
    ("flock", CallSpec { kind: kind::FLOCK, dir1: 0, flags: 1, ..P }),
    ("fcntl", CallSpec { kind: kind::FCNTL, dir1: 0, path1: 2, flags: 1, args: 0b10, ..P }),
    ("fcntl64", CallSpec { kind: kind::FCNTL, dir1: 0, path1: 2, flags: 1, args: 0b10, ..P }),
    ("fchmod", fd(kind::FD_SETATTR, op::SETATTR, 0)),
    ("fchown", fd(kind::FD_SETATTR, op::SETATTR, 0)),
    ("fchown32", fd(kind::FD_SETATTR, op::SETATTR, 0)),
    ("ftruncate", fd(kind::FD_SETATTR, op::SETATTR, 0)),
    ("ftruncate64", fd(kind::FD_SETATTR, op::SETATTR, 0)),
    // Names.
    ("creat", CallSpec { kind: kind::OPEN, op: op::OPEN, path1: 0, ..P }),
    ("unlink", one(op::UNLINK, NONE, 0)),
    ("unlinkat", flags(one(op::UNLINK, 0, 1), 2)),
    ("rmdir", one(op::RMDIR, NONE, 0)),
    ("mkdir", one(op::MKDIR, NONE, 0)),
    ("mkdirat", one(op::MKDIR, 0, 1)),
    ("mknod", one(op::MKNOD, NONE, 0)),
    ("mknodat", one(op::MKNOD, 0, 1)),
    ("symlink", one(op::SYMLINK, NONE, 1)),
    ("symlinkat", one(op::SYMLINK, 1, 2)),
    ("link", two(op::LINK, NONE, 0, NONE, 1)),
    ("linkat", flags(two(op::LINK, 0, 1, 2, 3), 4)),
    ("rename", two(op::RENAME, NONE, 0, NONE, 1)),
    ("renameat", two(op::RENAME, 0, 1, 2, 3)),
    ("renameat2", flags(two(op::RENAME, 0, 1, 2, 3), 4)),
    ("chmod", one(op::SETATTR, NONE, 0)),
    ("fchmodat", one(op::SETATTR, 0, 1)),
    ("fchmodat2", flags(one(op::SETATTR, 0, 1), 3)),
    ("chown", one(op::SETATTR, NONE, 0)),
    ("chown32", one(op::SETATTR, NONE, 0)),
    ("lchown", one(op::SETATTR_NOFOLLOW, NONE, 0)),
    ("lchown32", one(op::SETATTR_NOFOLLOW, NONE, 0)),
    ("fchownat", flags(one(op::SETATTR, 0, 1), 4)),
    ("truncate", one(op::SETATTR, NONE, 0)),
    ("truncate64", one(op::SETATTR, NONE, 0)),
    ("execve", CallSpec { kind: kind::EXEC, op: op::EXEC, path1: 0, ..P }),
    ("execveat", CallSpec { kind: kind::EXEC, op: op::EXEC, dir1: 0, path1: 1, flags: 4, ..P }),
    // Network.
    ("socket", CallSpec { kind: kind::SOCKET, op: op::SOCKET, args: 0b111, ..P }),
    ("socketpair", CallSpec { kind: kind::SOCKET, op: op::SOCKETPAIR, args: 0b111, ..P }),
    ("bind", CallSpec { kind: kind::ADDRESS, op: op::BIND, dir1: 0, path1: 1, flags: 2, ..P }),
    ("connect", CallSpec { kind: kind::ADDRESS, op: op::CONNECT, dir1: 0, path1: 1, flags: 2, ..P }),
    ("sendto", CallSpec { kind: kind::ADDRESS, op: op::SENDTO, dir1: 0, path1: 4, flags: 5, ..P }),
    ("socketcall", CallSpec { kind: kind::SOCKETCALL, args: 0b1, ..P }),
    // Ids.
    ("setuid", fd(kind::CREDENTIALS, 0, NONE)),
    ("setgid", fd(kind::CREDENTIALS, 0, NONE)),
    ("setreuid", fd(kind::CREDENTIALS, 0, NONE)),
    ("setregid", fd(kind::CREDENTIALS, 0, NONE)),
    ("setresuid", fd(kind::CREDENTIALS, 0, NONE)),
    ("setresgid", fd(kind::CREDENTIALS, 0, NONE)),
    ("setuid32", fd(kind::CREDENTIALS, 0, NONE)),
    ("setgid32", fd(kind::CREDENTIALS, 0, NONE)),
    ("setresuid32", fd(kind::CREDENTIALS, 0, NONE)),
    ("setresgid32", fd(kind::CREDENTIALS, 0, NONE)),
    // Arguments alone.
    ("clone", CallSpec { kind: kind::FORK, args: 0b1, ..P }),
    ("fork", CallSpec { kind: kind::FORK, ..P }),
    ("vfork", CallSpec { kind: kind::FORK, ..P }),
    ("clone3", CallSpec { kind: kind::CLONE3, args: 0b1, ..P }),
    ("unshare", args(0b1)),
    ("setns", args(0b10)),
    ("personality", args(0b1)),
    ("prctl", CallSpec { kind: kind::SECCOMP, args: 0b1, ..P }),
    ("arch_prctl", args(0b1)),
    ("ioctl", args(0b10)),
    ("ptrace", args(0b1)),
    ("bpf", args(0b1)),
    ("keyctl", args(0b1)),
    ("madvise", args(0b100)),
    ("setsockopt", args(0b110)),
    ("getsockopt", args(0b110)),
    ("seccomp", CallSpec { kind: kind::SECCOMP, args: 0b1, ..P }),
];

/// The names of a number's calls on one architecture, `None` for a number that this version does not know.
pub fn name(arch: u8, nr: u32) -> Option<&'static str> {
    match arch {
        arch::X86_64 => syscalls::x86_64::Sysno::new(nr as usize).map(|s| s.name()),
        arch::I386 => syscalls::x86::Sysno::new(nr as usize).map(|s| s.name()),
        arch::X32 => x32_name(nr),
        _ => None,
    }
}

/// The x32 ABI shares the 64-bit numbers but for calls whose structures differ; those have numbers of their own.
/// Source: `arch/x86/entry/syscalls/syscall_64.tbl`.
fn x32_name(nr: u32) -> Option<&'static str> {
    const FIRST: u32 = 512;
    const OWN: [&str; 36] = [
        "rt_sigaction",
        "rt_sigreturn",
        "ioctl",
        "readv",
        "writev",
        "recvfrom",
        "sendmsg",
        "recvmsg",
        "execve",
        "ptrace",
        "rt_sigpending",
        "rt_sigtimedwait",
        "rt_sigqueueinfo",
        "sigaltstack",
        "timer_create",
        "mq_notify",
        "kexec_load",
        "waitid",
        "set_robust_list",
        "get_robust_list",
        "vmsplice",
        "move_pages",
        "preadv",
        "pwritev",
        "rt_tgsigqueueinfo",
        "recvmmsg",
        "sendmmsg",
        "process_vm_readv",
        "process_vm_writev",
        "setsockopt",
        "getsockopt",
        "io_setup",
        "io_submit",
        "execveat",
        "preadv2",
        "pwritev2",
    ];
    match nr.checked_sub(FIRST) {
        None => name(arch::X86_64, nr),
        Some(index) => OWN.get(index as usize).copied(),
    }
}

/// The name of an architecture in a recording.
pub fn arch_name(arch: u8) -> &'static str {
    match arch {
        arch::X86_64 => "x86_64",
        arch::I386 => "i386",
        arch::X32 => "x32",
        _ => "unknown",
    }
}

/// The table as the programs read it. Of the calls that `hooked` names, only failures are looked at.
pub fn packed(hooked: impl Fn(&str) -> bool) -> Box<[u64]> {
    let mut table = vec![CallSpec::PLAIN.pack(); SPECS].into_boxed_slice();
    for arch in [arch::X86_64, arch::I386, arch::X32] {
        for nr in 0..MAX_NR - 1 {
            let Some((call, mut spec)) = name(arch, nr).and_then(|name| Some((name, spec_of(name)?))) else {
                continue;
            };
            if hooked(call) {
                spec.kind |= kind::HOOKED;
            }
            let slot = u32::from(arch) * MAX_NR + nr;
            if let Some(entry) = table.get_mut(slot as usize) {
                *entry = spec_on(arch, nr, spec).pack();
            }
        }
    }
    table
}

/// What is recorded of a call, where that is more than that it was made.
pub fn spec_of(name: &str) -> Option<CallSpec> {
    TABLE.iter().find(|(entry, _)| *entry == name).map(|(_, spec)| *spec)
}

/// i386 has a few calls of the same name with other arguments.
fn spec_on(arch: u8, nr: u32, spec: CallSpec) -> CallSpec {
    const OLD_MMAP: u32 = 90; // its arguments are in a structure in memory
    if arch == arch::I386 && nr == OLD_MMAP { CallSpec::PLAIN } else { spec }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_names_a_call_of_some_architecture() {
        let known = |wanted: &str| {
            (0..MAX_NR).any(|nr| [arch::X86_64, arch::I386].iter().any(|a| name(*a, nr) == Some(wanted)))
        };
        for (entry, _) in TABLE {
            assert!(known(entry), "{entry}");
        }
    }

    #[test]
    fn packing_is_reversible() {
        for (_, spec) in TABLE {
            assert_eq!(CallSpec::unpack(spec.pack()), *spec);
        }
    }

    #[test]
    fn numbers_of_the_three_architectures_are_kept_apart() {
        assert_eq!(name(arch::X86_64, 59), Some("execve"));
        assert_eq!(name(arch::I386, 11), Some("execve"));
        assert_eq!(name(arch::X32, 520), Some("execve"));
        assert_eq!(name(arch::X32, 545), Some("execveat"));
        assert_eq!(name(arch::X32, 0), Some("read"));
        assert_eq!(name(arch::X86_64, 9999), None);
    }
}
