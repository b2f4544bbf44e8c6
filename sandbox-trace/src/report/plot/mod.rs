//! Plots as SVG, drawn by plotters. Colours are roles here: in a page the stylesheet gives them, for light, dark and
//! paper; alone, a picture brings its own.

mod bars;
mod canvas;
mod curves;
mod spans;
mod tree;

use std::fmt::Write as _;

use self::canvas::Canvas;
use super::{Data, Plot, Role};
use crate::error::{Error, Result};

/// The width of every plot, in its own units.
const WIDTH: u32 = 760;
/// What is left around a picture that is not in a page.
const MARGIN: u32 = 20;

/// A drawn plot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Svg {
    id: &'static str,
    title: String,
    description: String,
    height: u32,
    /// What is between the tags; colours are the numbers of roles.
    body: String,
}

/// The colours of a role: on white, and on black. All have a contrast of 4.5 or more, but what only guides the eye.
const COLOURS: [(Role, &str, &str); 10] = [
    (Role::Ink, "#1b2430", "#e7ebf0"),
    (Role::Muted, "#5a6675", "#a3afbd"),
    (Role::Grid, "#d9dfe6", "#303a47"),
    (Role::Track, "#edf0f4", "#1f2732"),
    (Role::Read, "#2563a8", "#6aaaf0"),
    (Role::Write, "#b4530a", "#f0a35a"),
    (Role::Execute, "#7744b4", "#bb9bf2"),
    (Role::Good, "#1b7648", "#5cc792"),
    (Role::Warn, "#8f6200", "#e3b549"),
    (Role::Bad, "#b3261e", "#ff8a80"),
];

/// Draws a plot.
pub fn draw(plot: &Plot) -> Result<Svg> {
    let height = match &plot.data {
        Data::Bars(bars, legend) => bars::height(bars, legend),
        Data::Curves(_) => curves::HEIGHT,
        Data::Tree(folders) => tree::height(folders),
        Data::Spans(spans, _, _) => spans::height(spans),
    };
    let mut body = String::new();
    {
        let canvas = Canvas::new(&mut body, (WIDTH, height));
        match &plot.data {
            Data::Bars(bars, legend) => bars::draw(&canvas, bars, legend),
            Data::Curves(curves) => curves::draw(&canvas, curves),
            Data::Tree(folders) => tree::draw(&canvas, folders),
            Data::Spans(spans, until, legend) => spans::draw(&canvas, spans, *until, legend),
        }
        .and_then(|()| canvas.finish())
        .map_err(|e| Error::usage(format!("could not draw the plot {}", plot.id)).because(e.to_string()))?;
    }
    // The tags are ours: with a title, and in a page with a size that fits.
    let from = body.find('>').map_or(0, |end| end + 1);
    let to = body.rfind("</svg>").unwrap_or(body.len());
    let inner = body.get(from..to).unwrap_or_default();
    Ok(Svg {
        id: plot.id,
        title: plot.title.clone(),
        description: plot.description.clone(),
        height,
        body: inner
            .replace(" opacity=\"1\"", "")
            .replace(" font-family=\"sans-serif\"", "")
            .replace("\n</text>", "</text>")
            .replace(">\n", ">"),
    })
}

impl Svg {
    /// For a page, whose stylesheet has a class for each role.
    pub fn inline(&self) -> String {
        let body = self.coloured(|what, role| format!("class=\"{what}{}\"", role as u8));
        format!(
            "<svg viewBox=\"0 0 {WIDTH} {}\" role=\"img\" aria-labelledby=\"{id}-title {id}-desc\">{}{body}</svg>",
            self.height,
            self.head(),
            id = self.id,
        )
    }

    /// A file of its own, which follows the reader's colour scheme.
    pub fn alone(&self) -> String {
        let body = self.coloured(|what, role| format!("class=\"{what}{}\"", role as u8));
        let mut out = self.open();
        out += "<style>";
        out += &rules(|(_, light, _)| light);
        let _ = write!(out, "@media (prefers-color-scheme:dark){{{}}}", rules(|(_, _, dark)| dark));
        let _ = writeln!(out, "</style>{}{body}</svg>", self.head());
        out
    }

    /// On nothing, in the colours for white and without a stylesheet, for those who make pixels of it.
    pub fn on_white(&self) -> String {
        let light =
            |role: Role| COLOURS.iter().find(|(one, ..)| *one == role).map_or("#000", |(_, light, _)| light);
        let body = self.coloured(|what, role| {
            let attribute = if what == "f" { "fill" } else { "stroke" };
            format!("{attribute}=\"{}\"", light(role))
        });
        format!("{}{body}</svg>\n", self.open())
    }

    fn open(&self) -> String {
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"-{MARGIN} -{MARGIN} {width} {height}\" \
             font-family=\"'DejaVu Sans', system-ui, sans-serif\" role=\"img\" aria-labelledby=\"{id}-title {id}-desc\">",
            width = WIDTH + 2 * MARGIN,
            height = self.height + 2 * MARGIN,
            id = self.id,
        )
    }

    fn head(&self) -> String {
        let title = maud::html! { title id=(format!("{}-title", self.id)) { (self.title) } };
        let desc = maud::html! { desc id=(format!("{}-desc", self.id)) { (self.description) } };
        title.into_string() + &desc.into_string()
    }

    /// The body with `with` in place of each colour. What was recorded is in texts, where quotes are escaped, and so
    /// looks never like one.
    fn coloured(&self, with: impl Fn(&str, Role) -> String) -> String {
        let mut body = self.body.clone();
        for (role, ..) in COLOURS {
            for (attribute, what) in [("fill", "f"), ("stroke", "s")] {
                body = body.replace(&format!("{attribute}=\"{}\"", canvas::number(role)), &with(what, role));
            }
        }
        body
    }
}

/// The classes of the roles, with the colours that `of` takes.
fn rules(of: impl Fn(&(Role, &'static str, &'static str)) -> &'static str) -> String {
    COLOURS.iter().fold(String::new(), |mut out, one| {
        let (number, colour) = (one.0 as u8, of(one));
        let _ = write!(out, ".f{number}{{fill:{colour}}}.s{number}{{stroke:{colour}}}");
        out
    })
}

/// The roles as variables of a stylesheet: on white, and on black.
pub fn variables() -> [String; 2] {
    let list = |of: fn(&(Role, &'static str, &'static str)) -> &'static str| {
        COLOURS.iter().fold(String::new(), |mut out, one| {
            let _ = write!(out, "--c{}:{};", one.0 as u8, of(one));
            out
        })
    };
    [list(|(_, light, _)| light), list(|(_, _, dark)| dark)]
}

/// The classes of the roles, by these variables.
pub fn classes() -> String {
    COLOURS.iter().fold(String::new(), |mut out, (role, ..)| {
        let number = *role as u8;
        let _ = write!(out, ".f{number}{{fill:var(--c{number})}}.s{number}{{stroke:var(--c{number})}}");
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Relative luminance, as WCAG 2 defines it.
    fn luminance(colour: &str) -> f64 {
        let channel = |at: usize| {
            let value = f64::from(u8::from_str_radix(&colour[at..at + 2], 16).unwrap()) / 255.0;
            if value <= 0.03928 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * channel(1) + 0.7152 * channel(3) + 0.0722 * channel(5)
    }

    #[test]
    fn colours_can_be_told_from_the_paper() {
        let contrast = |a: &str, b: &str| {
            let (a, b) = (luminance(a), luminance(b));
            (a.max(b) + 0.05) / (a.min(b) + 0.05)
        };
        for (at, (role, light, dark)) in COLOURS.iter().enumerate() {
            assert_eq!(at, *role as usize);
            if !matches!(role, Role::Grid | Role::Track) {
                assert!(
                    contrast(light, "#ffffff") >= 4.5,
                    "{role:?} on white: {}",
                    contrast(light, "#ffffff")
                );
                // The stylesheet's dark background and its panels.
                for back in ["#10151c", "#171e27"] {
                    assert!(contrast(dark, back) >= 4.5, "{role:?} on {back}: {}", contrast(dark, back));
                }
            }
        }
    }
}
