//! Calls with known names, arguments and outcomes, one group a subcommand: `calls i386 | signal | arguments |
//! ids DIR | network DIR`.

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream, UdpSocket},
    os::{
        fd::AsRawFd as _,
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr, UnixListener, UnixStream},
    },
    process::ExitCode,
};

use nix::libc;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["i386"] => i386(),
        ["signal"] => signal(),
        ["arguments"] => arguments(),
        ["ids", dir] => ids(dir),
        ["network", dir] => network(dir),
        _ => {
            eprintln!("usage: calls i386 | signal | arguments | ids DIR | network DIR");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}

/// `getpid` by the 32-bit gate: number 20, which a 64-bit program knows as `writev`.
fn i386() {
    let pid: u32;
    // SAFETY: the call takes nothing and gives a number. The gate clears r8 to r11 on some kernels.
    unsafe {
        std::arch::asm!(
            "int 0x80", inlateout("eax") 20_u32 => pid, out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    assert_eq!(pid, std::process::id());
}

extern "C" fn ignore(_signal: i32) {}

/// Returns from a signal's handler.
fn signal() {
    let handler = libc::sighandler_t::from(ignore as *const () as usize);
    // SAFETY: the handler does nothing.
    unsafe {
        libc::signal(libc::SIGUSR1, handler);
        libc::raise(libc::SIGUSR1);
    }
}

/// Arguments that a filter may look at.
fn arguments() {
    // SAFETY: none of these changes memory but the window size's own.
    unsafe {
        libc::prctl(libc::PR_GET_DUMPABLE, 0, 0, 0, 0);
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        let mut size: libc::winsize = std::mem::zeroed();
        libc::ioctl(0, libc::TIOCGWINSZ, &raw mut size);
        for (family, kind) in [(libc::AF_UNIX, libc::SOCK_DGRAM), (libc::AF_NETLINK, libc::SOCK_RAW)] {
            libc::close(libc::socket(family, kind | libc::SOCK_CLOEXEC, 0));
        }
        let mut status = 0;
        // Old clone as fork, with the number of the signal as its only flag.
        let pid = libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0);
        if pid == 0 {
            libc::_exit(0);
        }
        libc::waitpid(i32::try_from(pid).expect("a process"), &raw mut status, 0);
    }
    std::thread::spawn(|| ()).join().expect("a thread");
}

/// Gives a file away, then becomes nobody.
fn ids(dir: &str) {
    let file = format!("{dir}/given");
    std::fs::write(&file, "x").expect("a file");
    std::os::unix::fs::chown(&file, Some(65534), Some(65534)).expect("chown");
    nix::unistd::setgid(65533.into()).expect("setgid");
    nix::unistd::setuid(65534.into()).expect("setuid");
    std::hint::black_box(nix::unistd::getppid());
}

/// Binds and connects on every family; prints the port.
fn network(dir: &str) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    println!("{}", address.port());
    let mut client = TcpStream::connect(address).expect("a connection");
    let (mut server, _) = listener.accept().expect("a client");
    client.write_all(b"x").expect("a byte");
    server.read_exact(&mut [0]).expect("a byte");
    UdpSocket::bind("127.0.0.1:0").and_then(|s| s.send_to(b"x", address)).expect("a datagram");
    // Not every machine has IPv6; the attempt is what is looked at.
    let _ = TcpListener::bind("[::1]:0");
    let _ = TcpStream::connect("[::1]:1");
    // Nobody listens there.
    TcpStream::connect("127.0.0.1:1").expect_err("no connection");

    std::env::set_current_dir(dir).expect("the folder");
    let listener = UnixListener::bind("stream.socket").expect("a socket");
    let client = UnixStream::connect(format!("{dir}/stream.socket")).expect("a connection");
    let name = SocketAddr::from_abstract_name(b"sandbox-trace-test").expect("a name");
    let hidden = UnixListener::bind_addr(&name).expect("a name");
    UnixStream::connect_addr(&name).expect("a connection");
    UnixStream::connect("missing.socket").expect_err("no connection");
    let (_a, _b) = UnixStream::pair().expect("a pair");
    assert!(listener.as_raw_fd() != client.as_raw_fd() && hidden.as_raw_fd() > 0);
}
