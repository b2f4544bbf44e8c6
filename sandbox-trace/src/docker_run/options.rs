//! Which options `docker run` has, which of them take a value, and where they end: the image is the first word that is
//! none. Source: `docker run --help` of Docker 28; older names stay.

use super::Wrong;
use crate::recording::printable;

/// An option that was given: its long name, its value (`true` for one without) and its line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    pub name: String,
    pub value: String,
    pub line: u32,
}

const VALUED: &[&str] = &[
    "add-host",
    "annotation",
    "attach",
    "blkio-weight",
    "blkio-weight-device",
    "cap-add",
    "cap-drop",
    "cgroup-parent",
    "cgroupns",
    "cidfile",
    "cpu-count",
    "cpu-percent",
    "cpu-period",
    "cpu-quota",
    "cpu-rt-period",
    "cpu-rt-runtime",
    "cpu-shares",
    "cpus",
    "cpuset-cpus",
    "cpuset-mems",
    "detach-keys",
    "device",
    "device-cgroup-rule",
    "device-read-bps",
    "device-read-iops",
    "device-write-bps",
    "device-write-iops",
    "dns",
    "dns-opt",
    "dns-option",
    "dns-search",
    "domainname",
    "entrypoint",
    "env",
    "env-file",
    "expose",
    "gpus",
    "group-add",
    "health-cmd",
    "health-interval",
    "health-retries",
    "health-start-interval",
    "health-start-period",
    "health-timeout",
    "hostname",
    "io-maxbandwidth",
    "io-maxiops",
    "ip",
    "ip6",
    "ipc",
    "isolation",
    "kernel-memory",
    "label",
    "label-file",
    "link",
    "link-local-ip",
    "log-driver",
    "log-opt",
    "mac-address",
    "memory",
    "memory-reservation",
    "memory-swap",
    "memory-swappiness",
    "mount",
    "name",
    "net",
    "net-alias",
    "network",
    "network-alias",
    "oom-score-adj",
    "pid",
    "pids-limit",
    "platform",
    "publish",
    "pull",
    "restart",
    "runtime",
    "security-opt",
    "shm-size",
    "stop-signal",
    "stop-timeout",
    "storage-opt",
    "sysctl",
    "tmpfs",
    "ulimit",
    "user",
    "userns",
    "uts",
    "volume",
    "volume-driver",
    "volumes-from",
    "workdir",
];

const BARE: &[&str] = &[
    "detach",
    "disable-content-trust",
    "help",
    "init",
    "interactive",
    "no-healthcheck",
    "oom-kill-disable",
    "privileged",
    "publish-all",
    "quiet",
    "read-only",
    "rm",
    "sig-proxy",
    "tty",
    "use-api-socket",
];

/// The short names.
const SHORT: &[(char, &str)] = &[
    ('a', "attach"),
    ('c', "cpu-shares"),
    ('d', "detach"),
    ('e', "env"),
    ('h', "hostname"),
    ('i', "interactive"),
    ('l', "label"),
    ('m', "memory"),
    ('p', "publish"),
    ('P', "publish-all"),
    ('q', "quiet"),
    ('t', "tty"),
    ('u', "user"),
    ('v', "volume"),
    ('w', "workdir"),
];

/// Options of `docker` itself, before `run`, that take a value.
const GLOBAL_VALUED: &[&str] = &[
    "--host",
    "-H",
    "--context",
    "-c",
    "--config",
    "--log-level",
    "-l",
    "--tlscacert",
    "--tlscert",
    "--tlskey",
];

/// The part of a container that an option is about, by its name in compose files.
pub fn part(option: &str) -> &str {
    match option {
        "cap-add" => "cap_add",
        "cap-drop" => "cap_drop",
        "security-opt" => "security_opt",
        "read-only" => "read_only",
        "volume" | "mount" | "volumes-from" | "use-api-socket" => "volumes",
        "network" | "net" => "network_mode",
        "publish" | "publish-all" => "ports",
        "device" | "gpus" => "devices",
        "userns" => "userns_mode",
        "cgroupns" => "cgroup",
        "sysctl" => "sysctls",
        "memory" => "mem_limit",
        "memory-swap" => "memswap_limit",
        "cpu-quota" | "cpu-period" => "cpus",
        "pids-limit" => "pids_limit",
        "log-driver" | "log-opt" => "logging",
        "env" | "env-file" => "environment",
        "no-healthcheck" | "health-cmd" => "healthcheck",
        other => other,
    }
}

/// Where `run` or `create` begins in the words of a command, if it is one of Docker's.
fn start(words: &[(String, u32)]) -> Option<usize> {
    let is_engine = |word: &str| matches!(word.rsplit('/').next(), Some("docker" | "podman" | "nerdctl"));
    let places = words.iter().enumerate().filter(|(_, (word, _))| is_engine(word)).map(|(at, _)| at + 1);
    places.into_iter().find_map(|mut at| {
        while let Some((word, _)) = words.get(at) {
            match word.as_str() {
                "run" | "create" => return Some(at + 1),
                "container" => at += 1,
                option if GLOBAL_VALUED.contains(&option) => at += 2,
                option if option.starts_with('-') => at += 1,
                _ => return None,
            }
        }
        None
    })
}

/// What a `docker run` gives: its options, and the words from the image on. `None` if it is another command.
#[allow(clippy::type_complexity, reason = "two lists, taken apart where it is called")]
pub fn split(words: &[(String, u32)]) -> Result<Option<(Vec<Given>, &[(String, u32)])>, Wrong> {
    let Some(start) = start(words) else { return Ok(None) };
    let mut rest = words.get(start..).unwrap_or_default();
    let mut given = Vec::new();
    while let Some(((word, line), after)) = rest.split_first() {
        if word == "--" {
            rest = after;
            break;
        }
        let mut next = after.iter();
        if let Some(long) = word.strip_prefix("--") {
            let (name, value) =
                long.split_once('=').map_or((long, None), |(name, value)| (name, Some(value)));
            let mut value_of = |valued: bool| match value {
                Some(value) => Ok(value.to_owned()),
                None if valued => following(&mut next, word, *line),
                None => Ok("true".to_owned()),
            };
            let value = if VALUED.contains(&name) {
                value_of(true)?
            } else if BARE.contains(&name) {
                value_of(false)?
            } else {
                return Err((*line, format!("the option --{} is not known", printable(name))));
            };
            given.push(Given { name: name.to_owned(), value, line: *line });
        } else if let Some(letters) = word.strip_prefix('-').filter(|letters| !letters.is_empty()) {
            let mut letters = letters.chars();
            while let Some(letter) = letters.next() {
                let Some((_, name)) = SHORT.iter().find(|(short, _)| *short == letter) else {
                    return Err((
                        *line,
                        format!("the option -{} is not known", printable(&letter.to_string())),
                    ));
                };
                let value = if VALUED.contains(name) {
                    let rest = std::mem::replace(&mut letters, "".chars()).as_str();
                    match rest.strip_prefix('=').unwrap_or(rest) {
                        "" => following(&mut next, word, *line)?,
                        value => value.to_owned(),
                    }
                } else {
                    "true".to_owned()
                };
                given.push(Given { name: (*name).to_owned(), value, line: *line });
            }
        } else {
            break;
        }
        rest = next.as_slice();
    }
    Ok(Some((given, rest)))
}

fn following(
    next: &mut std::slice::Iter<'_, (String, u32)>,
    option: &str,
    line: u32,
) -> Result<String, Wrong> {
    let value = next.next().map(|(value, _)| value.clone());
    value.ok_or_else(|| (line, format!("the option {} needs a value", printable(option))))
}
