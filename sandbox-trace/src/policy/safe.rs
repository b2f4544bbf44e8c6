//! What `--args safe` limits: arguments that decide how much of the kernel a call reaches and that don't vary with a
//! workload's input, one entry a call, with the reason for what it leaves open.
//!
//! A call that is not here is not limited, on purpose:
//! - `mmap`, `mprotect`: what is mapped executable depends on the libraries and byte code that an input brings.
//! - `fcntl`, `madvise`, `arch_prctl`, `getsockopt`, `setsockopt`: they act on the caller's own descriptors, memory,
//!   thread and sockets; which of them a run uses depends on the C library, the allocator, the processor (AMX and
//!   shadow stacks are asked for by `arch_prctl`) and the peers. What of them reaches further asks for a capability.
//! - `bpf`, `ptrace`: given only by name with `--allow`, and what their users ask then depends on what they look at.
//! - `seccomp`: whoever gives itself another filter loses by it.

use super::{
    arguments::{LOW_WORD, NAMESPACE_FLAGS, NEW_TIME},
    danger::{self, Is},
};

/// `SOCK_TYPE_MASK`: the type of a socket; above it are `SOCK_CLOEXEC` and `SOCK_NONBLOCK`, which do no harm and
/// which other versions of a library set.
pub(super) const SOCKET_TYPE: u64 = 0xf;

const AF_NETLINK: u64 = 16;

/// How a call is limited.
#[derive(Debug, Clone, Copy)]
pub(super) enum Limit {
    /// To the values that were recorded, and some that no recording can be expected to hold.
    Recorded {
        /// The parts of the arguments that are compared.
        parts: &'static [Part],
        /// Values of the first part that are admitted beside the recorded ones.
        beside: &'static [u64],
    },
    /// To anything but the dangerous values of this argument in [`danger::VALUES`] that were not recorded.
    NoDanger {
        /// The argument's position.
        index: u8,
    },
}

/// A part of an argument.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    pub index: u8,
    pub mask: u64,
    /// Compared only in tuples whose first part has this value.
    pub only_with: Option<u64>,
}

const fn part(index: u8, mask: u64) -> Part {
    Part { index, mask, only_with: None }
}

/// Family and type. The protocol is left open, for libraries try new ones and fall back (Go listens with multipath
/// TCP), but for netlink, where it chooses between unrelated parts of the kernel, the firewall among them.
const SOCKET: Limit = Limit::Recorded {
    parts: &[
        part(0, LOW_WORD),
        part(1, SOCKET_TYPE),
        Part { index: 2, mask: LOW_WORD, only_with: Some(AF_NETLINK) },
    ],
    beside: &[],
};

/// `prctl` options that libraries and language runtimes use or don't, depending on their version, on tunables and on
/// what a run does, and that give the caller nothing: names of threads and mappings, questions, promises to have
/// less, settings of the caller's own memory and timers.
pub(super) const PRCTL: &[u64] = &[
    1,           // PR_SET_PDEATHSIG: supervisors of children
    2,           // PR_GET_PDEATHSIG
    3,           // PR_GET_DUMPABLE
    15,          // PR_SET_NAME: names of threads; Python 3.14, Java, Node, thread pools
    16,          // PR_GET_NAME
    21,          // PR_GET_SECCOMP
    23,          // PR_CAPBSET_READ: libcap probes for the last capability
    27,          // PR_GET_SECUREBITS
    29,          // PR_SET_TIMERSLACK
    30,          // PR_GET_TIMERSLACK
    36,          // PR_SET_CHILD_SUBREAPER: supervisors of children
    37,          // PR_GET_CHILD_SUBREAPER
    38,          // PR_SET_NO_NEW_PRIVS
    39,          // PR_GET_NO_NEW_PRIVS
    40,          // PR_GET_TID_ADDRESS
    41,          // PR_SET_THP_DISABLE: databases, allocators
    42,          // PR_GET_THP_DISABLE
    52,          // PR_GET_SPECULATION_CTRL
    0x5356_4d41, // PR_SET_VMA: names of mappings; glibc from 2.39 with a tunable, Go from 1.25, Java
];

/// How `name` is limited.
pub(super) fn limit(name: &str) -> Option<Limit> {
    Some(match name {
        // Libraries use other flags from version to version; namespaces are what reaches further. With none of
        // them it is a thread or a fork, which whoever may make a namespace may make.
        "clone" => Limit::Recorded { parts: const { &[part(0, NAMESPACE_FLAGS)] }, beside: &[0] },
        "unshare" => Limit::Recorded { parts: const { &[part(0, NAMESPACE_FLAGS | NEW_TIME)] }, beside: &[] },
        "setns" => Limit::Recorded { parts: const { &[part(1, LOW_WORD)] }, beside: &[] },
        "keyctl" => Limit::Recorded { parts: const { &[part(0, LOW_WORD)] }, beside: &[] },
        // The last only asks.
        "personality" => Limit::Recorded { parts: const { &[part(0, LOW_WORD)] }, beside: &[LOW_WORD] },
        "socket" | "socketpair" => SOCKET,
        "prctl" => Limit::Recorded { parts: const { &[part(0, LOW_WORD)] }, beside: PRCTL },
        // Requests are as many as drivers and file systems: libraries ask each new kind of descriptor whether it is
        // a terminal, how many bytes wait, to clone a file's blocks.
        "ioctl" => Limit::NoDanger { index: 1 },
        _ => return None,
    })
}

/// The dangerous values of an argument, one by one.
pub(super) fn dangerous(call: &str, index: u8) -> impl Iterator<Item = u32> {
    danger::VALUES.iter().filter(move |value| value.call == call && value.index == index).filter_map(
        |value| match value.is {
            Is::Exactly(value) => Some(value),
            Is::Flag(_) => None,
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_dangerous_is_admitted_unasked() {
        for value in danger::VALUES {
            match limit(value.call) {
                Some(Limit::Recorded { beside, parts }) => {
                    assert_eq!(parts.first().map(|p| p.index), Some(value.index), "{}", value.name);
                    assert!(!beside.iter().any(|v| value.is_in(*v)), "{}", value.name);
                }
                Some(Limit::NoDanger { index }) => {
                    assert_eq!(index, value.index);
                    assert!(matches!(value.is, Is::Exactly(_)), "{}", value.name);
                }
                None => panic!("{} is admitted wherever its call is", value.name),
            }
        }
    }
}
