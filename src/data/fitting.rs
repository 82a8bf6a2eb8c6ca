//! Fits a decoded image into the model's input: the part to use, its size, and its colors.

use fast_image_resize::images::{CroppedImage, Image, ImageRef};
use fast_image_resize::{FilterType, IntoImageView, PixelType, ResizeAlg, ResizeOptions, Resizer};
use image::DynamicImage;

use super::augment::{Size, Window, luma_601, resized_crop};
use super::{Framing, ImageShape};
use crate::config::{DataConfig, Interpolation};

/// How images of any size become samples of one shape.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Fitting {
    pub shape: ImageShape,
    pub framing: Framing,
}

impl Fitting {
    pub(super) fn of_config(config: &DataConfig) -> Self {
        Self { shape: super::configured_shape(config), framing: Framing::of_config(config) }
    }

    /// Returns the pixels of the part of `image` that `choose` selects, given the size of the image, or of the center
    /// if it selects none: channels x height x width of the shape.
    ///
    /// The center is torchvision's `Resize` and `CenterCrop`, and a selected part is its `resized_crop`, both with
    /// antialiasing. Gray is ITU-R BT.601 luma, as in Pillow; an alpha channel is dropped. Before data edition 3, gray
    /// was BT.709 luma, and a part was selected from the resized center.
    pub(super) fn fit(
        self,
        image: DynamicImage,
        choose: impl FnOnce(Size) -> Option<Window>,
    ) -> Result<Vec<u8>, String> {
        let size = Size { height: image.height() as usize, width: image.width() as usize };
        let channels = self.shape.channels;
        if self.framing.edition < 3 {
            let center = self.center_before_third_edition(image, size)?;
            return Ok(match choose(self.shape.size()) {
                Some(window) => resized_crop(&center, self.shape, window),
                None => center,
            });
        }
        let samples = match (channels, &image) {
            (1, DynamicImage::ImageLuma8(_) | DynamicImage::ImageLumaA8(_)) => image.into_luma8().into_raw(),
            (1, _) => image.into_rgb8().as_raw().as_chunks().0.iter().copied().map(luma_601).collect(),
            _ => image.into_rgb8().into_raw(),
        };
        let kind = if channels == 1 { PixelType::U8 } else { PixelType::U8x3 };
        let source = view(&samples, size, kind)?;
        let pixels = match choose(size) {
            Some(Window { top, left, height, width }) => {
                let [left, top, width, height] = [left, top, width, height].map(|pixels| pixels as u32);
                let part = CroppedImage::new(&source, left, top, width, height).map_err(|e| e.to_string())?;
                let [width, height] = [width, height].map(f64::from);
                self.resized(&part, Part { left: 0.0, top: 0.0, width, height })?
            }
            None => self.resized(&source, self.center(size))?,
        };
        Ok(planar(pixels, channels))
    }

    /// Size of the whole image after resizing, before the center is cut out.
    fn size_around(self, size: Size) -> Size {
        let ImageShape { height, width, .. } = self.shape;
        let scaled = |length: usize, to: usize, from: usize| (length as f64 * to as f64 / from as f64).max(1.0);
        let shorter = match self.framing.resize {
            Some(shorter) => shorter,
            None if height == width => (height as f64 / self.framing.crop_fraction) as usize,
            None => {
                // timm's ResizeKeepRatio: large enough for both sides, rounded to even.
                let around = [height, width].map(|side| (side as f64 / self.framing.crop_fraction).floor());
                let ratio = (size.height as f64 / around[0]).min(size.width as f64 / around[1]);
                let [height, width] =
                    [size.height, size.width].map(|side| (side as f64 / ratio).round_ties_even().max(1.0) as usize);
                return Size { height, width };
            }
        };
        // torchvision's Resize truncates the longer side.
        match size.height <= size.width {
            true => Size { height: shorter, width: scaled(shorter, size.width, size.height) as usize },
            false => Size { height: scaled(shorter, size.height, size.width) as usize, width: shorter },
        }
    }

    /// The part of the original image that becomes the center. Pixels around it blend in at its borders, as if the
    /// whole image were resized first and cropped afterwards.
    fn center(self, size: Size) -> Part {
        let around = self.size_around(size);
        let side = |around: usize, wanted: usize, original: usize| {
            let scale = original as f64 / around as f64;
            // Rounds ties to even, like torchvision's CenterCrop.
            let start = (around.saturating_sub(wanted) as f64 / 2.0).round_ties_even();
            (start * scale, (wanted as f64 * scale).min(original as f64 - start * scale))
        };
        let (left, width) = side(around.width, self.shape.width, size.width);
        let (top, height) = side(around.height, self.shape.height, size.height);
        Part { left, top, width, height }
    }

    fn center_before_third_edition(self, image: DynamicImage, size: Size) -> Result<Vec<u8>, String> {
        let shape = self.shape;
        let (interleaved, kind) = match shape.channels {
            1 => (image.into_luma8().into_raw(), PixelType::U8),
            _ => (image.into_rgb8().into_raw(), PixelType::U8x3),
        };
        let source = view(&interleaved, size, kind)?;
        // The largest box of the target aspect ratio, shrunk around the center.
        let sides = [(size.width, shape.width), (size.height, shape.height)];
        let scale = sides.map(|(got, want)| got as f64 / want as f64).into_iter().fold(f64::INFINITY, f64::min);
        let [wide, high] = sides.map(|(got, want)| (scale * self.framing.crop_fraction * want as f64).min(got as f64));
        let [left, top] = [size.width as f64 - wide, size.height as f64 - high].map(|rest| rest / 2.0);
        let options = ResizeOptions::new().crop(left, top, wide, high);
        let resized = resize_at_once(&source, shape.size(), Interpolation::Bilinear, options)?;
        Ok(planar(resized, shape.channels))
    }

    fn resized(self, source: &impl IntoImageView, part: Part) -> Result<Vec<u8>, String> {
        resize(source, part, self.shape.size(), self.framing.interpolation)
    }
}

fn view(samples: &[u8], size: Size, kind: PixelType) -> Result<ImageRef<'_>, String> {
    ImageRef::new(size.width as u32, size.height as u32, samples, kind).map_err(|e| e.to_string())
}

/// A part of an image in pixels, perhaps with fractions.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Part {
    left: f64,
    top: f64,
    width: f64,
    height: f64,
}

/// Resizes a part of `source` to `size`, with antialiasing. Pixels around the part blend in at its borders.
///
/// Like Pillow, first changes the width and rounds, and then changes the height: the other order, which
/// [`resize_at_once`] has, rounds a fifth of all pixels to another byte.
fn resize(
    source: &impl IntoImageView,
    part: Part,
    size: Size,
    interpolation: Interpolation,
) -> Result<Vec<u8>, String> {
    let Part { left, top, width, height } = part;
    let is_as_high = height == size.height as f64 && top == top.round();
    // Only the rows that the second pass needs.
    let reach = match interpolation {
        _ if is_as_high => 0.0,
        Interpolation::Bilinear => (height / size.height as f64).max(1.0) + 1.0,
        Interpolation::Bicubic => 2.0 * (height / size.height as f64).max(1.0) + 1.0,
    };
    let first = (top - reach).floor().max(0.0);
    let rows = (top + height + reach).ceil().min(f64::from(source.height())) - first;
    let narrow_size = Size { height: rows as usize, width: size.width };
    let narrow =
        resize_at_once(source, narrow_size, interpolation, ResizeOptions::new().crop(left, first, width, rows))?;
    if is_as_high {
        return Ok(narrow);
    }
    let narrow = view(&narrow, narrow_size, source.pixel_type().unwrap_or(PixelType::U8))?;
    let options = ResizeOptions::new().crop(0.0, top - first, size.width as f64, height);
    resize_at_once(&narrow, size, interpolation, options)
}

/// Resizes the part of `source` that `options` select, with antialiasing, height before width.
pub(super) fn resize_at_once(
    source: &impl IntoImageView,
    size: Size,
    interpolation: Interpolation,
    options: ResizeOptions,
) -> Result<Vec<u8>, String> {
    let side = |pixels: usize| u32::try_from(pixels).map_err(|_| format!("{pixels} pixels are too many for one side"));
    let kind = source.pixel_type().unwrap_or(PixelType::U8);
    let mut resized = Image::new(side(size.width)?, side(size.height)?, kind);
    let filter = match interpolation {
        Interpolation::Bilinear => FilterType::Bilinear,
        // The cubic with a = -0.5, as in Pillow.
        Interpolation::Bicubic => FilterType::CatmullRom,
    };
    let options = options.resize_alg(ResizeAlg::Convolution(filter));
    Resizer::new().resize(source, &mut resized, &options).map_err(|e| e.to_string())?;
    Ok(resized.into_vec())
}

/// Converts height x width x channels to channels x height x width.
fn planar(interleaved: Vec<u8>, channels: usize) -> Vec<u8> {
    match channels {
        1 => interleaved,
        _ => (0..channels).flat_map(|channel| interleaved.iter().skip(channel).step_by(channels).copied()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use image::{GrayImage, Luma, Rgb, RgbImage};

    use super::*;

    const RGB: ImageShape = ImageShape { channels: 3, height: 2, width: 2 };
    const GRAY: ImageShape = ImageShape { channels: 1, ..RGB };

    fn framed(edition: usize, crop_fraction: f64) -> Framing {
        Framing { edition, crop_fraction, ..Framing::default() }
    }

    fn fit(image: impl Into<DynamicImage>, shape: ImageShape, framing: Framing) -> Vec<u8> {
        Fitting { shape, framing }.fit(image.into(), |_| None).unwrap()
    }

    #[test]
    fn a_wide_image_loses_its_left_and_right_end() {
        let image = GrayImage::from_raw(4, 2, vec![9, 1, 2, 9, 9, 3, 4, 9]).unwrap();
        for edition in [2, 3] {
            assert_eq!(fit(image.clone(), GRAY, framed(edition, 1.0)), [1, 2, 3, 4]);
        }
    }

    #[test]
    fn a_crop_keeps_the_middle() {
        let is_inner = |x, y| (1..5).contains(&x) && (1..5).contains(&y);
        let image = GrayImage::from_fn(6, 6, |x, y| Luma([if is_inner(x, y) { 200 } else { 0 }]));
        // The four pixels of each quarter, plus a fraction of the ring around them, because the filter extends two
        // pixels on each side.
        assert_eq!(fit(image.clone(), GRAY, framed(2, 4.0 / 6.0)), [153; 4]);
        for edition in [2, 3] {
            assert_eq!(fit(image.clone(), GRAY, framed(edition, 2.0 / 6.0)), [200; 4]);
        }
    }

    #[test]
    fn downscaling_averages() {
        let image = GrayImage::from_fn(64, 64, |x, _| Luma([if x % 2 == 0 { 0 } else { 200 }]));
        for pixel in fit(image, GRAY, Framing::default()) {
            assert!(pixel.abs_diff(100) <= 2, "{pixel}");
        }
    }

    #[test]
    fn color_turns_gray_by_the_luma_of_the_edition_and_gray_turns_into_three_equal_channels() {
        let green = RgbImage::from_pixel(2, 2, Rgb([0, 255, 0]));
        // 0.7152 * 255 = 182.4 and 0.587 * 255 = 149.7.
        assert_eq!(fit(green.clone(), GRAY, framed(2, 1.0)), [182; 4]);
        assert_eq!(fit(green, GRAY, framed(3, 1.0)), [150; 4]);
        let gray = GrayImage::from_raw(2, 2, vec![1, 2, 3, 4]).unwrap();
        assert_eq!(fit(gray, RGB, Framing::default()), [1, 2, 3, 4, 1, 2, 3, 4, 1, 2, 3, 4]);
    }

    #[test]
    fn the_shorter_side_is_resized_and_the_longer_one_is_truncated() {
        let around = |framing, height, width, size| {
            let Size { height, width } =
                Fitting { shape: ImageShape { channels: 3, height, width }, framing }.size_around(size);
            [height, width]
        };
        let size = |height, width| Size { height, width };
        // torchvision: Resize(256) of 500x375 gives 256 x 341 (341.3).
        let resize = Framing { resize: Some(256), ..Framing::default() };
        assert_eq!(around(resize, 224, 224, size(375, 500)), [256, 341]);
        assert_eq!(around(resize, 224, 224, size(500, 375)), [341, 256]);
        // timm: 224 / 0.965 = 232.1.
        assert_eq!(around(framed(3, 0.965), 224, 224, size(100, 100)), [232, 232]);
        // Covers 96 x 320 by 0.5 of 240 x 640.
        assert_eq!(around(Framing::default(), 96, 320, size(240, 640)), [120, 320]);
        assert_eq!(around(Framing::default(), 96, 96, size(1, 8192)), [96, 786_432]);
    }

    #[test]
    fn a_part_is_chosen_in_the_original_or_in_the_resized_center_by_the_edition() {
        let image = GrayImage::from_fn(8, 4, |x, y| Luma([(10 * y + x) as u8]));
        let seen = |edition, window| {
            let mut size = None;
            let fitting = Fitting { shape: GRAY, framing: framed(edition, 1.0) };
            let choose = |of| {
                size = Some(of);
                Some(window)
            };
            let pixels = fitting.fit(image.clone().into(), choose).unwrap();
            (size.unwrap(), pixels)
        };
        let window = Window { top: 2, left: 6, height: 2, width: 2 };
        assert_eq!(seen(3, window), (Size { height: 4, width: 8 }, vec![26, 27, 36, 37]));
        let pixel = Window { top: 0, left: 0, height: 1, width: 1 };
        let (size, pixels) = seen(2, pixel);
        assert_eq!((size, pixels[0]), (Size { height: 2, width: 2 }, pixels[3]));
    }
}
