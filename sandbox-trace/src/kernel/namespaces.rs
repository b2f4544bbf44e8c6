//! The host's mount namespaces: this process's own, and the private copies that a service manager gives to services
//! (`PrivateMounts=`, `PrivateTmp=`, …), container engines among them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::MetadataExt as _,
    path::Path,
};

/// The host's root directory, as the kernel's own structures identify it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Root {
    /// Inode number.
    pub ino: u64,
    /// Device number as the kernel packs it: major in the upper 12 bits, minor in the lower 20.
    pub dev: u32,
}

/// The root directory of this process. `None` where /proc does not say; then only the namespaces that are listed
/// count as the host's.
pub fn root() -> Option<Root> {
    // `stat` has its own idea of the device on some file systems (btrfs); mountinfo has the superblock's.
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    Some(Root { ino: fs::metadata("/").ok()?.ino(), dev: root_device(&mounts)? })
}

/// The device of the root directory, packed as [`Root::dev`] is, by the text of a `mountinfo`.
pub fn root_device(mountinfo: &str) -> Option<u32> {
    // The last one is on top.
    mountinfo.lines().rev().find_map(|line| {
        let mut fields = line.split(' ').skip(2);
        let (device, place) = (fields.next()?, fields.nth(1)?);
        let (major, minor) = device.split_once(':')?;
        let (major, minor): (u32, u32) = (major.parse().ok()?, minor.parse().ok()?);
        (place == "/").then_some(major << 20 | minor)
    })
}

/// The mount namespaces of live processes whose root directory is the host's, by inode number. As long as its file is
/// open, a namespace lives and the kernel does not give its number to another one, such as a container's.
pub fn of_host() -> BTreeMap<u32, fs::File> {
    let (mut met, mut found) = (BTreeSet::new(), BTreeMap::new());
    let Ok(own) = fs::metadata("/") else { return found };
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    for process in processes.filter(|p| p.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit)) {
        let Some(namespace) = number(&process.path().join("ns/mnt")) else { continue };
        if met.insert(namespace)
            && fs::metadata(process.path().join("root"))
                .is_ok_and(|root| (root.dev(), root.ino()) == (own.dev(), own.ino()))
            && let Ok(file) = fs::File::open(process.path().join("ns/mnt"))
            && file.metadata().is_ok_and(|metadata| metadata.ino() == u64::from(namespace))
        {
            found.insert(namespace, file);
        }
    }
    found
}

/// The inode number of a namespace, by its link in /proc.
pub fn number(link: &Path) -> Option<u32> {
    u32::try_from(fs::metadata(link).ok()?.ino()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_roots_device_is_the_upper_mounts() {
        let text = "1 0 0:2 / / rw - rootfs none rw\n27 1 254:3 / / rw - ext4 /dev/vda rw\n28 27 0:9 / /x rw - tmpfs t rw\n";
        assert_eq!(root_device(text), Some(254 << 20 | 3));
        assert_eq!(root_device(""), None);
    }

    #[test]
    fn this_process_is_in_one_of_them() {
        let own = number(Path::new("/proc/self/ns/mnt")).unwrap();
        assert!(of_host().contains_key(&own));
    }
}
