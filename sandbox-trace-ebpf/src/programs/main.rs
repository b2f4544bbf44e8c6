//! The programs, one a hook. Each is a few lines: is the task in the target, has recording begun, hand over.
#![no_std]
#![no_main]

mod call;
mod exec;
mod file;
mod kernel;
mod maps;
mod names;
mod network;
mod ring;
mod task;
mod walk;

use aya_ebpf::{
    EbpfContext as _,
    macros::{btf_tracepoint, raw_tracepoint},
    programs::{BtfTracePointContext, RawTracePointContext},
};
use sandbox_trace_ebpf::loss;

/// `TP_PROTO(struct pt_regs *regs, long ret)`: all of a call is known when it returns, its errors included, and
/// one hook costs half of two.
#[btf_tracepoint(function = "sys_exit")]
fn sys_exit(ctx: BtfTracePointContext) -> i32 {
    if task::is_recorded() {
        let next = call::returned(ctx.arg(0), ctx.arg(1));
        if next != 0 {
            // Does not come back unless user space forgot to fill the table in.
            // SAFETY: the programs of the table are of this one's type and take its context.
            let _ = unsafe { maps::NEXT.tail_call(&ctx, next) };
            kernel::count_loss(loss::KERNEL_READ);
        }
    }
    0
}

/// Goes on from [`sys_exit`] for calls that open, map, lock or change a file. Programs of their own, because the
/// verifier walks through all that a program can do, and the product of all kinds is too much.
#[btf_tracepoint(function = "sys_exit")]
fn sys_exit_file(ctx: BtfTracePointContext) -> i32 {
    let task = task::current();
    if let Some(call) = call::decode(task, ctx.arg(0), ctx.arg(1)) {
        file::returned(task, &task::identify(task), call);
    }
    0
}

/// Goes on from [`sys_exit`] for operations on names.
#[btf_tracepoint(function = "sys_exit")]
fn sys_exit_names(ctx: BtfTracePointContext) -> i32 {
    let task = task::current();
    if let Some(call) = call::decode(task, ctx.arg(0), ctx.arg(1)) {
        names::operation(task, &task::identify(task), call);
    }
    0
}

/// Goes on from [`sys_exit`] for sockets.
#[btf_tracepoint(function = "sys_exit")]
fn sys_exit_network(ctx: BtfTracePointContext) -> i32 {
    let task = task::current();
    if let Some(call) = call::decode(task, ctx.arg(0), ctx.arg(1)) {
        network::returned(task, &task::identify(task), call);
    }
    0
}

/// `TP_PROTO(struct task_struct *p, pid_t old_pid, struct linux_binprm *bprm)`
#[btf_tracepoint(function = "sched_process_exec")]
fn sched_process_exec(ctx: BtfTracePointContext) -> i32 {
    if task::is_in_target() && task::begins_at_exec() {
        exec::executed(ctx.arg(2));
    }
    0
}

/// `TP_PROTO(struct task_struct *p, …)`: `exit` and `exit_group` never return, so they are seen here.
#[btf_tracepoint(function = "sched_process_exit")]
fn sched_process_exit(ctx: BtfTracePointContext) -> i32 {
    if task::is_recorded() {
        call::exited(ctx.arg(0));
    }
    0
}

/// `TP_PROTO(const struct cred *cred, struct user_namespace *target_ns, const struct user_namespace *capable_ns,
/// int cap, int ret)`; Linux 6.14 and later. It does not say whether the question is audited.
#[raw_tracepoint(tracepoint = "cap_capable")]
fn cap_capable(ctx: RawTracePointContext) -> i32 {
    if task::is_recorded() {
        let words = ctx.as_ptr().cast::<u64>();
        // SAFETY: a raw tracepoint's context is its arguments, one u64 each; this one has five.
        let (cap, ret) = unsafe { (*words.add(3), *words.add(4)) };
        call::capability(cap as u32, ret as i32);
    }
    0
}

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

// The programs use helpers that the kernel gives to GPL-compatible programs only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
