//! An image next to its copy with a heat map on top.

use super::{
    Picture, PictureError,
    axis::shorten,
    canvas::{Anchor, Area, Canvas, Style, TICK, characters_in},
    color::{Color, INK, pixel_of},
};

/// Smallest side of the displayed image, in pixels. Smaller images are enlarged by an integer factor.
const LEAST_SIDE: u32 = 224;
const GAP: u32 = 8;
const LINE: u32 = 32;
/// Maximum opacity of the heat map, so that the image stays visible.
const COVER: f64 = 0.65;

/// Image as the model sees it, and the regions that support a class.
#[derive(Debug, Clone, Copy)]
pub struct Explanation<'a> {
    /// Captions below the images, one per line.
    pub captions: &'a [String],
    /// Pixels as channels x height x width. With other than one (gray) or three (RGB) channels, only the first is
    /// shown.
    pub pixels: &'a [u8],
    /// Channels, height, width.
    pub shape: [usize; 3],
    /// Heat from 0 to 1, row by row. Each value covers a part of the image.
    pub heat: &'a [f32],
    /// Rows and columns of `heat`.
    pub grid: [usize; 2],
}

impl Explanation<'_> {
    /// Draws the image on the left, and the image with the heat map on the right.
    ///
    /// # Errors
    /// If pixels or heat do not match their shapes.
    pub fn draw(&self) -> Result<Picture, PictureError> {
        let [channels, height, width] = self.shape;
        let refuse = |cell, got, want| Err(PictureError::Shape { picture: "explanation", cell, got, want });
        if self.pixels.len() != channels * height * width || self.pixels.is_empty() {
            return refuse("pixel", self.pixels.len(), channels * height * width);
        }
        if self.heat.len() != self.grid[0] * self.grid[1] || self.heat.is_empty() {
            return refuse("place", self.heat.len(), self.grid[0] * self.grid[1]);
        }
        let pixels = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let zoom = LEAST_SIDE.div_ceil(pixels(height.min(width)));
        let (wide, high) = (pixels(width) * zoom, pixels(height) * zoom);
        let mut canvas = Canvas::new(2 * wide + GAP, high + LINE * pixels(self.captions.len()));
        for y in 0..high {
            for x in 0..wide {
                let color = pixel_of(self.pixels, self.shape, [(y / zoom) as usize, (x / zoom) as usize]);
                canvas.pixel(x, y, color);
                let place = [(f64::from(y) + 0.5) / f64::from(high), (f64::from(x) + 0.5) / f64::from(wide)];
                canvas.pixel(wide + GAP + x, y, covered(color, self.heat_at(place)));
            }
        }
        canvas.fill(Area { left: wide, top: 0, width: GAP, height: high }, [255; 3]);
        for (line, caption) in (0..).zip(self.captions) {
            let text = shorten(caption, characters_in(2 * wide + GAP - 8, TICK));
            canvas.text((4, high + line * LINE + LINE / 2), Style::new(TICK, Anchor::Start), INK, &text);
        }
        canvas.encode()
    }

    /// Bilinear interpolation between cell centers. `place` is a position as fractions of height and width.
    fn heat_at(&self, place: [f64; 2]) -> f64 {
        let [along_rows, along_columns] = [0, 1].map(|axis| {
            let last = (self.grid[axis] - 1) as f64;
            let at = (place[axis] * self.grid[axis] as f64 - 0.5).clamp(0.0, last);
            (at.floor() as usize, at.ceil() as usize, at.fract())
        });
        let value = |row: usize, column: usize| f64::from(self.heat[row * self.grid[1] + column]);
        let between = |one: f64, other: f64, share: f64| one + share * (other - one);
        let (top, bottom, down) = along_rows;
        let (left, right, across) = along_columns;
        let row = |row| between(value(row, left), value(row, right), across);
        between(row(top), row(bottom), down)
    }
}

/// Blends the inferno color into the pixel, in proportion to the heat. Cold regions keep their color.
fn covered(pixel: Color, heat: f64) -> Color {
    let heat = heat.clamp(0.0, 1.0);
    let over = colorous::INFERNO.eval_continuous(heat);
    let mut mixed = pixel;
    for (under, over) in mixed.iter_mut().zip([over.r, over.g, over.b]) {
        let (from, to) = (f64::from(*under), f64::from(over));
        *under = (from + COVER * heat * (to - from)).round() as u8;
    }
    mixed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draw(pixels: &[u8], shape: [usize; 3], heat: &[f32], grid: [usize; 2]) -> image::RgbImage {
        let captions = ["a caption".to_string()];
        let picture = Explanation { captions: &captions, pixels, shape, heat, grid }.draw().unwrap();
        image::load_from_memory(&picture.png).unwrap().into_rgb8()
    }

    #[test]
    fn the_image_stands_left_and_the_heat_covers_it_on_the_right() {
        let drawn = draw(&[10, 20, 30, 40], [1, 2, 2], &[0.0, 1.0], [1, 2]);
        assert_eq!(drawn.dimensions(), (2 * 224 + GAP, 224 + LINE));
        assert_eq!([(0, 0), (223, 0), (0, 223), (223, 223)].map(|(x, y)| drawn.get_pixel(x, y)[0]), [10, 20, 30, 40]);
        let right = 224 + GAP;
        assert_eq!(drawn.get_pixel(right, 0).0, [10; 3], "cold");
        // 20 + 0.65 (252 - 20), and the same for 255 and 164: inferno ends at (252, 255, 164).
        assert_eq!(drawn.get_pixel(right + 223, 0).0, [171, 173, 114], "hot");
    }

    #[test]
    fn heat_runs_evenly_from_one_middle_to_the_next() {
        let heat = [0.0, 1.0, 0.0, 1.0];
        let one = Explanation { captions: &[], pixels: &[0; 4], shape: [1, 2, 2], heat: &heat, grid: [2, 2] };
        assert_eq!([0.0, 0.25, 0.5, 0.75, 1.0].map(|x| one.heat_at([0.3, x])), [0.0, 0.0, 0.5, 1.0, 1.0]);
    }

    #[test]
    fn color_images_keep_their_colors_and_what_does_not_fit_is_refused() {
        let drawn = draw(&[1, 2, 3], [3, 1, 1], &[0.5], [1, 1]);
        assert_eq!(drawn.get_pixel(5, 5).0, [1, 2, 3]);
        let wrong = Explanation { captions: &[], pixels: &[0; 3], shape: [1, 2, 2], heat: &[1.0], grid: [1, 1] };
        assert!(matches!(wrong.draw(), Err(PictureError::Shape { got: 3, want: 4, .. })));
        let cold = Explanation { heat: &[], grid: [0, 0], pixels: &[0; 4], ..wrong };
        assert!(cold.draw().is_err());
    }
}
