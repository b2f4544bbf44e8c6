//! Reads a seccomp profile as OCI runtimes and Docker do: the JSON, and Docker's conditions resolved as dockerd
//! resolves them where that needs no knowledge of the container.
//!
//! What would need that knowledge (the container's capabilities) is kept apart as *conditional* instead of
//! being guessed.

use std::{collections::BTreeMap, fmt, path::Path};

use serde::Deserialize;

use super::capabilities::Capabilities;
use crate::{
    error::{Error, Result},
    recording::printable,
};

/// The oldest kernel that sandbox-trace supports: a rule for this version or an older one always holds.
const OLDEST_KERNEL: (u64, u64) = (5, 8);

/// A profile, with all that can be resolved resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// What happens to calls without a rule.
    pub default: ActionName,
    /// `SCMP_ARCH_*`, as listed; empty means the native one alone.
    pub architectures: Vec<String>,
    /// The rules, in the file's order. Those that can't hold on x86-64 are left out.
    pub rules: Vec<Rule>,
    /// What a reader of the file should know.
    pub notes: Vec<String>,
}

/// An action as a profile names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActionName {
    /// `SCMP_ACT_*`.
    pub action: String,
    /// The error number or message, where the profile gives one.
    pub errno: Option<u32>,
}

/// A rule for some calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The calls.
    pub names: Vec<String>,
    /// What happens to them.
    pub action: ActionName,
    /// Conditions on arguments.
    pub args: Vec<Arg>,
    /// What decides whether the rule is there at all; empty for a rule that always is.
    pub depends_on: Vec<Dependency>,
}

/// What a rule's presence depends on, as dockerd decides it when it makes a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dependency {
    /// The container has all of these capabilities.
    AllOf(Vec<String>),
    /// The container has none of these capabilities.
    NoneOf(Vec<String>),
    /// The kernel is at least (or, if false, older than) this version.
    Kernel(String, bool),
}

impl fmt::Display for Dependency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AllOf(names) => write!(f, "the container having {}", printable(&names.join(", "))),
            Self::NoneOf(names) => write!(f, "the container not having {}", printable(&names.join(", "))),
            Self::Kernel(version, _) => write!(f, "the kernel's version ({})", printable(version)),
        }
    }
}

/// A condition on an argument. Go's JSON takes an absent number for 0.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Arg {
    /// The position.
    pub index: u32,
    /// The value, or the mask.
    #[serde(default)]
    pub value: u64,
    /// The value under the mask.
    #[serde(default, rename = "valueTwo")]
    pub value_two: u64,
    /// `SCMP_CMP_*`.
    pub op: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawProfile {
    default_action: String,
    default_errno_ret: Option<u32>,
    architectures: Option<Vec<String>>,
    arch_map: Option<Vec<RawArch>>,
    syscalls: Option<Vec<RawRule>>,
    flags: Option<Vec<String>>,
}

/// What tells a profile from other JSON, read first so that a foreign file is called by its name.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Header {
    default_action: Option<serde_json::Value>,
    oci_version: Option<serde_json::Value>,
    schema: Option<serde_json::Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawArch {
    architecture: String,
    sub_architectures: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawRule {
    name: Option<String>,
    names: Option<Vec<String>>,
    action: String,
    errno_ret: Option<u32>,
    args: Option<Vec<Arg>>,
    includes: Option<RawFilter>,
    excludes: Option<RawFilter>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawFilter {
    caps: Option<Vec<String>>,
    arches: Option<Vec<String>>,
    min_kernel: Option<String>,
}

/// Reads the profile in `path`.
pub fn load(path: &Path) -> Result<Profile> {
    let name = path.display().to_string();
    let bytes = std::fs::read(path).map_err(|e| {
        Error::usage(format!("could not read the seccomp profile {name}"))
            .because(e)
            .hint("make one with `sandbox-trace emit-seccomp RECORDING -o FILE`")
    })?;
    from_json(&bytes, &name)
}

/// Reads a profile from JSON; `name` is what messages call it.
pub fn from_json(json: &[u8], name: &str) -> Result<Profile> {
    let broken = |e: serde_json::Error| {
        let what =
            if e.is_eof() { "ends in the middle: the file is truncated" } else { "is not a seccomp profile" };
        Error::usage(format!("{name} {what} (line {}, column {})", e.line(), e.column()))
            .because(e)
            .hint(HINT)
    };
    let header: Header = serde_json::from_slice(json).map_err(broken)?;
    if header.default_action.is_none() {
        let schema = header.schema.as_ref().and_then(serde_json::Value::as_str).unwrap_or_default();
        let what = if header.oci_version.is_some() {
            "is an OCI container configuration, not a seccomp profile: the profile is its linux.seccomp"
        } else if schema.starts_with("sandbox-trace/recording/") {
            "is a recording, not a seccomp profile"
        } else {
            "is JSON but not a seccomp profile: it has no \"defaultAction\""
        };
        return Err(Error::usage(format!("{name} {what}")).hint(HINT));
    }
    let raw: RawProfile = serde_json::from_slice(json).map_err(broken)?;
    let mut profile = Profile {
        default: ActionName { action: raw.default_action, errno: raw.default_errno_ret },
        architectures: raw.architectures.unwrap_or_default(),
        rules: Vec::new(),
        notes: Vec::new(),
    };
    let arch_map = raw.arch_map.unwrap_or_default();
    if !arch_map.is_empty() {
        if !profile.architectures.is_empty() {
            return Err(Error::usage(format!("{name} has both \"architectures\" and \"archMap\""))
                .hint("Docker takes one of them: remove \"archMap\""));
        }
        // dockerd takes the entry of the machine's own architecture.
        if let Some(entry) = arch_map.into_iter().find(|a| a.architecture == "SCMP_ARCH_X86_64") {
            profile.architectures.push(entry.architecture);
            profile.architectures.extend(entry.sub_architectures.unwrap_or_default());
        }
    }
    for flag in raw.flags.unwrap_or_default() {
        if flag != "SECCOMP_FILTER_FLAG_LOG" && flag != "SECCOMP_FILTER_FLAG_SPEC_ALLOW" {
            profile
                .notes
                .push(format!("{name} sets {}, which changes no decision of the filter", printable(&flag)));
        }
    }
    for rule in raw.syscalls.unwrap_or_default() {
        add_rule(&mut profile, rule, name)?;
    }
    profile.settle(|dependency| match dependency {
        Dependency::Kernel(least, wanted) => (version(least)? <= OLDEST_KERNEL).then_some(*wanted),
        _ => None,
    });
    Ok(profile)
}

const HINT: &str = "a profile is the JSON that Docker and OCI runtimes take: \
                    {\"defaultAction\": …, \"syscalls\": [{\"names\": […], \"action\": …}]}";

fn add_rule(profile: &mut Profile, raw: RawRule, file: &str) -> Result<()> {
    let names = match (raw.name.filter(|n| !n.is_empty()), raw.names.unwrap_or_default()) {
        (Some(name), names) if names.is_empty() => vec![name],
        (Some(name), _) => {
            return Err(Error::usage(format!(
                "{file} has a rule with both \"name\" ({name:?}) and \"names\""
            ))
            .hint("Docker and runc take one of them: keep \"names\""));
        }
        (None, names) => names,
    };
    if names.iter().any(String::is_empty) {
        return Err(Error::usage(format!("{file} has a rule for a system call with an empty name"))
            .hint("remove the empty string: runtimes refuse it"));
    }
    let mut rule = Rule {
        names,
        action: ActionName { action: raw.action, errno: raw.errno_ret },
        args: raw.args.unwrap_or_default(),
        depends_on: Vec::new(),
    };
    for (filter, wanted) in [(raw.includes, true), (raw.excludes, false)] {
        let Some(filter) = filter else { continue };
        let arches = filter.arches.unwrap_or_default();
        if !arches.is_empty() && arches.iter().any(|arch| arch == "amd64") != wanted {
            return Ok(());
        }
        let caps = filter.caps.unwrap_or_default();
        if !caps.is_empty() {
            let of = if wanted { Dependency::AllOf } else { Dependency::NoneOf };
            rule.depends_on.push(of(caps));
        }
        rule.depends_on.extend(filter.min_kernel.map(|version| Dependency::Kernel(version, wanted)));
    }
    profile.rules.push(rule);
    Ok(())
}

/// Major and minor number of a version; Docker compares no more.
fn version(text: &str) -> Option<(u64, u64)> {
    let mut parts = text.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u64>);
    match (parts.next(), parts.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => Some((major, minor)),
        _ => None,
    }
}

impl Profile {
    /// Settles the rules that depend on capabilities, and with `kernel` (`uname -r`) those on its version.
    pub fn resolve(&mut self, capabilities: &Capabilities, kernel: Option<&str>) {
        self.resolve_known(Some(capabilities), kernel);
    }

    /// As [`Profile::resolve`], where the capabilities may not be known either.
    pub fn resolve_known(&mut self, capabilities: Option<&Capabilities>, kernel: Option<&str>) {
        self.settle(|dependency| match dependency {
            Dependency::AllOf(names) => capabilities.map(|caps| names.iter().all(|name| caps.has(name))),
            Dependency::NoneOf(names) => capabilities.map(|caps| !names.iter().any(|name| caps.has(name))),
            Dependency::Kernel(least, wanted) => Some((version(kernel?)? >= version(least)?) == *wanted),
        });
    }

    /// Drops dependencies that are known to hold, and rules with one that is known not to.
    fn settle(&mut self, holds: impl Fn(&Dependency) -> Option<bool>) {
        self.rules.retain_mut(|rule| {
            let stays = !rule.depends_on.iter().any(|d| holds(d) == Some(false));
            rule.depends_on.retain(|d| holds(d).is_none());
            stays
        });
    }

    /// The rules that are there in every container.
    pub fn certain(&self) -> impl Iterator<Item = &Rule> {
        self.rules.iter().filter(|rule| rule.depends_on.is_empty())
    }

    /// The other rules, by call.
    pub fn uncertain(&self) -> BTreeMap<&str, Vec<&Rule>> {
        let mut out: BTreeMap<&str, Vec<&Rule>> = BTreeMap::new();
        for rule in self.rules.iter().filter(|rule| !rule.depends_on.is_empty()) {
            for name in &rule.names {
                out.entry(name).or_default().push(rule);
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Profile> {
        from_json(json.as_bytes(), "p.json")
    }

    #[test]
    fn docker_s_conditions_are_resolved_where_nothing_is_guessed() {
        let profile = read(
            r#"{"defaultAction":"SCMP_ACT_ERRNO","archMap":[
                  {"architecture":"SCMP_ARCH_AARCH64","subArchitectures":["SCMP_ARCH_ARM"]},
                  {"architecture":"SCMP_ARCH_X86_64","subArchitectures":["SCMP_ARCH_X86","SCMP_ARCH_X32"]}],
                "syscalls":[
                  {"names":["read"],"action":"SCMP_ACT_ALLOW","args":null,"comment":"c","includes":{},"excludes":{}},
                  {"name":"write","action":"SCMP_ACT_ALLOW"},
                  {"names":["ptrace"],"action":"SCMP_ACT_ALLOW","includes":{"minKernel":"4.8"}},
                  {"names":["arch_prctl"],"action":"SCMP_ACT_ALLOW","includes":{"arches":["amd64","x32"]}},
                  {"names":["cacheflush"],"action":"SCMP_ACT_ALLOW","includes":{"arches":["arm"]}},
                  {"names":["mount"],"action":"SCMP_ACT_ALLOW","includes":{"caps":["CAP_SYS_ADMIN"]}},
                  {"names":["clone3"],"action":"SCMP_ACT_ERRNO","errnoRet":38,"excludes":{"caps":["CAP_SYS_ADMIN"]}},
                  {"names":["new"],"action":"SCMP_ACT_ALLOW","includes":{"minKernel":"6.9"}}]}"#,
        )
        .unwrap();
        assert_eq!(profile.architectures, ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]);
        let names = |profile: &Profile| profile.certain().flat_map(|r| r.names.clone()).collect::<Vec<_>>();
        assert_eq!(names(&profile), ["read", "write", "ptrace", "arch_prctl"]);
        assert_eq!(profile.uncertain().into_keys().collect::<Vec<_>>(), ["clone3", "mount", "new"]);
        let mut privileged = profile.clone();
        privileged.resolve(&Capabilities::parse(&["SYS_ADMIN".into()]).unwrap(), Some("6.18.44-x"));
        assert_eq!(names(&privileged), ["read", "write", "ptrace", "arch_prctl", "mount", "new"]);
        assert!(privileged.uncertain().is_empty());
        let mut plain = profile;
        plain.resolve(&Capabilities::default(), Some("6.1.0"));
        assert_eq!(names(&plain), ["read", "write", "ptrace", "arch_prctl", "clone3"]);
        assert_eq!(plain.rules.last().unwrap().action.errno, Some(38));
    }

    #[test]
    fn what_is_not_a_profile_is_said_clearly() {
        for (json, part) in [
            ("", "truncated"),
            ("{\"defaultAction\":\"SCMP_ACT_ERRNO\",\"sysc", "truncated"),
            ("[]", "not a seccomp profile"),
            ("{}", "no \"defaultAction\""),
            (r#"{"ociVersion":"1.0.2","linux":{}}"#, "OCI container configuration"),
            (r#"{"schema":"sandbox-trace/recording/v1","syscalls":[{"nr":1}]}"#, "is a recording"),
            (r#"{"defaultAction":"A","syscalls":[{"names":[""],"action":"A"}]}"#, "empty name"),
            (r#"{"defaultAction":"A","syscalls":[{"name":"a","names":["b"],"action":"A"}]}"#, "both"),
            (r#"{"defaultAction":"A","architectures":["B"],"archMap":[{"architecture":"C"}]}"#, "both"),
        ] {
            let error = read(json).unwrap_err();
            assert!(error.to_string().contains(part), "{json}: {error}");
            assert_eq!(error.exit(), crate::error::Exit::Usage);
        }
    }
}
