//! Socket addresses.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};

/// `AF_UNIX`
pub const AF_UNIX: u16 = 1;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

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
