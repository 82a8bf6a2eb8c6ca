//! What can go wrong between the files of a data set and a batch.

use std::io;
use std::path::{Path, PathBuf};

/// Why data cannot be used. Only [`DataError::BadImage`] concerns one image alone, so only it can be skipped; each
/// other variant says that the data set, the options or a thread is unusable.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// A file or folder is not there.
    #[error("{path} does not exist: check data.path (--set data.path=NEW){}", fetching(path))]
    Missing {
        /// The first spelling that was looked for.
        path: PathBuf,
    },
    /// The system refused to read.
    #[error("{path} cannot be read: {cause}: check data.path and the permissions")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        cause: io::Error,
    },
    /// A file ends before the data that its header or its format announces.
    #[error("{path} is truncated: got {got} bytes, want {want}: fetch it again")]
    Truncated {
        /// The file.
        path: PathBuf,
        /// Bytes found, after decompression.
        got: u64,
        /// Bytes announced.
        want: u64,
    },
    /// A file goes on after the data that its header announces.
    #[error("{path} goes on after the {want} bytes its header announces: fetch it again")]
    TrailingBytes {
        /// The file.
        path: PathBuf,
        /// Bytes announced.
        want: u64,
    },
    /// A file starts like a file of another kind.
    #[error("{path} is of another format: got magic number {got:#010x}, want {want:#010x}: check data.source")]
    WrongMagic {
        /// The file.
        path: PathBuf,
        /// The first four bytes, big-endian.
        got: u32,
        /// The four bytes of the format.
        want: u32,
    },
    /// A gzip stream is damaged or cut short.
    #[error("{path} does not decompress: {cause}: fetch it again")]
    Gzip {
        /// The file.
        path: PathBuf,
        /// The decoder's reason.
        cause: io::Error,
    },
    /// An image file and its label file do not belong together.
    #[error("{images} holds {image_count} images but {labels} holds {label_count} labels: fetch both again")]
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
    #[error("label {index} of {path} is {label}, want 0..={}: fetch it again or mend it", classes.saturating_sub(1))]
    LabelOutOfRange {
        /// Where the labels come from.
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
    /// There is no image to train on or to validate with.
    #[error("{path} gives no {split} image: check data.path and data.validation_fraction")]
    Empty {
        /// The file or folder.
        path: PathBuf,
        /// What there is none of: a `training`, `validation`, `usable` or `decodable` image.
        split: &'static str,
    },
    /// A class folder holds nothing to decode.
    #[error("class folder {path} holds no png, jpeg, bmp or webp image{left_out}: fill it or remove it")]
    ClassWithoutImages {
        /// The folder.
        path: PathBuf,
        /// What it holds instead, as the end of a sentence.
        left_out: String,
    },
    /// A class folder is a link whose target is not there.
    #[error("class folder {path} is a link that leads nowhere: mount or restore what it leads to, or remove the link")]
    ClassIsGone {
        /// The link.
        path: PathBuf,
    },
    /// Images lie where folders of classes should.
    #[error(
        "{path} holds {images} image(s) and no class folders: make a folder for each class, or list the images in a CSV file \
         (data.source = \"csv\")"
    )]
    NoClassFolders {
        /// The folder.
        path: PathBuf,
        /// Images in it.
        images: usize,
    },
    /// Folders look like the parts of a data set, and some part is missing.
    #[error("{path} holds {got}: {want}")]
    UnclearLayout {
        /// The folder.
        path: PathBuf,
        /// The folders in it.
        got: String,
        /// What to rename.
        want: &'static str,
    },
    /// Validation images are of a class that training never shows.
    #[error("{path}: class `{class}` has validation images but no training image")]
    UnknownClass {
        /// The folder or manifest.
        path: PathBuf,
        /// The class.
        class: String,
    },
    /// A file of class names has too few or too many.
    #[error("{path} names {got} classes, want {want}: fetch it again")]
    ClassNames {
        /// The file.
        path: PathBuf,
        /// Names found.
        got: usize,
        /// Number of classes.
        want: usize,
    },
    /// A manifest's first line lacks a column.
    #[error("{path} lacks the column `{column}`: got the header `{got}`, want `path,label` or `path,label,split`")]
    ManifestHeader {
        /// The manifest.
        path: PathBuf,
        /// The missing column.
        column: &'static str,
        /// The columns found.
        got: String,
    },
    /// A manifest's row cannot be used.
    #[error("{path}, line {line}: {cause}")]
    ManifestRow {
        /// The manifest.
        path: PathBuf,
        /// Line number, from 1; 0 where the parser does not know it.
        line: u64,
        /// What is wrong with it.
        cause: String,
    },
    /// Images that a manifest lists are not there, or are no files.
    #[error(
        "{path}: {count} of {of} images cannot be read, first {first}: {cause}; paths are relative to the folder of the CSV file: mend \
         its rows, or set data.on_bad_image = \"skip\""
    )]
    MissingImages {
        /// The manifest.
        path: PathBuf,
        /// Images that cannot be read.
        count: usize,
        /// All images.
        of: usize,
        /// The first that cannot be read.
        first: PathBuf,
        /// Why not.
        cause: io::Error,
    },
    /// Several data sets lie in one folder.
    #[error("{path} holds several data sets ({got}): put the files of one of them into a folder of their own")]
    SeveralSets {
        /// The folder.
        path: PathBuf,
        /// Their names.
        got: String,
    },
    /// CIFAR for Python instead of its binary version.
    #[error(
        "{path} is the Python version of CIFAR, a pickle: fetch the binary version ({archive}) from \
         https://www.cs.toronto.edu/~kriz/cifar.html"
    )]
    PythonVersion {
        /// The pickle.
        path: PathBuf,
        /// The archive to fetch.
        archive: &'static str,
    },
    /// One image does not decode.
    #[error("{path} does not decode: {cause}: remove it, or set data.on_bad_image = \"skip\"")]
    BadImage {
        /// The image.
        path: PathBuf,
        /// The decoder's reason.
        cause: String,
    },
    /// A file or folder that was named to be looked at is not there.
    #[error("{path} cannot be read: {cause}: name image files, or folders that hold some")]
    NoImageFile {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        cause: io::Error,
    },
    /// A folder that was named to be looked at holds no image.
    #[error("{path} holds no png, jpeg, bmp or webp image{left_out}: name image files, or folders that hold some")]
    NoImageFiles {
        /// The folder.
        path: PathBuf,
        /// What it holds instead, as the end of a sentence.
        left_out: String,
    },
    /// The classes are not those of the run.
    #[error(
        "{path} has other classes than the run: got {got}, want {want}; unknown to the run: {unknown}; missing: {missing}; give \
         the classes the names that they had, or choose other images"
    )]
    OtherClasses {
        /// The folder or file.
        path: PathBuf,
        /// Classes of the data.
        got: usize,
        /// Classes of the run.
        want: usize,
        /// Those that the run does not have, the first few by name.
        unknown: String,
        /// Those of the run that the data does not have, likewise.
        missing: String,
    },
    /// There is nothing where the images are said to be.
    #[error("{path} does not exist: {remedy}")]
    NotThere {
        /// The folder or manifest.
        path: PathBuf,
        /// What to do, for the subcommand that asks.
        remedy: &'static str,
    },
    /// An image was asked for that the data set does not have.
    #[error("image {index} was asked for, but the data set has {len}")]
    NoSuchImage {
        /// The index asked for.
        index: u32,
        /// Number of images.
        len: usize,
    },
    /// Pixels do not fit in memory, or not to the shape.
    #[error("{path}: got {got} bytes of pixels, want {want} (images x channels x height x width)")]
    PixelCount {
        /// Where the pixels come from.
        path: PathBuf,
        /// Bytes given.
        got: usize,
        /// Bytes that labels and shape call for.
        want: u128,
    },
    /// Files cannot be decoded to that many channels.
    #[error("images are decoded to 1 (grey) or 3 (RGB) channels, got {got}: check data.channels")]
    Channels {
        /// Channels asked for.
        got: usize,
    },
    /// The images are too large or too many to hold.
    #[error("{images} images of {shape} do not fit in memory: lower data.samples or data.image_size")]
    TooLarge {
        /// Number of images.
        images: usize,
        /// Shape of one image.
        shape: super::ImageShape,
    },
    /// The images take more memory than is free.
    #[error(
        "{images} images of {shape} take {} GB of memory, {} GB are free: lower data.samples, data.image_size or data.classes",
        gigabytes(*want_bytes), gigabytes(*free_bytes)
    )]
    NoMemory {
        /// Number of images.
        images: usize,
        /// Shape of one image.
        shape: super::ImageShape,
        /// Bytes that they take.
        want_bytes: u64,
        /// Bytes that are free.
        free_bytes: u64,
    },
    /// Normalisation would divide by zero or by a non-number.
    #[error("channel {channel} has mean {mean} and std {std}, want finite numbers and std > 0: set data.normalize")]
    PixelScale {
        /// The channel, from 0.
        channel: usize,
        /// Its mean.
        mean: f32,
        /// Its standard deviation; 0 where every training pixel is equal.
        std: f32,
    },
    /// Normalisation is for another number of channels.
    #[error("got {mean} values of data.mean and {std} of data.std, want one per channel: {channels}")]
    PixelScaleChannels {
        /// Number of means.
        mean: usize,
        /// Number of standard deviations.
        std: usize,
        /// Channels of the images.
        channels: usize,
    },
    /// An epoch would have no batch.
    #[error("batches of {batch_size} out of {images} images: none; lower data.batch_size or unset data.drop_last")]
    NoBatch {
        /// Images per batch.
        batch_size: usize,
        /// Images of the data set.
        images: usize,
    },
    /// A loader thread could not be started, or panicked.
    #[error("a loader thread stopped: {cause}: set data.workers = 0 to load in the training thread")]
    Worker {
        /// The panic's message, or the system's reason.
        cause: String,
    },
}

/// How to get a data set that this project has a way to fetch.
fn fetching(path: &Path) -> &'static str {
    match path.iter().any(|part| part == "fashion-mnist") {
        true => ", or fetch Fashion-MNIST with `make setup-data`",
        false => "",
    }
}

/// Billions of bytes, to a tenth.
pub(super) fn gigabytes(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / 1e9)
}

impl DataError {
    /// An input error of `path`; a file that is not there gets its own variant.
    pub(super) fn io(path: &Path, cause: io::Error) -> Self {
        match cause.kind() {
            io::ErrorKind::NotFound => Self::Missing { path: path.to_owned() },
            _ => Self::Io { path: path.to_owned(), cause },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_file_is_told_from_an_unreadable_one() {
        let path = Path::new("data/x");
        assert_eq!(
            DataError::io(path, io::ErrorKind::NotFound.into()).to_string(),
            "data/x does not exist: check data.path (--set data.path=NEW)"
        );
        let demo = DataError::io(Path::new("data/fashion-mnist/x"), io::ErrorKind::NotFound.into()).to_string();
        assert!(
            demo.ends_with("data.path (--set data.path=NEW), or fetch Fashion-MNIST with `make setup-data`"),
            "{demo}"
        );
        assert!(matches!(DataError::io(path, io::ErrorKind::PermissionDenied.into()), DataError::Io { .. }));
    }
}
