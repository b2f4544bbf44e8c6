//! A file rule's path: literal bytes and, between them, wildcards that only this tool writes.

use super::escape;
use crate::{
    error::{Error, Result},
    recording::BytePath,
};

/// A part of a pattern.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Piece {
    /// These bytes.
    Literal(Vec<u8>),
    /// Text with a meaning in AppArmor's language. Never made from recorded bytes.
    Glob(String),
}

/// A path or a set of paths that a rule names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pattern(Vec<Piece>);

/// The variable for a number of any length, which a profile that uses it must define: see [`number_definition`].
pub const NUMBER: &str = "@{any_number}";

/// The definition of [`NUMBER`], a line of a profile: one to twenty digits, since AppArmor has no repetition of a class.
pub fn number_definition() -> String {
    let lengths: Vec<String> = (1..=20).map(|length| "[0-9]".repeat(length)).collect();
    format!("{NUMBER}={{{}}}", lengths.join(","))
}

/// The largest process id that `@{pid}` of the tunables matches.
const MAX_PID: u32 = 4_999_999;

impl Pattern {
    /// The pattern of exactly this path. The error names a path that no rule can match exactly.
    pub fn literal(path: &[u8]) -> Result<Self> {
        match escape::inexpressible(path) {
            None => Ok(Self(vec![Piece::Literal(path.to_vec())])),
            Some(why) => Err(Error::incomplete(format!(
                "no AppArmor rule can name the path \"{}\": {why}",
                BytePath::from(path)
            ))
            .hint("leave it out with --allow-incomplete; the profile will deny it")),
        }
    }

    /// As [`Pattern::of_path`], for a path that was found expressible.
    pub fn of_expressible(path: &[u8]) -> Self {
        Self::of_path(path).unwrap_or_else(|_| Self(vec![Piece::Literal(path.to_vec())]))
    }

    /// The narrowest pattern that holds in the next run too: process and thread ids below `/proc` are
    /// different there, so they are written as variables; all else is literal.
    pub fn of_path(path: &[u8]) -> Result<Self> {
        let exact = Self::literal(path)?;
        let Some(below) = path.strip_prefix(b"/proc/") else { return Ok(exact) };
        let Some((pid, rest)) = split_id(below) else { return Ok(exact) };
        debug_assert!(!pid.is_empty());
        let mut pieces = vec![Piece::Glob("@{PROC}/@{pid}".into())];
        match rest.strip_prefix(b"/task/").and_then(split_id) {
            Some((_, rest)) => {
                pieces.push(Piece::Literal(b"/task/".to_vec()));
                pieces.push(Piece::Glob("@{tid}".into()));
                pieces.push(Piece::Literal(rest.to_vec()));
            }
            None => pieces.push(Piece::Literal(rest.to_vec())),
        }
        Ok(Self(pieces))
    }

    /// A pattern of these pieces; neighbouring literals are joined, so that equal patterns compare equal.
    pub fn of_pieces(pieces: impl IntoIterator<Item = Piece>) -> Self {
        let mut out: Vec<Piece> = Vec::new();
        for piece in pieces {
            match (out.last_mut(), piece) {
                (Some(Piece::Literal(last)), Piece::Literal(more)) => last.extend(more),
                (_, piece) => out.push(piece),
            }
        }
        Self(out)
    }

    /// The pieces.
    pub fn pieces(&self) -> &[Piece] {
        &self.0
    }

    /// Whether it matches one path only.
    pub fn is_literal(&self) -> bool {
        self.0.iter().all(|piece| matches!(piece, Piece::Literal(_)))
    }

    /// Whether it uses [`NUMBER`].
    pub fn has_number(&self) -> bool {
        self.0.iter().any(|piece| matches!(piece, Piece::Glob(text) if text == NUMBER))
    }

    /// As it stands in a rule.
    pub fn text(&self) -> String {
        let mut out = String::new();
        let mut quotes = false;
        for piece in &self.0 {
            match piece {
                Piece::Literal(bytes) => quotes |= escape::literal(bytes, &mut out),
                Piece::Glob(text) => out.push_str(text),
            }
        }
        if quotes { format!("\"{out}\"") } else { out }
    }
}

/// A process id as the first component, and the rest from its `/` on (which must be there).
fn split_id(path: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = path.iter().position(|byte| *byte == b'/')?;
    let (id, rest) = path.split_at_checked(end)?;
    let number: u32 = str::from_utf8(id).ok()?.parse().ok()?;
    // Neither +1 nor 01 is how the kernel writes an id.
    ((1..=MAX_PID).contains(&number) && number.to_string().as_bytes() == id).then_some((id, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apparmor::{
        perms::{READ, Subject},
        testing,
    };

    fn text(path: &str) -> String {
        Pattern::of_path(path.as_bytes()).unwrap().text()
    }

    #[test]
    fn process_ids_are_variables_and_nothing_else_is() {
        assert_eq!(text("/proc/412/status"), "@{PROC}/@{pid}/status");
        assert_eq!(text("/proc/412/"), "@{PROC}/@{pid}/");
        assert_eq!(text("/proc/4/task/5/comm"), "@{PROC}/@{pid}/task/@{tid}/comm");
        assert_eq!(text("/proc/4/task/"), "@{PROC}/@{pid}/task/");
        assert_eq!(text("/proc/4/fdinfo/5"), "@{PROC}/@{pid}/fdinfo/5");
        for same in [
            "/proc/cpuinfo",
            "/proc/0/x",
            "/proc/01/x",
            "/proc/+1/x",
            "/proc/5000000/x",
            "/proc/412",
            "/a/1/b",
        ] {
            assert_eq!(text(same), same);
        }
    }

    #[test]
    fn the_variables_match_every_id() {
        let profile = testing::rules("  @{PROC}/@{pid}/status r,\n  @{PROC}/@{pid}/task/@{tid}/comm r,\n");
        let reads = |path: &str| profile.file_perms(path.as_bytes(), Subject::Owner).allows(READ);
        for id in [1_u32, 9, 10, 412, 32_768, 99_999, 4_194_303, MAX_PID] {
            assert!(reads(&format!("/proc/{id}/status")), "{id}");
            assert!(reads(&format!("/proc/{id}/task/{id}/comm")), "{id}");
        }
        for path in
            ["/proc/self/status", "/proc/0/status", "/proc/1x/status", "/proc/1/2/status", "/proc/1/environ"]
        {
            assert!(!reads(path), "{path}");
        }
    }
}
