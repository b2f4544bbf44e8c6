//! Calls under seccomp filters, some of the program's own making: `refused calls | parts | many | signals | neighbours`. Every
//! call is made whatever becomes of it; what it got is printed.

use std::{io, process::ExitCode};

use nix::libc;

const ALLOW: u32 = 0x7fff_0000;
const ERRNO: u32 = 0x0005_0000;
const TRAP: u32 = 0x0003_0000;
const KILL_THREAD: u32 = 0;
const KILL_PROCESS: u32 = 0x8000_0000;

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some("calls") => calls(),
        Some("parts") => parts(),
        Some("many") => many(),
        Some("signals") => signals(),
        Some("neighbours") => neighbours(),
        _ => {
            eprintln!("usage: refused calls | parts | many | signals | neighbours");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}

/// Makes a call and says what it got.
fn call(name: &str, number: i64, args: [u64; 3]) {
    let [a, b, c] = args;
    // SAFETY: only calls that change no memory of this process but what they are given for it.
    let result = unsafe { libc::syscall(number, a, b, c) };
    let said = if result == -1 { io::Error::last_os_error().to_string() } else { "done".into() };
    println!("{name}: {said}");
}

/// What filters of the tests refuse, and what fails by itself with the same errors.
fn calls() {
    call("getppid", libc::SYS_getppid, [0; 3]);
    call("getpgrp", libc::SYS_getpgrp, [0; 3]);
    call("socket netlink", libc::SYS_socket, [16, 3, 0]);
    call("socket unix", libc::SYS_socket, [1, 1, 0]);
    call("personality", libc::SYS_personality, [0xffff_ffff, 0, 0]);
    call("keyctl", libc::SYS_keyctl, [0, 0, 0]);
    // A leader of a process group can't begin a session: EPERM, from the kernel itself.
    call("setpgid", libc::SYS_setpgid, [0, 0, 0]);
    call("setsid", libc::SYS_setsid, [0; 3]);
    // A number that was never used: ENOSYS, from the kernel itself.
    call("unused", 400, [0; 3]);
}

fn op(code: u32, jt: u8, jf: u8, k: u32) -> libc::sock_filter {
    libc::sock_filter { code: u16::try_from(code).expect("a code"), jt, jf, k }
}

fn number(call: i64) -> u32 {
    u32::try_from(call).expect("a number")
}

/// Loads a filter into this thread that gives `answers`, by number, after `idle` instructions that do nothing.
fn filter(idle: usize, answers: &[(i64, u32)]) {
    let mut program = vec![op(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0)];
    program.extend((0..idle).map(|_| op(libc::BPF_JMP | libc::BPF_JA, 0, 0, 0)));
    for (call, answer) in answers {
        program.push(op(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, number(*call)));
        program.push(op(libc::BPF_RET | libc::BPF_K, 0, 0, *answer));
    }
    program.push(op(libc::BPF_RET | libc::BPF_K, 0, 0, ALLOW));
    let length = u16::try_from(program.len()).expect("a length");
    let given = libc::sock_fprog { len: length, filter: program.as_mut_ptr() };
    // SAFETY: the kernel copies the program, which lives until then.
    let results = unsafe {
        [
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
            libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const given),
        ]
    };
    assert_eq!(results, [0, 0], "{}", io::Error::last_os_error());
}

/// A filter of nearly the longest kind, which takes more than one record, and a shorter one.
fn parts() {
    filter(4000, &[(libc::SYS_getppid, ERRNO | 1)]);
    filter(1200, &[(libc::SYS_getpgrp, ERRNO | 38)]);
    calls();
}

/// Runs `work` in a child; gives how that ended.
fn child(work: impl FnOnce()) -> i32 {
    // SAFETY: this program has one thread when it comes here.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "no child");
    if pid == 0 {
        work();
        // SAFETY: ends the child.
        unsafe { libc::_exit(0) };
    }
    let mut status = 0;
    // SAFETY: a variable of this function.
    assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
    status
}

/// Children with a filter each, one after the other, so that the kernel has the next one where the last one was.
fn many() {
    for errno in 101..=160 {
        child(|| {
            filter(0, &[(libc::SYS_getppid, ERRNO | errno)]);
            call("getppid", libc::SYS_getppid, [0; 3]);
        });
    }
}

/// Calls without a filter, and others under one that lets all through. The numbers of each of the latter differ in their
/// last bits alone from one of the former: by all ones, as two numbers do of which one is one more.
fn neighbours() {
    let mut place = [0u64; 32];
    let address = place.as_mut_ptr() as u64;
    call("gettimeofday", libc::SYS_gettimeofday, [address, 0, 0]);
    call("getrusage", libc::SYS_getrusage, [0, address, 0]);
    call("geteuid", libc::SYS_geteuid, [0; 3]);
    call("getppid", libc::SYS_getppid, [0; 3]);
    filter(0, &[]);
    call("getrlimit", libc::SYS_getrlimit, [0, address, 0]);
    call("sysinfo", libc::SYS_sysinfo, [address, 0, 0]);
    call("getegid", libc::SYS_getegid, [0; 3]);
    call("getpgrp", libc::SYS_getpgrp, [0; 3]);
}

extern "C" fn ignore(_signal: i32) {}

/// What ends in a signal: handled, deadly to the process, deadly to a thread of two.
fn signals() {
    let handled = child(|| {
        let handler = libc::sighandler_t::from(ignore as *const () as usize);
        // SAFETY: the handler does nothing.
        unsafe { libc::signal(libc::SIGSYS, handler) };
        filter(0, &[(libc::SYS_getppid, TRAP)]);
        call("getppid", libc::SYS_getppid, [0; 3]);
        // Gives its own number back, and is let through: 1 byte, by number 1.
        call("write", libc::SYS_write, [1, c"\n".as_ptr() as u64, 1]);
    });
    let process = child(|| {
        filter(0, &[(libc::SYS_getpgrp, KILL_PROCESS)]);
        call("getpgrp", libc::SYS_getpgrp, [0; 3]);
    });
    let thread = child(|| {
        let deadly = || {
            filter(0, &[(libc::SYS_getsid, KILL_THREAD)]);
            call("getsid", libc::SYS_getsid, [0; 3]);
        };
        // A thread that is killed is never joined by the library: the other waits for its end in /proc.
        let _thread = std::thread::spawn(deadly);
        let tasks = || std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count);
        while tasks() > 1 {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    });
    println!("{handled} {process} {thread}");
    assert_eq!((handled, process & 0x7f, thread), (0, libc::SIGSYS, 0));
}
