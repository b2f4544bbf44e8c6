//! Replays system calls through the compiled filter.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use libseccomp::ScmpSyscall;

use super::{Blocked, Kind, Unproven, Verdicts};
use crate::{
    error::Result,
    recording::printable,
    requirements::{Evidence, Requirements, SyscallNeed},
    seccomp::{
        arch::Arch,
        bpf::{Action, Call, Outcome},
        capabilities::Capabilities,
        compile::{Filter, compile},
        profile::{self, Profile, Rule},
        runtime::Runtime,
    },
};

const ENOSYS: Action = Action::Errno(38);

/// The container that the profile is for.
#[derive(Debug, Clone)]
pub struct Container {
    /// Who loads the filter.
    pub runtime: Runtime,
    /// Whether it runs with `no_new_privs`.
    pub no_new_privileges: bool,
    /// Its bounding capabilities, where they are known; Docker's profiles have rules that depend on them.
    pub capabilities: Option<Capabilities>,
}

impl Container {
    /// One of which only the runtime is known.
    pub fn of(runtime: Runtime) -> Self {
        Self { runtime, no_new_privileges: false, capabilities: None }
    }
}

/// Replays every recorded system call, and with a runtime the calls that it makes itself, against the seccomp
/// profile in `file`, compiled as that runtime compiles it.
pub fn verify(needs: &Requirements, file: &Path, container: &Container) -> Result<Verdicts> {
    replay(needs, profile::load(file)?, container)
}

/// [`verify`] for a profile that has been read already.
pub fn replay(needs: &Requirements, mut profile: Profile, container: &Container) -> Result<Verdicts> {
    let runtime = container.runtime;
    if let Some(capabilities) = &container.capabilities {
        profile.resolve(capabilities, None);
    }
    let profile = &profile;
    let filter = compile(profile, runtime.answers_enosys())?;
    let mut replay = Replay {
        filter: &filter,
        uncertain: profile.uncertain(),
        profile,
        verdicts: Verdicts { notes: profile.notes.clone(), ..Verdicts::default() },
    };
    if needs.unobserved.contains("syscalls") {
        replay.unproven("system calls", "a recording could not observe them on its host");
    }
    if needs.syscalls.is_empty() {
        replay.unproven("system calls", "the recordings hold none");
    }
    for ((arch, name), need) in &needs.syscalls {
        replay.need(arch, name, need);
    }
    if let Some(base) = runtime.base(container.no_new_privileges)? {
        // runc whoever called it: Docker starts no container itself.
        let who = if runtime == Runtime::Crun { "crun" } else { "runc" };
        let evidence = Evidence { by: [who.into()].into(), ..Evidence::default() };
        for name in &base.required {
            let values =
                base.limit(name).map(|l| l.required.iter().map(|v| [(l.index, *v)].into()).collect());
            match number(name) {
                Some(nr) => values
                    .unwrap_or_else(|| vec![BTreeMap::new()])
                    .iter()
                    .for_each(|tuple| replay.call(Arch::X8664, name, nr, tuple, &evidence)),
                None => replay.unproven(name, "this libseccomp does not know the call"),
            }
        }
    }
    let mut verdicts = replay.verdicts;
    note_unknown(&filter, &mut verdicts.notes);
    verdicts.blocked.sort();
    verdicts.blocked.dedup();
    verdicts.unproven.sort();
    verdicts.unproven.dedup();
    Ok(verdicts)
}

/// The x86-64 number of a base call.
fn number(name: &str) -> Option<u32> {
    number_on(Arch::X8664, name)
}

/// The number of a call on an architecture that has it.
fn number_on(arch: Arch, name: &str) -> Option<u32> {
    let call = ScmpSyscall::from_name_by_arch(name, arch.scmp()).ok()?;
    u32::try_from(call.as_raw_syscall()).ok()
}

fn note_unknown(filter: &Filter, notes: &mut Vec<String>) {
    if filter.unknown.is_empty() {
        return;
    }
    let names: Vec<String> = filter.unknown.iter().map(|name| printable(name)).collect();
    let version = libseccomp::ScmpVersion::current().map_or_else(|_| String::new(), |v| format!(" {v}"));
    notes.push(format!(
        "libseccomp{version} does not know {}: a runtime built with it ignores these names",
        names.join(", ")
    ));
}

struct Replay<'a> {
    filter: &'a Filter,
    uncertain: BTreeMap<&'a str, Vec<&'a Rule>>,
    profile: &'a Profile,
    verdicts: Verdicts,
}

impl Replay<'_> {
    fn need(&mut self, arch_name: &str, name: &str, need: &SyscallNeed) {
        let Some(arch) = Arch::from_name(arch_name) else {
            self.verdicts.checked.seccomp += 1;
            self.unproven(
                &printable(name),
                &format!("filters for the architecture {arch_name:?} can't be interpreted"),
            );
            return;
        };
        if !need.succeeded && name == format!("syscall_{}", need.nr) {
            // No profile can name it, and it never worked: what it gets instead is worth a note, not a verdict.
            self.verdicts.checked.seccomp += 1;
            let outcome = self.outcome(arch, need.nr, &BTreeMap::new());
            if !need.only_enosys() || outcome.actions != BTreeSet::from([ENOSYS]) {
                self.verdicts.notes.push(format!(
                    "system call number {} on {arch_name} never succeeded and has no known name; it gets {}",
                    need.nr,
                    describe(&outcome)
                ));
            }
            return;
        }
        if need.only_enosys() && self.outcome(arch, need.nr, &BTreeMap::new()).actions == [ENOSYS].into() {
            // The filter answers as the kernel did.
            self.verdicts.checked.seccomp += 1;
            return;
        }
        if name == "clone3" && self.falls_back_to_clone(arch, need) {
            return;
        }
        // What was recorded for clone3 comes from memory; its registers are pointers.
        if need.args.is_empty() || name == "clone3" {
            self.call(arch, name, need.nr, &BTreeMap::new(), &need.evidence);
        } else {
            for (tuple, evidence) in &need.args {
                self.call(arch, name, need.nr, tuple, evidence);
            }
        }
    }

    /// Replays one call and keeps the verdict.
    fn call(&mut self, arch: Arch, name: &str, nr: u32, tuple: &BTreeMap<u8, u64>, evidence: &Evidence) {
        self.verdicts.checked.seccomp += 1;
        let outcome = self.outcome(arch, nr, tuple);
        let foreign = if arch == Arch::X8664 { String::new() } else { format!(" on {}", arch.name()) };
        let shown = format!("{}{}{foreign}", printable(name), arguments(tuple));
        let uncertain = self.uncertain.get(name).map(Vec::as_slice).unwrap_or_default();
        if let Some(depends_on) = undecided(&outcome, uncertain) {
            self.unproven(&shown, &format!("the profile has a rule for it that depends on {depends_on}"));
        } else if outcome.never_goes_on() {
            let needed_by = if evidence.by.is_empty() {
                vec![evidence.who()]
            } else {
                evidence.by.iter().map(ToString::to_string).collect()
            };
            let rule = self.remedy(arch, name, nr, tuple);
            self.verdicts.blocked.push(Blocked {
                kind: Kind::Seccomp,
                what: format!("{shown} → {}", describe(&outcome)),
                needed_by,
                rule,
            });
        } else if !outcome.always_goes_on() {
            let why = if !outcome.explored {
                "the filter is too large to explore without the arguments".to_owned()
            } else if outcome.actions.len() == 1 {
                format!("the filter leaves it to {}", describe(&outcome))
            } else {
                format!(
                    "the filter decides by arguments that the recording does not hold: {}",
                    describe(&outcome)
                )
            };
            self.unproven(&shown, &why);
        }
    }

    fn outcome(&self, arch: Arch, nr: u32, tuple: &BTreeMap<u8, u64>) -> Outcome {
        let mut args = [None; 6];
        for (index, value) in tuple {
            if let Some(slot) = args.get_mut(usize::from(*index)) {
                *slot = Some(*value);
            }
        }
        self.filter.program.outcome(&Call { nr: arch.number(nr), arch: arch.audit(), args })
    }

    /// What to add to the profile.
    fn remedy(&self, arch: Arch, name: &str, nr: u32, tuple: &BTreeMap<u8, u64>) -> String {
        let known = !self.filter.unknown.contains(name);
        let name = printable(name);
        if !known {
            return format!("none: \"{name}\" is in the profile, but this libseccomp does not know it");
        }
        if !self.lists(arch) {
            return format!("\"architectures\": add \"{}\"", arch.oci());
        }
        // With other arguments the call goes on: the name is there, the condition is missing.
        let limited =
            !tuple.is_empty() && self.outcome(arch, nr, &BTreeMap::new()).actions.iter().any(|a| a.goes_on());
        if limited {
            let conditions: Vec<String> = tuple
                .iter()
                .map(|(index, value)| format!("argument {index} = {}", number_text(*value)))
                .collect();
            return format!("\"{name}\" with {}", conditions.join(" and "));
        }
        format!("\"{name}\"")
    }

    /// Whether the filter has rules for the architecture. The native one always has.
    fn lists(&self, arch: Arch) -> bool {
        arch.scmp() == libseccomp::ScmpArch::native()
            || self.profile.architectures.iter().any(|a| a == arch.oci())
    }

    fn unproven(&mut self, what: &str, why: &str) {
        self.verdicts.unproven.push(Unproven { kind: Kind::Seccomp, what: what.into(), why: why.into() });
    }
}

/// What the answer depends on, when a rule that is there in some containers only could change it.
fn undecided(outcome: &Outcome, uncertain: &[&Rule]) -> Option<String> {
    let could_change = |rule: &&&Rule| {
        let admits = matches!(rule.action.action.as_str(), "SCMP_ACT_ALLOW" | "SCMP_ACT_LOG");
        // One more rule that admits can't take away what is admitted.
        !(admits && outcome.always_goes_on())
    };
    let depends: BTreeSet<String> = uncertain
        .iter()
        .filter(could_change)
        .flat_map(|rule| &rule.depends_on)
        .map(ToString::to_string)
        .collect();
    let depends: Vec<String> = depends.into_iter().collect();
    (!depends.is_empty()).then(|| depends.join(" and "))
}

fn describe(outcome: &Outcome) -> String {
    let actions: Vec<String> = outcome.actions.iter().map(ToString::to_string).collect();
    if actions.is_empty() { "an undecided answer".into() } else { actions.join(" or ") }
}

/// `(1, _, 0x80000)`: the recorded positions, and a gap for those that were not.
fn arguments(tuple: &BTreeMap<u8, u64>) -> String {
    let Some(last) = tuple.keys().next_back() else { return String::new() };
    let shown: Vec<String> =
        (0..=*last).map(|index| tuple.get(&index).map_or_else(|| "_".into(), |v| number_text(*v))).collect();
    format!("({})", shown.join(", "))
}

/// Small numbers are counts and families, large ones are flags.
fn number_text(value: u64) -> String {
    if value < 1000 { value.to_string() } else { format!("{value:#x}") }
}

mod clone3;
#[cfg(test)]
mod tests;
