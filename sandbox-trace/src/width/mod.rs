//! How much profiles admit: files of a root file system and system calls, counted, beside what recordings used.
//!
//! What is counted is what the kernel would get: the compiled automaton and the compiled filter. Nothing here may know
//! the policy that the files were made from.

mod bounded;
mod calls;
mod files;
mod tree;

use std::path::Path;

use schemars::JsonSchema;
use serde::Serialize;

pub use self::{
    calls::{DOCKER_DEFAULT, Syscalls},
    files::{Capabilities, Counts, Files, Network, OwnerOnly, Unread, Used, Widest},
};
use crate::{
    apparmor::{compiler, policy},
    error::{Error, Result},
    requirements::Requirements,
    seccomp::{capabilities, profile},
    verify::apparmor::chosen,
};

/// What is measured. At least one profile is named.
#[derive(Debug, Clone, Default)]
pub struct Question<'a> {
    /// The seccomp profile.
    pub seccomp: Option<&'a Path>,
    /// The container's capabilities, which Docker's profiles have rules for.
    pub capabilities: Option<&'a capabilities::Capabilities>,
    /// The AppArmor profile, and the root file system that it is asked about.
    pub apparmor: Option<(&'a Path, &'a Path)>,
    /// The target kernel's AppArmor features, if not this host's.
    pub features: Option<&'a Path>,
    /// What recordings needed.
    pub needs: Option<&'a Requirements>,
}

/// What profiles admit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Width {
    /// Regular files, directories and the rest of the root file system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub files: Option<Files>,
    /// System calls of x86-64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub syscalls: Option<Syscalls>,
    /// Kinds of sockets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<Network>,
    /// Capabilities.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<Capabilities>,
    /// What a reader of the numbers should know.
    pub notes: Vec<String>,
}

impl Width {
    /// Whether every file was counted.
    pub fn is_complete(&self) -> bool {
        self.files.as_ref().is_none_or(|files| files.unread_count == 0)
    }
}

/// Counts what the profiles admit.
pub fn measure(question: &Question<'_>) -> Result<Width> {
    let mut out = Width::default();
    if let Some(file) = question.seccomp {
        let mut profile = profile::load(file)?;
        if let Some(capabilities) = question.capabilities {
            profile.resolve(capabilities, None);
        }
        out.syscalls = Some(calls::measure(&profile, question.needs, &mut out.notes)?);
    }
    if let Some((file, rootfs)) = question.apparmor {
        let compiled = compiler::compile_file(file, question.features)?;
        let profiles = policy::unpack(&compiled.policy)?;
        out.notes.extend(compiled.notes);
        let profile = profiles.get(chosen(&profiles)).ok_or_else(|| {
            Error::usage(format!("{} has no profile", file.display())).hint("name another file")
        })?;
        if profiles.len() > 1 {
            out.notes.push(format!(
                "{} holds {} profiles; the first, {}, was counted: what an execution that changes to another one gets is not",
                file.display(),
                profiles.len(),
                profile.name
            ));
        }
        files::note_mode(profile, &mut out.notes);
        out.files = Some(files::measure(profile, rootfs, question.needs)?);
        out.network = Some(files::network(profile, question.needs));
        out.capabilities = Some(files::capabilities(profile, question.needs));
    }
    Ok(out)
}
