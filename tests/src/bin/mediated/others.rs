//! Operations that ask for sockets and for capabilities.

use nix::libc;

use crate::{Answer, Operation, call};

/// The answer, if this is such an operation.
pub fn make(operation: &Operation) -> Option<Answer> {
    let kind = operation.kind.as_str();
    if let Some(socket) = kind.strip_prefix("socket-") {
        let mut numbers = socket.split('-').map(|word| word.parse().expect("family, type, protocol"));
        let mut next = || numbers.next().expect("family, type, protocol");
        return Some(sockets(next(), next(), next()));
    }
    Some(match kind.strip_prefix("capability-")? {
        "sys_chroot" => call(libc::SYS_chroot, [c"/".as_ptr() as i64, 0, 0, 0, 0, 0]),
        "sys_admin" => call(libc::SYS_sethostname, [c"guest".as_ptr() as i64, 5, 0, 0, 0, 0]),
        "sys_nice" => lowered_and_raised(),
        "setuid" => in_child(libc::SYS_setuid),
        "setgid" => in_child(libc::SYS_setgid),
        "sys_resource" => raised_limit(),
        _ => return None,
    })
}

/// Makes a socket, and binds one of the internet's.
fn sockets(family: i64, kind: i64, protocol: i64) -> Answer {
    let fd = call(libc::SYS_socket, [family, kind, protocol, 0, 0, 0])?;
    let mut answer = Ok(0);
    if family == i64::from(libc::AF_INET) && kind != i64::from(libc::SOCK_RAW) {
        answer = bind(fd);
    }
    let _ = call(libc::SYS_close, [fd, 0, 0, 0, 0, 0]);
    answer
}

/// To any port of the loopback.
fn bind(fd: i64) -> Answer {
    let address = libc::sockaddr_in {
        sin_family: 2,
        sin_port: 0,
        sin_addr: libc::in_addr { s_addr: u32::from_be_bytes([127, 0, 0, 1]).to_be() },
        sin_zero: [0; 8],
    };
    let size = i64::try_from(size_of_val(&address)).expect("a small structure");
    call(libc::SYS_bind, [fd, &raw const address as i64, size, 0, 0, 0])
}

/// Anyone may give priority away; getting it back takes the capability.
fn lowered_and_raised() -> Answer {
    in_fork(|| {
        call(libc::SYS_setpriority, [0, 0, 5, 0, 0, 0])?;
        call(libc::SYS_setpriority, [0, 0, 0, 0, 0, 0])
    })
}

fn raised_limit() -> Answer {
    let set = |soft: u64, hard: u64| {
        let limit = [soft, hard];
        call(libc::SYS_prlimit64, [0, libc::RLIMIT_CORE.into(), limit.as_ptr() as i64, 0, 0, 0])
    };
    in_fork(|| {
        set(0, 1 << 20)?;
        set(0, 2 << 20)
    })
}

/// Changes an id to another one, where it does no harm.
fn in_child(number: libc::c_long) -> Answer {
    in_fork(|| call(number, [7, 0, 0, 0, 0, 0]))
}

fn in_fork(run: impl FnOnce() -> Answer) -> Answer {
    // SAFETY: there is one thread; the child exits.
    match unsafe { libc::fork() } {
        // SAFETY: ends the child.
        0 => unsafe { libc::_exit(run().err().unwrap_or(0)) },
        child => {
            let mut status = 0;
            // SAFETY: the child is this process's own.
            unsafe { libc::waitpid(child, &raw mut status, 0) };
            match libc::WEXITSTATUS(status) {
                0 => Ok(0),
                error => Err(error),
            }
        }
    }
}
