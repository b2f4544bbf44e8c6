//! The filters that a task is under, together: all are asked, and the most severe answer is taken.
//!
//! Source: `seccomp_run_filters` in kernel/seccomp.c, Linux 6.1.

use std::{collections::BTreeSet, sync::Arc};

use super::bpf::{Action, Call, Outcome, Program};

/// Filters, newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chain(Vec<Arc<Program>>);

impl Chain {
    /// From the filters, newest first.
    pub fn new(filters: Vec<Arc<Program>>) -> Self {
        Self(filters)
    }

    /// The filters, newest first.
    pub fn filters(&self) -> &[Arc<Program>] {
        &self.0
    }

    /// The one answer to `call`; `None` if it depends on what is not known.
    pub fn decide(&self, call: &Call) -> Option<Action> {
        self.0.iter().try_fold(Action::Allow, |so_far, filter| Some(severer(so_far, filter.decide(call)?)))
    }

    /// Everything that the filters together may answer to `call`, asking each for at most so many states. It may
    /// hold an answer that no value leads to, never the other way round.
    pub fn outcome(&self, call: &Call, states: usize) -> Outcome {
        let start = Outcome { actions: BTreeSet::from([Action::Allow]), explored: true };
        self.0.iter().fold(start, |so_far, filter| {
            let one = filter.outcome_within(call, states);
            let pairs = so_far.actions.iter().flat_map(|a| one.actions.iter().map(|b| severer(*a, *b)));
            Outcome { actions: pairs.collect(), explored: so_far.explored && one.explored }
        })
    }

    /// Whether any filter can answer so, whatever it is asked.
    pub fn can_answer(&self, wanted: impl Fn(Action) -> bool) -> bool {
        self.0.iter().any(|filter| filter.can_answer(&wanted))
    }
}

/// What is taken of a newer filter's answer and an older one's.
fn severer(newer: Action, older: Action) -> Action {
    if older.severity() > newer.severity() { older } else { newer }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::seccomp::bpf::{Instruction, code};

    const ALLOW: u32 = 0x7fff_0000;

    fn op(code: u16, jt: u8, jf: u8, k: u32) -> Instruction {
        Instruction { code, jt, jf, k }
    }

    /// Answers `value` to the number `nr` and allows the rest.
    fn answers(nr: u32, value: u32) -> Arc<Program> {
        let program = vec![
            op(code::LD_ABS, 0, 0, 0),
            op(code::JEQ, 0, 1, nr),
            op(code::RET_K, 0, 0, value),
            op(code::RET_K, 0, 0, ALLOW),
        ];
        Arc::new(Program::new(program).unwrap())
    }

    fn call(nr: u32) -> Call {
        Call { nr, arch: 0xc000_003e, args: [Some(0); 6] }
    }

    #[test]
    fn the_most_severe_answer_is_taken_and_among_equals_the_newest() {
        let chain = |values: &[u32]| Chain::new(values.iter().map(|value| answers(1, *value)).collect());
        let (eperm, enosys, trap, kill) = (0x0005_0001, 0x0005_0026, 0x0003_0000, 0x8000_0000);
        for (values, expected) in [
            (vec![], Action::Allow),
            (vec![ALLOW, enosys], Action::Errno(38)),
            (vec![enosys, eperm], Action::Errno(38)),
            (vec![eperm, enosys], Action::Errno(1)),
            (vec![eperm, trap, ALLOW], Action::Trap),
            (vec![trap, 0], Action::KillThread),
            (vec![0, kill], Action::KillProcess),
            (vec![0x7fc0_0000, eperm], Action::Errno(1)),
            (vec![0x7ff0_0000, 0x7fc0_0000], Action::Notify),
        ] {
            assert_eq!(chain(&values).decide(&call(1)), Some(expected), "{values:x?}");
            assert_eq!(chain(&values).decide(&call(2)), Some(Action::Allow), "{values:x?}");
        }
    }

    #[test]
    fn what_no_filter_can_answer_is_known_without_asking() {
        let chain = Chain::new(vec![answers(1, 0x0005_0001), answers(2, ALLOW)]);
        assert!(chain.can_answer(|action| action == Action::Errno(1)));
        assert!(!chain.can_answer(|action| action == Action::Errno(2)));
    }

    fn value() -> impl Strategy<Value = u32> {
        prop::sample::select(vec![
            ALLOW,
            0x7ffc_0000,
            0x7ff0_0000,
            0x7fc0_0000,
            0x0005_0001,
            0x0005_0026,
            0x0003_0000,
            0,
        ])
    }

    /// A filter that looks at an argument's low word, jumps forward at random and returns.
    fn filter() -> impl Strategy<Value = Arc<Program>> {
        let step = (0u32..6, 0u32..4, 0u8..3, 0u8..3);
        (prop::collection::vec(step, 0..6), prop::collection::vec(value(), 4)).prop_map(|(steps, values)| {
            let mut program = Vec::new();
            for (argument, k, jt, jf) in steps {
                program.push(op(code::LD_ABS, 0, 0, 16 + argument * 8));
                program.push(op(code::JEQ, jt, jf, k));
            }
            program.extend(values.into_iter().map(|value| op(code::RET_K, 0, 0, value)));
            Arc::new(Program::new(program).unwrap())
        })
    }

    proptest! {
        /// With all arguments known there is one answer, and it is among those with fewer known.
        #[test]
        fn knowing_less_never_loses_the_answer(
            filters in prop::collection::vec(filter(), 1..4),
            args in prop::array::uniform6(0u64..4),
            known in prop::array::uniform6(any::<bool>()),
        ) {
            let chain = Chain::new(filters);
            let all = Call { nr: 1, arch: 0xc000_003e, args: args.map(Some) };
            let mut some = all;
            for (argument, known) in some.args.iter_mut().zip(known) {
                *argument = argument.filter(|_| known);
            }
            let answer = chain.decide(&all).unwrap();
            let outcome = chain.outcome(&some, 1 << 12);
            prop_assert!(outcome.explored && outcome.actions.contains(&answer));
            prop_assert_eq!(chain.outcome(&all, 1 << 12).actions, BTreeSet::from([answer]));
            if let Some(decided) = chain.decide(&some) {
                prop_assert_eq!(decided, answer);
            }
            prop_assert!(chain.can_answer(|action| action == answer) || answer == Action::Allow);
        }
    }
}
