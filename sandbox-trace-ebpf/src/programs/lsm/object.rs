//! What a hook was asked about: a file by its mount and dentry, so that its path is the one that security modules see.

use sandbox_trace_ebpf::record::{self, access, flag};

use crate::{
    kernel::{LOOPS, mix, must, off, read, read_or_zero},
    maps,
    ring::Record,
    seen::{self, Seen},
    task, walk,
};

const SB_NOUSER: u64 = 1 << 31;
/// `ERR_PTR` of any error: the namespace of mounts that the kernel keeps for itself, such as overlayfs's layers.
const FIRST_ERROR: u64 = -4095i64 as u64;

/// A question. It lies in working memory and not on the stack, where the verifier would keep the types of the kernel's
/// pointers and allow no arithmetic with them.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Asked {
    pub mnt: u64,
    pub dentry: u64,
    /// The dentry whose inode is the object's: a name that is still to be made has none.
    pub of: u64,
    /// For a hard link the dentry of the existing name, on the same mount; else 0.
    pub target: u64,
    /// [`access`] bits.
    pub bits: u64,
    /// Type bits of the object's mode, where it has no inode yet.
    pub mode: u64,
    pub operation: u64,
    /// What the hook returned.
    pub answer: u64,
}

impl Asked {
    /// About the file at a `struct path`: the mount, then the dentry.
    #[inline(always)]
    pub fn at(path: u64, bits: u64, operation: u8, answer: u64) -> Option<Self> {
        let [mnt, dentry] = must(read::<[u64; 2]>(path))?;
        Some(Self { mnt, dentry, of: dentry, target: 0, bits, mode: 0, operation: operation.into(), answer })
    }

    /// About a name in the directory at a `struct path`.
    #[inline(always)]
    pub fn name(directory: u64, dentry: *const u8, bits: u64, operation: u8, answer: u64) -> Option<Self> {
        let mnt = must(read::<u64>(directory))?;
        let dentry = dentry as u64;
        Some(Self { mnt, dentry, of: dentry, target: 0, bits, mode: 0, operation: operation.into(), answer })
    }
}

/// Sends a question, if this executable has not asked it before. The working memory must be claimed.
#[inline(never)]
pub fn send(asked: &Asked) -> u32 {
    let Some(scratch) = maps::scratch() else { return 0 };
    // SAFETY: the task's own slot.
    unsafe { core::ptr::write_volatile(&raw mut (*scratch).asked, *asked) };
    // SAFETY: as above.
    let asked = unsafe { core::ptr::read_volatile(&raw const (*scratch).asked) };
    let who = task::identify_current::<LOOPS>();
    let answer = asked.answer as i32;
    let errno = if answer < 0 { answer.unsigned_abs() } else { 0 };
    let inode: u64 = read_or_zero(asked.of + off!(dentry_inode) as u64);
    let ino: u64 = if inode == 0 { 0 } else { read_or_zero(inode + off!(inode_ino) as u64) };
    let what = asked.bits | asked.operation << 16 | u64::from(errno) << 24 | 1 << 61;
    let mut key = mix(mix(who.key, ino), what);
    if asked.target != 0 {
        key = walk::hash::<LOOPS>(asked.mnt, asked.target, key);
    }
    key = walk::hash::<LOOPS>(asked.mnt, asked.dentry, key);
    if seen::is_seen(Seen::Files, key) {
        return 0;
    }
    // Pipes, sockets, memfds, and a file system's own doings on mounts that no path leads to: not mediated.
    let superblock: u64 = read_or_zero(asked.dentry + off!(dentry_sb) as u64);
    let mount_ns: u64 = read_or_zero(asked.mnt - off!(mount_mnt) as u64 + off!(mount_ns) as u64);
    if read_or_zero::<u64>(superblock + off!(sb_flags) as u64) & SB_NOUSER != 0 || mount_ns >= FIRST_ERROR {
        return 0;
    }
    let cred: u64 = read_or_zero(task::address() + off!(task_cred) as u64);
    let fsuid: u32 = read_or_zero(cred + off!(cred_fsuid) as u64);
    let (mut mode, mut uid) = (asked.mode, fsuid);
    if inode != 0 {
        mode = u64::from(read_or_zero::<u16>(inode + off!(inode_mode) as u64));
        uid = read_or_zero(inode + off!(inode_uid) as u64);
    }
    let Some(mut record) = Record::begin::<LOOPS>(record::kind::FILE, &who) else { return 0 };
    record.path::<LOOPS>(asked.mnt, asked.dentry);
    let target = if asked.target == 0 { 0 } else { record.path::<LOOPS>(asked.mnt, asked.target) };
    let header = record.header();
    header.errno = errno;
    header.op = asked.operation as u8;
    header.flags |= flag::HOOK;
    if errno != 0 {
        header.flags |= flag::REFUSED;
    }
    if uid == fsuid {
        header.flags |= flag::OWNER;
    }
    header.args = [asked.bits, mode, 0, 0, 0, target];
    record.send_new(Seen::Files, key, false);
    0
}

/// The access that an open asks for, as AppArmor reads a file's mode and flags (`aa_map_file_to_perms`); truncation is
/// also a change of length.
#[inline(always)]
pub fn opening(mode: u32, flags: u32) -> u64 {
    const FMODE_READ: u32 = 1;
    const FMODE_WRITE: u32 = 2;
    const O_CREAT: u32 = 0o100;
    const O_TRUNC: u32 = 0o1000;
    const O_APPEND: u32 = 0o2000;
    let mut bits = 0;
    if mode & FMODE_READ != 0 {
        bits |= access::READ;
    }
    if mode & FMODE_WRITE != 0 {
        bits |= if flags & O_APPEND != 0 { access::APPEND } else { access::WRITE };
    }
    if flags & O_TRUNC != 0 {
        bits |= access::WRITE | access::SETATTR;
    }
    if flags & O_CREAT != 0 {
        bits |= access::CREATE;
    }
    bits
}
