//! Operations on files. Each has a folder with two folders of the same names, so that rules have something to tell
//! apart.

use std::{ffi::CString, fs, os::unix::fs::PermissionsExt as _, path::Path};

use nix::libc::{self, c_char};

use crate::{Answer, Operation, call, elf};

const CWD: i64 = libc::AT_FDCWD as i64;

/// The folder of one operation: `f` and `g` are files, `x` a program, `s` a script that `x` interprets, `d` a folder.
pub fn prepare(dir: &str, number: u32, owner: u32) {
    let root = Path::new(dir).join(number.to_string());
    // What a run before this one left.
    let _ = fs::remove_dir_all(&root);
    let own = |path: &Path, mode: u32| {
        std::os::unix::fs::chown(path, Some(owner), Some(owner)).expect("the owner");
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("the mode");
    };
    for name in ["a", "b"] {
        let folder = root.join(name);
        fs::create_dir_all(folder.join("d")).expect("a folder");
        for name in ["f", "g"] {
            fs::write(folder.join(name), "content").expect("a file");
            own(&folder.join(name), 0o666);
        }
        let program = folder.join("x");
        fs::write(&program, elf::exits()).expect("a program");
        own(&program, 0o777);
        fs::write(folder.join("s"), format!("#!{}\n", program.display())).expect("a script");
        own(&folder.join("s"), 0o777);
        own(&folder.join("d"), 0o777);
        own(&folder, 0o777);
    }
    own(&root, 0o777);
}

fn open(path: *const c_char, flags: i32) -> Answer {
    call(libc::SYS_openat, [CWD, path as i64, flags.into(), 0o666, 0, 0])
}

/// Opens, goes on with the descriptor, and closes it.
fn with(path: *const c_char, flags: i32, then: impl FnOnce(i64) -> Answer) -> Answer {
    let fd = open(path, flags)?;
    let answer = then(fd);
    let _ = call(libc::SYS_close, [fd, 0, 0, 0, 0, 0]);
    answer
}

fn lock(fd: i64, kind: i32) -> Answer {
    let lock = libc::flock {
        l_type: i16::try_from(kind).expect("a kind of lock"),
        l_whence: 0,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    call(libc::SYS_fcntl, [fd, libc::F_SETLK.into(), &raw const lock as i64, 0, 0, 0])
}

fn map(fd: i64, protection: i32, flags: i32) -> Answer {
    call(libc::SYS_mmap, [0, 4096, protection.into(), flags.into(), fd, 0])
}

/// Executes in a child, whose exit code is the error.
fn execute(run: impl FnOnce(*const *const c_char) -> Answer) -> Answer {
    let arguments = [c"x".as_ptr(), std::ptr::null()];
    // SAFETY: there is one thread; the child executes or exits.
    match unsafe { libc::fork() } {
        0 => {
            let error = run(arguments.as_ptr()).err().unwrap_or(0);
            // SAFETY: ends the child.
            unsafe { libc::_exit(error) }
        }
        child => {
            let mut status = 0;
            // SAFETY: the child is this process's own.
            unsafe { libc::waitpid(child, &raw mut status, 0) };
            if libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0 {
                Ok(0)
            } else {
                Err(if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { 1000 + status })
            }
        }
    }
}

/// The answer, if this is an operation on files.
pub fn make(operation: &Operation) -> Option<Answer> {
    use libc::{MAP_PRIVATE, MAP_SHARED, O_APPEND, O_CREAT, O_EXCL, O_RDONLY, O_RDWR, O_TRUNC, O_WRONLY};
    use libc::{PROT_EXEC, PROT_READ, PROT_WRITE};
    let first = || operation.path(0);
    let on = |number, args: [i64; 3]| call(number, [first() as i64, args[0], args[1], args[2], 0, 0]);
    let rename = |flags: u32| {
        let (from, to) = (first() as i64, operation.path(1) as i64);
        call(libc::SYS_renameat2, [CWD, from, CWD, to, flags.into(), 0])
    };
    Some(match operation.kind.as_str() {
        "read" | "read-folder" => with(first(), O_RDONLY, Ok),
        "write" => with(first(), O_WRONLY, Ok),
        "read-write" => with(first(), O_RDWR, Ok),
        "append" => with(first(), O_WRONLY | O_APPEND, Ok),
        "read-append" => with(first(), O_RDWR | O_APPEND, Ok),
        "truncating" => with(first(), O_WRONLY | O_TRUNC, Ok),
        "append-truncating" => with(first(), O_WRONLY | O_APPEND | O_TRUNC, Ok),
        "creating" => with(first(), O_WRONLY | O_CREAT, Ok),
        "creating-new" => with(first(), O_WRONLY | O_CREAT | O_EXCL, Ok),
        "creating-read" => with(first(), O_RDONLY | O_CREAT, Ok),
        "creating-append" => with(first(), O_WRONLY | O_APPEND | O_CREAT, Ok),
        "only-path" => with(first(), libc::O_PATH, Ok),
        "unnamed" => with(first(), O_RDWR | libc::O_TMPFILE, Ok),
        "unnamed-linked" => with(first(), O_RDWR | libc::O_TMPFILE, |fd| {
            let name = CString::new(format!("/proc/self/fd/{fd}")).expect("no NUL");
            let follow = libc::AT_SYMLINK_FOLLOW.into();
            call(libc::SYS_linkat, [CWD, name.as_ptr() as i64, CWD, operation.path(1) as i64, follow, 0])
        }),
        "reopened" => with(first(), libc::O_PATH, |fd| {
            let name = CString::new(format!("/proc/self/fd/{fd}")).expect("no NUL");
            with(name.as_ptr(), O_WRONLY, Ok)
        }),
        "unlink" => on(libc::SYS_unlink, [0; 3]),
        "rmdir" => on(libc::SYS_rmdir, [0; 3]),
        "mkdir" => on(libc::SYS_mkdir, [0o777, 0, 0]),
        "fifo" => on(libc::SYS_mknod, [(libc::S_IFIFO | 0o666).into(), 0, 0]),
        "node" => on(libc::SYS_mknod, [(libc::S_IFREG | 0o666).into(), 0, 0]),
        "symlink" => call(libc::SYS_symlink, [c"f".as_ptr() as i64, first() as i64, 0, 0, 0, 0]),
        "rename" => rename(0),
        "exchange" => rename(libc::RENAME_EXCHANGE),
        "link" => call(libc::SYS_link, [first() as i64, operation.path(1) as i64, 0, 0, 0, 0]),
        "chmod" => on(libc::SYS_chmod, [0o640, 0, 0]),
        "fchmod" => with(first(), O_RDONLY, |fd| call(libc::SYS_fchmod, [fd, 0o640, 0, 0, 0, 0])),
        "chown" => on(libc::SYS_chown, [3, 3, 0]),
        "truncate" => on(libc::SYS_truncate, [1, 0, 0]),
        "ftruncate" => with(first(), O_RDWR, |fd| call(libc::SYS_ftruncate, [fd, 1, 0, 0, 0, 0])),
        "flock-shared" => {
            with(first(), O_RDONLY, |fd| call(libc::SYS_flock, [fd, libc::LOCK_SH.into(), 0, 0, 0, 0]))
        }
        "flock-exclusive" => {
            with(first(), O_RDONLY, |fd| call(libc::SYS_flock, [fd, libc::LOCK_EX.into(), 0, 0, 0, 0]))
        }
        "lock-read" => with(first(), O_RDONLY, |fd| lock(fd, libc::F_RDLCK)),
        "lock-write" => with(first(), O_RDWR, |fd| lock(fd, libc::F_WRLCK)),
        "map-executable" => with(first(), O_RDONLY, |fd| map(fd, PROT_READ | PROT_EXEC, MAP_PRIVATE)),
        "protect-executable" => with(first(), O_RDONLY, |fd| {
            let at = map(fd, PROT_READ, MAP_PRIVATE)?;
            call(libc::SYS_mprotect, [at, 4096, (PROT_READ | PROT_EXEC).into(), 0, 0, 0])
        }),
        "map-shared" => with(first(), O_RDWR, |fd| map(fd, PROT_READ | PROT_WRITE, MAP_SHARED)),
        "execute" => execute(|argv| on(libc::SYS_execve, [argv as i64, 0, 0])),
        "execute-descriptor" => execute(|argv| {
            let fd = open(first(), libc::O_PATH)?;
            let empty = libc::AT_EMPTY_PATH.into();
            call(libc::SYS_execveat, [fd, c"".as_ptr() as i64, argv as i64, 0, empty, 0])
        }),
        "stat" => {
            let mut buffer = [0_u64; 32];
            on(libc::SYS_stat, [buffer.as_mut_ptr() as i64, 0, 0])
        }
        "access" => on(libc::SYS_access, [libc::R_OK.into(), 0, 0]),
        "chdir" => on(libc::SYS_chdir, [0; 3]),
        "touch" => call(libc::SYS_utimensat, [CWD, first() as i64, 0, 0, 0, 0]),
        "bind-unix" => bind_unix(operation.paths.first()?),
        _ => return None,
    })
}

fn bind_unix(path: &CString) -> Answer {
    let fd = call(libc::SYS_socket, [libc::AF_UNIX.into(), libc::SOCK_STREAM.into(), 0, 0, 0, 0])?;
    let mut address = libc::sockaddr_un { sun_family: 1, sun_path: [0; 108] };
    for (to, from) in address.sun_path.iter_mut().zip(path.as_bytes()) {
        *to = from.cast_signed();
    }
    let size = i64::try_from(size_of_val(&address)).expect("a small structure");
    let answer = call(libc::SYS_bind, [fd, &raw const address as i64, size, 0, 0, 0]);
    let _ = call(libc::SYS_close, [fd, 0, 0, 0, 0, 0]);
    answer
}
