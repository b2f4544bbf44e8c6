//! The one who is asked: starts the command, answers for its profile until it has ended, passes signals on, and ends
//! as it did.

use std::{
    os::fd::AsFd as _,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    libc,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        signal::{
            SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal, kill, raise, sigaction, sigprocmask,
        },
        signalfd::{SfdFlags, SignalFd},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::{ForkResult, Pid, fork},
};

use super::{
    call,
    child::Child,
    filter,
    hint::hint,
    kernel_log::{Event, KernelLog},
    memory::{Task, Who},
    notify::{Listener, Question},
    report::{Line, Report},
};
use crate::{
    error::{Error, Result},
    output,
    seccomp::bpf::{Action, Call, Program},
    start::{Failure, Start},
};

/// Signals that are the command's business when somebody sends them to this process.
const PASSED_ON: [Signal; 8] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGALRM,
    Signal::SIGWINCH,
];
/// The kernel hands its audit records to the log from a thread of its own: how long it may be silent, and in all.
const SILENCE: Duration = Duration::from_millis(300);
const PATIENCE: Duration = Duration::from_secs(3);

/// How the command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Explained {
    /// By itself, with this code.
    Code(u8),
    /// By this signal.
    Signal(Signal),
}

impl Explained {
    /// Ends this process in the same way.
    pub fn end(self) -> std::process::ExitCode {
        match self {
            Self::Code(code) => std::process::ExitCode::from(code),
            Self::Signal(signal) => {
                die_by(signal);
                std::process::ExitCode::from(u8::try_from(128 + signal as i32).unwrap_or(u8::MAX))
            }
        }
    }
}

/// Runs the command under its profiles, tells what they deny, and says how it ended. `say` is for errors of the
/// process that is to become the command. `apparmor` is the profile that `start` enters.
pub fn run(start: Start, apparmor: Option<&str>, say: fn(&Error)) -> Result<Explained, Failure> {
    let own = |error| Failure { code: 125, error };
    let profile = start.filter().cloned();
    let start = match &profile {
        Some(program) => {
            let asking = filter::asking(program).map_err(|e| {
                own(Error::usage(format!("the filter can't be made to ask: {e}"))
                    .hint("run without --explain"))
            })?;
            start.with_filter(asking)
        }
        None => start,
    };
    let (signals, mask, ignored) = take_signals().map_err(own)?;
    let log = KernelLog::open();
    let child = Child::start(start, &mask, ignored, say).map_err(own)?;
    let mut supervisor = Supervisor {
        command: child.pid,
        profile,
        apparmor: apparmor.map(|name| name.as_bytes().to_vec()),
        report: Report::default(),
        log: log.ok(),
        signals,
        mask,
    };
    let ended = supervisor.until_the_end(child.listener.as_ref()).map_err(own)?;
    if let Some(failure) = child.failure() {
        return Err(failure);
    }
    if !child.has_failed() {
        supervisor.conclude(ended, child.listener.as_ref());
    }
    Ok(ended)
}

/// Blocks what is to be read from a descriptor instead. Gives what was blocked before, and whether the ends of
/// children were ignored.
fn take_signals() -> Result<(SignalFd, SigSet, bool)> {
    let failed = |e: Errno| Error::host("could not listen for signals").because(e);
    let mut set: SigSet = PASSED_ON.into_iter().collect();
    set.add(Signal::SIGCHLD);
    let mut before = SigSet::empty();
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&set), Some(&mut before)).map_err(failed)?;
    // Who started this process may ignore the ends of its children; then there would be nothing to wait for.
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    // SAFETY: the default disposition runs no handler.
    let old = unsafe { sigaction(Signal::SIGCHLD, &default) }.map_err(failed)?;
    let fd = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).map_err(failed)?;
    Ok((fd, before, matches!(old.handler(), SigHandler::SigIgn)))
}

struct Supervisor {
    command: Pid,
    /// The profile's own filter.
    profile: Option<Program>,
    apparmor: Option<Vec<u8>>,
    report: Report,
    log: Option<KernelLog>,
    signals: SignalFd,
    /// What was blocked when this process started.
    mask: SigSet,
}

impl Supervisor {
    fn until_the_end(&mut self, listener: Option<&Listener>) -> Result<Explained> {
        let mut listening = listener;
        loop {
            // The command may have ended, or stopped, before the first look.
            if let Some(ended) = self.state()? {
                if let Some(listener) = listener {
                    self.answer_waiting(listener);
                }
                return Ok(ended);
            }
            let mut wanted = vec![PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
            wanted.extend(listening.map(|l| PollFd::new(l.as_fd(), PollFlags::POLLIN)));
            wanted.extend(self.log.as_ref().map(|log| PollFd::new(log.as_fd(), PollFlags::POLLIN)));
            match poll(&mut wanted, PollTimeout::NONE) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(e) => return Err(Error::host("could not wait for the command").because(e)),
            }
            let seen: Vec<PollFlags> =
                wanted.iter().map(|fd| fd.revents().unwrap_or(PollFlags::empty())).collect();
            drop(wanted);
            if let (Some(listener), Some(seen)) = (listening, seen.get(1)) {
                if seen.contains(PollFlags::POLLIN) {
                    self.answer(listener);
                } else if seen.intersects(PollFlags::POLLHUP | PollFlags::POLLERR) {
                    // Nobody is under the filter any more.
                    listening = None;
                }
            }
            self.read_log();
            self.pass_signals_on();
        }
    }

    /// Whether the command has ended. If it was stopped, this process stops, too, and it goes on with it: to a shell,
    /// both are one job.
    fn state(&self) -> Result<Option<Explained>> {
        loop {
            match waitpid(self.command, Some(WaitPidFlag::WNOHANG | WaitPidFlag::WUNTRACED)) {
                Ok(WaitStatus::Exited(_, code)) => {
                    return Ok(Some(Explained::Code(u8::try_from(code & 0xff).unwrap_or(u8::MAX))));
                }
                Ok(WaitStatus::Signaled(_, signal, _)) => return Ok(Some(Explained::Signal(signal))),
                Ok(WaitStatus::Stopped(..)) => {
                    let _ = raise(Signal::SIGSTOP);
                    let _ = kill(self.command, Signal::SIGCONT);
                }
                Ok(_) => return Ok(None),
                Err(Errno::EINTR) => {}
                // A real-time signal has no name here, and `waitpid` of this library refuses it.
                Err(Errno::EINVAL) => return Ok(Some(Explained::Code(255))),
                Err(e) => return Err(Error::host("could not wait for the command").because(e)),
            }
        }
    }

    fn pass_signals_on(&self) {
        while let Ok(Some(info)) = self.signals.read_signal() {
            let number = i32::try_from(info.ssi_signo).unwrap_or(0);
            // A terminal sends its signals to the whole foreground group, the command included.
            let from_terminal = info.ssi_code == libc::SI_KERNEL;
            match Signal::try_from(number) {
                Ok(signal) if signal != Signal::SIGCHLD && !from_terminal => _ = kill(self.command, signal),
                _ => {}
            }
        }
    }

    /// Answers all who wait.
    fn answer_waiting(&mut self, listener: &Listener) {
        while look(listener, PollTimeout::ZERO).contains(PollFlags::POLLIN) {
            self.answer(listener);
        }
    }

    fn answer(&mut self, listener: &Listener) {
        let (Ok(Some(question)), Some(profile)) = (listener.receive(), &self.profile) else { return };
        let who = Who::of(question.pid);
        let known = filter::architecture(question.arch, question.nr);
        let described =
            known.map(|(arch, nr)| call::describe(arch, nr, &question.args, &Task::open(question.pid)));
        // If it does not wait any more, what was read may be another's, who has its thread id now.
        if !listener.is_waiting(&question) {
            return;
        }
        let errno = filter::answer(profile, &asked(&question));
        if !matches!(listener.refuse(&question, errno), Ok(true)) {
            return;
        }
        let answer = Action::Errno(errno).to_string();
        let described = described.unwrap_or_else(|| {
            let text = format!("syscall_{} on architecture {:#x}", question.nr, question.arch);
            call::Described { key: text.clone(), text }
        });
        self.report.denied(described.key, answer, who, |answer| Line {
            what: described.text,
            answer,
            hint: known.map_or_else(
                || "the profile has no rules for this architecture".to_owned(),
                |(arch, nr)| hint(profile, arch, nr, &question.args),
            ),
        });
    }

    fn read_log(&mut self) {
        let Some(log) = &mut self.log else { return };
        for event in log.read() {
            self.logged(event);
        }
    }

    fn logged(&mut self, event: Event) {
        match event {
            Event::Denied { profile, what, answer, rule, pid, name } => {
                let Some(own) = &self.apparmor else { return };
                // A child profile or a hat is the profile's, too.
                let child = profile.strip_prefix(own.as_slice()).is_some_and(|rest| rest.starts_with(b"//"));
                if profile != *own && !child {
                    return;
                }
                let executable = Who::of(pid).executable;
                let shown = crate::recording::BytePath::from(profile.as_slice()).to_string();
                let hint = rule.map_or_else(
                    || format!("denied by the AppArmor profile {shown}"),
                    |rule| format!("the AppArmor profile {shown} lacks  {rule}"),
                );
                self.report.denied(format!("apparmor {what}"), answer, Who { executable, name }, |answer| {
                    Line { what, answer, hint }
                });
            }
            Event::Killed { pid, name, executable, arch, nr, action } => {
                let Some(profile) = &self.profile else { return };
                let action = Action::from_return(action);
                let any = Call { nr, arch, args: [None; 6] };
                if !profile.outcome(&any).actions.contains(&action) || !self.is_the_commands(pid) {
                    return;
                }
                let what = filter::architecture(arch, nr).map_or_else(
                    || format!("syscall_{nr} on architecture {arch:#x}"),
                    |(arch, nr)| format!("{}(…)", call::name(arch, nr)),
                );
                self.report.denied(what.clone(), action.to_string(), Who { executable, name }, |answer| {
                    Line { what, answer, hint: "the profile's action; the arguments are not known".into() }
                });
            }
        }
    }

    /// Whether a process is the command, or comes from it. Of one that is gone it is not known, and taken for one.
    fn is_the_commands(&self, pid: u32) -> bool {
        let mut pid = pid;
        for _ in 0..64 {
            if i32::try_from(pid) == Ok(self.command.as_raw()) {
                return true;
            }
            let Ok(status) = std::fs::read_to_string(format!("/proc/{pid}/status")) else { return true };
            let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"));
            match parent.and_then(|parent| parent.trim().parse().ok()) {
                Some(parent) if parent > 1 => pid = parent,
                _ => return false,
            }
        }
        false
    }

    /// Waits for what the kernel has still to say, and says what there was.
    fn conclude(&mut self, ended: Explained, listener: Option<&Listener>) {
        let kills = self.profile.as_ref().is_some_and(filter::may_kill);
        if self.apparmor.is_some() || kills {
            self.wait_for_log();
        }
        match &self.log {
            None if self.apparmor.is_some() => {
                self.report
                    .note("the kernel log can't be read, so what AppArmor denied is not told: run as root");
            }
            Some(log) if log.missed && self.apparmor.is_some() => {
                self.report.note("the kernel log left records out: AppArmor may have denied more");
            }
            _ => {}
        }
        if ended == Explained::Signal(Signal::SIGSYS) && kills {
            self.report.note("the command was ended by its seccomp profile: it got SIGSYS");
        }
        if let (Some(listener), Some(profile)) = (listener, &self.profile)
            && !look(listener, PollTimeout::ZERO).contains(PollFlags::POLLHUP)
        {
            let note = if stay_behind(listener, profile, &self.mask) {
                "processes of the command go on under the profile; what it denies them is not told any more"
            } else {
                "processes of the command go on; calls that the profile denies fail with ENOSYS from here on"
            };
            self.report.note(note);
        }
        for line in self.report.summary() {
            output::note(line);
        }
    }

    fn wait_for_log(&mut self) {
        let end = Instant::now() + PATIENCE;
        while let Some(log) = &self.log {
            let mut wanted = [PollFd::new(log.as_fd(), PollFlags::POLLIN)];
            let silence = PollTimeout::try_from(SILENCE).unwrap_or(PollTimeout::ZERO);
            if !matches!(poll(&mut wanted, silence), Ok(1..) | Err(Errno::EINTR)) || Instant::now() >= end {
                return;
            }
            self.read_log();
        }
    }
}

fn asked(question: &Question) -> Call {
    Call { nr: question.nr, arch: question.arch, args: question.args.map(Some) }
}

fn look(listener: &Listener, timeout: PollTimeout) -> PollFlags {
    let mut wanted = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
    let _ = poll(&mut wanted, timeout);
    let [seen] = wanted;
    seen.revents().unwrap_or(PollFlags::empty())
}

/// Leaves a process behind that answers for the profile as long as anybody is under it: without one, the errors of
/// what the command left running would become `ENOSYS`. It holds none of this process's files open.
fn stay_behind(listener: &Listener, profile: &Program, mask: &SigSet) -> bool {
    // SAFETY: this process has one thread.
    match unsafe { fork() } {
        Ok(ForkResult::Child) => {}
        Ok(ForkResult::Parent { .. }) => return true,
        Err(_) => return false,
    }
    let _ = nix::unistd::setsid();
    let _ = nix::unistd::chdir("/");
    if let Ok(null) = std::fs::File::options().read(true).write(true).open("/dev/null") {
        let _ = nix::unistd::dup2_stdin(&null);
        let _ = nix::unistd::dup2_stdout(&null);
        let _ = nix::unistd::dup2_stderr(&null);
    }
    let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(mask), None);
    loop {
        let seen = look(listener, PollTimeout::NONE);
        if seen.contains(PollFlags::POLLIN) {
            if let Ok(Some(question)) = listener.receive() {
                let _ = listener.refuse(&question, filter::answer(profile, &asked(&question)));
            }
        } else if seen.intersects(PollFlags::POLLHUP | PollFlags::POLLERR | PollFlags::POLLNVAL) {
            std::process::exit(0);
        }
    }
}

/// Ends this process by a signal, without a core file of its own.
fn die_by(signal: Signal) {
    let _ = nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_CORE, 0, 0);
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    // SAFETY: the default disposition runs no handler. SIGKILL takes none, and needs none.
    let _ = unsafe { sigaction(signal, &default) };
    let set: SigSet = [signal].into_iter().collect();
    let _ = sigprocmask(SigmaskHow::SIG_UNBLOCK, Some(&set), None);
    let _ = raise(signal);
}
