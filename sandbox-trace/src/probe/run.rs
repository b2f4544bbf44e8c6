//! Gives each check a child of its own, watches it, and ends it with all that it started.
//!
//! The children belong to a helper that is in the container's pid namespace and in nothing else of the container's:
//! orphans of a pid namespace go to its first process, unless a helper inside of it asks for them, and the container's
//! first process would be left with zombies that are not its own.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader, Write as _},
    os::fd::{AsFd as _, OwnedFd},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::atomic::Ordering,
    thread,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    fcntl::OFlag,
    libc,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sched::setns,
    sys::{
        ptrace,
        signal::{SigSet, SigmaskHow, Signal, kill, sigprocmask},
        wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid},
    },
    unistd::{ForkResult, Pid, dup2_stderr, dup2_stdin, dup2_stdout, fork, pipe2, setsid},
};
use serde::{Deserialize, Serialize};

use super::{
    board::{Board, Seen, stage},
    checks::{Attempt, Check, Ended, Task},
    confinement::{self, How, Plan, Process},
    report::{Finished, Outcome, Verdict},
};
use crate::error::{Error, Result};

/// How long taking the confinement on may take. Joining cgroups waits for the kernel, a slow machine for everything.
const SET_UP: Duration = Duration::from_secs(15);
/// How long a child that was killed may take to be gone.
const TO_END: Duration = Duration::from_secs(5);
const STEP: Duration = Duration::from_micros(200);
/// `PTRACE_O_SUSPEND_SECCOMP` (linux/ptrace.h).
const SUSPEND_SECCOMP: usize = 1 << 21;

/// What the helper tells.
#[derive(Serialize, Deserialize)]
enum Message {
    Begin(usize),
    Seen { index: usize, verdict: u8, words: String },
    Difference(String),
    Cleaned(String),
    Failed { proof: bool, message: String, hint: String },
    End { proven: usize },
}

/// Runs the checks.
pub fn run(
    plan: &Plan,
    process: &Process,
    checks: &[Check],
    said: &mut dyn FnMut(usize, usize, &str),
) -> Result<Finished> {
    let failed = |e: Errno| {
        Error::host("could not start the probe's helper in the container's pid namespace").because(e).hint(
            "run the probe as root in the host's own namespaces; a container that is at its end takes none",
        )
    };
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC).map_err(failed)?;
    let own = File::open("/proc/self/ns/pid");
    let pid_namespace = plan.namespace("pid").filter(|namespace| namespace.differs);
    if let Some(namespace) = pid_namespace {
        setns(&namespace.file, namespace.flag).map_err(failed)?;
    }
    // SAFETY: this process has one thread, so that the child may do everything that it may.
    let forked = unsafe { fork() };
    if let (Some(namespace), Ok(own)) = (pid_namespace, own) {
        // Only this process's own later children are concerned.
        if !matches!(forked, Ok(ForkResult::Child)) {
            let _ = setns(&own, namespace.flag);
        }
    }
    match forked.map_err(failed)? {
        ForkResult::Child => {
            drop(reader);
            Helper::main(plan, process, checks, writer)
        }
        ForkResult::Parent { child } => {
            drop(writer);
            let result = collect(checks, reader, said);
            let _ = waitpid(child, None);
            result
        }
    }
}

fn collect(checks: &[Check], reader: OwnedFd, said: &mut dyn FnMut(usize, usize, &str)) -> Result<Finished> {
    let mut finished = Finished::default();
    let mut answers: Vec<Option<(Verdict, String)>> = checks
        .iter()
        .map(|check| match &check.task {
            Task::Told(verdict, words) => Some((*verdict, words.clone())),
            Task::Try(_) => None,
        })
        .collect();
    let mut ended = false;
    for line in BufReader::new(File::from(reader)).lines().map_while(std::result::Result::ok) {
        match serde_json::from_str(&line) {
            Ok(Message::Begin(index)) => {
                if let Some(check) = checks.get(index) {
                    said(index, checks.len(), &check.title);
                }
            }
            Ok(Message::Seen { index, verdict, words }) => {
                let verdict = match verdict {
                    0 => Verdict::Closed,
                    1 => Verdict::Open,
                    _ => Verdict::Unknown,
                };
                if let Some(place) = answers.get_mut(index) {
                    *place = Some((verdict, crate::recording::printable(&words)));
                }
            }
            Ok(Message::Difference(text)) => finished.differences.push(text),
            Ok(Message::Cleaned(text)) => finished.cleaned.push(text),
            Ok(Message::Failed { proof, message, hint }) => {
                let error = if proof { Error::incomplete(message) } else { Error::host(message) };
                return Err(error.hint(hint));
            }
            Ok(Message::End { proven }) => {
                finished.proven = proven;
                ended = true;
            }
            Err(_) => {}
        }
    }
    if !ended {
        return Err(Error::incomplete("the probe's helper was ended from outside").hint("try again"));
    }
    finished.checks = checks
        .iter()
        .zip(answers)
        .map(|(check, answer)| {
            let (verdict, seen) = answer.unwrap_or((Verdict::Unknown, "was not tried".into()));
            Outcome {
                id: check.id.clone(),
                title: check.title.clone(),
                expected: check.expected.clone(),
                seen,
                verdict,
                why: check.why.to_owned(),
            }
        })
        .collect();
    Ok(finished)
}

/// Why the helper gave up.
struct Failure {
    /// The confinement is not proven, and the container is there.
    proof: bool,
    message: String,
    hint: &'static str,
}

const TRY_AGAIN: &str =
    "nothing was tried with less than the container's own confinement; try again, and report it";

struct Helper<'a> {
    plan: &'a Plan,
    process: &'a Process,
    board: &'static Board,
    out: File,
    proven: usize,
}

impl<'a> Helper<'a> {
    fn main(plan: &'a Plan, process: &'a Process, checks: &[Check], out: OwnedFd) -> ! {
        // A panic must not unwind into what this process was forked from.
        let code = catch_unwind(AssertUnwindSafe(|| match Self::new(plan, process, out) {
            Ok(mut helper) => i32::from(helper.all(checks).is_none()),
            Err(_) => 1,
        }))
        .unwrap_or(1);
        // SAFETY: this ends the process without what its parent registered for its own end.
        unsafe { libc::_exit(code) }
    }

    fn new(plan: &'a Plan, process: &'a Process, out: OwnedFd) -> Result<Self> {
        // SAFETY: this takes numbers alone. The container's processes must not look into this one.
        unsafe {
            libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1);
            libc::prctl(libc::PR_SET_DUMPABLE, 0);
        }
        // Who interrupts the probe ends its front end; this process sees that, and ends in order.
        let mut signals = SigSet::empty();
        for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGTSTP] {
            signals.add(signal);
        }
        let _ = sigprocmask(SigmaskHow::SIG_BLOCK, Some(&signals), None);
        if let Ok(null) = File::options().read(true).write(true).open("/dev/null") {
            let _ = dup2_stdin(&null);
            let _ = dup2_stdout(&null);
            let _ = dup2_stderr(&null);
        }
        Ok(Self { plan, process, board: Board::new()?, out: File::from(out), proven: 0 })
    }

    /// Tells the front end; `None` if there is none any more.
    fn tell(&mut self, message: &Message) -> Option<()> {
        let mut line = serde_json::to_vec(message).ok()?;
        line.push(b'\n');
        self.out.write_all(&line).ok()
    }

    fn all(&mut self, checks: &[Check]) -> Option<()> {
        for (index, check) in checks.iter().enumerate() {
            let Task::Try(attempt) = &check.task else { continue };
            self.tell(&Message::Begin(index))?;
            match self.one(attempt) {
                Ok(seen) => {
                    let words = seen.words();
                    self.tell(&Message::Seen { index, verdict: seen.verdict as u8, words })?;
                }
                Err(Failure { proof, message, hint }) => {
                    return self.tell(&Message::Failed { proof, message, hint: hint.into() });
                }
            }
        }
        self.tell(&Message::End { proven: self.proven })
    }

    /// One check, in a child of its own that is gone afterwards.
    fn one(&mut self, attempt: &Attempt) -> Result<Seen, Failure> {
        self.board.reset();
        let how = How { private_mounts: attempt.private_mounts };
        // SAFETY: this process has one thread.
        let child = match unsafe { fork() } {
            Ok(ForkResult::Child) => child(self.plan, self.board, attempt, how),
            Ok(ForkResult::Parent { child }) => child,
            Err(errno) => {
                return Err(Failure {
                    proof: true,
                    message: format!("could not start a process in the container's pid namespace: {errno}"),
                    hint: "the container may have ended just now",
                });
            }
        };
        let seen = self.watch(child, attempt, how);
        let gone = Self::end(child);
        self.clean()?;
        let seen = seen?;
        gone?;
        Ok(seen)
    }

    fn watch(&mut self, child: Pid, attempt: &Attempt, how: How) -> Result<Seen, Failure> {
        let unproven = |message: String| Failure { proof: true, message, hint: TRY_AGAIN };
        let filtered = !self.plan.filters.is_empty();
        if filtered {
            self.reaches(child, stage::STARTED)?;
            // SAFETY: this takes numbers alone.
            let seized = unsafe { libc::ptrace(libc::PTRACE_SEIZE, child.as_raw(), 0usize, SUSPEND_SECCOMP) };
            Errno::result(seized).map_err(|errno| Failure {
                proof: true,
                message: format!("could not hold the filters of the probe's own child back: {errno}"),
                hint: "the kernel must have CONFIG_CHECKPOINT_RESTORE, and the probe be under no filter itself",
            })?;
            self.board.enter(stage::TRACED);
        }
        self.reaches(child, stage::CONFINED)?;
        if filtered {
            ptrace::interrupt(child)
                .and_then(|()| stopped(child))
                .map_err(|errno| unproven(format!("the probe's own child does not stop: {errno}")))?;
            if let Some(difference) = confinement::filters_differ(self.plan, child) {
                return Err(unproven(format!("the confinement was not taken on: {difference}")));
            }
            ptrace::detach(child, None)
                .map_err(|errno| unproven(format!("the probe's own child does not go on: {errno}")))?;
        }
        let host_pid = self.board.host_pid.load(Ordering::SeqCst);
        let different = confinement::differences(self.plan, u32::try_from(host_pid).unwrap_or_default(), how);
        if !different.is_empty() {
            return Err(unproven(format!("the confinement was not taken on: {}", different.join(", "))));
        }
        if self.proven == 0 {
            for number in confinement::rlimits_that_differ(self.plan, child) {
                let text = format!("the resource limit {number} is the probe's own: it could not be set");
                self.tell(&Message::Difference(text));
            }
        }
        self.proven += 1;
        self.board.enter(stage::TRYING);
        let start = Instant::now();
        loop {
            if self.board.stage() == stage::ANSWERED {
                return Ok(self.board.answered());
            }
            let ended = match Self::ended(child) {
                Some(ended) => ended,
                None if start.elapsed() < attempt.patience => {
                    self.pause();
                    continue;
                }
                None => Ended::Late,
            };
            // It may have answered and been ended between the two looks.
            if self.board.stage() == stage::ANSWERED {
                return Ok(self.board.answered());
            }
            return Ok(attempt.judge(ended, self.board));
        }
    }

    /// Waits until the child has come so far.
    fn reaches(&self, child: Pid, wanted: u32) -> Result<(), Failure> {
        let start = Instant::now();
        loop {
            let now = self.board.stage();
            if now == stage::FAILED {
                let step = String::from_utf8_lossy(&self.board.step.get()).into_owned();
                let errno = Errno::from_raw(self.board.errno.load(Ordering::SeqCst));
                let message = format!("could not {step} for the probe's child: {errno}");
                let hint = "run the probe as root on the container's host, with all capabilities";
                return Err(Failure { proof: self.process.is_alive(), message, hint });
            }
            if now >= wanted {
                return Ok(());
            }
            let gone = Self::ended(child).is_some();
            if gone || start.elapsed() > SET_UP {
                let what = if gone { "ended" } else { "hangs" };
                let message = format!("the probe's child {what} before it is confined");
                let hint = "the container may have ended or been paused just now, or have no memory left";
                return Err(Failure { proof: true, message, hint });
            }
            self.pause();
        }
    }

    /// Sleeps a little; returns at once if nobody waits for the answer any more.
    fn pause(&self) {
        let mut fds = [PollFd::new(self.out.as_fd(), PollFlags::empty())];
        if poll(&mut fds, PollTimeout::ZERO) == Ok(0) {
            thread::sleep(STEP);
        } else {
            // The front end is gone: what is being tried ends now, and the next message finds nobody.
            self.board.enter(stage::ANSWERED);
        }
    }

    /// How the child ended, if it did. It stays a zombie, so that its number stays its own.
    fn ended(child: Pid) -> Option<Ended> {
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT | WaitPidFlag::__WALL;
        match waitid(Id::Pid(child), flags) {
            Ok(WaitStatus::Exited(_, code)) => Some(Ended::Exited(code)),
            Ok(WaitStatus::Signaled(_, signal, _)) => Some(Ended::Killed(signal)),
            _ => None,
        }
    }

    /// Ends the child and all that it started, which are one session, and takes them off the list of processes.
    fn end(child: Pid) -> Result<(), Failure> {
        let start = Instant::now();
        loop {
            let _ = kill(Pid::from_raw(-child.as_raw()), Signal::SIGKILL);
            let _ = kill(child, Signal::SIGKILL);
            loop {
                match waitpid(Pid::from_raw(-1), Some(WaitPidFlag::__WALL | WaitPidFlag::WNOHANG)) {
                    Err(Errno::ECHILD) => return Ok(()),
                    Ok(WaitStatus::StillAlive) | Err(_) => break,
                    Ok(_) => {}
                }
            }
            if start.elapsed() > TO_END {
                return Err(Failure {
                    proof: true,
                    message: "a child of the probe does not end".into(),
                    hint: "the container may have been paused just now: let it go on, and the child ends by itself",
                });
            }
            thread::sleep(STEP);
        }
    }

    /// Removes what the child could not remove itself, with every privilege.
    fn clean(&mut self) -> Result<(), Failure> {
        let (left, made) = (self.board.left.get(), self.board.made.get());
        if !made.is_empty() {
            let path = crate::recording::BytePath::from(made);
            self.tell(&Message::Cleaned(format!("{path} was made and removed again")));
        }
        let Ok(path) = std::ffi::CString::new(left) else { return Ok(()) };
        if path.is_empty() {
            return Ok(());
        }
        // SAFETY: this process has one thread.
        let removed = match unsafe { fork() } {
            Ok(ForkResult::Child) => {
                let entered = confinement::enter_files(self.plan).is_ok();
                let removed =
                    entered && matches!(nix::unistd::unlink(path.as_c_str()), Ok(()) | Err(Errno::ENOENT));
                // SAFETY: this ends the process without what its parent registered for its own end.
                unsafe { libc::_exit(i32::from(!removed)) }
            }
            Ok(ForkResult::Parent { child }) => {
                matches!(waitpid(child, None), Ok(WaitStatus::Exited(_, 0)))
            }
            Err(_) => false,
        };
        if removed || !self.process.is_alive() {
            return Ok(());
        }
        let path = crate::recording::BytePath::from(path.to_bytes().to_vec());
        Err(Failure {
            proof: true,
            message: format!("the probe's file {path} could not be removed from the container"),
            hint: "remove it by hand",
        })
    }
}

/// Waits until a child that was interrupted stands still.
fn stopped(child: Pid) -> nix::Result<()> {
    let start = Instant::now();
    while start.elapsed() < SET_UP {
        match waitpid(child, Some(WaitPidFlag::__WALL | WaitPidFlag::WNOHANG))? {
            WaitStatus::Stopped(..) | WaitStatus::PtraceEvent(..) => return Ok(()),
            WaitStatus::Exited(..) | WaitStatus::Signaled(..) => return Err(Errno::ESRCH),
            _ => thread::sleep(STEP),
        }
    }
    Err(Errno::ETIMEDOUT)
}

/// What the child does.
fn child(plan: &Plan, board: &'static Board, attempt: &Attempt, how: How) -> ! {
    // A session of its own: whatever it starts can be ended with it.
    let _ = setsid();
    // The helper's /proc is the host's, so this is the host's number.
    let number = fs::read_link("/proc/self").ok().and_then(|link| link.to_str()?.parse().ok());
    board.host_pid.store(number.unwrap_or(0), Ordering::SeqCst);
    board.enter(stage::STARTED);
    if !plan.filters.is_empty() {
        board.wait_for(stage::TRACED);
    }
    // A panic must not unwind into what this process was forked from.
    let _ = catch_unwind(AssertUnwindSafe(|| {
        if let Err(confinement::Step(what, errno)) = confinement::take_on(plan, how) {
            board.step.set(what.as_bytes());
            board.errno.store(errno as i32, Ordering::SeqCst);
            board.enter(stage::FAILED);
        } else {
            board.enter(stage::CONFINED);
            board.wait_for(stage::TRYING);
            board.answer(&(attempt.inside)(board));
        }
    }));
    // Its end comes from outside: a filter may not even let it exit.
    loop {
        std::hint::spin_loop();
    }
}
