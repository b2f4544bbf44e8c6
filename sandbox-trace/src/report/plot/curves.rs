//! How many distinct system calls and paths there were by when, a panel each.

use plotters::prelude::{ChartBuilder, LineSeries};
use plotters::style::{
    ShapeStyle,
    text_anchor::{HPos, VPos},
};

use super::{
    WIDTH,
    canvas::{Canvas, Fault, SMALL, WORDS, colour, words},
};
use crate::{
    output::grouped,
    report::{Curve, Point, Role, duration},
};

/// Which of a point's numbers.
type Of = fn(&Point) -> u64;

pub(super) const HEIGHT: u32 = 250;

/// A curve of steps: the number holds until the next fact.
fn steps(curve: &Curve, of: impl Fn(&Point) -> u64) -> Vec<(f64, f64)> {
    let mut out = vec![(0.0, 0.0)];
    let mut last = 0.0;
    for point in &curve.points {
        let (at, n) = (float(point.0), float(of(point)));
        out.extend([(at, last), (at, n)]);
        last = n;
    }
    out.push((float(curve.duration_ms.max(curve.points.last().map_or(0, |point| point.0))), last));
    out
}

#[expect(clippy::cast_precision_loss, reason = "a picture shows no more than a thousand steps")]
fn float(n: u64) -> f64 {
    n as f64
}

pub(super) fn draw(canvas: &Canvas<'_>, curves: &[Curve]) -> Result<(), Fault> {
    let until = curves
        .iter()
        .map(|curve| curve.duration_ms.max(curve.points.last().map_or(0, |point| point.0)))
        .max()
        .unwrap_or(0)
        .max(1);
    let panels = canvas.area().split_evenly((1, 2));
    let kinds: [(&str, Role, Of); 2] =
        [("system calls", Role::Read, |point| point.1), ("paths", Role::Execute, |point| point.2)];
    let half = i32::try_from(WIDTH / 2)?;
    for ((panel, (name, role, of)), left) in panels.iter().zip(kinds).zip([0, half]) {
        let most = curves.iter().flat_map(|curve| &curve.points).map(of).max().unwrap_or(0);
        let title = format!("{name}: {}", grouped(most));
        canvas.left(&title, (left + 6, 10), WORDS, role)?;
        let mut chart = ChartBuilder::on(panel)
            .margin_top(30)
            .margin_right(26)
            .x_label_area_size(28)
            .y_label_area_size(46)
            .build_cartesian_2d(0.0..float(until), 0.0..float(most.max(1)) * 1.08)?;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "an axis from 0 to what was an integer"
        )]
        let whole = |n: &f64| n.round() as u64;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .light_line_style(ShapeStyle::from(&colour(Role::Grid)).stroke_width(0))
            .bold_line_style(colour(Role::Grid))
            .axis_style(colour(Role::Grid))
            .y_max_light_lines(0)
            .x_labels(6)
            .y_labels(5)
            .x_label_style(words(SMALL, Role::Muted, HPos::Center, VPos::Top))
            .y_label_style(words(SMALL, Role::Muted, HPos::Right, VPos::Center))
            .x_label_formatter(&|ms| if whole(ms) == 0 { "0".into() } else { duration(whole(ms)) })
            .y_label_formatter(&|n| grouped(whole(n)))
            .draw()?;
        for curve in curves {
            let style = ShapeStyle::from(&colour(role)).stroke_width(2);
            chart.draw_series(LineSeries::new(steps(curve, of), style))?;
        }
    }
    Ok(())
}
