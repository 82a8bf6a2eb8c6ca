//! Batches of normalized, augmented images, in a reproducible order that can resume anywhere.

use std::sync::Arc;

use super::batch::{Batch, BatchMaker};
use super::prefetch::Prefetch;
use super::{DataError, Dataset, ImageShape, PixelScale};
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
            image_size: config.train_image_size,
            augment: Some(config.augment.clone()),
            scale,
            on_bad_image: config.on_bad_image,
            as_bytes: false,
        }
    }

    /// All images by index, without augmentation.
    pub fn for_validation(config: &DataConfig, scale: PixelScale) -> Self {
        Self {
            drop_last: false,
            shuffle: false,
            image_size: None,
            augment: None,
            ..Self::for_training(config, 0, scale)
        }
    }
}

/// Creates the batches of any epoch of a dataset.
///
/// The order of an epoch is a function of (seed, epoch); the augmentation of an image is a function of (seed, epoch,
/// index). Batches are therefore bit-identical with any number of workers and from any first batch.
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
        self.maker.batch(&self.maker.order(0), 0, 0)
    }

    /// Returns the batches of an epoch from number `first_batch` on. Workers start immediately; dropping the epoch
    /// stops them.
    pub fn epoch(&self, epoch: u64, first_batch: usize) -> Epoch {
        let order = self.maker.order(epoch);
        let maker = Arc::clone(&self.maker);
        let LoaderOptions { workers, prefetch, batch_size, .. } = maker.options;
        if let Some(members) = maker.dataset.members() {
            members.start_epoch(&order[..order.len().min(first_batch.saturating_mul(batch_size))]);
        }
        let batches = first_batch..self.batches_per_epoch();
        Epoch(Prefetch::new(batches, workers, prefetch, move |number| maker.batch(&order, epoch, number)))
    }
}

/// The batches of one epoch. The first error ends it. A batch without any decodable image is skipped.
#[derive(Debug)]
pub struct Epoch(Prefetch<Batch>);

impl Epoch {
    /// Returns the next batch; `None` at the end, or if `is_unwanted` turns true during the wait, which loses nothing.
    pub fn next_unless(&mut self, is_unwanted: impl Fn() -> bool) -> Option<Result<Batch, DataError>> {
        loop {
            match self.0.next_unless(&is_unwanted)? {
                Ok(batch) if batch.indices.is_empty() => {}
                batch => return Some(batch),
            }
        }
    }
}

impl Iterator for Epoch {
    type Item = Result<Batch, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_unless(|| false)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::fixture::{NO_AUGMENT, config, write_image};
    use super::super::{ImageShape, dataset::numbered_classes};
    use super::super::{Images, load};
    use super::*;
    use crate::config::Source;

    const EVERYTHING: Augment =
        Augment { random_crop: 2, random_resized_crop: true, hflip: 0.5, vflip: 0.5, cutout: 3, ..NO_AUGMENT };

    /// 24 synthetic training images in batches of five.
    fn loader(workers: usize, change: impl FnOnce(&mut LoaderOptions)) -> Loader {
        let train = load(&config(Source::Synthetic, ""), 1).unwrap().train;
        let config = DataConfig { augment: EVERYTHING, batch_size: 5, workers, ..config(Source::Synthetic, "") };
        let mut options =
            LoaderOptions::for_training(&config, 9, PixelScale::measured(&train, 0, OnBadImage::Stop).unwrap());
        change(&mut options);
        Loader::new(train, options).unwrap()
    }

    fn batches(loader: &Loader, epoch: u64, first_batch: usize) -> Vec<Batch> {
        loader.epoch(epoch, first_batch).map(Result::unwrap).collect()
    }

    #[test]
    fn the_batches_are_the_same_for_any_number_of_workers() {
        let reference = batches(&loader(0, |_| ()), 3, 0);
        for workers in [1, 2, 4] {
            for prefetch in [0, 1, 8] {
                assert_eq!(batches(&loader(workers, |o| o.prefetch = prefetch), 3, 0), reference);
            }
        }
    }

    #[test]
    fn an_epoch_resumed_at_a_batch_is_the_tail_of_the_whole_epoch() {
        for workers in [0, 2] {
            let loader = loader(workers, |_| ());
            let whole = batches(&loader, 3, 0);
            for first in 0..=5 {
                assert_eq!(batches(&loader, 3, first), whole[first..]);
            }
            assert!(batches(&loader, 3, 99).is_empty());
        }
    }

    #[test]
    fn every_image_comes_once_per_epoch_and_in_another_order_and_look_each_time() {
        let loader = loader(0, |_| ());
        let epochs: Vec<Vec<Batch>> = (0..4).map(|epoch| batches(&loader, epoch, 0)).collect();
        for (number, epoch) in epochs.iter().enumerate() {
            assert_eq!(
                epoch.iter().map(|batch| batch.shape).collect::<Vec<_>>(),
                [[5, 1, 8, 8], [5, 1, 8, 8], [5, 1, 8, 8], [5, 1, 8, 8], [4, 1, 8, 8]]
            );
            let mut indices: Vec<u32> = epoch.iter().flat_map(|batch| batch.indices.clone()).collect();
            assert!(epochs[..number].iter().all(|other| other[0].indices != epoch[0].indices));
            indices.sort_unstable();
            assert_eq!(indices, (0..24).collect::<Vec<_>>());
        }
        let look = |epoch: &[Batch], index: u32| -> Vec<f32> {
            let find = |batch: &Batch| {
                let at = batch.indices.iter().position(|&i| i == index)?;
                Some(batch.images.normalized(batch.shape)[64 * at..64 * (at + 1)].to_vec())
            };
            epoch.iter().find_map(find).unwrap()
        };
        assert_ne!(look(&epochs[0], 7), look(&epochs[1], 7));
    }

    #[test]
    fn the_seed_decides_the_order() {
        let first = |seed| batches(&loader(0, |options| options.seed = seed), 0, 0).remove(0).indices;
        assert_eq!(first(1), first(1));
        assert_ne!(first(1), first(2));
    }

    #[test]
    fn a_batch_holds_labels_and_normalized_pixels_of_its_images() {
        let shape = ImageShape { channels: 2, height: 1, width: 2 };
        let pixels = vec![0, 51, 102, 255, 255, 0, 0, 0, 51, 51, 51, 51];
        let dataset = Dataset::in_memory(Path::new("here"), shape, numbered_classes(3), vec![2, 0, 1], pixels).unwrap();
        let scale = PixelScale::new(vec![0.0, 0.5], vec![1.0, 0.25]).unwrap();
        let options =
            LoaderOptions::for_validation(&DataConfig { batch_size: 2, ..config(Source::Synthetic, "") }, scale);
        let batches = batches(&Loader::new(Arc::new(dataset), options).unwrap(), 0, 0);
        let first = Batch {
            number: 0,
            images: Images::Normalized(vec![0.0, 0.2, (0.4 - 0.5) / 0.25, 2.0, 1.0, 0.0, -2.0, -2.0]),
            labels: vec![2, 0],
            multi_hot: Vec::new(),
            indices: vec![0, 1],
            shape: [2, 2, 1, 2],
            mixture: None,
        };
        assert_eq!(batches[0], first);
        assert_eq!((&batches[1].labels, batches[1].shape), (&vec![1], [1, 2, 1, 2]));
    }

    #[test]
    fn a_batch_of_multi_label_data_holds_a_row_of_classes_per_image() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a", "b", "c"] {
            write_image(folder.path().join(format!("{name}.png")), 7);
        }
        let manifest = folder.path().join("labels.csv");
        let rows = "path,label,split\na.png,ant|cat,train\nb.png,,train\nc.png,bee,train\na.png,cat,val\n";
        std::fs::write(&manifest, rows).unwrap();
        let config = DataConfig { multi_label: true, batch_size: 2, ..config(Source::Csv, manifest) };
        let dataset = load(&config, 1).unwrap().train;
        let options = LoaderOptions::for_validation(&config, PixelScale::identity(1));
        let batches = batches(&Loader::new(dataset, options).unwrap(), 0, 0);
        assert_eq!(batches[0].multi_hot, [1.0, 0.0, 1.0, 0.0, 0.0, 0.0]);
        assert_eq!((&batches[1].multi_hot, batches[1].len(), &batches[1].labels), (&vec![0.0, 1.0, 0.0], 1, &vec![]));
    }

    #[test]
    fn files_come_in_the_size_of_the_loader_and_images_in_memory_in_their_own() {
        let folder = tempfile::tempdir().unwrap();
        let loader = file_loader(folder.path(), &[], 1, OnBadImage::Stop);
        let crop = Augment { random_resized_crop: true, random_crop: 1, cutout: 2, ..NO_AUGMENT };
        let size = Some(ImageSize { height: 3, width: 5 });
        let options = LoaderOptions { image_size: size, augment: Some(crop), ..loader.maker.options.clone() };
        let other = Loader::new(Arc::clone(loader.dataset()), options).unwrap();
        assert_eq!(
            (other.shape(), loader.shape()),
            (ImageShape { channels: 1, height: 3, width: 5 }, loader.dataset().shape())
        );
        for batch in batches(&other, 0, 0) {
            assert_eq!(batch.shape[1..], [1, 3, 5]);
            assert_eq!(batch.images.normalized(batch.shape).len(), batch.shape[0] * 15);
        }
        assert_eq!(
            self::loader(0, |options| options.image_size = size).shape(),
            ImageShape { channels: 1, height: 8, width: 8 }
        );
    }

    #[test]
    fn cutout_sets_the_mean() {
        let loader = loader(0, |o| o.augment = Some(Augment { cutout: 64, ..NO_AUGMENT }));
        let is_mean = |batch: &Batch| batch.images.normalized(batch.shape).iter().all(|&value| value == 0.0);
        assert!(batches(&loader, 0, 0).iter().all(is_mean));
    }

    #[test]
    fn bytes_are_the_same_images_not_yet_normalized() {
        let [normalized, bytes] = [false, true].map(|as_bytes| batches(&loader(0, |o| o.as_bytes = as_bytes), 3, 0));
        for (normalized, bytes) in normalized.iter().zip(&bytes) {
            let Images::Bytes(raw) = &bytes.images else { panic!("{:?}", bytes.images) };
            assert_eq!((raw.pixels.len(), raw.cutouts.len()), (bytes.shape.iter().product(), bytes.shape[0]));
            assert_eq!(bytes.images.normalized(bytes.shape), normalized.images.normalized(normalized.shape));
            assert_eq!((&bytes.labels, &bytes.indices), (&normalized.labels, &normalized.indices));
        }
    }

    #[test]
    fn the_last_smaller_batch_can_be_dropped_but_an_epoch_is_never_empty() {
        let dropping = loader(0, |options| options.drop_last = true);
        assert_eq!((dropping.batches_per_epoch(), batches(&dropping, 0, 0).len()), (4, 4));
        for (batch_size, drop_last) in [(0, false), (0, true), (25, true)] {
            let options = LoaderOptions { batch_size, drop_last, ..dropping.maker.options.clone() };
            let error = Loader::new(Arc::clone(dropping.dataset()), options).unwrap_err();
            assert!(matches!(error, DataError::NoBatch { images: 24, .. }), "{error}");
        }
        let options = LoaderOptions { scale: PixelScale::identity(3), ..dropping.maker.options.clone() };
        assert!(Loader::new(Arc::clone(dropping.dataset()), options).is_err());
    }

    /// Seven image files in batches of two; those in `bad` do not decode.
    fn file_loader(folder: &Path, bad: &[u32], workers: usize, on_bad_image: OnBadImage) -> Loader {
        let path = |index: u32| folder.join(format!("{index}.png"));
        (0..7).for_each(|index| write_image(path(index), index as u8));
        bad.iter().for_each(|&index| std::fs::write(path(index), "no image").unwrap());
        let shape = ImageShape { channels: 1, height: 2, width: 2 };
        let files = (0..7).map(|index| (path(index), 0)).collect();
        let dataset = Dataset::from_files(folder, shape, numbered_classes(1), files).unwrap();
        let config = DataConfig { batch_size: 2, workers, on_bad_image, ..config(Source::Synthetic, "") };
        Loader::new(Arc::new(dataset), LoaderOptions::for_validation(&config, PixelScale::identity(1))).unwrap()
    }

    #[test]
    fn bad_images_are_left_out_and_a_batch_without_images_is_not_yielded() {
        let folder = tempfile::tempdir().unwrap();
        for workers in [0, 1, 3] {
            let loader = file_loader(folder.path(), &[1, 4, 5], workers, OnBadImage::Skip);
            for _ in 0..2 {
                let epoch = batches(&loader, 0, 0);
                let seen: Vec<_> = epoch.iter().map(|batch| (batch.number, batch.indices.clone())).collect();
                assert_eq!(seen, [(0, vec![0]), (1, vec![2, 3]), (3, vec![6])]);
                assert_eq!((epoch[0].shape, &epoch[0].images), ([1, 1, 2, 2], &Images::Normalized(vec![0.0; 4])));
                assert_eq!(loader.dataset().bad_images(), [1, 4, 5]);
            }
            assert_eq!(batches(&loader, 0, 2)[0].number, 3);
        }
    }

    #[test]
    fn a_bad_image_that_is_not_allowed_ends_the_epoch_with_its_name() {
        let folder = tempfile::tempdir().unwrap();
        for workers in [0, 1, 3] {
            let results: Vec<_> = file_loader(folder.path(), &[3], workers, OnBadImage::Stop).epoch(0, 0).collect();
            assert_eq!(results.len(), 2);
            assert!(results[1].as_ref().unwrap_err().to_string().contains("3.png cannot be decoded"));
        }
    }
}
