//! Preprocessing of an image file for a model, stored with the trained model.

use std::{
    fs,
    num::NonZero,
    path::{Path, PathBuf},
    thread,
};

use serde::{Deserialize, Serialize};

use super::{
    DataError, Framing, ImageShape, PixelScale, Samples, decode, fitting::Fitting, left_out::LeftOut,
    listing::images_in,
};
use crate::config::DataConfig;

/// Converts an image file to a model's input: crops the center, resizes it, and normalizes to `(pixel / 255 - mean) /
/// std`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Preprocessing {
    /// 1 (gray) or 3 (RGB); any number if the images are not files.
    pub channels: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// Mean of each channel, for pixels in 0..=1.
    pub mean: Vec<f32>,
    /// Standard deviation of each channel.
    pub std: Vec<f32>,
    /// How an image file is decoded, resized, and cropped.
    #[serde(flatten)]
    pub framing: Framing,
}

impl Preprocessing {
    /// The preprocessing of a run's images.
    pub fn new(shape: ImageShape, scale: &PixelScale, config: &DataConfig) -> Self {
        let ImageShape { channels, height, width } = shape;
        let (mean, std) = (scale.mean().to_vec(), scale.std().to_vec());
        Self { channels, height, width, mean, std, framing: Framing::of_config(config) }
    }

    /// Shape of the model's input images.
    pub fn shape(&self) -> ImageShape {
        ImageShape { channels: self.channels, height: self.height, width: self.width }
    }

    /// The normalization of pixels.
    ///
    /// # Errors
    /// If the values are not one finite mean and one standard deviation above 0 per channel.
    pub fn scale(&self) -> Result<PixelScale, DataError> {
        let scale = PixelScale::new(self.mean.clone(), self.std.clone())?;
        match self.mean.len() == self.channels {
            true => Ok(scale),
            false => Err(DataError::PixelScaleChannels {
                mean: self.mean.len(),
                std: self.std.len(),
                channels: self.channels,
            }),
        }
    }

    /// Decodes a file to the model's input pixels, channels x height x width.
    ///
    /// # Errors
    /// [`DataError::BadImage`], or [`DataError::Channels`] if the model's images are neither gray nor RGB.
    pub fn decode(&self, path: &Path) -> Result<Samples<'static>, DataError> {
        match self.channels {
            1 | 3 => decode::read_fitted(path, self.fitting(), |_| None),
            got => Err(DataError::Channels { got }),
        }
    }

    fn fitting(&self) -> Fitting {
        // A truncated JPEG is refused, also by a model whose training data edition decoded it as far as possible.
        let framing = Framing { edition: self.framing.edition.max(2), ..self.framing };
        Fitting { shape: self.shape(), framing }
    }

    /// Decodes several files on as many threads as there are cores.
    pub fn decode_all(&self, paths: &[PathBuf]) -> Vec<Result<Samples<'static>, DataError>> {
        let threads = thread::available_parallelism().map_or(1, NonZero::get);
        let share = paths.len().div_ceil(threads).max(1);
        let decode = |paths: &[PathBuf]| paths.iter().map(|path| self.decode(path)).collect::<Vec<_>>();
        thread::scope(|scope| {
            let workers: Vec<_> =
                paths.chunks(share).map(|paths| (paths, scope.spawn(move || decode(paths)))).collect();
            // If a decoder panics, all images of its thread become errors.
            workers.into_iter().flat_map(|(paths, worker)| worker.join().unwrap_or_else(|_| crashed(paths))).collect()
        })
    }

    /// Normalizes the pixels of images to the model's input, one image after the other.
    ///
    /// # Errors
    /// As for [`scale`](Self::scale).
    pub fn normalize(&self, images: &[Samples<'_>]) -> Result<Vec<f32>, DataError> {
        let (scale, plane) = (self.scale()?, self.shape().plane().max(1));
        let (tables, mut values) = (scale.tables(), Vec::new());
        images.iter().for_each(|image| image.append_normalized(&scale, &tables, plane, &mut values));
        Ok(values)
    }
}

fn crashed(paths: &[PathBuf]) -> Vec<Result<Samples<'static>, DataError>> {
    let bad = |path: &PathBuf| DataError::BadImage {
        path: path.clone(),
        cause: "the decoder crashed on this image or on another one of the batch".into(),
    };
    paths.iter().map(|path| Err(bad(path))).collect()
}

/// Lists the files among `paths`, and the images in the folders among them, including subfolders, sorted by path within
/// each folder. Files count regardless of their names. One log line per folder summarizes its skipped entries.
///
/// # Errors
/// If a path cannot be read, or a folder does not contain any image.
pub fn image_files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, DataError> {
    let mut files = Vec::new();
    for path in paths {
        let found = fs::metadata(path).map_err(|cause| DataError::NoImageFile { path: path.clone(), cause })?;
        if !found.is_dir() {
            files.push(path.clone());
            continue;
        }
        let mut left_out = LeftOut::default();
        let images = images_in(path, DataConfig::EDITION, &mut left_out)?;
        if images.is_empty() {
            return Err(DataError::NoImageFiles { path: path.clone(), left_out: left_out.addition() });
        }
        left_out.tell(path);
        files.extend(images);
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::super::fixture::write_image;
    use super::*;
    use crate::config::{Decode, Interpolation};

    const FRAMING: Framing = Framing {
        resize: None,
        crop_fraction: 1.0,
        interpolation: Interpolation::Bilinear,
        decode: Decode::Exact,
        edition: 2,
    };
    const GRAY: Preprocessing =
        Preprocessing { channels: 1, height: 2, width: 2, mean: Vec::new(), std: Vec::new(), framing: FRAMING };

    #[test]
    fn pixels_are_normalized_channel_by_channel() {
        let rgb = Preprocessing {
            channels: 3,
            width: 1,
            height: 1,
            mean: vec![0.0, 0.5, 1.0],
            std: vec![1.0, 0.5, 2.0],
            ..GRAY
        };
        assert_eq!(rgb.normalize(&[vec![255_u8, 255, 0].into()]).unwrap(), [1.0, 1.0, -0.5]);
        let two = Preprocessing { mean: vec![0.5; 2], std: vec![1.0; 2], ..GRAY };
        assert!(matches!(
            two.normalize(&[vec![0_u8; 4].into()]),
            Err(DataError::PixelScaleChannels { mean: 2, std: 2, channels: 1 })
        ));
        let flat = Preprocessing { mean: vec![0.5], std: vec![0.0], ..GRAY };
        assert!(matches!(flat.scale(), Err(DataError::PixelScale { .. })));
    }

    #[test]
    fn it_comes_back_from_json_to_the_last_bit() {
        let scale = Preprocessing {
            mean: vec![0.1, 1.0 / 3.0],
            std: vec![f32::MIN_POSITIVE, 0.3],
            channels: 2,
            framing: Framing { resize: Some(256), edition: 3, ..FRAMING },
            ..GRAY
        };
        let json = serde_json::to_string(&scale).unwrap();
        assert_eq!(serde_json::from_str::<Preprocessing>(&json).unwrap(), scale);
        let older = r#"{"channels":1,"height":2,"width":2,"mean":[],"std":[]}"#;
        assert_eq!(serde_json::from_str::<Preprocessing>(older).unwrap(), GRAY);
    }

    #[test]
    fn folders_give_their_images_and_files_count_whatever_their_name() {
        let root = tempfile::tempdir().unwrap();
        let [b, a, odd] = ["in/deep/b.png", "in/a.JPEG", "upload"].map(|name| root.path().join(name));
        write_image(&b, 1);
        write_image(&a, 1);
        fs::write(&odd, "any").unwrap();
        fs::write(root.path().join("in/notes.txt"), "no image").unwrap();
        let folder = root.path().join("in");
        assert_eq!(image_files(&[odd.clone(), folder]).unwrap(), [odd, a, b]);
        let empty = root.path().join("empty");
        fs::create_dir(&empty).unwrap();
        assert!(matches!(image_files(&[empty]), Err(DataError::NoImageFiles { .. })));
        assert!(matches!(image_files(&[root.path().join("absent")]), Err(DataError::NoImageFile { .. })));
    }
}
