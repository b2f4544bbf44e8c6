//! The seccomp filters that the target is under, and which calls they refused.
//!
//! The kernel side sends every filter once, in parts, and says with each call that may have been refused which chain
//! of filters judged it. Whether it was, only running them tells.

use std::{collections::HashMap, sync::Arc};

use sandbox_trace_ebpf::{
    Header, arch,
    record::{FilterPart, flag},
};
use sha2::{Digest as _, Sha256};

use super::{identity::hexadecimal, meaning::error_name};
use crate::{
    recording::SeccompFilter,
    seccomp::{
        arch::Arch,
        bpf::{Action, Call, Program},
        chain::Chain,
    },
};

/// Most bytes of instructions that are kept: some hundred filters of the longest kind.
const MAX_BYTES: usize = 16 << 20;
/// Most chains that are kept.
const MAX_CHAINS: usize = 4096;
/// Most states that one look at all that a filter may answer takes, and all of them together: a target may bring
/// filters that are slow to look through.
const MAX_STATES: usize = 4096;
const ALL_LOOKS: u64 = 20_000;
/// A number that no architecture has ever used and that lies among those that are: what a filter says of it, it
/// says of all that it does not list. Source: `syscall_64.tbl`, Linux 6.18.
const UNUSED: u32 = 400;

/// What is known of a call's refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The filters let it through.
    Passed,
    /// A filter refused it, with this answer: an error's name, `SIGSYS` or `killed`.
    Refused(String),
    /// It can't be told.
    Unknown(Doubt),
}

/// Why it can't be told whether a filter refused a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Doubt {
    /// The kernel did not keep a filter, or there were too many.
    Unread,
    /// A filter leaves it to a supervisor or a tracer.
    Decided,
    /// A filter looks at arguments that are not recorded.
    Arguments,
}

#[derive(Debug, Default)]
struct Known {
    chain: Chain,
    /// Whether all of its filters are there.
    whole: bool,
}

/// The filters that were met.
#[derive(Debug, Default)]
pub struct Filters {
    parts: HashMap<u64, Vec<u8>>,
    bytes: usize,
    chains: HashMap<u64, Known>,
    looks: u64,
    /// Filters that could not be kept.
    pub overflow: u64,
}

impl Filters {
    /// Takes in a part of a filter.
    pub fn add_part(&mut self, key: u64, bytes: Vec<u8>) {
        if self.bytes.saturating_add(bytes.len()) > MAX_BYTES {
            self.overflow += 1;
            return;
        }
        self.bytes += bytes.len();
        self.parts.insert(key, bytes);
    }

    /// Takes in a chain, newest filter first. Its parts came before it.
    pub fn add_chain(&mut self, key: u64, truncated: bool, parts: &[FilterPart]) {
        if self.chains.len() >= MAX_CHAINS {
            self.overflow += 1;
            return;
        }
        let mut filters: Vec<Option<Vec<u8>>> = Vec::new();
        for part in parts {
            let bytes = self.parts.get(&part.key).filter(|_| part.key != 0);
            match (filters.last_mut(), bytes) {
                (Some(Some(filter)), Some(bytes)) if part.at != 0 => filter.extend_from_slice(bytes),
                _ => filters.push(bytes.filter(|_| part.at == 0).cloned()),
            }
        }
        let programs: Vec<Option<Arc<Program>>> =
            filters.into_iter().map(|bytes| Program::from_bytes(&bytes?).ok().map(Arc::new)).collect();
        let whole = !truncated && !programs.is_empty() && programs.iter().all(Option::is_some);
        let chain = Chain::new(programs.into_iter().flatten().collect());
        self.chains.insert(key, Known { chain, whole });
    }

    /// Whether a filter refused a call.
    pub fn judge(&mut self, header: &Header) -> Verdict {
        let Some(arch) = architecture(header.arch) else { return Verdict::Passed };
        if header.flags & flag::KILLED != 0 {
            return self.judge_end(arch, header.nr);
        }
        if header.filters == 0 {
            return Verdict::Passed;
        }
        let answered = answered(header);
        let Some(known) = self.chains.get(&header.filters) else { return unknown(header, Doubt::Unread) };
        let may = |action: Action| answered(action) || matches!(action, Action::Trace | Action::Notify);
        if known.whole && !known.chain.can_answer(may) {
            return Verdict::Passed;
        }
        // The most severe answer is taken, so one filter is enough to know a refusal by; to know that there was
        // none takes all of them.
        let decided = known.chain.decide(&call(arch, header, u8::MAX));
        match decided {
            Some(action) if answered(action) => return Verdict::Refused(answer(action)),
            _ if !known.whole => return unknown(header, Doubt::Unread),
            Some(Action::Trace | Action::Notify) => return unknown(header, Doubt::Decided),
            _ => {}
        }
        // This call went through. Others of the same recorded arguments were not told apart from it.
        self.looks += 1;
        if self.looks > ALL_LOOKS {
            return Verdict::Unknown(Doubt::Arguments);
        }
        let mask = u8::try_from(header.mask & 0x3f).unwrap_or(0);
        let outcome = known.chain.outcome(&call(arch, header, mask), MAX_STATES);
        if outcome.explored && !outcome.actions.iter().any(|action| answered(*action)) {
            Verdict::Passed
        } else {
            Verdict::Unknown(Doubt::Arguments)
        }
    }

    /// Whether any filter has a thread end in this call with `SIGSYS`. If not, somebody sent the signal.
    fn judge_end(&self, arch: Arch, nr: u32) -> Verdict {
        let call = Call { nr: arch.number(nr), arch: arch.audit(), args: [None; 6] };
        let ends =
            |action: &Action| matches!(action, Action::Trap | Action::KillThread | Action::KillProcess);
        let worst = self.chains.values().filter_map(|known| {
            let outcome = known.chain.outcome(&call, MAX_STATES);
            outcome.actions.into_iter().filter(ends).max()
        });
        worst.max().map_or(Verdict::Passed, |action| Verdict::Refused(answer(action)))
    }

    /// The filters of some chains, each once, as a recording describes them; and whether all of them are there.
    pub fn describe<'a>(&self, chains: impl IntoIterator<Item = &'a u64>) -> (Vec<SeccompFilter>, bool) {
        let mut out = Vec::new();
        let mut whole = true;
        for known in chains.into_iter().map(|key| self.chains.get(key)) {
            let Some(known) = known else {
                whole = false;
                continue;
            };
            whole &= known.whole;
            out.extend(known.chain.filters().iter().map(|filter| describe(filter)));
        }
        out.sort();
        out.dedup();
        (out, whole)
    }
}

/// A filter that may not have judged the call at all: a call that worked is not in doubt.
fn unknown(header: &Header, doubt: Doubt) -> Verdict {
    if header.errno == 0 { Verdict::Passed } else { Verdict::Unknown(doubt) }
}

/// Whether an action looks like what the call got.
fn answered(header: &Header) -> impl Fn(Action) -> bool + Copy {
    let (errno, own_number) = (header.errno, header.flags & flag::OWN_NUMBER != 0);
    move |action| match action {
        Action::Errno(e) => errno != 0 && u32::from(e) == errno,
        Action::Trap | Action::KillThread | Action::KillProcess => own_number,
        Action::Allow | Action::Log | Action::Trace | Action::Notify => false,
    }
}

fn answer(action: Action) -> String {
    match action {
        Action::Errno(e) => error_name(u32::from(e)),
        Action::Trap => "SIGSYS".into(),
        _ => "killed".into(),
    }
}

fn architecture(number: u8) -> Option<Arch> {
    match number {
        arch::X86_64 => Some(Arch::X8664),
        arch::I386 => Some(Arch::I386),
        arch::X32 => Some(Arch::X32),
        _ => None,
    }
}

/// A call as a filter saw it, with those arguments of which `mask` has the bit.
fn call(arch: Arch, header: &Header, mask: u8) -> Call {
    // The same number on all architectures. What is recorded of it is what its first argument points to.
    const CLONE3: u32 = 435;
    let mut args = header.args.map(Some);
    for (index, argument) in args.iter_mut().enumerate() {
        if mask & (1 << index) == 0 || (header.nr == CLONE3 && index == 0) {
            *argument = None;
        }
    }
    Call { nr: arch.number(header.nr), arch: arch.audit(), args }
}

fn describe(filter: &Program) -> SeccompFilter {
    let mut hash = Sha256::new();
    for instruction in filter.instructions() {
        hash.update(instruction.code.to_le_bytes());
        hash.update([instruction.jt, instruction.jf]);
        hash.update(instruction.k.to_le_bytes());
    }
    let unlisted = Call { nr: UNUSED, arch: Arch::X8664.audit(), args: [None; 6] };
    let default = filter.outcome_within(&unlisted, MAX_STATES).actions;
    SeccompFilter {
        sha256: hexadecimal(&hash.finalize()),
        instructions: filter.instructions().len() as u64,
        default: default.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or "),
    }
}

#[cfg(test)]
mod tests;
