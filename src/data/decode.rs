//! Decodes image files.

use std::io::{Cursor, Error, Read};
use std::path::{Path, PathBuf};

use image::{ColorType, DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits};

use super::augment::{Size, Window};
use super::fitting::Fitting;
use super::jpeg::Jpeg;
use super::{DataError, Samples, jpeg_end};
use crate::disk;

/// Maximum size of a file, and maximum size of its pixels, in bytes.
pub(super) const MOST_BYTES: u64 = 512 << 20;

/// Reads an image file and fits the part that `choose` selects, or else the center, into the model's input; see
/// [`Fitting::fit`].
///
/// The format is detected from the file's content, not from its name. The orientation in the EXIF data is applied. An
/// image of more than 512 MiB, as a file or decoded, is an error, and so is a truncated JPEG.
pub(super) fn read_fitted(
    path: &Path,
    fitting: Fitting,
    choose: impl FnOnce(Size) -> Option<Window>,
) -> Result<Samples<'static>, DataError> {
    fitted(read(path), fitting, choose, || path.to_owned())
}

/// The same for the contents of a file. Messages name it by `path`.
pub(super) fn fitted(
    bytes: Result<Vec<u8>, String>,
    fitting: Fitting,
    choose: impl FnOnce(Size) -> Option<Window>,
    path: impl FnOnce() -> PathBuf,
) -> Result<Samples<'static>, DataError> {
    let fitted = |bytes: Vec<u8>| fitting.fit(Encoded::open(&bytes, fitting.framing.edition)?, choose);
    bytes.and_then(fitted).map_err(|cause| {
        // Some decoders end their message with a line break.
        DataError::BadImage { path: path(), cause: cause.trim_end().replace('\n', " ") }
    })
}

/// Reads a regular file of at most [`MOST_BYTES`].
pub(super) fn read(path: &Path) -> Result<Vec<u8>, String> {
    let text = |error: Error| error.to_string();
    let file = disk::open_regular(path).map_err(text)?;
    let length = file.metadata().map_err(text)?.len();
    check_length(length)?;
    let mut bytes = Vec::with_capacity(length as usize);
    file.take(MOST_BYTES).read_to_end(&mut bytes).map_err(text)?;
    Ok(bytes)
}

/// Refuses the length of an encoded image if it is 0 or above the limit.
pub(super) fn check_length(length: u64) -> Result<(), String> {
    match length {
        0 => Err("it is empty".into()),
        1..=MOST_BYTES => Ok(()),
        _ => Err(format!("it has {length} bytes, and the limit is {MOST_BYTES}")),
    }
}

/// An encoded image whose size is known.
pub(super) enum Encoded<'a> {
    /// Decoded where it is needed.
    Jpeg(Box<Jpeg<'a>>),
    /// Already decoded.
    Other(DynamicImage),
}

/// A decoded part of an image, or all of it.
pub(super) struct Tile {
    pub image: DynamicImage,
    /// Its place in the whole image of the same reduction.
    pub top: usize,
    pub left: usize,
    /// Divisor of both sides of the image.
    pub reduction: usize,
}

impl<'a> Encoded<'a> {
    /// Reads an image by the rules of a data edition: before edition 2, truncated JPEGs were decoded as far as
    /// possible; before edition 3, the orientation in the EXIF data was ignored; before edition 4, another decoder
    /// interpolated the colors of JPEGs.
    pub(super) fn open(bytes: &'a [u8], edition: usize) -> Result<Self, String> {
        let format = image::guess_format(bytes).map_err(|error| error.to_string())?;
        if format == ImageFormat::Jpeg && edition >= 2 && !jpeg_end::has_end(bytes) {
            return Err("it is truncated: a JPEG file without an end marker".into());
        }
        if format == ImageFormat::Jpeg && edition >= 4 {
            return Ok(Self::Jpeg(Box::new(Jpeg::open(bytes)?)));
        }
        let mut limits = Limits::no_limits();
        limits.max_alloc = Some(MOST_BYTES);
        let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
        reader.limits(limits);
        oriented(reader, edition).map(Self::Other)
    }

    pub(super) fn size(&self) -> Size {
        match self {
            Self::Jpeg(jpeg) => jpeg.size(),
            Self::Other(image) => Size::of(image),
        }
    }

    /// Decodes at least the pixels of `part`; where the format allows it, with sides divided by `reduction`.
    pub(super) fn decode(self, part: Window, reduction: usize) -> Result<Tile, String> {
        match self {
            Self::Jpeg(jpeg) => jpeg.decode(part, reduction),
            Self::Other(image) => Ok(Tile { image, top: 0, left: 0, reduction: 1 }),
        }
    }
}

fn oriented(reader: ImageReader<Cursor<&[u8]>>, edition: usize) -> Result<DynamicImage, String> {
    let text = |error: ImageError| error.to_string();
    if edition < 3 {
        return reader.decode().map_err(text);
    }
    let mut decoder = reader.into_decoder().map_err(text)?;
    if edition >= 4 && matches!(decoder.color_type(), ColorType::Rgb32F | ColorType::Rgba32F) {
        return Err("it has 32 bits per channel, want 8 or 16".into());
    }
    let orientation = decoder.orientation().map_err(text)?;
    let mut image = DynamicImage::from_decoder(decoder).map_err(text)?;
    image.apply_orientation(orientation);
    Ok(image)
}

#[cfg(test)]
mod tests {
    use image::{Rgb, RgbImage};

    use super::super::{Framing, ImageShape};
    use super::*;
    use crate::config::DataConfig;

    fn decoded(path: &Path) -> Result<Vec<u8>, DataError> {
        by_edition(path, DataConfig::EDITION)
    }

    fn by_edition(path: &Path, edition: usize) -> Result<Vec<u8>, DataError> {
        let shape = ImageShape { channels: 3, height: 2, width: 2 };
        let fitting = Fitting { shape, framing: Framing { edition, ..Framing::default() } };
        Ok(read_fitted(path, fitting, |_| None)?.into_bytes().into_owned())
    }

    #[test]
    fn every_format_decodes_to_planes() {
        let folder = tempfile::tempdir().unwrap();
        let image = RgbImage::from_fn(2, 2, |x, y| Rgb([(10 * x + 20 * y) as u8, 100, 200]));
        let planes = [[0, 10, 20, 30], [100; 4], [200; 4]].concat();
        for (name, tolerance) in [("a.png", 0), ("a.bmp", 0), ("a.webp", 0), ("a.tif", 0), ("a.jpg", 40)] {
            let path = folder.path().join(name);
            image.save(&path).unwrap();
            let pixels = decoded(&path).unwrap();
            assert_eq!(pixels.len(), planes.len());
            let worst = pixels.iter().zip(&planes).map(|(&a, &b): (&u8, &u8)| a.abs_diff(b)).max();
            assert!(worst <= Some(tolerance), "{name}: {pixels:?}");
        }
    }

    #[test]
    fn files_of_32_bits_are_refused_because_their_range_is_unknown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep.tif");
        image::Rgb32FImage::from_pixel(2, 2, Rgb([0.5, 700.0, -3.0])).save(&path).unwrap();
        let message = decoded(&path).unwrap_err().to_string();
        assert!(message.contains("it has 32 bits per channel, want 8 or 16"), "{message}");
        assert!(by_edition(&path, 3).is_ok());
    }

    #[test]
    fn a_file_that_does_not_decode_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("broken.png");
        std::fs::write(&path, b"\x89PNG\r\n\x1a\nrubbish").unwrap();
        let message = decoded(&path).unwrap_err().to_string();
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
            let message = decoded(&path).unwrap_err().to_string();
            assert!(message.contains("it is truncated"), "{message}");
            assert!(by_edition(&path, 1).is_ok());
        }
        std::fs::write(&path, [&whole[..], b"more"].concat()).unwrap();
        assert!(decoded(&path).is_ok());
    }

    #[test]
    fn runs_from_before_edition_4_keep_the_colors_of_their_decoder() {
        let path = super::super::golden::folder().join("subsampled.jpeg");
        let [old, new] = [3, 4].map(|edition| by_edition(&path, edition).unwrap());
        assert_eq!(by_edition(&path, 2).unwrap().len(), old.len());
        assert_ne!(old, new);
        assert!(old.iter().zip(&new).all(|(old, new)| old.abs_diff(*new) <= 4), "{old:?} {new:?}");
    }

    #[test]
    fn pipes_devices_and_endless_files_are_told_without_being_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let cause = |name: &str| match decoded(&path(name)) {
            Err(DataError::BadImage { cause, .. }) => cause,
            other => panic!("{other:?}"),
        };
        assert!(std::process::Command::new("mkfifo").arg(path("pipe.png")).status().unwrap().success());
        std::os::unix::fs::symlink("/dev/zero", path("zero.png")).unwrap();
        std::fs::File::create(path("sparse.png")).unwrap().set_len(20 << 30).unwrap();
        std::fs::write(path("empty.jpg"), "").unwrap();
        assert_eq!(cause("empty.jpg"), "it is empty");
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
        assert!(matches!(decoded(&path), Err(DataError::BadImage { .. })));
    }
}
