//! Bar chart of one value per layer, with a fitted line.

use super::{
    Picture, PictureError,
    axis::{Range, each_nth, shorten},
    canvas::{Anchor, Area, Canvas, LABEL, Style, TICK, TICK_LINE, characters_in, text_width},
    color::{self, BAR, FIT, GRID, INK, UNKNOWN},
};

/// Smallest picture size, in pixels.
const WIDTH: u32 = 900;
const HEIGHT: u32 = 560;
/// Smallest width of a bar and its gap, in pixels.
const LEAST_BAR: u32 = 2;
/// Number of bars from which the picture no longer grows and bars share pixels.
const MOST_BARS: u32 = 2048;
/// Longest name of a bar, in characters, if names are vertical.
const NAME: usize = 15;

/// One value per layer, shown as the height of a bar. Because the values are logarithms, bars start at the lower end of
/// the axis, not at zero.
#[derive(Debug, Clone, Copy)]
pub struct BarChart<'a> {
    /// Title above the chart.
    pub title: &'a str,
    /// Unit along the value axis, such as `log2 RMS`.
    pub unit: &'a str,
    /// Layer names, from left to right.
    pub names: &'a [String],
    /// The values. NaN is a gray column, infinity a magenta column, and negative infinity a short black bar.
    pub values: &'a [f64],
    /// Fitted line: value at the first bar and change per bar. Not drawn if not finite.
    pub fit: Option<[f64; 2]>,
    /// Caption below the title, such as `slope -0.50 ± 0.02 log2 per layer`.
    pub caption: Option<&'a str>,
}

/// Layout of the chart.
struct Plan {
    width: u32,
    height: u32,
    bars: Area,
    names: Vec<String>,
    run_upwards: bool,
    ticks: Vec<(f64, String)>,
}

impl BarChart<'_> {
    /// Draws the chart.
    ///
    /// # Errors
    /// If the number of values differs from the number of names.
    pub fn draw(&self) -> Result<Picture, PictureError> {
        let (got, want) = (self.values.len(), self.names.len());
        if got != want {
            return Err(PictureError::Shape { picture: "bar chart", cell: "name", got, want });
        }
        let range = Range::of(self.values).map(Range::padded);
        let plan = self.plan(range);
        let mut canvas = Canvas::new(plan.width, plan.height);
        canvas.title(self.title, INK);
        if want == 0 {
            let middle = (plan.width / 2, plan.height / 2);
            canvas.text(middle, Style::new(LABEL, Anchor::Middle), INK, "no data");
            return canvas.encode();
        }
        if let Some(range) = range {
            self.draw_axis(&mut canvas, &plan, range);
        }
        self.draw_bars(&mut canvas, plan.bars, range);
        if let Some(range) = range {
            self.draw_fit(&mut canvas, plan.bars, range);
        }
        self.draw_caption(&mut canvas, plan.width);
        self.draw_names(&mut canvas, &plan);
        canvas.frame(plan.bars, INK);
        canvas.legend(&color::legend(self.values), INK);
        canvas.encode()
    }

    fn plan(&self, range: Option<Range>) -> Plan {
        let ticks = range.map_or(Vec::new(), |range| range.ticks(6));
        let widest = ticks.iter().map(|(_, label)| label.len()).max().unwrap_or(0);
        let (left, right) = (44 + text_width(widest, TICK) + 10, 24);
        let count = u32::try_from(self.names.len()).unwrap_or(MOST_BARS).min(MOST_BARS);
        let width = (WIDTH - left - right).max(LEAST_BAR * count);

        let longest = self.names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
        let run_upwards = text_width(longest, TICK) + 14 > width / count.max(1);
        let names: Vec<_> =
            self.names.iter().map(|name| shorten(name, if run_upwards { NAME } else { longest })).collect();
        let names_height = if run_upwards { text_width(longest.min(NAME), TICK) } else { TICK_LINE };

        let top = if self.caption.is_some() { 82 } else { 52 };
        let below = 16 + names_height + 40;
        let bars = Area { left, top, width, height: HEIGHT - top - below };
        Plan { width: left + width + right, height: HEIGHT, bars, names, run_upwards, ticks }
    }

    fn draw_axis(&self, canvas: &mut Canvas, plan: &Plan, range: Range) {
        let area = plan.bars;
        for (tick, label) in &plan.ticks {
            let y = height(area, range, *tick).round() as u32;
            canvas.fill(Area { top: y, height: 1, ..area }, GRID);
            canvas.fill(Area { left: area.left - 7, top: y, width: 6, height: 1 }, INK);
            canvas.text((area.left - 12, y), Style::new(TICK, Anchor::End), INK, label);
        }
        let unit = shorten(self.unit, characters_in(area.height + 40, LABEL));
        let center = (18, area.top + area.height / 2);
        canvas.text(center, Style::new(LABEL, Anchor::Middle).upwards(), INK, &unit);
    }

    fn draw_bars(&self, canvas: &mut Canvas, area: Area, range: Option<Range>) {
        for (index, value) in self.values.iter().enumerate() {
            let edge = |index: usize| (index as f64 * f64::from(area.width) / self.values.len() as f64) as u32;
            let pitch = edge(index + 1) - edge(index);
            // Narrow bars have no gap; wide ones have a gap of a sixth of their width.
            let gap = if pitch < 6 { 0 } else { (pitch / 6).max(1) };
            let column = Area { left: area.left + edge(index) + gap / 2, width: pitch - gap, ..area };
            let foot = |top: u32| Area { top, height: area.bottom() - top, ..column };
            match range {
                Some(range) if value.is_finite() => {
                    canvas.fill(foot(height(area, range, *value).round() as u32), BAR);
                }
                _ if *value == f64::NEG_INFINITY => canvas.fill(foot(area.bottom() - 8), color::ZERO),
                _ if *value == f64::INFINITY => canvas.fill(column, color::NOT_FINITE),
                _ => canvas.fill(column, UNKNOWN),
            }
        }
    }

    fn draw_fit(&self, canvas: &mut Canvas, area: Area, range: Range) {
        let Some([first, slope]) = self.fit.filter(|fit| fit.iter().all(|number| number.is_finite())) else { return };
        // The value at the first bar applies to its middle, half a bar from the edge.
        let ends = [-0.5, self.values.len() as f64 - 0.5].map(|bar| height(area, range, first + slope * bar));
        canvas.line(area, ends, FIT);
    }

    fn draw_caption(&self, canvas: &mut Canvas, width: u32) {
        let Some(caption) = self.caption else { return };
        let caption = shorten(caption, characters_in(width - 96, LABEL));
        let half = (text_width(caption.chars().count(), LABEL) + 44) / 2;
        let left = (width / 2).saturating_sub(half);
        if self.fit.is_some() {
            canvas.fill(Area { left, top: 54, width: 32, height: 4 }, FIT);
        }
        canvas.text((left + 44, 56), Style::new(LABEL, Anchor::Start), INK, &caption);
    }

    fn draw_names(&self, canvas: &mut Canvas, plan: &Plan) {
        let (area, count) = (plan.bars, plan.names.len());
        let pitch = f64::from(area.width) / count as f64;
        let nth = if plan.run_upwards { each_nth(pitch, TICK_LINE) } else { 1 };
        for (index, name) in plan.names.iter().enumerate().step_by(nth) {
            let x = area.left + ((index as f64 + 0.5) * pitch) as u32;
            canvas.fill(Area { left: x, top: area.bottom() + 1, width: 1, height: 6 }, INK);
            if plan.run_upwards {
                canvas.text((x, area.bottom() + 12), Style::new(TICK, Anchor::End).upwards(), INK, name);
            } else {
                canvas.text((x, area.bottom() + 22), Style::new(TICK, Anchor::Middle), INK, name);
            }
        }
        let center = (area.left + area.width / 2, plan.height - 17);
        canvas.text(center, Style::new(LABEL, Anchor::Middle), INK, "layer");
    }
}

/// Vertical position of a value, from the top.
fn height(area: Area, range: Range, value: f64) -> f64 {
    f64::from(area.bottom()) - range.fraction(value) * f64::from(area.height)
}

#[cfg(test)]
mod tests {
    use image::RgbImage;

    use super::*;

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|index| format!("fc{index}")).collect()
    }

    fn chart<'a>(names: &'a [String], values: &'a [f64]) -> BarChart<'a> {
        BarChart { title: "title", unit: "unit", names, values, fit: None, caption: None }
    }

    /// The picture and the area of its bars.
    fn pixels(chart: &BarChart) -> (RgbImage, Area) {
        let pixels = image::load_from_memory(&chart.draw().unwrap().png).unwrap().into_rgb8();
        (pixels, chart.plan(Range::of(chart.values).map(Range::padded)).bars)
    }

    /// Number of pixels with a color in the middle of each bar.
    fn heights(chart: &BarChart, color: [u8; 3]) -> Vec<u32> {
        let (pixels, area) = pixels(chart);
        let middle = |bar| area.left + (2 * bar + 1) * area.width / (2 * chart.values.len() as u32);
        let height = |x| (area.top..area.bottom()).filter(|y| pixels.get_pixel(x, *y).0 == color).count() as u32;
        (0..chart.values.len() as u32).map(|bar| height(middle(bar))).collect()
    }

    #[test]
    fn bars_stand_on_the_lower_end_of_the_axis_and_differ_as_their_values_do() {
        let names = names(3);
        let chart = chart(&names, &[-12.0, -2.0, -7.0]);
        let height = f64::from(pixels(&chart).1.height);
        // The axis runs from -13 to -1.5.
        let want = [1.0, 11.0, 6.0].map(|above| (above / 11.5 * height).round() as u32);
        assert_eq!(heights(&chart, BAR), want);
    }

    #[test]
    fn a_value_that_is_no_number_has_no_bar_but_a_mark() {
        let names = names(5);
        let chart = chart(&names, &[-1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -2.0]);
        let full = pixels(&chart).1.height;
        let bars = heights(&chart, BAR);
        assert_eq!((bars[1], bars[2], bars[3]), (0, 0, 0));
        assert!(bars[0] > bars[4] && bars[4] > 0);
        assert_eq!(heights(&chart, UNKNOWN), [0, full, 0, 0, 0]);
        assert_eq!(heights(&chart, color::NOT_FINITE), [0, 0, full, 0, 0]);
        assert_eq!(heights(&chart, color::ZERO), [0, 0, 0, 8, 0]);
    }

    #[test]
    fn the_line_passes_the_middle_of_each_bar_at_its_value() {
        let names = names(3);
        let values = [-2.0, -4.0, -6.0];
        let chart = BarChart { fit: Some([-2.0, -2.0]), ..chart(&names, &values) };
        let (pixels, area) = pixels(&chart);
        let range = Range::of(&values).unwrap().padded();
        for (bar, value) in (0..).zip(values) {
            let x = area.left + (2 * bar + 1) * area.width / 6;
            assert_eq!(pixels.get_pixel(x, height(area, range, value) as u32).0, FIT);
        }
    }

    #[test]
    fn a_value_for_each_name_is_wanted() {
        let error = chart(&names(2), &[0.0; 3]).draw().unwrap_err().to_string();
        assert_eq!(error, "a bar chart cannot be drawn: got 3 values, want 2; give one for each name");
    }
}
