//! The seccomp filters that a container would be under, or is under, together: what all of them answer to a call, and
//! which of them says no. Knows nothing of recordings.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use libseccomp::ScmpSyscall;

use crate::{
    error::Result,
    recording::printable,
    seccomp::{
        arch::Arch,
        bpf::{Call, MAX_STATES, Outcome},
        capabilities::Capabilities,
        chain::Chain,
        compile::{Filter, compile},
        profile::{self, Profile, Rule},
        runtime::Runtime,
    },
};

/// The container that the files are for.
#[derive(Debug, Clone)]
pub struct Container {
    /// Who loads the filter.
    pub runtime: Runtime,
    /// Whether it runs with `no_new_privs`.
    pub no_new_privileges: bool,
    /// Its bounding capabilities, where they are known; Docker's profiles have rules that depend on them.
    pub capabilities: Option<Capabilities>,
    /// Its kernel's version, where that is known; Docker's profiles have rules that depend on it too.
    pub kernel: Option<String>,
}

impl Container {
    /// One of which only the runtime is known.
    pub fn of(runtime: Runtime) -> Self {
        Self { runtime, no_new_privileges: false, capabilities: None, kernel: None }
    }
}

/// A profile, compiled as the container's runtime compiles it.
#[derive(Debug)]
pub struct Source {
    /// What messages call it.
    name: String,
    profile: Profile,
    filter: Filter,
}

/// Filters that are in force together.
#[derive(Debug)]
pub struct Filters {
    /// Where they come from files; empty for those that a kernel holds.
    sources: Vec<Source>,
    /// What the kernel asks.
    chain: Chain,
}

/// What the filters do with a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It is made.
    GoesOn,
    /// It is not, whatever is unknown of it.
    Blocked(Outcome),
    /// Whether a rule is in the profile at all is not known.
    Unsettled(String),
    /// Whether it is made depends on what is unknown of it, or on somebody else.
    Depends(Outcome),
}

impl Filters {
    /// Reads and compiles the profiles in these files.
    pub fn load<P: AsRef<Path>>(files: &[P], container: &Container) -> Result<Self> {
        let profiles = files.iter().map(|file| {
            let file = file.as_ref();
            Ok((file.display().to_string(), profile::load(file)?))
        });
        Self::of(profiles.collect::<Result<Vec<_>>>()?, container)
    }

    /// Compiles profiles that have been read, each with the name that messages use.
    pub fn of(profiles: Vec<(String, Profile)>, container: &Container) -> Result<Self> {
        let mut sources = Vec::new();
        for (name, mut profile) in profiles {
            profile.resolve_known(container.capabilities.as_ref(), container.kernel.as_deref());
            let filter = compile(&profile, container.runtime.answers_enosys())?;
            sources.push(Source { name, profile, filter });
        }
        // The last one is loaded last. It makes no difference to whether a call goes on.
        let chain = Chain::new(sources.iter().rev().map(|s| s.filter.program.clone().into()).collect());
        Ok(Self { sources, chain })
    }

    /// What a kernel holds.
    pub fn held(chain: Chain) -> Self {
        Self { sources: Vec::new(), chain }
    }

    /// What readers of the files should know: names that are ignored, and the like.
    pub fn notes(&self) -> Vec<String> {
        let unknown = self.sources.iter().filter(|source| !source.filter.unknown.is_empty()).map(|source| {
            let names: Vec<String> = source.filter.unknown.iter().map(|name| printable(name)).collect();
            let version =
                libseccomp::ScmpVersion::current().map_or_else(|_| String::new(), |v| format!(" {v}"));
            format!(
                "libseccomp{version} does not know {}: a runtime built with it ignores these names",
                names.join(", ")
            )
        });
        self.sources.iter().flat_map(|source| source.profile.notes.clone()).chain(unknown).collect()
    }

    /// What they do with the call `name`, whose registers are `call`.
    pub fn answer(&self, name: &str, call: &Call) -> Answer {
        let mut unsettled = BTreeSet::new();
        for source in &self.sources {
            let outcome = source.filter.program.outcome(call);
            let depends = source.depends(name, &outcome);
            if depends.is_empty() && outcome.never_goes_on() {
                // One is enough, whatever the others turn out to be.
                return Answer::Blocked(self.outcome(call));
            }
            unsettled.extend(depends);
        }
        if !unsettled.is_empty() {
            return Answer::Unsettled(unsettled.into_iter().collect::<Vec<_>>().join(" and "));
        }
        let outcome = self.outcome(call);
        if outcome.always_goes_on() {
            Answer::GoesOn
        } else if outcome.never_goes_on() {
            Answer::Blocked(outcome)
        } else {
            Answer::Depends(outcome)
        }
    }

    /// Everything that they may answer to a call.
    pub fn outcome(&self, call: &Call) -> Outcome {
        self.chain.outcome(call, MAX_STATES)
    }

    /// What to add, and to which file, so that a call that is blocked goes on.
    pub fn remedy(&self, arch: Arch, name: &str, nr: u32, tuple: &BTreeMap<u8, u64>) -> String {
        let blocking: Vec<&Source> = self
            .sources
            .iter()
            .filter(|source| source.filter.program.outcome(&registers(arch, nr, tuple)).never_goes_on())
            .collect();
        let several = self.sources.len() > 1;
        let remedies: Vec<String> = blocking
            .iter()
            .map(|source| {
                let remedy = source.remedy(arch, name, nr, tuple);
                if several { format!("{remedy} in {}", source.name) } else { remedy }
            })
            .collect();
        if remedies.is_empty() { format!("\"{}\"", printable(name)) } else { remedies.join(", ") }
    }
}

impl Source {
    /// What the answer depends on, when a rule that is there in some containers only could change it.
    fn depends(&self, name: &str, outcome: &Outcome) -> BTreeSet<String> {
        let mine = |rule: &&Rule| !rule.depends_on.is_empty() && rule.names.iter().any(|n| n == name);
        let could_change = |rule: &&Rule| {
            let admits = matches!(rule.action.action.as_str(), "SCMP_ACT_ALLOW" | "SCMP_ACT_LOG");
            // One more rule that admits can't take away what is admitted.
            !(admits && outcome.always_goes_on())
        };
        let rules = self.profile.rules.iter().filter(mine).filter(could_change);
        rules.flat_map(|rule| &rule.depends_on).map(ToString::to_string).collect()
    }

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
        let with_any = self.filter.program.outcome(&registers(arch, nr, &BTreeMap::new()));
        if !tuple.is_empty() && with_any.actions.iter().any(|a| a.goes_on()) {
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
}

/// A call as filters see it; positions that are not in `tuple` may hold anything.
pub fn registers(arch: Arch, nr: u32, tuple: &BTreeMap<u8, u64>) -> Call {
    let mut args = [None; 6];
    for (index, value) in tuple {
        if let Some(slot) = args.get_mut(usize::from(*index)) {
            *slot = Some(*value);
        }
    }
    Call { nr: arch.number(nr), arch: arch.audit(), args }
}

/// The number of a call, where the architecture has it and libseccomp knows it.
pub fn number(name: &str, arch: Arch) -> Option<u32> {
    let call = ScmpSyscall::from_name_by_arch(name, arch.scmp()).ok()?;
    // A negative number stands for a call that this architecture lacks.
    u32::try_from(call.as_raw_syscall()).ok()
}

/// What an outcome is called in messages.
pub fn describe(outcome: &Outcome) -> String {
    let actions: Vec<String> = outcome.actions.iter().map(ToString::to_string).collect();
    if actions.is_empty() { "an undecided answer".into() } else { actions.join(" or ") }
}

/// `(1, _, 0x80000)`: the known positions, and a gap for the others.
pub fn arguments(tuple: &BTreeMap<u8, u64>) -> String {
    let Some(last) = tuple.keys().next_back() else { return String::new() };
    let shown: Vec<String> =
        (0..=*last).map(|index| tuple.get(&index).map_or_else(|| "_".into(), |v| number_text(*v))).collect();
    format!("({})", shown.join(", "))
}

/// Small numbers are counts and families, large ones are flags.
pub fn number_text(value: u64) -> String {
    if value < 1000 { value.to_string() } else { format!("{value:#x}") }
}
