//! Capabilities, with the kernel's own word on whether it needs the answer.

use aya_ebpf::{macros::fexit, programs::FExitContext};
use sandbox_trace_ebpf::record::flag;

use crate::{
    call,
    kernel::{LOOPS, off, read_or_zero},
    task,
};

/// `linux/security.h`: the kernel only tries, and goes on without.
const CAP_OPT_NOAUDIT: u64 = 1 << 1;

/// `int security_capable(const struct cred *cred, struct user_namespace *ns, int cap, unsigned int opts)`
#[fexit(function = "security_capable")]
fn lsm_capable(ctx: FExitContext) -> i32 {
    if !task::is_recorded::<LOOPS>(task::current::<LOOPS>()) {
        return 0;
    }
    let (cred, namespace): (*const u8, u64) = (ctx.arg(0), ctx.arg(1));
    let (capability, opts, answer): (u64, u64, u64) = (ctx.arg(2), ctx.arg(3), ctx.arg(4));
    let (capability, answer) = (capability as u32, answer as i32);
    let mut flags = flag::HOOK;
    if opts & CAP_OPT_NOAUDIT != 0 {
        flags |= flag::UNAUDITED;
    }
    if answer != 0 && is_held(cred as u64, namespace, capability) {
        flags |= flag::REFUSED;
    }
    call::capability(cred as u64, capability, answer, flags);
    0
}

/// Whether the credentials have the capability in their own user namespace: then the refusal is a security module's.
#[inline(always)]
fn is_held(cred: u64, namespace: u64, capability: u32) -> bool {
    let own: u64 = read_or_zero(cred + off!(cred_user_ns) as u64);
    let effective: u64 = read_or_zero(cred + off!(cred_effective) as u64);
    own == namespace && effective >> (capability & 63) & 1 != 0
}
