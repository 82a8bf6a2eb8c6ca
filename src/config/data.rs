//! What `[data]` says: where the images come from and what happens to them before the model sees them.

use std::path::PathBuf;

use serde::Serialize;

use super::names::named_enum;

named_enum! {
    /// The format in which images and labels are stored.
    pub enum Source {
        /// The IDX files of MNIST, Fashion-MNIST and EMNIST, plain or gzipped, training and test.
        Idx = "idx",
        /// The binary version of CIFAR-10.
        Cifar10 = "cifar10",
        /// The binary version of CIFAR-100 (fine labels).
        Cifar100 = "cifar100",
        /// A folder with one sub-folder of images per class, optionally below `train/` and `val/`.
        Folder = "folder",
        /// A CSV file with the columns `path`, `label` and optionally `split`.
        Csv = "csv",
        /// Random images around one pattern per class: nothing to fetch.
        Synthetic = "synthetic",
    }
}

named_enum! {
    /// What decides whether an image is held back for validation where the source ships no split.
    pub enum SplitBy {
        /// The image's own path: other files come and go without moving it. Each class gets the share only on average.
        Name = "name",
        /// Its position in the sorted class, as in runs of earlier versions: the share is exact, and any new, removed or renamed
        /// file moves others.
        Position = "position",
    }
}

named_enum! {
    /// How pixel values are shifted and scaled.
    pub enum Normalize {
        /// Pixels stay in 0..=1.
        None = "none",
        /// By each channel's mean and standard deviation over the training images.
        Computed = "computed",
        /// By the `mean` and `std` of the config.
        Given = "given",
    }
}

named_enum! {
    /// What an image that does not decode does to the run.
    pub enum OnBadImage {
        /// The run ends with an error that names the file.
        Stop = "stop",
        /// The image is left out, named in the log, and counted.
        Skip = "skip",
    }
}

/// Random changes to training images. Everything off is the identity.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Augment {
    /// Zero pixels added on each side before a crop back to the image's own size; 0 is off.
    pub random_crop: usize,
    /// Crop of a random area and aspect ratio, resized to the image's own size.
    pub random_resized_crop: bool,
    /// Smallest and largest share of the area that `random_resized_crop` keeps.
    pub scale: [f64; 2],
    /// Smallest and largest aspect ratio (width / height) of `random_resized_crop`.
    pub ratio: [f64; 2],
    /// Probability of a left-right flip.
    pub hflip: f64,
    /// Probability of an upside-down flip.
    pub vflip: f64,
    /// Side in pixels of a square that is set to the mean; 0 is off.
    pub cutout: usize,
}

/// The `[data]` table, validated.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DataConfig {
    /// Format of the data.
    pub source: Source,
    /// How images are found and classes named. A run keeps the edition with which it was begun: 1 takes the images of a class
    /// folder alone, knows the splits `train`, `val`, `validation` and `test` only, gives IDX files ten numbered classes, and decodes JPEGs that are
    /// cut off as far as they go.
    pub edition: usize,
    /// Folder of the data, or the manifest file of `csv`; empty for `synthetic`.
    #[serde(skip_serializing_if = "is_empty")]
    pub path: PathBuf,
    /// Images per micro-batch.
    pub batch_size: usize,
    /// Share of the training images held back for validation where the source ships no split.
    pub validation_fraction: f64,
    /// What decides which images of `folder` and `csv` these are.
    pub split_by: SplitBy,
    /// Side in pixels that images of `folder`, `csv` and `synthetic` get; the other sources have their own size.
    pub image_size: usize,
    /// 1 (grey) or 3 (RGB), for `folder`, `csv` and `synthetic`.
    pub channels: usize,
    /// Share of each side of an image file that is kept, around its middle; 0.875 is what most ImageNet weights are evaluated with.
    pub crop_fraction: f64,
    /// Number of classes of `synthetic`.
    pub classes: usize,
    /// Number of images of `synthetic`, training and validation together.
    pub samples: usize,
    /// Normalisation of pixel values.
    pub normalize: Normalize,
    /// Mean of each channel, in 0..=1, for `normalize = "given"`; else empty.
    pub mean: Vec<f64>,
    /// Standard deviation of each channel, for `normalize = "given"`; else empty.
    pub std: Vec<f64>,
    /// Threads that decode and augment.
    pub workers: usize,
    /// Batches that are kept ready.
    pub prefetch: usize,
    /// Whether the last, smaller batch of an epoch is left out.
    pub drop_last: bool,
    /// What to do with an image that does not decode.
    pub on_bad_image: OnBadImage,
    /// Random changes to training images.
    pub augment: Augment,
}

impl DataConfig {
    /// The edition of data sets of a new run.
    pub const EDITION: usize = 2;

    /// Whether images are found and classes named as before there were editions.
    pub fn is_first_edition(&self) -> bool {
        self.edition < 2
    }
}

fn is_empty(path: &std::path::Path) -> bool {
    path.as_os_str().is_empty()
}
