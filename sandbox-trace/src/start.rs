//! Becoming a command under a filter: everything that may fail or needs system calls is done before the filter
//! is loaded, so that after it nothing is called but `execve`.

use std::{
    ffi::{CStr, CString, OsStr},
    io::Write as _,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    sys::signal::{SigHandler, Signal, signal},
    unistd::{AccessFlags, access, execve},
};

use crate::{
    error::{Error, Result},
    seccomp::{
        arch::Arch,
        bpf::{Call, Program},
        load,
    },
};

/// Number of `execve` on x86-64.
const EXECVE: u32 = 59;

/// Why a command was not started, and the exit code that says so: 125 for our own failures, 126 for a command
/// that can't be executed, 127 for one that was not found.
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub code: u8,
    /// What failed.
    pub error: Error,
}

/// A command that is ready to be started in place of this process.
#[derive(Debug, Clone)]
pub struct Start {
    file: CString,
    argv: Vec<CString>,
    environment: Vec<CString>,
    filter: Option<Program>,
    no_new_privileges: bool,
    apparmor: Option<String>,
}

/// Refuses a filter under which no command could start.
pub fn check_exec(filter: &Program) -> Result<()> {
    let outcome = filter.outcome(&Call { nr: EXECVE, arch: Arch::X8664.audit(), args: [None; 6] });
    if outcome.always_goes_on() {
        return Ok(());
    }
    Err(Error::usage(
        "the seccomp profile does not allow execve, so the command could not be started under it",
    )
    .hint("make the profile with --runtime docker (or runc, crun), or add \"execve\" to its names"))
}

impl Start {
    /// Finds the command and checks that it can be executed.
    pub fn new(
        argv: Vec<CString>,
        filter: Option<Program>,
        no_new_privileges: bool,
        apparmor: Option<String>,
    ) -> Result<Self, Failure> {
        let usage = |text: &str| Failure { code: 125, error: Error::usage(text.to_owned()) };
        let Some(name) = argv.first() else { return Err(usage("no command was given")) };
        let file = find(name)?;
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| CString::new([name.as_bytes(), b"=", value.as_bytes()].concat()).ok())
            .collect();
        Ok(Self { file, argv, environment, filter, no_new_privileges, apparmor })
    }

    /// Becomes the command. Returns only when that failed.
    pub fn exec(self) -> Failure {
        match self.ready() {
            Ok(ready) => ready.exec(load::load),
            Err(error) => Failure { code: 125, error },
        }
    }

    /// The filter that the command gets.
    pub fn filter(&self) -> Option<&Program> {
        self.filter.as_ref()
    }

    /// Gives it another filter.
    #[must_use]
    pub fn with_filter(self, filter: Program) -> Self {
        Self { filter: Some(filter), ..self }
    }

    /// The file that is executed.
    pub fn file(&self) -> &CStr {
        &self.file
    }

    /// Puts this process, which was forked to execute [`Start::file`], under the profiles. No call but `execve` is
    /// certain to work after it.
    pub fn confine(&self) -> std::io::Result<()> {
        if let Some(name) = &self.apparmor {
            write_apparmor(name)?;
        }
        if self.no_new_privileges {
            nix::sys::prctl::set_no_new_privs()?;
        }
        if let Some(filter) = &self.filter {
            load::load(filter)?;
        }
        Ok(())
    }

    /// Does for this thread what must be done before a filter is in force.
    pub fn ready(self) -> Result<Ready> {
        if let Some(name) = &self.apparmor {
            enter_apparmor(name)?;
        }
        if self.no_new_privileges
            && let Err(e) = nix::sys::prctl::set_no_new_privs()
        {
            return Err(Error::host("could not set no_new_privs").because(e).hint("it needs Linux 3.5"));
        }
        // The Rust runtime ignores SIGPIPE, and ignored signals stay ignored over execve.
        // SAFETY: the default disposition runs no handler.
        if let Err(e) = unsafe { signal(Signal::SIGPIPE, SigHandler::SigDfl) } {
            return Err(Error::host("could not reset SIGPIPE").because(e));
        }
        Ok(Ready(self))
    }
}

/// A command for which the thread is ready: what is left is the filter, and `execve`.
#[derive(Debug)]
pub struct Ready(Start);

impl Ready {
    /// Loads the filter with `load` and becomes the command. Returns only when that failed.
    ///
    /// Only pointers into memory that exists already are passed from here on.
    pub fn exec(self, load: impl FnOnce(&Program) -> nix::Result<()>) -> Failure {
        let Self(start) = self;
        if let Some(filter) = &start.filter
            && let Err(errno) = load(filter)
        {
            return Failure { code: 125, error: not_loaded(errno) };
        }
        not_executed(&start.file, start.execute())
    }

    /// As [`Ready::exec`], for where nothing can be said any more: hands what went wrong to `failed`.
    pub fn exec_silently(
        self,
        load: impl FnOnce(&Program) -> nix::Result<()>,
        failed: impl Fn(Stage, Errno),
    ) {
        let Self(start) = &self;
        if let Some(filter) = &start.filter
            && let Err(errno) = load(filter)
        {
            return failed(Stage::Load, errno);
        }
        failed(Stage::Execute, start.execute());
    }
}

/// What a start failed at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Loading the filter.
    Load,
    /// Executing the file.
    Execute,
}

impl Stage {
    /// The failure, in words.
    pub fn failure(self, file: &CStr, errno: Errno) -> Failure {
        match self {
            Self::Load => Failure { code: 125, error: not_loaded(errno) },
            Self::Execute => not_executed(file, errno),
        }
    }
}

impl Start {
    fn execute(&self) -> Errno {
        execve(&self.file, &self.argv, &self.environment).err().unwrap_or(Errno::UnknownErrno)
    }
}

fn not_loaded(errno: Errno) -> Error {
    let error = Error::host("the kernel did not take the seccomp filter").because(errno);
    match errno {
        Errno::EACCES => {
            error.hint("loading a filter needs CAP_SYS_ADMIN or --no-new-privileges: add one of them")
        }
        Errno::EBUSY => error.hint(
            "a filter that is in force already asks a supervisor, and the kernel has room for one: leave --explain \
             out, or run this outside of that container",
        ),
        Errno::ENOMEM => {
            error.hint("the filters in force are too large together: 32,768 instructions is the limit")
        }
        _ => error.hint("the kernel needs CONFIG_SECCOMP_FILTER"),
    }
}

fn not_executed(file: &CStr, errno: Errno) -> Failure {
    let code = if matches!(errno, Errno::ENOENT | Errno::ENOTDIR) { 127 } else { 126 };
    let hint = match errno {
        Errno::ENOENT => "the file, or the interpreter that it names, does not exist",
        Errno::ENOEXEC => {
            "the file is no program of this machine; a script needs a first line like #!/bin/sh"
        }
        Errno::EACCES => {
            "the file must be executable, on a file system that is not mounted noexec, and allowed by AppArmor"
        }
        _ => "run the command without a profile to see whether it works",
    };
    let name = shown(file);
    Failure { code, error: Error::usage(format!("could not execute {name}")).because(errno).hint(hint) }
}

/// The file that a command's name means, as `execvp` finds it: a name with a slash is a path, others are looked
/// up in `PATH`.
fn find(name: &CStr) -> Result<CString, Failure> {
    let missing = || Failure {
        code: 127,
        error: Error::usage(format!("{} was not found", shown(name)))
            .hint("give the path of the command, or a name that is in PATH"),
    };
    if name.to_bytes().is_empty() {
        return Err(missing());
    }
    if name.to_bytes().contains(&b'/') {
        return usable(Path::new(OsStr::from_bytes(name.to_bytes())))
            .map_err(|e| not_executed(name, e))
            .map(|()| name.to_owned());
    }
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/bin:/usr/bin".into());
    let mut denied = None;
    for folder in std::env::split_paths(&path) {
        // An empty entry is the working directory.
        let folder = if folder.as_os_str().is_empty() { PathBuf::from(".") } else { folder };
        let file = folder.join(OsStr::from_bytes(name.to_bytes()));
        match (usable(&file), CString::new(file.as_os_str().as_bytes())) {
            (Ok(()), Ok(file)) => return Ok(file),
            (Err(Errno::EACCES), _) => denied = Some(Errno::EACCES),
            _ => {}
        }
    }
    Err(denied.map_or_else(missing, |errno| not_executed(name, errno)))
}

/// Whether a file can be executed: it exists, is a regular file and its mode allows it.
fn usable(file: &Path) -> Result<(), Errno> {
    let metadata = std::fs::metadata(file).map_err(|e| Errno::from_raw(e.raw_os_error().unwrap_or(0)))?;
    if metadata.is_dir() {
        return Err(Errno::EACCES);
    }
    access(file, AccessFlags::X_OK)
}

fn shown(name: &CStr) -> String {
    crate::recording::BytePath::from(name.to_bytes()).to_string()
}

/// Whether this kernel enforces `AppArmor` profiles.
pub fn apparmor_enabled() -> bool {
    let enabled = std::fs::read_to_string("/sys/module/apparmor/parameters/enabled");
    enabled.is_ok_and(|text| text.starts_with('Y'))
}

/// Asks the kernel to change to the AppArmor profile `name` at the next `execve` of this thread.
fn enter_apparmor(name: &str) -> Result<()> {
    if !apparmor_enabled() {
        return Err(Error::host(format!(
            "can't run under the AppArmor profile {name}: AppArmor is not enabled"
        ))
        .hint("boot with lsm=…,apparmor on a kernel that has it, or leave --apparmor out"));
    }
    write_apparmor(name).map_err(|e| {
        Error::host(format!("could not enter the AppArmor profile {name}"))
            .because(e)
            .hint("load it first with `apparmor_parser -r FILE`, and check its name with `aa-status`")
    })
}

fn write_apparmor(name: &str) -> std::io::Result<()> {
    // Linux 5.8 gave each security module its own folder; before, and without it, the common file is AppArmor's.
    let own = Path::new("/proc/thread-self/attr/apparmor/exec");
    let file = if own.exists() { own } else { Path::new("/proc/thread-self/attr/exec") };
    let mut file = std::fs::OpenOptions::new().write(true).open(file)?;
    file.write_all(format!("exec {name}").as_bytes())
}
