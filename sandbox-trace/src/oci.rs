//! OCI runtime configurations (`config.json` of a bundle) → what a container is started with. Pure but for
//! [`read_bundle`]: knows no runtime and no place where they keep their bundles.

use std::{
    collections::BTreeMap,
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::{
    error::{Error, Result},
    recording::{Container, Limits, Mount, printable},
};

/// The file of a bundle that holds its configuration.
pub const CONFIG: &str = "config.json";
/// Larger than any configuration; a person may name any file.
const MAX_BYTES: u64 = 16 << 20;
/// What `/dev/shm` holds unless something else is configured.
const DEFAULT_SHM: u64 = 64 << 20;
/// The CPU period, in microseconds, unless something else is configured.
const DEFAULT_PERIOD: u64 = 100_000;

/// Where the configuration is that `path` means: a bundle's folder, or the file itself.
pub fn config_file(path: &Path) -> PathBuf {
    if path.is_dir() { path.join(CONFIG) } else { path.to_owned() }
}

/// Reads the configuration that a person named: a bundle's folder or a `config.json`. It has a `process`.
pub fn read_bundle(path: &Path) -> Result<Value> {
    let file = config_file(path);
    let name = printable(&file.display().to_string());
    let unread = |e: std::io::Error| {
        let error = Error::usage(format!("could not read the OCI configuration {name}")).because(e);
        if path.is_dir() {
            error.hint("a bundle is a folder with a config.json, such as `runc spec` writes")
        } else {
            error.hint("name a bundle's folder, or its config.json")
        }
    };
    let mut text = Vec::new();
    File::open(&file).map_err(unread)?.take(MAX_BYTES + 1).read_to_end(&mut text).map_err(unread)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(Error::usage(format!("{name} is larger than any OCI configuration"))
            .hint("name a bundle's folder, or its config.json"));
    }
    parse(&text, &name)
}

/// The configuration in `text`; `name` is what messages call it.
pub fn parse(text: &[u8], name: &str) -> Result<Value> {
    let config: Value = serde_json::from_slice(text).map_err(|e| {
        let place = if e.column() > 0 {
            format!("line {}, column {}", e.line(), e.column())
        } else {
            format!("line {}", e.line())
        };
        let what = e.to_string();
        let what = what.rsplit_once(" at line ").map_or(what.as_str(), |(what, _)| what);
        // serde quotes what it did not expect.
        Error::usage(format!("{name} is not JSON ({place})"))
            .because(printable(what))
            .hint("mend it there, or write a new one with `runc spec`")
    })?;
    if config.get("process").is_some_and(Value::is_object) {
        Ok(config)
    } else {
        Err(Error::usage(format!("{name} has no process: it does not say what to run"))
            .hint("a bundle that can be started has one, such as `runc spec` writes"))
    }
}

/// An annotation of a configuration.
pub fn annotation(config: &Value, name: &str) -> Option<String> {
    Some(config.get("annotations")?.get(name)?.as_str()?.to_owned())
}

/// Fills in what the configuration tells. Values of environment variables stay behind.
pub fn describe(config: &Value, container: &mut Container) {
    let config = Config(config);
    container.command = config.texts("/process/args");
    container.working_dir = config.text("/process/cwd");
    container.environment = names(config.list("/process/env").filter_map(Value::as_str));
    container.user = config.user();
    container.groups = config
        .list("/process/user/additionalGids")
        .filter_map(Value::as_u64)
        .map(|gid| gid.to_string())
        .collect();
    container.no_new_privileges = Some(config.truth("/process/noNewPrivileges"));
    // The runtime has no default that they would be beyond: what is not listed is not given.
    container.capabilities_dropped = vec!["ALL".into()];
    container.capabilities_added = config.texts("/process/capabilities/bounding");
    container.read_only = Some(config.truth("/root/readonly"));
    container.apparmor = config.text("/process/apparmorProfile");
    let has_filter = config.0.pointer("/linux/seccomp").is_some_and(Value::is_object);
    container.seccomp = Some(if has_filter { "custom" } else { "unconfined" }.into());
    container.mounts = config.list("/mounts").filter_map(mount).collect();
    container.mounts.sort();
    container.network_mode = config.network();
    container.namespaces = config.namespaces();
    container.devices = config.devices();
    container.sysctls = config.sysctls();
    container.masked_paths = Some(config.texts("/linux/maskedPaths"));
    container.readonly_paths = Some(config.texts("/linux/readonlyPaths"));
    container.limits = config.limits(&container.mounts);
}

/// The names of variables, each once.
pub fn names<'a>(environment: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut names: Vec<String> = environment
        .map(|variable| variable.split_once('=').map_or(variable, |(name, _)| name))
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect();
    names.sort();
    names.dedup();
    names
}

#[derive(Clone, Copy)]
struct Config<'a>(&'a Value);

impl<'a> Config<'a> {
    fn list(self, pointer: &str) -> impl Iterator<Item = &'a Value> {
        self.0.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
    }

    fn texts(self, pointer: &str) -> Vec<String> {
        self.list(pointer).filter_map(Value::as_str).map(str::to_owned).collect()
    }

    fn text(self, pointer: &str) -> Option<String> {
        self.0.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
    }

    fn truth(self, pointer: &str) -> bool {
        self.0.pointer(pointer).and_then(Value::as_bool).unwrap_or(false)
    }

    /// A number above 0: 0 and -1 stand for "no limit".
    fn limit(self, pointer: &str) -> Option<u64> {
        self.0.pointer(pointer).and_then(Value::as_u64).filter(|n| *n > 0)
    }

    fn user(self) -> Option<String> {
        let id = |key: &str| self.0.pointer(&format!("/process/user/{key}")).and_then(Value::as_u64);
        let (uid, gid) = (id("uid").unwrap_or(0), id("gid").unwrap_or(0));
        (uid != 0 || gid != 0).then(|| format!("{uid}:{gid}"))
    }

    /// The namespace of this kind, if the container gets another than its runtime's.
    fn namespace(self, kind: &str) -> Option<&'a Value> {
        self.list("/linux/namespaces").find(|n| n.get("type").and_then(Value::as_str) == Some(kind))
    }

    fn namespaces(self) -> BTreeMap<String, String> {
        ["cgroup", "ipc", "mount", "pid", "user", "uts"]
            .into_iter()
            .filter_map(|kind| Some((kind.to_owned(), whose(self.namespace(kind))?)))
            .collect()
    }

    fn network(self) -> Option<String> {
        let namespace = self.namespace("network");
        match path_of(namespace) {
            // Where network plugins keep those that they made.
            Some(path) if path.starts_with("/run/netns/") || path.starts_with("/var/run/netns/") => None,
            Some(_) => whose(namespace),
            None if namespace.is_none() => Some("host".into()),
            // A new one has its own loopback alone, unless somebody is asked to come and connect it.
            None => self.0.get("hooks").is_none().then(|| "none".into()),
        }
    }

    fn devices(self) -> Vec<String> {
        let mut devices: Vec<String> = self
            .list("/linux/devices")
            .filter_map(|device| {
                let path = device.get("path")?.as_str()?;
                let same = |rule: &&Value| {
                    ["type", "major", "minor"].iter().all(|key| rule.get(key) == device.get(key))
                };
                let access = self
                    .list("/linux/resources/devices")
                    .find(same)
                    .and_then(|rule| rule.get("access")?.as_str())
                    .unwrap_or("rwm");
                Some(format!("{path}:{path}:{access}"))
            })
            .collect();
        devices.sort();
        devices
    }

    fn sysctls(self) -> BTreeMap<String, String> {
        let sysctls = self.0.pointer("/linux/sysctl").and_then(Value::as_object).into_iter().flatten();
        sysctls.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
    }

    fn limits(self, mounts: &[Mount]) -> Limits {
        let of = |what: &str| self.limit(&format!("/linux/resources/{what}"));
        let period = of("cpu/period").unwrap_or(DEFAULT_PERIOD);
        Limits {
            memory_bytes: of("memory/limit"),
            memory_swap_bytes: of("memory/swap"),
            cpu_millis: of("cpu/quota").map(|quota| quota.saturating_mul(1000) / period),
            pids: of("pids/limit"),
            shm_bytes: mounts
                .iter()
                .find(|mount| mount.target.as_bytes() == b"/dev/shm" && mount.kind == "tmpfs")
                .and_then(|mount| mount.options.iter().rev().find_map(|option| option.strip_prefix("size=")))
                .and_then(size)
                .filter(|bytes| *bytes != DEFAULT_SHM),
        }
    }
}

fn path_of(namespace: Option<&Value>) -> Option<&str> {
    namespace?.get("path")?.as_str().filter(|path| !path.is_empty())
}

/// Whose a namespace is, if not the container's own.
fn whose(namespace: Option<&Value>) -> Option<String> {
    match (namespace, path_of(namespace)) {
        (None, _) => Some("host".into()),
        (_, Some(path)) if path.starts_with("/proc/1/") => Some("host".into()),
        (_, Some(path)) => Some(format!("path:{path}")),
        _ => None,
    }
}

/// A size as mount options write it.
fn size(text: &str) -> Option<u64> {
    let (digits, unit) = match text.as_bytes().last()? {
        b'k' | b'K' => (text.get(..text.len() - 1)?, 10),
        b'm' | b'M' => (text.get(..text.len() - 1)?, 20),
        b'g' | b'G' => (text.get(..text.len() - 1)?, 30),
        _ => (text, 0),
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << unit)
}

fn mount(value: &Value) -> Option<Mount> {
    let text = |key: &str| value.get(key).and_then(Value::as_str).filter(|t| !t.is_empty());
    let options: Vec<&str> = value
        .get("options")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let bind = options.iter().any(|o| matches!(*o, "bind" | "rbind")) || text("type") == Some("bind");
    let kind = if bind { "bind" } else { text("type")? };
    // The last of them counts.
    let mode = options.iter().rev().find(|o| matches!(**o, "ro" | "rw")).unwrap_or(&"rw");
    Some(Mount {
        target: text("destination")?.as_bytes().to_vec().into(),
        // For all but bind mounts it is a word without meaning.
        source: text("source").filter(|_| bind).map(|source| source.as_bytes().to_vec().into()),
        kind: kind.into(),
        mode: (*mode).into(),
        volume: None,
        options: options.into_iter().map(str::to_owned).collect(),
    })
}

#[cfg(test)]
mod tests;
