//! Folders below each other, with how many of their paths were read, written and made code of.

use super::{
    WIDTH,
    canvas::{Canvas, Fault, SMALL, WORDS, fit, seen},
};
use crate::{
    output::grouped,
    report::{Folder, Role},
};

const ROW: i32 = 22;
const TOP: i32 = 26;
const INDENT: i32 = 16;
/// Where the columns begin, and how long their bars may be.
const COLUMNS: [(i32, &str, Role); 3] =
    [(330, "read", Role::Read), (476, "written", Role::Write), (622, "executed, mapped", Role::Execute)];
const BAR: i32 = 84;
/// How much room the names have.
const NAMES: i32 = 316;

pub(super) fn height(folders: &[Folder]) -> u32 {
    u32::try_from(TOP + ROW * i32::try_from(folders.len()).unwrap_or(0) + 4).unwrap_or(0)
}

pub(super) fn draw(canvas: &Canvas<'_>, folders: &[Folder]) -> Result<(), Fault> {
    let right = i32::try_from(WIDTH)?;
    canvas.left("folder", (0, 9), SMALL, Role::Muted)?;
    for (x, name, _) in COLUMNS {
        canvas.left(name, (x, 9), SMALL, Role::Muted)?;
    }
    canvas.line((0, TOP - 6), (right, TOP - 6), 1, Role::Grid)?;
    let mut middle = TOP + ROW / 2;
    for folder in folders {
        let depth = i32::try_from(folder.depth.min(8))?;
        let x = depth * INDENT;
        for level in 0..depth {
            let at = level * INDENT + 4;
            canvas.line((at, middle - ROW / 2), (at, middle + ROW / 2), 1, Role::Grid)?;
        }
        canvas.left(&fit(&folder.name, NAMES - x, WORDS), (x, middle), WORDS, Role::Ink)?;
        let [_, counts @ ..] = folder.counts;
        for (at, ((x, _, role), n)) in COLUMNS.into_iter().zip(counts).enumerate() {
            // Each column by its own most: a few paths that are written must be seen beside many that are read.
            let most = folders.iter().filter_map(|one| one.counts.get(at + 1)).max().copied().unwrap_or(0);
            let long = seen(n, most, BAR);
            canvas.fill((x, middle - 6), (x + long, middle + 6), role)?;
            let role = if n == 0 { Role::Muted } else { Role::Ink };
            canvas.left(&grouped(n), (x + long + if n == 0 { 0 } else { 6 }, middle), SMALL, role)?;
        }
        middle += ROW;
    }
    Ok(())
}
