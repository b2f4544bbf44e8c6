//! Reads a seccomp profile as OCI runtimes and Docker do: the JSON, and Docker's conditions resolved as dockerd
//! resolves them where that needs no knowledge of the container.
//!
//! What would need that knowledge (the container's capabilities) is kept apart as *conditional* instead of
//! being guessed.

use std::{collections::BTreeMap, path::Path};

use serde::Deserialize;

use crate::error::{Error, Result};

/// The oldest kernel that sandbox-trace supports: a rule for this version or an older one always holds.
const OLDEST_KERNEL: (u64, u64) = (5, 8);

/// A profile, with all that can be resolved resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// What happens to calls without a rule.
    pub default: ActionName,
    /// `SCMP_ARCH_*`, as listed; empty means the native one alone.
    pub architectures: Vec<String>,
    /// The rules that hold in every container.
    pub rules: Vec<Rule>,
    /// The rules that hold in some containers only.
    pub conditional: Vec<Conditional>,
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
}

/// A rule whose presence depends on the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conditional {
    /// The rule.
    pub rule: Rule,
    /// What it depends on.
    pub depends_on: String,
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

/// Whether a condition holds.
enum Holds {
    Yes,
    No,
    Depends(String),
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
        conditional: Vec::new(),
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
            profile.notes.push(format!("{name} sets {flag}, which changes no decision of the filter"));
        }
    }
    for rule in raw.syscalls.unwrap_or_default() {
        add_rule(&mut profile, rule, name)?;
    }
    Ok(profile)
}

const HINT: &str = "a profile is the JSON that Docker and OCI runtimes take: \
                    {\"defaultAction\": …, \"syscalls\": [{\"names\": […], \"action\": …}]}";

fn add_rule(profile: &mut Profile, raw: RawRule, file: &str) -> Result<()> {
    let names = match (raw.name.filter(|n| !n.is_empty()), raw.names.unwrap_or_default()) {
        (Some(name), names) if names.is_empty() => vec![name],
        (Some(name), _) => {
            return Err(Error::usage(format!("{file} has a rule with both \"name\" ({name}) and \"names\""))
                .hint("Docker and runc take one of them: keep \"names\""));
        }
        (None, names) => names,
    };
    if names.iter().any(String::is_empty) {
        return Err(Error::usage(format!("{file} has a rule for a system call with an empty name"))
            .hint("remove the empty string: runtimes refuse it"));
    }
    let rule = Rule {
        names,
        action: ActionName { action: raw.action, errno: raw.errno_ret },
        args: raw.args.unwrap_or_default(),
    };
    let mut depends = Vec::new();
    for (filter, wanted) in [(raw.includes, true), (raw.excludes, false)] {
        match filter.as_ref().map_or(Holds::Yes, |f| holds(f, wanted)) {
            Holds::Yes => {}
            Holds::No => return Ok(()),
            Holds::Depends(on) => depends.push(on),
        }
    }
    if depends.is_empty() {
        profile.rules.push(rule);
    } else {
        profile.conditional.push(Conditional { rule, depends_on: depends.join(" and ") });
    }
    Ok(())
}

/// Whether dockerd keeps a rule with this `includes` (`wanted`) or `excludes` on x86-64. Includes need every
/// capability and one of the architectures; excludes drop the rule for any of them.
fn holds(filter: &RawFilter, wanted: bool) -> Holds {
    let arches = filter.arches.as_deref().unwrap_or_default();
    if !arches.is_empty() && arches.iter().any(|arch| arch == "amd64") != wanted {
        return Holds::No;
    }
    let caps = filter.caps.as_deref().unwrap_or_default();
    let mut depends = Vec::new();
    if !caps.is_empty() {
        let without = if wanted { "" } else { "the absence of " };
        depends.push(format!("{without}{}", caps.join(", ")));
    }
    if let Some(version) = filter.min_kernel.as_deref() {
        match (is_old(version), wanted) {
            (true, true) => {}
            (true, false) => return Holds::No,
            (false, _) => depends.push(format!("the kernel's version ({version})")),
        }
    }
    if depends.is_empty() { Holds::Yes } else { Holds::Depends(depends.join(" and ")) }
}

fn is_old(version: &str) -> bool {
    let mut parts = version.split('.').map(str::parse::<u64>);
    match (parts.next(), parts.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) <= OLDEST_KERNEL,
        _ => false,
    }
}

impl Profile {
    /// The conditional rules by call.
    pub fn conditional_by_name(&self) -> BTreeMap<&str, Vec<&Conditional>> {
        let mut out: BTreeMap<&str, Vec<&Conditional>> = BTreeMap::new();
        for conditional in &self.conditional {
            for name in &conditional.rule.names {
                out.entry(name).or_default().push(conditional);
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
        let names: Vec<&String> = profile.rules.iter().flat_map(|r| &r.names).collect();
        assert_eq!(names, ["read", "write", "ptrace", "arch_prctl"]);
        let conditional = profile.conditional_by_name();
        assert_eq!(conditional.keys().copied().collect::<Vec<_>>(), ["clone3", "mount", "new"]);
        assert_eq!(conditional["clone3"][0].depends_on, "the absence of CAP_SYS_ADMIN");
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
