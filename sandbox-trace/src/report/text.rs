//! The document for a terminal: the same in the same order, without what is folded away.

use std::fmt::Write as _;

use comfy_table::{CellAlignment, Table as Grid, presets};

use super::{
    Bar, Block, Cell, Curve, Data, Document, Folder, Mark, Plot, Point, Role, Span, Table, duration,
};
use crate::output::grouped;

/// How wide bars are, in columns.
const BAR: usize = 40;
/// How many rows of a table are shown, and how wide a name may be.
const ROWS: usize = 12;
const NAME: usize = 44;

const BOLD: &str = "\x1b[1m";
const PLAIN: &str = "\x1b[0m";

/// The text. It has colours, which whoever prints it takes away where they are not wanted.
pub fn text(document: &Document) -> String {
    let mut out = String::new();
    let (mark, verdict) = &document.verdict;
    line(
        &mut out,
        &[colour(*mark), BOLD, mark.sign(), " ", verdict, PLAIN, "     ", &document.subject].concat(),
    );
    for (mark, reason) in &document.reasons {
        line(&mut out, &format!("  {} {reason}", sign(*mark)));
    }
    out.push('\n');
    let wide = document.figures.iter().map(|figure| figure.value.chars().count()).max().unwrap_or(0);
    for figure in &document.figures {
        let beside = if figure.beside.is_empty() { String::new() } else { format!("  ({})", figure.beside) };
        line(&mut out, &format!("  {BOLD}{:>wide$}{PLAIN}  {}{beside}", figure.value, figure.label));
    }
    for section in &document.sections {
        let _ = write!(out, "\n{BOLD}{}{PLAIN}\n", section.title);
        for block in &section.blocks {
            match block {
                Block::Heading(text) => {
                    let _ = write!(out, "\n  {text}\n");
                }
                Block::Text(text) => paragraph(&mut out, "    ", text),
                Block::Mark(mark, text) => paragraph(&mut out, &format!("  {} ", sign(*mark)), text),
                Block::Table(table) if table.folded => {}
                Block::Table(one) => table(&mut out, one),
                Block::Plot(one) => plot(&mut out, one),
            }
        }
    }
    out.push('\n');
    for input in &document.inputs {
        line(&mut out, &format!("{}  {} ({})", input.sha256, input.name, input.kind));
    }
    out
}

fn line(out: &mut String, text: &str) {
    *out += text.trim_end();
    out.push('\n');
}

fn colour(mark: Mark) -> &'static str {
    match mark {
        Mark::Good => "\x1b[32m",
        Mark::Warn => "\x1b[33m",
        Mark::Bad => "\x1b[31m",
    }
}

fn sign(mark: Mark) -> String {
    [colour(mark), mark.sign(), PLAIN].concat()
}

/// Words, broken between them; further lines begin below the first word.
fn paragraph(out: &mut String, head: &str, text: &str) {
    const COLUMNS: usize = 104;
    let mut row = head.to_owned();
    let mut wide = 4;
    for word in text.split(' ') {
        let length = word.chars().count();
        if wide + length > COLUMNS && wide > 4 {
            line(out, &row);
            row = "    ".into();
            wide = 4;
        }
        row += word;
        row.push(' ');
        wide += length + 1;
    }
    line(out, &row);
}

fn table(out: &mut String, table: &Table) {
    line(out, &format!("    {}", table.caption));
    let mut grid = Grid::new();
    grid.load_style(presets::NOTHING);
    grid.set_header(table.head.clone());
    for row in table.rows.iter().take(ROWS) {
        grid.add_row(row.iter().map(|cell| match cell {
            Cell::Text(text) | Cell::Code(text) => short(text, NAME),
            Cell::Number(n) => grouped(*n),
            Cell::Mark(mark, text) => format!("{} {text}", mark.sign()),
        }));
    }
    for (at, column) in grid.column_iter_mut().enumerate() {
        if table.rows.iter().any(|row| matches!(row.get(at), Some(Cell::Number(_)))) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    for row in grid.lines() {
        line(out, &format!("     {row}"));
    }
    let more = table.more + super::count(&table.rows).saturating_sub(ROWS as u64);
    if more > 0 {
        line(out, &format!("      and {} more", grouped(more)));
    }
}

/// A name that fits; its end says more than its middle.
fn short(text: &str, most: usize) -> String {
    let chars: Vec<char> = text.chars().collect();
    if chars.len() <= most {
        return text.to_owned();
    }
    let (start, end) = (most / 3, most - most / 3 - 1);
    let head = chars.iter().take(start);
    head.chain(&['…']).chain(chars.iter().skip(chars.len().saturating_sub(end))).collect()
}

fn plot(out: &mut String, plot: &Plot) {
    line(out, &format!("    {}", plot.title));
    match &plot.data {
        Data::Bars(list, _) => bars(out, list),
        Data::Curves(list) => list.iter().take(ROWS).for_each(|one| curve(out, one)),
        Data::Tree(list) => tree(out, list),
        Data::Spans(list, until, _) => spans(out, list, *until),
    }
}

/// A length in eighths of a column as blocks.
fn blocks(n: u64, of: u64, columns: usize) -> String {
    const PARTS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let eighths = u128::from(n.min(of)) * columns as u128 * 8 / u128::from(of.max(1));
    let eighths = usize::try_from(eighths).unwrap_or(0).max(usize::from(n > 0));
    "█".repeat(eighths / 8) + PARTS.get(eighths % 8).copied().unwrap_or_default()
}

fn padded(text: &str, wide: usize) -> String {
    let missing = wide.saturating_sub(text.chars().count());
    text.to_owned() + &" ".repeat(missing)
}

fn bars(out: &mut String, bars: &[Bar]) {
    let sum = |bar: &Bar| bar.parts.iter().fold(0u64, |sum, (n, _)| sum.saturating_add(*n));
    let longest = bars.iter().map(sum).max().unwrap_or(0);
    let wide = bars.iter().map(|bar| bar.label.chars().count().min(NAME)).max().unwrap_or(0);
    for bar in bars {
        let bad = bar.parts.iter().any(|(n, role)| *role == Role::Bad && *n > 0);
        let blocks = padded(&blocks(sum(bar), bar.of.unwrap_or(longest), BAR), BAR);
        let blocks = if bad { format!("{}{blocks}{PLAIN}", colour(Mark::Bad)) } else { blocks };
        line(out, &format!("      {}  {blocks}  {}", padded(&short(&bar.label, NAME), wide), bar.value));
    }
}

/// Which of a point's numbers.
type Of = fn(&Point) -> u64;

/// A line of blocks, each as high as there were facts by then.
fn curve(out: &mut String, curve: &Curve) {
    const HEIGHTS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let until = curve.duration_ms.max(curve.points.last().map_or(0, |point| point.0)).max(1);
    let kinds: [(&str, Of); 2] = [("system calls", |point| point.1), ("paths", |point| point.2)];
    line(out, &format!("      {}", short(&curve.name, 80)));
    for (name, of) in kinds {
        let most = curve.points.iter().map(of).max().unwrap_or(0);
        let height = |column: usize| {
            let by = u128::from(until) * (column as u128 + 1) / BAR as u128;
            let n = curve.points.iter().take_while(|point| u128::from(point.0) <= by).last().map_or(0, of);
            let step = u128::from(n) * 8 / u128::from(most.max(1));
            HEIGHTS.get(usize::try_from(step).unwrap_or(0)).copied().unwrap_or(' ')
        };
        let drawn: String = (0..BAR).map(height).collect();
        line(out, &format!("      {}  {drawn}  {} in {}", padded(name, 12), grouped(most), duration(until)));
    }
}

fn tree(out: &mut String, folders: &[Folder]) {
    let name = |folder: &Folder| " ".repeat(folder.depth * 2) + &short(&folder.name, NAME);
    let wide = folders.iter().map(|folder| name(folder).chars().count()).max().unwrap_or(0);
    let most = folders.iter().map(|folder| folder.counts[0]).max().unwrap_or(0);
    line(
        out,
        &format!("      {}{:>8} {:>8} {:>8}", " ".repeat(wide + 2 + BAR / 2 + 2), "read", "written", "code"),
    );
    for folder in folders {
        let [all, read, written, executed] = folder.counts.map(|n| (n, grouped(n)));
        let blocks = padded(&blocks(all.0, most, BAR / 2), BAR / 2);
        let name = padded(&name(folder), wide);
        line(out, &format!("      {name}  {blocks}  {:>8} {:>8} {:>8}", read.1, written.1, executed.1));
    }
}

fn spans(out: &mut String, spans: &[Span], until: u64) {
    let until = spans.iter().map(|span| span.last_ms).max().unwrap_or(0).max(until).max(1);
    let wide = spans.iter().map(|span| span.label.chars().count().min(NAME)).max().unwrap_or(0);
    let column =
        |ms: u64| usize::try_from(u128::from(ms) * BAR as u128 / u128::from(until)).unwrap_or(0).min(BAR - 1);
    for span in spans {
        let (from, to) = (column(span.first_ms), column(span.last_ms));
        let drawn = " ".repeat(from) + &"█".repeat(to.saturating_sub(from) + 1);
        let state = if span.role == Role::Bad { "  ✗" } else { "" };
        let label = padded(&short(&span.label, NAME), wide);
        line(out, &format!("      {label}  {}  {}{state}", padded(&drawn, BAR), span.note));
    }
}
