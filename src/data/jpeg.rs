//! JPEG files: only the part that is needed, with the pixels of libjpeg-turbo, which Pillow and torchvision decode with.

use gradwatch_doctor::panics;
use image::{DynamicImage, GrayImage, RgbImage, metadata::Orientation};
use libjpeg_turbo_rs::{DecodeWarning, Decoder, Image, PixelFormat, ScalingFactor};

use super::augment::{Size, Window};
use super::decode::{MOST_BYTES, Tile};

/// Number of pixels around a part without which its border would differ: one block of the coarsest color channel, whose
/// samples are interpolated.
const MARGIN: usize = 16;

/// A JPEG file whose header has been read.
pub(super) struct Jpeg<'a> {
    decoder: Decoder<'a>,
    orientation: Orientation,
}

impl<'a> Jpeg<'a> {
    pub(super) fn open(file: &'a [u8]) -> Result<Self, String> {
        let decoder = panics::caught(|| Decoder::new(file))?.map_err(|error| error.to_string())?;
        let orientation = decoder.exif_orientation().and_then(Orientation::from_exif);
        let jpeg = Self { decoder, orientation: orientation.unwrap_or(Orientation::NoTransforms) };
        let Size { height, width } = jpeg.stored_size();
        let bytes = (height * width * jpeg.components().max(1)) as u64;
        match bytes {
            0 => Err("it has no pixels".into()),
            1..=MOST_BYTES => Ok(jpeg),
            _ => Err(format!("it has {width} x {height} pixels, {bytes} bytes, and the limit is {MOST_BYTES} bytes")),
        }
    }

    /// Size after the orientation in the EXIF data is applied.
    pub(super) fn size(&self) -> Size {
        let Size { height, width } = self.stored_size();
        use Orientation::{Rotate90, Rotate90FlipH, Rotate270, Rotate270FlipH};
        match self.orientation {
            Rotate90 | Rotate90FlipH | Rotate270 | Rotate270FlipH => Size { height: width, width: height },
            _ => Size { height, width },
        }
    }

    /// Decodes at least `part`, with sides divided by `reduction` (1, 2, 4, or 8) before the inverse DCT. Images that
    /// are turned, have four color channels, or are lossless or of 12 bits are decoded as a whole, in full size.
    pub(super) fn decode(mut self, part: Window, reduction: usize) -> Result<Tile, String> {
        let frame = self.decoder.header();
        let is_unusual = frame.is_lossless || frame.precision != 8 || self.components() == 4;
        let is_whole = self.orientation != Orientation::NoTransforms || is_unusual;
        let reduction = if is_whole { 1 } else { reduction };
        self.decoder.set_output_format(match self.components() {
            1 => PixelFormat::Grayscale,
            4 => PixelFormat::Cmyk,
            _ => PixelFormat::Rgb,
        });
        let scale = ScalingFactor::try_new(1, reduction as u32).map_err(|error| error.to_string())?;
        self.decoder.set_scale(scale);
        // Like Pillow, fills damaged blocks. A file that is cut off has been refused before.
        self.decoder.set_lenient(true);
        let whole = Size { height: self.decoder.output_height(), width: self.decoder.output_width() };
        let part = if is_whole { Window::of(whole) } else { part.divided(reduction).grown(MARGIN, whole) };
        if part != Window::of(whole) {
            self.decoder.set_crop_region(part.left, part.top, part.width, part.height);
        }
        let decoder = self.decoder;
        let decoded = panics::caught(|| decoder.decode_image())?.map_err(|error| error.to_string())?;
        // The decoder returns gray for colors that it cannot sample.
        let unsupported = |warning: &DecodeWarning| match warning {
            DecodeWarning::UnsupportedRecovered { detail } => Some(detail.clone()),
            _ => None,
        };
        if let Some(detail) = decoded.warnings.iter().find_map(unsupported) {
            return Err(format!("its sampling of colors is not supported ({detail})"));
        }
        let widths = part.width..=part.left + part.width;
        if decoded.height != part.height || !widths.contains(&decoded.width) {
            return Err(format!("the decoder returned {} x {} pixels of it", decoded.width, decoded.height));
        }
        // The left edge moves to the next block.
        let left = (part.left + part.width).saturating_sub(decoded.width);
        let mut image = of_channels(decoded)?;
        image.apply_orientation(self.orientation);
        Ok(Tile { image, top: part.top, left, reduction })
    }

    fn stored_size(&self) -> Size {
        let frame = self.decoder.header();
        Size { height: frame.height.into(), width: frame.width.into() }
    }

    fn components(&self) -> usize {
        self.decoder.header().components.len()
    }
}

fn of_channels(decoded: Image) -> Result<DynamicImage, String> {
    let Image { width, height, pixel_format, data, .. } = decoded;
    let (width, height) = (width as u32, height as u32);
    let image = match pixel_format {
        PixelFormat::Grayscale => GrayImage::from_raw(width, height, data).map(DynamicImage::from),
        PixelFormat::Cmyk => {
            let rgb = data.as_chunks().0.iter().copied().flat_map(rgb_of_inks).collect();
            RgbImage::from_raw(width, height, rgb).map(DynamicImage::from)
        }
        _ => RgbImage::from_raw(width, height, data).map(DynamicImage::from),
    };
    image.ok_or_else(|| "the decoder returned too few pixels".into())
}

/// Pillow's conversion of inks, which Adobe stores inverted, to RGB.
fn rgb_of_inks([cyan, magenta, yellow, black]: [u8; 4]) -> [u8; 3] {
    [cyan, magenta, yellow].map(|ink| {
        // Rounded division by 255.
        let product = u32::from(255 - ink) * u32::from(black) + 128;
        black.saturating_sub((((product >> 8) + product) >> 8) as u8)
    })
}

#[cfg(test)]
mod tests {
    use super::super::golden;
    use super::super::random::{Purpose, Stream};
    use super::*;

    fn files() -> Vec<(String, Vec<u8>)> {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(golden::folder()).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                let bytes = std::fs::read(&path).unwrap();
                if bytes.starts_with(&[0xff, 0xd8]) {
                    files.push((path.display().to_string(), bytes));
                }
            }
        }
        assert!(files.len() >= 12);
        files
    }

    fn pixels(image: &DynamicImage, Window { top, left, height, width }: Window) -> Vec<u8> {
        image.crop_imm(left as u32, top as u32, width as u32, height as u32).into_rgb8().into_raw()
    }

    #[test]
    fn a_part_has_the_pixels_of_the_whole_image() {
        for (name, file) in files() {
            let open = || Jpeg::open(&file).unwrap();
            let size = open().size();
            let whole = open().decode(Window::of(size), 1).unwrap();
            assert_eq!((whole.image.height() as usize, whole.image.width() as usize), (size.height, size.width));
            for number in 0..40 {
                // Windows of all places and sizes.
                let place = |factor: usize, below: usize| number * factor % below;
                let (top, left) = (place(7, size.height), place(11, size.width));
                let (height, width) = (1 + place(13, size.height - top), 1 + place(17, size.width - left));
                let tile = open().decode(Window { top, left, height, width }, 1).unwrap();
                let inner = Window { top: top - tile.top, left: left - tile.left, height, width };
                let want = pixels(&whole.image, Window { top, left, height, width });
                assert!(pixels(&tile.image, inner) == want, "{name}: {top} {left} {height} {width}");
            }
        }
    }

    #[test]
    fn a_reduced_image_is_the_mean_of_squares() {
        let (_, file) = files().into_iter().find(|(name, _)| name.ends_with("rgb.JPG")).unwrap();
        let size = Jpeg::open(&file).unwrap().size();
        let whole = Jpeg::open(&file).unwrap().decode(Window::of(size), 1).unwrap().image.into_rgb8();
        for reduction in [2, 4, 8] {
            let tile = Jpeg::open(&file).unwrap().decode(Window::of(size), reduction).unwrap();
            let reduced = tile.image.into_rgb8();
            let (width, height) = (size.width as u32 / reduction as u32, size.height as u32 / reduction as u32);
            let mut sum = 0.0;
            for y in 0..height {
                for x in 0..width {
                    let side = reduction as u32;
                    let square = image::imageops::crop_imm(&whole, x * side, y * side, side, side).to_image();
                    let mean = |channel: usize| {
                        square.pixels().map(|pixel| f64::from(pixel[channel])).sum::<f64>() / f64::from(side * side)
                    };
                    sum +=
                        (0..3).map(|channel| (mean(channel) - f64::from(reduced[(x, y)][channel])).abs()).sum::<f64>();
                }
            }
            let mean = sum / f64::from(3 * width * height);
            assert!(mean < 3.0, "{reduction}: {mean}");
        }
    }

    #[test]
    fn a_lossless_image_is_decoded_in_full_size() {
        let samples: Vec<u8> = (0..64 * 48 * 3).map(|sample| (sample * 7 % 251) as u8).collect();
        let file = libjpeg_turbo_rs::compress_lossless(&samples, 64, 48, PixelFormat::Rgb).unwrap();
        let tile = Jpeg::open(&file).unwrap().decode(Window { top: 8, left: 8, height: 32, width: 32 }, 4).unwrap();
        assert_eq!((tile.reduction, tile.top, tile.left), (1, 0, 0));
        assert_eq!(tile.image.into_rgb8().into_raw(), samples);
    }

    #[test]
    fn colors_that_cannot_be_sampled_are_an_error_and_not_gray() {
        let (_, mut file) = files().into_iter().find(|(name, _)| name.ends_with("subsampled.jpeg")).unwrap();
        // In the frame header, exchanges the samplings of brightness and of both colors.
        let frame = file.windows(2).position(|marker| marker == [0xff, 0xc0]).unwrap();
        for (component, sampling) in [(0, 0x11), (1, 0x22), (2, 0x22)] {
            file[frame + 11 + 3 * component] = sampling;
        }
        let jpeg = Jpeg::open(&file).unwrap();
        let whole = Window::of(jpeg.size());
        let Err(cause) = jpeg.decode(whole, 1) else { panic!("decoded") };
        assert!(cause.starts_with("its sampling of colors is not supported ("), "{cause}");
    }

    #[test]
    fn damaged_files_are_errors_or_images_but_never_panics() {
        let mut stream = Stream::new(7, Purpose::Augmentation, 0, 0);
        for (_, file) in files() {
            for _ in 0..150 {
                let mut damaged = file.clone();
                for _ in 0..=stream.below(6) {
                    let place = stream.below(damaged.len() as u64) as usize;
                    match stream.below(3) {
                        0 => damaged[place] = stream.below(256) as u8,
                        1 => _ = damaged.remove(place),
                        _ => damaged.insert(place, stream.below(256) as u8),
                    }
                }
                let Ok(jpeg) = Jpeg::open(&damaged) else { continue };
                let Size { height, width } = jpeg.size();
                let (top, left) = (stream.below(height as u64) as usize, stream.below(width as u64) as usize);
                let part = Window { top, left, height: height - top, width: width - left };
                let reduction = [1, 2, 4, 8][stream.below(4) as usize];
                if let Ok(tile) = jpeg.decode(part, reduction) {
                    let part = part.divided(tile.reduction);
                    assert!(tile.top <= part.top && tile.left <= part.left);
                    assert!(tile.top + tile.image.height() as usize >= part.top + part.height);
                    assert!(tile.left + tile.image.width() as usize >= part.left + part.width);
                }
            }
        }
    }

    #[test]
    fn inks_are_subtracted_from_white() {
        assert_eq!(rgb_of_inks([255, 255, 255, 255]), [255; 3]);
        assert_eq!(rgb_of_inks([0, 255, 255, 255]), [0, 255, 255]);
        assert_eq!(rgb_of_inks([255, 255, 255, 100]), [100; 3]);
        assert_eq!(rgb_of_inks([0; 4]), [0; 3]);
    }
}
