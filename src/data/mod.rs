//! From image files to batches: sources, augmentation, normalization, loader.
//!
//! [`load`] reads a dataset and splits it into training and validation images; a [`Loader`] turns one split into the
//! batches of an epoch. This module does not use tensors: a [`Batch`] is host memory in tensor order.
//!
//! Every random draw is a function of its use: the order of an epoch of (seed, epoch), the augmentation of an image of
//! (seed, epoch, index). There is no state to save, and a run resumed in the middle of an epoch sees the same images as
//! an uninterrupted one.
//!
//! ```
//! use gradwatch::config::{Augment, DataConfig, Decode, Interpolation, Normalize, OnBadImage, Source, SplitBy};
//! use gradwatch::data::{Loader, LoaderOptions, PixelScale, load};
//!
//! let config = DataConfig {
//!     source: Source::Synthetic,
//!     edition: DataConfig::EDITION,
//!     path: "".into(),
//!     validation_path: None,
//!     image_column: None,
//!     label_column: None,
//!     shuffle_buffer: 10_000,
//!     label_shuffle_epochs: vec![],
//!     batch_size: 32,
//!     validation_fraction: 0.2,
//!     split_by: SplitBy::Name,
//!     train_images: 0,
//!     image_size: 16.into(),
//!     train_image_size: None,
//!     channels: 3,
//!     resize: None,
//!     crop_fraction: 1.0,
//!     interpolation: Interpolation::Bilinear,
//!     decode: Decode::Exact,
//!     multi_label: false,
//!     classes: 4,
//!     samples: 200,
//!     normalize: Normalize::Computed,
//!     mean: vec![],
//!     std: vec![],
//!     workers: 2,
//!     prefetch: 2,
//!     drop_last: false,
//!     on_bad_image: OnBadImage::Stop,
//!     augment: Augment { random_crop: 2, hflip: 0.5, cutout: 4, ..Augment::OFF },
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
//!     assert_eq!(batch.images.normalized(batch.shape).len(), 32 * 3 * 16 * 16);
//! }
//! # Ok::<(), gradwatch::data::DataError>(())
//! ```

mod augment;
mod batch;
mod changes;
mod cifar;
mod classes;
mod dataset;
mod decode;
mod error;
mod fitting;
#[cfg(test)]
mod fixture;
mod folder;
mod framing;
#[cfg(test)]
mod golden;
mod idx;
mod idx_classes;
mod image_shape;
mod images;
mod jpeg;
mod jpeg_end;
mod label_sets;
mod label_shuffle;
mod labels;
mod layout;
mod left_out;
mod listing;
mod loader;
mod manifest;
mod manifest_error;
mod members;
mod memory;
mod missing;
mod name;
mod parquet;
mod paths;
mod pixels;
mod prefetch;
mod preprocessing;
mod random;
mod record;
mod resizing;
mod samples;
mod scale;
mod shards;
mod split;
mod splits;
mod subset;
mod survey;
mod synthetic;
mod twins;

pub use augment::{MixedPart, Mixture};
pub use batch::Batch;
pub use changes::{Overlap, changes, overlap};
pub use dataset::Dataset;
pub use error::DataError;
pub use framing::Framing;
pub use image_shape::ImageShape;
pub use images::{Bytes, Images};
pub use label_sets::LabelSets;
pub(crate) use label_sets::shown as shown_classes;
pub use loader::{Epoch, Loader, LoaderOptions};
pub use manifest_error::ManifestError;
pub use missing::check_listed;
pub use parquet::ParquetError;
pub use preprocessing::{Preprocessing, image_files};
pub use record::{RECORD, Recorded, record};
pub use samples::Samples;
pub use scale::PixelScale;
pub use splits::Splits;
pub use survey::{Fingerprint, Survey, survey, survey_names};
pub use twins::remarks;

use std::sync::Arc;

use crate::config::{DataConfig, Source};

/// Reads the dataset of `config`, with as many training images as `config.train_images`. `seed` selects the validation
/// images if the source has no split of its own, and determines the synthetic images.
///
/// # Errors
/// If data is missing, damaged, or inconsistent; see [`DataError`]. Image files of `folder` and `csv` are not opened
/// yet; [`check_listed`] checks that those of `csv` exist.
pub fn load(config: &DataConfig, seed: u64) -> Result<Splits, DataError> {
    let Splits { train, validation } = load_all(config, seed)?;
    let train = subset::of_training(config, train)?;
    parquet::tell_of_buffer(&train, config);
    Ok(Splits { train, validation })
}

/// Like [`load`], with all training images.
fn load_all(config: &DataConfig, seed: u64) -> Result<Splits, DataError> {
    match config.source {
        Source::Idx => idx::load(config),
        Source::Cifar10 => cifar::load(&config.path, &cifar::CIFAR10),
        Source::Cifar100 => cifar::load(&config.path, &cifar::CIFAR100),
        Source::Folder => folder::load(config, seed),
        Source::Csv => manifest::load(config, seed),
        Source::Webdataset => shards::load(config, seed),
        Source::Parquet => parquet::load(config, seed),
        Source::Synthetic => synthetic::load(config, seed),
    }
}

/// Like [`load`], for a model that knows `classes`: labels are indices of `classes`, matched by name.
///
/// # Errors
/// As for [`load`]; [`DataError::OtherClasses`].
pub fn load_known(config: &DataConfig, seed: u64, classes: &[String]) -> Result<Splits, DataError> {
    let Splits { train, validation } = load(config, seed)?;
    let known = |dataset| with_known_classes(config, dataset, classes);
    Ok(Splits { train: known(train)?, validation: known(validation)? })
}

/// Reads the images of `config` that are not used for training: the test split if there is one, otherwise the
/// validation split; all images if the data has no split. Labels are indices of `classes`, the classes of the model,
/// matched by name.
///
/// # Errors
/// As for [`load_known`].
pub fn load_unseen(config: &DataConfig, seed: u64, classes: &[String]) -> Result<Arc<Dataset>, DataError> {
    let dataset = match config.source {
        Source::Folder => Arc::new(folder::load_unseen(config)?),
        Source::Csv => Arc::new(manifest::load_unseen(config)?),
        Source::Webdataset => Arc::new(shards::load_unseen(config)?),
        Source::Parquet => Arc::new(parquet::load_unseen(config)?),
        Source::Idx | Source::Cifar10 | Source::Cifar100 | Source::Synthetic => load_all(config, seed)?.validation,
    };
    with_known_classes(config, dataset, classes)
}

fn with_known_classes(
    config: &DataConfig,
    dataset: Arc<Dataset>,
    classes: &[String],
) -> Result<Arc<Dataset>, DataError> {
    let indices = classes::indices(&config.path, config.source, dataset.classes(), classes)?;
    Ok(if dataset.classes() == classes { dataset } else { Arc::new(dataset.with_classes(&indices, classes)) })
}

/// Checks that the path of `config` exists. The error suggests `remedy`.
///
/// # Errors
/// [`DataError::NotThere`].
pub fn check_place(config: &DataConfig, remedy: &'static str) -> Result<(), DataError> {
    let path = match config.source {
        Source::Webdataset | Source::Parquet => shards::first_path(&config.path).unwrap_or_else(|| config.path.clone()),
        _ => config.path.clone(),
    };
    match path.as_os_str().is_empty() || path.exists() {
        true => Ok(()),
        false => Err(DataError::NotThere { path, remedy }),
    }
}

/// Checks that there is something to learn: at least two classes, or one in multi-label data.
///
/// # Errors
/// [`DataError::OneClass`].
pub fn check_classes(config: &DataConfig, images: &Dataset) -> Result<(), DataError> {
    match images.classes() {
        [class] if !config.multi_label => {
            Err(DataError::OneClass { path: images.origin().to_owned(), class: class.clone() })
        }
        _ => Ok(()),
    }
}

/// The image shape from the config, for sources without a fixed shape.
fn configured_shape(config: &DataConfig) -> ImageShape {
    ImageShape { channels: config.channels, height: config.image_size.height, width: config.image_size.width }
}
