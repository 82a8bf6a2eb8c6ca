//! Mean and standard deviation for pixel normalization.

use std::sync::Arc;

use super::prefetch::Prefetch;
use super::{DataError, Dataset, Samples};
use crate::config::{DataConfig, Normalize, OnBadImage};

/// Maximum number of images to decode for mean and standard deviation: enough for two digits of both, in seconds
/// instead of the time of an epoch.
const MAX_DECODED: usize = 2_000;

/// One mean and one standard deviation per channel, for pixels in 0..=1: `value = (pixel / 255 - mean) / std`.
#[derive(Debug, Clone, PartialEq)]
pub struct PixelScale {
    mean: Vec<f32>,
    std: Vec<f32>,
}

impl PixelScale {
    /// Creates a scale with the given values.
    ///
    /// # Errors
    /// [`DataError::PixelScaleChannels`] if the lengths differ; [`DataError::PixelScale`] if a value is not finite or a
    /// standard deviation is not positive.
    pub fn new(mean: Vec<f32>, std: Vec<f32>) -> Result<Self, DataError> {
        if mean.len() != std.len() {
            return Err(DataError::PixelScaleChannels { mean: mean.len(), std: std.len(), channels: mean.len() });
        }
        let bad = |&(_, (&mean, &std)): &(usize, (&f32, &f32))| !(mean.is_finite() && std.is_finite() && std > 0.0);
        match mean.iter().zip(&std).enumerate().find(bad) {
            Some((channel, (&mean, &std))) => Err(DataError::PixelScale { channel, mean, std }),
            None => Ok(Self { mean, std }),
        }
    }

    /// A scale that keeps pixels in 0..=1.
    pub fn identity(channels: usize) -> Self {
        Self { mean: vec![0.0; channels], std: vec![1.0; channels] }
    }

    /// Creates the scale that `config` selects. [`Normalize::Computed`] measures `train`; validation uses the same
    /// scale.
    ///
    /// # Errors
    /// As for [`new`](Self::new) and [`measured`](Self::measured).
    pub fn from_config(config: &DataConfig, train: &Arc<Dataset>) -> Result<Self, DataError> {
        let single = |values: &[f64]| values.iter().map(|&value| value as f32).collect();
        match config.normalize {
            Normalize::None => Ok(Self::identity(train.shape().channels)),
            Normalize::Given => Self::new(single(&config.mean), single(&config.std))?.checked_for(train),
            Normalize::Computed => Self::measured(train, config.workers, config.on_bad_image),
        }
    }

    /// Computes the mean and the (population) standard deviation of each channel: over all images in memory, or over at
    /// most 2,000 evenly spaced images decoded from files, on `workers` threads.
    ///
    /// # Errors
    /// [`DataError::PixelScale`] if all pixels of a channel are equal; [`DataError::Empty`] if every image is bad; as
    /// for [`Dataset::image_unless_bad`].
    pub fn measured(dataset: &Arc<Dataset>, workers: usize, on_bad: OnBadImage) -> Result<Self, DataError> {
        let len = dataset.len();
        let (count, workers) = if dataset.is_decoded_on_demand() { (len.min(MAX_DECODED), workers) } else { (len, 0) };
        let source = Arc::clone(dataset);
        let measure = move |sample: usize| {
            let image = source.image_unless_bad((sample * len / count) as u32, on_bad)?;
            Ok(image.map(|image| Sums::of(&image, source.shape().plane())))
        };
        let mut totals = vec![Sums::default(); dataset.shape().channels];
        for sums in Prefetch::new(0..count, workers, workers, measure) {
            for (total, sums) in totals.iter_mut().zip(sums?.unwrap_or_default()) {
                total.add(sums);
            }
        }
        let none_decodes = || DataError::Empty { path: dataset.origin().to_owned(), split: "decodable" };
        let moments: Option<Vec<_>> = totals.iter().map(Sums::moments).collect();
        let (mean, std) = moments.ok_or_else(none_decodes)?.into_iter().unzip();
        Self::new(mean, std)
    }

    /// Mean of each channel, in 0..=1.
    pub fn mean(&self) -> &[f32] {
        &self.mean
    }

    /// Standard deviation of each channel, in 0..=1.
    pub fn std(&self) -> &[f32] {
        &self.std
    }

    /// Returns the scale if its number of channels matches the images.
    pub(super) fn checked_for(self, dataset: &Dataset) -> Result<Self, DataError> {
        let channels = dataset.shape().channels;
        if self.mean.len() == channels {
            return Ok(self);
        }
        Err(DataError::PixelScaleChannels { mean: self.mean.len(), std: self.std.len(), channels })
    }

    /// Normalized value of each byte, per channel. A table gives the values of the formula bit for bit, at the cost of
    /// a multiplication.
    pub(super) fn tables(&self) -> Vec<[f32; 256]> {
        let table = |(mean, std): (&f32, &f32)| std::array::from_fn(|pixel| (pixel as f32 / 255.0 - mean) / std);
        self.mean.iter().zip(&self.std).map(table).collect()
    }
}

/// Appends the normalized pixels of an image of channels x plane bytes; `tables` has one table per channel.
pub(super) fn append_normalized(tables: &[[f32; 256]], image: &[u8], plane: usize, values: &mut Vec<f32>) {
    for (plane, table) in image.chunks_exact(plane).zip(tables) {
        values.extend(plane.iter().map(|&pixel| table[usize::from(pixel)]));
    }
}

/// Sums over the samples of a channel: exact, so the order of the images does not matter.
#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    bytes: Powers,
    words: Powers,
}

/// Number, sum, and sum of squares.
#[derive(Debug, Clone, Copy, Default)]
struct Powers([u128; 3]);

impl Powers {
    fn of<T: Copy + Into<u64>>(samples: &[T]) -> Self {
        let sum: u64 = samples.iter().map(|&sample| sample.into()).sum();
        let square_sum: u64 = samples.iter().map(|&sample| sample.into() * sample.into()).sum();
        Self([samples.len() as u128, sum.into(), square_sum.into()])
    }

    fn plus(self, other: Self) -> Self {
        Self(std::array::from_fn(|power| self.0[power] + other.0[power]))
    }

    /// The powers of samples that are multiplied by `factor`.
    fn times(self, factor: u128) -> Self {
        let Self([count, sum, square_sum]) = self;
        Self([count, factor * sum, factor * factor * square_sum])
    }
}

impl Sums {
    /// The sums of each channel.
    fn of(image: &Samples<'_>, plane: usize) -> Vec<Self> {
        match image {
            Samples::Bytes(bytes) => {
                bytes.chunks_exact(plane).map(|plane| Self { bytes: Powers::of(plane), ..Self::default() }).collect()
            }
            Samples::Words(words) => {
                words.chunks_exact(plane).map(|plane| Self { words: Powers::of(plane), ..Self::default() }).collect()
            }
        }
    }

    fn add(&mut self, other: Self) {
        self.bytes = self.bytes.plus(other.bytes);
        self.words = self.words.plus(other.words);
    }

    /// Mean and standard deviation in 0..=1; `None` without pixels.
    fn moments(&self) -> Option<(f32, f32)> {
        let has_words = self.words.0[0] > 0;
        let white = if has_words { 65_535.0 } else { 255.0 };
        // A byte is the 257th part of the word for the same brightness.
        let powers = if has_words { self.bytes.times(257).plus(self.words) } else { self.bytes };
        let Powers([count, sum, square_sum]) = powers;
        let variance_times_count_squared = count * square_sum - sum * sum;
        let std = (variance_times_count_squared as f64).sqrt() / count as f64;
        (count > 0).then(|| ((sum as f64 / count as f64 / white) as f32, (std / white) as f32))
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::super::fixture::{config, write_image};
    use super::super::{ImageShape, dataset::numbered_classes};
    use super::*;
    use crate::config::Source;

    /// Images with two channels of two pixels each.
    fn dataset(pixels: &[u8]) -> Arc<Dataset> {
        let shape = ImageShape { channels: 2, height: 1, width: 2 };
        let labels = vec![0; pixels.len() / 4];
        Arc::new(Dataset::in_memory(Path::new("here"), shape, numbered_classes(1), labels, pixels.to_vec()).unwrap())
    }

    #[test]
    fn mean_and_deviation_are_those_of_each_channel() {
        // Channel 0 is 0, 51, 102, 255: mean 102, squared deviations 10404, 2601, 0, 23409, variance 9103.5.
        // Channel 1 is 0, 0, 255, 255: mean 127.5, deviation 127.5.
        let scale = PixelScale::measured(&dataset(&[0, 51, 0, 255, 102, 255, 0, 255]), 0, OnBadImage::Stop).unwrap();
        assert_eq!(scale.mean(), [0.4, 0.5]);
        assert_eq!(scale.std(), [(9103.5_f64.sqrt() / 255.0) as f32, 0.5]);
    }

    #[test]
    fn sixteen_bits_count_with_their_own_precision() {
        let sums = |images: &[Samples<'_>]| {
            let mut total = Sums::default();
            images.iter().for_each(|image| total.add(Sums::of(image, 2)[0]));
            total.moments().unwrap()
        };
        // 0 and 3 of 65,535: mean 1.5, standard deviation 1.5.
        let fine = (1.5_f64 / 65_535.0) as f32;
        assert_eq!(sums(&[vec![0_u16, 3].into()]), (fine, fine));
        // The same brightness with 8 and with 16 bits.
        let bytes = sums(&[vec![10_u8, 20].into(), vec![30_u8, 40].into()]);
        assert_eq!(sums(&[vec![10_u8, 20].into(), vec![30 * 257_u16, 40 * 257].into()]), bytes);
    }

    #[test]
    fn a_channel_without_variation_is_refused() {
        let error = PixelScale::measured(&dataset(&[0, 255, 51, 51]), 0, OnBadImage::Stop).unwrap_err();
        assert_eq!(
            error.to_string(),
            "channel 1 has mean 0.2 and std 0, want finite numbers and std > 0: set data.normalize"
        );
    }

    #[test]
    fn the_config_chooses_the_scale() {
        let train = dataset(&[0, 51, 0, 255, 102, 255, 0, 255]);
        let base = config(Source::Synthetic, "");
        assert_eq!(PixelScale::from_config(&base, &train).unwrap(), PixelScale::identity(2));
        let computed = DataConfig { normalize: Normalize::Computed, ..base.clone() };
        assert_eq!(PixelScale::from_config(&computed, &train).unwrap().mean(), [0.4, 0.5]);
        let given = DataConfig { normalize: Normalize::Given, mean: vec![0.5, 0.25], std: vec![0.5, 2.0], ..base };
        let scale = PixelScale::from_config(&given, &train).unwrap();
        assert_eq!((scale.mean(), scale.std()), ([0.5, 0.25].as_slice(), [0.5, 2.0].as_slice()));
        let single = DataConfig { mean: vec![0.5], std: vec![0.5], ..given.clone() };
        assert!(matches!(
            PixelScale::from_config(&single, &train),
            Err(DataError::PixelScaleChannels { mean: 1, std: 1, channels: 2 })
        ));
        let zero = DataConfig { std: vec![0.5, 0.0], ..given };
        assert!(matches!(PixelScale::from_config(&zero, &train), Err(DataError::PixelScale { channel: 1, .. })));
    }

    #[test]
    fn tables_hold_the_formula() {
        let tables = PixelScale::new(vec![0.5], vec![0.25]).unwrap().tables();
        assert_eq!([tables[0][0], tables[0][51], tables[0][255]], [-2.0, (0.2 - 0.5) / 0.25, 2.0]);
    }

    /// `count` one-pixel files; those in `bad` do not decode, the others alternate between 0 and 200.
    fn files(folder: &Path, count: u32, bad: &[u32]) -> Arc<Dataset> {
        let path = |index: u32| folder.join(format!("{index}.png"));
        for index in 0..count {
            write_image(path(index), if index % 2 == 0 { 0 } else { 200 });
        }
        bad.iter().for_each(|&index| std::fs::write(path(index), "no image").unwrap());
        let files: Vec<(PathBuf, u32)> = (0..count).map(|index| (path(index), 0)).collect();
        let shape = ImageShape { channels: 1, height: 1, width: 1 };
        Arc::new(Dataset::from_files(folder, shape, numbered_classes(1), files).unwrap())
    }

    #[test]
    fn of_many_files_an_evenly_spaced_sample_is_decoded() {
        let folder = tempfile::tempdir().unwrap();
        // Samples every second of 4,000 files, all of which are black.
        let dataset = files(folder.path(), 4_000, &[]);
        let error = PixelScale::measured(&dataset, 2, OnBadImage::Stop).unwrap_err();
        assert!(matches!(error, DataError::PixelScale { channel: 0, mean: 0.0, std: 0.0 }), "{error}");
    }

    #[test]
    fn bad_images_are_skipped_if_allowed_and_the_threads_do_not_matter() {
        let folder = tempfile::tempdir().unwrap();
        let dataset = files(folder.path(), 6, &[2]);
        for workers in [0, 1, 3] {
            let scale = PixelScale::measured(&dataset, workers, OnBadImage::Skip).unwrap();
            assert_eq!(scale.mean(), [(600.0 / 5.0 / 255.0) as f32]);
            assert!(PixelScale::measured(&dataset, workers, OnBadImage::Stop).is_err());
        }
        assert_eq!(dataset.bad_images(), [2]);
        let hopeless = files(folder.path(), 2, &[0, 1]);
        let message = PixelScale::measured(&hopeless, 0, OnBadImage::Skip).unwrap_err().to_string();
        assert!(message.contains("no decodable image"), "{message}");
    }
}
