//! From a (mount, dentry) to its path, up to the root of the mount tree, across mount points: once as a hash, which
//! is all that a known path costs, and once as names.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_probe_read_kernel_str;
use sandbox_trace_ebpf::{loss, record};

use crate::{
    kernel::{count_loss, mix, must, off, read, verified_once},
    maps,
    ring::{self, Step},
};

/// Steps of a walk: components and mount crossings. `PATH_MAX` allows 2048 components.
const STEPS: u32 = 2200;
/// Steps where the verifier walks through each; longer paths are counted as lost.
const OLD_STEPS: u32 = 128;

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
    fn start(&mut self, mnt: u64, dentry: u64, state: u64, limit: u64) {
        let root = read(mnt + off!(vfsmount_root) as u64).unwrap_or(0);
        *self = Self { mnt, dentry, root, state, limit, arrived: 0 };
    }

    /// At the root of a mount: on to the place where it is mounted. True if the walk goes on.
    #[inline(always)]
    fn cross(&mut self) -> bool {
        let mount = self.mnt - off!(mount_mnt) as u64;
        let Some(parent) = must(read::<u64>(mount + off!(mount_parent) as u64)) else { return false };
        if parent == mount {
            self.arrived = 1;
            return false;
        }
        let Some(mountpoint) = must(read::<u64>(mount + off!(mount_mountpoint) as u64)) else { return false };
        self.dentry = mountpoint;
        self.mnt = parent + off!(mount_mnt) as u64;
        self.root = read(self.mnt + off!(vfsmount_root) as u64).unwrap_or(0);
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

/// Runs `step` until it says that it is done.
#[inline(always)]
fn run<const OLD: bool>(step: Step) {
    let (steps, most) = if OLD {
        (ring::repeat::<OLD, OLD_STEPS>(OLD_STEPS, step), OLD_STEPS)
    } else {
        (ring::repeat::<OLD, STEPS>(STEPS, step), STEPS)
    };
    if steps >= most {
        count_loss(loss::PATH_TOO_LONG);
    }
}

/// The dentry at hand and its parent, unless the walk is at a mount's root (then it crosses) or at its end.
#[inline(always)]
fn component(walk: &mut Walk) -> Result<Names, i64> {
    if walk.dentry == walk.root {
        return Err(if walk.cross() { 0 } else { 1 });
    }
    let Some(names) = must(read::<Names>(walk.dentry + off!(dentry_parent) as u64)) else { return Err(1) };
    if names.parent == walk.dentry { Err(1) } else { Ok(names) }
}

unsafe extern "C" fn hash_step(_index: u32, _context: *mut c_void) -> i64 {
    let Some(walk) = current() else { return 1 };
    let names = match component(walk) {
        Ok(names) => names,
        Err(done) => return done,
    };
    walk.state = mix(walk.state, names.hash_len);
    walk.dentry = names.parent;
    0
}

verified_once! {
    walk_hash, walk_hash_old(mnt, dentry, key) = hash_here;
    walk_copy, walk_copy_old(mnt, dentry, at) = copy_here;
}

/// Mixes every component of the path into a key: a rename of any ancestor changes it.
#[inline(always)]
pub fn hash<const OLD: bool>(mnt: u64, dentry: u64, key: u64) -> u64 {
    if OLD { walk_hash_old(mnt, dentry, key) } else { walk_hash(mnt, dentry, key) }
}

#[inline(always)]
fn hash_here<const OLD: bool>(mnt: u64, dentry: u64, key: u64) -> u64 {
    let Some(walk) = current() else { return key };
    walk.start(mnt, dentry, key, 0);
    run::<OLD>(hash_step);
    mix(walk.state, walk.arrived)
}

unsafe extern "C" fn copy_step(_index: u32, _context: *mut c_void) -> i64 {
    let Some(scratch) = maps::scratch() else { return 1 };
    // SAFETY: only one walk is under way on a CPU.
    let walk = unsafe { &mut (*scratch).walk };
    let names = match component(walk) {
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
        bpf_probe_read_kernel_str(place.cast(), 256, names.name as *const c_void)
    };
    if n <= 0 {
        count_loss(loss::KERNEL_READ);
        return 1;
    }
    walk.state = at + n as u64;
    walk.dentry = names.parent;
    0
}

/// Copies the names of a path to this CPU's scratch buffer at `at`, last component first, each with its NUL.
/// [`Walk::end`] and [`Walk::is_cut`] say what came of it: a result on the stack would be one that the verifier follows.
#[inline(always)]
pub fn copy<const OLD: bool>(mnt: u64, dentry: u64, at: u64) {
    let _ = if OLD { walk_copy_old(mnt, dentry, at) } else { walk_copy(mnt, dentry, at) };
}

#[inline(always)]
fn copy_here<const OLD: bool>(mnt: u64, dentry: u64, at: u64) -> u64 {
    let Some(walk) = current() else { return 0 };
    walk.start(mnt, dentry, at, at + record::PATH_BYTES as u64);
    run::<OLD>(copy_step);
    1
}
