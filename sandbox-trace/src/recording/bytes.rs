//! Byte strings that the target chose (paths, arguments), in JSON and on terminals.
//!
//! A Linux path is bytes, and the target may be hostile. The encoding is the same everywhere: valid UTF-8
//! stands for itself, a backslash is doubled, and every other byte, and every control character, is `\xNN`.
//! It is reversible, keeps ordinary paths readable, and never moves a terminal's cursor.

use std::{
    borrow::Cow,
    ffi::OsStr,
    fmt::{self, Write as _},
    os::unix::ffi::OsStrExt as _,
    path::Path,
};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Visitor};

use crate::schemas::text;

/// A byte string with the reversible text form described in the module.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BytePath(Cow<'static, [u8]>);

impl BytePath {
    /// The empty string.
    pub const fn empty() -> Self {
        Self(Cow::Borrowed(&[]))
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// As a path of this system.
    pub fn as_path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.0))
    }

    /// Whether there is no byte.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reads the text form.
    pub fn decode(text: &str) -> Result<Self, String> {
        Self::decode_bytes(text).map(|bytes| Self(Cow::Owned(bytes.into_owned())))
    }

    /// The bytes that the text form stands for: nearly always its own.
    pub fn decode_bytes(text: &str) -> Result<Cow<'_, [u8]>, String> {
        if !text.as_bytes().contains(&b'\\') {
            return Ok(Cow::Borrowed(text.as_bytes()));
        }
        let mut out = Vec::with_capacity(text.len());
        let mut rest = text.as_bytes();
        while let [first, tail @ ..] = rest {
            rest = tail;
            if *first != b'\\' {
                out.push(*first);
                continue;
            }
            match rest {
                [b'\\', tail @ ..] => {
                    out.push(b'\\');
                    rest = tail;
                }
                [b'x', high, low, tail @ ..] => {
                    let digit = |c: u8| char::from(c).to_digit(16).and_then(|d| u8::try_from(d).ok());
                    match (digit(*high), digit(*low)) {
                        (Some(high), Some(low)) => out.push(high << 4 | low),
                        _ => return Err(format!("bad \\xNN escape in {text:?}")),
                    }
                    rest = tail;
                }
                _ => return Err(format!("a backslash in {text:?} is neither \\\\ nor \\xNN")),
            }
        }
        Ok(Cow::Owned(out))
    }
}

impl BytePath {
    /// The text form, where it is nothing but the bytes themselves: nearly always.
    fn plain(&self) -> Option<&str> {
        let is_plain = |byte: &u8| matches!(byte, b' '..=b'~') && *byte != b'\\';
        if self.0.iter().all(is_plain) { std::str::from_utf8(&self.0).ok() } else { None }
    }
}

impl fmt::Display for BytePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(text) = self.plain() {
            return f.write_str(text);
        }
        for chunk in self.0.utf8_chunks() {
            for c in chunk.valid().chars() {
                match c {
                    '\\' => f.write_str("\\\\")?,
                    c if c.is_control() || is_bidi_control(c) => {
                        let mut buffer = [0; 4];
                        for byte in c.encode_utf8(&mut buffer).bytes() {
                            write!(f, "\\x{byte:02x}")?;
                        }
                    }
                    c => f.write_char(c)?,
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

/// Text from a file that somebody else wrote, in the same safe form.
pub fn printable(text: &str) -> String {
    BytePath::from(text).to_string()
}

/// Characters that reorder what a reader sees without being control characters by category.
fn is_bidi_control(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

impl fmt::Debug for BytePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

impl From<Vec<u8>> for BytePath {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Cow::Owned(bytes))
    }
}

impl From<&[u8]> for BytePath {
    fn from(bytes: &[u8]) -> Self {
        Self(Cow::Owned(bytes.to_vec()))
    }
}

impl From<&str> for BytePath {
    fn from(text: &str) -> Self {
        Self(Cow::Owned(text.as_bytes().to_vec()))
    }
}

impl From<&OsStr> for BytePath {
    fn from(text: &OsStr) -> Self {
        text.as_bytes().into()
    }
}

impl From<&Path> for BytePath {
    fn from(path: &Path) -> Self {
        path.as_os_str().into()
    }
}

impl JsonSchema for BytePath {
    fn schema_name() -> Cow<'static, str> {
        "Bytes".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        text::of(
            r"^(?:[^\\\u0000-\u001f\u007f-\u009f]|\\\\|\\x[0-9a-f]{2})*$",
            r"A byte string: UTF-8 as it is, a backslash doubled, every other byte and every control character as \xNN.",
        )
    }
}

impl Serialize for BytePath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for BytePath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = BytePath;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<BytePath, E> {
                BytePath::decode(text).map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ordinary_paths_are_readable_and_odd_ones_are_escaped() {
        assert_eq!(BytePath::from("/tmp/été").to_string(), "/tmp/été");
        assert_eq!(BytePath::from("a\\b").to_string(), r"a\\b");
        assert_eq!(BytePath::from("a\n\x1b").to_string(), r"a\x0a\x1b");
        assert_eq!(BytePath::from(&b"\xff/\xc3"[..]).to_string(), r"\xff/\xc3");
        assert_eq!(BytePath::from("a\u{202e}b").to_string(), r"a\xe2\x80\xaeb");
    }

    #[test]
    fn bad_escapes_are_errors() {
        for text in [r"\", r"\n", r"\x1", r"\xg0"] {
            assert!(BytePath::decode(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn the_text_form_is_reversible(bytes: Vec<u8>) {
            let path = BytePath::from(bytes);
            let text = path.to_string();
            prop_assert!(!text.chars().any(char::is_control));
            prop_assert_eq!(BytePath::decode(&text).unwrap(), path);
        }
    }
}
