//! A file access in the form that `record` writes, read without serde: the same values in a third of the time, which is most
//! of the time that reading a recording takes. Whatever is in any other form (another order, an escape, an unknown key)
//! is left to serde, and so is every fault.

use std::{borrow::Cow, collections::BTreeMap};

use super::reading::FileRef;

/// The access that the text begins with, and how long it is; nothing unless all of it is there as it is written.
pub fn read(text: &[u8]) -> Option<(FileRef<'_>, usize)> {
    let mut rest = Rest { text, at: 0 };
    rest.token(b'{')?;
    rest.key(b"path")?;
    let path = Cow::Borrowed(rest.string()?);
    rest.next_key(b"access")?;
    let access = rest.string()?.parse().ok()?;
    let owner = if rest.next_key(b"owner").is_some() { Some(rest.boolean()?) } else { None };
    rest.next_key(b"operations")?;
    let operations = rest.strings()?;
    let error = if rest.next_key(b"error").is_some() { Some(rest.string()?.to_owned()) } else { None };
    let count = if rest.next_key(b"count").is_some() { rest.number()? } else { 0 };
    rest.next_key(b"first_ms")?;
    let first_ms = rest.number()?;
    let last_ms = if rest.next_key(b"last_ms").is_some() { rest.number()? } else { 0 };
    rest.next_key(b"by")?;
    let by = rest.numbers()?;
    rest.token(b'}')?;
    let file = FileRef {
        path,
        access,
        link_target: None,
        owner,
        operations,
        error,
        refused_by: None,
        count,
        first_ms,
        last_ms,
        by,
        runs: None,
        accesses: BTreeMap::new(),
    };
    Some((file, rest.at))
}

/// What is left of the text. What is not there as expected is not passed.
struct Rest<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Rest<'a> {
    fn left(&self) -> &'a [u8] {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn token(&mut self, byte: u8) -> Option<()> {
        let blank = self.left().iter().take_while(|one| matches!(one, b' ' | b'\n' | b'\r' | b'\t')).count();
        (self.text.get(self.at + blank) == Some(&byte)).then(|| self.at += blank + 1)
    }

    fn key(&mut self, name: &[u8]) -> Option<()> {
        let from = self.at;
        let found = self.token(b'"').and_then(|()| {
            let left = self.left().strip_prefix(name)?.strip_prefix(b"\"")?;
            self.at = self.text.len() - left.len();
            self.token(b':')
        });
        if found.is_none() {
            self.at = from;
        }
        found
    }

    /// A key that another value comes before.
    fn next_key(&mut self, name: &[u8]) -> Option<()> {
        let from = self.at;
        let found = self.token(b',').and_then(|()| self.key(name));
        if found.is_none() {
            self.at = from;
        }
        found
    }

    fn string(&mut self) -> Option<&'a str> {
        self.token(b'"')?;
        let left = self.left();
        let end = left.iter().position(|byte| *byte == b'"')?;
        let inside = left.get(..end)?;
        // Control characters are faults, and escapes serde's business.
        if inside.iter().any(|byte| *byte == b'\\' || *byte < b' ') {
            return None;
        }
        self.at += end + 1;
        std::str::from_utf8(inside).ok()
    }

    /// A list of strings, as it stands there.
    fn strings(&mut self) -> Option<&'a str> {
        self.token(b'[')?;
        let from = self.at - 1;
        if self.token(b']').is_none() {
            self.string()?;
            while self.token(b',').is_some() {
                self.string()?;
            }
            self.token(b']')?;
        }
        std::str::from_utf8(self.text.get(from..self.at)?).ok()
    }

    fn number(&mut self) -> Option<u64> {
        let blank = self.left().iter().take_while(|one| matches!(one, b' ' | b'\n' | b'\r' | b'\t')).count();
        let digits = self.text.get(self.at + blank..)?;
        let length = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let digits = digits.get(..length)?;
        // A fraction or an exponent may follow, and a zero has no digits behind it.
        let next = self.text.get(self.at + blank + length)?;
        if matches!(next, b'.' | b'e' | b'E') || (length > 1 && digits.first() == Some(&b'0')) || length > 19
        {
            return None;
        }
        self.at += blank + length;
        (length > 0).then(|| digits.iter().fold(0, |all, digit| all * 10 + u64::from(digit - b'0')))
    }

    fn numbers(&mut self) -> Option<Vec<u32>> {
        self.token(b'[')?;
        if self.token(b']').is_some() {
            return Some(Vec::new());
        }
        let mut out = vec![u32::try_from(self.number()?).ok()?];
        while self.token(b',').is_some() {
            out.push(u32::try_from(self.number()?).ok()?);
        }
        self.token(b']')?;
        Some(out)
    }

    fn boolean(&mut self) -> Option<bool> {
        let blank = self.left().iter().take_while(|one| matches!(one, b' ' | b'\n' | b'\r' | b'\t')).count();
        let left = self.text.get(self.at + blank..)?;
        let value = left.starts_with(b"true");
        let word: &[u8] = if value { b"true" } else { b"false" };
        left.starts_with(word).then(|| self.at += blank + word.len())?;
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WRITTEN: [&str; 3] = [
        r#"{"path":"/a/é","access":"rw","owner":true,"operations":["open","stat"],"count":7,"first_ms":0,"last_ms":12,"by":[0,31]}"#,
        "{\n  \"path\": \"/b\",\n  \"access\": \"\",\n  \"operations\": [],\n  \"error\": \"ENOENT\",\n  \"first_ms\": 5,\n  \"by\": []\n}",
        r#"{"path":"/c","access":"l","link_target":"/d","operations":["link"],"count":1,"first_ms":1,"by":[0],"runs":"0-1"}"#,
    ];

    fn by_serde(text: &[u8]) -> Option<(FileRef<'_>, usize)> {
        let mut values = serde_json::Deserializer::from_slice(text).into_iter::<FileRef<'_>>();
        let file = values.next()?.ok()?;
        Some((file, values.byte_offset()))
    }

    #[test]
    fn what_is_written_needs_no_serde() {
        for text in &WRITTEN[..2] {
            assert_eq!(format!("{:?}", read(text.as_bytes())), format!("{:?}", by_serde(text.as_bytes())));
            assert!(read(text.as_bytes()).is_some());
        }
        assert!(read(WRITTEN[2].as_bytes()).is_none() && by_serde(WRITTEN[2].as_bytes()).is_some());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        /// Whatever the text is made into, what is read here is what serde reads.
        #[test]
        fn the_values_are_serdes(
            which in 0usize..3,
            changes in prop::collection::vec((any::<prop::sample::Index>(), 0u8..3, prop::sample::select(
                b"{}[]\",:\\ \n0129.-eE\x01\xffatfrwbyn".to_vec())), 0..4),
        ) {
            let mut text = WRITTEN[which].as_bytes().to_vec();
            for (at, how, byte) in changes {
                let at = at.index(text.len());
                match how {
                    0 => text[at] = byte,
                    1 => text.insert(at, byte),
                    _ => drop(text.remove(at)),
                }
            }
            text.push(b',');
            if let Some(found) = read(&text) {
                prop_assert_eq!(format!("{:?}", Some(found)), format!("{:?}", by_serde(&text)));
            }
        }
    }
}
