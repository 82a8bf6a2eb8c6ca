//! Heat maps: a colored cell per group, with its mean.

use gradwatch_doctor::report::Scale;
use maud::{Markup, html};

use super::{
    Chart, Digits, Line, Panel, Point,
    axes::{Area, Horizontal},
    figure::Links,
    outside::Outside,
    text::{self, Anchor, SMALL, fit, px},
    tone::{EMPTY, INK, MUTED},
};
use crate::definition::Scale as AxisScale;

/// Size of the mark of missing values in the corner of a cell.
const CORNER: f64 = 10.0;
/// Longest name of a row, in pixels.
const LONGEST: f64 = 200.0;

/// The color scale of all panels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Colors {
    scale: Scale,
    digits: Digits,
    ends: [f64; 2],
}

impl Colors {
    /// From the lowest to the highest mean, or the range of the study; `None` without any finite mean.
    pub(super) fn new(chart: &Chart) -> Option<Self> {
        let is_log = chart.y.scale == AxisScale::Log;
        let means = chart.points().map(|(.., point)| point.statistics.mean);
        let means: Vec<f64> = means.filter(|mean| mean.is_finite() && (!is_log || *mean > 0.0)).collect();
        let values = chart.y.range.map_or(means, Vec::from);
        let scale = if is_log { Scale::log(&values) } else { Scale::linear(&values) }?;
        let ends = [values.iter().copied().fold(f64::NAN, f64::min), values.iter().copied().fold(f64::NAN, f64::max)];
        Some(Self { scale, digits: digits(chart), ends })
    }

    /// Fraction of the colors; `None` for a value that has no place on their scale.
    fn share(&self, mean: f64) -> Option<f64> {
        let has_place = Outside::of(mean, self.scale.is_log(), None).is_none();
        self.scale.fraction(mean).filter(|_| has_place)
    }

    pub(super) fn labels(&self) -> [String; 2] {
        self.ends.map(|end| self.digits.text(end))
    }
}

/// Decimals of all cells.
fn digits(chart: &Chart) -> Digits {
    Digits::of(chart.points().map(|(.., point)| point.statistics.mean))
}

/// Color of viridis at a fraction of its range.
pub(super) fn color(share: f64) -> String {
    let color = colorous::VIRIDIS.eval_continuous(share.clamp(0.0, 1.0));
    format!("#{color:x}")
}

/// Color of text that is readable on a cell.
fn text_color(share: f64) -> &'static str {
    // From here on, viridis is lighter than half (WCAG contrast with black above that with white).
    if share > 0.55 { "#000000" } else { "#ffffff" }
}

/// Height of a cell, in pixels.
pub(super) fn cell_height(chart: &Chart) -> f64 {
    let most = if chart.panels.len() > 1 { 28.0 } else { 44.0 };
    (300.0 / chart.lines.len().max(1) as f64).clamp(18.0, most)
}

/// Width of the names of the rows, in pixels.
pub(super) fn names_width(chart: &Chart) -> f64 {
    chart.lines.iter().map(|name| text::width(name, SMALL)).fold(0.0, f64::max).min(LONGEST)
}

/// Draws the names of the rows, if this is the first panel of a row of panels.
pub(super) fn names(chart: &Chart, area: &Area) -> Markup {
    let height = area.height / chart.lines.len().max(1) as f64;
    html! {
        @for (index, name) in chart.lines.iter().enumerate() {
            (text::text(
                [area.left - 8.0, area.top + (index as f64 + 0.5) * height],
                SMALL, Anchor::End, MUTED, &fit(name, SMALL, LONGEST),
            ))
        }
    }
}

/// Draws the cells of a panel.
pub(super) fn cells(
    chart: &Chart,
    panel: &Panel,
    colors: Option<&Colors>,
    x: &Horizontal,
    area: &Area,
    links: &Links<'_>,
) -> Markup {
    let size = [x.slot().unwrap_or(1.0) * area.width, area.height / chart.lines.len().max(1) as f64];
    let place = |line: &Line, point: &Point| {
        Some(Area {
            left: area.left + x.fraction(point.x)? * area.width - size[0] / 2.0,
            top: area.top + line.index as f64 * size[1],
            width: size[0],
            height: size[1],
        })
    };
    let digits = digits(chart);
    html! {
        @for line in &panel.lines {
            @for point in &line.points {
                @if let Some(cell) = place(line, point) {
                    (links.link(panel, line, point, &draw_cell(point, colors, digits, &cell)))
                }
            }
        }
    }
}

fn draw_cell(point: &Point, colors: Option<&Colors>, digits: Digits, cell: &Area) -> Markup {
    let seen = &point.statistics;
    let share = colors.and_then(|colors| colors.share(seen.mean));
    let middle = [cell.left + cell.width / 2.0, cell.top + cell.height / 2.0];
    let mean = digits.text(seen.mean);
    let has_room = text::width(&mean, SMALL) < cell.width - 4.0 && cell.height >= SMALL + 2.0;
    let mark = format!("×{}", if seen.missing > 1 { seen.missing.to_string() } else { String::new() });
    let beside = (cell.width - text::width(&mean, SMALL)) / 2.0;
    let has_room_for_mark = cell.height >= 26.0 && beside > text::width(&mark, CORNER) + 5.0;
    html! {
        rect x=(px(cell.left + 0.5)) y=(px(cell.top + 0.5)) width=(px((cell.width - 1.0).max(0.5)))
            height=(px((cell.height - 1.0).max(0.5))) class=[share.is_none().then_some(EMPTY.class)]
            color=(EMPTY.light) fill=(share.map_or_else(|| "currentColor".to_owned(), color)) {}
        @match share {
            Some(share) => {
                @if has_room {
                    text fill=(text_color(share)) x=(px(middle[0])) y=(px(middle[1] + 0.35 * SMALL))
                        font-size=(px(SMALL)) text-anchor="middle" { (mean) }
                }
                @if seen.missing > 0 && has_room_for_mark {
                    text fill=(text_color(share)) x=(px(cell.right() - 4.0)) y=(px(cell.top + 12.0))
                        font-size=(px(CORNER)) text-anchor="end" { (mark) }
                } @else if seen.missing > 0 {
                    path fill=(text_color(share)) d={ "M" (px(cell.right() - 8.0)) " " (px(cell.top + 1.0)) "h7v7z" } {}
                }
            }
            // A value without a color, which is not above 0 on a logarithmic scale.
            None if seen.n > 0 => (text::text(middle, SMALL, Anchor::Middle, INK, if has_room { mean.as_str() } else { "" })),
            None => (text::text(middle, SMALL, Anchor::Middle, INK, &mark)),
        }
    }
}
