//! System calls: the hot path. Count, look whether this executable has had this outcome with these arguments, and
//! go on; all else is for what is new, or has a path.

use aya_ebpf::{cty::c_long, helpers::generated::bpf_task_pt_regs};
use sandbox_trace_ebpf::{CallSpec, MAX_NR, arch, program, record, spec};

use crate::{
    kernel::{load, mix, off, read, read_user},
    maps,
    ring::{self, Record, Seen},
    task::{self, Who},
};

const TS_COMPAT: u32 = 2;
const X32_BIT: u32 = 0x4000_0000;
const MAX_ERRNO: i64 = 4095;

/// A call that returned.
pub struct Call {
    pub arch: u8,
    pub nr: u32,
    pub errno: u32,
    pub ret: i64,
    pub spec: CallSpec,
    pub args: [u64; 6],
}

impl Call {
    /// Argument `index`; 0 for [`spec::NONE`].
    #[inline(always)]
    pub fn arg(&self, index: u8) -> u64 {
        let [a, b, c, d, e, f] = self.args;
        match index {
            0 => a,
            1 => b,
            2 => c,
            3 => d,
            4 => e,
            5 => f,
            _ => 0,
        }
    }
}

/// Architecture and number, from the number register and the compat flag.
#[inline(always)]
fn number(task: *const u8, orig_ax: u64) -> (u8, u32) {
    let nr = orig_ax as u32;
    let status: u32 = load(task, off!(task_status));
    let (arch, sigreturn) = if status & TS_COMPAT != 0 { (arch::I386, 173) } else { (arch::X86_64, 15) };
    if nr == u32::MAX {
        // Only a return from a signal handler leaves no number.
        (arch, sigreturn)
    } else if arch == arch::X86_64 && nr & X32_BIT != 0 {
        (arch::X32, nr & !X32_BIT)
    } else {
        (arch, nr)
    }
}

/// The place of a call in the tables.
#[inline(always)]
fn slot(arch: u8, nr: u32) -> u32 {
    let nr = if nr < MAX_NR { nr } else { MAX_NR - 1 };
    let slot = u32::from(arch) * MAX_NR + nr;
    // SAFETY: a local. The volatile read keeps the compiler from dropping the mask, which the verifier of older
    // kernels needs: it does not connect the comparison with its copy of the number.
    unsafe { core::ptr::read_volatile(&raw const slot) & (spec::SPECS as u32 - 1) }
}

#[inline(always)]
fn spec_of(slot: u32) -> CallSpec {
    // SAFETY: a static of this program, and an index below its length.
    CallSpec::unpack(unsafe {
        core::ptr::read_volatile((&raw const maps::SPECS).cast::<u64>().add(slot as usize))
    })
}

#[inline(always)]
fn count(slot: u32) {
    if let Some(counter) = maps::COUNTS.get_ptr_mut(slot) {
        // SAFETY: a per-CPU slot.
        unsafe { *counter += 1 };
    }
}

/// The argument registers; the kernel keeps them to the end of the call.
#[inline(always)]
fn arguments(regs: *const u8, arch: u8) -> [u64; 6] {
    if arch == arch::I386 {
        let low = |offset| u64::from(load::<u64>(regs, offset) as u32);
        [
            low(off!(regs_bx)),
            low(off!(regs_cx)),
            low(off!(regs_dx)),
            low(off!(regs_si)),
            low(off!(regs_di)),
            low(off!(regs_bp)),
        ]
    } else {
        [
            load(regs, off!(regs_di)),
            load(regs, off!(regs_si)),
            load(regs, off!(regs_dx)),
            load(regs, off!(regs_r10)),
            load(regs, off!(regs_r8)),
            load(regs, off!(regs_r9)),
        ]
    }
}

/// What the registers say of a call that returned, in this CPU's working memory.
#[inline(always)]
pub fn decode(task: *const u8, regs: *const u8, ret: i64) -> Option<&'static Call> {
    let (arch, nr) = number(task, load(regs, off!(regs_orig_ax)));
    let errno = if ret < 0 && ret >= -MAX_ERRNO { (-ret) as u32 } else { 0 };
    let spec = spec_of(slot(arch, nr));
    let scratch = maps::scratch()?;
    // SAFETY: only one call is looked at on a CPU.
    unsafe {
        (*scratch).call = Call { arch, nr, errno, ret, spec, args: arguments(regs, arch) };
        Some(&(*scratch).call)
    }
}

/// A call returned: everything begins here. Gives the program that the call's kind needs beside, or 0.
#[inline(always)]
pub fn returned(regs: *const u8, ret: i64) -> u32 {
    let task = task::current();
    let (arch, nr) = number(task, load(regs, off!(regs_orig_ax)));
    let slot = slot(arch, nr);
    count(slot);
    let spec = spec_of(slot);
    let errno = if ret < 0 && ret >= -MAX_ERRNO { (-ret) as u32 } else { 0 };
    let who = task::identify(task);
    let mut key = mix(who.key, u64::from(nr) | u64::from(arch) << 32 | u64::from(errno) << 40);
    if spec.kind == spec::kind::PLAIN && spec.args == 0 {
        if !ring::is_seen(Seen::Calls, key) {
            let call = Call { arch, nr, errno, ret, spec, args: [0; 6] };
            send(&who, &call, key);
        }
        return 0;
    }
    let mut call = Call { arch, nr, errno, ret, spec, args: arguments(regs, arch) };
    if spec.kind == spec::kind::CLONE3 {
        if ret == 0 {
            // The child's side of the call: its parent may have returned, and have put other things where the
            // structure was. The parent's side says it all.
            return 0;
        }
        // The flags are the first word of the structure; they stand in for its address.
        call.args[0] = read_user(call.args[0]).unwrap_or(0);
    }
    for index in 0..6 {
        if spec.args & (1 << index) != 0 {
            key = mix(key, call.args[index as usize]);
        }
    }
    if spec.kind == spec::kind::CREDENTIALS {
        let cred: u64 = load(task, off!(task_cred));
        key = mix(key, read(cred + off!(cred_euid) as u64).unwrap_or(0));
        key = mix(key, read(cred + off!(cred_egid) as u64).unwrap_or(0));
    }
    if !ring::is_seen(Seen::Calls, key) {
        send(&who, &call, key);
    }
    program_for(spec.kind, errno)
}

/// Which program knows a kind; see [`program`]. 0 for none.
#[inline(always)]
fn program_for(call_kind: u8, errno: u32) -> u32 {
    use spec::kind;
    let failed = errno != 0;
    match call_kind {
        kind::OPEN | kind::OPEN_HOW if failed => program::NAMES,
        kind::OPEN | kind::OPEN_HOW | kind::OPEN_HANDLE if !failed => program::FILE,
        kind::MMAP | kind::MPROTECT | kind::FD_SETATTR if !failed => program::FILE,
        kind::FLOCK | kind::FCNTL => program::FILE,
        kind::NAMES => program::NAMES,
        kind::EXEC if failed => program::NAMES,
        kind::SOCKET | kind::ADDRESS | kind::SOCKETCALL => program::NETWORK,
        _ => 0,
    }
}

#[inline(never)]
fn send(who: &Who, call: &Call, key: u64) {
    let Some(mut record) = Record::begin(record::kind::CALL, who) else { return };
    let header = record.header();
    header.arch = call.arch;
    header.nr = call.nr;
    header.errno = call.errno;
    header.mask = u32::from(call.spec.args);
    header.args = call.args;
    if record.send() {
        ring::set_seen(Seen::Calls, key);
    }
}

/// A task ends: `exit` and `exit_group` never return. A task that is killed has another call's number, or none.
#[inline(always)]
pub fn exited(task: *const u8) {
    // SAFETY: a task pointer of the hook's own type.
    let regs = unsafe { bpf_task_pt_regs(task.cast_mut().cast()) } as c_long as *const u8;
    let orig_ax: u64 = load(regs, off!(regs_orig_ax));
    let (arch, nr) = number(task, orig_ax);
    let is_exit = match arch {
        arch::I386 => nr == 1 || nr == 252,
        _ => nr == 60 || nr == 231,
    };
    if !is_exit || orig_ax as u32 == u32::MAX {
        return;
    }
    let slot = slot(arch, nr);
    count(slot);
    let who = task::identify(task);
    let key = mix(who.key, u64::from(nr) | u64::from(arch) << 32);
    if !ring::is_seen(Seen::Calls, key) {
        let call = Call { arch, nr, errno: 0, ret: 0, spec: CallSpec::PLAIN, args: [0; 6] };
        send(&who, &call, key);
    }
}

/// The kernel asked whether the task has a capability.
#[inline(always)]
pub fn capability(capability: u32, ret: i32) {
    let task = task::current();
    // SAFETY: the current task.
    let regs = unsafe { bpf_task_pt_regs(task.cast_mut().cast()) } as c_long as *const u8;
    let orig_ax: u64 = load(regs, off!(regs_orig_ax));
    let (arch, mut nr) = number(task, orig_ax);
    if orig_ax as u32 == u32::MAX {
        // Not in a call: a page fault.
        nr = u32::MAX;
    }
    let who = task::identify(task);
    let errno = if ret < 0 { (-ret) as u32 } else { 0 };
    let what = u64::from(nr) << 8 | u64::from(capability) | u64::from(arch) << 40 | 1 << 63;
    let key = mix(mix(who.key, what), u64::from(errno));
    if ring::is_seen(Seen::Calls, key) {
        return;
    }
    let Some(mut record) = Record::begin(record::kind::CAPABILITY, &who) else { return };
    let header = record.header();
    header.arch = arch;
    header.nr = nr;
    header.errno = errno;
    header.args[0] = u64::from(capability);
    if record.send() {
        ring::set_seen(Seen::Calls, key);
    }
}
