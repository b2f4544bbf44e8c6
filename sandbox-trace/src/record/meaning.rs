//! What the kernel side's codes mean: operations on names as accesses to paths, numbers as names. Pure.

use nix::errno::Errno;
use sandbox_trace_ebpf::{Header, record, spec::op};

use super::{decode::Name, resolve::Place};
use crate::{kernel::specs, linux, recording::Access};

/// What an operation on names accesses: path, access, link target.
pub fn named(
    place: Place<'_>,
    known_directory: &dyn Fn(&[u8]) -> bool,
    header: &Header,
    first: Option<Name>,
    second: Option<Name>,
) -> Vec<(Vec<u8>, Access, Option<Vec<u8>>)> {
    const AT_REMOVEDIR: u32 = 0x200;
    const AT_SYMLINK_NOFOLLOW: u32 = 0x100;
    const AT_SYMLINK_FOLLOW: u32 = 0x400;
    const RENAME_EXCHANGE: u32 = 2;
    const O_NOFOLLOW: u32 = 0o400_000;
    const O_CREAT: u32 = 0o100;
    const O_EXCL: u32 = 0o200;
    let flags = header.call_flags;
    let directory = |mut path: Vec<u8>| {
        if path != b"/" {
            path.push(b'/');
        }
        path
    };
    // What is gone by now is what it was when it was made or renamed.
    let is_directory =
        |path: &[u8]| place.is_directory(path).unwrap_or_else(|| known_directory(&directory(path.to_vec())));
    let slash = |path: Vec<u8>| if is_directory(&path) { directory(path) } else { path };
    let Some(first) = first else { return Vec::new() };
    let follow = |yes: bool| place.path(&first, yes);
    match header.op {
        op::OPEN => {
            let last = flags & O_NOFOLLOW == 0 && flags & (O_CREAT | O_EXCL) != O_CREAT | O_EXCL;
            vec![(slash(follow(last)), open_access(flags), None)]
        }
        // The kernel says what the name is, when it is the wrong thing.
        op::UNLINK if flags & AT_REMOVEDIR == 0 && header.errno == Errno::EISDIR as u32 => {
            vec![(directory(follow(false)), Access::DELETE, None)]
        }
        op::UNLINK if flags & AT_REMOVEDIR == 0 => vec![(follow(false), Access::DELETE, None)],
        op::UNLINK | op::RMDIR if header.errno == Errno::ENOTDIR as u32 => {
            vec![(follow(false), Access::DELETE, None)]
        }
        op::UNLINK | op::RMDIR => vec![(directory(follow(false)), Access::DELETE, None)],
        op::MKDIR => vec![(directory(follow(false)), Access::CREATE, None)],
        op::MKNOD | op::SYMLINK => vec![(follow(false), Access::CREATE, None)],
        op::SETATTR => {
            let last = flags & AT_SYMLINK_NOFOLLOW == 0;
            vec![(slash(follow(last)), Access::SETATTR, None)]
        }
        op::SETATTR_NOFOLLOW => vec![(follow(false), Access::SETATTR, None)],
        op::EXEC => vec![(follow(true), Access::EXEC, None)],
        op::LINK => {
            let Some(second) = second else { return Vec::new() };
            let old = follow(flags & AT_SYMLINK_FOLLOW != 0);
            vec![(place.path(&second, false), Access::LINK, Some(old))]
        }
        op::RENAME => {
            let Some(second) = second else { return Vec::new() };
            let (mut old, mut new) = (follow(false), place.path(&second, false));
            if flags & RENAME_EXCHANGE != 0 {
                let both = Access::READ | Access::WRITE;
                return vec![(slash(old), both, None), (slash(new), both, None)];
            }
            let renamed = if header.errno == 0 { &new } else { &old };
            let is_directory = if place.is_directory(renamed).is_some() {
                is_directory(renamed)
            } else {
                is_directory(&old) || is_directory(&new)
            };
            if is_directory {
                (old, new) = (directory(old), directory(new));
            }
            // The kernel asks for reading the source too: a rename must not reveal what can't be read.
            let source = Access::READ | Access::WRITE | Access::DELETE;
            vec![(old, source, None), (new, Access::WRITE | Access::CREATE, None)]
        }
        _ => Vec::new(),
    }
}

/// What an open with these flags asks for.
fn open_access(flags: u32) -> Access {
    const O_CREAT: u32 = 0o100;
    const O_TRUNC: u32 = 0o1000;
    const O_APPEND: u32 = 0o2000;
    const O_PATH: u32 = 0o10_000_000;
    if flags & O_PATH != 0 {
        return Access::none();
    }
    let write = if flags & O_APPEND != 0 { Access::APPEND } else { Access::WRITE };
    let mut access = match flags & 3 {
        0 => Access::READ,
        1 => write,
        2 => Access::READ | write,
        _ => Access::none(),
    };
    if flags & O_CREAT != 0 {
        access |= Access::CREATE;
    }
    if flags & O_TRUNC != 0 {
        access |= Access::WRITE | Access::SETATTR;
    }
    access
}

/// The kernel side's access bits, which are a recording's by definition.
pub fn access_of(bits: u64) -> Access {
    use sandbox_trace_ebpf::record::access as bit;
    [
        (bit::READ, Access::READ),
        (bit::WRITE, Access::WRITE),
        (bit::APPEND, Access::APPEND),
        (bit::CREATE, Access::CREATE),
        (bit::DELETE, Access::DELETE),
        (bit::SETATTR, Access::SETATTR),
        (bit::EXEC, Access::EXEC),
        (bit::MAP_EXEC, Access::MAP_EXEC),
        (bit::LOCK, Access::LOCK),
        (bit::LINK, Access::LINK),
    ]
    .into_iter()
    .filter(|(bit, _)| bits & bit != 0)
    .fold(Access::none(), |set, (_, access)| set | access)
}

pub fn operation(op: u8) -> &'static str {
    match op {
        op::OPEN => "open",
        op::UNLINK => "unlink",
        op::RMDIR => "rmdir",
        op::MKDIR => "mkdir",
        op::MKNOD => "mknod",
        op::SYMLINK => "symlink",
        op::LINK => "link",
        op::RENAME => "rename",
        op::SETATTR | op::SETATTR_NOFOLLOW => "setattr",
        op::EXEC => "exec",
        op::MMAP => "mmap",
        op::LOCK_SHARED | op::LOCK_EXCLUSIVE => "lock",
        op::SOCKET => "socket",
        op::SOCKETPAIR => "socketpair",
        op::BIND => "bind",
        op::CONNECT => "connect",
        op::SENDTO => "sendto",
        op::LISTEN => "listen",
        op::ACCEPT => "accept",
        op::SEND => "send",
        op::RECEIVE => "receive",
        op::OPTIONS => "options",
        op::NAME => "name",
        op::SHUTDOWN => "shutdown",
        _ => "other",
    }
}

/// The number of a capability question that came from a page fault, not from a call.
const NO_CALL: u32 = u32::MAX;

pub fn call_name(arch: u8, nr: u32) -> String {
    if nr == NO_CALL {
        return "page_fault".into();
    }
    if nr == record::IO_URING {
        return "io_uring".into();
    }
    specs::name(arch, nr).map_or_else(|| format!("syscall_{nr}"), Into::into)
}

/// The name of an address family, or `family_N`.
pub fn family_name(number: u16) -> String {
    linux::family(number).map_or_else(|| format!("family_{number}"), Into::into)
}

/// The name of a socket type, or `type_N`.
pub fn socket_type_name(number: u16) -> String {
    linux::socket_type(number).map_or_else(|| format!("type_{number}"), Into::into)
}

/// The name of an error; the kernel's own "restart this call" codes are an interruption.
pub fn error_name(errno: u32) -> String {
    match errno {
        512..=516 => "EINTR".into(),
        _ => match Errno::from_raw(i32::try_from(errno).unwrap_or(0)) {
            Errno::UnknownErrno => format!("errno_{errno}"),
            known => format!("{known:?}"),
        },
    }
}

pub fn capability_name(number: u32) -> String {
    linux::capability(number).map_or_else(|| format!("capability_{number}"), Into::into)
}

/// Questions that the kernel asks without need: every growth of memory asks whether the task may use the reserve
/// for administrators (`__vm_enough_memory`, mm/util.c), unaudited, and goes on the same without it as long as
/// there is memory.
pub fn is_probe(capability: u32, arch: u8, nr: u32) -> bool {
    const CAP_SYS_ADMIN: u32 = 21;
    const MEMORY: [&str; 20] = [
        "brk",
        "clone",
        "clone3",
        "execve",
        "execveat",
        "fork",
        "ftruncate",
        "madvise",
        "memfd_create",
        "mmap",
        "mmap2",
        "mprotect",
        "mremap",
        "pwrite64",
        "shmat",
        "shmget",
        "vfork",
        "write",
        "exit",
        "exit_group",
    ];
    capability == CAP_SYS_ADMIN
        && (nr == NO_CALL || specs::name(arch, nr).is_some_and(|name| MEMORY.contains(&name)))
}
/// Who refused an attempt, as a recording names it.
pub fn refused_by(refused: bool) -> Option<String> {
    refused.then(|| "lsm".to_owned())
}
