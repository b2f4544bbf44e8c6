//! Loads a compiled filter into the calling thread, for the program that it is about to become.

use std::ffi::c_long;

use nix::{errno::Errno, libc};

use super::bpf::Program;

/// `SECCOMP_SET_MODE_FILTER`.
const SET_MODE_FILTER: libc::c_ulong = 1;

/// Puts `program` in force for this thread and all that it starts. It can't be taken back.
///
/// `EACCES` means that the caller has neither `CAP_SYS_ADMIN` nor `no_new_privs`.
pub fn load(program: &Program) -> nix::Result<()> {
    let instructions = program.instructions();
    let length = u16::try_from(instructions.len()).map_err(|_| Errno::EINVAL)?;
    let fprog = libc::sock_fprog { len: length, filter: instructions.as_ptr().cast_mut().cast() };
    let no_flags: libc::c_ulong = 0;
    // SAFETY: `Instruction` is `repr(C)` with the fields of `struct sock_filter`, `len` of them are readable
    // behind `filter`, and the kernel only reads them, before the call returns.
    let result: c_long =
        unsafe { libc::syscall(libc::SYS_seccomp, SET_MODE_FILTER, no_flags, std::ptr::from_ref(&fprog)) };
    Errno::result(result).map(drop)
}
