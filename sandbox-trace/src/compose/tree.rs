//! A YAML document as it stands in its text: where each key and value is. Knows nothing of compose files.

use std::ops::Range;

use granit_parser::{Event, Parser, ScalarStyle, ScanError, Span, StructureStyle};

/// A key or value in a text.
#[derive(Debug, Clone)]
pub struct Tree {
    /// What it is.
    pub kind: Kind,
    /// Its bytes, from its first character (of a list: its first item's) to after its last: no comment, no line end.
    pub span: Range<usize>,
    /// Whether it has an anchor, which other places may take it by.
    pub anchor: bool,
}

/// What a key or value is.
#[derive(Debug, Clone)]
pub enum Kind {
    /// A scalar, as it reads.
    Scalar(String),
    /// What an anchor elsewhere has.
    Alias,
    /// A list, and whether it is in flow style.
    List(Vec<Tree>, bool),
    /// A mapping, and whether it is in flow style.
    Map(Vec<(Tree, Tree)>, bool),
}

impl Tree {
    /// The value of a key that stands here itself.
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.entry(key).map(|(_, value)| value)
    }

    /// A key that stands here itself, and its value.
    pub fn entry(&self, key: &str) -> Option<(&Self, &Self)> {
        let Kind::Map(entries, _) = &self.kind else { return None };
        entries.iter().map(|(name, value)| (name, value)).find(|(name, _)| name.is(key))
    }

    /// Whether it is this string.
    pub fn is(&self, text: &str) -> bool {
        matches!(&self.kind, Kind::Scalar(own) if own == text)
    }

    /// Whether it, or a part of it, comes from or goes to another place.
    pub fn is_shared(&self) -> bool {
        self.anchor
            || match &self.kind {
                Kind::Alias => true,
                Kind::Scalar(_) => false,
                Kind::List(items, _) => items.iter().any(Self::is_shared),
                Kind::Map(entries, _) => {
                    entries.iter().any(|(key, value)| key.is("<<") || key.is_shared() || value.is_shared())
                }
            }
    }
}

/// Why a text has no tree.
#[derive(Debug)]
pub enum Fault {
    /// It is not YAML.
    Syntax(ScanError),
    /// It is none that can be edited here; the place and why.
    Unfit(usize, &'static str),
}

/// Reads the one document of a text.
pub fn read(text: &str) -> Result<Tree, Fault> {
    let mut events = Parser::new_from_str(text).filter(|event| !matches!(event, Ok((Event::Comment(..), _))));
    let mut reader = Reader { text, root: None, open: Vec::new() };
    let mut documents = 0;
    for event in &mut events {
        let (event, span) = event.map_err(Fault::Syntax)?;
        if matches!(event, Event::DocumentStart(..)) {
            documents += 1;
            if documents > 1 {
                return Err(Fault::Unfit(span.start.line(), "a second document starts"));
            }
        }
        reader.event(&event, span)?;
    }
    reader.root.ok_or(Fault::Unfit(1, "there is nothing in it"))
}

/// A collection that is being read.
struct Open {
    tree: Tree,
    key: Option<Tree>,
    flow: bool,
}

struct Reader<'a> {
    text: &'a str,
    root: Option<Tree>,
    open: Vec<Open>,
}

/// Deeper than any compose file; what comes deeper was made to exhaust a stack.
const DEEPEST: usize = 64;

impl Reader<'_> {
    fn event(&mut self, event: &Event<'_>, span: Span) -> Result<(), Fault> {
        let start = span.start.byte_offset().unwrap_or_default();
        let end = span.end.byte_offset().unwrap_or(start).max(start);
        let tree = |kind, anchor: &usize| Tree { kind, span: start..end, anchor: *anchor != 0 };
        match event {
            Event::Scalar(value, style, anchor, _) => {
                let mut scalar = tree(Kind::Scalar(value.to_string()), anchor);
                // A block scalar ends with its last line's end.
                let own = self.text.get(start..end).unwrap_or_default();
                scalar.span.end = start + own.trim_end().len();
                if matches!(style, ScalarStyle::Literal | ScalarStyle::Folded) {
                    scalar.span.start = self.header(start);
                }
                self.done(scalar);
            }
            Event::Alias(_) => self.done(tree(Kind::Alias, &0)),
            Event::SequenceStart(style, anchor, _) => {
                self.opened(tree(Kind::List(Vec::new(), is_flow(*style)), anchor), *style, &span)?;
            }
            Event::MappingStart(style, anchor, _) => {
                self.opened(tree(Kind::Map(Vec::new(), is_flow(*style)), anchor), *style, &span)?;
            }
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(mut open) = self.open.pop() {
                    if open.flow {
                        open.tree.span.end = end;
                    }
                    self.done(open.tree);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Where the `|` or `>` of a block scalar stands, whose text begins at `start` on a later line.
    fn header(&self, start: usize) -> usize {
        let before = self.text.get(..start).unwrap_or_default().trim_end();
        let line = before.rfind('\n').map_or(0, |newline| newline + 1);
        let is_header = |at: usize| {
            let rest = before.get(at + 1..).unwrap_or_default();
            let rest = rest.trim_start_matches(|c: char| c.is_ascii_digit() || "+-".contains(c));
            rest.is_empty() || rest.starts_with([' ', '\t']) && rest.trim_start().starts_with('#')
        };
        let head = before.get(line..).unwrap_or_default();
        let sign = head.match_indices(['|', '>']).map(|(at, _)| line + at).find(|at| is_header(*at));
        sign.unwrap_or(start)
    }

    fn opened(&mut self, tree: Tree, style: StructureStyle, span: &Span) -> Result<(), Fault> {
        if self.open.len() >= DEEPEST {
            return Err(Fault::Unfit(span.start.line(), "it is nested too deeply"));
        }
        self.open.push(Open { tree, key: None, flow: is_flow(style) });
        Ok(())
    }

    fn done(&mut self, tree: Tree) {
        let Some(open) = self.open.last_mut() else {
            self.root.get_or_insert(tree);
            return;
        };
        // The parser tells where a block collection's last line ends, comments and all: its parts tell better.
        if !open.flow {
            open.tree.span.end = open.tree.span.end.max(tree.span.end);
        }
        match &mut open.tree.kind {
            Kind::List(items, _) => items.push(tree),
            Kind::Map(entries, _) => match open.key.take() {
                None => open.key = Some(tree),
                Some(key) => {
                    // A missing value is told where the next token is.
                    let mut value = tree;
                    if value.span.is_empty() {
                        value.span = key.span.end..key.span.end;
                    }
                    entries.push((key, value));
                }
            },
            Kind::Scalar(_) | Kind::Alias => {}
        }
    }
}

fn is_flow(style: StructureStyle) -> bool {
    style == StructureStyle::Flow
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slice<'a>(text: &'a str, tree: &Tree) -> &'a str {
        &text[tree.span.clone()]
    }

    #[test]
    fn each_value_is_where_it_stands() {
        let text = "# é\n---\nservices:\n  web: &w # c\n    image: \"a b\" # d\n    ports:\n    - 80:80 # e\n\n    # f\n    cmd: |\n      x\n      y\n\n    none:\n  api: {<<: *w, l: [1, 2] }\n# end\n";
        let root = read(text).unwrap();
        let services = root.get("services").unwrap();
        let web = services.get("web").unwrap();
        assert!(web.anchor && web.is_shared());
        assert_eq!(slice(text, web.get("image").unwrap()), "\"a b\"");
        assert_eq!(slice(text, web.get("ports").unwrap()), "80:80");
        assert_eq!(slice(text, web.get("cmd").unwrap()), "|\n      x\n      y");
        assert_eq!(slice(text, web.get("none").unwrap()), "");
        assert!(slice(text, web).ends_with("none"));
        let api = services.get("api").unwrap();
        assert_eq!(slice(text, api), "{<<: *w, l: [1, 2] }");
        assert_eq!(slice(text, api.get("l").unwrap()), "[1, 2]");
    }
}
