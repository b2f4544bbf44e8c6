//! What to record of each system call, as data: user space knows calls by name and fills the table, the programs
//! know only the few kinds below.

use crate::{MAX_NR, arch};

/// Slots in the table: one a number and architecture, and room up to a power of two, so that a mask bounds an index.
pub const SPECS: usize = (MAX_NR as usize * arch::COUNT as usize).next_power_of_two();

/// No such argument.
pub const NONE: u8 = 0xf;

/// What a call does, as far as recording is concerned.
pub mod kind {
    /// Nothing but the call itself.
    pub const PLAIN: u8 = 0;
    /// Opens a path; the result is a descriptor. `flags` holds the open flags.
    pub const OPEN: u8 = 1;
    /// As `OPEN`, with the flags in a `struct open_how` that `flags` points to.
    pub const OPEN_HOW: u8 = 2;
    /// Opens by file handle: the result is a descriptor, there is no path.
    pub const OPEN_HANDLE: u8 = 3;
    /// Maps a file: `flags` is the protection argument, `dir1` the descriptor.
    pub const MMAP: u8 = 4;
    /// Changes the protection of a mapping: `dir1` is the address, `flags` the protection.
    pub const MPROTECT: u8 = 5;
    /// `flock`: `dir1` is the descriptor, `flags` the operation.
    pub const FLOCK: u8 = 6;
    /// `fcntl`: `dir1` is the descriptor, `flags` the command, `path1` the pointer to `struct flock`.
    pub const FCNTL: u8 = 7;
    /// Changes mode, owner or length by descriptor `dir1`.
    pub const FD_SETATTR: u8 = 8;
    /// Works on one or two paths: (`dir1`, `path1`) and (`dir2`, `path2`).
    pub const NAMES: u8 = 9;
    /// Makes a socket (or a pair): the arguments say all.
    pub const SOCKET: u8 = 10;
    /// Has an address: `dir1` is the socket, `path1` the address, `flags` its length.
    pub const ADDRESS: u8 = 11;
    /// Executes: `dir1`, `path1`; only failures are recorded here, successes by the exec tracepoint.
    pub const EXEC: u8 = 12;
    /// Changes ids: recorded anew for each new pair of ids.
    pub const CREDENTIALS: u8 = 13;
    /// `clone3`: the flags are the first word of the structure that the first argument points to.
    pub const CLONE3: u8 = 14;
    /// i386 `socketcall`: the call in the first argument, its arguments in an array of u32 behind the second.
    pub const SOCKETCALL: u8 = 15;
    /// May load a seccomp filter: the first argument is the operation.
    pub const SECCOMP: u8 = 16;
    /// Or-ed in: what succeeds is seen at the hooks of the security modules, so that only failures are looked at here.
    pub const HOOKED: u8 = 0x80;
    /// Makes a task, as `CLONE3` does.
    pub const FORK: u8 = 17;
}

/// What a call with paths does; user space turns it into accesses.
pub mod op {
    /// Opens; the flags say how.
    pub const OPEN: u8 = 1;
    /// Removes a name; `flags & AT_REMOVEDIR` removes a directory.
    pub const UNLINK: u8 = 2;
    /// Removes a directory.
    pub const RMDIR: u8 = 3;
    /// Makes a directory.
    pub const MKDIR: u8 = 4;
    /// Makes a node: device, FIFO, socket, file.
    pub const MKNOD: u8 = 5;
    /// Makes a symbolic link at path 1.
    pub const SYMLINK: u8 = 6;
    /// Makes a hard link: path 1 is the existing name, path 2 the new one.
    pub const LINK: u8 = 7;
    /// Renames path 1 to path 2; `flags & RENAME_EXCHANGE` swaps them.
    pub const RENAME: u8 = 8;
    /// Changes mode or owner or length; follows a symbolic link unless the flags say not to.
    pub const SETATTR: u8 = 9;
    /// Changes the owner of a symbolic link itself.
    pub const SETATTR_NOFOLLOW: u8 = 10;
    /// Executes.
    pub const EXEC: u8 = 11;
    /// Maps executable.
    pub const MMAP: u8 = 12;
    /// Locks; shared.
    pub const LOCK_SHARED: u8 = 13;
    /// Locks; exclusive.
    pub const LOCK_EXCLUSIVE: u8 = 14;
    /// A socket was made.
    pub const SOCKET: u8 = 15;
    /// A pair of sockets was made.
    pub const SOCKETPAIR: u8 = 16;
    /// Bound to an address.
    pub const BIND: u8 = 17;
    /// Connected to an address.
    pub const CONNECT: u8 = 18;
    /// Sent to an address.
    pub const SENDTO: u8 = 19;
    /// Listens.
    pub const LISTEN: u8 = 20;
    /// Accepts connections.
    pub const ACCEPT: u8 = 21;
    /// Sends on a connected socket.
    pub const SEND: u8 = 22;
    /// Receives.
    pub const RECEIVE: u8 = 23;
    /// Reads or sets options.
    pub const OPTIONS: u8 = 24;
    /// Asks for its own or its peer's address.
    pub const NAME: u8 = 25;
    /// Shuts down.
    pub const SHUTDOWN: u8 = 26;
}

/// One slot of the table.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallSpec {
    /// One of [`kind`].
    pub kind: u8,
    /// One of [`op`], or 0.
    pub op: u8,
    /// Bit n: argument n is part of the recorded tuple.
    pub args: u8,
    /// Argument with the first directory descriptor (or what the kind says), or [`NONE`].
    pub dir1: u8,
    /// Argument with the first path, or [`NONE`].
    pub path1: u8,
    /// Argument with the second directory descriptor, or [`NONE`].
    pub dir2: u8,
    /// Argument with the second path, or [`NONE`].
    pub path2: u8,
    /// Argument with the flags, or [`NONE`].
    pub flags: u8,
}

impl CallSpec {
    /// Nothing to record but the call.
    pub const PLAIN: Self = Self {
        kind: kind::PLAIN,
        op: 0,
        args: 0,
        dir1: NONE,
        path1: NONE,
        dir2: NONE,
        path2: NONE,
        flags: NONE,
    };

    /// As the programs read it: one 8-byte load.
    pub const fn pack(self) -> u64 {
        u64::from_le_bytes([
            self.kind, self.op, self.args, self.dir1, self.path1, self.dir2, self.path2, self.flags,
        ])
    }

    /// The inverse of [`CallSpec::pack`].
    pub const fn unpack(word: u64) -> Self {
        let [kind, op, args, dir1, path1, dir2, path2, flags] = word.to_le_bytes();
        Self { kind, op, args, dir1, path1, dir2, path2, flags }
    }
}
