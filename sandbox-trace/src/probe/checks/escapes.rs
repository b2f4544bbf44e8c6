//! Known ways out of a container.

use std::collections::BTreeSet;

use nix::{errno::Errno, libc};

use super::{Check, Subject, files, refused};
use crate::probe::board::{Arg, Board, Seen, n};

pub fn checks(subject: &Subject) -> Vec<Check> {
    vec![sockets(subject), file_handle(), release_agent()]
}

/// Where runtimes listen.
const SOCKETS: [&str; 12] = [
    "/var/run/docker.sock",
    "/run/docker.sock",
    "/run/containerd/containerd.sock",
    "/run/docker/containerd/containerd.sock",
    "/run/crio/crio.sock",
    "/run/podman/podman.sock",
    "/run/cri-dockerd.sock",
    "/run/k3s/containerd/containerd.sock",
    "/run/buildkit/buildkitd.sock",
    "/run/systemd/private",
    "/run/dbus/system_bus_socket",
    "/docker.sock",
];

fn sockets(subject: &Subject) -> Check {
    let mounted = subject.mounts.iter().filter(|mount| mount.point.ends_with(b".sock"));
    let mut places: BTreeSet<Vec<u8>> = SOCKETS.iter().map(|place| place.as_bytes().to_vec()).collect();
    places.extend(mounted.map(|mount| mount.point.clone()));
    let places: Vec<(std::ffi::CString, [u8; 110])> = places
        .into_iter()
        .filter(|place| place.len() < 108)
        .map(|place| (files::c_string(&place), address(&place)))
        .collect();
    let why = "who can talk to a runtime starts containers that are the host";
    Check::tried("runtime-socket", "talk to the container runtime (its socket)", why, move |board| {
        let mut refusal = None;
        for (path, address) in &places {
            let name = path.to_str().unwrap_or("one");
            match connect(board, address) {
                Ok(()) => return Seen::open(format_args!("{name} answers")),
                Err(Errno::ENOENT | Errno::ENOTDIR) => {}
                // Whether it is there at all is not told by a filter that allows no sockets.
                Err(errno) => {
                    if files::open(board, path, libc::O_PATH).is_ok() {
                        refusal = Some((name, errno));
                    }
                }
            }
        }
        match refusal {
            None => Seen::closed(format_args!("there is none")),
            Some((name, errno)) => Seen::closed(format_args!("{name} is there, and refuses: {errno:?}")),
        }
    })
    .expecting("none")
}

/// `struct sockaddr_un`.
fn address(path: &[u8]) -> [u8; 110] {
    let mut out = [0u8; 110];
    let family = u16::try_from(libc::AF_UNIX).unwrap_or(0).to_ne_bytes();
    for (place, byte) in out.iter_mut().zip(family.iter().chain(path)) {
        *place = *byte;
    }
    out
}

fn connect(board: &Board, address: &[u8; 110]) -> Result<(), Errno> {
    let kind = i64::from(libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK);
    let socket = board.call(libc::SYS_socket, &mut [n(i64::from(libc::AF_UNIX)), n(kind), n(0)])?;
    let connected = board.call(libc::SYS_connect, &mut [n(socket), Arg::In(address), n(110)]);
    let _ = board.call(libc::SYS_close, &mut [n(socket)]);
    match connected {
        // Its queue is full: somebody listens.
        Ok(_) | Err(Errno::EAGAIN) => Ok(()),
        Err(errno) => Err(errno),
    }
}

fn file_handle() -> Check {
    let why =
        "a file opened by its number is one of the host's disk, whatever the container's root is (Shocker)";
    Check::tried("file-handle", "open a file by its number (open_by_handle_at)", why, |board| {
        // struct file_handle: 8 bytes, an inode and a generation; inode 2 is the root of many file systems.
        let mut handle = [0u8; 16];
        for (place, word) in handle.chunks_mut(4).zip([8u32, 1, 2, 0]) {
            place.copy_from_slice(&word.to_ne_bytes());
        }
        let mut args = [n(i64::from(libc::AT_FDCWD)), Arg::In(&handle), n(0)];
        refused(
            board,
            libc::SYS_open_by_handle_at,
            &mut args,
            &[Errno::ESTALE, Errno::EBADF, Errno::EOPNOTSUPP],
        )
    })
}

/// Files of version 1 that name, or set off, a program that the host's root runs.
const AGENTS: [&std::ffi::CStr; 12] = [
    c"/sys/fs/cgroup/rdma/release_agent",
    c"/sys/fs/cgroup/memory/release_agent",
    c"/sys/fs/cgroup/pids/release_agent",
    c"/sys/fs/cgroup/devices/release_agent",
    c"/sys/fs/cgroup/cpu/release_agent",
    c"/sys/fs/cgroup/systemd/release_agent",
    c"/sys/fs/cgroup/rdma/notify_on_release",
    c"/sys/fs/cgroup/memory/notify_on_release",
    c"/sys/fs/cgroup/pids/notify_on_release",
    c"/sys/fs/cgroup/devices/notify_on_release",
    c"/sys/fs/cgroup/cpu/notify_on_release",
    c"/sys/fs/cgroup/systemd/notify_on_release",
];

fn release_agent() -> Check {
    let why = "the program that release_agent names is run by the host's root when a cgroup is empty";
    Check::tried("release-agent", "name a program for the host to run (cgroup release_agent)", why, |board| {
        let mut refusal = Errno::ENOENT;
        for file in AGENTS {
            // Nothing is written.
            match files::open(board, file, libc::O_WRONLY) {
                Ok(_) => return Seen::open(format_args!("{} is writable", file.to_str().unwrap_or("one"))),
                Err(Errno::ENOENT | Errno::ENOTDIR) => {}
                Err(errno) => refusal = errno,
            }
        }
        match refusal {
            Errno::ENOENT => Seen::closed(format_args!("there is none")),
            errno => Seen::refused(errno),
        }
    })
}
