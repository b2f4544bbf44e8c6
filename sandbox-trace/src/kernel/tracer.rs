//! Loads and attaches the programs, and reads what they count.

use std::{collections::HashMap, fs::File, os::fd::AsFd as _, path::Path};

use aya::{
    Btf, Ebpf, EbpfLoader,
    maps::{self, Array, CgroupArray, MapData, PerCpuArray, ProgramArray, RingBuf},
    programs::{BtfTracePoint, RawTracePoint},
};
use sandbox_trace_ebpf::{
    KernelLayout, loss, membership, program,
    record::class,
    seen::{RecentCall, SeenSet},
};

use super::{
    cgroup::Cgroup,
    edition::{self, Edition},
    layout,
    lsm::{self, Hook},
    namespaces,
    programs::{self, Numbers},
    specs,
};
use crate::error::{Error, Result};

/// How often a fact happened, and when last.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// How often.
    pub count: u64,
    /// When last, in milliseconds of the recording; a tenth of a second exact.
    pub last_ms: u64,
}

impl Count {
    /// Adds what another place counted.
    pub fn add(&mut self, count: u64, last_ms: u64) {
        self.count += count;
        self.last_ms = self.last_ms.max(last_ms);
    }
}

/// Where files, names, sockets and capabilities are seen. System calls are seen at tracepoints in both sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HookSet {
    /// Where the kernel asks its security modules.
    Lsm,
    /// Where system calls return.
    Syscalls,
}

impl HookSet {
    /// Its name in a recording and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lsm => "lsm",
            Self::Syscalls => "syscalls",
        }
    }
}

/// The loaded and attached programs. Dropping it detaches them.
pub struct Tracer {
    ebpf: Ebpf,
    /// The kernel clears the table when its last user-space reference goes.
    _next: ProgramArray<MapData>,
    /// Held open so that their numbers stay theirs.
    _host_namespaces: Vec<File>,
    /// Whether the kernel has the capability tracepoint, or the hook.
    pub sees_capabilities: bool,
    /// The hook set that is used.
    pub hooks: HookSet,
}

/// Whose tasks are recorded.
#[derive(Clone, Copy)]
pub enum Members<'a> {
    /// Those of one cgroup and all below it.
    Below(&'a Cgroup),
    /// Those of several cgroups and all below them.
    Several {
        /// The cgroups; more may be added.
        cgroups: &'a [Cgroup],
        /// Provisionally, those of each cgroup that is made from now on, too: the target is one of them.
        waiting: bool,
    },
}

/// What a tracer records.
pub struct Options<'a> {
    /// The tasks.
    pub members: Members<'a>,
    /// The process whose first exec begins the recording; 0 if it begins at once.
    pub begin_at_exec_of: u32,
    /// Where the kernel's BTF is; [`layout::KERNEL_BTF`] but in tests.
    pub btf: &'a Path,
    /// The hook set to use; `None` takes [`HookSet::Lsm`] where it loads.
    pub hooks: Option<HookSet>,
    /// Size of the ring.
    pub ring_bytes: u32,
}

/// The first kernel where a task that ends still has its image when `sched_process_exit` tells.
const KEEPS_IMAGES_SINCE: (u32, u32) = (6, 16);

/// The programs that must attach, by tracepoint.
pub const REQUIRED: [&str; 3] = ["sys_exit", "sched_process_exec", "sched_process_exit"];
/// The program that attaches where the kernel has its tracepoint (Linux 6.14).
pub const CAPABILITIES: &str = "cap_capable";
/// The programs that attach when cgroups are known by their ids. All kernels take the same.
pub const CGROUPS: [&str; 2] = ["cgroup_mkdir", "cgroup_rmdir"];

impl Tracer {
    /// Loads the programs, fills in the target and attaches. When this returns, nothing of the target is missed.
    pub fn start(options: &Options<'_>) -> Result<Self> {
        let membership = match options.members {
            Members::Below(_) => membership::BY_TARGET,
            Members::Several { .. } => membership::BY_ID,
        };
        let how = How { membership, ring_bytes: options.ring_bytes };
        let mut kernel = Kernel::read(options.btf)?;
        let started = Self::start_on(options, &kernel, how);
        // A kernel may have what an edition needs, and not let it be used.
        if let (Err(error), Some(older)) = (&started, kernel.edition.older()) {
            tracing::info!("the programs for older kernels are used: {}", error.in_one_line());
            kernel.edition = older;
            return Self::start_on(options, &kernel, how);
        }
        started
    }

    fn start_on(options: &Options<'_>, kernel: &Kernel, how: How) -> Result<Self> {
        let (ebpf, hooks) = match options.hooks {
            Some(HookSet::Syscalls) => (load(kernel, &[], how)?, Vec::new()),
            Some(HookSet::Lsm) => lsm::load(kernel, how)?,
            None => match lsm::load(kernel, how) {
                Ok(loaded) => loaded,
                Err(error) => {
                    tracing::info!("files and sockets are observed at system calls: {}", error.in_one_line());
                    (load(kernel, &[], how)?, Vec::new())
                }
            },
        };
        Self::start_with(options, ebpf, kernel, &hooks)
    }

    fn start_with(options: &Options<'_>, mut ebpf: Ebpf, kernel: &Kernel, hooks: &[&Hook]) -> Result<Self> {
        match options.members {
            Members::Below(cgroup) => {
                let map = ebpf.map_mut("TARGET").ok_or_else(|| damaged("map TARGET"))?;
                CgroupArray::try_from(map)
                    .and_then(|mut target| target.set(0, cgroup.handle().as_fd().try_clone_to_owned()?, 0))
                    .map_err(|e| Error::host("the kernel refused the target cgroup").because(e))?;
            }
            Members::Several { cgroups, waiting } => {
                // From here on a cgroup that is made below a member is one; before any task's membership is asked.
                for name in CGROUPS {
                    try_btf(&mut ebpf, kernel, name)?;
                }
                for cgroup in cgroups {
                    cgroup.each_below(&mut |id| admit(&mut ebpf, id))?;
                }
                wait_for_cgroups(&mut ebpf, waiting)?;
            }
        }
        let host_namespaces = name_host_namespaces(&mut ebpf)?;
        let map = ebpf.map_mut("BEGIN").ok_or_else(|| damaged("map BEGIN"))?;
        Array::try_from(map)
            .and_then(|mut begin: Array<_, u32>| begin.set(0, options.begin_at_exec_of, 0))
            .map_err(|e| Error::host("could not set where the recording begins").because(e))?;

        let (edition, btf) = (kernel.edition, &kernel.anchors);
        let mut next = ebpf
            .take_map("NEXT")
            .ok_or_else(|| damaged("map NEXT"))
            .and_then(|map| ProgramArray::try_from(map).map_err(|e| damaged("map NEXT").because(e)))?;
        verify_together(&mut ebpf, edition, btf)?;
        for (index, name) in (0u32..).zip(program::NAMES_BY_INDEX).skip(1) {
            let fd = ebpf.program(&edition.program(name)).ok_or_else(|| damaged(name))?.fd();
            fd.map_err(|e| Error::host("a tracing program was not loaded").because(e)).and_then(|fd| {
                next.set(index, fd, 0).map_err(|e| Error::host("could not link the programs").because(e))
            })?;
        }
        for name in REQUIRED {
            btf_program(&mut ebpf, edition, name)?.attach().map(drop).map_err(|e| refused(name, e))?;
        }
        lsm::attach(&mut ebpf, hooks)?;
        if !hooks.is_empty() {
            return Ok(Self {
                ebpf,
                _next: next,
                _host_namespaces: host_namespaces,
                sees_capabilities: true,
                hooks: HookSet::Lsm,
            });
        }
        let sees_capabilities = match attach_raw(&mut ebpf, CAPABILITIES) {
            Ok(()) => true,
            Err(error) => {
                tracing::info!("capabilities are not observed: {error}");
                false
            }
        };
        Ok(Self {
            ebpf,
            _next: next,
            _host_namespaces: host_namespaces,
            sees_capabilities,
            hooks: HookSet::Syscalls,
        })
    }

    /// The cgroup with this id is the target: what the programs know provisionally is for certain.
    pub fn admit(&mut self, cgroup: u64) -> Result<()> {
        admit(&mut self.ebpf, cgroup)
    }

    /// That cgroup is another's: its tasks are recorded no more.
    pub fn dismiss(&mut self, cgroup: u64) {
        // It may have been removed, and then the programs have let go of it.
        let _ = members(&mut self.ebpf).map(|mut members| members.remove(&cgroup));
        let slot = u32::try_from(cgroup & u64::from(membership::ANSWERS - 1)).unwrap_or_default();
        let answers = self.ebpf.map_mut("MEMBERS").and_then(|map| Array::<_, u64>::try_from(map).ok());
        // A stale answer costs time, not truth: what comes of it is thrown away.
        let _ = answers.map(|mut answers| answers.set(slot, 0, 0));
    }

    /// Whether new cgroups are recorded provisionally from now on. Once the target was found, the programs begin
    /// again by themselves when it is removed.
    pub fn wait_for_cgroups(&mut self, waiting: bool) -> Result<()> {
        wait_for_cgroups(&mut self.ebpf, waiting)
    }

    /// The ring, to be read by one reader.
    pub fn ring(&mut self) -> Result<RingBuf<MapData>> {
        let map = self.ebpf.take_map("RING").ok_or_else(|| damaged("map RING"))?;
        RingBuf::try_from(map).map_err(|e| Error::host("could not map the ring buffer").because(e))
    }

    /// How often each fact happened and when last, by its key: as far as the maps still know. Counts that left the
    /// maps came by the ring.
    pub fn counts(&self) -> Result<HashMap<u64, Count>> {
        let unreadable = |e: maps::MapError| Error::host("could not read the counts").because(e);
        let mut counts: HashMap<u64, Count> = HashMap::new();
        for name in ["CALLS_SEEN", "FILES_SEEN"] {
            let map = self.ebpf.map(name).ok_or_else(|| damaged(name))?;
            let sets: Array<_, SeenSet> = Array::try_from(map).map_err(unreadable)?;
            for set in sets.iter() {
                for fact in set.map_err(unreadable)?.into_iter().filter(|fact| fact.key != 0) {
                    counts.entry(fact.key).or_default().add(u64::from(fact.count), u64::from(fact.last_ms));
                }
            }
        }
        let map = self.ebpf.map("RECENT").ok_or_else(|| damaged("map RECENT"))?;
        let recent: PerCpuArray<_, RecentCall> = PerCpuArray::try_from(map).map_err(unreadable)?;
        for cpus in recent.iter() {
            for call in cpus.map_err(unreadable)?.iter().filter(|call| call.count != 0) {
                counts.entry(call.key).or_default().add(call.count, call.last_ms);
            }
        }
        Ok(counts)
    }

    /// Tells the programs what time it is, in milliseconds of the recording.
    pub fn tell_time(&mut self, ms: u32) {
        let map = self.ebpf.map_mut("NOW").and_then(|map| Array::<_, u32>::try_from(map).ok());
        if map.is_none_or(|mut now| now.set(0, ms, 0).is_err()) {
            tracing::warn!("the programs can't be told the time: \"last seen\" is too early from here on");
        }
    }

    /// What could not be held, by name: the programs' own counters, and the times that the kernel did not run a
    /// program because it was running already.
    pub fn losses(&self) -> Result<Vec<(&'static str, u64)>> {
        let map = self.ebpf.map("LOSSES").ok_or_else(|| damaged("map LOSSES"))?;
        let counters: PerCpuArray<_, u64> = PerCpuArray::try_from(map)
            .map_err(|e| Error::host("could not read the loss counters").because(e))?;
        let mut out = Vec::new();
        for (index, name) in (0u32..).zip(loss::NAMES) {
            let values = counters
                .get(&index, 0)
                .map_err(|e| Error::host("could not read the loss counters").because(e))?;
            out.push((name, values.iter().sum()));
        }
        out.push(("program_missed", self.missed()));
        Ok(out)
    }

    /// `recursion_misses` of all programs, as the kernel shows it for a program's descriptor.
    fn missed(&self) -> u64 {
        use std::os::fd::AsRawFd as _;
        self.ebpf
            .programs()
            .filter_map(|(_, program)| program.fd().ok())
            .filter_map(|fd| {
                let info = format!("/proc/self/fdinfo/{}", fd.as_fd().as_raw_fd());
                let text = std::fs::read_to_string(info).ok()?;
                let line = text.lines().find_map(|line| line.strip_prefix("recursion_misses:"))?;
                line.trim().parse::<u64>().ok()
            })
            .sum()
    }
}

fn members(ebpf: &mut Ebpf) -> Result<maps::HashMap<&mut MapData, u64, u32>> {
    let map = ebpf.map_mut("CGROUPS").ok_or_else(|| damaged("map CGROUPS"))?;
    maps::HashMap::try_from(map).map_err(|e| damaged("map CGROUPS").because(e))
}

fn admit(ebpf: &mut Ebpf, cgroup: u64) -> Result<()> {
    members(ebpf)?.insert(cgroup, membership::WANTED, 0).map_err(|e| {
        Error::host("could not add a cgroup to the target")
            .because(e)
            .hint("name a target with fewer cgroups below it")
    })
}

fn wait_for_cgroups(ebpf: &mut Ebpf, waiting: bool) -> Result<()> {
    use membership::waiting::{AGAIN, NOW};
    let bits = if waiting { NOW | AGAIN } else { AGAIN };
    let map = ebpf.map_mut("WAITING").ok_or_else(|| damaged("map WAITING"))?;
    Array::try_from(map)
        .and_then(|mut map: Array<_, u32>| map.set(0, bits, 0))
        .map_err(|e| Error::host("could not set what the recording waits for").because(e))
}

/// The private copies of the host's mounts that live now: what runs in them is as much outside as this process.
fn name_host_namespaces(ebpf: &mut Ebpf) -> Result<Vec<File>> {
    let map = ebpf.map_mut("NAMESPACES").ok_or_else(|| damaged("map NAMESPACES"))?;
    let mut known: maps::HashMap<_, u32, u8> =
        maps::HashMap::try_from(map).map_err(|e| damaged("map NAMESPACES").because(e))?;
    let mut held = Vec::new();
    for (namespace, file) in namespaces::of_host() {
        // A full map leaves the rest to what the programs find out by themselves.
        if known.insert(namespace, class::HOST, 0).is_err() {
            break;
        }
        held.push(file);
    }
    Ok(held)
}

/// What is fixed when the object is loaded.
#[derive(Debug, Clone, Copy)]
pub struct How {
    /// How members of the target are known: one of [`membership`].
    pub membership: u32,
    /// Size of the ring.
    pub ring_bytes: u32,
}

impl How {
    /// For trying what this kernel takes.
    pub const PROBE: Self = Self { membership: membership::BY_TARGET, ring_bytes: 256 << 10 };
}

/// What loading needs of the kernel's type information; the rest of it has been let go.
pub struct Kernel {
    layout: KernelLayout,
    edition: Edition,
    /// What programs attach by.
    pub anchors: Btf,
    /// The security hooks that this kernel has, or why they can't be used.
    pub hooks: Result<Vec<&'static Hook>>,
}

impl Kernel {
    /// Reads it from the BTF file at `path`.
    pub fn read(path: &Path) -> Result<Self> {
        let btf = layout::open(path)?;
        let (layout, hooks, anchors) = (layout::read(&btf)?, lsm::usable(&btf), btf.anchors());
        let edition = Edition::of_this_kernel(&btf);
        drop(btf);
        let anchors = Btf::parse(&anchors, aya::Endianness::default())
            .map_err(|e| Error::host("the kernel's type information can't be used").because(e))?;
        Ok(Self { layout, edition, anchors, hooks })
    }
}

/// Loads the object with this kernel's offsets and the table of calls; nothing is verified or attached yet. What the
/// security hooks see is left out of what is looked at when a call returns.
pub fn load(kernel: &Kernel, hooks: &[&Hook], how: How) -> Result<Ebpf> {
    let mut layout = kernel.layout;
    layout.seed = seed()?;
    // The reader is woken at a quarter, so that three quarters are left for what happens until it runs.
    layout.wake_bytes = u64::from(how.ring_bytes / 4);
    layout.host_mnt_ns = namespace("/proc/self/ns/mnt")?;
    layout.base_filters = own_filters();
    layout.forgets_images = u32::from(edition::version().is_none_or(|version| version < KEEPS_IMAGES_SINCE));
    if let Some(root) = namespaces::root() {
        (layout.root_ino, layout.root_dev) = (root.ino, root.dev);
    }
    let specs = specs::packed(|call| lsm::sees(hooks, call));
    let attached = u32::from(!hooks.is_empty());
    let offsets = layout.offsets().map(|(_, offset)| *offset);
    let object = programs::object(Numbers {
        offsets: &offsets,
        cast: match kernel.edition {
            Edition::Cast(function) => Some(function),
            Edition::Old | Edition::Loops => None,
        },
    })?;
    let ebpf = EbpfLoader::new()
        .btf(Some(&kernel.anchors))
        .override_global("LAYOUT", &layout, true)
        .override_global("SPECS", &*specs, true)
        .override_global("MEMBERSHIP", &how.membership, true)
        .override_global("HOOKS", &attached, true)
        .map_max_entries("SCRATCH", if hooks.is_empty() { 1 } else { lsm::SCRATCH_SLOTS })
        .map_max_entries("RING", how.ring_bytes)
        .load(&object)
        .map_err(|e| {
            Error::host("the kernel did not take the tracing programs' maps")
                .because(e)
                .hint("sandbox-trace record needs root (CAP_BPF, CAP_PERFMON, CAP_SYS_ADMIN) and Linux 5.10 or later")
        })?;
    Ok(ebpf)
}

/// The tracepoint of a program that is no raw one: its own name, and `sys_exit` for those that it calls on.
fn tracepoint(name: &str) -> &str {
    if REQUIRED.contains(&name) || CGROUPS.contains(&name) { name } else { "sys_exit" }
}

/// Loads all programs for BTF tracepoints, each in a thread of its own: the kernel verifies programs of a privileged
/// loader side by side, and verification is most of the time that loading takes.
fn verify_together(ebpf: &mut Ebpf, edition: Edition, btf: &Btf) -> Result<()> {
    let mut wanted: Vec<&str> =
        REQUIRED.into_iter().chain(program::NAMES_BY_INDEX.into_iter().skip(1)).collect();
    let mut work: Vec<(&str, &mut BtfTracePoint)> = Vec::new();
    for (name, program) in ebpf.programs_mut() {
        if let Some(place) = wanted.iter().position(|w| edition.program(w) == name) {
            let name = wanted.swap_remove(place);
            work.push((name, program.try_into().map_err(|e| refused(name, e))?));
        }
    }
    if let Some(name) = wanted.first() {
        return Err(damaged(name));
    }
    std::thread::scope(|scope| {
        let threads: Vec<_> = work
            .into_iter()
            .map(|(name, program)| {
                let load = move || program.load(tracepoint(name), btf).map_err(|e| refused(name, e));
                (name, std::thread::Builder::new().name("verify".into()).spawn_scoped(scope, load))
            })
            .collect();
        // In the order of the names, so that of several refusals the same one is told each time.
        let mut results: Vec<(&str, Result<()>)> = threads
            .into_iter()
            .map(|(name, thread)| {
                let thread = thread.map_err(|e| Error::host("could not start a thread").because(e));
                let lost = |_| Err(Error::host(format!("loading the tracing program {name} failed")));
                (name, thread.and_then(|thread| thread.join().unwrap_or_else(lost)))
            })
            .collect();
        results.sort_by_key(|(name, _)| *name);
        results.into_iter().try_for_each(|(_, result)| result)
    })
}

fn btf_program<'a>(ebpf: &'a mut Ebpf, edition: Edition, name: &str) -> Result<&'a mut BtfTracePoint> {
    let own = if CGROUPS.contains(&name) { name.to_owned() } else { edition.program(name) };
    ebpf.program_mut(&own).ok_or_else(|| damaged(name))?.try_into().map_err(|e| refused(name, e))
}

pub(super) fn refused(name: &str, error: aya::programs::ProgramError) -> Error {
    Error::host(format!("the kernel did not take the tracing program {name}"))
        .because(error)
        .hint("run `sandbox-trace doctor`; sandbox-trace needs Linux 5.10 or later and root")
}

/// Loads one program for a BTF tracepoint, which the verifier has its say on, and attaches it if it has a tracepoint
/// of its own.
pub fn try_btf(ebpf: &mut Ebpf, kernel: &Kernel, name: &str) -> Result<()> {
    let program = btf_program(ebpf, kernel.edition, name)?;
    program.load(tracepoint(name), &kernel.anchors).map_err(|e| refused(name, e))?;
    if REQUIRED.contains(&name) || CGROUPS.contains(&name) {
        program.attach().map(drop).map_err(|e| refused(name, e))?;
    }
    Ok(())
}

/// Loads and attaches one program on a raw tracepoint.
pub fn attach_raw(ebpf: &mut Ebpf, name: &str) -> Result<()> {
    let refused = |e: aya::programs::ProgramError| {
        Error::host(format!("this kernel has no tracepoint {name}")).because(e)
    };
    let program: &mut RawTracePoint =
        ebpf.program_mut(name).ok_or_else(|| damaged(name))?.try_into().map_err(refused)?;
    program.load().map_err(refused)?;
    program.attach(name).map(|_| ()).map_err(refused)
}

pub(super) fn damaged(what: &str) -> Error {
    Error::host(format!("the object with the tracing programs has no {what}")).hint("rebuild sandbox-trace")
}

/// An unpredictable number: a target that knew the keys' hash could hide facts behind others.
fn seed() -> Result<u64> {
    let mut bytes = [0; 8];
    File::open("/dev/urandom")
        .and_then(|mut f| std::io::Read::read_exact(&mut f, &mut bytes))
        .map_err(|e| Error::host("could not read /dev/urandom").because(e))?;
    Ok(u64::from_ne_bytes(bytes))
}

/// The inode number of a namespace of this process, by its link in /proc.
fn namespace(link: &str) -> Result<u32> {
    namespaces::number(Path::new(link))
        .ok_or_else(|| Error::host(format!("could not read {link}")).hint("mount /proc"))
}

/// How many seccomp filters this process runs under; its children begin with as many.
fn own_filters() -> u32 {
    std::fs::read_to_string("/proc/self/status")
        .ok()
        .and_then(|s| s.lines().find_map(|l| l.strip_prefix("Seccomp_filters:")?.trim().parse().ok()))
        .unwrap_or(0)
}
