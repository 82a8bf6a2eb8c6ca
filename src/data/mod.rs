//! The way from image files to batches: sources, augmentation, normalisation, loader.
//!
//! [`load`] reads a data set and splits it into training and validation images; a [`Loader`] turns one split into the
//! batches of an epoch. Nothing here knows of tensors: a [`Batch`] is host memory in the order of a tensor.
//!
//! Every draw is a function of where it is used: the order of an epoch of (seed, epoch), the augmentation of an image
//! of (seed, epoch, index). There is no state to save, and a run resumed in the middle of an epoch sees what it would
//! have seen.
//!
//! ```
//! use gradwatch::config::{Augment, DataConfig, Normalize, OnBadImage, Source};
//! use gradwatch::data::{Loader, LoaderOptions, PixelScale, load};
//!
//! let config = DataConfig {
//!     source: Source::Synthetic,
//!     path: "".into(),
//!     batch_size: 32,
//!     validation_fraction: 0.2,
//!     image_size: 16,
//!     channels: 3,
//!     crop_fraction: 1.0,
//!     classes: 4,
//!     samples: 200,
//!     normalize: Normalize::Computed,
//!     mean: vec![],
//!     std: vec![],
//!     workers: 2,
//!     prefetch: 2,
//!     drop_last: false,
//!     on_bad_image: OnBadImage::Stop,
//!     augment: Augment {
//!         random_crop: 2,
//!         random_resized_crop: false,
//!         scale: [0.08, 1.0],
//!         ratio: [0.75, 1.33],
//!         hflip: 0.5,
//!         vflip: 0.0,
//!         cutout: 4,
//!     },
//! };
//! let seed = 1;
//! let splits = load(&config, seed)?;
//! assert_eq!(splits.train.class_counts(), [40, 40, 40, 40]);
//!
//! let scale = PixelScale::from_config(&config, &splits.train)?;
//! let loader = Loader::new(splits.train, LoaderOptions::for_training(&config, seed, scale))?;
//! let (epoch, first_batch) = (0, 3);
//! for batch in loader.epoch(epoch, first_batch) {
//!     let batch = batch?;
//!     assert_eq!(batch.shape, [32, 3, 16, 16]);
//!     assert_eq!(batch.images.len(), 32 * 3 * 16 * 16);
//! }
//! # Ok::<(), gradwatch::data::DataError>(())
//! ```

mod augment;
mod cifar;
mod crop;
mod dataset;
mod decode;
mod error;
#[cfg(test)]
mod fixture;
mod folder;
mod idx;
mod loader;
mod manifest;
mod prefetch;
mod preprocessing;
mod random;
mod scale;
mod split;
mod synthetic;

pub use dataset::{Dataset, ImageShape, Splits};
pub use error::DataError;
pub use loader::{Batch, Epoch, Loader, LoaderOptions};
pub use preprocessing::{Preprocessing, image_files};
pub use scale::PixelScale;

use std::sync::Arc;

use crate::config::{DataConfig, Source};

/// Reads the data set of `config`. `seed` decides which images are held back for validation where the source ships no
/// split, and what synthetic images look like.
///
/// # Errors
/// What is missing, damaged or inconsistent; see [`DataError`]. Image files of `folder` and `csv` are not opened yet.
pub fn load(config: &DataConfig, seed: u64) -> Result<Splits, DataError> {
    match config.source {
        Source::Idx => idx::load(&config.path),
        Source::Cifar10 => cifar::load(&config.path, &cifar::CIFAR10),
        Source::Cifar100 => cifar::load(&config.path, &cifar::CIFAR100),
        Source::Folder => folder::load(config, seed),
        Source::Csv => manifest::load(config, seed),
        Source::Synthetic => synthetic::load(config, seed),
    }
}

/// The images of `config` that nobody has trained on: those of a split of their own, for tests where there is one and else for
/// validation; all of them where none is shipped. `classes` are those of the model, among which each image's class has to be.
///
/// # Errors
/// As for [`load`]; [`DataError::UnknownClass`].
pub fn load_unseen(config: &DataConfig, seed: u64, classes: &[String]) -> Result<Arc<Dataset>, DataError> {
    let dataset = match config.source {
        Source::Folder => Arc::new(folder::load_unseen(config, classes)?),
        Source::Csv => Arc::new(manifest::load_unseen(config, classes)?),
        Source::Idx | Source::Cifar10 | Source::Cifar100 | Source::Synthetic => load(config, seed)?.validation,
    };
    match dataset.classes() == classes {
        true => Ok(dataset),
        false => Err(DataError::OtherClasses {
            path: config.path.clone(),
            got: dataset.classes().len(),
            want: classes.len(),
        }),
    }
}

/// The shape that the config gives to images which have none of their own.
fn configured_shape(config: &DataConfig) -> ImageShape {
    ImageShape { channels: config.channels, height: config.image_size, width: config.image_size }
}
