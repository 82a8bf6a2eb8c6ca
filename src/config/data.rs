//! The `[data]` table: the source of the images, and their processing before the model.

use std::path::PathBuf;

use serde::Serialize;

use super::names::named_enum;

named_enum! {
    /// Storage format of images and labels.
    pub enum Source {
        /// IDX files of MNIST, Fashion-MNIST, and EMNIST, plain or gzipped, training and test.
        Idx = "idx",
        /// Binary version of CIFAR-10.
        Cifar10 = "cifar10",
        /// Binary version of CIFAR-100 (fine labels).
        Cifar100 = "cifar100",
        /// Folder with one subfolder of images per class, optionally below `train/` and `val/`.
        Folder = "folder",
        /// CSV file with the columns `path`, `label`, and optionally `split`.
        Csv = "csv",
        /// Random images around one pattern per class; needs no files.
        Synthetic = "synthetic",
    }
}

named_enum! {
    /// How to choose the validation images if the source has no split.
    pub enum SplitBy {
        /// By the image's path: adding or removing other files never moves it. Each class gives up the fraction only on
        /// average.
        Name = "name",
        /// By the position in the sorted class, as in earlier versions: the fraction is exact, but adding, removing, or
        /// renaming a file moves others.
        Position = "position",
    }
}

named_enum! {
    /// Normalization of pixel values.
    pub enum Normalize {
        /// Keeps pixels in 0..=1.
        None = "none",
        /// Uses each channel's mean and standard deviation over the training images.
        Computed = "computed",
        /// Uses `mean` and `std` of the config.
        Given = "given",
    }
}

named_enum! {
    /// Handling of an image that does not decode.
    pub enum OnBadImage {
        /// End the run with an error that names the file.
        Stop = "stop",
        /// Skip the image, log its name, and count it.
        Skip = "skip",
    }
}

/// Random augmentation of training images. With everything off, images are unchanged.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Augment {
    /// Zero padding in pixels on each side before a crop back to the original size; 0 is off.
    pub random_crop: usize,
    /// Whether to crop a random area and aspect ratio and resize it to the original size.
    pub random_resized_crop: bool,
    /// Smallest and largest fraction of the area that `random_resized_crop` keeps.
    pub scale: [f64; 2],
    /// Smallest and largest aspect ratio (width / height) of `random_resized_crop`.
    pub ratio: [f64; 2],
    /// Probability of a vertical flip.
    pub hflip: f64,
    /// Probability of an upside-down flip.
    pub vflip: f64,
    /// Side in pixels of a random square that is set to the mean; 0 is off.
    pub cutout: usize,
}

/// The `[data]` table, validated.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DataConfig {
    /// Storage format.
    pub source: Source,
    /// Version of the rules for finding images and naming classes. A run keeps the data edition it started with.
    /// Edition 1 ignores subfolders of class folders, knows only the splits `train`, `val`, `validation`, and `test`,
    /// gives IDX files ten numbered classes, and decodes truncated JPEGs as far as possible.
    pub edition: usize,
    /// Folder of the data, or the CSV file of `csv`; empty for `synthetic`.
    #[serde(skip_serializing_if = "is_empty")]
    pub path: PathBuf,
    /// Images per micro-batch.
    pub batch_size: usize,
    /// Fraction of the training images to hold back for validation if the source has no split.
    pub validation_fraction: f64,
    /// How to choose the validation images of `folder` and `csv`.
    pub split_by: SplitBy,
    /// Image side in pixels after resizing, for `folder`, `csv`, and `synthetic`; other sources keep their own size.
    pub image_size: usize,
    /// 1 (gray) or 3 (RGB), for `folder`, `csv`, and `synthetic`.
    pub channels: usize,
    /// Fraction of each side of an image file that a center crop keeps; most ImageNet weights are evaluated with 0.875.
    pub crop_fraction: f64,
    /// Number of classes of `synthetic`.
    pub classes: usize,
    /// Number of images of `synthetic`, training and validation together.
    pub samples: usize,
    /// Normalization of pixel values.
    pub normalize: Normalize,
    /// Mean of each channel, in 0..=1, for `normalize = "given"`; otherwise empty.
    pub mean: Vec<f64>,
    /// Standard deviation of each channel, for `normalize = "given"`; otherwise empty.
    pub std: Vec<f64>,
    /// Threads that decode and augment.
    pub workers: usize,
    /// Number of batches to prepare ahead.
    pub prefetch: usize,
    /// Whether to drop the last, smaller batch of an epoch.
    pub drop_last: bool,
    /// Handling of an image that does not decode.
    pub on_bad_image: OnBadImage,
    /// Random augmentation of training images.
    pub augment: Augment,
}

impl DataConfig {
    /// Data edition of new runs.
    pub const EDITION: usize = 2;

    /// Whether the config uses data edition 1.
    pub fn is_first_edition(&self) -> bool {
        self.edition < 2
    }
}

fn is_empty(path: &std::path::Path) -> bool {
    path.as_os_str().is_empty()
}
