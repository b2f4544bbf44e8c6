//! Putting a record together and sending it, once.

use core::ffi::c_void;

use aya_ebpf::cty::c_long;
use aya_ebpf::helpers::generated::{
    bpf_get_current_pid_tgid, bpf_ktime_get_ns, bpf_probe_read_kernel, bpf_probe_read_kernel_str,
    bpf_probe_read_user, bpf_probe_read_user_str, bpf_ringbuf_output,
};
use sandbox_trace_ebpf::{
    Header, loss,
    record::{self, flag},
    seen::SeenFact,
};

use crate::{
    cgroup,
    hash::HASHED_BYTES,
    kernel::{
        CAST, LOOPS, OLD, clear, constant, count_loss, get, get_or_zero, must, off, read, verified_once,
    },
    maps::{self, Scratch},
    seen::{self, Seen},
    task::{self, Who},
    walk,
};

const BPF_RB_NO_WAKEUP: u64 = 1;
const BPF_RB_FORCE_WAKEUP: u64 = 2;
const BPF_RB_AVAIL_DATA: u64 = 0;

verified_once! {
    send_new_call(key, wake) = send_call;
    send_new_file(key, wake) = send_file;
    fill_header(kind, exe, filters) = fill::<LOOPS>;
    fill_header_cast(kind, exe, filters) = fill::<CAST>;
    append_user_string(address) = user_string;
    append_kernel_string(address) = kernel_string;
    append_address(address, length) = append_address_here;
}
verified_once! {
    announce_image, announce_image_old(exe, filters) = announce_here;
}
verified_once! {
    append_path, append_path_old, append_path_cast(mnt, dentry) = path;
}

/// A record being put together in this CPU's working memory.
pub struct Record {
    /// Not null.
    pub scratch: *mut Scratch,
}

impl Record {
    /// Begins a record of the current task: header filled in but for what the kind says. The executable's own
    /// record goes first if it was not sent yet.
    #[inline(always)]
    pub fn begin<const E: u8>(kind: u8, who: &Who) -> Option<Self> {
        announce::<E>(who);
        let mut record = Self::empty()?;
        record.fill::<E>(kind, who);
        Some(record)
    }

    /// An empty record whose header is not filled in yet: see [`Record::fill`].
    #[inline(always)]
    pub fn empty() -> Option<Self> {
        let mut record = Self { scratch: maps::scratch()? };
        record.set_end(Header::SIZE as u64);
        Some(record)
    }

    /// Where the next part begins.
    #[inline(always)]
    pub fn end(&self) -> u64 {
        // SAFETY: this CPU's own. A volatile read: a value that the compiler remembered would be one that the
        // verifier follows.
        unsafe { core::ptr::read_volatile(&raw const (*self.scratch).length) }
    }

    /// Sets where the next part begins, and the record ends.
    #[inline(always)]
    pub fn set_end(&mut self, end: u64) {
        // SAFETY: as in `end`.
        unsafe { core::ptr::write_volatile(&raw mut (*self.scratch).length, end) };
    }

    /// Where the header and the parts are.
    #[inline(always)]
    pub fn buffer(&self) -> *mut u8 {
        self.scratch.cast::<u8>()
    }

    /// Fills in the header. Not before [`announce`]: that uses the same buffer.
    #[inline(always)]
    pub fn fill<const E: u8>(&mut self, kind: u8, who: &Who) {
        let kind = u64::from(kind);
        let _ = if E == CAST {
            fill_header_cast(kind, who.exe, who.filters)
        } else {
            fill_header(kind, who.exe, who.filters)
        };
    }

    /// The header.
    #[inline(always)]
    pub fn header(&mut self) -> &mut Header {
        // SAFETY: the buffer is aligned and larger than the header.
        unsafe { &mut *self.buffer().cast::<Header>() }
    }

    /// Appends the path of (`mnt`, `dentry`), last component first, each with a NUL; gives its length.
    #[inline(always)]
    pub fn path<const E: u8>(&mut self, mnt: u64, dentry: u64) -> u64 {
        match E {
            OLD => append_path_old(mnt, dentry),
            CAST => append_path_cast(mnt, dentry),
            _ => append_path(mnt, dentry),
        }
    }

    /// Appends a string of the target's memory without its NUL, or nothing for a null pointer; gives its length.
    #[inline(always)]
    pub fn user_string(&mut self, address: u64) -> u64 {
        append_user_string(address)
    }

    /// Appends a string of kernel memory without its NUL, or nothing for a null pointer; gives its length.
    #[inline(always)]
    pub fn kernel_string(&mut self, address: u64) -> u64 {
        append_kernel_string(address)
    }

    /// Takes in a string of `n` bytes with its NUL, and pads it with zeros, so that it can be hashed in
    /// [`HASHED_BYTES`] and the next part begins aligned.
    #[inline(always)]
    fn advance(&mut self, n: i64, otherwise: u32) -> u64 {
        if n <= 0 || n > 4096 {
            count_loss(otherwise);
            return 0;
        }
        let bytes = n as u64 - 1;
        let end = self.end() + bytes;
        if end > (record::RECORD_BYTES - 8 - HASHED_BYTES) as u64 {
            return 0;
        }
        for i in 0..8 {
            // SAFETY: in the buffer by the check above.
            unsafe { self.buffer().add(end as usize + i).write_volatile(0) };
        }
        let end = (end + 7) & !7;
        for word in 0..HASHED_BYTES / 8 {
            // SAFETY: as above; parts begin at whole words.
            unsafe { self.buffer().add(end as usize).cast::<u64>().add(word).write_volatile(0) };
        }
        self.set_end(end);
        bytes
    }

    /// Clears the room of an address, so that a hash of whole words sees no bytes of an earlier record.
    #[inline(always)]
    pub fn clear_address(&mut self) {
        let Some(at) = self.room() else { return };
        for word in 0..record::ADDRESS_BYTES / 8 {
            // SAFETY: `room` says that 4096 bytes fit; parts begin at whole words.
            unsafe { at.cast::<u64>().add(word).write_volatile(0) };
        }
    }

    /// Appends a socket address of the target's memory, or nothing for a null pointer; gives its length.
    #[inline(always)]
    pub fn address(&mut self, address: u64, length: u64) -> u64 {
        append_address(address, length)
    }

    /// Appends a socket address of the kernel's memory.
    #[inline(always)]
    pub fn kernel_address(&mut self, address: u64, length: u64) -> u64 {
        // SAFETY: `append` says what may be written.
        let read = |at, length| unsafe { bpf_probe_read_kernel(at, length, address as *const _) };
        self.append(length, loss::KERNEL_READ, read)
    }

    /// Appends an address of a length that is not trusted by `read`ing it, for which 255 bytes of room are sure; gives
    /// its length.
    #[inline(always)]
    fn append(&mut self, length: u64, otherwise: u32, read: impl FnOnce(*mut c_void, u32) -> c_long) -> u64 {
        let Some(at) = self.room() else { return 0 };
        let length = length & (2 * record::ADDRESS_BYTES as u64 - 1);
        if read(at.cast(), length as u32) != 0 {
            count_loss(otherwise);
            return 0;
        }
        self.set_end((self.end() + length + 7) & !7);
        length
    }

    /// The end of the record, with room for a string behind it.
    #[inline(always)]
    fn room(&self) -> Option<*mut u8> {
        let end = self.end();
        if end > record::RECORD_BYTES as u64 - 4096 {
            count_loss(loss::PATH_TOO_LONG);
            return None;
        }
        // SAFETY: in the buffer by the check above.
        Some(unsafe { self.buffer().add(end as usize) })
    }

    /// Sends the record of a new fact, and remembers that it was sent; not before, so that a loss heals when the
    /// fact happens again. With `wake` the reader is told at once.
    #[inline(always)]
    pub fn send_new(&mut self, set: Seen, key: u64, wake: bool) -> bool {
        0 != match set {
            Seen::Calls => send_new_call(key, u64::from(wake)),
            Seen::Files => send_new_file(key, u64::from(wake)),
        }
    }

    #[inline(always)]
    fn send_and_note(&mut self, set: Seen, key: u64, wake: bool) -> bool {
        let Some(slot) = seen::place(self.scratch, set, key) else { return false };
        let header = self.header();
        header.key = key;
        // SAFETY: a map slot.
        header.pushed_out = unsafe { *slot };
        if !self.send_waking(wake) {
            return false;
        }
        // SAFETY: as above.
        unsafe { *slot = SeenFact { key, count: 1, last_ms: seen::now_ms() } };
        true
    }

    /// Sends the record; false if the ring had no room.
    #[inline(always)]
    pub fn send(&self) -> bool {
        self.send_waking(false)
    }

    /// As [`Record::send`]; with `wake` the reader is told at once.
    #[inline(always)]
    pub fn send_waking(&self, wake: bool) -> bool {
        let length = self.end();
        if length > record::RECORD_BYTES as u64 {
            return false;
        }
        // A wake-up for each record would cost more than everything else together (about 6 µs): the reader polls,
        // and is woken only by the record that fills another quarter of the ring, not by all behind it.
        let waiting = maps::RING.query(BPF_RB_AVAIL_DATA);
        let fills = (waiting ^ (waiting + length)) & !(constant!(wake_bytes) - 1) != 0;
        let flags = if wake || fills { BPF_RB_FORCE_WAKEUP } else { BPF_RB_NO_WAKEUP };
        // SAFETY: the buffer holds `length` bytes.
        let result = unsafe {
            bpf_ringbuf_output((&raw const maps::RING).cast_mut().cast(), self.buffer().cast(), length, flags)
        };
        if result != 0 {
            count_loss(loss::RING_FULL);
        }
        result == 0
    }
}

/// The record that is under way on this CPU.
#[inline(always)]
fn under_way() -> Option<Record> {
    maps::scratch().map(|scratch| Record { scratch })
}

#[inline(always)]
fn send_call(key: u64, wake: u64) -> u64 {
    u64::from(under_way().is_some_and(|mut record| record.send_and_note(Seen::Calls, key, wake != 0)))
}

#[inline(always)]
fn send_file(key: u64, wake: u64) -> u64 {
    u64::from(under_way().is_some_and(|mut record| record.send_and_note(Seen::Files, key, wake != 0)))
}

#[inline(always)]
fn user_string(address: u64) -> u64 {
    if address == 0 {
        return 0;
    }
    let Some(mut record) = under_way() else { return 0 };
    let Some(at) = record.room() else { return 0 };
    // SAFETY: `room` says that 4096 bytes fit behind `at`.
    let n = unsafe { bpf_probe_read_user_str(at.cast(), 4096, address as *const _) };
    // Until Linux 6.13 an empty string counts 0 bytes, without its NUL: the path of a call with AT_EMPTY_PATH.
    let n = if n == 0 { 1 } else { n };
    record.advance(n, loss::STRING_UNREADABLE)
}

#[inline(always)]
fn kernel_string(address: u64) -> u64 {
    if address == 0 {
        return 0;
    }
    let Some(mut record) = under_way() else { return 0 };
    let Some(at) = record.room() else { return 0 };
    // SAFETY: as above.
    let n = unsafe { bpf_probe_read_kernel_str(at.cast(), 4096, address as *const _) };
    record.advance(n, loss::KERNEL_READ)
}

#[inline(always)]
fn append_address_here(address: u64, length: u64) -> u64 {
    if address == 0 {
        return 0;
    }
    let Some(mut record) = under_way() else { return 0 };
    // SAFETY: `append` says what may be written.
    let read = |at, length| unsafe { bpf_probe_read_user(at, length, address as *const _) };
    record.append(length, loss::STRING_UNREADABLE, read)
}

#[inline(always)]
fn path<const E: u8>(mnt: u64, dentry: u64) -> u64 {
    let Some(mut record) = under_way() else { return 0 };
    let start = record.end();
    walk::copy::<E>(mnt, dentry, start);
    // SAFETY: this CPU's own.
    let walk = unsafe { &(*record.scratch).walk };
    if walk.is_cut() {
        record.header().flags |= flag::CUT;
    }
    record.set_end(walk.end());
    walk.end().wrapping_sub(start)
}

#[inline(always)]
fn fill<const E: u8>(kind: u64, exe: u64, filters: u64) -> u64 {
    let Some(mut record) = under_way() else { return 0 };
    // Not what the task acts with for the moment: a file system may lend it its own.
    let cred: u64 = get_or_zero::<E, _>(task::address() + off!(task_real_cred) as u64);
    // SAFETY: the helpers take nothing.
    let (pids, now) = unsafe { (bpf_get_current_pid_tgid(), bpf_ktime_get_ns()) };
    let header = record.header();
    header.time_ns = now;
    header.exe = exe;
    header.key = 0;
    clear(&mut header.pushed_out);
    clear(&mut header.args);
    header.tgid = (pids >> 32) as u32;
    header.tid = pids as u32;
    header.uid = get::<E, _>(cred + off!(cred_euid) as u64).unwrap_or(u32::MAX);
    header.gid = get::<E, _>(cred + off!(cred_egid) as u64).unwrap_or(u32::MAX);
    for number in [&mut header.nr, &mut header.errno, &mut header.flags, &mut header.call_flags] {
        clear(number);
    }
    header.kind = kind as u8;
    header.arch = 0;
    header.class = task::class_of::<E>(exe, filters);
    header.op = 0;
    header.mask = 0;
    header.filters = 0;
    header.cgroup = cgroup::current_id();
    1
}

/// Sends the path of the task's executable, if this is the first that is heard of it.
#[inline(always)]
pub fn announce<const E: u8>(who: &Who) {
    let _ = if E == OLD {
        announce_image_old(who.exe, who.filters)
    } else {
        announce_image(who.exe, who.filters)
    };
}

#[inline(always)]
fn announce_here<const E: u8>(exe: u64, filters: u64) -> u64 {
    if exe == 0 || seen::is_seen(Seen::Calls, exe) {
        return 0;
    }
    let file = task::image::<LOOPS>(task::address());
    if file == 0 {
        return 0;
    }
    // `struct path` is the mount, then the dentry.
    let Some([mnt, dentry]) = must(read::<[u64; 2]>(file + off!(file_mnt) as u64)) else { return 0 };
    let Some(mut record) = Record::empty() else { return 0 };
    fill_header(u64::from(record::kind::EXECUTABLE), exe, filters);
    record.path::<E>(mnt, dentry);
    u64::from(record.send_new(Seen::Calls, exe, false))
}
