//! The records on the ring: one fixed header, then bytes whose meaning the kind gives. User space must treat all
//! of it as input: the bytes behind a path come from the target.

use crate::seen::SeenFact;

/// Kinds of records.
pub mod kind {
    /// A system call, error and argument tuple that this executable had not made before. No bytes.
    pub const CALL: u8 = 1;
    /// The path of an executable that the next records name by key. Bytes: path.
    pub const EXECUTABLE: u8 = 2;
    /// An access to an object that the kernel has a path for. `args`: access bits, mode, 0, 0, 0, and for a hard link
    /// the length of the existing name's path. Bytes: path, then that one.
    pub const FILE: u8 = 3;
    /// An operation on one or two names. `args`: the lengths of base 1, name 1, base 2, name 2. Bytes: those.
    pub const NAMES: u8 = 4;
    /// A successful exec. `args`: the lengths of path, base, name; name only for scripts. Bytes: those.
    pub const EXEC: u8 = 5;
    /// A socket. `args`: family, type, protocol, length of the address, length of the base. Bytes: those two.
    pub const NETWORK: u8 = 6;
    /// A capability question. `args`: capability, system call in flight. `errno` is 0 if it was granted.
    pub const CAPABILITY: u8 = 7;
    /// How often the fact with the header's `key` happened since it was sent: `args`: count, when it was last seen.
    pub const COUNT: u8 = 8;
    /// A part of a seccomp filter, named by its contents. `args`: key. Bytes: at most
    /// [`FILTER_PART`](super::FILTER_PART) instructions (`struct sock_filter`).
    pub const FILTER_PART: u8 = 16;
    /// The seccomp filters of a task, newest first. `args`: key, 1 if there are more than it lists. Bytes: a
    /// [`FilterPart`](super::FilterPart) each.
    pub const FILTER_CHAIN: u8 = 17;
    /// A cgroup was made. `args`: its state ([`crate::membership`]), the length of its path. Bytes: the path below
    /// the root of the hierarchy. Only `cgroup` of the rest of the header counts.
    pub const CGROUP: u8 = 18;
}

/// Where the task stood when it caused the fact.
pub mod class {
    /// In the host's mount namespace.
    pub const HOST: u8 = 0;
    /// In another mount namespace, but still running an image from outside: a container runtime's set-up.
    pub const SETUP: u8 = 1;
    /// In another mount namespace, running an image from inside.
    pub const INSIDE: u8 = 2;
    /// Or-ed in: in another mount namespace than the recorder's, be it a copy of the host's: names are looked up there.
    pub const ELSEWHERE: u8 = 0x40;
    /// The bits that say where the task stood.
    pub const PLACE: u8 = 0x3f;
    /// Or-ed in: a seccomp filter beyond the recorder's own is in force.
    pub const FILTERED: u8 = 0x80;
}

/// Header flags.
pub mod flag {
    /// The object's owner is the task's fsuid.
    pub const OWNER: u32 = 1;
    /// A script: the image that runs is its interpreter.
    pub const SCRIPT: u32 = 2;
    /// The walk that made the path (or a base) did not end at the root of a mount tree.
    pub const CUT: u32 = 4;
    /// A call gave its own number back: so does one that a seccomp filter answered with a signal.
    pub const OWN_NUMBER: u32 = 0x100;
    /// The thread ended with `SIGSYS`, in this call.
    pub const KILLED: u32 = 0x200;
    /// Seen where the kernel asks its security modules, and not where a system call returns.
    pub const HOOK: u32 = 8;
    /// A security module refused it; `errno` is its answer.
    pub const REFUSED: u32 = 16;
    /// A capability question that the kernel does not audit: it only tries.
    pub const UNAUDITED: u32 = 32;
}

/// Every record begins with this.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct Header {
    /// Nanoseconds since boot, without suspend (`CLOCK_MONOTONIC`).
    pub time_ns: u64,
    /// Key of the executable; 0 when the task has none any more.
    pub exe: u64,
    /// Key of the fact, by which its count is found.
    pub key: u64,
    /// A fact that this one pushed out of its set (key 0: none), with its count, which nobody keeps now.
    pub pushed_out: SeenFact,
    /// What the kind says.
    pub args: [u64; 6],
    /// Process id in the initial namespace.
    pub tgid: u32,
    /// Thread id in the initial namespace.
    pub tid: u32,
    /// Effective user id in the initial namespace.
    pub uid: u32,
    /// Effective group id in the initial namespace.
    pub gid: u32,
    /// System call number.
    pub nr: u32,
    /// Error number, 0 for success.
    pub errno: u32,
    /// [`flag`] bits.
    pub flags: u32,
    /// The call's own flags argument, where it has one.
    pub call_flags: u32,
    /// One of [`kind`].
    pub kind: u8,
    /// One of [`crate::arch`].
    pub arch: u8,
    /// One of [`class`].
    pub class: u8,
    /// One of [`crate::spec::op`].
    pub op: u8,
    /// Which of `args` count, for calls.
    pub mask: u32,
    /// Key of the chain of seccomp filters that judged a call; 0 if there was none, or it made no difference.
    pub filters: u64,
    /// Id of the task's cgroup in the v2 hierarchy.
    pub cgroup: u64,
}

impl Header {
    /// Bytes of the header.
    pub const SIZE: usize = size_of::<Self>();
    /// All zero.
    pub const EMPTY: Self = Self {
        time_ns: 0,
        exe: 0,
        key: 0,
        pushed_out: SeenFact::NONE,
        args: [0; 6],
        tgid: 0,
        tid: 0,
        uid: 0,
        gid: 0,
        nr: 0,
        errno: 0,
        flags: 0,
        call_flags: 0,
        kind: 0,
        arch: 0,
        class: 0,
        op: 0,
        mask: 0,
        filters: 0,
        cgroup: 0,
    };
}

/// Most instructions of a seccomp filter that one record carries.
pub const FILTER_PART: usize = 2048;

/// Most parts of filters that a chain lists: each takes a tail call, and the kernel makes no more than 33 in a row.
pub const FILTER_PARTS: usize = 28;

/// A part of a filter, in the list of a chain.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct FilterPart {
    /// Key of the part's instructions; 0 if the kernel did not keep them.
    pub key: u64,
    /// Where the part begins in its filter, in instructions.
    pub at: u32,
    /// How many instructions it has.
    pub length: u32,
}

/// Access bits of a [`kind::FILE`] record; the same as a recording's letters.
pub mod access {
    /// `r`
    pub const READ: u64 = 1;
    /// `w`
    pub const WRITE: u64 = 1 << 1;
    /// `a`
    pub const APPEND: u64 = 1 << 2;
    /// `c`
    pub const CREATE: u64 = 1 << 3;
    /// `d`
    pub const DELETE: u64 = 1 << 4;
    /// `s`
    pub const SETATTR: u64 = 1 << 5;
    /// `x`
    pub const EXEC: u64 = 1 << 6;
    /// `m`
    pub const MAP_EXEC: u64 = 1 << 7;
    /// `k`
    pub const LOCK: u64 = 1 << 8;
    /// `l`
    pub const LINK: u64 = 1 << 9;
}

/// Stands for the number of a call, where `io_uring` works on its own behalf; [`u32::MAX`] stands for a page fault.
pub const IO_URING: u32 = u32::MAX - 1;

/// Most bytes of one path, walked or given: `PATH_MAX` and a last component.
pub const PATH_BYTES: usize = 4096 + 256;

/// Most bytes of a socket address (`struct sockaddr_storage`).
pub const ADDRESS_BYTES: usize = 128;

/// Size of the buffer that a record is put together in: the header, two bases and two names, and room so that
/// every bounded copy fits. A per-CPU value may have 32 KiB at most.
pub const RECORD_BYTES: usize = 24 * 1024;
