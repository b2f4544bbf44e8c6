//! The programs, one a hook. Each is a few lines: is the task in the target, has recording begun, hand over.
#![no_std]
#![no_main]
// For instructions that the compiler does not make: see `kernel` and `seen`. aya-ebpf needs the same.
#![feature(asm_experimental_arch)]
// Security hooks claim working memory with a compare-and-exchange, see `lsm::slot`.
#![feature(core_intrinsics)]
#![allow(internal_features)]

mod call;
mod cgroup;
mod exec;
mod file;
mod filter;
mod hash;
mod kernel;
mod lsm;
mod maps;
mod names;
mod network;
mod place;
mod repeat;
mod ring;
mod seen;
mod task;
mod walk;

use aya_ebpf::{
    EbpfContext as _,
    macros::{btf_tracepoint, raw_tracepoint},
    programs::{BtfTracePointContext, RawTracePointContext},
};
use kernel::{CAST, LOOPS, OLD};
use sandbox_trace_ebpf::{loss, program};

/// The programs that `sys_exit` goes on to and that read much. Programs of their own, because the verifier walks through
/// all that a program can do, and the product of all kinds is too much.
macro_rules! readers {
    ($edition:ident, $file:ident, $names:ident, $network:ident) => {
        /// Goes on from `sys_exit` for calls that open, map, lock or change a file.
        #[btf_tracepoint(function = "sys_exit")]
        fn $file(_ctx: BtfTracePointContext) -> i32 {
            if let Some((who, call)) = call::under_way() {
                file::returned::<$edition>(task::address(), who, call);
            }
            0
        }

        /// Goes on from `sys_exit` for operations on names.
        #[btf_tracepoint(function = "sys_exit")]
        fn $names(_ctx: BtfTracePointContext) -> i32 {
            if let Some((who, call)) = call::under_way() {
                names::operation::<$edition>(task::address(), who, call);
            }
            0
        }

        /// Goes on from `sys_exit` for sockets.
        #[btf_tracepoint(function = "sys_exit")]
        fn $network(_ctx: BtfTracePointContext) -> i32 {
            if let Some((who, call)) = call::under_way() {
                network::returned::<$edition>(task::address(), who, call);
            }
            0
        }
    };
}

readers!(CAST, sys_exit_file_cast, sys_exit_names_cast, sys_exit_network_cast);
readers!(LOOPS, sys_exit_file, sys_exit_names, sys_exit_network);
readers!(OLD, sys_exit_file_old, sys_exit_names_old, sys_exit_network_old);

/// The other programs of an edition.
macro_rules! programs {
    ($edition:ident, $sys_exit:ident, $filter:ident, $exec:ident, $exit:ident) => {
        /// `TP_PROTO(struct pt_regs *regs, long ret)`: all of a call is known when it returns, its errors included,
        /// and one hook costs half of two.
        #[btf_tracepoint(function = "sys_exit")]
        fn $sys_exit(ctx: BtfTracePointContext) -> i32 {
            let task = task::current::<$edition>();
            if task::is_recorded::<$edition>(task) {
                let next = call::returned::<$edition>(task, ctx.arg(0), ctx.arg(1));
                if next != 0 {
                    // Does not come back unless user space forgot to fill the table in.
                    // SAFETY: the programs of the table are of this one's type and take its context.
                    let _ = unsafe { maps::NEXT.tail_call(&ctx, next) };
                    kernel::count_loss(loss::KERNEL_READ);
                }
            }
            0
        }

        /// Goes on from `sys_exit` for calls that a seccomp filter may have answered, and for the first of a task's
        /// filters: once for each part of a filter, and then to what the call's kind needs.
        #[btf_tracepoint(function = "sys_exit")]
        fn $filter(ctx: BtfTracePointContext) -> i32 {
            let next = if filter::read_part() { program::FILTER } else { filter::finish::<$edition>() };
            if next != 0 {
                // SAFETY: as in `sys_exit`.
                let _ = unsafe { maps::NEXT.tail_call(&ctx, next) };
                kernel::count_loss(loss::KERNEL_READ);
            }
            0
        }

        /// `TP_PROTO(struct task_struct *p, pid_t old_pid, struct linux_binprm *bprm)`
        #[btf_tracepoint(function = "sched_process_exec")]
        fn $exec(ctx: BtfTracePointContext) -> i32 {
            if task::is_recorded_from_exec::<$edition>() {
                exec::executed::<$edition>(ctx.arg(2));
            }
            0
        }

        /// `TP_PROTO(struct task_struct *p, …)`: `exit` and `exit_group` never return, so they are seen here.
        #[btf_tracepoint(function = "sched_process_exit")]
        fn $exit(_ctx: BtfTracePointContext) -> i32 {
            if task::is_recorded::<$edition>(task::current::<$edition>()) {
                call::exited::<$edition>();
            }
            0
        }
    };
}

programs!(LOOPS, sys_exit, sys_exit_filter, sched_process_exec, sched_process_exit);
programs!(OLD, sys_exit_old, sys_exit_filter_old, sched_process_exec_old, sched_process_exit_old);

/// `TP_PROTO(const struct cred *cred, struct user_namespace *target_ns, const struct user_namespace *capable_ns,
/// int cap, int ret)`; Linux 6.14 and later. It does not say whether the question is audited.
#[raw_tracepoint(tracepoint = "cap_capable")]
fn cap_capable(ctx: RawTracePointContext) -> i32 {
    if task::is_recorded::<LOOPS>(task::current::<LOOPS>()) {
        let words = ctx.as_ptr().cast::<u64>();
        // SAFETY: a raw tracepoint's context is its arguments, one u64 each; this one has five.
        let (cred, cap, ret) = unsafe { (*words, *words.add(3), *words.add(4)) };
        call::capability(cred, cap as u32, ret as i32, 0);
    }
    0
}

/// `TP_PROTO(struct cgroup *cgrp, const char *path)`; attached only when members are known by their id.
#[btf_tracepoint(function = "cgroup_mkdir")]
fn cgroup_mkdir(ctx: BtfTracePointContext) -> i32 {
    cgroup::made(ctx.arg(0), ctx.arg::<*const u8>(1) as u64);
    0
}

/// `TP_PROTO(struct cgroup *cgrp, const char *path)`
#[btf_tracepoint(function = "cgroup_rmdir")]
fn cgroup_rmdir(ctx: BtfTracePointContext) -> i32 {
    cgroup::removed(ctx.arg(0));
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
