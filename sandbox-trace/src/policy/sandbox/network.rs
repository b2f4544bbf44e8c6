//! The network that a workload used: none at all, ports that it served, peers that it asked.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
};

use super::{Because, Connect, Listen, Network, Options, containers};
use crate::{
    linux,
    policy::danger::Asked,
    recording::{Container, NetworkUse, Port, printable},
    requirements::Requirements,
};

/// What `--allow` names the host's network by.
pub const HOST_NETWORK: &str = "host-network";
/// What `--allow` names ports on all interfaces by.
pub const ALL_INTERFACES: &str = "all-interfaces";

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
const SOCK_STREAM: u16 = 1;
const SOCK_DGRAM: u16 = 2;
/// Docker's name server in networks of its own; it is on the container's loopback.
const EMBEDDED_DNS: [u8; 4] = [127, 0, 0, 11];

/// The parts of the sandbox that are about the network.
pub struct Found {
    pub network: Because<Network>,
    pub ports: Vec<Because<Port>>,
    pub listens: Vec<Because<Listen>>,
    pub connects: Vec<Because<Connect>>,
    pub families: Vec<Because<String>>,
}

/// Tells it from the recorded sockets and from how the container was connected.
pub fn network(
    needs: &Requirements,
    config: &Container,
    options: &Options,
    asked: &mut Vec<Asked>,
    notes: &mut Vec<String>,
) -> Found {
    let sockets = Sockets::of(needs);
    let ports = ports(needs, config, &sockets, options, notes);
    let mode = config.network_mode.as_deref().unwrap_or("default");
    let was_host = mode == "host";
    let network = if was_host && options.allow.contains(HOST_NETWORK) {
        Because::new(Network::Host, "as it was started, and allowed by name")
    } else if was_host && !sockets.foreign.is_empty() {
        asked.push(Asked {
            what: HOST_NETWORK.into(),
            who: format!("connections to {}, which it did not serve itself", list(sockets.foreign.iter())),
            first_ms: None,
            reason: "reaches every service of the host's loopback".into(),
        });
        Because::new(Network::None, "")
    } else if let Some(own) = own_network(mode) {
        Because::new(Network::Bridge(Some(own.to_owned())), "as it was started: a network of its own")
    } else if !ports.is_empty() {
        Because::new(Network::Bridge(None), "ports can't be published without one")
    } else if !sockets.connects.is_empty() {
        Because::new(
            Network::Bridge(None),
            format!("it connected to {}", list(sockets.connects.keys().map(shown))),
        )
    } else {
        let why = match (sockets.any, sockets.listens.is_empty()) {
            (false, _) => "it made no socket of the internet's families",
            (true, true) => "it talked over its own loopback alone",
            (true, false) => "it listened, but no port was published and nobody was asked",
        };
        Because::new(Network::None, why)
    };
    if network.value == Network::None && !sockets.listens.is_empty() {
        let ports = list(sockets.listens.keys().map(|listen| format!("{}/{}", listen.port, listen.protocol)));
        notes.push(format!("it listens on {ports}: without a network nobody outside can reach that"));
    }
    let because = |(value, why): (Connect, String)| Because::new(value, why);
    Found {
        network,
        ports,
        listens: sockets.listens.into_iter().map(|(value, why)| Because::new(value, why)).collect(),
        connects: sockets.connects.into_iter().map(because).collect(),
        families: families(needs),
    }
}

fn shown(connect: &Connect) -> String {
    format!("{} ({})", SocketAddr::new(connect.address, connect.port), connect.protocol)
}

/// At most three of them.
fn list<T: ToString>(items: impl Iterator<Item = T>) -> String {
    const SHOWN: usize = 3;
    let all: Vec<String> = items.map(|item| item.to_string()).collect();
    let more = all.len().saturating_sub(SHOWN);
    let mut text = all.into_iter().take(SHOWN).collect::<Vec<_>>().join(", ");
    if more > 0 {
        text.extend([" and ", &more.to_string(), " more"]);
    }
    text
}

/// A network that somebody made, or another container's.
fn own_network(mode: &str) -> Option<&str> {
    (!matches!(mode, "" | "default" | "bridge" | "none" | "host" | "private" | "slirp4netns" | "pasta"))
        .then_some(mode)
}

/// What was done with sockets of the internet's families.
#[derive(Default)]
struct Sockets {
    any: bool,
    listens: BTreeMap<Listen, String>,
    connects: BTreeMap<Connect, String>,
    /// Addresses on loopback that were connected to and not served by the target.
    foreign: BTreeSet<SocketAddr>,
}

impl Sockets {
    fn of(needs: &Requirements) -> Self {
        let mut out = Self::default();
        let mut bound = BTreeSet::new();
        let mut loopback = BTreeSet::new();
        for one in needs.runs.iter().flat_map(|run| &run.network) {
            if !matches!(one.family_nr, AF_INET | AF_INET6) {
                continue;
            }
            out.any = true;
            let protocol = match one.type_nr {
                SOCK_STREAM => "tcp",
                SOCK_DGRAM => "udp",
                _ => continue,
            };
            let Some(address) = address(one) else { continue };
            let why = times(one.count);
            match one.operation.as_str() {
                "bind" => {
                    bound.insert(address.port());
                    if !address.ip().is_loopback() && address.port() != 0 {
                        out.listens
                            .entry(Listen { port: address.port(), protocol })
                            .or_insert(format!("bound to {address} {why}"));
                    }
                }
                "connect" | "sendto" | "send" => {
                    let dns = matches!(address.ip(), IpAddr::V4(ip) if ip.octets() == EMBEDDED_DNS);
                    if address.ip().is_loopback() && !dns {
                        loopback.insert(address);
                    } else if address.port() != 0 && !address.ip().is_unspecified() {
                        let peer = Connect { address: address.ip(), port: address.port(), protocol };
                        out.connects.entry(peer).or_insert(format!("{} {why}", one.operation));
                    }
                }
                _ => {}
            }
        }
        // A port that the kernel chose is not known: it may be any of them.
        if !bound.contains(&0) {
            out.foreign = loopback.into_iter().filter(|address| !bound.contains(&address.port())).collect();
        }
        out
    }
}

fn address(one: &NetworkUse) -> Option<SocketAddr> {
    std::str::from_utf8(one.address.as_ref()?.as_bytes()).ok()?.parse().ok()
}

fn times(count: u64) -> String {
    match count {
        0 | 1 => "once".into(),
        n => format!("{} times", crate::output::grouped(n)),
    }
}

/// The published ports that are served, on the host's loopback.
fn ports(
    needs: &Requirements,
    config: &Container,
    sockets: &Sockets,
    options: &Options,
    notes: &mut Vec<String>,
) -> Vec<Because<Port>> {
    let observed = !needs.unobserved.contains("network");
    let mut out = BTreeMap::new();
    for port in containers(&needs.runs).flat_map(|container| &container.ports).chain(&config.ports) {
        let name = format!("{}/{}", port.container, printable(&port.protocol));
        let served = sockets
            .listens
            .iter()
            .find(|(listen, _)| listen.port == port.container && listen.protocol == port.protocol);
        if served.is_none() && observed {
            let note = format!("port {name} was published, but nobody listened there: it is left out");
            if !notes.contains(&note) {
                notes.push(note);
            }
            continue;
        }
        let everywhere = matches!(port.host_ip.as_deref(), None | Some("" | "0.0.0.0" | "::"));
        let mut published = port.clone();
        // A port that the engine chose is another one each time.
        published.host = port.host.or(Some(port.container));
        let mut why = served.map_or_else(|| "it was published".to_owned(), |(_, why)| why.clone());
        if everywhere && options.allow.contains(ALL_INTERFACES) {
            published.host_ip = None;
            why += "; published on all interfaces, and allowed by name";
        } else if everywhere {
            published.host_ip = Some("127.0.0.1".into());
            why += "; it was published on all interfaces, where loopback may be enough";
            let note = format!(
                "port {name} was published on all interfaces and is published on 127.0.0.1: --allow \
                 {ALL_INTERFACES} keeps it open to the network"
            );
            if !notes.contains(&note) {
                notes.push(note);
            }
        }
        out.entry(published).or_insert(why);
    }
    out.into_iter().map(|(port, why)| Because::new(port, why)).collect()
}

/// The socket families, by number.
fn families(needs: &Requirements) -> Vec<Because<String>> {
    let mut found: BTreeMap<u16, String> = BTreeMap::new();
    for (key, evidence) in &needs.network {
        found.entry(key.family.0).or_insert_with(|| super::used(evidence));
    }
    found
        .into_iter()
        .map(|(number, why)| {
            let name = linux::family(number).map_or_else(|| number.to_string(), str::to_uppercase);
            Because::new(format!("AF_{name}"), why)
        })
        .collect()
}
