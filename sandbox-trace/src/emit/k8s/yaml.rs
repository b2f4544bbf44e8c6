//! YAML with comments, in block style. Strings that could be anything else than strings, to any version of YAML, stand in
//! double quotes: no recorded name becomes a number, a truth value or another key.

use std::fmt::Write as _;

use crate::apparmor::escape;

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Node {
    /// Text that is YAML already.
    Plain(String),
    /// By key, in this order.
    Map(Vec<Entry>),
    /// In this order.
    List(Vec<Item>),
}

/// A key and its value, with comments that stand before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    comments: Vec<String>,
    key: String,
    value: Node,
}

/// An item of a list, with comments that stand before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Item {
    comments: Vec<String>,
    value: Node,
}

/// A map in the making.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Map {
    entries: Vec<Entry>,
    comments: Vec<String>,
}

impl Map {
    /// A comment before the next key.
    pub(super) fn comment(&mut self, text: impl Into<String>) -> &mut Self {
        self.comments.push(text.into());
        self
    }

    /// A key and its value.
    pub(super) fn set(&mut self, key: &str, value: impl Into<Node>) -> &mut Self {
        let comments = std::mem::take(&mut self.comments);
        self.entries.push(Entry { comments, key: key.to_owned(), value: value.into() });
        self
    }

    /// Whether there is no key.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl From<Map> for Node {
    fn from(map: Map) -> Self {
        Self::Map(map.entries)
    }
}

impl From<&str> for Node {
    fn from(text: &str) -> Self {
        Self::Plain(string(text))
    }
}

impl From<String> for Node {
    fn from(text: String) -> Self {
        text.as_str().into()
    }
}

impl From<bool> for Node {
    fn from(value: bool) -> Self {
        Self::Plain(value.to_string())
    }
}

impl From<u64> for Node {
    fn from(value: u64) -> Self {
        Self::Plain(value.to_string())
    }
}

impl From<u32> for Node {
    fn from(value: u32) -> Self {
        u64::from(value).into()
    }
}

impl From<u16> for Node {
    fn from(value: u16) -> Self {
        u64::from(value).into()
    }
}

impl<T: Into<Node>> From<Vec<T>> for Node {
    fn from(list: Vec<T>) -> Self {
        Self::List(list.into_iter().map(|value| Item { comments: Vec::new(), value: value.into() }).collect())
    }
}

/// An item with its reason.
pub(super) fn item(why: &str, value: impl Into<Node>) -> Item {
    Item { comments: vec![why.to_owned()], value: value.into() }
}

/// Items with their reasons.
pub(super) fn list(items: Vec<Item>) -> Node {
    Node::List(items)
}

/// A document: what it is, and its keys.
pub(super) fn document(comments: &[String], map: &Map) -> String {
    let mut out = String::new();
    for comment in comments {
        put_comment(comment, 0, &mut out);
    }
    entries(&map.entries, 0, &mut out);
    out
}

fn entries(list: &[Entry], indent: usize, out: &mut String) {
    for (position, entry) in list.iter().enumerate() {
        // The first key of a list's item stands behind its dash.
        let behind_dash = position == 0 && out.ends_with("- ");
        if !behind_dash {
            for comment in &entry.comments {
                put_comment(comment, indent, out);
            }
            pad(indent, out);
        }
        out.push_str(&string(&entry.key));
        out.push(':');
        match &entry.value {
            Node::Plain(text) => {
                out.push(' ');
                out.push_str(text);
                out.push('\n');
            }
            Node::Map(map) if map.is_empty() => out.push_str(" {}\n"),
            Node::List(items) if items.is_empty() => out.push_str(" []\n"),
            Node::Map(map) => {
                out.push('\n');
                entries(map, indent + 2, out);
            }
            Node::List(list) => {
                out.push('\n');
                items(list, indent + 2, out);
            }
        }
    }
}

fn items(list: &[Item], indent: usize, out: &mut String) {
    for Item { comments, value } in list {
        for comment in comments {
            put_comment(comment, indent, out);
        }
        // What is said of an item's first key is said before the item.
        if let Node::Map(map) = value {
            for comment in map.first().into_iter().flat_map(|entry| &entry.comments) {
                put_comment(comment, indent, out);
            }
        }
        pad(indent, out);
        out.push_str("- ");
        match value {
            Node::Plain(text) => {
                out.push_str(text);
                out.push('\n');
            }
            Node::Map(map) if map.is_empty() => out.push_str("{}\n"),
            Node::Map(map) => entries(map, indent + 2, out),
            Node::List(_) => out.push_str("[]\n"),
        }
    }
}

fn pad(indent: usize, out: &mut String) {
    out.extend(std::iter::repeat_n(' ', indent));
}

fn put_comment(text: &str, indent: usize, out: &mut String) {
    pad(indent, out);
    // Writing to a string does not fail.
    let _ = writeln!(out, "# {}", escape::comment(text.as_bytes()));
}

/// A string, in quotes where a reader could take it for anything else.
fn string(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    let reserved = ["true", "false", "yes", "no", "on", "off", "y", "n", "null"];
    let bare = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
        && text.chars().all(plain)
        && !reserved.contains(&text.to_ascii_lowercase().as_str());
    if bare {
        return text.to_owned();
    }
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            ' '..='~' => out.push(c),
            c if !c.is_ascii() && c.is_alphanumeric() => out.push(c),
            // Writing to a string does not fail.
            c => drop(write!(out, "\\U{:08X}", u32::from(c))),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn comments_stand_before_what_they_are_about() {
        let mut inner = Map::default();
        inner.comment("why x").set("x", "1").set("y", vec!["no"]);
        let mut map = Map::default();
        map.comment("about a\nb: c").set("a", list(vec![item("first", inner)])).set("e", Map::default());
        assert_eq!(
            document(&["what".into()], &map),
            "# what\n# about a\\x0ab: c\na:\n  # first\n  # why x\n  - x: \"1\"\n    \"y\":\n      - \"no\"\ne: {}\n"
        );
    }

    proptest! {
        #[test]
        fn every_string_reads_as_itself(key: String, text: String) {
            let mut map = Map::default();
            map.set(&key, text.as_str());
            let read: BTreeMap<String, String> = serde_saphyr::from_str(&document(&[], &map)).unwrap();
            prop_assert_eq!(read, BTreeMap::from([(key, text)]));
        }
    }

    #[test]
    fn what_looks_like_another_type_reads_as_a_string() {
        for text in [
            "",
            "1",
            "1e3",
            "0x1f",
            "1:30",
            "~",
            "True",
            "Off",
            "null",
            "-",
            "- a",
            "a: b",
            "#x",
            ".inf",
            "<<",
            "2020-01-01",
            "@x",
            "*x",
            "&x",
        ] {
            let mut map = Map::default();
            map.set("k", text);
            let read: BTreeMap<String, serde_json::Value> =
                serde_saphyr::from_str(&document(&[], &map)).unwrap();
            assert_eq!(read.get("k"), Some(&serde_json::Value::from(text)), "{text}");
        }
    }
}
