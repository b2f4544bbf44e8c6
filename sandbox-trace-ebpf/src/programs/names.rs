//! Operations on names: the object is gone, or never was, when the call returns, so the strings are recorded, each
//! with the directory that it starts from. User space puts them together.

use sandbox_trace_ebpf::{
    loss, record,
    spec::{NONE, kind, op},
};

use crate::{
    call::Call,
    file, hash,
    kernel::{
        CAST, LOOPS, clear, count_loss, get, get_or_zero, mix, off, read_user, unfollowed, verified_once,
    },
    maps::{self, Scratch},
    ring::{self, Record},
    seen::{self, Seen},
    task::Who,
    walk,
};

const AT_FDCWD: u32 = -100i32 as u32;
const NO_DESCRIPTOR: u64 = u64::MAX;

/// A directory that a name starts from.
#[derive(Clone, Copy)]
pub struct Base {
    mnt: u64,
    dentry: u64,
}

verified_once! {
    linked_descriptor(path) = descriptor_link;
    first_base(task, directory, path) = find_first_base::<LOOPS>;
    first_base_cast(task, directory, path) = find_first_base::<CAST>;
    second_base(task, directory, path) = find_second_base::<LOOPS>;
    second_base_cast(task, directory, path) = find_second_base::<CAST>;
}

/// Finds where a call's first path starts; false if that directory is not there any more.
#[inline(always)]
pub fn find_base<const E: u8>(task: u64, directory: u64, path: u64) -> bool {
    0 != if E == CAST { first_base_cast(task, directory, path) } else { first_base(task, directory, path) }
}

/// As [`find_base`], for the second path.
#[inline(always)]
fn find_other_base<const E: u8>(task: u64, directory: u64, path: u64) -> bool {
    0 != if E == CAST { second_base_cast(task, directory, path) } else { second_base(task, directory, path) }
}

#[inline(always)]
fn find_first_base<const E: u8>(task: u64, directory: u64, path: u64) -> u64 {
    let Some(scratch) = maps::scratch() else { return 0 };
    // SAFETY: only one call is looked at on a CPU.
    u64::from(base_of::<E>(task, directory, path, unsafe { &mut (*scratch).names.base1 }))
}

#[inline(always)]
fn find_second_base<const E: u8>(task: u64, directory: u64, path: u64) -> u64 {
    let Some(scratch) = maps::scratch() else { return 0 };
    // SAFETY: as above.
    u64::from(base_of::<E>(task, directory, path, unsafe { &mut (*scratch).names.base2 }))
}

/// Where a path argument starts: the root, the working directory, or an open directory.
#[inline(always)]
fn base_of<const E: u8>(task: u64, directory: u64, path: u64, base: &mut Base) -> bool {
    let fs: u64 = get_or_zero::<E, _>(task + off!(task_fs) as u64);
    let place = if read_user::<u8>(path) == Some(b'/') {
        fs + off!(fs_root_mnt) as u64
    } else if directory as u32 == AT_FDCWD {
        fs + off!(fs_pwd_mnt) as u64
    } else {
        match file::of_descriptor::<E>(task, directory) {
            Some(file) => file + off!(file_mnt) as u64,
            None => return false,
        }
    };
    *base = Base::read::<E>(place);
    base.mnt != 0
}

impl Base {
    /// No directory.
    pub const NONE: Self = Self { mnt: 0, dentry: 0 };

    /// Reads a `struct path`: the mount, then the dentry.
    #[inline(always)]
    pub fn read<const E: u8>(place: u64) -> Self {
        match get::<E, [u64; 2]>(place) {
            Some([mnt, dentry]) => Self { mnt, dentry },
            None => Self::NONE,
        }
    }

    /// Mixes the directory's path into a key.
    #[inline(always)]
    pub fn hash<const E: u8>(self, record: &Record, key: u64) -> u64 {
        unfollowed(
            record.scratch,
            if self.mnt == 0 { key } else { walk::hash::<E>(self.mnt, self.dentry, key) },
        )
    }

    /// Appends the directory's path to a record; gives its length.
    #[inline(always)]
    pub fn append<const E: u8>(self, record: &mut Record) -> u64 {
        unfollowed(record.scratch, if self.mnt == 0 { 0 } else { record.path::<E>(self.mnt, self.dentry) })
    }
}

/// The descriptor that `/proc/self/fd/N` names. Only the process itself knows what that link leads to, and the process
/// may be gone when user space looks.
#[inline(always)]
fn descriptor_link(path: u64) -> u64 {
    const PREFIX: [u64; 2] = [u64::from_le_bytes(*b"/proc/se"), u64::from_le_bytes(*b"lf/fd/\0\0")];
    const PREFIX_BYTES: u64 = 14;
    let Some([first, second]) = read_user::<[u64; 2]>(path) else { return NO_DESCRIPTOR };
    if first != PREFIX[0] || second & 0xffff_ffff_ffff != PREFIX[1] {
        return NO_DESCRIPTOR;
    }
    let Some(digits) = read_user::<[u8; 8]>(path + PREFIX_BYTES) else { return NO_DESCRIPTOR };
    let mut number = 0;
    for (position, digit) in digits.into_iter().enumerate() {
        match digit {
            b'0'..=b'9' => number = number * 10 + u64::from(digit - b'0'),
            0 if position > 0 => return number,
            _ => return NO_DESCRIPTOR,
        }
    }
    NO_DESCRIPTOR
}

/// Whether a call follows a symbolic link in the last component of its first path.
#[inline(always)]
fn follows(operation: u8, flags: u64) -> bool {
    const AT_SYMLINK_FOLLOW: u64 = 0x400;
    const AT_SYMLINK_NOFOLLOW: u64 = 0x100;
    match operation {
        op::LINK => flags & AT_SYMLINK_FOLLOW != 0,
        op::SETATTR => flags & AT_SYMLINK_NOFOLLOW == 0,
        _ => false,
    }
}

/// The names of a call: where the strings are in the target's memory (0 for none), and where they start from.
pub struct Names {
    flags: u64,
    path1: u64,
    path2: u64,
    descriptor: u64,
    pub base1: Base,
    base2: Base,
}

/// Sends an operation on one or two names, if this executable has not done it before.
#[inline(always)]
pub fn operation<const E: u8>(task: u64, who: &Who, call: &Call) {
    const EFAULT: u32 = 14;
    const EBADF: u32 = 9;
    if call.errno == EFAULT || call.errno == EBADF {
        return;
    }
    let Some(scratch) = maps::scratch() else { return };
    // SAFETY: only one call is looked at on a CPU.
    let names = unsafe { &mut (*scratch).names };
    if look::<E>(scratch, task, call, names) {
        send::<E>(who, call, names);
    } else {
        count_loss(loss::KERNEL_READ);
    }
}

/// Finds a call's names; false if a directory that one starts from is not there any more.
#[inline(never)]
fn look<const E: u8>(scratch: *mut Scratch, task: u64, call: &Call, names: &mut Names) -> bool {
    let spec = call.spec;
    let directory = |argument: u8| {
        unfollowed(scratch, if argument == NONE { u64::from(AT_FDCWD) } else { call.arg(argument) })
    };
    let flags = if spec.kind == kind::OPEN || spec.kind == kind::OPEN_HOW {
        file::open_flags(call)
    } else if spec.flags == NONE {
        0
    } else {
        call.arg(spec.flags)
    };
    let flags = unfollowed(scratch, flags);
    let mut path1 = unfollowed(scratch, call.arg(spec.path1));
    let path2 = unfollowed(scratch, if spec.path2 == NONE { 0 } else { call.arg(spec.path2) });
    (names.flags, names.path1, names.path2, names.descriptor) = (flags, path1, path2, NO_DESCRIPTOR);
    clear(&mut names.base1);
    clear(&mut names.base2);
    if path1 != 0 && follows(spec.op, flags) {
        // By way of memory, where the verifier does not follow each number of digits apart.
        names.descriptor = linked_descriptor(path1);
        // SAFETY: a reference.
        let descriptor = unsafe { core::ptr::read_volatile(&raw const names.descriptor) };
        if descriptor != NO_DESCRIPTOR
            && let Some(file) = file::of_descriptor::<E>(task, descriptor)
        {
            // The object itself, and no name below it.
            names.base1 = Base::read::<E>(file + off!(file_mnt) as u64);
            names.path1 = 0;
            path1 = 0;
        }
        path1 = unfollowed(scratch, path1);
    }
    // A NULL path with AT_EMPTY_PATH has no base.
    (path1 == 0 || find_base::<E>(task, directory(spec.dir1), path1))
        && (path2 == 0 || find_other_base::<E>(task, directory(spec.dir2), path2))
}

#[inline(never)]
fn send<const E: u8>(who: &Who, call: &Call, names: &Names) {
    // The strings come before the header's other parts are known to be needed: they are part of the key.
    let Some(mut record) = Record::empty() else { return };
    let start = record.end();
    let length1 = record.user_string(names.path1);
    let middle = record.end();
    let length2 = record.user_string(names.path2);
    let what = u64::from(call.spec.op) | u64::from(call.errno) << 8 | names.flags << 24 | 1 << 62;
    let mut key = mix(who.key, what);
    key = hash::hash_scratch::<E>(key, start, length1);
    key = hash::hash_scratch::<E>(key, middle, length2);
    key = names.base1.hash::<E>(&record, key);
    key = names.base2.hash::<E>(&record, key);
    if seen::is_seen(Seen::Files, key) {
        return;
    }

    // Announcing the executable uses the same buffer, so the strings are read once more behind it.
    ring::announce::<E>(who);
    let Some(mut record) = Record::empty() else { return };
    record.fill::<E>(record::kind::NAMES, who);
    let length1 = record.user_string(names.path1);
    let length2 = record.user_string(names.path2);
    let base_length1 = names.base1.append::<E>(&mut record);
    let base_length2 = names.base2.append::<E>(&mut record);
    let header = record.header();
    header.arch = call.arch;
    header.nr = call.nr;
    header.errno = call.errno;
    header.op = call.spec.op;
    header.call_flags = names.flags as u32;
    // The rest was cleared with the header.
    [header.args[0], header.args[1], header.args[2], header.args[3]] =
        [length1, length2, base_length1, base_length2];
    record.send_new(Seen::Files, key, false);
}
