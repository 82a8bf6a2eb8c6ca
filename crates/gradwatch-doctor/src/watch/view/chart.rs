//! Line chart of values over steps.

use std::collections::BTreeSet;

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    style::Style,
    symbols::Marker,
    text::{Line, Span},
    widgets::{
        Widget,
        canvas::{Canvas, Line as Segment, Points},
    },
};

use super::{Theme, curve::Curve, text};
use crate::{number::step_label, report::Scale};

/// How a line is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    /// As a line.
    Line,
    /// As one character per point, for few points.
    Symbol(char),
}

/// A curve with its look.
#[derive(Debug, Clone)]
pub(super) struct Drawn {
    pub curve: Curve,
    pub mark: Mark,
    pub style: Style,
    /// Name with the last value for the title, and the same with a shorter name; none to leave it out.
    pub labels: Vec<String>,
}

/// Vertical axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Axis {
    /// Linear, or logarithmic if the values span decades.
    Fitting,
    Log,
    Linear,
}

/// Most names of a curve.
const LEVELS: usize = 2;

/// A chart in a frame.
pub(super) struct Chart<'a> {
    pub title: &'a str,
    pub curves: Vec<Drawn>,
    pub axis: Axis,
    /// First and last step.
    pub steps: [u64; 2],
    /// Steps to mark on the upper edge, with a number.
    pub marks: &'a [(u64, usize)],
    /// Text if there are no points.
    pub without: &'a str,
}

impl Chart<'_> {
    /// Least inner size with axes.
    const LEAST: [u16; 2] = [20, 3];

    /// Draws the chart into an area.
    pub(super) fn draw(&self, buffer: &mut Buffer, area: Rect, theme: Theme) {
        let inner = text::frame(buffer, area, self.title, theme);
        self.draw_legend(buffer, area);
        let values: Vec<f64> =
            self.curves.iter().flat_map(|drawn| drawn.curve.points.iter().map(|(_, value)| *value)).collect();
        let scale = match self.axis {
            Axis::Fitting => Scale::fitting(&values),
            Axis::Log => Scale::log(&values),
            Axis::Linear => Scale::linear(&values),
        };
        let has_broken = self.curves.iter().any(|drawn| !drawn.curve.not_finite.is_empty());
        let Some(scale) = scale.or_else(|| Scale::linear(&[0.0]).filter(|_| has_broken)) else {
            text::put(buffer, inner, inner.height / 2, 1, self.without, theme.faint());
            return;
        };
        let plot = self.draw_axes(buffer, inner, &scale, theme);
        self.draw_lines(buffer, plot, &scale);
        self.draw_symbols(buffer, plot, &scale);
        self.draw_broken(buffer, plot, theme);
        self.draw_marks(buffer, Rect { y: area.y, height: 1, ..plot }, theme);
    }

    /// Columns for names at the right of the title.
    fn room(&self, width: u16) -> usize {
        usize::from(width).saturating_sub(self.title.chars().count() + 6)
    }

    /// Whether the title of a chart with this many columns names every curve.
    pub(super) fn names_all(&self, width: u16) -> bool {
        self.width(LEVELS - 1) <= self.room(width)
    }

    /// Mark and name of each curve. A higher level takes shorter names.
    fn legend(&self, level: usize) -> impl Iterator<Item = (String, Style)> {
        self.curves.iter().filter_map(move |drawn| {
            let sign = match drawn.mark {
                Mark::Line => '─',
                Mark::Symbol(symbol) => symbol,
            };
            let label = drawn.labels.get(level).or(drawn.labels.last())?;
            Some((format!(" {sign} {label} "), drawn.style))
        })
    }

    fn width(&self, level: usize) -> usize {
        self.legend(level).map(|(label, _)| label.chars().count()).sum()
    }

    /// Names and last values, at the right end of the upper edge.
    fn draw_legend(&self, buffer: &mut Buffer, area: Rect) {
        let room = self.room(area.width);
        let level = (0..LEVELS).find(|level| self.width(*level) <= room).unwrap_or(LEVELS - 1);
        let mut spans: Vec<Span<'_>> = Vec::new();
        let mut width = 0;
        for (label, style) in self.legend(level) {
            if width + label.chars().count() > room {
                continue;
            }
            width += label.chars().count();
            spans.push(Span::styled(label, style));
        }
        let line = Line::from(spans);
        let column = area.width.saturating_sub(line.width() as u16 + 1);
        text::put_line(buffer, Rect { x: area.x + column, width: area.width - column, ..area }, 0, &line);
    }

    /// Draws the labels of both axes, and returns the area of the curves.
    fn draw_axes(&self, buffer: &mut Buffer, inner: Rect, scale: &Scale, theme: Theme) -> Rect {
        if inner.width < Self::LEAST[0] || inner.height < Self::LEAST[1] {
            return inner;
        }
        let ticks = scale.ticks_at_most(u32::from(inner.height / 3).clamp(1, 5));
        let gutter = ticks.iter().map(|(_, label)| label.chars().count()).max().unwrap_or_default() as u16 + 1;
        let gutter = gutter.min(inner.width / 3);
        let plot = Rect { x: inner.x + gutter, width: inner.width - gutter, height: inner.height - 1, ..inner };
        for (place, label) in &ticks {
            let row = plot.height - 1 - (place * f64::from(plot.height - 1)).round() as u16;
            let column = gutter.saturating_sub(label.chars().count() as u16 + 1);
            text::put(buffer, inner, row, column, label, theme.faint());
        }
        let [first, last] = self.steps.map(|step| step as f64);
        let labels = [step_label(first), step_label(0.5 * (first + last).floor()), step_label(last)];
        let width = |label: &String| label.chars().count() as u16;
        let columns =
            [0, (plot.width - width(&labels[1]).min(plot.width)) / 2, plot.width.saturating_sub(width(&labels[2]))];
        let shown = if last - first < 2.0 { &[0, 2][..] } else { &[0, 1, 2] };
        for &index in shown {
            text::put(buffer, inner, inner.height - 1, gutter + columns[index], &labels[index], theme.faint());
        }
        plot
    }

    fn place(&self, step: f64) -> f64 {
        let [first, last] = self.steps.map(|step| step as f64);
        if last > first { ((step - first) / (last - first)).clamp(0.0, 1.0) } else { 0.5 }
    }

    fn draw_lines(&self, buffer: &mut Buffer, plot: Rect, scale: &Scale) {
        let canvas = Canvas::default().marker(Marker::Braille).x_bounds([0.0, 1.0]).y_bounds([0.0, 1.0]);
        let paint = |context: &mut ratatui::widgets::canvas::Context<'_>| {
            for drawn in self.curves.iter().filter(|drawn| drawn.mark == Mark::Line) {
                let color = drawn.style.fg.unwrap_or_default();
                let place = |&(step, value): &(f64, f64)| Some((self.place(step), scale.fraction(value)?));
                let places: Vec<(f64, f64)> = drawn.curve.points.iter().filter_map(place).collect();
                for pair in places.windows(2) {
                    let [(x1, y1), (x2, y2)] = [pair[0], pair[1]];
                    context.draw(&Segment { x1, y1, x2, y2, color });
                }
                context.draw(&Points { coords: &places, color });
            }
        };
        canvas.paint(paint).render(plot, buffer);
    }

    fn draw_symbols(&self, buffer: &mut Buffer, plot: Rect, scale: &Scale) {
        // The first curve is the most important one.
        for drawn in self.curves.iter().rev() {
            let Mark::Symbol(symbol) = drawn.mark else { continue };
            for &(step, value) in &drawn.curve.points {
                let Some(fraction) = scale.fraction(value) else { continue };
                let column = (self.place(step) * f64::from(plot.width.saturating_sub(1))).round() as u16;
                let row = ((1.0 - fraction) * f64::from(plot.height.saturating_sub(1))).round() as u16;
                text::put(buffer, plot, row, column, symbol.encode_utf8(&mut [0; 4]), drawn.style);
            }
        }
    }

    /// Marks steps with a value that is not finite on the lower edge, with the word if the last ones leave room.
    fn draw_broken(&self, buffer: &mut Buffer, plot: Rect, theme: Theme) {
        let (symbol, style) = theme.not_finite();
        let row = plot.height.saturating_sub(1);
        let place = |step: &f64| (self.place(*step) * f64::from(plot.width.saturating_sub(1))).round() as u16;
        let columns: BTreeSet<u16> = self.curves.iter().flat_map(|drawn| &drawn.curve.not_finite).map(place).collect();
        for column in &columns {
            text::put(buffer, plot, row, *column, symbol.encode_utf8(&mut [0; 4]), style);
        }
        let last = columns.last().copied().unwrap_or_default();
        let count = (0..=last).rev().take_while(|column| columns.contains(column)).count() as u16;
        if count >= 7 {
            text::put(buffer, plot, row, last + 1 - count + (count - 5) / 2, " NaN ", style);
        }
    }

    /// Numbers of the findings at their first steps, on the upper edge if the title leaves room.
    fn draw_marks(&self, buffer: &mut Buffer, edge: Rect, theme: Theme) {
        for (step, number) in self.marks.iter().rev() {
            let [first, last] = self.steps;
            let column = (self.place(*step as f64) * f64::from(edge.width.saturating_sub(1))).round() as u16;
            let is_free = buffer.cell((edge.x + column, edge.y)).is_some_and(|cell| cell.symbol() == "─");
            if (first..=last).contains(step) && is_free {
                text::put(buffer, edge, 0, column, &number.to_string(), theme.reversed());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(points: Vec<(f64, f64)>, mark: Mark) -> Drawn {
        Drawn { curve: Curve { points, not_finite: vec![] }, mark, style: Style::new(), labels: vec!["loss 1".into()] }
    }

    fn text(chart: &Chart<'_>, width: u16, height: u16) -> Vec<String> {
        let area = Rect::new(0, 0, width, height);
        let mut buffer = Buffer::empty(area);
        chart.draw(&mut buffer, area, Theme::default());
        (0..height).map(|y| (0..width).map(|x| buffer[(x, y)].symbol()).collect()).collect()
    }

    fn chart(curves: Vec<Drawn>, axis: Axis) -> Chart<'static> {
        Chart { title: "Loss", curves, axis, steps: [0, 10], marks: &[(5, 1)], without: "no loss" }
    }

    #[test]
    fn symbols_stand_at_their_places_with_ticks_marks_and_a_legend() {
        let points = vec![(0.0, 1.0), (10.0, 0.0), (5.0, 0.5)];
        let rows = text(&chart(vec![drawn(points, Mark::Symbol('o'))], Axis::Linear), 40, 9);
        // Ticks at 0, 0.5, and 1, in the first, middle, and last row of the plot.
        assert!(rows[1].starts_with("│1.0 o") || rows[1].starts_with("│  1 o"), "{rows:#?}");
        assert!(rows[0].contains("o loss 1") && rows[0].contains('1'), "{rows:#?}");
        let last = &rows[6];
        assert_eq!(last.chars().nth(38), Some('o'), "{rows:#?}");
        assert!(rows[7].contains('0') && rows[7].trim_end_matches('│').ends_with("10"), "{rows:#?}");
    }

    #[test]
    fn a_narrow_title_has_short_names_of_all_curves_and_the_first_symbol_is_on_top() {
        let mut curves = ['o', 'x'].map(|symbol| drawn(vec![(10.0, 1.0)], Mark::Symbol(symbol))).to_vec();
        curves[0].labels = ["validation 1", "val 1"].map(String::from).to_vec();
        let chart = chart(curves, Axis::Linear);
        let title = |width| text(&chart, width, 6)[0].clone();
        assert!(title(40).contains("o validation 1  x loss 1"), "{}", title(40));
        assert!(title(33).contains("o val 1  x loss 1"), "{}", title(33));
        assert!(chart.names_all(33) && !chart.names_all(24));
        assert!(!text(&chart, 40, 6)[1..].concat().contains('x'));
    }

    #[test]
    fn a_falling_line_goes_from_the_upper_left_to_the_lower_right() {
        let rows = text(&chart(vec![drawn(vec![(0.0, 1.0), (10.0, 0.0)], Mark::Line)], Axis::Linear), 40, 9);
        let inked = |row: usize| rows[row].chars().position(|c| ('\u{2801}'..='\u{28ff}').contains(&c)).unwrap();
        let columns: Vec<usize> = (1..7).map(inked).collect();
        assert!(columns.windows(2).all(|pair| pair[0] < pair[1]), "{rows:#?}");
    }

    #[test]
    fn a_chart_without_values_says_so_and_one_of_nan_marks_them() {
        assert!(text(&chart(vec![], Axis::Log), 30, 6).concat().contains("no loss"));
        let mut broken = drawn(vec![], Mark::Line);
        broken.curve.not_finite = vec![10.0];
        let rows = text(&chart(vec![broken], Axis::Log), 30, 6);
        assert!(rows[3].ends_with("!│"), "{rows:#?}");
    }

    #[test]
    fn the_smallest_areas_do_not_panic() {
        for (width, height) in [(0, 0), (1, 1), (2, 2), (3, 3), (22, 4), (200, 3)] {
            text(&chart(vec![drawn(vec![(0.0, 1.0)], Mark::Line)], Axis::Fitting), width, height);
        }
    }
}
