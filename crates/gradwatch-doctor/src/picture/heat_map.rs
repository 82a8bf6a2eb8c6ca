//! Heat map: a table of numbers as colors.

use std::ops::Range as Indices;

use super::{
    Picture, PictureError,
    axis::{Range, each_nth, shorten},
    canvas::{Anchor, Area, Canvas, Direction, LABEL, Style, TICK, TICK_LINE, characters_in, text_width},
    color::{self, INK},
};

/// Smallest picture size, in pixels.
const WIDTH: u32 = 900;
const HEIGHT: u32 = 560;
/// Smallest height of a row, in pixels.
const LEAST_ROW: u32 = 2;
/// Number of rows or columns from which the picture no longer grows and cells share pixels.
const MOST_CELLS: u32 = 2048;
/// Margins above and below the cells, in pixels.
const TOP: u32 = 58;
const BELOW: u32 = 72;
/// Longest row name, in characters.
const NAME: usize = 20;
/// Gap between the cells and the color bar, and width of the bar, in pixels.
const GAP: u32 = 20;
const BAR: u32 = 22;

/// One value per layer and step, shown as a color.
#[derive(Debug, Clone, Copy)]
pub struct HeatMap<'a> {
    /// Title above the heat map.
    pub title: &'a str,
    /// Unit along the color bar, such as `log10 RMS of the gradient`.
    pub unit: &'a str,
    /// Layer names, from top to bottom.
    pub rows: &'a [String],
    /// Steps in ascending order. All columns have the same width, regardless of the distance between steps.
    pub columns: &'a [u64],
    /// Cell values, row by row. NaN: unknown, gray. Infinity: not finite, magenta, with a pointer at its row and
    /// column. Negative infinity: logarithm of zero, black.
    pub values: &'a [f64],
    /// Values at the ends of the color bar; values beyond get the color of the end. If `None` or not finite, the lowest
    /// and highest finite value.
    pub range: Option<[f64; 2]>,
}

/// Layout of the heat map.
struct Plan {
    width: u32,
    height: u32,
    cells: Area,
    names: Vec<String>,
    ticks: Vec<(f64, String)>,
}

impl HeatMap<'_> {
    /// Draws the heat map. With more than 2048 rows or columns, a pixel has the color of its highest cell.
    ///
    /// # Errors
    /// If the number of values is not rows times columns.
    pub fn draw(&self) -> Result<Picture, PictureError> {
        let want = self.rows.len().saturating_mul(self.columns.len());
        if self.values.len() != want {
            let got = self.values.len();
            return Err(PictureError::Shape { picture: "heat map", cell: "row and column", got, want });
        }
        let range = self.range();
        let plan = self.plan(range);
        let mut canvas = Canvas::new(plan.width, plan.height);
        canvas.title(self.title, INK);
        if want == 0 {
            let middle = (plan.width / 2, plan.height / 2);
            canvas.text(middle, Style::new(LABEL, Anchor::Middle), INK, "no data");
            return canvas.encode();
        }
        self.draw_cells(&mut canvas, plan.cells, range);
        self.draw_rows(&mut canvas, &plan);
        self.draw_columns(&mut canvas, plan.cells);
        if let Some(range) = range {
            self.draw_bar(&mut canvas, &plan, range);
        }
        canvas.legend(&color::legend(self.values), INK);
        canvas.encode()
    }

    fn range(&self) -> Option<Range> {
        let given = self.range.filter(|range| range.iter().all(|end| end.is_finite()));
        Range::of(given.as_ref().map_or(self.values, |range| range))
    }

    fn plan(&self, range: Option<Range>) -> Plan {
        let names: Vec<String> = self.rows.iter().map(|name| shorten(name, NAME)).collect();
        let height = (HEIGHT - TOP - BELOW).max(LEAST_ROW * count(self.rows.len()));
        let ticks = range.map_or(Vec::new(), |range| range.ticks(height / 80));
        let longest = |texts: &mut dyn Iterator<Item = &String>| {
            text_width(texts.map(|text| text.chars().count()).max().unwrap_or(0), TICK)
        };
        let left = 40 + longest(&mut names.iter()) + 12;
        let right = GAP + BAR + 10 + longest(&mut ticks.iter().map(|(_, label)| label)) + 44;
        let width = WIDTH.saturating_sub(left + right).max(count(self.columns.len()));
        let cells = Area { left, top: TOP, width, height };
        Plan { width: left + width + right, height: TOP + height + BELOW, cells, names, ticks }
    }

    fn draw_cells(&self, canvas: &mut Canvas, area: Area, range: Option<Range>) {
        for y in 0..area.height {
            let rows = on_pixel(y, area.height, self.rows.len());
            for x in 0..area.width {
                let columns = on_pixel(x, area.width, self.columns.len());
                let cells = rows.clone().flat_map(|row| &self.values[row * self.columns.len()..][columns.clone()]);
                // `max` ignores NaN.
                let value = cells.copied().fold(f64::NAN, f64::max);
                let color = match range {
                    Some(range) if value.is_finite() => color::at(range.fraction(value)),
                    _ => color::of_non_finite(value),
                };
                canvas.pixel(area.left + x, area.top + y, color);
            }
        }
        canvas.frame(area, INK);
    }

    fn draw_rows(&self, canvas: &mut Canvas, plan: &Plan) {
        let area = plan.cells;
        let nth = each_nth(f64::from(area.height) / plan.names.len() as f64, TICK_LINE);
        for (row, name) in plan.names.iter().enumerate() {
            let y = area.top + middle(row, plan.names.len(), area.height);
            if row % nth == 0 {
                canvas.fill(Area { left: area.left - 7, top: y, width: 6, height: 1 }, INK);
                canvas.text((area.left - 12, y), Style::new(TICK, Anchor::End), INK, name);
            }
            if self.values[row * self.columns.len()..][..self.columns.len()].contains(&f64::INFINITY) {
                canvas.pointer((area.right() + 3, y), Direction::Rightwards, color::NOT_FINITE);
            }
        }
        let center = (18, area.top + area.height / 2);
        canvas.text(center, Style::new(LABEL, Anchor::Middle).upwards(), INK, "layer");
    }

    fn draw_columns(&self, canvas: &mut Canvas, area: Area) {
        let widest = self.columns.iter().map(|step| step.to_string().len()).max().unwrap_or(0);
        let nth = each_nth(f64::from(area.width) / self.columns.len() as f64, text_width(widest, TICK) + 20);
        for (column, step) in self.columns.iter().enumerate() {
            let x = area.left + middle(column, self.columns.len(), area.width);
            if column % nth == 0 {
                canvas.fill(Area { left: x, top: area.bottom() + 1, width: 1, height: 6 }, INK);
                let label = (x, area.bottom() + 22);
                canvas.text(label, Style::new(TICK, Anchor::Middle), INK, &step.to_string());
            }
            if self.values.iter().skip(column).step_by(self.columns.len()).any(|value| *value == f64::INFINITY) {
                canvas.pointer((x, area.top - 4), Direction::Upwards, color::NOT_FINITE);
            }
        }
        let center = (area.left + area.width / 2, area.bottom() + 54);
        canvas.text(center, Style::new(LABEL, Anchor::Middle), INK, "step");
    }

    fn draw_bar(&self, canvas: &mut Canvas, plan: &Plan, range: Range) {
        let Area { top, height, .. } = plan.cells;
        let bar = Area { left: plan.cells.right() + GAP, top, width: BAR, height };
        for y in 0..height {
            let color = color::at(1.0 - (f64::from(y) + 0.5) / f64::from(height));
            canvas.fill(Area { top: top + y, height: 1, ..bar }, color);
        }
        canvas.frame(bar, INK);
        for (tick, label) in &plan.ticks {
            let y = top + ((1.0 - range.fraction(*tick)) * f64::from(height - 1)).round() as u32;
            canvas.fill(Area { left: bar.right() + 1, top: y, width: 5, height: 1 }, INK);
            canvas.text((bar.right() + 10, y), Style::new(TICK, Anchor::Start), INK, label);
        }
        let unit = shorten(self.unit, characters_in(height, LABEL));
        let center = (plan.width - 18, top + height / 2);
        canvas.text(center, Style::new(LABEL, Anchor::Middle).upwards(), INK, &unit);
    }
}

/// Number of cells for which the picture grows.
fn count(cells: usize) -> u32 {
    u32::try_from(cells).unwrap_or(MOST_CELLS).min(MOST_CELLS)
}

/// Indices of the cells of a pixel: the cell at its middle, or several if there are more cells than pixels.
fn on_pixel(pixel: u32, pixels: u32, cells: usize) -> Indices<usize> {
    let (pixel, pixels) = (pixel as usize, pixels as usize);
    if cells <= pixels {
        let cell = (2 * pixel + 1) * cells / (2 * pixels);
        return cell..cell + 1;
    }
    pixel * cells / pixels..(pixel + 1) * cells / pixels
}

/// Pixel in the middle of a cell.
fn middle(cell: usize, cells: usize, pixels: u32) -> u32 {
    ((cell as f64 + 0.5) * f64::from(pixels) / cells as f64) as u32
}

#[cfg(test)]
mod tests {
    use image::RgbImage;

    use super::*;

    fn pixels(map: &HeatMap) -> RgbImage {
        let picture = map.draw().unwrap();
        let pixels = image::load_from_memory(&picture.png).unwrap().into_rgb8();
        assert_eq!(pixels.dimensions(), (picture.width, picture.height));
        pixels
    }

    /// Color in the middle of each cell, row by row.
    fn cells(map: &HeatMap) -> Vec<[u8; 3]> {
        let (pixels, area) = (pixels(map), map.plan(map.range()).cells);
        let (rows, columns) = (map.rows.len(), map.columns.len());
        let color = |row, column| {
            let (x, y) = (middle(column, columns, area.width), middle(row, rows, area.height));
            pixels.get_pixel(area.left + x, area.top + y).0
        };
        (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column))).map(|(r, c)| color(r, c)).collect()
    }

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|index| format!("layer{index}")).collect()
    }

    fn map<'a>(rows: &'a [String], columns: &'a [u64], values: &'a [f64]) -> HeatMap<'a> {
        HeatMap { title: "title", unit: "unit", rows, columns, values, range: None }
    }

    #[test]
    fn a_cell_has_the_color_of_its_value_and_the_first_row_is_at_the_top() {
        let (rows, values) = (names(2), [0.0, 1.0, 2.0, 3.0, 4.0, 8.0]);
        let want = values.map(|value| color::at(value / 8.0));
        assert_eq!(cells(&map(&rows, &[0, 10, 1000], &values)), want);
    }

    #[test]
    fn unknown_is_gray_not_finite_magenta_and_zero_black() {
        let values = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1.0];
        let want = [color::UNKNOWN, color::NOT_FINITE, color::ZERO, color::at(0.5)];
        assert_eq!(cells(&map(&names(1), &[0, 1, 2, 3], &values)), want);
    }

    #[test]
    fn a_given_range_sets_the_ends_and_what_lies_beyond_has_their_color() {
        let rows = names(1);
        let map = HeatMap { range: Some([-2.0, 2.0]), ..map(&rows, &[0, 1, 2, 3], &[-9.0, 0.0, 1.0, 9.0]) };
        assert_eq!(cells(&map), [0.0, 0.5, 0.75, 1.0].map(color::at));
        let without_ends = HeatMap { range: Some([f64::NAN, 2.0]), ..map };
        assert_eq!(cells(&without_ends)[0], color::at(0.0));
        assert_eq!(cells(&without_ends)[1], color::at(0.5));
    }

    #[test]
    fn every_cell_of_400_rows_and_512_columns_has_pixels_of_its_own() {
        let columns: Vec<u64> = (0..512).collect();
        let values: Vec<f64> = (0..400 * 512).map(|index| f64::from(index * 31 % 101)).collect();
        let want: Vec<_> = values.iter().map(|value| color::at(value / 100.0)).collect();
        assert!(cells(&map(&names(400), &columns, &values)) == want);
    }

    #[test]
    fn one_cell_that_is_not_finite_shows_among_more_cells_than_pixels() {
        let (rows, columns) = (names(1), (0..10_000).collect::<Vec<u64>>());
        let mut values = vec![0.0; columns.len()];
        values[7_777] = f64::INFINITY;
        let map = map(&rows, &columns, &values);
        let (pixels, area) = (pixels(&map), map.plan(map.range()).cells);
        assert_eq!(area.width, MOST_CELLS);
        let loud = (0..area.width).filter(|x| pixels.get_pixel(area.left + x, area.top + 9).0 == color::NOT_FINITE);
        // 7777 * 2048 / 10000 = 1592.7
        assert_eq!(loud.collect::<Vec<_>>(), [1592]);
    }

    #[test]
    fn the_row_and_the_column_of_a_cell_that_is_not_finite_are_pointed_at() {
        let (rows, values) = (names(2), [0.0, 1.0, f64::INFINITY, 3.0]);
        let map = map(&rows, &[0, 1], &values);
        let (pixels, area) = (pixels(&map), map.plan(map.range()).cells);
        let is_loud = |x, y| pixels.get_pixel(x, y).0 == color::NOT_FINITE;
        let above: Vec<_> = (area.left..area.right()).filter(|x| is_loud(*x, area.top - 4)).collect();
        let beside: Vec<_> = (area.top..area.bottom()).filter(|y| is_loud(area.right() + 3, *y)).collect();
        assert_eq!(above, [area.left + middle(0, 2, area.width)]);
        assert_eq!(beside, [area.top + middle(1, 2, area.height)]);
    }

    #[test]
    fn values_that_do_not_fill_the_table_are_refused() {
        let error = map(&names(2), &[0, 1], &[0.0; 3]).draw().unwrap_err().to_string();
        assert_eq!(error, "a heat map cannot be drawn: got 3 values, want 4; give one for each row and column");
    }
}
