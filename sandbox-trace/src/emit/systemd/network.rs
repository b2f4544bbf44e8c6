//! The network: socket families, whom it may talk to.

use std::net::IpAddr;

use super::{DropIn, Parts};
use crate::{policy::sandbox::Network, recording::NetworkUse};

/// Prints the options.
pub(super) fn print(parts: &Parts<'_>, out: &mut DropIn) {
    let sandbox = parts.sandbox;
    if sandbox.families.is_empty() {
        out.set("RestrictAddressFamilies", "none", "It made no socket.");
    } else {
        for family in &sandbox.families {
            out.comment(&format!("{}: {}", family.value, family.why));
        }
        // systemd takes names; of a family without one there is nothing to say.
        let named =
            |name: &&str| name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
        let names = sandbox.families.iter().map(|family| family.value.as_str()).filter(named);
        out.list("RestrictAddressFamilies", names, "No others.");
    }
    let internet = sandbox.families.iter().any(|f| f.value == "AF_INET" || f.value == "AF_INET6");
    let alone =
        sandbox.network.value == Network::None && sandbox.listens.is_empty() && sandbox.connects.is_empty();
    if alone && !calls_abstract(parts) {
        out.set("PrivateNetwork", "yes", &sandbox.network.why);
        return;
    }
    if alone {
        out.comment(
            "PrivateNetwork= is left out: it called an abstract socket of the host's, which belongs to the network.",
        );
    }
    if !sandbox.listens.is_empty() {
        let ports: Vec<String> =
            sandbox.listens.iter().map(|l| format!("{}/{}", l.value.port, l.value.protocol)).collect();
        out.comment(&format!(
            "IPAddressDeny= is left out: it listens on {}, and who comes there is not known.",
            ports.join(" ")
        ));
        return;
    }
    let peers: Vec<IpAddr> = sandbox.connects.iter().map(|connect| connect.value.address).collect();
    if peers.iter().all(is_local) {
        let mut allowed: Vec<String> = peers.iter().map(ToString::to_string).collect();
        if internet {
            allowed.insert(0, "localhost".into());
        }
        allowed.dedup();
        out.set("IPAddressDeny", "any", "Whom it talked to is named here.");
        out.list("IPAddressAllow", allowed.iter().map(String::as_str), "Loopback, and the recorded peers.");
    } else {
        let shown: Vec<String> = peers.iter().map(ToString::to_string).collect();
        out.comment(&format!(
            "IPAddressDeny= is left out: it connected to {}, and names may stand for other addresses tomorrow. If \
             these stay: IPAddressDeny=any, IPAddressAllow=localhost and they.",
            shown.join(" ")
        ));
    }
}

/// Addresses that a person gave out, not the internet's name service.
fn is_local(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_private() || v4.is_link_local() || v4.is_loopback(),
        IpAddr::V6(v6) => v6.is_unique_local() || v6.is_unicast_link_local() || v6.is_loopback(),
    }
}

/// Whether it connected to an abstract socket that it did not bind itself.
fn calls_abstract(parts: &Parts<'_>) -> bool {
    let addresses = |operation: &'static [&str]| {
        let uses = parts.needs.runs.iter().flat_map(|run| &run.network);
        uses.filter(move |one: &&NetworkUse| operation.contains(&one.operation.as_str()))
            .filter_map(|one| one.address.as_ref())
            .filter(|address| address.as_bytes().starts_with(b"unix:@"))
    };
    addresses(&["connect", "sendto", "send"]).any(|address| addresses(&["bind"]).all(|own| own != address))
}
