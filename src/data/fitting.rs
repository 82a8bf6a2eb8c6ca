//! Fits a decoded image into the model's input: the part to use, its size, and its colors.

use fast_image_resize::{IntoImageView, ResizeOptions, images::CroppedImage};
use image::{DynamicImage, GrayImage, ImageBuffer, Luma};

use super::augment::{Size, Window, luma_601, resized_crop};
use super::decode::Encoded;
use super::resizing::{Part, reach, resize, resize_at_once};
use super::{Framing, ImageShape, Samples};
use crate::config::{DataConfig, Decode, Interpolation};

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
        image: Encoded<'_>,
        choose: impl FnOnce(Size) -> Option<Window>,
    ) -> Result<Samples<'static>, String> {
        let (size, channels) = (image.size(), self.shape.channels);
        if self.framing.edition < 3 {
            let center = self.center_before_third_edition(image.decode(Window::of(size), 1)?.image, size)?;
            return Ok(match choose(self.shape.size()) {
                Some(window) => resized_crop(&center.into_bytes(), self.shape, window).into(),
                None => center,
            });
        }
        let window = choose(size);
        let part = window.map_or_else(|| self.center(size), Part::from);
        // Pixels around a window must not blend in, those around the center must.
        let needed = window.unwrap_or_else(|| self.with_reach(part, size));
        let tile = image.decode(needed, self.reduction(part))?;
        let part = part.divided(tile.reduction).moved(tile.top, tile.left);
        let source = of_channels(tile.image, channels, self.framing.edition);
        let resized = if window.is_some() {
            let Window { top, left, height, width } = part.pixels(Size::of(&source));
            let [x, y, width, height] = [left, top, width, height].map(|pixels| pixels as u32);
            let cut = CroppedImage::new(&source, x, y, width, height).map_err(|e| e.to_string())?;
            self.resized(&cut, part.moved(top, left))?
        } else {
            self.resized(&source, part)?
        };
        planar(resized)
    }

    /// The pixels that resizing `part` reads.
    fn with_reach(self, part: Part, size: Size) -> Window {
        let shape = self.shape;
        let [rows, columns] = [(part.height, shape.height), (part.width, shape.width)]
            .map(|(length, to)| reach(self.framing.interpolation, length, to));
        let Part { top, left, height, width } = part;
        Part { top: top - rows, left: left - columns, height: height + 2.0 * rows, width: width + 2.0 * columns }
            .pixels(size)
    }

    /// The largest divisor of the image's sides that leaves at least as many pixels in `part` as the model sees.
    fn reduction(self, part: Part) -> usize {
        let leaves_enough = |reduction: &usize| {
            let part = part.divided(*reduction);
            part.height >= self.shape.height as f64 && part.width >= self.shape.width as f64
        };
        match self.framing.decode {
            Decode::Exact => 1,
            // The decoder is no faster at a half than in full size (AVX2, photos of one megapixel).
            Decode::Fast => [8, 4].into_iter().find(leaves_enough).unwrap_or(1),
        }
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

    fn center_before_third_edition(self, image: DynamicImage, size: Size) -> Result<Samples<'static>, String> {
        let shape = self.shape;
        let source: DynamicImage =
            if shape.channels == 1 { image.into_luma8().into() } else { image.into_rgb8().into() };
        // The largest box of the target aspect ratio, shrunk around the center.
        let sides = [(size.width, shape.width), (size.height, shape.height)];
        let scale = sides.map(|(got, want)| got as f64 / want as f64).into_iter().fold(f64::INFINITY, f64::min);
        let [wide, high] = sides.map(|(got, want)| (scale * self.framing.crop_fraction * want as f64).min(got as f64));
        let [left, top] = [size.width as f64 - wide, size.height as f64 - high].map(|rest| rest / 2.0);
        let options = ResizeOptions::new().crop(left, top, wide, high);
        planar(resize_at_once(&source, shape.size(), Interpolation::Bilinear, options)?)
    }

    fn resized(self, source: &impl IntoImageView, part: Part) -> Result<DynamicImage, String> {
        resize(source, part, self.shape.size(), self.framing.interpolation)
    }
}

/// The image with one (gray) or three channels, of 16 bits if it has them and the data edition keeps them.
fn of_channels(image: DynamicImage, channels: usize, edition: usize) -> DynamicImage {
    use DynamicImage::{ImageLuma8, ImageLuma16, ImageLumaA8, ImageLumaA16, ImageRgb16, ImageRgba16};
    let is_deep = edition >= 4 && matches!(image, ImageLuma16(_) | ImageLumaA16(_) | ImageRgb16(_) | ImageRgba16(_));
    let (width, height) = (image.width(), image.height());
    match (&image, channels, is_deep) {
        (ImageLuma8(_) | ImageLumaA8(_), 1, _) => image.into_luma8().into(),
        (ImageLuma16(_) | ImageLumaA16(_), 1, true) => image.into_luma16().into(),
        (_, 1, false) => {
            let gray =
                image.into_rgb8().as_raw().as_chunks().0.iter().map(|rgb| luma_601(rgb.map(u32::from)) as u8).collect();
            GrayImage::from_raw(width, height, gray).unwrap_or_default().into()
        }
        (_, 1, true) => {
            let gray = image
                .into_rgb16()
                .as_raw()
                .as_chunks()
                .0
                .iter()
                .map(|rgb| luma_601(rgb.map(u32::from)) as u16)
                .collect();
            ImageBuffer::<Luma<u16>, _>::from_raw(width, height, gray).unwrap_or_default().into()
        }
        (_, _, false) => image.into_rgb8().into(),
        (_, _, true) => image.into_rgb16().into(),
    }
}

/// Converts height x width x channels to channels x height x width.
fn planar(image: DynamicImage) -> Result<Samples<'static>, String> {
    match image {
        DynamicImage::ImageLuma8(gray) => Ok(gray.into_raw().into()),
        DynamicImage::ImageRgb8(rgb) => Ok(planes(rgb.as_raw()).into()),
        DynamicImage::ImageLuma16(gray) => Ok(gray.into_raw().into()),
        DynamicImage::ImageRgb16(rgb) => Ok(planes(rgb.as_raw()).into()),
        other => Err(format!("its colors are {:?}", other.color())),
    }
}

fn planes<T: Copy>(rgb: &[T]) -> Vec<T> {
    let (pixels, _) = rgb.as_chunks::<3>();
    let mut planes = Vec::with_capacity(rgb.len());
    (0..3).for_each(|channel| planes.extend(pixels.iter().map(|pixel| pixel[channel])));
    planes
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
        Fitting { shape, framing }.fit(Encoded::Other(image.into()), |_| None).unwrap().into_bytes().into_owned()
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
            let pixels = fitting.fit(Encoded::Other(image.clone().into()), choose).unwrap().into_bytes().into_owned();
            (size.unwrap(), pixels)
        };
        let window = Window { top: 2, left: 6, height: 2, width: 2 };
        assert_eq!(seen(3, window), (Size { height: 4, width: 8 }, vec![26, 27, 36, 37]));
        let pixel = Window { top: 0, left: 0, height: 1, width: 1 };
        let (size, pixels) = seen(2, pixel);
        assert_eq!((size, pixels[0]), (Size { height: 2, width: 2 }, pixels[3]));
    }

    #[test]
    fn fast_decoding_reduces_no_further_than_the_input_and_changes_pixels_little() {
        let image = RgbImage::from_fn(640, 480, |x, y| {
            Rgb([(x / 3) as u8, (y / 2) as u8, (128.0 + 90.0 * (x as f32 / 40.0 + y as f32 / 25.0).sin()) as u8])
        });
        let mut file = std::io::Cursor::new(Vec::new());
        image.write_to(&mut file, image::ImageFormat::Jpeg).unwrap();
        let file = file.into_inner();
        let shape = ImageShape { channels: 3, height: 48, width: 64 };
        let fit = |decode, window| {
            let framing = Framing { decode, resize: None, crop_fraction: 0.875, ..Framing::default() };
            let fitting = Fitting { shape, framing };
            let image = Encoded::open(&file, framing.edition).unwrap();
            fitting.fit(image, |_| window).unwrap().into_bytes().into_owned()
        };
        let window = |top, left, height, width| Some(Window { top, left, height, width });
        // Reduced to an eighth, twice to a quarter, and twice not at all.
        for window in
            [None, window(0, 0, 480, 640), window(11, 100, 200, 290), window(301, 5, 100, 131), window(9, 9, 50, 100)]
        {
            let (exact, fast) = (fit(Decode::Exact, window), fit(Decode::Fast, window));
            let differences = || exact.iter().zip(&fast).map(|(one, other)| f64::from(one.abs_diff(*other)));
            let mean = differences().sum::<f64>() / exact.len() as f64;
            let is_reduced = window.is_none_or(|window| window.height >= 192);
            assert_eq!(mean > 0.0, is_reduced, "{window:?}");
            assert!(mean < 1.5 && differences().all(|difference| difference < 12.0), "{window:?}: {mean}");
        }
    }
}
