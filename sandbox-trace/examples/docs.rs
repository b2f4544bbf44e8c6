//! Writes the man pages and the shell completions into a folder, from the command line's own definition.
//! `cargo xtask docs` runs it; a program of its own, so that the product does not carry what writes them.

use std::{env, fs, io, path::Path};

use clap::Command;
use clap_complete::Shell;
use clap_mangen::{
    Man,
    roff::{Roff, bold, roman},
};
use sandbox_trace::cli;

const NAME: &str = "sandbox-trace";

fn main() -> io::Result<()> {
    let folder = env::args_os().nth(1).ok_or_else(|| io::Error::other("usage: docs FOLDER DATE"))?;
    let date = env::args().nth(2).ok_or_else(|| io::Error::other("usage: docs FOLDER DATE"))?;
    let folder = Path::new(&folder);
    man_pages(&folder.join("man"), &date)?;
    completions(&folder.join("completions"))
}

/// One page for the program and one for each command.
fn man_pages(folder: &Path, date: &str) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let mut command = cli::command();
    // Options of the program are options of each command, too.
    command.build();
    let subcommands: Vec<Command> =
        command.get_subcommands().filter(|command| command.get_name() != "help").cloned().collect();
    let pages: Vec<String> = subcommands.iter().map(|c| format!("{NAME}-{}", c.get_name())).collect();
    page(folder, date, (NAME, command), &[], &pages)?;
    for subcommand in subcommands {
        let name = subcommand.get_name().to_owned();
        let see_also = [NAME.to_owned()];
        page(folder, date, (&format!("{NAME}-{name}"), subcommand), cli::examples::of(&name), &see_also)?;
    }
    Ok(())
}

fn page(
    folder: &Path,
    date: &str,
    (name, command): (&str, Command),
    examples: &[cli::examples::Example],
    see_also: &[String],
) -> io::Result<()> {
    // The examples get a section of their own, in which lines are not filled.
    let command = if examples.is_empty() { command } else { command.after_long_help(None::<&str>) };
    let has_commands = command.has_subcommands();
    let shown = name.to_owned();
    let source = format!("{NAME} {}", env!("CARGO_PKG_VERSION"));
    let man = Man::new(command.display_name(shown)).date(date).source(source);
    let mut out = Vec::new();
    man.render_title(&mut out)?;
    man.render_name_section(&mut out)?;
    man.render_synopsis_section(&mut out)?;
    man.render_description_section(&mut out)?;
    man.render_options_section(&mut out)?;
    if has_commands {
        man.render_subcommands_section(&mut out)?;
    }
    let mut roff = Roff::new();
    if !examples.is_empty() {
        roff.control("SH", ["EXAMPLES"]);
        for (index, example) in examples.iter().enumerate() {
            if index > 0 {
                roff.control("PP", []);
            }
            roff.text([roman(example.why)]);
            roff.control("PP", []);
            roff.control("nf", []);
            roff.control("RS", ["4"]);
            roff.text([bold(example.line)]);
            roff.control("RE", []);
            roff.control("fi", []);
        }
    }
    roff.control("SH", ["EXIT STATUS"]);
    for line in cli::EXIT_CODES.lines().map(|line| line.trim_start_matches("Exit codes: ")) {
        roff.text([roman(line)]);
    }
    roff.control("SH", ["SEE ALSO"]);
    roff.text([roman(see_also.iter().map(|page| format!("{page}(1)")).collect::<Vec<_>>().join(", "))]);
    roff.to_writer(&mut out)?;
    fs::write(folder.join(format!("{name}.1")), out)
}

/// For each shell a file where distributions expect it, below a folder of the shell's name.
fn completions(folder: &Path) -> io::Result<()> {
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        let folder = folder.join(shell.to_string());
        fs::create_dir_all(&folder)?;
        clap_complete::generate_to(shell, &mut cli::command(), NAME, &folder)?;
    }
    Ok(())
}
