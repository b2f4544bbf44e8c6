//! Sets of arguments that are exact: some bits of the registers are fixed, all others are free. Every comparison that a
//! filter can make is such a set, or a union of them, and so is what is left of one without another.

use std::collections::BTreeMap;

/// Registers with some bits fixed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cube {
    mask: [u64; 6],
    value: [u64; 6],
}

/// More pieces than this are not looked at one by one.
const MOST: usize = 4096;

impl Cube {
    /// All arguments.
    pub const ALL: Self = Self { mask: [0; 6], value: [0; 6] };

    /// Those of which the bits of `mask` in argument `index` are these.
    pub fn of(index: u8, mask: u64, value: u64) -> Self {
        let mut out = Self::ALL;
        if let (Some(own_mask), Some(own_value)) =
            (out.mask.get_mut(usize::from(index)), out.value.get_mut(usize::from(index)))
        {
            (*own_mask, *own_value) = (mask, value & mask);
        }
        out
    }

    /// What is in both.
    pub fn and(&self, other: &Self) -> Option<Self> {
        let mut out = *self;
        for ((mask, value), (other_mask, other_value)) in
            out.mask.iter_mut().zip(&mut out.value).zip(other.mask.iter().zip(&other.value))
        {
            if (*value ^ other_value) & *mask & other_mask != 0 {
                return None;
            }
            *mask |= other_mask;
            *value |= other_value;
        }
        Some(out)
    }

    /// Whether a recorded tuple is in it, as far as it was recorded.
    pub fn has(&self, tuple: &BTreeMap<u8, u64>) -> bool {
        tuple.iter().all(|(index, register)| {
            let at = usize::from(*index);
            match (self.mask.get(at), self.value.get(at)) {
                (Some(mask), Some(value)) => register & mask == *value,
                _ => true,
            }
        })
    }

    /// The fixed parts: position, mask, value.
    pub fn parts(&self) -> impl Iterator<Item = (u8, u64, u64)> {
        (0..6).zip(self.mask).zip(self.value).filter(|((_, mask), _)| *mask != 0).map(|((i, m), v)| (i, m, v))
    }

    /// What is in it and not in `other`.
    fn without(&self, other: &Self, out: &mut Vec<Self>) {
        if self.and(other).is_none() {
            out.push(*self);
            return;
        }
        let mut rest = *self;
        for (index, mask, value) in other.parts() {
            let at = usize::from(index);
            let Some(own) = self.mask.get(at) else { continue };
            let mut free = mask & !own;
            while free != 0 {
                // From the highest bit, as ranges and "any but these" are made: pieces then meet few other cubes.
                let bit = 1 << free.ilog2();
                free &= !bit;
                // All that differs in this bit, and in no earlier one.
                if let Some(piece) = rest.and(&Self::of(index, bit, !value & bit)) {
                    out.push(piece);
                }
                if let Some(within) = rest.and(&Self::of(index, bit, value & bit)) {
                    rest = within;
                }
            }
        }
    }
}

/// What is in one of `all` and in none of `others`; `None` if it has too many pieces to tell.
pub fn without(all: &[Cube], others: &[Cube]) -> Option<Vec<Cube>> {
    let mut left = all.to_vec();
    // The widest first: they leave the least.
    let mut others: Vec<&Cube> = others.iter().collect();
    others.sort_by_key(|cube| cube.mask.iter().map(|mask| mask.count_ones()).sum::<u32>());
    for other in others {
        let mut next = Vec::new();
        for cube in &left {
            cube.without(other, &mut next);
        }
        if next.len() > MOST {
            return None;
        }
        left = next;
    }
    Some(left)
}

/// What is in one of each list; `None` if it has too many pieces.
pub fn product(lists: &[Vec<Cube>]) -> Option<Vec<Cube>> {
    let mut out = vec![Cube::ALL];
    for list in lists {
        if out.len().saturating_mul(list.len()) > MOST {
            return None;
        }
        out = out.iter().flat_map(|cube| list.iter().filter_map(|other| cube.and(other))).collect();
    }
    Some(out)
}

/// Registers that a comparison of libseccomp's admits; `None` if it is not known.
pub fn comparison(op: &str, index: u32, value: u64, value_two: u64) -> Option<Vec<Cube>> {
    let index = u8::try_from(index).ok().filter(|index| *index < 6)?;
    let exact = Cube::of(index, u64::MAX, value);
    let prefix = |bit: u64, set: bool| {
        // The bits above are the value's, this one is not, those below are free.
        let above = !(bit | (bit - 1));
        Cube::of(index, above | bit, value & above | if set { bit } else { 0 })
    };
    let bits = || (0..64).map(|at| 1_u64 << at);
    let less = || bits().filter(|bit| value & bit != 0).map(|bit| prefix(bit, false));
    let greater = || bits().filter(|bit| value & bit == 0).map(|bit| prefix(bit, true));
    Some(match op {
        "SCMP_CMP_EQ" => vec![exact],
        "SCMP_CMP_NE" => less().chain(greater()).collect(),
        "SCMP_CMP_LT" => less().collect(),
        "SCMP_CMP_LE" => less().chain([exact]).collect(),
        "SCMP_CMP_GT" => greater().collect(),
        "SCMP_CMP_GE" => greater().chain([exact]).collect(),
        // Bits outside of the mask can't be asked for.
        "SCMP_CMP_MASKED_EQ" if value_two & !value == 0 => vec![Cube::of(index, value, value_two)],
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn register() -> impl Strategy<Value = u64> {
        prop_oneof![0_u64..8, Just(u64::MAX), Just(1 << 63), any::<u64>()]
    }

    type Comparison = (&'static str, fn(u64, u64, u64) -> bool);

    fn op() -> impl Strategy<Value = Comparison> {
        prop_oneof![
            Just(("SCMP_CMP_EQ", (|x, a, _| x == a) as fn(u64, u64, u64) -> bool)),
            Just(("SCMP_CMP_NE", (|x, a, _| x != a) as _)),
            Just(("SCMP_CMP_LT", (|x, a, _| x < a) as _)),
            Just(("SCMP_CMP_LE", (|x, a, _| x <= a) as _)),
            Just(("SCMP_CMP_GT", (|x, a, _| x > a) as _)),
            Just(("SCMP_CMP_GE", (|x, a, _| x >= a) as _)),
            Just(("SCMP_CMP_MASKED_EQ", (|x, a, b| x & a == b) as _)),
        ]
    }

    proptest! {
        #[test]
        fn a_comparison_is_its_cubes((op, truth) in op(), x in register(), a in register(), b in register()) {
            let b = b & a;
            let has = comparison(op, 2, a, b).unwrap().iter().any(|cube| cube.has(&[(2, x)].into()));
            prop_assert_eq!(has, truth(x, a, b));
        }

        #[test]
        fn what_is_left_is_in_the_one_and_not_in_the_other(
            (one, _) in op(), (two, _) in op(), a in register(), b in register(), c in register(), x in register(), y in 0_u64..4,
        ) {
            let all = product(&[comparison(one, 0, a, a).unwrap(), comparison("SCMP_CMP_LE", 1, 2, 0).unwrap()]).unwrap();
            let others = [comparison(two, 0, b, b).unwrap(), comparison("SCMP_CMP_EQ", 1, c % 4, 0).unwrap()].concat();
            if let Some(left) = without(&all, &others) {
                let tuple = [(0, x), (1, y)].into();
                let is_in = |cubes: &[Cube]| cubes.iter().any(|cube| cube.has(&tuple));
                prop_assert_eq!(is_in(&left), is_in(&all) && !is_in(&others));
            }
        }
    }
}
