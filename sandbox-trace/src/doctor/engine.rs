//! The Docker engine. Its socket is asked and not the client, which waits for ever for an engine that hangs.

use std::{
    ffi::OsStr,
    io::{ErrorKind, Read as _, Write as _},
    os::unix::{ffi::OsStrExt as _, net::UnixStream},
    path::{Path, PathBuf},
    time::Duration,
};

use super::{Check, Subject};
use crate::program;

pub(super) const SUBJECT: Subject = Subject {
    id: "docker",
    title: "Docker engine",
    why: "Containers that Docker runs are recorded by their cgroup; the engine knows which one that is.",
    needed: false,
};

const SOCKET: &str = "/var/run/docker.sock";
const LIMIT: Duration = Duration::from_secs(5);
const MOST_BYTES: u64 = 64 << 10;

pub(super) fn check(of: Subject) -> Check {
    let installed = program::find("dockerd");
    let socket = match std::env::var_os("DOCKER_HOST").filter(|host| !host.is_empty()) {
        None => PathBuf::from(SOCKET),
        Some(host) => match host.as_bytes().strip_prefix(b"unix://") {
            Some(path) => PathBuf::from(OsStr::from_bytes(path)),
            None => {
                return of.warning(
                    format!("DOCKER_HOST is {}, another machine's engine or not a socket", host.display()),
                    "run sandbox-trace on the machine that the containers run on",
                );
            }
        },
    };
    let program = installed.map(|path| match program::output(&path, &["--version"], LIMIT) {
        Ok(said) => format!("{} at {}", said.trim(), path.display()),
        Err(error) => format!("{}: {error}", path.display()),
    });
    judge(of, program.as_deref(), &socket, ask(&socket))
}

fn judge(of: Subject, program: Option<&str>, socket: &Path, answer: std::io::Result<String>) -> Check {
    let socket = socket.display();
    match (answer, program) {
        (Ok(version), _) => of.ok(format!("{version}, answers at {socket}")),
        (Err(error), _) if error.kind() == ErrorKind::PermissionDenied => {
            of.warning(format!("{socket}: {error}"), "run as root, or as a member of the group docker")
        }
        (Err(error), Some(program)) => of.warning(
            format!("{program}; {socket} does not answer: {error}"),
            "systemctl restart docker, where containers run under it",
        ),
        (Err(_), None) => {
            of.warning("not installed", "apt-get install docker.io, where containers run under it")
        }
    }
}

/// The engine's version, by its API. Every engine answers this without an API version in the path.
fn ask(socket: &Path) -> std::io::Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    stream.write_all(b"GET /version HTTP/1.0\r\nHost: docker\r\n\r\n")?;
    let mut said = Vec::new();
    stream.take(MOST_BYTES).read_to_end(&mut said).map_err(|e| match e.kind() {
        // What a time limit on a socket ends with.
        ErrorKind::WouldBlock => std::io::Error::other(format!("no answer within {} s", LIMIT.as_secs())),
        _ => e,
    })?;
    version(&said).ok_or_else(|| std::io::Error::other("what answers is not a Docker engine"))
}

fn version(response: &[u8]) -> Option<String> {
    let start = response.iter().position(|byte| *byte == b'{')?;
    let end = response.iter().rposition(|byte| *byte == b'}')?;
    let json: serde_json::Value = serde_json::from_slice(response.get(start..=end)?).ok()?;
    json.get("Version")?.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::{super::Status, *};

    #[test]
    fn an_answer_is_read_with_and_without_chunks() {
        let plain = b"HTTP/1.0 200 OK\r\n\r\n{\"Version\":\"20.10.24\",\"Os\":\"linux\"}\n";
        assert_eq!(version(plain).as_deref(), Some("20.10.24"));
        let chunked = b"HTTP/1.1 200 OK\r\n\r\n13\r\n{\"Version\":\"28.2\"}\r\n0\r\n\r\n";
        assert_eq!(version(chunked).as_deref(), Some("28.2"));
        for bad in [&b""[..], b"}{", b"HTTP/1.0 404\r\n\r\n{}", b"\xff{\"Version\":1}"] {
            assert_eq!(version(bad), None);
        }
    }

    #[test]
    fn an_engine_that_hangs_or_is_not_there_is_a_warning() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("docker.sock");
        assert!(judge(SUBJECT, None, &socket, ask(&socket)).found.contains("not installed"));
        let engine = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let served = std::thread::spawn(move || {
            let (mut client, _) = engine.accept().unwrap();
            let _ = client.read(&mut [0; 1024]).unwrap();
            client.write_all(b"HTTP/1.0 200 OK\r\n\r\n{\"Version\":\"1.2\"}").unwrap();
        });
        assert_eq!(judge(SUBJECT, None, &socket, ask(&socket)).status, Status::Ok);
        served.join().unwrap();
        let check = judge(SUBJECT, Some("Docker version 20"), &socket, ask(&socket));
        assert!(check.status == Status::Warning && check.found.contains("does not answer"));
    }
}
