//! What a call's pointers point to, read from the task that waits for its answer. The bytes are the task's own words:
//! another of its threads may change them at any time, and nothing is decided by them.

use std::{fs::File, os::unix::fs::FileExt as _, path::PathBuf};

/// The longest path that the kernel takes.
const MOST_PATH: usize = 4096;
const PAGE: u64 = 4096;

/// A source of a task's memory.
pub trait Memory {
    /// Fills `buffer` from `address`; the number of bytes that could be read.
    fn read(&self, address: u64, buffer: &mut [u8]) -> usize;

    /// The bytes up to a NUL. `None` if the address can't be read.
    fn string(&self, address: u64) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        while out.len() < MOST_PATH {
            let at = address.checked_add(out.len() as u64)?;
            // No further than to the end of a page: the next one may not be there.
            let mut chunk = vec![0; usize::try_from((PAGE - at % PAGE).min(256)).unwrap_or(256)];
            let length = self.read(at, &mut chunk);
            if length == 0 {
                return None;
            }
            chunk.truncate(length);
            if let Some(end) = chunk.iter().position(|byte| *byte == 0) {
                out.extend(chunk.drain(..end));
                return Some(out);
            }
            out.append(&mut chunk);
        }
        Some(out)
    }

    /// So many bytes, all of them.
    fn bytes(&self, address: u64, length: usize) -> Option<Vec<u8>> {
        let mut out = vec![0; length];
        (self.read(address, &mut out) == length).then_some(out)
    }
}

/// A thread's memory, by `/proc`.
pub struct Task(Option<File>);

impl Task {
    /// Opens the memory of a thread. Without the right to read it, every read finds nothing.
    pub fn open(pid: u32) -> Self {
        Self(File::open(format!("/proc/{pid}/mem")).ok())
    }
}

impl Memory for Task {
    fn read(&self, address: u64, buffer: &mut [u8]) -> usize {
        // An address above the signed half is the kernel's; the file would take it for a negative offset.
        let Some(file) = self.0.as_ref().filter(|_| i64::try_from(address).is_ok()) else { return 0 };
        file.read_at(buffer, address).unwrap_or(0)
    }
}

/// Who a thread is.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Who {
    /// Its executable.
    pub executable: Vec<u8>,
    /// Its own name, as the program chose it.
    pub name: Vec<u8>,
}

impl Who {
    /// Looks it up.
    pub fn of(pid: u32) -> Self {
        use std::os::unix::ffi::OsStringExt as _;
        let folder = PathBuf::from(format!("/proc/{pid}"));
        let executable = std::fs::read_link(folder.join("exe")).map(|path| path.into_os_string().into_vec());
        let mut name = std::fs::read(folder.join("comm")).unwrap_or_default();
        if name.last() == Some(&b'\n') {
            name.pop();
        }
        Self { executable: executable.unwrap_or_default(), name }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_read_over_the_ends_of_pages() {
        let mut text = vec![b'x'; 9000];
        text[4000] = 0;
        let task = Task::open(std::process::id());
        let read = task.string(text.as_ptr() as u64).unwrap();
        assert_eq!(read, text[..4000]);
        let long = task.string(text[4001..].as_ptr() as u64).unwrap();
        assert!(long.len() >= MOST_PATH, "{}", long.len());
        assert_eq!(task.string(8), None);
        assert_eq!(task.string(u64::MAX - 2), None);
        assert_eq!(task.bytes(text.as_ptr() as u64, 3).unwrap(), b"xxx");
    }

    #[test]
    fn a_thread_says_who_it_is() {
        let who = Who::of(std::process::id());
        assert_eq!(who.executable, std::env::current_exe().unwrap().as_os_str().as_encoded_bytes());
        assert!(!who.name.is_empty());
        assert_eq!(Who::of(u32::MAX), Who::default());
    }
}
