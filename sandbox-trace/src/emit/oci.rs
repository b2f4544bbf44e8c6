//! Sandbox → a bundle's `config.json`: what the bundle says stays, but for what the recordings show to be too wide.
//! Knows the OCI runtime specification, and nothing of recordings but what the folded needs tell.
//!
//! The file has no comments, so that each change comes back with its reason, for the person who made it.

mod linux;
mod mounts;

use serde_json::{Map, Value, json};

use super::apparmor::ProfileName;
use crate::{
    error::{Error, Result},
    policy::{sandbox::Sandbox, syscalls::SyscallPolicy},
    recording::{Access, printable},
    requirements::Requirements,
};

/// What a configuration is made of.
#[derive(Debug, Clone, Copy)]
pub struct Parts<'a> {
    /// What was recorded.
    pub needs: &'a Requirements,
    /// The sandbox.
    pub sandbox: &'a Sandbox,
    /// The system calls.
    pub syscalls: &'a SyscallPolicy,
    /// The AppArmor profile's name; `None` leaves what the bundle says.
    pub apparmor: Option<&'a ProfileName>,
}

/// What was set in the configuration, and why; one line of plain text each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The key, as a path of names: `process.capabilities`.
    pub key: &'static str,
    /// What it says now.
    pub what: String,
    /// The evidence.
    pub why: String,
}

/// What became of a configuration.
#[derive(Debug, Default)]
pub struct Report {
    /// In the order of the file's parts.
    pub changes: Vec<Change>,
    /// What a person has to see to, in sentences.
    pub notes: Vec<String>,
}

impl Report {
    fn set(&mut self, key: &'static str, what: impl Into<String>, why: &str) {
        self.changes.push(Change { key, what: printable(&what.into()), why: why.to_owned() });
    }
}

type Object = Map<String, Value>;

/// A bundle's configuration. `name` is for messages.
#[derive(Debug)]
pub struct Config<'a> {
    object: Object,
    name: &'a str,
}

impl<'a> Config<'a> {
    /// Reads one that starts a process on Linux.
    pub fn read(bytes: &[u8], name: &'a str) -> Result<Self> {
        let value: Value = serde_json::from_slice(bytes).map_err(|e| {
            // serde_json's errors say line and column.
            Error::usage(format!("{name} is not JSON")).because(e).hint("mend the file at that place")
        })?;
        let Value::Object(object) = value else {
            return Err(foreign(name, "it is no object"));
        };
        if !object.get("ociVersion").is_some_and(Value::is_string) {
            return Err(foreign(name, "it has no \"ociVersion\""));
        }
        if !object.contains_key("linux") {
            for other in ["windows", "solaris", "vm", "zos", "freebsd"] {
                if object.contains_key(other) {
                    return Err(Error::usage(format!("{name} is for a container of {other}, not of Linux"))
                        .hint("what was recorded is a Linux workload: name its bundle"));
                }
            }
        }
        if !object.get("process").is_some_and(Value::is_object) {
            return Err(Error::usage(format!("{name} has no process: it can't be started as it is"))
                .hint("name the bundle of the workload itself; `runc spec` writes one with a process"));
        }
        Ok(Self { object, name })
    }

    /// Confines it. What is there already and stricter stays.
    pub fn confine(&mut self, parts: &Parts<'_>) -> Result<Report> {
        let mut report = Report::default();
        self.process(parts, &mut report)?;
        self.root(parts, &mut report)?;
        mounts::apply(self, parts, &mut report)?;
        linux::apply(self, parts, &mut report)?;
        if !parts.sandbox.devices.is_empty() {
            report.notes.push(
                "devices of the host are left as the bundle has them: it names them by their numbers".into(),
            );
        }
        Ok(report)
    }

    /// The file.
    pub fn json(&self) -> Result<Vec<u8>> {
        let mut json = serde_json::to_vec_pretty(&self.object)
            .map_err(|e| Error::usage("could not write the configuration as JSON").because(e))?;
        json.push(b'\n');
        Ok(json)
    }

    /// The part of this name, made where it is missing.
    fn part(&mut self, key: &'static str) -> Result<&mut Object> {
        object(&mut self.object, key, self.name)
    }

    fn process(&mut self, parts: &Parts<'_>, report: &mut Report) -> Result<()> {
        let name = self.name;
        let process = self.part("process")?;
        let sandbox = parts.sandbox;
        let user = object(process, "user", name)?;
        if let Some((uid, gid)) = sandbox.user.value.ids {
            user.insert("uid".into(), uid.into());
            user.insert("gid".into(), gid.into());
            report.set("process.user", format!("{uid}:{gid}"), &sandbox.user.why);
        } else if let Some(spec) = &sandbox.user.value.spec {
            report.notes.push(format!(
                "the user stays as the bundle has it: it takes numbers, and \"{}\" is not one here",
                printable(spec)
            ));
        }
        let root = user.get("uid").and_then(Value::as_u64).unwrap_or(0) == 0;
        let groups: Vec<u32> = sandbox.groups.iter().filter_map(|group| group.parse().ok()).collect();
        if !groups.is_empty() {
            let list = list(user, "additionalGids", name)?;
            for group in groups {
                if !list.contains(&json!(group)) {
                    list.push(group.into());
                }
            }
        }
        capabilities(process, root, parts, report);
        process.insert("noNewPrivileges".into(), true.into());
        report.set(
            "process.noNewPrivileges",
            "true",
            "no program gains privileges by executing another; the profile was made for it",
        );
        if let Some(profile) = parts.apparmor {
            process.insert("apparmorProfile".into(), profile.as_str().into());
            report.set(
                "process.apparmorProfile",
                profile.as_str(),
                "the profile made of the same recordings",
            );
        }
        rlimits(process, name, parts, report)
    }

    fn root(&mut self, parts: &Parts<'_>, report: &mut Report) -> Result<()> {
        let read_only = &parts.sandbox.read_only;
        let root = self.part("root")?;
        let was = root.get("readonly").and_then(Value::as_bool).unwrap_or(false);
        if read_only.value {
            root.insert("readonly".into(), true.into());
            report.set("root.readonly", "true", &read_only.why);
        } else if was {
            report.notes.push(format!(
                "the root file system stays read-only, as the bundle has it, although it was written: {}",
                read_only.why
            ));
        } else {
            report.notes.push(format!("the root file system stays writable: {}", read_only.why));
        }
        Ok(())
    }
}

/// All five sets. A program of root gets what is in the bounding set at its start; one of another user only what is
/// in the ambient set, which takes the inheritable one (capabilities(7)).
fn capabilities(process: &mut Object, root: bool, parts: &Parts<'_>, report: &mut Report) {
    let given = &parts.sandbox.capabilities;
    let names: Vec<Value> = given.iter().map(|c| format!("CAP_{}", c.value).into()).collect();
    let kept = if root { Vec::new() } else { names.clone() };
    process.insert(
        "capabilities".into(),
        json!({
            "bounding": names, "effective": names, "permitted": names, "inheritable": kept, "ambient": kept
        }),
    );
    if given.is_empty() {
        report.set("process.capabilities", "none", "no recording used one");
    }
    for capability in given {
        report.set("process.capabilities", format!("CAP_{}", capability.value), &capability.why);
    }
}

/// No core dump, which would write the memory of the process to wherever the host says.
fn rlimits(process: &mut Object, name: &str, parts: &Parts<'_>, report: &mut Report) -> Result<()> {
    let is_core = |path: &[u8]| {
        let base = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        base == b"core" || base.starts_with(b"core.")
    };
    if parts.needs.files.iter().any(|need| need.access().contains(Access::CREATE) && is_core(need.path())) {
        return Ok(());
    }
    let list = list(process, "rlimits", name)?;
    list.retain(|limit| limit.get("type").and_then(Value::as_str) != Some("RLIMIT_CORE"));
    list.push(json!({ "type": "RLIMIT_CORE", "soft": 0, "hard": 0 }));
    report.set("process.rlimits", "RLIMIT_CORE 0", "no core dump was written");
    Ok(())
}

/// The object of this name in `parent`, made where it is missing.
fn object<'a>(parent: &'a mut Object, key: &str, name: &str) -> Result<&'a mut Object> {
    let value = parent.entry(key).or_insert(Value::Null);
    if value.is_null() {
        *value = json!({});
    }
    value.as_object_mut().ok_or_else(|| wrong(name, key, "an object"))
}

/// The list of this name in `parent`, made where it is missing.
fn list<'a>(parent: &'a mut Object, key: &str, name: &str) -> Result<&'a mut Vec<Value>> {
    let value = parent.entry(key).or_insert(Value::Null);
    if value.is_null() {
        *value = json!([]);
    }
    value.as_array_mut().ok_or_else(|| wrong(name, key, "a list"))
}

fn wrong(name: &str, key: &str, should_be: &str) -> Error {
    Error::usage(format!("\"{key}\" in {name} is not {should_be}"))
        .hint("the OCI runtime specification says what it is; no runtime takes it like that")
}

fn foreign(name: &str, why: &str) -> Error {
    Error::usage(format!("{name} is not the configuration of an OCI bundle: {why}"))
        .hint("name a bundle's folder or its config.json; `runc spec` writes one")
}

#[cfg(test)]
mod tests;
