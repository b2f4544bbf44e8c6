//! Requirements for paths, sockets and capabilities → the rules that an AppArmor profile prints. Knows what may
//! be given; how it is written is the emitter's and `apparmor`'s business.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    danger::{self, Asked},
    danger_paths,
    generalize::{self, Generalization, ShortLived},
};
use crate::{
    apparmor::{network, pattern::Pattern},
    error::{Error, Result},
    linux,
    recording::{Access, BytePath},
    requirements::{Evidence, FileNeed, Requirements, describe_losses},
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
}

/// What one pattern allows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileRule {
    /// As recorded, links left out.
    pub access: Access,
    /// The recorded paths that it is made of, where the pattern matches others too: how many, and the first.
    pub stands_for: Option<(usize, BytePath)>,
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

/// Permissions that run a file's code.
const RUNS: Access = Access::EXEC.union(Access::MAP_EXEC);

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
    let mut groups: BTreeMap<Pattern, BTreeMap<&BytePath, Access>> = BTreeMap::new();
    let short_lived = ShortLived::of(needs);
    for ((path, target), need) in &needs.files {
        let pattern = match generalize::pattern(path.as_bytes(), &short_lived, options.generalize) {
            Ok(pattern) => pattern,
            Err(error) => {
                inexpressible.push(error.to_string());
                continue;
            }
        };
        if need.access.contains(Access::LINK) {
            match target
                .as_ref()
                .map(|target| generalize::pattern(target.as_bytes(), &short_lived, options.generalize))
            {
                Some(Ok(target)) => drop(out.links.insert((pattern.clone(), target))),
                Some(Err(error)) => inexpressible.push(error.to_string()),
                None => inexpressible.push(format!("the recording does not say what {path} was linked to")),
            }
        }
        let access = without(need.access, Access::LINK);
        if !access.is_empty() {
            *groups.entry(pattern).or_default().entry(path).or_default() |= access;
        }
    }
    for (pattern, members) in groups {
        let mut access = members.values().fold(Access::none(), |all, access| all | *access);
        let wide = !pattern.is_literal();
        if wide && access.intersects(RUNS) {
            // Such names are made by writing, if not under this pattern then under another that matches the
            // same name. What only looks alike must not run: the recorded names do.
            for (path, access) in members.iter().filter(|(_, access)| access.intersects(RUNS)) {
                if let Ok(exact) = Pattern::literal(path.as_bytes()) {
                    out.files.entry(exact).or_default().access |= *access;
                }
            }
            access = without(access, RUNS);
            if access.is_empty() {
                continue;
            }
        }
        let stands_for =
            members.keys().next().filter(|_| wide).map(|first| (members.len(), (*first).clone()));
        let rule = out.files.entry(pattern).or_default();
        rule.access |= access;
        rule.stands_for = stands_for;
    }
}

fn without(access: Access, removed: Access) -> Access {
    access.iter().filter(|one| !removed.contains(*one)).fold(Access::none(), |all, one| all | one)
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
    for ((path, target), need) in &needs.files {
        // A hard link gives access to what it links to, so both names count.
        let names =
            std::iter::once((path, need.access)).chain(target.iter().map(|target| (target, need.access)));
        for (path, access) in names {
            let Some(danger) = danger_paths::of(path.as_bytes(), access) else { continue };
            let text = path.to_string();
            if !options.allow.contains(&text) && !options.allow.contains(danger.name) {
                // A process id says nothing to a reader, and another one is needed in the next run.
                let what = if danger.name.contains("PID") { danger.name.to_owned() } else { text };
                ask(what, danger.reason, &evidence_of(need));
            }
        }
    }
    if asked.is_empty() { Ok(()) } else { Err(danger::refusal(&asked.into_values().collect::<Vec<_>>())) }
}

/// Who did any of it, and when first.
fn evidence_of(need: &FileNeed) -> Evidence {
    let mut out = Evidence::default();
    for evidence in need.evidence.values() {
        out.by.extend(evidence.by.iter().cloned());
        out.first_ms = match (out.first_ms, evidence.first_ms) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        out.last_ms = out.last_ms.max(evidence.last_ms);
        out.count = out.count.max(evidence.count);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{error::Exit, requirements::SyscallNeed};

    fn needs(files: &[(&str, &str)]) -> Requirements {
        let mut needs = Requirements::default();
        for (path, access) in files {
            let access: Access = access.parse().unwrap();
            needs.files.insert(((*path).into(), None), FileNeed { access, ..FileNeed::default() });
        }
        needs
    }

    fn rules(files: &[(&str, &str)]) -> Vec<String> {
        let policy = policy(&needs(files), &Options::default()).unwrap();
        policy.files.iter().map(|(pattern, rule)| format!("{} {}", pattern.text(), rule.access)).collect()
    }

    #[test]
    fn names_of_one_kind_share_a_rule_that_says_what_it_stands_for() {
        let needs = needs(&[("/tmp/tmpaaaaaaa1", "wcd"), ("/tmp/tmpaaaaaaa2", "r"), ("/proc/7/stat", "r")]);
        let policy = policy(&needs, &Options::default()).unwrap();
        assert_eq!(policy.files.len(), 2);
        let stands_for: Vec<_> = policy.files.values().filter_map(|rule| rule.stands_for.clone()).collect();
        assert!(stands_for.contains(&(2, "/tmp/tmpaaaaaaa1".into())), "{stands_for:?}");
        assert!(stands_for.contains(&(1, "/proc/7/stat".into())), "{stands_for:?}");
    }

    #[test]
    fn a_wide_rule_never_gives_execution() {
        let class = "[a-z0-9_]".repeat(8);
        assert_eq!(
            rules(&[("/tmp/tmpaaaaaaa1", "wc"), ("/tmp/tmpaaaaaaa2", "rx")]),
            [format!("/tmp/tmp{class} rwc"), "/tmp/tmpaaaaaaa2 rx".to_owned()]
        );
        let mapped = [format!("/tmp/tmp{class} r"), "/tmp/tmpaaaaaaa2 rm".into()];
        assert_eq!(rules(&[("/tmp/tmpaaaaaaa2", "rm")]), mapped);
        assert_eq!(rules(&[("/tmp/tmpaaaaaaa2", "x")]), ["/tmp/tmpaaaaaaa2 x"]);
        assert_eq!(rules(&[("/tmp/build", "wx")]), ["/tmp/build wx"]);
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
        needs.files.insert(("/new".into(), None), FileNeed { access: Access::LINK, ..FileNeed::default() });
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
