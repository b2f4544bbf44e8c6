//! The network policy: whom the Pod may reach and who may reach it.

use std::{collections::BTreeMap, net::IpAddr};

use super::{
    LABEL, Objects, Parts, metadata,
    yaml::{Map, item, list},
};
use crate::policy::sandbox::Network;

/// The name service's port.
const DNS: u16 = 53;

/// Makes it, where the Pod has a network of its own.
pub(super) fn policy(parts: &Parts<'_>, name: &str, out: &mut Objects) {
    let sandbox = parts.sandbox;
    if sandbox.network.value == Network::Host {
        out.notes.push("no NetworkPolicy holds for a Pod in the node's network: none is written".into());
        return;
    }
    let mut spec = Map::default();
    let (mut selector, mut labels) = (Map::default(), Map::default());
    labels.set(LABEL, name);
    selector.set("matchLabels", labels);
    spec.set("podSelector", selector);
    spec.set("policyTypes", vec!["Ingress", "Egress"]);
    if sandbox.listens.is_empty() {
        spec.comment("it listened on nothing but loopback").set("ingress", Vec::<Map>::new());
    } else {
        let ports = sandbox.listens.iter().map(|l| item(&l.why, port(l.value.port, l.value.protocol)));
        let mut rule = Map::default();
        rule.comment("from: who comes is not known; name the Pods that do");
        rule.set("ports", list(ports.collect()));
        spec.set("ingress", vec![rule]);
    }
    let mut rules = Vec::new();
    if asks_names(parts) {
        rules.push(item("it asked a name server: the cluster's", names()));
    }
    let mut peers: BTreeMap<IpAddr, Vec<_>> = BTreeMap::new();
    for connect in sandbox.connects.iter().filter(|connect| connect.value.port != DNS) {
        peers.entry(connect.value.address).or_default().push(connect);
    }
    for (address, connects) in peers {
        let (mut to, mut block) = (Map::default(), Map::default());
        let length = if address.is_ipv4() { 32 } else { 128 };
        block.set("cidr", format!("{address}/{length}"));
        to.set("ipBlock", block);
        let ports = connects.iter().map(|c| item(&c.why, port(c.value.port, c.value.protocol)));
        let mut rule = Map::default();
        rule.set("to", vec![to]).set("ports", list(ports.collect()));
        rules.push(item("recorded as an address: behind a name it may be another one tomorrow", rule));
    }
    if rules.is_empty() {
        spec.comment(format!("it called nobody: {}", sandbox.network.why));
    }
    spec.set("egress", list(rules));
    let mut map = Map::default();
    map.set("apiVersion", "networking.k8s.io/v1").set("kind", "NetworkPolicy");
    map.set("metadata", metadata(parts, name, true));
    map.set("spec", spec);
    out.add("networkpolicy.yaml", &["It holds where the cluster's network plugin enforces policies."], &map);
}

fn port(number: u16, protocol: &str) -> Map {
    let mut map = Map::default();
    map.set("port", number).set("protocol", protocol.to_ascii_uppercase());
    map
}

/// Whether it asked a name server, be it Docker's on its own loopback.
fn asks_names(parts: &Parts<'_>) -> bool {
    let asked = parts.needs.runs.iter().flat_map(|run| &run.network).any(|one| {
        let to = matches!(one.operation.as_str(), "connect" | "sendto" | "send");
        to && one.address.as_ref().is_some_and(|address| address.as_bytes().ends_with(b":53"))
    });
    asked || parts.sandbox.connects.iter().any(|connect| connect.value.port == DNS)
}

fn names() -> Map {
    let label = |key: &str, value: &str| {
        let (mut selector, mut labels) = (Map::default(), Map::default());
        labels.set(key, value);
        selector.set("matchLabels", labels);
        selector
    };
    let mut to = Map::default();
    to.set("namespaceSelector", label("kubernetes.io/metadata.name", "kube-system"));
    to.set("podSelector", label("k8s-app", "kube-dns"));
    let mut rule = Map::default();
    rule.set("to", vec![to]).set("ports", vec![port(DNS, "udp"), port(DNS, "tcp")]);
    rule
}
