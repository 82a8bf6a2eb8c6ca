//! Lays out a chart and draws it as SVG: title, legend, panels, axis labels, and a caption.

use maud::{Markup, PreEscaped, html};

use super::{
    Chart, Line, Panel, Point,
    axes::{Area, Horizontal, Vertical, x_label, y_label},
    bars,
    caption::caption,
    format, heat_map,
    heat_map::Colors,
    legend::Legend,
    lines, missing, outside,
    text::{self, Anchor, LABEL, SMALL, TITLE, fit, plain, px},
    tone::{INK, MUTED, PAPER, dark_style},
};
use crate::definition::ChartKind;

/// Space around the chart, in pixels.
const MARGIN: f64 = 14.0;
/// Space between panels side by side.
const BETWEEN: f64 = 20.0;
/// Height of the name of a panel.
const NAME: f64 = 26.0;
/// Height of the label of an axis.
const AXIS_LABEL: f64 = 24.0;
/// Height of a line of the caption.
const CAPTION: f64 = 17.0;
/// Longest label beside a heat map, in pixels.
const MOST_LABEL: f64 = 160.0;
/// Height of the title.
const HEAD: f64 = 34.0;

/// Links of the points to the lists of their runs.
pub(super) struct Links<'a> {
    chart: &'a Chart,
    /// Address of the page with the lists; empty on the page itself.
    page: &'a str,
}

impl Links<'_> {
    /// Wraps the mark of a point in a link with a tooltip.
    pub(super) fn link(&self, panel: &Panel, line: &Line, point: &Point, mark: &Markup) -> Markup {
        let chart = self.chart;
        let names = [&*panel.name, chart.line_name(line)].into_iter().filter(|name| !name.is_empty());
        let names: Vec<&str> = names.chain([&*point.label]).collect();
        let tooltip = format!("{}: {}", names.join(", "), format::sentence(&point.statistics));
        html! {
            a href={ (self.page) "#" (plain(&chart.anchor(point.group))) } { title { (plain(&tooltip)) } (mark) }
        }
    }
}

/// The chart as a standalone SVG file with light and dark colors. Points link to the lists of their runs in `page`.
pub fn svg(chart: &Chart, page: &str) -> String {
    format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{}\n", Figure::new(chart, true).draw(page).into_string())
}

/// The chart as part of a page, which has its title and the style sheet of its colors.
pub(crate) fn draw(chart: &Chart) -> Markup {
    Figure::new(chart, false).draw("")
}

/// A chart with the places of its parts.
struct Figure<'a> {
    chart: &'a Chart,
    is_file: bool,
    legend: Legend,
    colors: Option<Colors>,
    x: Horizontal,
    y: Vertical,
    columns: usize,
    width: f64,
    /// Width of the labels of the vertical axis.
    labels: f64,
    /// The plot of the first panel, below its name and the marks of missing values.
    first: Area,
    /// Height of the name of a panel; 0 without names.
    name: f64,
    /// Height of the marks of missing values above each plot.
    missing: f64,
}

impl<'a> Figure<'a> {
    fn new(chart: &'a Chart, is_file: bool) -> Self {
        let is_map = chart.kind == ChartKind::HeatMap;
        let panels = chart.panels.len();
        let columns = if panels == 4 { 2 } else { panels.clamp(1, 3) };
        let width = if columns > 1 || chart.x.categories.len() > 14 { 900.0 } else { 720.0 };
        let height = match (is_map, columns) {
            // A few rows leave room for the label beside them.
            (true, _) => {
                let rows = heat_map::cell_height(chart) * chart.lines.len().max(1) as f64;
                rows.max(text::width(&chart.y.label, LABEL).ceil().min(MOST_LABEL))
            }
            (false, 1) => 300.0,
            (false, 2) => 230.0,
            (false, _) => 190.0,
        };
        let y = Vertical::new(chart, height);
        let labels = if is_map { heat_map::names_width(chart) } else { y.width() };
        let plot = |left: f64| (width - left - MARGIN - BETWEEN * (columns - 1) as f64) / columns as f64;
        let left = MARGIN + 16.0 + labels + 10.0;
        // Slanted labels of the first category may need more room than the vertical axis.
        let overhang = Horizontal::new(chart, plot(left)).overhang(plot(left)) + MARGIN;
        let left = left.max(overhang.min(width / 3.0));
        let x = Horizontal::new(chart, plot(left));
        let legend = Legend::new(chart, width - 2.0 * MARGIN);
        let missing = if is_map { 0.0 } else { missing::height(chart, &x, plot(left)) };
        let head = if is_file { HEAD } else { 0.0 };
        let name = if chart.panels.iter().any(|panel| !panel.name.is_empty()) { NAME } else { 0.0 };
        let top = MARGIN / 2.0 + head + legend.height() + name + missing;
        let first = Area { left, top, width: plot(left), height };
        let colors = if is_map { Colors::new(chart) } else { None };
        Self { chart, is_file, legend, colors, x, y, columns, width, labels, first, name, missing }
    }

    fn rows(&self) -> usize {
        self.chart.panels.len().div_ceil(self.columns).max(1)
    }

    /// Distance between the plots of two rows of panels.
    fn pitch(&self) -> f64 {
        self.first.height + self.x.height() + self.name + self.missing
    }

    /// Lower end of the labels of the last row of panels.
    fn bottom(&self) -> f64 {
        self.first.top + (self.rows() - 1) as f64 * self.pitch() + self.first.height + self.x.height()
    }

    fn area(&self, index: usize) -> Area {
        let (row, column) = (index / self.columns, index % self.columns);
        Area {
            left: self.first.left + column as f64 * (self.first.width + BETWEEN),
            top: self.first.top + row as f64 * self.pitch(),
            ..self.first
        }
    }

    fn draw(&self, page: &str) -> Markup {
        let Self { chart, width, .. } = self;
        let caption = caption(chart);
        let caption = text::wrapped(&caption, SMALL, width - 2.0 * MARGIN);
        let top = self.bottom() + AXIS_LABEL + CAPTION / 2.0 + 4.0;
        let height = top + caption.len() as f64 * CAPTION;
        let [title_id, description_id] = ["title", "description"].map(|part| plain(&format!("{}-{part}", chart.slug)));
        html! {
            svg xmlns="http://www.w3.org/2000/svg" viewBox={ "0 0 " (px(*width)) " " (px(height)) } width=(px(*width))
                height=(px(height)) font-family="system-ui, 'Segoe UI', Roboto, Helvetica, Arial, sans-serif"
                role="group" aria-labelledby={ (title_id) " " (description_id) } {
                    title id=(title_id) { (plain(&chart.title)) }
                    desc id=(description_id) { (self.description()) }
                    @if self.is_file {
                        style { (PreEscaped(dark_style())) }
                        rect class=(PAPER.class) color=(PAPER.light) fill="currentColor" width="100%" height="100%" {}
                        text class=(INK.class) color=(INK.light) fill="currentColor" x=(px(MARGIN))
                            y=(px(MARGIN / 2.0 + 18.0)) font-size=(px(TITLE)) font-weight="600" {
                                (fit(&chart.title, TITLE, width - 2.0 * MARGIN))
                            }
                    }
                    (self.legend.draw(chart, self.colors.as_ref(), [MARGIN, MARGIN / 2.0 + if self.is_file { HEAD } else { 0.0 }]))
                    @for (index, panel) in chart.panels.iter().enumerate() { (self.panel(index, panel, page)) }
                    (self.labels())
                    @for (index, line) in caption.iter().enumerate() {
                        (text::text([MARGIN, top + index as f64 * CAPTION], SMALL, Anchor::Start, MUTED, line))
                    }
                }
        }
    }

    fn panel(&self, index: usize, panel: &Panel, page: &str) -> Markup {
        let (chart, area) = (self.chart, self.area(index));
        let links = Links { chart, page };
        let is_first = index.is_multiple_of(self.columns);
        // The cells of a heat map have marks instead.
        let is_empty = |panel: &Panel| chart.kind != ChartKind::HeatMap || panel.lines.is_empty();
        let name = [area.left + area.width / 2.0, area.top - self.missing - self.name / 2.0];
        html! {
            @if !panel.name.is_empty() {
                (text::text(name, LABEL, Anchor::Middle, INK, &fit(&panel.name, LABEL, area.width + BETWEEN)))
            }
            @match chart.kind {
                ChartKind::HeatMap => {
                    @if is_first { (heat_map::names(chart, &area)) }
                    (heat_map::cells(chart, panel, self.colors.as_ref(), &self.x, &area, &links))
                }
                ChartKind::Bars => {
                    (self.y.draw(&area, is_first))
                    (bars::bars(chart, panel, &self.x, &self.y, &area, &links))
                }
                ChartKind::Lines | ChartKind::Curves => {
                    (self.y.draw(&area, is_first))
                    (lines::lines(chart, panel, &self.x, &self.y, &area, &links))
                }
            }
            @if let Some(why) = outside::emptiness(chart, panel).filter(|_| is_empty(panel)) {
                (in_the_middle(&why, &area))
            }
            (self.x.draw(&area))
        }
    }

    fn labels(&self) -> Markup {
        let (chart, last) = (self.chart, self.area(self.columns - 1));
        let center = (self.first.left + last.right()) / 2.0;
        let (top, bottom) = (self.first.top, self.bottom() - self.x.height());
        let y = if chart.kind == ChartKind::HeatMap { chart.y.label.clone() } else { scaled(&chart.y) };
        html! {
            (x_label(center, self.bottom() + AXIS_LABEL / 2.0 - 4.0, last.right() - self.first.left, &scaled(&chart.x)))
            (y_label(self.first.left - self.labels - 22.0, (top + bottom) / 2.0, bottom - top, &y))
        }
    }

    /// The chart in words, for readers who cannot see it.
    fn description(&self) -> String {
        let chart = self.chart;
        let of = if chart.kind == ChartKind::HeatMap { &chart.legend } else { &chart.y.label };
        let named = |(panel, line, point): (&Panel, &Line, &Point)| {
            let names = [&*panel.name, chart.line_name(line), &*point.label];
            let names: Vec<&str> = names.into_iter().filter(|name| !name.is_empty()).collect();
            format!("{} at {}", gradwatch_doctor::number::short(point.statistics.mean), names.join(", "))
        };
        let finite = || chart.points().filter(|(.., point)| point.statistics.n > 0);
        let by_mean = |one: &(&Panel, &Line, &Point), other: &(&Panel, &Line, &Point)| {
            one.2.statistics.mean.total_cmp(&other.2.statistics.mean)
        };
        let extremes = match (finite().min_by(by_mean), finite().max_by(by_mean)) {
            (Some(low), Some(high)) => format!("Means from {} to {}.", named(low), named(high)),
            _ => "No finite value.".into(),
        };
        let caption = caption(chart);
        let end = if caption.is_empty() { "" } else { "." };
        plain(&format!("{of} by {}. {extremes} {caption}{end}", chart.x.label))
    }
}

/// Draws a text in lines in the middle of a plot.
fn in_the_middle(content: &str, area: &Area) -> Markup {
    let lines = text::wrapped(content, LABEL, area.width - 2.0 * MARGIN);
    let top = area.top + (area.height - lines.len().saturating_sub(1) as f64 * CAPTION) / 2.0;
    html! {
        @for (index, line) in lines.iter().enumerate() {
            @let place = [area.left + area.width / 2.0, top + index as f64 * CAPTION];
            (text::text(place, LABEL, Anchor::Middle, MUTED, &fit(line, LABEL, area.width)))
        }
    }
}

/// Label of an axis, with its scale if it is logarithmic.
fn scaled(axis: &super::Axis) -> String {
    match axis.scale {
        crate::definition::Scale::Log => format!("{} (log scale)", axis.label),
        _ => axis.label.clone(),
    }
}
