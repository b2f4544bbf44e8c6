//! From a (mount, dentry) to its path, up to the root of the mount tree, across mount points: once as a hash, which
//! is all that a known path costs, and once as names.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_probe_read_kernel_str;
use sandbox_trace_ebpf::{loss, record};

use crate::{
    kernel::{
        CAST, OLD, clear, count_loss, get, get_or_zero, load, mix, must, off, pointer, store_unaligned,
        trusted, verified_once,
    },
    maps,
    repeat::{self, Step},
};

/// Steps of a walk: components and mount crossings. `PATH_MAX` allows 2048 components.
const STEPS: u32 = 2200;
/// Steps where the verifier walks through each; longer paths are counted as lost.
const OLD_STEPS: u32 = 128;
/// Steps that are made in place: what most paths have.
const NEAR_STEPS: u32 = 12;

/// The place of a walk.
#[repr(C)]
pub struct Walk {
    mnt: u64,
    dentry: u64,
    /// Root dentry of `mnt`.
    root: u64,
    /// The hash so far, or where the next name goes.
    state: u64,
    /// Where names must end.
    limit: u64,
    /// Set when the walk has arrived at the root of the mount tree.
    arrived: u64,
}

impl Walk {
    /// Where the last name ends.
    #[inline(always)]
    pub fn end(&self) -> u64 {
        // SAFETY: a reference.
        unsafe { core::ptr::read_volatile(&raw const self.state) }
    }

    /// The walk did not arrive at a root: a detached tree, or too long.
    #[inline(always)]
    pub fn is_cut(&self) -> bool {
        // SAFETY: a reference.
        unsafe { core::ptr::read_volatile(&raw const self.arrived) == 0 }
    }

    #[inline(always)]
    fn start<const E: u8>(&mut self, mnt: u64, dentry: u64, state: u64, limit: u64) {
        let root = get_or_zero::<E, u64>(mnt + off!(vfsmount_root) as u64);
        (self.mnt, self.dentry, self.root) = (mnt, dentry, root);
        (self.state, self.limit) = (state, limit);
        clear(&mut self.arrived);
    }

    /// At the root of a mount: on to the place where it is mounted. True if the walk goes on.
    #[inline(always)]
    fn cross<const E: u8>(&mut self) -> bool {
        let mount = self.mnt - off!(mount_mnt) as u64;
        let Some(parent) = must(pointer::<E>(mount + off!(mount_parent) as u64)) else { return false };
        if parent == mount {
            self.arrived = 1;
            return false;
        }
        let Some(mountpoint) = must(pointer::<E>(mount + off!(mount_mountpoint) as u64)) else {
            return false;
        };
        self.dentry = mountpoint;
        self.mnt = parent + off!(mount_mnt) as u64;
        self.root = get_or_zero::<E, u64>(self.mnt + off!(vfsmount_root) as u64);
        true
    }
}

/// The three words of a dentry that a walk needs are neighbours on every kernel so far, and user space checks it
/// (`KernelLayout`): parent, then name (hash and length, pointer). One read instead of three.
#[repr(C)]
#[derive(Clone, Copy)]
struct Names {
    parent: u64,
    hash_len: u64,
    name: u64,
}

/// The walk that is under way on this CPU.
#[inline(always)]
fn current() -> Option<&'static mut Walk> {
    // SAFETY: only one walk is under way on a CPU.
    maps::scratch().map(|scratch| unsafe { &mut (*scratch).walk })
}

/// Runs `step` until it says that it is done; `near` is the same.
#[inline(always)]
fn run<const E: u8>(near: impl Fn() -> i64, step: Step) {
    if E == CAST {
        // Where a step is a few loads, most of its time would be the call.
        for _ in 0..NEAR_STEPS {
            if near() != 0 {
                return;
            }
        }
    }
    let (steps, most) = if E == OLD {
        (repeat::repeat::<E, OLD_STEPS>(OLD_STEPS, step), OLD_STEPS)
    } else {
        (repeat::repeat::<E, STEPS>(STEPS, step), STEPS)
    };
    if steps >= most {
        count_loss(loss::PATH_TOO_LONG);
    }
}

/// The dentry at hand and its parent, unless the walk is at a mount's root (then it crosses) or at its end.
#[inline(always)]
fn component<const E: u8>(walk: &mut Walk) -> Result<Names, i64> {
    if walk.dentry == walk.root {
        return Err(if walk.cross::<E>() { 0 } else { 1 });
    }
    let Some(names) =
        must(get::<E, Names>(walk.dentry + off!(dentry_parent) as u64).filter(|names| names.parent != 0))
    else {
        return Err(1);
    };
    if names.parent == walk.dentry { Err(1) } else { Ok(names) }
}

/// One step of a hash; gives 0 to go on.
#[inline(always)]
fn hash_one<const E: u8>() -> i64 {
    let Some(walk) = current() else { return 1 };
    let names = match component::<E>(walk) {
        Ok(names) => names,
        Err(done) => return done,
    };
    walk.state = mix(walk.state, names.hash_len);
    walk.dentry = names.parent;
    0
}

unsafe extern "C" fn hash_step<const E: u8>(_index: u32, _context: *mut c_void) -> i64 {
    hash_one::<E>()
}

verified_once! {
    walk_hash, walk_hash_old, walk_hash_cast(mnt, dentry, key) = hash_here;
    walk_copy, walk_copy_old, walk_copy_cast(mnt, dentry, at) = copy_here;
}

/// Mixes every component of the path into a key: a rename of any ancestor changes it.
#[inline(always)]
pub fn hash<const E: u8>(mnt: u64, dentry: u64, key: u64) -> u64 {
    match E {
        OLD => walk_hash_old(mnt, dentry, key),
        CAST => walk_hash_cast(mnt, dentry, key),
        _ => walk_hash(mnt, dentry, key),
    }
}

#[inline(always)]
fn hash_here<const E: u8>(mnt: u64, dentry: u64, key: u64) -> u64 {
    let Some(walk) = current() else { return key };
    walk.start::<E>(mnt, dentry, key, 0);
    run::<E>(hash_one::<E>, hash_step::<E>);
    mix(walk.state, walk.arrived)
}

/// Copies a name that is not long, by loads, with its NUL; gives its length with that, or 0 if it is none such, or is
/// being changed: then the first NUL is not where the length says.
///
/// # Safety
/// `to` must have room for 64 bytes.
#[inline(always)]
unsafe fn copy_short(to: *mut u8, names: &Names) -> i64 {
    const WORD: u64 = 8;
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = ONES << 7;
    const LONGEST: u64 = 8 * WORD - 1;
    let length = names.hash_len >> 32;
    if length == 0 || length > LONGEST {
        return 0;
    }
    let from = trusted(names.name);
    let last = length / WORD;
    for index in 0..WORD {
        let word: u64 = load(from, (index * WORD) as usize);
        // SAFETY: the caller's.
        unsafe { store_unaligned(to.add((index * WORD) as usize), word) };
        // The high bit of the first byte that is 0, and of some behind it.
        let zeros = word.wrapping_sub(ONES) & !word & HIGHS;
        if index == last {
            let place = 0x80 << (length % WORD * 8);
            let up_to_there = place | (place - 1);
            return if zeros & up_to_there == place { length as i64 + 1 } else { 0 };
        }
        if zeros != 0 {
            return 0;
        }
    }
    0
}

/// One step of a copy; gives 0 to go on.
#[inline(always)]
fn copy_one<const E: u8>() -> i64 {
    let Some(scratch) = maps::scratch() else { return 1 };
    // SAFETY: only one walk is under way on a CPU.
    let walk = unsafe { &mut (*scratch).walk };
    let names = match component::<E>(walk) {
        Ok(names) => names,
        Err(done) => return done,
    };
    let at = walk.state;
    if at >= walk.limit || at > (record::RECORD_BYTES - 256) as u64 {
        count_loss(loss::PATH_TOO_LONG);
        return 1;
    }
    // SAFETY: 256 bytes fit behind `at`; a name has at most 255 and its NUL.
    let n = unsafe {
        let place = (&raw mut (*scratch).record).cast::<u8>().add(at as usize);
        match if E == CAST { copy_short(place, &names) } else { 0 } {
            0 => bpf_probe_read_kernel_str(place.cast(), 256, names.name as *const c_void),
            n => n,
        }
    };
    if n <= 0 {
        count_loss(loss::KERNEL_READ);
        return 1;
    }
    walk.state = at + n as u64;
    walk.dentry = names.parent;
    0
}

unsafe extern "C" fn copy_step<const E: u8>(_index: u32, _context: *mut c_void) -> i64 {
    copy_one::<E>()
}

/// Copies the names of a path to this CPU's scratch buffer at `at`, last component first, each with its NUL.
/// [`Walk::end`] and [`Walk::is_cut`] say what came of it: a result on the stack would be one that the verifier follows.
#[inline(always)]
pub fn copy<const E: u8>(mnt: u64, dentry: u64, at: u64) {
    let _ = match E {
        OLD => walk_copy_old(mnt, dentry, at),
        CAST => walk_copy_cast(mnt, dentry, at),
        _ => walk_copy(mnt, dentry, at),
    };
}

#[inline(always)]
fn copy_here<const E: u8>(mnt: u64, dentry: u64, at: u64) -> u64 {
    let Some(walk) = current() else { return 0 };
    walk.start::<E>(mnt, dentry, at, at + record::PATH_BYTES as u64);
    run::<E>(copy_one::<E>, copy_step::<E>);
    1
}
