//! Labeled images of one split, held in memory or decoded from files on demand.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::augment::{Size, Window};
use super::fitting::Fitting;
use super::members::Members;
use super::name::Base;
use super::paths::Paths;
use super::pixels::Pixels;
use super::{DataError, Framing, ImageShape, LabelSets, Samples};
use crate::config::{DataConfig, OnBadImage};

/// Labeled images of one shape. A data set has at least one image, and each label is the index of a class. In multi-label
/// data, an image has any number of labels, otherwise one.
#[derive(Debug)]
pub struct Dataset {
    origin: PathBuf,
    shape: ImageShape,
    classes: Vec<String>,
    labels: LabelSets,
    pixels: Arc<Pixels>,
    bad: Mutex<BTreeSet<u32>>,
    is_partial: bool,
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
        Self::new(origin, shape, classes, labels.into(), Pixels::Memory { pixels, numbers: None })
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
        let fitting = Fitting { shape, framing: Framing::default() };
        let (mut paths, mut labels) = (Paths::new(Base::new(origin)), Vec::new());
        for (path, label) in files {
            paths.push(&path);
            labels.push(label);
        }
        Self::of_fitted(origin, fitting, classes, paths, labels.into())
    }

    /// Returns the same images with other labels: one, or any number per image.
    ///
    /// # Errors
    /// [`DataError::CountMismatch`] or [`DataError::LabelOutOfRange`].
    pub fn with_labels(mut self, labels: LabelSets) -> Result<Self, DataError> {
        if labels.len() != self.len() {
            let (images, image_count) = (self.origin.clone(), self.len());
            let (labels, label_count) = (self.origin.clone(), labels.len());
            return Err(DataError::CountMismatch { images, image_count, labels, label_count });
        }
        check_labels(&self.origin, labels.flat(), self.classes.len())?;
        self.labels = labels;
        Ok(self)
    }

    /// Like [`from_files`](Self::from_files), with the shape, resizing, and crop of `config`, and one or any number of
    /// classes per image.
    pub(super) fn of_files(
        origin: &Path,
        config: &DataConfig,
        classes: Vec<String>,
        paths: Paths,
        labels: LabelSets,
    ) -> Result<Self, DataError> {
        Self::of_fitted(origin, Fitting::of_config(config), classes, paths, labels)
    }

    fn of_fitted(
        origin: &Path,
        fitting: Fitting,
        classes: Vec<String>,
        paths: Paths,
        labels: LabelSets,
    ) -> Result<Self, DataError> {
        if !matches!(fitting.shape.channels, 1 | 3) {
            return Err(DataError::Channels { got: fitting.shape.channels });
        }
        Self::new(origin, fitting.shape, classes, labels, Pixels::Files { paths, fitting })
    }

    /// Creates a data set of images inside of larger files.
    pub(super) fn of_members(
        origin: &Path,
        config: &DataConfig,
        classes: Vec<String>,
        labels: Vec<u32>,
        members: Members,
    ) -> Result<Self, DataError> {
        let fitting = Fitting::of_config(config);
        let pixels = Pixels::Members { members, base: Base::of_config(config), fitting };
        Self::new(origin, fitting.shape, classes, labels.into(), pixels)
    }

    /// Records whether images were left out because their file, their shard, or their row cannot be read.
    pub(super) fn marked_partial(self, is_partial: bool) -> Self {
        Self { is_partial, ..self }
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
        let Self { origin, shape, labels, pixels, is_partial, .. } = self;
        Self {
            origin: origin.clone(),
            shape: *shape,
            classes: classes.to_vec(),
            labels: labels.renumbered(indices),
            pixels: Arc::clone(pixels),
            bad: Mutex::default(),
            is_partial: *is_partial,
        }
    }

    /// Returns the images at `indices`, which are in ascending order and not empty. Each keeps its name.
    pub(super) fn chosen(&self, indices: &[u32]) -> Self {
        let Self { origin, shape, classes, labels, pixels, is_partial, .. } = self;
        Self {
            origin: origin.clone(),
            shape: *shape,
            classes: classes.clone(),
            labels: labels.chosen(indices),
            pixels: Arc::new(pixels.chosen(indices, shape.values())),
            bad: Mutex::default(),
            is_partial: *is_partial,
        }
    }

    fn new(
        origin: &Path,
        shape: ImageShape,
        classes: Vec<String>,
        labels: LabelSets,
        pixels: Pixels,
    ) -> Result<Self, DataError> {
        check_labels(origin, labels.flat(), classes.len())?;
        if labels.is_empty() || shape.values() == 0 {
            return Err(DataError::Empty { path: origin.to_owned(), split: "usable" });
        }
        if [labels.len(), shape.height, shape.width].into_iter().any(|size| u32::try_from(size).is_err()) {
            return Err(DataError::TooLarge { images: labels.len(), shape });
        }
        let (origin, pixels) = (origin.to_owned(), Arc::new(pixels));
        Ok(Self { origin, shape, classes, labels, pixels, bad: Mutex::default(), is_partial: false })
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

    /// The classes of each image.
    pub fn label_sets(&self) -> &LabelSets {
        &self.labels
    }

    /// Class index of each image. In multi-label data, the class indices of all images, image by image.
    pub fn labels(&self) -> &[u32] {
        self.labels.flat()
    }

    /// Number of images, at least 1.
    #[expect(clippy::len_without_is_empty, reason = "a data set is never empty")]
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Number of images of each class, by index.
    pub fn class_counts(&self) -> Vec<usize> {
        self.labels.counts(self.classes.len(), 0..self.len())
    }

    /// Number of images of each class that do not decode, as found so far.
    pub fn bad_class_counts(&self) -> Vec<usize> {
        self.labels.counts(self.classes.len(), self.bad_images().into_iter().map(|index| index as usize))
    }

    /// The file of image `index`, if each image has a file of its own.
    pub fn file(&self, index: u32) -> Option<PathBuf> {
        self.pixels.file(index as usize)
    }

    /// The images inside of larger files, if they are.
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

    /// Returns the pixels of image `index`, channels x height x width, rounded to 8 bits.
    ///
    /// # Errors
    /// [`DataError::NoSuchImage`], or [`DataError::BadImage`] if the file does not decode.
    pub fn image(&self, index: u32) -> Result<Cow<'_, [u8]>, DataError> {
        Ok(self.part(index, self.shape, |_| None)?.into_bytes())
    }

    /// Like [`image`](Self::image), but only the part that `choose` selects, given the size of the image before it is
    /// resized. Files are resized to `shape`, which may differ from that of the data set.
    pub(super) fn part(
        &self,
        index: u32,
        shape: ImageShape,
        choose: impl FnOnce(Size) -> Option<Window>,
    ) -> Result<Samples<'_>, DataError> {
        let missing = || DataError::NoSuchImage { index, len: self.len() };
        self.pixels.part(index as usize, shape, choose).unwrap_or_else(|| Err(missing()))
    }

    /// Returns the samples of image `index`. With [`OnBadImage::Skip`], an image that does not decode is `None`. It is
    /// logged the first time and recorded in [`bad_images`](Self::bad_images).
    ///
    /// # Errors
    /// As for [`image`](Self::image), but with [`OnBadImage::Skip`] never [`DataError::BadImage`].
    pub fn image_unless_bad(&self, index: u32, on_bad: OnBadImage) -> Result<Option<Samples<'_>>, DataError> {
        self.part_unless_bad(index, on_bad, self.shape, |_| None)
    }

    /// Like [`image_unless_bad`](Self::image_unless_bad), but only the part that `choose` selects; see
    /// [`part`](Self::part).
    pub(super) fn part_unless_bad(
        &self,
        index: u32,
        on_bad: OnBadImage,
        shape: ImageShape,
        choose: impl FnOnce(Size) -> Option<Window>,
    ) -> Result<Option<Samples<'_>>, DataError> {
        match self.part(index, shape, choose) {
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

    /// Whether images are missing because their file, their shard, or their row cannot be read, and they are skipped.
    pub fn is_partial(&self) -> bool {
        self.is_partial
    }

    /// The images found so far that do not decode, in ascending order.
    pub fn bad_images(&self) -> Vec<u32> {
        self.bad.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect()
    }
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
    fn images_get_any_number_of_labels_that_are_classes() {
        let with = |sets: &[&[u32]]| {
            in_memory(&[2, 0], &[1, 2, 3, 4]).unwrap().with_labels(sets.iter().map(|set| set.to_vec()).collect())
        };
        let dataset = with(&[&[1, 2], &[]]).unwrap();
        assert_eq!((dataset.len(), dataset.class_counts()), (2, vec![0, 1, 1]));
        dataset.mark_bad([1]);
        assert_eq!(dataset.bad_class_counts(), [0, 0, 0]);
        dataset.mark_bad([0]);
        assert_eq!(dataset.bad_class_counts(), [0, 1, 1]);
        let other = dataset.with_classes(&[0, 3, 1], &numbered_classes(4));
        assert_eq!(other.label_sets().iter().collect::<Vec<_>>(), [&[1, 3][..], &[]]);
        assert!(matches!(with(&[&[1]]), Err(DataError::CountMismatch { image_count: 2, label_count: 1, .. })));
        assert!(matches!(with(&[&[1], &[3]]), Err(DataError::LabelOutOfRange { label: 3, classes: 3, .. })));
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
            assert_eq!(dataset.image_unless_bad(0, OnBadImage::Skip).unwrap().unwrap(), vec![7_u8, 7].into());
            assert_eq!(dataset.bad_images(), [1]);
        }
        assert_eq!(dataset.file(1), Some(bad));
    }
}
