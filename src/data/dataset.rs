//! Labeled images of one split, held in memory or decoded from files on demand.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::augment::{Size, Window};
use super::fitting::Fitting;
use super::name::Base;
use super::pixels::Pixels;
use super::shards::Members;
use super::{DataError, Framing};
use crate::config::{DataConfig, OnBadImage};

/// Shape of one image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageShape {
    /// 1 (gray) or 3 (RGB) for files; any number for images in memory.
    pub channels: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

impl ImageShape {
    pub(super) fn size(self) -> Size {
        Size { height: self.height, width: self.width }
    }

    /// Number of pixels per channel.
    pub fn plane(self) -> usize {
        self.height * self.width
    }

    /// Channels, rows, and columns, in libtorch's type.
    pub fn sizes(self) -> [i64; 3] {
        [self.channels, self.height, self.width].map(|size| size as i64)
    }

    /// Number of values per image, over all channels.
    pub fn values(self) -> usize {
        self.channels * self.plane()
    }
}

impl fmt::Display for ImageShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}x{}", self.channels, self.height, self.width)
    }
}

/// The training and validation images of a data set, with the same shape and classes.
#[derive(Debug, Clone)]
pub struct Splits {
    /// Images for training.
    pub train: Arc<Dataset>,
    /// Images for validation.
    pub validation: Arc<Dataset>,
}

impl Splits {
    /// Creates the splits of a data set of image files, each given as a path and class index.
    pub(super) fn from_files(
        origin: &Path,
        config: &DataConfig,
        classes: Vec<String>,
        train: Vec<(PathBuf, u32)>,
        validation: Vec<(PathBuf, u32)>,
    ) -> Result<Self, DataError> {
        check_not_empty(origin, train.len(), validation.len())?;
        Ok(Self {
            train: Arc::new(Dataset::of_config(origin, config, classes.clone(), train)?),
            validation: Arc::new(Dataset::of_config(origin, config, classes, validation)?),
        })
    }
}

/// Labeled images of one shape. A data set has at least one image, and each label is the index of a class.
#[derive(Debug)]
pub struct Dataset {
    origin: PathBuf,
    shape: ImageShape,
    classes: Vec<String>,
    labels: Vec<u32>,
    pixels: Arc<Pixels>,
    bad: Mutex<BTreeSet<u32>>,
}

impl Dataset {
    /// Creates a data set of decoded images: `pixels` is images x channels x height x width, and `labels` has one class
    /// index per image. The number of images, the height, and the width must each fit into 32 bits. Messages name the
    /// images by `origin`.
    ///
    /// # Errors
    /// [`DataError::Empty`], [`DataError::TooLarge`], [`DataError::LabelOutOfRange`], or [`DataError::PixelCount`] if
    /// the length of `pixels` does not match `labels` and `shape`.
    pub fn in_memory(
        origin: &Path,
        shape: ImageShape,
        classes: Vec<String>,
        labels: Vec<u32>,
        pixels: Vec<u8>,
    ) -> Result<Self, DataError> {
        let want = [labels.len(), shape.channels, shape.height, shape.width]
            .iter()
            .try_fold(1_u128, |product, &factor| product.checked_mul(factor as u128))
            .unwrap_or(u128::MAX);
        if pixels.len() as u128 != want {
            return Err(DataError::PixelCount { path: origin.to_owned(), got: pixels.len(), want });
        }
        Self::new(origin, shape, classes, labels, Pixels::Memory { pixels, numbers: None })
    }

    /// Creates a data set that decodes images from `files` (path, class index) on every access and resizes them to
    /// `shape`. Messages name the data set by `origin`.
    ///
    /// # Errors
    /// [`DataError::Empty`], [`DataError::LabelOutOfRange`], or [`DataError::Channels`] if the number of channels is
    /// neither 1 nor 3.
    pub fn from_files(
        origin: &Path,
        shape: ImageShape,
        classes: Vec<String>,
        files: Vec<(PathBuf, u32)>,
    ) -> Result<Self, DataError> {
        Self::of_files(origin, Fitting { shape, framing: Framing::default() }, classes, files, Base::new(origin))
    }

    fn of_files(
        origin: &Path,
        fitting: Fitting,
        classes: Vec<String>,
        files: Vec<(PathBuf, u32)>,
        base: Base,
    ) -> Result<Self, DataError> {
        if !matches!(fitting.shape.channels, 1 | 3) {
            return Err(DataError::Channels { got: fitting.shape.channels });
        }
        let (paths, labels) = files.into_iter().unzip();
        Self::new(origin, fitting.shape, classes, labels, Pixels::Files { paths, base, fitting })
    }

    /// Like [`from_files`](Self::from_files), with the shape, resizing, and crop of `config`.
    pub(super) fn of_config(
        origin: &Path,
        config: &DataConfig,
        classes: Vec<String>,
        files: Vec<(PathBuf, u32)>,
    ) -> Result<Self, DataError> {
        Self::of_files(origin, Fitting::of_config(config), classes, files, Base::of_config(config))
    }

    /// Creates a data set of images inside of shards.
    pub(super) fn of_members(
        origin: &Path,
        config: &DataConfig,
        classes: Vec<String>,
        labels: Vec<u32>,
        members: Members,
    ) -> Result<Self, DataError> {
        let fitting = Fitting::of_config(config);
        let pixels = Pixels::Members { members, base: Base::of_config(config), fitting };
        Self::new(origin, fitting.shape, classes, labels, pixels)
    }

    /// Numbers the images: image `i` was number `of_images[i]` in the set before it was split.
    pub(super) fn with_numbers(mut self, of_images: Vec<u64>) -> Self {
        if let Some(Pixels::Memory { numbers, .. }) = Arc::get_mut(&mut self.pixels) {
            *numbers = Some(of_images);
        }
        self
    }

    /// Returns the same images with other class indices: `indices[label]` instead of `label`, among `classes`.
    pub(super) fn with_classes(&self, indices: &[u32], classes: &[String]) -> Self {
        let Self { origin, shape, labels, pixels, .. } = self;
        Self {
            origin: origin.clone(),
            shape: *shape,
            classes: classes.to_vec(),
            labels: labels.iter().filter_map(|&label| indices.get(label as usize).copied()).collect(),
            pixels: Arc::clone(pixels),
            bad: Mutex::default(),
        }
    }

    fn new(
        origin: &Path,
        shape: ImageShape,
        classes: Vec<String>,
        labels: Vec<u32>,
        pixels: Pixels,
    ) -> Result<Self, DataError> {
        check_labels(origin, &labels, classes.len())?;
        if labels.is_empty() || shape.values() == 0 {
            return Err(DataError::Empty { path: origin.to_owned(), split: "usable" });
        }
        if [labels.len(), shape.height, shape.width].into_iter().any(|size| u32::try_from(size).is_err()) {
            return Err(DataError::TooLarge { images: labels.len(), shape });
        }
        Ok(Self { origin: origin.to_owned(), shape, classes, labels, pixels: Arc::new(pixels), bad: Mutex::default() })
    }

    /// Source of the images, for messages.
    pub fn origin(&self) -> &Path {
        &self.origin
    }

    /// Shape of each image.
    pub fn shape(&self) -> ImageShape {
        self.shape
    }

    /// Class names, by index.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// Class index of each image.
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }

    /// Number of images, at least 1.
    #[expect(clippy::len_without_is_empty, reason = "a data set is never empty")]
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Number of images of each class, by index.
    pub fn class_counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.classes.len()];
        for &label in &self.labels {
            if let Some(count) = counts.get_mut(label as usize) {
                *count += 1;
            }
        }
        counts
    }

    /// The file of image `index`, if each image has a file of its own.
    pub fn file(&self, index: u32) -> Option<&Path> {
        self.pixels.file(index as usize)
    }

    /// The images inside of shards, if they are.
    pub(super) fn members(&self) -> Option<&Members> {
        self.pixels.members()
    }

    /// Name of image `index`, independent of the location of the data set: the path of its file relative to the folder
    /// of the set, or its number.
    pub fn name(&self, index: u32) -> String {
        self.pixels.name(index as usize)
    }

    /// Describes the image called `name` for messages: the path of its file, or `image 7`.
    pub fn shown(&self, name: &str) -> String {
        self.pixels.shown(name)
    }

    /// Whether reading an image decodes a file.
    pub fn is_decoded_on_demand(&self) -> bool {
        !matches!(*self.pixels, Pixels::Memory { .. })
    }

    /// Returns the pixels of image `index`, channels x height x width.
    ///
    /// # Errors
    /// [`DataError::NoSuchImage`], or [`DataError::BadImage`] if the file does not decode.
    pub fn image(&self, index: u32) -> Result<Cow<'_, [u8]>, DataError> {
        self.part(index, |_| None)
    }

    /// Like [`image`](Self::image), but only the part that `choose` selects, given the size of the image before it is
    /// resized.
    pub(super) fn part(
        &self,
        index: u32,
        choose: impl FnOnce(Size) -> Option<Window>,
    ) -> Result<Cow<'_, [u8]>, DataError> {
        let missing = || DataError::NoSuchImage { index, len: self.len() };
        self.pixels.part(index as usize, self.shape, choose).unwrap_or_else(|| Err(missing()))
    }

    /// Like [`image`](Self::image), but with [`OnBadImage::Skip`], an image that does not decode is `None`. It is
    /// logged the first time and recorded in [`bad_images`](Self::bad_images).
    ///
    /// # Errors
    /// As for [`image`](Self::image), but with [`OnBadImage::Skip`] never [`DataError::BadImage`].
    pub fn image_unless_bad(&self, index: u32, on_bad: OnBadImage) -> Result<Option<Cow<'_, [u8]>>, DataError> {
        self.part_unless_bad(index, on_bad, |_| None)
    }

    /// Like [`image_unless_bad`](Self::image_unless_bad), but only the part that `choose` selects.
    pub(super) fn part_unless_bad(
        &self,
        index: u32,
        on_bad: OnBadImage,
        choose: impl FnOnce(Size) -> Option<Window>,
    ) -> Result<Option<Cow<'_, [u8]>>, DataError> {
        match self.part(index, choose) {
            Err(DataError::BadImage { path, cause }) if on_bad == OnBadImage::Skip => {
                if self.bad.lock().unwrap_or_else(PoisonError::into_inner).insert(index) {
                    tracing::warn!("{} cannot be decoded and is skipped: {cause}", path.display());
                }
                Ok(None)
            }
            other => other.map(Some),
        }
    }

    /// Records images as not decodable, without logging them again.
    pub fn mark_bad(&self, indices: impl IntoIterator<Item = u32>) {
        let known = indices.into_iter().filter(|&index| (index as usize) < self.len());
        self.bad.lock().unwrap_or_else(PoisonError::into_inner).extend(known);
    }

    /// The images found so far that do not decode, in ascending order.
    pub fn bad_images(&self) -> Vec<u32> {
        self.bad.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect()
    }
}

/// Rejects a split without images, naming the split.
pub(super) fn check_not_empty(origin: &Path, train: usize, validation: usize) -> Result<(), DataError> {
    let split = match (train, validation) {
        (0, _) => "training",
        (_, 0) => "validation",
        _ => return Ok(()),
    };
    Err(DataError::Empty { path: origin.to_owned(), split })
}

/// Rejects labels that are not the index of a class.
pub(super) fn check_labels(origin: &Path, labels: &[u32], classes: usize) -> Result<(), DataError> {
    match labels.iter().enumerate().find(|&(_, &label)| label as usize >= classes) {
        Some((index, &label)) => Err(DataError::LabelOutOfRange { path: origin.to_owned(), index, label, classes }),
        None => Ok(()),
    }
}

/// Names for unnamed classes: `0`, `1`, ...
pub(super) fn numbered_classes(count: usize) -> Vec<String> {
    (0..count).map(|class| class.to_string()).collect()
}

#[cfg(test)]
mod tests {
    use super::super::fixture::write_image;
    use super::*;

    const SHAPE: ImageShape = ImageShape { channels: 1, height: 1, width: 2 };

    fn in_memory(labels: &[u32], pixels: &[u8]) -> Result<Dataset, DataError> {
        Dataset::in_memory(Path::new("here"), SHAPE, numbered_classes(3), labels.to_vec(), pixels.to_vec())
    }

    #[test]
    fn images_in_memory_come_back_by_index() {
        let dataset = in_memory(&[2, 0], &[1, 2, 3, 4]).unwrap();
        assert_eq!(dataset.image(0).unwrap().as_ref(), [1, 2]);
        assert_eq!(dataset.image(1).unwrap().as_ref(), [3, 4]);
        assert!(matches!(dataset.image(2), Err(DataError::NoSuchImage { index: 2, len: 2 })));
        assert_eq!((dataset.len(), dataset.class_counts()), (2, vec![1, 0, 1]));
    }

    #[test]
    fn pixels_that_do_not_fit_the_labels_are_refused() {
        assert!(matches!(in_memory(&[0, 1], &[0; 3]), Err(DataError::PixelCount { got: 3, want: 4, .. })));
        assert!(matches!(in_memory(&[], &[]), Err(DataError::Empty { .. })));
        assert!(matches!(in_memory(&[3], &[0; 2]), Err(DataError::LabelOutOfRange { index: 0, label: 3, .. })));
    }

    #[test]
    fn a_bad_image_is_an_error_or_remembered_once() {
        let folder = tempfile::tempdir().unwrap();
        let (good, bad) = (folder.path().join("good.png"), folder.path().join("bad.png"));
        write_image(&good, 7);
        std::fs::write(&bad, "no image").unwrap();
        let files = vec![(good, 0), (bad.clone(), 0)];
        let dataset = Dataset::from_files(folder.path(), SHAPE, numbered_classes(1), files).unwrap();
        let message = dataset.image_unless_bad(1, OnBadImage::Stop).unwrap_err().to_string();
        assert!(message.contains("bad.png cannot be decoded"), "{message}");
        assert!(dataset.bad_images().is_empty());
        for _ in 0..2 {
            assert!(dataset.image_unless_bad(1, OnBadImage::Skip).unwrap().is_none());
            assert_eq!(dataset.image_unless_bad(0, OnBadImage::Skip).unwrap().unwrap().as_ref(), [7, 7]);
            assert_eq!(dataset.bad_images(), [1]);
        }
        assert_eq!(dataset.file(1), Some(bad.as_path()));
    }
}
