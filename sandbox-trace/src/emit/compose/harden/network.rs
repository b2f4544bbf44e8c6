//! The network of a service: gone where none was used; ports that are served, on the host's loopback.

use std::net::IpAddr;

use serde_json::Value;

use super::{Work, parts};
use crate::{
    compose::{edit::Change, yaml::Node},
    error::Result,
    policy::sandbox::Network,
    recording::printable,
};

const LOOPBACK: &str = "127.0.0.1";

pub fn network(work: &mut Work<'_>) -> Result<()> {
    let mode = work.before.get("network_mode").and_then(Value::as_str).unwrap_or_default();
    let mode = work.expanded(&["network_mode"], mode)?;
    let network = work.sandbox.network.clone();
    if network.value == Network::None {
        for key in ["ports", "networks", "links", "external_links"] {
            if work.before.get(key).is_some() {
                work.remove(&[key], &format!("{key} were here: {}", network.why));
            }
        }
        return work.want("network_mode", Node::text("none"), &network.why);
    }
    if mode == "host" && network.value != Network::Host {
        work.remove(
            &["network_mode"],
            "network_mode: host was here, which reaches every service of the host",
        );
    } else if mode == "host" {
        work.notes.push("the container has the host's network: nothing closes it".into());
    } else if mode.starts_with("container:") || mode.starts_with("service:") {
        work.notes.push(format!("it stays in another container's network ({})", printable(&mode)));
    }
    ports(work)
}

/// A port of the container, and where it is published.
struct Published {
    first: u16,
    last: u16,
    protocol: String,
    address: Option<String>,
}

fn ports(work: &mut Work<'_>) -> Result<()> {
    let entries = work.before.get("ports").and_then(Value::as_array).cloned().unwrap_or_default();
    let mut kept = 0;
    let mut changes = Vec::new();
    for (position, entry) in entries.iter().enumerate() {
        let index = position.to_string();
        let path = ["ports", index.as_str()];
        let port = read(work, &path, entry)?;
        let shown = format!("{}/{}", port.first, port.protocol);
        let inside = |number: u16| (port.first..=port.last).contains(&number);
        let served = work
            .sandbox
            .listens
            .iter()
            .find(|listen| inside(listen.value.port) && listen.value.protocol == port.protocol);
        let published = work
            .sandbox
            .ports
            .iter()
            .find(|one| inside(one.value.container) && one.value.protocol == port.protocol);
        let Some(why) = served.map(|one| &one.why).or(published.map(|one| &one.why)) else {
            let why = format!("port {shown} was published here, but nobody listened there");
            changes.push(Change::remove(&path, &why));
            continue;
        };
        kept += 1;
        let everywhere = port
            .address
            .as_deref()
            .is_none_or(|address| address.parse::<IpAddr>().is_ok_and(|address| address.is_unspecified()));
        // `--allow all-interfaces` leaves the address open in the sandbox, too.
        let allowed = published.is_some_and(|one| one.value.host_ip.is_none());
        if !everywhere || allowed {
            continue;
        }
        let why = format!("{why}; on all interfaces it would be open to the network");
        match entry {
            Value::Object(_) => {
                let path = ["ports", &index, "host_ip"];
                changes.push(Change::set(&path, Node::text(LOOPBACK), &why));
            }
            Value::String(text) => changes.push(Change::set(&path, Node::Text(on_loopback(text)), &why)),
            other => changes.push(Change::set(&path, Node::Text(format!("{LOOPBACK}::{other}")), &why)),
        }
    }
    if kept == 0 && !entries.is_empty() {
        work.remove(&["ports"], "ports were published here, but nobody listened there");
    } else {
        work.changes.append(&mut changes);
    }
    Ok(())
}

/// The text with the host's loopback for its address.
fn on_loopback(text: &str) -> String {
    match parts(text).as_slice() {
        [container] => format!("{LOOPBACK}::{container}"),
        [.., host, container] => format!("{LOOPBACK}:{host}:{container}"),
        [] => String::new(),
    }
}

fn read(work: &Work<'_>, path: &[&str], entry: &Value) -> Result<Published> {
    let wrong = || {
        work.file
            .fault_at(work.service, path, "a port is [IP:][HOST:]CONTAINER[/PROTOCOL], or has a target")
            .hint("`docker compose config` says what compose makes of the file")
    };
    let scalar = |value: &Value| -> Result<String> {
        match value {
            Value::String(text) => work.expanded(path, text),
            Value::Number(number) => Ok(number.to_string()),
            _ => Err(wrong()),
        }
    };
    let (container, protocol, address) = match entry {
        Value::Object(keys) => (
            scalar(keys.get("target").ok_or_else(wrong)?)?,
            keys.get("protocol").map(scalar).transpose()?,
            keys.get("host_ip").map(scalar).transpose()?,
        ),
        other => {
            let raw = match other {
                Value::String(text) => text.clone(),
                other => scalar(other)?,
            };
            let mut given = parts(&raw);
            let last = work.expanded(path, given.pop().unwrap_or_default())?;
            let (container, protocol) = match last.split_once('/') {
                Some((container, protocol)) => (container.to_owned(), Some(protocol.to_owned())),
                None => (last, None),
            };
            given.pop();
            let address = work.expanded(path, &given.join(":"))?;
            (container, protocol, Some(address).filter(|address| !address.is_empty()))
        }
    };
    let (first, last) = container.split_once('-').unwrap_or((&container, &container));
    let (Ok(first), Ok(last)) = (first.parse(), last.parse()) else { return Err(wrong()) };
    let address = address.map(|address| address.trim_matches(['[', ']']).to_owned());
    Ok(Published { first, last, protocol: protocol.unwrap_or_else(|| "tcp".into()), address })
}
