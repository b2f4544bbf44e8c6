//! Filters as the kernel side sends them, and calls that they may have refused.

use super::*;
use crate::seccomp::bpf::{Instruction, code};

const ALLOW: u32 = 0x7fff_0000;
const EPERM: u32 = 0x0005_0001;

fn op(code: u16, jt: u8, jf: u8, k: u32) -> Instruction {
    Instruction { code, jt, jf, k }
}

fn bytes(program: &[Instruction]) -> Vec<u8> {
    let one = |i: &Instruction| [&i.code.to_ne_bytes()[..], &[i.jt, i.jf], &i.k.to_ne_bytes()[..]].concat();
    program.iter().flat_map(one).collect()
}

/// Answers `value` to the number `nr`, and allows the rest.
fn on_number(nr: u32, value: u32) -> Vec<Instruction> {
    vec![
        op(code::LD_ABS, 0, 0, 0),
        op(code::JEQ, 0, 1, nr),
        op(code::RET_K, 0, 0, value),
        op(code::RET_K, 0, 0, ALLOW),
    ]
}

/// Answers `value` if the low word of an argument is `equal`, and allows the rest.
fn on_argument(index: u32, equal: u32, value: u32) -> Vec<Instruction> {
    vec![
        op(code::LD_ABS, 0, 0, 16 + 8 * index),
        op(code::JEQ, 0, 1, equal),
        op(code::RET_K, 0, 0, value),
        op(code::RET_K, 0, 0, ALLOW),
    ]
}

/// The chain with key 1, newest filter first.
fn with(filters: &[Vec<Instruction>]) -> Filters {
    let mut out = Filters::default();
    let mut parts = Vec::new();
    for (key, filter) in (100..).zip(filters) {
        out.add_part(key, bytes(filter));
        parts.push(FilterPart { key, at: 0, length: u32::try_from(filter.len()).unwrap() });
    }
    out.add_chain(1, false, &parts);
    out
}

fn failed(nr: u32, errno: u32, mask: u32, args: [u64; 6]) -> Header {
    Header { nr, errno, mask, args, filters: 1, ..bytemuck::Zeroable::zeroed() }
}

fn refused(answer: &str) -> Verdict {
    Verdict::Refused(answer.into())
}

#[test]
fn a_failure_is_a_refusal_only_if_a_filter_answers_just_so() {
    let mut filters = with(&[on_number(110, EPERM)]);
    assert_eq!(filters.judge(&failed(110, 1, 0, [0; 6])), refused("EPERM"));
    assert_eq!(filters.judge(&failed(110, 13, 0, [0; 6])), Verdict::Passed);
    assert_eq!(filters.judge(&failed(111, 1, 0, [0; 6])), Verdict::Passed);
    let unfiltered = Header { filters: 0, ..failed(110, 1, 0, [0; 6]) };
    assert_eq!(filters.judge(&unfiltered), Verdict::Passed);
}

#[test]
fn the_arguments_decide_and_those_that_are_not_recorded_leave_a_doubt() {
    let mut filters = with(&[on_argument(0, 16, EPERM)]);
    assert_eq!(filters.judge(&failed(41, 1, 0b111, [16, 3, 0, 0, 0, 0])), refused("EPERM"));
    assert_eq!(filters.judge(&failed(41, 1, 0b111, [2, 3, 0, 0, 0, 0])), Verdict::Passed);
    // The call that was seen went through; another with 16 may not have.
    assert_eq!(filters.judge(&failed(41, 1, 0, [2, 3, 0, 0, 0, 0])), Verdict::Unknown(Doubt::Arguments));
    assert_eq!(filters.judge(&failed(41, 1, 0, [16, 3, 0, 0, 0, 0])), refused("EPERM"));
}

#[test]
fn a_signal_leaves_the_number_as_the_result() {
    for (value, answer) in [(0x0003_0000, "SIGSYS"), (0x8000_0000, "killed"), (0, "killed")] {
        let mut filters = with(&[on_number(110, value)]);
        let own_number = Header { flags: flag::OWN_NUMBER, ..failed(110, 0, 0, [0; 6]) };
        assert_eq!(filters.judge(&own_number), refused(answer));
        let other = Header { nr: 1, ..own_number };
        assert_eq!(filters.judge(&other), Verdict::Passed);
        assert_eq!(filters.judge(&Header { flags: 0, ..own_number }), Verdict::Passed);
        let ended = Header { flags: flag::KILLED, filters: 0, ..own_number };
        assert_eq!(filters.judge(&ended), refused(answer));
        assert_eq!(filters.judge(&Header { nr: 1, ..ended }), Verdict::Passed);
    }
}

#[test]
fn what_others_decide_and_what_was_not_kept_is_in_doubt() {
    for value in [0x7ff0_0000, 0x7fc0_0000] {
        let mut filters = with(&[on_number(110, value)]);
        assert_eq!(filters.judge(&failed(110, 38, 0, [0; 6])), Verdict::Unknown(Doubt::Decided));
        assert_eq!(filters.judge(&failed(111, 38, 0, [0; 6])), Verdict::Passed);
    }
    let mut filters = with(&[on_number(110, EPERM)]);
    filters.add_chain(2, false, &[FilterPart { key: 0, at: 0, length: 0 }]);
    filters.add_chain(3, true, &[FilterPart { key: 100, at: 0, length: 4 }]);
    for chain in [2, 3, 4] {
        let header = Header { filters: chain, ..failed(111, 1, 0, [0; 6]) };
        assert_eq!(filters.judge(&header), Verdict::Unknown(Doubt::Unread), "chain {chain}");
        assert_eq!(filters.judge(&Header { errno: 0, ..header }), Verdict::Passed);
        assert!(!filters.describe(&[chain]).1);
    }
    // One filter of many is enough to know a refusal by.
    let header = Header { filters: 3, ..failed(110, 1, 0, [0; 6]) };
    assert_eq!(filters.judge(&header), refused("EPERM"));
}

#[test]
fn a_filter_in_parts_is_put_together() {
    let mut program: Vec<Instruction> = (0..3000).map(|n| op(code::LD_IMM, 0, 0, n)).collect();
    program.extend(on_number(110, EPERM));
    let all = bytes(&program);
    let mut filters = Filters::default();
    let (first, second) = all.split_at(2048 * 8);
    filters.add_part(7, first.to_vec());
    filters.add_part(8, second.to_vec());
    let part = |key, at, length| FilterPart { key, at, length };
    filters.add_chain(1, false, &[part(7, 0, 2048), part(8, 2048, 956)]);
    assert_eq!(filters.judge(&failed(110, 1, 0, [0; 6])), refused("EPERM"));
    let (described, whole) = filters.describe(&[1]);
    assert!(whole);
    assert_eq!((described[0].instructions, described[0].default.as_str()), (3004, "allowed"));
    // A part without its beginning is no filter.
    filters.add_chain(2, false, &[part(8, 2048, 956)]);
    assert!(!filters.describe(&[2]).1);
}

#[test]
fn filters_are_described_once_in_one_order_by_their_contents() {
    let filters = with(&[on_number(1, EPERM), on_number(2, EPERM), on_number(1, EPERM)]);
    let (described, whole) = filters.describe(&[1, 1]);
    assert!(whole && described.len() == 2 && described.is_sorted());
    assert_eq!(described[0].sha256.len(), 64);
}

#[test]
fn what_a_target_can_bring_is_bounded() {
    let mut filters = Filters::default();
    for key in 0..2000 {
        filters.add_part(key, vec![0; 16 << 10]);
    }
    assert!(filters.bytes <= MAX_BYTES && filters.overflow > 0);
    for key in 0..5000 {
        filters.add_chain(key, false, &[]);
    }
    assert!(filters.chains.len() <= MAX_CHAINS);
}
