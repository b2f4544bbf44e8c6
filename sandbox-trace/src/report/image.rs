//! A plot as pixels, with a font that the binary brings along: the same on every machine, fonts or none.

use std::sync::Arc;

use resvg::{tiny_skia, usvg};

use super::plot::Svg;
use crate::error::{Error, Result};

/// `DejaVu` Sans with Latin, Greek, Cyrillic and a few signs; its licence lies beside it.
const FONT: &[u8] = include_bytes!("font/DejaVuSans-subset.ttf");
/// Twice the plot's own size: sharp on today's screens.
const SCALE: f32 = 2.0;

/// The plot on white, as PNG.
pub fn png(plot: &Svg) -> Result<Vec<u8>> {
    let fail = |what: String| Error::usage("could not draw the picture").because(what);
    let mut options = usvg::Options { font_family: "DejaVu Sans".into(), ..usvg::Options::default() };
    let fonts = Arc::make_mut(&mut options.fontdb);
    fonts.load_font_data(FONT.to_vec());
    fonts.set_sans_serif_family("DejaVu Sans");
    let tree = usvg::Tree::from_str(&plot.on_white(), &options).map_err(|e| fail(e.to_string()))?;
    let size = tree.size().to_int_size().scale_by(SCALE).ok_or_else(|| fail("it has no size".into()))?;
    let mut pixels =
        tiny_skia::Pixmap::new(size.width(), size.height()).ok_or_else(|| fail("it is too large".into()))?;
    pixels.fill(tiny_skia::Color::WHITE);
    resvg::render(&tree, tiny_skia::Transform::from_scale(SCALE, SCALE), &mut pixels.as_mut());
    pixels.encode_png().map_err(|e| fail(e.to_string()))
}
