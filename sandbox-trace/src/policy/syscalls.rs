//! Requirements for system calls → the rules that a seccomp profile prints.
//!
//! A name is admitted because it was seen, because the runtime makes the call before the workload starts, or
//! because the kernel itself depends on it. Arguments are limited in [`arguments`](super::arguments).

use std::collections::{BTreeMap, BTreeSet};

use super::{
    arguments::{self, Condition, Mode},
    danger::{self, Asked},
};
use crate::{
    error::{Error, Result},
    requirements::{Requirements, SyscallNeed},
    seccomp::{
        arch::Arch,
        runtime::{Base, Runtime},
    },
};

/// What `--allow` names to admit `clone` and `clone3` with namespace flags.
pub const NAMESPACES: &str = "namespaces";

/// `EPERM` is what a denied call gets: programs know it from Docker's profile.
pub const DENIED_ERRNO: u32 = 1;

/// Calls that no recording may lack, because the kernel or the C library makes them on the program's behalf:
/// `rt_sigreturn` ends every signal handler (the kernel puts the call on the stack), `restart_syscall` continues
/// a sleep or wait after a stop (the kernel rewrites the program's registers), and the exits end threads and
/// processes, after the last moment that a recording sees for sure.
const KERNEL: [&str; 4] = ["exit", "exit_group", "restart_syscall", "rt_sigreturn"];

/// What a policy is made with.
#[derive(Debug, Clone)]
pub struct Options {
    /// How far arguments are limited.
    pub mode: Mode,
    /// Dangerous things that are allowed by name.
    pub allow: BTreeSet<String>,
    /// Who will load the filter.
    pub runtime: Runtime,
    /// Whether containers will run with `no_new_privs`, which needs a smaller base.
    pub no_new_privileges: bool,
}

/// Why a call is admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// A recording saw it.
    Seen,
    /// The runtime makes it.
    Runtime,
    /// The kernel depends on it.
    Kernel,
}

/// How a call is admitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admits {
    /// With any arguments.
    Always,
    /// When all conditions of one of the sets hold.
    When(BTreeSet<Vec<Condition>>),
    /// Not at all: the answer is `ENOSYS`, as it was when recorded.
    Nothing,
}

/// A call in the policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The first of the reasons.
    pub why: Why,
    /// How it is admitted.
    pub admits: Admits,
}

/// The policy for system calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyscallPolicy {
    /// The architectures that may make calls. A name admits the call on each of them: OCI profiles have one list
    /// of names for all.
    pub architectures: BTreeSet<Arch>,
    /// By name.
    pub calls: BTreeMap<String, Call>,
    /// What people should know about it.
    pub notes: Vec<String>,
}

impl SyscallPolicy {
    /// The calls that are admitted for this reason.
    pub fn count(&self, why: Why) -> usize {
        self.calls.values().filter(|c| c.why == why && c.admits != Admits::Nothing).count()
    }

    /// The calls that are admitted.
    pub fn admitted(&self) -> usize {
        self.calls.values().filter(|c| c.admits != Admits::Nothing).count()
    }

    /// The calls whose arguments are limited.
    pub fn limited(&self) -> Vec<&str> {
        self.calls
            .iter()
            .filter(|(_, c)| matches!(c.admits, Admits::When(_)))
            .map(|(n, _)| n.as_str())
            .collect()
    }
}

/// Makes the policy. Refuses what is dangerous and not allowed by name, and calls that can't be named.
pub fn policy(needs: &Requirements, options: &Options) -> Result<SyscallPolicy> {
    check_allow(&options.allow)?;
    if needs.syscalls.is_empty() {
        return Err(Error::incomplete(
            "the recordings hold no system calls: a profile from them would block all",
        )
        .hint("record on a host where `sandbox-trace doctor` says that system calls can be seen"));
    }
    let base = options.runtime.base(options.no_new_privileges)?;
    let mut policy =
        SyscallPolicy { architectures: BTreeSet::new(), calls: BTreeMap::new(), notes: Vec::new() };
    let mut by_name: BTreeMap<&str, Vec<&SyscallNeed>> = BTreeMap::new();
    let mut survived: BTreeSet<&str> = BTreeSet::new();
    let allowed = needs.survived.iter().filter(|((_, name), need)| {
        let by = |what: &str| options.allow.contains(what);
        let dangerous = danger::reason(danger::SYSCALLS, name).is_some();
        let given = if dangerous { by(name) } else { !need.args.is_empty() && by(NAMESPACES) };
        if !given {
            survived.insert(if dangerous { name } else { NAMESPACES });
        }
        given
    });
    for ((arch, name), need) in needs.syscalls.iter().chain(allowed) {
        let Some(arch) = Arch::from_name(arch) else {
            return Err(Error::usage(format!("the recordings have calls of the architecture {arch:?}"))
                .hint("profiles can be made for x86_64, i386 and x32"));
        };
        if is_known(name) {
            policy.architectures.insert(arch);
            by_name.entry(name).or_default().push(need);
        } else if need.succeeded {
            return Err(Error::incomplete(format!(
                "system call number {} on {} has no name that this version knows, and {} needs it",
                need.nr,
                arch.name(),
                need.evidence.who()
            ))
            .hint("profiles admit calls by name: update sandbox-trace"));
        } else {
            policy.notes.push(format!(
                "system call number {} on {} is left out: it has no known name and never succeeded",
                need.nr,
                arch.name()
            ));
        }
    }
    refuse_dangerous(&by_name, &options.allow)?;
    for (name, calls) in &by_name {
        let admits = admits(name, calls, options.mode, base.as_ref(), &mut policy.notes);
        policy.calls.insert((*name).to_owned(), Call { why: Why::Seen, admits });
    }
    add_base(&mut policy, base.as_ref());
    add_notes(&mut policy, &by_name, options);
    add_refused(&mut policy, &by_name, &survived);
    Ok(policy)
}

/// Adds what the runtime and the kernel need beside what was seen.
fn add_base(policy: &mut SyscallPolicy, base: Option<&Base>) {
    for name in base.iter().flat_map(|base| &base.syscalls) {
        policy.calls.entry(name.clone()).or_insert(Call { why: Why::Runtime, admits: Admits::Always });
    }
    if base.is_some() || policy.architectures.is_empty() {
        // The runtime is a program of the machine's own architecture, whatever the workload is. The bases were
        // measured on x86-64.
        policy.architectures.insert(Arch::X8664);
    }
    // i386 ends the handlers of old-style signals with a call of its own.
    let legacy = policy.architectures.contains(&Arch::I386).then_some("sigreturn");
    for name in KERNEL.into_iter().chain(legacy) {
        policy.calls.entry(name.to_owned()).or_insert(Call { why: Why::Kernel, admits: Admits::Always });
    }
}

fn add_notes(policy: &mut SyscallPolicy, by_name: &BTreeMap<&str, Vec<&SyscallNeed>>, options: &Options) {
    if policy.calls.get("clone3").is_some_and(|c| c.admits == Admits::Always) {
        policy.notes.push(
            "clone3 is admitted with any flags, new namespaces included: its arguments are in memory, where no \
             filter can look. The container must have no CAP_SYS_ADMIN, and the host should restrict user \
             namespaces"
                .into(),
        );
    }
    if policy.architectures.len() > 1 {
        let names: Vec<&str> = policy.architectures.iter().map(|a| a.name()).collect();
        policy.notes.push(format!(
            "a name admits its call on every listed architecture ({}): the profile format has one list for all",
            names.join(", ")
        ));
    }
    // Measured with libseccomp 2.5.4: a rule for `socket` becomes one for socketcall(SYS_SOCKET) on i386, without
    // the conditions, since the arguments are in memory.
    if policy.architectures.contains(&Arch::I386)
        && policy.limited().iter().any(|name| matches!(*name, "socket" | "socketpair"))
    {
        policy.notes.push(
            "on i386 programs can make sockets of any family: socketcall has its arguments in memory, where no \
             filter can look"
                .into(),
        );
    }
    for name in options.allow.iter().filter(|name| *name != NAMESPACES) {
        if !by_name.contains_key(name.as_str()) {
            policy
                .notes
                .push(format!("--allow {name} was not needed: no recording asks for it, so it is not added"));
        }
    }
}

/// Says what a filter in force refused while it was recorded, and what becomes of it.
fn add_refused(
    policy: &mut SyscallPolicy,
    by_name: &BTreeMap<&str, Vec<&SyscallNeed>>,
    survived: &BTreeSet<&str>,
) {
    let given: Vec<&str> = by_name
        .iter()
        .filter(|(_, needs)| needs.iter().any(|need| !need.refused.is_empty()))
        .map(|(name, _)| *name)
        .filter(|name| policy.calls.get(*name).is_some_and(|call| call.admits != Admits::Nothing))
        .collect();
    if !given.is_empty() {
        policy.notes.push(format!(
            "{} refused by the filter in force while recording; allowed now: {}",
            match given.len() {
                1 => "1 call was".into(),
                n => format!("{n} calls were"),
            },
            given.join(", ")
        ));
    }
    if !survived.is_empty() {
        let names: Vec<&str> = survived.iter().copied().collect();
        policy.notes.push(format!(
            "dangerous, refused by the filter in force while recording, and not added, since the target went on \
             without: {}. --allow NAME adds one",
            names.join(", ")
        ));
    }
}

fn admits(
    name: &str,
    needs: &[&SyscallNeed],
    mode: Mode,
    base: Option<&Base>,
    notes: &mut Vec<String>,
) -> Admits {
    // Docker's profile and old kernels answer clone3 with ENOSYS and libraries fall back to clone, whose flags a
    // filter can see. A profile that admitted it would give more than was ever used.
    if name == "clone3" && needs.iter().all(|need| need.only_enosys()) {
        notes.push("clone3 gets ENOSYS, as it did when recorded: libraries use clone instead".into());
        return Admits::Nothing;
    }
    if KERNEL.contains(&name) || base.is_some_and(|base| base.syscalls.contains(name)) {
        return Admits::Always;
    }
    match arguments::limits(name, needs, mode, notes) {
        Some(limits) => Admits::When(limits),
        None => Admits::Always,
    }
}

/// Collects everything dangerous that is not allowed by name.
fn refuse_dangerous(by_name: &BTreeMap<&str, Vec<&SyscallNeed>>, allow: &BTreeSet<String>) -> Result<()> {
    let mut asked = Vec::new();
    for (name, needs) in by_name {
        if let Some(reason) = danger::reason(danger::SYSCALLS, name).filter(|_| !allow.contains(*name)) {
            for need in needs {
                asked.push(Asked {
                    what: (*name).to_owned(),
                    who: need.evidence.who(),
                    first_ms: need.evidence.first_ms,
                    reason: reason.to_owned(),
                });
            }
        }
        if allow.contains(NAMESPACES) {
            continue;
        }
        // With nothing but ENOSYS, the call is not given: see `admits`.
        for need in needs.iter().filter(|need| !(*name == "clone3" && need.only_enosys())) {
            for (tuple, evidence) in &need.args {
                let flags = tuple.get(&0).copied().unwrap_or(0);
                if arguments::namespace_flags(name, flags) != 0 {
                    asked.push(Asked {
                        what: NAMESPACES.to_owned(),
                        who: evidence.who(),
                        first_ms: evidence.first_ms,
                        reason: format!("{name} with flags {flags:#x} makes new namespaces"),
                    });
                }
            }
        }
    }
    asked.dedup();
    if asked.is_empty() { Ok(()) } else { Err(danger::refusal(&asked)) }
}

/// A name that is no system call is a typing error, and would be a hole in the reader's attention.
fn check_allow(allow: &BTreeSet<String>) -> Result<()> {
    match allow.iter().find(|name| *name != NAMESPACES && !is_known(name)) {
        None => Ok(()),
        Some(name) => Err(Error::usage(format!("--allow {name}: there is no system call of that name"))
            .hint(format!(
                "name a call as the refusal shows it, or `{NAMESPACES}` for clone with namespace flags"
            ))),
    }
}

/// Whether this version knows the name on any architecture that it records. Not asked of libseccomp, whose
/// answer depends on the machine.
fn is_known(name: &str) -> bool {
    name.parse::<syscalls::x86_64::Sysno>().is_ok()
        || name.parse::<syscalls::x86::Sysno>().is_ok()
        || danger::reason(danger::SYSCALLS, name).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{error::Exit, recording::samples, requirements::fold};

    fn options() -> Options {
        Options { mode: Mode::Safe, allow: BTreeSet::new(), runtime: Runtime::None, no_new_privileges: false }
    }

    fn make(recording: crate::recording::Recording, options: &Options) -> Result<SyscallPolicy> {
        policy(&fold(&[("r.json".into(), recording)], false).unwrap(), options)
    }

    fn names(policy: &SyscallPolicy) -> Vec<&str> {
        policy.calls.keys().map(String::as_str).collect()
    }

    #[test]
    fn what_was_seen_and_what_the_kernel_needs_is_admitted_and_nothing_else() {
        let policy = make(samples::calls(&["read", "statx"]), &options()).unwrap();
        assert_eq!(
            names(&policy),
            ["exit", "exit_group", "read", "restart_syscall", "rt_sigreturn", "statx"]
        );
        assert_eq!((policy.count(Why::Seen), policy.count(Why::Kernel)), (2, 4));
        assert!(policy.notes.is_empty(), "{:?}", policy.notes);
    }

    #[test]
    fn the_runtime_s_base_is_added_and_never_limited() {
        let mut recording = samples::calls(&["read"]);
        samples::add(&mut recording, "x86_64", "prctl", &[&[(0, 15)]]);
        let docker =
            make(recording, &Options { runtime: Runtime::Docker, mode: Mode::Strict, ..options() }).unwrap();
        assert_eq!(docker.calls["prctl"].admits, Admits::Always);
        assert_eq!(docker.calls["capset"].why, Why::Runtime);
    }

    #[test]
    fn dangerous_calls_are_refused_unless_named() {
        let recording = samples::calls(&["read", "mount", "ptrace"]);
        let error = make(recording.clone(), &options()).unwrap_err();
        assert_eq!(error.exit(), Exit::Refused);
        assert!(error.to_string().contains("/usr/bin/app"), "{error}");
        assert!(error.hint_text().unwrap().contains("--allow mount --allow ptrace"));
        let allow = ["mount", "ptrace", "bpf"].map(String::from).into();
        let policy = make(recording, &Options { allow, ..options() }).unwrap();
        assert!(policy.calls.contains_key("mount") && !policy.calls.contains_key("bpf"));
        assert!(policy.notes.iter().any(|n| n.contains("--allow bpf was not needed")));
    }

    #[test]
    fn what_a_filter_refused_is_given_and_said_and_what_is_dangerous_only_said() {
        let mut recording = samples::calls(&["read", "getppid", "keyctl"]);
        for name in ["getppid", "keyctl"] {
            samples::refuse(&mut recording, name);
        }
        let policy = make(recording.clone(), &options()).unwrap();
        assert!(policy.calls.contains_key("getppid") && !policy.calls.contains_key("keyctl"));
        assert!(policy.notes[0].contains("1 call was refused") && policy.notes[0].ends_with("getppid"));
        assert!(policy.notes[1].contains("not added") && policy.notes[1].contains("keyctl"));
        let allow = ["keyctl"].map(String::from).into();
        let policy = make(recording, &Options { allow, ..options() }).unwrap();
        assert!(policy.calls.contains_key("keyctl"));
        assert_eq!(policy.notes.len(), 1, "{:?}", policy.notes);
    }

    #[test]
    fn an_unknown_name_to_allow_is_wrong_usage() {
        let allow = ["mout"].map(String::from).into();
        let error = make(samples::calls(&["read"]), &Options { allow, ..options() }).unwrap_err();
        assert_eq!(error.exit(), Exit::Usage);
    }

    #[test]
    fn namespaces_are_refused_unless_named_and_then_exactly_those_are_given() {
        for (name, flags) in [("clone", 0x1000_0011), ("clone3", 0x80)] {
            let mut recording = samples::calls(&["read"]);
            samples::add(&mut recording, "x86_64", name, &[&[(0, 0x11)], &[(0, flags)]]);
            let error = make(recording.clone(), &options()).unwrap_err();
            assert_eq!(error.exit(), Exit::Refused);
            assert!(error.to_string().contains("makes new namespaces"), "{error}");
            let allow = [NAMESPACES].map(String::from).into();
            let policy = make(recording, &Options { allow, ..options() }).unwrap();
            match &policy.calls[name].admits {
                Admits::When(sets) => assert_eq!((name, sets.len()), ("clone", 2)),
                other => assert_eq!((name, other), ("clone3", &Admits::Always)),
            }
        }
    }

    #[test]
    fn a_clone3_that_never_existed_goes_on_not_existing() {
        let mut recording = samples::calls(&["read", "clone3"]);
        let clone3 = recording.syscalls.iter_mut().find(|s| s.name == "clone3").unwrap();
        (clone3.succeeded, clone3.errors) = (false, vec!["ENOSYS".into()]);
        let policy = make(recording, &options()).unwrap();
        assert_eq!(policy.calls["clone3"].admits, Admits::Nothing);
        assert_eq!(policy.count(Why::Seen), 1);
    }

    #[test]
    fn a_number_without_a_name_is_left_out_if_it_failed_and_an_error_if_it_worked() {
        let mut recording = samples::calls(&["read", "syscall_9999"]);
        assert_eq!(make(recording.clone(), &options()).unwrap_err().exit(), Exit::Incomplete);
        for syscall in recording.syscalls.iter_mut().filter(|s| s.name != "read") {
            (syscall.succeeded, syscall.errors) = (false, vec!["ENOSYS".into()]);
        }
        let policy = make(recording, &options()).unwrap();
        assert!(!policy.calls.contains_key("syscall_9999"));
        assert!(policy.notes.iter().any(|n| n.contains("9999")));
    }

    #[test]
    fn other_architectures_bring_their_own_signal_return() {
        let mut recording = samples::calls(&["read"]);
        samples::add(&mut recording, "i386", "socketcall", &[]);
        let policy = make(recording, &options()).unwrap();
        assert_eq!(policy.architectures, BTreeSet::from([Arch::X8664, Arch::I386]));
        assert!(policy.calls.contains_key("sigreturn"));
        assert!(policy.notes.iter().any(|n| n.contains("every listed architecture")));
        assert!(!policy.notes.iter().any(|n| n.contains("any family")));
        let mut recording = samples::calls(&["read"]);
        samples::add(&mut recording, "i386", "socket", &[&[(0, 2)]]);
        let policy = make(recording, &options()).unwrap();
        assert!(policy.notes.iter().any(|n| n.contains("any family")), "{:?}", policy.notes);
    }
}
