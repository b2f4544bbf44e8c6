//! Loads and attaches the programs, and reads what they count.

use std::{collections::HashMap, fs::File, os::fd::AsFd as _, path::Path};

use aya::{
    Btf, Ebpf, EbpfLoader,
    maps::{Array, CgroupArray, MapData, PerCpuArray, ProgramArray, RingBuf},
    programs::{BtfTracePoint, RawTracePoint},
};
use sandbox_trace_ebpf::{
    loss, program,
    seen::{RecentCall, SeenSet},
};

use super::{
    edition::Edition,
    layout,
    lsm::{self, Hook},
    programs, specs,
};
use crate::error::{Error, Result};

/// How large the ring is and at what fill the reader is woken: a quarter, so that three quarters are left for what
/// happens until it runs.
const RING_BYTES: u32 = 4 << 20;

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
    /// Whether the kernel has the capability tracepoint, or the hook.
    pub sees_capabilities: bool,
    /// The hook set that is used.
    pub hooks: HookSet,
}

/// What a tracer records.
pub struct Options<'a> {
    /// The cgroup's directory.
    pub cgroup: &'a File,
    /// The process whose first exec begins the recording; 0 if it begins at once.
    pub begin_at_exec_of: u32,
    /// Where the kernel's BTF is; [`layout::KERNEL_BTF`] but in tests.
    pub btf: &'a Path,
    /// The hook set to use; `None` takes [`HookSet::Lsm`] where it loads.
    pub hooks: Option<HookSet>,
}

/// The programs that must attach, by tracepoint.
pub const REQUIRED: [&str; 3] = ["sys_exit", "sched_process_exec", "sched_process_exit"];
/// The program that attaches where the kernel has its tracepoint (Linux 6.14).
pub const CAPABILITIES: &str = "cap_capable";

impl Tracer {
    /// Loads the programs, fills in the target and attaches. When this returns, nothing of the target is missed.
    pub fn start(options: &Options<'_>) -> Result<Self> {
        match options.hooks {
            Some(HookSet::Syscalls) => Self::start_with(options, load(options.btf, &[])?, &[]),
            Some(HookSet::Lsm) => {
                let (ebpf, hooks) = lsm::load(options.btf)?;
                Self::start_with(options, ebpf, &hooks)
            }
            None => match lsm::load(options.btf) {
                Ok((ebpf, hooks)) => Self::start_with(options, ebpf, &hooks),
                Err(error) => {
                    tracing::info!("files and sockets are observed at system calls: {}", error.in_one_line());
                    Self::start_with(options, load(options.btf, &[])?, &[])
                }
            },
        }
    }

    fn start_with(options: &Options<'_>, mut ebpf: Ebpf, hooks: &[&Hook]) -> Result<Self> {
        let map = ebpf.map_mut("TARGET").ok_or_else(|| damaged("map TARGET"))?;
        CgroupArray::try_from(map)
            .and_then(|mut target| target.set(0, options.cgroup.as_fd().try_clone_to_owned()?, 0))
            .map_err(|e| Error::host("the kernel refused the target cgroup").because(e))?;
        let map = ebpf.map_mut("BEGIN").ok_or_else(|| damaged("map BEGIN"))?;
        Array::try_from(map)
            .and_then(|mut begin: Array<_, u32>| begin.set(0, options.begin_at_exec_of, 0))
            .map_err(|e| Error::host("could not set where the recording begins").because(e))?;

        let btf = kernel_btf(options.btf)?;
        let mut next = ebpf
            .take_map("NEXT")
            .ok_or_else(|| damaged("map NEXT"))
            .and_then(|map| ProgramArray::try_from(map).map_err(|e| damaged("map NEXT").because(e)))?;
        for (index, name) in (0u32..).zip(program::NAMES_BY_INDEX).skip(1) {
            let fd = load_btf(&mut ebpf, &btf, name, "sys_exit")?.fd();
            fd.map_err(|e| Error::host("a tracing program was not loaded").because(e)).and_then(|fd| {
                next.set(index, fd, 0).map_err(|e| Error::host("could not link the programs").because(e))
            })?;
        }
        for name in REQUIRED {
            attach_btf(&mut ebpf, &btf, name)?;
        }
        lsm::attach(&mut ebpf, hooks)?;
        if !hooks.is_empty() {
            return Ok(Self { ebpf, _next: next, sees_capabilities: true, hooks: HookSet::Lsm });
        }
        let sees_capabilities = match attach_raw(&mut ebpf, CAPABILITIES) {
            Ok(()) => true,
            Err(error) => {
                tracing::info!("capabilities are not observed: {error}");
                false
            }
        };
        Ok(Self { ebpf, _next: next, sees_capabilities, hooks: HookSet::Syscalls })
    }

    /// The ring, to be read by one reader.
    pub fn ring(&mut self) -> Result<RingBuf<MapData>> {
        let map = self.ebpf.take_map("RING").ok_or_else(|| damaged("map RING"))?;
        RingBuf::try_from(map).map_err(|e| Error::host("could not map the ring buffer").because(e))
    }

    /// How often each fact happened and when last, by its key: as far as the maps still know. Counts that left the
    /// maps came by the ring.
    pub fn counts(&self) -> Result<HashMap<u64, Count>> {
        let unreadable = |e: aya::maps::MapError| Error::host("could not read the counts").because(e);
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

/// Loads the object with this kernel's offsets and the table of calls; nothing is verified or attached yet. What the
/// security hooks see is left out of what is looked at when a call returns.
pub fn load(btf: &Path, hooks: &[&Hook]) -> Result<Ebpf> {
    let mut layout = layout::read(btf)?;
    layout.seed = seed()?;
    layout.wake_bytes = u64::from(RING_BYTES / 4);
    layout.host_mnt_ns = namespace("/proc/self/ns/mnt")?;
    layout.base_filters = own_filters();
    let specs = specs::packed(|call| lsm::sees(hooks, call));
    let attached = u32::from(!hooks.is_empty());
    let object = programs::object()?;
    let btf = kernel_btf(btf)?;
    EbpfLoader::new()
        .btf(Some(&btf))
        .override_global("LAYOUT", &layout, true)
        .override_global("SPECS", &*specs, true)
        .override_global("HOOKS", &attached, true)
        .map_max_entries("SCRATCH", if hooks.is_empty() { 1 } else { lsm::SCRATCH_SLOTS })
        .map_max_entries("RING", RING_BYTES)
        .load(&object)
        .map_err(|e| {
            Error::host("the kernel did not take the tracing programs' maps")
                .because(e)
                .hint("sandbox-trace record needs root (CAP_BPF, CAP_PERFMON, CAP_SYS_ADMIN) and Linux 5.10 or later")
        })
}

/// Loads one program for a BTF tracepoint: the verifier has its say.
pub fn load_btf<'a>(
    ebpf: &'a mut Ebpf,
    btf: &Btf,
    name: &str,
    tracepoint: &str,
) -> Result<&'a mut BtfTracePoint> {
    let program: &mut BtfTracePoint = ebpf
        .program_mut(&Edition::of_this_kernel().program(name))
        .ok_or_else(|| damaged(name))?
        .try_into()
        .map_err(|e| refused(name, e))?;
    program.load(tracepoint, btf).map_err(|e| refused(name, e))?;
    Ok(program)
}

pub(super) fn refused(name: &str, error: aya::programs::ProgramError) -> Error {
    Error::host(format!("the kernel did not take the tracing program {name}"))
        .because(error)
        .hint("run `sandbox-trace doctor`; sandbox-trace needs Linux 5.10 or later and root")
}

/// Loads one program for the BTF tracepoint of its name, and attaches it.
pub fn attach_btf(ebpf: &mut Ebpf, btf: &Btf, name: &str) -> Result<()> {
    load_btf(ebpf, btf, name, name)?.attach().map(|_| ()).map_err(|e| refused(name, e))
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

/// The kernel's type information as aya wants it.
pub fn kernel_btf(path: &Path) -> Result<Btf> {
    Btf::parse_file(path, aya::Endianness::default()).map_err(|e| {
        Error::host(format!("the kernel's type information {} can't be read", path.display()))
            .because(e)
            .hint("use a kernel built with CONFIG_DEBUG_INFO_BTF=y")
    })
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
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata(link)
        .ok()
        .and_then(|m| u32::try_from(m.ino()).ok())
        .ok_or_else(|| Error::host(format!("could not read {link}")).hint("mount /proc"))
}

/// How many seccomp filters this process runs under; its children begin with as many.
fn own_filters() -> u32 {
    std::fs::read_to_string("/proc/self/status")
        .ok()
        .and_then(|s| s.lines().find_map(|l| l.strip_prefix("Seccomp_filters:")?.trim().parse().ok()))
        .unwrap_or(0)
}
