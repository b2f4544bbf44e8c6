//! The interpreter against the kernel, over generated filters and calls: profiles with every comparison, every
//! architecture and every action, one to three of them stacked, are compiled as the product does, really loaded,
//! and every call is really made. Each answer must be the predicted one.
//!
//! The filters are loaded in a second thread of a forked child: what kills a thread is so told from what kills a
//! process, and the first thread, which no filter binds, supervises the second's notifications.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::print_stdout,
    reason = "a test may stop where it stands, and says what it counted"
)]

use std::{
    arch::asm,
    collections::BTreeMap,
    ffi::{c_int, c_void},
    ptr,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicPtr, AtomicU32, Ordering::SeqCst},
    },
};

use nix::{
    libc,
    sys::{
        signal::Signal,
        wait::{WaitStatus, waitpid},
    },
    unistd::{ForkResult, fork},
};
use proptest::{prelude::*, strategy::ValueTree as _, test_runner::TestRunner};
use sandbox_trace::seccomp::{
    arch::Arch,
    bpf::{Action, Call, Program},
    chain::Chain,
    compile::compile,
    load, profile,
};

/// What must have been compared, each with an answer that can be told from the kernel's own.
const PAIRS: usize = 20_000;
/// No more profiles than this may be needed for it.
const PROFILES: usize = 1_500;
const CALLS: usize = 48;

/// What the supervisor answers to notifications.
const SUPERVISED: i32 = 133;
/// What filters answer. No call below fails with one of these by itself.
const ERRNOS: [u16; 6] = [0, 38, 98, 99, 132, 4095];

/// A call to make: harmless with these arguments, whatever the filters say.
#[derive(Debug, Clone, Copy)]
struct Try {
    arch: Arch,
    nr: u32,
    args: [u64; 6],
}

impl Try {
    /// As the filter sees it.
    fn call(self) -> Call {
        let seen = |argument: u64| if self.arch == Arch::I386 { argument & 0xffff_ffff } else { argument };
        Call {
            nr: self.arch.number(self.nr),
            arch: self.arch.audit(),
            args: self.args.map(|argument| Some(seen(argument))),
        }
    }
}

/// Calls without parameters by name: they do the same whatever the registers hold.
const PLAIN: [(&str, u32, Option<u32>); 9] = [
    ("getpid", 39, Some(20)),
    ("getuid", 102, Some(24)),
    ("getgid", 104, Some(47)),
    ("geteuid", 107, Some(49)),
    ("getegid", 108, Some(50)),
    ("getppid", 110, Some(64)),
    ("getpgrp", 111, Some(65)),
    ("gettid", 186, Some(224)),
    ("sched_yield", 24, Some(158)),
];

/// Calls on a descriptor, which is -1 here: they fail whatever the rest is.
const ON_DESCRIPTOR: [(&str, u32, Option<u32>); 9] = [
    ("lseek", 8, Some(19)),
    ("ioctl", 16, Some(54)),
    ("fcntl", 72, Some(55)),
    ("read", 0, Some(3)),
    ("ftruncate", 77, Some(93)),
    ("fchmod", 91, Some(94)),
    ("dup", 32, Some(41)),
    ("bind", 49, Some(361)),
    ("getsockname", 51, Some(367)),
];

/// Numbers that stand for something else, or nothing: x32's own ioctl, no such calls, and the one number that has
/// x32's bit and is not x32's.
const ODD: [u32; 5] = [514, 500, 1000, 0x3fff_ffff, 0xffff_ffff];

/// Every way to write -1 as a descriptor.
const NO_DESCRIPTOR: [u64; 4] = [u64::MAX, 0xffff_ffff, 0x1_ffff_ffff, 0x8000_0000_ffff_ffff];

fn value() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => proptest::sample::select(vec![
            0, 1, 3, 5, 0x5401, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, 0x1_0000_0000, 0x1_0000_0005, 0x1_ffff_ffff,
            0x7fff_ffff_ffff_ffff, 1 << 63, u64::MAX - 1, u64::MAX,
        ]),
        1 => any::<u64>(),
        1 => any::<u32>().prop_map(u64::from),
    ]
}

/// What is at and around a value, in both of its halves.
fn near(of: u64) -> impl Strategy<Value = u64> {
    let high = of & 0xffff_ffff_0000_0000;
    let low = of & 0xffff_ffff;
    proptest::sample::select(vec![
        of,
        of,
        of.wrapping_add(1),
        of.wrapping_sub(1),
        low,
        high,
        low << 32 | high >> 32,
        of.wrapping_add(1 << 32),
        of.wrapping_sub(1 << 32),
        of ^ (1 << 63),
        !of,
    ])
}

fn action(notify: bool) -> impl Strategy<Value = String> {
    let errno = proptest::sample::select(ERRNOS.to_vec())
        .prop_map(|errno| format!(r#""SCMP_ACT_ERRNO","errnoRet":{errno}"#));
    let named = |name: &str| Just(format!(r#""SCMP_ACT_{name}""#));
    let sometimes = if notify { "NOTIFY" } else { "TRAP" };
    prop_oneof![
        8 => named("ALLOW"),
        8 => errno,
        3 => named("TRAP"),
        3 => named("LOG"),
        3 => Just(r#""SCMP_ACT_TRACE","errnoRet":7"#.to_owned()),
        3 => named(sometimes),
        1 => named("KILL"),
        1 => named("KILL_THREAD"),
        1 => named("KILL_PROCESS"),
    ]
}

/// Conditions on any argument, the same one twice among them, and the values that they compare with.
fn conditions() -> impl Strategy<Value = (String, Vec<u64>)> {
    let op = proptest::sample::select(vec!["EQ", "NE", "LT", "LE", "GT", "GE", "MASKED_EQ"]);
    let one = (0_u8..6, op, value(), value(), any::<bool>());
    proptest::collection::vec(one, 0..4).prop_map(|conditions| {
        let mut values = Vec::new();
        let texts: Vec<String> = conditions
            .into_iter()
            .map(|(index, op, value, two, inside)| {
                // Half of the masks can be met.
                let two = if inside { two & value } else { two };
                values.extend([value, two]);
                format!(r#"{{"index":{index},"op":"SCMP_CMP_{op}","value":{value},"valueTwo":{two}}}"#)
            })
            .collect();
        (texts.join(","), values)
    })
}

/// A rule for one to three names, some of which are not called here or not known to anyone.
fn rule(notify: bool) -> impl Strategy<Value = (String, Vec<u64>)> {
    let mut names: Vec<&str> = PLAIN.iter().chain(&ON_DESCRIPTOR).map(|(name, ..)| *name).collect();
    names.extend(["socket", "connect", "openat2", "no_such_call", "socketcall", "getuid32", "_llseek"]);
    let names = proptest::collection::vec(proptest::sample::select(names), 1..4);
    (names, action(notify), conditions()).prop_map(|(names, action, (args, values))| {
        let names: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
        (format!(r#"{{"names":[{}],"action":{action},"args":[{args}]}}"#, names.join(",")), values)
    })
}

/// A profile, and the values that it compares with. Only the newest filter has a supervisor.
fn profile_text(last: bool) -> impl Strategy<Value = (String, Vec<u64>)> {
    let default = prop_oneof![
        6 => proptest::sample::select(ERRNOS.to_vec())
            .prop_map(|errno| format!(r#""SCMP_ACT_ERRNO","defaultErrnoRet":{errno}"#)),
        4 => Just(r#""SCMP_ACT_ALLOW""#.to_owned()),
        1 => Just(r#""SCMP_ACT_LOG""#.to_owned()),
        1 => Just(r#""SCMP_ACT_TRAP""#.to_owned()),
        1 => Just(r#""SCMP_ACT_TRACE","defaultErrnoRet":9"#.to_owned()),
        1 => Just(r#""SCMP_ACT_KILL""#.to_owned()),
        1 => Just(r#""SCMP_ACT_KILL_PROCESS""#.to_owned()),
    ];
    let arches = proptest::sample::select(vec![
        "",
        r#""SCMP_ARCH_X86_64""#,
        r#""SCMP_ARCH_X86_64","SCMP_ARCH_X86""#,
        r#""SCMP_ARCH_X86_64","SCMP_ARCH_X32""#,
        r#""SCMP_ARCH_X86_64","SCMP_ARCH_X86","SCMP_ARCH_X32""#,
        r#""SCMP_ARCH_X86","SCMP_ARCH_X32","SCMP_ARCH_X86_64","SCMP_ARCH_AARCH64""#,
    ]);
    (default, arches, proptest::collection::vec(rule(last), 0..9)).prop_map(
        move |(default, arches, rules)| {
            let (mut texts, values): (Vec<String>, Vec<Vec<u64>>) = rules.into_iter().unzip();
            // How a handler of SIGSYS returns, and how the next filter is loaded.
            let needed = if last { r#""rt_sigreturn""# } else { r#""rt_sigreturn","seccomp""# };
            texts.push(format!(r#"{{"names":[{needed}],"action":"SCMP_ACT_ALLOW"}}"#));
            let rules = texts.join(",");
            let json =
                format!(r#"{{"defaultAction":{default},"architectures":[{arches}],"syscalls":[{rules}]}}"#);
            (json, values.concat())
        },
    )
}

/// One to three filters, oldest first; only the last has a supervisor, if any.
fn profiles() -> impl Strategy<Value = (Vec<String>, bool, Vec<u64>)> {
    (proptest::collection::vec(profile_text(false), 0..3), profile_text(true), any::<bool>()).prop_map(
        |(mut older, last, enosys)| {
            // Most often there is one.
            if older.len() == 1 {
                older.clear();
            }
            older.push(last);
            let (texts, values): (Vec<String>, Vec<Vec<u64>>) = older.into_iter().unzip();
            (texts, enosys, values.concat())
        },
    )
}

/// A call whose arguments are near to what the filters compare with.
fn attempt(values: Vec<u64>) -> impl Strategy<Value = Try> {
    let values = if values.is_empty() { vec![0, u64::MAX] } else { values };
    let argument = prop_oneof![3 => proptest::sample::select(values).prop_flat_map(near), 1 => value()];
    let args = proptest::collection::vec(argument, 6);
    let which = prop_oneof![5 => Just(0_u8), 4 => Just(1), 1 => Just(2)];
    let arch = prop_oneof![4 => Just(Arch::X8664), 2 => Just(Arch::I386), 1 => Just(Arch::X32)];
    (which, 0_usize..9, arch, args, proptest::sample::select(NO_DESCRIPTOR.to_vec())).prop_map(
        |(which, index, arch, args, descriptor)| {
            let mut args: [u64; 6] = args.try_into().unwrap();
            let (_, native, i386) = match which {
                0 => PLAIN[index],
                1 => ON_DESCRIPTOR[index],
                _ => ("", ODD[index % ODD.len()], None),
            };
            if which > 0 {
                args[0] = descriptor;
            }
            match (arch, i386) {
                (Arch::I386, Some(nr)) => Try { arch, nr, args },
                // socketcall without arguments to read: the one call that stands for several.
                (Arch::I386, None) => Try { arch, nr: 102, args: [args[1] % 21, 0, 0, 0, 0, 0] },
                (Arch::X32, _) => Try { arch, nr: native & 0x3fff_ffff, args },
                _ => Try { arch: Arch::X8664, nr: native, args },
            }
        },
    )
}

/// What the kernel did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    Returned(i64),
    Trapped,
    ThreadKilled,
    ProcessKilled,
}

/// Memory that the child shares with the test.
#[repr(C)]
struct Shared {
    /// The call that is being made, the number of calls when all are.
    at: AtomicU32,
    /// The thread that makes them, 0 before it could load the filters, -1 if it could not.
    thread: AtomicI64,
    /// The listener's descriptor, -1 without one.
    listener: AtomicI64,
    /// How often SIGSYS was handled.
    trapped: AtomicU32,
    results: [AtomicI64; CALLS],
    was_trapped: [AtomicU32; CALLS],
}

static SHARED: AtomicPtr<Shared> = AtomicPtr::new(ptr::null_mut());

fn shared() -> &'static Shared {
    // SAFETY: mapped before anything is forked and never unmapped; all of it is atomic.
    unsafe { &*SHARED.load(SeqCst) }
}

/// What the second thread is given.
struct Work<'a> {
    filters: &'a [Arc<Program>],
    supervised: bool,
    calls: &'a [Try],
    from: usize,
}

extern "C" fn on_sigsys(_: c_int, _: *mut libc::siginfo_t, _: *mut c_void) {
    shared().trapped.fetch_add(1, SeqCst);
}

/// Loads the filters and makes the calls. It never returns: nothing that it would need for that is allowed.
extern "C" fn worker(work: *mut c_void) -> *mut c_void {
    // SAFETY: it is on the stack of the first thread, which waits.
    let work = unsafe { &*work.cast::<Work<'_>>() };
    let shared = shared();
    // SAFETY: no memory is touched.
    let thread = unsafe { libc::syscall(libc::SYS_gettid) };
    let (last, older) = work.filters.split_last().unzip();
    let loaded = older.into_iter().flatten().try_for_each(|filter| load::load(filter)).and_then(|()| {
        let Some(last) = last.filter(|_| work.supervised) else {
            return last.map_or(Ok(()), |last| load::load(last));
        };
        let length = last.instructions().len() as u16;
        let program =
            libc::sock_fprog { len: length, filter: last.instructions().as_ptr().cast_mut().cast() };
        // SAFETY: the kernel reads the program, which lives.
        let listener = unsafe { libc::syscall(libc::SYS_seccomp, 1, 1_u64 << 3, &raw const program) };
        shared.listener.store(listener, SeqCst);
        nix::errno::Errno::result(listener).map(drop)
    });
    shared.thread.store(if loaded.is_ok() { thread } else { -1 }, SeqCst);
    for (index, attempt) in work.calls.iter().enumerate().skip(work.from) {
        shared.at.store(index as u32, SeqCst);
        let before = shared.trapped.load(SeqCst);
        // SAFETY: the calls are harmless, see their lists.
        let result = unsafe { make(*attempt) };
        shared.results[index].store(result, SeqCst);
        shared.was_trapped[index].store(shared.trapped.load(SeqCst) - before, SeqCst);
    }
    shared.at.store(work.calls.len() as u32, SeqCst);
    loop {
        std::hint::spin_loop();
    }
}

/// The raw call and its raw result.
unsafe fn make(attempt: Try) -> i64 {
    let args = attempt.args;
    // SAFETY: the caller chose calls that touch no memory.
    unsafe {
        if attempt.arch == Arch::I386 {
            let mut result = attempt.nr.cast_signed();
            asm!(
                "push rbx", "push rbp",
                "mov ebx, [rdi]", "mov ecx, [rdi + 8]", "mov edx, [rdi + 16]", "mov esi, [rdi + 24]",
                "mov ebp, [rdi + 40]", "mov edi, [rdi + 32]",
                "int 0x80",
                "pop rbp", "pop rbx",
                inlateout("eax") result,
                inlateout("rdi") args.as_ptr() => _,
                out("rcx") _, out("rdx") _, out("rsi") _, out("r8") _, out("r9") _, out("r10") _, out("r11") _,
            );
            return i64::from(result);
        }
        let mut result = i64::from(attempt.arch.number(attempt.nr));
        asm!(
            "syscall",
            inlateout("rax") result,
            in("rdi") args[0], in("rsi") args[1], in("rdx") args[2],
            in("r10") args[3], in("r8") args[4], in("r9") args[5],
            out("rcx") _, out("r11") _,
        );
        result
    }
}

/// The first thread of the child: answers notifications until the second is through or dead.
unsafe fn child(work: &Work<'_>) -> ! {
    // SAFETY: the child uses memory of its own, and ends with `_exit`. Creating a thread after a fork is sound
    // with glibc, whose allocator is made usable again in the child.
    unsafe {
        let mut handler: libc::sigaction = std::mem::zeroed();
        handler.sa_sigaction = on_sigsys as *const () as usize;
        handler.sa_flags = libc::SA_SIGINFO;
        let no_core = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        libc::setrlimit(libc::RLIMIT_CORE, &raw const no_core);
        libc::sigaction(libc::SIGSYS, &raw const handler, ptr::null_mut());
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        // A child whose test is gone must not spin for ever.
        libc::alarm(60);
        let mut thread: libc::pthread_t = 0;
        let work_pointer = ptr::from_ref(work).cast_mut().cast();
        if libc::pthread_create(&raw mut thread, ptr::null(), worker, work_pointer) != 0 {
            libc::_exit(3);
        }
        loop {
            let worker = shared().thread.load(SeqCst);
            if worker == -1 {
                libc::_exit(2);
            }
            if shared().at.load(SeqCst) as usize >= work.calls.len() {
                libc::_exit(0);
            }
            if worker > 0 {
                supervise(shared().listener.load(SeqCst) as c_int);
                if libc::syscall(libc::SYS_tgkill, libc::getpid(), worker, 0) != 0 {
                    libc::_exit(1);
                }
            }
            libc::sched_yield();
        }
    }
}

/// Answers a notification if there is one.
unsafe fn supervise(listener: c_int) {
    const RECEIVE: libc::c_ulong = 0xc050_2100;
    const SEND: libc::c_ulong = 0xc018_2101;
    let mut ready = libc::pollfd { fd: listener, events: libc::POLLIN, revents: 0 };
    // SAFETY: the structures are the kernel's, of the sizes that the numbers above say, and zeroed.
    unsafe {
        if listener < 0 || libc::poll(&raw mut ready, 1, 0) != 1 || ready.revents & libc::POLLIN == 0 {
            return;
        }
        let mut asked: libc::seccomp_notif = std::mem::zeroed();
        if libc::ioctl(listener, RECEIVE, &raw mut asked) == 0 {
            let mut answer: libc::seccomp_notif_resp = std::mem::zeroed();
            answer.id = asked.id;
            answer.error = -SUPERVISED;
            libc::ioctl(listener, SEND, &raw mut answer);
        }
    }
}

/// Makes the calls under the filters (oldest first), in as many children as are killed, and one more.
fn observed(filters: &[Arc<Program>], supervised: bool, calls: &[Try]) -> Vec<Seen> {
    let mut out: Vec<Seen> = Vec::new();
    while out.len() < calls.len() {
        let shared = shared();
        let from = out.len();
        shared.at.store(from as u32, SeqCst);
        shared.thread.store(0, SeqCst);
        shared.listener.store(-1, SeqCst);
        shared.trapped.store(0, SeqCst);
        let work = Work { filters, supervised, calls, from };
        // SAFETY: see `child`.
        let child = match unsafe { fork() }.unwrap() {
            // SAFETY: this is the child, which has nothing but what was made for it.
            ForkResult::Child => unsafe { child(&work) },
            ForkResult::Parent { child } => child,
        };
        let killed = match waitpid(child, None).unwrap() {
            WaitStatus::Exited(_, 0) => None,
            WaitStatus::Exited(_, 1) => Some(Seen::ThreadKilled),
            WaitStatus::Signaled(_, Signal::SIGSYS, _) => Some(Seen::ProcessKilled),
            other => panic!("{other:?} at {:?}", calls.get(shared.at.load(SeqCst) as usize)),
        };
        for index in from..shared.at.load(SeqCst) as usize {
            out.push(if shared.was_trapped[index].load(SeqCst) > 0 {
                Seen::Trapped
            } else {
                Seen::Returned(shared.results[index].load(SeqCst))
            });
        }
        out.extend(killed);
    }
    out
}

/// What must be seen, given what the call does without filters. `None` if that can't be told from a filter's answer.
fn expected(action: Action, unfiltered: Seen) -> Option<Seen> {
    let answer = match action {
        Action::Allow | Action::Log => {
            let Seen::Returned(value) = unfiltered else { panic!("{unfiltered:?} without a filter") };
            let also_a_filters = ERRNOS.iter().any(|errno| -i64::from(*errno) == value);
            return (!also_a_filters).then_some(unfiltered);
        }
        Action::Errno(errno) => Seen::Returned(-i64::from(errno)),
        Action::Notify => Seen::Returned(-i64::from(SUPERVISED)),
        // Nobody traces the child.
        Action::Trace => Seen::Returned(-38),
        Action::Trap => Seen::Trapped,
        Action::KillThread => Seen::ThreadKilled,
        Action::KillProcess => Seen::ProcessKilled,
    };
    (answer != unfiltered).then_some(answer)
}

#[test]
fn ten_thousand_calls_get_the_answer_that_the_interpreter_gives() {
    // SAFETY: a new mapping.
    let memory = unsafe {
        libc::mmap(
            ptr::null_mut(),
            size_of::<Shared>(),
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    assert_ne!(memory, libc::MAP_FAILED);
    SHARED.store(memory.cast(), SeqCst);

    let mut runner = TestRunner::default();
    let strategy = profiles();
    let (mut pairs, mut loaded, mut refused) = (0, 0, 0);
    let mut by_action: BTreeMap<String, usize> = BTreeMap::new();
    let mut by_arch: BTreeMap<&str, usize> = BTreeMap::new();
    while pairs < PAIRS {
        assert!(loaded + refused < PROFILES, "{pairs} pairs of {loaded} profiles, {refused} refused");
        let (texts, enosys, values) = strategy.new_tree(&mut runner).unwrap().current();
        let compiled: Result<Vec<Arc<Program>>, _> = texts
            .iter()
            .map(|text| compile(&profile::from_json(text.as_bytes(), "p.json")?, enosys))
            .map(|filter| filter.map(|filter| Arc::new(filter.program)))
            .collect();
        // libseccomp refuses some combinations (the same call twice with different actions); so would runc.
        let Ok(filters) = compiled else {
            refused += 1;
            continue;
        };
        let calls: Vec<Try> =
            (0..CALLS).map(|_| attempt(values.clone()).new_tree(&mut runner).unwrap().current()).collect();
        let supervised = filters.last().is_some_and(|last| last.can_answer(|a| a == Action::Notify));
        let chain = Chain::new(filters.iter().rev().cloned().collect());
        let unfiltered = observed(&[], false, &calls);
        let seen = observed(&filters, supervised, &calls);
        for ((attempt, seen), unfiltered) in calls.iter().zip(seen).zip(unfiltered) {
            let action = chain.decide(&attempt.call()).unwrap();
            let own = own_answer(*attempt, unfiltered);
            let Some(expected) = expected(action, own) else { continue };
            assert_eq!(own_answer(*attempt, seen), expected, "{attempt:x?}, {action:?}, under {texts:#?}");
            pairs += 1;
            let name = if let Action::Errno(_) = action { "Errno".into() } else { format!("{action:?}") };
            *by_action.entry(name).or_default() += 1;
            *by_arch.entry(attempt.arch.name()).or_default() += 1;
        }
        loaded += 1;
    }
    println!("{pairs} pairs agree, of {loaded} stacks of filters ({refused} refused by libseccomp)");
    println!("by action {by_action:?}, by architecture {by_arch:?}");
    // None of the kinds is there by name only.
    assert!(by_action.len() == 8 && by_action.values().all(|count| *count >= 50), "{by_action:?}");
    assert!(by_arch.len() == 3 && by_arch.values().all(|count| *count >= 500), "{by_arch:?}");
}

/// Process ids differ from child to child: any is as good as another.
fn own_answer(attempt: Try, seen: Seen) -> Seen {
    let is_own =
        matches!((attempt.arch, attempt.nr), (Arch::I386, 20 | 224) | (Arch::X8664 | Arch::X32, 39 | 186));
    match seen {
        Seen::Returned(1..) if is_own => Seen::Returned(1),
        other => other,
    }
}
