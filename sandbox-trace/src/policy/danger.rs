//! What is never given silently: system calls, values of their arguments, and capabilities, each with the reason
//! that a refusal shows. [`table`] is all of it in one list; paths are in [`danger_paths`](super::danger_paths).

use std::{collections::BTreeMap, fmt::Write as _};

use super::arguments::namespace_flags;
use crate::error::Error;

/// System calls that are emitted only when named with `--allow`.
///
/// Source: the guide's dangerous operations, Docker's default profile (what it never allows or allows only with
/// a capability), and known escape paths.
pub const SYSCALLS: &[(&str, &str)] = &[
    ("acct", "writes process accounting to any file"),
    ("add_key", "adds keys to kernel keyrings, which are not namespaced"),
    ("bpf", "loads programs into the kernel"),
    ("chroot", "changes the root directory, a step of known escapes"),
    ("clock_adjtime", "changes the machine's clock"),
    ("clock_adjtime64", "changes the machine's clock"),
    ("clock_settime", "changes the machine's clock"),
    ("clock_settime64", "changes the machine's clock"),
    ("create_module", "loads code into the kernel"),
    ("delete_module", "unloads code from the kernel"),
    ("fanotify_init", "watches file accesses beyond the container"),
    ("finit_module", "loads code into the kernel"),
    ("fsconfig", "configures a file system to mount"),
    ("fsmount", "mounts a file system"),
    ("fsopen", "opens a file system to mount"),
    ("fspick", "reconfigures a mounted file system"),
    ("init_module", "loads code into the kernel"),
    ("io_uring_enter", "does file and network operations past system call filters"),
    ("io_uring_register", "does file and network operations past system call filters"),
    ("io_uring_setup", "does file and network operations past system call filters"),
    ("ioperm", "gives access to I/O ports"),
    ("iopl", "gives access to I/O ports"),
    ("kcmp", "inspects other processes"),
    ("kexec_file_load", "replaces the running kernel"),
    ("kexec_load", "replaces the running kernel"),
    ("keyctl", "reads and changes kernel keyrings, which are not namespaced"),
    ("lookup_dcookie", "profiles the whole machine"),
    ("mount", "changes the file system tree"),
    ("mount_setattr", "changes mount flags"),
    ("move_mount", "changes the file system tree"),
    ("name_to_handle_at", "makes file handles, a step of known escapes"),
    ("nfsservctl", "controls the kernel's NFS server"),
    ("open_by_handle_at", "opens files by handle, past the container's root"),
    ("open_tree", "clones parts of the file system tree"),
    ("perf_event_open", "observes the kernel and other processes"),
    ("pidfd_getfd", "takes file descriptors from other processes"),
    ("pivot_root", "changes the root file system"),
    ("process_madvise", "changes other processes' memory"),
    ("process_vm_readv", "reads other processes' memory"),
    ("process_vm_writev", "writes other processes' memory"),
    ("ptrace", "reads and writes other processes"),
    ("quotactl", "changes disk quotas"),
    ("quotactl_fd", "changes disk quotas"),
    ("reboot", "restarts the machine"),
    ("request_key", "asks for keys from kernel keyrings, which are not namespaced"),
    ("setdomainname", "changes the NIS domain name"),
    ("sethostname", "changes the host name"),
    ("setns", "joins other namespaces"),
    ("settimeofday", "changes the machine's clock"),
    ("stime", "changes the machine's clock"),
    ("swapoff", "changes the machine's swap"),
    ("swapon", "changes the machine's swap"),
    ("syslog", "reads the kernel's log"),
    ("umount", "changes the file system tree"),
    ("umount2", "changes the file system tree"),
    ("unshare", "makes new namespaces, and with a user namespace new capabilities"),
    ("userfaultfd", "handles page faults in user space, a tool of kernel exploits"),
    ("vhangup", "hangs up terminals"),
    ("vm86", "runs 16-bit code"),
    ("vm86old", "runs 16-bit code"),
];

/// Capabilities that are emitted only when named with `--allow` (lower case, without `CAP_`).
pub const CAPABILITIES: &[(&str, &str)] = &[
    ("audit_control", "changes the audit rules"),
    ("bpf", "loads programs into the kernel"),
    ("checkpoint_restore", "controls other processes' state"),
    ("dac_read_search", "reads every file, and opens files by handle past the container's root"),
    ("linux_immutable", "changes immutable files"),
    ("mac_admin", "changes the security modules' policy"),
    ("mac_override", "overrides the security modules"),
    ("net_admin", "configures the network"),
    ("perfmon", "observes the kernel and other processes"),
    ("sys_admin", "mounts, namespaces and much more: close to root on the host"),
    ("sys_boot", "restarts the machine"),
    ("sys_module", "loads code into the kernel"),
    ("sys_ptrace", "reads and writes other processes"),
    ("sys_rawio", "gives access to I/O ports and raw devices"),
    ("sys_time", "changes the machine's clock"),
    ("syslog", "reads the kernel's log"),
];

/// What `--allow` names to admit `clone` and `clone3` with namespace flags.
pub const NAMESPACES: &str = "namespaces";

/// A value of an argument that is emitted only when named with `--allow`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Value {
    /// What `--allow` names it by: the call and the name of the value in Linux's headers.
    pub name: &'static str,
    /// The call.
    pub call: &'static str,
    /// The argument's position.
    pub index: u8,
    /// Which values are meant.
    pub is: Is,
    /// What it is dangerous for.
    pub reason: &'static str,
}

/// Which values of an argument are meant. All of them are arguments of which the kernel takes the low 32 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Is {
    /// This one.
    Exactly(u32),
    /// All that have one of these bits, but `u32::MAX`, with which `personality` only asks.
    Flag(u32),
}

impl Value {
    /// Whether the register holds such a value.
    pub fn is_in(&self, register: u64) -> bool {
        let low = u32::try_from(register & 0xffff_ffff).unwrap_or(u32::MAX);
        match self.is {
            Is::Exactly(value) => low == value,
            Is::Flag(bits) => low & bits != 0 && low != u32::MAX,
        }
    }
}

const fn value(name: &'static str, call: &'static str, index: u8, is: Is, reason: &'static str) -> Value {
    Value { name, call, index, is, reason }
}

const ON_TERMINALS: u8 = 1;

/// Values of arguments that are emitted only when named with `--allow`: those that reach out of the sandbox, or into
/// kernel code that programs seldom use and exploits often, and that no common program needs. `--args safe` denies
/// them wherever they were not recorded.
///
/// Not here, on purpose: what many programs do and the kernel guards by itself (raw sockets, which ping needs;
/// netlink; `PR_SET_PTRACER`, since `ptrace` is guarded), and what needs `CAP_SYS_ADMIN` anyway.
///
/// Numbers from `asm-generic/ioctls.h`, `linux/prctl.h`, `linux/personality.h` and `linux/socket.h`, Linux 6.1.
pub const VALUES: &[Value] = &[
    value(
        "ioctl:TIOCSTI",
        "ioctl",
        ON_TERMINALS,
        Is::Exactly(0x5412),
        "types into the terminal as if its user had: commands for the shell outside",
    ),
    value(
        "ioctl:TIOCLINUX",
        "ioctl",
        ON_TERMINALS,
        Is::Exactly(0x541c),
        "pastes into the console as if its user had, and controls it",
    ),
    value(
        "ioctl:TIOCSETD",
        "ioctl",
        ON_TERMINALS,
        Is::Exactly(0x5423),
        "loads line disciplines: kernel code with a record of exploits",
    ),
    value(
        "personality:ADDR_NO_RANDOMIZE",
        "personality",
        0,
        Is::Flag(0x4_0000),
        "switches address randomisation off for all that it executes",
    ),
    value(
        "personality:MMAP_PAGE_ZERO",
        "personality",
        0,
        Is::Flag(0x10_0000),
        "maps the page at address 0, a step of kernel exploits",
    ),
    value(
        "personality:READ_IMPLIES_EXEC",
        "personality",
        0,
        Is::Flag(0x40_0000),
        "makes all readable memory executable",
    ),
    value(
        "prctl:PR_SET_MM",
        "prctl",
        0,
        Is::Exactly(35),
        "changes what the kernel says of the process: its executable, its arguments",
    ),
    value(
        "socket:AF_ALG",
        "socket",
        0,
        Is::Exactly(38),
        "reaches the kernel's cryptography: kernel code with a record of exploits",
    ),
    value("socket:AF_KEY", "socket", 0, Is::Exactly(15), "reads and changes the keys of IPsec"),
    value(
        "socket:AF_PACKET",
        "socket",
        0,
        Is::Exactly(17),
        "reads and forges packets of the network, past its firewall",
    ),
    value(
        "socket:AF_VSOCK",
        "socket",
        0,
        Is::Exactly(40),
        "talks to the hypervisor, past the network's rules",
    ),
    value("socket:AF_XDP", "socket", 0, Is::Exactly(44), "takes packets past the network stack"),
];

/// What is dangerous in a recorded tuple of arguments of `call`: what `--allow` names it by, and why. All of it has to
/// be allowed before the tuple is given.
pub fn in_arguments(call: &str, tuple: &BTreeMap<u8, u64>) -> Vec<(&'static str, String)> {
    let flags = tuple.get(&0).copied().unwrap_or(0);
    let namespaces = (namespace_flags(call, flags) != 0)
        .then(|| (NAMESPACES, format!("{call} with flags {flags:#x} makes new namespaces")));
    let values = VALUES
        .iter()
        .filter(|value| value.call == call && tuple.get(&value.index).is_some_and(|v| value.is_in(*v)))
        .map(|value| (value.name, value.reason.to_owned()));
    namespaces.into_iter().chain(values).collect()
}

/// What kind of thing is dangerous.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A system call, with any arguments.
    Call,
    /// A value of an argument.
    Value,
    /// A capability.
    Capability,
}

/// All that is dangerous: its kind, what `--allow` names it by, and why.
pub fn table() -> impl Iterator<Item = (Kind, &'static str, &'static str)> {
    let namespaces =
        (Kind::Value, NAMESPACES, "makes new namespaces, and with a user namespace new capabilities");
    SYSCALLS
        .iter()
        .map(|(name, reason)| (Kind::Call, *name, *reason))
        .chain([namespaces])
        .chain(VALUES.iter().map(|value| (Kind::Value, value.name, value.reason)))
        .chain(CAPABILITIES.iter().map(|(name, reason)| (Kind::Capability, *name, *reason)))
}

/// Why `name` is in `table`, if it is.
pub fn reason(table: &[(&str, &'static str)], name: &str) -> Option<&'static str> {
    table.iter().find(|(entry, _)| *entry == name).map(|(_, reason)| *reason)
}

/// Something dangerous that a recording asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// What `--allow` would have to name.
    pub what: String,
    /// Who asked, as [`crate::requirements::Evidence::who`] says it.
    pub who: String,
    /// When first, in milliseconds of the run.
    pub first_ms: Option<u64>,
    /// What it is dangerous for.
    pub reason: String,
}

/// The refusal that lists all of them; exit code 4.
pub fn refusal(asked: &[Asked]) -> Error {
    let mut message = String::from("the recording asks for what should not be given silently");
    let width = asked.iter().map(|a| a.what.chars().count()).max().unwrap_or(0);
    for Asked { what, who, first_ms, reason } in asked {
        let _ = write!(message, "\n  {what:width$}  {who}");
        if let Some(ms) = first_ms {
            let _ = write!(message, " ({}.{} s into the run)", ms / 1000, ms % 1000 / 100);
        }
        let _ = write!(message, "  {reason}");
    }
    let mut flags: Vec<String> = Vec::new();
    for flag in asked.iter().map(|a| format!("--allow {}", a.what)) {
        if !flags.contains(&flag) {
            flags.push(flag);
        }
    }
    Error::refused(message)
        .hint(format!("allow them by name with {}, or find out why the target does this", flags.join(" ")))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_entry_has_one_name_and_a_reason() {
        for kind in [Kind::Call, Kind::Value, Kind::Capability] {
            let names: Vec<&str> = table().filter(|(k, _, _)| *k == kind).map(|(_, name, _)| name).collect();
            assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "{kind:?}");
            assert!(!names.is_empty(), "{kind:?}");
        }
        assert!(table().all(|(_, _, reason)| !reason.is_empty()));
        for value in VALUES {
            assert!(value.name.starts_with(&format!("{}:", value.call)), "{}", value.name);
        }
    }

    #[test]
    fn values_are_judged_by_the_half_of_the_register_that_the_kernel_takes() {
        let found = |call: &str, index: u8, register: u64| -> Vec<&str> {
            in_arguments(call, &[(index, register)].into()).into_iter().map(|(name, _)| name).collect()
        };
        assert_eq!(found("ioctl", 1, 0xffff_ffff_0000_5412), ["ioctl:TIOCSTI"]);
        assert_eq!(found("ioctl", 0, 0x5412), [""; 0]);
        assert_eq!(found("ioctl", 1, 0x5413), [""; 0]);
        assert_eq!(found("personality", 0, 0xffff_ffff), [""; 0]);
        assert_eq!(
            found("personality", 0, 0x44_0000),
            ["personality:ADDR_NO_RANDOMIZE", "personality:READ_IMPLIES_EXEC"]
        );
        assert_eq!(found("socket", 0, 16), [""; 0]);
        assert_eq!(found("clone", 0, 0x1000_0011), [NAMESPACES]);
        assert_eq!(found("clone3", 0, 0x80), [NAMESPACES]);
        assert_eq!(found("clone", 0, 0x3d_0f80), [""; 0]);
    }
}
