//! Decodes an image file to pixels of a given shape.

use std::io::{BufReader, Cursor, Error, Read};
use std::path::Path;

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use image::{DynamicImage, ImageFormat, ImageReader, Limits};

use super::{DataError, ImageShape, jpeg_end};
use crate::disk;

/// Maximum size of a file, and maximum memory of its decoder, in bytes.
const MOST_BYTES: u64 = 512 << 20;

/// Decodes a file to `shape.channels` (1: gray by ITU-R BT.709 luma, otherwise RGB; an alpha channel is dropped).
/// Resizes it so that its center, `crop_fraction` of each side, just covers height x width, and cuts off the excess
/// equally on both sides. Returns channels x height x width.
///
/// The format is detected from the file's content, not from its name. Downscaling uses an antialiased bilinear filter,
/// like Pillow. EXIF rotation is not applied. An image of more than 512 MiB, as a file or decoded, is an error, and so
/// is a truncated JPEG unless `is_lenient`.
pub(super) fn decode(
    path: &Path,
    shape: ImageShape,
    crop_fraction: f64,
    is_lenient: bool,
) -> Result<Vec<u8>, DataError> {
    // Some decoders end their message with a line break.
    let bad = |cause: String| DataError::BadImage { path: path.to_owned(), cause: cause.trim_end().replace('\n', " ") };
    let image = read(path, is_lenient).map_err(bad)?;
    let (width, height) = (image.width(), image.height());
    let (interleaved, kind) = match shape.channels {
        1 => (image.into_luma8().into_raw(), PixelType::U8),
        _ => (image.into_rgb8().into_raw(), PixelType::U8x3),
    };
    let source = ImageRef::new(width, height, &interleaved, kind).map_err(|e| bad(e.to_string()))?;
    // The largest box of the target aspect ratio, shrunk around the center. Pixels outside of the box blend in at its
    // borders, as if the whole image were resized first and cropped afterwards.
    let sides = [(width, shape.width), (height, shape.height)];
    let scale = sides.map(|(got, want)| f64::from(got) / want as f64).into_iter().fold(f64::INFINITY, f64::min);
    let [wide, high] = sides.map(|(got, want)| (scale * crop_fraction * want as f64).min(f64::from(got)));
    let [left, top] = [f64::from(width) - wide, f64::from(height) - high].map(|rest| rest / 2.0);
    let resized = resize(&source, shape, ResizeOptions::new().crop(left, top, wide, high)).map_err(bad)?;
    Ok(planar(&resized, shape.channels))
}

fn read(path: &Path, is_lenient: bool) -> Result<DynamicImage, String> {
    let text = |error: Error| error.to_string();
    let file = disk::open_regular(path).map_err(text)?;
    let bytes = file.metadata().map_err(text)?.len();
    if bytes > MOST_BYTES {
        return Err(format!("it has {bytes} bytes, and the limit is {MOST_BYTES}"));
    }
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(MOST_BYTES);
    let mut reader = ImageReader::new(BufReader::new(file)).with_guessed_format().map_err(text)?;
    let decoded = if reader.format() == Some(ImageFormat::Jpeg) {
        let mut bytes = Vec::with_capacity(bytes as usize);
        reader.into_inner().take(MOST_BYTES).read_to_end(&mut bytes).map_err(text)?;
        if !is_lenient && !jpeg_end::has_end(&bytes) {
            return Err("it is truncated: a JPEG file without an end marker".into());
        }
        let mut reader = ImageReader::with_format(Cursor::new(bytes), ImageFormat::Jpeg);
        reader.limits(limits);
        reader.decode()
    } else {
        reader.limits(limits);
        reader.decode()
    };
    decoded.map_err(|error| error.to_string())
}

/// Resizes the part of `source` selected by `options` to the height and width of `shape`, with bilinear interpolation
/// and antialiasing.
pub(super) fn resize(source: &ImageRef<'_>, shape: ImageShape, options: ResizeOptions) -> Result<Vec<u8>, String> {
    let side = |pixels: usize| u32::try_from(pixels).map_err(|_| format!("{pixels} pixels are too many for one side"));
    let mut resized = Image::new(side(shape.width)?, side(shape.height)?, source.pixel_type());
    let options = options.resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
    Resizer::new().resize(source, &mut resized, &options).map_err(|e| e.to_string())?;
    Ok(resized.into_vec())
}

/// Converts height x width x channels to channels x height x width.
fn planar(interleaved: &[u8], channels: usize) -> Vec<u8> {
    (0..channels).flat_map(|channel| interleaved.iter().skip(channel).step_by(channels).copied()).collect()
}

#[cfg(test)]
mod tests {
    use image::{GrayImage, Rgb, RgbImage};

    use super::*;

    const RGB: ImageShape = ImageShape { channels: 3, height: 2, width: 2 };
    const GREY: ImageShape = ImageShape { channels: 1, ..RGB };

    #[test]
    fn every_format_decodes_to_planes() {
        let folder = tempfile::tempdir().unwrap();
        let image = RgbImage::from_fn(2, 2, |x, y| Rgb([(10 * x + 20 * y) as u8, 100, 200]));
        let planes = [[0, 10, 20, 30], [100; 4], [200; 4]].concat();
        for (name, tolerance) in [("a.png", 0), ("a.bmp", 0), ("a.webp", 0), ("a.jpg", 40)] {
            let path = folder.path().join(name);
            image.save(&path).unwrap();
            let pixels = decode(&path, RGB, 1.0, false).unwrap();
            assert_eq!(pixels.len(), planes.len());
            let worst = pixels.iter().zip(&planes).map(|(&a, &b): (&u8, &u8)| a.abs_diff(b)).max();
            assert!(worst <= Some(tolerance), "{name}: {pixels:?}");
        }
    }

    #[test]
    fn a_wide_image_loses_its_left_and_right_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("wide.png");
        GrayImage::from_raw(4, 2, vec![9, 1, 2, 9, 9, 3, 4, 9]).unwrap().save(&path).unwrap();
        assert_eq!(decode(&path, GREY, 1.0, false).unwrap(), [1, 2, 3, 4]);
    }

    #[test]
    fn a_crop_keeps_the_middle() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rings.png");
        GrayImage::from_fn(6, 6, |x, y| {
            image::Luma([if (1..5).contains(&x) && (1..5).contains(&y) { 200 } else { 0 }])
        })
        .save(&path)
        .unwrap();
        // The four pixels of each quarter, plus a fraction of the ring around them, because the filter extends two
        // pixels on each side.
        assert_eq!(decode(&path, GREY, 4.0 / 6.0, false).unwrap(), [153; 4]);
        assert_eq!(decode(&path, GREY, 2.0 / 6.0, false).unwrap(), [200; 4]);
    }

    #[test]
    fn downscaling_averages() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stripes.png");
        GrayImage::from_fn(64, 64, |x, _| image::Luma([if x % 2 == 0 { 0 } else { 200 }])).save(&path).unwrap();
        for pixel in decode(&path, GREY, 1.0, false).unwrap() {
            assert!(pixel.abs_diff(100) <= 2, "{pixel}");
        }
    }

    #[test]
    fn color_turns_gray_by_luma_and_gray_turns_into_three_equal_channels() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("green.png");
        RgbImage::from_pixel(2, 2, Rgb([0, 255, 0])).save(&path).unwrap();
        // 0.7152 * 255 = 182.4
        assert_eq!(decode(&path, GREY, 1.0, false).unwrap(), [182; 4]);
        GrayImage::from_raw(2, 2, vec![1, 2, 3, 4]).unwrap().save(&path).unwrap();
        assert_eq!(decode(&path, RGB, 1.0, false).unwrap(), [1, 2, 3, 4, 1, 2, 3, 4, 1, 2, 3, 4]);
    }

    #[test]
    fn a_file_that_does_not_decode_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("broken.png");
        std::fs::write(&path, b"\x89PNG\r\n\x1a\nrubbish").unwrap();
        let message = decode(&path, RGB, 1.0, false).unwrap_err().to_string();
        assert!(message.starts_with(path.to_str().unwrap()) && !message.contains('\n'), "{message}");
    }

    #[test]
    fn a_jpeg_that_is_cut_off_is_refused_unless_that_was_taken_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cut.jpg");
        RgbImage::from_fn(64, 64, |x, y| Rgb([(x * y) as u8, (3 * x) as u8, (3 * y) as u8])).save(&path).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for end in [whole.len() - 2, whole.len() * 9 / 10] {
            std::fs::write(&path, &whole[..end]).unwrap();
            let message = decode(&path, RGB, 1.0, false).unwrap_err().to_string();
            assert!(message.contains("it is truncated"), "{message}");
            assert!(decode(&path, RGB, 1.0, true).is_ok());
        }
        std::fs::write(&path, [&whole[..], b"more"].concat()).unwrap();
        assert!(decode(&path, RGB, 1.0, false).is_ok());
    }

    #[test]
    fn pipes_devices_and_endless_files_are_told_without_being_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let cause = |name: &str| match decode(&path(name), RGB, 1.0, false) {
            Err(DataError::BadImage { cause, .. }) => cause,
            other => panic!("{other:?}"),
        };
        assert!(std::process::Command::new("mkfifo").arg(path("pipe.png")).status().unwrap().success());
        std::os::unix::fs::symlink("/dev/zero", path("zero.png")).unwrap();
        std::fs::File::create(path("sparse.png")).unwrap().set_len(20 << 30).unwrap();
        assert_eq!(cause("pipe.png"), "it is a pipe, not a regular file");
        assert_eq!(cause("zero.png"), "it is a device, not a regular file");
        assert_eq!(cause("sparse.png"), "it has 21474836480 bytes, and the limit is 536870912");
    }

    #[test]
    fn an_image_beyond_memory_is_refused_by_its_header() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("large.bmp");
        RgbImage::new(2, 2).save(&path).unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        // Width and height in the header: 2^15 x 2^15 pixels of three bytes are 3 GiB.
        bytes[18..26].copy_from_slice(&[0, 128, 0, 0, 0, 128, 0, 0]);
        std::fs::write(&path, bytes).unwrap();
        assert!(matches!(decode(&path, RGB, 1.0, false), Err(DataError::BadImage { .. })));
    }
}
