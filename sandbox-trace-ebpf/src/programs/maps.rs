//! The maps and the read-only data. All memory is bounded; what can fill counts what it could not hold.

use aya_ebpf::{
    macros::map,
    maps::{Array, CgroupArray, HashMap, LruHashMap, PerCpuArray, ProgramArray, RingBuf},
};
use sandbox_trace_ebpf::{
    KernelLayout, loss, membership, program, record,
    seen::{RecentCall, SeenSet},
    spec,
};

/// Offsets and constants; user space fills it in before the programs load.
#[unsafe(no_mangle)]
pub static LAYOUT: KernelLayout = KernelLayout::ZERO;

/// What to record of each call; user space fills it in before the programs load.
#[unsafe(no_mangle)]
pub static SPECS: [u64; spec::SPECS] = [0; spec::SPECS];

/// The cgroup that is recorded, with all below it.
#[map]
pub static TARGET: CgroupArray = CgroupArray::with_max_entries(1, 0);

/// Slot 0: the process whose first exec begins the recording, or 0 when it has begun.
#[map]
pub static BEGIN: Array<u32> = Array::with_max_entries(1, 0);

/// The programs that `sys_exit` goes on to, by [`program`].
#[map]
pub static NEXT: ProgramArray = ProgramArray::with_max_entries(program::COUNT, 0);

/// The way to user space.
#[map]
pub static RING: RingBuf = RingBuf::with_byte_size(2 << 20, 0);

/// Answers to "is this cgroup in the target?", by the low bits of the cgroup's id: the id shifted left, and the answer.
#[map]
pub static MEMBERS: Array<u64> = Array::with_max_entries(MEMBER_SLOTS, 0);
/// Slots of [`MEMBERS`].
pub const MEMBER_SLOTS: u32 = membership::ANSWERS;

/// Slot 0: when it is, in milliseconds of the recording. User space sets it now and then, so that "last seen" costs
/// a load and no question for the time.
#[map]
pub static NOW: Array<u32> = Array::with_max_entries(1, 0);

/// What could not be held, by [`loss`].
#[map]
pub static LOSSES: PerCpuArray<u64> = PerCpuArray::with_max_entries(loss::COUNT, 0);

/// Sets for calls, apart so that a flood of files can't push them out.
pub const CALL_SETS: u32 = 8 << 10;
/// Sets for everything with a path or an address.
pub const FILE_SETS: u32 = 32 << 10;

/// Calls, capabilities and executables that were sent.
#[map]
pub static CALLS_SEEN: Array<SeenSet> = Array::with_max_entries(CALL_SETS, 0);

/// Files, names and sockets that were sent.
#[map]
pub static FILES_SEEN: Array<SeenSet> = Array::with_max_entries(FILE_SETS, 0);

/// The calls that a CPU makes most: counted here, where no other CPU writes, and added to [`CALLS_SEEN`] when another
/// call wants the slot.
#[map]
pub static RECENT: PerCpuArray<RecentCall> = PerCpuArray::with_max_entries(RECENT_CALLS, 0);
/// Slots of [`RECENT`].
pub const RECENT_CALLS: u32 = 1 << 10;

/// Executables by process, from its first moment or its last exec: for its end, when some kernels have taken it away.
#[map]
pub static PROCESSES: LruHashMap<u32, u64> = LruHashMap::with_max_entries(16 << 10, 0);

/// Executables that were started inside another mount namespace than the host's.
#[map]
pub static INSIDE: HashMap<u64, u8> = HashMap::with_max_entries(16 << 10, 0);

/// Slots of [`CHAINS_MET`].
pub const CHAIN_SLOTS: u32 = 256;

/// Chains of seccomp filters that were read lately, by the key of their address.
#[map]
pub static CHAINS_MET: Array<u64> = Array::with_max_entries(CHAIN_SLOTS, 0);

/// A CPU's working memory. What a loop carries is here and not on the stack: the verifier tracks every value that a
/// stack slot can have, and would walk through all the lengths that a path can reach.
#[repr(C, align(8))]
pub struct Scratch {
    /// Where a record is put together.
    pub record: [u8; record::RECORD_BYTES],
    /// The walk that is under way.
    pub walk: crate::walk::Walk,
    /// The hash that is under way.
    pub hashing: crate::hash::Hashing,
    /// The call that is looked at and who made it, for the programs that go on from `sys_exit`.
    pub call: crate::call::Call,
    pub who: crate::task::Who,
    /// Bytes of the record so far.
    pub length: u64,
    /// The use of a socket that is looked at.
    pub usage: crate::network::Use,
    /// The names that are looked at.
    pub names: crate::names::Names,
    /// See [`crate::kernel::unfollowed`].
    pub passing: u64,
    /// The seccomp filters that are being read.
    pub reading: crate::filter::Reading,
    /// What a security hook was asked about.
    pub asked: crate::lsm::object::Asked,
}

#[map]
pub static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(1, 0);

/// This CPU's working memory. Tracepoints run with preemption off, one at a time; for security hooks see
/// [`crate::lsm::slot`].
#[inline(always)]
pub fn scratch() -> Option<*mut Scratch> {
    SCRATCH.get_ptr_mut(crate::lsm::slot::index())
}
