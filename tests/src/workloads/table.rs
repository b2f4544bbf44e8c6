//! What the profiles of each workload admit, as a table for people and as JSON.

use std::{fmt::Write as _, fs, path::Path};

use anyhow::{Context, Result};
use serde_json::{Value, json};

/// Docker's default profile, with its default capabilities, allows so many system calls of x86-64.
pub const DOCKER_DEFAULT: usize = 301;

/// A workload's counts.
#[derive(Debug, Clone)]
pub struct Row {
    /// The workload.
    pub name: &'static str,
    /// System calls that the filter for Docker allows.
    pub calls: usize,
    /// What the AppArmor profile at each level admits of the root file system, as `width --json` has it.
    pub files: Vec<(&'static str, Value)>,
}

/// Writes the rows to `dir`, as `table.json` and `table.txt`; gives the text.
pub fn write(rows: &[Row], dir: &Path) -> Result<String> {
    let mut rows = rows.to_vec();
    rows.sort_by_key(|row| row.name);
    let entry = |row: &Row| {
        let files: serde_json::Map<String, Value> =
            row.files.iter().map(|(level, files)| ((*level).to_owned(), files.clone())).collect();
        json!({
            "workload": row.name,
            "syscalls": { "allowed": row.calls, "docker_default": DOCKER_DEFAULT },
            "files": files,
        })
    };
    let all: Vec<Value> = rows.iter().map(entry).collect();
    fs::write(dir.join("table.json"), serde_json::to_vec_pretty(&all)?)?;
    let text = text(&rows)?;
    fs::write(dir.join("table.txt"), &text).context("can't write the table")?;
    Ok(text)
}

fn text(rows: &[Row]) -> Result<String> {
    let mut out = format!("| workload | system calls of {DOCKER_DEFAULT} ");
    let levels: Vec<&str> =
        rows.first().map_or_else(Vec::new, |row| row.files.iter().map(|(level, _)| *level).collect());
    for level in &levels {
        write!(out, "| {level}: files read, written, executed ")?;
    }
    writeln!(out, "| files |\n|{}", "---|".repeat(levels.len() + 3))?;
    for row in rows {
        write!(out, "| {} | {} ", row.name, row.calls)?;
        let mut of = String::new();
        for (_, files) in &row.files {
            write!(out, "| {}, {}, {} ", files["readable"], files["writable"], files["executable"])?;
            of = files["of"].to_string();
        }
        writeln!(out, "| {of} |")?;
    }
    Ok(out)
}
