//! `diff`: what a new recording, or a new emitted file, allows that the old one did not.
//!
//! Everything ends as a [`Change`] in one of three lists: a new privilege, a privilege that is gone, or a difference
//! that is neither. Where it can't be proven that the new side is no wider, it counts as wider. Pure: what is read
//! from where is the command line's business.

mod apparmor;
mod evidence;
mod files;
mod grants;
pub mod print;
mod recordings;
mod risk;
mod seccomp;

use std::{collections::BTreeSet, fmt};

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

pub use self::{
    apparmor::{apparmor, of_sources},
    evidence::About,
    files::{Form, files, folders, is_emitted},
    recordings::{Level, recordings, recordings_at},
    seccomp::{cube::Cube, seccomp},
};
use crate::{
    recording::BytePath,
    schemas::{keywords::each, text::Shown},
};

/// The schema of the JSON form.
pub const SCHEMA: &str = "sandbox-trace/diff/v1";

/// What kind of privilege a change is about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "PrivilegeKind")]
pub enum Kind {
    /// A system call, with any arguments or with those of the detail.
    Syscall,
    /// Arguments of a system call that was there before.
    Argument,
    /// An architecture that calls are admitted on.
    Architecture,
    /// What happens to all that is not listed: a filter's default action, a profile's mode and flags.
    Default,
    /// A file that is executed.
    Exec,
    /// An access to files.
    File,
    /// A hard link.
    Link,
    /// Sockets of a family and type.
    Network,
    /// A place that a socket is bound or connected to.
    Address,
    /// A capability.
    Capability,
    /// Signals to or from other processes.
    Signal,
    /// Looking into other processes.
    Ptrace,
    /// A rule or a setting that is compared as text.
    #[default]
    Rule,
    /// A file that is compared as text.
    Text,
}

impl Kind {
    /// As every form writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Syscall => "syscall",
            Self::Argument => "argument",
            Self::Architecture => "architecture",
            Self::Default => "default",
            Self::Exec => "exec",
            Self::File => "file",
            Self::Link => "link",
            Self::Network => "network",
            Self::Address => "address",
            Self::Capability => "capability",
            Self::Signal => "signal",
            Self::Ptrace => "ptrace",
            Self::Rule => "rule",
            Self::Text => "text",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// How bad a new privilege can be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Risk {
    /// None: nothing is given.
    #[default]
    None,
    /// What programs ordinarily do.
    Low,
    /// Worth a look: it reaches the network, runs code, changes files that others use.
    Medium,
    /// In the table of dangerous things.
    High,
    /// One step from the host.
    Critical,
}

impl Risk {
    /// As every form writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

/// Where a recording shows that something is needed.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Evidence {
    /// The executables that did it.
    pub by: BTreeSet<BytePath>,
    /// How often, over all recordings; 0 if it is not known.
    pub count: u64,
    /// When first, in milliseconds of the run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_ms: Option<u64>,
    /// When last, in milliseconds of the run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_ms: Option<u64>,
    /// The recordings that have it, by name; empty if it is not known.
    #[schemars(with = "BTreeSet<Shown>")]
    pub runs: BTreeSet<String>,
    /// Of how many recordings.
    pub of: usize,
}

/// One difference. All text is safe to print: bytes of recorded names are escaped as recordings do.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Change {
    /// What kind of privilege; docs/diff.md has them all.
    pub kind: Kind,
    /// What: `statx`, `/app/models/**`, `inet6 dgram`, `net_admin`. With `kind` and `access` it names the privilege,
    /// the same in every comparison.
    #[schemars(with = "Shown")]
    pub what: String,
    /// Which access of it: the letters of a file rule, the arguments of a call; empty where there is but one.
    #[schemars(with = "Shown")]
    pub access: String,
    /// What a reader should know beside it; may be empty.
    #[schemars(with = "Shown")]
    pub detail: String,
    /// How bad it can be; `none` in what is removed or cosmetic.
    pub risk: Risk,
    /// Why.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schemars(with = "Shown")]
    pub reason: String,
    /// The emitted file that it is in, where several are compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Shown>")]
    pub file: Option<String>,
    /// Who needs it, as far as a recording was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Evidence>,
    /// What to look for in a recording.
    #[serde(skip)]
    pub about: About,
}

/// All differences, each list sorted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Diff {
    /// New privileges, the worst first.
    #[schemars(transform = each(json!({ "required": ["reason"] })))]
    pub added: Vec<Change>,
    /// Privileges that are gone.
    pub removed: Vec<Change>,
    /// What differs and gives or takes nothing.
    pub cosmetic: Vec<Change>,
    /// What a reader should know of the comparison.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<Shown>")]
    pub notes: Vec<String>,
}

impl Diff {
    /// Whether the new side has a privilege that the old one has not, as far as can be proven.
    pub fn widened(&self) -> bool {
        !self.added.is_empty()
    }

    /// Whether there is no difference at all.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.cosmetic.is_empty()
    }

    /// The worst of the new privileges.
    pub fn worst(&self) -> Risk {
        self.added.iter().map(|change| change.risk).max().unwrap_or_default()
    }

    /// Both together.
    #[must_use]
    pub fn unite(mut self, other: Self) -> Self {
        self.added.extend(other.added);
        self.removed.extend(other.removed);
        self.cosmetic.extend(other.cosmetic);
        self.notes.extend(other.notes);
        self.sort();
        self
    }

    /// The same, of the emitted file of this name.
    #[must_use]
    pub fn of_file(mut self, name: &str) -> Self {
        let name = crate::recording::printable(name);
        for change in self.added.iter_mut().chain(&mut self.removed).chain(&mut self.cosmetic) {
            change.file = Some(name.clone());
        }
        self
    }

    /// The worst first, then by kind and name.
    fn sort(&mut self) {
        for list in [&mut self.added, &mut self.removed, &mut self.cosmetic] {
            list.sort_by(|a, b| b.risk.cmp(&a.risk).then_with(|| a.cmp(b)));
            list.dedup();
        }
    }
}
