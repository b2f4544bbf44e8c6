//! The names of address families and socket types as profiles write them.

/// `AF_*` by number (Linux 6.1). 12 (DECnet) is gone from the kernel and from the compiler.
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

/// `SOCK_*` by number. 6 (DCCP) is missing: `apparmor_parser` 3.0.8 takes no rule for it.
const TYPES: [(u16, &str); 6] =
    [(1, "stream"), (2, "dgram"), (3, "raw"), (4, "rdm"), (5, "seqpacket"), (10, "packet")];

/// The rule for sockets of this family and type, if the language has one. The names come from the numbers: a
/// recording's own names are not trusted with a profile.
pub fn rule(family: u16, socket_type: u16) -> Option<String> {
    let find = |table: &[(u16, &'static str)], number| {
        table.iter().find(|(n, _)| *n == number).map(|(_, name)| *name)
    };
    Some(format!("network {} {},", find(&FAMILIES, family)?, find(&TYPES, socket_type)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apparmor::testing;

    #[test]
    fn every_rule_allows_its_own_sockets_and_no_others() {
        // A sample of rules together: what must match and what must not is in one automaton.
        let chosen = |family: u16, kind: u16| (u32::from(family) * 7 + u32::from(kind)) % 3 == 0;
        let pairs: Vec<(u16, u16)> =
            FAMILIES.iter().flat_map(|(f, _)| TYPES.iter().map(|(t, _)| (*f, *t))).collect();
        let text: Vec<String> = pairs
            .iter()
            .filter(|(f, t)| chosen(*f, *t))
            .map(|(f, t)| format!("  {}\n", rule(*f, *t).unwrap()))
            .collect();
        let profile = testing::rules(text.concat());
        for (family, kind) in pairs {
            assert_eq!(profile.allows_socket(family, kind), chosen(family, kind), "{family} {kind}");
        }
    }

    #[test]
    fn sockets_are_free_only_where_they_are_not_mediated() {
        assert!(!testing::rules("  /a r,\n").allows_socket(2, 1));
        assert!(testing::rules("  network,\n").allows_socket(2, 1));
        assert!(testing::rules("  network inet,\n").allows_socket(2, 1));
        assert!(!testing::rules("  network inet,\n").allows_socket(10, 1));
        assert!(!testing::rules("  network,\n  deny network inet stream,\n").allows_socket(2, 1));
    }
}
