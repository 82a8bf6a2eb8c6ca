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
    let above = |value: f64| Some(area.bottom() - y.fraction(value)? * area.height);
    let is_ranged = x.slot().is_none();
    html! {
        @for line in panel.lines.iter().filter(|_| is_ranged) { (draw_band(line, &|point| at(line, point), &above)) }
        @for line in &panel.lines {
            @let path = draw_line(line, &|point| at(line, point), &above);
            // A curve has too many points for a link each.
            @match line.points.last().filter(|_| chart.kind == ChartKind::Curves) {
                Some(last) => (links.link(panel, line, last, &path)),
                None => (path),
            }
        }
        @for line in &panel.lines {
            @for (point, left) in line.points.iter().filter_map(|point| Some((point, at(line, point)?))) {
                @if chart.kind == ChartKind::Lines && let Some(top) = above(point.statistics.mean) {
                    @let mark = html! {
                        @if !is_ranged { (whisker(style(line.index).tone, point, left, &above)) }
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

fn draw_line(line: &Line, at: &dyn Fn(&Point) -> Option<f64>, above: &dyn Fn(f64) -> Option<f64>) -> Markup {
    let look = style(line.index);
    let mut path = String::new();
    let mut is_on = false;
    for point in &line.points {
        let place = at(point).zip(above(point.statistics.mean));
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

/// Band from the lowest to the highest run.
fn draw_band(line: &Line, at: &dyn Fn(&Point) -> Option<f64>, above: &dyn Fn(f64) -> Option<f64>) -> Markup {
    let look = style(line.index);
    let mut path = String::new();
    for part in line.points.split(|point| point.statistics.n == 0) {
        if !part.iter().any(|point| point.statistics.min < point.statistics.max) {
            continue;
        }
        let edge = |value: fn(&Point) -> f64| part.iter().filter_map(move |point| at(point).zip(above(value(point))));
        let mut outline: Vec<(f64, f64)> = edge(|point| point.statistics.max).collect();
        outline.extend(edge(|point| point.statistics.min).collect::<Vec<_>>().into_iter().rev());
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

/// Line from the lowest to the highest run; empty for a single run.
pub(super) fn whisker(tone: Tone, point: &Point, left: f64, above: &dyn Fn(f64) -> Option<f64>) -> Markup {
    let ends = above(point.statistics.min).zip(above(point.statistics.max)).filter(|_| point.statistics.n > 1);
    html! {
        @if let Some((low, high)) = ends {
            path class=(tone.class) color=(tone.light) stroke="currentColor" stroke-width="1.5" fill="none"
                d={
                    "M" (px(left - 3.0)) " " (px(high)) "h6M" (px(left)) " " (px(high)) "V" (px(low))
                    "M" (px(left - 3.0)) " " (px(low)) "h6"
                } {}
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
