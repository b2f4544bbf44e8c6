//! One recording from start to end: target, tracer, ring, signals, and the file's contents at last.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::{Child, ExitStatus},
    time::{Duration, SystemTime},
};

use aya::maps::{MapData, RingBuf};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    signal::unix::{SignalKind, signal},
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};

use super::{
    awaited::Awaited,
    checkpoint::Checkpoints,
    clock::{monotonic_ns, rfc3339},
    collect::{Boundary, Collector},
    command::Held,
    decode,
    labels::Labels,
    live, memory,
    print::{Accesses, print},
    priority, privileges,
    progress::Progress,
    ready,
    scope::Scope,
    target::{self, Aim, TargetChoice},
    warnings::warnings,
};
use crate::{
    error::{Error, Result},
    kernel::{
        cgroup::{Cgroup, Hierarchy, Meters},
        layout::KERNEL_BTF,
        tracer::{self, HookSet, Members, Tracer},
    },
    output,
    recording::{self, Container, Host, Recording, Resources, SCHEMA, Target, UserNamespace},
    start::Start,
};

/// Names another file to take the kernel's type information from; for trying out a kernel that has none.
pub const BTF_VARIABLE: &str = "SANDBOX_TRACE_BTF";

/// How often the ring is read, the target looked at and the progress line drawn.
const TICK: Duration = Duration::from_millis(100);
/// Hands work to `io_uring`, past the calls that the hooks see. The same number on all architectures.
const IO_URING_ENTER: u32 = 426;
/// How long a command that was told to stop may take, before the recording ends without it.
const GRACE: Duration = Duration::from_secs(5);
/// Most processes that are looked at for their user namespace, each time: all of a container share one.
const LOOKED_AT: usize = 8;
/// Most records that are read before signals and the clock are looked at again; more than the ring can hold.
const AT_ONCE: u32 = 65_536;

/// How to record.
#[derive(Debug, Clone)]
pub struct Options {
    /// What.
    pub target: TargetChoice,
    /// The profiles that a command is executed under.
    pub under: Option<Start>,
    /// Stop after this long.
    pub duration: Option<Duration>,
    /// Where facts begin to count; `None` chooses by what the target turns out to be.
    pub boundary: Option<Boundary>,
    /// Which hook set to use; `None` chooses the one that sees most and works here.
    pub hooks: Option<HookSet>,
    /// No progress line.
    pub quiet: bool,
    /// Where the recording will go.
    pub output: PathBuf,
    /// How often the recording so far is written there.
    pub checkpoint: Option<Duration>,
    /// Size of the ring; a power of two, and whole pages.
    pub ring_bytes: u32,
}

/// A finished recording, and how its command ended.
pub struct Outcome {
    /// The recording, but for the file accesses.
    pub recording: Recording,
    accesses: Accesses,
    /// Whether a recorded command ended by itself, and failed.
    pub command_failed: bool,
}

impl Outcome {
    /// How many accesses to files were granted.
    pub fn paths(&self) -> u64 {
        self.accesses.iter(false).count() as u64
    }

    /// The recording with all file accesses.
    pub fn whole(mut self) -> Recording {
        self.recording.files = self.accesses.iter(false).collect();
        self.recording.failed.files = self.accesses.iter(true).collect();
        self.recording
    }

    /// Writes the recording whole or not at all.
    pub fn save(&self, path: &Path) -> Result<()> {
        let (granted, failed) = (|| self.accesses.iter(false), || self.accesses.iter(true));
        recording::save_streamed(&self.recording, granted, failed, path)
    }
}

/// Why a recording ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    Target,
    Duration,
    Signal,
    /// It has not.
    Not,
}

/// When a recording began, by each clock.
#[derive(Debug, Clone, Copy)]
struct Began {
    /// On the clock of the facts.
    ns: u64,
    instant: Instant,
    time: SystemTime,
}

/// Records until the target ends, the time is up or a signal comes. Says `armed` on stderr when nothing can be
/// missed any more.
pub fn record(options: &Options) -> Result<Outcome> {
    privileges::require(matches!(options.target, TargetChoice::Command(_)))?;
    memory::settle();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Error::host("could not start the event loop").because(e))?;
    runtime.block_on(Session::run(options))
}

/// Everything of a recording that is under way.
struct Session<'a> {
    options: &'a Options,
    hierarchy: Hierarchy,
    scope: Scope,
    container: Option<Container>,
    /// What does not exist yet.
    awaited: Option<Awaited>,
    meters: Meters,
    tracer: Tracer,
    collector: Collector,
    resources: Resources,
    labels: Labels,
    user_namespace: Option<UserNamespace>,
    /// CPU time at the last sample.
    last_cpu: Option<(Instant, u64)>,
    /// A command whose cgroup is this session's own.
    child: Option<Child>,
    status: Option<ExitStatus>,
    /// Whether any process has been in the target: an empty cgroup that nobody has entered yet is waited for.
    seen_populated: bool,
    /// Whether a populated target was in the host's mount namespace when the recording began.
    host_at_start: bool,
}

impl<'a> Session<'a> {
    async fn run(options: &'a Options) -> Result<Outcome> {
        let btf = std::env::var_os(BTF_VARIABLE).map_or_else(|| PathBuf::from(KERNEL_BTF), PathBuf::from);
        let hierarchy = Hierarchy::find()?;
        let mut session = match &options.target {
            TargetChoice::Command(command) => {
                return Self::on_command(options, hierarchy, command, &btf).await;
            }
            target => loop {
                let aim = target::find(target, &hierarchy).await?;
                match Self::on_cgroups(options, &hierarchy, aim, &btf)? {
                    Some(session) => break session,
                    None if target.is_waited_for() => {}
                    None => return Err(target.ended()),
                }
            },
        };
        session.until_the_end(|_| Ok(())).await
    }

    fn new(options: &'a Options, hierarchy: Hierarchy, scope: Scope, meters: Meters, tracer: Tracer) -> Self {
        Self {
            options,
            hierarchy,
            scope,
            container: None,
            awaited: None,
            meters,
            tracer,
            collector: Collector::default(),
            resources: Resources::default(),
            labels: Labels::default(),
            user_namespace: None,
            last_cpu: None,
            child: None,
            status: None,
            seen_populated: false,
            host_at_start: false,
        }
    }

    /// `None` if all cgroups that there were have gone while the programs were loaded: the kernel takes none of them.
    fn on_cgroups(options: &'a Options, hierarchy: &Hierarchy, aim: Aim, btf: &Path) -> Result<Option<Self>> {
        let Aim { scope, container, awaited } = aim;
        let members = match (scope.cgroups(), &awaited) {
            ([only], None) => Members::Below(only),
            (cgroups, awaited) => Members::Several { cgroups, waiting: awaited.is_some() },
        };
        let tracer = Tracer::start(&tracer::Options {
            members,
            begin_at_exec_of: 0,
            btf,
            hooks: options.hooks,
            ring_bytes: options.ring_bytes,
        });
        let tracer = match tracer {
            Err(_) if !scope.cgroups().is_empty() && scope.populated().is_none() => return Ok(None),
            tracer => tracer?,
        };
        let mut session = Self::new(options, hierarchy.clone(), scope, Meters::default(), tracer);
        session.host_at_start = session.scope.processes().into_iter().any(in_own_mount_namespace);
        (session.container, session.awaited) = (container, awaited);
        Ok(Some(session))
    }

    async fn on_command(
        options: &'a Options,
        hierarchy: Hierarchy,
        command: &[OsString],
        btf: &Path,
    ) -> Result<Outcome> {
        let name = format!("sandbox-trace-{}", std::process::id());
        let cgroup = Cgroup::create(&hierarchy, &name)?;
        let mut meters = Meters::default();
        let started = Held::fork(command, options.under.as_ref()).and_then(|held| {
            let tracer = cgroup.add(held.pid).and_then(|()| {
                meters = Meters::create(&hierarchy, &name, held.pid);
                let begin_at_exec_of = held.pid;
                let hooks = options.hooks;
                Tracer::start(&tracer::Options {
                    members: Members::Below(&cgroup),
                    begin_at_exec_of,
                    btf,
                    hooks,
                    ring_bytes: options.ring_bytes,
                })
            });
            match tracer {
                Ok(tracer) => Ok((held, tracer)),
                Err(error) => {
                    held.abandon();
                    Err(error)
                }
            }
        });
        let (held, tracer) = match started {
            Ok(started) => started,
            Err(error) => {
                meters.remove(&hierarchy);
                cgroup.remove(&hierarchy);
                return Err(error);
            }
        };
        let mut session = Self::new(options, hierarchy, Scope::of(vec![cgroup]), meters, tracer);
        session.seen_populated = true;
        let outcome = session
            .until_the_end(|session| {
                session.child = Some(held.release()?);
                Ok(())
            })
            .await;
        session.meters.remove(&session.hierarchy);
        for cgroup in session.scope.cgroups() {
            cgroup.remove(&session.hierarchy);
        }
        outcome
    }

    async fn until_the_end(&mut self, go: impl FnOnce(&mut Self) -> Result<()>) -> Result<Outcome> {
        let lost_signal = |e: std::io::Error| Error::host("could not listen for signals").because(e);
        let mut interrupt = signal(SignalKind::interrupt()).map_err(lost_signal)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(lost_signal)?;
        let ring = self.tracer.ring()?;
        // SAFETY: the ring owns its descriptor, and keeps it open as long as it lives.
        let mut ring = unsafe { AsyncFd::register_with_interest(ring, Interest::READABLE) }
            .map_err(std::io::Error::from)
            .map_err(|e| Error::host("could not wait for the ring buffer").because(e))?;
        let mut progress = Progress::start(self.options.quiet);
        let mut checkpoints = Checkpoints::new(self.options.checkpoint);
        let own_cgroups = matches!(self.options.target, TargetChoice::Command(_));
        priority::raise();
        privileges::give_up(&self.options.output, own_cgroups);
        memory::give_back();
        let began = Began { ns: monotonic_ns()?, instant: Instant::now(), time: SystemTime::now() };
        // A command may end before the first tick: that it was there is known now.
        self.sample();
        output::note("armed");
        ready::tell();
        go(self)?;

        checkpoints.start();
        let end = self.options.duration.map(|duration| began.instant + duration);
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut grace: Option<Instant> = None;
        let ended = loop {
            // A target that never rests keeps the ring readable: without this the runtime would not look at signals.
            tokio::task::yield_now().await;
            tokio::select! {
                guard = ring.readable_mut() => {
                    if let Ok(mut guard) = guard
                        && self.drain(guard.get_inner_mut())
                    {
                        guard.clear_ready();
                        self.settle()?;
                    }
                }
                _ = tick.tick() => {
                    self.tracer.tell_time(u32::try_from(began.instant.elapsed().as_millis()).unwrap_or(u32::MAX));
                    self.drain(ring.get_mut());
                    self.settle()?;
                    self.collector.tidy();
                    self.sample();
                    progress.update(self.collector.distinct, self.lost());
                    if self.target_ended() {
                        break if grace.is_some() { Ended::Signal } else { Ended::Target };
                    }
                    if grace.is_some_and(|until| Instant::now() >= until) {
                        break Ended::Signal;
                    }
                    checkpoints.look(|| self.conclude(Ended::Not, began)?.save(&self.options.output));
                }
                _ = interrupt.recv() => if self.stop(None, &mut grace) { break Ended::Signal },
                _ = terminate.recv() => if self.stop(Some(Signal::SIGTERM), &mut grace) { break Ended::Signal },
                () = sleep_until(end.unwrap_or_else(Instant::now)), if end.is_some() => break Ended::Duration,
            }
        };
        progress.finish();
        checkpoints.stop();
        self.drain(ring.get_mut());
        priority::lower();
        self.settle()?;
        self.collector.finish();
        self.conclude(ended, began)
    }

    /// A signal came. A command is told too and may end in peace; without one, or the second time, it is over.
    fn stop(&mut self, forward: Option<Signal>, grace: &mut Option<Instant>) -> bool {
        let Some(child) = self.child.as_ref().filter(|_| grace.is_none()) else { return true };
        // A terminal sends SIGINT to the whole foreground group, the command included.
        if let (Some(signal), Ok(pid)) = (forward, i32::try_from(child.id())) {
            let _ = kill(Pid::from_raw(pid), signal);
        }
        *grace = Some(Instant::now() + GRACE);
        false
    }

    /// Reads what is in the ring. False if there may be more: a target may make facts as fast as they are read.
    fn drain(&mut self, ring: &mut RingBuf<MapData>) -> bool {
        for _ in 0..AT_ONCE {
            let Some(bytes) = ring.next() else { return true };
            match decode::decode(&bytes) {
                Some(fact) => match &mut self.awaited {
                    Some(awaited) => awaited.take(fact, &mut self.collector),
                    None => self.collector.add(fact),
                },
                None => self.collector.undecodable += 1,
            }
        }
        false
    }

    /// Finds out whether what was seen is the target's, where that is not known yet.
    fn settle(&mut self) -> Result<()> {
        match &mut self.awaited {
            Some(awaited) => {
                awaited.settle(&self.hierarchy, &mut self.tracer, &mut self.scope, &mut self.collector)
            }
            None => Ok(()),
        }
    }

    /// Looks at what the target uses.
    fn sample(&mut self) {
        if let Some(child) = &mut self.child
            && self.status.is_none()
        {
            self.status = child.try_wait().ok().flatten();
        }
        if self.meters_unknown()
            && let Some(pid) = self.scope.processes().first()
        {
            self.meters = Meters::of_process(&self.hierarchy, *pid);
        }
        self.labels.look(|| self.scope.processes());
        if self.user_namespace.is_none() {
            self.user_namespace = self.scope.processes().into_iter().take(LOOKED_AT).find_map(user_namespace);
        }
        let usage = self.scope.usage(&self.meters);
        let peak = |a: Option<u64>, b: Option<u64>| a.max(b);
        self.resources.memory_peak_bytes = peak(self.resources.memory_peak_bytes, usage.memory_peak);
        // Not every hierarchy has a pids controller; the threads themselves can always be counted.
        let pids = usage.pids.unwrap_or_else(|| self.scope.threads());
        self.resources.pids_peak = peak(self.resources.pids_peak, Some(pids));
        self.resources.cpu_usec = peak(self.resources.cpu_usec, usage.cpu_usec);
        if let Some(cpu) = usage.cpu_usec {
            let now = Instant::now();
            if let Some((then, before)) = self.last_cpu {
                let micros = u64::try_from(now.duration_since(then).as_micros()).unwrap_or(u64::MAX).max(1);
                let millis = cpu.saturating_sub(before).saturating_mul(1000) / micros;
                // Shorter spans than half a tick would show the timer's grain, not the target's use.
                if micros > 50_000 {
                    self.resources.cpu_peak_millis = peak(self.resources.cpu_peak_millis, Some(millis));
                }
            }
            self.last_cpu = Some((now, cpu));
        }
    }

    fn meters_unknown(&self) -> bool {
        !matches!(self.options.target, TargetChoice::Command(_))
            && !self.hierarchy.controllers.is_empty()
            && self.resources.memory_peak_bytes.is_none()
    }

    fn target_ended(&mut self) -> bool {
        // A target may come and go between two looks; then its facts are all that is left of it.
        self.seen_populated |= self.collector.distinct.total() > 0;
        let populated = self.scope.populated();
        self.seen_populated |= populated == Some(true);
        if let Some(awaited) = &mut self.awaited {
            if populated == Some(true) {
                awaited.goes_on();
            }
            if populated == Some(true) || !awaited.has_come() {
                return false;
            }
            return (populated.is_none() || self.seen_populated) && !awaited.may_come_again();
        }
        match populated {
            Some(true) => false,
            Some(false) => self.seen_populated,
            None => true,
        }
    }

    fn lost(&self) -> u64 {
        let kernel: u64 = self.tracer.losses().map_or(0, |losses| losses.iter().map(|(_, n)| n).sum());
        kernel + self.collector.losses().iter().map(|(_, n)| n).sum::<u64>()
    }

    /// Makes the recording of all that was collected; of the ring, only what has been read.
    fn conclude(&mut self, ended: Ended, began: Began) -> Result<Outcome> {
        for blocked in live::blocked_calls(&self.scope.processes(), monotonic_ns()?) {
            self.collector.blocked_call(&blocked);
        }
        self.sample();
        self.collector.count(&self.tracer.counts()?);
        let collector = std::mem::take(&mut self.collector);
        let boundary = self.options.boundary.unwrap_or(
            if !matches!(self.options.target, TargetChoice::Command(_))
                && !self.host_at_start
                && collector.has_container()
            {
                Boundary::Container
            } else {
                Boundary::None
            },
        );
        let losses = self
            .tracer
            .losses()?
            .into_iter()
            .chain(collector.losses())
            .chain([(
                "io_uring_unseen",
                // Where the kernel asks its security modules, io_uring is like any other caller.
                match self.tracer.hooks {
                    HookSet::Lsm => 0,
                    HookSet::Syscalls => collector.calls_with_number(IO_URING_ENTER),
                },
            )])
            .map(|(name, n)| (name.to_owned(), n))
            .collect();
        let mut recording = Recording {
            schema: SCHEMA.into(),
            tool: format!("sandbox-trace {}", env!("CARGO_PKG_VERSION")),
            complete: false,
            losses,
            warnings: Vec::new(),
            started: rfc3339(began.time),
            duration_ms: u64::try_from(began.instant.elapsed().as_millis()).unwrap_or(u64::MAX),
            runs: Vec::new(),
            host: self.host(),
            target: self.target(boundary, ended),
            executables: Vec::new(),
            syscalls: Vec::new(),
            files: Vec::new(),
            network: Vec::new(),
            capabilities: Vec::new(),
            credentials: Vec::new(),
            saturation: Vec::new(),
            resources: self.resources.clone(),
            failed: recording::Failed::default(),
        };
        let accesses = print(collector, boundary, began.ns, &mut recording);
        recording.normalize();
        recording.complete = ended != Ended::Not && recording.losses.values().all(|n| *n == 0);
        let empty = recording.syscalls.is_empty() && accesses.iter(false).next().is_none();
        recording.warnings.extend(warnings(
            &recording,
            empty,
            accesses.iter(true).filter(|f| f.refused_by.is_some()).count(),
        ));
        let failed = self.status.is_some_and(|status| !status.success());
        Ok(Outcome { command_failed: ended == Ended::Target && failed, recording, accesses })
    }

    fn host(&self) -> Host {
        let uname = nix::sys::utsname::uname().ok();
        let text = |value: Option<&std::ffi::OsStr>| value.unwrap_or_default().to_string_lossy().into_owned();
        let mut observed: Vec<String> = ["syscalls", "files", "network"].map(Into::into).into();
        if self.tracer.sees_capabilities {
            observed.push("capabilities".into());
        }
        Host {
            kernel: text(uname.as_ref().map(nix::sys::utsname::UtsName::release)),
            arch: text(uname.as_ref().map(nix::sys::utsname::UtsName::machine)),
            cgroup: self.hierarchy.kind().into(),
            hooks: self.tracer.hooks.name().into(),
            observed,
        }
    }

    fn target(&self, boundary: Boundary, ended: Ended) -> Target {
        use std::os::unix::process::ExitStatusExt as _;
        let command = match &self.options.target {
            TargetChoice::Command(words) => words.iter().map(|w| w.as_os_str().into()).collect(),
            _ => Vec::new(),
        };
        let (cgroup, more_cgroups) = self.scope.paths();
        let awaited = self.awaited.as_ref().and_then(Awaited::container);
        Target {
            kind: self.options.target.kind().into(),
            cgroup,
            more_cgroups,
            container: self.container.clone().or(awaited),
            command,
            exit_code: self.status.and_then(|s| s.code().or_else(|| s.signal().map(|signal| 128 + signal))),
            boundary: match boundary {
                Boundary::Container => "container",
                Boundary::None => "none",
            }
            .into(),
            ended: match ended {
                Ended::Target => "target-ended",
                Ended::Duration => "duration",
                Ended::Signal => "signal",
                Ended::Not => "checkpoint",
            }
            .into(),
            seccomp: None,
            apparmor: self.labels.all(),
            user_namespace: self.user_namespace.clone(),
        }
    }
}

fn in_own_mount_namespace(pid: u32) -> bool {
    let of = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/mnt")).ok();
    of("self") == of(&pid.to_string())
}

/// The user namespace of a process, if it is not the recorder's own.
fn user_namespace(pid: u32) -> Option<UserNamespace> {
    let of = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/user")).ok();
    if of("self")? == of(&pid.to_string())? {
        return None;
    }
    let map = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}")).ok();
    UserNamespace::parse(&map("uid_map")?, &map("gid_map")?)
}
