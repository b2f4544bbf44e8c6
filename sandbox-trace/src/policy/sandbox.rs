//! Recordings → the sandbox around a workload: all that confines it beside its seccomp filter and its AppArmor
//! profile. The one model that `emit-docker`, `emit-compose`, `emit-oci`, `emit-k8s` and `emit-systemd` print; each
//! part says what it was told from. Knows no format.

mod configuration;
mod limits;
mod network;
mod places;
#[cfg(test)]
pub(crate) mod samples;
#[cfg(test)]
mod tests;
mod written;

use std::collections::BTreeSet;

use super::danger;
use crate::{
    error::{Error, Result},
    recording::{BytePath, Container, Healthcheck, Port, printable},
    requirements::{Evidence, Requirements, Run, describe_losses},
};

/// A part of a sandbox, and the evidence for it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Because<T> {
    /// The part.
    pub value: T,
    /// Why: one line of plain text, without control characters, fit for a comment in any format that ends at the
    /// line's end.
    pub why: String,
}

impl<T> Because<T> {
    /// A part with its evidence, which may hold what a recording says: it is made fit for a line of text.
    pub fn new(value: T, why: impl AsRef<str>) -> Self {
        Self { value, why: printable(why.as_ref()) }
    }
}

/// The sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sandbox {
    /// What to call it: letters, digits, `.`, `_` and `-`.
    pub name: String,
    /// The image, by digest where the recording has one.
    pub image: Option<Because<String>>,
    /// The entry point, where it is not the image's own.
    pub entrypoint: Option<Because<Vec<String>>>,
    /// The words after the entry point, where they are not the image's own.
    pub command: Option<Because<Vec<String>>>,
    /// The working directory, where it is not the image's own.
    pub working_dir: Option<Because<String>>,
    /// The names of environment variables to pass on; their values are not recorded.
    pub environment: Vec<String>,
    /// Whom it runs as.
    pub user: Because<User>,
    /// Groups beside the user's own.
    pub groups: Vec<String>,
    /// The capabilities to give beside none, in upper case without `CAP_`, in order of their names.
    pub capabilities: Vec<Because<String>>,
    /// Whether the root file system is read-only.
    pub read_only: Because<bool>,
    /// File systems in memory, by path.
    pub tmpfs: Vec<Because<Tmpfs>>,
    /// What is mounted, by target.
    pub volumes: Vec<Because<Volume>>,
    /// Devices of the host, as `HOST:CONTAINER:PERMISSIONS`.
    pub devices: Vec<Because<String>>,
    /// The network.
    pub network: Because<Network>,
    /// Ports to publish, each with the host's address.
    pub ports: Vec<Because<Port>>,
    /// Ports that it listens on, at any address but loopback.
    pub listens: Vec<Because<Listen>>,
    /// Whom it connected to beyond loopback.
    pub connects: Vec<Because<Connect>>,
    /// Socket families, as C names them: `AF_UNIX`, `AF_INET`; in order of their numbers.
    pub families: Vec<Because<String>>,
    /// How much of the machine it may use.
    pub limits: Limits,
    /// The log driver and its options.
    pub log: Because<Log>,
    /// When it is started again: `no`, `always`, `unless-stopped`, `on-failure`, `on-failure:3`.
    pub restart: Because<String>,
    /// The health check, where it is not the image's own.
    pub healthcheck: Option<Because<Healthcheck>>,
    /// The signal that asks it to stop, where it is neither the image's nor the runtime's own.
    pub stop_signal: Option<String>,
    /// Whether an init process of the runtime's comes before the program.
    pub init: bool,
    /// Kernel parameters of its namespaces, as they were configured.
    pub sysctls: Vec<(String, String)>,
    /// Every place that was written to, as a folder with `/` at its end or a file: what a format without mounts must
    /// leave writable.
    pub writes: Vec<Because<BytePath>>,
    /// Every folder in which a file that was written there was executed or mapped executable.
    pub executes_from: Vec<BytePath>,
    /// Whether memory was made executable that was writable before (a just-in-time compiler).
    pub makes_code: bool,
    /// What a person should know, in sentences.
    pub notes: Vec<String>,
}

/// Whom a container runs as.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct User {
    /// `UID:GID` or the name as it was configured; `None` to leave it to the image, or root where that names none.
    pub spec: Option<String>,
    /// Whether that is root.
    pub root: bool,
    /// Numbers, where they are known.
    pub ids: Option<(u32, u32)>,
    /// What stands in the way of a user other than root, in words; empty if it is none or nothing does.
    pub blockers: Vec<String>,
}

/// A file system in memory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tmpfs {
    /// Where.
    pub path: BytePath,
    /// How much it holds, in bytes.
    pub bytes: u64,
    /// Whether files on it may be executed.
    pub exec: bool,
    /// Its mode, such as 0o1777.
    pub mode: u32,
    /// Whose it is.
    pub owner: Option<(u32, u32)>,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Volume {
    /// Where.
    pub target: BytePath,
    /// What.
    pub source: Source,
    /// Whether it can be written.
    pub writable: bool,
    /// Whether files on it may be executed.
    pub exec: bool,
}

/// What a volume is made of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// A path of the host.
    Host(BytePath),
    /// A volume of the engine's, by name.
    Named(String),
    /// A volume of the engine's without a name, new for each container and filled from the image.
    Anonymous,
}

/// The network of a container.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Network {
    /// Nothing but its own loopback.
    None,
    /// The engine's bridge, or the network of this name.
    Bridge(Option<String>),
    /// The host's own.
    Host,
}

/// A port that is listened on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listen {
    /// The port.
    pub port: u16,
    /// `tcp` or `udp`.
    pub protocol: &'static str,
}

/// A peer that was connected to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Connect {
    /// Its address.
    pub address: std::net::IpAddr,
    /// Its port.
    pub port: u16,
    /// `tcp` or `udp`.
    pub protocol: &'static str,
}

/// How much of the machine a container may use; `None` where nothing was measured.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    /// Memory, in bytes; there is no swap beside it.
    pub memory_bytes: Option<Because<u64>>,
    /// CPU time, in thousandths of a CPU.
    pub cpu_millis: Option<Because<u64>>,
    /// Tasks at once.
    pub pids: Option<Because<u64>>,
    /// The size of `/dev/shm`, in bytes, where it is not the runtime's default of 64 MiB.
    pub shm_bytes: Option<Because<u64>>,
}

/// Where output goes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Log {
    /// The driver.
    pub driver: String,
    /// Its options, by name.
    pub options: Vec<(String, String)>,
}

/// How a sandbox is made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// What to call it.
    pub name: Option<String>,
    /// The image, where it is not the recorded one.
    pub image: Option<String>,
    /// Whom to run as, where it is not the recorded user.
    pub user: Option<String>,
    /// How much is given beyond the recorded peaks, in percent.
    pub headroom: u32,
    /// What is dangerous and given all the same, by name.
    pub allow: BTreeSet<String>,
    /// Make a sandbox of recordings that lost or did not observe something.
    pub allow_incomplete: bool,
}

impl Options {
    /// A measured peak with the headroom.
    fn with_headroom(&self, peak: u64) -> u64 {
        peak.saturating_add(peak.saturating_mul(u64::from(self.headroom)) / 100)
    }
}

/// Makes the sandbox. Refuses what is dangerous and not allowed by name (exit 4), and what was not observed where that
/// would leave something needed out (exit 3).
pub fn sandbox(needs: &Requirements, options: &Options) -> Result<Sandbox> {
    let config = configuration::container(&needs.runs);
    let mut notes = Vec::new();
    if config.is_none() {
        notes.push(
            "no recording tells of a container: image, volumes, published ports and health check are not known"
                .to_owned(),
        );
    }
    let config = config.unwrap_or_default();
    check_observed(needs, options, &config)?;
    let mut asked = Vec::new();
    let user = configuration::user(needs, &config, options)?;
    let places = places::places(needs, &config, &user.value, options, &mut asked, &mut notes);
    let network = network::network(needs, &config, options, &mut asked, &mut notes);
    if !asked.is_empty() {
        return Err(danger::refusal(&asked));
    }
    if config.privileged == Some(true) {
        notes.push("it was recorded with all privileges (--privileged): none of that is given".into());
    }
    for (namespace, value) in &config.namespaces {
        notes.push(format!(
            "its {} namespace was {}: it gets one of its own",
            printable(namespace),
            printable(value)
        ));
    }
    if !needs.losses.is_empty() {
        notes.push(format!(
            "made from incomplete recordings ({}): something needed may be missing",
            describe_losses(&needs.losses)
        ));
    }
    let in_memory = places.tmpfs.iter().map(|tmpfs| tmpfs.value.bytes).sum();
    let limits = limits::limits(&needs.runs, in_memory, options, &mut notes);
    let image = configuration::image(&config, options, &mut notes);
    let command = configuration::command(&config);
    let defaults = config.image_defaults.clone().unwrap_or_default();
    Ok(Sandbox {
        name: configuration::name(&needs.runs, &config, options)?,
        image,
        entrypoint: command.entrypoint,
        command: command.words,
        working_dir: config
            .working_dir
            .clone()
            .filter(|dir| Some(dir) != defaults.working_dir.as_ref() && dir != "/")
            .map(|dir| Because::new(dir, "as it was started")),
        environment: config.environment.clone(),
        user,
        groups: config.groups.clone(),
        capabilities: capabilities(needs),
        read_only: places.read_only,
        tmpfs: places.tmpfs,
        volumes: places.volumes,
        devices: places.devices,
        network: network.network,
        ports: network.ports,
        listens: network.listens,
        connects: network.connects,
        families: network.families,
        limits,
        log: configuration::log(&config),
        restart: configuration::restart(&config),
        healthcheck: config
            .healthcheck
            .clone()
            .filter(|check| Some(check) != defaults.healthcheck.as_ref())
            .map(|check| Because::new(check, "as it was started")),
        stop_signal: config
            .stop_signal
            .clone()
            .filter(|signal| Some(signal) != defaults.stop_signal.as_ref()),
        init: config.init == Some(true),
        sysctls: config.sysctls.clone().into_iter().collect(),
        writes: places.writes,
        executes_from: places.executes_from,
        makes_code: makes_code(needs),
        notes,
    })
}

/// Refuses to take away what was not looked at.
fn check_observed(needs: &Requirements, options: &Options, config: &Container) -> Result<()> {
    if options.allow_incomplete {
        return Ok(());
    }
    let root = needs.runs.iter().flat_map(|run| &run.credentials).any(|credential| credential.uid == 0);
    let blind = |kind: &str| needs.unobserved.contains(kind);
    let missing = if blind("files") {
        "file accesses"
    } else if blind("network") {
        "uses of the network"
    } else if blind("capabilities") && root && config.rootless != Some(true) {
        "capabilities (and it ran as root)"
    } else {
        return Ok(());
    };
    Err(Error::incomplete(format!("a recording could not see {missing}: a sandbox without them may block something needed"))
        .hint(
            "record where `sandbox-trace doctor` says that they can be seen (capabilities: Linux 6.14, or --hooks lsm \
             from 5.17), or accept it with --allow-incomplete",
        ))
}

fn capabilities(needs: &Requirements) -> Vec<Because<String>> {
    needs
        .capabilities
        .iter()
        .map(|(name, (_, evidence))| Because::new(name.to_uppercase(), used(evidence)))
        .collect()
}

/// `used 3 times by /usr/bin/nginx, first 0.2 s into the run`
fn used(evidence: &Evidence) -> String {
    let times = match evidence.count {
        0 => String::new(),
        1 => "once ".to_owned(),
        n => format!("{} times ", crate::output::grouped(n)),
    };
    format!("used {times}by {}", evidence.who())
}

/// Whether memory was made executable that could be written before, as a just-in-time compiler does.
fn makes_code(needs: &Requirements) -> bool {
    const EXEC: u64 = 4;
    const WRITE_EXEC: u64 = 6;
    needs.syscalls.iter().any(|((_, name), need)| {
        let bits = match name.as_str() {
            "mprotect" | "pkey_mprotect" => EXEC,
            "mmap" | "mmap2" => WRITE_EXEC,
            _ => return false,
        };
        // Arguments that were not recorded may be any.
        need.args.is_empty()
            || need.args.keys().any(|tuple| tuple.get(&2).is_none_or(|prot| prot & bits == bits))
    })
}

/// The runs that were of a container.
fn containers(runs: &[Run]) -> impl Iterator<Item = &Container> {
    runs.iter().filter_map(|run| run.container.as_ref())
}
