//! What a profile says of mounting and unmounting. Source: `match_mnt`, `aa_umount` and `match_mnt_flags` in
//! `security/apparmor/mount.c`, Linux 6.1.

use super::{dfa::State, policy::Profile};

const CLASS_MOUNT: u8 = 7;
/// `AA_MAY_MOUNT` and `AA_MAY_UMOUNT`.
const MOUNT: u32 = 2;
const UMOUNT: u32 = 4;

/// A mount as the kernel asks about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mount<'a> {
    /// Where; directories end in `/`.
    pub target: &'a [u8],
    /// What: a device, or any name.
    pub source: &'a [u8],
    /// The type of the file system.
    pub fstype: &'a [u8],
    /// `MS_*`.
    pub flags: u32,
}

impl Profile {
    /// Whether it may be mounted.
    pub fn allows_mount(&self, mount: &Mount<'_>) -> bool {
        let Some((classes, start)) = self.mount_class() else { return true };
        let mut state = start;
        for part in [mount.target, mount.source, mount.fstype] {
            state = classes.step(classes.walk(state, part), 0);
        }
        for bit in (0..32_u8).filter(|bit| mount.flags >> bit & 1 == 1) {
            state = classes.step(state, bit + 1);
        }
        classes.accept(state) & MOUNT != 0
    }

    /// Whether what is mounted there may be unmounted.
    pub fn allows_umount(&self, target: &[u8]) -> bool {
        let Some((classes, start)) = self.mount_class() else { return true };
        classes.accept(classes.walk(start, target)) & UMOUNT != 0
    }

    /// The automaton, and where its mount rules begin. Without them the profile is not asked.
    fn mount_class(&self) -> Option<(&super::dfa::Dfa, State)> {
        let classes = self.classes.as_ref()?;
        let start = classes.dfa.step(classes.start, CLASS_MOUNT);
        (start != State::DEAD).then_some((&classes.dfa, start))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apparmor::testing;

    const TMPFS: Mount<'_> = Mount { target: b"/mnt/", source: b"none", fstype: b"tmpfs", flags: 0 };

    #[test]
    fn mounts_are_allowed_by_rules_alone() {
        let mounts = |rules: &str| testing::rules(rules).allows_mount(&TMPFS);
        assert!(!mounts("  /a r,\n") && !mounts("  file,\n  capability,\n"));
        assert!(mounts("  mount,\n"));
        assert!(!mounts("  mount,\n  deny mount,\n"));
        assert!(mounts("  mount fstype=tmpfs -> /mnt/,\n"));
        assert!(!mounts("  mount fstype=ext4 -> /mnt/,\n"));
        assert!(!mounts("  mount fstype=tmpfs -> /srv/,\n"));
        assert!(!mounts("  mount options=ro,\n"));
        let read_only = Mount { flags: 1, ..TMPFS };
        assert!(testing::rules("  mount options=ro,\n").allows_mount(&read_only));
    }

    #[test]
    fn unmounting_has_rules_of_its_own() {
        let unmounts = |rules: &str| testing::rules(rules).allows_umount(b"/mnt/");
        assert!(unmounts("  umount,\n") && unmounts("  umount /mnt/,\n"));
        assert!(!unmounts("  mount,\n") && !unmounts("  umount /srv/,\n") && !unmounts("  /a r,\n"));
    }
}
