//! Successful execs: the image as the kernel opened it, and for a script its own name, which the kernel has let go
//! of by then.

use sandbox_trace_ebpf::record::{self, flag};

use crate::{
    hash,
    kernel::{LOOPS, constant, load, mix, must, off, read, read_or_zero, unfollowed},
    maps,
    names::Base,
    place,
    ring::{self, Record},
    seen::{self, Seen},
    task, walk,
};

/// An exec succeeded; `bprm` is the kernel's `struct linux_binprm`.
#[inline(always)]
pub fn executed<const E: u8>(bprm: *const u8) {
    let task = task::address();
    let who = task::identify_current::<E>();
    task::note(&who);
    let file: u64 = load(bprm, off!(bprm_file));
    let filename: u64 = load(bprm, off!(bprm_filename));
    let interp: u64 = load(bprm, off!(bprm_interp));
    let Some([mnt, dentry]) = must(read::<[u64; 2]>(file + off!(file_mnt) as u64)) else { return };
    place::executed(task, who.exe, mnt);
    // The kernel replaces the pointer when a `#!` line or binfmt_misc names an interpreter.
    let Some(scratch) = maps::scratch() else { return };
    let script = unfollowed(scratch, if filename == interp { 0 } else { filename });
    // SAFETY: an exec has no other names under way on this CPU.
    let base = unsafe { &mut (*scratch).names.base1 };
    *base = if script == 0 { Base::NONE } else { base_of(task, script) };
    let cred: u64 = read_or_zero(task + off!(task_cred) as u64);
    let ids: u64 = read(cred + off!(cred_euid) as u64).unwrap_or(0);
    let mut key = mix(mix(who.key, ids), 2);
    let Some(mut record) = Record::empty() else { return };
    let start = record.end();
    let length = record.kernel_string(script);
    key = hash::hash_scratch::<E>(key, start, length);
    key = base.hash::<E>(&record, key);
    key = walk::hash::<E>(mnt, dentry, key);
    if seen::is_seen(Seen::Files, key) {
        return;
    }
    ring::announce::<E>(&who);
    let Some(mut record) = Record::empty() else { return };
    record.fill::<E>(record::kind::EXEC, &who);
    let name_length = record.kernel_string(script);
    let base_length = base.append::<E>(&mut record);
    let path_length = record.path::<E>(mnt, dentry);
    let header = record.header();
    if script != 0 {
        header.flags |= flag::SCRIPT;
    }
    header.args = [name_length, base_length, path_length, 0, 0, 0];
    // The reader must get hold of a mount namespace while it lives: names are looked up in it.
    record.send_new(Seen::Files, key, task::mount_namespace_of::<LOOPS>(task) != constant!(host_mnt_ns));
}

/// Where a script's name starts from.
#[inline(always)]
fn base_of(task: u64, filename: u64) -> Base {
    let fs: u64 = read_or_zero(task + off!(task_fs) as u64);
    let absolute = read::<u8>(filename) == Some(b'/');
    let place = fs + if absolute { off!(fs_root_mnt) } else { off!(fs_pwd_mnt) } as u64;
    Base::read::<LOOPS>(place)
}
