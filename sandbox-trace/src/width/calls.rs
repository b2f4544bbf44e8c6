//! System calls that a compiled filter lets through.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    error::Result,
    requirements::Requirements,
    schemas::keywords::keys,
    seccomp::{
        arch::Arch,
        bpf::{Action, Call, Outcome},
        compile::{Filter, compile},
        profile::Profile,
    },
};

/// What Docker's default profile admits on x86-64 with Docker's default capabilities, those limited by arguments
/// among them. Source: moby/profiles, seccomp/default.json (2025), through libseccomp 2.5.4.
pub const DOCKER_DEFAULT: usize = 301;

/// The system calls of x86-64.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Syscalls {
    /// How many the filter lets through, with any arguments or with some.
    pub allowed: usize,
    /// How many the recordings made; null without recordings.
    pub used: Option<usize>,
    /// How many Docker's default profile lets through.
    pub docker_default: usize,
    /// How many there are, as far as this version knows.
    pub of: usize,
    /// Those that are allowed with some arguments only; among the allowed ones.
    pub limited_by_arguments: Vec<&'static str>,
    /// Those that a tracer or supervisor decides about: not among the allowed ones.
    pub supervised: Vec<&'static str>,
    /// Those that are allowed and that no recording made; null without recordings.
    pub unused: Option<Vec<&'static str>>,
    /// Calls that the filter lets through by other doors of the same kernel; without those that it lets none through.
    #[schemars(transform = keys([Arch::I386, Arch::X32].map(Arch::name)))]
    pub other_architectures: BTreeMap<&'static str, usize>,
}

/// What a filter does with a call whose arguments may be any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Allowed,
    Limited,
    Supervised,
    Denied,
}

impl Answer {
    fn of(outcome: &Outcome) -> Self {
        if outcome.always_goes_on() {
            Self::Allowed
        } else if !outcome.explored || outcome.actions.iter().any(|action| action.goes_on()) {
            Self::Limited
        } else if outcome.actions.iter().any(|action| matches!(action, Action::Trace | Action::Notify)) {
            Self::Supervised
        } else {
            Self::Denied
        }
    }

    fn is_admitted(self) -> bool {
        matches!(self, Self::Allowed | Self::Limited)
    }
}

/// Asks the compiled profile about every call that this version knows.
pub fn measure(profile: &Profile, needs: Option<&Requirements>, notes: &mut Vec<String>) -> Result<Syscalls> {
    // Which error a refused call gets does not matter here, so runc's own answers are left out.
    let filter = compile(profile, false)?;
    let depending: BTreeSet<String> = profile
        .uncertain()
        .into_values()
        .flatten()
        .flat_map(|rule| &rule.depends_on)
        .map(ToString::to_string)
        .collect();
    if !depending.is_empty() {
        notes.push(format!(
            "rules that depend on {} are not counted; --capabilities says which the container has",
            depending.into_iter().collect::<Vec<_>>().join(", ")
        ));
    }
    let used: Option<BTreeSet<&str>> = needs.map(|needs| {
        needs
            .syscalls
            .keys()
            .filter(|(arch, _)| arch == Arch::X8664.name())
            .map(|(_, name)| name.as_str())
            .collect()
    });
    let mut out = Syscalls {
        docker_default: DOCKER_DEFAULT,
        used: used.as_ref().map(BTreeSet::len),
        unused: used.as_ref().map(|_| Vec::new()),
        ..Syscalls::default()
    };
    for call in syscalls::x86_64::Sysno::iter() {
        let answer = ask(&filter, Arch::X8664, call.id());
        let name = call.name();
        out.of += 1;
        out.allowed += usize::from(answer.is_admitted());
        match answer {
            Answer::Limited => out.limited_by_arguments.push(name),
            Answer::Supervised => out.supervised.push(name),
            Answer::Allowed | Answer::Denied => {}
        }
        if answer.is_admitted()
            && used.as_ref().is_some_and(|used| !used.contains(name))
            && let Some(unused) = &mut out.unused
        {
            unused.push(name);
        }
    }
    for list in [&mut out.limited_by_arguments, &mut out.supervised].into_iter().chain(&mut out.unused) {
        list.sort_unstable();
    }
    let i386 = syscalls::x86::Sysno::iter().map(|call| (Arch::I386, call.id()));
    // x32 shares the numbers of x86-64, and has some of its own from 512 on.
    let x32 =
        syscalls::x86_64::Sysno::iter().map(|call| call.id()).chain(512..=547).map(|nr| (Arch::X32, nr));
    for (arch, nr) in i386.chain(x32) {
        if ask(&filter, arch, nr).is_admitted() {
            *out.other_architectures.entry(arch.name()).or_default() += 1;
        }
    }
    Ok(out)
}

fn ask(filter: &Filter, arch: Arch, nr: i32) -> Answer {
    let Ok(nr) = u32::try_from(nr) else { return Answer::Denied };
    Answer::of(&filter.program.outcome(&Call { nr: arch.number(nr), arch: arch.audit(), args: [None; 6] }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{recording::samples, requirements, seccomp::profile::from_json};

    fn width(json: &str, used: &[&str]) -> Syscalls {
        let needs = requirements::fold(&[("r".into(), samples::calls(used))], false).unwrap();
        measure(&from_json(json.as_bytes(), "p").unwrap(), Some(&needs), &mut Vec::new()).unwrap()
    }

    #[test]
    fn calls_are_allowed_limited_supervised_or_denied() {
        let json = r#"{"defaultAction":"SCMP_ACT_ERRNO","architectures":["SCMP_ARCH_X86_64"],"syscalls":[
            {"names":["read","write","no_such_call"],"action":"SCMP_ACT_ALLOW"},
            {"names":["mount"],"action":"SCMP_ACT_TRACE"},
            {"names":["sync"],"action":"SCMP_ACT_LOG"},
            {"names":["socket"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":1,"op":"SCMP_CMP_EQ"}]}]}"#;
        let width = width(json, &["read", "getpid"]);
        assert_eq!((width.allowed, width.used, width.docker_default), (4, Some(2), 301));
        assert_eq!(width.limited_by_arguments, ["socket"]);
        assert_eq!(width.supervised, ["mount"]);
        assert_eq!(width.unused, Some(vec!["socket", "sync", "write"]));
        assert!(width.other_architectures.is_empty(), "{:?}", width.other_architectures);
        assert!(width.of > 360, "{}", width.of);
    }

    #[test]
    fn other_architectures_are_other_doors() {
        let json = r#"{"defaultAction":"SCMP_ACT_ERRNO","architectures":["SCMP_ARCH_X86_64","SCMP_ARCH_X86","SCMP_ARCH_X32"],
            "syscalls":[{"names":["read"],"action":"SCMP_ACT_ALLOW"}]}"#;
        assert_eq!(width(json, &["read"]).other_architectures, [("i386", 1), ("x32", 1)].into());
        let all = width(r#"{"defaultAction":"SCMP_ACT_ALLOW"}"#, &["read"]);
        assert_eq!(all.allowed, all.of);
    }

    #[test]
    fn a_rule_that_may_not_be_there_is_said() {
        let json = r#"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[
            {"names":["mount"],"action":"SCMP_ACT_ALLOW","includes":{"caps":["CAP_SYS_ADMIN"]}}]}"#;
        let mut notes = Vec::new();
        let width = measure(&from_json(json.as_bytes(), "p").unwrap(), None, &mut notes).unwrap();
        assert_eq!((width.allowed, width.used, width.unused), (0, None, None));
        assert!(notes.iter().any(|note| note.contains("CAP_SYS_ADMIN")), "{notes:?}");
    }
}
