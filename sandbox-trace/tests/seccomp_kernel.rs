//! The interpreter against the kernel: a forked child loads the compiled filter, makes calls, and every answer
//! must be the predicted one. Needs no privilege: the child sets `no_new_privs`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may stop where it stands")]

use std::{
    arch::asm,
    io::Write as _,
    process::{Command, Output},
};

use nix::{
    libc,
    sys::{
        signal::Signal,
        wait::{WaitStatus, waitpid},
    },
    unistd::{ForkResult, fork},
};
use proptest::prelude::*;
use sandbox_trace::seccomp::{
    arch::Arch,
    bpf::{Action, Call, Program},
    compile::compile,
    load, profile,
};

/// Error numbers that no tested call returns by itself tell the filter's answer from the kernel's.
const RULE_ERRNO: u16 = 99;
const DEFAULT_ERRNO: u16 = 98;

/// One call to make in the child: harmless with these arguments, whatever the filter says.
#[derive(Debug, Clone, Copy)]
struct Try {
    arch: Arch,
    nr: u32,
    args: [u64; 2],
}

/// A call by its x86-64 number.
const fn native(nr: u32, args: [u64; 2]) -> Try {
    Try { arch: Arch::X8664, nr, args }
}

const TRIES: &[Try] = &[
    native(39, [0, 0]),                      // getpid
    native(110, [0, 0]),                     // getppid
    native(102, [0, 0]),                     // getuid
    native(24, [0, 0]),                      // sched_yield
    native(135, [0xffff_ffff, 0]),           // personality: only asks
    native(135, [0x1_ffff_ffff, 0]),         // the same to the kernel, not to a filter
    native(157, [3, 0]),                     // prctl(PR_GET_DUMPABLE)
    native(157, [0xffff_0000_0000_0003, 0]), // the same to the kernel
    native(32, [0xffff_ffff, 0]),            // dup(-1)
    native(33, [0xffff_ffff, 5]),            // dup2(-1, 5)
    native(33, [0xffff_ffff, 0x1_0000_0005]),
    native(332, [0, 0]),                            // statx of no path
    native(500, [0, 0]),                            // no such call
    Try { arch: Arch::I386, nr: 20, args: [0, 5] }, // getpid
    Try { arch: Arch::X32, nr: 39, args: [0, 0] },  // getpid
];

/// What the kernel did, as far as an outsider can tell.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Errno(u16),
    Killed,
    WentOn,
}

fn predicted(program: &Program, attempt: Try) -> Seen {
    let mut args = [Some(0); 6];
    (args[0], args[1]) = (Some(attempt.args[0]), Some(attempt.args[1]));
    let call = Call { nr: attempt.arch.number(attempt.nr), arch: attempt.arch.audit(), args };
    let outcome = program.outcome(&call);
    assert!(outcome.explored);
    let actions: Vec<Action> = outcome.actions.into_iter().collect();
    match actions.as_slice() {
        [Action::Errno(nr)] => Seen::Errno(*nr),
        [Action::Allow | Action::Log] => Seen::WentOn,
        [Action::KillProcess | Action::KillThread | Action::Trap] => Seen::Killed,
        other => panic!("{other:?}"),
    }
}

/// Makes the call in a child under the filter. A kill is seen by its signal, an answer by the exit code.
fn observed(program: &Program, attempt: Try) -> Seen {
    // SAFETY: the child makes system calls only, on memory from before the fork, and ends with `_exit`.
    match unsafe { fork() }.unwrap() {
        ForkResult::Child => {
            let ready = nix::sys::prctl::set_no_new_privs().and_then(|()| load::load(program));
            // SAFETY: harmless calls that take no pointers; `exit_group` is always allowed here.
            unsafe {
                if ready.is_err() {
                    libc::_exit(200);
                }
                let result = make(attempt);
                libc::_exit(match -result {
                    code @ 98..=99 => i32::try_from(code).unwrap_or(201),
                    _ => 0,
                })
            }
        }
        ForkResult::Parent { child } => match waitpid(child, None).unwrap() {
            WaitStatus::Exited(_, 0) => Seen::WentOn,
            WaitStatus::Exited(_, code @ (98 | 99 | 38)) => Seen::Errno(u16::try_from(code).unwrap()),
            WaitStatus::Signaled(_, Signal::SIGSYS, _) => Seen::Killed,
            other => panic!("{attempt:?}: {other:?}"),
        },
    }
}

/// The raw call and its raw result.
unsafe fn make(attempt: Try) -> i64 {
    // SAFETY: the caller chose calls that touch no memory.
    unsafe {
        if attempt.arch == Arch::I386 {
            let mut result = attempt.nr.cast_signed();
            asm!(
                "push rbx",
                "mov ebx, {first:e}",
                "int 0x80",
                "pop rbx",
                first = in(reg) attempt.args[0],
                inlateout("eax") result,
                in("rcx") attempt.args[1],
                out("r8") _, out("r9") _, out("r10") _, out("r11") _,
            );
            return i64::from(result);
        }
        let mut result = i64::from(attempt.arch.number(attempt.nr));
        asm!(
            "syscall",
            inlateout("rax") result,
            in("rdi") attempt.args[0],
            in("rsi") attempt.args[1],
            in("rdx") 0, in("r10") 0, in("r8") 0, in("r9") 0,
            out("rcx") _, out("r11") _,
        );
        result
    }
}

fn action() -> impl Strategy<Value = &'static str> {
    prop_oneof![
        4 => Just(r#""SCMP_ACT_ALLOW""#),
        2 => Just(r#""SCMP_ACT_ERRNO","errnoRet":99"#),
        1 => Just(r#""SCMP_ACT_KILL_PROCESS""#),
        1 => Just(r#""SCMP_ACT_LOG""#),
    ]
}

/// A rule for one name, with up to three conditions that the tried arguments are near to.
fn rule() -> impl Strategy<Value = String> {
    let names =
        vec!["getpid", "getppid", "getuid", "sched_yield", "personality", "prctl", "dup", "dup2", "statx"];
    let op = proptest::sample::select(vec!["EQ", "NE", "LT", "LE", "GT", "GE", "MASKED_EQ"]);
    let value = || prop_oneof![Just(3u64), Just(5), Just(0xffff_ffff), Just(0x1_ffff_ffff), Just(0)];
    let arg = (0u8..2, op, value(), value()).prop_map(|(index, op, value, two)| {
        format!(r#"{{"index":{index},"op":"SCMP_CMP_{op}","value":{value},"valueTwo":{two}}}"#)
    });
    (proptest::sample::select(names), action(), proptest::collection::vec(arg, 0..3)).prop_map(
        |(name, action, args)| {
            format!(r#"{{"names":["{name}"],"action":{action},"args":[{}]}}"#, args.join(","))
        },
    )
}

fn profiles() -> impl Strategy<Value = (String, bool)> {
    let default = prop_oneof![
        3 => Just(r#""SCMP_ACT_ERRNO","defaultErrnoRet":98"#),
        1 => Just(r#""SCMP_ACT_ALLOW""#),
    ];
    let arches = prop_oneof![
        Just(r#""SCMP_ARCH_X86_64""#),
        Just(r#""SCMP_ARCH_X86_64","SCMP_ARCH_X86""#),
        Just(r#""SCMP_ARCH_X86_64","SCMP_ARCH_X86","SCMP_ARCH_X32""#),
        Just(""),
    ];
    (default, arches, proptest::collection::vec(rule(), 0..6), any::<bool>()).prop_map(
        |(default, arches, mut rules, enosys)| {
            rules.push(r#"{"names":["exit_group"],"action":"SCMP_ACT_ALLOW"}"#.into());
            let rules = rules.join(",");
            let json =
                format!(r#"{{"defaultAction":{default},"architectures":[{arches}],"syscalls":[{rules}]}}"#);
            (json, enosys)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn the_kernel_does_what_the_interpreter_says((json, enosys) in profiles()) {
        assert_eq!((RULE_ERRNO, DEFAULT_ERRNO), (99, 98));
        let profile = profile::from_json(json.as_bytes(), "p.json").unwrap();
        // libseccomp may refuse a combination (the same call twice with different actions); so would runc.
        let Ok(filter) = compile(&profile, enosys) else { return Ok(()) };
        for attempt in TRIES {
            let expected = match predicted(&filter.program, *attempt) {
                // The kernel's own answer for a number that it does not have either.
                Seen::Errno(38) => Seen::WentOn,
                other => other,
            };
            prop_assert_eq!(observed(&filter.program, *attempt), expected, "{:?} under {}", attempt, json);
        }
    }
}

fn run(profile: &str, arguments: &[&str]) -> Output {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(profile.as_bytes()).unwrap();
    Command::new(env!("CARGO_BIN_EXE_sandbox-trace"))
        .args(["run", "--no-new-privileges", "--seccomp"])
        .arg(file.path())
        .arg("--")
        .args(arguments)
        .output()
        .unwrap()
}

const DENY_MKDIR: &str = r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[
    {"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":28}]}"#;

#[test]
fn run_becomes_the_command_under_the_filter() {
    let denied = run(DENY_MKDIR, &["mkdir", "/tmp/never-made-by-a-test"]);
    assert_eq!(denied.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&denied.stderr).contains("No space left"), "{denied:?}");
    let echo = run(DENY_MKDIR, &["sh", "-c", "echo out; echo err >&2; exit 7"]);
    assert_eq!((echo.status.code(), &*echo.stdout, &*echo.stderr), (Some(7), &b"out\n"[..], &b"err\n"[..]));
}

#[test]
fn wrong_usage_of_run_is_its_own_failure_and_of_others_is_not() {
    for (arguments, code) in [(&["run", "--no-such"][..], 125), (&["verify"], 2), (&["run", "--help"], 0)] {
        let status =
            Command::new(env!("CARGO_BIN_EXE_sandbox-trace")).args(arguments).output().unwrap().status;
        assert_eq!(status.code(), Some(code), "{arguments:?}");
    }
}

#[test]
fn run_fails_with_its_own_codes() {
    for (profile, command, code, text) in [
        (DENY_MKDIR, "no-such-command-anywhere", 127, "was not found"),
        (DENY_MKDIR, "/etc/passwd", 126, "could not execute"),
        (DENY_MKDIR, "/nonexistent/file", 127, "could not execute"),
        ("{\"defaultAction\":\"SCMP_ACT_ERRNO\"}", "true", 125, "does not allow execve"),
        ("not json", "true", 125, "not a seccomp profile"),
    ] {
        let output = run(profile, &[command]);
        assert_eq!(output.status.code(), Some(code), "{command}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(text), "{output:?}");
    }
}
