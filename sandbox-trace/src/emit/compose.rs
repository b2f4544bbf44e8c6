//! Sandbox → a compose file, or the changes that harden one that is there. Each key comes with its evidence as a comment.
//! Knows the format's keys; how YAML is written and edited is `compose`'s.

mod harden;
mod service;

pub use self::harden::{Hardened, harden};
use super::{
    apparmor::ProfileName,
    docker::{network_name, network_short, object_name},
};
use crate::{
    compose::yaml::{Entry, Node, Style, comment},
    error::Result,
    policy::sandbox::{Network, Sandbox, Source},
    requirements::Run,
};

/// What a file is made of beside the sandbox.
#[derive(Debug, Clone, Copy)]
pub struct Origin<'a> {
    /// The recordings' names.
    pub recordings: &'a [String],
    /// The seccomp profile's file, as the result names it.
    pub seccomp: &'a str,
    /// The AppArmor profile's name; none to leave AppArmor to the engine.
    pub apparmor: Option<&'a ProfileName>,
    /// What is kept for it where machines are shared.
    pub reserved: Reserved,
}

/// What a workload used, without any headroom.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reserved {
    /// The most memory of any run, in bytes.
    pub memory_bytes: Option<u64>,
    /// CPU time over all runs, in thousandths of a CPU.
    pub cpu_millis: Option<u64>,
}

impl Reserved {
    /// As the runs show it.
    pub fn of(runs: &[Run]) -> Self {
        let timed = || runs.iter().filter(|run| run.resources.cpu_usec.is_some());
        let used: u64 = timed().filter_map(|run| run.resources.cpu_usec).sum();
        let took: u64 = timed().map(|run| run.duration_ms).sum();
        Self {
            memory_bytes: runs.iter().filter_map(|run| run.resources.memory_peak_bytes).max(),
            // Microseconds per millisecond are thousandths.
            cpu_millis: used.checked_div(took),
        }
    }
}

const STYLE: Style<'static> = Style { step: 2, eol: "\n" };

/// A new file.
pub fn file(sandbox: &Sandbox, origin: Origin<'_>) -> Result<String> {
    let name = object_name(&sandbox.name, "a container")?;
    let mut keys = vec![Entry::new(
        "services",
        Node::Map(vec![Entry::new(name, Node::Map(service::entries(sandbox, origin)?))]),
    )];
    keys.extend(networks(sandbox)?);
    keys.extend(volumes(sandbox)?);
    let mut out = header(sandbox, origin);
    out.extend(keys.iter().map(|key| key.line(0, STYLE)));
    out.push('\n');
    // Each line has its end before it.
    Ok(out.trim_start().to_owned())
}

/// What the file is, and what a person should know of it.
fn header(sandbox: &Sandbox, origin: Origin<'_>) -> String {
    let mut out = String::new();
    let mut say = |text: &str| comment(&mut out, Some(text), 0, STYLE);
    say(&format!(
        "{} in its sandbox. Made by sandbox-trace {} from",
        sandbox.name,
        env!("CARGO_PKG_VERSION")
    ));
    for recording in origin.recordings {
        say(&format!("- {}", crate::recording::printable(recording)));
    }
    say(
        "Values of environment variables are taken from the environment of whoever starts it. The seccomp profile is \
         read from beside this file.",
    );
    if let Some(apparmor) = origin.apparmor {
        say(&format!(
            "The AppArmor profile {} must be loaded first: apparmor_parser --replace apparmor.profile. An engine \
             without AppArmor refuses the key (--no-apparmor leaves it out).",
            apparmor.as_str()
        ));
    }
    let user = &sandbox.user;
    let left = user.value.spec.is_none().then(|| format!("the user is left to the image: {}", user.why));
    let root = (!user.value.blockers.is_empty())
        .then(|| format!("it runs as root: {}", user.value.blockers.join("; ")));
    let host = (sandbox.network.value == Network::Host)
        .then(|| "the container has the host's network: nothing closes it".to_owned());
    let notes: Vec<&String> = left.iter().chain(&root).chain(&host).chain(&sandbox.notes).collect();
    if !notes.is_empty() {
        say("To know:");
        for note in notes {
            say(&format!("- {note}"));
        }
    }
    out
}

/// The networks that the service names.
fn networks(sandbox: &Sandbox) -> Result<Option<Entry>> {
    let network = match &sandbox.network.value {
        Network::None | Network::Host => return Ok(None),
        Network::Bridge(Some(name)) => {
            let name = object_name(name, "a network")?;
            let keys = vec![Entry::new("name", Node::text(name)), Entry::new("external", Node::flag(true))];
            let why = "not this file's: it must be there, and stays open for connections that begin inside";
            Entry::because(name, Node::Map(keys), why)
        }
        Network::Bridge(None) => {
            let name = network_name(sandbox)?;
            let bridge = format!("sbx-{}", network_short(&name));
            let mut options = vec![Entry::new("com.docker.network.bridge.name", Node::text(bridge))];
            if sandbox.connects.is_empty() {
                options.push(Entry::because(
                    "com.docker.network.bridge.enable_ip_masquerade",
                    Node::text("false"),
                    "it never asked anybody outside: what it sends there carries an address that gets no answer; \
                     replies on published ports are not concerned",
                ));
            }
            let keys = vec![
                Entry::new("name", Node::text(name)),
                Entry::new("driver", Node::text("bridge")),
                Entry::new("driver_opts", Node::Map(options)),
            ];
            let why = "its own. A compose file can't close a network for connections that begin inside: the script \
                       of emit-docker does, with SANDBOX_FIREWALL=only, once this one is up";
            Entry::because("default", Node::Map(keys), why)
        }
    };
    Ok(Some(Entry::new("networks", Node::Map(vec![network]))))
}

/// The engine's volumes that the service names.
fn volumes(sandbox: &Sandbox) -> Result<Option<Entry>> {
    let mut named: Vec<Entry> = Vec::new();
    for volume in &sandbox.volumes {
        let Source::Named(name) = &volume.value.source else { continue };
        let name = object_name(name, "a volume")?;
        if !named.iter().any(|entry| entry.key == name) {
            // The engine's volume of just this name, which no project's name is put before.
            named.push(Entry::new(name, Node::Map(vec![Entry::new("name", Node::text(name))])));
        }
    }
    Ok((!named.is_empty()).then(|| Entry::new("volumes", Node::Map(named))))
}

#[cfg(test)]
mod tests;
