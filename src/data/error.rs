//! Errors from reading a data set's files to building a batch.

use std::io;
use std::path::{Path, PathBuf};

use crate::number::count;

/// Reason why data cannot be used. Only [`DataError::BadImage`] concerns a single image, so only that image can be
/// skipped. All other variants mean that the data set, the options, or a thread is unusable.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// A file or folder does not exist.
    #[error("{path} does not exist: check data.path (--set data.path=NEW){}", fetching(path))]
    Missing {
        /// The first name that was tried.
        path: PathBuf,
    },
    /// Reading failed.
    #[error("{path} cannot be read: {cause}: check data.path and the permissions")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        cause: io::Error,
    },
    /// A file ends before the data that its header or format specifies.
    #[error("{path} is truncated: got {got} bytes, want {want}: download it again")]
    Truncated {
        /// The file.
        path: PathBuf,
        /// Number of bytes found, after decompression.
        got: u64,
        /// Number of bytes expected.
        want: u64,
    },
    /// A file continues after the data that its header specifies.
    #[error("{path} has more data after the {want} bytes that its header specifies: download it again")]
    TrailingBytes {
        /// The file.
        path: PathBuf,
        /// Number of bytes expected.
        want: u64,
    },
    /// A file starts like a file of another format.
    #[error("{path} has another format: got magic number {got:#010x}, want {want:#010x}: check data.source")]
    WrongMagic {
        /// The file.
        path: PathBuf,
        /// The first four bytes, big-endian.
        got: u32,
        /// The four bytes of the format.
        want: u32,
    },
    /// A gzip stream is damaged or truncated.
    #[error("{path} cannot be decompressed: {cause}: download it again")]
    Gzip {
        /// The file.
        path: PathBuf,
        /// The decoder's error.
        cause: io::Error,
    },
    /// An image file and its label file do not match.
    #[error("{images} has {image_count} images but {labels} has {label_count} labels: download both again")]
    CountMismatch {
        /// The image file.
        images: PathBuf,
        /// Its number of images.
        image_count: usize,
        /// The label file.
        labels: PathBuf,
        /// Its number of labels.
        label_count: usize,
    },
    /// A label is not the index of a class.
    #[error("label {index} of {path} is {label}, want 0..={}: download it again or fix it", classes.saturating_sub(1))]
    LabelOutOfRange {
        /// Source of the labels.
        path: PathBuf,
        /// Position of the label, from 0.
        index: usize,
        /// The label.
        label: u32,
        /// Number of classes.
        classes: usize,
    },
    /// Training and validation images differ in size.
    #[error("{path}: training images are {train} but validation images are {validation} (channels x height x width)")]
    ShapeMismatch {
        /// The folder.
        path: PathBuf,
        /// Shape of the training images.
        train: super::ImageShape,
        /// Shape of the validation images.
        validation: super::ImageShape,
    },
    /// There are no images for training or for validation.
    #[error("{path} has no {split} image: check data.path and data.validation_fraction")]
    Empty {
        /// The file or folder.
        path: PathBuf,
        /// The kind of missing image: `training`, `validation`, `usable`, or `decodable`.
        split: &'static str,
    },
    /// There are fewer training images than the config asks for.
    #[error("{path} has {got} training images, but data.train_images = {want}: lower it, or set it to 0 to use all")]
    TooFewImages {
        /// The file or folder.
        path: PathBuf,
        /// Number of training images.
        got: usize,
        /// Number of training images in the config.
        want: usize,
    },
    /// A class folder does not contain any image.
    #[error("class folder {path} contains no image in a supported format{left_out}: fill it or remove it")]
    ClassWithoutImages {
        /// The folder.
        path: PathBuf,
        /// Its actual contents, as the end of a sentence.
        left_out: String,
    },
    /// A class folder is a link whose target does not exist.
    #[error("class folder {path} is a broken link: mount or restore its target, or remove the link")]
    ClassIsGone {
        /// The link.
        path: PathBuf,
    },
    /// There are images instead of class folders.
    #[error(
        "{path} contains {} and no class folders: make a folder for each class, or list the images in a \
         CSV file \
         (data.source = \"csv\")",
        count(*images as u64, "image")
    )]
    NoClassFolders {
        /// The folder.
        path: PathBuf,
        /// Number of images in it.
        images: usize,
    },
    /// Folder names look like the splits of a data set, but a split is missing.
    #[error("{path} contains {got}: {want}")]
    UnclearLayout {
        /// The folder.
        path: PathBuf,
        /// The folders in it.
        got: String,
        /// How to rename them.
        want: &'static str,
    },
    /// Validation images have a class that no training image has.
    #[error(
        "{path}: class `{class}` has validation images but no training image: add training images of it, or remove its \
         validation images"
    )]
    UnknownClass {
        /// The folder or manifest.
        path: PathBuf,
        /// The class.
        class: String,
    },
    /// All training images have the same class.
    #[error(
        "{path}: all training images have the class `{class}`, want at least two classes: add images of another class, or \
         set data.multi_label = true for images with one class or none"
    )]
    OneClass {
        /// The file or folder.
        path: PathBuf,
        /// The class.
        class: String,
    },
    /// A file of class names has too few or too many names.
    #[error("{path} lists {got} classes, want {want}: download it again")]
    ClassNames {
        /// The file.
        path: PathBuf,
        /// Number of names found.
        got: usize,
        /// Number of classes.
        want: usize,
    },
    /// A path of shards has braces that cannot be expanded.
    #[error("{path} is not a valid file pattern; want braces as in train-{{000..123}}.tar or {{a,b}}.parquet")]
    ShardPattern {
        /// The pattern.
        path: PathBuf,
    },
    /// A shard is missing, damaged, or has an image without a label.
    #[error(
        "{path}: {cause}; download it again, or set data.on_bad_image = \"skip\" to use the images before the fault"
    )]
    Shard {
        /// The shard.
        path: PathBuf,
        /// What is wrong, and where.
        cause: String,
    },
    /// A manifest cannot be used.
    #[error(transparent)]
    Manifest(#[from] super::ManifestError),
    /// Parquet files cannot be used.
    #[error(transparent)]
    Parquet(#[from] super::ParquetError),
    /// A folder contains several data sets.
    #[error("{path} contains several data sets ({got}): move the files of one of them to a separate folder")]
    SeveralSets {
        /// The folder.
        path: PathBuf,
        /// Their names.
        got: String,
    },
    /// The files are the Python version of CIFAR, not the binary version.
    #[error(
        "{path} is the Python version of CIFAR, a pickle: fetch the binary version ({archive}) from \
         https://www.cs.toronto.edu/~kriz/cifar.html"
    )]
    PythonVersion {
        /// The pickle file.
        path: PathBuf,
        /// The archive to fetch.
        archive: &'static str,
    },
    /// One image does not decode.
    #[error("{path} cannot be decoded: {cause}: remove it, or set data.on_bad_image = \"skip\"")]
    BadImage {
        /// The image.
        path: PathBuf,
        /// The decoder's error.
        cause: String,
    },
    /// A file or folder to read images from cannot be read.
    #[error("{path} cannot be read: {cause}: give image files, or folders that contain images")]
    NoImageFile {
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        cause: io::Error,
    },
    /// A folder to read images from does not contain any image.
    #[error(
        "{path} contains no image in a supported format{left_out}: give image files, or folders that contain images"
    )]
    NoImageFiles {
        /// The folder.
        path: PathBuf,
        /// Its actual contents, as the end of a sentence.
        left_out: String,
    },
    /// The classes of the data differ from those of the run.
    #[error(
        "{path} has different classes than the run: got {got}, want {want}; unknown to the run: {unknown}; missing: \
         {missing}; rename the classes to match the run, or choose other images"
    )]
    OtherClasses {
        /// The folder or file.
        path: PathBuf,
        /// Number of classes of the data.
        got: usize,
        /// Number of classes of the run.
        want: usize,
        /// Classes that the run does not have; the first few by name.
        unknown: String,
        /// Classes of the run that the data does not have; the first few by name.
        missing: String,
    },
    /// The path of the images does not exist.
    #[error("{path} does not exist: {remedy}")]
    NotThere {
        /// The folder or manifest.
        path: PathBuf,
        /// How to fix it, for the current subcommand.
        remedy: &'static str,
    },
    /// The data set does not have the requested image.
    #[error("image {index} is out of range: the data set has {len} images")]
    NoSuchImage {
        /// The requested index.
        index: u32,
        /// Number of images.
        len: usize,
    },
    /// The number of pixels does not match the labels and the shape.
    #[error("{path}: got {got} bytes of pixels, want {want} (images x channels x height x width)")]
    PixelCount {
        /// Source of the pixels.
        path: PathBuf,
        /// Number of bytes given.
        got: usize,
        /// Number of bytes expected from labels and shape.
        want: u128,
    },
    /// Files cannot be decoded to this number of channels.
    #[error("images are decoded to 1 (gray) or 3 (RGB) channels, got {got}: check data.channels")]
    Channels {
        /// The requested number of channels.
        got: usize,
    },
    /// There are too many images, or they are too large.
    #[error("{images} images of {shape} do not fit in memory: lower data.samples or data.image_size")]
    TooLarge {
        /// Number of images.
        images: usize,
        /// Shape of one image.
        shape: super::ImageShape,
    },
    /// The images need more memory than is free.
    #[error(
        "{images} images of {shape} need {} GB of memory, but {} GB are free: lower data.samples, data.image_size, or \
         data.classes",
        gigabytes(*want_bytes), gigabytes(*free_bytes)
    )]
    NoMemory {
        /// Number of images.
        images: usize,
        /// Shape of one image.
        shape: super::ImageShape,
        /// Number of bytes they need.
        want_bytes: u64,
        /// Number of free bytes.
        free_bytes: u64,
    },
    /// Normalization would divide by zero or by a non-finite number.
    #[error("channel {channel} has mean {mean} and std {std}, want finite numbers and std > 0: set data.normalize")]
    PixelScale {
        /// The channel, from 0.
        channel: usize,
        /// Mean of the channel.
        mean: f32,
        /// Standard deviation of the channel; 0 if all training pixels are equal.
        std: f32,
    },
    /// The number of normalization values does not match the number of channels.
    #[error("got {mean} values of data.mean and {std} of data.std, want one per channel: {channels}")]
    PixelScaleChannels {
        /// Number of means.
        mean: usize,
        /// Number of standard deviations.
        std: usize,
        /// Number of channels of the images.
        channels: usize,
    },
    /// An epoch would not have any batch.
    #[error("{images} images do not fill a batch of {batch_size}; lower data.batch_size or unset data.drop_last")]
    NoBatch {
        /// Number of images per batch.
        batch_size: usize,
        /// Number of images in the data set.
        images: usize,
    },
    /// A loader thread could not start, or it panicked.
    #[error("a loader thread stopped: {cause}: set data.workers = 0 to load in the training thread")]
    Worker {
        /// The panic's message, or the system's error.
        cause: String,
    },
}

/// Explains how to fetch a data set that this project can download.
fn fetching(path: &Path) -> &'static str {
    let is_in = |folder: &str| path.iter().any(|part| part == folder);
    match () {
        () if is_in("fashion-mnist") => ", or fetch Fashion-MNIST with `make setup-data`",
        () if is_in("mnist") => ", or fetch MNIST with `make setup-mnist`",
        () => "",
    }
}

/// Gigabytes (10^9 bytes), with one decimal.
pub(super) fn gigabytes(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / 1e9)
}

impl DataError {
    /// Converts an I/O error at `path`. A missing file has its own variant.
    pub(super) fn io(path: &Path, cause: io::Error) -> Self {
        match cause.kind() {
            io::ErrorKind::NotFound => Self::Missing { path: path.to_owned() },
            _ => Self::Io { path: path.to_owned(), cause },
        }
    }
}

#[cfg(test)]
mod tests;
