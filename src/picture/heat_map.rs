//! A table of numbers as colours.

use std::ops::Range as Indices;

use super::{
    Picture, PictureError,
    axis::{Range, each_nth, shorten},
    canvas::{Anchor, Area, Canvas, Direction, LABEL, Style, TICK, TICK_LINE, characters_in, text_width},
    colour::{self, INK},
};

/// Size of a picture with few rows and columns, in pixels.
const WIDTH: u32 = 900;
const HEIGHT: u32 = 560;
/// Height of a row at least, in pixels.
const LEAST_ROW: u32 = 2;
/// Beyond as many rows or columns the picture grows no more, and cells share pixels.
const MOST_CELLS: u32 = 2048;
/// Room above and below the cells.
const TOP: u32 = 58;
const BELOW: u32 = 64;
/// Characters of a row's name at most.
const NAME: usize = 22;
/// Room between the cells and the colour bar, and the bar's width.
const GAP: u32 = 20;
const BAR: u32 = 22;

/// A value for each layer and step, shown as a colour.
#[derive(Debug, Clone, Copy)]
pub struct HeatMap<'a> {
    /// Above the picture.
    pub title: &'a str,
    /// What the values are, e.g. `log10 RMS of the gradient`: stands along the colour bar.
    pub unit: &'a str,
    /// Names of the layers, from top to bottom.
    pub rows: &'a [String],
    /// The steps, ascending. Each has a column of the same width, however far apart they are.
    pub columns: &'a [u64],
    /// The values, row after row. NaN: nothing known, grey; infinity: not finite, magenta, and its row and column are
    /// pointed at; minus infinity: the logarithm of zero, black.
    pub values: &'a [f64],
    /// The values at the ends of the colour bar; what lies beyond has the end's colour. None, or no two finite numbers:
    /// the lowest and the highest finite value.
    pub range: Option<[f64; 2]>,
}

/// Where everything stands.
struct Plan {
    width: u32,
    height: u32,
    cells: Area,
    names: Vec<String>,
    ticks: Vec<(f64, String)>,
}

impl HeatMap<'_> {
    /// The picture. Where more than 2048 rows or columns share pixels, a pixel has the colour of its highest cell.
    ///
    /// # Errors
    /// Where the number of values is not that of the rows times that of the columns.
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
        canvas.legend(&colour::legend(self.values), INK);
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
                // `max` passes over NaN.
                let value = cells.copied().fold(f64::NAN, f64::max);
                let colour = match range {
                    Some(range) if value.is_finite() => colour::at(range.fraction(value)),
                    _ => colour::of_non_finite(value),
                };
                canvas.pixel(area.left + x, area.top + y, colour);
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
                canvas.pointer((area.right() + 3, y), Direction::Rightwards, colour::NOT_FINITE);
            }
        }
        let centre = (18, area.top + area.height / 2);
        canvas.text(centre, Style::new(LABEL, Anchor::Middle).upwards(), INK, "layer");
    }

    fn draw_columns(&self, canvas: &mut Canvas, area: Area) {
        let widest = self.columns.iter().map(|step| step.to_string().len()).max().unwrap_or(0);
        let nth = each_nth(f64::from(area.width) / self.columns.len() as f64, text_width(widest, TICK) + 20);
        for (column, step) in self.columns.iter().enumerate() {
            let x = area.left + middle(column, self.columns.len(), area.width);
            if column % nth == 0 {
                canvas.fill(Area { left: x, top: area.bottom() + 1, width: 1, height: 6 }, INK);
                let label = (x, area.bottom() + 20);
                canvas.text(label, Style::new(TICK, Anchor::Middle), INK, &step.to_string());
            }
            if self.values.iter().skip(column).step_by(self.columns.len()).any(|value| *value == f64::INFINITY) {
                canvas.pointer((x, area.top - 4), Direction::Upwards, colour::NOT_FINITE);
            }
        }
        let centre = (area.left + area.width / 2, area.bottom() + 47);
        canvas.text(centre, Style::new(LABEL, Anchor::Middle), INK, "step");
    }

    fn draw_bar(&self, canvas: &mut Canvas, plan: &Plan, range: Range) {
        let Area { top, height, .. } = plan.cells;
        let bar = Area { left: plan.cells.right() + GAP, top, width: BAR, height };
        for y in 0..height {
            let colour = colour::at(1.0 - (f64::from(y) + 0.5) / f64::from(height));
            canvas.fill(Area { top: top + y, height: 1, ..bar }, colour);
        }
        canvas.frame(bar, INK);
        for (tick, label) in &plan.ticks {
            let y = top + ((1.0 - range.fraction(*tick)) * f64::from(height - 1)).round() as u32;
            canvas.fill(Area { left: bar.right() + 1, top: y, width: 5, height: 1 }, INK);
            canvas.text((bar.right() + 10, y), Style::new(TICK, Anchor::Start), INK, label);
        }
        let unit = shorten(self.unit, characters_in(height, LABEL));
        let centre = (plan.width - 18, top + height / 2);
        canvas.text(centre, Style::new(LABEL, Anchor::Middle).upwards(), INK, &unit);
    }
}

/// A number of cells that the picture grows with.
fn count(cells: usize) -> u32 {
    u32::try_from(cells).unwrap_or(MOST_CELLS).min(MOST_CELLS)
}

/// The cells that share a pixel: one, or more where there are more cells than pixels.
fn on_pixel(pixel: u32, pixels: u32, cells: usize) -> Indices<usize> {
    let edge = |pixel: u32| pixel as usize * cells / pixels as usize;
    edge(pixel)..edge(pixel + 1).max(edge(pixel) + 1)
}

/// The pixel in the middle of a cell.
fn middle(cell: usize, cells: usize, pixels: u32) -> u32 {
    ((cell as f64 + 0.5) * f64::from(pixels) / cells as f64) as u32
}
