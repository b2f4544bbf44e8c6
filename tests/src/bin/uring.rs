//! Opens a file and connects a socket by io_uring, so that no system call of that name is made: `uring FILE SOCKET`.
//! Each is done once while it is submitted and once by a worker thread of the kernel.

use std::{ffi::CString, io, os::fd::AsRawFd as _, os::unix::net::UnixListener, process::ExitCode, ptr};

use nix::libc::{self, AF_UNIX, AT_FDCWD, O_CLOEXEC, SOCK_STREAM};

const OP_CONNECT: u8 = 16;
const OP_OPENAT: u8 = 18;
const SQE_ASYNC: u8 = 1 << 4;
const ENTER_GETEVENTS: u32 = 1;
const OFF_SQES: i64 = 0x1000_0000;
/// `IORING_FEAT_SINGLE_MMAP`, Linux 5.4: both rings are one mapping.
const FEAT_SINGLE_MMAP: u32 = 1;

/// `struct io_uring_sqe`, as far as it is used.
#[repr(C)]
#[derive(Default)]
struct Sqe {
    opcode: u8,
    flags: u8,
    ioprio: u16,
    fd: i32,
    off: u64,
    addr: u64,
    len: u32,
    op_flags: u32,
    user_data: u64,
    rest: [u64; 3],
}

/// `struct io_uring_params`: the offsets of the two rings behind ten words.
#[repr(C)]
#[derive(Default)]
struct Params {
    sq_entries: u32,
    cq_entries: u32,
    flags: u32,
    cpu: u32,
    idle: u32,
    features: u32,
    wq_fd: u32,
    reserved: [u32; 3],
    sq: [u32; 10],
    cq: [u32; 10],
}

struct Ring {
    fd: i32,
    rings: *mut u8,
    sqes: *mut Sqe,
    params: Params,
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [file, socket] = args.as_slice() else {
        eprintln!("usage: uring FILE SOCKET");
        return ExitCode::from(2);
    };
    let ring = Ring::new();
    let path = CString::new(file.as_str()).expect("a path");
    for flags in [0, SQE_ASYNC] {
        let fd = ring.submit(&Sqe {
            opcode: OP_OPENAT,
            flags,
            fd: AT_FDCWD,
            addr: path.as_ptr() as u64,
            ..Sqe::default()
        });
        assert!(fd >= 0, "openat: {}", io::Error::from_raw_os_error(-fd));
    }
    let _listener = UnixListener::bind(socket).expect("a socket");
    // SAFETY: a structure of integers.
    let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    address.sun_family = u16::try_from(AF_UNIX).expect("a small number");
    for (place, byte) in address.sun_path.iter_mut().zip(socket.bytes()) {
        *place = byte.cast_signed();
    }
    for flags in [0, SQE_ASYNC] {
        // SAFETY: the call takes numbers.
        let fd = unsafe { libc::socket(AF_UNIX, SOCK_STREAM | O_CLOEXEC, 0) };
        let result = ring.submit(&Sqe {
            opcode: OP_CONNECT,
            flags,
            fd,
            addr: ptr::from_ref(&address) as u64,
            off: size_of_val(&address) as u64,
            ..Sqe::default()
        });
        assert_eq!(result, 0, "connect: {}", io::Error::from_raw_os_error(-result));
    }
    ExitCode::SUCCESS
}

impl Ring {
    fn new() -> Self {
        let mut params = Params::default();
        // SAFETY: the kernel fills the structure in; the mappings are as large as it says.
        unsafe {
            let fd = libc::syscall(libc::SYS_io_uring_setup, 1, &raw mut params);
            assert!(fd >= 0, "io_uring_setup: {}", io::Error::last_os_error());
            assert!(params.features & FEAT_SINGLE_MMAP != 0, "a kernel before 5.4");
            let fd = i32::try_from(fd).expect("a descriptor");
            let map = |length: usize, offset: i64| {
                let protection = libc::PROT_READ | libc::PROT_WRITE;
                let place = libc::mmap(ptr::null_mut(), length, protection, libc::MAP_SHARED, fd, offset);
                assert_ne!(place, libc::MAP_FAILED, "{}", io::Error::last_os_error());
                place.cast::<u8>()
            };
            let completions = params.cq[5] as usize + params.cq_entries as usize * 16;
            let array = params.sq[6] as usize + params.sq_entries as usize * 4;
            let rings = map(completions.max(array), 0);
            let sqes = map(size_of::<Sqe>() * params.sq_entries as usize, OFF_SQES).cast();
            Self { fd: fd.as_raw_fd(), rings, sqes, params }
        }
    }

    fn word(&self, offset: u32) -> *mut u32 {
        // SAFETY: the kernel's offsets are inside the mapping, and aligned.
        unsafe { self.rings.add(offset as usize).cast() }
    }

    /// Submits one entry and waits for its result.
    fn submit(&self, sqe: &Sqe) -> i32 {
        let [_, tail, _, _, _, _, array, ..] = self.params.sq;
        let [head, _, _, _, _, entries, ..] = self.params.cq;
        // SAFETY: the ring has one entry, and nothing is under way; the entry's memory lives until it is done.
        unsafe {
            ptr::copy_nonoverlapping(sqe, self.sqes, 1);
            self.word(array).write_volatile(0);
            self.word(tail).write_volatile(self.word(tail).read_volatile() + 1);
            let done =
                libc::syscall(libc::SYS_io_uring_enter, self.fd, 1, 1, ENTER_GETEVENTS, ptr::null::<u8>(), 0);
            assert_eq!(done, 1, "io_uring_enter: {}", io::Error::last_os_error());
            let at = self.word(head).read_volatile();
            let slot = entries + (at & (self.params.cq_entries - 1)) * 16;
            let result = self.word(slot + 8).read_volatile().cast_signed();
            self.word(head).write_volatile(at + 1);
            result
        }
    }
}
