//! Reading a recording piece by piece: the file accesses, which may be a million, are handed over one by one and are
//! never in memory together, neither as text nor as values. All else is read as a whole, by serde.
//!
//! The text of all but the accesses is copied (with the line breaks of what is left out, so that an error names the
//! right line) and read at the end: unknown fields, their order and their faults are serde's business.

use std::{borrow::Cow, collections::BTreeMap, io::Read};

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::{Access, BytePath, ExecutableIndex, FileAccess, RunSet, written};

/// How much is read at once.
const BLOCK: usize = 1 << 20;

/// A file access as it lies in the file.
#[derive(Debug, Deserialize)]
pub struct FileRef<'a> {
    #[serde(borrow)]
    pub(super) path: Cow<'a, str>,
    /// As in [`FileAccess`].
    pub access: Access,
    #[serde(default)]
    pub(super) link_target: Option<BytePath>,
    /// As in [`FileAccess`].
    #[serde(default)]
    pub owner: Option<bool>,
    #[serde(borrow, deserialize_with = "as_it_stands")]
    pub(super) operations: &'a str,
    /// As in [`FileAccess`].
    #[serde(default)]
    pub error: Option<String>,
    #[serde(default)]
    pub(super) refused_by: Option<String>,
    /// As in [`FileAccess`].
    #[serde(default)]
    pub count: u64,
    /// As in [`FileAccess`].
    pub first_ms: u64,
    /// As in [`FileAccess`].
    #[serde(default)]
    pub last_ms: u64,
    /// As in [`FileAccess`].
    pub by: Vec<ExecutableIndex>,
    /// As in [`FileAccess`].
    #[serde(default)]
    pub runs: Option<RunSet>,
    /// As in [`FileAccess`].
    #[serde(default)]
    pub accesses: BTreeMap<Access, RunSet>,
}

/// The text of a value.
fn as_it_stands<'de, D: Deserializer<'de>>(deserializer: D) -> Result<&'de str, D::Error> {
    <&RawValue>::deserialize(deserializer).map(RawValue::get)
}

impl FileRef<'_> {
    /// The path's bytes.
    pub fn path(&self) -> Result<Cow<'_, [u8]>, String> {
        BytePath::decode_bytes(&self.path)
    }

    /// The existing name of a hard link.
    pub fn link_target(&self) -> Option<&[u8]> {
        self.link_target.as_ref().map(BytePath::as_bytes)
    }

    /// Whether a name was given to something that had another, or taken from it.
    pub fn is_renamed(&self) -> bool {
        // An operation's name is a word: it stands for itself in JSON.
        self.operations.contains("\"rename\"")
    }

    /// The operations, as the file has them.
    pub fn operations_text(&self) -> &str {
        self.operations
    }

    /// Who refused it.
    pub fn refused_by(&self) -> Option<&str> {
        self.refused_by.as_deref()
    }

    /// The operations.
    pub fn operations(&self) -> Result<Vec<String>, String> {
        serde_json::from_str(self.operations).map_err(|e| e.to_string())
    }

    /// The access as a value of its own.
    pub fn to_access(&self) -> Result<FileAccess, String> {
        Ok(FileAccess {
            path: BytePath::from(self.path()?.as_ref()),
            access: self.access,
            link_target: self.link_target.clone(),
            owner: self.owner,
            operations: self.operations()?,
            error: self.error.clone(),
            refused_by: self.refused_by.clone(),
            count: self.count,
            first_ms: self.first_ms,
            last_ms: self.last_ms,
            by: self.by.clone(),
            runs: self.runs.clone(),
            accesses: self.accesses.clone(),
        })
    }
}

/// Which list an access is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum List {
    /// `files`
    Granted,
    /// `failed.files`
    Failed,
}

/// Why a text could not be read.
#[derive(Debug)]
pub enum Fault {
    /// The source gave no more.
    Source(std::io::Error),
    /// The text is not what was expected: what, where, and whether it only ends too early.
    Text {
        /// The line, from 1.
        line: usize,
        /// The column, from 1; 0 if it is not known.
        column: usize,
        /// What is wrong.
        what: String,
        /// Whether the text ends in the middle.
        cut: bool,
    },
}

/// Reads a recording's text; `each` gets the file accesses, and what is returned is the text of all else, with empty
/// lists in their place. A failure has as much of that text as there was, closed so that it can be read.
pub fn read(
    source: impl Read,
    each: &mut dyn FnMut(List, &FileRef<'_>) -> Result<(), String>,
) -> Result<Vec<u8>, (Fault, Vec<u8>)> {
    let mut text = Text { source, buffer: Vec::new(), at: 0, ended: false, line: 1 };
    let mut head = Head::default();
    match head.fill(&mut text, each) {
        Ok(()) => Ok(head.text),
        Err(fault) => {
            head.text.extend(std::iter::repeat_n(b'}', head.depth));
            Err((fault, head.text))
        }
    }
}

/// The text of all but the accesses, and where in it the reader is.
#[derive(Default)]
struct Head {
    text: Vec<u8>,
    depth: usize,
    /// The key whose value comes, with its quotes.
    key: Vec<u8>,
    /// Whether the values are those of `failed`.
    in_failed: bool,
}

impl Head {
    fn fill<R: Read>(
        &mut self,
        text: &mut Text<R>,
        each: &mut dyn FnMut(List, &FileRef<'_>) -> Result<(), String>,
    ) -> Result<(), Fault> {
        // The last string, until it is known whether it is a key.
        let mut string: Vec<u8> = Vec::new();
        while let Some(byte) = text.peek()? {
            if byte == b'"' {
                let from = self.text.len();
                text.string(&mut self.text)?;
                string = self.text.get(from..).unwrap_or_default().to_vec();
                continue;
            }
            if byte == b'['
                && let Some(list) = self.list()
            {
                self.text.push(b'[');
                let lines = text.list(list, each);
                self.text.extend(std::iter::repeat_n(b'\n', lines.as_ref().copied().unwrap_or(0)));
                self.text.push(b']');
                lines?;
                self.key.clear();
                continue;
            }
            match byte {
                b'{' | b'[' => {
                    if self.depth == 1 {
                        self.in_failed = byte == b'{' && self.key == b"\"failed\"";
                    }
                    self.depth += 1;
                    self.key.clear();
                }
                b'}' | b']' => self.depth = self.depth.saturating_sub(1),
                b':' => self.key = std::mem::take(&mut string),
                b',' => self.key.clear(),
                _ => {}
            }
            if !byte.is_ascii_whitespace() {
                string.clear();
            }
            self.text.push(byte);
            text.skip(1);
        }
        Ok(())
    }

    /// The list of accesses that begins here, if one does.
    fn list(&self) -> Option<List> {
        match (self.depth, self.in_failed, self.key.as_slice()) {
            (1, _, b"\"files\"") => Some(List::Granted),
            (2, true, b"\"files\"") => Some(List::Failed),
            _ => None,
        }
    }
}

impl Fault {
    /// What serde says of a text that `lines` come before.
    pub fn of(error: &serde_json::Error, lines: usize) -> Self {
        Self::Text {
            line: error.line() + lines,
            column: if lines == 0 { error.column() } else { 0 },
            what: error.to_string(),
            cut: error.is_eof(),
        }
    }
}

/// What is left of the text, a block at a time.
struct Text<R> {
    source: R,
    buffer: Vec<u8>,
    /// Where in the buffer the rest begins.
    at: usize,
    ended: bool,
    /// The line that the rest begins in.
    line: usize,
}

impl<R: Read> Text<R> {
    fn rest(&self) -> &[u8] {
        self.buffer.get(self.at..).unwrap_or(&[])
    }

    /// Reads another block behind what is left; false at the end.
    fn fill(&mut self) -> Result<bool, Fault> {
        if self.ended {
            return Ok(false);
        }
        self.buffer.drain(..self.at);
        self.at = 0;
        // One value that is larger than a block is read in steps that double, not again for each block.
        let wanted = BLOCK.max(self.buffer.len());
        let got = (&mut self.source).take(wanted as u64).read_to_end(&mut self.buffer);
        let got = got.map_err(Fault::Source)?;
        self.ended = got == 0;
        Ok(got > 0)
    }

    fn peek(&mut self) -> Result<Option<u8>, Fault> {
        loop {
            if let Some(byte) = self.rest().first() {
                return Ok(Some(*byte));
            }
            if !self.fill()? {
                return Ok(None);
            }
        }
    }

    fn skip(&mut self, bytes: usize) {
        let end = self.at + bytes;
        let passed = self.buffer.get(self.at..end).unwrap_or(&[]);
        // As a sum, which is many bytes at a time; as `split`, it cost a quarter of all reading.
        self.line += passed.iter().map(|byte| usize::from(*byte == b'\n')).sum::<usize>();
        self.at = end;
    }

    /// Copies a string with its quotes; one that does not end is copied as far as it goes.
    fn string(&mut self, out: &mut Vec<u8>) -> Result<(), Fault> {
        let mut first = true;
        let mut escaped = false;
        while let Some(byte) = self.peek()? {
            out.push(byte);
            self.skip(1);
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' if !first => return Ok(()),
                _ => {}
            }
            first = false;
        }
        Ok(())
    }

    /// Reads a list of accesses and returns how many lines it has.
    fn list(
        &mut self,
        list: List,
        each: &mut dyn FnMut(List, &FileRef<'_>) -> Result<(), String>,
    ) -> Result<usize, Fault> {
        self.skip(1);
        let from = self.line;
        let mut first = true;
        loop {
            match self.token()? {
                b']' => break,
                b',' if !first => {
                    self.skip(1);
                    // A value must follow: serde says so if it does not.
                    self.token()?;
                }
                _ if first => {}
                _ => return Err(self.fault("expected `,` or `]`")),
            }
            self.element(list, each)?;
            first = false;
        }
        self.skip(1);
        Ok(self.line - from)
    }

    /// The next byte that is no white space.
    fn token(&mut self) -> Result<u8, Fault> {
        loop {
            match self.peek()? {
                Some(byte) if byte.is_ascii_whitespace() => {
                    let blank = self.rest().iter().take_while(|byte| byte.is_ascii_whitespace()).count();
                    self.skip(blank);
                }
                Some(byte) => return Ok(byte),
                None => return Err(self.cut()),
            }
        }
    }

    fn element(
        &mut self,
        list: List,
        each: &mut dyn FnMut(List, &FileRef<'_>) -> Result<(), String>,
    ) -> Result<(), Fault> {
        loop {
            if let Some((file, length)) = written::read(self.rest()) {
                each(list, &file).map_err(|what| self.fault(&what))?;
                self.skip(length);
                return Ok(());
            }
            let mut values = serde_json::Deserializer::from_slice(self.rest()).into_iter::<FileRef<'_>>();
            match values.next() {
                Some(Ok(file)) => {
                    let length = values.byte_offset();
                    each(list, &file).map_err(|what| self.fault(&what))?;
                    self.skip(length);
                    return Ok(());
                }
                Some(Err(error)) if !error.is_eof() => return Err(Fault::of(&error, self.line - 1)),
                // The value goes on in the next block.
                Some(Err(_)) | None => {
                    if !self.fill()? {
                        return Err(self.cut());
                    }
                }
            }
        }
    }

    fn cut(&self) -> Fault {
        Fault::Text { line: self.line, column: 0, what: "the text ends in the middle".into(), cut: true }
    }

    fn fault(&self, what: &str) -> Fault {
        Fault::Text { line: self.line, column: 0, what: what.into(), cut: false }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::recording::{Recording, samples, to_json};

    /// A source that gives a few bytes at a time.
    struct Dripping<'a>(&'a [u8], usize);

    impl Read for Dripping<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let n = self.1.min(self.0.len()).min(buffer.len());
            buffer[..n].copy_from_slice(&self.0[..n]);
            self.0 = &self.0[n..];
            Ok(n)
        }
    }

    fn collect(source: impl Read) -> Result<Recording, Fault> {
        let (mut granted, mut failed) = (Vec::new(), Vec::new());
        let head = read(source, &mut |list, file| {
            let list = if list == List::Granted { &mut granted } else { &mut failed };
            list.push(file.to_access()?);
            Ok(())
        });
        let head = head.map_err(|(fault, _)| fault)?;
        let mut recording: Recording = serde_json::from_slice(&head).map_err(|e| Fault::of(&e, 0))?;
        assert!(recording.files.is_empty() && recording.failed.files.is_empty());
        (recording.files, recording.failed.files) = (granted, failed);
        Ok(recording)
    }

    fn sample(paths: &[Vec<u8>]) -> Recording {
        let mut out = samples::calls(&["read"]);
        for (n, path) in paths.iter().enumerate() {
            let failed = n % 3 == 2;
            let file = FileAccess {
                path: path.as_slice().into(),
                access: Access::READ,
                link_target: (n % 4 == 1).then(|| "/\"files\": [".into()),
                owner: Some(n % 2 == 0),
                operations: vec!["open".into()],
                error: failed.then(|| "ENOENT".into()),
                refused_by: None,
                count: 3,
                first_ms: 1,
                last_ms: 2,
                by: vec![0],
                runs: None,
                accesses: BTreeMap::new(),
            };
            if failed { out.failed.files.push(file) } else { out.files.push(file) }
        }
        out
    }

    proptest! {
        #[test]
        fn nothing_is_lost_wherever_the_blocks_end(
            paths in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..12), 0..12), drip in 1_usize..40,
        ) {
            let recording = sample(&paths);
            let pretty = to_json(&recording).unwrap();
            prop_assert_eq!(collect(Dripping(&pretty, drip)).unwrap(), recording.clone());
            let dense = serde_json::to_vec(&recording).unwrap();
            prop_assert_eq!(collect(Dripping(&dense, drip)).unwrap(), recording);
        }

        #[test]
        fn a_cut_text_is_called_that(at in 0_usize..2000) {
            let text = to_json(&sample(&[b"/a".to_vec(), b"/b".to_vec(), b"/c".to_vec()])).unwrap();
            let cut = at.min(text.len() - 3);
            match collect(&text[..cut]) {
                Err(Fault::Text { cut: true, .. }) => {}
                other => prop_assert!(false, "{other:?}"),
            }
        }
    }

    #[test]
    fn faults_name_their_line() {
        let text = String::from_utf8(to_json(&sample(&[b"/a".to_vec(), b"/b".to_vec()])).unwrap()).unwrap();
        let line_of = |part: &str| text.lines().position(|line| line.contains(part)).unwrap() + 1;
        for (from, to, line) in [
            ("\"/b\"", "7", line_of("\"/b\"")),
            ("\"access\": \"r\"", "\"access\": \"q\"", line_of("\"access\"")),
            ("\"resources\": {", "\"resources\": 7, \"x\": {", line_of("\"resources\"")),
            ("\"/b\"", "\"\\\\q\"", line_of("\"/b\"") - 1),
        ] {
            match collect(text.replacen(from, to, 1).as_bytes()) {
                Err(Fault::Text { line: seen, cut: false, .. }) => assert_eq!(seen, line, "{to}"),
                other => panic!("{to}: {other:?}"),
            }
        }
        for broken in ["\"files\": [1]", "\"files\": [,]", "\"files\": [{} {}]"] {
            assert!(collect(format!("{{{broken}}}").as_bytes()).is_err(), "{broken}");
        }
    }
}
