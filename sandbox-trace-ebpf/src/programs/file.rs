//! Accesses to objects that the kernel has at hand when the call returns: opened, mapped, locked, changed by
//! descriptor. Their path is read from the kernel, so it can't be raced.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_find_vma;
use sandbox_trace_ebpf::{
    layout::ABSENT,
    loss,
    record::{self, access, flag},
    spec::{NONE, kind, op},
};

use crate::{
    call::Call,
    kernel::{
        CAST, LOOPS, OLD, count_loss, get, get_or_zero, load, member, mix, must, off, pointer, read,
        read_or_zero, read_user, verified_once,
    },
    ring::Record,
    seen::{self, Seen},
    task::{self, Who},
    walk,
};

const O_ACCMODE: u32 = 3;
const O_CREAT: u64 = 0x40;
const O_TRUNC: u64 = 0x200;
const O_APPEND: u32 = 0x400;
const O_PATH: u32 = 0x20_0000;
const PROT_EXEC: u64 = 4;
const PROT_READ: u64 = 1;
const MAP_ANONYMOUS: u64 = 0x20;
const READ_IMPLIES_EXEC: u32 = 0x0040_0000;
const LOCK_SH: u64 = 1;
const LOCK_EX: u64 = 2;
const F_RDLCK: i16 = 0;
const F_WRLCK: i16 = 1;

verified_once! {
    file_of_descriptor(task, fd) = descriptor_file;
    mapped_file_old(task, address) = find_mapped_file;
}

/// The `struct file` behind a descriptor of the current task.
#[inline(always)]
pub fn of_descriptor<const E: u8>(task: u64, fd: u64) -> Option<u64> {
    let file = if E == CAST { look_up::<E>(task, fd).unwrap_or(0) } else { file_of_descriptor(task, fd) };
    (file != 0).then_some(file)
}

#[inline(always)]
fn descriptor_file(task: u64, fd: u64) -> u64 {
    look_up::<LOOPS>(task, fd).unwrap_or(0)
}

#[inline(always)]
fn look_up<const E: u8>(task: u64, fd: u64) -> Option<u64> {
    let files: u64 = get::<E, _>(task + off!(task_files) as u64)?;
    if files == 0 {
        return None;
    }
    let fdt: u64 = get::<E, _>(files + off!(files_fdt) as u64)?;
    let max: u32 = get::<E, _>(fdt + off!(fdt_max) as u64)?;
    let fd = fd as u32;
    if fd >= max {
        return None;
    }
    let table: u64 = get::<E, _>(fdt + off!(fdt_fd) as u64)?;
    get::<E, _>(table + u64::from(fd) * 8)
}

/// The open flags of a call: an argument, or the first word of a `struct open_how`. `creat` has none: it is an open
/// with these flags (fs/open.c).
#[inline(always)]
pub fn open_flags(call: &Call) -> u64 {
    const O_WRONLY: u64 = 1;
    if call.spec.flags == NONE {
        return O_CREAT | O_WRONLY | O_TRUNC;
    }
    let flags = call.arg(call.spec.flags);
    if call.spec.kind == kind::OPEN_HOW { read_user(flags).unwrap_or(0) } else { flags }
}

/// A call that works on a file returned.
#[inline(always)]
pub fn returned<const E: u8>(task: u64, who: &Who, call: &Call) {
    match call.spec.kind {
        kind::MMAP => mapped::<E>(task, who, call),
        kind::MPROTECT => protected::<E>(task, who, call),
        kind::FLOCK | kind::FCNTL => locked::<E>(task, who, call),
        kind::FD_SETATTR => changed::<E>(task, who, call),
        _ => opened::<E>(task, who, call),
    }
}

/// A descriptor was opened.
#[inline(always)]
fn opened<const E: u8>(task: u64, who: &Who, call: &Call) {
    let Some(file) = must(of_descriptor::<E>(task, call.ret as u64)) else { return };
    let Some(flags) = must(get::<E, u32>(file + off!(file_flags) as u64)) else { return };
    if flags & O_PATH != 0 {
        return;
    }
    // The file keeps the access mode and O_APPEND; creation and truncation are only in the call.
    let asked = open_flags(call);
    let mut bits = match flags & O_ACCMODE {
        0 => access::READ,
        1 => access::WRITE,
        2 => access::READ | access::WRITE,
        _ => return,
    };
    if flags & O_APPEND != 0 && bits & access::WRITE != 0 {
        bits = bits & !access::WRITE | access::APPEND;
    }
    if asked & O_CREAT != 0 {
        bits |= access::CREATE;
    }
    if asked & O_TRUNC != 0 {
        bits |= access::WRITE | access::SETATTR;
    }
    accessed::<E>(who, call, file, bits, op::OPEN);
}

/// Whether the protection that a call asks for lets a program run what is there.
#[inline(always)]
pub fn is_executable(call: &Call) -> bool {
    call.arg(call.spec.flags) & PROT_EXEC != 0
}

/// Whether a call that mapped memory mapped a file, and executable.
#[inline(always)]
pub fn is_executable_mapping<const E: u8>(task: *const u8, call: &Call) -> bool {
    if call.arg(3) & MAP_ANONYMOUS != 0 {
        return false;
    }
    is_executable(call)
        || (call.arg(call.spec.flags) & PROT_READ != 0
            && member::<E, u32>(task, off!(task_personality)) & READ_IMPLIES_EXEC != 0)
}

/// A file was mapped executable.
#[inline(always)]
fn mapped<const E: u8>(task: u64, who: &Who, call: &Call) {
    if let Some(file) = of_descriptor::<E>(task, call.arg(call.spec.dir1)) {
        accessed::<E>(who, call, file, access::MAP_EXEC, op::MMAP);
    }
}

unsafe extern "C" fn vma_file(_task: *mut c_void, vma: *mut c_void, context: *mut c_void) -> i64 {
    let file: u64 = load(vma.cast::<u8>().cast_const(), off!(vma_file));
    // SAFETY: the context that `protected` passes.
    unsafe { *context.cast::<u64>() = file };
    0
}

/// The file that is mapped at an address of the current task, 0 if none is.
#[inline(always)]
fn mapped_file(address: u64) -> u64 {
    const EBUSY: i64 = 16;
    let mut file = 0u64;
    let callback: unsafe extern "C" fn(*mut c_void, *mut c_void, *mut c_void) -> i64 = vma_file;
    // SAFETY: the callback takes the context that it is given.
    let result = unsafe {
        bpf_find_vma(
            task::current::<LOOPS>().cast_mut().cast(),
            address,
            callback as *mut c_void,
            (&raw mut file).cast(),
            0,
        )
    };
    if result == -EBUSY {
        // Another thread is changing the address space, and a program can't wait.
        count_loss(loss::MAPPING_UNSEEN);
    }
    file
}

/// [`mapped_file`] where the kernel has no helper for it, but a tree of mappings that can be read: until Linux 6.0.
#[inline(always)]
fn find_mapped_file(task: u64, address: u64) -> u64 {
    // A red-black tree of the 65,530 mappings that a process may have is at most 32 levels deep.
    const LEVELS: u32 = 40;
    if off!(mm_rb) as u32 == ABSENT {
        count_loss(loss::MAPPING_UNSEEN);
        return 0;
    }
    let mm: u64 = read_or_zero(task + off!(task_mm) as u64);
    let mut node: u64 = read_or_zero(mm + off!(mm_rb) as u64);
    for _ in 0..LEVELS {
        if node == 0 {
            return 0;
        }
        let mapping = node - off!(vma_rb) as u64;
        let Some(end) = must(read::<u64>(mapping + off!(vma_end) as u64)) else { return 0 };
        let Some(start) = must(read::<u64>(mapping + off!(vma_start) as u64)) else { return 0 };
        let next = if address >= end {
            off!(rb_right)
        } else if address < start {
            off!(rb_left)
        } else {
            return read_or_zero(mapping + off!(vma_file) as u64);
        };
        node = read_or_zero(node + next as u64);
    }
    // Another thread is changing the tree.
    count_loss(loss::MAPPING_UNSEEN);
    0
}

/// A mapping was made executable: it counts as a mapping of its file.
#[inline(always)]
fn protected<const E: u8>(task: u64, who: &Who, call: &Call) {
    let address = call.arg(call.spec.dir1);
    let file = if E == OLD { mapped_file_old(task, address) } else { mapped_file(address) };
    if file != 0 {
        accessed::<E>(who, call, file, access::MAP_EXEC, op::MMAP);
    }
}

/// Whether a `fcntl` is about a lock.
#[inline(always)]
pub fn is_lock_request(call: &Call) -> bool {
    const F_SETLK: u64 = 6;
    const F_SETLKW: u64 = 7;
    const F_SETLK64: u64 = 13;
    const F_SETLKW64: u64 = 14;
    const F_OFD_SETLK: u64 = 37;
    const F_OFD_SETLKW: u64 = 38;
    let request = call.arg(call.spec.flags);
    matches!(request, F_SETLK | F_SETLKW | F_SETLK64 | F_SETLKW64 | F_OFD_SETLK | F_OFD_SETLKW)
}

/// A file was locked, or was locked by another.
#[inline(always)]
fn locked<const E: u8>(task: u64, who: &Who, call: &Call) {
    let (shared, exclusive) = if call.spec.kind == kind::FLOCK {
        let request = call.arg(call.spec.flags);
        (request & LOCK_SH != 0, request & LOCK_EX != 0)
    } else {
        let Some(kind) = read_user::<i16>(call.arg(call.spec.path1)) else { return };
        (kind == F_RDLCK, kind == F_WRLCK)
    };
    if !shared && !exclusive {
        return;
    }
    let Some(file) = of_descriptor::<E>(task, call.arg(call.spec.dir1)) else { return };
    if exclusive {
        accessed::<E>(who, call, file, access::LOCK | access::WRITE, op::LOCK_EXCLUSIVE);
    } else {
        accessed::<E>(who, call, file, access::LOCK, op::LOCK_SHARED);
    }
}

/// Mode, owner or length were changed by descriptor.
#[inline(always)]
fn changed<const E: u8>(task: u64, who: &Who, call: &Call) {
    if let Some(file) = of_descriptor::<E>(task, call.arg(call.spec.dir1)) {
        accessed::<E>(who, call, file, access::SETATTR, op::SETATTR);
    }
}

/// Sends an access, if this executable has not made it before.
#[inline(never)]
fn accessed<const E: u8>(who: &Who, call: &Call, file: u64, bits: u64, operation: u8) {
    const SB_NOUSER: u64 = 1 << 31;
    // `struct path` is the mount, then the dentry.
    let Some([mnt, dentry]) =
        must(get::<E, [u64; 2]>(file + off!(file_mnt) as u64).filter(|[mnt, _]| *mnt != 0))
    else {
        return;
    };
    let Some(inode) = must(pointer::<E>(file + off!(file_inode) as u64)) else { return };
    let ino: u64 = get_or_zero::<E, _>(inode + off!(inode_ino) as u64);
    let what = bits | u64::from(operation) << 16 | u64::from(call.errno) << 24;
    let key = walk::hash::<E>(mnt, dentry, mix(mix(who.key, ino), what));
    if seen::is_seen(Seen::Files, key) {
        return;
    }
    // Pipes, sockets, memfds: no file system that a path leads to, and AppArmor does not mediate them as files.
    let superblock: u64 = get_or_zero::<E, _>(inode + off!(inode_sb) as u64);
    if get_or_zero::<E, u64>(superblock + off!(sb_flags) as u64) & SB_NOUSER != 0 {
        return;
    }
    let mode: u16 = get_or_zero::<E, _>(inode + off!(inode_mode) as u64);
    let uid: u32 = get::<E, _>(inode + off!(inode_uid) as u64).unwrap_or(u32::MAX);
    let cred: u64 = get_or_zero::<E, _>(task::address() + off!(task_cred) as u64);
    let fsuid: u32 = get_or_zero::<E, _>(cred + off!(cred_fsuid) as u64);
    let Some(mut record) = Record::begin::<E>(record::kind::FILE, who) else { return };
    let header = record.header();
    header.arch = call.arch;
    header.nr = call.nr;
    header.errno = call.errno;
    header.op = operation;
    header.args[0] = bits;
    header.args[1] = u64::from(mode);
    if uid == fsuid {
        header.flags |= flag::OWNER;
    }
    record.path::<E>(mnt, dentry);
    record.send_new(Seen::Files, key, false);
}
