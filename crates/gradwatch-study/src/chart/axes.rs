//! Axes: positions of values, ticks, and their labels.

use gradwatch_doctor::{picture::axis::each_nth, report::Scale};
use maud::{Markup, html};

use super::{
    Axis, Chart,
    outside::Outside,
    text::{self, Anchor, LABEL, SMALL, fit, px, turned},
    tone::{INK, MUTED, RULE},
};
use crate::definition::{ChartKind, Scale as AxisScale};

/// Angle of labels that do not fit side by side, in degrees.
const SLANT: f64 = -35.0;
/// Longest label of a category, in pixels.
const LONGEST: f64 = 170.0;
/// Room between labels side by side, in pixels.
const GAP: f64 = 10.0;
/// Fraction of the width that stays free left and right of numbers, so that no marker is cut off.
const INSET: f64 = 0.03;
/// Most different numbers that get a tick each.
const MOST_TICKS: usize = 9;
/// Height of a line of tick labels, in pixels.
const TICK_LINE: f64 = 24.0;
/// Distance of further lines of a label.
const LINE: f64 = 15.0;
/// Most lines of a label.
const MOST_LINES: usize = 2;
/// Least distance between ticks of numbers, in pixels.
const TICK_PITCH: f64 = 70.0;
/// Least distance between ticks of the vertical axis.
const Y_PITCH: f64 = 36.0;

/// A rectangle in the picture, in pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Area {
    pub left: f64,
    pub top: f64,
    pub width: f64,
    pub height: f64,
}

impl Area {
    pub(super) fn right(&self) -> f64 {
        self.left + self.width
    }

    pub(super) fn bottom(&self) -> f64 {
        self.top + self.height
    }
}

/// The horizontal axis of every panel.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Horizontal {
    places: Places,
    /// Fractions of the width, with the lines of their labels.
    ticks: Vec<(f64, Vec<String>)>,
    is_slanted: bool,
    /// Ends chosen by the study.
    ends: Option<[f64; 2]>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Places {
    /// Slots of equal width.
    Categories(usize),
    Numbers {
        scale: Scale,
        inset: f64,
    },
    /// No finite number.
    Nowhere,
}

impl Horizontal {
    /// The axis of a chart whose plots are `width` pixels wide.
    pub(super) fn new(chart: &Chart, width: f64) -> Self {
        let Axis { scale, categories, range, .. } = &chart.x;
        if *scale == AxisScale::Category {
            return Self::of_categories(categories, width);
        }
        let mut values: Vec<f64> = chart.points().map(|(.., point)| point.x).collect();
        values.sort_unstable_by(f64::total_cmp);
        values.dedup();
        let ends = range.map_or(&values[..], |_| range.as_ref().map_or(&[], |ends| &ends[..]));
        let scale = if *scale == AxisScale::Log { Scale::log(ends) } else { Scale::linear(ends) };
        let Some(scale) = scale else { return Self::at(Places::Nowhere, *range) };
        let inset = if chart.kind == ChartKind::Curves { 0.0 } else { INSET };
        let places = Places::Numbers { scale, inset };
        let axis = Self::at(places, *range);
        let ticks = ticks_at(&values, &axis, width).unwrap_or_else(|| {
            let ticks = scale.ticks_at_most((width / TICK_PITCH) as u32).into_iter();
            ticks.map(|(place, label)| (inset + (1.0 - 2.0 * inset) * place, vec![label])).collect()
        });
        Self { ticks, ..axis }
    }

    /// An axis without ticks.
    fn at(places: Places, ends: Option<[f64; 2]>) -> Self {
        Self { places, ticks: Vec::new(), is_slanted: false, ends }
    }

    fn of_categories(names: &[String], width: f64) -> Self {
        let slot = width / names.len().max(1) as f64;
        let is_wide = |lines: &Vec<String>| {
            lines.len() > MOST_LINES || lines.iter().any(|line| text::width(line, SMALL) > slot - GAP)
        };
        let wrapped: Vec<Vec<String>> = names.iter().map(|name| text::wrapped(name, SMALL, slot - GAP)).collect();
        // Readers fill in the numbers between two others.
        let are_numbers = names.iter().all(|name| name.parse::<f64>().is_ok());
        let is_slanted = !are_numbers && wrapped.iter().any(is_wide);
        // Slanted lines of text need their height, divided by the sine of the angle, beside each other.
        let longest = names.iter().map(|name| text::width(name, SMALL)).fold(0.0, f64::max);
        let needed = if is_slanted { 24.0 } else { longest + GAP };
        let nth = if is_slanted || are_numbers { each_nth(slot, needed as u32) } else { 1 };
        let tick = |(index, lines): (usize, Vec<String>)| {
            let label = if is_slanted { vec![fit(&names[index], SMALL, LONGEST)] } else { lines };
            ((index as f64 + 0.5) / names.len() as f64, label)
        };
        let ticks = wrapped.into_iter().enumerate().step_by(nth).map(tick).collect();
        Self { ticks, is_slanted, ..Self::at(Places::Categories(names.len()), None) }
    }

    /// Fraction of the width; `None` for a number that has no place on the axis.
    pub(super) fn fraction(&self, x: f64) -> Option<f64> {
        match self.places {
            Places::Categories(count) => Some((x + 0.5) / count.max(1) as f64),
            Places::Numbers { scale, .. } if Outside::of(x, scale.is_log(), self.ends).is_some() => None,
            Places::Numbers { scale, inset } => Some(inset + (1.0 - 2.0 * inset) * scale.fraction(x)?),
            Places::Nowhere => None,
        }
    }

    /// Width of a category as a fraction of the whole; `None` for numbers.
    pub(super) fn slot(&self) -> Option<f64> {
        match self.places {
            Places::Categories(count) => Some(1.0 / count.max(1) as f64),
            Places::Numbers { .. } | Places::Nowhere => None,
        }
    }

    /// Height of the labels, in pixels.
    pub(super) fn height(&self) -> f64 {
        let labels = || self.ticks.iter().flat_map(|(_, lines)| lines);
        let longest = labels().map(|label| text::width(label, SMALL)).fold(0.0, f64::max);
        let most = self.ticks.iter().map(|(_, lines)| lines.len()).max().unwrap_or(1);
        if self.is_slanted {
            18.0 - longest * SLANT.to_radians().sin()
        } else {
            TICK_LINE + (most.max(1) - 1) as f64 * LINE
        }
    }

    /// Number of pixels by which labels extend to the left of a plot of this width.
    pub(super) fn overhang(&self, width: f64) -> f64 {
        if !self.is_slanted {
            return 0.0;
        }
        let extent = |(place, lines): &(f64, Vec<String>)| {
            text::width(&lines.concat(), SMALL) * SLANT.to_radians().cos() - place * width
        };
        self.ticks.iter().map(extent).fold(0.0, f64::max)
    }

    /// Draws the line, the ticks, and the labels below the area.
    pub(super) fn draw(&self, area: &Area) -> Markup {
        let at = |place: f64| area.left + place * area.width;
        let ticks: String =
            self.ticks.iter().map(|(place, _)| format!("M{} {}v4", px(at(*place)), px(area.bottom()))).collect();
        html! {
            path class=(MUTED.class) color=(MUTED.light) stroke="currentColor" fill="none"
                d={ "M" (px(area.left)) " " (px(area.bottom())) "H" (px(area.right())) (ticks) } {}
            @for (place, lines) in &self.ticks {
                @for (index, label) in lines.iter().enumerate() {
                    @if self.is_slanted {
                        (turned([at(*place) + 3.0, area.bottom() + 11.0], SLANT, SMALL, Anchor::End, MUTED, label))
                    } @else {
                        @let y = area.bottom() + 14.0 + index as f64 * LINE;
                        (text::text([at(*place), y], SMALL, Anchor::Middle, MUTED, label))
                    }
                }
            }
        }
    }
}

/// A tick at each of a few numbers, if their labels fit.
fn ticks_at(values: &[f64], axis: &Horizontal, width: f64) -> Option<Vec<(f64, Vec<String>)>> {
    if values.len() > MOST_TICKS {
        return None;
    }
    let named =
        |value: &f64| Some((axis.fraction(*value)?, crate::groups::name(&crate::results::Cell::Number(*value))));
    let ticks: Vec<(f64, String)> = values.iter().filter_map(named).collect();
    let is_apart = |pair: &[(f64, String)]| {
        let needed = (text::width(&pair[0].1, SMALL) + text::width(&pair[1].1, SMALL)) / 2.0 + GAP;
        (pair[1].0 - pair[0].0) * width >= needed
    };
    let is_readable = ticks.windows(2).all(is_apart);
    is_readable.then(|| ticks.into_iter().map(|(place, label)| (place, vec![label])).collect())
}

/// The vertical axis of every panel.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Vertical {
    /// `None` without any value that has a place.
    scale: Option<Scale>,
    ticks: Vec<(f64, String)>,
    /// Ends chosen by the study.
    ends: Option<[f64; 2]>,
}

impl Vertical {
    /// The axis of a chart whose plots are `height` pixels high.
    pub(super) fn new(chart: &Chart, height: f64) -> Self {
        let scale = vertical_scale(chart);
        let ticks = scale.map(|scale| scale.ticks_at_most((height / Y_PITCH) as u32));
        Self { scale, ticks: ticks.unwrap_or_default(), ends: chart.y.range }
    }

    /// Height of a value in an area, in pixels; `None` for a value that has no place on the axis.
    pub(super) fn top(&self, value: f64, area: &Area) -> Option<f64> {
        let is_log = self.scale.is_some_and(|scale| scale.is_log());
        if Outside::of(value, is_log, self.ends).is_some() { None } else { self.nearest(value, area) }
    }

    /// Like [`top`](Self::top), with the nearest end of the axis for a value beyond it.
    pub(super) fn nearest(&self, value: f64, area: &Area) -> Option<f64> {
        Some(area.bottom() - self.scale?.fraction(value)? * area.height)
    }

    /// Width of the labels, in pixels.
    pub(super) fn width(&self) -> f64 {
        self.ticks.iter().map(|(_, label)| text::width(label, SMALL)).fold(0.0, f64::max)
    }

    /// Draws lines across the area at the ticks, and the labels on the left if this is the first panel of a row.
    pub(super) fn draw(&self, area: &Area, is_first: bool) -> Markup {
        let at = |place: f64| area.bottom() - place * area.height;
        let grid: String = self
            .ticks
            .iter()
            .map(|(place, _)| format!("M{} {}H{}", px(area.left), px(at(*place)), px(area.right())))
            .collect();
        html! {
            @if !grid.is_empty() {
                path class=(RULE.class) color=(RULE.light) stroke="currentColor" fill="none" d=(grid) {}
            }
            @for (place, label) in self.ticks.iter().filter(|_| is_first) {
                (text::text([area.left - 8.0, at(*place)], SMALL, Anchor::End, MUTED, label))
            }
        }
    }
}

/// The scale of the values: the range of the study, or all values with some room. Bars start at 0.
fn vertical_scale(chart: &Chart) -> Option<Scale> {
    let is_log = chart.y.scale == AxisScale::Log;
    let scale = if is_log { Scale::log } else { Scale::linear };
    if let Some(ends) = chart.y.range {
        return scale(&ends);
    }
    let extremes = chart.points().flat_map(|(.., point)| point.statistics.spread());
    let mut values: Vec<f64> = extremes.filter(|value| value.is_finite() && (!is_log || *value > 0.0)).collect();
    let is_bars = chart.kind == ChartKind::Bars;
    if is_bars && !is_log && !values.is_empty() {
        values.push(0.0);
    }
    let (low, high) =
        (values.iter().copied().fold(f64::NAN, f64::min), values.iter().copied().fold(f64::NAN, f64::max));
    let room = 0.05 * (high - low);
    if is_log {
        // A bar of the lowest value is still to be seen.
        values.extend([low / if is_bars { 2.0 } else { 1.1 }, high * 1.1]);
    } else if room.is_finite() {
        // No room beyond 0, which is the natural end of counts, shares, and sizes.
        values.extend(
            [low, high].into_iter().zip([-room, room]).map(|(end, room)| if end == 0.0 { end } else { end + room }),
        );
    }
    scale(&values)
}

/// Draws the label of the horizontal axis below all panels, in the middle.
pub(super) fn x_label(center: f64, y: f64, width: f64, label: &str) -> Markup {
    text::text([center, y], LABEL, Anchor::Middle, INK, &fit(label, LABEL, width))
}

/// Draws the label of the vertical axis, upwards.
pub(super) fn y_label(x: f64, center: f64, height: f64, label: &str) -> Markup {
    turned([x, center], -90.0, LABEL, Anchor::Middle, INK, &fit(label, LABEL, height))
}
