//! Rootless engines: whose they are, where they keep their files and sockets, and whether what they say of a process
//! may be believed. All of it was written by an ordinary user, who may write anything.

use std::{
    fs::{self, File},
    io::Read as _,
    os::{
        fd::AsRawFd as _,
        unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _},
    },
    path::{Path, PathBuf},
};

use nix::libc;

/// Most users that are asked.
const MAX_USERS: usize = 256;
/// Larger than any file that a runtime keeps.
const MAX_BYTES: u64 = 16 << 20;

/// A user with a session on this host, who may have containers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The user's number.
    pub uid: u32,
    /// `$XDG_RUNTIME_DIR`.
    pub runtime_dir: PathBuf,
    /// The home directory, if the host's own list of users has one.
    pub home: Option<PathBuf>,
}

impl User {
    /// The socket of the user's Docker engine, if there is one.
    pub fn docker_socket(&self) -> Option<PathBuf> {
        let socket = self.runtime_dir.join("docker.sock");
        let about = fs::symlink_metadata(&socket).ok()?;
        (about.file_type().is_socket() && about.uid() == self.uid).then_some(socket)
    }
}

/// All users with a runtime directory below `root`, by number.
pub fn users(root: &Path) -> Vec<User> {
    let passwd = fs::read_to_string(root.join("etc/passwd")).unwrap_or_default();
    let home = |uid: u32| {
        let line = passwd.lines().find(|line| line.split(':').nth(2) == Some(uid.to_string().as_str()))?;
        let home = line.split(':').nth(5)?.strip_prefix('/')?;
        Some(root.join(home))
    };
    let mut users: Vec<User> = fs::read_dir(root.join("run/user"))
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let uid: u32 = entry.file_name().to_str()?.parse().ok()?;
            // A directory of another's would make this user answer for it.
            let is_own = entry.metadata().is_ok_and(|about| about.is_dir() && about.uid() == uid);
            is_own.then(|| User { uid, runtime_dir: entry.path(), home: home(uid) })
        })
        .collect();
    users.sort_by_key(|user| user.uid);
    users.truncate(MAX_USERS);
    users
}

/// Reads a file that a runtime keeps; one of a user's must be that user's. Never waits, as opening a FIFO would.
pub fn read(file: &Path, owner: Option<u32>) -> Option<Vec<u8>> {
    let file = File::options()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOFOLLOW | libc::O_NOCTTY)
        .open(file)
        .ok()?;
    let about = file.metadata().ok()?;
    if !about.is_file() || about.len() > MAX_BYTES || owner.is_some_and(|uid| about.uid() != uid) {
        return None;
    }
    let mut text = Vec::new();
    file.take(MAX_BYTES).read_to_end(&mut text).ok()?;
    Some(text)
}

/// Whether a process is in a user namespace that the user made: then it may well be in one of the user's containers.
/// Of another's process the user could say so too.
pub fn is_in_namespace_of(pid: u32, uid: u32) -> bool {
    /// `_IO(0xb7, 4)`, include/uapi/linux/nsfs.h; Linux 4.11.
    const NS_GET_OWNER_UID: libc::c_ulong = 0xb704;
    let Ok(namespace) = File::open(format!("/proc/{pid}/ns/user")) else { return false };
    let mut owner: libc::uid_t = libc::uid_t::MAX;
    // SAFETY: the kernel writes one number, for which there is room.
    let result = unsafe { libc::ioctl(namespace.as_raw_fd(), NS_GET_OWNER_UID, &raw mut owner) };
    result == 0 && owner == uid
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_users_own_directory_and_socket_alone_count() {
        let dir = tempfile::tempdir().unwrap();
        let me = nix::unistd::getuid().as_raw();
        let run = dir.path().join("run/user");
        for name in [me.to_string(), (me + 1).to_string(), "x".into()] {
            fs::create_dir_all(run.join(name)).unwrap();
        }
        fs::create_dir(dir.path().join("etc")).unwrap();
        fs::write(dir.path().join("etc/passwd"), format!("odd\na:x:{me}:0::/home/a:/bin/sh\n")).unwrap();
        let [user] = users(dir.path()).try_into().unwrap();
        assert_eq!((user.uid, user.home.as_deref()), (me, Some(dir.path().join("home/a").as_path())));
        assert_eq!(user.docker_socket(), None);
        fs::write(user.runtime_dir.join("docker.sock"), "").unwrap();
        assert_eq!(user.docker_socket(), None);
        fs::remove_file(user.runtime_dir.join("docker.sock")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(user.runtime_dir.join("docker.sock")).unwrap();
        assert!(user.docker_socket().is_some());
    }

    #[test]
    fn anothers_files_fifos_and_links_are_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let me = nix::unistd::getuid().as_raw();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("file"), "text").unwrap();
        nix::unistd::mkfifo(&at("fifo"), nix::sys::stat::Mode::S_IRUSR).unwrap();
        std::os::unix::fs::symlink(at("file"), at("link")).unwrap();
        assert_eq!(read(&at("file"), Some(me)).as_deref(), Some(b"text".as_slice()));
        assert_eq!(read(&at("file"), None).as_deref(), Some(b"text".as_slice()));
        assert_eq!(read(&at("file"), Some(me + 1)), None);
        for name in ["fifo", "link", "none", "."] {
            assert_eq!(read(&at(name), None), None, "{name}");
        }
    }

    #[test]
    fn processes_outside_of_a_users_namespaces_are_not_believed() {
        assert!(!is_in_namespace_of(std::process::id(), 12_345));
        assert!(!is_in_namespace_of(u32::MAX, 0));
    }
}
