//! What a refresh found, as scripts read it.

use schemars::JsonSchema;
use serde::Serialize;

use super::{lock::Provenance, privilege::Privilege};
use crate::{
    diff::Change,
    error::Exit,
    verify::{Blocked, Checked, Unproven, attacks::Judged},
    width::Width,
};

/// The schema of `--json`.
pub const SCHEMA: &str = "sandbox-trace/refresh/v1";

/// What it comes to; the first that holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// What is committed is not what was written last.
    Tampered,
    /// What would be written blocks something needed, or leaves an attack open.
    Failed,
    /// The release wants more than is committed and approved.
    Widened,
    /// It can't be proven that what would be written is right.
    Unproven,
    /// Nothing was written before.
    New,
    /// All that is new was approved.
    Approved,
    /// Some privileges are gone, and none is new.
    Narrowed,
    /// The same privileges as before.
    Unchanged,
}

impl Verdict {
    /// The exit code of the command.
    pub fn exit(self) -> Exit {
        match self {
            Self::Tampered | Self::Failed | Self::Widened => Exit::Found,
            Self::Unproven => Exit::Incomplete,
            Self::New | Self::Approved | Self::Narrowed | Self::Unchanged => Exit::Clean,
        }
    }
}

/// What was found.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Outcome {
    /// The format and its version.
    #[schemars(extend("const" = SCHEMA))]
    pub schema: &'static str,
    /// The workload's name.
    pub workload: String,
    /// Its folder, as it was named.
    pub folder: String,
    /// What it comes to: the first that holds, in this order.
    pub verdict: Verdict,
    /// Whether the folder was changed.
    pub written: bool,
    /// How many runs the kept recording would be made of; 0 where it was not made.
    pub runs: u32,
    /// New privileges, each once whatever files give it; those that nobody approved first.
    pub added: Vec<Privilege>,
    /// Privileges that are gone.
    pub removed: Vec<Change>,
    /// Files that are not as they were written; then nothing else was looked at.
    pub tampered: Vec<Tampered>,
    /// How many facts were replayed.
    pub checked: Checked,
    /// Needed and denied, sorted.
    pub blocked: Vec<Blocked>,
    /// Facts that can't be decided, sorted.
    pub unproven: Vec<Unproven>,
    /// What became of the attacks.
    pub attacks: Judged,
    /// How much the profiles admit.
    pub width: Widths,
    /// Limits that move.
    pub limits: Vec<Limit>,
    /// What the new recordings were made on and of.
    pub recorded: Provenance,
    /// What of that is another than last time, in sentences.
    pub moved: Vec<String>,
    /// The files of the folder.
    pub files: Vec<FileState>,
    /// What a person should know, in sentences.
    pub notes: Vec<String>,
    /// The entries of `workload.toml` that would approve what nobody approved; absent where there is nothing.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub to_approve: String,
}

/// A file that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Tampered {
    /// Its name.
    pub file: String,
    /// Whether it is gone.
    pub gone: bool,
}

/// How much profiles admit.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
pub struct Widths {
    /// The committed ones: what `width --json` prints, without its schema.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Width>,
    /// The new ones: what `width --json` prints, without its schema.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Width>,
}

/// A limit that moves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Limit {
    /// Of what.
    pub name: String,
    /// What it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<u64>,
    /// What it will be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
}

/// A file of the folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct FileState {
    /// Its name.
    pub name: String,
    /// What becomes of it.
    pub state: State,
}

/// What becomes of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It is not there yet.
    New,
    /// It changes.
    Changed,
    /// It stays as it is, byte by byte.
    Kept,
    /// It goes.
    Removed,
}
