//! Sockets: made, bound, connected, sent to.

use sandbox_trace_ebpf::{
    record::{self, ADDRESS_BYTES},
    spec::{kind, op},
};

use crate::{
    call::Call,
    file, hash,
    kernel::{clear, get, mix, off, read_user},
    maps, names,
    ring::{self, Record},
    seen::{self, Seen},
    task::{self, Who},
};

const AF_UNIX: u64 = 1;
const AT_FDCWD: u64 = -100i64 as u64;

/// A use of a socket: its family, type and protocol, as AppArmor and seccomp see them, and the address.
pub struct Use {
    operation: u8,
    family: u64,
    kind: u64,
    protocol: u64,
    /// Where the address is in the target's memory; 0 if there is none.
    address: u64,
    length: u64,
}

/// A call that works on a socket returned.
#[inline(always)]
pub fn returned<const E: u8>(task: u64, who: &Who, call: &Call) {
    let Some(scratch) = maps::scratch() else { return };
    let usage = match call.spec.kind {
        // `socket` and `socketpair`: the arguments say all.
        kind::SOCKET => {
            let [family, socket_type, protocol, ..] = call.args;
            Some(made_with(call.spec.op, family, socket_type, protocol))
        }
        kind::SOCKETCALL => multiplexed::<E>(task, call),
        _ => addressed::<E>(task, call),
    };
    if let Some(usage) = usage {
        // SAFETY: only one call is looked at on a CPU.
        unsafe {
            (*scratch).usage = usage;
            send::<E>(who, call, &(*scratch).usage);
        }
    }
}

#[inline(always)]
fn made_with(operation: u8, family: u64, kind: u64, protocol: u64) -> Use {
    const SOCK_TYPE_MASK: u64 = 0xf;
    Use {
        operation,
        family: family & 0xffff,
        kind: kind & SOCK_TYPE_MASK,
        protocol: protocol & 0xffff_ffff,
        address: 0,
        length: 0,
    }
}

/// `bind`, `connect`, `sendto`: what the socket is comes from the socket.
#[inline(always)]
fn addressed<const E: u8>(task: u64, call: &Call) -> Option<Use> {
    let spec = call.spec;
    existing::<E>(task, spec.op, call.arg(spec.dir1), call.arg(spec.path1), call.arg(spec.flags))
}

/// i386 `socketcall`: the real call is the first argument, its arguments are in memory.
#[inline(always)]
fn multiplexed<const E: u8>(task: u64, call: &Call) -> Option<Use> {
    let memory = call.args[1];
    let [a, b, c] = read_user::<[u32; 3]>(memory)?;
    let [a, b, c] = [u64::from(a), u64::from(b), u64::from(c)];
    match call.args[0] {
        1 => Some(made_with(op::SOCKET, a, b, c)),
        8 => Some(made_with(op::SOCKETPAIR, a, b, c)),
        2 => existing::<E>(task, op::BIND, a, b, c),
        3 => existing::<E>(task, op::CONNECT, a, b, c),
        11 => {
            let [address, length] = read_user::<[u32; 2]>(memory + 16)?;
            existing::<E>(task, op::SENDTO, a, u64::from(address), u64::from(length))
        }
        _ => None,
    }
}

#[inline(always)]
fn existing<const E: u8>(task: u64, operation: u8, fd: u64, address: u64, length: u64) -> Option<Use> {
    const S_IFMT: u16 = 0o170_000;
    const S_IFSOCK: u16 = 0o140_000;
    if address == 0 || length < 2 {
        return None;
    }
    let file = file::of_descriptor::<E>(task, fd)?;
    let inode: u64 = get::<E, _>(file + off!(file_inode) as u64)?;
    let mode: u16 = get::<E, _>(inode + off!(inode_mode) as u64)?;
    if mode & S_IFMT != S_IFSOCK {
        return None;
    }
    let socket: u64 = get::<E, _>(file + off!(file_private) as u64)?;
    let sk: u64 = get::<E, _>(socket + off!(socket_sk) as u64)?;
    let family: u16 = get::<E, _>(sk + off!(sk_family) as u64)?;
    let kind: u16 = get::<E, _>(sk + off!(sk_type) as u64)?;
    let protocol: u16 = get::<E, _>(sk + off!(sk_protocol) as u64)?;
    let length = if length > ADDRESS_BYTES as u64 { ADDRESS_BYTES as u64 } else { length };
    Some(Use {
        operation,
        family: u64::from(family),
        kind: u64::from(kind),
        protocol: u64::from(protocol),
        address,
        length,
    })
}

/// Sends a use of a socket, if this executable has not made it before. The address is part of the key.
#[inline(never)]
fn send<const E: u8>(who: &Who, call: &Call, usage: &Use) {
    let what =
        u64::from(usage.operation) | u64::from(call.errno) << 8 | usage.family << 24 | usage.kind << 40;
    let mut key = mix(mix(mix(who.key, what), usage.protocol), 3);
    let Some(scratch) = maps::scratch() else { return };
    // SAFETY: only one call is looked at on a CPU, and this one has no names.
    let base = unsafe { &mut (*scratch).names.base1 };
    clear(base);
    let Some(mut record) = Record::empty() else { return };
    if usage.address != 0 {
        let start = record.end();
        record.clear_address();
        record.address(usage.address, usage.length);
        key = hash::hash_scratch::<E>(key, start, usage.length);
        if usage.family == AF_UNIX && read_user::<u8>(usage.address + 2).unwrap_or(0) != 0 {
            // A path: relative ones start from the working directory.
            names::find_base::<E>(task::address(), AT_FDCWD, usage.address + 2);
        }
    }
    key = base.hash::<E>(&record, key);
    if seen::is_seen(Seen::Files, key) {
        return;
    }
    ring::announce::<E>(who);
    let Some(mut record) = Record::empty() else { return };
    record.fill::<E>(record::kind::NETWORK, who);
    let address_length = record.address(usage.address, usage.length);
    let base_length = base.append::<E>(&mut record);
    let header = record.header();
    header.arch = call.arch;
    header.nr = call.nr;
    header.errno = call.errno;
    header.op = usage.operation;
    header.args = [usage.family, usage.kind, usage.protocol, address_length, base_length, 0];
    record.send_new(Seen::Files, key, false);
}
