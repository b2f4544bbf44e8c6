//! Replays system calls through the compiled filter.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

pub use super::filters::Container;
use super::{
    Blocked, Kind, Unproven, Verdicts,
    filters::{Answer, Filters, arguments, describe, number, registers},
};
use crate::{
    error::Result,
    recording::printable,
    requirements::{Evidence, Requirements, SyscallNeed},
    seccomp::{
        arch::Arch,
        bpf::{Action, Outcome},
        profile::Profile,
        runtime::Runtime,
    },
};

const ENOSYS: Action = Action::Errno(38);

/// Replays every recorded system call, and with a runtime the calls that it makes itself, against the seccomp
/// profile in `file`, compiled as that runtime compiles it.
pub fn verify(needs: &Requirements, file: &Path, container: &Container) -> Result<Verdicts> {
    against(needs, &Filters::load(&[file], container)?, container)
}

/// [`verify`] for a profile that has been read already.
pub fn replay(needs: &Requirements, profile: Profile, container: &Container) -> Result<Verdicts> {
    against(needs, &Filters::of(vec![("the profile".into(), profile)], container)?, container)
}

/// [`verify`] for filters that are in force together.
pub fn against(needs: &Requirements, filters: &Filters, container: &Container) -> Result<Verdicts> {
    let runtime = container.runtime;
    let mut replay = Replay { filters, verdicts: Verdicts { notes: filters.notes(), ..Verdicts::default() } };
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
            match number(name, Arch::X8664) {
                Some(nr) => values
                    .unwrap_or_else(|| vec![BTreeMap::new()])
                    .iter()
                    .for_each(|tuple| replay.call(Arch::X8664, name, nr, tuple, &evidence)),
                None => replay.unproven(name, "this libseccomp does not know the call"),
            }
        }
    }
    let mut verdicts = replay.verdicts;
    verdicts.blocked.sort();
    verdicts.blocked.dedup();
    verdicts.unproven.sort();
    verdicts.unproven.dedup();
    Ok(verdicts)
}

struct Replay<'a> {
    filters: &'a Filters,
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
            let outcome = self.outcome(arch, need.nr);
            if !need.only_enosys() || outcome.actions != BTreeSet::from([ENOSYS]) {
                self.verdicts.notes.push(format!(
                    "system call number {} on {arch_name} never succeeded and has no known name; it gets {}",
                    need.nr,
                    describe(&outcome)
                ));
            }
            return;
        }
        if need.only_enosys() && self.outcome(arch, need.nr).actions == [ENOSYS].into() {
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
        let foreign = if arch == Arch::X8664 { String::new() } else { format!(" on {}", arch.name()) };
        let shown = format!("{}{}{foreign}", printable(name), arguments(tuple));
        match self.filters.answer(name, &registers(arch, nr, tuple)) {
            Answer::GoesOn => {}
            Answer::Unsettled(on) => {
                self.unproven(&shown, &format!("the profile has a rule for it that depends on {on}"));
            }
            Answer::Blocked(outcome) => {
                let needed_by = if evidence.by.is_empty() {
                    vec![evidence.who()]
                } else {
                    evidence.by.iter().map(ToString::to_string).collect()
                };
                let rule = self.filters.remedy(arch, name, nr, tuple);
                self.verdicts.blocked.push(Blocked {
                    kind: Kind::Seccomp,
                    what: format!("{shown} → {}", describe(&outcome)),
                    needed_by,
                    rule,
                });
            }
            Answer::Depends(outcome) => {
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
    }

    fn outcome(&self, arch: Arch, nr: u32) -> Outcome {
        self.filters.outcome(&registers(arch, nr, &BTreeMap::new()))
    }

    fn unproven(&mut self, what: &str, why: &str) {
        self.verdicts.unproven.push(Unproven { kind: Kind::Seccomp, what: what.into(), why: why.into() });
    }
}

mod clone3;
#[cfg(test)]
mod tests;
