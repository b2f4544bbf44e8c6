//! The filter that asks: the profile's own, with a question in the place of each error. What kills or traps stays as
//! it is, since no supervisor can do the same. Pure.

use crate::seccomp::{
    arch::Arch,
    bpf::{Action, Call, Instruction, Invalid, Program, code},
};

/// `SECCOMP_RET_USER_NOTIF`.
const ASK: u32 = 0x7fc0_0000;
const EPERM: u16 = 1;
const ENOSYS: u16 = 38;

/// `program`, asking wherever it would answer with an error.
pub fn asking(program: &Program) -> Result<Program, Invalid> {
    let ask = |instruction: &Instruction| match (instruction.code, Action::from_return(instruction.k)) {
        (code::RET_K, Action::Errno(_)) => Instruction { k: ASK, ..*instruction },
        _ => *instruction,
    };
    Program::new(program.instructions().iter().map(ask).collect())
}

/// Whether the profile ends tasks for a call, or sends them a signal.
pub fn may_kill(program: &Program) -> bool {
    program.can_answer(|action| matches!(action, Action::Trap | Action::KillThread | Action::KillProcess))
}

/// The error number that the profile has for a call that its asking filter asked about; 0 is a success that did
/// nothing.
pub fn answer(program: &Program, call: &Call) -> u16 {
    match program.decide(call) {
        Some(Action::Errno(errno)) => errno,
        // The profile itself leaves the call to a supervisor, and `run` has none: that is the kernel's answer then.
        Some(Action::Notify) => ENOSYS,
        // No other answer becomes a question. Should one, then it is a refusal.
        _ => EPERM,
    }
}

/// The architecture of a call as the kernel reports it, and the number without the x32 bit.
pub fn architecture(arch: u32, nr: u32) -> Option<(Arch, u32)> {
    let x32 = nr & crate::seccomp::arch::X32_BIT;
    Arch::ALL
        .into_iter()
        .find(|known| {
            known.audit() == arch && (*known == Arch::X32) == (known.audit() == Arch::X32.audit() && x32 != 0)
        })
        .map(|known| (known, if known == Arch::X32 { nr & !x32 } else { nr }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seccomp::{compile::compile, profile};

    fn program(json: &str) -> Program {
        compile(&profile::from_json(json.as_bytes(), "p.json").unwrap(), true).unwrap().program
    }

    fn call(nr: u32, first: u64) -> Call {
        Call {
            nr,
            arch: Arch::X8664.audit(),
            args: [Some(first), Some(0), Some(0), Some(0), Some(0), Some(0)],
        }
    }

    #[test]
    fn each_error_becomes_a_question_and_the_answer_is_that_error() {
        let own = program(
            r#"{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":99,"architectures":["SCMP_ARCH_X86_64"],"syscalls":[
                {"names":["read","execve"],"action":"SCMP_ACT_ALLOW"},
                {"names":["write"],"action":"SCMP_ACT_LOG"},
                {"names":["socket"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":1,"op":"SCMP_CMP_EQ"}]},
                {"names":["clone3"],"action":"SCMP_ACT_ERRNO","errnoRet":38},
                {"names":["getppid"],"action":"SCMP_ACT_ERRNO","errnoRet":0},
                {"names":["ptrace"],"action":"SCMP_ACT_KILL_PROCESS"},
                {"names":["mount"],"action":"SCMP_ACT_TRAP"}]}"#,
        );
        let asking = asking(&own).unwrap();
        assert!(may_kill(&own));
        for nr in (0..500).chain([1000, 0x4000_0001]) {
            for first in [0, 1, 16, u64::MAX, 1 << 32 | 1] {
                let call = call(nr, first);
                let (before, after) = (own.decide(&call).unwrap(), asking.decide(&call).unwrap());
                if let Action::Errno(errno) = before {
                    assert_eq!(after, Action::Notify, "{nr} {first}");
                    assert_eq!(answer(&own, &call), errno);
                } else {
                    assert_eq!(before, after, "{nr} {first}");
                }
            }
        }
        assert_eq!(answer(&own, &call(435, 0)), 38);
        assert_eq!(answer(&own, &call(110, 0)), 0);
        assert_eq!(answer(&own, &call(41, 16)), 99);
        assert_eq!(answer(&own, &call(490, 0)), 38, "newer than the profile");
    }

    #[test]
    fn architectures_are_the_kernels() {
        assert_eq!(architecture(0xc000_003e, 41), Some((Arch::X8664, 41)));
        assert_eq!(architecture(0xc000_003e, 0x4000_0029), Some((Arch::X32, 41)));
        assert_eq!(architecture(0x4000_0003, 102), Some((Arch::I386, 102)));
        assert_eq!(architecture(1, 102), None);
    }
}
