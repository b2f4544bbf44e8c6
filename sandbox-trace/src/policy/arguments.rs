//! Limits on arguments: recorded tuples → conditions that a filter can check.
//!
//! A filter sees registers. What a call passes in memory (`clone3`, `openat2`) it can't judge.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    cover,
    safe::{self, Limit},
};
use crate::requirements::SyscallNeed;

/// `CLONE_NEW*` in the flags of `clone` and `unshare`.
pub(super) const NAMESPACE_FLAGS: u64 = 0x7e02_0000;

/// `CLONE_NEWTIME`, which only `clone3` and `unshare` take: in `clone` the bit belongs to the exit signal.
pub(super) const NEW_TIME: u64 = 0x80;

/// The half of a register that the kernel looks at for an argument of 32 bits.
pub(super) const LOW_WORD: u64 = 0xffff_ffff;

/// `CSIGNAL`: in `clone`'s flags the signal that the parent gets. `clone3` has it elsewhere.
const EXIT_SIGNAL: u64 = 0xff;

/// `CLONE_CLEAR_SIGHAND`, `clone3`'s alone. glibc's `posix_spawn` uses it and resets the signals one by one without.
const CLEAR_SIGNALS: u64 = 0x1_0000_0000;

/// `SIGCHLD`, what a parent gets from a process; from a thread it gets no signal.
const SIGCHLD: u64 = 17;

/// More tuples than this limit little and make a slow filter; the kernel takes 4,096 instructions in all.
const MAX_TUPLES: usize = 64;

/// Where an argument is as wide as a register, by call. Everywhere else the kernel takes the low 32 bits (`int`,
/// `unsigned int`, and `unsigned long` flags that it truncates), and what is above them may be anything.
///
/// Of `mmap`'s and `mprotect`'s protection no bit above the 32nd means anything yet; one that did would not have been
/// recorded. Source: the `SYSCALL_DEFINE` lines of Linux 6.1.
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
    ("pkey_mprotect", &[0, 1, 2]),
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
    /// The arguments that decide over the kernel's attack surface and don't vary with the input: [`safe`] has them.
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
    pub(super) fn new(index: u8, mask: u64, value: u64) -> Self {
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

/// The conditions under which a call is admitted: all of one of the sets.
pub type Sets = BTreeSet<Vec<Condition>>;

/// The conditions under which `name` is admitted, one set for each kind of use; `None` for any arguments. `beside` is
/// what the container's runtime uses: values of one argument.
pub fn limits(
    name: &str,
    needs: &[&SyscallNeed],
    mode: Mode,
    beside: Option<(u8, &[u64])>,
    notes: &mut Vec<String>,
) -> Option<Sets> {
    // What was recorded for clone3 is what a structure in memory held, not a register.
    if mode == Mode::Off || name == "clone3" {
        return None;
    }
    // One architecture without tuples is enough to know too little: rules hold for all of them.
    if needs.iter().any(|need| need.args.is_empty()) {
        if safe::limit(name).is_some() {
            notes.push(format!("{name} is admitted with any arguments: the recordings don't hold them"));
        }
        return None;
    }
    let tuples: Vec<_> = needs.iter().flat_map(|need| need.args.keys()).collect();
    let mut sets = match mode {
        Mode::Strict => match recorded(name, &tuples)? {
            sets if sets.len() <= MAX_TUPLES => sets,
            sets => {
                notes.push(too_many(name, sets.len()));
                safe_sets(name, &tuples)?
            }
        },
        _ => safe_sets(name, &tuples)?,
    };
    if let Some((index, values)) = beside {
        sets.extend(values.iter().map(|value| vec![Condition::new(index, width(name, index), *value)]));
    }
    Some(sets)
}

/// What to say where a filter has no room for what was recorded.
pub(super) fn too_many(name: &str, sets: usize) -> String {
    format!(
        "{name} is limited as with --args safe: {sets} different arguments were recorded, too many for a filter"
    )
}

/// A set for each distinct tuple; `None` if one says nothing.
fn recorded(name: &str, tuples: &[&BTreeMap<u8, u64>]) -> Option<Sets> {
    let conditions = |tuple: &BTreeMap<u8, u64>| -> Vec<Condition> {
        tuple
            .iter()
            .filter(|(index, _)| **index < 6)
            .map(|(index, value)| Condition::new(*index, width(name, *index), *value))
            .collect()
    };
    let sets: Sets = tuples.iter().map(|tuple| conditions(tuple)).collect();
    (!sets.contains(&Vec::new())).then_some(sets)
}

/// The sets of `--args safe`; `None` if the call is not limited there, or a tuple does not say enough.
fn safe_sets(name: &str, tuples: &[&BTreeMap<u8, u64>]) -> Option<Sets> {
    match safe::limit(name)? {
        Limit::Recorded { parts, beside } => {
            let first = parts.first()?;
            let conditions = |tuple: &&BTreeMap<u8, u64>| -> Option<Vec<Condition>> {
                let selected = tuple.get(&first.index)? & first.mask;
                let parts = parts.iter().filter(|part| part.only_with.is_none_or(|value| value == selected));
                Some(
                    parts
                        .filter_map(|part| {
                            Some(Condition::new(part.index, part.mask, *tuple.get(&part.index)?))
                        })
                        .collect(),
                )
            };
            let mut sets = tuples.iter().map(conditions).collect::<Option<Sets>>()?;
            sets.extend(beside.iter().map(|value| vec![Condition::new(first.index, first.mask, *value)]));
            Some(sets)
        }
        Limit::NoDanger { index } => {
            let low = |tuple: &&BTreeMap<u8, u64>| {
                tuple.get(&index).and_then(|value| u32::try_from(value & LOW_WORD).ok())
            };
            let recorded = tuples.iter().map(low).collect::<Option<BTreeSet<u32>>>()?;
            let excluded: BTreeSet<u32> =
                safe::dangerous(name, index).filter(|value| !recorded.contains(value)).collect();
            let cover = cover::all_but(&excluded).into_iter();
            Some(cover.map(|(mask, value)| vec![Condition::new(index, mask.into(), value.into())]).collect())
        }
    }
}

/// How `clone` must be admitted for libraries that get `ENOSYS` for `clone3` and try again with the same flags, whose
/// namespaces a filter can see; `None` if a recorded use has flags that `clone` does not know (a cgroup to be born
/// into, a time namespace), or the flags are not known.
pub fn clone_for_clone3(needs: &[&SyscallNeed], mode: Mode) -> Option<Sets> {
    let flags = needs.iter().flat_map(|need| need.args.keys()).map(|tuple| tuple.get(&0).copied());
    let flags: BTreeSet<u64> = flags.collect::<Option<_>>()?;
    let known = |flags: u64| flags & !CLEAR_SIGNALS <= LOW_WORD && flags & EXIT_SIGNAL == 0;
    if needs.iter().any(|need| need.args.is_empty()) || !flags.iter().all(|flags| known(*flags)) {
        return None;
    }
    let mask = match mode {
        Mode::Off => return None,
        Mode::Safe => NAMESPACE_FLAGS,
        Mode::Strict => LOW_WORD & !EXIT_SIGNAL,
    };
    let sets: Sets = flags.iter().map(|flags| vec![Condition::new(0, mask, *flags)]).collect();
    (sets.len() <= MAX_TUPLES).then_some(sets)
}

/// What `clone` gets when a library falls back to it from `clone3` with `flags`: as a thread, and as a process.
/// `None` if it has no such call.
pub fn clone_flags_for_clone3(flags: u64) -> Option<[u64; 2]> {
    let low = flags & !CLEAR_SIGNALS;
    (low <= LOW_WORD && low & EXIT_SIGNAL == 0).then_some([low, low | SIGCHLD])
}

/// `clone` without new namespaces: a thread or a process.
pub(super) fn plain_clone() -> Sets {
    [vec![Condition::new(0, NAMESPACE_FLAGS, 0)]].into()
}

/// A call with this value in this argument, of which the kernel takes the low 32 bits.
pub(super) fn only(index: u8, value: u64) -> Sets {
    [vec![Condition::new(index, LOW_WORD, value)]].into()
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
        let sets = limits(name, &[&need(tuples)], mode, None, &mut Vec::new())?;
        Some(sets.iter().map(|set| set.iter().map(|c| (c.index, c.mask, c.value)).collect()).collect())
    }

    #[test]
    fn safe_limits_families_with_types_and_namespaces() {
        let tuples: &[&[(u8, u64)]] =
            &[&[(0, 2), (1, 0x80001), (2, 6)], &[(0, 2), (1, 2)], &[(0, 0xffff_ffff_0000_0001)]];
        let family = |family, kind| vec![(0, LOW_WORD, family), (1, 0xf, kind)];
        assert_eq!(
            limit("socket", Mode::Safe, tuples).unwrap(),
            [vec![(0, LOW_WORD, 1)], family(2, 1), family(2, 2)]
        );
        // Netlink's protocols are parts of the kernel.
        assert_eq!(
            limit("socket", Mode::Safe, &[&[(0, 16), (1, 3), (2, 0)]]).unwrap(),
            [vec![(0, LOW_WORD, 16), (1, 0xf, 3), (2, LOW_WORD, 0)]]
        );
        assert_eq!(
            limit("clone", Mode::Safe, &[&[(0, 0x1000_0011)], &[(0, 0x3d_0f00)]]).unwrap(),
            [vec![(0, NAMESPACE_FLAGS, 0)], vec![(0, NAMESPACE_FLAGS, 0x1000_0000)]]
        );
        assert_eq!(
            limit("unshare", Mode::Safe, &[&[(0, 0x1000_0400)]]).unwrap(),
            [vec![(0, NAMESPACE_FLAGS | NEW_TIME, 0x1000_0000)]]
        );
        assert_eq!(limit("mmap", Mode::Safe, &[&[(2, 5)]]), None);
        assert_eq!(limit("socket", Mode::Off, tuples), None);
        assert_eq!(limit("clone3", Mode::Strict, &[&[(0, 0)]]), None);
    }

    #[test]
    fn safe_admits_options_and_requests_that_no_run_can_be_expected_to_show() {
        let admits = |sets: &[Vec<(u8, u64, u64)>], value: u64| {
            sets.iter().any(|set| set.iter().all(|(_, mask, wanted)| value & mask == *wanted))
        };
        let prctl = limit("prctl", Mode::Safe, &[&[(0, 22)]]).unwrap();
        assert!(admits(&prctl, 22) && admits(&prctl, 15) && !admits(&prctl, 35) && !admits(&prctl, 4));
        let ioctl = limit("ioctl", Mode::Safe, &[&[(1, 0x5401)]]).unwrap();
        for (request, wanted) in [(0x5401, true), (0x541b, true), (0x4004_9409, true), (0x5412, false)] {
            // The kernel takes the lower half alone.
            for upper in [0, 1 << 32, 0xffff_ffff << 32] {
                assert_eq!(admits(&ioctl, upper | request), wanted, "{request:x}");
            }
        }
        // What was recorded is admitted: whether it may be is decided elsewhere.
        let ioctl = limit("ioctl", Mode::Safe, &[&[(1, 0x5412)]]).unwrap();
        assert!(admits(&ioctl, 0x5412) && !admits(&ioctl, 0x5423));
    }

    #[test]
    fn strict_limits_every_recorded_position_at_its_width() {
        assert_eq!(
            limit("prctl", Mode::Strict, &[&[(0, 0xdead_0000_0004), (1, 0x1_0000_0001)]]).unwrap(),
            [vec![(0, LOW_WORD, 4), (1, u64::MAX, 0x1_0000_0001)]]
        );
        // A request that a program held in an int, and so with its sign in the upper half.
        assert_eq!(
            limit("ioctl", Mode::Strict, &[&[(1, 0xffff_ffff_c004_5877)]]).unwrap(),
            [vec![(1, LOW_WORD, 0xc004_5877)]]
        );
        // A tuple that says nothing limits nothing.
        assert_eq!(limit("prctl", Mode::Strict, &[&[(0, 4)], &[]]), None);
    }

    #[test]
    fn too_little_known_limits_nothing_and_too_much_no_more_than_safe_and_both_are_said() {
        let mut notes = Vec::new();
        assert_eq!(limits("socket", &[&need(&[])], Mode::Safe, None, &mut notes), None);
        let many: Vec<Vec<(u8, u64)>> = (0..200).map(|n| vec![(1, n)]).collect();
        let many: Vec<&[(u8, u64)]> = many.iter().map(Vec::as_slice).collect();
        let need = need(&many);
        assert_eq!(
            limits("ioctl", &[&need], Mode::Strict, None, &mut notes),
            limits("ioctl", &[&need], Mode::Safe, None, &mut notes)
        );
        assert_eq!(limits("madvise", &[&need], Mode::Strict, None, &mut notes), None);
        assert_eq!(notes.len(), 3, "{notes:?}");
    }

    #[test]
    fn what_the_runtime_uses_is_admitted_beside() {
        let sets = limits("prctl", &[&need(&[&[(0, 15)]])], Mode::Strict, Some((0, &[8])), &mut Vec::new());
        let one = |value| vec![Condition::new(0, LOW_WORD, value)];
        assert_eq!(sets.unwrap(), [one(8), one(15)].into());
    }

    #[test]
    fn clone_stands_in_for_clone3_where_it_can() {
        let sets = |flags: u64, mode| clone_for_clone3(&[&need(&[&[(0, flags)]])], mode);
        assert_eq!(sets(0x3d_0f00, Mode::Safe).unwrap(), plain_clone());
        assert_eq!(
            sets(CLEAR_SIGNALS | 0x4100, Mode::Strict).unwrap(),
            [vec![Condition::new(0, 0xffff_ff00, 0x4100)]].into()
        );
        for flags in [0x2_0000_0000, 0x80] {
            assert_eq!((sets(flags, Mode::Safe), clone_flags_for_clone3(flags)), (None, None), "{flags:x}");
        }
        assert_eq!(clone_for_clone3(&[&need(&[])], Mode::Safe), None);
        assert_eq!(clone_flags_for_clone3(0x4100), Some([0x4100, 0x4111]));
    }
}
