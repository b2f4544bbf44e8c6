//! Small programs with known answers, and programs from noise.

use proptest::prelude::*;

use super::*;

fn op(code: u16, jt: u8, jf: u8, k: u32) -> Instruction {
    Instruction { code, jt, jf, k }
}

const ALLOW: u32 = 0x7fff_0000;
const EPERM: u32 = 0x0005_0001;

fn call(nr: u32, args: [Option<u64>; 6]) -> Call {
    Call { nr, arch: 0xc000_003e, args }
}

/// `if arg0 == value (both words) allow else EPERM`
fn on_first_argument(value: u64) -> Program {
    let [low, high] = [(value & 0xffff_ffff) as u32, (value >> 32) as u32];
    Program::new(vec![
        op(code::LD_ABS, 0, 0, 16),
        op(code::JEQ, 0, 3, low),
        op(code::LD_ABS, 0, 0, 20),
        op(code::JEQ, 0, 1, high),
        op(code::RET_K, 0, 0, ALLOW),
        op(code::RET_K, 0, 0, EPERM),
    ])
    .unwrap()
}

#[test]
fn a_known_argument_decides_and_an_unknown_one_leaves_both_answers() {
    let program = on_first_argument(0x1_0000_0005);
    let mut args = [None; 6];
    args[0] = Some(0x1_0000_0005);
    assert!(program.outcome(&call(1, args)).always_goes_on());
    args[0] = Some(5);
    assert!(program.outcome(&call(1, args)).never_goes_on());
    args[0] = None;
    let outcome = program.outcome(&call(1, args));
    assert_eq!(outcome.actions, BTreeSet::from([Action::Allow, Action::Errno(1)]));
    assert!(!outcome.always_goes_on() && !outcome.never_goes_on());
}

#[test]
fn scratch_memory_x_and_arithmetic_follow_the_kernel() {
    let program = Program::new(vec![
        op(code::LD_ABS, 0, 0, 0),
        op(code::ST, 0, 0, 3),
        op(code::LD_IMM, 0, 0, 7),
        op(code::TAX, 0, 0, 0),
        op(code::LD_MEM, 0, 0, 3),
        op(0x0c, 0, 0, 0), // A += X
        op(code::JEQ, 0, 1, 17),
        op(code::RET_K, 0, 0, ALLOW),
        op(code::RET_K, 0, 0, 0),
    ])
    .unwrap();
    assert_eq!(program.outcome(&call(10, [None; 6])).actions, BTreeSet::from([Action::Allow]));
    assert_eq!(program.outcome(&call(11, [None; 6])).actions, BTreeSet::from([Action::KillThread]));
}

#[test]
fn return_values_are_the_kernel_s() {
    for (value, action) in [
        (ALLOW, Action::Allow),
        (0x7ffc_0000, Action::Log),
        (0x7ff0_0001, Action::Trace),
        (0x7fc0_0000, Action::Notify),
        (0x0005_0026, Action::Errno(38)),
        (0x0005_ffff, Action::Errno(4095)),
        (0x0003_0000, Action::Trap),
        (0x8000_0000, Action::KillProcess),
        (0, Action::KillThread),
        (0x1234_0000, Action::KillProcess),
    ] {
        assert_eq!(Action::from_return(value), action, "{value:#x}");
    }
    assert_eq!(Action::Errno(1).to_string(), "EPERM");
    assert_eq!(Action::Errno(38).to_string(), "ENOSYS");
}

#[test]
fn what_the_kernel_refuses_is_refused() {
    let ret = op(code::RET_K, 0, 0, ALLOW);
    for bad in [
        vec![],
        vec![op(code::LD_ABS, 0, 0, 0)],
        vec![op(code::LD_ABS, 0, 0, 64), ret],
        vec![op(code::LD_ABS, 0, 0, 2), ret],
        vec![op(code::JEQ, 0, 1, 0), ret],
        vec![op(code::JA, 0, 0, 1), ret],
        vec![op(code::ST, 0, 0, 16), ret],
        vec![op(0x28, 0, 0, 0), ret],
        vec![op(0x34, 0, 0, 0), ret],
        vec![ret; MAX_INSTRUCTIONS + 1],
    ] {
        assert!(Program::new(bad.clone()).is_err(), "{bad:?}");
    }
    assert_eq!(Program::from_bytes(&[0; 7]), Err(Invalid::Truncated(7)));
}

#[test]
fn a_program_too_large_to_explore_is_not_decided() {
    // Adds 2^i for each of 20 unknown bits: a million different sums.
    let mut body = vec![op(code::LD_IMM, 0, 0, 0), op(code::ST, 0, 0, 0)];
    for bit in 0..20 {
        body.extend([
            op(code::LD_ABS, 0, 0, 16),
            op(code::JSET, 0, 3, 1 << bit),
            op(code::LD_MEM, 0, 0, 0),
            op(0x04, 0, 0, 1 << bit),
            op(code::ST, 0, 0, 0),
        ]);
    }
    body.push(op(code::RET_K, 0, 0, ALLOW));
    let outcome = Program::new(body).unwrap().outcome(&call(1, [None; 6]));
    assert!(!outcome.explored && !outcome.always_goes_on());
}

proptest! {
    #[test]
    fn no_accepted_program_panics(bytes: Vec<[u8; 8]>, data: [u64; 6], nr: u32) {
        if let Ok(program) = Program::from_bytes(bytes.as_flattened()) {
            let _ = program.outcome(&call(nr, data.map(Some)));
        }
    }

    #[test]
    fn the_unknown_answer_holds_every_known_one(value: u64, real: u64) {
        let program = on_first_argument(value);
        let mut args = [None; 6];
        let unknown = program.outcome(&call(1, args));
        args[0] = Some(real);
        prop_assert!(program.outcome(&call(1, args)).actions.is_subset(&unknown.actions));
    }
}
