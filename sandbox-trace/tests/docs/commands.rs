//! `docs/reference/commands.md` is made of the command line's definition.

use std::{fmt::Write as _, fs};

use clap::{Arg, Command};
use sandbox_trace::cli;

use crate::{overwrite, pages};

/// Which page says more of a command.
const PAGES: [(&str, &str); 17] = [
    ("audit", "audit.md"),
    ("diff", "diff.md"),
    ("doctor", "reference/kernels.md"),
    ("emit-apparmor", "apparmor.md"),
    ("emit-compose", "compose.md"),
    ("emit-docker", "guides/docker.md"),
    ("emit-k8s", "kubernetes.md"),
    ("emit-oci", "oci.md"),
    ("emit-seccomp", "seccomp.md"),
    ("emit-systemd", "systemd.md"),
    ("merge", "merge.md"),
    ("probe", "probe.md"),
    ("record", "recording.md"),
    ("refresh", "pipeline.md"),
    ("report", "report.md"),
    ("run", "live.md"),
    ("width", "width.md"),
];

#[test]
fn the_reference_is_what_the_command_line_says() {
    let path = pages::root().join("docs/reference/commands.md");
    let made = reference();
    if overwrite() {
        fs::write(&path, &made).unwrap();
    }
    let is = fs::read_to_string(&path).unwrap_or_default();
    assert!(is == made, "docs/reference/commands.md is out of date: TRYCMD=overwrite writes it");
}

fn reference() -> String {
    let mut command = cli::command();
    command.build();
    let mut out = "# Commands\n\n<!-- Made of the command line's definition by sandbox-trace/tests/docs/commands.rs -->\n\n\
                   The same as `--help`. What the codes mean that commands end with: [exit codes](exit-codes.md).\n\n\
                   Options of all commands:\n\n"
        .to_owned();
    options(&mut out, command.get_arguments().filter(|arg| !is_common(arg)));
    for subcommand in command.get_subcommands().filter(|command| command.get_name() != "help") {
        section(&mut out, subcommand);
    }
    out
}

fn section(out: &mut String, command: &Command) {
    let name = command.get_name();
    let about = command.get_long_about().or(command.get_about()).map(ToString::to_string).unwrap_or_default();
    write!(out, "\n## `{name}`\n\n{}\n", escape(&about)).unwrap();
    let page = PAGES.iter().find(|(command, _)| *command == name).map(|(_, page)| *page);
    let page = page.unwrap_or("verify.md");
    write!(out, "\nMore: [{page}](../{page})\n\n").unwrap();
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ").lines().map(str::trim_end).collect::<Vec<_>>().join("\n");
    write!(out, "```text\n{usage}\n```\n\n").unwrap();
    options(out, command.get_arguments().filter(|arg| !is_global(arg) && !is_common(arg)));
}

/// `--help`, which every command has.
fn is_common(arg: &Arg) -> bool {
    ["help", "version"].contains(&arg.get_id().as_str())
}

fn is_global(arg: &Arg) -> bool {
    arg.is_global_set()
}

fn options<'a>(out: &mut String, args: impl Iterator<Item = &'a Arg>) {
    out.push_str("| | |\n|---|---|\n");
    for arg in args.filter(|arg| !arg.is_hide_set()) {
        let help = arg.get_long_help().or(arg.get_help()).map(ToString::to_string).unwrap_or_default();
        let mut says = escape(&help.split_whitespace().collect::<Vec<_>>().join(" "));
        let values: Vec<String> = arg
            .get_possible_values()
            .iter()
            .filter(|value| !value.is_hide_set() && arg.get_action().takes_values())
            .map(|value| format!("`{}`", value.get_name()))
            .collect();
        if !values.is_empty() {
            write!(says, ". One of {}", values.join(", ")).unwrap();
        }
        let defaults: Vec<_> = arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
        if !defaults.is_empty() && arg.get_action().takes_values() {
            write!(says, ". Default: `{}`", defaults.join(" ")).unwrap();
        }
        writeln!(out, "| `{}` | {says} |", arg.to_string().replace('|', "\\|")).unwrap();
    }
}

/// Text that Markdown leaves as it is.
fn escape(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "&lt;").replace('*', "\\*")
}
