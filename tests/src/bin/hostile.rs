//! What a target would do to hurt its recorder: `hostile names DIR | deep DIR | race DIR N | swap DIR N | arguments N |
//! gone DIR | faults`.

use std::{
    ffi::CString,
    fs,
    io::Write as _,
    os::{
        fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
        unix::{ffi::OsStrExt as _, fs::PermissionsExt as _, fs::symlink},
    },
    path::Path,
    process::{Command, ExitCode},
    sync::atomic::{AtomicBool, Ordering},
};

use nix::libc;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["names", dir] => names(Path::new(dir)),
        ["deep", dir] => deep(dir),
        ["race", dir, n] => race(dir, number(n)),
        ["swap", dir, n] => swap(dir, number(n)),
        ["arguments", n] => arguments(number(n)),
        ["gone", dir] => gone(Path::new(dir)),
        ["faults"] => faults(),
        ["nothing"] => {}
        _ => {
            eprintln!(
                "usage: hostile names DIR|deep DIR|race DIR N|swap DIR N|arguments N|gone DIR|faults|nothing"
            );
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}

fn number(text: &str) -> u64 {
    text.parse().expect("a number")
}

fn text(bytes: &[u8]) -> CString {
    CString::new(bytes).expect("no NUL")
}

/// Names of 255 bytes with every value, names of each value alone, and names that mean something in a profile.
fn names(dir: &Path) {
    let all: Vec<u8> = (1..=255).filter(|byte| *byte != b'/').collect();
    let mut names: Vec<Vec<u8>> = all.iter().map(|byte| vec![*byte; 60]).collect();
    // `.` and `..` are folders, 255 dots are none.
    // A few: an automaton of all turns is beyond what the compiler holds.
    for turn in (0..all.len()).step_by(32) {
        let mut name = all.clone();
        name.rotate_left(turn);
        names.push(name);
    }
    let odd = [
        "@{HOME}",
        "@{PROC}",
        "#include <x>",
        "include <abstractions",
        "**",
        "a{b,c}",
        "[^a]",
        "\"",
        "\" rwx,\n/** rwx,",
        "} profile x {",
        " ",
        "\t",
        "\n",
        "a,",
        "deny",
        "\\",
        "\\x41",
        "\\101",
        "^",
        "$x",
        "a\r\n",
        "\u{202e}gpj",
        "-o",
        "é",
        "\u{0}x",
        "}\n}\n",
        "a->b",
        "//",
        "&",
        "!",
        "'",
    ];
    names.extend(odd.iter().map(|name| name.replace(['/', '\0'], "_").into_bytes()));
    names.push(b"\xc3".to_vec());
    names.push(b"\xff\xfe\xed\xa0\x80".to_vec());
    for name in names {
        let path = dir.join(std::ffi::OsStr::from_bytes(&name));
        fs::write(&path, b"x").unwrap_or_else(|e| panic!("{path:?}: {e}"));
        fs::read(&path).expect("what was written");
    }
}

/// Trees of 64 and of 200 folders, and a path of 4095 bytes.
fn deep(dir: &str) {
    for (name, levels) in [("d", 64), ("e", 200), (&*"f".repeat(200), 19)] {
        std::env::set_current_dir(dir).expect("the folder");
        for _ in 0..levels {
            fs::create_dir(name).expect("a folder");
            std::env::set_current_dir(name).expect("it");
        }
        fs::write("file", b"x").expect("a file");
    }
    // As long as a path may be, and longer than any argument: the folder is reached step by step.
    std::env::set_current_dir(dir).expect("the folder");
    let used = fs::canonicalize(".").expect("a path").as_os_str().len();
    let mut left = 4095 - used - 1;
    while left > 255 {
        fs::create_dir("g".repeat(200)).expect("a folder");
        std::env::set_current_dir("g".repeat(200)).expect("it");
        left -= 201;
    }
    fs::write("h".repeat(left), b"x").expect("a file at the limit");
    let path = format!("{}/{}", fs::canonicalize(".").expect("a path").display(), "h".repeat(left));
    assert_eq!(path.len(), 4095);
    fs::read(&path).expect("the longest path");
}

/// An ancestor changes its name while files below it are opened.
fn race(dir: &str, n: u64) {
    std::env::set_current_dir(dir).expect("the folder");
    fs::create_dir_all("A/x/y").expect("folders");
    for i in 0..16 {
        fs::write(format!("A/x/y/{i}"), b"x").expect("a file");
    }
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                fs::rename("A", "B").expect("away");
                fs::rename("B", "A").expect("and back");
            }
        });
        for i in 0..n {
            let name = text(format!("{}/x/y/{}", ["A", "B"][usize::from(i % 2 == 1)], i % 16).as_bytes());
            let gone = text(format!("A/x/y/missing{}", i % 16).as_bytes());
            // SAFETY: both names end in NUL; the descriptor is closed once.
            unsafe {
                let fd = libc::open(name.as_ptr(), libc::O_RDONLY);
                if fd >= 0 {
                    libc::close(fd);
                }
                libc::unlink(gone.as_ptr());
            }
        }
        done.store(true, Ordering::Relaxed);
    });
}

/// A symbolic link changes its target while it is followed.
fn swap(dir: &str, n: u64) {
    std::env::set_current_dir(dir).expect("the folder");
    for folder in ["one", "two"] {
        fs::create_dir(folder).expect("a folder");
        fs::write(format!("{folder}/f"), b"x").expect("a file");
    }
    symlink("one", "link").expect("a link");
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                for folder in ["two", "one"] {
                    symlink(folder, "next").expect("a link");
                    fs::rename("next", "link").expect("over the other");
                }
            }
        });
        for _ in 0..n {
            fs::read("link/f").expect("either file");
            fs::set_permissions("link/f", fs::Permissions::from_mode(0o600)).expect("either file");
        }
        done.store(true, Ordering::Relaxed);
    });
}

/// Calls with an argument policy, each time with another argument.
fn arguments(n: u64) {
    for i in 0..n {
        let word = i64::try_from(i).expect("small") + 1_000_000;
        // SAFETY: none of these numbers is a command.
        unsafe {
            libc::syscall(libc::SYS_ioctl, -1, word, 0);
            libc::syscall(libc::SYS_fcntl, 0, word, 0);
            libc::syscall(libc::SYS_prctl, word, 0, 0, 0, 0);
        }
    }
}

/// Files and programs that have no name, or no more.
fn gone(dir: &Path) {
    std::env::set_current_dir(dir).expect("the folder");
    let own = fs::read("/proc/self/exe").expect("the own program");
    let run = |path: &str| {
        assert!(Command::new(path).arg("nothing").status().is_ok_and(|s| s.success()), "{path}");
    };
    // Open, and without a name by then.
    fs::write("unlinked", b"x").expect("a file");
    let file = fs::File::open("unlinked").expect("it");
    fs::remove_file("unlinked").expect("its end");
    let own_fd = format!("/proc/self/fd/{}", file.as_raw_fd());
    fs::read(&own_fd).expect("a file without a name");
    // Never had one.
    // SAFETY: a fresh descriptor each.
    let (mut memory, temporary) = unsafe {
        let memory = libc::memfd_create(c"odd \"\n name".as_ptr(), 0);
        let temporary = libc::open(c".".as_ptr(), libc::O_TMPFILE | libc::O_RDWR, 0o600);
        assert!(memory >= 0 && temporary >= 0);
        (fs::File::from(OwnedFd::from_raw_fd(memory)), OwnedFd::from_raw_fd(temporary))
    };
    drop(temporary);
    memory.write_all(&own).expect("a program");
    run(&format!("/proc/self/fd/{}", memory.as_raw_fd()));
    // A program that is gone when it is started.
    fs::write("program", &own).expect("a program");
    fs::set_permissions("program", fs::Permissions::from_mode(0o755)).expect("its mode");
    let program = fs::File::open("program").expect("it");
    // SAFETY: the descriptor is to be there after the exec that opens it.
    unsafe { libc::fcntl(program.as_raw_fd(), libc::F_SETFD, 0) };
    fs::remove_file("program").expect("its end");
    run(&format!("/proc/self/fd/{}", program.as_raw_fd()));
    // A folder that is gone while it is worked in.
    fs::create_dir("brief").expect("a folder");
    std::env::set_current_dir("brief").expect("it");
    fs::remove_dir("../brief").expect("its end");
    assert!(fs::write("no", b"x").is_err() && fs::read("no").is_err());
}

/// Addresses that are none, at an edge, or gone; names that change; a child under a filter of its own.
fn faults() {
    const PAGE: usize = 4096;
    // SAFETY: the kernel answers each bad address with EFAULT; the pages are this function's own.
    unsafe {
        for number in [
            libc::SYS_openat,
            libc::SYS_unlinkat,
            libc::SYS_mkdirat,
            libc::SYS_execve,
            libc::SYS_rename,
            libc::SYS_open,
            libc::SYS_bind,
            libc::SYS_connect,
            libc::SYS_openat2,
            libc::SYS_linkat,
        ] {
            for address in [1_usize, usize::MAX, 0xffff_8000_0000_0000, 0x7fff_ffff_f000] {
                assert!(libc::syscall(number, address, address, address, address, address) < 0);
            }
        }
        let pages = libc::mmap(
            std::ptr::null_mut(),
            2 * PAGE,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        );
        libc::munmap(pages.add(PAGE), PAGE);
        let edge = pages.add(PAGE - 3).cast::<u8>();
        edge.copy_from_nonoverlapping(b"/aa".as_ptr(), 3);
        assert!(libc::syscall(libc::SYS_openat, libc::AT_FDCWD, edge, 0) < 0, "no NUL before the end");
        edge.add(2).write(0);
        assert!(libc::syscall(libc::SYS_openat, libc::AT_FDCWD, edge, 0) < 0, "no such file");
        libc::munmap(pages, PAGE);
        for name in [c"[kthread]", c"strace", c"a\nb", c"\xff\xfe"] {
            libc::prctl(libc::PR_SET_NAME, name.as_ptr());
            libc::syscall(libc::SYS_getppid);
        }
        let child = libc::fork();
        if child == 0 {
            libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_STRICT, 0, 0, 0);
            libc::syscall(libc::SYS_getuid);
        }
        let mut status = 0;
        libc::waitpid(child, &raw mut status, 0);
        assert!(libc::WIFSIGNALED(status), "strict mode kills");
    }
}
