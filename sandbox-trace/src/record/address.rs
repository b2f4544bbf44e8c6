//! Socket addresses and the names of families and types.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};

/// Names of the address families by number, as AppArmor writes them. Source: the `AF_*` numbers of Linux's
/// include/linux/socket.h and the names in the kernel's `network_v8/af_mask`.
const FAMILIES: [&str; 46] = [
    "unspec",
    "unix",
    "inet",
    "ax25",
    "ipx",
    "appletalk",
    "netrom",
    "bridge",
    "atmpvc",
    "x25",
    "inet6",
    "rose",
    "",
    "netbeui",
    "security",
    "key",
    "netlink",
    "packet",
    "ash",
    "econet",
    "atmsvc",
    "rds",
    "sna",
    "irda",
    "pppox",
    "wanpipe",
    "llc",
    "ib",
    "mpls",
    "can",
    "tipc",
    "bluetooth",
    "iucv",
    "rxrpc",
    "isdn",
    "phonet",
    "ieee802154",
    "caif",
    "alg",
    "nfc",
    "vsock",
    "kcm",
    "qipcrtr",
    "smc",
    "xdp",
    "mctp",
];

pub const AF_UNIX: u16 = 1;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

/// The name of a family, or `family_N`.
pub fn family(number: u16) -> String {
    match FAMILIES.get(usize::from(number)) {
        Some(name) if !name.is_empty() => (*name).to_owned(),
        _ => format!("family_{number}"),
    }
}

/// The name of a socket type, or `type_N`.
pub fn socket_type(number: u16) -> String {
    match number {
        1 => "stream".into(),
        2 => "dgram".into(),
        3 => "raw".into(),
        4 => "rdm".into(),
        5 => "seqpacket".into(),
        6 => "dccp".into(),
        10 => "packet".into(),
        other => format!("type_{other}"),
    }
}

/// What an address says, and the path if it is one.
pub enum Address {
    /// As text: `127.0.0.1:80`, `[::1]:80`, `unix:@name`, or hexadecimal for other families.
    Text(Vec<u8>),
    /// An `AF_UNIX` path, as given.
    Path(Vec<u8>),
}

/// Reads a `struct sockaddr`.
pub fn parse(bytes: &[u8]) -> Option<Address> {
    let (family, rest) = bytes.split_first_chunk::<2>()?;
    Some(match (u16::from_ne_bytes(*family), rest) {
        (AF_INET, [p1, p2, a, b, c, d, ..]) => {
            let ip = Ipv4Addr::new(*a, *b, *c, *d);
            text(SocketAddrV4::new(ip, u16::from_be_bytes([*p1, *p2])).to_string())
        }
        (AF_INET6, [p1, p2, _, _, _, _, rest @ ..]) => {
            let ip: [u8; 16] = *rest.first_chunk()?;
            text(SocketAddrV6::new(Ipv6Addr::from(ip), u16::from_be_bytes([*p1, *p2]), 0, 0).to_string())
        }
        (AF_UNIX, []) => text("unix:".into()),
        (AF_UNIX, [0, name @ ..]) => Address::Text([b"unix:@".as_slice(), name].concat()),
        (AF_UNIX, path) => Address::Path(path.split(|byte| *byte == 0).next()?.to_vec()),
        (_, rest) => text(rest.iter().fold(String::from("0x"), |hex, byte| format!("{hex}{byte:02x}"))),
    })
}

fn text(text: String) -> Address {
    Address::Text(text.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_have_apparmors_names() {
        for (number, name) in
            [(1, "unix"), (2, "inet"), (10, "inet6"), (16, "netlink"), (17, "packet"), (38, "alg")]
        {
            assert_eq!(family(number), name);
        }
        assert_eq!(family(40), "vsock");
        assert_eq!(family(44), "xdp");
        assert_eq!(family(45), "mctp");
        assert_eq!(family(12), "family_12");
        assert_eq!(family(999), "family_999");
    }

    #[test]
    fn addresses_are_text() {
        let show = |bytes: &[u8]| match parse(bytes) {
            Some(Address::Text(text)) => String::from_utf8(text).unwrap(),
            Some(Address::Path(path)) => format!("path {}", String::from_utf8(path).unwrap()),
            None => "none".into(),
        };
        assert_eq!(show(&[2, 0, 0, 80, 127, 0, 0, 1]), "127.0.0.1:80");
        assert_eq!(show(b"\x01\0/run/x.sock\0junk"), "path /run/x.sock");
        assert_eq!(show(b"\x01\0\0abstract"), "unix:@abstract");
        assert_eq!(show(&[16, 0, 1, 2]), "0x0102");
        assert_eq!(show(&[2, 0, 0]), "0x00");
        assert_eq!(show(&[2]), "none");
    }
}
