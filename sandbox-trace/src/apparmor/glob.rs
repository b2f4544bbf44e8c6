//! A path of a rule as its text has it: what it matches, and when one holds all that another does.
//!
//! The compiler decides what a profile allows; this reads rules so that two texts can be compared. What it does not
//! know matches nothing, and is equal to itself alone.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use super::escape;

/// One part of a path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Node {
    /// This byte.
    Byte(u8),
    /// `?`: any byte but `/`.
    One,
    /// `*`: any bytes but `/`.
    Star,
    /// `**`: any bytes.
    StarStar,
    /// `[…]`, the bytes that it stands for.
    Class(Vec<u8>),
    /// `{…,…}`.
    Either(Vec<Vec<Node>>),
    /// `@{…}`.
    Variable(String),
}

/// A path of a rule. Quotes and escapes make no difference.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Glob(Form);

/// Most paths are just that, and there are many of them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Form {
    Literal(Vec<u8>),
    Wide(Vec<Node>),
}

/// The values of variables, by name without `@{}`.
pub type Variables = BTreeMap<String, BTreeSet<String>>;

/// Variables within variables go no deeper.
const DEPTH: u8 = 8;

impl Glob {
    /// Reads the text of a path, without its quotes.
    pub fn parse(text: &str) -> Self {
        let mut rest = text.as_bytes();
        let nodes = sequence(&mut rest, false);
        let byte = |node: &Node| if let Node::Byte(byte) = node { Some(*byte) } else { None };
        match nodes.iter().map(byte).collect() {
            Some(bytes) => Self(Form::Literal(bytes)),
            None => Self(Form::Wide(nodes)),
        }
    }

    /// The path itself, if it is one.
    pub fn literal(&self) -> Option<&[u8]> {
        if let Form::Literal(bytes) = &self.0 { Some(bytes) } else { None }
    }

    /// What every path that it matches begins with.
    pub fn prefix(&self) -> Vec<u8> {
        match &self.0 {
            Form::Literal(path) => path.clone(),
            Form::Wide(nodes) => nodes
                .iter()
                .map_while(|node| if let Node::Byte(byte) = node { Some(*byte) } else { None })
                .collect(),
        }
    }

    /// As rules have it, without quotes: printable, whatever its bytes are.
    pub fn text(&self) -> String {
        let mut out = String::new();
        match &self.0 {
            Form::Literal(path) => drop(escape::literal(path, &mut out)),
            Form::Wide(nodes) => write(nodes, false, &mut out),
        }
        out
    }

    /// Whether `path` is one of its paths.
    pub fn matches(&self, path: &[u8], variables: &Variables) -> bool {
        match &self.0 {
            Form::Literal(own) => own == path,
            Form::Wide(nodes) => holds(nodes, &bytes(path), variables),
        }
    }

    /// Whether every path of `other` is certainly one of its own. `false` also where that is not known.
    pub fn holds(&self, other: &Self, variables: &Variables) -> bool {
        if self == other {
            return true;
        }
        match (&self.0, &other.0) {
            (Form::Literal(_), _) => false,
            (Form::Wide(_), Form::Literal(path)) => self.matches(path, variables),
            (Form::Wide(own), Form::Wide(other)) => holds(own, other, variables),
        }
    }

    /// The names of the variables in it.
    pub fn variables(&self) -> BTreeSet<&str> {
        let mut out = BTreeSet::new();
        if let Form::Wide(nodes) = &self.0 {
            names(nodes, &mut out);
        }
        out
    }
}

fn holds(own: &[Node], nodes: &[Node], variables: &Variables) -> bool {
    let text = Text { nodes, variables };
    advance(own, None, &text, &BTreeSet::from([0]), DEPTH).contains(&nodes.len())
}

fn names<'a>(nodes: &'a [Node], out: &mut BTreeSet<&'a str>) {
    for node in nodes {
        match node {
            Node::Variable(name) => drop(out.insert(name)),
            Node::Either(ways) => ways.iter().for_each(|way| names(way, out)),
            _ => {}
        }
    }
}

/// What is matched: bytes, or the parts of another path.
struct Text<'a> {
    nodes: &'a [Node],
    variables: &'a Variables,
}

/// Where in the text one may be after `pattern`, from any of these places. Every part of the text that is passed holds
/// no more than the part of the pattern that passes it.
fn advance(
    pattern: &[Node],
    before: Option<u8>,
    text: &Text<'_>,
    from: &BTreeSet<usize>,
    depth: u8,
) -> BTreeSet<usize> {
    let mut at = from.clone();
    let mut before = before;
    for node in pattern {
        if at.is_empty() {
            return at;
        }
        at = step(node, before, text, &at, depth);
        before = if let Node::Byte(byte) = node { Some(*byte) } else { None };
    }
    at
}

fn step(
    node: &Node,
    before: Option<u8>,
    text: &Text<'_>,
    from: &BTreeSet<usize>,
    depth: u8,
) -> BTreeSet<usize> {
    let one = |holds: &dyn Fn(&Node) -> bool| -> BTreeSet<usize> {
        from.iter().filter(|at| text.nodes.get(**at).is_some_and(holds)).map(|at| at + 1).collect()
    };
    // A component is never empty: `/*` is not `/`.
    let least = usize::from(before == Some(b'/'));
    let run = |holds: &dyn Fn(&Node) -> bool| -> BTreeSet<usize> {
        let mut out = BTreeSet::new();
        for start in from {
            let length = text.nodes.get(*start..).unwrap_or_default().iter().take_while(|n| holds(n)).count();
            out.extend((least..=length).map(|length| start + length));
        }
        out
    };
    match node {
        Node::Byte(_) => one(&|other| other == node),
        Node::One => one(&is_one),
        Node::Class(class) => one(&|other| match other {
            Node::Byte(byte) => class.contains(byte),
            Node::Class(other) => other.iter().all(|byte| class.contains(byte)),
            _ => false,
        }),
        Node::Star => run(&|other| {
            is_one(other) || *other == Node::Star || matches!(other, Node::Variable(name) if is_number(name))
        }),
        Node::StarStar => run(&|other| !matches!(other, Node::Either(_))),
        Node::Either(ways) => ways.iter().flat_map(|way| advance(way, before, text, from, depth)).collect(),
        Node::Variable(name) => {
            let mut out = one(&|other| other == node);
            if is_number(name) {
                for start in from {
                    let digits = text.nodes.get(*start..).unwrap_or_default().iter();
                    let length = digits.take_while(|n| matches!(n, Node::Byte(b'0'..=b'9'))).count();
                    out.extend((1..=length).map(|length| start + length));
                }
            } else if name == "PROC" {
                out.extend(advance(&bytes(b"/proc"), None, text, from, depth));
            } else if let (Some(values), Some(depth)) = (text.variables.get(name), depth.checked_sub(1)) {
                for value in values {
                    out.extend(advance(&sequence(&mut value.as_bytes(), false), before, text, from, depth));
                }
            }
            out
        }
    }
}

/// Numbers by the tunables, and by what is emitted.
fn is_number(name: &str) -> bool {
    matches!(name, "pid" | "pids" | "tid" | "any_number")
}

/// Whether it is one byte and that is not `/`.
fn is_one(node: &Node) -> bool {
    match node {
        Node::Byte(byte) => *byte != b'/',
        Node::One => true,
        Node::Class(class) => !class.contains(&b'/'),
        _ => false,
    }
}

fn bytes(text: &[u8]) -> Vec<Node> {
    text.iter().copied().map(Node::Byte).collect()
}

/// Reads parts until the end, or within braces until the next `,` or `}`.
fn sequence(rest: &mut &[u8], in_braces: bool) -> Vec<Node> {
    let mut out: Vec<Node> = Vec::new();
    while let [first, tail @ ..] = *rest {
        if in_braces && matches!(first, b',' | b'}') {
            break;
        }
        *rest = tail;
        match (first, tail) {
            (b'\\', _) => out.extend(escaped(rest).map(Node::Byte)),
            (b'*', [b'*', tail @ ..]) => {
                *rest = tail;
                out.push(Node::StarStar);
            }
            (b'*', _) => out.push(Node::Star),
            (b'?', _) => out.push(Node::One),
            (b'[', _) => out.push(class(rest)),
            (b'{', _) => out.push(either(rest)),
            (b'@', [b'{', tail @ ..]) if variable(tail).is_some() => {
                let (name, after) = variable(tail).unwrap_or_default();
                *rest = after;
                out.push(Node::Variable(name));
            }
            (byte, _) => out.push(Node::Byte(*byte)),
        }
    }
    // `***` is `**`.
    out.dedup_by(|a, b| *b == Node::StarStar && matches!(a, Node::Star | Node::StarStar));
    out
}

/// The name of a variable that ends in `}`, and what follows.
fn variable(text: &[u8]) -> Option<(String, &[u8])> {
    let end = text.iter().position(|byte| !byte.is_ascii_alphanumeric() && *byte != b'_')?;
    let (name, after) = text.split_at_checked(end)?;
    let after = after.strip_prefix(b"}")?;
    Some((String::from_utf8_lossy(name).into_owned(), after))
}

fn either(rest: &mut &[u8]) -> Node {
    let mut ways = Vec::new();
    loop {
        ways.push(sequence(rest, true));
        let [separator, tail @ ..] = *rest else { break };
        *rest = tail;
        if *separator == b'}' {
            break;
        }
    }
    ways.sort();
    ways.dedup();
    Node::Either(ways)
}

/// What follows a backslash: three octal digits, or the byte itself.
fn escaped(rest: &mut &[u8]) -> Option<u8> {
    if let [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', tail @ ..] = *rest {
        *rest = tail;
        return Some((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
    }
    let [byte, tail @ ..] = *rest else { return None };
    *rest = tail;
    Some(*byte)
}

fn class(rest: &mut &[u8]) -> Node {
    let negated = matches!(rest.first(), Some(b'^' | b'!'));
    if negated {
        *rest = rest.get(1..).unwrap_or_default();
    }
    let mut listed = BTreeSet::new();
    let mut last: Option<u8> = None;
    while let [first, tail @ ..] = *rest {
        *rest = tail;
        match (first, last, tail) {
            (b']', _, _) => break,
            (b'-', Some(from), [to, ..]) if *to != b']' => {
                *rest = tail.get(1..).unwrap_or_default();
                let to = if *to == b'\\' { escaped(rest) } else { Some(*to) };
                listed.extend(to.into_iter().flat_map(|to| from..=to));
                last = None;
            }
            (b'\\', _, _) => {
                last = escaped(rest);
                listed.extend(last);
            }
            (byte, _, _) => {
                last = Some(*byte);
                listed.insert(*byte);
            }
        }
    }
    let in_it = |byte: &u8| listed.contains(byte) != negated && (!negated || *byte != b'/');
    Node::Class((1..=255).filter(in_it).collect())
}

fn write(nodes: &[Node], in_braces: bool, out: &mut String) {
    // Between braces a comma means something.
    let literal_text = |bytes: &[u8], out: &mut String| {
        let mut text = String::new();
        escape::literal(bytes, &mut text);
        out.push_str(&if in_braces { text.replace(',', "\\054") } else { text });
    };
    let mut literal = Vec::new();
    for node in nodes {
        if let Node::Byte(byte) = node {
            literal.push(*byte);
            continue;
        }
        literal_text(&std::mem::take(&mut literal), out);
        match node {
            Node::Byte(_) => {}
            Node::One => out.push('?'),
            Node::Star => out.push('*'),
            Node::StarStar => out.push_str("**"),
            Node::Class(class) => write_class(class, out),
            Node::Either(ways) => {
                for (at, way) in ways.iter().enumerate() {
                    out.push(if at == 0 { '{' } else { ',' });
                    write(way, true, out);
                }
                out.push('}');
            }
            Node::Variable(name) => {
                out.push_str("@{");
                out.push_str(name);
                out.push('}');
            }
        }
    }
    literal_text(&literal, out);
}

fn write_class(class: &[u8], out: &mut String) {
    // More than half of all bytes: what is left out is shorter.
    let negated = class.len() > 128;
    let shown: Vec<u8> = if negated {
        (1..=255).filter(|byte| !class.contains(byte) && *byte != b'/').collect()
    } else {
        class.to_vec()
    };
    out.push_str(if negated { "[^" } else { "[" });
    for run in shown.chunk_by(|a, b| a.checked_add(1) == Some(*b)) {
        let (Some(first), Some(last)) = (run.first(), run.last()) else { continue };
        write_member(*first, out);
        if run.len() > 2 {
            out.push('-');
        }
        if run.len() > 1 {
            write_member(*last, out);
        }
    }
    out.push(']');
}

/// A byte of a class, where `-` means something.
fn write_member(byte: u8, out: &mut String) {
    if matches!(byte, b'-' | b',') {
        // Writing to a string does not fail.
        let _ = write!(out, "\\{byte:03o}");
    } else {
        escape::literal(&[byte], out);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::apparmor::pattern::{NUMBER, Pattern};

    fn matches(glob: &str, path: &str) -> bool {
        Glob::parse(glob).matches(path.as_bytes(), &Variables::new())
    }

    fn holds(wide: &str, narrow: &str) -> bool {
        Glob::parse(wide).holds(&Glob::parse(narrow), &Variables::new())
    }

    #[test]
    fn paths_are_matched_as_the_compiler_does() {
        for (glob, path) in [
            ("/a", "/a"),
            ("/a/*", "/a/b"),
            ("/a/**", "/a/b/c"),
            ("/{usr/,}bin/sh", "/bin/sh"),
            ("/{usr/,}bin/sh", "/usr/bin/sh"),
            ("/tmp/x[0-9][a-f]?", "/tmp/x3c!"),
            ("@{PROC}/@{pid}/status", "/proc/412/status"),
            ("/a\\040b", "/a b"),
            ("/a\\*", "/a*"),
            ("/x[^a-c]", "/xd"),
        ] {
            assert!(matches(glob, path), "{glob} {path}");
        }
        for (glob, path) in [
            ("/a", "/b"),
            ("/tmp/x[0-9][a-f]?", "/tmp/x3c"),
            ("/a/*", "/a/"),
            ("/a/**", "/a/"),
            ("/a/*", "/a/b/c"),
            ("/x[^a-c]", "/xa"),
            ("/x[^a-c]", "/x/"),
            ("@{PROC}/@{pid}/status", "/proc/self/status"),
            ("@{unknown}/a", "/a"),
        ] {
            assert!(!matches(glob, path), "{glob} {path}");
        }
    }

    #[test]
    fn one_pattern_holds_another_only_if_that_is_certain() {
        for (wide, narrow) in [
            ("/a/**", "/a/*"),
            ("/a/**", "/a/b/@{pid}/[0-9]"),
            ("/a/*", "/a/x[0-9][0-9]"),
            ("/a/*", "/a/n@{any_number}"),
            ("/a/[a-z]", "/a/[b-c]"),
            ("/a/{b,c}", "/a/c"),
        ] {
            assert!(holds(wide, narrow), "{wide} {narrow}");
            assert!(!holds(narrow, wide), "{narrow} {wide}");
        }
        for (wide, narrow) in [("/a/*", "/a/**"), ("/a/**", "/**"), ("/a/*", "/a/@{x}"), ("/a/**", "/a/{b,}")]
        {
            assert!(!holds(wide, narrow), "{wide} {narrow}");
        }
    }

    #[test]
    fn the_number_that_is_emitted_is_known() {
        assert_eq!(NUMBER, "@{any_number}");
    }

    proptest! {
        #[test]
        fn what_is_emitted_for_a_path_is_that_path(name in proptest::collection::vec(1..=255_u8, 1..20)) {
            let path = [b"/".as_slice(), &name].concat();
            if let Ok(pattern) = Pattern::literal(&path) {
                let text = pattern.text();
                let bare = text.strip_prefix('"').and_then(|t| t.strip_suffix('"')).unwrap_or(&text);
                let glob = Glob::parse(bare);
                prop_assert_eq!(glob.literal(), Some(path.as_slice()));
                prop_assert_eq!(glob.text(), bare);
            }
        }

        #[test]
        fn the_text_of_any_glob_reads_as_itself(text in "[/a-c*?{},\\[\\]@^0-9 \\\\-]{0,24}") {
            let glob = Glob::parse(&text);
            let again = glob.text();
            prop_assert!(!again.chars().any(char::is_control));
            prop_assert_eq!(Glob::parse(&again).text(), again);
        }
    }
}
