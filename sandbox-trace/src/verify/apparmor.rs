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
    let (profile, notes) = load(file, features)?;
    let mut verdicts = Verdicts { notes, ..Verdicts::default() };
    replay(needs, &profile, &mut verdicts);
    Ok(verdicts)
}

/// The profile in `file`, compiled, with what readers should know of it.
pub fn load(file: &Path, features: Option<&Path>) -> Result<(Profile, Vec<String>)> {
    let compiled = compiler::compile_file(file, features)?;
    let mut profiles = policy::unpack(&compiled.policy)?;
    let mut notes = compiled.notes;
    let count = profiles.len();
    let profile = profiles.swap_remove(chosen(&profiles));
    if count > 1 {
        notes.push(format!(
            "{} holds {count} profiles; the first, {}, was replayed",
            file.display(),
            profile.name
        ));
    }
    Ok((profile, notes))
}

/// The position of the first profile that is not the child of another.
pub(crate) fn chosen(profiles: &[Profile]) -> usize {
    let is_child = |profile: &Profile| profile.name.as_bytes().windows(2).any(|pair| pair == b"//");
    profiles.iter().position(|profile| !is_child(profile)).unwrap_or(0)
}

/// Replays the needs against one compiled profile.
pub fn replay(needs: &Requirements, profile: &Profile, verdicts: &mut Verdicts) {
    verdicts.merge(Verdicts { notes: notes(needs, profile), ..Verdicts::default() });
    let mut out = Verdicts { checked: counts(needs), ..Verdicts::default() };
    if profile.mode == Mode::Unconfined {
        // A profile in this mode is asked nothing, so it blocks nothing.
        out.checked.files = u64::try_from(needs.files.len()).unwrap_or(u64::MAX);
    } else {
        for need in needs.files.iter() {
            out.checked.files += 1;
            replay_file(profile, &need, &mut out);
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

/// Of all but files, which are counted as they are replayed.
fn counts(needs: &Requirements) -> Checked {
    let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    Checked {
        seccomp: 0,
        files: 0,
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

fn replay_file(profile: &Profile, need: &FileNeed<'_>, out: &mut Verdicts) {
    let (path, target, access) = (need.path(), need.target(), need.access());
    let subjects: &[Subject] = match need.owner() {
        Some(true) => &[Subject::Owner],
        Some(false) => &[Subject::Other],
        None => &[Subject::Owner, Subject::Other],
    };
    let linked = access.contains(Access::LINK);
    let absolute = path.first() == Some(&b'/');
    if absolute && !linked && subjects.iter().all(|subject| is_free(profile, path, access, *subject)) {
        return;
    }
    let mut unproven =
        |what: String, why: String| out.unproven.push(Unproven { kind: Kind::File, what, why });
    if !absolute {
        unproven(describe(path, target, access), "the path does not reach the target's root; a kernel denies it, or with attach_disconnected gives it another name".into());
        return;
    }
    if linked && target.is_none() {
        let what = describe(path, target, access);
        unproven(what, "the recording does not say what it was linked to".into());
    }
    let answers: Vec<Answer> =
        subjects.iter().map(|subject| ask(profile, path, target, access, *subject)).collect();
    let denied = access.filter(|one| answers.iter().all(|a| a.denied.contains(one)));
    let differing =
        access.filter(|one| !denied.contains(one) && answers.iter().any(|a| a.denied.contains(one)));
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
            needed_by: who([&need.evidence(denied)]),
            rule: rule_for(path, target, denied),
        });
    }
}

/// Whether all of it is allowed and nothing has to be said: so it is with nearly every access of a good profile.
fn is_free(profile: &Profile, path: &[u8], access: Access, subject: Subject) -> bool {
    let granted = profile.file_perms(path, subject);
    let wanted = access.iter().filter(|one| *one != Access::EXEC).fold(0, |all, one| all | request(one));
    let executes = access.contains(Access::EXEC);
    granted.allows(wanted) && (!executes || granted.transition(profile) == Transition::Inherit)
}

fn ask(profile: &Profile, path: &[u8], target: Option<&[u8]>, access: Access, subject: Subject) -> Answer {
    let granted = profile.file_perms(path, subject);
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
            target.is_none_or(|target| profile.allows_link(path, target, subject))
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
pub(super) fn request(one: Access) -> u32 {
    match one {
        Access::READ => perms::READ,
        Access::APPEND => perms::APPEND,
        Access::MAP_EXEC => perms::MAP_EXEC,
        Access::LOCK => perms::LOCK,
        _ => perms::WRITE,
    }
}

fn describe(path: &[u8], target: Option<&[u8]>, access: Access) -> String {
    let path = BytePath::from(path);
    match target.filter(|_| access.contains(Access::LINK)) {
        Some(target) => format!("{path} {access} -> {}", BytePath::from(target)),
        None => format!("{path} {access}"),
    }
}

/// The rules that would allow it; an id of a process is written as the variable for it.
fn rule_for(path: &[u8], target: Option<&[u8]>, denied: Access) -> String {
    let pattern = match Pattern::of_path(path) {
        Ok(pattern) => pattern,
        Err(error) => return error.to_string(),
    };
    let rest = denied.filter(|one| one != Access::LINK);
    let mut rules = Vec::new();
    if !rest.is_empty() {
        rules.push(rule::file(&pattern, rest));
    }
    if denied.contains(Access::LINK)
        && let Some(target) = target
    {
        match Pattern::of_path(target) {
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
