//! Images side by side, each with a caption.

use super::{
    Picture, PictureError,
    axis::shorten,
    canvas::{Anchor, Canvas, Style, TICK, characters_in},
    color::{INK, pixel_of},
};

/// Smallest side of a displayed image, in pixels. Smaller images are enlarged by an integer factor.
const LEAST_SIDE: u32 = 160;
const GAP: u32 = 8;
const LINE: u32 = 30;

/// Images of one shape.
#[derive(Debug, Clone, Copy)]
pub struct ImageGrid<'a> {
    /// Pixels of all images, each channels x height x width. With other than one (gray) or three (RGB) channels, only
    /// the first is shown.
    pub pixels: &'a [u8],
    /// Channels, height, width.
    pub shape: [usize; 3],
    /// One line below each image.
    pub captions: &'a [String],
}

impl ImageGrid<'_> {
    /// Draws the images in rows, about as wide as high.
    ///
    /// # Errors
    /// If the pixels do not match the shape and the number of captions.
    pub fn draw(&self) -> Result<Picture, PictureError> {
        let [channels, height, width] = self.shape;
        let (count, values) = (self.captions.len(), channels * height * width);
        if self.pixels.len() != count * values || values == 0 || count == 0 {
            let (got, want) = (self.pixels.len(), count * values);
            return Err(PictureError::Shape { picture: "grid of images", cell: "pixel", got, want });
        }
        let pixels = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let zoom = LEAST_SIDE.div_ceil(pixels(height.min(width)));
        let (wide, high) = (pixels(width) * zoom, pixels(height) * zoom);
        let cell = [wide + GAP, high + LINE + GAP];
        let columns = (count as f64 * f64::from(cell[1]) / f64::from(cell[0])).sqrt().ceil().clamp(1.0, count as f64);
        let columns = columns as usize;
        let rows = count.div_ceil(columns);
        let mut canvas = Canvas::new(cell[0] * pixels(columns) + GAP, cell[1] * pixels(rows) + GAP);
        for (number, (image, caption)) in self.pixels.chunks_exact(values).zip(self.captions).enumerate() {
            let left = GAP + cell[0] * pixels(number % columns);
            let top = GAP + cell[1] * pixels(number / columns);
            for y in 0..high {
                for x in 0..wide {
                    let color = pixel_of(image, self.shape, [(y / zoom) as usize, (x / zoom) as usize]);
                    canvas.pixel(left + x, top + y, color);
                }
            }
            let text = shorten(caption, characters_in(wide, TICK));
            canvas.text((left, top + high + LINE / 2), Style::new(TICK, Anchor::Start), INK, &text);
        }
        canvas.encode()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_enlarged_and_come_row_by_row() {
        // Four images of 1 x 2 pixels: the image's number and 10 times that.
        let pixels: Vec<u8> = (1..=4).flat_map(|number| [number, 10 * number]).collect();
        let captions: Vec<String> = (1..=4).map(|number| format!("image {number}")).collect();
        let picture = ImageGrid { pixels: &pixels, shape: [1, 1, 2], captions: &captions }.draw().unwrap();
        let image = image::load_from_memory(&picture.png).unwrap().into_rgb8();
        // Cells are 328 x 198 pixels, so two columns fit a square best.
        assert_eq!(image.dimensions(), (2 * 328 + 8, 2 * 198 + 8));
        for (number, [left, top]) in (1..=4).zip([[8, 8], [336, 8], [8, 206], [336, 206]]) {
            assert_eq!(image.get_pixel(left + 80, top + 80).0, [number; 3]);
            assert_eq!(image.get_pixel(left + 240, top + 80).0, [10 * number; 3]);
        }
    }

    #[test]
    fn pixels_that_do_not_fit_are_refused() {
        let captions = ["one".to_owned()];
        for (pixels, shape) in [(&[0_u8; 5][..], [3, 1, 2]), (&[], [1, 0, 0])] {
            assert!(ImageGrid { pixels, shape, captions: &captions }.draw().is_err());
        }
        assert!(ImageGrid { pixels: &[], shape: [1, 1, 1], captions: &[] }.draw().is_err());
    }
}
