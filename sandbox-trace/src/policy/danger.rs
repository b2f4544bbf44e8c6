//! What is never given silently: one table of system calls and capabilities, each with the reason that a
//! refusal shows.

use std::fmt::Write as _;

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
    ("clock_settime", "changes the machine's clock"),
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
