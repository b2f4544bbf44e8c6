//! Which mount namespaces are the host's: where the line between a container runtime's set-up and the container is.
//!
//! The recorder's own is one. A service manager gives others a private copy of its mounts (`PrivateMounts=`), Docker's
//! daemon for one, and a runtime that runs in such a copy is as much outside the container as one that does not.
//! User space names the copies that live when the recording begins; a later one is known by its root, which is the
//! host's root directory.

use aya_ebpf::{macros::map, maps::HashMap};
use sandbox_trace_ebpf::record::class;

use crate::{
    kernel::{LOOPS, constant, get_or_zero, off},
    maps,
    task::{image, mount_namespace_inum, mount_namespace_of},
};

/// Mount namespaces by inode number: [`class::HOST`] or [`class::INSIDE`]. The first word counts.
#[map]
pub static NAMESPACES: HashMap<u32, u8> = HashMap::with_max_entries(4096, 0);

const BPF_NOEXIST: u64 = 1;

#[inline(always)]
fn known(namespace: u32) -> Option<u8> {
    // SAFETY: a plain number is copied out of the map.
    NAMESPACES.get_ptr(namespace).map(|place| unsafe { *place })
}

/// Says what a namespace is, unless that was said before.
#[inline(always)]
fn note(namespace: u32, place: u8) {
    let _ = NAMESPACES.insert(namespace, place, BPF_NOEXIST);
}

/// Whether a mount namespace is the host's, or a copy of it.
#[inline(always)]
pub fn is_host(namespace: u32) -> bool {
    namespace == constant!(host_mnt_ns) || known(namespace) == Some(class::HOST)
}

/// Whether the task's root directory is the host's.
#[inline(always)]
fn has_host_root<const E: u8>(task: u64) -> bool {
    let fs: u64 = get_or_zero::<E, _>(task + off!(task_fs) as u64);
    if fs == 0 {
        return false;
    }
    let dentry: u64 = get_or_zero::<E, _>(fs + off!(fs_root_dentry) as u64);
    let inode: u64 = get_or_zero::<E, _>(dentry + off!(dentry_inode) as u64);
    let sb: u64 = get_or_zero::<E, _>(inode + off!(inode_sb) as u64);
    let ino: u64 = get_or_zero::<E, _>(inode + off!(inode_ino) as u64);
    let dev: u32 = get_or_zero::<E, _>(sb + off!(sb_dev) as u64);
    ino == constant!(root_ino) && dev == constant!(root_dev)
}

/// Where a task stands, by [`class`].
#[inline(always)]
pub fn of<const E: u8>(task: u64, exe: u64) -> u8 {
    let here = mount_namespace_of::<E>(task);
    if is_host(here) {
        return class::HOST;
    }
    let file = image::<E>(task);
    let mnt = if file == 0 { 0 } else { get_or_zero::<E, _>(file + off!(file_mnt) as u64) };
    let image = mount_namespace_inum::<E>(mnt);
    // An image on a mount of the host's namespace was carried in: the runtime's. One on a mount of another
    // namespace was started there. One on a detached mount or a memfd is either; its exec told which.
    if image == 0 {
        return if maps::INSIDE.get_ptr(exe).is_some() { class::INSIDE } else { class::SETUP };
    }
    if is_host(image) {
        return class::SETUP;
    }
    if known(image).is_none() && has_host_root::<E>(task) {
        // Came with an image that nobody started here, and has not left the host's files: a runtime in a copy of the
        // host's namespace, that has gone on to the container's already, or not yet.
        note(image, class::HOST);
        return if image == here { class::HOST } else { class::SETUP };
    }
    class::INSIDE
}

/// Remembers what is started inside the container, and that it is one.
#[inline(always)]
pub fn executed(task: u64, exe: u64, mnt: u64) {
    let here = mount_namespace_of::<LOOPS>(task);
    let image = mount_namespace_inum::<LOOPS>(mnt);
    if !is_host(here) && !is_host(image) {
        let _ = maps::INSIDE.insert(exe, class::INSIDE, 0);
        if image == here {
            note(here, class::INSIDE);
        }
    }
}
