//! Sandbox → Kubernetes objects: a Pod, its network policy, and the two profiles as objects of the Security Profiles
//! Operator. For Kubernetes 1.30 and later, where a Pod names its AppArmor profile in a field.

mod network;
mod operator;
mod pod;
mod volumes;
mod yaml;

use self::yaml::{Map, document};
use crate::{
    error::{Error, Result},
    policy::{paths::AppArmorPolicy, sandbox::Sandbox, syscalls::SyscallPolicy},
    recording::BytePath,
    requirements::Requirements,
};

/// Who brings the profiles to the nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Profiles {
    /// The Security Profiles Operator: its objects are written too.
    Operator,
    /// A person: `profiles/NAME.json` below the kubelet's seccomp folder, the AppArmor profile loaded.
    Node,
}

/// What the objects are made of.
#[derive(Debug, Clone, Copy)]
pub struct Parts<'a> {
    /// What was recorded.
    pub needs: &'a Requirements,
    /// The sandbox.
    pub sandbox: &'a Sandbox,
    /// The system calls.
    pub syscalls: &'a SyscallPolicy,
    /// The AppArmor profile's rules.
    pub apparmor: &'a AppArmorPolicy,
    /// The namespace of the objects that have one.
    pub namespace: Option<&'a str>,
    /// Who brings the profiles.
    pub profiles: Profiles,
    /// The AppArmor profile's name, where it is brought by a person.
    pub profile: &'a str,
}

/// The objects, and what they can't say.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Objects {
    /// Name of the file and text, in the order in which they are applied.
    pub files: Vec<(&'static str, String)>,
    /// What is needed and no object can say, in sentences: the Pod lacks it.
    pub gaps: Vec<String>,
    /// What a person should know, in sentences.
    pub notes: Vec<String>,
}

impl Objects {
    fn add(&mut self, file: &'static str, what: &[&str], map: &Map) {
        let mut comments =
            vec![format!("Written by sandbox-trace {} from what was recorded.", env!("CARGO_PKG_VERSION"))];
        comments.extend(what.iter().map(|line| (*line).to_owned()));
        self.files.push((file, document(&comments, map)));
    }

    /// All of them in one stream.
    pub fn stream(&self) -> String {
        let texts: Vec<&str> = self.files.iter().map(|(_, text)| text.as_str()).collect();
        texts.join("---\n")
    }
}

/// Makes the objects. The profiles come first: a Pod that names one which is not there yet does not start.
pub fn objects(parts: &Parts<'_>) -> Result<Objects> {
    let name = object_name(&parts.sandbox.name)?;
    let mut out = Objects::default();
    if parts.profiles == Profiles::Operator {
        operator::seccomp(parts, &name, &mut out)?;
        operator::apparmor(parts, &name, &mut out);
    }
    network::policy(parts, &name, &mut out);
    pod::pod(parts, &name, &mut out)?;
    Ok(out)
}

/// What the Pod calls the seccomp profile, below the kubelet's folder.
fn localhost_profile(parts: &Parts<'_>, name: &str) -> String {
    match parts.profiles {
        // Where the operator's objects have no namespace; before, the namespace comes between.
        Profiles::Operator => format!("operator/{name}.json"),
        Profiles::Node => format!("profiles/{name}.json"),
    }
}

fn metadata(parts: &Parts<'_>, name: &str, namespaced: bool) -> Map {
    let mut map = Map::default();
    map.set("name", name);
    if let Some(namespace) = parts.namespace.filter(|_| namespaced) {
        map.set("namespace", namespace);
    }
    let mut labels = Map::default();
    labels.set(LABEL, name);
    map.set("labels", labels);
    map
}

/// What the Pod is found by.
const LABEL: &str = "app.kubernetes.io/name";

/// The longest name of an object that is a label too (RFC 1123).
const LONGEST: usize = 63;

/// A name as Kubernetes takes it: small letters, digits and `-` between them.
fn object_name(name: &str) -> Result<String> {
    let mapped: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect();
    let cut: String = mapped.trim_matches('-').chars().take(LONGEST).collect();
    let cut = cut.trim_matches('-');
    if cut.is_empty() {
        return Err(Error::usage(format!("\"{name}\" can't be an object's name")).hint("name it with --name"));
    }
    Ok(cut.to_owned())
}

/// Checks the name of a namespace.
pub fn namespace(name: &str) -> Result<&str> {
    if object_name(name).is_ok_and(|plain| plain == name) {
        return Ok(name);
    }
    let shown = crate::recording::printable(name);
    Err(Error::usage(format!("\"{shown}\" can't be a namespace"))
        .hint("small letters, digits and '-' between them, at most 63"))
}

/// A path as an object has it.
fn text(path: &BytePath) -> Result<&str> {
    std::str::from_utf8(path.as_bytes()).map_err(|_| {
        Error::incomplete(format!("no Kubernetes object can name the path \"{path}\": YAML is UTF-8"))
            .hint("mount a folder above it, under a name that is UTF-8")
    })
}

#[cfg(test)]
mod tests;
