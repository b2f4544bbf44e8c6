//! How much memory a process has taken.
//!
//! Not the `ru_maxrss` of `wait4`: that outlives `exec`, so a child begins with the largest resident set of whoever
//! started it, and it counts the children that a process waited for.

use std::{
    fs,
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context, Result};

/// The largest resident set of a living process so far, in KiB; none once it has ended.
pub fn peak_kib(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

/// Watches a process until it ends.
#[derive(Debug)]
pub struct Watch(JoinHandle<u64>);

impl Watch {
    /// Begins; the process must run its own program by now, as it does when `Command::spawn` returns.
    pub fn new(pid: u32) -> Self {
        let mut largest = peak_kib(pid).unwrap_or(0);
        Self(thread::spawn(move || {
            while let Some(peak) = peak_kib(pid) {
                largest = peak;
                thread::sleep(Duration::from_millis(5));
            }
            largest
        }))
    }

    /// Waits for the end of the process; gives its largest resident set, in KiB.
    pub fn peak_kib(self) -> Result<u64> {
        let largest = self.0.join().ok().context("the watch of a process's memory failed")?;
        (largest > 0).then_some(largest).context("the process ended before its memory was looked at")
    }
}
