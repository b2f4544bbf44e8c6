//! The compiled automaton: reads its tables and walks bytes through it, as the kernel does. Owns no meaning of
//! the accepted permissions (`perms`) and nothing of the stream around it (`policy`).
//!
//! The bytes may come from a damaged or hostile file: every index is checked when the tables are read, and
//! again where it is used. Source: `security/apparmor/match.c`, Linux 6.1.

use std::collections::{HashMap, VecDeque};

/// A state of the automaton.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct State(pub u32);

impl State {
    /// The state that accepts nothing and is never left.
    pub const DEAD: Self = Self(0);
    /// Where a walk begins if the policy does not say otherwise.
    pub const START: Self = Self(1);
}

const MAGIC: u32 = 0x1b5e_783d;
/// Offset in a blob at which the tables may start: they are padded to 8 bytes in the whole stream.
const MAX_PADDING: usize = 7;

const ID_ACCEPT: u16 = 1;
const ID_BASE: u16 = 2;
const ID_CHECK: u16 = 3;
const ID_DEFAULT: u16 = 4;
const ID_CLASSES: u16 = 5;
const ID_ACCEPT2: u16 = 7;
const ID_NEXT: u16 = 8;

/// In a base: on a mismatch the default state is tried with the same byte.
const DIFF_ENCODED: u32 = 0x8000_0000;
const BASE_INDEX: u32 = 0x00ff_ffff;

/// The tables of a compressed automaton.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dfa {
    accept: Vec<u32>,
    accept2: Vec<u32>,
    base: Vec<u32>,
    default: Vec<u32>,
    next: Vec<u32>,
    check: Vec<u32>,
    /// Byte → equivalence class, where the compiler merged bytes that no rule tells apart.
    classes: Option<Vec<u8>>,
}

impl Dfa {
    /// Reads the tables from a blob of the policy stream. The error says what is wrong with it.
    pub fn parse(blob: &[u8]) -> Result<Self, String> {
        let tables = (0..=MAX_PADDING.min(blob.len()))
            .filter_map(|skip| blob.get(skip..))
            .find(|bytes| be32(bytes, 0) == Some(MAGIC))
            .ok_or("the automaton does not start with its magic number")?;
        let header = be32(tables, 4).ok_or("the automaton's header is cut off")?;
        let mut rest =
            tables.get(index(header)..).ok_or("the automaton's header is longer than the automaton")?;
        let mut dfa = Self {
            accept: Vec::new(),
            accept2: Vec::new(),
            base: Vec::new(),
            default: Vec::new(),
            next: Vec::new(),
            check: Vec::new(),
            classes: None,
        };
        while rest.len() >= 16 {
            let (id, values, size) = table(rest)?;
            match id {
                ID_ACCEPT => dfa.accept = values,
                ID_BASE => dfa.base = values,
                ID_CHECK => dfa.check = values,
                ID_DEFAULT => dfa.default = values,
                ID_CLASSES => {
                    let classes: Result<Vec<u8>, _> = values.into_iter().map(u8::try_from).collect();
                    dfa.classes = Some(classes.map_err(|_| "an equivalence class is larger than a byte")?);
                }
                ID_ACCEPT2 => dfa.accept2 = values,
                ID_NEXT => dfa.next = values,
                other => return Err(format!("the automaton has a table of unknown kind {other}")),
            }
            rest = rest.get(size..).unwrap_or(&[]);
        }
        dfa.check_tables()?;
        Ok(dfa)
    }

    /// What the kernel checks before it uses an automaton (`verify_dfa`): tables that belong together, and no
    /// reference out of them.
    fn check_tables(&self) -> Result<(), String> {
        let states = self.base.len();
        if states == 0 || self.next.is_empty() {
            return Err("the automaton has no states".into());
        }
        if self.default.len() != states || self.accept.len() != states {
            return Err("the automaton's state tables differ in length".into());
        }
        if !self.accept2.is_empty() && self.accept2.len() != states {
            return Err("the automaton's second permission table has another length than the first".into());
        }
        if self.next.len() != self.check.len() {
            return Err("the automaton's transition tables differ in length".into());
        }
        if self.classes.as_ref().is_some_and(|classes| classes.len() != 256) {
            return Err("the automaton's table of equivalence classes has not 256 entries".into());
        }
        let is_state = |state: &u32| index(*state) < states;
        if !self.default.iter().all(is_state) {
            return Err("a default transition leads out of the automaton".into());
        }
        if !self.next.iter().chain(&self.check).all(is_state) {
            return Err("a transition leads out of the automaton".into());
        }
        Ok(())
    }

    /// The state after `byte`.
    pub fn step(&self, state: State, byte: u8) -> State {
        let class = self.classes.as_ref().and_then(|c| c.get(usize::from(byte)).copied()).unwrap_or(byte);
        let mut current = state.0;
        // A chain of differentially encoded states is at most as long as there are states; a longer one is a
        // cycle, which only a damaged automaton has.
        for _ in 0..self.base.len() {
            let Some(&base) = self.base.get(index(current)) else { return State::DEAD };
            let position = index(base & BASE_INDEX) + usize::from(class);
            if self.check.get(position) == Some(&current) {
                return State(self.next.get(position).copied().unwrap_or(0));
            }
            let Some(&default) = self.default.get(index(current)) else { return State::DEAD };
            current = default;
            if base & DIFF_ENCODED == 0 {
                return State(current);
            }
        }
        State::DEAD
    }

    /// The state after all of `bytes`.
    pub fn walk(&self, state: State, bytes: &[u8]) -> State {
        bytes.iter().fold(state, |state, byte| self.step(state, *byte))
    }

    /// The permissions that `state` accepts with, as the compiler wrote them.
    pub fn accept(&self, state: State) -> u32 {
        self.accept.get(index(state.0)).copied().unwrap_or(0)
    }

    /// A shortest path, beginning with `/` and without `//`, whose ends in this automaton and in `other` are `wanted`
    /// together; `None` if there is none.
    pub fn meeting(
        &self,
        start: State,
        (other, other_start): (&Self, State),
        wanted: impl Fn(State, State) -> bool,
    ) -> Option<Vec<u8>> {
        // Breadth first over pairs of states, and whether a slash led there; what a person can read comes first.
        type At = (State, State, bool);
        let bytes = || (b' '..=b'~').chain(1..b' ').chain(0x7f..=u8::MAX);
        let mut seen: HashMap<At, (At, u8)> = HashMap::new();
        let before = (start, other_start, false);
        let root = (self.step(start, b'/'), other.step(other_start, b'/'), true);
        seen.insert(root, (before, b'/'));
        let mut todo = VecDeque::from([root]);
        while let Some(here) = todo.pop_front() {
            if wanted(here.0, here.1) {
                let mut path = Vec::new();
                let mut at = here;
                while let Some((from, byte)) = seen.get(&at).filter(|_| path.len() <= seen.len()) {
                    path.push(*byte);
                    at = *from;
                }
                path.reverse();
                return Some(path);
            }
            for byte in bytes().filter(|byte| !(here.2 && *byte == b'/')) {
                let next = (self.step(here.0, byte), other.step(here.1, byte), byte == b'/');
                // From a dead state nothing is accepted any more.
                if next.0 != State::DEAD && next.1 != State::DEAD && !seen.contains_key(&next) {
                    seen.insert(next, (here, byte));
                    todo.push_back(next);
                }
            }
        }
        None
    }

    /// How many states there are.
    pub fn states(&self) -> usize {
        self.base.len()
    }
}

/// One table: its kind, its values widened, and its size with padding.
fn table(bytes: &[u8]) -> Result<(u16, Vec<u32>, usize), String> {
    const HEADER: usize = 12;
    let cut = || String::from("a table of the automaton is cut off");
    let id = be16(bytes, 0).ok_or_else(cut)?;
    let width = usize::from(be16(bytes, 2).ok_or_else(cut)?);
    if be32(bytes, 4).ok_or_else(cut)? != 0 {
        return Err("a table of the automaton has two dimensions".into());
    }
    let count = index(be32(bytes, 8).ok_or_else(cut)?);
    let size = count.checked_mul(width).ok_or_else(cut)?;
    let data = size.checked_add(HEADER).and_then(|end| bytes.get(HEADER..end)).ok_or_else(cut)?;
    let values = match width {
        1 => data.iter().map(|byte| u32::from(*byte)).collect(),
        2 => data.chunks_exact(2).filter_map(|pair| be16(pair, 0)).map(u32::from).collect(),
        4 => data.chunks_exact(4).filter_map(|four| be32(four, 0)).collect(),
        other => return Err(format!("a table of the automaton has entries of {other} bytes")),
    };
    Ok((id, values, (HEADER + size).next_multiple_of(8)))
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..at.checked_add(2)?)?;
    Some(u16::from_be_bytes(bytes.try_into().ok()?))
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_be_bytes(bytes.try_into().ok()?))
}

/// A number from the file as an index; one that does not fit is out of every table.
fn index(n: u32) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tables of two states and more, written as the compiler writes them.
    fn blob(tables: &[(u16, u16, Vec<u32>)]) -> Vec<u8> {
        let mut out = vec![0; 3];
        out.extend(MAGIC.to_be_bytes());
        out.extend(16_u32.to_be_bytes());
        out.extend([0; 8]);
        for (id, width, values) in tables {
            let start = out.len();
            out.extend(id.to_be_bytes());
            out.extend(width.to_be_bytes());
            out.extend(0_u32.to_be_bytes());
            out.extend(u32::try_from(values.len()).unwrap().to_be_bytes());
            for value in values {
                out.extend(&value.to_be_bytes()[4 - usize::from(*width)..]);
            }
            out.resize(start + (out.len() - start).next_multiple_of(8), 0);
        }
        out
    }

    /// State 1 goes to 2 on class 1; state 2 is 1 but for class 2, on which it goes to 3.
    fn tables(base_of_2: u32) -> Vec<(u16, u16, Vec<u32>)> {
        let mut classes = vec![0; 256];
        classes[usize::from(b'a')] = 1;
        classes[usize::from(b'A')] = 1;
        classes[usize::from(b'b')] = 2;
        vec![
            (ID_ACCEPT, 4, vec![0, 0, 4, 2]),
            (ID_BASE, 4, vec![0, 0, base_of_2, 0]),
            (ID_DEFAULT, 2, vec![0, 0, 1, 0]),
            (ID_NEXT, 2, vec![0, 2, 0, 3, 0]),
            (ID_CHECK, 2, vec![0, 1, 0, 2, 0]),
            (ID_CLASSES, 1, classes),
        ]
    }

    #[test]
    fn classes_and_differences_are_followed() {
        let dfa = Dfa::parse(&blob(&tables(1 | DIFF_ENCODED))).unwrap();
        let end = |text: &str| dfa.walk(State::START, text.as_bytes()).0;
        assert_eq!((end("a"), end("A"), end("b")), (2, 2, 0));
        // 'b' is state 2's own; 'a' is looked up in the state that it differs from.
        assert_eq!((end("ab"), end("aa"), end("ac")), (3, 2, 0));
        assert_eq!(dfa.accept(State(3)), 2);
        // Without the flag a mismatch ends in the default state itself.
        let plain = Dfa::parse(&blob(&tables(1))).unwrap();
        assert_eq!(plain.walk(State::START, b"aa"), State(1));
    }

    #[test]
    fn a_cycle_of_differences_ends() {
        let mut tables = tables(1 | DIFF_ENCODED);
        tables[2].2[2] = 2;
        assert_eq!(Dfa::parse(&blob(&tables)).unwrap().walk(State::START, b"ac"), State::DEAD);
    }

    #[test]
    fn references_out_of_the_tables_are_errors() {
        for (table, value) in [(2, 4), (3, 4), (4, 4)] {
            let mut tables = tables(1);
            tables[table].2[1] = value;
            assert!(Dfa::parse(&blob(&tables)).is_err());
        }
        let mut short = tables(1);
        short[0].2.pop();
        assert!(Dfa::parse(&blob(&short)).is_err());
        assert!(Dfa::parse(&blob(&[])).is_err());
    }
}
