//! Everything that is printed or written goes through here: results on stdout (a closed pipe is success),
//! notes on stderr, files whole or not at all.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, IsTerminal as _, Write},
    os::{
        fd::AsRawFd as _,
        unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    },
    path::Path,
    sync::mpsc::{self, Receiver, RecvTimeoutError, Sender},
    thread,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};
use nix::{
    fcntl::{AT_FDCWD, AtFlags, OFlag},
    sys::signal::{SigSet, SigmaskHow},
    unistd::linkat,
};

use crate::error::{Error, Result};

/// Writes a result to stdout. A reader that has gone away (`| head`) is not a failure.
pub fn stdout(text: impl AsRef<[u8]>) -> Result<()> {
    let mut out = anstream::stdout().lock();
    match out.write_all(text.as_ref()).and_then(|()| out.flush()) {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(e) => Err(Error::usage("could not write to standard output").because(e)),
        Ok(()) => Ok(()),
    }
}

/// Writes a line to stderr: progress, notes, errors. Nothing can be done if that fails, so it can't.
pub fn note(line: impl AsRef<str>) {
    // In one write, so that what a command writes to the same place at that moment does not come in between.
    let choice = anstream::AutoStream::choice(&io::stderr());
    let mut text = anstream::AutoStream::new(Vec::new(), choice);
    let _ = writeln!(text, "{}", line.as_ref());
    let _ = io::stderr().lock().write_all(&text.into_inner());
}

/// Writes `bytes` to `path` as [`write_with`] does.
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    write_with(path, |out| out.write_all(bytes))
}

/// Writes what `write` gives to `path`, or to stdout when `path` is `-`: to a temporary file in the same folder that
/// is renamed into place, so that a reader never sees half a file and a failure leaves the old one.
pub fn write_with(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<()> {
    let fail = |e: io::Error| {
        let what = format!("could not write {}", path.display());
        let full = matches!(
            e.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::ReadOnlyFilesystem
        );
        if full {
            Error::host(what).because(e).hint("make room there, or name a file elsewhere")
        } else {
            Error::usage(what)
                .because(e)
                .hint("the folder must exist and be writable, with room for the file")
        }
    };
    if path == Path::new("-") {
        let mut out = io::BufWriter::new(anstream::stdout().lock());
        return match write(&mut out).and_then(|()| out.flush()) {
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            Err(e) => Err(Error::usage("could not write to standard output").because(e)),
            Ok(()) => Ok(()),
        };
    }
    if path.is_dir() {
        return Err(
            Error::usage(format!("{} is a directory", path.display())).hint("name a file with -o FILE")
        );
    }
    // A device or a pipe (/dev/stdout, a process substitution) can't be replaced by a rename.
    if path.metadata().is_ok_and(|m| !m.is_file()) {
        let file = File::options().write(true).open(path).map_err(fail)?;
        let mut out = io::BufWriter::new(file);
        return write(&mut out).and_then(|()| out.flush()).map_err(fail);
    }
    replace(path, write).map_err(fail)
}

/// A file has no name until it is whole, so that a process that is killed while it writes leaves nothing behind. It
/// is then linked under a name that is always the same for the same `path`, and renamed. Signals wait until both are
/// done; should the process end just between those two all the same (SIGKILL does not wait), the next one takes that
/// name over.
fn replace(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let folder = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".part");
    let part = folder.join(name);
    let unnamed = File::options().write(true).mode(0o644).custom_flags(OFlag::O_TMPFILE.bits()).open(folder);
    let (file, named) = if let Ok(file) = unnamed {
        (file, false)
    } else {
        // Not every file system has them (NFS, FUSE): the file gets its temporary name at once.
        let _ = fs::remove_file(&part);
        (File::options().write(true).create_new(true).mode(0o644).open(&part)?, true)
    };
    let mut out = io::BufWriter::new(&file);
    let written = write(&mut out).and_then(|()| out.flush());
    drop(out);
    let written = written.and_then(|()| file.sync_all());
    let _waiting = SignalsWait::begin();
    let done = written.and_then(|()| {
        if !named {
            let _ = fs::remove_file(&part);
            let itself = format!("/proc/self/fd/{}", file.as_raw_fd());
            linkat(AT_FDCWD, itself.as_str(), AT_FDCWD, &part, AtFlags::AT_SYMLINK_FOLLOW)?;
        }
        fs::rename(&part, path)
    });
    if done.is_err() {
        let _ = fs::remove_file(&part);
    }
    done
}

/// While there is one, signals to this thread wait.
struct SignalsWait {
    before: Option<SigSet>,
}

impl SignalsWait {
    fn begin() -> Self {
        Self { before: SigSet::all().thread_swap_mask(SigmaskHow::SIG_BLOCK).ok() }
    }
}

impl Drop for SignalsWait {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            let _ = before.thread_set_mask();
        }
    }
}

/// A file of a folder that is written as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedFile {
    /// Its name in the folder.
    pub name: String,
    /// Its contents.
    pub bytes: Vec<u8>,
    /// Whether it is a program.
    pub executable: bool,
}

impl NamedFile {
    /// A file that is read.
    pub fn text(name: &str, text: impl Into<Vec<u8>>) -> Self {
        Self { name: name.to_owned(), bytes: text.into(), executable: false }
    }

    /// A script.
    pub fn script(name: &str, text: impl Into<Vec<u8>>) -> Self {
        Self { executable: true, ..Self::text(name, text) }
    }
}

/// Writes files into a folder, which is made where it is missing: all are on the disk under temporary names before the
/// first gets its own, so that a full disk or a name that can't be taken changes nothing.
pub fn write_folder(folder: &Path, files: &[NamedFile]) -> Result<()> {
    let fail = |name: &Path, e: io::Error| {
        Error::usage(format!("could not write {}", name.display()))
            .because(e)
            .hint("nothing was changed; the folder must be writable, with room for its files")
    };
    fs::create_dir_all(folder).map_err(|e| fail(folder, e))?;
    let mut staged = Vec::new();
    for file in files {
        let path = folder.join(&file.name);
        if path.is_dir() {
            return Err(fail(&path, io::Error::from(io::ErrorKind::IsADirectory)));
        }
        let mode = if file.executable { 0o755 } else { 0o644 };
        let part = tempfile::Builder::new()
            .prefix(".sandbox-trace-")
            .permissions(fs::Permissions::from_mode(mode))
            .tempfile_in(folder)
            .and_then(|mut part| {
                part.write_all(&file.bytes)?;
                // The mask of this process does not decide whether a script can be run.
                part.as_file().set_permissions(fs::Permissions::from_mode(mode))?;
                part.as_file().sync_all()?;
                Ok(part)
            })
            .map_err(|e| fail(&path, e))?;
        staged.push((part, path));
    }
    for (part, path) in staged {
        part.persist(&path).map_err(|e| fail(&path, e.error))?;
    }
    Ok(())
}

/// A line on a terminal that says what is being done, for what may take a while: it appears when something has taken
/// half a second, and goes away with this value. Drop it before anything else is printed.
#[derive(Debug)]
pub struct Progress {
    /// What is done now; closed when all is done. There is none where nobody looks.
    stages: Option<Sender<String>>,
    line: Option<thread::JoinHandle<()>>,
}

impl Progress {
    /// Says that `stage` begins; on anything but a terminal, or when `quiet`, it shows nothing.
    pub fn start(quiet: bool, stage: &str) -> Self {
        if quiet || !io::stderr().is_terminal() {
            return Self { stages: None, line: None };
        }
        let (stages, next) = mpsc::channel();
        let first = stage.to_owned();
        let line = thread::spawn(move || show(first, &next));
        Self { stages: Some(stages), line: Some(line) }
    }

    /// Says that the next stage begins.
    pub fn stage(&self, stage: &str) {
        if let Some(stages) = &self.stages {
            let _ = stages.send(stage.to_owned());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.stages = None;
        if let Some(line) = self.line.take() {
            let _ = line.join();
        }
    }
}

/// Shows the stages until there are no more.
fn show(first: String, next: &Receiver<String>) {
    let mut stage = first;
    let patience = Instant::now() + Duration::from_millis(500);
    loop {
        match next.recv_timeout(patience.saturating_duration_since(Instant::now())) {
            Ok(other) => stage = other,
            Err(RecvTimeoutError::Timeout) => break,
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
    let bar = ProgressBar::new_spinner().with_message(stage);
    if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg} {elapsed}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(100));
    for stage in next {
        bar.set_message(stage);
    }
    bar.finish_and_clear();
}

/// A length of time in milliseconds as people say it: `804 ms`, `12.4 s`, `4 min 31 s`.
pub fn duration(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
        60_000..3_600_000 => format!("{} min {} s", ms / 60_000, ms % 60_000 / 1_000),
        _ => format!("{} h {} min", ms / 3_600_000, ms % 3_600_000 / 60_000),
    }
}

/// A number with thousands separators, as tables and summaries show it.
pub fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `1 path`, `2 paths`: a counted noun.
pub fn counted(n: u64, noun: &str) -> String {
    format!("{} {noun}{}", grouped(n), if n == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_000), "1,000");
        assert_eq!(grouped(1_234_567), "1,234,567");
    }

    #[test]
    fn a_failed_write_leaves_the_old_file_and_no_litter() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("out.json");
        write_file(&file, b"old").unwrap();
        assert!(write_file(&dir.path().join("missing/out.json"), b"new").is_err());
        write_file(&file, b"new").unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"new");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_folder_is_written_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("new");
        let files = |text: &str| [NamedFile::text("a", text), NamedFile::script("b.sh", text)];
        write_folder(&folder, &files("old")).unwrap();
        assert_eq!(fs::metadata(folder.join("b.sh")).unwrap().permissions().mode() & 0o777, 0o755);
        fs::remove_file(folder.join("b.sh")).unwrap();
        fs::create_dir(folder.join("b.sh")).unwrap();
        assert!(write_folder(&folder, &files("new")).is_err());
        assert_eq!(fs::read(folder.join("a")).unwrap(), b"old");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 2);
    }
}
