//! Batches of normalized, augmented images, in a reproducible order that can resume anywhere.

use std::sync::Arc;

use super::batch::{Batch, BatchMaker};
use super::prefetch::Prefetch;
use super::{DataError, Dataset, ImageShape, Images, PixelScale};
use crate::config::{Augment, DataConfig, ImageSize, OnBadImage};

/// Options of a [`Loader`].
#[derive(Debug, Clone)]
pub struct LoaderOptions {
    /// Images per batch.
    pub batch_size: usize,
    /// Seed of shuffling and augmentation.
    pub seed: u64,
    /// Threads that decode and augment; 0 loads in the caller's thread.
    pub workers: usize,
    /// Number of batches to prefetch, in addition to the one that each worker is loading.
    pub prefetch: usize,
    /// Whether to drop the last, smaller batch.
    pub drop_last: bool,
    /// Whether to shuffle each epoch; otherwise images come by index.
    pub shuffle: bool,
    /// Number of images that an epoch of shards is shuffled over at a time.
    pub shuffle_buffer: usize,
    /// Epochs at whose start labels are shuffled, in ascending order.
    pub label_shuffle_epochs: Vec<u64>,
    /// Size of each image if it differs from that of the data set. For image files only.
    pub image_size: Option<ImageSize>,
    /// Random augmentation of each image.
    pub augment: Option<Augment>,
    /// Pixel normalization.
    pub scale: PixelScale,
    /// Handling of images that do not decode.
    pub on_bad_image: OnBadImage,
    /// Whether batches stay bytes that the device normalizes: a quarter of the copied bytes.
    pub as_bytes: bool,
}

impl LoaderOptions {
    /// Shuffled and augmented batches, according to `config`.
    pub fn for_training(config: &DataConfig, seed: u64, scale: PixelScale) -> Self {
        Self {
            batch_size: config.batch_size,
            seed,
            workers: config.workers,
            prefetch: config.prefetch,
            drop_last: config.drop_last,
            shuffle: true,
            shuffle_buffer: config.shuffle_buffer,
            label_shuffle_epochs: config.label_shuffle_epochs.clone(),
            image_size: config.train_image_size,
            augment: Some(config.augment.clone()),
            scale,
            on_bad_image: config.on_bad_image,
            as_bytes: false,
        }
    }

    /// All images by index, with their own labels and without augmentation.
    pub fn for_validation(config: &DataConfig, scale: PixelScale) -> Self {
        Self {
            drop_last: false,
            shuffle: false,
            label_shuffle_epochs: Vec::new(),
            image_size: None,
            augment: None,
            ..Self::for_training(config, 0, scale)
        }
    }
}

/// Creates the batches of any epoch of a dataset.
///
/// The order of an epoch and its labels are functions of (seed, epoch); the augmentation of an image is a function of
/// (seed, epoch, index). Batches are therefore bit-identical with any number of workers and from any first batch.
#[derive(Debug)]
pub struct Loader {
    maker: Arc<BatchMaker>,
}

impl Loader {
    /// Creates a loader of `dataset`.
    ///
    /// # Errors
    /// [`DataError::NoBatch`] if an epoch would be empty; [`DataError::PixelScaleChannels`] if the scale does not match
    /// the channels of the dataset.
    pub fn new(dataset: Arc<Dataset>, options: LoaderOptions) -> Result<Self, DataError> {
        let loader = Self { maker: Arc::new(BatchMaker::new(dataset, options)?) };
        if loader.batches_per_epoch() == 0 {
            let BatchMaker { dataset, options, .. } = loader.maker.as_ref();
            return Err(DataError::NoBatch { batch_size: options.batch_size, images: dataset.len() });
        }
        Ok(loader)
    }

    /// The options.
    pub(crate) fn options(&self) -> &LoaderOptions {
        &self.maker.options
    }

    /// Shape of each image in a batch.
    pub fn shape(&self) -> ImageShape {
        self.maker.shape()
    }

    /// The dataset.
    pub fn dataset(&self) -> &Arc<Dataset> {
        &self.maker.dataset
    }

    /// Batches per epoch, at least 1.
    pub fn batches_per_epoch(&self) -> usize {
        let BatchMaker { dataset, options, .. } = self.maker.as_ref();
        let whole = dataset.len().checked_div(options.batch_size).unwrap_or(0);
        let has_rest =
            !options.drop_last && options.batch_size > 0 && !dataset.len().is_multiple_of(options.batch_size);
        whole + usize::from(has_rest)
    }

    /// Loads the first batch of the first epoch in the caller's thread.
    ///
    /// # Errors
    /// If an image cannot be loaded.
    pub fn first_batch(&self) -> Result<Batch, DataError> {
        self.maker.batch(&self.maker.order(0), &self.maker.labels(0), 0, 0)
    }

    /// Returns the batches of an epoch from number `first_batch` on. Workers start immediately; dropping the epoch
    /// stops them.
    pub fn epoch(&self, epoch: u64, first_batch: usize) -> Epoch {
        self.part_of_epoch(epoch, (first_batch..self.batches_per_epoch()).collect())
    }

    /// Returns only the batches of an epoch with these numbers, which must be in ascending order.
    pub fn part_of_epoch(&self, epoch: u64, numbers: Vec<usize>) -> Epoch {
        let (order, labels) = (self.maker.order(epoch), self.maker.labels(epoch));
        let maker = Arc::clone(&self.maker);
        let LoaderOptions { workers, prefetch, batch_size, .. } = maker.options;
        if let Some(members) = maker.dataset.members() {
            let first_batch = numbers.first().copied().unwrap_or(usize::MAX);
            members.start_epoch(&order[..order.len().min(first_batch.saturating_mul(batch_size))]);
        }
        let count = numbers.len();
        let batch = move |index: usize| maker.batch(&order, &labels, epoch, numbers[index]);
        Epoch(Prefetch::new(0..count, workers, prefetch, batch))
    }

    /// A batch of one black image, for a pass whose results do not count.
    pub(crate) fn blank_batch(&self) -> Batch {
        let (shape, dataset) = (self.shape(), self.dataset());
        let [channels, height, width] = shape.sizes().map(|size| size as usize);
        let is_multi_label = dataset.label_sets().is_multi_label();
        Batch {
            number: 0,
            images: Images::Normalized(vec![0.0; channels * height * width]),
            labels: if is_multi_label { Vec::new() } else { vec![0] },
            multi_hot: if is_multi_label { vec![0.0; dataset.classes().len()] } else { Vec::new() },
            indices: vec![0],
            shape: [1, channels, height, width],
            mixture: None,
        }
    }

    /// Indices of the images of a batch.
    pub fn indices(&self, epoch: u64, number: usize) -> Vec<u32> {
        let batch_size = self.maker.options.batch_size;
        self.maker.order(epoch).into_iter().skip(number * batch_size).take(batch_size).collect()
    }
}

/// The batches of one epoch. The first error ends it. A batch without any decodable image is skipped.
#[derive(Debug)]
pub struct Epoch(Prefetch<Batch>);

impl Epoch {
    /// Returns the next batch; `None` at the end, or if `is_unwanted` turns true during the wait, which loses nothing.
    pub fn next_unless(&mut self, is_unwanted: impl Fn() -> bool) -> Option<Result<Batch, DataError>> {
        loop {
            match self.next_or_empty(&is_unwanted)? {
                Ok(batch) if batch.indices.is_empty() => {}
                batch => return Some(batch),
            }
        }
    }

    /// Like [`next_unless`](Self::next_unless), with the batches that have no decodable image.
    pub(crate) fn next_or_empty(&mut self, is_unwanted: impl Fn() -> bool) -> Option<Result<Batch, DataError>> {
        self.0.next_unless(is_unwanted)
    }
}

impl Iterator for Epoch {
    type Item = Result<Batch, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_unless(|| false)
    }
}

#[cfg(test)]
mod tests;
