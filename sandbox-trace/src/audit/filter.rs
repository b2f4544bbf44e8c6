//! Which system calls filters let through, all of them asked: a list says more than a name.

use std::sync::Arc;

use crate::{
    error::Result,
    policy::danger,
    seccomp::{arch::Arch, bpf::Call, chain::Chain, compile, profile::Profile},
};

/// What filters admit of x86-64's calls.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Those that pass with any arguments, or with some.
    pub allowed: Vec<&'static str>,
    /// Of these, the dangerous ones that pass with any arguments.
    pub dangerous: Vec<&'static str>,
    /// How many there are.
    pub of: usize,
}

impl Filter {
    /// Of what the kernel holds; `None` without any filter.
    pub fn of_chain(chain: &Chain) -> Option<Self> {
        /// The kernel's own filters are far smaller; a hostile one is not explored for ever.
        const STATES: usize = 1 << 14;
        if chain.filters().is_empty() {
            return None;
        }
        let mut out = Self::default();
        let arch = Arch::X8664;
        for sysno in syscalls::x86_64::Sysno::iter() {
            let Ok(nr) = u32::try_from(sysno.id()) else { continue };
            let call = Call { nr: arch.number(nr), arch: arch.audit(), args: [None; 6] };
            let outcome = chain.outcome(&call, STATES);
            out.of += 1;
            if !outcome.explored || outcome.actions.iter().any(|action| action.goes_on()) {
                out.allowed.push(sysno.name());
                if outcome.always_goes_on() && danger::reason(danger::SYSCALLS, sysno.name()).is_some() {
                    out.dangerous.push(sysno.name());
                }
            }
        }
        out.allowed.sort_unstable();
        out.dangerous.sort_unstable();
        Some(out)
    }

    /// Of a profile, compiled as a runtime does it.
    pub fn of_profile(profile: &Profile) -> Result<Option<Self>> {
        let filter = compile::compile(profile, false)?;
        Ok(Self::of_chain(&Chain::new(vec![Arc::new(filter.program)])))
    }

    /// Whether it refuses nothing.
    pub fn is_open(&self) -> bool {
        self.allowed.len() >= self.of
    }
}
