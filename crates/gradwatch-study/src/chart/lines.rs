//! Lines and curves: means and the range of the runs.

use std::fmt::Write;

use maud::{Markup, html};

use super::{
    Chart, Line, Panel, Point,
    axes::{Area, Horizontal, Vertical},
    figure::Links,
    missing,
    text::px,
    tone::{Tone, style},
};
use crate::definition::ChartKind;

/// Largest distance between two lines at the same category, in pixels.
const DODGE: f64 = 12.0;

/// Draws the lines of a panel.
pub(super) fn lines(
    chart: &Chart,
    panel: &Panel,
    x: &Horizontal,
    y: &Vertical,
    area: &Area,
    links: &Links<'_>,
) -> Markup {
    let at = |line: &Line, point: &Point| Some(area.left + left(chart, x, area.width, line, point)?);
    let is_ranged = x.slot().is_none();
    html! {
        @for line in panel.lines.iter().filter(|_| is_ranged) { (draw_band(line, &|point| at(line, point), y, area)) }
        @for line in &panel.lines {
            @let path = draw_line(line, &|point| at(line, point), y, area);
            // A curve has too many points for a link each.
            @match line.points.last().filter(|_| chart.kind == ChartKind::Curves) {
                Some(last) => (links.link(panel, line, last, &path)),
                None => (path),
            }
        }
        @for line in &panel.lines {
            @for (point, left) in line.points.iter().filter_map(|point| Some((point, at(line, point)?))) {
                @if chart.kind == ChartKind::Lines && let Some(top) = y.top(point.statistics.mean, area) {
                    @let mark = html! {
                        @if !is_ranged { (whisker(style(line.index).tone, point, left, y, area)) }
                        (marker(line, [left, top]))
                    };
                    (links.link(panel, line, point, &mark))
                }
            }
        }
        (missing::marks(chart, panel, x, area, links))
    }
}

/// Horizontal place of a point in a plot. At categories, lines are shifted, so that their whiskers do not hide each other.
pub(super) fn left(chart: &Chart, x: &Horizontal, width: f64, line: &Line, point: &Point) -> Option<f64> {
    let count = chart.lines.len().max(1) as f64;
    let room = x.slot().map_or(0.0, |slot| (0.6 * slot * width / count).min(DODGE));
    Some(x.fraction(point.x)? * width + (line.index as f64 - (count - 1.0) / 2.0) * room)
}

fn draw_line(line: &Line, at: &dyn Fn(&Point) -> Option<f64>, y: &Vertical, area: &Area) -> Markup {
    let look = style(line.index);
    let mut path = String::new();
    let mut is_on = false;
    for point in &line.points {
        let place = at(point).zip(y.top(point.statistics.mean, area));
        if let Some((left, top)) = place {
            // A line of length 0 shows a point between two gaps.
            let _ = write!(path, "{}{} {}h0", if is_on { 'L' } else { 'M' }, px(left), px(top));
        }
        is_on = place.is_some();
    }
    html! {
        path class=(look.tone.class) color=(look.tone.light) stroke="currentColor" stroke-width="2" fill="none"
            stroke-linejoin="round" stroke-linecap="round" stroke-dasharray=(look.dash) d=(path) {}
    }
}

/// Band over the spread, as far as the axis goes.
fn draw_band(line: &Line, at: &dyn Fn(&Point) -> Option<f64>, y: &Vertical, area: &Area) -> Markup {
    let look = style(line.index);
    let mut path = String::new();
    for part in line.points.split(|point| y.top(point.statistics.mean, area).is_none()) {
        if !part.iter().map(|point| point.statistics.spread()).any(|[low, high]| low < high) {
            continue;
        }
        let edge = |value: fn(&Point) -> f64| {
            part.iter().filter_map(move |point| at(point).zip(y.nearest(value(point), area)))
        };
        let mut outline: Vec<(f64, f64)> = edge(|point| point.statistics.spread()[1]).collect();
        outline.extend(edge(|point| point.statistics.spread()[0]).collect::<Vec<_>>().into_iter().rev());
        for (index, (left, top)) in outline.into_iter().enumerate() {
            let _ = write!(path, "{}{} {}", if index == 0 { 'M' } else { 'L' }, px(left), px(top));
        }
        path.push('z');
    }
    html! {
        @if !path.is_empty() {
            path class=(look.tone.class) color=(look.tone.light) fill="currentColor" fill-opacity="0.15" d=(path) {}
        }
    }
}

/// Line over the spread; empty for a single run. An end beyond the axis has no cap.
pub(super) fn whisker(tone: Tone, point: &Point, left: f64, y: &Vertical, area: &Area) -> Markup {
    let [min, max] = point.statistics.spread();
    let ends = y.nearest(min, area).zip(y.nearest(max, area)).filter(|_| point.statistics.n > 1);
    let caps: String = [min, max]
        .into_iter()
        .filter_map(|end| y.top(end, area))
        .map(|top| format!("M{} {}h6", px(left - 3.0), px(top)))
        .collect();
    html! {
        @if let Some((low, high)) = ends {
            path class=(tone.class) color=(tone.light) stroke="currentColor" stroke-width="1.5" fill="none"
                d={ "M" (px(left)) " " (px(high)) "V" (px(low)) (caps) } {}
        }
    }
}

fn marker(line: &Line, [left, top]: [f64; 2]) -> Markup {
    let look = style(line.index);
    html! {
        // Easier to hit than the marker alone.
        circle cx=(px(left)) cy=(px(top)) r="10" fill="#000000" fill-opacity="0" {}
        path class=(look.tone.class) color=(look.tone.light) fill="currentColor" d=(look.marker.path())
            transform={ "translate(" (px(left)) " " (px(top)) ")" } {}
    }
}
