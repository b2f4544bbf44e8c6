//! How much is in a folder of a possibly hostile target: never outside its root, never through a link, never opening
//! anything but a directory, and never longer than a budget allows.

use std::{
    collections::{BTreeSet, HashSet},
    ffi::CStr,
    fs::File,
    mem::MaybeUninit,
    os::{
        fd::{AsFd, AsRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    time::{Duration, Instant},
};

use nix::{
    dir::Dir,
    fcntl::{OFlag, OpenHow, ResolveFlag, openat, openat2},
    libc,
    sys::{stat::Mode, statvfs::fstatvfs},
};

use crate::record::identity::{answers, is_in_memory};

/// Most names that one look at all folders goes through.
const MAX_NAMES: u32 = 20_000;
/// Most processor time that it takes; and most time at all, for disks that are slow.
const MAX_WORK: Duration = Duration::from_millis(200);
const MAX_TIME: Duration = Duration::from_secs(3);
/// Deeper folders are not gone into: each level is an open descriptor.
const MAX_DEPTH: u32 = 48;
/// What `st_blocks` counts in.
const BLOCK: u64 = 512;

/// What was in a folder.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seen {
    /// In bytes, as the file system accounts for them.
    pub bytes: u64,
    /// Names.
    pub files: u64,
}

impl Seen {
    /// The larger of both, each for itself.
    pub fn max(self, other: Self) -> Self {
        Self { bytes: self.bytes.max(other.bytes), files: self.files.max(other.files) }
    }
}

/// Why a folder has no size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is not there, or can't be read, at present.
    Gone,
    /// It would take too long.
    TooMuch,
}

/// How much a look may cost.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    names: u32,
    /// What is left when the folder at hand began.
    began: Instant,
    work: Duration,
}

impl Budget {
    /// That of one look at all folders.
    pub fn new() -> Self {
        Self::of(MAX_NAMES)
    }

    /// One with so many names.
    pub fn of(names: u32) -> Self {
        Self { names, began: Instant::now(), work: work() }
    }

    /// Time since the look began.
    pub fn used(&self) -> Duration {
        work().saturating_sub(self.work)
    }

    /// A folder that was too much must not take the others along: they get half of what there was.
    pub fn next_folder(&mut self) {
        if self.names == 0 {
            self.names = MAX_NAMES / 2;
        }
    }

    fn spend(&mut self) -> Result<(), Fault> {
        self.names = self.names.checked_sub(1).ok_or(Fault::TooMuch)?;
        let late = || self.used() > MAX_WORK || self.began.elapsed() > MAX_TIME;
        // A look at the clock costs as much as one at a file.
        if self.names.is_multiple_of(64) && late() {
            self.names = 0;
            return Err(Fault::TooMuch);
        }
        Ok(())
    }
}

/// Processor time of this thread.
fn work() -> Duration {
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID)
        .map(Duration::from)
        .unwrap_or_default()
}

/// What the folder at `path` holds, and what those of `wanted` hold that are met on the way. A file system in memory is
/// asked for all that it holds, files without a name too, and so stands for the folders on it, by its mount point. The
/// recorder's `own` are other programs' as well and are gone through like all others.
pub fn measure(
    root: &File,
    path: &[u8],
    own: bool,
    wanted: &BTreeSet<&[u8]>,
    budget: &mut Budget,
) -> Result<Vec<(Vec<u8>, Seen)>, Fault> {
    let place = open_place(root, path)?;
    if !answers(&place) {
        return Err(Fault::TooMuch);
    }
    let about = about(&place, c"").ok_or(Fault::Gone)?;
    if !own
        && is_in_memory(&place)
        && let Some(found) = in_memory(root, path, about.stx_mnt_id)
    {
        return Ok(vec![found]);
    }
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let folder = openat(&place, ".", flags, Mode::empty()).map_err(|_| Fault::Gone)?;
    let (path, mount) = (path.to_vec(), about.stx_mnt_id);
    let mut walk = Walk { mount, budget, wanted, path, linked: HashSet::new(), found: Vec::new() };
    walk.folder(folder, 0)?;
    Ok(walk.found)
}

/// What tells root directories apart.
pub fn number(root: &File) -> u64 {
    about(root, c"").map_or(0, |about| about.stx_mnt_id)
}

/// A folder below the root, by a path without links, as a place to look at.
fn open_place(root: &File, path: &[u8]) -> Result<File, Fault> {
    let path = std::ffi::OsStr::from_bytes(path);
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC)
        .mode(Mode::empty())
        .resolve(
            ResolveFlag::RESOLVE_IN_ROOT
                | ResolveFlag::RESOLVE_NO_MAGICLINKS
                | ResolveFlag::RESOLVE_NO_SYMLINKS,
        );
    openat2(root, path, how).map(File::from).map_err(|_| Fault::Gone)
}

/// The mount point above `path` and what its file system holds, if the whole file system is mounted there: where a
/// part of one is, all of it says nothing of the part.
fn in_memory(root: &File, path: &[u8], mount: u64) -> Option<(Vec<u8>, Seen)> {
    // A tmpfs numbers its files from its root on (Linux 5.9, mm/shmem.c).
    const ROOT: u64 = 1;
    let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at + 1);
    for end in slashes.skip(1) {
        let above = path.get(..end)?;
        let place = open_place(root, above).ok()?;
        let about = about(&place, c"")?;
        if about.stx_mnt_id == mount {
            let whole = fstatvfs(&place).ok().filter(|all| about.stx_ino == ROOT && all.blocks() > 0)?;
            let bytes =
                whole.blocks().saturating_sub(whole.blocks_free()).saturating_mul(whole.fragment_size());
            // The root itself is no name in it.
            let files = whole.files().saturating_sub(whole.files_free()).saturating_sub(1);
            return Some((above.to_vec(), Seen { bytes, files }));
        }
    }
    None
}

/// What is known of `name` in `folder`, or of the folder itself. Follows nothing.
fn about(folder: &impl AsFd, name: &CStr) -> Option<libc::statx> {
    let mut out = MaybeUninit::<libc::statx>::zeroed();
    let flags = libc::AT_EMPTY_PATH | libc::AT_SYMLINK_NOFOLLOW | libc::AT_NO_AUTOMOUNT;
    let mask = libc::STATX_BASIC_STATS | libc::STATX_MNT_ID;
    // SAFETY: the name ends with a NUL and the kernel writes one structure, for which there is room.
    let result =
        unsafe { libc::statx(folder.as_fd().as_raw_fd(), name.as_ptr(), flags, mask, out.as_mut_ptr()) };
    // SAFETY: zeroes are a value of it, and the kernel has filled it in besides.
    (result == 0).then(|| unsafe { out.assume_init() })
}

struct Walk<'a> {
    mount: u64,
    budget: &'a mut Budget,
    wanted: &'a BTreeSet<&'a [u8]>,
    /// Where it is, with a slash at the end.
    path: Vec<u8>,
    found: Vec<(Vec<u8>, Seen)>,
    /// Files with several names, by number: they count once.
    linked: HashSet<u64>,
}

impl Walk<'_> {
    fn folder(&mut self, folder: OwnedFd, depth: u32) -> Result<Seen, Fault> {
        if depth > MAX_DEPTH {
            return Err(Fault::TooMuch);
        }
        let mut seen = Seen::default();
        let mut folder = Dir::from_fd(folder).map_err(|_| Fault::Gone)?;
        let handle = folder.as_fd().try_clone_to_owned().map_err(|_| Fault::TooMuch)?;
        for entry in folder.iter() {
            let Ok(entry) = entry else { break };
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            self.budget.spend()?;
            // What is mounted here is another file system's, or another part of this one.
            let Some(one) = about(&handle, name).filter(|one| one.stx_mnt_id == self.mount) else { continue };
            seen.files += 1;
            if one.stx_nlink < 2 || self.linked.insert(one.stx_ino) {
                seen.bytes = seen.bytes.saturating_add(one.stx_blocks.saturating_mul(BLOCK));
            }
            if u32::from(one.stx_mode) & libc::S_IFMT == libc::S_IFDIR {
                let flags = OFlag::O_RDONLY
                    | OFlag::O_DIRECTORY
                    | OFlag::O_NOFOLLOW
                    | OFlag::O_NONBLOCK
                    | OFlag::O_CLOEXEC;
                let Ok(below) = openat(&handle, name, flags, Mode::empty()) else { continue };
                // Something may have been mounted there just now.
                if about(&below, c"").is_some_and(|now| now.stx_mnt_id == self.mount) {
                    let length = self.path.len();
                    self.path.extend_from_slice(name.to_bytes());
                    self.path.push(b'/');
                    let below = self.folder(below, depth + 1)?;
                    self.path.truncate(length);
                    seen.bytes = seen.bytes.saturating_add(below.bytes);
                    seen.files += below.files;
                }
            }
        }
        if depth == 0 || self.wanted.contains(self.path.as_slice()) {
            self.found.push((self.path.clone(), seen));
        }
        Ok(seen)
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::OpenOptionsExt as _, os::unix::fs::symlink, path::Path};

    use super::*;

    fn root(path: &Path) -> File {
        File::options().read(true).custom_flags(libc::O_PATH | libc::O_DIRECTORY).open(path).unwrap()
    }

    fn look(root: &File, path: &str) -> Result<Vec<(Vec<u8>, Seen)>, Fault> {
        measure(root, path.as_bytes(), true, &BTreeSet::new(), &mut Budget::new())
    }

    #[test]
    fn links_fifos_and_what_is_outside_are_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (inside, outside) = (dir.path().join("root"), dir.path().join("outside"));
        fs::create_dir_all(inside.join("data")).unwrap();
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("big"), vec![1; 1 << 20]).unwrap();
        symlink(&outside, inside.join("data/absolute")).unwrap();
        symlink("../../outside/big", inside.join("data/up")).unwrap();
        symlink("/data", inside.join("link")).unwrap();
        nix::unistd::mkfifo(&inside.join("data/fifo"), Mode::S_IRUSR).unwrap();
        fs::write(inside.join("data/a"), vec![1; 10_000]).unwrap();
        fs::hard_link(inside.join("data/a"), inside.join("data/b")).unwrap();
        let root = root(&inside);
        let [(path, seen)] = look(&root, "/data/").unwrap().try_into().unwrap();
        assert_eq!((path.as_slice(), seen.files), (b"/data/".as_slice(), 5));
        assert!(seen.bytes >= 10_000 && seen.bytes < 30_000, "{seen:?}");
        for path in ["/link/", "/../outside/", "/none/", "/data/a/"] {
            assert_eq!(look(&root, path), Err(Fault::Gone), "{path}");
        }
        let host = self::root(Path::new("/"));
        // Not /proc/self, which is a link.
        assert_eq!(look(&host, &format!("/proc/{}/", std::process::id())), Err(Fault::TooMuch));
    }

    #[test]
    fn folders_within_folders_end_somewhere() {
        let dir = tempfile::tempdir().unwrap();
        let deep = (0..=MAX_DEPTH + 1).fold(dir.path().join("d"), |path, _| path.join("d"));
        fs::create_dir_all(&deep).unwrap();
        assert_eq!(look(&root(dir.path()), "/d/"), Err(Fault::TooMuch));
    }
}
