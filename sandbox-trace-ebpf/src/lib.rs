//! What the eBPF programs and user space agree on: kernel struct offsets, the table that says what to record of
//! a system call, the records on the ring, and the counters. No code that runs in the kernel is here.
#![no_std]

pub mod layout;
pub mod membership;
pub mod record;
pub mod seen;
pub mod spec;

pub use self::{layout::KernelLayout, record::Header, spec::CallSpec};

/// System call numbers at or above this share the last slot of [`spec::SPECS`] and of the counters.
pub const MAX_NR: u32 = 512;

/// Architectures of a system call, as an index.
pub mod arch {
    /// 64-bit calls.
    pub const X86_64: u8 = 0;
    /// 32-bit calls (`int 0x80`, compat `sysenter`).
    pub const I386: u8 = 1;
    /// The x32 ABI (number with bit 30).
    pub const X32: u8 = 2;
    /// How many there are.
    pub const COUNT: u8 = 3;
}

/// The programs that `sys_exit` goes on to, as indices into the map `NEXT`; 0 is none.
pub mod program {
    /// Files at hand.
    pub const FILE: u32 = 1;
    /// Names.
    pub const NAMES: u32 = 2;
    /// Sockets.
    pub const NETWORK: u32 = 3;
    /// What a seccomp filter may have answered.
    pub const FILTER: u32 = 4;
    /// Slots of the map.
    pub const COUNT: u32 = 5;
    /// The programs by index. The edition for kernels before 5.17 has [`OLD`] behind its name; of [`READERS`] there is
    /// one with [`CAST`] behind it, too.
    pub const NAMES_BY_INDEX: [&str; COUNT as usize] =
        ["", "sys_exit_file", "sys_exit_names", "sys_exit_network", "sys_exit_filter"];
    /// What the names of programs for kernels before 5.17 end in.
    pub const OLD: &str = "_old";
    /// What the names of programs for kernels with `bpf_rdonly_cast` end in.
    pub const CAST: &str = "_cast";
    /// The programs that come in that edition.
    pub const READERS: [&str; 3] = ["sys_exit_file", "sys_exit_names", "sys_exit_network"];
    /// The kernel's function behind that edition.
    pub const CAST_FUNCTION: &str = "bpf_rdonly_cast";
    /// Stands for that function in the object, as the number of a helper that there will never be: only the running
    /// kernel's type information has the function's own number, and user space writes it there.
    pub const CAST_CALL: u32 = 0x5bca_5700;
}

/// What could not be held or read, counted per CPU in the map `LOSSES`.
pub mod loss {
    /// The ring was full: the fact was dropped, and is sent again when it happens again.
    pub const RING_FULL: u32 = 0;
    /// A path had more components, or more bytes, than the walk takes.
    pub const PATH_TOO_LONG: u32 = 1;
    /// A path argument could not be read from the target's memory.
    pub const STRING_UNREADABLE: u32 = 2;
    /// A kernel structure could not be read.
    pub const KERNEL_READ: u32 = 3;
    /// A mapping was made executable while another thread changed the address space: its file is not known.
    pub const MAPPING_UNSEEN: u32 = 4;
    /// A task had more seccomp filters than are read.
    pub const FILTERS_UNREAD: u32 = 5;
    /// There were more cgroups than can be told apart: what a new one did was not recorded.
    pub const CGROUPS_FULL: u32 = 6;
    /// More tasks of one CPU were interrupted in a security hook at a time than there is working memory for.
    pub const HOOK_BUSY: u32 = 7;
    /// How many there are.
    pub const COUNT: u32 = 8;
    /// Their names in a recording, by index.
    pub const NAMES: [&str; COUNT as usize] = [
        "ring_full",
        "path_too_long",
        "string_unreadable",
        "kernel_read_failed",
        "mapping_unseen",
        "filters_unread",
        "cgroups_overflow",
        "hook_busy",
    ];
}
