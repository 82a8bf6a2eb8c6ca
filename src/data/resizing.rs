//! Resizes a part of an image, like Pillow.

use fast_image_resize::{FilterType, IntoImageView, PixelType, ResizeAlg, ResizeOptions, Resizer};
use image::{ColorType, DynamicImage};

use super::augment::{Size, Window};
use crate::config::Interpolation;

/// A part of an image in pixels, perhaps with fractions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Part {
    pub left: f64,
    pub top: f64,
    pub width: f64,
    pub height: f64,
}

impl From<Window> for Part {
    fn from(window: Window) -> Self {
        let [left, top, width, height] =
            [window.left, window.top, window.width, window.height].map(|pixels| pixels as f64);
        Self { left, top, width, height }
    }
}

impl Part {
    /// The same part of an image whose sides are divided by `factor`.
    pub(super) fn divided(self, factor: usize) -> Self {
        let [left, top, width, height] =
            [self.left, self.top, self.width, self.height].map(|pixels| pixels / factor as f64);
        Self { left, top, width, height }
    }

    /// The same part, seen from a pixel of the image.
    pub(super) fn moved(self, top: usize, left: usize) -> Self {
        Self { left: self.left - left as f64, top: self.top - top as f64, ..self }
    }

    /// The smallest window that covers the part, within the image.
    pub(super) fn pixels(self, size: Size) -> Window {
        let covering = |start: f64, length: f64, most: usize| {
            let first = start.floor().max(0.0);
            (first as usize, ((start + length).ceil().min(most as f64) - first) as usize)
        };
        let (left, width) = covering(self.left, self.width, size.width);
        let (top, height) = covering(self.top, self.height, size.height);
        Window { top, left, height, width }
    }
}

/// Number of pixels around a part of this length that resizing it to `to` pixels reads.
pub(super) fn reach(interpolation: Interpolation, length: f64, to: usize) -> f64 {
    let support = (length / to as f64).max(1.0);
    match interpolation {
        Interpolation::Bilinear => support + 1.0,
        Interpolation::Bicubic => 2.0 * support + 1.0,
    }
}

/// Resizes a part of `source` to `size`, with antialiasing. Pixels around the part blend in at its borders.
///
/// Like Pillow, first changes the width and rounds, and then changes the height: the other order, which
/// [`resize_at_once`] has, rounds a fifth of all pixels to another byte.
pub(super) fn resize(
    source: &impl IntoImageView,
    part: Part,
    size: Size,
    interpolation: Interpolation,
) -> Result<DynamicImage, String> {
    let Part { left, top, width, height } = part;
    let is_as_high = height == size.height as f64 && top == top.round();
    // Only the rows that the second pass needs.
    let reach = if is_as_high { 0.0 } else { reach(interpolation, height, size.height) };
    let first = (top - reach).floor().max(0.0);
    let rows = (top + height + reach).ceil().min(f64::from(source.height())) - first;
    let narrow_size = Size { height: rows as usize, width: size.width };
    let narrow =
        resize_at_once(source, narrow_size, interpolation, ResizeOptions::new().crop(left, first, width, rows))?;
    if is_as_high {
        return Ok(narrow);
    }
    let options = ResizeOptions::new().crop(0.0, top - first, size.width as f64, height);
    resize_at_once(&narrow, size, interpolation, options)
}

/// Resizes the part of `source` that `options` select, with antialiasing, height before width.
pub(super) fn resize_at_once(
    source: &impl IntoImageView,
    size: Size,
    interpolation: Interpolation,
    options: ResizeOptions,
) -> Result<DynamicImage, String> {
    let side = |pixels: usize| u32::try_from(pixels).map_err(|_| format!("{pixels} pixels are too many for one side"));
    let color = match source.pixel_type() {
        Some(PixelType::U8x3) => ColorType::Rgb8,
        Some(PixelType::U16) => ColorType::L16,
        Some(PixelType::U16x3) => ColorType::Rgb16,
        _ => ColorType::L8,
    };
    let mut resized = DynamicImage::new(side(size.width)?, side(size.height)?, color);
    let filter = match interpolation {
        Interpolation::Bilinear => FilterType::Bilinear,
        // The cubic with a = -0.5, as in Pillow.
        Interpolation::Bicubic => FilterType::CatmullRom,
    };
    let options = options.resize_alg(ResizeAlg::Convolution(filter));
    Resizer::new().resize(source, &mut resized, &options).map_err(|e| e.to_string())?;
    Ok(resized)
}
