//! Random crops of an image of channels x height x width bytes.

use fast_image_resize::ResizeOptions;
use image::{DynamicImage, GrayImage};

use super::super::random::Stream;
use super::super::{ImageShape, resizing};
use crate::config::Interpolation;

/// Number of random areas and aspect ratios to try before the fallback, as in torchvision.
const TRIES: usize = 10;

/// Pads each side with `padding` zeros (black, before normalization) and crops back to the image's size at a random
/// position: torchvision's `RandomCrop(size, padding)`.
pub(super) fn random_crop<T: Copy + Default>(
    image: &[T],
    shape: ImageShape,
    padding: usize,
    stream: &mut Stream,
) -> Vec<T> {
    let mut offset = || stream.below(2 * padding as u64 + 1) as usize;
    let (top, left) = (offset(), offset());
    // Start of the overlap, in the crop and in the image.
    let start = |offset: usize| (padding.saturating_sub(offset), offset.saturating_sub(padding));
    let ((crop_y, image_y), (crop_x, image_x)) = (start(top), start(left));
    let mut crop = vec![T::default(); image.len()];
    for (crop, image) in crop.chunks_exact_mut(shape.plane()).zip(image.chunks_exact(shape.plane())) {
        let crop_rows = crop.chunks_exact_mut(shape.width).skip(crop_y);
        for (crop, image) in crop_rows.zip(image.chunks_exact(shape.width).skip(image_y)) {
            for (crop, image) in crop.iter_mut().skip(crop_x).zip(image.iter().skip(image_x)) {
                *crop = *image;
            }
        }
    }
    crop
}

/// Size of an image in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Size {
    pub(in super::super) height: usize,
    pub(in super::super) width: usize,
}

impl Size {
    pub(in super::super) fn of(image: &DynamicImage) -> Self {
        Self { height: image.height() as usize, width: image.width() as usize }
    }
}

/// A rectangular part of an image, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Window {
    pub(in super::super) top: usize,
    pub(in super::super) left: usize,
    pub(in super::super) height: usize,
    pub(in super::super) width: usize,
}

impl Window {
    /// The whole image.
    pub(in super::super) fn of(size: Size) -> Self {
        Self { top: 0, left: 0, height: size.height, width: size.width }
    }

    /// The smallest window of an image reduced by `factor` that has all pixels of this one.
    pub(in super::super) fn divided(self, factor: usize) -> Self {
        let Self { top, left, height, width } = self;
        let reduced = |start: usize, length: usize| {
            let first = start / factor;
            (first, (start + length).div_ceil(factor) - first)
        };
        let ((top, height), (left, width)) = (reduced(top, height), reduced(left, width));
        Self { top, left, height, width }
    }

    /// The window with `margin` more pixels on each side, as far as the image reaches.
    pub(in super::super) fn grown(self, margin: usize, size: Size) -> Self {
        let Self { top, left, height, width } = self;
        let grown = |start: usize, length: usize, most: usize| {
            let first = start.saturating_sub(margin);
            (first, (start + length + margin).min(most) - first)
        };
        let ((top, height), (left, width)) = (grown(top, height, size.height), grown(left, width, size.width));
        Self { top, left, height, width }
    }
}

/// Chooses the window of torchvision's `RandomResizedCrop`: a fraction `scale` of the image's area (uniform) with an
/// aspect ratio in `ratio` (width / height, log-uniform) at a random position. After ten attempts that do not fit, the
/// largest central window with an aspect ratio within `ratio`.
pub(super) fn random_window(size: Size, scale: [f64; 2], ratio: [f64; 2], stream: &mut Stream) -> Window {
    let [narrowest, widest] = ratio;
    for _ in 0..TRIES {
        let area = (size.height * size.width) as f64 * stream.uniform(scale[0], scale[1]);
        let ratio = stream.uniform(narrowest.ln(), widest.ln()).exp();
        // Python's `round`, which torchvision uses, rounds ties to even.
        let width = (area * ratio).sqrt().round_ties_even() as usize;
        let height = (area / ratio).sqrt().round_ties_even() as usize;
        if (1..=size.width).contains(&width) && (1..=size.height).contains(&height) {
            let top = stream.below((size.height - height + 1) as u64) as usize;
            let left = stream.below((size.width - width + 1) as u64) as usize;
            return Window { top, left, height, width };
        }
    }
    central_window(size, narrowest, widest)
}

fn central_window(size: Size, narrowest: f64, widest: f64) -> Window {
    let (full_height, full_width) = (size.height as f64, size.width as f64);
    let ratio = full_width / full_height;
    let (height, width) = if ratio < narrowest {
        (full_width / narrowest, full_width)
    } else if ratio > widest {
        (full_height, full_height * widest)
    } else {
        (full_height, full_width)
    };
    // At least one pixel, because an aspect ratio far from the image's could round a side to 0.
    let height = (height.round_ties_even() as usize).clamp(1, size.height);
    let width = (width.round_ties_even() as usize).clamp(1, size.width);
    Window { top: (size.height - height) / 2, left: (size.width - width) / 2, height, width }
}

/// Cuts out the window of an image in memory and resizes it to the image's size, with bilinear interpolation and
/// antialiasing.
///
/// As in torchvision, cuts first and resizes afterwards. With the window as its source box, the resizer would blend in
/// pixels from outside of the window at its borders.
pub(in super::super) fn resized_crop(image: &[u8], shape: ImageShape, window: Window) -> Vec<u8> {
    let Window { top, left, height, width } = window;
    let resize = |plane: &[u8]| {
        let rows = plane.chunks_exact(shape.width).skip(top).take(height);
        let cut: Vec<u8> = rows.flat_map(|row| row.iter().skip(left).take(width)).copied().collect();
        let source: DynamicImage = GrayImage::from_raw(width as u32, height as u32, cut)?.into();
        let resized =
            resizing::resize_at_once(&source, shape.size(), Interpolation::Bilinear, ResizeOptions::new()).ok()?;
        Some(resized.into_luma8().into_raw())
    };
    let planes: Option<Vec<_>> = image.chunks_exact(shape.plane()).map(resize).collect();
    planes.expect("the window lies inside the image, whose sides fit in 32 bits").concat()
}

#[cfg(test)]
mod tests {
    use super::super::super::random::Purpose;
    use super::*;

    const SHAPE: ImageShape = ImageShape { channels: 2, height: 3, width: 4 };

    fn stream(index: u64) -> Stream {
        Stream::new(1, Purpose::Augmentation, 0, index)
    }

    /// Reference implementation: copies pixel by pixel from a padded image.
    fn crop_of_padded(image: &[u8], padding: isize, top: isize, left: isize) -> Vec<u8> {
        let mut crop = Vec::new();
        for channel in 0..2 {
            for y in 0..3_isize {
                for x in 0..4_isize {
                    let (y, x) = (y + top - padding, x + left - padding);
                    let inside = (0..3).contains(&y) && (0..4).contains(&x);
                    crop.push(if inside { image[(channel * 12 + y * 4 + x) as usize] } else { 0 });
                }
            }
        }
        crop
    }

    #[test]
    fn a_random_crop_is_each_of_the_crops_of_the_padded_image() {
        let image: Vec<u8> = (1..=24).collect();
        for padding in [1, 2, 5] {
            let places = (0..=2 * padding).flat_map(|top| (0..=2 * padding).map(move |left| (top, left)));
            let expected: std::collections::BTreeSet<_> =
                places.map(|(top, left)| crop_of_padded(&image, padding, top, left)).collect();
            let drawn =
                (0..2_000).map(|index| random_crop(&image, SHAPE, padding as usize, &mut stream(index))).collect();
            assert_eq!(expected, drawn, "padding {padding}");
        }
    }

    #[test]
    fn a_window_keeps_to_the_scale_and_the_ratio() {
        let size = Size { height: 100, width: 80 };
        let windows: Vec<Window> =
            (0..2_000).map(|index| random_window(size, [0.25, 0.5], [0.5, 2.0], &mut stream(index))).collect();
        for w in &windows {
            assert!(w.top + w.height <= 100 && w.left + w.width <= 80, "{w:?}");
            let (area, ratio) = ((w.width * w.height) as f64 / 8e3, w.width as f64 / w.height as f64);
            // Rounding a side of 30 or more pixels changes area and ratio by less than 4 %.
            assert!((0.24..0.52).contains(&area) && (0.48..2.08).contains(&ratio), "{w:?}");
        }
        let mean_area = windows.iter().map(|w| (w.width * w.height) as f64 / 8e3).sum::<f64>() / 2e3;
        // Uniform on 0.25..0.5: mean 0.375, or slightly less because large windows fit less often.
        assert!((0.36..0.38).contains(&mean_area), "{mean_area}");
    }

    #[test]
    fn where_nothing_fits_the_central_window_of_the_nearest_ratio_is_taken() {
        let wide = Size { height: 10, width: 100 };
        let window = random_window(wide, [1.0, 1.0], [0.5, 2.0], &mut stream(0));
        assert_eq!(window, Window { top: 0, left: 40, height: 10, width: 20 });
        let tall = Size { height: 100, width: 10 };
        let window = random_window(tall, [1.0, 1.0], [0.5, 2.0], &mut stream(0));
        assert_eq!(window, Window { top: 40, left: 0, height: 20, width: 10 });
        let square = Size { height: 10, width: 10 };
        let window = random_window(square, [4.0, 4.0], [0.5, 2.0], &mut stream(0));
        assert_eq!(window, Window { top: 0, left: 0, height: 10, width: 10 });
    }

    #[test]
    fn a_crop_is_resized_from_its_window_alone() {
        let mut image = vec![0; 24];
        for (channel, value) in [(0, 50), (1, 90)] {
            for (y, x) in [(1, 2), (1, 3), (2, 2), (2, 3)] {
                image[channel * 12 + y * 4 + x] = value;
            }
        }
        let window = Window { top: 1, left: 2, height: 2, width: 2 };
        assert_eq!(resized_crop(&image, SHAPE, window), [[50; 12], [90; 12]].concat());
        let whole = Window { top: 0, left: 0, height: 3, width: 4 };
        assert_eq!(resized_crop(&image, SHAPE, whole), image);
    }

    #[test]
    fn a_window_is_resized_bilinearly() {
        let shape = ImageShape { channels: 1, height: 1, width: 4 };
        let window = Window { top: 0, left: 1, height: 1, width: 2 };
        // Pixel centers 0.25, 0.75, 1.25, 1.75 between the centers 0.5 and 1.5 of 0 and 100.
        assert_eq!(resized_crop(&[255, 0, 100, 255], shape, window), [0, 25, 75, 100]);
    }
}
