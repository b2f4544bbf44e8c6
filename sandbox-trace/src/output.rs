//! Everything that is printed or written goes through here: results on stdout (a closed pipe is success),
//! notes on stderr, files whole or not at all.

use std::{
    io::{self, Write as _},
    path::Path,
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
    let mut err = anstream::stderr().lock();
    let _ = writeln!(err, "{}", line.as_ref());
}

/// Writes `bytes` to `path`, or to stdout when `path` is `-`: to a temporary file in the same folder that is
/// renamed into place, so that a reader never sees half a file and a failure leaves the old one.
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    if path == Path::new("-") {
        return stdout(bytes);
    }
    // A device or a pipe (/dev/stdout, a process substitution) can't be replaced by a rename.
    if path.metadata().is_ok_and(|m| !m.is_file()) {
        return if path.is_dir() {
            Err(Error::usage(format!("{} is a directory", path.display())).hint("name a file with -o FILE"))
        } else {
            std::fs::write(path, bytes)
                .map_err(|e| Error::usage(format!("could not write {}", path.display())).because(e))
        };
    }
    let folder = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let fail = |e: io::Error| {
        Error::usage(format!("could not write {}", path.display()))
            .because(e)
            .hint("the folder must exist and be writable, with room for the file")
    };
    let mut file = tempfile::Builder::new()
        .prefix(".sandbox-trace-")
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
        .tempfile_in(folder)
        .map_err(fail)?;
    file.write_all(bytes).map_err(fail)?;
    file.as_file().sync_all().map_err(fail)?;
    file.persist(path).map_err(|e| fail(e.error))?;
    Ok(())
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
        assert_eq!(std::fs::read(&file).unwrap(), b"new");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
