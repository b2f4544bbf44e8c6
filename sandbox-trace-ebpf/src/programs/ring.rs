//! Putting a record together and sending it, once.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::{
    bpf_get_current_pid_tgid, bpf_ktime_get_ns, bpf_loop, bpf_probe_read_kernel_str, bpf_probe_read_user,
    bpf_probe_read_user_str, bpf_ringbuf_output,
};
use sandbox_trace_ebpf::{
    Header, loss,
    record::{self, flag},
};

use crate::{
    kernel::{constant, count_loss, load, mix, must, off, read},
    maps::{self, Scratch, SeenSet},
    task::{self, Who},
    walk,
};

const BPF_RB_NO_WAKEUP: u64 = 1;
const BPF_RB_FORCE_WAKEUP: u64 = 2;
const BPF_RB_AVAIL_DATA: u64 = 0;

/// The sets of keys that were sent.
#[derive(Clone, Copy)]
pub enum Seen {
    /// [`maps::CALLS_SEEN`]
    Calls,
    /// [`maps::FILES_SEEN`]
    Files,
}

#[inline(always)]
fn set_of(seen: Seen, key: u64) -> Option<*mut SeenSet> {
    match seen {
        Seen::Calls => maps::CALLS_SEEN.get_ptr_mut((key >> 32) as u32 & (maps::CALL_SETS - 1)),
        Seen::Files => maps::FILES_SEEN.get_ptr_mut((key >> 32) as u32 & (maps::FILE_SETS - 1)),
    }
}

/// Whether a fact with this key was sent.
#[inline(always)]
pub fn is_seen(seen: Seen, key: u64) -> bool {
    let Some(set) = set_of(seen, key) else { return false };
    // SAFETY: a map slot; another CPU may write it, and then a fact is at worst sent twice.
    let set = unsafe { &*set };
    set[0] == key || set[1] == key || set[2] == key || set[3] == key
}

/// Remembers that a fact was sent; to be called only after [`Record::send`] said so, so that a loss heals.
#[inline(always)]
pub fn set_seen(seen: Seen, key: u64) {
    let Some(set) = set_of(seen, key) else { return };
    // SAFETY: as in `is_seen`.
    let set = unsafe { &mut *set };
    if set[0] == 0 {
        set[0] = key;
    } else if set[1] == 0 {
        set[1] = key;
    } else if set[2] == 0 {
        set[2] = key;
    } else if set[3] == 0 {
        set[3] = key;
    } else {
        // Full: the key's own bits choose whom to push out.
        match key & 3 {
            0 => set[0] = key,
            1 => set[1] = key,
            2 => set[2] = key,
            _ => set[3] = key,
        }
    }
}

/// A record being put together in this CPU's working memory.
pub struct Record {
    scratch: *mut Scratch,
}

impl Record {
    /// Begins a record of the current task: header filled in but for what the kind says. The executable's own
    /// record goes first if it was not sent yet.
    #[inline(always)]
    pub fn begin(kind: u8, who: &Who) -> Option<Self> {
        announce(who);
        let mut record = Self::empty()?;
        record.fill(kind, who);
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

    #[inline(always)]
    fn set_end(&mut self, end: u64) {
        // SAFETY: as in `end`.
        unsafe { core::ptr::write_volatile(&raw mut (*self.scratch).length, end) };
    }

    #[inline(always)]
    fn buffer(&self) -> *mut u8 {
        self.scratch.cast::<u8>()
    }

    /// Fills in the header. Not before [`announce`]: that uses the same buffer.
    #[inline(always)]
    pub fn fill(&mut self, kind: u8, who: &Who) {
        fill(self.buffer(), kind, who);
    }

    /// The header.
    #[inline(always)]
    pub fn header(&mut self) -> &mut Header {
        // SAFETY: the buffer is aligned and larger than the header.
        unsafe { &mut *self.buffer().cast::<Header>() }
    }

    /// Appends the path of (`mnt`, `dentry`), last component first, each with a NUL; gives its length.
    #[inline(always)]
    pub fn path(&mut self, mnt: u64, dentry: u64) -> u64 {
        let start = self.end();
        let walked = walk::copy(mnt, dentry, start);
        if walked.cut {
            self.header().flags |= flag::CUT;
        }
        self.set_end(walked.end);
        walked.end.wrapping_sub(start)
    }

    /// Appends a string of the target's memory without its NUL; gives its length.
    #[inline(always)]
    pub fn user_string(&mut self, address: u64) -> u64 {
        let Some(at) = self.room() else { return 0 };
        // SAFETY: `room` says that 4096 bytes fit behind `at`.
        let n = unsafe { bpf_probe_read_user_str(at.cast(), 4096, address as *const _) };
        self.advance(n, loss::STRING_UNREADABLE)
    }

    /// Appends a string of kernel memory without its NUL; gives its length.
    #[inline(always)]
    pub fn kernel_string(&mut self, address: u64) -> u64 {
        let Some(at) = self.room() else { return 0 };
        // SAFETY: as above.
        let n = unsafe { bpf_probe_read_kernel_str(at.cast(), 4096, address as *const _) };
        self.advance(n, loss::KERNEL_READ)
    }

    /// Takes in a string of `n` bytes with its NUL, and pads it with zeros to whole words, so that it can be
    /// hashed word by word and the next part begins aligned.
    #[inline(always)]
    fn advance(&mut self, n: i64, otherwise: u32) -> u64 {
        if n <= 0 || n > 4096 {
            count_loss(otherwise);
            return 0;
        }
        let bytes = n as u64 - 1;
        let end = self.end() + bytes;
        if end > record::RECORD_BYTES as u64 - 8 {
            return 0;
        }
        for i in 0..8 {
            // SAFETY: in the buffer by the check above.
            unsafe { self.buffer().add(end as usize + i).write_volatile(0) };
        }
        self.set_end((end + 7) & !7);
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

    /// Appends a socket address of the target's memory.
    #[inline(always)]
    pub fn address(&mut self, address: u64, length: u64) -> u64 {
        let Some(at) = self.room() else { return 0 };
        let length = length & (2 * record::ADDRESS_BYTES as u64 - 1);
        // SAFETY: as above; the length is below 256.
        if unsafe { bpf_probe_read_user(at.cast(), length as u32, address as *const _) } != 0 {
            count_loss(loss::STRING_UNREADABLE);
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

#[inline(never)]
fn fill(buffer: *mut u8, kind: u8, who: &Who) {
    let task = task::current();
    let cred: u64 = load::<u64>(task, off!(task_cred));
    // SAFETY: the helpers take nothing.
    let (pids, now) = unsafe { (bpf_get_current_pid_tgid(), bpf_ktime_get_ns()) };
    // SAFETY: the scratch buffer is aligned and larger than the header.
    let header = unsafe { &mut *buffer.cast::<Header>() };
    header.time_ns = now;
    header.exe = who.exe;
    header.args = [0; 6];
    header.tgid = (pids >> 32) as u32;
    header.tid = pids as u32;
    header.uid = read(cred + off!(cred_euid) as u64).unwrap_or(u32::MAX);
    header.gid = read(cred + off!(cred_egid) as u64).unwrap_or(u32::MAX);
    header.nr = 0;
    header.errno = 0;
    header.flags = 0;
    header.call_flags = 0;
    header.kind = kind;
    header.arch = 0;
    header.class = task::class_of(who);
    header.op = 0;
    header.mask = 0;
}

/// Sends the path of the task's executable, if this is the first that is heard of it.
#[inline(never)]
pub fn announce(who: &Who) {
    if who.exe == 0 || is_seen(Seen::Calls, who.exe) {
        return;
    }
    let file = task::image(task::current());
    if file.is_null() {
        return;
    }
    // `struct path` is the mount, then the dentry.
    let Some([mnt, dentry]) = must(read::<[u64; 2]>(file as u64 + off!(file_mnt) as u64)) else { return };
    let Some(mut record) = Record::empty() else { return };
    record.fill(record::kind::EXECUTABLE, who);
    record.path(mnt, dentry);
    if record.send() {
        set_seen(Seen::Calls, who.exe);
    }
}

/// The place of a hash over the scratch buffer.
#[repr(C)]
pub struct Hashing {
    hash: u64,
    at: u64,
}

unsafe extern "C" fn hash_word(_index: u32, _context: *mut c_void) -> i64 {
    let Some(scratch) = maps::scratch() else { return 1 };
    // SAFETY: only one hash is under way on a CPU. Parts begin at whole words; the mask says so to the verifier.
    unsafe {
        let hashing = &mut (*scratch).hashing;
        let at = hashing.at & !7;
        if at > record::RECORD_BYTES as u64 - 8 {
            return 1;
        }
        let word = (&raw const (*scratch).record).cast::<u8>().add(at as usize).cast::<u64>().read_volatile();
        hashing.hash = mix(hashing.hash, word);
        hashing.at = at + 8;
    }
    0
}

/// Mixes `length` bytes at the aligned place `at` of this CPU's scratch buffer, and the zeros up to the next whole
/// word, into a key.
#[inline(never)]
pub fn hash_scratch(hash: u64, at: u64, length: u64) -> u64 {
    let Some(scratch) = maps::scratch() else { return hash };
    // SAFETY: as in `hash_word`.
    let hashing = unsafe { &mut (*scratch).hashing };
    *hashing = Hashing { hash: mix(hash, length), at };
    let step: unsafe extern "C" fn(u32, *mut c_void) -> i64 = hash_word;
    // SAFETY: the callback ignores its context.
    unsafe { bpf_loop((length as u32).div_ceil(8) & 0x3ff, step as *mut c_void, core::ptr::null_mut(), 0) };
    hashing.hash
}
