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

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;

    use super::*;
    use crate::apparmor::{features::Features, perms::Subject, testing};

    const TEXT: &str = "abi <abi/3.0>,\n#include <tunables/global>\nprofile t flags=(attach_disconnected) {
  /a/** rw,\n  owner /b rk,\n  /bin/x px -> other,\n  network inet stream,\n  capability chown,\n  capability bpf,
  link /c -> /d,\n  signal,\n  set rlimit nofile <= 10,\n  profile child {\n    /e r,\n  }\n  ^hat {\n    /f r,\n  }\n}
profile u /usr/bin/u* flags=(kill) {\n}\n";

    static COMPILED: LazyLock<Vec<u8>> =
        LazyLock::new(|| testing::compile(TEXT.as_bytes(), &Features::built_in().unwrap()).unwrap().policy);

    #[test]
    fn every_profile_of_a_stream_is_read() {
        let profiles = unpack(&COMPILED).unwrap();
        let mut names: Vec<String> = profiles.iter().map(|profile| profile.name.to_string()).collect();
        assert_eq!(names.remove(0), "t");
        names.sort();
        assert_eq!(names, ["t//child", "t//hat", "u"]);
        let first = &profiles[0];
        assert_eq!((first.mode, first.path_flags), (Mode::Enforce, PATH_ATTACH_DISCONNECTED));
        assert_eq!(first.capabilities, 1 | 1 << 39);
        assert_eq!(first.transitions, [BytePath::from("other")]);
        let last = profiles.iter().find(|profile| profile.name == "u".into()).unwrap();
        assert_eq!(last.mode, Mode::Kill);
        assert!(!last.file_perms(b"/a", Subject::Owner).allows(crate::apparmor::perms::READ));
    }

    #[test]
    fn what_is_no_policy_is_an_error() {
        for bytes in [&b""[..], b"x", b"\x04\x08\0version\0\x02\x07\x20\x20\0", b"\0\0\0\0"] {
            assert!(unpack(bytes).is_err(), "{bytes:?}");
        }
        for end in 0..COMPILED.len().min(600) {
            assert!(unpack(&COMPILED[..end]).is_err(), "cut off at {end}");
        }
    }

    #[test]
    fn every_way_to_write_the_tables_gives_the_same_answers() {
        let built_in = Features::built_in().unwrap();
        let features = std::fs::read_to_string(built_in.path()).unwrap();
        let differences = features.replace("policy {", "policy {diff_encode {yes\n}\n");
        let plain = unpack(&COMPILED).unwrap();
        for (features, options) in [(&features, "equiv"), (&differences, "minimize"), (&differences, "equiv")]
        {
            let compiled = testing::compile_optimized(TEXT, features, options);
            assert_ne!(compiled, *COMPILED);
            let other = unpack(&compiled).unwrap();
            let paths =
                (0..=255).flat_map(|b| [vec![b'/', b], vec![b'/', b'a', b'/', b], vec![b'/', b'b', b]]);
            for path in paths.chain([b"/b".to_vec(), b"/bin/x".to_vec(), b"/c".to_vec(), b"/d".to_vec()]) {
                for subject in [Subject::Owner, Subject::Other] {
                    assert_eq!(plain[0].file_perms(&path, subject), other[0].file_perms(&path, subject));
                    assert_eq!(
                        plain[0].allows_link(b"/c", &path, subject),
                        other[0].allows_link(b"/c", &path, subject)
                    );
                }
            }
            for family in 0..50 {
                assert_eq!(plain[0].allows_socket(family, 1), other[0].allows_socket(family, 1), "{family}");
            }
        }
    }

    #[test]
    fn an_item_of_a_newer_format_is_an_error() {
        let mut bytes = COMPILED.clone();
        let at = bytes.windows(6).position(|part| part == b"caps64").unwrap();
        bytes[at + 5] = b'5';
        assert!(unpack(&bytes).unwrap_err().to_string().contains("caps65"));
    }

    /// Walks everything that a replay walks.
    fn walk(profiles: &[Profile]) {
        for profile in profiles {
            for path in [&b"/a/b"[..], b"/bin/x", b"/b", b"", b"/\xff\0"] {
                for subject in [Subject::Owner, Subject::Other] {
                    let _ = profile.file_perms(path, subject).transition(profile);
                    let _ = profile.allows_link(path, b"/d", subject);
                }
            }
            let _ = profile.allows_socket(2, 1);
            let _ = profile.allows_capability(u32::MAX);
        }
    }

    proptest! {
        #[test]
        fn damaged_policy_never_panics(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20),
            cut in prop::option::of(any::<prop::sample::Index>()),
        ) {
            let mut bytes = COMPILED.clone();
            for (at, value) in changes {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
            if let Some(cut) = cut {
                bytes.truncate(cut.index(bytes.len()));
            }
            if let Ok(profiles) = unpack(&bytes) {
                walk(&profiles);
            }
        }

        #[test]
        fn random_bytes_never_panic(bytes: Vec<u8>, header: bool) {
            let magic: &[u8] = if header { &[0x1b, 0x5e, 0x78, 0x3d, 0, 0, 0, 16] } else { &[] };
            if let Ok(dfa) = Dfa::parse(&[magic, &bytes].concat()) {
                let _ = dfa.accept(dfa.walk(State::START, b"/a"));
            }
            let _ = unpack(&bytes);
        }
    }
}
