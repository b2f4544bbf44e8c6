//! Every line of every page that calls the program is taken by its command line; what is a synopsis has only options that
//! there are.

use std::collections::BTreeSet;

use clap::Command;
use sandbox_trace::cli;

use crate::pages;

const NAME: &str = "sandbox-trace";

#[test]
fn every_line_is_taken_by_the_command_line() {
    let (mut tried, mut wrong) = (0, Vec::new());
    for page in pages::all().unwrap() {
        for block in pages::blocks(&page.text) {
            if !["console", "sh"].contains(&block.language()) {
                continue;
            }
            for step in block.steps() {
                for call in calls(&step.command) {
                    tried += 1;
                    if let Err(error) = cli::command().try_get_matches_from(&call)
                        && error.use_stderr()
                    {
                        wrong.push(format!("{}:{}: {}\n{error}", page.name, step.line, call.join(" ")));
                    }
                }
            }
        }
    }
    assert!(tried > 50, "only {tried} lines were found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The words of each call of the program in a line of the shell.
fn calls(line: &str) -> Vec<Vec<String>> {
    let mut out = Vec::new();
    let mut call: Option<Vec<String>> = None;
    // Lines that are no calls need not be the shell's: scripts go on over several.
    for word in words(line) {
        match (&mut call, word.as_str()) {
            (_, "|" | "&" | "&&" | ";" | "||" | ">" | "2>") => out.extend(call.take()),
            (Some(words), _) => words.push(word),
            // Also by its path, and behind whatever runs it.
            (None, name) if name == NAME || name.ends_with("/sandbox-trace") => {
                // A file of that name is not the program: `chmod 0750 /usr/local/bin/sandbox-trace`.
                if name == NAME {
                    call = Some(vec![NAME.to_owned()]);
                }
            }
            (None, _) => {}
        }
    }
    out.extend(call);
    // `cargo install --path sandbox-trace`, `apt-get install sandbox-trace`.
    let subcommands: BTreeSet<String> =
        cli::command().get_subcommands().map(|command| command.get_name().to_owned()).collect();
    out.retain(|call| {
        call.get(1).is_some_and(|word| subcommands.contains(word) || word.starts_with('-') || word == "help")
    });
    out
}

fn words(line: &str) -> Vec<String> {
    let comment = line.find(" # ").or_else(|| line.find("   #"));
    let line = comment.map_or(line, |at| &line[..at]);
    shell_words::split(line).unwrap_or_default()
}

#[test]
fn synopses_and_inline_code_have_only_options_that_there_are() {
    let (mut tried, mut wrong) = (0, Vec::new());
    for page in pages::all().unwrap() {
        // What was is not what is.
        if page.name == "CHANGELOG.md" {
            continue;
        }
        for text in synopses(&page.text).into_iter().chain(inline(&page.text)) {
            tried += 1;
            for option in unknown_options(&text) {
                wrong.push(format!("{}: `{text}`: there is no {option}", page.name));
            }
        }
    }
    assert!(tried > 200, "only {tried} were found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Calls in blocks without a language, each with the lines that go on, which are indented.
fn synopses(text: &str) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    for block in pages::blocks(text).iter().filter(|block| ["", "text"].contains(&block.language())) {
        let mut is_call = false;
        for line in &block.lines {
            let goes_on = line.starts_with(' ') && is_call;
            is_call =
                goes_on || line.starts_with("sandbox-trace ") || line.starts_with("sudo sandbox-trace ");
            match out.last_mut() {
                Some(last) if goes_on => last.push_str(line),
                _ if is_call => out.push(line.clone()),
                _ => {}
            }
        }
    }
    out
}

/// What stands between single backticks outside of blocks.
fn inline(text: &str) -> Vec<String> {
    let mut in_block = false;
    let prose: Vec<&str> = text
        .lines()
        .filter(|line| {
            let is_fence = line.trim_start().starts_with("```");
            in_block ^= is_fence;
            !in_block && !is_fence
        })
        .collect();
    prose.join("\n").split('`').skip(1).step_by(2).map(|code| code.replace('\n', " ")).collect()
}

/// The long options in a text that begins with a command of the program, and that this command has not.
fn unknown_options(text: &str) -> Vec<String> {
    let mut words = text.split_whitespace().skip_while(|word| ["sudo", NAME].contains(word));
    let mut command = cli::command();
    command.build();
    let Some(subcommand) = words.next().and_then(|name| command.find_subcommand(name)) else {
        return Vec::new();
    };
    words
        // What follows is another program's.
        .take_while(|word| *word != "--" && *word != "#")
        .flat_map(|word| word.split(['[', ']', '|', '=', '…', ',', '(', ')', ':', ';', '.']))
        .filter(|word| word.len() > 2 && word.starts_with("--"))
        .filter(|word| !has(subcommand, &word[2..]))
        .map(str::to_owned)
        .collect()
}

fn has(command: &Command, option: &str) -> bool {
    command.get_arguments().any(|argument| {
        argument.get_long() == Some(option)
            || argument.get_all_aliases().is_some_and(|aliases| aliases.contains(&option))
    }) || ["help", "version"].contains(&option)
}

#[test]
fn an_option_that_there_is_not_is_found() {
    assert_eq!(unknown_options("record --container NAME [--wiat]"), ["--wiat"]);
    assert!(
        cli::command()
            .try_get_matches_from(&calls("$ sudo sandbox-trace record --wiat -o x &")[0][..])
            .is_err()
    );
    assert_eq!(
        calls("sudo sandbox-trace doctor --json | grep ok  # note"),
        [["sandbox-trace", "doctor", "--json"]]
    );
}
