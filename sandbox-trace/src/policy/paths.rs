//! Requirements for paths, sockets and capabilities → the rules that an AppArmor profile prints. Knows what may
//! be given; how it is written is the emitter's and `apparmor`'s business.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    danger::{self, Asked},
    danger_paths,
    generalize::{self, FileRule, Generalization},
};
use crate::{
    apparmor::{network, pattern::Pattern},
    error::{Error, Result},
    linux,
    recording::BytePath,
    requirements::{Evidence, Requirements, describe_losses},
};

/// How a policy is made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// How far rules go beyond what was recorded.
    pub generalize: Generalization,
    /// What is dangerous and given all the same: capabilities, paths, system calls, by name.
    pub allow: BTreeSet<String>,
    /// Leave out what no rule can express, instead of failing.
    pub allow_incomplete: bool,
}

/// What an AppArmor profile allows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AppArmorPolicy {
    /// By pattern. No pattern that matches more than one path gives execution.
    pub files: BTreeMap<Pattern, FileRule>,
    /// New name and existing name of hard links.
    pub links: BTreeSet<(Pattern, Pattern)>,
    /// Whole network rules.
    pub network: BTreeSet<String>,
    /// Names of capabilities.
    pub capabilities: BTreeSet<&'static str>,
    /// Rules of other classes, each given by `--allow`.
    pub given: BTreeSet<Given>,
    /// How far the rules go beyond what was recorded.
    pub generalize: Generalization,
    /// Which of files, network and capabilities the recordings did not observe.
    pub unobserved: BTreeSet<String>,
    /// What a reader of the profile must know about its gaps, in sentences.
    pub gaps: Vec<String>,
    /// What else a reader should know.
    pub notes: Vec<String>,
}

/// What a system call needs of a profile beside files, sockets and capabilities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Given {
    /// Any mount.
    Mount,
    /// Any unmount.
    Umount,
    /// Any change of the root file system.
    PivotRoot,
    /// Tracing processes of the same profile.
    Trace,
}

/// System calls whose class of rules is not part of a profile without `--allow`.
const GIVEN: &[(&str, Given)] = &[
    ("mount", Given::Mount),
    ("umount", Given::Umount),
    ("umount2", Given::Umount),
    ("pivot_root", Given::PivotRoot),
    ("ptrace", Given::Trace),
    ("process_vm_readv", Given::Trace),
    ("process_vm_writev", Given::Trace),
    ("pidfd_getfd", Given::Trace),
];

/// The kinds of facts that a profile has rules for.
const MEDIATED: [&str; 3] = ["files", "network", "capabilities"];

/// Makes the policy. Dangerous needs that are not allowed by name are refused together (exit 4); needs that no
/// rule can express are an error (exit 3) or, if incompleteness is accepted, a gap.
pub fn policy(needs: &Requirements, options: &Options) -> Result<AppArmorPolicy> {
    refuse_dangerous(needs, options)?;
    let mut out = AppArmorPolicy {
        generalize: options.generalize,
        unobserved: needs
            .unobserved
            .iter()
            .filter(|kind| MEDIATED.contains(&kind.as_str()))
            .cloned()
            .collect(),
        ..AppArmorPolicy::default()
    };
    if !needs.losses.is_empty() {
        out.gaps.push(format!("the recording lost something: {}", describe_losses(&needs.losses)));
    }
    let mut inexpressible = Vec::new();
    files(needs, options, &mut out, &mut inexpressible);
    for key in needs.network.keys() {
        match network::rule(key.family.0, key.socket_type.0) {
            Some(rule) => drop(out.network.insert(rule)),
            None => inexpressible.push(format!(
                "no AppArmor rule can name sockets of family {} and type {}",
                key.family.0, key.socket_type.0
            )),
        }
    }
    for (number, _) in needs.capabilities.values() {
        match linux::capability(*number) {
            Some(name) => drop(out.capabilities.insert(name)),
            None => inexpressible.push(format!("no AppArmor rule can name the capability {number}")),
        }
    }
    if !options.allow_incomplete && !inexpressible.is_empty() {
        return Err(Error::incomplete(inexpressible.join("\n  "))
            .hint("leave it out with --allow-incomplete; the profile will deny it"));
    }
    out.gaps.extend(inexpressible);
    for (call, given) in GIVEN {
        let Some((_, need)) = needs.syscalls.iter().find(|((_, name), _)| name == call) else { continue };
        if options.allow.contains(*call) {
            out.given.insert(*given);
        } else {
            out.gaps.push(format!(
                "{call} was called by {} and has no rule; --allow {call} gives it",
                need.evidence.who()
            ));
        }
    }
    Ok(out)
}

/// The file and link rules.
fn files(needs: &Requirements, options: &Options, out: &mut AppArmorPolicy, inexpressible: &mut Vec<String>) {
    let made = generalize::rules(needs, options.generalize);
    inexpressible.extend(made.inexpressible.iter().map(ToString::to_string));
    out.files = made.files;
    out.links = made.links.into_iter().collect();
    out.notes = made.notes;
}

fn refuse_dangerous(needs: &Requirements, options: &Options) -> Result<()> {
    let mut asked: BTreeMap<String, Asked> = BTreeMap::new();
    let mut ask = |what: String, reason: &str, evidence: &Evidence| {
        asked.entry(what.clone()).or_insert_with(|| Asked {
            what,
            who: evidence.who(),
            first_ms: evidence.first_ms,
            reason: reason.into(),
        });
    };
    for (number, evidence) in needs.capabilities.values() {
        let Some(name) = linux::capability(*number) else { continue };
        let allowed = options.allow.iter().any(|allow| {
            let allow = allow.to_ascii_lowercase();
            allow.strip_prefix("cap_").unwrap_or(&allow) == name
        });
        if let Some(reason) = danger::reason(danger::CAPABILITIES, name).filter(|_| !allowed) {
            ask(name.to_owned(), reason, evidence);
        }
    }
    for need in needs.files.iter() {
        let access = need.access();
        // A hard link gives access to what it links to, so both names count.
        for path in std::iter::once(need.path()).chain(need.target()) {
            let Some(danger) = danger_paths::of(path, access) else { continue };
            let text = BytePath::from(path).to_string();
            if !options.allow.contains(&text) && !options.allow.contains(danger.name) {
                // A process id says nothing to a reader, and another one is needed in the next run.
                let what = if danger.name.contains("PID") { danger.name.to_owned() } else { text };
                ask(what, danger.reason, &need.evidence(access));
            }
        }
    }
    if asked.is_empty() { Ok(()) } else { Err(danger::refusal(&asked.into_values().collect::<Vec<_>>())) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{error::Exit, recording::Access, requirements::SyscallNeed};

    fn needs(files: &[(&str, &str)]) -> Requirements {
        let mut needs = Requirements::default();
        for (path, access) in files {
            let access = access.parse().unwrap();
            needs.files.insert(path.as_bytes(), None, access, None, &Evidence::default());
        }
        needs
    }

    #[test]
    fn dangerous_needs_are_refused_until_they_are_named() {
        let mut needs = needs(&[("/proc/9/mem", "r"), ("/proc/10/mem", "r"), ("/dev/sda", "r")]);
        needs.capabilities.insert("sys_admin".into(), (21, Evidence::default()));
        let refused = policy(&needs, &Options::default()).unwrap_err();
        assert_eq!(refused.exit(), Exit::Refused);
        let text = refused.to_string();
        assert_eq!(text.matches("/proc/PID/mem").count(), 1, "{text}");
        assert!(text.contains("/dev/sda") && text.contains("sys_admin"), "{text}");
        let allow = ["/proc/PID/mem", "/dev/sda", "CAP_SYS_ADMIN"].iter().map(ToString::to_string).collect();
        let allowed = policy(&needs, &Options { allow, ..Options::default() }).unwrap();
        assert!(allowed.capabilities.contains("sys_admin"));
    }

    #[test]
    fn a_capability_is_known_by_its_number_not_by_the_name_in_the_file() {
        let mut needs = Requirements::default();
        needs.capabilities.insert("chown,\n  file".into(), (21, Evidence::default()));
        assert_eq!(policy(&needs, &Options::default()).unwrap_err().exit(), Exit::Refused);
    }

    #[test]
    fn what_no_rule_can_express_is_an_error_or_a_gap() {
        let mut needs = needs(&[("pipe:[1]", "r"), ("/a//b", "r"), ("/ok", "r")]);
        needs.files.insert(b"/new", None, Access::LINK, None, &Evidence::default());
        let error = policy(&needs, &Options::default()).unwrap_err();
        assert_eq!(error.exit(), Exit::Incomplete);
        assert!(error.to_string().contains("pipe:[1]") && error.to_string().contains("/a//b"), "{error}");
        let options = Options { allow_incomplete: true, ..Options::default() };
        let policy = policy(&needs, &options).unwrap();
        assert_eq!((policy.files.len(), policy.gaps.len()), (1, 3));
    }

    #[test]
    fn classes_beside_files_are_given_by_name_only() {
        let mut needs = needs(&[("/a", "r")]);
        needs.syscalls.insert(("x86_64".into(), "ptrace".into()), SyscallNeed::default());
        let quiet = policy(&needs, &Options::default()).unwrap();
        assert!(quiet.given.is_empty());
        assert!(quiet.gaps.iter().any(|gap| gap.contains("--allow ptrace")), "{:?}", quiet.gaps);
        let allow = BTreeSet::from(["ptrace".to_owned()]);
        let given = policy(&needs, &Options { allow, ..Options::default() }).unwrap();
        assert_eq!(given.given, BTreeSet::from([Given::Trace]));
    }
}
