//! Line chart over a logarithmic axis, in panels above each other.

use super::{
    Picture, PictureError,
    axis::{Range, each_nth, shorten},
    canvas::{Anchor, Area, Canvas, LABEL, Style, TICK, TICK_LINE, characters_in, text_width},
    color::{BAR, Color, FAINT, FIT, GRID, INK},
};
use crate::number::two_digits;

/// Picture size, in pixels.
const WIDTH: u32 = 900;
const HEIGHT: u32 = 720;
/// Space above the panels, for title and legend, and below them, for the axis.
const ABOVE: u32 = 84;
const BELOW: u32 = 74;
/// Space between two panels.
const GAP: u32 = 24;

/// Lines over a common logarithmic axis. The first panel is twice as high as the others.
#[derive(Debug, Clone, Copy)]
pub struct LineChart<'a> {
    /// Title above the chart.
    pub title: &'a str,
    /// Name of the common axis.
    pub x_label: &'a str,
    /// log10 of the position of each value, increasing.
    pub x: &'a [f64],
    /// log10 of the ends of the axis.
    pub x_range: [f64; 2],
    /// The panels, from top to bottom.
    pub panels: &'a [Panel<'a>],
    /// Position to mark in all panels.
    pub mark: Mark<'a>,
}

/// One panel of a [`LineChart`].
#[derive(Debug, Clone, Copy)]
pub struct Panel<'a> {
    /// Unit along the value axis.
    pub unit: &'a str,
    /// The lines, from back to front.
    pub lines: &'a [Line<'a>],
    /// Ends of the value axis; `None` to show all values. Values outside are cut off.
    pub range: Option<[f64; 2]>,
}

/// One line of a [`Panel`].
#[derive(Debug, Clone, Copy)]
pub struct Line<'a> {
    /// Name in the legend.
    pub name: &'a str,
    /// One value per position. The line has gaps at values that are not finite.
    pub values: &'a [f64],
    /// Whether the line is light and thin, behind another one.
    pub is_faint: bool,
}

/// A vertical line through all panels of a [`LineChart`].
#[derive(Debug, Clone, Copy)]
pub struct Mark<'a> {
    /// log10 of the position; `None` if there is only a label.
    pub x: Option<f64>,
    /// Label in the legend.
    pub label: &'a str,
}

impl LineChart<'_> {
    /// Draws the chart.
    ///
    /// # Errors
    /// If the number of values of a line differs from the number of positions.
    pub fn draw(&self) -> Result<Picture, PictureError> {
        let want = self.x.len();
        if let Some(line) = self.lines().find(|line| line.values.len() != want) {
            let got = line.values.len();
            return Err(PictureError::Shape { picture: "line chart", cell: "position", got, want });
        }
        let mut canvas = Canvas::new(WIDTH, HEIGHT);
        canvas.title(self.title, INK);
        let (Some(x_range), false) = (Range::of(&self.x_range), self.panels.is_empty()) else {
            canvas.text((WIDTH / 2, HEIGHT / 2), Style::new(LABEL, Anchor::Middle), INK, "no data");
            return canvas.encode();
        };
        for (panel, area) in self.panels.iter().zip(self.areas()) {
            self.draw_panel(&mut canvas, panel, area, x_range);
        }
        self.draw_x_axis(&mut canvas, x_range);
        self.draw_legend(&mut canvas);
        canvas.encode()
    }

    fn lines(&self) -> impl Iterator<Item = &Line<'_>> {
        self.panels.iter().flat_map(|panel| panel.lines)
    }

    /// Areas of the panels.
    fn areas(&self) -> Vec<Area> {
        let labels = self.panels.iter().filter_map(Panel::range).flat_map(|range| range.ticks(6));
        let widest = labels.map(|(_, label)| label.len()).max().unwrap_or(0);
        let left = 44 + text_width(widest, TICK) + 10;
        let count = self.panels.len() as u32;
        let unit = (HEIGHT - ABOVE - BELOW).saturating_sub(GAP * (count - 1)) / (count + 1);
        let area = |index: u32| {
            let (top, height) = if index == 0 { (0, 2 * unit) } else { ((index + 1) * unit + index * GAP, unit) };
            Area { left, top: ABOVE + top, width: WIDTH - left - 24, height: height.max(1) }
        };
        (0..count).map(area).collect()
    }

    fn draw_panel(&self, canvas: &mut Canvas, panel: &Panel<'_>, area: Area, x_range: Range) {
        for (tick, _) in x_ticks(x_range) {
            canvas.fill(Area { left: across(area, x_range, tick) as u32, width: 1, ..area }, GRID);
        }
        let range = panel.range();
        for (tick, label) in range.map_or(Vec::new(), |range| range.ticks(if area.height > 250 { 6 } else { 3 })) {
            let y = range.map_or(0.0, |range| down(area, range, tick)).round() as u32;
            canvas.fill(Area { top: y, height: 1, ..area }, GRID);
            canvas.fill(Area { left: area.left - 7, top: y, width: 6, height: 1 }, INK);
            canvas.text((area.left - 12, y), Style::new(TICK, Anchor::End), INK, &label);
        }
        let unit = shorten(panel.unit, characters_in(area.height + GAP, LABEL));
        let center = (18, area.top + area.height / 2);
        canvas.text(center, Style::new(LABEL, Anchor::Middle).upwards(), INK, &unit);
        if let Some(x) = self.mark.x.filter(|x| (0.0..=1.0).contains(&x_range.fraction(*x))) {
            let x = across(area, x_range, x);
            let ends = [area.top, area.bottom()].map(|y| (x, f64::from(y)));
            canvas.segment(area, ends, 3.0, FIT);
        }
        for line in panel.lines {
            let Some(range) = range else { continue };
            let point = |(x, value): (&f64, &f64)| {
                let is_finite = x.is_finite() && value.is_finite();
                is_finite.then(|| (across(area, x_range, *x), down(area, range, *value)))
            };
            let points: Vec<_> = self.x.iter().zip(line.values).map(point).collect();
            let (color, thickness) = line.style();
            for run in points.split(Option::is_none) {
                let run: Vec<(f64, f64)> = run.iter().flatten().copied().collect();
                // A single point is a dot.
                run.first().into_iter().for_each(|dot| canvas.segment(area, [*dot, *dot], thickness, color));
                run.windows(2).for_each(|pair| canvas.segment(area, [pair[0], pair[1]], thickness, color));
            }
        }
        canvas.frame(area, INK);
    }

    fn draw_x_axis(&self, canvas: &mut Canvas, range: Range) {
        let Some(area) = self.areas().last().copied() else { return };
        let ticks = x_ticks(range);
        let widest = ticks.iter().map(|(_, label)| label.chars().count()).max().unwrap_or(0);
        let pitch = f64::from(area.width) / ticks.len().max(1) as f64;
        for (tick, label) in ticks.iter().step_by(each_nth(pitch, text_width(widest + 1, TICK))) {
            let x = across(area, range, *tick) as u32;
            canvas.fill(Area { left: x, top: area.bottom() + 1, width: 1, height: 6 }, INK);
            canvas.text((x, area.bottom() + TICK_LINE), Style::new(TICK, Anchor::Middle), INK, label);
        }
        let label = shorten(self.x_label, characters_in(area.width, LABEL));
        canvas.text((area.left + area.width / 2, HEIGHT - 18), Style::new(LABEL, Anchor::Middle), INK, &label);
    }

    /// Draws one row below the title: the lines of panels with several lines, and the mark.
    fn draw_legend(&self, canvas: &mut Canvas) {
        let several = self.panels.iter().filter(|panel| panel.lines.len() > 1).flat_map(|panel| panel.lines);
        let mut entries: Vec<(Option<Color>, &str)> = several.map(|line| (Some(line.style().0), line.name)).collect();
        entries.push((self.mark.x.map(|_| FIT), self.mark.label));
        let room = characters_in(WIDTH / entries.len() as u32, TICK).saturating_sub(6);
        let width =
            |has_line: bool, text: &str| text_width(text.chars().count(), TICK) + if has_line { 42 } else { 0 } + 28;
        let entries: Vec<_> = entries.into_iter().map(|(color, text)| (color, shorten(text, room))).collect();
        let total: u32 = entries.iter().map(|(color, text)| width(color.is_some(), text)).sum();
        let mut left = (WIDTH + 28).saturating_sub(total) / 2;
        for (color, text) in entries {
            let start = left + if color.is_some() { 42 } else { 0 };
            if let Some(color) = color {
                canvas.fill(Area { left, top: 55, width: 32, height: 4 }, color);
            }
            canvas.text((start, 57), Style::new(TICK, Anchor::Start), INK, &text);
            left += width(color.is_some(), &text);
        }
    }
}

impl Panel<'_> {
    fn range(&self) -> Option<Range> {
        let values = self.lines.iter().flat_map(|line| line.values.iter().copied());
        let given = self.range.and_then(|ends| Range::of(&ends));
        given.or_else(|| Range::of(&values.collect::<Vec<_>>())).map(Range::padded)
    }
}

impl Line<'_> {
    fn style(&self) -> (Color, f64) {
        if self.is_faint { (FAINT, 2.0) } else { (BAR, 3.0) }
    }
}

/// Powers of ten, or round exponents between them on a short axis, with the labels of their values.
fn x_ticks(range: Range) -> Vec<(f64, String)> {
    let [low, high] = range.ends();
    let powers = |low: f64, high: f64| (low.ceil() as i64..=high.floor() as i64).map(|power| power as f64);
    let ticks: Vec<f64> = match high - low {
        span if span <= 2.0 => range.ticks(5).into_iter().map(|(tick, _)| tick).collect(),
        // Powers of ten that float64 can represent.
        _ => powers(low.max(-307.0), high.min(308.0)).collect(),
    };
    ticks.into_iter().map(|tick| (tick, two_digits(10f64.powf(tick)))).collect()
}

/// Horizontal position of a value.
fn across(area: Area, range: Range, value: f64) -> f64 {
    f64::from(area.left) + range.fraction(value).clamp(-1.0, 2.0) * f64::from(area.width)
}

/// Vertical position of a value, from the top.
fn down(area: Area, range: Range, value: f64) -> f64 {
    f64::from(area.bottom()) - range.fraction(value).clamp(-1.0, 2.0) * f64::from(area.height)
}

#[cfg(test)]
mod tests;
