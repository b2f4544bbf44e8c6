//! The names of capabilities as profiles write them.

/// By number; the order is the kernel's (`include/uapi/linux/capability.h`, Linux 6.1).
const NAMES: [&str; 41] = [
    "chown",
    "dac_override",
    "dac_read_search",
    "fowner",
    "fsetid",
    "kill",
    "setgid",
    "setuid",
    "setpcap",
    "linux_immutable",
    "net_bind_service",
    "net_broadcast",
    "net_admin",
    "net_raw",
    "ipc_lock",
    "ipc_owner",
    "sys_module",
    "sys_rawio",
    "sys_chroot",
    "sys_ptrace",
    "sys_pacct",
    "sys_admin",
    "sys_boot",
    "sys_nice",
    "sys_resource",
    "sys_time",
    "sys_tty_config",
    "mknod",
    "lease",
    "audit_write",
    "audit_control",
    "setfcap",
    "mac_override",
    "mac_admin",
    "syslog",
    "wake_alarm",
    "block_suspend",
    "audit_read",
    "perfmon",
    "bpf",
    "checkpoint_restore",
];

/// The name of the capability with this number, in lower case without `CAP_`.
pub fn name(number: u32) -> Option<&'static str> {
    NAMES.get(usize::try_from(number).ok()?).copied()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_ends_of_the_table_are_the_kernels() {
        assert_eq!(super::name(0), Some("chown"));
        assert_eq!(super::name(21), Some("sys_admin"));
        assert_eq!(super::name(40), Some("checkpoint_restore"));
        assert_eq!(super::name(41), None);
    }
}
