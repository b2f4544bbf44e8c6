//! `workload.toml`: what a person says of a workload. Nothing else in its folder is written by people.

use std::{
    collections::BTreeSet,
    fs,
    num::NonZeroU32,
    path::{Component, Path},
};

use serde::Deserialize;
use toml::Spanned;

use super::date::Date;
use crate::{
    emit::k8s::Profiles,
    error::{Error, Result},
    policy::{arguments::Mode, generalize::Generalization},
    recording::printable,
    seccomp::runtime::Runtime,
};

/// The file's name.
pub const FILE: &str = "workload.toml";

/// A workload.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Workload {
    /// What it is called in every format.
    pub name: String,
    /// Who will load the seccomp profile.
    #[serde(default = "docker", deserialize_with = "value")]
    pub runtime: Runtime,
    /// How its files are made.
    #[serde(default)]
    pub options: Options,
    /// What is approved beyond what is committed.
    #[serde(default, rename = "approval")]
    pub approvals: Vec<Approval>,
}

/// How the files are made: the options of the `emit` commands, and of `merge`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Options {
    /// What is emitted.
    pub formats: BTreeSet<Format>,
    /// How far the arguments of system calls are limited.
    #[serde(deserialize_with = "value")]
    pub args: Mode,
    /// How far paths go beyond those that were recorded.
    #[serde(deserialize_with = "value")]
    pub generalize: Generalization,
    /// What is dangerous and given all the same, by name.
    pub allow: BTreeSet<String>,
    /// Whether calls that other versions of libraries make are added.
    pub portable: bool,
    /// The AppArmor profile's name, where it is not the workload's.
    pub apparmor: Option<String>,
    /// The image, where it is not the recorded one.
    pub image: Option<String>,
    /// Whom to run as, where it is not the recorded user.
    pub user: Option<String>,
    /// How much is given beyond the recorded peaks, in percent.
    pub headroom: u32,
    /// What none of the last so many runs needed is dropped.
    pub last: Option<NonZeroU32>,
    /// Who brings the profiles to the nodes of a cluster.
    #[serde(deserialize_with = "value")]
    pub kubernetes: Profiles,
    /// A list of attacks that the files must deny, in this folder; without one the built-in list is taken.
    pub must_deny: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            formats: [Format::Seccomp, Format::Apparmor, Format::Docker].into(),
            args: Mode::Safe,
            generalize: Generalization::default(),
            allow: BTreeSet::new(),
            portable: false,
            apparmor: None,
            image: None,
            user: None,
            headroom: 100,
            last: None,
            kubernetes: Profiles::Operator,
            must_deny: None,
        }
    }
}

/// What can be emitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// `seccomp.json`.
    Seccomp,
    /// `apparmor.profile`.
    Apparmor,
    /// `docker-run.sh`.
    Docker,
    /// `compose.yaml`.
    Compose,
    /// `kubernetes/`.
    Kubernetes,
    /// `systemd/`.
    Systemd,
}

impl Format {
    /// Whether it says how a container or a service is started. Its profiles are files beside it.
    pub fn is_of_a_container(self) -> bool {
        !matches!(self, Self::Seccomp | Self::Apparmor)
    }
}

/// A person's word that a new privilege is right.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Approval {
    /// What kind of privilege, as the summary writes it.
    pub kind: String,
    /// Which, as the summary writes it.
    pub what: String,
    /// Which access of it; without this, any.
    pub access: Option<String>,
    /// Why it is right.
    pub reason: Text,
    /// Who says so.
    pub by: Text,
    /// The last day on which this counts.
    pub expires: Date,
}

/// Text that says something.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Text(String);

impl TryFrom<String> for Text {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text.trim().is_empty() { Err("it must say something") } else { Ok(Self(text)) }
    }
}

impl std::fmt::Display for Text {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&printable(&self.0))
    }
}

fn docker() -> Runtime {
    Runtime::Docker
}

/// A value as the command line writes it.
fn value<'de, D: serde::Deserializer<'de>, T: clap::ValueEnum>(deserializer: D) -> Result<T, D::Error> {
    let text = Spanned::<String>::deserialize(deserializer)?.into_inner();
    T::from_str(&text, false).map_err(|_| {
        let names: Vec<String> = T::value_variants()
            .iter()
            .filter_map(|variant| Some(variant.to_possible_value()?.get_name().to_owned()))
            .collect();
        serde::de::Error::custom(format!("unknown value `{text}`, expected one of {}", names.join(", ")))
    })
}

/// Reads the workload of a folder.
pub fn load(folder: &Path) -> Result<Workload> {
    let file = folder.join(FILE);
    let text = fs::read_to_string(&file).map_err(|e| {
        Error::usage(format!("could not read {}", file.display())).because(e).hint(
            "a workload's folder has a workload.toml that says at least name = \"NAME\"; docs/pipeline.md",
        )
    })?;
    parse(&text, &file.display().to_string())
}

/// Reads a workload; `name` is what messages call it.
pub fn parse(text: &str, name: &str) -> Result<Workload> {
    let workload: Workload = toml::from_str(text).map_err(|e| {
        let place = e.span().map_or_else(String::new, |span| format!(", {}", place(text, span.start)));
        Error::usage(format!("{name}{place}: {}", printable(e.message())))
            .hint("docs/pipeline.md lists what a workload.toml may say")
    })?;
    let formats = &workload.options.formats;
    let whole = formats.contains(&Format::Seccomp) && formats.contains(&Format::Apparmor);
    if formats.is_empty() || (!whole && formats.iter().any(|format| format.is_of_a_container())) {
        // Both are what is proven and compared.
        return Err(Error::usage(format!("{name}: formats lacks the profiles that the others name"))
            .hint("list \"seccomp\" and \"apparmor\" too"));
    }
    let list = workload.options.must_deny.as_deref().map(Path::new);
    if list.is_some_and(|list| !list.components().all(|part| matches!(part, Component::Normal(_)))) {
        return Err(Error::usage(format!("{name}: must-deny names a file outside of the workload's folder"))
            .hint("put the list beside workload.toml"));
    }
    Ok(workload)
}

/// `line 3, column 7`
fn place(text: &str, at: usize) -> String {
    let before = text.get(..at).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
    format!("line {line}, column {column}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = r#"
name = "agent"
runtime = "crun"
[options]
formats = ["seccomp", "apparmor", "kubernetes"]
args = "strict"
generalize = "exact"
last = 5
[[approval]]
kind = "network"
what = "inet6 stream"
reason = "IPv6 since 2.0"
by = "ada"
expires = 2027-01-31
"#;

    #[test]
    fn a_workload_is_read() {
        let workload = parse(WHOLE, "workload.toml").unwrap();
        assert_eq!(workload.runtime, Runtime::Crun);
        assert_eq!(workload.options.formats, [Format::Seccomp, Format::Apparmor, Format::Kubernetes].into());
        assert_eq!((workload.options.headroom, workload.options.last.unwrap().get()), (100, 5));
        assert_eq!(workload.approvals.first().unwrap().expires.to_string(), "2027-01-31");
        assert_eq!(parse("name = \"x\"", "f").unwrap().options, Options::default());
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        for (from, to, says) in [
            ("last = 5", "lasts = 5", "line 8, column 1: unknown field `lasts`"),
            ("last = 5", "last = 0", "line 8, column 8"),
            ("args = \"strict\"", "args = \"\\u001b\"", "line 6, column 8: unknown value `\\x1b`"),
            ("by = \"ada\"", "by = \" \"", "line 13, column 6: it must say something"),
            ("expires = 2027-01-31", "expires = 2027-01-31T00:00:00Z", "line 14, column 11"),
            ("expires = 2027-01-31", "", "missing field `expires`"),
            ("\"apparmor\", ", "", "formats lacks"),
            ("last = 5", "must-deny = \"../x\"", "outside"),
        ] {
            let error = parse(&WHOLE.replace(from, to), "workload.toml").unwrap_err().to_string();
            assert!(error.starts_with("workload.toml") && error.contains(says), "{to}: {error}");
        }
    }
}
