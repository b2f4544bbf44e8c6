//! The kernel's interface to a filter's supervisor (`include/uapi/linux/seccomp.h`): loading a filter with a listener,
//! taking a question, answering it.

use std::{
    ffi::{c_int, c_long},
    os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
};

use nix::{errno::Errno, libc};

use crate::seccomp::bpf::Program;

const SET_MODE_FILTER: libc::c_ulong = 1;
/// `SECCOMP_FILTER_FLAG_NEW_LISTENER`, Linux 5.0.
const NEW_LISTENER: libc::c_ulong = 1 << 3;
/// `SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV`, Linux 5.19: once a question was taken, no signal but a fatal one
/// interrupts the call, which would make another error of it.
const WAIT_KILLABLE: libc::c_ulong = 1 << 5;

const RECEIVE: libc::c_ulong = 0xc050_2100;
const SEND: libc::c_ulong = 0xc018_2101;
const ID_VALID: libc::c_ulong = 0x4008_2102;

/// `struct seccomp_notif`: a call that waits for an answer.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub struct Question {
    id: u64,
    /// The thread that makes it, as this process numbers threads.
    pub pid: u32,
    flags: u32,
    /// The number, with the x32 bit.
    pub nr: u32,
    /// `AUDIT_ARCH_*`.
    pub arch: u32,
    instruction_pointer: u64,
    /// The arguments.
    pub args: [u64; 6],
}

/// `struct seccomp_notif_resp`.
#[repr(C)]
struct Answer {
    id: u64,
    value: i64,
    error: i32,
    flags: u32,
}

/// Puts `program` in force for this thread and all that it starts; gives the number of the listener's descriptor.
///
/// Makes one or two system calls and touches no memory but the program's: what may be called after it is decided by
/// the program.
pub fn load(program: &Program) -> nix::Result<c_int> {
    let instructions = program.instructions();
    let length = u16::try_from(instructions.len()).map_err(|_| Errno::EINVAL)?;
    let fprog = libc::sock_fprog { len: length, filter: instructions.as_ptr().cast_mut().cast() };
    let load = |flags: libc::c_ulong| -> nix::Result<c_long> {
        // SAFETY: `Instruction` is `repr(C)` with the fields of `struct sock_filter`, `len` of them are readable
        // behind `filter`, and the kernel only reads them, before the call returns.
        Errno::result(unsafe {
            libc::syscall(libc::SYS_seccomp, SET_MODE_FILTER, flags, std::ptr::from_ref(&fprog))
        })
    };
    let fd = match load(NEW_LISTENER | WAIT_KILLABLE) {
        Err(Errno::EINVAL) => load(NEW_LISTENER)?,
        other => other?,
    };
    c_int::try_from(fd).map_err(|_| Errno::EBADF)
}

/// The end at which a filter's questions arrive.
#[derive(Debug)]
pub struct Listener(OwnedFd);

impl Listener {
    /// Takes over a descriptor.
    ///
    /// # Safety
    /// `fd` must be a listener that is open in this process and that nobody else closes.
    pub unsafe fn from_raw(fd: c_int) -> Self {
        // SAFETY: the caller's promise.
        Self(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    /// The next question. `None`: whoever asked was interrupted or is gone.
    pub fn receive(&self) -> nix::Result<Option<Question>> {
        let mut question = Question::default();
        // SAFETY: the kernel writes one `struct seccomp_notif`, which `Question` has the layout of, zeroed as it asks.
        let result = unsafe { libc::ioctl(self.0.as_raw_fd(), RECEIVE, std::ptr::from_mut(&mut question)) };
        match Errno::result(result) {
            Ok(_) => Ok(Some(question)),
            Err(Errno::ENOENT | Errno::EINTR) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    /// Whether the one who asked still waits, so that what was read from its memory is its own.
    pub fn is_waiting(&self, question: &Question) -> bool {
        // SAFETY: the kernel reads one `u64`.
        let result = unsafe { libc::ioctl(self.0.as_raw_fd(), ID_VALID, std::ptr::from_ref(&question.id)) };
        result == 0
    }

    /// Answers with an error number; 0 is a success that returns 0. False if nobody waits any more.
    pub fn refuse(&self, question: &Question, errno: u16) -> nix::Result<bool> {
        let answer = Answer { id: question.id, value: 0, error: -i32::from(errno), flags: 0 };
        // SAFETY: the kernel reads one `struct seccomp_notif_resp`, which `Answer` has the layout of.
        let result = unsafe { libc::ioctl(self.0.as_raw_fd(), SEND, std::ptr::from_ref(&answer)) };
        match Errno::result(result) {
            Ok(_) => Ok(true),
            Err(Errno::ENOENT) => Ok(false),
            Err(errno) => Err(errno),
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_structures_have_the_kernels_sizes() {
        assert_eq!(size_of::<Question>(), 80);
        assert_eq!(size_of::<Answer>(), 24);
        assert_eq!(std::mem::offset_of!(Question, nr), 16);
        assert_eq!(std::mem::offset_of!(Question, args), 32);
        // The sizes are part of the numbers.
        assert_eq!((RECEIVE >> 16 & 0x3fff, SEND >> 16 & 0x3fff, ID_VALID >> 16 & 0x3fff), (80, 24, 8));
    }
}
