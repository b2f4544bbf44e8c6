//! Rectangles, lines and words on plotters' drawing area, in roles instead of colours.

use plotters::{
    coord::Shift,
    prelude::{DrawingArea, IntoDrawingArea as _, PathElement, RGBColor, Rectangle, SVGBackend, Text},
    style::{
        Color as _, IntoFont as _, ShapeStyle, TextStyle,
        text_anchor::{HPos, Pos, VPos},
    },
};

use super::Role;

/// What drawing may fail with.
pub(super) type Fault = Box<dyn std::error::Error + Send + Sync>;
/// The area that is drawn on.
pub(super) type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// The size of words.
pub(super) const WORDS: f64 = 12.5;
/// The size of what stands beside axes.
pub(super) const SMALL: f64 = 11.0;

/// The colour that stands for a role until the page is made.
pub(super) fn colour(role: Role) -> RGBColor {
    RGBColor(0xFE, 0, role as u8)
}

/// As plotters writes it.
pub(super) fn number(role: Role) -> String {
    format!("#FE00{:02X}", role as u8)
}

/// Words in a colour; `size` is what the browser gets, of which plotters takes a part off.
pub(super) fn words(size: f64, role: Role, h: HPos, v: VPos) -> TextStyle<'static> {
    ("sans-serif", size * 1.24).into_font().color(&colour(role)).pos(Pos::new(h, v))
}

/// Where something is drawn.
pub(super) struct Canvas<'a> {
    area: Area<'a>,
}

impl<'a> Canvas<'a> {
    pub(super) fn new(out: &'a mut String, size: (u32, u32)) -> Self {
        Self { area: SVGBackend::with_string(out, size).into_drawing_area() }
    }

    pub(super) fn area(&self) -> &Area<'a> {
        &self.area
    }

    pub(super) fn finish(&self) -> Result<(), Fault> {
        self.area.present()?;
        Ok(())
    }

    /// A filled rectangle; nothing where it would have no size.
    pub(super) fn fill(&self, from: (i32, i32), to: (i32, i32), role: Role) -> Result<(), Fault> {
        if to.0 > from.0 && to.1 > from.1 {
            self.area.draw(&Rectangle::new([from, to], colour(role).filled()))?;
        }
        Ok(())
    }

    pub(super) fn line(&self, from: (i32, i32), to: (i32, i32), width: u32, role: Role) -> Result<(), Fault> {
        let style = ShapeStyle::from(&colour(role)).stroke_width(width);
        self.area.draw(&PathElement::new(vec![from, to], style))?;
        Ok(())
    }

    pub(super) fn left(&self, text: &str, at: (i32, i32), size: f64, role: Role) -> Result<(), Fault> {
        self.text(text, at, words(size, role, HPos::Left, VPos::Center))
    }

    pub(super) fn right(&self, text: &str, at: (i32, i32), size: f64, role: Role) -> Result<(), Fault> {
        self.text(text, at, words(size, role, HPos::Right, VPos::Center))
    }

    pub(super) fn text(&self, text: &str, at: (i32, i32), style: TextStyle<'_>) -> Result<(), Fault> {
        self.area.draw(&Text::new(text.to_owned(), at, style))?;
        Ok(())
    }

    /// Squares with what their colours mean, from the left.
    pub(super) fn legend(&self, legend: &[(Role, &str)], at: (i32, i32)) -> Result<(), Fault> {
        let mut x = at.0;
        for (role, means) in legend {
            self.fill((x, at.1 - 5), (x + 10, at.1 + 5), *role)?;
            self.left(means, (x + 16, at.1), SMALL, Role::Muted)?;
            x += 16 + width(means, SMALL) + 22;
        }
        Ok(())
    }
}

/// How long words are, about: no font is asked.
pub(super) fn width(text: &str, size: f64) -> i32 {
    let chars = u32::try_from(text.chars().count()).unwrap_or(u32::MAX);
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a float is cut to the largest number, and that is fine"
    )]
    let width = (f64::from(chars) * size * 0.58) as i32;
    width
}

/// A name that fits into so many units: its end says more than its middle.
pub(super) fn fit(text: &str, room: i32, size: f64) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive and small")]
    let most = (f64::from(room.max(0)) / (size * 0.58)) as usize;
    let chars: Vec<char> = text.chars().collect();
    if chars.len() <= most {
        return text.to_owned();
    }
    let (start, end) = (most / 3, most.saturating_sub(most / 3 + 1));
    let head = chars.iter().take(start);
    let tail = chars.iter().skip(chars.len().saturating_sub(end));
    head.chain(&['…']).chain(tail).collect()
}

/// A part of a whole, in units of a length.
pub(super) fn part(n: u64, of: u64, length: i32) -> i32 {
    let length = i128::from(length);
    i32::try_from(i128::from(n.min(of)) * length / i128::from(of.max(1))).unwrap_or(0)
}

/// As [`part`], and at least what can be seen where there is anything.
pub(super) fn seen(n: u64, of: u64, length: i32) -> i32 {
    part(n, of, length).max(if n > 0 { 2 } else { 0 })
}
