//! How much of the machine the container can take. The limits on tasks and memory are reached on purpose, in the
//! container's own cgroup, by children that the kernel ends before anybody else.

use std::{sync::atomic::Ordering, time::Duration};

use nix::{errno::Errno, libc, sys::signal::Signal};

use super::{Check, Ended, Subject};
use crate::{
    output::grouped,
    probe::{
        board::{Board, Seen, n},
        report::Verdict,
    },
};

const TASKS: &str = "without a limit a fork bomb stops the whole host";
const MEMORY: &str = "without a limit one container takes the memory of all others";

/// More tasks than this are not started, and more memory than this is not filled, unless everything was asked for.
const MOST_TASKS: u64 = 4096;
const MOST_MEMORY: u64 = 4 << 30;
const MIB: u64 = 1 << 20;
/// Memory that the host keeps while a limit is filled.
const RESERVE: u64 = 512 * MIB;
/// How far beyond the limit it is tried to go.
const BEYOND: u64 = 16 * MIB;

pub fn checks(subject: &Subject) -> Vec<Check> {
    vec![cpu(subject), swap(subject), tasks(subject), memory(subject)]
}

fn cpu(subject: &Subject) -> Check {
    let (may, there) = subject.cpus;
    let (verdict, seen) = match subject.cpu_millis {
        Some(millis) => (Verdict::Closed, format!("{}.{:03} CPUs", millis / 1000, millis % 1000)),
        None if may < there => (Verdict::Closed, format!("no quota, but pinned to {may} of {there} CPUs")),
        None => (Verdict::Open, "no limit".into()),
    };
    let why = "without a limit one container takes the CPUs of all others";
    Check::told("cpu-limit", "use all CPU time", why, verdict, seen).expecting("limited")
}

fn swap(subject: &Subject) -> Check {
    let memory = &subject.memory;
    let (verdict, seen) = match (memory.limit, memory.swap) {
        _ if subject.host.swap == 0 => (Verdict::Closed, "the host has no swap".to_owned()),
        (Some(_), Some(0)) => (Verdict::Closed, "none".into()),
        (Some(_), Some(swap)) => (Verdict::Closed, format!("at most {}", size(swap))),
        (Some(_), None) if !memory.counts_swap => (Verdict::Open, "the kernel does not count it".into()),
        _ => (Verdict::Open, "no limit".into()),
    };
    let why = "a container that fills the swap slows the whole host down";
    Check::told("swap-limit", "use the host's swap", why, verdict, seen).expecting("limited")
}

fn size(bytes: u64) -> String {
    format!("{} MiB", grouped(bytes / MIB))
}

fn tasks(subject: &Subject) -> Check {
    let (id, title) = ("pid-limit", "start processes without end");
    let (Some(limit), now) = subject.tasks else {
        return Check::told(id, title, TASKS, Verdict::Open, "no limit").expecting("stopped");
    };
    let most = limit.saturating_sub(now).saturating_add(8);
    if most > MOST_TASKS && !subject.full {
        let seen =
            format!("a limit of {} is in force; it was not reached on purpose (--full does)", grouped(limit));
        return Check::told(id, title, TASKS, Verdict::Closed, seen).expecting("stopped");
    }
    Check::tried(id, title, TASKS, move |board| {
        for count in 0..most {
            match new_process(board) {
                Ok(0) => rest(),
                Ok(_) => board.progress.store(count + 1, Ordering::SeqCst),
                Err(Errno::EAGAIN) => {
                    return Seen::closed(format_args!("stopped after {count} (limit {limit})"));
                }
                Err(errno) if count == 0 => {
                    return Seen::closed(format_args!("no process can be started at all: {errno:?}"));
                }
                Err(errno) => return Seen::unknown(format_args!("{errno:?} after {count} (limit {limit})")),
            }
        }
        Seen::open(format_args!("{most} processes were started, beyond the limit of {limit}"))
    })
    .expecting("stopped")
    .with_patience(Duration::from_secs(20))
}

/// By whatever call the filter allows.
fn new_process(board: &Board) -> Result<i64, Errno> {
    let flags = i64::from(libc::SIGCHLD);
    match board.call(libc::SYS_clone, &mut [n(flags), n(0), n(0), n(0), n(0)]) {
        #[cfg(target_arch = "x86_64")]
        Err(Errno::EPERM | Errno::ENOSYS) => board.call(libc::SYS_fork, &mut []),
        result => result,
    }
}

/// What a process does that only counts: it waits to be ended with its session.
fn rest() -> ! {
    let second = libc::timespec { tv_sec: 1, tv_nsec: 0 };
    loop {
        // SAFETY: the first takes nothing, the second reads one `timespec`. Where a filter allows neither, this goes
        // round and round, for the moment that it lives.
        unsafe {
            if libc::syscall(libc::SYS_ppoll, 0, 0, &raw const second, 0, 0) < 0 {
                libc::syscall(libc::SYS_nanosleep, &raw const second, 0);
            }
        }
    }
}

fn memory(subject: &Subject) -> Check {
    let (id, title) = ("memory-limit", "use memory without end");
    let told = |verdict, seen: String| Check::told(id, title, MEMORY, verdict, seen).expecting("stopped");
    let memory = &subject.memory;
    let Some(limit) = memory.limit else { return told(Verdict::Open, "no limit".into()) };
    let in_force = |why: &str| {
        told(Verdict::Closed, format!("a limit of {} is in force; it was not filled: {why}", size(limit)))
    };
    if let Some(why) = memory.keep_off {
        return in_force(why);
    }
    let swap = if subject.host.swap == 0 { 0 } else { memory.swap.unwrap_or(subject.host.swap) };
    let all = limit.saturating_add(swap).saturating_add(BEYOND);
    if all > MOST_MEMORY && !subject.full {
        return in_force("--full does");
    }
    if subject.host.memory_available < limit.saturating_add(RESERVE) {
        return in_force("the host has too little memory left");
    }
    let Ok(length) = usize::try_from(all) else { return in_force("it is larger than this program can be") };
    // Room without memory: it is a child that touches it, and that ends with it.
    // SAFETY: a new mapping, which nothing else knows.
    let place = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            length,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
            -1,
            0,
        )
    };
    if place == libc::MAP_FAILED {
        return in_force("the host does not promise that much");
    }
    let place = place as usize;
    Check::tried(id, title, MEMORY, move |board| {
        const PAGE: usize = 4096;
        for offset in (0..length).step_by(PAGE) {
            // SAFETY: within the mapping, which is as long, writable and this process's own copy.
            unsafe { std::ptr::write_volatile((place + offset) as *mut u8, 1) };
            board.progress.store(offset as u64, Ordering::SeqCst);
        }
        Seen::open(format_args!("{} MiB were used, beyond the limit of {} MiB", length >> 20, limit >> 20))
    })
    .expecting("stopped")
    .with_patience(Duration::from_mins(1))
    .with_end(|ended, board| {
        let used = board.progress.load(Ordering::SeqCst) / MIB;
        match ended {
            Ended::Killed(Signal::SIGKILL) => {
                Some(Seen::closed(format_args!("ended by the kernel at {used} MiB (out of memory)")))
            }
            // The kernel can't give the page, and says so.
            Ended::Killed(Signal::SIGBUS | Signal::SIGSEGV) => {
                Some(Seen::closed(format_args!("stopped at {used} MiB")))
            }
            Ended::Late => Some(Seen::unknown(format_args!("{used} MiB in 60 s, and not at the limit yet"))),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::checks::Task;

    fn told(check: &Check) -> Option<(Verdict, &str)> {
        match &check.task {
            Task::Told(verdict, words) => Some((*verdict, words)),
            Task::Try(_) => None,
        }
    }

    #[test]
    fn limits_that_would_harm_are_read_and_not_reached() {
        let mut subject = Subject::ordinary();
        assert_eq!(told(&tasks(&subject)).unwrap().0, Verdict::Open);
        assert_eq!(told(&memory(&subject)).unwrap().0, Verdict::Open);
        subject.tasks = (Some(100), 3);
        assert!(told(&tasks(&subject)).is_none());
        subject.tasks = (Some(30_000), 3);
        assert!(matches!(told(&tasks(&subject)), Some((Verdict::Closed, words)) if words.contains("30,000")));
        subject.memory.limit = Some(64 * MIB);
        subject.host.memory_available = 64 * MIB + RESERVE;
        assert!(told(&memory(&subject)).is_none());
        subject.memory.keep_off = Some("group");
        assert!(told(&memory(&subject)).unwrap().1.contains("group"));
        subject.memory.keep_off = None;
        subject.host.memory_available -= 1;
        assert!(told(&memory(&subject)).unwrap().1.contains("too little"));
        subject.memory.limit = Some(MOST_MEMORY);
        subject.host.memory_available = u64::MAX;
        assert!(told(&memory(&subject)).unwrap().1.contains("--full"));
    }

    #[test]
    fn swap_and_cpu_are_limited_or_not() {
        let mut subject = Subject::ordinary();
        subject.cpus = (2, 2);
        assert_eq!(told(&cpu(&subject)).unwrap(), (Verdict::Open, "no limit"));
        subject.cpu_millis = Some(1500);
        assert_eq!(told(&cpu(&subject)).unwrap(), (Verdict::Closed, "1.500 CPUs"));
        assert_eq!(told(&swap(&subject)).unwrap().0, Verdict::Closed);
        subject.host.swap = 1;
        assert_eq!(told(&swap(&subject)).unwrap().0, Verdict::Open);
        (subject.memory.limit, subject.memory.swap) = (Some(MIB), Some(0));
        assert_eq!(told(&swap(&subject)).unwrap(), (Verdict::Closed, "none"));
    }
}
