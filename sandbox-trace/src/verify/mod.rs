//! `verify`: replays a recording against emitted files, read back from disk through the real compilers.
//!
//! Nothing here may know the policy model that the files were made from: the input is the recording and the
//! files, as the runtime would see them.

pub mod apparmor;
pub mod attacks;
pub mod capabilities;
pub mod filters;
pub mod live;
pub mod seccomp;

use schemars::JsonSchema;
use serde::Serialize;

/// What kind of fact a verdict is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "FactKind")]
pub enum Kind {
    /// A system call against the seccomp filter.
    Seccomp,
    /// A file access against the AppArmor profile.
    File,
    /// A socket against the AppArmor profile.
    Network,
    /// A capability against the AppArmor profile.
    Capability,
}

/// A needed fact that the files would block.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
pub struct Blocked {
    /// What kind of fact.
    pub kind: Kind,
    /// The fact and what it would get: `statx → EPERM`, `/app/config.yaml r`.
    pub what: String,
    /// The executables that needed it.
    pub needed_by: Vec<String>,
    /// The rule that would allow it: `"statx"`, `/app/config.yaml r,`.
    pub rule: String,
}

/// A needed fact for which the recording does not hold enough to tell.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
pub struct Unproven {
    /// What kind of fact.
    pub kind: Kind,
    /// The fact.
    pub what: String,
    /// What is missing to decide it.
    pub why: String,
}

/// What a replay found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Verdicts {
    /// How many facts were replayed, by kind.
    pub checked: Checked,
    /// What would be blocked, sorted.
    pub blocked: Vec<Blocked>,
    /// What can't be decided, sorted.
    pub unproven: Vec<Unproven>,
    /// Other things a reader should know: an unknown name in the file, a base that was assumed.
    pub notes: Vec<String>,
}

/// Counts of replayed facts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Checked {
    /// System call tuples through the compiled filter.
    pub seccomp: u64,
    /// Paths through the compiled automaton.
    pub files: u64,
    /// Socket families and types through the compiled automaton.
    pub network: u64,
    /// Capabilities.
    pub capabilities: u64,
}

impl Verdicts {
    /// Adds what another replay found.
    pub fn merge(&mut self, other: Self) {
        let Self { checked, blocked, unproven, notes } = other;
        self.checked.seccomp += checked.seccomp;
        self.checked.files += checked.files;
        self.checked.network += checked.network;
        self.checked.capabilities += checked.capabilities;
        self.blocked.extend(blocked);
        self.unproven.extend(unproven);
        self.notes.extend(notes);
        self.blocked.sort();
        self.unproven.sort();
    }
}
