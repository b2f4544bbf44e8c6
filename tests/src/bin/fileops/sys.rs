//! System calls by number: the C library makes `openat` of `open` and `fchmodat` of `chmod`, and each of the kernel's
//! own calls is to be made.

use std::{
    ffi::CString,
    io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    path::Path,
};

use nix::libc;

/// An argument of a call.
pub enum Arg {
    Number(i64),
    Text(CString),
}

impl From<i32> for Arg {
    fn from(number: i32) -> Self {
        Self::Number(number.into())
    }
}

impl From<u32> for Arg {
    fn from(number: u32) -> Self {
        Self::Number(number.into())
    }
}

impl From<usize> for Arg {
    fn from(number: usize) -> Self {
        Self::Number(i64::try_from(number).expect("a positive number"))
    }
}

impl From<&OwnedFd> for Arg {
    fn from(fd: &OwnedFd) -> Self {
        fd.as_raw_fd().into()
    }
}

impl From<&[u8]> for Arg {
    fn from(text: &[u8]) -> Self {
        Self::Text(CString::new(text).expect("no NUL"))
    }
}

impl From<&str> for Arg {
    fn from(text: &str) -> Self {
        text.as_bytes().into()
    }
}

impl<T> From<&T> for Arg
where
    T: Pointee,
{
    fn from(value: &T) -> Self {
        Self::Number(std::ptr::from_ref(value) as i64)
    }
}

/// Structures that calls take the address of.
pub trait Pointee {}
impl Pointee for libc::flock {}
impl Pointee for libc::open_how {}
impl Pointee for libc::sockaddr_un {}

/// Makes a call; the error if it failed.
pub fn try_call(number: i64, args: Vec<Arg>) -> io::Result<i64> {
    let word = |index: usize| match args.get(index) {
        Some(Arg::Number(number)) => *number,
        Some(Arg::Text(text)) => text.as_ptr() as i64,
        None => 0,
    };
    // SAFETY: the texts and structures live until the call has returned.
    let result = unsafe { libc::syscall(number, word(0), word(1), word(2), word(3), word(4), word(5)) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// A call that must succeed.
macro_rules! call {
    ($name:ident $(, $arg:expr)* $(,)?) => {
        $crate::sys::try_call(nix::libc::$name, vec![$($crate::sys::Arg::from($arg)),*])
            .unwrap_or_else(|e| panic!("{}({}): {e}", stringify!($name), stringify!($($arg),*)))
    };
}
pub(crate) use call;

/// A call that must fail with this error.
macro_rules! fails {
    ($error:ident, $name:ident $(, $arg:expr)* $(,)?) => {
        match $crate::sys::try_call(nix::libc::$name, vec![$($crate::sys::Arg::from($arg)),*]) {
            Err(e) if e.raw_os_error() == Some(nix::libc::$error) => {}
            other => panic!("{}({}): {other:?}", stringify!($name), stringify!($($arg),*)),
        }
    };
}
pub(crate) use fails;

/// A descriptor that a call returned.
pub fn owned(fd: i64) -> OwnedFd {
    // SAFETY: the call has just made it.
    unsafe { OwnedFd::from_raw_fd(i32::try_from(fd).expect("a descriptor")) }
}

/// Opens relative to the working directory.
pub fn open(path: &(impl AsRef<[u8]> + ?Sized), flags: i32) -> OwnedFd {
    owned(call!(SYS_openat, libc::AT_FDCWD, path.as_ref(), flags, 0o644))
}

/// A file with one byte.
pub fn file(path: impl AsRef<Path>) {
    std::fs::write(path, b"x").expect("a file");
}

/// A folder with those above it.
pub fn folder(path: impl AsRef<Path>) {
    std::fs::create_dir_all(path).expect("a folder");
}

/// A symbolic link.
pub fn link(target: &str, path: &str) {
    std::os::unix::fs::symlink(target, path).expect("a link");
}
