//! The memory that a confined child and the process that watches it share. A child under a strict filter may have no
//! call left to say anything with; writing to memory needs none.
//!
//! Everything is atomic, so that a child may end at any point. What is read is treated as bytes that anybody wrote.

use std::{
    fmt::{self, Write as _},
    sync::atomic::{AtomicI32, AtomicU8, AtomicU32, AtomicU64, Ordering},
};

use nix::{errno::Errno, libc};

use super::report::Verdict;
use crate::error::{Error, Result};

/// How far a child has come.
pub mod stage {
    /// Forked; it waits to be traced.
    pub const STARTED: u32 = 1;
    /// Traced, so that its filters are not asked yet.
    pub const TRACED: u32 = 2;
    /// It has taken everything on.
    pub const CONFINED: u32 = 3;
    /// It was found to be confined, and tries what it is for.
    pub const TRYING: u32 = 4;
    /// It has answered.
    pub const ANSWERED: u32 = 5;
    /// It could not take something on.
    pub const FAILED: u32 = 6;
}

/// The shared memory.
#[derive(Debug)]
pub struct Board {
    /// One of [`stage`].
    pub stage: AtomicU32,
    /// The child's id in the host's `/proc`.
    pub host_pid: AtomicI32,
    /// The system call that is being made, plus one.
    pub calling: AtomicU32,
    /// How far a check that takes its time has come.
    pub progress: AtomicU64,
    /// Whether the child is becoming another program.
    pub executing: AtomicU32,
    /// The errno of a step that failed.
    pub errno: AtomicI32,
    /// The step that failed.
    pub step: Shared<96>,
    /// A file that was made and is not removed yet: a path in the container.
    pub left: Shared<4352>,
    /// A file that was made, removed or not.
    pub made: Shared<4352>,
    verdict: AtomicU32,
    seen: Shared<TEXT>,
}

const TEXT: usize = 240;

impl Board {
    /// New shared memory, for the life of this process.
    pub fn new() -> Result<&'static Self> {
        // SAFETY: a new mapping; nothing else knows it.
        let memory = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                size_of::<Self>(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if memory == libc::MAP_FAILED {
            return Err(Error::host("could not get memory to share with the probe's children")
                .because(Errno::last())
                .hint("the machine may be short of memory"));
        }
        // SAFETY: the mapping is large enough, page aligned, never unmapped, and all zeroes is a valid `Board`.
        Ok(unsafe { &*memory.cast::<Self>() })
    }

    /// Makes it ready for the next child.
    pub fn reset(&self) {
        for word in [&self.stage, &self.calling, &self.executing, &self.verdict] {
            word.store(0, Ordering::SeqCst);
        }
        self.host_pid.store(0, Ordering::SeqCst);
        self.errno.store(0, Ordering::SeqCst);
        self.progress.store(0, Ordering::SeqCst);
        self.step.set(b"");
        self.left.set(b"");
        self.made.set(b"");
        self.seen.set(b"");
    }

    /// Where the child is.
    pub fn stage(&self) -> u32 {
        self.stage.load(Ordering::SeqCst)
    }

    /// Says where the child is.
    pub fn enter(&self, stage: u32) {
        self.stage.store(stage, Ordering::SeqCst);
    }

    /// Waits without any system call: a filter may forbid all of them.
    pub fn wait_for(&self, stage: u32) {
        while self.stage() < stage {
            std::hint::spin_loop();
        }
    }

    /// Leaves the child's answer.
    pub fn answer(&self, seen: &Seen) {
        self.verdict.store(seen.verdict as u32, Ordering::SeqCst);
        self.seen.set(seen.text.as_bytes());
        self.enter(stage::ANSWERED);
    }

    /// The child's answer.
    pub fn answered(&self) -> Seen {
        let verdict = match self.verdict.load(Ordering::SeqCst) {
            0 => Verdict::Closed,
            1 => Verdict::Open,
            _ => Verdict::Unknown,
        };
        let mut text = Text::default();
        let _ = text.write_str(&String::from_utf8_lossy(&self.seen.get()));
        Seen { verdict, text }
    }

    /// Makes a system call, and leaves a note of which, for the case that it is the last one.
    ///
    /// Not for calls that change what memory this process has: pointers are only those of `args`.
    pub fn call(&self, number: libc::c_long, args: &mut [Arg<'_>]) -> Result<i64, Errno> {
        self.calling.store(u32::try_from(number + 1).unwrap_or(0), Ordering::SeqCst);
        let mut words = [0usize; 6];
        for (word, arg) in words.iter_mut().zip(args) {
            *word = match arg {
                Arg::N(number) => *number,
                Arg::Path(path) => path.as_ptr() as usize,
                Arg::In(bytes) => bytes.as_ptr() as usize,
                Arg::Out(bytes) => bytes.as_mut_ptr() as usize,
            };
        }
        let [first, second, third, fourth, fifth, sixth] = words;
        // SAFETY: each pointer is to memory that lives for the call and is as long as the call is told in the
        // argument beside it; the callers in this module's siblings keep to that.
        let result = unsafe { libc::syscall(number, first, second, third, fourth, fifth, sixth) };
        self.calling.store(0, Ordering::SeqCst);
        Errno::result(result)
    }
}

/// An argument of a system call.
#[derive(Debug)]
pub enum Arg<'a> {
    /// A number.
    N(usize),
    /// A path.
    Path(&'a std::ffi::CStr),
    /// Memory that the kernel reads.
    In(&'a [u8]),
    /// Memory that the kernel may write.
    Out(&'a mut [u8]),
}

/// A number as an argument, whatever its sign.
#[allow(
    clippy::cast_sign_loss,
    clippy::cast_possible_truncation,
    reason = "a register holds the bits, whatever they mean"
)]
pub fn n(number: i64) -> Arg<'static> {
    Arg::N(number as usize)
}

/// Bytes in shared memory.
#[derive(Debug)]
pub struct Shared<const N: usize> {
    len: AtomicU32,
    bytes: [AtomicU8; N],
}

impl<const N: usize> Shared<N> {
    /// Writes them; what does not fit is cut off.
    pub fn set(&self, bytes: &[u8]) {
        let mut len = 0;
        for (place, byte) in self.bytes.iter().zip(bytes) {
            place.store(*byte, Ordering::SeqCst);
            len += 1;
        }
        self.len.store(len, Ordering::SeqCst);
    }

    /// Reads them.
    pub fn get(&self) -> Vec<u8> {
        let len = usize::try_from(self.len.load(Ordering::SeqCst)).unwrap_or(0);
        self.bytes.iter().take(len).map(|byte| byte.load(Ordering::SeqCst)).collect()
    }
}

/// A short text that takes no memory from anywhere: what a confined child can format into.
#[derive(Clone, Copy)]
pub struct Text {
    len: usize,
    bytes: [u8; TEXT],
}

impl Default for Text {
    fn default() -> Self {
        Self { len: 0, bytes: [0; TEXT] }
    }
}

impl Text {
    /// What is in it.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

impl fmt::Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for (place, byte) in self.bytes.iter_mut().skip(self.len).zip(text.bytes()) {
            *place = byte;
            self.len += 1;
        }
        Ok(())
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(self.as_bytes()))
    }
}

/// What a check saw.
#[derive(Debug, Clone, Copy)]
pub struct Seen {
    /// Whether the boundary holds.
    pub verdict: Verdict,
    /// In words.
    pub text: Text,
}

impl Seen {
    fn new(verdict: Verdict, words: fmt::Arguments<'_>) -> Self {
        let mut text = Text::default();
        let _ = text.write_fmt(words);
        Self { verdict, text }
    }

    /// The boundary holds.
    pub fn closed(words: fmt::Arguments<'_>) -> Self {
        Self::new(Verdict::Closed, words)
    }

    /// The boundary does not hold.
    pub fn open(words: fmt::Arguments<'_>) -> Self {
        Self::new(Verdict::Open, words)
    }

    /// It could not be told.
    pub fn unknown(words: fmt::Arguments<'_>) -> Self {
        Self::new(Verdict::Unknown, words)
    }

    /// What a call's error means for a boundary: it holds, unless the kernel was only out of something.
    pub fn refused(errno: Errno) -> Self {
        match errno {
            Errno::EAGAIN | Errno::ENOMEM | Errno::EMFILE | Errno::ENFILE | Errno::EINTR | Errno::EBUSY => {
                Self::unknown(format_args!("{errno:?} ({})", errno.desc()))
            }
            _ => Self::closed(format_args!("{errno:?} ({})", errno.desc())),
        }
    }

    /// The words.
    pub fn words(&self) -> String {
        String::from_utf8_lossy(self.text.as_bytes()).into_owned()
    }
}
