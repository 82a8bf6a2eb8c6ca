//! Line charts as SVG. The lines stretch with the page, the labels do not. `plotters` draws fixed sizes and colors, which
//! would follow neither a narrow page nor a dark theme.

use std::fmt::Write;

use maud::{Markup, html};

use super::{
    scale::Scale,
    series::{Bucket, Series},
};
use crate::diagnosis::Severity;
use crate::number::{number, step_label};

/// Size of the plot in its own units. The page stretches it.
const WIDTH: f64 = 1000.0;
const HEIGHT: f64 = 400.0;
/// Most points of a line to draw as dots.
const DOTS: usize = 40;
/// Marks closer together than this fraction of the width share one badge.
const BADGE: f64 = 0.08;

/// One value, or statistics of several neighboring steps.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Point {
    pub step: f64,
    pub low: f64,
    pub mean: f64,
    pub high: f64,
    /// Whether a value was not finite.
    pub is_broken: bool,
}

/// A line with its points, from left to right.
#[derive(Debug, Clone)]
pub(super) struct Line<'a> {
    /// Name in the legend; no entry if empty.
    pub name: &'a str,
    pub class: &'static str,
    pub points: Vec<Point>,
}

/// Mark at the first step of a finding.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark {
    pub step: u64,
    /// Number of the finding on the page.
    pub number: usize,
    pub severity: Severity,
}

/// A chart of lines over steps.
#[derive(Debug, Clone)]
pub(super) struct Chart<'a> {
    pub title: &'a str,
    pub lines: Vec<Line<'a>>,
    /// Chooses the axis for all values.
    pub scale: fn(&[f64]) -> Option<Scale>,
    /// First and last step.
    pub steps: (u64, u64),
    pub marks: &'a [Mark],
    pub class: &'static str,
}

impl From<&Bucket> for Point {
    fn from(bucket: &Bucket) -> Self {
        let &Bucket { min: low, max: high, mean, not_finite, .. } = bucket;
        Self { step: bucket.middle(), low, mean, high, is_broken: not_finite > 0 }
    }
}

impl<'a> Line<'a> {
    pub(super) fn of(name: &'a str, class: &'static str, series: &Series) -> Self {
        Self { name, class, points: series.buckets().iter().map(Point::from).collect() }
    }

    fn last(&self) -> f64 {
        self.finite().next_back().unwrap_or(f64::NAN)
    }

    fn finite(&self) -> impl DoubleEndedIterator<Item = f64> {
        self.points.iter().map(|point| point.mean).filter(|mean| mean.is_finite())
    }

    fn describe(&self) -> String {
        let extreme = |value: fn(&Point) -> f64, of: fn(f64, f64) -> f64| {
            number(self.points.iter().map(value).filter(|value| value.is_finite()).fold(f64::NAN, of))
        };
        let name = if self.name.is_empty() { String::new() } else { format!("{}: ", self.name) };
        match self.finite().next() {
            None => format!("{name}no finite values"),
            Some(first) => format!(
                "{name}from {} to {}, lowest {}, highest {}",
                number(first),
                number(self.last()),
                extreme(|point| point.low, f64::min),
                extreme(|point| point.high, f64::max)
            ),
        }
    }
}

impl Chart<'_> {
    /// Draws the chart; empty without any points.
    pub(super) fn draw(&self) -> Markup {
        let lines: Vec<&Line<'_>> = self.lines.iter().filter(|line| !line.points.is_empty()).collect();
        let values: Vec<f64> =
            lines.iter().flat_map(|line| &line.points).flat_map(|point| [point.low, point.mean, point.high]).collect();
        let scale = (self.scale)(&values);
        let axis = if scale.is_some_and(|scale| scale.is_log()) { "log axis" } else { "" };
        html! {
            @if !lines.is_empty() {
                figure class={ "chart " (self.class) } {
                    figcaption {
                        h3 { (self.title) @if !axis.is_empty() { " " small { (axis) } } }
                        (legend(&lines))
                    }
                    @match scale {
                        Some(scale) => (self.plot(&lines, &scale)),
                        None => p class="empty" { "No value is finite." },
                    }
                }
            }
        }
    }

    fn plot(&self, lines: &[&Line<'_>], scale: &Scale) -> Markup {
        let ends = [self.steps.0 as f64, self.steps.1 as f64];
        let across = |step: f64| Scale::linear(&ends).and_then(|steps| steps.fraction(step)).unwrap_or(0.0);
        let described: Vec<String> =
            lines.iter().filter(|line| !line.name.is_empty() || lines.len() == 1).map(|line| line.describe()).collect();
        let label = format!("{}, steps {} to {}. {}", self.title, self.steps.0, self.steps.1, described.join(". "));
        let ticks = scale.ticks();
        html! {
            div class="plot" {
                div class="y" aria-hidden="true" {
                    @for (place, text) in &ticks { span style=(at("bottom", *place)) { (text) } }
                }
                div class="area" {
                    svg viewBox="0 0 1000 400" preserveAspectRatio="none" role="img" aria-label=(label) {
                        title { (label) }
                        path class="grid" d=(grid(&ticks)) {}
                        @for mark in self.marks {
                            path class={ "mark " (mark.severity) } d={ "M" (x(across(mark.step as f64))) " 0V400" } {}
                        }
                        @for line in lines { (draw_line(line, scale, &across)) }
                    }
                    @for badge in badges(self.marks, &across) {
                        a class={ "badge " (badge.severity) (side(badge.place)) } style=(at("left", badge.place))
                            href={ "#finding-" (badge.first) } aria-label={ "to finding " (badge.text) } {
                                (badge.text)
                            }
                    }
                }
                div class="x" aria-hidden="true" { (step_ticks(&ends, &across)) }
            }
        }
    }
}

fn legend(lines: &[&Line<'_>]) -> Markup {
    let broken = lines.iter().flat_map(|line| &line.points).any(|point| point.is_broken);
    html! {
        ul class="legend" {
            @for line in lines.iter().filter(|line| !line.name.is_empty()) {
                li class=(line.class) { (line.name) " " b { (number(line.last())) } }
            }
            @if broken { li class="broken" { "not finite" } }
        }
    }
}

/// Draws the line, a band from the lowest to the highest value, and marks at non-finite values.
fn draw_line(line: &Line<'_>, scale: &Scale, across: &dyn Fn(f64) -> f64) -> Markup {
    let place = |point: &Point, value: f64| Some((x(across(point.step)), y(scale.fraction(value)?)));
    let mut broken = String::new();
    for point in line.points.iter().filter(|point| point.is_broken) {
        let _ = write!(broken, "M{} 400v-24", x(across(point.step)));
    }
    let means: Vec<_> = line.points.iter().map(|point| place(point, point.mean)).collect();
    let mut dots = String::new();
    for (x, y) in means.iter().flatten().filter(|_| means.len() <= DOTS) {
        let _ = write!(dots, "M{x} {y}h0");
    }
    let mut band = String::new();
    for run in line.points.split(|point| !point.mean.is_finite()) {
        let edge = |value: fn(&Point) -> f64| run.iter().filter_map(move |point| place(point, value(point)));
        if run.iter().any(|point| point.low < point.high) {
            let mut outline: Vec<_> = edge(|point| point.high).collect();
            outline.extend(edge(|point| point.low).collect::<Vec<_>>().into_iter().rev());
            let _ = write!(band, "{}z", path(outline.into_iter().map(Some)));
        }
    }
    html! {
        g class=(line.class) {
            @if !band.is_empty() { path class="band" d=(band) {} }
            path class="line" d=(path(means.into_iter())) {}
            @if !dots.is_empty() { path class="dots" d=(dots) {} }
            @if !broken.is_empty() { path class="broken" d=(broken) {} }
        }
    }
}

/// SVG path through the points, with a gap at each `None`. A point between two gaps becomes a dot.
pub(super) fn path(points: impl Iterator<Item = Option<(i64, i64)>>) -> String {
    let mut text = String::new();
    let mut is_on = false;
    let mut is_alone = false;
    for point in points {
        if let Some((x, y)) = point {
            let _ = write!(text, "{}{x} {y}", if is_on { 'L' } else { 'M' });
        } else if is_alone {
            text.push_str("h0");
        }
        is_alone = point.is_some() && !is_on;
        is_on = point.is_some();
    }
    if is_alone {
        text.push_str("h0");
    }
    text
}

fn grid(ticks: &[(f64, String)]) -> String {
    ticks.iter().map(|(place, _)| format!("M0 {}H1000", y(*place))).collect()
}

fn step_ticks(ends: &[f64], across: &dyn Fn(f64) -> f64) -> Markup {
    let ticks = crate::picture::axis::Range::of(ends).map(|range| range.ticks(4)).unwrap_or_default();
    // For a run with one step, the axis extends half a step in both directions.
    let whole = ticks.into_iter().map(|(step, _)| step).filter(|step| step.fract() == 0.0 && *step >= 0.0);
    html! {
        @for step in whole {
            span class=(side(across(step))) style=(at("left", across(step))) { (step_label(step)) }
        }
    }
}

/// A badge for one or more marks.
struct Badge {
    place: f64,
    text: String,
    /// Number of the first finding.
    first: usize,
    severity: Severity,
}

/// Creates one badge per mark. Overlapping marks share a badge.
fn badges(marks: &[Mark], across: &dyn Fn(f64) -> f64) -> Vec<Badge> {
    let mut marks = marks.to_vec();
    marks.sort_by_key(|mark| (mark.step, mark.number));
    let mut badges: Vec<Badge> = Vec::new();
    for mark in marks {
        let place = across(mark.step as f64);
        match badges.last_mut() {
            Some(last) if place - last.place < BADGE => {
                let _ = write!(last.text, " {}", mark.number);
                last.severity = last.severity.max(mark.severity);
            }
            _ => {
                let Mark { number, severity, .. } = mark;
                badges.push(Badge { place, text: number.to_string(), first: number, severity });
            }
        }
    }
    badges
}

pub(super) fn at(edge: &str, share: f64) -> String {
    format!("{edge}:{:.2}%", 100.0 * share)
}

/// CSS class that keeps text at the ends of an axis inside the chart.
pub(super) fn side(share: f64) -> &'static str {
    if share < 0.04 {
        " start"
    } else if share > 0.96 {
        " end"
    } else {
        ""
    }
}

fn x(share: f64) -> i64 {
    (WIDTH * share).round() as i64
}

fn y(share: f64) -> i64 {
    (HEIGHT * (1.0 - share)).round() as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(values: &[f64], marks: &[Mark]) -> String {
        let mut series = Series::default();
        values.iter().zip(0..).for_each(|(value, step)| series.add(step, *value));
        let lines = vec![Line::of("training", "train", &series)];
        let steps = (0, values.len().saturating_sub(1) as u64);
        Chart { title: "Loss", lines, scale: Scale::linear, steps, marks, class: "" }.draw().into_string()
    }

    #[test]
    fn a_line_has_a_gap_where_a_value_is_not_finite_and_a_mark_there() {
        let svg = chart(&[0.0, 1.0, f64::NAN, 0.0, f64::INFINITY], &[]);
        assert!(svg.contains(r#"<path class="line" d="M0 400L250 0M750 400h0">"#), "{svg}");
        assert!(svg.contains(r#"<path class="broken" d="M500 400v-24M1000 400v-24">"#), "{svg}");
        assert!(svg.contains("from 0 to 0, lowest 0, highest 1"), "{svg}");
    }

    #[test]
    fn series_without_a_finite_value_and_without_any_are_drawn() {
        assert!(chart(&[f64::NAN; 700], &[]).contains("No value is finite."));
        assert_eq!(chart(&[], &[]), "");
        assert!(chart(&[1.0], &[]).contains("<svg"));
    }

    #[test]
    fn the_range_of_merged_readings_is_drawn_around_their_mean() {
        let svg = chart(&(0..1000).map(|step| f64::from(step % 2)).collect::<Vec<_>>(), &[]);
        assert!(svg.contains(r#"<path class="band" d="M"#) && !svg.contains("NaN"), "{svg}");
    }

    #[test]
    fn findings_that_begin_together_share_a_badge() {
        let mark = |step, number, severity| Mark { step, number, severity };
        let marks = [mark(90, 1, Severity::Warning), mark(0, 2, Severity::Critical), mark(91, 3, Severity::Fatal)];
        let badges = badges(&marks, &|step| step / 100.0);
        let texts: Vec<_> = badges.iter().map(|badge| (&*badge.text, badge.first, badge.severity)).collect();
        assert_eq!(texts, [("2", 2, Severity::Critical), ("1 3", 1, Severity::Fatal)]);
    }
}
