//! Random images around one smooth pattern per class: a data set without files.

use std::path::Path;
use std::sync::Arc;

use super::dataset::numbered_classes;
use super::error::gigabytes;
use super::random::{Purpose, Stream};
use super::splits::{Splits, check_not_empty};
use super::{DataError, Dataset, ImageShape, memory, split};
use crate::config::DataConfig;

/// Data sets of at least this size take long enough to be announced.
const LARGE_BYTES: u64 = 500_000_000;
/// Index, label, and position within the class, while images are assigned to splits.
const BOOKKEEPING_BYTES: usize = 40;

/// Knots of a pattern along each side; values in between are interpolated.
const KNOTS: usize = 4;

/// Draws `config.samples` images. Image `i` has class `i % classes` and depends only on `seed` and `i`. A stratified
/// fraction is held out for validation, by `seed` and `i`.
pub(super) fn load(config: &DataConfig, seed: u64) -> Result<Splits, DataError> {
    let (origin, shape) = (Path::new("the synthetic data set"), super::configured_shape(config));
    let samples = if config.classes == 0 { 0 } else { config.samples };
    let too_large = || DataError::TooLarge { images: samples, shape };
    if u32::try_from(samples).is_err() || samples.checked_mul(shape.values()).is_none() {
        return Err(too_large());
    }
    let want_bytes = bytes(samples, shape);
    match memory::free_bytes() {
        Some(free_bytes) if want_bytes > free_bytes => {
            return Err(DataError::NoMemory { images: samples, shape, want_bytes, free_bytes });
        }
        _ if want_bytes >= LARGE_BYTES => {
            tracing::info!("generating {samples} synthetic images of {shape}: {} GB of memory", gigabytes(want_bytes));
        }
        _ => {}
    }
    let labels: Vec<u32> = (0..config.classes as u32).cycle().take(samples).collect();
    let held_back = split::held_back(&labels, config.validation_fraction, seed);
    let (train, validation) = split::deal((0..).zip(labels), &held_back);
    check_not_empty([origin; 2], [train.len(), validation.len()])?;

    let draw = |images: Vec<(u64, u32)>| -> Result<Arc<Dataset>, DataError> {
        let values = shape.values();
        let mut pixels = Vec::new();
        pixels.try_reserve_exact(images.len() * values).map_err(|_| too_large())?;
        pixels.resize(images.len() * values, 0);
        // Draws class by class, with one pattern in memory at a time: the patterns of thousands of classes would be
        // larger than their images.
        let mut places: Vec<usize> = (0..images.len()).collect();
        places.sort_by_key(|&place| images[place].1);
        for of_class in places.chunk_by(|&one, &other| images[one].1 == images[other].1) {
            let pattern = pattern(shape, seed, u64::from(images[of_class[0]].1));
            for &place in of_class {
                let into = &mut pixels[place * values..][..values];
                into.iter_mut().zip(image(&pattern, seed, images[place].0)).for_each(|(into, pixel)| *into = pixel);
            }
        }
        let (numbers, labels) = images.into_iter().unzip();
        let dataset = Dataset::in_memory(origin, shape, numbered_classes(config.classes), labels, pixels)?;
        Ok(Arc::new(dataset.with_numbers(numbers)))
    };
    Ok(Splits { train: draw(train)?, validation: draw(validation)? })
}

/// Size of all images, their order, and their labels, in bytes.
fn bytes(samples: usize, shape: ImageShape) -> u64 {
    samples.saturating_mul(shape.values().saturating_add(BOOKKEEPING_BYTES)) as u64
}

/// The noiseless image of a class: knots in 64..192, interpolated linearly along both sides.
fn pattern(shape: ImageShape, seed: u64, class: u64) -> Vec<f32> {
    let mut stream = Stream::new(seed, Purpose::Pattern, 0, class);
    let mut pixels = Vec::with_capacity(shape.values());
    for _ in 0..shape.channels {
        let knots: [[f32; KNOTS]; KNOTS] =
            std::array::from_fn(|_| std::array::from_fn(|_| stream.uniform(64.0, 192.0) as f32));
        for y in 0..shape.height {
            for x in 0..shape.width {
                let row = |knots: &[f32; KNOTS]| interpolate(knots, x, shape.width);
                pixels.push(interpolate(&knots.each_ref().map(row), y, shape.height));
            }
        }
    }
    pixels
}

/// Value at the center of pixel `at` of `side`, with the first knot at the start and the last knot at the end.
fn interpolate(knots: &[f32; KNOTS], at: usize, side: usize) -> f32 {
    let position = (at as f32 + 0.5) * (KNOTS - 1) as f32 / side as f32;
    let weight = |knot: usize| (1.0 - (position - knot as f32).abs()).max(0.0);
    knots.iter().enumerate().map(|(knot, value)| weight(knot) * value).sum()
}

/// The pattern plus noise. The noise of a pixel is the mean of four uniform bytes minus its expectation: almost normal,
/// with standard deviation 36.95 (sqrt(65535 / 12 / 4)), and identical on every machine.
fn image(pattern: &[f32], seed: u64, index: u64) -> impl Iterator<Item = u8> {
    let mut stream = Stream::new(seed, Purpose::Noise, 0, index);
    pattern.iter().map(move |value| {
        let sum: f32 = stream.bits().to_le_bytes().into_iter().map(f32::from).sum();
        (value + (sum - 510.0) / 4.0).round().clamp(0.0, 255.0) as u8
    })
}

#[cfg(test)]
mod tests {
    use super::super::fixture::config;
    use super::*;
    use crate::config::Source;

    fn all_images(splits: &Splits) -> Vec<Vec<u8>> {
        let images =
            |dataset: &Dataset| (0..dataset.len() as u32).map(|i| dataset.image(i).unwrap().to_vec()).collect();
        let (train, validation): (Vec<_>, Vec<_>) = (images(&splits.train), images(&splits.validation));
        [train, validation].concat()
    }

    #[test]
    fn the_classes_are_balanced_and_split() {
        let splits = load(&config(Source::Synthetic, ""), 1).unwrap();
        assert_eq!(splits.train.class_counts(), [8, 8, 8]);
        assert_eq!(splits.validation.class_counts(), [2, 2, 2]);
        assert_eq!(splits.train.shape(), ImageShape { channels: 1, height: 8, width: 8 });
    }

    #[test]
    fn an_image_depends_on_the_seed_and_its_index_alone() {
        let small = config(Source::Synthetic, "");
        let large = DataConfig { samples: 60, ..small.clone() };
        let few = all_images(&load(&small, 1).unwrap());
        let many = all_images(&load(&large, 1).unwrap());
        assert!(few.iter().all(|image| many.contains(image)));
        let other = all_images(&load(&small, 2).unwrap());
        assert!(few.iter().all(|image| !other.contains(image)));
    }

    #[test]
    fn a_class_is_told_by_the_nearest_mean_of_its_training_images() {
        let config = DataConfig { samples: 300, classes: 10, channels: 3, ..config(Source::Synthetic, "") };
        let splits = load(&config, 1).unwrap();
        let mut means = vec![vec![0.0; 192]; 10];
        for (index, &label) in (0..).zip(splits.train.labels()) {
            for (mean, &pixel) in means[label as usize].iter_mut().zip(splits.train.image(index).unwrap().as_ref()) {
                *mean += f64::from(pixel) / 24.0;
            }
        }
        let distance = |mean: &[f64], image: &[u8]| -> f64 {
            mean.iter().zip(image).map(|(mean, &pixel)| (mean - f64::from(pixel)).powi(2)).sum()
        };
        for (index, &label) in (0..).zip(splits.validation.labels()) {
            let image = splits.validation.image(index).unwrap();
            let nearest = (0..10).min_by(|&a, &b| distance(&means[a], &image).total_cmp(&distance(&means[b], &image)));
            assert_eq!(nearest, Some(label as usize));
        }
    }

    #[test]
    fn noise_has_the_documented_deviation() {
        let values: Vec<f64> = image(&[128.0; 10_000], 1, 1).map(f64::from).collect();
        let mean = values.iter().sum::<f64>() / 1e4;
        let std = (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / 1e4).sqrt();
        // Standard errors: 0.37 for the mean, 0.26 for the standard deviation; allows four standard errors.
        assert!((mean - 128.0).abs() < 1.5 && (std - 36.95).abs() < 1.05, "{mean} {std}");
    }

    #[test]
    fn images_beyond_memory_are_refused_with_both_sizes() {
        let shape = ImageShape { channels: 3, height: 2, width: 2 };
        // Each image takes twelve bytes of pixels and 40 bytes of bookkeeping.
        assert_eq!(bytes(100, shape), 5_200);
        let base = config(Source::Synthetic, "");
        for config in [
            DataConfig { samples: 1_000_000_000, image_size: 512.into(), ..base.clone() },
            DataConfig { classes: 100_000, samples: 200_000, image_size: 8192.into(), ..base },
        ] {
            let message = load(&config, 1).unwrap_err().to_string();
            assert!(
                message.contains("GB of memory, ") && message.contains(" GB are free: lower data.samples"),
                "{message}"
            );
        }
    }

    #[test]
    fn sizes_that_cannot_be_drawn_are_refused() {
        let base = config(Source::Synthetic, "");
        for config in [DataConfig { samples: 1, ..base.clone() }, DataConfig { classes: 0, ..base.clone() }] {
            assert!(matches!(load(&config, 1), Err(DataError::Empty { .. })));
        }
        // More images than 32 bits can count, and 30 images of 2^60 bytes.
        for huge in
            [DataConfig { samples: 1 << 33, ..base.clone() }, DataConfig { image_size: (1 << 30).into(), ..base }]
        {
            assert!(matches!(load(&DataConfig { classes: 0, ..huge.clone() }, 1), Err(DataError::Empty { .. })));
            assert!(matches!(load(&huge, 1), Err(DataError::TooLarge { .. })));
        }
    }
}
