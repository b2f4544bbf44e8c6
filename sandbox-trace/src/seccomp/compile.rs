//! Profile → the filter that a runtime loads, built through libseccomp in the order and with the exceptions of
//! runc 1.1.5, and runc's own `ENOSYS` answers before it.
//!
//! Measured against the program that runc loads: libseccomp's part is identical byte for byte.

use std::{
    collections::BTreeSet,
    io::{Read as _, Seek as _},
};

use libseccomp::{ScmpAction, ScmpArch, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall};
use nix::sys::memfd::{MFdFlags, memfd_create};

use super::{
    arch::{Arch, X32_BIT},
    bpf::{Instruction, Program, code},
    profile::{ActionName, Arg, Profile, Rule},
};
use crate::error::{Error, Result};

const EPERM: i32 = 1;
const ENOSYS_RETURN: u32 = 0x0005_0026;

/// A compiled filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// What the kernel gets.
    pub program: Program,
    /// Names in the profile that this libseccomp does not know; runtimes ignore such rules silently.
    pub unknown: BTreeSet<String>,
}

/// Compiles the rules of `profile` that are there for certain (see [`Profile::resolve`]); `enosys_answers` puts runc's answers for newer system calls before it.
pub fn compile(profile: &Profile, enosys_answers: bool) -> Result<Filter> {
    let default = action(&profile.default)?;
    let mut context = ScmpFilterContext::new(default).map_err(|e| refused("the default action", e))?;
    let architectures = architectures(profile)?;
    for arch in &architectures {
        context.add_arch(*arch).map_err(|e| refused("an architecture", e))?;
    }
    let mut unknown = BTreeSet::new();
    for rule in profile.certain() {
        for name in &rule.names {
            add(&mut context, default, rule, name, &mut unknown)?;
        }
    }
    let mut instructions = Vec::new();
    if enosys_answers && !matches!(default, ScmpAction::Allow | ScmpAction::Log | ScmpAction::Trace(_)) {
        instructions = enosys_section(profile, &architectures);
    }
    instructions.extend(export(&context)?.instructions());
    let program = Program::new(instructions).map_err(|e| {
        Error::usage(format!("the kernel would not take the compiled filter: {e}"))
            .hint("a filter has room for about 4,000 comparisons: use fewer argument conditions")
    })?;
    Ok(Filter { program, unknown })
}

/// The listed architectures as libseccomp's tokens.
fn architectures(profile: &Profile) -> Result<Vec<ScmpArch>> {
    let mut seen: Vec<ScmpArch> = Vec::new();
    for name in &profile.architectures {
        let arch: ScmpArch = name.parse().map_err(|_| {
            Error::usage(format!("the profile lists an unknown architecture: {name:?}"))
                .hint("architectures are written like SCMP_ARCH_X86_64")
        })?;
        if !seen.contains(&arch) {
            seen.push(arch);
        }
    }
    Ok(seen)
}

fn add(
    context: &mut ScmpFilterContext,
    default: ScmpAction,
    rule: &Rule,
    name: &str,
    unknown: &mut BTreeSet<String>,
) -> Result<()> {
    let action = action(&rule.action)?;
    let conditions = rule.args.iter().map(condition).collect::<Result<Vec<_>>>()?;
    // libseccomp refuses a rule that says what happens anyway; runc skips it.
    if action == default {
        return Ok(());
    }
    let Ok(syscall) = ScmpSyscall::from_name(name) else {
        unknown.insert(name.to_owned());
        return Ok(());
    };
    let failed = |e| refused(&format!("the rule for {name}"), e);
    if conditions.is_empty() {
        context.add_rule(action, syscall).map_err(failed)?;
        return Ok(());
    }
    let indices: BTreeSet<u32> = rule.args.iter().map(|arg| arg.index).collect();
    if indices.len() == rule.args.len() {
        context.add_rule_conditional(action, syscall, &conditions).map_err(failed)?;
    } else {
        // libseccomp takes one condition an argument. runc makes a rule of each condition then, so that any
        // one of them is enough.
        for condition in conditions {
            context.add_rule_conditional(action, syscall, &[condition]).map_err(failed)?;
        }
    }
    Ok(())
}

fn action(name: &ActionName) -> Result<ScmpAction> {
    let value = name.errno.map_or(Ok(EPERM), i32::try_from).ok().filter(|v| (0..=0xffff).contains(v));
    let Some(value) = value else {
        return Err(Error::usage(format!(
            "the profile has an error number out of range for {:?}",
            name.action
        ))
        .hint("\"errnoRet\" and \"defaultErrnoRet\" are error numbers like 1 (EPERM)"));
    };
    ScmpAction::from_str(&name.action, Some(value)).map_err(|_| {
        Error::usage(format!("the profile has an unknown action: {:?}", name.action))
            .hint("actions are written like SCMP_ACT_ALLOW and SCMP_ACT_ERRNO")
    })
}

fn condition(arg: &Arg) -> Result<ScmpArgCompare> {
    let op = match arg.op.as_str() {
        "SCMP_CMP_NE" => ScmpCompareOp::NotEqual,
        "SCMP_CMP_LT" => ScmpCompareOp::Less,
        "SCMP_CMP_LE" => ScmpCompareOp::LessOrEqual,
        "SCMP_CMP_EQ" => ScmpCompareOp::Equal,
        "SCMP_CMP_GE" => ScmpCompareOp::GreaterEqual,
        "SCMP_CMP_GT" => ScmpCompareOp::Greater,
        "SCMP_CMP_MASKED_EQ" => ScmpCompareOp::MaskedEqual(arg.value),
        other => {
            return Err(Error::usage(format!("the profile has an unknown comparison: {other:?}"))
                .hint("comparisons are written like SCMP_CMP_EQ and SCMP_CMP_MASKED_EQ"));
        }
    };
    if arg.index > 5 {
        return Err(Error::usage(format!("the profile has a condition on argument {}", arg.index))
            .hint("a system call has the arguments 0 to 5"));
    }
    let datum = if matches!(op, ScmpCompareOp::MaskedEqual(_)) { arg.value_two } else { arg.value };
    Ok(ScmpArgCompare::new(arg.index, op, datum))
}

fn refused(what: &str, error: libseccomp::error::SeccompError) -> Error {
    Error::usage(format!("libseccomp does not take {what} of the profile"))
        .because(error)
        .hint("container runtimes build the filter with libseccomp and would refuse it too")
}

/// libseccomp writes a filter to a file descriptor only (before 2.6): an anonymous one.
fn export(context: &ScmpFilterContext) -> Result<Program> {
    let failed = |e: std::io::Error| {
        Error::host("could not get the compiled filter from libseccomp")
            .because(e)
            .hint("memory may be short; try again")
    };
    let mut file: std::fs::File =
        memfd_create(c"seccomp-filter", MFdFlags::MFD_CLOEXEC).map_err(|e| failed(e.into()))?.into();
    context.export_bpf(&file).map_err(|e| refused("the rules", e))?;
    let mut bytes = Vec::new();
    file.rewind().and_then(|()| file.read_to_end(&mut bytes)).map_err(failed)?;
    Program::from_bytes(&bytes).map_err(|e| {
        Error::usage(format!("the kernel would not take the compiled filter: {e}"))
            .hint("a filter has room for about 4,000 comparisons: use fewer argument conditions")
    })
}

/// runc's answers for system calls that are newer than the profile: a number above the largest one that the
/// profile names, under any rule, gets `ENOSYS` before the filter is asked. For each listed architecture; none
/// without a list. Each section falls through to the next, and the last to the filter.
fn enosys_section(profile: &Profile, architectures: &[ScmpArch]) -> Vec<Instruction> {
    let native = ScmpArch::native();
    let mut out = Vec::new();
    for listed in architectures {
        let scmp = if *listed == ScmpArch::Native { native } else { *listed };
        // Other machines' calls never reach a filter on this one.
        let Some(arch) = Arch::from_scmp(scmp) else { continue };
        let largest = profile
            .certain()
            .flat_map(|rule| &rule.names)
            .filter_map(|name| ScmpSyscall::from_name_by_arch(name, scmp).ok())
            // A negative number stands for a call that this architecture lacks.
            .filter_map(|syscall| u32::try_from(syscall.as_raw_syscall()).ok())
            .max();
        let Some(largest) = largest else { continue };
        let op = |code, jt, jf, k| Instruction { code, jt, jf, k };
        let mode = match arch {
            Arch::X8664 => Some(op(code::JSET, 2, 0, X32_BIT)),
            Arch::X32 => Some(op(code::JSET, 0, 2, X32_BIT)),
            Arch::I386 => None,
        };
        out.push(op(code::LD_ABS, 0, 0, 4));
        out.push(op(code::JEQ, 0, if mode.is_some() { 4 } else { 3 }, arch.audit()));
        out.push(op(code::LD_ABS, 0, 0, 0));
        out.extend(mode);
        out.push(op(code::JGT, 0, 1, largest));
        out.push(op(code::RET_K, 0, 0, ENOSYS_RETURN));
    }
    out
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::seccomp::{
        bpf::{Action, Call},
        profile,
    };

    fn filter(json: &str, enosys: bool) -> Result<Filter> {
        compile(&profile::from_json(json.as_bytes(), "p.json")?, enosys)
    }

    fn ask(filter: &Filter, arch: Arch, nr: u32, args: &[u64]) -> Action {
        let mut all = [Some(0); 6];
        for (slot, value) in all.iter_mut().zip(args) {
            *slot = Some(*value);
        }
        let outcome = filter.program.outcome(&Call { nr: arch.number(nr), arch: arch.audit(), args: all });
        assert!(outcome.explored);
        assert_eq!(outcome.actions.len(), 1, "known arguments have one answer");
        *outcome.actions.first().unwrap()
    }

    const READ_AND_SOCKET: &str = r#"{"defaultAction":"SCMP_ACT_ERRNO","architectures":["SCMP_ARCH_X86_64"],
        "syscalls":[{"names":["read","no_such_call"],"action":"SCMP_ACT_ALLOW"},
                    {"names":["getpid"],"action":"SCMP_ACT_ERRNO"},
                    {"names":["socket"],"action":"SCMP_ACT_ALLOW",
                     "args":[{"index":0,"value":1,"op":"SCMP_CMP_EQ"},{"index":0,"value":2,"op":"SCMP_CMP_EQ"}]},
                    {"names":["personality"],"action":"SCMP_ACT_ALLOW",
                     "args":[{"index":0,"value":4294967295,"valueTwo":8,"op":"SCMP_CMP_MASKED_EQ"}]}]}"#;

    #[test]
    fn rules_mean_what_they_mean_to_runc() {
        let filter = filter(READ_AND_SOCKET, false).unwrap();
        assert_eq!(filter.unknown, BTreeSet::from(["no_such_call".to_owned()]));
        assert_eq!(ask(&filter, Arch::X8664, 0, &[]), Action::Allow);
        assert_eq!(ask(&filter, Arch::X8664, 39, &[]), Action::Errno(1));
        // The same argument twice: either is enough.
        assert_eq!(ask(&filter, Arch::X8664, 41, &[1]), Action::Allow);
        assert_eq!(ask(&filter, Arch::X8664, 41, &[2]), Action::Allow);
        assert_eq!(ask(&filter, Arch::X8664, 41, &[3]), Action::Errno(1));
        // 64 bits are compared, unless a mask says otherwise.
        assert_eq!(ask(&filter, Arch::X8664, 41, &[0x1_0000_0001]), Action::Errno(1));
        assert_eq!(ask(&filter, Arch::X8664, 135, &[0xffff_ffff_0000_0008]), Action::Allow);
        assert_eq!(ask(&filter, Arch::X8664, 135, &[9]), Action::Errno(1));
        // Architectures that are not listed are killed.
        assert_eq!(ask(&filter, Arch::I386, 3, &[]), Action::KillThread);
        assert_eq!(ask(&filter, Arch::X32, 0, &[]), Action::KillThread);
    }

    #[test]
    fn newer_calls_get_enosys_from_runc_alone_and_only_with_a_list_of_architectures() {
        let with = filter(READ_AND_SOCKET, true).unwrap();
        assert_eq!(ask(&with, Arch::X8664, 135, &[8]), Action::Allow);
        assert_eq!(ask(&with, Arch::X8664, 134, &[]), Action::Errno(1));
        assert_eq!(ask(&with, Arch::X8664, 136, &[]), Action::Errno(38));
        assert_eq!(ask(&with, Arch::X32, 0, &[]), Action::KillThread);
        assert_eq!(ask(&with, Arch::I386, 400, &[]), Action::KillThread);
        let without = filter(READ_AND_SOCKET, false).unwrap();
        assert_eq!(ask(&without, Arch::X8664, 136, &[]), Action::Errno(1));
        let no_list = READ_AND_SOCKET.replace(r#""architectures":["SCMP_ARCH_X86_64"],"#, "");
        assert_eq!(ask(&filter(&no_list, true).unwrap(), Arch::X8664, 500, &[]), Action::Errno(1));
        let all = READ_AND_SOCKET
            .replace(r#"["SCMP_ARCH_X86_64"]"#, r#"["SCMP_ARCH_X86_64","SCMP_ARCH_X86","SCMP_ARCH_X32"]"#);
        let all = filter(&all, true).unwrap();
        assert_eq!(ask(&all, Arch::I386, 3, &[]), Action::Allow);
        assert_eq!(ask(&all, Arch::I386, 400, &[]), Action::Errno(38));
        assert_eq!(ask(&all, Arch::X32, 0, &[]), Action::Allow);
        assert_eq!(ask(&all, Arch::X32, 400, &[]), Action::Errno(38));
        assert_eq!(ask(&all, Arch::X8664, 400, &[]), Action::Errno(38));
        assert_eq!(ask(&all, Arch::X8664, 39, &[]), Action::Errno(1));
    }

    #[test]
    fn what_runtimes_refuse_is_an_error() {
        for (from, to) in [
            ("SCMP_ACT_ERRNO", "SCMP_ACT_NONSENSE"),
            ("SCMP_ARCH_X86_64", "SCMP_ARCH_Z80"),
            ("SCMP_CMP_MASKED_EQ", "SCMP_CMP_ALMOST"),
            (r#""index":0"#, r#""index":6"#),
        ] {
            let error = filter(&READ_AND_SOCKET.replace(from, to), false).unwrap_err();
            assert_eq!(error.exit(), crate::error::Exit::Usage, "{error}");
        }
    }
}
