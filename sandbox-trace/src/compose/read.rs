//! A compose file → its services, each as the container that it asks for.
//!
//! Anchors, merge keys and variables are resolved as compose does it. What would need other files (`include`,
//! `extends`) is an error that says so, never left out silently. Nothing here looks at the host: text, environment and
//! folders are given.

mod node;
mod service;
mod variables;

use std::collections::BTreeMap;

use self::node::Node;
pub use self::variables::{Variables, env_file, expanded};
use crate::{
    docker_syntax::{Places, Written},
    error::{Error, Result},
    recording::printable,
};

/// What is read.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// The file's name, for messages.
    pub name: &'a str,
    /// Its text.
    pub text: &'a str,
    /// What variables may stand for.
    pub variables: &'a Variables,
    /// What relative paths are relative to.
    pub places: &'a Places,
}

/// The services of a file, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Services {
    /// Each with what it asks for.
    pub services: BTreeMap<String, Written>,
    /// What a reader should know: variables without a value.
    pub notes: Vec<String>,
}

/// Reads a compose file.
pub fn read(source: Source<'_>) -> Result<Services> {
    let mut root = node::parse(source.name, source.text)?;
    let mut unset = Vec::new();
    variables::interpolate(&mut root, source.variables, &mut unset)
        .map_err(|wrong| located(source, &wrong))?;
    services(&root, source.places)
        .map(|services| {
            let notes = unset.iter().map(|name| {
                format!(
                    "the variable {} has no value: it stands for an empty text, as in compose",
                    printable(name)
                )
            });
            Services { services, notes: notes.collect() }
        })
        .map_err(|wrong| located(source, &wrong))
}

/// What is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Wrong {
    line: u32,
    column: u32,
    what: String,
}

impl Wrong {
    fn at(node: &Node, what: impl Into<String>) -> Self {
        Self { line: node.line, column: node.column, what: what.into() }
    }
}

fn located(source: Source<'_>, wrong: &Wrong) -> Error {
    let Wrong { line, column, what } = wrong;
    let shown = node::shown_line(source.text, *line);
    Error::usage(format!("{}: line {line}, column {column}: {}{shown}", source.name, printable(what)))
        .hint("`docker compose config` says what compose makes of the file")
}

fn services(root: &Node, places: &Places) -> Result<BTreeMap<String, Written>, Wrong> {
    if root.map().is_none() {
        return Err(Wrong::at(root, "a compose file is a mapping with the key `services`"));
    }
    if let Some(include) = root.get("include") {
        return Err(Wrong::at(
            include,
            "`include` names other files, which are not read: give the whole as `docker compose config` prints it",
        ));
    }
    let internal = internal_networks(root);
    let Some(list) = root.get("services") else {
        return Err(Wrong::at(root, "there are no `services`"));
    };
    let entries =
        list.map().ok_or_else(|| Wrong::at(list, "`services` must be a mapping of names to services"))?;
    if entries.is_empty() {
        return Err(Wrong::at(list, "`services` is empty"));
    }
    entries
        .iter()
        .map(|(name, node)| Ok((name.clone(), service::written(name, node, places, &internal)?)))
        .collect()
}

/// The names of networks that have no way out.
fn internal_networks(root: &Node) -> Vec<String> {
    let networks = root.get("networks").and_then(Node::map).unwrap_or_default();
    let internal = |node: &Node| node.get("internal").and_then(Node::bool).unwrap_or(false);
    networks.iter().filter(|(_, node)| internal(node)).map(|(name, _)| name.clone()).collect()
}

#[cfg(test)]
mod tests;
