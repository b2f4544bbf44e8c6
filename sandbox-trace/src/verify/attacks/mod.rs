//! Lists of attacks that files must deny: their format, and the built-in one. Whether they are denied is for `judge`.
//!
//! An attack is a list of ways, and each way a list of steps that all have to succeed. The format is described in
//! `docs/verify.md` and `docs/schemas/attacks-v1.json`.

mod judge;
mod steps;

use std::{collections::BTreeMap, path::Path};

use schemars::JsonSchema;
use serde::Deserialize;

pub use self::judge::{Files, Judged, Named, Open, judge};
use super::filters::number;
use crate::{
    error::{Error, Result},
    linux,
    recording::{Access, printable},
    schemas::text::ArgumentPosition,
    seccomp::arch::Arch,
};

/// The schema that a list names.
const SCHEMA: &str = "sandbox-trace/attacks/v1";
/// The guide's dangerous operations and the known ways out of containers.
const BUILT_IN: &str = include_str!("built-in.json");
const HINT: &str = "docs/verify.md describes the format; without a file the built-in list is taken";

/// Something that must not be possible.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attack {
    /// What it is called.
    pub name: String,
    /// What it is dangerous for.
    pub why: String,
    /// The ways to do it, any of which is enough; each has steps, all of which are needed.
    pub ways: Vec<Vec<Step>>,
    /// Why files that allow it are not at fault: the attack is then noted, and not counted.
    pub note: Option<String>,
}

/// One thing that an attacker does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A system call; positions that are not in `args` may hold anything.
    Call {
        /// Its name.
        name: String,
        /// The arguments that make it an attack.
        args: BTreeMap<u8, u64>,
        /// On one architecture alone. Without it: on any that the kernel serves.
        arch: Option<Arch>,
    },
    /// An access to a file.
    File {
        /// Its path, as the container sees it.
        path: String,
        /// What is done.
        access: Access,
    },
    /// The use of a capability.
    Capability {
        /// Its number.
        number: u32,
        /// Whether it comes with a new user namespace, and so does not depend on what the container was given.
        in_user_namespace: bool,
    },
    /// Making a socket: by the call, and by what `AppArmor` says of it.
    Socket {
        /// `AF_*`.
        family: u16,
        /// `SOCK_*`.
        socket_type: u16,
    },
    /// A mount, as `AppArmor` is asked about it.
    Mount {
        /// Where.
        target: String,
        /// What.
        source: String,
        /// The type of the file system.
        fstype: String,
        /// `MS_*`.
        flags: u32,
    },
    /// An unmount, as `AppArmor` is asked about it.
    Umount {
        /// Where.
        target: String,
    },
}

/// A list as it is written.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawList {
    /// The format and its version.
    #[serde(rename = "schema")]
    #[schemars(extend("const" = SCHEMA))]
    _schema: String,
    /// The attacks.
    #[schemars(length(min = 1))]
    attacks: Vec<RawAttack>,
}

/// Something that must not be possible.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Attack")]
struct RawAttack {
    /// What it is called.
    name: String,
    /// What it is dangerous for.
    why: String,
    /// The ways to do it, any of which is enough; each has steps, all of which are needed.
    #[schemars(length(min = 1), inner(length(min = 1)))]
    ways: Vec<Vec<RawStep>>,
    /// Why files that don't deny it are not at fault: it is then noted, and not counted.
    note: Option<String>,
}

/// One thing that an attacker does: a `call`, or what is done to a `file`, with a `capability`, a `socket`, a `mount` or by an
/// `umount`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Step", transform = steps::by_kind)]
struct RawStep {
    /// A system call, by name.
    call: Option<String>,
    /// The arguments that make it an attack, by position; those that are not there may be anything.
    #[schemars(with = "Option<BTreeMap<ArgumentPosition, Number>>")]
    args: Option<BTreeMap<u8, Number>>,
    /// On one architecture alone. Without it: on any that the kernel serves.
    #[schemars(extend("enum" = Arch::ALL.map(Arch::name)))]
    arch: Option<String>,
    /// A file's path, as the container sees it.
    #[schemars(regex(pattern = "^/"))]
    file: Option<String>,
    /// What is done with it, as letters.
    #[schemars(regex(pattern = "^[rwacdsxmk]+$"))]
    access: Option<String>,
    /// A capability's name.
    capability: Option<String>,
    /// Whether it comes with a new user namespace, and so does not depend on what the container was given.
    in_user_namespace: Option<bool>,
    /// A socket's address family, by name.
    socket: Option<String>,
    /// A socket's type; `stream` if there is none.
    #[serde(rename = "type")]
    #[schemars(extend("enum" = linux::socket_types().filter_map(linux::socket_type).collect::<Vec<_>>()))]
    socket_type: Option<String>,
    /// Where something is mounted.
    mount: Option<String>,
    /// What is mounted.
    source: Option<String>,
    /// The type of the file system.
    fstype: Option<String>,
    /// How: the sum of `MS_*`.
    flags: Option<u32>,
    /// Where something is unmounted.
    umount: Option<String>,
}

/// A number, or one in hexadecimal as text: JSON has none, and flags can't be read without.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
enum Number {
    Plain(u64),
    Text(#[schemars(regex(pattern = "^0x[0-9a-fA-F]{1,16}$"))] String),
}

/// The built-in list.
pub fn built_in() -> Result<Vec<Attack>> {
    parse(BUILT_IN.as_bytes(), "the built-in list of attacks")
}

/// The list in `path`.
pub fn load(path: &Path) -> Result<Vec<Attack>> {
    let name = path.display().to_string();
    let bytes = std::fs::read(path).map_err(|e| {
        Error::usage(format!("could not read the list of attacks {name}")).because(e).hint(HINT)
    })?;
    parse(&bytes, &name)
}

/// Reads a list; `name` is what messages call it.
pub fn parse(json: &[u8], name: &str) -> Result<Vec<Attack>> {
    #[derive(Deserialize)]
    struct Header {
        schema: Option<serde_json::Value>,
    }
    let broken =
        |e: serde_json::Error| Error::usage(format!("{name} is no list of attacks")).because(e).hint(HINT);
    let header: Header = serde_json::from_slice(json).map_err(broken)?;
    match header.schema.as_ref().and_then(serde_json::Value::as_str) {
        Some(SCHEMA) => {}
        Some(other) if other.starts_with("sandbox-trace/recording/") => {
            return Err(Error::usage(format!("{name} is a recording, not a list of attacks"))
                .hint("put --must-deny after the recordings, or write --must-deny=FILE"));
        }
        other => {
            let what = other.map_or_else(
                || "names no schema".to_owned(),
                |other| format!("has the schema {}", printable(other)),
            );
            return Err(Error::usage(format!("{name} {what}; this version reads {SCHEMA}")).hint(HINT));
        }
    }
    let raw: RawList = serde_json::from_slice(json).map_err(broken)?;
    let attacks: Vec<Attack> =
        raw.attacks.into_iter().map(|attack| attack.read(name)).collect::<Result<_>>()?;
    if attacks.is_empty() {
        return Err(Error::usage(format!("{name} lists no attack: nothing would be checked")).hint(HINT));
    }
    Ok(attacks)
}

impl RawAttack {
    fn read(self, file: &str) -> Result<Attack> {
        let Self { name, why, ways, note } = self;
        let wrong =
            |what: String| Error::usage(format!("{file}: the attack {} {what}", printable(&name))).hint(HINT);
        if ways.is_empty() || ways.iter().any(Vec::is_empty) {
            return Err(wrong("has no way, or a way without steps".into()));
        }
        let read = |step: RawStep| step.read().map_err(|what| wrong(format!("has a step that {what}")));
        let ways = ways
            .into_iter()
            .map(|way| way.into_iter().map(read).collect::<Result<Vec<_>>>())
            .collect::<Result<Vec<_>>>()?;
        Ok(Attack { name, why, ways, note })
    }
}

impl RawStep {
    /// The step, or what is wrong with it.
    fn read(self) -> Result<Step, String> {
        let kinds = [
            self.call.is_some(),
            self.file.is_some(),
            self.capability.is_some(),
            self.socket.is_some(),
            self.mount.is_some(),
            self.umount.is_some(),
        ];
        if kinds.into_iter().filter(|there| *there).count() != 1 {
            return Err("is not exactly one of call, file, capability, socket, mount, umount".into());
        }
        let belongs = |there: bool, kind: bool, what: &str| {
            if there && !kind { Err(format!("has {what}, which does not belong to it")) } else { Ok(()) }
        };
        belongs(self.args.is_some() || self.arch.is_some(), self.call.is_some(), "args or arch")?;
        belongs(self.access.is_some(), self.file.is_some(), "access")?;
        belongs(self.in_user_namespace.is_some(), self.capability.is_some(), "in_user_namespace")?;
        belongs(self.socket_type.is_some(), self.socket.is_some(), "type")?;
        let mounts = self.source.is_some() || self.fstype.is_some() || self.flags.is_some();
        belongs(mounts, self.mount.is_some(), "source, fstype or flags")?;
        if let Some(name) = self.call {
            call(name, self.args, self.arch.as_deref())
        } else if let Some(path) = self.file {
            let access: Access = self
                .access
                .as_deref()
                .and_then(|text| text.parse().ok())
                .filter(|access: &Access| !access.is_empty() && !access.contains(Access::LINK))
                .ok_or("needs an access of the letters rwacdsxmk")?;
            if !path.starts_with('/') {
                return Err("has a path that does not begin with /".into());
            }
            Ok(Step::File { path, access })
        } else if let Some(name) = self.capability {
            let lower = name.to_ascii_lowercase();
            let bare = lower.strip_prefix("cap_").unwrap_or(&lower);
            let position = linux::capabilities().position(|known| known == bare);
            let number = position.and_then(|n| u32::try_from(n).ok());
            Ok(Step::Capability {
                number: number.ok_or_else(|| format!("names {}, no capability", printable(&name)))?,
                in_user_namespace: self.in_user_namespace.unwrap_or(false),
            })
        } else if let Some(name) = self.socket {
            let family = linux::families().find(|number| linux::family(*number) == Some(name.as_str()));
            let wanted = self.socket_type.unwrap_or_else(|| "stream".into());
            let kind = (0..=u16::from(u8::MAX)).find(|n| linux::socket_type(*n) == Some(wanted.as_str()));
            Ok(Step::Socket {
                family: family.ok_or_else(|| format!("names {}, no address family", printable(&name)))?,
                socket_type: kind.ok_or_else(|| format!("names {}, no socket type", printable(&wanted)))?,
            })
        } else if let Some(target) = self.mount {
            Ok(Step::Mount {
                target,
                source: self.source.unwrap_or_else(|| "none".into()),
                fstype: self.fstype.unwrap_or_default(),
                flags: self.flags.unwrap_or(0),
            })
        } else {
            self.umount.map(|target| Step::Umount { target }).ok_or_else(|| "is empty".into())
        }
    }
}

fn call(name: String, args: Option<BTreeMap<u8, Number>>, arch: Option<&str>) -> Result<Step, String> {
    let arch = arch
        .map(|arch| Arch::from_name(arch).ok_or("has an arch that is none of x86_64, i386, x32".to_owned()))
        .transpose()?;
    if !Arch::ALL.iter().any(|known| arch.is_none_or(|a| a == *known) && number(&name, *known).is_some()) {
        return Err(format!("names the call {}, which this libseccomp does not know", printable(&name)));
    }
    let args: BTreeMap<u8, u64> = args
        .unwrap_or_default()
        .into_iter()
        .map(|(index, value)| {
            let value = match value {
                Number::Plain(value) => Some(value),
                Number::Text(text) => {
                    text.strip_prefix("0x").and_then(|digits| u64::from_str_radix(digits, 16).ok())
                }
            };
            let value = value.filter(|_| index < 6);
            value
                .map(|value| (index, value))
                .ok_or_else(|| "has an argument that is not 0 to 5 with a number or \"0x…\"".to_owned())
        })
        .collect::<Result<_, _>>()?;
    Ok(Step::Call { name, args, arch })
}

#[cfg(test)]
mod tests;
