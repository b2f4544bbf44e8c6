//! The compiled policy: unpacks the stream that the compiler writes and the kernel loads. Owns the layout of a
//! profile; what its permissions mean is in `perms`.
//!
//! An item that this version does not know is an error, never skipped: it could be one that allows or denies.

use super::{
    dfa::{Dfa, State},
    stream::Reader,
};
use crate::{
    error::{Error, Result},
    recording::BytePath,
};

/// What a profile does with what it does not allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Denies it.
    Enforce,
    /// Logs it and lets it pass.
    Complain,
    /// Denies it and kills the task.
    Kill,
    /// Asks no question at all.
    Unconfined,
}

/// An automaton with the state that walks begin at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Automaton {
    /// The tables.
    pub dfa: Dfa,
    /// Where a walk begins.
    pub start: State,
}

/// One compiled profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// Its name; a child's is `parent//child`.
    pub name: BytePath,
    /// Its mode.
    pub mode: Mode,
    /// `attach_disconnected` (4) and its kin, as numbers.
    pub path_flags: u32,
    /// The allowed capabilities, bit by number.
    pub capabilities: u64,
    /// The rules for all but files, by class. Without it nothing but files and capabilities is mediated.
    pub classes: Option<Automaton>,
    /// The rules for files. Without it every file is denied.
    pub files: Option<Automaton>,
    /// Names of profiles and transitions that execute rules refer to.
    pub transitions: Vec<BytePath>,
}

/// The flag that gives disconnected paths a name below `/`.
pub const PATH_ATTACH_DISCONNECTED: u32 = 4;

/// The class of file rules in [`Profile::classes`], for compilers that write no automaton of its own for them.
const CLASS_FILE: u8 = 2;
/// Kernel ABI versions that this module reads (the low ten bits of the version).
const ABI_VERSIONS: std::ops::RangeInclusive<u32> = 5..=9;

/// Unpacks every profile of a stream. At least one is returned.
pub fn unpack(bytes: &[u8]) -> Result<Vec<Profile>> {
    let mut reader = Reader::new(bytes);
    let mut profiles = Vec::new();
    while !reader.at_end() {
        profiles.push(profile(&mut reader).map_err(|what| {
            Error::usage(format!("the compiled AppArmor policy can't be read: {what}"))
                .hint("compile for a kernel that this version knows: --apparmor-features with the 6.1 set")
        })?);
    }
    if profiles.is_empty() {
        return Err(
            Error::usage("the file has no AppArmor profile").hint("a profile reads `profile NAME { … }`")
        );
    }
    Ok(profiles)
}

type Unpacked<T> = Result<T, String>;

fn profile(r: &mut Reader<'_>) -> Unpacked<Profile> {
    let version = r.u32(Some("version")).ok_or("a profile without a version")?;
    if !ABI_VERSIONS.contains(&(version & 0x3ff)) {
        return Err(format!("version {} of the format is not known", version & 0x3ff));
    }
    let _ = r.string(Some("namespace"));
    r.struct_start("profile").ok_or("no profile after the version")?;
    let name = BytePath::from(r.string(None).ok_or("a profile without a name")?);
    let _ = r.string(Some("rename"));
    let _ = r.string(Some("attach"));
    // The automaton that attaches the profile to executables; what a profile allows does not depend on it.
    if r.blob("aadfa").is_some() {
        r.u32(None).ok_or("the attachment has no length")?;
    }
    let _ = r.string(Some("disconnected"));
    let mode = flags(r).ok_or("a profile without flags")??;
    let path_flags = r.u32(Some("path_flags")).unwrap_or(0);
    let low = capability_masks(r).ok_or("a profile without capabilities")?;
    let mut out = Profile {
        name,
        mode,
        path_flags,
        capabilities: u64::from(low),
        classes: None,
        files: None,
        transitions: Vec::new(),
    };
    while r.struct_end().is_none() {
        item(r, &mut out)?;
    }
    if out.files.is_none() {
        // As the kernel does for a policy without file automaton; a dead start means that there are no rules.
        out.files = out.classes.as_ref().and_then(|classes| {
            let start = classes.dfa.step(classes.start, CLASS_FILE);
            (start != State::DEAD).then(|| Automaton { dfa: classes.dfa.clone(), start })
        });
    }
    Ok(out)
}

/// One of the optional items after the capabilities.
fn item(r: &mut Reader<'_>, out: &mut Profile) -> Unpacked<()> {
    let name = r.peek_name().ok_or("an item without a name, or the end of the stream, inside a profile")?;
    let cut = || format!("the item {} is cut off", BytePath::from(name));
    match name {
        b"caps64" => {
            r.struct_start("caps64").ok_or_else(cut)?;
            out.capabilities |= u64::from(capability_masks(r).ok_or_else(cut)?) << 32;
            r.struct_end().ok_or_else(cut)?;
        }
        b"policydb" => {
            r.struct_start("policydb").ok_or_else(cut)?;
            let dfa = Dfa::parse(r.blob("aadfa").ok_or_else(cut)?)?;
            let start = r.u32(Some("start")).map_or(State::START, State);
            r.struct_end().ok_or_else(cut)?;
            out.classes = Some(Automaton { dfa, start });
        }
        b"aadfa" => {
            let dfa = Dfa::parse(r.blob("aadfa").ok_or_else(cut)?)?;
            let start = r.u32(Some("dfa_start")).map_or(State::START, State);
            out.files = Some(Automaton { dfa, start });
        }
        b"xtable" => {
            r.struct_start("xtable").ok_or_else(cut)?;
            let count = r.array_start().ok_or_else(cut)?;
            for _ in 0..count {
                out.transitions.push(r.string(None).ok_or_else(cut)?.into());
            }
            r.array_end().ok_or_else(cut)?;
            r.struct_end().ok_or_else(cut)?;
        }
        // Capabilities of change_hat'd v5 policy, attachment by extended attributes, limits, packet marks and
        // free data: none of them decides about a file, a socket or a capability.
        b"capsx" | b"xattrs" | b"rlimits" | b"secmark" | b"data" => r.skip().ok_or_else(cut)?,
        other => return Err(format!("the item {} is not known", BytePath::from(other))),
    }
    Ok(())
}

/// The flags: hat and debug bits, the mode, auditing. The outer `Option` is about the layout.
fn flags(r: &mut Reader<'_>) -> Option<Unpacked<Mode>> {
    r.struct_start("flags")?;
    r.u32(None)?;
    let mode = match r.u32(None)? {
        0 => Ok(Mode::Enforce),
        1 => Ok(Mode::Complain),
        2 => Ok(Mode::Kill),
        3 => Ok(Mode::Unconfined),
        other => Err(format!("mode {other} is not known")),
    };
    r.u32(None)?;
    r.struct_end()?;
    Some(mode)
}

/// Allowed, audited, quiet and (unused) inheritable capabilities: 32 of each; the allowed ones are returned.
fn capability_masks(r: &mut Reader<'_>) -> Option<u32> {
    let allowed = r.u32(None)?;
    for _ in 0..3 {
        r.u32(None)?;
    }
    Some(allowed)
}
