//! What an executable is, whatever its path: the build id that its linker gave it, or else a hash of the file.
//!
//! The file is the target's: it may be a FIFO, without end, replaced while it is read, or on a file system whose
//! server never answers. So it is opened inside the target's root only, must be a regular file of a local file
//! system, is read up to a bound, and all of that on a thread that nobody waits for longer than a moment.

use std::{
    collections::HashMap,
    fmt::Write as _,
    fs::File,
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::fs::{FileExt as _, OpenOptionsExt as _},
    },
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    time::{Duration, Instant},
};

use nix::{
    fcntl::{OFlag, OpenHow, ResolveFlag, openat2},
    sys::{
        stat::Mode,
        statfs::{FsType, fstatfs},
    },
};
use sha2::{Digest as _, Sha256};

use super::{build_id, seen::ExeId};

/// Most executables that wait for their turn, each with a descriptor; what comes on top has no identity.
const WAITING: usize = 128;
/// Files above this are not hashed.
const MAX_HASHED: u64 = 64 << 20;
/// Source: include/uapi/linux/magic.h
const TMPFS: i64 = 0x0102_1994;
/// How long the end of a recording waits for those under way.
const PATIENCE: Duration = Duration::from_secs(1);

/// What an executable is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Identity {
    /// The bytes of its `.note.gnu.build-id`, in hexadecimal.
    BuildId(String),
    /// SHA-256 of the file, in hexadecimal.
    Sha256(String),
}

/// An executable to look at: its number, the root that its path starts from, and the path.
struct Question {
    exe: ExeId,
    root: File,
    path: Vec<u8>,
}

/// The thread that looks at executables, and what it found.
#[derive(Debug, Default)]
pub struct Identities {
    worker: Option<Worker>,
    known: HashMap<ExeId, Identity>,
}

#[derive(Debug)]
struct Worker {
    questions: SyncSender<Question>,
    answers: Receiver<(ExeId, Option<Identity>)>,
    /// Questions without an answer yet.
    open: usize,
}

impl Identities {
    /// Asks for an executable. Never waits.
    pub fn ask(&mut self, exe: ExeId, root: Option<&File>, path: &[u8]) {
        self.take();
        if self.worker.is_none() {
            self.worker = Worker::start();
        }
        let Some((worker, root)) = self.worker.as_mut().zip(root.and_then(|r| r.try_clone().ok())) else {
            return;
        };
        if worker.questions.try_send(Question { exe, root, path: path.to_vec() }).is_ok() {
            worker.open += 1;
        }
    }

    fn take(&mut self) {
        while let Some(worker) = &mut self.worker
            && let Ok((exe, identity)) = worker.answers.try_recv()
        {
            worker.open = worker.open.saturating_sub(1);
            self.known.extend(identity.map(|identity| (exe, identity)));
        }
    }

    /// Waits a moment for what is under way.
    pub fn wait(&mut self) {
        let until = Instant::now() + PATIENCE;
        self.take();
        while let Some(worker) = self.worker.as_mut().filter(|worker| worker.open > 0) {
            let left = until.saturating_duration_since(Instant::now());
            let Ok((exe, identity)) = worker.answers.recv_timeout(left) else { break };
            worker.open -= 1;
            self.known.extend(identity.map(|identity| (exe, identity)));
        }
    }

    /// What is known of an executable. Takes no lock: the process that writes a checkpoint is a fork without the
    /// thread.
    pub fn get(&self, exe: ExeId) -> Option<&Identity> {
        self.known.get(&exe)
    }
}

impl Worker {
    fn start() -> Option<Self> {
        let (questions, asked) = sync_channel::<Question>(WAITING);
        // As many answers as there can be questions: the thread never waits for its reader.
        let (answer, answers) = sync_channel(WAITING * 2);
        let work = move || {
            for Question { exe, root, path } in asked {
                if answer.send((exe, identity(&root, &path))).is_err() {
                    break;
                }
            }
        };
        let started = std::thread::Builder::new().name("identities".into()).spawn(work);
        started.is_ok().then_some(Self { questions, answers, open: 0 })
    }
}

fn identity(root: &File, path: &[u8]) -> Option<Identity> {
    let file = open(root, path)?;
    match build_id::of(&file) {
        Some(id) => Some(Identity::BuildId(hexadecimal(&id))),
        None => sha256(&file).map(Identity::Sha256),
    }
}

/// Opens a regular file below `root` and nothing else.
fn open(root: &File, path: &[u8]) -> Option<File> {
    use std::os::unix::ffi::OsStrExt as _;
    let path = std::ffi::OsStr::from_bytes(path);
    // Without reading: opening a FIFO waits, and opening a device may do anything.
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
        .mode(Mode::empty())
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    let place: OwnedFd = openat2(root, path, how).ok()?;
    let place = File::from(place);
    let kind = place.metadata().ok()?.file_type();
    if !kind.is_file() || !answers(&place) {
        return None;
    }
    File::options()
        .read(true)
        .custom_flags((OFlag::O_NONBLOCK | OFlag::O_NOCTTY).bits())
        .open(format!("/proc/self/fd/{}", place.as_raw_fd()))
        .ok()
}

/// Whether the file's file system is one that answers by itself: not a process's (FUSE), a server's, or the
/// kernel's own, whose files have no end.
pub fn answers(file: &File) -> bool {
    // Source: include/uapi/linux/magic.h
    const EXT: i64 = 0xef53;
    const XFS: i64 = 0x5846_5342;
    const BTRFS: i64 = 0x9123_683e;
    const OVERLAY: i64 = 0x794c_7630;
    const SQUASHFS: i64 = 0x7371_7368;
    const EROFS: i64 = 0xe0f5_e1e2;
    const F2FS: i64 = 0xf2f5_2010;
    const ZFS: i64 = 0x2fc1_2fc1;
    const RAMFS: i64 = 0x8584_58f6;
    let FsType(magic) = match fstatfs(file) {
        Ok(stat) => stat.filesystem_type(),
        Err(_) => return false,
    };
    [EXT, XFS, BTRFS, TMPFS, OVERLAY, SQUASHFS, EROFS, F2FS, ZFS, RAMFS].contains(&magic)
}

/// Whether the file's file system is a tmpfs.
pub fn is_in_memory(file: &File) -> bool {
    fstatfs(file).is_ok_and(|stat| stat.filesystem_type() == FsType(TMPFS))
}

fn sha256(file: &File) -> Option<String> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 64 << 10];
    let mut at = 0;
    loop {
        let n = file.read_at(&mut buffer, at).ok()?;
        if n == 0 {
            return Some(hexadecimal(&hash.finalize()));
        }
        hash.update(buffer.get(..n)?);
        at += n as u64;
        if at > MAX_HASHED {
            return None;
        }
    }
}

/// Two digits a byte.
pub fn hexadecimal(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = write!(out, "{byte:02x}");
    }
    out
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink, path::Path};

    use super::*;

    fn root(path: &Path) -> File {
        File::options()
            .read(true)
            .custom_flags((OFlag::O_PATH | OFlag::O_DIRECTORY).bits())
            .open(path)
            .unwrap()
    }

    #[test]
    fn a_script_is_known_by_its_contents_and_a_program_by_its_build_id() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("script"), "#!/bin/sh\n").unwrap();
        let Some(Identity::Sha256(hash)) = identity(&root(dir.path()), b"/script") else { panic!("no hash") };
        assert_eq!(hash, "a8076d3d28d21e02012b20eaf7dbf75409a6277134439025f282e368e3305abf");
        // Rust's own linker line asks for a build id.
        let this = std::env::current_exe().unwrap();
        let found = identity(&root(Path::new("/")), this.as_os_str().as_encoded_bytes());
        assert!(matches!(found, Some(Identity::BuildId(_) | Identity::Sha256(_))), "{found:?}");
    }

    #[test]
    fn nothing_but_regular_files_below_the_root_is_opened() {
        let dir = tempfile::tempdir().unwrap();
        let inside = dir.path().join("root");
        fs::create_dir_all(inside.join("proc")).unwrap();
        fs::write(dir.path().join("outside"), "secret").unwrap();
        nix::unistd::mkfifo(&inside.join("fifo"), Mode::S_IRUSR).unwrap();
        symlink("../outside", inside.join("up")).unwrap();
        symlink(dir.path().join("outside"), inside.join("absolute")).unwrap();
        symlink("/proc/self/exe", inside.join("magic")).unwrap();
        let root_of = root(&inside);
        for name in ["/fifo", "/up", "/absolute", "/../outside", "/proc", "/missing", "", "/magic", "/a\0b"] {
            assert_eq!(identity(&root_of, name.as_bytes()), None, "{name:?}");
        }
        let host = root(Path::new("/"));
        for name in ["/dev/zero", "/proc/kmsg", "/proc/self/exe", "/sys/kernel/btf/vmlinux", "/proc/self/mem"]
        {
            assert_eq!(identity(&host, name.as_bytes()), None, "{name}");
        }
    }

    #[test]
    fn a_file_without_an_end_in_sight_is_not_hashed() {
        let dir = tempfile::tempdir().unwrap();
        let file = File::create(dir.path().join("huge")).unwrap();
        file.set_len(1 << 40).unwrap();
        assert_eq!(identity(&root(dir.path()), b"/huge"), None);
    }

    #[test]
    fn answers_come_and_are_not_waited_for_too_long() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("script"), "#!/bin/sh\n").unwrap();
        let mut identities = Identities::default();
        let root = root(dir.path());
        for key in 0..3000 {
            identities.ask(key, Some(&root), b"/script");
        }
        identities.ask(9999, None, b"/script");
        identities.wait();
        let known = identities.known.len();
        assert!(known >= WAITING / 2 && identities.get(9999).is_none(), "{known}");
    }
}
