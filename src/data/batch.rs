//! Makes the batches of an epoch.

use std::sync::Arc;

use super::augment::{Augmenter, Erased, Mixture};
use super::images::fill;
use super::label_shuffle::LabelShuffle;
use super::random::{Purpose, Stream};
use super::{Bytes, DataError, Dataset, ImageShape, Images, LoaderOptions};
use crate::config::ImageSize;

/// Images of an epoch, at least one.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// Index in the epoch, from 0. If bad images are skipped, indices may be missing; resume by this number.
    pub number: usize,
    /// Pixels, images x channels x height x width.
    pub images: Images,
    /// Class index of each image, after [label shuffles](LoaderOptions::label_shuffle_epochs); empty in multi-label data.
    pub labels: Vec<i64>,
    /// In multi-label data, images x classes: 1 for each class of an image, otherwise 0. Empty if each image has one class.
    pub multi_hot: Vec<f32>,
    /// Index of each image in its dataset.
    pub indices: Vec<u32>,
    /// Images, channels, height, width.
    pub shape: [usize; 4],
    /// How to mix the images and their labels on the device.
    pub mixture: Option<Mixture>,
}

impl Batch {
    /// Number of images, at least 1.
    #[expect(clippy::len_without_is_empty, reason = "a batch is never empty")]
    pub fn len(&self) -> usize {
        self.indices.len()
    }

    /// The label of each image, that of its partner, and the weight of the partner's label; `None` without a mixture.
    pub(crate) fn mixed_labels(&self) -> Option<impl Iterator<Item = (i64, i64, f32)>> {
        let parts = &self.mixture.as_ref()?.parts;
        let pairs = self.labels.iter().zip(self.labels.iter().rev()).zip(parts);
        Some(pairs.map(|((&own, &partner), part)| (own, partner, part.share)))
    }
}

/// Shared data of all workers.
#[derive(Debug)]
pub(super) struct BatchMaker {
    pub dataset: Arc<Dataset>,
    pub options: LoaderOptions,
    augmenter: Option<Augmenter>,
    /// The normalized value of each byte, per channel.
    tables: Arc<[[f32; 256]]>,
    /// Of each image in a batch.
    shape: ImageShape,
}

impl BatchMaker {
    /// # Errors
    /// [`DataError::PixelScaleChannels`] if the scale does not match the channels of the dataset.
    pub(super) fn new(dataset: Arc<Dataset>, options: LoaderOptions) -> Result<Self, DataError> {
        let tables = options.scale.clone().checked_for(&dataset)?.tables().into();
        let own = dataset.shape();
        let shape = match options.image_size {
            Some(ImageSize { height, width }) if dataset.is_decoded_on_demand() => ImageShape { height, width, ..own },
            _ => own,
        };
        let augmenter = options.augment.as_ref().map(|augment| Augmenter::new(augment, shape, options.scale.mean()));
        Ok(Self { dataset, options, augmenter, tables, shape })
    }

    pub(super) fn shape(&self) -> ImageShape {
        self.shape
    }

    pub(super) fn order(&self, epoch: u64) -> Vec<u32> {
        let mut order: Vec<u32> = (0..).take(self.dataset.len()).collect();
        if self.options.shuffle {
            let mut stream = Stream::new(self.options.seed, Purpose::Order, epoch, 0);
            match self.dataset.members() {
                Some(members) => order = members.order(self.options.shuffle_buffer, &mut stream),
                None => stream.shuffle(&mut order),
            }
        }
        match self.repeats() {
            1 => order,
            repeats => {
                let repeated = order.iter().flat_map(|&index| std::iter::repeat_n(index, repeats));
                repeated.take(order.len()).collect()
            }
        }
    }

    /// The owners of an epoch's labels.
    pub(super) fn labels(&self, epoch: u64) -> LabelShuffle {
        let LoaderOptions { label_shuffle_epochs, seed, .. } = &self.options;
        LabelShuffle::of_epoch(label_shuffle_epochs, *seed, epoch, self.dataset.len())
    }

    /// Number of times in a row that an epoch shows an image.
    fn repeats(&self) -> usize {
        self.augmenter.as_ref().map_or(1, |augmenter| augmenter.options().repeats.max(1))
    }

    pub(super) fn batch(
        &self,
        order: &[u32],
        labels: &LabelShuffle,
        epoch: u64,
        number: usize,
    ) -> Result<Batch, DataError> {
        let shape = self.shape;
        let first = number * self.options.batch_size;
        let planned = order.chunks(self.options.batch_size).nth(number).unwrap_or_default();
        let mut images = Images::Bytes(Bytes::with_capacity(planned.len(), shape, &self.tables));
        let mut indices = Vec::with_capacity(planned.len());
        let mut erased = Vec::new();
        for (place, &index) in (first..).zip(planned) {
            // Each repeat of an image has its own stream.
            let stream = (place % self.repeats()) as u64 * (1 << 32) + u64::from(index);
            let stream = Stream::new(self.options.seed, Purpose::Augmentation, epoch, stream);
            if let Some(rectangles) = self.append_image(index, stream, &mut images)? {
                indices.push(index);
                erased.push(rectangles);
            }
        }
        let mut stream = Stream::new(self.options.seed, Purpose::Mixture, epoch, number as u64);
        let mixture = self.augmenter.as_ref().and_then(|augmenter| augmenter.mixture(indices.len(), &mut stream));
        let shape = [indices.len(), shape.channels, shape.height, shape.width];
        let (labels, multi_hot) = self.targets(&indices, labels);
        Ok(Batch { number, images: self.erase(images, shape, &erased), labels, multi_hot, indices, shape, mixture })
    }

    /// The labels of these images, or their multi-hot rows.
    fn targets(&self, indices: &[u32], labels: &LabelShuffle) -> (Vec<i64>, Vec<f32>) {
        let (sets, classes) = (self.dataset.label_sets(), self.dataset.classes().len());
        let of = |&index: &u32| sets.of(labels.owner(index) as usize);
        if !sets.is_multi_label() {
            return (indices.iter().flat_map(of).map(|&label| i64::from(label)).collect(), Vec::new());
        }
        let mut multi_hot = vec![0.0; indices.len() * classes];
        for (row, set) in multi_hot.chunks_exact_mut(classes.max(1)).zip(indices.iter().map(of)) {
            set.iter().for_each(|&class| row[class as usize] = 1.0);
        }
        (Vec::new(), multi_hot)
    }

    /// Appends image `index`, augmented, and returns the rectangles to erase in it; `None` if it is bad and skipped.
    fn append_image(
        &self,
        index: u32,
        mut stream: Stream,
        images: &mut Images,
    ) -> Result<Option<Vec<Erased>>, DataError> {
        let augmenter = self.augmenter.as_ref();
        let choose = |size| augmenter.and_then(|augmenter| augmenter.window(size, &mut stream));
        let part = self.dataset.part_unless_bad(index, self.options.on_bad_image, self.shape, choose)?;
        let Some(mut image) = part else {
            return Ok(None);
        };
        if let Some(augmenter) = augmenter {
            image = augmenter.change_pixels(image, &mut stream);
        }
        images.append(&image, &self.options.scale, &self.tables, self.shape);
        Ok(Some(augmenter.map(|augmenter| augmenter.erased(&mut stream)).unwrap_or_default()))
    }

    /// Erases rectangles of the images. Bytes stay bytes if the device can do it: with at most one rectangle of zeros
    /// per image.
    fn erase(&self, mut images: Images, shape: [usize; 4], erased: &[Vec<Erased>]) -> Images {
        let is_simple = erased.iter().all(|rectangles| matches!(rectangles[..], [] | [Erased { noise: None, .. }]));
        if let Images::Bytes(bytes) = &mut images
            && is_simple
        {
            if erased.iter().any(|rectangles| !rectangles.is_empty()) {
                bytes.cutouts =
                    erased.iter().map(|all| all.first().map_or([0; 4], |erased| erased.rectangle)).collect();
            }
            return if self.options.as_bytes { images } else { Images::Normalized(bytes.normalized(shape)) };
        }
        let mut values = images.normalized(shape).into_owned();
        let [_, channels, height, width] = shape;
        for (image, rectangles) in values.chunks_exact_mut(channels * height * width).zip(erased) {
            rectangles.iter().for_each(|Erased { rectangle, noise }| {
                fill(image, height * width, width, *rectangle, noise.as_deref());
            });
        }
        Images::Normalized(values)
    }
}
