//! The kernel's view of a filter: classic BPF over `struct seccomp_data`, validated as the kernel does and
//! interpreted with arguments that may be unknown.
//!
//! Sources: `seccomp_check_filter` in kernel/seccomp.c and `bpf_check_classic` in net/core/filter.c, Linux 6.1.

use std::{collections::BTreeSet, fmt};

/// `BPF_MAXINSNS`: the kernel loads no longer program.
pub const MAX_INSTRUCTIONS: usize = 4096;

/// More states than any filter that libseccomp makes has; beyond it the answer is "not decided".
pub const MAX_STATES: usize = 1 << 16;

/// Bytes of `struct seccomp_data`.
const DATA_BYTES: u32 = 64;

const ARG_BASE: u32 = 16;

/// Words of scratch memory (`BPF_MEMWORDS`).
const MEMORY_WORDS: u32 = 16;

/// `struct sock_filter`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Instruction {
    /// The operation.
    pub code: u16,
    /// Instructions to skip when the comparison holds.
    pub jt: u8,
    /// Instructions to skip when it does not.
    pub jf: u8,
    /// The operand.
    pub k: u32,
}

/// The codes that a seccomp filter may use.
pub mod code {
    #![allow(missing_docs, reason = "the names of linux/bpf_common.h say it")]
    pub const LD_ABS: u16 = 0x20;
    pub const LD_LEN: u16 = 0x80;
    pub const LD_IMM: u16 = 0x00;
    pub const LD_MEM: u16 = 0x60;
    pub const LDX_LEN: u16 = 0x81;
    pub const LDX_IMM: u16 = 0x01;
    pub const LDX_MEM: u16 = 0x61;
    pub const ST: u16 = 0x02;
    pub const STX: u16 = 0x03;
    pub const TAX: u16 = 0x07;
    pub const TXA: u16 = 0x87;
    pub const RET_K: u16 = 0x06;
    pub const RET_A: u16 = 0x16;
    pub const JA: u16 = 0x05;
    pub const JEQ: u16 = 0x15;
    pub const JGT: u16 = 0x25;
    pub const JGE: u16 = 0x35;
    pub const JSET: u16 = 0x45;
    pub const NEG: u16 = 0x84;
    /// Set in a comparison or an operation that takes X instead of the operand.
    pub const USE_X: u16 = 0x08;
    pub const AND: u16 = 0x54;
    /// Class and operation bits of an arithmetic instruction, without [`USE_X`].
    pub const ALU_CLASS: u16 = 0x04;
}

/// What the kernel does with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// The call goes on.
    Allow,
    /// The call goes on and is logged.
    Log,
    /// A tracer decides; without one the call fails with `ENOSYS`.
    Trace,
    /// A supervisor decides.
    Notify,
    /// The call fails with this error number; 0 is a success that did nothing.
    Errno(u16),
    /// The thread gets `SIGSYS`, which it may handle.
    Trap,
    /// The thread is killed.
    KillThread,
    /// The process is killed.
    KillProcess,
}

impl Action {
    /// From a filter's return value. A value that the kernel does not know kills the process.
    pub fn from_return(value: u32) -> Self {
        match value & 0xffff_0000 {
            0x7fff_0000 => Self::Allow,
            0x7ffc_0000 => Self::Log,
            0x7ff0_0000 => Self::Trace,
            0x7fc0_0000 => Self::Notify,
            // The kernel takes a number above MAX_ERRNO for MAX_ERRNO (4095).
            0x0005_0000 => Self::Errno(u16::try_from(value & 0xffff).unwrap_or(u16::MAX).min(4095)),
            0x0003_0000 => Self::Trap,
            0 => Self::KillThread,
            _ => Self::KillProcess,
        }
    }

    /// Whether the call is made.
    pub fn goes_on(self) -> bool {
        matches!(self, Self::Allow | Self::Log)
    }

    /// Of several filters' actions the most severe is taken, and among equals the newest filter's (seccomp(2)).
    pub fn severity(self) -> u8 {
        match self {
            Self::Allow => 0,
            Self::Log => 1,
            Self::Trace => 2,
            Self::Notify => 3,
            Self::Errno(_) => 4,
            Self::Trap => 5,
            Self::KillThread => 6,
            Self::KillProcess => 7,
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Allow => f.write_str("allowed"),
            Self::Log => f.write_str("allowed and logged"),
            Self::Trace => f.write_str("a tracer's decision"),
            Self::Notify => f.write_str("a supervisor's decision"),
            Self::Errno(0) => f.write_str("nothing done, success returned"),
            Self::Errno(nr) => match nix::errno::Errno::from_raw(i32::from(*nr)) {
                nix::errno::Errno::UnknownErrno => write!(f, "error {nr}"),
                name => write!(f, "{name:?}"),
            },
            Self::Trap => f.write_str("SIGSYS"),
            Self::KillThread => f.write_str("thread killed"),
            Self::KillProcess => f.write_str("process killed"),
        }
    }
}

/// A system call as a filter sees it. An argument that is `None` may have any value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    /// The number, with the x32 bit where it belongs.
    pub nr: u32,
    /// `AUDIT_ARCH_*`.
    pub arch: u32,
    /// The arguments.
    pub args: [Option<u64>; 6],
}

impl Call {
    /// The word at `offset` of `struct seccomp_data`, on a little-endian machine. The instruction pointer is
    /// never known.
    fn word(&self, offset: u32) -> Option<u32> {
        match offset {
            0 => Some(self.nr),
            4 => Some(self.arch),
            8 | 12 => None,
            _ => {
                let index = usize::try_from(offset.checked_sub(ARG_BASE)? / 8).ok()?;
                let value = (*self.args.get(index)?)?;
                let word = if offset.is_multiple_of(8) { value & 0xffff_ffff } else { value >> 32 };
                u32::try_from(word).ok()
            }
        }
    }
}

/// All that a filter may do with a call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The possible actions: one, unless an unknown argument matters.
    pub actions: BTreeSet<Action>,
    /// False if the program was too large to explore: other actions are possible.
    pub explored: bool,
}

impl Outcome {
    /// Whether the call is made whatever the unknown arguments are.
    pub fn always_goes_on(&self) -> bool {
        self.explored && !self.actions.is_empty() && self.actions.iter().all(|a| a.goes_on())
    }

    /// Whether the call is never made: each action is a failure or a kill, none somebody else's decision.
    pub fn never_goes_on(&self) -> bool {
        self.explored
            && !self.actions.is_empty()
            && !self.actions.iter().any(|a| a.goes_on() || matches!(a, Action::Trace | Action::Notify))
    }
}

/// A program that the kernel would accept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program(Vec<Instruction>);

/// Why the kernel would not accept a program.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// No instruction, or more than [`MAX_INSTRUCTIONS`].
    #[error("it has {0} instructions; the kernel takes 1 to {MAX_INSTRUCTIONS}")]
    Length(usize),
    /// Not a whole number of instructions.
    #[error("{0} bytes are not a whole number of instructions")]
    Truncated(usize),
    /// An instruction that seccomp does not know, or a load or jump outside the bounds.
    #[error("instruction {index} (code {code:#04x}) is not one that seccomp accepts there")]
    Instruction {
        /// Its position.
        index: usize,
        /// Its code.
        code: u16,
    },
}

/// One point of an exploration.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct State {
    at: usize,
    a: Option<u32>,
    x: Option<u32>,
    memory: [Option<u32>; MEMORY_WORDS as usize],
}

impl State {
    fn start() -> Self {
        Self { at: 0, a: Some(0), x: Some(0), memory: [Some(0); MEMORY_WORDS as usize] }
    }
}

impl Program {
    /// Checks the instructions as the kernel does.
    pub fn new(instructions: Vec<Instruction>) -> Result<Self, Invalid> {
        let length = instructions.len();
        if !(1..=MAX_INSTRUCTIONS).contains(&length) {
            return Err(Invalid::Length(length));
        }
        for (index, instruction) in instructions.iter().enumerate() {
            if !acceptable(*instruction, length - index - 1) {
                return Err(Invalid::Instruction { index, code: instruction.code });
            }
        }
        Ok(Self(instructions))
    }

    /// Reads the bytes that libseccomp exports: `struct sock_filter` in the machine's byte order.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Invalid> {
        let (chunks, rest) = bytes.as_chunks::<8>();
        if !rest.is_empty() {
            return Err(Invalid::Truncated(bytes.len()));
        }
        let instruction = |&[c0, c1, jt, jf, k0, k1, k2, k3]: &[u8; 8]| Instruction {
            code: u16::from_ne_bytes([c0, c1]),
            jt,
            jf,
            k: u32::from_ne_bytes([k0, k1, k2, k3]),
        };
        Self::new(chunks.iter().map(instruction).collect())
    }

    /// The instructions.
    pub fn instructions(&self) -> &[Instruction] {
        &self.0
    }

    /// Everything that the program may answer to `call`. Where an unknown argument decides a branch, both ways
    /// are followed; the answer may then hold an action that no value leads to, never the other way round.
    pub fn outcome(&self, call: &Call) -> Outcome {
        self.outcome_within(call, MAX_STATES)
    }

    /// As [`Program::outcome`], giving up after so many states.
    pub fn outcome_within(&self, call: &Call, states: usize) -> Outcome {
        let mut outcome = Outcome { explored: true, ..Outcome::default() };
        let start = State::start();
        let mut seen = BTreeSet::from([start.clone()]);
        let mut todo = vec![start];
        while let Some(state) = todo.pop() {
            for next in self.step(state, call, &mut outcome) {
                if seen.len() >= states {
                    outcome.explored = false;
                    return outcome;
                }
                if seen.insert(next.clone()) {
                    todo.push(next);
                }
            }
        }
        outcome
    }

    /// The one answer to `call`; `None` if it depends on what is not known.
    pub fn decide(&self, call: &Call) -> Option<Action> {
        let mut outcome = Outcome { explored: true, ..Outcome::default() };
        let mut state = State::start();
        // A jump goes forward only: each instruction is met once at most.
        for _ in 0..self.0.len() {
            let mut next = self.step(state, call, &mut outcome).into_iter();
            match (next.next(), next.next()) {
                (Some(one), None) => state = one,
                _ => break,
            }
        }
        let mut actions = outcome.actions.into_iter();
        match (actions.next(), actions.next(), outcome.explored) {
            (Some(action), None, true) => Some(action),
            _ => None,
        }
    }

    /// Whether any of the actions that the program can answer satisfies `wanted`, whatever it is asked.
    pub fn can_answer(&self, wanted: impl Fn(Action) -> bool) -> bool {
        self.0.iter().any(|instruction| match instruction.code {
            code::RET_K => wanted(Action::from_return(instruction.k)),
            code::RET_A => true,
            // Dividing by an X that is 0 kills.
            code if code & 0x07 == code::ALU_CLASS && code & code::USE_X != 0 => wanted(Action::KillThread),
            _ => false,
        })
    }

    /// Executes one instruction: the states that follow, none after a return.
    fn step(&self, mut state: State, call: &Call, outcome: &mut Outcome) -> Vec<State> {
        let Some(Instruction { code, jt, jf, k }) = self.0.get(state.at).copied() else {
            // A validated program never runs off its end.
            outcome.explored = false;
            return Vec::new();
        };
        state.at += 1;
        let word = usize::try_from(k).unwrap_or(usize::MAX);
        match code {
            code::LD_ABS => state.a = call.word(k),
            code::LD_LEN => state.a = Some(DATA_BYTES),
            code::LD_IMM => state.a = Some(k),
            code::LD_MEM => state.a = state.memory.get(word).copied().flatten(),
            code::LDX_LEN => state.x = Some(DATA_BYTES),
            code::LDX_IMM => state.x = Some(k),
            code::LDX_MEM => state.x = state.memory.get(word).copied().flatten(),
            code::ST | code::STX => {
                let value = if code == code::ST { state.a } else { state.x };
                if let Some(slot) = state.memory.get_mut(word) {
                    *slot = value;
                }
            }
            code::TAX => state.x = state.a,
            code::TXA => state.a = state.x,
            code::RET_K => {
                outcome.actions.insert(Action::from_return(k));
                return Vec::new();
            }
            code::RET_A => {
                match state.a {
                    Some(value) => _ = outcome.actions.insert(Action::from_return(value)),
                    None => outcome.explored = false,
                }
                return Vec::new();
            }
            code::JA => state.at = state.at.saturating_add(word),
            code::NEG => state.a = state.a.map(u32::wrapping_neg),
            _ => {
                let operand = if code & code::USE_X == 0 { Some(k) } else { state.x };
                if code & 0x07 == code::ALU_CLASS {
                    // Dividing by an X that is 0 returns 0 from the program: the thread is killed.
                    let divides = matches!(code & 0xf0, 0x30 | 0x90) && code & code::USE_X != 0;
                    if divides && operand.is_none_or(|x| x == 0) {
                        outcome.actions.insert(Action::KillThread);
                        if operand == Some(0) {
                            return Vec::new();
                        }
                    }
                    state.a = arithmetic(code, state.a, operand);
                } else {
                    let holds = state.a.zip(operand).map(|(a, k)| compare(code, a, k));
                    let skip = |by: u8| State { at: state.at + usize::from(by), ..state.clone() };
                    return match holds {
                        Some(true) => vec![skip(jt)],
                        Some(false) => vec![skip(jf)],
                        None => vec![skip(jt), skip(jf)],
                    };
                }
            }
        }
        vec![state]
    }
}

fn compare(code: u16, a: u32, k: u32) -> bool {
    match code & !code::USE_X {
        code::JEQ => a == k,
        code::JGT => a > k,
        code::JGE => a >= k,
        _ => a & k != 0,
    }
}

fn arithmetic(code: u16, a: Option<u32>, k: Option<u32>) -> Option<u32> {
    // The one operation that libseccomp uses with unknown words: a mask of zero hides them.
    if code & 0xf0 == 0x50 && (k == Some(0) || a == Some(0)) {
        return Some(0);
    }
    let (a, k) = (a?, k?);
    match code & 0xf0 {
        0x00 => Some(a.wrapping_add(k)),
        0x10 => Some(a.wrapping_sub(k)),
        0x20 => Some(a.wrapping_mul(k)),
        0x30 => a.checked_div(k),
        0x40 => Some(a | k),
        0x50 => Some(a & k),
        0x60 => a.checked_shl(k),
        0x70 => a.checked_shr(k),
        0x90 => a.checked_rem(k),
        0xa0 => Some(a ^ k),
        _ => None,
    }
}

/// Whether the kernel accepts `instruction` with `left` instructions after it. The last must return, which
/// follows from every other one needing a successor.
fn acceptable(instruction: Instruction, left: usize) -> bool {
    let Instruction { code, jt, jf, k } = instruction;
    match code {
        code::RET_K | code::RET_A => true,
        code::LD_ABS => left > 0 && k % 4 == 0 && k < DATA_BYTES,
        code::LD_LEN | code::LD_IMM | code::LDX_LEN | code::LDX_IMM | code::TAX | code::TXA | code::NEG => {
            left > 0
        }
        code::LD_MEM | code::LDX_MEM | code::ST | code::STX => left > 0 && k < MEMORY_WORDS,
        code::JA => usize::try_from(k).is_ok_and(|skip| skip < left),
        _ => match code & !code::USE_X {
            code::JEQ | code::JGT | code::JGE | code::JSET => {
                usize::from(jt) < left && usize::from(jf) < left
            }
            // add, sub, mul, or, and, xor; divisions not by a constant 0; shifts below the word's width
            0x04 | 0x14 | 0x24 | 0x44 | 0x54 | 0xa4 => left > 0,
            // Linux 6.1 has no modulo in seccomp's list.
            0x34 => left > 0 && (code & code::USE_X != 0 || k != 0),
            0x64 | 0x74 => left > 0 && (code & code::USE_X != 0 || k < 32),
            _ => false,
        },
    }
}

#[cfg(test)]
mod tests;
