//! A network of the container's own, closed for connections that begin inside. Docker can publish ports on a bridge
//! alone, and a bridge lets everything out; `--internal` networks publish nothing. So the packet filter closes it.

use std::{fmt::Write as _, net::IpAddr};

use sha2::{Digest as _, Sha256};

use super::flags::object_name;
use crate::{
    error::Result,
    policy::sandbox::{Network, Sandbox},
};

/// The network's name.
pub fn name(sandbox: &Sandbox) -> Result<String> {
    Ok(format!("{}-net", object_name(&sandbox.name, "a container")?))
}

/// A short name that is always the same for the same network: interfaces and chains can't have long ones.
pub fn short(name: &str) -> String {
    Sha256::digest(name.as_bytes()).iter().take(4).fold(String::new(), |mut out, byte| {
        // Writing to a string does not fail.
        let _ = write!(out, "{byte:02x}");
        out
    })
}

/// The part of the script that makes and closes the network; empty where the container has no bridge of its own.
pub fn steps(sandbox: &Sandbox) -> Result<String> {
    let mut out = String::new();
    match &sandbox.network.value {
        Network::None => {}
        Network::Host => {
            out.push_str("\necho \"$0: the container has the host's network: nothing closes it\" >&2\n");
        }
        Network::Bridge(Some(name)) => {
            let name = object_name(name, "a network")?;
            let _ = writeln!(
                out,
                "\necho \"$0: the network {name} is not this script's: it stays open for connections that begin inside\" >&2"
            );
        }
        Network::Bridge(None) => out.push_str(&own(sandbox)?),
    }
    Ok(out)
}

fn own(sandbox: &Sandbox) -> Result<String> {
    let name = name(sandbox)?;
    let short = short(&name);
    let mut rules = String::new();
    let mut six = 0;
    for peer in &sandbox.connects {
        let (port, protocol) = (peer.value.port, peer.value.protocol);
        match peer.value.address {
            IpAddr::V4(address) => {
                let _ = writeln!(rules, "-A $chain -d {address} -p {protocol} --dport {port} -j RETURN");
            }
            IpAddr::V6(_) => six += 1,
        }
    }
    let peers = match sandbox.connects.len() - six {
        0 => "No connection to the outside was recorded: none can begin inside.".to_owned(),
        1 => "One peer was recorded: connections to it alone can begin inside.".to_owned(),
        n => format!("{n} peers were recorded: connections to them alone can begin inside."),
    };
    let six = match six {
        0 => String::new(),
        n => format!("\n# {n} recorded with IPv6 addresses can't be reached: the network has none."),
    };
    Ok(format!(
        r#"
# A network of its own. {peers}{six}
# SANDBOX_FIREWALL=no leaves it open. The packet filter is gone after a start of the host: SANDBOX_START=no makes it again.
network={name}
bridge=sbx-{short}
docker network inspect "$network" >/dev/null 2>&1 ||
  docker network create --driver bridge --ipv6=false \
    --opt "com.docker.network.bridge.name=$bridge" "$network" >/dev/null

# Replies pass, and so do connections to published ports: new connections from the bridge alone are refused, both
# those that the host would forward and those to the host itself.
close_egress() {{
  chain=SANDBOX-{short}
  if [ "$(id -u)" != 0 ]; then
    echo "$0: not root: the network $network stays open for connections that begin inside" >&2
    return
  fi
  if ! command -v iptables >/dev/null || ! command -v iptables-restore >/dev/null; then
    echo "$0: no iptables: the network $network stays open for connections that begin inside" >&2
    return
  fi
  if ! grep -q "^ *$bridge:" /proc/net/dev; then
    echo "$0: no interface $bridge here (another host's engine, or a rootless one): the network $network stays open" >&2
    return
  fi
  forward=DOCKER-USER
  iptables -w -n -L DOCKER-USER >/dev/null 2>&1 || forward=FORWARD
  # All of the chain at once, in place of an older one.
  iptables-restore -w --noflush <<RULES
*filter
:$chain - [0:0]
{rules}-A $chain -j REJECT
COMMIT
RULES
  for hook in "$forward" INPUT; do
    iptables -w -C "$hook" -i "$bridge" -m conntrack --ctstate NEW -j "$chain" 2>/dev/null ||
      iptables -w -I "$hook" -i "$bridge" -m conntrack --ctstate NEW -j "$chain"
  done
}}
case "${{SANDBOX_FIREWALL:-yes}}" in
no) echo "$0: SANDBOX_FIREWALL=no: the network $network is open for connections that begin inside" >&2 ;;
*) close_egress ;;
esac
"#
    ))
}
