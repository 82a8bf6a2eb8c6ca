//! The `[data]` table: the source of the images, and their processing before the model.

use std::path::PathBuf;

use serde::Serialize;

use super::{
    Augment,
    names::named_enum,
    range::{MOST_IMAGES, PART, PIXEL_MEAN, PIXEL_STD, SIDE_SHARE},
    reader::Section,
};

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

/// Synthetic images.
impl Default for DataConfig {
    fn default() -> Self {
        Self {
            source: Source::Synthetic,
            edition: Self::EDITION,
            path: PathBuf::new(),
            batch_size: 128,
            validation_fraction: 0.1,
            split_by: SplitBy::Name,
            image_size: 32,
            channels: 3,
            crop_fraction: 1.0,
            classes: 10,
            samples: 10_000,
            normalize: Normalize::Computed,
            mean: Vec::new(),
            std: Vec::new(),
            workers: 1,
            prefetch: 4,
            drop_last: false,
            on_bad_image: OnBadImage::Stop,
            augment: Augment::default(),
        }
    }
}

impl DataConfig {
    /// Data edition of new runs.
    pub const EDITION: usize = 2;

    /// Whether the config uses data edition 1.
    pub fn is_first_edition(&self) -> bool {
        self.edition < 2
    }

    pub(super) fn read(mut table: Section<'_>) -> Self {
        let source = table.required_choice::<Source>("source");
        let path = table.optional_path("path", "a path");
        if path.is_none() && source.is_some_and(|source| source != Source::Synthetic) {
            table.missing("path", "the data folder, or the manifest file for csv");
        }
        let channel_count = "1 (gray) or 3 (RGB)";
        let default = Self::default();
        let config = Self {
            source: source.unwrap_or(default.source),
            edition: table.get("edition", default.edition, |edition| matches!(edition, 1 | 2), "1 or 2"),
            path: path.unwrap_or(default.path),
            batch_size: table.count("batch_size", default.batch_size, 1..=MOST_IMAGES),
            validation_fraction: table.number("validation_fraction", default.validation_fraction, &PART),
            split_by: table.choice("split_by", default.split_by),
            image_size: table.count("image_size", default.image_size, 1..=8192),
            channels: table.get("channels", default.channels, |channels| matches!(channels, 1 | 3), channel_count),
            crop_fraction: table.number("crop_fraction", default.crop_fraction, &SIDE_SHARE),
            classes: table.count("classes", default.classes, 2..=100_000),
            samples: table.count("samples", default.samples, 2..=1_000_000_000),
            normalize: table.choice("normalize", default.normalize),
            mean: table.numbers("mean", default.mean, &PIXEL_MEAN),
            std: table.numbers("std", default.std, &PIXEL_STD),
            workers: table.count("workers", default.workers, 0..=256),
            prefetch: table.count("prefetch", default.prefetch, 1..=1024),
            drop_last: table.any("drop_last", default.drop_last),
            on_bad_image: table.choice("on_bad_image", default.on_bad_image),
            augment: Augment::read(table.section("augment")),
        };
        let given = config.normalize == Normalize::Given;
        let fits = |list: &[f64]| if given { matches!(list.len(), 1 | 3) } else { list.is_empty() };
        for (key, list) in [("mean", &config.mean), ("std", &config.std)] {
            if !fits(list) && !table.is_invalid("normalize") {
                let want = if given { "one per channel" } else { "none, or data.normalize = \"given\"" };
                table.problem(key, format!("got {} numbers, want {want}", list.len()));
            }
        }
        table.finish();
        config
    }
}

fn is_empty(path: &std::path::Path) -> bool {
    path.as_os_str().is_empty()
}
