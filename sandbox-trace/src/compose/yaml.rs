//! YAML as it is written: values with comments above them, in block or flow style. Every string that could be taken for
//! something else is in double quotes, which is the one form that has escapes for everything.

use std::fmt::Write as _;

use serde_json::Value;

use crate::emit::shell::wrapped;

/// A value to write.
#[derive(Debug, Clone, PartialEq)]
pub enum Node {
    /// A string.
    Text(String),
    /// A number, `true`, `false` or `null`, which is its own YAML.
    Plain(String),
    /// A list.
    List(Vec<Item>),
    /// A mapping, in order.
    Map(Vec<Entry>),
}

/// A value in a list.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    /// A comment above it.
    pub why: Option<String>,
    /// The value.
    pub node: Node,
}

/// A key and its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// A comment above it.
    pub why: Option<String>,
    /// The value.
    pub node: Node,
}

impl Entry {
    /// Without a comment.
    pub fn new(key: &str, node: Node) -> Self {
        Self { key: key.to_owned(), why: None, node }
    }

    /// With a comment.
    pub fn because(key: &str, node: Node, why: &str) -> Self {
        Self { why: Some(why.to_owned()), ..Self::new(key, node) }
    }
}

/// How lines are written.
#[derive(Debug, Clone, Copy)]
pub struct Style<'a> {
    /// How far a mapping in a mapping stands in.
    pub step: usize,
    /// What ends a line.
    pub eol: &'a str,
}

impl Node {
    /// A string.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// A list of strings without comments.
    pub fn texts<S: Into<String>>(texts: impl IntoIterator<Item = S>) -> Self {
        Self::List(texts.into_iter().map(|text| Item { why: None, node: Self::text(text) }).collect())
    }

    /// `true` or `false`.
    pub fn flag(flag: bool) -> Self {
        Self::Plain(flag.to_string())
    }

    /// Whether it is written on one line.
    pub fn is_short(&self) -> bool {
        match self {
            Self::Text(_) | Self::Plain(_) => true,
            Self::List(items) => items.is_empty(),
            Self::Map(entries) => entries.is_empty(),
        }
    }

    /// What a reader gets.
    pub fn value(&self) -> Value {
        match self {
            Self::Text(text) => Value::String(text.clone()),
            Self::Plain(text) => serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.clone())),
            Self::List(items) => items.iter().map(|item| item.node.value()).collect(),
            Self::Map(entries) => {
                Value::Object(entries.iter().map(|entry| (entry.key.clone(), entry.node.value())).collect())
            }
        }
    }

    /// On one line.
    pub fn flow(&self) -> String {
        match self {
            Self::Text(text) => scalar(text, true),
            Self::Plain(text) => text.clone(),
            Self::List(items) => {
                let items: Vec<String> = items.iter().map(|item| item.node.flow()).collect();
                format!("[{}]", items.join(", "))
            }
            Self::Map(entries) => {
                let entries: Vec<String> = entries
                    .iter()
                    .map(|entry| format!("{}: {}", scalar(&entry.key, true), entry.node.flow()))
                    .collect();
                format!("{{{}}}", entries.join(", "))
            }
        }
    }

    /// What stands after a key's colon: a short value with a space before it, or lines, the last of which has no end.
    pub fn after_key(&self, indent: usize, style: Style<'_>) -> String {
        match self {
            Self::Text(text) => format!(" {}", scalar(text, false)),
            short if short.is_short() => format!(" {}", short.flow()),
            Self::List(items) => {
                let mut out = String::new();
                for item in items {
                    comment(&mut out, item.why.as_deref(), indent + style.step, style);
                    let _ = write!(out, "{}{}- ", style.eol, " ".repeat(indent + style.step));
                    out.push_str(&item.node.after_dash(indent + style.step + 2, style));
                }
                out
            }
            Self::Map(entries) => entries.iter().map(|entry| entry.line(indent + style.step, style)).collect(),
            Self::Plain(text) => format!(" {text}"),
        }
    }

    fn after_dash(&self, indent: usize, style: Style<'_>) -> String {
        match self {
            Self::Text(text) => scalar(text, false),
            Self::Map(entries) if !entries.is_empty() => {
                let text: String = entries.iter().map(|entry| entry.line(indent, style)).collect();
                text.trim_start().to_owned()
            }
            other => other.flow(),
        }
    }
}

impl Entry {
    /// Its lines at this indent, each with its end before it.
    pub fn line(&self, indent: usize, style: Style<'_>) -> String {
        let mut out = String::new();
        comment(&mut out, self.why.as_deref(), indent, style);
        let _ = write!(out, "{}{}{}:", style.eol, " ".repeat(indent), scalar(&self.key, false));
        out + &self.node.after_key(indent, style)
    }
}

/// Lines of comment, each with its end before it.
pub fn comment(out: &mut String, why: Option<&str>, indent: usize, style: Style<'_>) {
    let Some(why) = why else { return };
    let mut text = String::new();
    wrapped(&mut text, &format!("{}# ", " ".repeat(indent)), why, 110);
    for line in text.lines() {
        let _ = write!(out, "{}{line}", style.eol);
    }
}

/// A string, in quotes where it must be.
fn scalar(text: &str, flow: bool) -> String {
    if is_plain(text, flow) {
        return text.to_owned();
    }
    let mut out = String::from("\"");
    for c in text.chars() {
        // Writing to a string does not fail.
        let _ = match c {
            '"' => write!(out, "\\\""),
            '\\' => write!(out, "\\\\"),
            '\n' => write!(out, "\\n"),
            '\t' => write!(out, "\\t"),
            ' '..='~' => write!(out, "{c}"),
            // Letters of other scripts are printable; what else there is, some reader takes for something.
            c if c.is_alphanumeric() => write!(out, "{c}"),
            c if u32::from(c) <= 0xff => write!(out, "\\x{:02x}", u32::from(c)),
            c if u32::from(c) <= 0xffff => write!(out, "\\u{:04x}", u32::from(c)),
            c => write!(out, "\\U{:08x}", u32::from(c)),
        };
    }
    out + "\""
}

/// Whether every reader, of YAML 1.1 too, takes these characters for a string.
fn is_plain(text: &str, flow: bool) -> bool {
    let words = ["null", "true", "false", "yes", "no", "on", "off", "y", "n"];
    let first = |c: char| c.is_ascii_alphabetic() || "/_".contains(c) || (c == '.' && text.starts_with("./"));
    let inner = |c: char| c.is_ascii_alphanumeric() || "/_.:@=+-".contains(c) || (!flow && ",".contains(c));
    text.starts_with(first)
        && text.chars().all(inner)
        && !text.ends_with(':')
        && !(flow && text.contains(':'))
        && !words.contains(&text.to_ascii_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STYLE: Style<'static> = Style { step: 2, eol: "\n" };

    #[test]
    fn strings_that_look_like_something_else_are_quoted() {
        for text in ["", "1", "1:20", "no", "Null", "~", "a b", "a: b", "- a", "a #b", "#a", "*a", "&a", "2g", "a:"] {
            assert!(scalar(text, false).starts_with('"'), "{text}");
        }
        for text in ["ALL", "./seccomp.json", "/tmp:rw,noexec,size=10m", "seccomp:./a", "unless-stopped"] {
            assert_eq!(scalar(text, false), text);
        }
        assert_eq!(scalar("/tmp:rw", true), "\"/tmp:rw\"");
    }

    fn nodes() -> impl Strategy<Value = Node> {
        let leaf = prop_oneof![
            any::<String>().prop_map(Node::Text),
            any::<i32>().prop_map(|n| Node::Plain(n.to_string())),
            any::<bool>().prop_map(Node::flag),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            let why = prop::option::of(any::<String>());
            let items = prop::collection::vec((why.clone(), inner.clone()), 0..4);
            let entries = prop::collection::btree_map("[^\0]{1,8}", (why, inner), 0..4);
            prop_oneof![
                items.prop_map(|items| {
                    Node::List(items.into_iter().map(|(why, node)| Item { why, node }).collect())
                }),
                entries.prop_map(|entries| {
                    let entry = |(key, (why, node))| Entry { key, why, node };
                    Node::Map(entries.into_iter().map(entry).collect())
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_what_is_read(node in nodes(), crlf: bool, step in 2_usize..5) {
            let style = Style { eol: if crlf { "\r\n" } else { "\n" }, step };
            for text in [format!("key:{}{}", node.after_key(0, style), style.eol), format!("key: {}", node.flow())] {
                let read: Value = serde_saphyr::from_str(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
                prop_assert_eq!(&read["key"], &node.value(), "{}", text);
            }
        }
    }

    #[test]
    fn comments_stand_above() {
        let list = Node::List(vec![Item { why: Some("for\nlogs".to_owned()), node: Node::text("CHOWN") }]);
        let entry = Entry::because("cap_add", list, "why");
        assert_eq!(entry.line(2, STYLE), "\n  # why\n  cap_add:\n    # for?logs\n    - CHOWN");
    }
}
