//! The Markdown pages of the repository: their fenced blocks, and the commands in them. Knows nothing of what runs them.
//!
//! The pure tests of the pages, which are the product's, include this file; so it uses the standard library alone.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// A page.
#[derive(Debug)]
pub struct Page {
    /// From the repository's top.
    pub name: String,
    /// The file.
    pub path: PathBuf,
    /// What is in it.
    pub text: String,
}

/// A fenced block.
#[derive(Debug)]
pub struct Block {
    /// The fence's line in the page, from 1.
    pub line: usize,
    /// What follows the fence's ticks: `console,run`.
    pub info: String,
    /// What is between the fences.
    pub lines: Vec<String>,
}

/// A command in a block, and what is shown of it.
#[derive(Debug)]
pub struct Step {
    /// The command's line in the page, from 1.
    pub line: usize,
    /// What follows `$ `, with the lines that go on after a `\`.
    pub command: String,
    /// What follows `? `, the exit status; 0 without.
    pub status: i32,
    /// The lines of output.
    pub shown: Vec<String>,
}

/// The repository's top.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every page of the repository, by name.
pub fn all() -> io::Result<Vec<Page>> {
    let mut pages = Vec::new();
    collect(&root(), "", &mut pages)?;
    pages.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(pages)
}

fn collect(folder: &Path, name: &str, pages: &mut Vec<Page>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let file = entry.file_name().to_string_lossy().into_owned();
        let name = if name.is_empty() { file.clone() } else { format!("{name}/{file}") };
        // Neither links (a folder would come twice) nor what builds leave behind.
        let kind = entry.file_type()?;
        if kind.is_dir() && !file.starts_with('.') && !["target", "demo-output"].contains(&file.as_str()) {
            collect(&entry.path(), &name, pages)?;
        } else if kind.is_file() && entry.path().extension().is_some_and(|ending| ending == "md") {
            pages.push(Page { name, path: entry.path(), text: fs::read_to_string(entry.path())? });
        }
    }
    Ok(())
}

/// The fenced blocks of a page.
pub fn blocks(text: &str) -> Vec<Block> {
    let mut out = Vec::new();
    let mut open: Option<Block> = None;
    for (number, line) in text.lines().enumerate() {
        match (&mut open, line.trim_start().strip_prefix("```")) {
            (None, Some(info)) => {
                open = Some(Block { line: number + 1, info: info.trim().to_owned(), lines: Vec::new() });
            }
            (Some(_), Some(_)) => out.extend(open.take()),
            (Some(block), None) => block.lines.push(line.to_owned()),
            (None, None) => {}
        }
    }
    out.extend(open);
    out
}

impl Block {
    /// The first word of the fence: `console`.
    pub fn language(&self) -> &str {
        self.info.split(',').next().unwrap_or_default()
    }

    /// How it is tested: `run` of `console,run`.
    pub fn marker(&self) -> Option<&str> {
        self.info.split_once(',').map(|(_, marker)| marker)
    }

    /// The commands of a `console` block; of a shell script each line is one.
    pub fn steps(&self) -> Vec<Step> {
        let is_console = self.language() == "console";
        let mut out: Vec<Step> = Vec::new();
        let mut goes_on = false;
        for (offset, line) in self.lines.iter().enumerate() {
            let command = if is_console { line.strip_prefix("$ ") } else { Some(line.as_str()) };
            match (out.last_mut(), command) {
                (Some(step), _) if goes_on => {
                    step.command.truncate(step.command.len() - 1);
                    step.command.push_str(line.trim_start().trim_start_matches("> "));
                    goes_on = line.ends_with('\\');
                }
                (_, Some(command)) => {
                    goes_on = command.ends_with('\\');
                    let (line, command) = (self.line + 1 + offset, command.to_owned());
                    out.push(Step { line, command, status: 0, shown: Vec::new() });
                }
                (Some(step), None) => match line.strip_prefix("? ").map(str::parse) {
                    Some(Ok(status)) => step.status = status,
                    _ => step.shown.push(line.clone()),
                },
                (None, None) => {}
            }
        }
        out
    }
}
