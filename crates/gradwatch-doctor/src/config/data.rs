//! The `[data]` table: the source of the images, and their processing before the model.

use std::path::PathBuf;

use serde::Serialize;

use super::{
    Augment, Recipe,
    image_size::ImageSize,
    names::{Named, named_enum},
    range::{MOST_IMAGES, MOST_SIDE, PART, PIXEL_MEAN, PIXEL_STD, SIDE_SHARE},
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
        /// Tar files of images and labels, as of WebDataset.
        Webdataset = "webdataset",
        /// Parquet files of images and labels, as on the Hugging Face hub.
        Parquet = "parquet",
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
    /// Interpolation for resizing, always with antialiasing.
    pub enum Interpolation {
        /// Linear in both directions, torchvision's default.
        Bilinear = "bilinear",
        /// Cubic with a = -0.5, as in Pillow; most timm models are trained and evaluated with it.
        Bicubic = "bicubic",
    }
}

named_enum! {
    /// Decoding of JPEG files that are larger than the model's input.
    pub enum Decode {
        /// In full size.
        Exact = "exact",
        /// Reduced to a quarter or an eighth by the inverse DCT, as far as the part to use stays at least as large as the
        /// model's input. Faster for photos of several megapixels; pixels differ, most of all at edges.
        Fast = "fast",
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
    /// Version of the rules for finding and decoding images and for naming classes. A run keeps the data edition it
    /// started with. Edition 3 interpolates the colors of JPEG files in another way than Pillow and rounds 16 bits to 8.
    /// Edition 2 also finds no GIF and TIFF files, ignores EXIF orientation, converts to gray by BT.709 luma, and crops
    /// at random after resizing. Edition 1 also ignores subfolders of class folders, knows only the splits `train`,
    /// `val`, `validation`, and `test`, gives IDX files ten numbered classes, and decodes truncated JPEGs as far as
    /// possible.
    pub edition: usize,
    /// Folder of the data, the CSV file of `csv`, or the files of `webdataset` and `parquet`, such as
    /// `train-{000..123}.tar`; empty for `synthetic`.
    #[serde(skip_serializing_if = "is_empty")]
    pub path: PathBuf,
    /// Files of `webdataset` and `parquet` for validation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation_path: Option<PathBuf>,
    /// Column of the images of `parquet`; `None` is the one that the files describe as images, or else the first of
    /// `image`, `img`, `images`, and `jpg`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_column: Option<String>,
    /// Column of the labels of `parquet`; `None` is the one that the files describe as class labels, or else the first
    /// of `label`, `labels`, `fine_label`, `class`, and `cls`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label_column: Option<String>,
    /// Number of images that an epoch of `webdataset` or `parquet` is shuffled over at a time, after its shards or row
    /// groups are shuffled.
    pub shuffle_buffer: usize,
    /// Epochs, counted from 0, at whose start the labels of the training images are shuffled among them.
    pub label_shuffle_epochs: Vec<u64>,
    /// Images per micro-batch.
    pub batch_size: usize,
    /// Fraction of the training images to hold back for validation if the source has no split.
    pub validation_fraction: f64,
    /// How to choose the validation images of `folder` and `csv`.
    pub split_by: SplitBy,
    /// Number of training images to use, chosen at random, but the same for every `run.seed`; 0 is all of them.
    pub train_images: usize,
    /// Size of the model's input in pixels, for `folder`, `csv`, and `synthetic`: a side, or `[height, width]`. Other
    /// sources keep their own size.
    pub image_size: ImageSize,
    /// Size of training images if it differs from `image_size`, for image files with `augment.random_resized_crop`.
    /// torchvision trains with 176 pixels and evaluates with 224 (Touvron et al. 2019).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub train_image_size: Option<ImageSize>,
    /// 1 (gray) or 3 (RGB), for `folder`, `csv`, and `synthetic`.
    pub channels: usize,
    /// Length in pixels to which the shorter side of an image file is resized before the center crop to `image_size`,
    /// as in torchvision's presets (256 or 232 for 224); `None` is `image_size / crop_fraction`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resize: Option<usize>,
    /// Fraction of each side of an image file that a center crop keeps; most ImageNet weights are evaluated with 0.875.
    pub crop_fraction: f64,
    /// Interpolation of image files.
    pub interpolation: Interpolation,
    /// Decoding of JPEG files.
    pub decode: Decode,
    /// Whether an image of `csv` may have several classes, separated by `|`, or none. Needs [`LossName::Bce`], and metrics
    /// that fit ([`Metric::is_for`]).
    ///
    /// [`LossName::Bce`]: super::LossName::Bce
    /// [`Metric::is_for`]: super::Metric::is_for
    pub multi_label: bool,
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
            validation_path: None,
            image_column: None,
            label_column: None,
            shuffle_buffer: 10_000,
            label_shuffle_epochs: Vec::new(),
            batch_size: 128,
            validation_fraction: 0.1,
            split_by: SplitBy::Name,
            train_images: 0,
            image_size: 32.into(),
            train_image_size: None,
            channels: 3,
            resize: None,
            crop_fraction: 1.0,
            interpolation: Interpolation::Bilinear,
            decode: Decode::Exact,
            multi_label: false,
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
    pub const EDITION: usize = 4;

    /// Whether the config uses data edition 1.
    pub fn is_first_edition(&self) -> bool {
        self.edition < 2
    }

    pub(super) fn read(mut table: Section<'_>) -> Self {
        let source = table.required_choice::<Source>("source");
        let path = table.optional_path("path", "a path");
        if path.is_none() && source.is_some_and(|source| source != Source::Synthetic) {
            table.missing("path", "the data folder, the manifest of csv, or the files of webdataset or parquet");
        }
        let channel_count = "1 (gray) or 3 (RGB)";
        let augment = Augment::read(table.section("augment"));
        let default = Self::default();
        let default = match augment.recipe {
            Some(recipe) if !table.has("resize") => Self { crop_fraction: recipe.crop_fraction(), ..default },
            _ => default,
        };
        let is_named = |column: &String| !column.is_empty();
        let is_ascending = |epochs: &Vec<u64>| epochs.is_sorted_by(|epoch, next| epoch < next);
        let default_interpolation = default.interpolation;
        let interpolation = augment.recipe.map_or(default_interpolation, Recipe::interpolation);
        let config = Self {
            source: source.unwrap_or(default.source),
            edition: table.get("edition", default.edition, |edition| matches!(edition, 1..=4), "1, 2, 3, or 4"),
            path: path.unwrap_or(default.path),
            validation_path: table.optional_path("validation_path", "a path"),
            image_column: table.optional("image_column", is_named, "the name of a column"),
            label_column: table.optional("label_column", is_named, "the name of a column"),
            shuffle_buffer: table.count("shuffle_buffer", default.shuffle_buffer, 1..=MOST_IMAGES),
            label_shuffle_epochs: table.get(
                "label_shuffle_epochs",
                default.label_shuffle_epochs,
                is_ascending,
                "epochs in ascending order, each once",
            ),
            batch_size: table.count("batch_size", default.batch_size, 1..=MOST_IMAGES),
            validation_fraction: table.number("validation_fraction", default.validation_fraction, &PART),
            split_by: table.choice("split_by", default.split_by),
            train_images: table.count("train_images", default.train_images, 0..=MOST_IMAGES),
            image_size: table.get("image_size", default.image_size, ImageSize::is_valid, ImageSize::VALID),
            train_image_size: table.optional("train_image_size", ImageSize::is_valid, ImageSize::VALID),
            channels: table.get("channels", default.channels, |channels| matches!(channels, 1 | 3), channel_count),
            resize: table.optional_count("resize", 1..=MOST_SIDE),
            crop_fraction: table.number("crop_fraction", default.crop_fraction, &SIDE_SHARE),
            interpolation: table.choice("interpolation", interpolation),
            decode: table.choice("decode", default.decode),
            multi_label: table.any("multi_label", default.multi_label),
            classes: table.count("classes", default.classes, 2..=100_000),
            samples: table.count("samples", default.samples, 2..=1_000_000_000),
            normalize: table.choice("normalize", default.normalize),
            mean: table.numbers("mean", default.mean, &PIXEL_MEAN),
            std: table.numbers("std", default.std, &PIXEL_STD),
            workers: table.count("workers", default.workers, 0..=256),
            prefetch: table.count("prefetch", default.prefetch, 1..=1024),
            drop_last: table.any("drop_last", default.drop_last),
            on_bad_image: table.choice("on_bad_image", default.on_bad_image),
            augment,
        };
        let given = config.normalize == Normalize::Given;
        let fits = |list: &[f64]| if given { matches!(list.len(), 1 | 3) } else { list.is_empty() };
        for (key, list) in [("mean", &config.mean), ("std", &config.std)] {
            if !fits(list) && !table.is_invalid("normalize") {
                let want = if given { "one per channel" } else { "none, or data.normalize = \"given\"" };
                table.problem(key, format!("got {} numbers, want {want}", list.len()));
            }
        }
        let source = config.source;
        for (key, is_set, of) in [
            ("validation_path", config.validation_path.is_some(), &[Source::Webdataset, Source::Parquet][..]),
            ("image_column", config.image_column.is_some(), &[Source::Parquet]),
            ("label_column", config.label_column.is_some(), &[Source::Parquet]),
        ] {
            if is_set && !of.contains(&source) {
                let names = of.iter().map(|source| source.label()).collect::<Vec<_>>().join(" and ");
                table.problem(key, format!("got a value with {source}, want it only with {names}"));
            }
        }
        if config.multi_label && config.source != Source::Csv && !table.is_invalid("source") {
            table.problem("multi_label", format!("got true with {}, want it only with csv", config.source));
        }
        if config.multi_label && config.split_by == SplitBy::Position {
            table.problem("split_by", "got position, want name with data.multi_label = true");
        }
        if config.train_image_size.is_some() {
            let has_files =
                matches!(config.source, Source::Folder | Source::Csv | Source::Webdataset | Source::Parquet);
            if !has_files || !config.augment.random_resized_crop {
                let want = "want it only for image files with data.augment.random_resized_crop = true";
                table.problem("train_image_size", format!("got a size with {}, {want}", config.source));
            }
        }
        let longer = config.image_size.height.max(config.image_size.width);
        if let Some(resize) = config.resize.filter(|_| !table.is_invalid("image_size")) {
            if resize < longer {
                table.problem("resize", format!("got {resize}, want at least {longer}, the longer side of image_size"));
            }
            if config.crop_fraction < 1.0 {
                table.problem("resize", "both resize and crop_fraction are set; want only one");
            }
        }
        for (key, is_set, edition) in [
            ("resize", config.resize.is_some(), 3),
            ("interpolation", config.interpolation != default_interpolation, 3),
            ("image_size", config.image_size.height != config.image_size.width, 3),
            ("decode", config.decode != Decode::Exact, 4),
        ] {
            if is_set && config.edition < edition {
                let want = format!("data edition {edition} for this value");
                table.problem(key, format!("got data edition {}, want {want}; remove data.edition", config.edition));
            }
        }
        table.finish();
        config
    }
}

fn is_empty(path: &std::path::Path) -> bool {
    path.as_os_str().is_empty()
}
