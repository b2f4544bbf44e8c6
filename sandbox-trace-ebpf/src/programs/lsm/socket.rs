//! Sockets, by family, type and protocol, as AppArmor mediates them; with addresses as the kernel took them in.

use aya_ebpf::{macros::fexit, programs::FExitContext};
use sandbox_trace_ebpf::{
    record::{self, ADDRESS_BYTES, flag},
    spec::op,
};

use super::slot;
use crate::{
    hash,
    kernel::{LOOPS, mix, off, read_or_zero},
    names::Base,
    ring::Record,
    seen::{self, Seen},
    task::{self, Who},
};

const AF_UNIX: u64 = 1;

/// What a socket is, and what is done with it.
struct Use {
    operation: u8,
    family: u64,
    kind: u64,
    protocol: u64,
    /// Where the kernel has the address; 0 if there is none.
    address: u64,
    length: u64,
    errno: u32,
}

/// `int security_socket_create(int family, int type, int protocol, int kern)`
#[fexit(function = "security_socket_create")]
fn lsm_socket_create(ctx: FExitContext) -> i32 {
    let (family, kind, protocol): (u64, u64, u64) = (ctx.arg(0), ctx.arg(1), ctx.arg(2));
    let (kern, answer): (u64, u64) = (ctx.arg(3), ctx.arg(4));
    if kern as u32 == 0 && task::is_recorded::<LOOPS>(task::current::<LOOPS>()) {
        send(&Use {
            operation: op::SOCKET,
            family: family & 0xffff,
            kind: kind & 0xf,
            protocol: protocol & 0xffff_ffff,
            address: 0,
            length: 0,
            errno: errno(answer),
        });
    }
    0
}

/// `int security_socket_bind(struct socket *sock, struct sockaddr *address, int addrlen)`
#[fexit(function = "security_socket_bind")]
fn lsm_socket_bind(ctx: FExitContext) -> i32 {
    let address: *const u8 = ctx.arg(1);
    used(ctx.arg(0), op::BIND, address as u64, ctx.arg(2), ctx.arg(3))
}

/// `int security_socket_connect(struct socket *sock, struct sockaddr *address, int addrlen)`
#[fexit(function = "security_socket_connect")]
fn lsm_socket_connect(ctx: FExitContext) -> i32 {
    let address: *const u8 = ctx.arg(1);
    used(ctx.arg(0), op::CONNECT, address as u64, ctx.arg(2), ctx.arg(3))
}

/// `int security_socket_listen(struct socket *sock, int backlog)`
#[fexit(function = "security_socket_listen")]
fn lsm_socket_listen(ctx: FExitContext) -> i32 {
    used(ctx.arg(0), op::LISTEN, 0, 0, ctx.arg(2))
}

/// `int security_socket_accept(struct socket *sock, struct socket *newsock)`
#[fexit(function = "security_socket_accept")]
fn lsm_socket_accept(ctx: FExitContext) -> i32 {
    used(ctx.arg(0), op::ACCEPT, 0, 0, ctx.arg(2))
}

/// `int security_socket_sendmsg(struct socket *sock, struct msghdr *msg, int size)`
#[fexit(function = "security_socket_sendmsg")]
fn lsm_socket_sendmsg(ctx: FExitContext) -> i32 {
    let message: *const u8 = ctx.arg(1);
    if !task::is_recorded::<LOOPS>(task::current::<LOOPS>()) {
        return 0;
    }
    let address: u64 = read_or_zero(message as u64 + off!(msg_name) as u64);
    let length: u32 = read_or_zero(message as u64 + off!(msg_namelen) as u64);
    let operation = if address == 0 || length == 0 { op::SEND } else { op::SENDTO };
    used(ctx.arg(0), operation, address, u64::from(length), ctx.arg(3))
}

/// `int security_socket_recvmsg(struct socket *sock, struct msghdr *msg, int size, int flags)`
#[fexit(function = "security_socket_recvmsg")]
fn lsm_socket_recvmsg(ctx: FExitContext) -> i32 {
    used(ctx.arg(0), op::RECEIVE, 0, 0, ctx.arg(4))
}

/// `int security_socket_getsockname(struct socket *sock)`
#[fexit(function = "security_socket_getsockname")]
fn lsm_socket_getsockname(ctx: FExitContext) -> i32 {
    used(ctx.arg(0), op::NAME, 0, 0, ctx.arg(1))
}

/// `int security_socket_getpeername(struct socket *sock)`
#[fexit(function = "security_socket_getpeername")]
fn lsm_socket_getpeername(ctx: FExitContext) -> i32 {
    used(ctx.arg(0), op::NAME, 0, 0, ctx.arg(1))
}

/// `int security_socket_getsockopt(struct socket *sock, int level, int optname)`
#[fexit(function = "security_socket_getsockopt")]
fn lsm_socket_getsockopt(ctx: FExitContext) -> i32 {
    used(ctx.arg(0), op::OPTIONS, 0, 0, ctx.arg(3))
}

/// `int security_socket_setsockopt(struct socket *sock, int level, int optname)`
#[fexit(function = "security_socket_setsockopt")]
fn lsm_socket_setsockopt(ctx: FExitContext) -> i32 {
    used(ctx.arg(0), op::OPTIONS, 0, 0, ctx.arg(3))
}

/// `int security_socket_shutdown(struct socket *sock, int how)`
#[fexit(function = "security_socket_shutdown")]
fn lsm_socket_shutdown(ctx: FExitContext) -> i32 {
    used(ctx.arg(0), op::SHUTDOWN, 0, 0, ctx.arg(2))
}

#[inline(always)]
fn errno(answer: u64) -> u32 {
    let answer = answer as i32;
    if answer < 0 { answer.unsigned_abs() } else { 0 }
}

/// A socket that exists is used.
#[inline(always)]
fn used(socket: *const u8, operation: u8, address: u64, length: u64, answer: u64) -> i32 {
    if !task::is_recorded::<LOOPS>(task::current::<LOOPS>()) {
        return 0;
    }
    let sk: u64 = read_or_zero(socket as u64 + off!(socket_sk) as u64);
    if sk != 0 {
        let length = length & 0xffff_ffff;
        let length = if length > ADDRESS_BYTES as u64 { ADDRESS_BYTES as u64 } else { length };
        let address = if length < 2 { 0 } else { address };
        send(&Use {
            operation,
            family: u64::from(read_or_zero::<u16>(sk + off!(sk_family) as u64)),
            kind: u64::from(read_or_zero::<u16>(sk + off!(sk_type) as u64)),
            protocol: u64::from(read_or_zero::<u16>(sk + off!(sk_protocol) as u64)),
            address,
            length,
            errno: errno(answer),
        });
    }
    0
}

/// Sends a use, if this executable has not made it before. Most are known, and known without working memory.
#[inline(never)]
fn send(usage: &Use) -> u32 {
    let who = task::identify_current::<LOOPS>();
    let what = u64::from(usage.operation)
        | u64::from(usage.errno) << 8
        | usage.family << 24
        | usage.kind << 40
        | 1 << 61;
    let key = mix(mix(who.key, what), usage.protocol);
    if usage.address == 0 && seen::is_seen(Seen::Files, key) {
        return 0;
    }
    if slot::claim() {
        put(&who, usage, key);
        slot::release();
    }
    0
}

#[inline(always)]
fn put(who: &Who, usage: &Use, mut key: u64) {
    let mut base = Base::NONE;
    if usage.address != 0 {
        let Some(mut record) = Record::empty() else { return };
        let start = record.end();
        record.clear_address();
        record.kernel_address(usage.address, usage.length);
        key = hash::hash_scratch::<LOOPS>(key, start, usage.length);
        let first = read_or_zero::<u8>(usage.address + 2);
        if usage.family == AF_UNIX && usage.length > 2 && first != 0 {
            base = place(first);
            key = base.hash::<LOOPS>(&record, key);
        }
        if seen::is_seen(Seen::Files, key) {
            return;
        }
    }
    let Some(mut record) = Record::begin::<LOOPS>(record::kind::NETWORK, who) else { return };
    let address_length =
        if usage.address == 0 { 0 } else { record.kernel_address(usage.address, usage.length) };
    let base_length = base.append::<LOOPS>(&mut record);
    let header = record.header();
    header.errno = usage.errno;
    header.op = usage.operation;
    header.flags |= flag::HOOK;
    if usage.errno != 0 {
        header.flags |= flag::REFUSED;
    }
    header.args = [usage.family, usage.kind, usage.protocol, address_length, base_length, 0];
    record.send_new(Seen::Files, key, false);
}

/// Where the path of a socket starts from.
#[inline(always)]
fn place(first: u8) -> Base {
    let fs: u64 = read_or_zero(task::address() + off!(task_fs) as u64);
    Base::read::<LOOPS>(fs + if first == b'/' { off!(fs_root_mnt) } else { off!(fs_pwd_mnt) } as u64)
}
