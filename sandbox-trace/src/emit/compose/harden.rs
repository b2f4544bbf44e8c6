//! Sandbox and a service of a compose file → the changes that confine the service. What a person wrote stays where it is
//! no wider than what was needed; what is wider is changed or taken out, and says why.

mod limits;
mod mounts;
mod network;

use serde_json::Value;

use super::{Origin, service};
use crate::{
    compose::{
        edit::{Change, File},
        read::{Variables, expanded},
        yaml::{Entry, Item, Node},
    },
    error::Result,
    policy::sandbox::Sandbox,
    recording::printable,
};

/// A hardened file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hardened {
    /// Its text.
    pub text: String,
    /// What was changed: a key and why, each in a line.
    pub changes: Vec<String>,
    /// What a person should know.
    pub notes: Vec<String>,
}

/// The file with this service confined. Variables are looked up where a path or a port must be known; they stay in the
/// text.
pub fn harden(
    file: &File,
    service: &str,
    sandbox: &Sandbox,
    origin: Origin<'_>,
    variables: &Variables,
) -> Result<Hardened> {
    let before = file.service(service)?;
    let mut work =
        Work { file, service, before, sandbox, origin, variables, changes: Vec::new(), notes: Vec::new() };
    work.all()?;
    let text = file.edit(service, &work.changes)?;
    let changes = work.changes.iter().map(described).collect();
    Ok(Hardened { text, changes, notes: work.notes })
}

fn described(change: &Change) -> String {
    let path = printable(&change.path.join("."));
    let what = match &change.node {
        None => "taken out".to_owned(),
        Some(node) => printable(&node.flow()),
    };
    format!("{path}: {what}  # {}", change.why.as_deref().unwrap_or("as recorded"))
}

struct Work<'a> {
    file: &'a File,
    service: &'a str,
    before: &'a Value,
    sandbox: &'a Sandbox,
    origin: Origin<'a>,
    variables: &'a Variables,
    changes: Vec<Change>,
    notes: Vec<String>,
}

impl Work<'_> {
    fn all(&mut self) -> Result<()> {
        if self.before.get("extends").is_some() {
            let what = "`extends` takes over what another service says, which may be anything";
            return Err(self
                .file
                .fault_at(self.service, &["extends"], what)
                .hint("harden the file that `docker compose config` prints, or write the keys here"));
        }
        self.privileges()?;
        self.file_system()?;
        mounts::volumes(self)?;
        network::network(self)?;
        limits::limits(self)?;
        self.life()
    }

    /// Capabilities, and what goes around them.
    fn privileges(&mut self) -> Result<()> {
        self.off("privileged", "all privileges at once: what was used is given by name");
        self.off("use_api_socket", "the engine's socket gives the host away");
        self.off("oom_kill_disable", "what goes past its memory limit is ended");
        for (key, why) in [
            ("pid", "sees and signals the processes of others"),
            ("ipc", "reaches the shared memory of others"),
            ("uts", "shares the host's name"),
            ("userns_mode", "root in it would be the host's root"),
            ("cgroup", "sees the host's cgroups"),
        ] {
            let Some(raw) = self.before.get(key).and_then(Value::as_str) else { continue };
            let value = self.expanded(&[key], raw)?;
            if value == "host" || value.starts_with("container:") || value.starts_with("service:") {
                self.remove(&[key], &format!("{key}: {} was here, which {why}", printable(&value)));
            }
        }
        if let Some(user) = &self.sandbox.user.value.spec {
            self.want("user", service::value(user, "a user")?, &self.sandbox.user.why)?;
        }
        if !self.sandbox.user.value.blockers.is_empty() {
            let why = self.sandbox.user.value.blockers.join("; ");
            self.notes.push(format!("it runs as root: {why}"));
        }
        self.entry(service::cap_drop(self.sandbox))?;
        match service::cap_add(self.sandbox) {
            Some(entry) => self.entry(entry)?,
            None if self.is_given("cap_add") => {
                self.want("cap_add", Node::List(Vec::new()), "no capability was used")?;
            }
            None => {}
        }
        self.security()
    }

    /// Labels, and AppArmor where nothing else is asked for, stay as they are.
    fn security(&mut self) -> Result<()> {
        let Entry { key, node, .. } = service::security_opt(self.origin)?;
        let Node::List(mut items) = node else { return Ok(()) };
        for raw in self.texts("security_opt") {
            let option = self.expanded(&["security_opt"], &raw)?;
            let name = option.split(['=', ':']).next().unwrap_or_default();
            let off = option.ends_with("unconfined") || option.ends_with("disable");
            if !off && (name == "label" || (name == "apparmor" && self.origin.apparmor.is_none())) {
                items.push(Item { why: None, node: Node::Text(raw) });
            }
        }
        let why = "what was needed, and nothing that gives more";
        self.want(&key, Node::List(items), why)
    }

    fn file_system(&mut self) -> Result<()> {
        let read_only = &self.sandbox.read_only;
        if read_only.value {
            self.want("read_only", Node::flag(true), &read_only.why)?;
        } else if self.before.get("read_only") != Some(&Value::Bool(true)) {
            self.notes.push(format!("its root file system stays writable: {}", read_only.why));
        }
        let items: Vec<Item> = self
            .sandbox
            .devices
            .iter()
            .map(|device| {
                Ok(Item { why: Some(device.why.clone()), node: service::value(&device.value, "a device")? })
            })
            .collect::<Result<_>>()?;
        if self.is_given("devices") || !items.is_empty() {
            self.want("devices", Node::List(items), "those that were opened")?;
        }
        if self.is_given("device_cgroup_rules") {
            self.want("device_cgroup_rules", Node::List(Vec::new()), "devices are given by name")?;
        }
        if self.is_given("volumes_from") {
            self.notes.push(
                "`volumes_from` stays: what it mounts is as writable as the other service has it".into(),
            );
        }
        if let Some(entry) = service::shm_size(self.sandbox).filter(|_| !self.is_given("shm_size")) {
            self.entry(entry)?;
        }
        Ok(())
    }

    /// Health check and restart policy stay; output gets a limit.
    fn life(&mut self) -> Result<()> {
        if let Some(check) = self.sandbox.healthcheck.as_ref().filter(|_| !self.is_given("healthcheck")) {
            self.want("healthcheck", service::healthcheck(&check.value)?, &check.why)?;
        }
        let policy = self.before.pointer("/deploy/restart_policy").is_some();
        if !self.is_given("restart") && !policy && self.sandbox.restart.value != "no" {
            self.entry(service::restart(self.sandbox)?)?;
        }
        if !self.is_given("logging") {
            return self.entry(service::logging(self.sandbox)?);
        }
        let driver = self.before.pointer("/logging/driver").and_then(Value::as_str).unwrap_or("json-file");
        let driver = self.expanded(&["logging", "driver"], driver)?;
        if !matches!(driver.as_str(), "json-file" | "local") {
            return Ok(());
        }
        for (name, default) in [("max-size", "10m"), ("max-file", "3")] {
            let known = self.sandbox.log.value.options.iter().find(|(option, _)| option == name);
            let value = known.map_or(default, |(_, value)| value);
            if self.before.pointer(&format!("/logging/options/{name}")).is_none() {
                let node = service::value(value, "a log option")?;
                self.changes.push(Change::set(
                    &["logging", "options", name],
                    node,
                    "output can't fill the host's disk",
                ));
            }
        }
        Ok(())
    }

    /// Whether the service has the key with something in it.
    fn is_given(&self, key: &str) -> bool {
        self.before
            .get(key)
            .is_some_and(|value| !value.is_null() && value.as_array().is_none_or(|items| !items.is_empty()))
    }

    /// A key's text, or its texts.
    fn texts(&self, key: &str) -> Vec<String> {
        match self.before.get(key) {
            Some(Value::String(text)) => vec![text.clone()],
            Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            _ => Vec::new(),
        }
    }

    /// What a text with variables stands for.
    fn expanded(&self, path: &[&str], text: &str) -> Result<String> {
        expanded(text, self.variables).map_err(|what| {
            self.file.fault_at(self.service, path, &printable(&what)).hint(
                "give the variable a value, in the environment or in the .env file beside the compose file",
            )
        })
    }

    fn entry(&mut self, entry: Entry) -> Result<()> {
        let why = entry.why.unwrap_or_else(|| "as recorded".into());
        self.want(&entry.key, entry.node, &why)
    }

    /// A key with this value, unless it has it. Fails for none; it is fallible for those that must expand.
    #[expect(clippy::unnecessary_wraps, reason = "all steps can be chained with ?")]
    fn want(&mut self, key: &str, node: Node, why: &str) -> Result<()> {
        if self.before.get(key) != Some(&node.value()) {
            self.changes.push(Change::set(&[key], node, why));
        }
        Ok(())
    }

    /// A switch, off wherever it comes from.
    fn off(&mut self, key: &str, why: &str) {
        if self.before.get(key).is_some_and(|value| value != &Value::Bool(false)) {
            self.changes.push(Change::set(&[key], Node::flag(false), why));
        }
    }

    fn remove(&mut self, path: &[&str], why: &str) {
        self.changes.push(Change::remove(path, why));
    }
}

/// The parts of a short form: what is between colons that are no variable's and in no brackets.
fn parts(text: &str) -> Vec<&str> {
    let (mut out, mut from, mut depth) = (Vec::new(), 0, 0_u32);
    for (place, c) in text.char_indices() {
        match c {
            '{' | '[' => depth += 1,
            '}' | ']' => depth = depth.saturating_sub(1),
            ':' if depth == 0 => {
                out.push(text.get(from..place).unwrap_or_default());
                from = place + 1;
            }
            _ => {}
        }
    }
    out.push(text.get(from..).unwrap_or_default());
    out
}
