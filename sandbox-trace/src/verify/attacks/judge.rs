//! Whether files deny attacks. A step fails if any of the files stops it, for all of them are in force together; a
//! step that no file could stop is one that succeeds.

use schemars::JsonSchema;
use serde::Serialize;

use super::{Attack, Step};
use crate::{
    apparmor::{
        mount::Mount,
        perms::{Subject, Transition},
        policy::{Mode, Profile},
    },
    linux,
    recording::{Access, printable},
    seccomp::{arch::Arch, capabilities::Capabilities},
    verify::{
        apparmor::request,
        filters::{Answer, Filters, arguments, describe, number, registers},
    },
};

/// `SOCK_CLOEXEC`.
const CLOSE_ON_EXEC: u64 = 0x8_0000;

/// What is in force.
#[derive(Debug, Clone, Copy, Default)]
pub struct Files<'a> {
    /// The seccomp filters.
    pub filters: Option<&'a Filters>,
    /// The `AppArmor` profile.
    pub apparmor: Option<&'a Profile>,
    /// The capabilities that the container is given.
    pub capabilities: Option<&'a Capabilities>,
}

/// What became of the attacks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "Attacks")]
pub struct Judged {
    /// How many attacks the files were asked about: the sum of `denied` and the lengths of `open` and `unproven`.
    pub checked: u64,
    /// How many of them are denied.
    pub denied: u64,
    /// Those that are possible, in the order of the list.
    pub open: Vec<Open>,
    /// Those of which it can't be told; `why` says what is missing.
    pub unproven: Vec<Named>,
    /// Those that are possible, and that no file of this kind can be blamed for. Not counted. `why` says what
    /// else helps.
    pub noted: Vec<Named>,
    /// Those that only a kind of file that was not given could deny. Not counted.
    pub not_asked: Vec<String>,
}

/// An attack that is possible.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Open {
    /// Its name.
    pub name: String,
    /// What it is dangerous for.
    pub why: String,
    /// The way that is open.
    pub how: String,
}

/// An attack, and what is to be said of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Named {
    /// Its name.
    pub name: String,
    /// Why it is in this list.
    pub why: String,
}

/// What becomes of a step, or of a way.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Fate {
    Denied,
    Succeeds,
    Unknown(String),
    /// None of the files is asked about it.
    NotAsked,
}

/// Asks the files about each attack, in the order of the list.
pub fn judge(attacks: &[Attack], files: Files<'_>) -> Judged {
    let mut out = Judged::default();
    for attack in attacks {
        let (name, why) = (printable(&attack.name), printable(&attack.why));
        let fates: Vec<Fate> = attack.ways.iter().map(|way| files.way(way)).collect();
        let open = attack.ways.iter().zip(&fates).find(|(_, fate)| **fate == Fate::Succeeds);
        let unknown = fates.iter().find_map(|fate| match fate {
            Fate::Unknown(why) => Some(why.clone()),
            _ => None,
        });
        let not_asked = fates.contains(&Fate::NotAsked);
        if let (Some(note), true) = (&attack.note, open.is_some() || unknown.is_some()) {
            out.noted.push(Named { name, why: printable(note) });
        } else if let Some((way, _)) = open {
            out.checked += 1;
            out.open.push(Open { name, why, how: how(way) });
        } else if let Some(why) = unknown {
            out.checked += 1;
            out.unproven.push(Named { name, why });
        } else if not_asked {
            out.not_asked.push(name);
        } else {
            out.checked += 1;
            out.denied += 1;
        }
    }
    out
}

impl Files<'_> {
    fn way(self, steps: &[Step]) -> Fate {
        let fates: Vec<Fate> = steps.iter().map(|step| self.step(step)).collect();
        if fates.contains(&Fate::Denied) {
            return Fate::Denied;
        }
        let unknown = fates.iter().find(|fate| matches!(fate, Fate::Unknown(_)));
        if let Some(unknown) = unknown {
            return unknown.clone();
        }
        if fates.contains(&Fate::Succeeds) { Fate::Succeeds } else { Fate::NotAsked }
    }

    fn step(self, step: &Step) -> Fate {
        match step {
            Step::Call { name, args, arch } => {
                self.filters.map_or(Fate::NotAsked, |filters| call(filters, name, args, *arch))
            }
            Step::File { path, access } => self.asked(|profile| file(profile, path.as_bytes(), *access)),
            Step::Capability { number, in_user_namespace } => {
                let by_profile = self.asked(|profile| profile.allows_capability(*number));
                let name = linux::capability(*number).unwrap_or_default().to_ascii_uppercase();
                let by_list = match self.capabilities.filter(|_| !in_user_namespace) {
                    None => Fate::NotAsked,
                    Some(given) if given.has(&format!("CAP_{name}")) => Fate::Succeeds,
                    Some(_) => Fate::Denied,
                };
                both(by_profile, by_list)
            }
            Step::Socket { family, socket_type } => {
                let by_call = self.filters.map_or(Fate::NotAsked, |filters| {
                    // With a flag the argument is another one: either way will do.
                    let kinds = [0, CLOSE_ON_EXEC].map(|flag| {
                        let args = [(0, u64::from(*family)), (1, u64::from(*socket_type) | flag)].into();
                        call(filters, "socket", &args, None)
                    });
                    let [plain, flagged] = kinds;
                    if plain == Fate::Denied || flagged == Fate::Succeeds { flagged } else { plain }
                });
                both(by_call, self.asked(|profile| profile.allows_socket(*family, *socket_type)))
            }
            Step::Mount { target, source, fstype, flags } => self.asked(|profile| {
                profile.allows_mount(&Mount {
                    target: target.as_bytes(),
                    source: source.as_bytes(),
                    fstype: fstype.as_bytes(),
                    flags: *flags,
                })
            }),
            Step::Umount { target } => self.asked(|profile| profile.allows_umount(target.as_bytes())),
        }
    }

    /// What the profile says, if there is one. In unconfined mode it is asked and denies nothing.
    fn asked(self, allows: impl Fn(&Profile) -> bool) -> Fate {
        match self.apparmor {
            None => Fate::NotAsked,
            Some(profile) if profile.mode == Mode::Unconfined || allows(profile) => Fate::Succeeds,
            Some(_) => Fate::Denied,
        }
    }
}

/// Two kinds of file about one step: a refusal of either is enough.
fn both(a: Fate, b: Fate) -> Fate {
    match (a, b) {
        (Fate::Denied, _) | (_, Fate::Denied) => Fate::Denied,
        (Fate::NotAsked, other) | (other, Fate::NotAsked) => other,
        (Fate::Unknown(why), _) | (_, Fate::Unknown(why)) => Fate::Unknown(why),
        (Fate::Succeeds, Fate::Succeeds) => Fate::Succeeds,
    }
}

/// A call by any of the kernel's entries: an attacker needs one.
fn call(
    filters: &Filters,
    name: &str,
    args: &std::collections::BTreeMap<u8, u64>,
    only: Option<Arch>,
) -> Fate {
    let mut fate = Fate::Denied;
    for arch in Arch::ALL.into_iter().filter(|arch| only.is_none_or(|only| only == *arch)) {
        let Some(nr) = number(name, arch) else { continue };
        match filters.answer(name, &registers(arch, nr, args)) {
            Answer::GoesOn => return Fate::Succeeds,
            Answer::Blocked(_) => {}
            Answer::Unsettled(on) => {
                fate = Fate::Unknown(format!("the profile has a rule for {name} that depends on {on}"));
            }
            Answer::Depends(outcome) => {
                fate = Fate::Unknown(if outcome.actions.len() == 1 {
                    format!("the filter leaves {name} to {}", describe(&outcome))
                } else {
                    format!("{name} is denied with some arguments only: {}", describe(&outcome))
                });
            }
        }
    }
    fate
}

/// Whether the owner of the file, or anyone else, gets all of the access.
fn file(profile: &Profile, path: &[u8], access: Access) -> bool {
    [Subject::Owner, Subject::Other].into_iter().any(|subject| {
        let granted = profile.file_perms(path, subject);
        access.iter().all(|one| {
            if one == Access::EXEC {
                granted.transition(profile) != Transition::None
            } else {
                granted.allows(request(one))
            }
        })
    })
}

/// A way as people read it.
fn how(way: &[Step]) -> String {
    way.iter().map(shown).collect::<Vec<_>>().join(", then ")
}

fn shown(step: &Step) -> String {
    match step {
        Step::Call { name, args, arch } => {
            let on = arch.map_or_else(String::new, |arch| format!(" on {}", arch.name()));
            format!("{}{}{on}", printable(name), arguments(args))
        }
        Step::File { path, access } => format!("{} {access}", printable(path)),
        Step::Capability { number, .. } => {
            format!("capability {}", linux::capability(*number).unwrap_or_default())
        }
        Step::Socket { family, socket_type } => format!(
            "socket {} {}",
            linux::family(*family).unwrap_or_default(),
            linux::socket_type(*socket_type).unwrap_or_default()
        ),
        Step::Mount { target, fstype, .. } => format!("mount {} on {}", printable(fstype), printable(target)),
        Step::Umount { target } => format!("umount {}", printable(target)),
    }
}
