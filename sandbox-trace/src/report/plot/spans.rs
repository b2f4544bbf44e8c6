//! Things below each other, on one axis of time: from when they were first seen to when they were last.

use super::{
    WIDTH,
    canvas::{Canvas, Fault, SMALL, WORDS, fit, part, width},
};
use crate::report::{Role, Span, duration};

const ROW: i32 = 24;
const NAMES: i32 = 300;
const FOOT: i32 = 52;
const TICKS: u64 = 4;

pub(super) fn height(spans: &[Span]) -> u32 {
    u32::try_from(ROW * i32::try_from(spans.len()).unwrap_or(0) + FOOT).unwrap_or(0)
}

pub(super) fn draw(
    canvas: &Canvas<'_>,
    spans: &[Span],
    until: u64,
    legend: &[(Role, &str)],
) -> Result<(), Fault> {
    let right = i32::try_from(WIDTH)? - 1;
    let length = right - NAMES;
    let until = spans.iter().map(|span| span.last_ms).max().unwrap_or(0).max(until).max(1);
    let bottom = ROW * i32::try_from(spans.len())?;
    for tick in 0..=TICKS {
        let ms = until / TICKS * tick + until % TICKS * tick / TICKS;
        let x = NAMES + part(ms, until, length);
        canvas.line((x, 0), (x, bottom + 4), 1, Role::Grid)?;
        let text = if tick == 0 { "0".to_owned() } else { duration(ms) };
        match tick {
            0 => canvas.left(&text, (x, bottom + 14), SMALL, Role::Muted)?,
            TICKS => canvas.right(&text, (x, bottom + 14), SMALL, Role::Muted)?,
            _ => canvas.left(&text, (x - width(&text, SMALL) / 2, bottom + 14), SMALL, Role::Muted)?,
        }
    }
    let mut middle = ROW / 2;
    for span in spans {
        canvas.left(&fit(&span.label, NAMES - 12, WORDS), (0, middle), WORDS, Role::Ink)?;
        let from = NAMES + part(span.first_ms, until, length).min(length - 6);
        let to = (NAMES + part(span.last_ms, until, length)).max(from + 6);
        canvas.fill((from, middle - 5), (to, middle + 5), span.role)?;
        let room = right - to - 8;
        if !span.note.is_empty() {
            if room > width(&span.note, SMALL) {
                canvas.left(&span.note, (to + 8, middle), SMALL, Role::Muted)?;
            } else if from - NAMES - 8 > width(&span.note, SMALL) {
                canvas.right(&span.note, (from - 8, middle), SMALL, Role::Muted)?;
            }
        }
        middle += ROW;
    }
    let present: Vec<(Role, &str)> =
        legend.iter().filter(|(role, _)| spans.iter().any(|span| span.role == *role)).copied().collect();
    canvas.legend(&present, (0, bottom + 38))
}
