//! The network: what there is, whether anybody can be reached, and sockets that are no network. No packet leaves this
//! machine: a route is asked for, and a connection is tried to a gateway that is this machine itself.

use std::{net::Ipv4Addr, time::Duration};

use nix::{errno::Errno, libc, sys::signal::Signal};

use super::{Check, Ended, Subject};
use crate::probe::{
    board::{Arg, Board, Seen, n},
    report::Verdict,
};

const SOCKET: &str = "kinds of sockets that no application needs are where the kernel was broken into";

pub fn checks(subject: &Subject) -> Vec<Check> {
    let mut out = vec![interfaces(subject), egress(subject)];
    out.extend(SOCKETS.iter().map(|socket| socket_of(socket, subject)));
    out
}

fn interfaces(subject: &Subject) -> Check {
    let network = &subject.network;
    let names = network.interfaces.join(", ");
    let needed = network.publishes || subject.expected.connects > 0;
    let (verdict, seen) = if network.is_hosts {
        (Verdict::Open, format!("the host's own network: {names}"))
    } else if names.is_empty() {
        (Verdict::Closed, "none".into())
    } else if needed {
        (Verdict::Closed, format!("{names}, for its ports or connections"))
    } else {
        (Verdict::Open, names)
    };
    let why = "what is stolen leaves through an interface, and what steals comes in through one";
    let expected = if needed { "its own alone" } else { "none" };
    Check::told("interfaces", "network interfaces beside loopback", why, verdict, seen).expecting(expected)
}

/// `struct sockaddr_in`.
fn address(ip: Ipv4Addr, port: u16) -> [u8; 16] {
    let mut out = [0u8; 16];
    let family = u16::try_from(libc::AF_INET).unwrap_or(0).to_ne_bytes();
    for (place, byte) in out.iter_mut().zip(family.into_iter().chain(port.to_be_bytes()).chain(ip.octets())) {
        *place = byte;
    }
    out
}

/// An address that is nobody's (RFC 5737).
const NOBODY: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// The port of the discard service (RFC 863).
const DISCARD: u16 = 9;

fn egress(subject: &Subject) -> Check {
    let network = subject.network.clone();
    let needed = subject.expected.connects;
    let check = Check::tried(
        "egress",
        "reach the internet",
        "an agent that was taken over sends what it found, and fetches what it is to do",
        move |board| {
            let reached = |words: std::fmt::Arguments<'_>| {
                if needed > 0 {
                    Seen::closed(format_args!("{words}, as the recordings need it"))
                } else {
                    Seen::open(words)
                }
            };
            // Connecting a datagram socket sends nothing: it asks for the route alone.
            match connect(board, libc::SOCK_DGRAM, &address(NOBODY, DISCARD)) {
                Ok(()) => {}
                Err(errno @ (Errno::ENETUNREACH | Errno::EHOSTUNREACH)) => {
                    return Seen::closed(format_args!("no route ({errno:?})"));
                }
                Err(errno) => return Seen::refused(errno),
            }
            let Some(gateway) = network.gateway.filter(|_| network.gateway_is_here && !network.is_hosts)
            else {
                return reached(format_args!("there is a route"));
            };
            board.progress.store(CONNECTING, std::sync::atomic::Ordering::SeqCst);
            match connect(board, libc::SOCK_STREAM, &address(gateway, DISCARD)) {
                Ok(()) => reached(format_args!("a route, and the gateway {gateway} accepts connections")),
                Err(Errno::ECONNREFUSED) => {
                    reached(format_args!("a route, and the gateway {gateway} answers"))
                }
                Err(Errno::ETIMEDOUT | Errno::EHOSTUNREACH | Errno::EINPROGRESS) => {
                    Seen::closed(format_args!("nothing answers at the gateway {gateway}"))
                }
                Err(errno) => Seen::refused(errno),
            }
        },
    );
    let check = if needed > 0 { check.expecting("as recorded") } else { check };
    check.with_patience(Duration::from_secs(2)).with_end(|ended, board| {
        let connecting = board.progress.load(std::sync::atomic::Ordering::SeqCst) == CONNECTING;
        let silent = connecting && matches!(ended, Ended::Late | Ended::Killed(Signal::SIGALRM));
        silent.then(|| Seen::closed(format_args!("nothing answers at the gateway in 2 s")))
    })
}

/// The child waits for an answer from the network.
const CONNECTING: u64 = 1;

fn connect(board: &Board, kind: i32, to: &[u8; 16]) -> Result<(), Errno> {
    let flags = i64::from(kind | libc::SOCK_CLOEXEC);
    let socket = board.call(libc::SYS_socket, &mut [n(i64::from(libc::AF_INET)), n(flags), n(0)])?;
    board.call(libc::SYS_connect, &mut [n(socket), Arg::In(to), n(16)]).map(drop)
}

/// A kind of socket.
struct Socket {
    id: &'static str,
    title: &'static str,
    family: i32,
    kind: i32,
    protocol: i32,
    /// The name that `/proc/net/protocols` has for it while it is in the kernel; empty if it always is.
    module: &'static str,
}

const fn socket(
    id: &'static str,
    title: &'static str,
    numbers: (i32, i32, i32),
    module: &'static str,
) -> Socket {
    Socket { id, title, family: numbers.0, kind: numbers.1, protocol: numbers.2, module }
}

/// `NETLINK_AUDIT`, `NETLINK_NETFILTER` (include/uapi/linux/netlink.h).
const SOCKETS: [Socket; 11] = [
    socket("socket:raw", "raw IP packets", (libc::AF_INET, libc::SOCK_RAW, 1), ""),
    socket("socket:raw6", "raw IPv6 packets", (libc::AF_INET6, libc::SOCK_RAW, 58), ""),
    socket("socket:packet", "frames of the network card", (libc::AF_PACKET, libc::SOCK_RAW, 0), "PACKET"),
    socket(
        "socket:netlink-route",
        "the network's configuration (netlink)",
        (libc::AF_NETLINK, libc::SOCK_RAW, 0),
        "",
    ),
    socket("socket:netlink-audit", "the audit log (netlink)", (libc::AF_NETLINK, libc::SOCK_RAW, 9), ""),
    socket(
        "socket:netlink-netfilter",
        "the packet filter (netlink)",
        (libc::AF_NETLINK, libc::SOCK_RAW, 12),
        "?",
    ),
    socket("socket:alg", "the kernel's ciphers (AF_ALG)", (libc::AF_ALG, libc::SOCK_SEQPACKET, 0), "ALG"),
    socket("socket:vsock", "the hypervisor (AF_VSOCK)", (libc::AF_VSOCK, libc::SOCK_STREAM, 0), "AF_VSOCK"),
    socket("socket:bluetooth", "Bluetooth", (libc::AF_BLUETOOTH, libc::SOCK_RAW, 1), "HCI"),
    socket("socket:key", "IPsec keys (AF_KEY)", (libc::AF_KEY, libc::SOCK_RAW, 2), "KEY"),
    socket("socket:tipc", "cluster messages (AF_TIPC)", (libc::AF_TIPC, libc::SOCK_STREAM, 0), "TIPC"),
];

fn socket_of(socket: &'static Socket, subject: &Subject) -> Check {
    // A family that is not in the kernel is loaded by the first who asks for it, which would change the host. Asked for
    // with a flag that does not exist, it isn't: the filter answers all the same, and nobody else is asked.
    let is_there = socket.module.is_empty() || subject.host.protocols.contains(socket.module);
    let needed = u16::try_from(socket.family).is_ok_and(|family| subject.expected.families.contains(&family));
    // What the recordings use of the family is not told by protocol: the plain one is what libraries ask for.
    let needed = needed
        && !matches!(socket.id, "socket:netlink-audit" | "socket:netlink-netfilter")
        && socket.family != libc::AF_INET
        && socket.family != libc::AF_INET6;
    let title = format!("socket: {}", socket.title);
    let check = Check::tried(socket.id, title, SOCKET, move |board| {
        let bad = if is_there { 0 } else { 0x0100_0000 };
        let kind = i64::from(socket.kind | libc::SOCK_CLOEXEC | bad);
        let mut args = [n(i64::from(socket.family)), n(kind), n(i64::from(socket.protocol))];
        match board.call(libc::SYS_socket, &mut args) {
            Ok(_) if needed => Seen::closed(format_args!("allowed, as the recordings need it")),
            Ok(_) => Seen::open(format_args!("allowed")),
            Err(Errno::EINVAL) if !is_there => Seen::unknown(format_args!(
                "the filter allows it; not tried further, which could load a module into the host's kernel"
            )),
            Err(errno) => Seen::refused(errno),
        }
    });
    if needed { check.expecting("as recorded") } else { check }
}
