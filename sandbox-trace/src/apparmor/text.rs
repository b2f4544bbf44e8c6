//! The text of a profile, as rules: what is written, not what it means to the compiler. Order, comments and white space
//! are gone; what this module does not know is kept word for word.

use std::collections::BTreeSet;

use super::glob::Variables;
use crate::error::{Error, Result};

/// A file of profiles.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Source {
    /// What stands outside of profiles, each in one line: includes, `abi`, aliases.
    pub preamble: BTreeSet<String>,
    /// The variables that it defines.
    pub variables: Variables,
    /// Its profiles.
    pub profiles: Vec<Block>,
}

/// A profile, or one within another.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Block {
    /// Its name.
    pub name: String,
    /// What it attaches to, where that is not its name.
    pub attachment: String,
    /// Its flags.
    pub flags: BTreeSet<String>,
    /// Its rules, each as its words.
    pub rules: Vec<Vec<Word>>,
    /// Files that it includes, each in one line.
    pub includes: BTreeSet<String>,
    /// Profiles within it.
    pub children: Vec<Block>,
}

/// A word of a rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Word {
    /// Its text, without quotes; escapes as they stand there.
    pub text: String,
    /// Whether it was quoted.
    pub quoted: bool,
}

/// One piece of the text.
#[derive(Debug, PartialEq, Eq)]
enum Token {
    Word(Word),
    /// `{` that begins a block.
    Open,
    /// `}` that ends one.
    Close,
    /// `,` that ends a rule.
    End,
    /// A line that ends by itself: an include, a variable.
    Line(String),
}

/// Reads a file of profiles; `name` is what messages call it.
pub fn read(text: &str, name: &str) -> Result<Source> {
    let broken = |what: &str| {
        Error::usage(format!("{name} is no AppArmor profile: {what}"))
            .hint("a profile reads `profile NAME { … }`; apparmor_parser -Q says where one is broken")
    };
    let tokens = tokens(text).map_err(&broken)?;
    let mut out = Source::default();
    let mut tokens = tokens.into_iter();
    let mut words = Vec::new();
    while let Some(token) = tokens.next() {
        match token {
            Token::Word(word) => words.push(word),
            Token::Line(line) => match variable(&line) {
                Some((name, values)) => out.variables.entry(name).or_default().extend(values),
                None => drop(out.preamble.insert(line)),
            },
            Token::End => drop(out.preamble.insert(line_of(&std::mem::take(&mut words)))),
            Token::Open => {
                let block = block(header(std::mem::take(&mut words)), &mut tokens, 0);
                out.profiles.push(block.map_err(&broken)?);
            }
            Token::Close => return Err(broken("there is a } too many")),
        }
    }
    if !words.is_empty() {
        return Err(broken("its last line has no end"));
    }
    if out.profiles.is_empty() {
        return Err(broken("there is no profile in it"));
    }
    Ok(out)
}

/// Words with single spaces between them.
pub fn line_of(words: &[Word]) -> String {
    let shown = |word: &Word| if word.quoted { format!("\"{}\"", word.text) } else { word.text.clone() };
    words.iter().map(shown).collect::<Vec<_>>().join(" ")
}

/// The compiler's own limit is lower.
const DEEPEST: usize = 16;

fn block(
    mut out: Block,
    tokens: &mut std::vec::IntoIter<Token>,
    depth: usize,
) -> std::result::Result<Block, &'static str> {
    if depth > DEEPEST {
        return Err("its blocks are nested too deeply");
    }
    let mut words = Vec::new();
    while let Some(token) = tokens.next() {
        match token {
            Token::Word(word) => words.push(word),
            Token::Line(line) => drop(out.includes.insert(line)),
            Token::End => {
                if !words.is_empty() {
                    out.rules.push(std::mem::take(&mut words));
                }
            }
            Token::Open => out.children.push(block(header(std::mem::take(&mut words)), tokens, depth + 1)?),
            Token::Close if words.is_empty() => return Ok(out),
            Token::Close => return Err("a rule has no comma at its end"),
        }
    }
    Err("a { has no }")
}

/// `profile NAME ATTACHMENT flags=(…)`, and what leaves some of it out.
fn header(words: Vec<Word>) -> Block {
    let mut out = Block::default();
    let mut names = Vec::new();
    let mut words = words.into_iter().peekable();
    let keyword = |word: &Word| !word.quoted && matches!(word.text.as_str(), "profile" | "hat");
    if words.peek().is_some_and(keyword) {
        words.next();
    }
    while let Some(word) = words.next() {
        let flags = if word.quoted { None } else { flags_of(&word.text) };
        match flags {
            Some(flags) => out.flags.extend(flags),
            None if !word.quoted && word.text == "flags" => {
                // `flags = (…)`, in any number of words.
                let rest: String = words.by_ref().map(|word| word.text + " ").collect();
                out.flags.extend(flags_of(&format!("flags{rest}")).unwrap_or_default());
            }
            None => names.push(word.text),
        }
    }
    let mut names = names.into_iter();
    out.name = names.next().unwrap_or_default();
    out.attachment = names.collect::<Vec<_>>().join(" ");
    out
}

fn flags_of(text: &str) -> Option<Vec<String>> {
    let rest = match text.strip_prefix("flags") {
        Some(rest) => rest.trim_start().strip_prefix('=')?,
        None => text,
    };
    let inner = rest.trim().strip_prefix('(')?.strip_suffix(')')?;
    Some(inner.split([',', ' ', '\t', '\n']).filter(|flag| !flag.is_empty()).map(str::to_owned).collect())
}

/// `@{NAME} = a b`, `@{NAME} += c`.
fn variable(line: &str) -> Option<(String, Vec<String>)> {
    let (name, rest) = line.strip_prefix("@{")?.split_once('}')?;
    let rest = rest.trim_start();
    let values = rest.strip_prefix("+=").or_else(|| rest.strip_prefix('='))?;
    let words = tokens(values).ok()?.into_iter().filter_map(|token| match token {
        Token::Word(word) => Some(word.text),
        _ => None,
    });
    Some((name.to_owned(), words.collect()))
}

fn tokens(text: &str) -> std::result::Result<Vec<Token>, &'static str> {
    let mut out = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start();
        let Some(first) = rest.chars().next() else { return Ok(out) };
        let starts =
            matches!(out.last(), None | Some(Token::End | Token::Open | Token::Close | Token::Line(_)));
        if starts && is_line(rest) {
            let (line, tail) = rest.split_once('\n').unwrap_or((rest, ""));
            out.push(Token::Line(tidy(line)));
            rest = tail;
            continue;
        }
        let next = rest.get(first.len_utf8()..).unwrap_or_default();
        let alone = next.chars().next().is_none_or(|c| c.is_whitespace() || c == '#');
        match first {
            '#' => rest = rest.split_once('\n').map_or("", |(_, tail)| tail),
            '{' if alone => {
                out.push(Token::Open);
                rest = next;
            }
            '}' => {
                out.push(Token::Close);
                rest = next;
            }
            ',' => {
                out.push(Token::End);
                rest = next;
            }
            _ => {
                let (word, tail) = word(rest)?;
                out.push(Token::Word(word));
                rest = tail;
            }
        }
    }
}

/// Whether what begins here ends with its line.
fn is_line(rest: &str) -> bool {
    let line = rest.lines().next().unwrap_or_default();
    let after = line.strip_prefix('#').unwrap_or(line).strip_prefix("include");
    if after.is_some_and(|after| after.starts_with([' ', '\t', '<', '"'])) {
        return true;
    }
    line.strip_prefix("@{").and_then(|line| line.split_once('}')).is_some_and(|(_, rest)| {
        let rest = rest.trim_start();
        rest.starts_with('=') || rest.starts_with("+=")
    })
}

/// A line without its comment, its comma and its additional white space; `#include` is `include`.
fn tidy(line: &str) -> String {
    let line = line.trim();
    let line = line.strip_prefix('#').unwrap_or(line);
    let line = line.split_once(" #").map_or(line, |(line, _)| line).trim_end().trim_end_matches(',');
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The next word, and what follows it. Within quotes, brackets and braces a comma or a space ends nothing.
fn word(text: &str) -> std::result::Result<(Word, &str), &'static str> {
    if let Some(quoted) = text.strip_prefix('"') {
        let mut escaped = false;
        for (at, c) in quoted.char_indices() {
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '"' => {
                    let (word, rest) = quoted.split_at_checked(at).unwrap_or_default();
                    let rest = rest.get(1..).unwrap_or_default();
                    return Ok((Word { text: word.to_owned(), quoted: true }, rest));
                }
                _ => {}
            }
        }
        return Err("a quote has no end");
    }
    let (mut round, mut other) = (0_u32, 0_u32);
    let (mut escaped, mut in_quotes) = (false, false);
    let mut end = text.len();
    for (at, c) in text.char_indices() {
        let rest = text.get(at + c.len_utf8()..).unwrap_or_default();
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => in_quotes = !in_quotes,
            _ if in_quotes => {}
            '(' => round += 1,
            ')' => round = round.saturating_sub(1),
            '{' | '[' => other += 1,
            '}' | ']' if other > 0 => other -= 1,
            '}' => {
                end = at;
                break;
            }
            c if c.is_whitespace() && round == 0 => {
                end = at;
                break;
            }
            ',' if round == 0
                && other == 0
                && rest.chars().next().is_none_or(|c| c.is_whitespace() || c == '}') =>
            {
                end = at;
                break;
            }
            _ => {}
        }
    }
    if in_quotes || round > 0 {
        return Err("a quote or a bracket has no end");
    }
    let (word, rest) = text.split_at_checked(end).unwrap_or((text, ""));
    Ok((Word { text: word.to_owned(), quoted: false }, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_is_its_rules_whatever_it_looks_like() {
        let plain = read(
            "abi <abi/3.0>,\n#include <tunables/global>\n@{X}=/a /b\n@{X} += \"/c d\" # more\n\
             profile p flags=(attach_disconnected,mediate_deleted) {\n  include <x>\n  /a r,\n  \"/b c,\" rw, # why\n  \
             signal (send, receive) peer=p,\n  /{a,b}/x* r,\n  child { /c r, }\n}\n",
            "p",
        )
        .unwrap();
        let odd = read(
            "# comment { \n  abi  <abi/3.0> ,\ninclude  <tunables/global>\n@{X} = \"/c d\" /a /b\n\
             profile p flags = ( mediate_deleted attach_disconnected )\n{ #include <x>\n /a r, \"/b c,\"   rw,\n\
             signal (send, receive)   peer=p,/{a,b}/x*\tr,\nprofile child {/c r,}}",
            "p",
        );
        // `{/c` and `,/{` are words to the compiler, too.
        assert!(odd.is_err());
        let odd = read(
            "# comment { \n  abi  <abi/3.0> ,\ninclude  <tunables/global>\n@{X} = \"/c d\" /a /b\n\
             profile p flags = ( mediate_deleted attach_disconnected )\n{ #include <x>\n /a r, \"/b c,\"   rw,\n\
             signal (send, receive)   peer=p, /{a,b}/x*\tr,\nprofile child { /c r,}}",
            "p",
        )
        .unwrap();
        assert_eq!(plain, odd);
        let block = &plain.profiles[0];
        assert_eq!(plain.variables["X"].len(), 3);
        let lines: Vec<String> = block.rules.iter().map(|rule| line_of(rule)).collect();
        assert_eq!(lines, ["/a r", "\"/b c,\" rw", "signal (send, receive) peer=p", "/{a,b}/x* r"]);
        assert_eq!(block.children[0].name, "child");
        assert_eq!(block.includes, BTreeSet::from(["include <x>".to_owned()]));
    }

    #[test]
    fn what_is_no_profile_is_said() {
        for text in ["", "# nothing", "profile p {", "profile p { /a r }", "}", "profile p { \"/a r, }", "x"]
        {
            assert!(read(text, "p").is_err(), "{text}");
        }
    }
}
