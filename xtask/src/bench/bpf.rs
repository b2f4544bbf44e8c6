//! The floor: programs that do nothing, on the tracepoints of every system call. What they cost is the kernel's own
//! way to a program, and no tracer on these tracepoints can cost less.

use std::{
    ffi::CStr,
    fs::File,
    io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
};

use anyhow::{Context, Result};
use nix::libc;

// Commands and types of bpf(2), from linux/bpf.h.
const PROG_LOAD: u32 = 5;
const PROG_GET_NEXT_ID: u32 = 11;
const PROG_GET_FD_BY_ID: u32 = 13;
const OBJ_GET_INFO_BY_FD: u32 = 15;
const RAW_TRACEPOINT_OPEN: u32 = 17;
const RAW_TRACEPOINT: u32 = 17;
const LINK_GET_FD_BY_ID: u32 = 30;
const LINK_GET_NEXT_ID: u32 = 31;
/// Programs that are attached without a link: kprobe, tracepoint, `perf_event`.
const WITHOUT_LINK: [u32; 3] = [2, 5, 7];
/// Links of raw tracepoints, of tracing (fentry, BTF tracepoints), of perf events, of many kprobes.
const LINKS: [u32; 4] = [1, 2, 7, 8];

/// `r0 = 0; exit`.
const NOTHING: [u64; 2] = [0xb7, 0x95];

/// Programs that are attached until this is dropped.
#[derive(Debug)]
pub struct Floor {
    _attached: Vec<OwnedFd>,
}

impl Floor {
    /// Attaches one to each of these raw tracepoints.
    pub fn attach(tracepoints: &[&CStr]) -> Result<Self> {
        let program = load().context("the kernel did not take an empty program")?;
        let attached = tracepoints.iter().map(|tracepoint| {
            open(tracepoint, &program).with_context(|| format!("can't attach to {tracepoint:?}"))
        });
        Ok(Self { _attached: attached.collect::<Result<_>>()? })
    }
}

/// `union bpf_attr` of `BPF_PROG_LOAD`, as far as it is used.
#[repr(C)]
struct Load {
    program_type: u32,
    instructions: u32,
    code: u64,
    license: u64,
}

/// `union bpf_attr` of `BPF_RAW_TRACEPOINT_OPEN`.
#[repr(C)]
struct Open {
    name: u64,
    program: u32,
    _padding: u32,
}

/// `union bpf_attr` of the commands on ids.
#[repr(C)]
struct Id {
    id: u32,
    next: u32,
    flags: u32,
}

/// `union bpf_attr` of `BPF_OBJ_GET_INFO_BY_FD`.
#[repr(C)]
struct Info {
    fd: u32,
    length: u32,
    info: u64,
}

fn load() -> io::Result<OwnedFd> {
    let mut attributes = Load {
        program_type: RAW_TRACEPOINT,
        instructions: 2,
        code: NOTHING.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
    };
    descriptor(bpf(PROG_LOAD, &mut attributes)?)
}

fn open(tracepoint: &CStr, program: &OwnedFd) -> io::Result<OwnedFd> {
    let mut attributes = Open {
        name: tracepoint.as_ptr() as u64,
        program: u32::try_from(program.as_raw_fd()).map_err(io::Error::other)?,
        _padding: 0,
    };
    descriptor(bpf(RAW_TRACEPOINT_OPEN, &mut attributes)?)
}

/// How many programs that could slow system calls down are attached, this process's own included. Somebody else's
/// make every ratio wrong: the untraced runs are not untraced then. One that is only loaded costs nothing; but what is
/// attached by way of a perf event shows as a loaded program alone.
pub fn tracing_programs() -> Result<usize> {
    Ok(count(LINK_GET_NEXT_ID, LINK_GET_FD_BY_ID, &LINKS).context("can't list the BPF links")?
        + count(PROG_GET_NEXT_ID, PROG_GET_FD_BY_ID, &WITHOUT_LINK).context("can't list the BPF programs")?)
}

fn count(next: u32, open: u32, kinds: &[u32]) -> io::Result<usize> {
    let mut count = 0;
    let mut at = Id { id: 0, next: 0, flags: 0 };
    loop {
        match bpf(next, &mut at) {
            Ok(_) => {}
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(count),
            Err(error) => return Err(error),
        }
        at.id = at.next;
        // It may go between the two calls.
        if kind(open, at.id).is_ok_and(|kind| kinds.contains(&kind)) {
            count += 1;
        }
    }
}

/// The type of a program or a link.
fn kind(open: u32, id: u32) -> io::Result<u32> {
    let fd: File = descriptor(bpf(open, &mut Id { id, next: 0, flags: 0 })?)?.into();
    // `struct bpf_prog_info` and `struct bpf_link_info` begin with the type and the id; the kernel writes as much as
    // there is room for.
    let mut info = [0_u32; 2];
    let mut attributes = Info {
        fd: u32::try_from(fd.as_raw_fd()).map_err(io::Error::other)?,
        length: u32::try_from(size_of_val(&info)).map_err(io::Error::other)?,
        info: info.as_mut_ptr() as u64,
    };
    bpf(OBJ_GET_INFO_BY_FD, &mut attributes)?;
    let [kind, _] = info;
    Ok(kind)
}

fn bpf<T>(command: u32, attributes: &mut T) -> io::Result<i32> {
    // SAFETY: the attributes are of the command's own layout, and what they point to lives until the call returns.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attributes), size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { i32::try_from(result).map_err(io::Error::other) }
}

fn descriptor(fd: i32) -> io::Result<OwnedFd> {
    // SAFETY: the kernel just gave it to this process, and nothing else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
