//! Confusion matrix: how often each class is predicted as each other class.

use super::{
    Picture, PictureError,
    axis::{each_nth, shorten},
    canvas::{Anchor, Area, Canvas, LABEL, Style, TICK, TICK_LINE, text_width},
    color::{self, INK},
};

/// Side of the whole matrix with few classes, in pixels.
const SIDE: u32 = 520;
/// Most classes to draw.
const MOST_CLASSES: usize = 1024;
/// Smallest side of a cell that shows its number.
const ROOM: u32 = 44;
/// Longest class name, in characters.
const NAME: usize = 14;
const TOP: u32 = 58;

/// A matrix of counts. The color of a cell is its fraction of the images of its class, so that rare classes are visible
/// too.
#[derive(Debug, Clone, Copy)]
pub struct ConfusionMatrix<'a> {
    /// Title above the matrix.
    pub title: &'a str,
    /// Class names, by index.
    pub classes: &'a [String],
    /// `counts[label][prediction]`: number of images.
    pub counts: &'a [Vec<u64>],
}

impl ConfusionMatrix<'_> {
    /// Draws the matrix. With more than 1024 classes, only the first 1024.
    ///
    /// # Errors
    /// If the number of rows or columns differs from the number of classes.
    pub fn draw(&self) -> Result<Picture, PictureError> {
        let want = self.classes.len();
        let widths = self.counts.iter().map(Vec::len);
        if let Some(got) = std::iter::once(self.counts.len()).chain(widths).find(|&got| got != want) {
            return Err(PictureError::Shape { picture: "confusion matrix", cell: "class", got, want });
        }
        let count = want.min(MOST_CLASSES) as u32;
        let cell = (SIDE / count.max(1)).max(2);
        let names: Vec<String> = self.classes.iter().take(MOST_CLASSES).map(|name| shorten(name, NAME)).collect();
        let longest = text_width(names.iter().map(|name| name.chars().count()).max().unwrap_or(0), TICK);
        let area = Area { left: 52 + longest + 12, top: TOP, width: cell * count, height: cell * count };
        // Leaves room for the title with few classes and short names.
        let mut canvas = Canvas::new((area.right() + 24).max(640), area.bottom() + 18 + longest + 48);
        canvas.title(self.title, INK);
        for (label, row) in (0..count).zip(self.counts) {
            let images: u64 = row.iter().sum();
            for (prediction, &cases) in (0..count).zip(row) {
                let place = Area {
                    left: area.left + prediction * cell,
                    top: area.top + label * cell,
                    width: cell,
                    height: cell,
                };
                draw_cell(&mut canvas, place, cases, cases as f64 / images.max(1) as f64);
            }
        }
        canvas.frame(area, INK);
        draw_names(&mut canvas, area, cell, &names);
        canvas.encode()
    }
}

fn draw_cell(canvas: &mut Canvas, place: Area, cases: u64, share: f64) {
    canvas.fill(place, color::at(share));
    let text = cases.to_string();
    let is_shown = cases > 0 && place.width >= ROOM.max(text_width(text.len(), TICK) + 6);
    if is_shown {
        // Viridis is light from its middle on.
        let ink = if share < 0.6 { [255; 3] } else { INK };
        let center = (place.left + place.width / 2, place.top + place.height / 2);
        canvas.text(center, Style::new(TICK, Anchor::Middle), ink, &text);
    }
}

fn draw_names(canvas: &mut Canvas, area: Area, cell: u32, names: &[String]) {
    let nth = each_nth(f64::from(cell), TICK_LINE);
    for (index, name) in (0..).zip(names).step_by(nth) {
        let middle = index * cell + cell / 2;
        canvas.text((area.left - 12, area.top + middle), Style::new(TICK, Anchor::End), INK, name);
        let below = (area.left + middle, area.bottom() + 12);
        canvas.text(below, Style::new(TICK, Anchor::End).upwards(), INK, name);
    }
    let style = Style::new(LABEL, Anchor::Middle);
    canvas.text((18, area.top + area.height / 2), style.upwards(), INK, "class");
    let longest = text_width(names.iter().map(|name| name.chars().count()).max().unwrap_or(0), TICK);
    canvas.text((area.left + area.width / 2, area.bottom() + 18 + longest + 24), style, INK, "taken for");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|class| format!("class {class}")).collect()
    }

    fn draw(counts: &[Vec<u64>]) -> image::RgbImage {
        let classes = names(counts.len());
        let picture = ConfusionMatrix { title: "validation", classes: &classes, counts }.draw().unwrap();
        let pixels = image::load_from_memory(&picture.png).unwrap().into_rgb8();
        assert_eq!(pixels.dimensions(), (picture.width, picture.height));
        pixels
    }

    #[test]
    fn a_cell_has_the_color_of_its_share_of_the_class() {
        let pixels = draw(&[vec![300, 100], vec![0, 2]]);
        let left = 52 + text_width("class 0".len(), TICK) + 12;
        // In a corner of the cell, outside the number.
        let color = |row: u32, column: u32| pixels.get_pixel(left + column * 260 + 5, TOP + row * 260 + 5).0;
        assert_eq!(color(0, 0), color::at(0.75));
        assert_eq!(color(0, 1), color::at(0.25));
        assert_eq!((color(1, 0), color(1, 1)), (color::at(0.0), color::at(1.0)));
    }

    #[test]
    fn any_number_of_classes_is_drawn_and_a_ragged_matrix_is_refused() {
        for count in [0, 1, 2, 10, 200, 1500] {
            draw(&vec![vec![1; count]; count]);
        }
        let classes = names(2);
        let ragged = ConfusionMatrix { title: "", classes: &classes, counts: &[vec![1, 2], vec![3]] };
        assert!(matches!(ragged.draw(), Err(PictureError::Shape { got: 1, want: 2, .. })));
    }
}
