//! YAML as a tree that knows its places: scalars as text, since compose reads most of them so, anchors and merge keys
//! resolved by the parser. What a hostile file can make of aliases is bounded.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, Spanned};

use crate::{
    error::{Error, Result},
    recording::printable,
};

/// The longest file that is read.
const MAX_BYTES: usize = 4 << 20;
/// The most nodes that a file may have with its aliases in place.
const MAX_NODES: usize = 200_000;
/// How deep it may go.
const MAX_DEPTH: usize = 64;

/// A node and its place, counted from 1.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Node {
    /// Its line.
    pub line: u32,
    /// Its column, in characters.
    pub column: u32,
    /// What it is.
    pub value: Value,
}

/// What a node is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Value {
    /// Nothing, `~` or `null`.
    #[default]
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// Any other scalar, as text.
    Text(String),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping, in its own order.
    Map(Vec<(String, Node)>),
}

impl Node {
    /// The entries of a mapping.
    pub fn map(&self) -> Option<&[(String, Node)]> {
        match &self.value {
            Value::Map(entries) => Some(entries),
            _ => None,
        }
    }

    /// The entries of a sequence.
    pub fn list(&self) -> Option<&[Node]> {
        match &self.value {
            Value::List(nodes) => Some(nodes),
            _ => None,
        }
    }

    /// The value of a key; nothing is as good as absent.
    pub fn get(&self, key: &str) -> Option<&Node> {
        let (_, node) = self.map()?.iter().find(|(name, _)| name == key)?;
        (node.value != Value::Null).then_some(node)
    }

    /// A scalar's text.
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            Value::Bool(true) => Some("true"),
            Value::Bool(false) => Some("false"),
            _ => None,
        }
    }

    /// A truth value; a variable may have stood for it, so that it is text.
    pub fn bool(&self) -> Option<bool> {
        match &self.value {
            Value::Bool(value) => Some(*value),
            // What compose takes for them (YAML 1.1).
            Value::Text(text) => match text.to_ascii_lowercase().as_str() {
                "true" | "yes" | "on" | "y" => Some(true),
                "false" | "no" | "off" | "n" => Some(false),
                _ => None,
            },
            _ => None,
        }
    }
}

/// Reads one YAML document.
pub fn parse(name: &str, text: &str) -> Result<Node> {
    if text.len() > MAX_BYTES {
        return Err(Error::usage(format!("{name} is longer than {} MiB", MAX_BYTES >> 20))
            .hint("a compose file is a few kilobytes: is it the right file?"));
    }
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: MAX_DEPTH,
            max_nodes: MAX_NODES,
            max_documents: 1,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: MAX_NODES,
            max_replay_stack_depth: MAX_DEPTH,
        },
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        with_snippet: false,
    };
    let spanned: Spanned<Node> = serde_saphyr::from_str_with_options(text, options).map_err(|e| {
        let place = e.location().unwrap_or(Location::UNKNOWN);
        let (line, column) = (number(place.line()), number(place.column()));
        let what = e.without_snippet().to_string();
        let what = what.split(" at line ").next().unwrap_or_default().lines().next().unwrap_or_default();
        let shown = shown_line(text, line);
        Error::usage(format!("{name} is not YAML: line {line}, column {column}: {}{shown}", printable(what)))
            .hint("correct the line; `docker compose config` checks the whole file")
    })?;
    Ok(placed(spanned))
}

/// A line of the file as a message shows it: on a line of its own, with its number.
pub fn shown_line(text: &str, line: u32) -> String {
    const LONGEST: usize = 120;
    let index = usize::try_from(line).unwrap_or(0).wrapping_sub(1);
    let Some(found) = text.lines().nth(index) else { return String::new() };
    let shown: String = found.chars().take(LONGEST).collect();
    format!("\n  {line} | {}", printable(&shown))
}

fn placed(spanned: Spanned<Node>) -> Node {
    let place = spanned.defined;
    Node { line: number(place.line()), column: number(place.column()), value: spanned.value.value }
}

fn number(n: u64) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl NodeVisitor {
    #[allow(clippy::unnecessary_wraps, reason = "it is what every visit gives")]
    fn text<E>(text: &(impl ToString + ?Sized)) -> Result<Node, E> {
        Ok(Node { value: Value::Text(text.to_string()), ..Node::default() })
    }
}

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML node")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::default())
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::default())
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        Node::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node { value: Value::Bool(value), ..Node::default() })
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Self::text(&value)
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Self::text(&value)
    }

    fn visit_i128<E>(self, value: i128) -> Result<Node, E> {
        Self::text(&value)
    }

    fn visit_u128<E>(self, value: u128) -> Result<Node, E> {
        Self::text(&value)
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Self::text(&value)
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Self::text(value)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Node, A::Error> {
        let mut nodes = Vec::new();
        while let Some(node) = seq.next_element::<Spanned<Node>>()? {
            nodes.push(placed(node));
        }
        Ok(Node { value: Value::List(nodes), ..Node::default() })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        while let Some((key, node)) = map.next_entry::<String, Spanned<Node>>()? {
            entries.push((key, placed(node)));
        }
        Ok(Node { value: Value::Map(entries), ..Node::default() })
    }
}
