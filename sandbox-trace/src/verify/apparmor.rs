//! Replays file accesses, sockets and capabilities through the compiled AppArmor profile.

use std::{collections::BTreeSet, path::Path};

use super::{Blocked, Checked, Kind, Unproven, Verdicts};
use crate::{
    apparmor::{
        compiler, network,
        pattern::Pattern,
        perms::{self, Subject, Transition},
        policy::{self, Mode, Profile},
        rule,
    },
    error::Result,
    linux,
    recording::{Access, BytePath},
    requirements::{Evidence, FileNeed, Requirements},
};

/// System calls that a profile also decides about, by rules that the replay has no facts for.
const NOT_REPLAYED: [(&str, &str); 6] = [
    ("mount", "mount"),
    ("umount2", "umount"),
    ("umount", "umount"),
    ("pivot_root", "pivot_root"),
    ("ptrace", "ptrace"),
    ("process_vm_readv", "ptrace"),
];

/// Replays the needs against the AppArmor profile in `file`, compiled for the kernel whose feature directory is
/// `features` (the host's own when absent, else Linux 6.1's).
pub fn verify(needs: &Requirements, file: &Path, features: Option<&Path>) -> Result<Verdicts> {
    let compiled = compiler::compile_file(file, features)?;
    let profiles = policy::unpack(&compiled.policy)?;
    let mut verdicts = Verdicts { notes: compiled.notes, ..Verdicts::default() };
    let Some(profile) = chosen(&profiles) else { return Ok(verdicts) };
    if profiles.len() > 1 {
        verdicts.notes.push(format!(
            "{} holds {} profiles; the first, {}, was replayed",
            file.display(),
            profiles.len(),
            profile.name
        ));
    }
    replay(needs, profile, &mut verdicts);
    Ok(verdicts)
}

/// The first profile that is not the child of another.
pub(crate) fn chosen(profiles: &[Profile]) -> Option<&Profile> {
    let is_child = |profile: &&Profile| profile.name.as_bytes().windows(2).any(|pair| pair == b"//");
    profiles.iter().find(|profile| !is_child(profile)).or_else(|| profiles.first())
}

/// Replays the needs against one compiled profile.
pub fn replay(needs: &Requirements, profile: &Profile, verdicts: &mut Verdicts) {
    verdicts.merge(Verdicts { notes: notes(needs, profile), ..Verdicts::default() });
    let mut out = Verdicts { checked: counts(needs), ..Verdicts::default() };
    // A profile in this mode is asked nothing, so it blocks nothing.
    if profile.mode != Mode::Unconfined {
        for ((path, target), need) in &needs.files {
            replay_file(profile, path, target.as_ref(), need, &mut out);
        }
        for (key, evidence) in &needs.network {
            let (family, socket_type) = (key.family.0, key.socket_type.0);
            if !profile.allows_socket(family, socket_type) {
                out.blocked.push(Blocked {
                    kind: Kind::Network,
                    what: format!("socket {} {}", shown(&key.family.1), shown(&key.socket_type.1)),
                    needed_by: who([evidence]),
                    rule: network::rule(family, socket_type).unwrap_or_else(|| "no rule can allow it".into()),
                });
            }
        }
        for (name, (number, evidence)) in &needs.capabilities {
            if !profile.allows_capability(*number) {
                out.blocked.push(Blocked {
                    kind: Kind::Capability,
                    what: format!("capability {}", shown(name)),
                    needed_by: who([evidence]),
                    rule: linux::capability(*number)
                        .map_or_else(|| "no rule can allow it".into(), |name| format!("capability {name},")),
                });
            }
        }
    }
    verdicts.merge(out);
}

fn counts(needs: &Requirements) -> Checked {
    let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    Checked {
        seccomp: 0,
        files: count(needs.files.len()),
        network: count(needs.network.len()),
        capabilities: count(needs.capabilities.len()),
    }
}

fn notes(needs: &Requirements, profile: &Profile) -> Vec<String> {
    let mut notes = Vec::new();
    match profile.mode {
        Mode::Enforce | Mode::Kill => {}
        Mode::Complain => notes.push(format!(
            "{} is in complain mode: it blocks nothing until it is enforced; the verdicts are for then",
            profile.name
        )),
        Mode::Unconfined => {
            notes.push(format!("{} is in unconfined mode: it blocks nothing, ever", profile.name));
        }
    }
    for kind in ["files", "network", "capabilities"] {
        if needs.unobserved.contains(kind) {
            notes.push(format!("{kind} were not observed by the recording: nothing is proven about them"));
        }
    }
    let classes: BTreeSet<&str> = NOT_REPLAYED
        .iter()
        .filter(|(call, _)| needs.syscalls.keys().any(|(_, name)| name == call))
        .map(|(_, class)| *class)
        .collect();
    for class in classes {
        notes.push(format!("{class} was called; the profile's {class} rules are not replayed"));
    }
    notes
}

/// What one subject gets.
#[derive(Debug, Default)]
struct Answer {
    denied: Access,
    /// What an execution changes the label to, if it does.
    changes: Option<String>,
}

fn replay_file(
    profile: &Profile,
    path: &BytePath,
    target: Option<&BytePath>,
    need: &FileNeed,
    out: &mut Verdicts,
) {
    let shown = describe(path, target, need.access);
    let mut unproven =
        |what: String, why: String| out.unproven.push(Unproven { kind: Kind::File, what, why });
    if path.as_bytes().first() != Some(&b'/') {
        unproven(shown, "the path does not reach the target's root; a kernel denies it, or with attach_disconnected gives it another name".into());
        return;
    }
    if need.access.contains(Access::LINK) && target.is_none() {
        unproven(shown.clone(), "the recording does not say what it was linked to".into());
    }
    let subjects: &[Subject] = match need.owner {
        Some(true) => &[Subject::Owner],
        Some(false) => &[Subject::Other],
        None => &[Subject::Owner, Subject::Other],
    };
    let answers: Vec<Answer> =
        subjects.iter().map(|subject| ask(profile, path, target, need.access, *subject)).collect();
    let everyone = need.access.iter().filter(|one| answers.iter().all(|a| a.denied.contains(*one)));
    let denied = everyone.fold(Access::none(), |all, one| all | one);
    let differing = need
        .access
        .iter()
        .filter(|one| !denied.contains(*one) && answers.iter().any(|a| a.denied.contains(*one)))
        .fold(Access::none(), |all, one| all | one);
    if !differing.is_empty() {
        unproven(
            describe(path, target, differing),
            "the profile allows it to the file's owner or to others only, and the recording does not say whose the file was".into(),
        );
    }
    if let Some(changes) = answers.into_iter().find_map(|answer| answer.changes) {
        unproven(
            describe(path, None, Access::EXEC),
            format!(
                "it would run under {changes}, which is not replayed; with no_new_privs it fails with EPERM"
            ),
        );
    }
    if !denied.is_empty() {
        out.blocked.push(Blocked {
            kind: Kind::File,
            what: describe(path, target, denied),
            needed_by: who(need.evidence.iter().filter(|(one, _)| denied.intersects(**one)).map(|(_, e)| e)),
            rule: rule_for(path, target, denied),
        });
    }
}

fn ask(
    profile: &Profile,
    path: &BytePath,
    target: Option<&BytePath>,
    access: Access,
    subject: Subject,
) -> Answer {
    let granted = profile.file_perms(path.as_bytes(), subject);
    let mut answer = Answer::default();
    for one in access.iter() {
        let allowed = if one == Access::EXEC {
            match granted.transition(profile) {
                Transition::None => false,
                Transition::Inherit => true,
                Transition::Changes(what) => {
                    answer.changes = Some(what);
                    true
                }
            }
        } else if one == Access::LINK {
            // Without the target it is unproven, and reported as that.
            target.is_none_or(|target| profile.allows_link(path.as_bytes(), target.as_bytes(), subject))
        } else {
            granted.allows(request(one))
        };
        if !allowed {
            answer.denied |= one;
        }
    }
    answer
}

/// What the kernel asks the file automaton for: creating, deleting and changing attributes all come from `w`.
fn request(one: Access) -> u32 {
    match one {
        Access::READ => perms::READ,
        Access::APPEND => perms::APPEND,
        Access::MAP_EXEC => perms::MAP_EXEC,
        Access::LOCK => perms::LOCK,
        _ => perms::WRITE,
    }
}

fn describe(path: &BytePath, target: Option<&BytePath>, access: Access) -> String {
    match target.filter(|_| access.contains(Access::LINK)) {
        Some(target) => format!("{path} {access} -> {target}"),
        None => format!("{path} {access}"),
    }
}

/// The rules that would allow it; an id of a process is written as the variable for it.
fn rule_for(path: &BytePath, target: Option<&BytePath>, denied: Access) -> String {
    let pattern = match Pattern::of_path(path.as_bytes()) {
        Ok(pattern) => pattern,
        Err(error) => return error.to_string(),
    };
    let rest = denied.iter().filter(|one| *one != Access::LINK).fold(Access::none(), |all, one| all | one);
    let mut rules = Vec::new();
    if !rest.is_empty() {
        rules.push(rule::file(&pattern, rest));
    }
    if denied.contains(Access::LINK)
        && let Some(target) = target
    {
        match Pattern::of_path(target.as_bytes()) {
            Ok(target) => rules.push(rule::link(&pattern, &target)),
            Err(error) => rules.push(error.to_string()),
        }
    }
    rules.join(" ")
}

/// A name from the recording as it may be printed: the file may hold anything.
fn shown(name: &str) -> String {
    BytePath::from(name).to_string()
}

fn who<'a>(evidence: impl IntoIterator<Item = &'a Evidence>) -> Vec<String> {
    let by: BTreeSet<&BytePath> = evidence.into_iter().flat_map(|evidence| &evidence.by).collect();
    by.into_iter()
        .map(|path| if path.is_empty() { "an unnamed executable".into() } else { path.to_string() })
        .collect()
}

#[cfg(test)]
mod tests;
