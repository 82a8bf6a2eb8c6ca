//! Legends: line samples with names, or the color scale of a heat map.

use maud::{Markup, html};

use super::{
    Chart,
    heat_map::{Colors, color},
    text::{self, Anchor, SMALL, fit, px},
    tone::{INK, MUTED, Style, style},
};
use crate::definition::{ChartKind, Scale};

/// Height of a row of entries, in pixels.
const ROW: f64 = 21.0;
/// Width of the sample of a line, with the space after it.
const SAMPLE: f64 = 32.0;
/// Space between entries.
const GAP: f64 = 18.0;
/// Longest name, in pixels.
const LONGEST: f64 = 260.0;
/// Width of the scale of a heat map, in pixels.
const RAMP: f64 = 200.0;

/// An entry at its place.
#[derive(Debug, Clone, PartialEq)]
struct Entry {
    x: f64,
    row: usize,
    name: String,
    style: Style,
}

/// The legend, laid out in rows.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Legend {
    title: String,
    entries: Vec<Entry>,
    rows: usize,
}

impl Legend {
    /// Lays out the names of the lines in `width` pixels.
    pub(super) fn new(chart: &Chart, width: f64) -> Self {
        let is_heat_map = chart.kind == ChartKind::HeatMap;
        let scale = if is_heat_map && chart.y.scale == Scale::Log { " (log scale)" } else { "" };
        let title = if chart.legend.is_empty() {
            String::new()
        } else {
            fit(&format!("{}{scale}", chart.legend), SMALL, LONGEST)
        };
        let start = if title.is_empty() { 0.0 } else { text::width(&title, SMALL) + GAP };
        let is_named = |name: &String| !name.is_empty() && !is_heat_map;
        let (mut x, mut row, mut entries) = (start, 0, Vec::new());
        for (index, name) in chart.lines.iter().enumerate().filter(|(_, name)| is_named(name)) {
            let name = fit(name, SMALL, LONGEST.min(width - SAMPLE));
            let needed = SAMPLE + text::width(&name, SMALL);
            if x > 0.0 && x + needed > width {
                (x, row) = (0.0, row + 1);
            }
            entries.push(Entry { x, row, name, style: style(index) });
            x += needed + GAP;
        }
        let rows = if entries.is_empty() && !is_heat_map { 0 } else { row + 1 };
        Self { title, entries, rows }
    }

    /// Height in pixels.
    pub(super) fn height(&self) -> f64 {
        if self.rows == 0 { 0.0 } else { self.rows as f64 * ROW + 8.0 }
    }

    /// Draws the legend with its upper left corner at this place.
    pub(super) fn draw(&self, chart: &Chart, colors: Option<&Colors>, [left, top]: [f64; 2]) -> Markup {
        let y = |row: usize| top + (row as f64 + 0.5) * ROW;
        html! {
            @if self.rows > 0 && !self.title.is_empty() {
                (text::text([left, y(0)], SMALL, Anchor::Start, MUTED, &self.title))
            }
            @for entry in &self.entries {
                (sample(chart.kind, entry.style, [left + entry.x, y(entry.row)]))
                (text::text([left + entry.x + SAMPLE, y(entry.row)], SMALL, Anchor::Start, INK, &entry.name))
            }
            @if let Some(colors) = colors {
                (ramp(colors, [left + text::width(&self.title, SMALL) + 12.0, y(0)]))
            }
        }
    }
}

/// A piece of the line with its marker, or a piece of its bar.
fn sample(kind: ChartKind, style: Style, [x, y]: [f64; 2]) -> Markup {
    let Style { tone, dash, marker } = style;
    html! {
        g class=(tone.class) color=(tone.light) transform={ "translate(" (px(x)) " " (px(y)) ")" } {
            @if kind == ChartKind::Bars {
                rect x="6" y="-6" width="18" height="12" fill="currentColor" fill-opacity=(style.opacity()) {}
            } @else {
                path d="M0 0h26" stroke="currentColor" stroke-width="2" stroke-dasharray=(dash) fill="none" {}
                @if kind == ChartKind::Lines {
                    path d=(marker.path()) transform="translate(13 0)" fill="currentColor" {}
                }
            }
        }
    }
}

/// The colors of a heat map from its lowest to its highest value.
fn ramp(colors: &Colors, [left, y]: [f64; 2]) -> Markup {
    const PIECES: u32 = 50;
    let piece = RAMP / f64::from(PIECES);
    let [low, high] = colors.labels();
    let start = left + text::width(&low, SMALL) + 6.0;
    html! {
        (text::text([left, y], SMALL, Anchor::Start, MUTED, &low))
        @for index in 0..PIECES {
            @let share = (f64::from(index) + 0.5) / f64::from(PIECES);
            // Overlaps the next piece, so that no background shows between two pieces.
            rect x=(px(start + f64::from(index) * piece)) y=(px(y - 6.0)) width=(px(piece + 0.5)) height="12"
                fill=(color(share)) {}
        }
        (text::text([start + RAMP + 8.0, y], SMALL, Anchor::Start, MUTED, &high))
    }
}
