//! Marks above a plot: crosses with the number of runs without a finite value.

use maud::{Markup, html};

use super::{
    Chart, Line, Panel, Point,
    axes::{Area, Horizontal},
    bars,
    figure::Links,
    lines,
    text::{self, Anchor, MARK},
    tone::style,
};
use crate::definition::ChartKind;

/// Height of a row of marks, in pixels.
const ROW: f64 = 14.0;
/// Space between marks side by side.
const GAP: f64 = 3.0;

/// A mark at its place above a plot.
struct Mark<'a> {
    line: &'a Line,
    point: &'a Point,
    left: f64,
    /// Counted from the plot upwards.
    row: usize,
    text: String,
}

/// Height of the marks above the plots of a chart.
pub(super) fn height(chart: &Chart, x: &Horizontal, width: f64) -> f64 {
    let rows = chart.panels.iter().flat_map(|panel| placed(chart, panel, x, width)).map(|mark| mark.row + 1);
    rows.max().map_or(0.0, |rows| rows as f64 * ROW + 4.0)
}

/// Draws the marks of a panel.
pub(super) fn marks(chart: &Chart, panel: &Panel, x: &Horizontal, area: &Area, links: &Links<'_>) -> Markup {
    html! {
        @for Mark { line, point, left, row, text } in placed(chart, panel, x, area.width) {
            @let place = [area.left + left, area.top - 4.0 - (row as f64 + 0.5) * ROW];
            (links.link(panel, line, point, &text::text(place, MARK, Anchor::Middle, style(line.index).tone, &text)))
        }
    }
}

/// Places each mark in the lowest row in which it overlaps no other one.
fn placed<'a>(chart: &Chart, panel: &'a Panel, x: &Horizontal, width: f64) -> Vec<Mark<'a>> {
    let left = if chart.kind == ChartKind::Bars { bars::left } else { lines::left };
    let mut rows: Vec<Vec<[f64; 2]>> = Vec::new();
    let mut marks = Vec::new();
    let points = panel.lines.iter().flat_map(|line| line.points.iter().map(move |point| (line, point)));
    for (line, point) in points.filter(|(_, point)| point.diverged > 0) {
        let Some(left) = left(chart, x, width, line, point) else { continue };
        let text = format!("×{}", point.diverged);
        let half = text::width(&text, MARK) / 2.0 + GAP;
        let is_free = |row: &Vec<[f64; 2]>| row.iter().all(|[start, end]| left + half <= *start || *end <= left - half);
        let row = rows.iter().position(is_free).unwrap_or(rows.len());
        if row == rows.len() {
            rows.push(Vec::new());
        }
        rows[row].push([left - half, left + half]);
        marks.push(Mark { line, point, left, row, text });
    }
    marks
}
