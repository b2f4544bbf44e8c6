//! The final pass: a call that a task is still blocked in has not returned, so no exit was seen. `/proc` says which.

use sandbox_trace_ebpf::{
    Header, arch,
    record::{class, kind},
};

use crate::recording::BytePath;

/// A call that a task has not returned from, and the image that the task runs.
pub struct Blocked {
    /// Which call, where.
    pub header: Header,
    /// The path of the image, empty if it can't be read.
    pub image: BytePath,
}

/// The calls that these live processes are in.
pub fn blocked_calls(processes: &[u32], now_ns: u64) -> Vec<Blocked> {
    processes.iter().copied().flat_map(|pid| calls_of(pid, now_ns)).collect()
}

fn calls_of(pid: u32, now_ns: u64) -> Vec<Blocked> {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let in_host = same_namespace(pid);
    let image = std::fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
    threads
        .flatten()
        .filter_map(|thread| {
            let text = std::fs::read_to_string(thread.path().join("syscall")).ok()?;
            let nr = number(&text)?;
            let header = Header {
                time_ns: now_ns,
                nr,
                tgid: pid,
                kind: kind::CALL,
                // A 32-bit task's number would be misread; its registers say so by their size alone, so such a
                // task is told apart by its image.
                arch: if is_32_bit(pid) { arch::I386 } else { arch::X86_64 },
                class: if in_host { class::HOST } else { class::INSIDE },
                ..bytemuck::Zeroable::zeroed()
            };
            Some(Blocked { header, image: image.as_path().into() })
        })
        .collect()
}

/// The first field of `/proc/PID/task/TID/syscall`; -1 and `running` are no call.
fn number(text: &str) -> Option<u32> {
    text.split_whitespace().next()?.parse().ok()
}

fn same_namespace(pid: u32) -> bool {
    let of = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/mnt")).ok();
    of("self") == of(&pid.to_string())
}

/// Byte 4 of an ELF image is its class: 1 for 32 bits.
fn is_32_bit(pid: u32) -> bool {
    use std::io::Read as _;
    let mut start = [0; 5];
    std::fs::File::open(format!("/proc/{pid}/exe"))
        .and_then(|mut image| image.read_exact(&mut start))
        .is_ok_and(|()| start == *b"\x7fELF\x01")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_says_which_call_a_task_is_in() {
        assert_eq!(number("0 0x3 0x7f 0x400 0x0 0x0 0x0 0x7ffe 0x7f1\n"), Some(0));
        assert_eq!(number("-1 0x7ffe 0x7f1\n"), None);
        assert_eq!(number("running\n"), None);
    }
}
