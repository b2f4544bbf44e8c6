//! Variables of compose files: `$X`, `${X}`, `${X:-default}`, `${X-default}`, `${X:?message}`, `${X?message}`,
//! `${X:+other}`, `${X+other}`, and `$$` for the sign itself. They stand in values, never in keys.

use std::collections::BTreeMap;

use super::{
    Wrong,
    node::{Node, Value},
};
use crate::recording::printable;

/// What variables stand for, by name.
pub type Variables = BTreeMap<String, String>;

/// How deep defaults may hold variables with defaults.
const MAX_DEPTH: usize = 16;
/// The longest value that variables may make.
const MAX_BYTES: usize = 1 << 20;

/// Puts values in the place of variables, all over the tree. Those that have none are added to `unset`, each once.
pub fn interpolate(node: &mut Node, variables: &Variables, unset: &mut Vec<String>) -> Result<(), Wrong> {
    let (line, column) = (node.line, node.column);
    match &mut node.value {
        Value::Text(text) if text.contains('$') => {
            let value = expand(text, variables, unset, 0).map_err(|what| Wrong { line, column, what })?;
            *text = value;
        }
        Value::List(nodes) => {
            for node in nodes {
                interpolate(node, variables, unset)?;
            }
        }
        Value::Map(entries) => {
            for (_, node) in entries {
                interpolate(node, variables, unset)?;
            }
        }
        Value::Null | Value::Bool(_) | Value::Text(_) => {}
    }
    Ok(())
}

/// A text with values in the place of its variables; an error says what is wrong with it.
pub fn expanded(text: &str, variables: &Variables) -> Result<String, String> {
    expand(text, variables, &mut Vec::new(), 0)
}

fn expand(
    text: &str,
    variables: &Variables,
    unset: &mut Vec<String>,
    depth: usize,
) -> Result<String, String> {
    if depth > MAX_DEPTH {
        return Err("variables in the defaults of variables go too deep".into());
    }
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        out += before;
        if let Some(after) = after.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some(after) = after.strip_prefix('{') {
            let end =
                closing(after).ok_or_else(|| format!("a brace is not closed in {:?}", printable(text)))?;
            let inner = after.get(..end).unwrap_or_default();
            out += &braced(inner, variables, unset, depth)?;
            rest = after.get(end + 1..).unwrap_or_default();
        } else {
            let length = name_length(after);
            let (name, after) = after.split_at_checked(length).unwrap_or((after, ""));
            if name.is_empty() {
                return Err(format!(
                    "{:?} has a $ that is no variable: write $$ for the sign",
                    printable(text)
                ));
            }
            out += &value(name, variables, unset);
            rest = after;
        }
        if out.len() > MAX_BYTES {
            return Err("variables make the value longer than 1 MiB".into());
        }
    }
    out += rest;
    Ok(out)
}

/// The place of the brace that closes the one before `text`.
fn closing(text: &str) -> Option<usize> {
    let mut open = 1_u32;
    let mut before = ' ';
    for (at, c) in text.char_indices() {
        match c {
            '{' if before == '$' => open += 1,
            '}' => open -= 1,
            _ => {}
        }
        if open == 0 {
            return Some(at);
        }
        before = c;
    }
    None
}

fn name_length(text: &str) -> usize {
    let is_name =
        |(at, c): (usize, char)| c == '_' || c.is_ascii_alphabetic() || (at > 0 && c.is_ascii_digit());
    text.char_indices().take_while(|entry| is_name(*entry)).count()
}

fn braced(
    inner: &str,
    variables: &Variables,
    unset: &mut Vec<String>,
    depth: usize,
) -> Result<String, String> {
    let (name, rest) = inner.split_at_checked(name_length(inner)).unwrap_or((inner, ""));
    let wrong = || format!("${{{}}} is no variable", printable(inner));
    if name.is_empty() {
        return Err(wrong());
    }
    let (or_empty, rest) = match rest.strip_prefix(':') {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    let held = variables.get(name).filter(|value| !or_empty || !value.is_empty());
    let Some(sign) = rest.chars().next() else {
        return if or_empty { Err(wrong()) } else { Ok(value(name, variables, unset)) };
    };
    let word = rest.get(sign.len_utf8()..).unwrap_or_default();
    match (sign, held) {
        ('-' | '?', Some(value)) => Ok(value.clone()),
        ('-', None) | ('+', Some(_)) => expand(word, variables, unset, depth + 1),
        ('+', None) => Ok(String::new()),
        ('?', None) => {
            let why = expand(word, variables, unset, depth + 1)?;
            let why = if why.is_empty() { String::new() } else { format!(": {}", printable(&why)) };
            Err(format!("the variable {name} must have a value{why}"))
        }
        _ => Err(wrong()),
    }
}

fn value(name: &str, variables: &Variables, unset: &mut Vec<String>) -> String {
    if let Some(value) = variables.get(name) {
        return value.clone();
    }
    if !unset.iter().any(|known| known == name) {
        unset.push(name.to_owned());
    }
    String::new()
}

/// Adds what an `.env` file gives; what is there already stays, since the environment comes first. A line that says
/// nothing is an error with its number.
pub fn env_file(text: &str, variables: &mut Variables) -> Result<(), String> {
    let mut own = Variables::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        let line = line.strip_prefix("export ").map_or(line, str::trim_start);
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let wrong = || format!("line {}: {:?} is no NAME=VALUE", index + 1, printable(line));
        let (name, value) = line.split_once('=').ok_or_else(wrong)?;
        let name = name.trim_end();
        if name.is_empty() || name_length(name) != name.len() {
            return Err(wrong());
        }
        let value =
            unquoted(value.trim(), &own, variables).map_err(|what| format!("line {}: {what}", index + 1))?;
        own.insert(name.to_owned(), value);
    }
    for (name, value) in own {
        variables.entry(name).or_insert(value);
    }
    Ok(())
}

fn unquoted(value: &str, own: &Variables, outer: &Variables) -> Result<String, String> {
    let quoted = |quote: char| {
        value.strip_prefix(quote).and_then(|rest| rest.split_once(quote)).map(|(inner, _)| inner)
    };
    if let Some(literal) = quoted('\'') {
        return Ok(literal.to_owned());
    }
    let text =
        quoted('"').unwrap_or_else(|| value.split_once(" #").map_or(value, |(value, _)| value.trim_end()));
    let mut known = own.clone();
    known.extend(outer.iter().map(|(name, value)| (name.clone(), value.clone())));
    expand(text, &known, &mut Vec::new(), 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_variable() {
        let variables: Variables = [("A", "a"), ("E", "")].map(|(n, v)| (n.to_owned(), v.to_owned())).into();
        let mut unset = Vec::new();
        for (text, expected) in [
            ("$A-${A}$$A", "a-a$A"),
            ("${A:-x}${E:-x}${N:-x}", "axx"),
            ("${A-x}${E-x}${N-x}", "ax"),
            ("${A:+y}${E:+y}${N:+y}", "y"),
            ("${A+y}${E+y}${N+y}", "yy"),
            ("${N:-${M-in${A}}}!", "ina!"),
            ("${A:?no}${E?no}", "a"),
            ("$A.b", "a.b"),
            ("x${UNSET}y", "xy"),
        ] {
            assert_eq!(expand(text, &variables, &mut unset, 0).as_deref(), Ok(expected), "{text}");
        }
        assert_eq!(unset, ["UNSET"]);
        for text in ["${", "${}", "${A", "$", "$1", "${A!x}", "${A:}", "${N:?}", "${E:?why}"] {
            assert!(expand(text, &variables, &mut unset, 0).is_err(), "{text}");
        }
        let deep = format!("{}{}", "${N:-".repeat(40), "}".repeat(40));
        assert!(expand(&deep, &variables, &mut unset, 0).is_err());
    }

    #[test]
    fn an_env_file_yields_to_the_environment() {
        let mut variables: Variables = [("A".to_owned(), "outer".to_owned())].into();
        let text = "# c\nA=inner\nexport B=\"x ${A}\" \nC='$A'\nD=v # note\n\nE=\n";
        env_file(text, &mut variables).unwrap();
        let held: Vec<&str> = ["A", "B", "C", "D", "E"].iter().map(|n| variables[*n].as_str()).collect();
        assert_eq!(held, ["outer", "x outer", "$A", "v", ""]);
        assert!(env_file("ok=1\nwrong line", &mut variables).unwrap_err().starts_with("line 2"));
    }
}
