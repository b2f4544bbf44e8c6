//! Bars below each other, each with its words above it.

use super::{
    WIDTH,
    canvas::{Canvas, Fault, WORDS, fit, part, seen, width},
};
use crate::report::{Bar, Role};

const ROW: i32 = 38;
const THICK: i32 = 12;
const LEGEND: i32 = 26;

pub(super) fn height(bars: &[Bar], legend: &[(Role, &str)]) -> u32 {
    let rows = ROW * i32::try_from(bars.len().max(1)).unwrap_or(1);
    u32::try_from(rows + if legend.is_empty() { 0 } else { LEGEND }).unwrap_or(0)
}

pub(super) fn draw(canvas: &Canvas<'_>, bars: &[Bar], legend: &[(Role, &str)]) -> Result<(), Fault> {
    let right = i32::try_from(WIDTH)?;
    let sum = |bar: &Bar| bar.parts.iter().fold(0u64, |sum, (n, _)| sum.saturating_add(*n));
    let longest = bars.iter().map(sum).max().unwrap_or(0);
    let mut y = 0;
    for bar in bars {
        let of = bar.of.unwrap_or(longest);
        let room = right - width(&bar.value, WORDS) - 24;
        canvas.left(&fit(&bar.label, room, WORDS), (0, y + 10), WORDS, Role::Ink)?;
        canvas.right(&bar.value, (right, y + 10), WORDS, Role::Ink)?;
        let (top, bottom) = (y + 20, y + 20 + THICK);
        canvas.fill((0, top), (right, bottom), Role::Track)?;
        let mut before = 0u64;
        let mut x = 0;
        for (n, role) in &bar.parts {
            before = before.saturating_add(*n);
            let end = part(before, of, right).max(x + seen(*n, of, right)).min(right);
            canvas.fill((x, top), (end, bottom), *role)?;
            x = end;
        }
        if let Some(limit) = bar.limit {
            let at = part(limit, of, right).clamp(1, right - 1);
            canvas.line((at, top - 3), (at, bottom + 3), 2, Role::Ink)?;
        }
        y += ROW;
    }
    if bars.is_empty() {
        canvas.left("nothing to show", (0, 12), WORDS, Role::Muted)?;
        y += ROW;
    }
    if legend.is_empty() { Ok(()) } else { canvas.legend(legend, (0, y + 10)) }
}
