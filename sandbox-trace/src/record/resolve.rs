//! Names → paths as AppArmor sees them: absolute in the target's mount namespace, with symbolic links resolved.
//!
//! The kernel gives the path of an object that exists when the call returns; a name that was removed, or never
//! existed, is put together here from the directory that it started from (whose path the kernel gave) and the
//! string, looking at the target's own root for symbolic links on the way.

use std::{collections::VecDeque, ffi::OsString, fs::File, os::unix::ffi::OsStringExt as _};

use nix::{
    fcntl::{AtFlags, readlinkat},
    sys::stat::{SFlag, fstatat},
};

use super::decode::Name;

/// As many links as the kernel follows in one look-up.
const MAX_LINKS: u32 = 40;

/// A root directory, and the process on whose behalf names are looked up.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    pub(super) root: Option<&'a File>,
    pub(super) tgid: u32,
}

impl Place<'_> {
    /// The absolute path of a name. `follow_last` as the call does it: `chmod` follows a symbolic link in the last
    /// component, `unlink` doesn't. What can't be looked up any more is taken by its letters.
    pub fn path(self, name: &Name, follow_last: bool) -> Vec<u8> {
        let mut done: Vec<Vec<u8>> = components(&name.base).collect();
        let mut ahead: VecDeque<Vec<u8>> = components(&name.name).collect();
        let mut links = 0;
        while let Some(component) = ahead.pop_front() {
            match component.as_slice() {
                b"." => continue,
                b".." => {
                    done.pop();
                    continue;
                }
                _ => {}
            }
            let component = self.own_process(&done, component);
            done.push(component);
            if ahead.is_empty() && !follow_last {
                break;
            }
            if links >= MAX_LINKS {
                continue;
            }
            if let Some(target) = self.read_link(&done) {
                links += 1;
                let target = target.strip_suffix(b" (deleted)").unwrap_or(&target);
                if target.starts_with(b"/") {
                    done.clear();
                } else {
                    done.pop();
                }
                for component in components(target).collect::<Vec<_>>().into_iter().rev() {
                    ahead.push_front(component);
                }
            }
        }
        absolute(&done)
    }

    /// Whether the object at an absolute path is a directory now; `None` if nothing is there, or it can't be told.
    pub fn is_directory(self, path: &[u8]) -> Option<bool> {
        let stat = fstatat(self.root?, relative(path).as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW).ok()?;
        Some(SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFDIR)
    }

    fn read_link(self, done: &[Vec<u8>]) -> Option<Vec<u8>> {
        let path = relative(&absolute(done));
        readlinkat(self.root?, path.as_os_str()).ok().map(OsString::into_vec)
    }

    /// `/proc/self` is who asks, and that is not the recorder.
    fn own_process(self, done: &[Vec<u8>], component: Vec<u8>) -> Vec<u8> {
        let in_proc = matches!(done, [only] if only == b"proc");
        if in_proc && (component == b"self" || component == b"thread-self") {
            self.tgid.to_string().into_bytes()
        } else {
            component
        }
    }
}

fn components(path: &[u8]) -> impl Iterator<Item = Vec<u8>> + '_ {
    path.split(|byte| *byte == b'/').filter(|part| !part.is_empty()).map(<[u8]>::to_vec)
}

fn absolute(components: &[Vec<u8>]) -> Vec<u8> {
    let mut path = Vec::new();
    for component in components {
        path.push(b'/');
        path.extend_from_slice(component);
    }
    if path.is_empty() { b"/".to_vec() } else { path }
}

fn relative(path: &[u8]) -> OsString {
    let path = path.strip_prefix(b"/").unwrap_or(path);
    OsString::from_vec(if path.is_empty() { b".".to_vec() } else { path.to_vec() })
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    fn name(base: &str, name: &str) -> Name {
        Name { base: base.into(), name: name.into() }
    }

    fn with_tree(check: impl FnOnce(Place<'_>)) {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("data/real")).unwrap();
        symlink("real", dir.path().join("data/link")).unwrap();
        symlink("/data/link", dir.path().join("abs")).unwrap();
        symlink("loop", dir.path().join("loop")).unwrap();
        let root = File::open(dir.path()).unwrap();
        check(Place { root: Some(&root), tgid: 42 });
    }

    #[test]
    fn links_are_followed_inside_the_targets_root() {
        with_tree(|place| {
            assert_eq!(place.path(&name("/data", "link/f"), false), b"/data/real/f");
            assert_eq!(place.path(&name("/", "/abs/f"), false), b"/data/real/f");
            assert_eq!(place.path(&name("/", "abs"), false), b"/abs");
            assert_eq!(place.path(&name("/", "abs"), true), b"/data/real");
            assert_eq!(place.path(&name("/data", "../data/./link/../x"), false), b"/data/x");
            assert_eq!(place.path(&name("/", "../../x"), false), b"/x");
            assert_eq!(place.is_directory(b"/data/real"), Some(true));
            assert_eq!(place.is_directory(b"/abs"), Some(false));
            assert_eq!(place.is_directory(b"/gone"), None);
        });
    }

    #[test]
    fn what_is_not_there_is_taken_by_its_letters() {
        with_tree(|place| {
            assert_eq!(place.path(&name("/gone", "a/../b\n"), true), b"/gone/b\n");
            assert_eq!(place.path(&name("/", "loop/x"), true), b"/loop/x");
            assert_eq!(place.path(&name("/", "/proc/self/fd/3"), false), b"/proc/42/fd/3");
        });
        let nowhere = Place { root: None, tgid: 1 };
        assert_eq!(nowhere.path(&name("/a", "b"), true), b"/a/b");
    }
}
