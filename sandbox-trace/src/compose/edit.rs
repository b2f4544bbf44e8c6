//! Changes a compose file in place of its text: what is not named stays byte for byte. The result is read again, and must
//! be what it was with exactly the named changes; else nothing is given. Knows nothing of sandboxes.

use serde_json::Value;

use super::{
    tree::{self, Fault, Kind, Tree},
    yaml::{Entry, Node, Style},
};
use crate::{
    error::{Error, Result},
    recording::printable,
};

/// A compose file.
#[derive(Debug)]
pub struct File {
    name: String,
    text: String,
    tree: Tree,
    /// What readers get: anchors and merge keys resolved.
    pub value: Value,
}

/// One change.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// Keys and positions in lists, from the service down.
    pub path: Vec<String>,
    /// The new value; none to take it away.
    pub node: Option<Node>,
    /// A comment for what is added or taken away.
    pub why: Option<String>,
}

impl Change {
    /// A value to have.
    pub fn set(path: &[&str], node: Node, why: &str) -> Self {
        Self {
            path: path.iter().map(|&key| key.to_owned()).collect(),
            node: Some(node),
            why: Some(why.to_owned()),
        }
    }

    /// A value not to have.
    pub fn remove(path: &[&str], why: &str) -> Self {
        Self { path: path.iter().map(|&key| key.to_owned()).collect(), node: None, why: Some(why.to_owned()) }
    }
}

/// A part of the text, and what comes in its place.
struct Patch {
    start: usize,
    end: usize,
    text: String,
}

impl File {
    /// Reads one; `name` is for messages.
    pub fn read(name: &str, text: String) -> Result<Self> {
        let tree = tree::read(&text).map_err(|fault| match fault {
            Fault::Syntax(error) => Error::usage(format!(
                "{name} is not YAML: line {}, column {}: {}",
                error.marker().line(),
                error.marker().col() + 1,
                printable(&error.info())
            )),
            Fault::Unfit(line, why) => Error::usage(format!("{name} can't be edited: line {line}: {why}"))
                .hint("one document with a mapping `services` is needed"),
        })?;
        let value = value_of(name, &text)?;
        Ok(Self { name: name.to_owned(), text, tree, value })
    }

    /// The services' names.
    pub fn services(&self) -> Vec<&str> {
        let services = self.value.get("services").and_then(Value::as_object);
        services.into_iter().flat_map(|services| services.keys().map(String::as_str)).collect()
    }

    /// What readers get for a service.
    pub fn service(&self, name: &str) -> Result<&Value> {
        let service = self.value.get("services").and_then(|services| services.get(name));
        match service {
            Some(service @ Value::Object(_)) => Ok(service),
            Some(_) => Err(self.fault(&format!("the service {} has no keys", printable(name)))),
            None => Err(self.fault(&format!("there is no service {}", printable(name)))),
        }
    }

    /// The text with these changes to a service.
    pub fn edit(&self, service: &str, changes: &[Change]) -> Result<String> {
        let before = self.service(service)?;
        let mut wanted = before.clone();
        for change in sorted(changes) {
            apply(&mut wanted, &change.path, change.node.as_ref().map(Node::value));
        }
        let own = self.tree.get("services").and_then(|services| services.entry(service));
        let Some((key, own)) = own else {
            return Err(self
                .fault(&format!("the service {} comes from elsewhere by an anchor", printable(service)))
                .hint("give it a mapping of its own"));
        };
        let whole = self.grouped(own, before, changes)?;
        let mut patches = Vec::new();
        self.patches(key, own, &whole, &mut patches)?;
        let text = self.patched(patches)?;
        self.check(&text, service, &wanted)?;
        Ok(text)
    }

    /// Changes that can be made where they are; others, below a key that comes by a merge, an alias or in flow style,
    /// become one change of the whole key.
    fn grouped(&self, own: &Tree, before: &Value, changes: &[Change]) -> Result<Vec<Change>> {
        let mut out: Vec<Change> = Vec::new();
        for change in changes {
            let Some(top) = change.path.first() else { continue };
            let here = own.get(top);
            let effective = before.get(top);
            let deep = change.path.len() > 1;
            let in_place = match here {
                // What a merge brings can't be taken away by a key of its own.
                None if effective.is_some() && change.node.is_none() && !deep => {
                    return Err(self
                        .fault(&format!(
                            "{} comes into the service by a merge key, and {}",
                            printable(top),
                            change.why.as_deref().unwrap_or("it must go")
                        ))
                        .hint("take it out of what is merged"));
                }
                None => !deep || effective.is_none(),
                Some(tree) => !deep || is_block(tree) && !tree.is_shared(),
            };
            if in_place {
                out.push(change.clone());
            } else if !out.iter().any(|other| other.path.len() == 1 && other.path.first() == Some(top)) {
                let mut value = effective.cloned().unwrap_or(Value::Null);
                let below: Vec<Change> = changes
                    .iter()
                    .filter(|other| other.path.first() == Some(top))
                    .map(|other| Change {
                        path: other.path.iter().skip(1).cloned().collect(),
                        ..other.clone()
                    })
                    .collect();
                for other in sorted(&below) {
                    apply(&mut value, &other.path, other.node.as_ref().map(Node::value));
                }
                out.push(Change {
                    path: vec![top.clone()],
                    node: Some(node_of(&value)),
                    why: change.why.clone(),
                });
            }
        }
        Ok(out)
    }

    fn patches(&self, key: &Tree, own: &Tree, changes: &[Change], out: &mut Vec<Patch>) -> Result<()> {
        let style = Style { step: self.step(key, own), eol: self.eol() };
        // What is added to one collection is added at one place, in order.
        let mut added: Vec<(Vec<String>, Vec<Entry>)> = Vec::new();
        for change in changes {
            let Some((last, folder)) = change.path.split_last() else { continue };
            let mut folder = folder.to_vec();
            let mut last = last.clone();
            let mut node = change.node.clone();
            // The deepest part of the path that is there.
            while at(own, &folder).is_none() {
                let Some(up) = folder.pop() else { break };
                node = node.map(|node| Node::Map(vec![Entry::new(&last, node)]));
                last = up;
            }
            let Some(parent) = at(own, &folder) else { continue };
            match (&parent.kind, at(parent, std::slice::from_ref(&last)), node) {
                (_, Some(old), Some(node)) => self.replace(own, parent, &last, old, &node, style, out)?,
                (_, Some(old), None) => self.remove(parent, &last, old, change.why.as_deref(), style, out)?,
                (_, None, None) => {}
                (_, None, Some(node)) => {
                    let entry = Entry { key: last, why: change.why.clone(), node };
                    match added.iter_mut().find(|(path, _)| *path == folder) {
                        Some((_, entries)) => merge(entries, entry),
                        None => added.push((folder, vec![entry])),
                    }
                }
            }
        }
        // Where collections end together, the inner one's parts come first.
        added.sort_by_key(|(folder, _)| std::cmp::Reverse(folder.len()));
        for (folder, entries) in added {
            if let Some(parent) = at(own, &folder) {
                self.add(parent, &entries, style, out)?;
            }
        }
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "a place in a text has many sides")]
    fn replace(
        &self,
        own: &Tree,
        parent: &Tree,
        last: &str,
        old: &Tree,
        node: &Node,
        style: Style<'_>,
        out: &mut Vec<Patch>,
    ) -> Result<()> {
        self.unshared(old, last, "give the service a value of its own")?;
        let flow = !is_block(parent) || !is_block(own);
        let in_list = matches!(parent.kind, Kind::List(..));
        let Some((key, _)) = parent.entry(last) else {
            // An item of a list: in place of the old one, on its line.
            if in_list {
                out.push(Patch { start: old.span.start, end: old.span.end, text: node.flow_or_plain(flow) });
            }
            return Ok(());
        };
        let colon = self.colon(key)?;
        let mut text = if flow || node.is_short() {
            format!(" {}", node.flow_or_plain(flow))
        } else {
            node.after_key(self.column(key.span.start), style)
        };
        // A comment at the end of a key's line stays there.
        let between = self.slice(colon..old.span.start.max(colon));
        let start = match between.split_once('#') {
            Some((_, comment)) if !node.is_short() && !flow => {
                colon + between.len() - comment.len() + comment.find(['\r', '\n']).unwrap_or(comment.len())
            }
            _ => colon,
        };
        // What follows on the line after a list is a comment to its last item, and that has a space before it.
        if text.is_empty() {
            text.push(' ');
        }
        out.push(Patch { start, end: old.span.end.max(start), text });
        Ok(())
    }

    fn remove(
        &self,
        parent: &Tree,
        last: &str,
        old: &Tree,
        why: Option<&str>,
        style: Style<'_>,
        out: &mut Vec<Patch>,
    ) -> Result<()> {
        self.unshared(old, last, "take it out by hand")?;
        let first = parent.entry(last).map_or(old.span.start, |(key, _)| key.span.start);
        if !is_block(parent) {
            return Err(self
                .fault(&format!("{} can't be taken out of a mapping on one line", printable(last)))
                .hint("take it out by hand, or write the service on lines of its own"));
        }
        let start = self.line_start(first);
        let head = self.slice(start..first);
        if !head.trim_start_matches([' ', '-']).is_empty() {
            return Err(self.fault(&format!("{} does not begin its line", printable(last))));
        }
        let end = self.line_end(old.span.end.max(first));
        let mut text = String::new();
        super::yaml::comment(
            &mut text,
            why,
            self.column(first).saturating_sub(head.matches('-').count() * 2),
            style,
        );
        let text = text.strip_prefix(style.eol).unwrap_or(&text).to_owned();
        // The line's own end stays, behind the comment.
        let end = if text.is_empty() { (end + style.eol.len()).min(self.text.len()) } else { end };
        out.push(Patch { start, end, text });
        Ok(())
    }

    fn add(&self, parent: &Tree, entries: &[Entry], style: Style<'_>, out: &mut Vec<Patch>) -> Result<()> {
        match &parent.kind {
            Kind::Map(own, true) => {
                let text: Vec<String> = entries
                    .iter()
                    .map(|entry| {
                        let map = Node::Map(vec![Entry { why: None, ..entry.clone() }]).flow();
                        map.trim_start_matches('{').trim_end_matches('}').to_owned()
                    })
                    .collect();
                // Before the bracket; a comma may already stand there.
                let text = text.join(", ");
                let (at, lead) = match own.last() {
                    None => (parent.span.start + 1, ""),
                    Some((key, value)) => (value.span.end.max(key.span.end), ", "),
                };
                out.push(Patch { start: at, end: at, text: format!("{lead}{text}") });
            }
            Kind::Map(own, false) => {
                let Some((first, _)) = own.first() else { return Ok(()) };
                let indent = self.column(first.span.start);
                let at = self.line_end(parent.span.end);
                let text: String = entries.iter().map(|entry| entry.line(indent, style)).collect();
                out.push(Patch { start: at, end: at, text });
            }
            Kind::List(items, false) => {
                let Some(first) = items.first() else { return Ok(()) };
                let line = self.slice(self.line_start(first.span.start)..first.span.start);
                let indent = line.find('-').unwrap_or_default();
                let at = self.line_end(parent.span.end);
                let mut text = String::new();
                for entry in entries {
                    let item = super::yaml::Item { why: entry.why.clone(), node: entry.node.clone() };
                    let step = Style { step: 0, ..style };
                    text += &Node::List(vec![item]).after_key(indent, step);
                }
                out.push(Patch { start: at, end: at, text });
            }
            _ => {
                return Err(
                    self.fault("a place to add to is neither a mapping nor a list on lines of its own")
                );
            }
        }
        Ok(())
    }

    /// Fails where others take a value by an anchor, and would change with it.
    fn unshared(&self, old: &Tree, last: &str, hint: &str) -> Result<()> {
        if old.anchor || has_anchor(old) {
            return Err(self
                .fault(&format!("{}: its value has an anchor, by which others take it", printable(last)))
                .hint(hint));
        }
        Ok(())
    }

    fn patched(&self, mut patches: Vec<Patch>) -> Result<String> {
        patches.sort_by_key(|patch| (patch.start, patch.end));
        let mut out = String::with_capacity(self.text.len() * 2);
        let mut from = 0;
        for patch in &patches {
            let Some(kept) = self.text.get(from..patch.start) else {
                return Err(self.fault("two changes meet in one place"));
            };
            out.push_str(kept);
            out.push_str(&patch.text);
            from = patch.end;
        }
        out.push_str(self.text.get(from..).unwrap_or_default());
        Ok(out)
    }

    /// Whether the text reads as it must: the service as wanted, all else as it was.
    fn check(&self, text: &str, service: &str, wanted: &Value) -> Result<()> {
        let hint = "nothing was written; write the service's keys on lines of their own, without anchors";
        let unsound = |what: &str| self.fault(&format!("it can't be edited in place: {what}")).hint(hint);
        let after =
            value_of("the edited text", text).map_err(|error| unsound(&printable(&error.in_one_line())))?;
        let mut expected = self.value.clone();
        if let Some(place) = expected.get_mut("services").and_then(|services| services.get_mut(service)) {
            *place = wanted.clone();
        }
        if after == expected {
            return Ok(());
        }
        let (a, b) = (after.get("services"), expected.get("services"));
        let differs = |key: &str, a: Option<&Value>, b: Option<&Value>| {
            a.and_then(|a| a.get(key)) != b.and_then(|b| b.get(key))
        };
        let keys = |value: Option<&Value>| -> Vec<String> {
            let entries = value.and_then(Value::as_object);
            entries.into_iter().flat_map(|entries| entries.keys().cloned()).collect()
        };
        if let Some(other) = keys(b).iter().find(|name| *name != service && differs(name, a, b)) {
            return Err(unsound(&format!(
                "the service {} takes its settings from {} by an anchor, and would change with it",
                printable(other),
                printable(service)
            )));
        }
        let of = |services: Option<&Value>| services.and_then(|services| services.get(service)).cloned();
        let (a, b) = (of(a), of(b));
        let key = keys(b.as_ref()).into_iter().find(|key| differs(key, a.as_ref(), b.as_ref()));
        Err(unsound(&format!(
            "{} would not read as it should",
            printable(&key.unwrap_or_else(|| "another part".into()))
        )))
    }

    /// The byte after a key's colon.
    fn colon(&self, key: &Tree) -> Result<usize> {
        let rest = self.text.get(key.span.end..).unwrap_or_default();
        let spaces = rest.len() - rest.trim_start_matches([' ', '\t']).len();
        if rest.get(spaces..).is_some_and(|rest| rest.starts_with(':')) {
            Ok(key.span.end + spaces + 1)
        } else {
            Err(self.fault("a key is not followed by its colon"))
        }
    }

    /// How far a mapping in a mapping stands in, here.
    fn step(&self, key: &Tree, own: &Tree) -> usize {
        let outer = self.column(key.span.start);
        match &own.kind {
            Kind::Map(entries, false) => entries
                .first()
                .map_or(2, |(first, _)| self.column(first.span.start).saturating_sub(outer))
                .max(1),
            _ => 2,
        }
    }

    fn eol(&self) -> &'static str {
        if self.text.lines().count() > 0 && self.text.contains("\r\n") { "\r\n" } else { "\n" }
    }

    fn slice(&self, range: std::ops::Range<usize>) -> &str {
        self.text.get(range).unwrap_or_default()
    }

    fn line_start(&self, at: usize) -> usize {
        self.slice(0..at).rfind('\n').map_or(0, |newline| newline + 1)
    }

    /// Before the line's end.
    fn line_end(&self, at: usize) -> usize {
        let rest = self.text.get(at..).unwrap_or_default();
        let line = rest.split('\n').next().unwrap_or_default();
        at + line.trim_end_matches('\r').len()
    }

    fn column(&self, at: usize) -> usize {
        self.slice(self.line_start(at)..at).chars().count()
    }

    /// Something about a place in a service, where the file shows it.
    pub fn fault_at(&self, service: &str, path: &[&str], what: &str) -> Error {
        let own = self.tree.get("services").and_then(|services| services.get(service));
        // The deepest part that is there.
        let path: Vec<String> = path.iter().map(|&key| key.to_owned()).collect();
        let found = (0..=path.len()).rev().find_map(|length| at(own?, path.get(..length)?));
        let place = found.map_or_else(String::new, |tree| {
            let line = self.slice(0..tree.span.start).matches('\n').count() + 1;
            format!("line {line}, column {}: ", self.column(tree.span.start) + 1)
        });
        self.fault(&format!("{place}{what}"))
    }

    /// Something about this file.
    pub fn fault(&self, what: &str) -> Error {
        Error::usage(format!("{}: {what}", self.name))
    }
}

impl Node {
    fn flow_or_plain(&self, flow: bool) -> String {
        if flow || !self.is_short() {
            self.flow()
        } else {
            self.after_key(0, Style { step: 2, eol: "\n" }).trim_start().to_owned()
        }
    }
}

fn has_anchor(tree: &Tree) -> bool {
    tree.anchor
        || match &tree.kind {
            Kind::List(items, _) => items.iter().any(has_anchor),
            Kind::Map(entries, _) => entries.iter().any(|(_, value)| has_anchor(value)),
            _ => false,
        }
}

fn is_block(tree: &Tree) -> bool {
    matches!(tree.kind, Kind::List(_, false) | Kind::Map(_, false))
}

/// What stands at a path.
fn at<'a>(tree: &'a Tree, path: &[String]) -> Option<&'a Tree> {
    path.iter().try_fold(tree, |tree, key| match &tree.kind {
        Kind::List(items, _) => items.get(key.parse::<usize>().ok()?),
        Kind::Map(..) => tree.get(key),
        _ => None,
    })
}

/// Puts an entry beside others, in the mapping of the same key where there is one.
fn merge(entries: &mut Vec<Entry>, entry: Entry) {
    if let Some(Entry { node: Node::Map(inner), .. }) =
        entries.iter_mut().find(|other| other.key == entry.key)
    {
        if let Node::Map(new) = entry.node {
            for entry in new {
                merge(inner, entry);
            }
        }
        return;
    }
    entries.push(entry);
}

/// Positions in lists hold until something is taken away before them: last ones first.
fn sorted(changes: &[Change]) -> Vec<&Change> {
    let (removed, set): (Vec<&Change>, Vec<&Change>) =
        changes.iter().partition(|change| change.node.is_none());
    set.into_iter().chain(removed.into_iter().rev()).collect()
}

/// Makes a change to what readers get.
fn apply(value: &mut Value, path: &[String], new: Option<Value>) {
    let Some((key, rest)) = path.split_first() else {
        *value = new.unwrap_or_default();
        return;
    };
    if let Value::Array(items) = value {
        let index = key.parse::<usize>().unwrap_or(items.len());
        match (rest.is_empty(), new) {
            (true, None) if index < items.len() => drop(items.remove(index)),
            (true, Some(new)) if index >= items.len() => items.push(new),
            (_, new) => {
                if let Some(item) = items.get_mut(index) {
                    apply(item, rest, new);
                }
            }
        }
        return;
    }
    if !value.is_object() {
        if new.is_none() {
            return;
        }
        *value = Value::Object(serde_json::Map::new());
    }
    let Value::Object(entries) = value else { return };
    if rest.is_empty() {
        match new {
            Some(new) => drop(entries.insert(key.clone(), new)),
            None => drop(entries.remove(key)),
        }
    } else {
        apply(entries.entry(key.clone()).or_insert(Value::Null), rest, new);
    }
}

/// What readers get, to write it again.
fn node_of(value: &Value) -> Node {
    match value {
        Value::String(text) => Node::text(text),
        Value::Array(items) => Node::List(
            items.iter().map(|item| super::yaml::Item { why: None, node: node_of(item) }).collect(),
        ),
        Value::Object(entries) => {
            Node::Map(entries.iter().map(|(key, value)| Entry::new(key, node_of(value))).collect())
        }
        other => Node::Plain(other.to_string()),
    }
}

fn value_of(name: &str, text: &str) -> Result<Value> {
    serde_saphyr::from_str(text).map_err(|error| {
        let place = error
            .location()
            .map_or_else(String::new, |place| format!("line {}, column {}: ", place.line(), place.column()));
        let said = error.to_string();
        let first = said.lines().next().unwrap_or_default();
        Error::usage(format!("{name} can't be read: {place}{}", printable(first)))
    })
}

#[cfg(test)]
mod tests;
