//! The one error type, and the exit codes that scripts rely on.
//!
//! A message says what failed and on what; the hint says what to do about it.

use std::fmt;

/// The exit codes of every command but `run`, which exits as its command does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done, and nothing found.
    Clean = 0,
    /// Something found: a needed thing would be blocked, a check failed, the recorded command failed.
    Found = 1,
    /// Wrong usage, or an input that can't be read.
    Usage = 2,
    /// The recording lost something, or the answer can't be proven.
    Incomplete = 3,
    /// Something dangerous was asked for and not allowed by name.
    Refused = 4,
    /// The host lacks something that the command needs.
    Host = 5,
}

/// What kind of failure an [`Error`] is; decides its exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Wrong arguments, or an input file that can't be read or understood; exit 2.
    Usage,
    /// The recording is incomplete, or an answer can't be proven; exit 3.
    Incomplete,
    /// Dangerous without `--allow`; exit 4.
    Refused,
    /// The host lacks a feature, a privilege or a program; exit 5.
    Host,
}

/// A failure as a person should read it: what failed, on what, why, and what to do.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    hint: Option<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// The result type of the crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of `kind` that says `message`.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None, source: None }
    }

    /// Wrong usage or unreadable input (exit 2).
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Usage, message)
    }

    /// Incomplete evidence (exit 3).
    pub fn incomplete(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Incomplete, message)
    }

    /// Refused as dangerous (exit 4).
    pub fn refused(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Refused, message)
    }

    /// The host lacks something (exit 5).
    pub fn host(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Host, message)
    }

    /// Adds what the user can do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds the underlying cause.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What kind of failure this is.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// What to do about it, where that is known.
    pub fn hint_text(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// The message and its causes in one line.
    pub fn in_one_line(&self) -> String {
        let mut out = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            let text = error.to_string();
            // A verifier's log is pages long; its last line says why.
            let line = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
            // Some errors say their causes themselves.
            if !out.contains(line.trim()) {
                out += ": ";
                out += line.trim();
            }
            cause = error.source();
        }
        out
    }

    /// The exit code that a command ends with for this error.
    pub fn exit(&self) -> Exit {
        match self.kind {
            ErrorKind::Usage => Exit::Usage,
            ErrorKind::Incomplete => Exit::Incomplete,
            ErrorKind::Refused => Exit::Refused,
            ErrorKind::Host => Exit::Host,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
