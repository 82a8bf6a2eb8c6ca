//! Bars: means, and whiskers over the range of the runs.

use maud::{Markup, html};

use super::{
    Chart, Line, Panel, Point,
    axes::{Area, Horizontal, Vertical},
    figure::Links,
    lines::whisker,
    missing,
    text::px,
    tone::{INK, style},
};

/// Fraction of a category that its bars take.
const SHARE: f64 = 0.8;
/// Widest bar, in pixels.
const WIDEST: f64 = 56.0;

/// Draws the bars of a panel.
pub(super) fn bars(
    chart: &Chart,
    panel: &Panel,
    x: &Horizontal,
    y: &Vertical,
    area: &Area,
    links: &Links<'_>,
) -> Markup {
    let width = bar_width(chart, x, area.width);
    let middle = |line: &Line, point: &Point| Some(area.left + left(chart, x, area.width, line, point)?);
    // A logarithmic axis has no 0: its bars start at the lower end.
    let zero = y.nearest(0.0, area).unwrap_or(area.bottom());
    html! {
        @for line in &panel.lines {
            @for (point, middle) in line.points.iter().filter_map(|point| Some((point, middle(line, point)?))) {
                @if let Some(top) = y.top(point.statistics.mean, area) {
                    @let mark = html! {
                        (bar(line, [middle - width / 2.0, width], [top, zero]))
                        (whisker(INK, point, middle, y, area))
                    };
                    (links.link(panel, line, point, &mark))
                }
            }
        }
        (missing::marks(chart, panel, x, area, links))
        path class=(INK.class) color=(INK.light) stroke="currentColor" fill="none"
            d={ "M" (px(area.left)) " " (px(zero)) "H" (px(area.right())) } {}
    }
}

fn bar_width(chart: &Chart, x: &Horizontal, width: f64) -> f64 {
    (SHARE * x.slot().unwrap_or(1.0) * width / chart.lines.len().max(1) as f64).min(WIDEST)
}

/// Horizontal place of the middle of a bar in a plot.
pub(super) fn left(chart: &Chart, x: &Horizontal, width: f64, line: &Line, point: &Point) -> Option<f64> {
    let shift = line.index as f64 - (chart.lines.len().max(1) - 1) as f64 / 2.0;
    Some(x.fraction(point.x)? * width + shift * bar_width(chart, x, width))
}

fn bar(line: &Line, [left, width]: [f64; 2], [top, zero]: [f64; 2]) -> Markup {
    let look = style(line.index);
    html! {
        rect class=(look.tone.class) color=(look.tone.light) fill="currentColor" fill-opacity=(look.opacity())
            x=(px(left + 0.5)) y=(px(top.min(zero))) width=(px((width - 1.0).max(0.5))) height=(px((zero - top).abs())) {}
    }
}
