//! "Any value but these", in the one form that a profile can say it exactly.
//!
//! A profile's rule is a conjunction with one condition an argument (runc 1.1.5 makes a rule with two conditions on
//! one argument an alternative of both), and its comparisons are of 64 bits. So "not A and not B" can't be one rule,
//! and "less than A, or greater than A", as two rules, admits A with any bit set in the half of the register that
//! the kernel does not look at. What is exact: the values that differ from all of these in a prefix of their bits,
//! each a comparison under a mask that leaves the upper half out.

use std::collections::BTreeSet;

/// Masks with values, of which each 32-bit value that is not in `excluded` matches exactly one, and those in it none.
pub(crate) fn all_but(excluded: &BTreeSet<u32>) -> Vec<(u32, u32)> {
    let mut out = Vec::new();
    // Prefixes of which it is not known yet whether an excluded value begins with them: the mask and its bits.
    let mut open = vec![(0_u32, 0_u32)];
    while let Some((mask, value)) = open.pop() {
        if !excluded.iter().any(|out| out & mask == value) {
            out.push((mask, value));
            continue;
        }
        // Without a bit left the prefix is an excluded value.
        let Some(shift) = mask.count_zeros().checked_sub(1) else { continue };
        let bit = 1 << shift;
        open.extend([(mask | bit, value | bit), (mask | bit, value)]);
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_few_requests_of_one_driver_take_a_few_dozen_rules() {
        assert_eq!(all_but(&[].into()), [(0, 0)]);
        assert_eq!(all_but(&[7].into()).len(), 32);
        assert!(all_but(&[0x5412, 0x541c, 0x5423].into()).len() < 40);
    }

    proptest! {
        #[test]
        fn every_value_is_covered_once_and_the_excluded_never(
            excluded in proptest::collection::btree_set(prop_oneof![any::<u32>(), 0_u32..64], 0..6),
            tried in proptest::collection::vec(prop_oneof![any::<u32>(), 0_u32..64], 50),
        ) {
            let cover = all_but(&excluded);
            for value in tried.iter().chain(&excluded) {
                let matches = cover.iter().filter(|(mask, wanted)| value & mask == *wanted).count();
                prop_assert_eq!(matches, usize::from(!excluded.contains(value)), "{:x}", value);
            }
        }
    }
}
