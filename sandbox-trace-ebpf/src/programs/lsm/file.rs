//! Files that the kernel has opened or is opening.

use aya_ebpf::{macros::fexit, programs::FExitContext};
use sandbox_trace_ebpf::{record::access, spec::op};

use super::{
    object::{self, Asked},
    recorded,
};
use crate::{
    kernel::{load, must, off, read, read_or_zero},
    task,
};

/// In `f_flags`: opened by the kernel to execute it (the image, its interpreter, a script). AppArmor does not look at
/// these opens, nor at how the kernel maps what it opened so: the permission to execute stands for all of it.
const FMODE_EXEC: u32 = 0x20;
/// In `f_mode`: opened by a file system on behalf of another file (overlayfs), with credentials of its own.
const FMODE_NOACCOUNT: u32 = 1 << 29;
const PROT_READ: u64 = 1;
const PROT_EXEC: u64 = 4;

/// Asks about an open file.
#[inline(always)]
fn open_file(file: u64, bits: u64, operation: u8, answer: u64) -> Option<Asked> {
    Asked::at(file + off!(file_mnt) as u64, bits, operation, answer)
}

/// `int security_file_open(struct file *file)`
#[fexit(function = "security_file_open")]
fn lsm_file_open(ctx: FExitContext) -> i32 {
    recorded(|| {
        let file: *const u8 = ctx.arg(0);
        let flags: u32 = load(file, off!(file_flags));
        let mode: u32 = load(file, off!(file_mode));
        let bits = object::opening(mode, flags);
        if flags & FMODE_EXEC != 0 || mode & FMODE_NOACCOUNT != 0 || bits == 0 {
            return None;
        }
        open_file(file as u64, bits, op::OPEN, ctx.arg(1))
    })
}

/// `int security_file_lock(struct file *file, unsigned int cmd)`: `cmd` is the lock's type.
#[fexit(function = "security_file_lock")]
fn lsm_file_lock(ctx: FExitContext) -> i32 {
    const F_WRLCK: u64 = 1;
    recorded(|| {
        let file: *const u8 = ctx.arg(0);
        let kind: u64 = ctx.arg(1);
        let (bits, operation) = if kind & 0xffff_ffff == F_WRLCK {
            (access::LOCK | access::WRITE, op::LOCK_EXCLUSIVE)
        } else {
            (access::LOCK, op::LOCK_SHARED)
        };
        open_file(file as u64, bits, operation, ctx.arg(2))
    })
}

/// `int security_mmap_file(struct file *file, unsigned long prot, unsigned long flags)`
#[fexit(function = "security_mmap_file")]
fn lsm_mmap_file(ctx: FExitContext) -> i32 {
    recorded(|| {
        let file: u64 = ctx.arg(0);
        let prot: u64 = ctx.arg(1);
        executable(file, prot, ctx.arg(3))
    })
}

/// `int security_file_mprotect(struct vm_area_struct *vma, unsigned long reqprot, unsigned long prot)`
#[fexit(function = "security_file_mprotect")]
fn lsm_file_mprotect(ctx: FExitContext) -> i32 {
    recorded(|| {
        let vma: *const u8 = ctx.arg(0);
        let prot: u64 = ctx.arg(2);
        let file: u64 = must(read(vma as u64 + off!(vma_file) as u64))?;
        executable(file, prot, ctx.arg(3))
    })
}

/// A mapping of a file that its code can be run from. Others need no more than the open did.
#[inline(always)]
fn executable(file: u64, prot: u64, answer: u64) -> Option<Asked> {
    const READ_IMPLIES_EXEC: u32 = 0x0040_0000;
    if file == 0 {
        return None;
    }
    let personality: u32 = read_or_zero(task::address() + off!(task_personality) as u64);
    if prot & PROT_EXEC == 0 && (prot & PROT_READ == 0 || personality & READ_IMPLIES_EXEC == 0) {
        return None;
    }
    let flags: u32 = must(read(file + off!(file_flags) as u64))?;
    if flags & FMODE_EXEC != 0 {
        return None;
    }
    open_file(file, access::MAP_EXEC, op::MMAP, answer)
}

/// `int security_file_truncate(struct file *file)`; Linux 6.2, before that `path_truncate` is asked.
#[fexit(function = "security_file_truncate")]
fn lsm_file_truncate(ctx: FExitContext) -> i32 {
    recorded(|| {
        let file: *const u8 = ctx.arg(0);
        open_file(file as u64, access::SETATTR, op::SETATTR, ctx.arg(1))
    })
}

/// `int security_bprm_creds_for_exec(struct linux_binprm *bprm)`: asked once, about the file that exec was given.
#[fexit(function = "security_bprm_creds_for_exec")]
fn lsm_exec(ctx: FExitContext) -> i32 {
    recorded(|| {
        let bprm: *const u8 = ctx.arg(0);
        let file: u64 = must(read(bprm as u64 + off!(bprm_file) as u64))?;
        open_file(file, access::EXEC, op::EXEC, ctx.arg(1))
    })
}
