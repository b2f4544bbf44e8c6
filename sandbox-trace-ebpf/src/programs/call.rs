//! System calls: the hot path. Count, look whether this executable has had this outcome with these arguments, and
//! go on; all else is for what is new, or has a path.

use aya_ebpf::{cty::c_long, helpers::generated::bpf_task_pt_regs};
use sandbox_trace_ebpf::{
    CallSpec, MAX_NR, arch, program,
    record::{self, flag},
    spec,
};

use crate::{
    file, filter,
    kernel::{LOOPS, OLD, constant, load, member, mix, off, read, read_or_zero, read_user},
    lsm, maps,
    ring::Record,
    seen::{self, Seen},
    task::{self, Who},
};

const TS_COMPAT: u32 = 2;
const X32_BIT: u32 = 0x4000_0000;
const MAX_ERRNO: i64 = 4095;
const SIGSYS: u32 = 31;
const PR_SET_SECCOMP: u64 = 22;
const SECCOMP_SET_MODE_FILTER: u64 = 1;

/// A call that returned.
#[derive(Clone, Copy)]
pub struct Call {
    pub arch: u8,
    pub nr: u32,
    pub errno: u32,
    pub ret: i64,
    pub spec: CallSpec,
    pub args: [u64; 6],
    /// [`flag`] bits of the record.
    pub flags: u32,
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
fn number<const E: u8>(task: *const u8, orig_ax: u64) -> (u8, u32) {
    let nr = orig_ax as u32;
    let status: u32 = member::<E, _>(task, off!(task_status));
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

/// The arguments that are part of a call's key, as one number. Without a branch, which would double what the verifier
/// has to look at, and with products that don't wait for each other.
#[inline(always)]
fn chosen_arguments(chosen: u8, args: &[u64; 6]) -> u64 {
    const FACTORS: [u64; 6] = [
        0xff51_afd7_ed55_8ccd,
        0xc4ce_b9fe_1a85_ec53,
        0x9fb2_1c65_1e98_df25,
        0xd6e8_feb8_6659_fd93,
        0xa076_1d64_78bd_642f,
        0xe703_7ed1_a0b4_28db,
    ];
    let mut sum = 0u64;
    for index in 0..6 {
        let mask = (u64::from(chosen) >> index & 1).wrapping_neg();
        let value = args[index] & mask;
        sum = sum.wrapping_add((value ^ value >> 32).wrapping_mul(FACTORS[index]));
    }
    sum ^ sum >> 29
}

/// A call returned: everything begins here. Gives the program that the call's kind needs beside, or 0.
#[inline(always)]
pub fn returned<const E: u8>(task: *const u8, regs: *const u8, ret: i64) -> u32 {
    let (arch, nr) = number::<E>(task, load(regs, off!(regs_orig_ax)));
    let spec = spec_of(slot(arch, nr));
    let errno = if ret < 0 && ret >= -MAX_ERRNO { (-ret) as u32 } else { 0 };
    let who = task::identify::<E>(task);
    let mut key = mix(who.key, u64::from(nr) | u64::from(arch) << 32 | u64::from(errno) << 40);
    // A filter answers with an error, or with a signal, which leaves the number as the result.
    let own_number = ret as u32 == load::<u64>(regs, off!(regs_orig_ax)) as u32;
    let flags = if who.is_filtered() && own_number { flag::OWN_NUMBER } else { 0 };
    let judged = who.is_filtered() && (errno != 0 || own_number);
    if judged {
        // What another chain of filters answers is another fact.
        key = mix(key, filter::address_key().1 ^ u64::from(flags));
    }
    if spec.kind == spec::kind::PLAIN && spec.args == 0 {
        if !seen::is_call_seen(key) {
            let call = Call { arch, nr, errno, ret, spec, args: arguments(regs, arch), flags };
            if sends::<E>(&who, &call, key, judged) {
                return program::FILTER;
            }
        }
        return 0;
    }
    let mut call = Call { arch, nr, errno, ret, spec, args: arguments(regs, arch), flags };
    if spec.kind == spec::kind::CLONE3 {
        if ret == 0 {
            task::note(&who);
            // The child's side of the call: its parent may have returned, and have put other things where the
            // structure was. The parent's side says it all.
            return 0;
        }
        // The flags are the first word of the structure; they stand in for its address.
        call.args[0] = read_user(call.args[0]).unwrap_or(0);
    }
    if spec.kind == spec::kind::FORK && ret == 0 {
        task::note(&who);
    }
    key = key.wrapping_add(chosen_arguments(spec.args, &call.args));
    if spec.kind == spec::kind::CREDENTIALS {
        let cred: u64 = read_or_zero(task::address() + off!(task_cred) as u64);
        key = mix(key, read(cred + off!(cred_euid) as u64).unwrap_or(0));
        key = mix(key, read(cred + off!(cred_egid) as u64).unwrap_or(0));
    }
    // What loads a filter is looked at each time: who is killed by it leaves nothing else to know it by.
    let loads = spec.kind == spec::kind::SECCOMP
        && errno == 0
        && (call.args[0] == PR_SET_SECCOMP || call.args[0] == SECCOMP_SET_MODE_FILTER);
    if (loads || !seen::is_call_seen(key)) && sends::<E>(&who, &call, key, judged || loads) {
        return program::FILTER;
    }
    let next = program_for::<E>(task, &call);
    if next != 0
        && let Some(scratch) = maps::scratch()
    {
        // SAFETY: only one call is looked at on a CPU.
        unsafe {
            call.spec.kind &= !spec::kind::HOOKED;
            (*scratch).call = call;
            (*scratch).who = who;
        }
    }
    next
}

/// Sends a new fact. If its task's filters must be read first it does not, and gives true: then that program does.
/// Filters that were not met before are read even if the call went through: they are part of a recording.
#[inline(always)]
fn sends<const E: u8>(who: &Who, call: &Call, key: u64, judged: bool) -> bool {
    if who.is_filtered() {
        let (filter, address) = filter::address_key();
        if filter != 0 && (judged || !filter::is_met(address)) {
            let Some(scratch) = maps::scratch() else { return false };
            // SAFETY: only one call is looked at on a CPU.
            unsafe {
                (*scratch).call = *call;
                (*scratch).who = *who;
            }
            filter::begin(key, filter, address);
            return true;
        }
    }
    send::<E>(who, call, key, 0);
    false
}

/// The call that [`returned`] goes on from, and who made it.
#[inline(always)]
pub fn under_way() -> Option<(&'static Who, &'static Call)> {
    let scratch = maps::scratch()?;
    // SAFETY: only one call is looked at on a CPU.
    unsafe { Some((&(*scratch).who, &(*scratch).call)) }
}

/// Which program has to look at a call of a task (the current one) too; see [`program`]. 0 for none: nothing but the
/// call itself is of interest, as with most mappings and most requests of `fcntl`.
#[inline(always)]
pub fn program_for<const E: u8>(task: *const u8, call: &Call) -> u32 {
    use spec::kind;
    let failed = call.errno != 0;
    if call.spec.kind & kind::HOOKED != 0 && !failed {
        return 0;
    }
    match call.spec.kind & !kind::HOOKED {
        kind::OPEN | kind::OPEN_HOW if failed => program::NAMES,
        kind::OPEN | kind::OPEN_HOW | kind::OPEN_HANDLE if !failed => program::FILE,
        kind::MMAP if !failed && file::is_executable_mapping::<E>(task, call) => program::FILE,
        kind::MPROTECT if !failed && file::is_executable(call) => program::FILE,
        kind::FD_SETATTR if !failed => program::FILE,
        kind::FCNTL if file::is_lock_request(call) => program::FILE,
        kind::FLOCK => program::FILE,
        kind::NAMES => program::NAMES,
        kind::EXEC if failed => program::NAMES,
        kind::ADDRESS if call.arg(call.spec.path1) != 0 => program::NETWORK,
        kind::SOCKET | kind::SOCKETCALL => program::NETWORK,
        _ => 0,
    }
}

/// Sends a call. `filters` is the key of the filters that judged it, or 0.
#[inline(never)]
pub fn send<const E: u8>(who: &Who, call: &Call, key: u64, filters: u64) {
    let Some(mut record) = Record::begin::<E>(record::kind::CALL, who) else { return };
    let header = record.header();
    header.arch = call.arch;
    header.nr = call.nr;
    header.errno = call.errno;
    header.mask = u32::from(call.spec.args);
    header.args = call.args;
    header.flags = call.flags;
    header.filters = filters;
    record.send_new(Seen::Calls, key, false);
}

/// The number of the call that a task (the current one) is in; `u32::MAX` if it is in none.
#[inline(always)]
fn number_in_flight<const E: u8>(task: u64) -> u32 {
    if E == OLD {
        let regs = read_or_zero::<u64>(task + off!(task_stack) as u64) + u64::from(constant!(stack_regs));
        return read_or_zero::<u64>(regs + off!(regs_orig_ax) as u64) as u32;
    }
    // SAFETY: the current task.
    let regs = unsafe { bpf_task_pt_regs(task::current::<LOOPS>().cast_mut().cast()) } as c_long as *const u8;
    load::<u64>(regs, off!(regs_orig_ax)) as u32
}

/// A task ends: `exit` and `exit_group` never return. A task that is killed has another call's number, or none.
#[inline(always)]
pub fn exited<const E: u8>() {
    let task = task::address();
    let orig_ax = number_in_flight::<E>(task);
    let (arch, nr) = number::<OLD>(task as *const u8, u64::from(orig_ax));
    let is_exit = match arch {
        arch::I386 => nr == 1 || nr == 252,
        _ => nr == 60 || nr == 231,
    };
    if orig_ax == u32::MAX {
        return;
    }
    let who = task::identify_last::<E>();
    // Seccomp kills one thread of many without a return from the call (kernel/seccomp.c, SECCOMP_RET_KILL_THREAD).
    let status: u32 = read_or_zero(task + off!(task_exit_code) as u64);
    let killed = who.is_filtered() && status & 0x7f == SIGSYS;
    if !is_exit && !killed {
        return;
    }
    let flags = if killed { flag::KILLED } else { 0 };
    let key = mix(who.key, u64::from(nr) | u64::from(arch) << 32 | u64::from(flags) << 40);
    if !seen::is_seen(Seen::Calls, key) {
        let call = Call { arch, nr, errno: 0, ret: 0, spec: CallSpec::PLAIN, args: [0; 6], flags };
        send::<E>(&who, &call, key, 0);
    }
}

/// Whether a question is about credentials that a file system has lent the task: overlayfs looks at the files below it
/// with those of whoever mounted it, who is root. What the task itself may do was asked before that.
///
/// `access(2)` acts with credentials of its own making, too, but those are the task's: no more than it is permitted.
#[inline(always)]
fn is_lent(task: u64, cred: u64, nr: u32, capability: u32) -> bool {
    const ACCESS: [u32; 3] = [21, 269, 439];
    let own: u64 = read_or_zero(task + off!(task_real_cred) as u64);
    let acting: u64 = read_or_zero(task + off!(task_cred) as u64);
    if own == acting || cred != acting || nr == record::IO_URING {
        return false;
    }
    let permitted: u64 = read_or_zero(own + off!(cred_permitted) as u64);
    !(ACCESS[0] == nr || ACCESS[1] == nr || ACCESS[2] == nr) || permitted >> (capability & 63) & 1 == 0
}

/// The kernel asked whether the task has a capability, of these credentials. `flags` are the record's.
#[inline(always)]
pub fn capability(cred: u64, capability: u32, ret: i32, flags: u32) {
    /// `linux/sched.h`: a thread of io_uring or vhost, which makes no calls of its own.
    const PF_IO_WORKER: u32 = 0x10;
    let task = task::address();
    let orig_ax = number_in_flight::<LOOPS>(task);
    let (arch, mut nr) = number::<OLD>(task as *const u8, u64::from(orig_ax));
    if orig_ax == u32::MAX {
        // Not in a call: a page fault.
        nr = u32::MAX;
    } else if read_or_zero::<u32>(task + off!(task_flags) as u64) & PF_IO_WORKER != 0 {
        nr = record::IO_URING;
    }
    if is_lent(task, cred, nr, capability) {
        return;
    }
    let who = task::identify_current::<LOOPS>();
    let errno = if ret < 0 { (-ret) as u32 } else { 0 };
    let what = u64::from(nr) << 8 | u64::from(capability) | u64::from(arch) << 40 | 1 << 63;
    let key = mix(mix(who.key, what), u64::from(errno) | u64::from(flags) << 32);
    if seen::is_seen(Seen::Calls, key) || !lsm::slot::claim() {
        return;
    }
    if let Some(scratch) = maps::scratch() {
        let args = [u64::from(capability), u64::from(flags), 0, 0, 0, 0];
        // SAFETY: this task's own. By way of memory, where the verifier does not follow each combination apart.
        unsafe {
            core::ptr::write_volatile(
                &raw mut (*scratch).call,
                Call { arch, nr, errno, ret: 0, spec: CallSpec::PLAIN, args, flags: 0 },
            );
            send_capability(&who, &(*scratch).call, key);
        }
    }
    lsm::slot::release();
}

#[inline(never)]
fn send_capability(who: &Who, call: &Call, key: u64) {
    let Some(mut record) = Record::begin::<LOOPS>(record::kind::CAPABILITY, who) else { return };
    let header = record.header();
    header.arch = call.arch;
    header.nr = call.nr;
    header.errno = call.errno;
    header.flags |= call.args[1] as u32;
    header.args[0] = call.args[0];
    record.send_new(Seen::Calls, key, false);
}
