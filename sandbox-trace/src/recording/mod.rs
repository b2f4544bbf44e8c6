//! The recording: what a training run did, as a versioned file. This module owns the file format and knows
//! nothing of how facts are collected or what is made of them.
//!
//! The order of every list is fixed (see [`Recording::normalize`]), so equal facts are equal bytes.

mod access;
mod bytes;
mod container;
mod file;
mod merge;
mod reading;
mod runs;
#[cfg(test)]
pub(crate) mod samples;
mod stream;
mod user_namespace;
mod written;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

pub use self::{
    access::Access,
    bytes::{BytePath, printable},
    container::{Container, Healthcheck, ImageDefaults, Limits, Mount, Port},
    file::{from_json, load, load_each, read_each, save, save_streamed, to_json},
    merge::{Batch, Merger, Stale, StaleFact, keep_last, merge, stale},
    reading::{FileRef, List},
    runs::{MergedRun, RunSet},
    user_namespace::{IdRange, UserNamespace},
};
use crate::{
    schemas::{
        keywords::each,
        text::{Answer, ArgumentPosition, BuildId, Errno, Sha256, Time},
    },
    seccomp::{arch::Arch, bpf::MAX_INSTRUCTIONS},
};

/// The schema of the files that this version writes. A reader refuses a higher version.
pub const SCHEMA: &str = "sandbox-trace/recording/v1";

/// An index into [`Recording::executables`].
pub type ExecutableIndex = u32;

/// How many points of saturation a recording has at most: a longer run has coarser ones.
pub const SATURATION_POINTS: usize = 64;

/// One training run. All times are milliseconds since the recording started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(extend(
    "if" = { "properties": { "complete": { "const": true } } },
    "then" = { "properties": { "losses": { "additionalProperties": { "const": 0 } } } },
    "else" = { "properties": { "losses": { "not": { "additionalProperties": { "const": 0 } } } } },
))]
pub struct Recording {
    /// The format and its version.
    #[schemars(extend("const" = SCHEMA))]
    pub schema: String,
    /// The program and version that wrote the file.
    pub tool: String,
    /// True when nothing was lost: every number in `losses` is 0.
    pub complete: bool,
    /// What could not be held, by buffer or map; 0 entries are kept so that a reader sees what was counted.
    pub losses: BTreeMap<String, u64>,
    /// What the reader should know about the limits of this recording, in sentences.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// When the recording started, RFC 3339 in UTC.
    #[schemars(with = "Time")]
    pub started: String,
    /// How long it took.
    pub duration_ms: u64,
    /// The runs that a merged recording is made of, by when they started; absent in all others, which are one run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1))]
    pub runs: Vec<MergedRun>,
    /// The machine that it was made on.
    pub host: Host,
    /// What was recorded.
    pub target: Target,
    /// Every executable that caused a fact; facts refer to them by index.
    pub executables: Vec<Executable>,
    /// System calls that entered the kernel, by architecture and number.
    pub syscalls: Vec<Syscall>,
    /// File accesses that the kernel granted, by path (and link target).
    #[schemars(transform = each(json!({ "not": { "required": ["error"] } })))]
    pub files: Vec<FileAccess>,
    /// Sockets made, bound, connected.
    #[schemars(transform = each(json!({ "not": { "required": ["error"] } })))]
    pub network: Vec<NetworkUse>,
    /// Capabilities that were asked for, granted or not.
    pub capabilities: Vec<CapabilityUse>,
    /// User and group ids that the target ran with.
    pub credentials: Vec<Credential>,
    /// How many distinct facts there were by when: a run that taught nothing new for long was long enough. Empty in a
    /// merged recording, and where it is not known.
    #[serde(default)]
    #[schemars(length(max = SATURATION_POINTS))]
    pub saturation: Vec<Saturation>,
    /// Peaks of what the target consumed.
    pub resources: Resources,
    /// Attempts that failed, kept apart: they are not needs, but some fail only after the policy was asked.
    #[serde(default)]
    pub failed: Failed,
}

/// The machine that a recording was made on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Host {
    /// `uname -r`.
    pub kernel: String,
    /// The machine's own architecture, for example `x86_64`.
    pub arch: String,
    /// `unified` or `hybrid`; both where merged recordings differ.
    #[schemars(extend("enum" = ["unified", "hybrid", "hybrid, unified"]))]
    pub cgroup: String,
    /// The hook set that was used: `syscalls` or `lsm`; both where merged recordings differ.
    #[schemars(extend("enum" = ["syscalls", "lsm", "lsm, syscalls"]))]
    pub hooks: String,
    /// What the hooks could see: `syscalls`, `files`, `network`, `capabilities`. A kind that is absent here
    /// was not observed, which is not the same as "did not happen".
    #[schemars(extend("uniqueItems" = true), transform = each(json!({ "enum": ["syscalls", "files", "network", "capabilities"] })))]
    pub observed: Vec<String>,
}

/// What was recorded.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Target {
    /// `command`, `cgroup`, `container`, `process`.
    pub kind: String,
    /// The cgroup, as a path below the cgroup v2 root.
    pub cgroup: BytePath,
    /// The other cgroups, where there were several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1))]
    pub more_cgroups: Vec<BytePath>,
    /// The container that it was, as far as its runtime told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<Container>,
    /// The command line, for `command`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1))]
    pub command: Vec<BytePath>,
    /// How the command ended: its exit code, or 128 + signal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// Where facts start to count: `container` (the runtime's set-up is left out) or `none`; `merged` where merged recordings
    /// differ.
    #[schemars(extend("enum" = ["container", "none", "merged"]))]
    pub boundary: String,
    /// Why the recording ended: `target-ended`, `duration`, `signal`.
    pub ended: String,
    /// The seccomp filters that it was recorded under; absent if none was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seccomp: Option<Seccomp>,
    /// The `AppArmor` labels that its processes were seen with, such as `docker-default (enforce)`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1))]
    pub apparmor: Vec<BytePath>,
    /// The user namespace that its processes were seen in, where it is not the host's: a rootless container's.
    /// Credentials are the host's numbers then; [`Recording::own_credentials`] has the target's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_namespace: Option<UserNamespace>,
}

/// The seccomp filters in force while a target was recorded.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Seccomp {
    /// The filters, each once, by digest. The recorder's own are among them, since its children inherit them.
    pub filters: Vec<SeccompFilter>,
    /// Whether all of them could be read: if not, calls that were refused may be taken for calls that failed.
    pub attributed: bool,
}

/// A seccomp filter, as the kernel was given it.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct SeccompFilter {
    /// SHA-256 of its instructions, each as 8 little-endian bytes (`struct sock_filter`), in hexadecimal.
    #[schemars(with = "Sha256")]
    pub sha256: String,
    /// How many instructions it has.
    #[schemars(range(min = 1, max = MAX_INSTRUCTIONS))]
    pub instructions: u64,
    /// What it answers to a call that it does not list: `allowed`, an error's name, `SIGSYS`, …
    pub default: String,
}

/// An executable that caused facts.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Executable {
    /// Its path in the target's mount namespace; empty when the kernel could not name it.
    pub path: BytePath,
    /// True if it was started with `execve` during the recording.
    pub executed: bool,
    /// The build id that its linker gave it, in hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<BuildId>")]
    pub build_id: Option<String>,
    /// SHA-256 of the file, in hexadecimal, where it has no build id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Sha256>")]
    pub sha256: Option<String>,
    /// The scripts that were started with it as their interpreter (`#!`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1))]
    pub scripts: Vec<BytePath>,
}

/// A system call number on one architecture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Syscall {
    /// `x86_64`, `i386` or `x32`.
    #[schemars(extend("enum" = Arch::ALL.map(Arch::name)))]
    pub arch: String,
    /// The number on that architecture. For x32 without the x32 bit.
    pub nr: u32,
    /// The name, or `syscall_NR` when this version knows none.
    pub name: String,
    /// How often it returned; a call still blocked at the end counts once.
    pub count: u64,
    /// The distinct argument tuples, for calls with an argument policy; absent for all others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1))]
    pub args: Vec<ArgTuple>,
    /// The errors that it returned, by name (`ENOENT`); absent if it only succeeded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<Errno>", length(min = 1))]
    pub errors: Vec<String>,
    /// Whether it ever succeeded.
    pub succeeded: bool,
    /// How a filter in force refused it; absent if none did, as far as could be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<Refusal>,
    /// When it was first seen.
    pub first_ms: u64,
    /// When it was last seen, to a tenth of a second; 0 if it is not known.
    #[serde(default)]
    pub last_ms: u64,
    /// Who made it: indices into `executables`, ascending.
    pub by: Vec<ExecutableIndex>,
    /// The runs of a merged recording that have it; absent if all have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runs: Option<RunSet>,
}

/// A system call that a filter refused while it was recorded.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Refusal {
    /// What refused it: `seccomp`.
    #[schemars(extend("enum" = ["seccomp"]))]
    pub by: String,
    /// What the caller got: errors by name, `SIGSYS`, `killed`.
    #[schemars(with = "Vec<Answer>", length(min = 1))]
    pub answers: Vec<String>,
    /// True if no call got past the filters: the kernel never did what was asked.
    pub always: bool,
}

/// One distinct tuple of the arguments that a policy looks at; registers as the kernel saw them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct ArgTuple {
    /// Position (0–5) → value. Positions that are not listed were not recorded.
    #[schemars(with = "BTreeMap<ArgumentPosition, u64>")]
    pub values: BTreeMap<u8, u64>,
    /// How often it happened; 0 if it is not known.
    #[serde(default)]
    pub count: u64,
    /// When it was first seen; 0 if it is not known.
    #[serde(default)]
    pub first_ms: u64,
    /// When it was last seen, to a tenth of a second; 0 if it is not known.
    #[serde(default)]
    pub last_ms: u64,
    /// Who made it: indices into `executables`, ascending.
    pub by: Vec<ExecutableIndex>,
    /// The runs of a merged recording that have it; absent if all have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runs: Option<RunSet>,
    /// True if a filter refused every call with these arguments.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    #[schemars(extend("const" = true))]
    pub refused: bool,
}

/// Accesses to one path. AppArmor's view: absolute in the target's mount namespace, symlinks resolved,
/// a trailing `/` when the object is a directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(extend(
    "if" = { "properties": { "access": { "pattern": "l" } } },
    "else" = { "not": { "required": ["link_target"] } },
))]
pub struct FileAccess {
    /// The path.
    pub path: BytePath,
    /// What was done with it, as letters.
    pub access: Access,
    /// The existing name, when `access` has `l`: the other half of the link pair.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link_target: Option<BytePath>,
    /// True if every access was made by the file's owner, false if one was not, absent if unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<bool>,
    /// The operations, by name: `open`, `exec`, `mmap`, `mkdir`, `unlink`, `rename`, …
    pub operations: Vec<String>,
    /// The error, for an attempt that failed; absent for granted accesses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Errno>")]
    pub error: Option<String>,
    /// `lsm` for an attempt that a security module (AppArmor) refused, where that was seen; else absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("const" = "lsm"))]
    pub refused_by: Option<String>,
    /// How often it happened; 0 if it is not known.
    #[serde(default)]
    pub count: u64,
    /// When it was first seen.
    pub first_ms: u64,
    /// When it was last seen, to a tenth of a second; 0 if it is not known.
    #[serde(default)]
    pub last_ms: u64,
    /// Who made it: indices into `executables`, ascending.
    pub by: Vec<ExecutableIndex>,
    /// The runs of a merged recording that have it; absent if all have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runs: Option<RunSet>,
    /// What was done with it by run, where the runs of a merged recording differ in that.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("minProperties" = 2))]
    pub accesses: BTreeMap<Access, RunSet>,
}

/// A use of a socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NetworkUse {
    /// `socket`, `socketpair`, `bind`, `connect`, `sendto`; with the `lsm` hooks also `listen`, `accept`, `send`,
    /// `receive`, `options`, `name`, `shutdown`, and pairs are two of `socket`.
    pub operation: String,
    /// The address family's name as AppArmor writes it (`inet`, `unix`, `netlink`), or `family_N`.
    pub family: String,
    /// The address family's number (`AF_*`).
    pub family_nr: u16,
    /// `stream`, `dgram`, `raw`, `rdm`, `seqpacket`, `dccp`, `packet`, or `type_N`.
    pub socket_type: String,
    /// The socket type's number, without `SOCK_NONBLOCK` and `SOCK_CLOEXEC`.
    pub type_nr: u16,
    /// The protocol's number.
    pub protocol: u32,
    /// `127.0.0.1:80`, `[::1]:80`, `unix:/run/x.sock`, `unix:@abstract`; absent for `socket`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<BytePath>,
    /// The error, for an attempt that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Errno>")]
    pub error: Option<String>,
    /// `lsm` for an attempt that a security module (AppArmor) refused, where that was seen; else absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("const" = "lsm"))]
    pub refused_by: Option<String>,
    /// How often it happened; 0 if it is not known.
    #[serde(default)]
    pub count: u64,
    /// When it was first seen.
    pub first_ms: u64,
    /// When it was last seen, to a tenth of a second; 0 if it is not known.
    #[serde(default)]
    pub last_ms: u64,
    /// Who did it: indices into `executables`, ascending.
    pub by: Vec<ExecutableIndex>,
    /// The runs of a merged recording that have it; absent if all have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runs: Option<RunSet>,
}

/// A capability that the kernel asked for on the target's behalf.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CapabilityUse {
    /// The name in lower case without `CAP_`, as AppArmor writes it.
    pub name: String,
    /// The number.
    pub nr: u32,
    /// Whether the target had it.
    pub granted: bool,
    /// True if the kernel only tried, at every question: the call goes on without it, so it is not a need. With the
    /// `lsm` hooks that is the kernel's own word (a question that is not audited); with `syscalls` it is told by
    /// the place, which is known of the memory accounting's question for `sys_admin` alone.
    pub probe: bool,
    /// `lsm` for an attempt that a security module (AppArmor) refused, where that was seen; else absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("const" = "lsm"))]
    pub refused_by: Option<String>,
    /// The system calls in flight when it was asked for.
    pub syscalls: Vec<String>,
    /// How often it happened; 0 if it is not known.
    #[serde(default)]
    pub count: u64,
    /// When it was first seen.
    pub first_ms: u64,
    /// When it was last seen, to a tenth of a second; 0 if it is not known.
    #[serde(default)]
    pub last_ms: u64,
    /// Who asked: indices into `executables`, ascending.
    pub by: Vec<ExecutableIndex>,
    /// The runs of a merged recording that have it; absent if all have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runs: Option<RunSet>,
}

/// A user and group id that the target ran with, as the target's user namespace does not change them: the
/// initial namespace's numbers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Credential {
    /// Effective user id.
    pub uid: u32,
    /// Effective group id.
    pub gid: u32,
    /// Who ran so: indices into `executables`, ascending.
    pub by: Vec<ExecutableIndex>,
    /// The runs of a merged recording that have it; absent if all have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runs: Option<RunSet>,
}

/// How many distinct facts there were by a time.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Saturation {
    /// When the last of them came.
    pub ms: u64,
    /// System calls.
    pub syscalls: u64,
    /// Granted accesses to files.
    pub paths: u64,
    /// Uses of sockets that succeeded.
    pub network: u64,
    /// Capabilities.
    pub capabilities: u64,
}

impl Saturation {
    /// Facts of all kinds.
    pub fn total(&self) -> u64 {
        let Self { ms: _, syscalls, paths, network, capabilities } = self;
        [syscalls, paths, network, capabilities].into_iter().fold(0, |sum, n| sum.saturating_add(*n))
    }
}

/// Peaks over the recording; absent where the host has no controller for it.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Resources {
    /// Peak of the memory charged to the cgroup, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_peak_bytes: Option<u64>,
    /// Peak of tasks (threads count).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pids_peak: Option<u64>,
    /// CPU time used, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_usec: Option<u64>,
    /// Highest CPU use between two samples, in thousandths of a CPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_peak_millis: Option<u64>,
    /// What folders that were written to held at most, by `path`; absent where it was not measured.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1))]
    pub storage: Vec<Storage>,
}

/// What a folder that was written to held at most, with all below it that is on the same file system.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Storage {
    /// The folder, with a `/` at its end.
    pub path: BytePath,
    /// The most that was seen in it, in bytes, as its file system accounts for them.
    pub peak_bytes: u64,
    /// The most names that were seen in it.
    pub peak_files: u64,
}

/// Attempts that failed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Failed {
    /// File accesses, each with its error.
    #[schemars(transform = each(json!({ "required": ["error"] })))]
    pub files: Vec<FileAccess>,
    /// Socket uses, each with its error.
    #[schemars(transform = each(json!({ "required": ["error"] })))]
    pub network: Vec<NetworkUse>,
}

impl Recording {
    /// Brings every list into its one order. Executable indices are kept as they are.
    pub fn normalize(&mut self) {
        self.syscalls.sort_by(|a, b| (&a.arch, a.nr).cmp(&(&b.arch, b.nr)));
        for syscall in &mut self.syscalls {
            syscall.args.sort();
            syscall.errors.sort();
            syscall.by.sort_unstable();
        }
        let file_key = |f: &FileAccess| (f.path.clone(), f.link_target.clone(), f.error.clone());
        for list in [&mut self.files, &mut self.failed.files] {
            list.sort_by_cached_key(file_key);
            for file in list {
                file.operations.sort();
                file.by.sort_unstable();
            }
        }
        for list in [&mut self.network, &mut self.failed.network] {
            list.sort_by_cached_key(|n| {
                (n.operation.clone(), n.family_nr, n.type_nr, n.protocol, n.address.clone(), n.error.clone())
            });
            for network in list {
                network.by.sort_unstable();
            }
        }
        self.capabilities.sort_by_key(|c| (c.nr, c.granted));
        self.credentials.sort();
        self.resources.storage.sort();
        self.saturation.sort();
    }

    /// True when there is no fact at all: no policy may be made from it.
    pub fn is_empty(&self) -> bool {
        self.syscalls.is_empty() && self.files.is_empty()
    }

    /// The path of an executable, for messages. A recording is input: an index may be out of range.
    pub fn executable(&self, index: ExecutableIndex) -> &BytePath {
        static UNKNOWN: BytePath = BytePath::empty();
        self.executables.get(index as usize).map_or(&UNKNOWN, |e| &e.path)
    }
}
