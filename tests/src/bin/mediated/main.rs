//! One operation after the other that AppArmor mediates, and what the kernel answers to each.
//!
//! `mediated prepare DIR OPERATIONS` makes what the operations need, `mediated run DIR OPERATIONS` makes them and prints
//! `NUMBER ERROR`, a line each; with `mediated enforce DIR OPERATIONS PROFILE` it does so under a profile. A line of
//! OPERATIONS is `NUMBER OWNER KIND [PATH…]`. Each operation has the folder `DIR/NUMBER` to itself, so that all that is
//! recorded or refused below it is its own; its paths are relative to that.
//!
//! The calls are made directly, so that no library adds or changes any, and each is one that succeeds when it is allowed.

mod elf;
mod files;
mod others;

use std::{ffi::CString, fmt::Write as _, fs, path::Path, process::ExitCode};

use nix::libc;

/// The error number of a call that failed.
type Answer = Result<i64, i32>;

/// A line of OPERATIONS.
struct Operation {
    number: u32,
    owner: u32,
    kind: String,
    /// Absolute.
    paths: Vec<CString>,
}

impl Operation {
    fn path(&self, index: usize) -> *const libc::c_char {
        self.paths.get(index).expect("a path for this kind of operation").as_ptr()
    }
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let (verb, dir, list, profile) = match args.as_slice() {
        [verb @ ("prepare" | "run"), dir, list] => (*verb, *dir, *list, None),
        ["enforce", dir, list, profile] => ("run", *dir, *list, Some(*profile)),
        _ => {
            eprintln!("usage: mediated prepare|run|enforce DIR OPERATIONS [PROFILE]");
            return ExitCode::from(2);
        }
    };
    let text = fs::read_to_string(list).expect("the operations");
    let operations: Vec<Operation> = text.lines().map(|line| parse(dir, line)).collect();
    if verb == "prepare" {
        operations.iter().for_each(|operation| files::prepare(dir, operation.number, operation.owner));
        return ExitCode::SUCCESS;
    }
    // SAFETY: no memory is touched.
    unsafe { libc::umask(0) };
    if let Some(profile) = profile {
        let attribute = Path::new("/proc/self/attr/apparmor/current");
        fs::write(attribute, format!("changeprofile {profile}")).expect("the profile must be loaded");
    }
    let mut out = String::new();
    for operation in &operations {
        let answer = files::make(operation).or_else(|| others::make(operation)).expect("a known operation");
        writeln!(out, "{} {}", operation.number, answer.err().unwrap_or(0)).expect("memory");
    }
    print!("{out}");
    ExitCode::SUCCESS
}

fn parse(dir: &str, line: &str) -> Operation {
    let mut words = line.split(' ');
    let mut number = || words.next().and_then(|word| word.parse().ok()).expect("two numbers");
    let (number, owner) = (number(), number());
    let kind = words.next().expect("a kind").to_owned();
    let paths = words.map(|path| CString::new(format!("{dir}/{number}/{path}")).expect("no NUL")).collect();
    Operation { number, owner, kind, paths }
}

/// Makes a call.
fn call(number: libc::c_long, args: [i64; 6]) -> Answer {
    let [a, b, c, d, e, f] = args;
    // SAFETY: callers pass pointers to what lives until this returns.
    let result = unsafe { libc::syscall(number, a, b, c, d, e, f) };
    if result < 0 {
        Err(std::io::Error::last_os_error().raw_os_error().expect("an error number"))
    } else {
        Ok(result)
    }
}
