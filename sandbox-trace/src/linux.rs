//! Linux's numbers and their names: capabilities, address families, socket types. Every other module's names for
//! them come from here.

/// Capabilities by number, in lower case without `CAP_` (`include/uapi/linux/capability.h`, Linux 6.1).
const CAPABILITIES: [&str; 41] = [
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

/// `AF_*` by number, as AppArmor writes them (Linux 6.1). 12 (DECnet) is gone from the kernel and from the compiler.
const FAMILIES: [(u16, &str); 45] = [
    (0, "unspec"),
    (1, "unix"),
    (2, "inet"),
    (3, "ax25"),
    (4, "ipx"),
    (5, "appletalk"),
    (6, "netrom"),
    (7, "bridge"),
    (8, "atmpvc"),
    (9, "x25"),
    (10, "inet6"),
    (11, "rose"),
    (13, "netbeui"),
    (14, "security"),
    (15, "key"),
    (16, "netlink"),
    (17, "packet"),
    (18, "ash"),
    (19, "econet"),
    (20, "atmsvc"),
    (21, "rds"),
    (22, "sna"),
    (23, "irda"),
    (24, "pppox"),
    (25, "wanpipe"),
    (26, "llc"),
    (27, "ib"),
    (28, "mpls"),
    (29, "can"),
    (30, "tipc"),
    (31, "bluetooth"),
    (32, "iucv"),
    (33, "rxrpc"),
    (34, "isdn"),
    (35, "phonet"),
    (36, "ieee802154"),
    (37, "caif"),
    (38, "alg"),
    (39, "nfc"),
    (40, "vsock"),
    (41, "kcm"),
    (42, "qipcrtr"),
    (43, "smc"),
    (44, "xdp"),
    (45, "mctp"),
];

/// `SOCK_*` by number, as AppArmor writes them.
const SOCKET_TYPES: [(u16, &str); 7] =
    [(1, "stream"), (2, "dgram"), (3, "raw"), (4, "rdm"), (5, "seqpacket"), (6, "dccp"), (10, "packet")];

/// The name of a capability, in lower case without `CAP_`.
pub fn capability(number: u32) -> Option<&'static str> {
    CAPABILITIES.get(usize::try_from(number).ok()?).copied()
}

/// The names of all capabilities, by number.
pub fn capabilities() -> impl Iterator<Item = &'static str> {
    CAPABILITIES.into_iter()
}

/// The name of an address family.
pub fn family(number: u16) -> Option<&'static str> {
    find(&FAMILIES, number)
}

/// The numbers of all address families that have a name.
pub fn families() -> impl Iterator<Item = u16> {
    FAMILIES.into_iter().map(|(number, _)| number)
}

/// The name of a socket type.
pub fn socket_type(number: u16) -> Option<&'static str> {
    find(&SOCKET_TYPES, number)
}

/// The numbers of all socket types that have a name.
pub fn socket_types() -> impl Iterator<Item = u16> {
    SOCKET_TYPES.into_iter().map(|(number, _)| number)
}

fn find(table: &[(u16, &'static str)], number: u16) -> Option<&'static str> {
    table.iter().find(|(n, _)| *n == number).map(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_of_the_tables_are_the_kernels() {
        assert_eq!(capability(0), Some("chown"));
        assert_eq!(capability(21), Some("sys_admin"));
        assert_eq!(capability(40), Some("checkpoint_restore"));
        assert_eq!(capability(41), None);
        for (number, name) in
            [(1, "unix"), (2, "inet"), (10, "inet6"), (16, "netlink"), (38, "alg"), (45, "mctp")]
        {
            assert_eq!(family(number), Some(name));
        }
        assert_eq!(family(12), None);
        assert_eq!(family(46), None);
        assert_eq!(socket_type(10), Some("packet"));
        assert_eq!(socket_type(7), None);
    }
}
