//! Workloads with known counts, for tests and benchmarks of the recorder.
//!
//! With `held` in front, a workload prepares, says `ready`, waits for a line on stdin, works, says `done` and ends with
//! its stdin: what happens between the two lines is the work alone.

use std::{
    ffi::{CStr, CString},
    fs,
    io::BufRead as _,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    time::Duration,
};

use nix::{
    libc,
    sys::wait::{WaitStatus, waitpid},
    unistd::{ForkResult, Pid, fork},
};

const USAGE: &str = "usage: workload [held] WORK
  getppid N                       N calls of getppid
  fcntl N                         N calls of fcntl, all with the same arguments
  files DIR N                     makes DIR/0, DIR/1 …
  opens DIR N                     opens them
  reopen DIR N                    opens DIR/0, N times
  missing DIR N                   tries N names that are not there, a thousand a folder
  tree DIR N                      makes N files in folders of 1000: DIR/0/0 …
  links DIR N                     makes the same names; those of a folder are links to one file
  visit DIR N TIMES PROCESSES     opens, reads and closes each of these; the processes share them out
  spawn N COMMAND…                runs a command N times, one after the other
  idle SECONDS                    sleeps";

/// Names a folder: as many as a file may have links on any file system.
const FOLDER: u64 = 1000;

/// Work that is prepared.
type Work = Box<dyn FnOnce()>;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let (held, words) = match args.as_slice() {
        ["held", words @ ..] => (true, words),
        words => (false, words),
    };
    let Some(work) = prepare(words) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    if held {
        let mut stdin = std::io::stdin().lock();
        println!("ready");
        stdin.read_line(&mut String::new()).expect("a line on stdin");
        work();
        println!("done");
        std::io::copy(&mut stdin, &mut std::io::sink()).expect("the end of stdin");
    } else {
        work();
    }
    ExitCode::SUCCESS
}

fn prepare(words: &[&str]) -> Option<Work> {
    Some(match words {
        ["getppid", n] => {
            let n = number(n);
            Box::new(move || {
                for _ in 0..n {
                    std::hint::black_box(nix::unistd::getppid());
                }
            })
        }
        ["fcntl", n] => {
            let n = number(n);
            Box::new(move || {
                for _ in 0..n {
                    // SAFETY: the call only asks.
                    std::hint::black_box(unsafe { libc::fcntl(0, libc::F_GETFL) });
                }
            })
        }
        ["files", dir, n] => {
            let (dir, n) = (PathBuf::from(dir), number(n));
            Box::new(move || make(&dir, n))
        }
        ["opens", dir, n] => {
            let names = (0..number(n)).map(|i| path(dir, &i.to_string())).collect();
            Box::new(move || open_all(names, 1, 1))
        }
        ["reopen", dir, n] => {
            let (name, n) = (path(dir, "0"), number(n));
            Box::new(move || open_all(vec![name], n, 1))
        }
        ["missing", dir, n] => {
            let (dir, n) = (dir.to_string(), number(n));
            Box::new(move || {
                for i in 0..n {
                    let path = format!("{dir}/{}/file-{i}", i / FOLDER);
                    fs::File::open(path).expect_err("no such file");
                }
            })
        }
        ["tree" | "links", dir, n] => {
            let (dir, n, links) = (PathBuf::from(dir), number(n), words.first() == Some(&"links"));
            Box::new(move || make_tree(&dir, n, links))
        }
        ["visit", dir, n, times, processes] => {
            let names = (0..number(n)).map(|i| path(dir, &nested(i))).collect();
            let (times, processes) = (number(times), number(processes));
            Box::new(move || open_all(names, times, processes))
        }
        ["spawn", n, program, args @ ..] => {
            let (n, program) = (number(n), (*program).to_owned());
            let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
            Box::new(move || (0..n).for_each(|_| run(&program, &args)))
        }
        ["idle", seconds] => {
            let seconds = number(seconds);
            Box::new(move || std::thread::sleep(Duration::from_secs(seconds)))
        }
        _ => return None,
    })
}

fn number(text: &str) -> u64 {
    text.parse().expect("a number")
}

/// The name of file `i` in a tree.
fn nested(i: u64) -> String {
    format!("{}/{}", i / FOLDER, i % FOLDER)
}

fn path(dir: &str, name: &str) -> CString {
    CString::new(Path::new(dir).join(name).as_os_str().as_bytes()).expect("no NUL")
}

fn make(dir: &Path, n: u64) {
    fs::create_dir_all(dir).expect("the folder");
    for i in 0..n {
        fs::write(dir.join(i.to_string()), b"x").expect("a file");
    }
}

fn make_tree(dir: &Path, n: u64, links: bool) {
    let mut first = PathBuf::new();
    for i in 0..n {
        let file = dir.join(nested(i));
        if i % FOLDER == 0 {
            fs::create_dir_all(file.parent().expect("a folder")).expect("the folder");
        }
        if links && i % FOLDER != 0 {
            fs::hard_link(&first, &file).expect("a link");
        } else {
            fs::write(&file, [b'x'; 512]).expect("a file");
            first = file;
        }
    }
}

/// Opens, reads and closes every file, in this process or, each its share, in several.
fn open_all(names: Vec<CString>, times: u64, processes: u64) {
    if processes <= 1 {
        return (0..times).for_each(|_| names.iter().for_each(|name| open(name)));
    }
    let step = usize::try_from(processes).expect("a small number");
    let mut children: Vec<Pid> = Vec::new();
    for share in 0..step {
        // SAFETY: this process has one thread.
        match unsafe { fork() }.expect("a process") {
            ForkResult::Child => {
                (0..times).for_each(|_| names.iter().skip(share).step_by(step).for_each(|name| open(name)));
                // SAFETY: ends the process; nothing of the parent's is flushed twice.
                unsafe { libc::_exit(0) }
            }
            ForkResult::Parent { child } => children.push(child),
        }
    }
    for child in children {
        assert_eq!(waitpid(child, None), Ok(WaitStatus::Exited(child, 0)));
    }
}

/// The bare calls: what the standard library does around them would make recording look cheaper.
fn open(name: &CStr) {
    let mut byte = [0_u8];
    // SAFETY: the name ends in NUL, and the buffer has the one byte that is asked for.
    unsafe {
        let fd = libc::open(name.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC);
        assert!(fd >= 0, "{name:?}: {}", std::io::Error::last_os_error());
        assert_eq!(libc::read(fd, byte.as_mut_ptr().cast(), 1), 1, "{name:?}");
        libc::close(fd);
    }
}

fn run(program: &str, args: &[String]) {
    let status = Command::new(program).args(args).stdin(Stdio::null()).status().expect("the program");
    assert!(status.success(), "{program}: {status}");
}
