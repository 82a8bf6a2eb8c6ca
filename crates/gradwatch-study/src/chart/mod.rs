//! Charts of results: lines, bars, heat maps, and curves over steps, as SVG, PNG, and CSV.
//!
//! [`Chart`] has the numbers: panels of lines of points, each with the statistics and the runs of a group. [`svg`]
//! draws them: a dot or a bar at the mean, a band or a whisker from the lowest to the highest run (of a share: over its 95%
//! confidence interval), and a cross where
//! runs have no finite value. Colors are those of Okabe and Ito (jfly.uni-koeln.de/color, 2008), which color-blind
//! readers distinguish; heat maps use viridis. Lines also differ in their markers.

mod axes;
mod bars;
mod build;
mod caption;
mod curves;
mod figure;
mod format;
mod heat_map;
mod legend;
mod lines;
mod missing;
mod numbers;
mod outside;
mod raster;
mod text;
mod tone;

pub(crate) use build::{column, distinct, place};
pub use curves::Curves;
pub(crate) use figure::draw;
pub use figure::svg;
pub use format::Digits;
pub use numbers::csv;
pub use raster::{RasterError, png};
pub(crate) use text::plain;
pub(crate) use tone::dark_style;

use crate::{
    definition::{ChartKind, Scale},
    groups::Statistics,
};

/// A chart, ready to be drawn.
#[derive(Debug, Clone, PartialEq)]
pub struct Chart {
    /// Title.
    pub title: String,
    /// Name of its files, and start of its anchors on a page: letters and digits of the title in lowercase, joined by hyphens.
    pub slug: String,
    /// Kind.
    pub kind: ChartKind,
    /// Horizontal axis.
    pub x: Axis,
    /// Vertical axis; of a heat map, the rows.
    pub y: Axis,
    /// Label of the colors of a heat map, or of the lines; empty without any.
    pub legend: String,
    /// Names of the lines, in the order of their colors. Of a heat map: the rows, from top to bottom.
    pub lines: Vec<String>,
    /// The panels: small multiples with the same axes.
    pub panels: Vec<Panel>,
    /// Sentences for the caption: why there are no points, or a tag that no run has.
    pub remarks: Vec<String>,
    /// Number of steps averaged in each point of a curve; 1 if each step is a point.
    pub steps_per_point: u64,
}

/// The files of a chart, by name: `SLUG.svg`, `SLUG.png`, and `SLUG.csv`. `page` is the path of the page from their folder.
///
/// # Errors
/// If the picture is too large to rasterize.
pub fn files(chart: &Chart, page: &str) -> Result<[(String, Vec<u8>); 3], RasterError> {
    let svg = svg(chart, page);
    let png = png(&svg)?;
    let name = |extension: &str| format!("{}.{extension}", chart.slug);
    Ok([(name("svg"), svg.into_bytes()), (name("png"), png), (name("csv"), csv(chart).into_bytes())])
}

/// An axis.
#[derive(Debug, Clone, PartialEq)]
pub struct Axis {
    /// Label.
    pub label: String,
    /// Kind of positions.
    pub scale: Scale,
    /// Ends chosen by the study; `None` to fit them to the values.
    pub range: Option<[f64; 2]>,
    /// Names of the categories; a point at category `i` has position `i`. Empty for numbers.
    pub categories: Vec<String>,
}

/// One of several charts with the same axes.
#[derive(Debug, Clone, PartialEq)]
pub struct Panel {
    /// Name; empty if it is the only one.
    pub name: String,
    /// Its lines.
    pub lines: Vec<Line>,
}

/// Points of one color, in ascending order of x.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// Index into [`Chart::lines`].
    pub index: usize,
    /// The points.
    pub points: Vec<Point>,
}

/// Value of a group of runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// Position: a number, a category, or a step.
    pub x: f64,
    /// Name of the position.
    pub label: String,
    /// Mean, spread, and number of runs.
    pub statistics: Statistics,
    /// Number of runs to mark with a cross: those without a finite value; on a curve, those whose first value that is
    /// not finite is here.
    pub diverged: usize,
    /// Rows of the runs in the results.
    pub runs: Vec<usize>,
    /// Number of the group within the chart; the page lists its runs under this number.
    pub group: usize,
}

impl Chart {
    /// All points, with their panel and line.
    pub fn points(&self) -> impl Iterator<Item = (&Panel, &Line, &Point)> {
        let lines = self.panels.iter().flat_map(|panel| panel.lines.iter().map(move |line| (panel, line)));
        lines.flat_map(|(panel, line)| line.points.iter().map(move |point| (panel, line, point)))
    }

    /// Name of a line; empty if it is the only one.
    pub fn line_name(&self, line: &Line) -> &str {
        self.lines.get(line.index).map_or("", String::as_str)
    }

    /// Anchor of a group on the page.
    pub fn anchor(&self, group: usize) -> String {
        format!("{}-{group}", self.slug)
    }
}

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;
