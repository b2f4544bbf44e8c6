//! Limits on arguments: recorded tuples → conditions that a filter can check.
//!
//! A filter sees registers. What a call passes in memory (`clone3`, `openat2`) it can't judge.

use std::collections::BTreeSet;

use crate::requirements::SyscallNeed;

/// `CLONE_NEW*` in the flags of `clone` and `unshare`.
const NAMESPACE_FLAGS: u64 = 0x7e02_0000;

/// `CLONE_NEWTIME`, which only `clone3` and `unshare` take: in `clone` the bit belongs to the exit signal.
const NEW_TIME: u64 = 0x80;

/// The half of a register that the kernel looks at for an argument of 32 bits.
const LOW_WORD: u64 = 0xffff_ffff;

/// More tuples than this limit little and make a slow filter; the kernel takes 4,096 instructions in all.
const MAX_TUPLES: usize = 64;

/// Where an argument is as wide as a register, by call. Everywhere else the kernel takes the low 32 bits (`int`,
/// `unsigned int`, and `unsigned long` flags that it truncates), and what is above them may be anything.
///
/// Source: the `SYSCALL_DEFINE` lines of Linux 6.1.
const WIDE: &[(&str, &[u8])] = &[
    ("arch_prctl", &[1]),
    ("clone", &[1, 2, 3, 4]),
    ("fcntl", &[2]),
    ("fcntl64", &[2]),
    ("futex", &[0, 3, 4]),
    ("ioctl", &[2]),
    ("keyctl", &[1, 2, 3, 4]),
    ("madvise", &[0, 1]),
    ("mmap", &[0, 1, 2, 3, 5]),
    ("mprotect", &[0, 1, 2]),
    ("mremap", &[0, 1, 2, 3, 4]),
    ("prctl", &[1, 2, 3, 4]),
    ("ptrace", &[0, 1, 2, 3]),
    ("seccomp", &[2]),
    ("unshare", &[0]),
];

/// How far arguments are limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    /// Names only.
    Off,
    /// The arguments that decide over the kernel's attack surface and don't vary from run to run: namespace
    /// flags of clone, families of sockets, personalities.
    Safe,
    /// Every recorded argument: for workloads that do the same in every run.
    Strict,
}

/// One condition on one argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Condition {
    /// The position, 0 to 5.
    pub index: u8,
    /// The bits that are compared.
    pub mask: u64,
    /// What they must be.
    pub value: u64,
}

impl Condition {
    fn new(index: u8, mask: u64, value: u64) -> Self {
        Self { index, mask, value: value & mask }
    }
}

/// The bits of `flags`, argument 0 of `name`, that make namespaces; 0 for other calls. `unshare` is dangerous by
/// name, whatever its flags are.
pub fn namespace_flags(name: &str, flags: u64) -> u64 {
    match name {
        "clone" => flags & NAMESPACE_FLAGS,
        "clone3" => flags & (NAMESPACE_FLAGS | NEW_TIME),
        _ => 0,
    }
}

/// The conditions under which `name` is admitted, one set for each kind of use; `None` for any arguments.
pub fn limits(
    name: &str,
    needs: &[&SyscallNeed],
    mode: Mode,
    notes: &mut Vec<String>,
) -> Option<BTreeSet<Vec<Condition>>> {
    let mask = match (mode, name) {
        // What was recorded for clone3 is what a structure in memory held, not a register.
        (Mode::Strict, name) if name != "clone3" => None,
        (Mode::Safe, "clone") => Some(NAMESPACE_FLAGS),
        (Mode::Safe, "unshare") => Some(NAMESPACE_FLAGS | NEW_TIME),
        (Mode::Safe, "personality" | "socket" | "socketpair") => Some(LOW_WORD),
        _ => return None,
    };
    // One architecture without tuples is enough to know too little: rules hold for all of them.
    if needs.iter().any(|need| need.args.is_empty()) {
        if mask.is_some() {
            notes.push(format!("{name} is admitted with any arguments: the recordings don't hold them"));
        }
        return None;
    }
    let mut sets = BTreeSet::new();
    for tuple in needs.iter().flat_map(|need| need.args.keys()) {
        let conditions: Vec<Condition> = match mask {
            Some(mask) => tuple.get(&0).map(|value| Condition::new(0, mask, *value)).into_iter().collect(),
            None => tuple
                .iter()
                .filter(|(index, _)| **index < 6)
                .map(|(index, value)| Condition::new(*index, width(name, *index), *value))
                .collect(),
        };
        if conditions.is_empty() {
            return None;
        }
        sets.insert(conditions);
    }
    if sets.len() > MAX_TUPLES {
        notes.push(format!(
            "{name} is admitted with any arguments: {} different ones were recorded, more than {MAX_TUPLES}",
            sets.len()
        ));
        return None;
    }
    Some(sets)
}

fn width(name: &str, index: u8) -> u64 {
    let wide = WIDE.iter().any(|(call, positions)| *call == name && positions.contains(&index));
    if wide { u64::MAX } else { LOW_WORD }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use crate::requirements::Evidence;

    use super::*;

    fn need(tuples: &[&[(u8, u64)]]) -> SyscallNeed {
        let args =
            tuples.iter().map(|t| (t.iter().copied().collect::<BTreeMap<_, _>>(), Evidence::default()));
        SyscallNeed { args: args.collect(), ..SyscallNeed::default() }
    }

    fn limit(name: &str, mode: Mode, tuples: &[&[(u8, u64)]]) -> Option<Vec<Vec<(u8, u64, u64)>>> {
        let sets = limits(name, &[&need(tuples)], mode, &mut Vec::new())?;
        Some(sets.iter().map(|set| set.iter().map(|c| (c.index, c.mask, c.value)).collect()).collect())
    }

    #[test]
    fn safe_limits_families_and_namespaces_and_no_more() {
        let tuples: &[&[(u8, u64)]] = &[&[(0, 2), (1, 1)], &[(0, 2), (1, 2)], &[(0, 0xffff_ffff_0000_0001)]];
        assert_eq!(
            limit("socket", Mode::Safe, tuples).unwrap(),
            [vec![(0, LOW_WORD, 1)], vec![(0, LOW_WORD, 2)]]
        );
        assert_eq!(
            limit("clone", Mode::Safe, &[&[(0, 0x11)], &[(0, 0x3d_0f00)]]).unwrap(),
            [vec![(0, NAMESPACE_FLAGS, 0)]]
        );
        assert_eq!(
            limit("unshare", Mode::Safe, &[&[(0, 0x1000_0400)]]).unwrap(),
            [vec![(0, NAMESPACE_FLAGS | NEW_TIME, 0x1000_0000)]]
        );
        assert_eq!(limit("ioctl", Mode::Safe, &[&[(1, 0x5401)]]), None);
        assert_eq!(limit("socket", Mode::Off, tuples), None);
        assert_eq!(limit("clone3", Mode::Strict, &[&[(0, 0)]]), None);
    }

    #[test]
    fn strict_limits_every_recorded_position_at_its_width() {
        assert_eq!(
            limit("prctl", Mode::Strict, &[&[(0, 0xdead_0000_0004), (1, 0x1_0000_0001)]]).unwrap(),
            [vec![(0, LOW_WORD, 4), (1, u64::MAX, 0x1_0000_0001)]]
        );
        // A tuple that says nothing limits nothing.
        assert_eq!(limit("prctl", Mode::Strict, &[&[(0, 4)], &[]]), None);
    }

    #[test]
    fn too_little_or_too_much_known_limits_nothing_and_says_so() {
        let mut notes = Vec::new();
        assert_eq!(limits("socket", &[&need(&[])], Mode::Safe, &mut notes), None);
        let many: Vec<Vec<(u8, u64)>> = (0..200).map(|n| vec![(1, n)]).collect();
        let many: Vec<&[(u8, u64)]> = many.iter().map(Vec::as_slice).collect();
        assert_eq!(limits("ioctl", &[&need(&many)], Mode::Strict, &mut notes), None);
        assert_eq!(notes.len(), 2, "{notes:?}");
    }
}
