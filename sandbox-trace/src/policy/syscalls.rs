//! Requirements for system calls → the rules that a seccomp profile prints.
//!
//! A name is admitted because it was seen, because the runtime makes the call before the workload starts, or
//! because the kernel itself depends on it, and with `--portable` because it is the twin of one of those. Arguments are
//! limited in [`arguments`](super::arguments).

use std::collections::{BTreeMap, BTreeSet};

pub use super::danger::NAMESPACES;
use super::{
    arguments::{self, Condition, Mode, Sets},
    companions,
    danger::{self, Asked},
    fallbacks, twins,
};
use crate::{
    error::{Error, Result},
    requirements::{Requirements, SyscallNeed},
    seccomp::{
        arch::Arch,
        runtime::{Base, Runtime},
    },
};

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
    /// Whether to add the calls that other versions of libraries make in place of those that were seen.
    pub portable: bool,
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
    /// It comes with one that was seen, by timing and by the size of the input.
    Companion,
    /// Other versions of libraries make it in place of one that was seen.
    Twin,
    /// It is not admitted, and its callers fall back to another call on `ENOSYS`.
    Fallback,
}

/// How a call is admitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admits {
    /// With any arguments.
    Always,
    /// When all conditions of one of the sets hold.
    When(Sets),
    /// Not at all: the answer is `ENOSYS`, and its callers do something else.
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
    let (allowed, survived) = split_survived(needs, &options.allow);
    let all = needs.syscalls.iter().chain(allowed.iter().map(|(key, need)| (*key, need)));
    for ((arch, name), need) in all {
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
    hide_clone3(&mut policy, &by_name, options.mode);
    fit(&mut policy, &by_name, base.as_ref());
    add_base(&mut policy, base.as_ref(), options.mode);
    add_companions(&mut policy);
    if options.portable {
        add_twins(&mut policy, options.mode);
    }
    add_fallbacks(&mut policy);
    add_notes(&mut policy, &by_name, options);
    add_refused(&mut policy, &by_name, &survived);
    Ok(policy)
}

/// A call that was refused while it was recorded, by architecture and name.
type Refused<'a> = (&'a (String, String), SyscallNeed);

/// What was refused while it was recorded and is dangerous: the part that is allowed by name now, and the names of
/// the rest.
fn split_survived<'a>(
    needs: &'a Requirements,
    allow: &BTreeSet<String>,
) -> (Vec<Refused<'a>>, BTreeSet<&'a str>) {
    let (mut given, mut survived) = (Vec::new(), BTreeSet::new());
    for (key, need) in &needs.survived {
        let name = key.1.as_str();
        let mut need = need.clone();
        if danger::reason(danger::SYSCALLS, name).is_some() {
            if allow.contains(name) {
                given.push((key, need));
            } else {
                survived.insert(name);
            }
            continue;
        }
        need.args.retain(|tuple, _| {
            let asked = danger::in_arguments(name, tuple);
            let missing = asked.iter().map(|(name, _)| *name).filter(|name| !allow.contains(*name));
            let missing: Vec<&str> = missing.collect();
            survived.extend(&missing);
            missing.is_empty()
        });
        if !need.args.is_empty() {
            given.push((key, need));
        }
    }
    (given, survived)
}

/// Lets `clone3` not exist where `clone` can do all that was seen of it: the flags of `clone3` are in memory, where no
/// filter can look, and it would be admitted with new namespaces. Docker's default profile does the same, so libraries
/// know it.
fn hide_clone3(policy: &mut SyscallPolicy, by_name: &BTreeMap<&str, Vec<&SyscallNeed>>, mode: Mode) {
    let Some(call) = policy.calls.get("clone3").filter(|call| call.admits == Admits::Always) else { return };
    let Some(sets) = by_name.get("clone3").and_then(|needs| arguments::clone_for_clone3(needs, mode)) else {
        return;
    };
    let hidden = Call { admits: Admits::Nothing, ..call.clone() };
    policy.calls.insert("clone3".into(), hidden);
    match policy.calls.get_mut("clone").map(|clone| &mut clone.admits) {
        Some(Admits::When(admitted)) => admitted.extend(sets),
        Some(_) => {}
        None => {
            policy.calls.insert("clone".into(), Call { why: Why::Seen, admits: Admits::When(sets) });
        }
    }
    policy.notes.push(
        "clone3 was seen and gets ENOSYS, as under Docker's default profile: its flags are in memory, where no filter \
         can look. Libraries use clone instead, which is admitted with the namespaces that were seen"
            .into(),
    );
}

/// A filter has room for 4,096 instructions, runc's own part included. Where strict conditions would not fit, the
/// calls with the most of them get those of `--args safe`.
fn fit(policy: &mut SyscallPolicy, by_name: &BTreeMap<&str, Vec<&SyscallNeed>>, base: Option<&Base>) {
    const ROOM: usize = 3000;
    /// Of a condition: four loads and comparisons of 32 bits, and two jumps over what follows.
    const EACH: usize = 6;
    let size = |admits: &Admits| match admits {
        Admits::When(sets) => sets.iter().map(|set| EACH * set.len()).sum(),
        _ => 1,
    };
    let mut tried = BTreeSet::new();
    loop {
        let all: usize = policy.calls.values().map(|call| size(&call.admits)).sum();
        let largest = policy
            .calls
            .iter()
            .filter(|(name, call)| matches!(call.admits, Admits::When(_)) && !tried.contains(*name))
            // What stands in for clone3 must stay.
            .filter(|(name, _)| *name != "clone")
            .max_by_key(|(_, call)| size(&call.admits))
            .map(|(name, call)| (name.clone(), call.clone()));
        let Some((name, call)) = largest.filter(|_| all * policy.architectures.len().max(1) > ROOM) else {
            return;
        };
        let needs = by_name.get(name.as_str()).map(Vec::as_slice).unwrap_or_default();
        let Admits::When(sets) = &call.admits else { return };
        policy.notes.push(arguments::too_many(&name, sets.len()));
        let admits = admits(&name, needs, Mode::Safe, base, &mut Vec::new());
        policy.calls.insert(name.clone(), Call { admits, ..call });
        tried.insert(name);
    }
}

/// Adds what the runtime and the kernel need beside what was seen.
fn add_base(policy: &mut SyscallPolicy, base: Option<&Base>, mode: Mode) {
    if let Some(base) = base {
        for name in &base.syscalls {
            let admits = match base.limit(name).filter(|_| mode != Mode::Off) {
                Some(limit) => Admits::When(
                    limit.values.iter().flat_map(|value| arguments::only(limit.index, *value)).collect(),
                ),
                None => Admits::Always,
            };
            policy.calls.entry(name.clone()).or_insert(Call { why: Why::Runtime, admits });
        }
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

/// Adds what other timings and larger inputs make the same programs call.
fn add_companions(policy: &mut SyscallPolicy) {
    let seen: Vec<String> = policy
        .calls
        .iter()
        .filter(|(_, call)| call.why == Why::Seen && call.admits != Admits::Nothing)
        .map(|(name, _)| name.clone())
        .collect();
    for companion in seen.iter().flat_map(|name| companions::of(name)) {
        let call = Call { why: Why::Companion, admits: Admits::Always };
        policy.calls.entry(companion.to_owned()).or_insert(call);
    }
}

/// Adds what other versions of libraries call in place of what was seen.
fn add_twins(policy: &mut SyscallPolicy, mode: Mode) {
    let seen = |policy: &SyscallPolicy, name: &str| {
        policy.calls.get(name).is_some_and(|c| c.why == Why::Seen && c.admits != Admits::Nothing)
    };
    let names: Vec<String> = policy.calls.keys().filter(|name| seen(policy, name)).cloned().collect();
    let mut added = Vec::new();
    for twin in names.iter().flat_map(|name| twins::of(name)) {
        let admits = twins::limit(twin).filter(|_| mode != Mode::Off).map_or(Admits::Always, Admits::When);
        policy.calls.entry(twin.to_owned()).or_insert_with(|| {
            added.push(twin);
            Call { why: Why::Twin, admits }
        });
    }
    let families = policy.calls.get_mut("socket").is_some_and(|call| match &mut call.admits {
        Admits::When(sets) => add_internet(sets, mode),
        _ => false,
    });
    if !added.is_empty() {
        added.sort_unstable();
        policy.notes.push(format!(
            "--portable adds what other versions of libraries call in place of what was seen: {}",
            added.join(", ")
        ));
    }
    if families {
        policy.notes.push(
            "--portable adds the other internet protocol, IPv4 or IPv6, to the sockets that were seen".into(),
        );
    }
}

/// Adds the sockets of the other internet family, and with `safe` the resolver's way from datagrams to a stream.
/// Whether there was anything to add.
fn add_internet(sets: &mut Sets, mode: Mode) -> bool {
    let before = sets.len();
    for set in sets.clone() {
        if !set.iter().any(|c| c.index == 0 && twins::INTERNET.contains(&c.value)) {
            continue;
        }
        let with = |index: u8, value: u64| -> Vec<Condition> {
            let change = |c: &Condition| if c.index == index { Condition { value, ..*c } } else { *c };
            set.iter().map(change).collect()
        };
        for family in twins::INTERNET {
            let other = with(0, family);
            // SOCK_DGRAM and SOCK_STREAM: a name server's answer that is too long comes over TCP.
            if mode == Mode::Safe && set.iter().any(|c| c.index == 1 && c.value == 2) {
                let stream = |c: &Condition| if c.index == 1 { Condition { value: 1, ..*c } } else { *c };
                sets.insert(other.iter().map(stream).collect());
            }
            sets.insert(other);
        }
    }
    sets.len() > before
}

/// Gives `ENOSYS` to what is not admitted and has callers that fall back on it.
fn add_fallbacks(policy: &mut SyscallPolicy) {
    let admitted = |policy: &SyscallPolicy, name: &str| {
        policy.calls.get(name).is_some_and(|c| c.admits != Admits::Nothing)
    };
    let names: Vec<&str> = fallbacks::TABLE
        .iter()
        .filter(|entry| entry.only_with.is_none_or(|with| admitted(policy, with)))
        .map(|entry| entry.name)
        .chain(fallbacks::I386.iter().copied().filter(|_| policy.architectures.contains(&Arch::I386)))
        .collect();
    for name in names {
        policy.calls.entry(name.to_owned()).or_insert(Call { why: Why::Fallback, admits: Admits::Nothing });
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
    let asked: BTreeSet<&str> = by_name
        .iter()
        .flat_map(|(name, needs)| needs.iter().flat_map(|need| need.args.keys()).map(|tuple| (*name, tuple)))
        .flat_map(|(name, tuple)| danger::in_arguments(name, tuple))
        .map(|(name, _)| name)
        .collect();
    for name in options.allow.iter().filter(|name| *name != NAMESPACES) {
        if !by_name.contains_key(name.as_str()) && !asked.contains(name.as_str()) {
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
    let of_base = base.filter(|base| base.syscalls.contains(name));
    let beside = of_base.and_then(|base| base.limit(name));
    if KERNEL.contains(&name) || of_base.is_some() && beside.is_none() {
        return Admits::Always;
    }
    let beside = beside.map(|limit| (limit.index, limit.values.as_slice()));
    match arguments::limits(name, needs, mode, beside, notes) {
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
        // With nothing but ENOSYS, the call is not given: see `admits`.
        for need in needs.iter().filter(|need| !(*name == "clone3" && need.only_enosys())) {
            for (tuple, evidence) in &need.args {
                let dangers = danger::in_arguments(name, tuple);
                asked.extend(dangers.into_iter().filter(|(what, _)| !allow.contains(*what)).map(
                    |(what, reason)| Asked {
                        what: what.to_owned(),
                        who: evidence.who(),
                        first_ms: evidence.first_ms,
                        reason,
                    },
                ));
            }
        }
    }
    asked.dedup();
    if asked.is_empty() { Ok(()) } else { Err(danger::refusal(&asked)) }
}

/// A name of nothing is a typing error, and would be a hole in the reader's attention.
fn check_allow(allow: &BTreeSet<String>) -> Result<()> {
    let values: Vec<&str> = danger::VALUES.iter().map(|value| value.name).collect();
    let known = |name: &String| name == NAMESPACES || values.contains(&name.as_str()) || is_known(name);
    match allow.iter().find(|name| !known(name)) {
        None => Ok(()),
        Some(name) if name.contains(':') => {
            Err(Error::usage(format!("--allow {name}: there is no dangerous value of that name"))
                .hint(format!("values are {}", values.join(", "))))
        }
        Some(name) => Err(Error::usage(format!("--allow {name}: there is no system call of that name"))
            .hint(format!(
                "name a call or a value as the refusal shows it, or `{NAMESPACES}` for clone with namespace flags"
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
mod laws;
#[cfg(test)]
mod tests;
