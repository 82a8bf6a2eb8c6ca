//! Reasons why Parquet files cannot be used.

use std::path::PathBuf;

/// Reason why Parquet files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ParquetError {
    /// A folder does not contain any Parquet file.
    #[error("{path} contains no file called NAME.parquet: check data.path; subfolders are not searched")]
    NoFiles {
        /// The folder.
        path: PathBuf,
    },
    /// One file names its classes, and another one has numbers without names.
    #[error(
        "{path} has numbers as labels and does not name their classes, unlike {named}: write both with the same \
         ClassLabel feature, or leave out one of them"
    )]
    Classes {
        /// The file without names.
        path: PathBuf,
        /// A file with names.
        named: PathBuf,
    },
    /// A file is not a Parquet file, or is damaged.
    #[error(
        "{path} cannot be read as Parquet: {cause}: download it again, or set data.on_bad_image = \"skip\" to use the \
         other files"
    )]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        cause: String,
    },
    /// A column is compressed with an unsupported codec.
    #[error(
        "{path}: column {column} is compressed with {codec}, want snappy, zstd, gzip, lz4, or no compression: write \
         the file again with another compression"
    )]
    Codec {
        /// The file.
        path: PathBuf,
        /// Path of the column.
        column: String,
        /// Name of the codec.
        codec: String,
    },
    /// A file has no column of images or of labels, several of them, or one of another type.
    #[error("{path}: {cause}: set {key}")]
    Column {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what is there.
        cause: String,
        /// The key that names the column.
        key: &'static str,
    },
    /// A row has no label, or one out of range.
    #[error("{path}, row {row}: {cause}: fix it, or set data.on_bad_image = \"skip\" to leave out such rows")]
    Row {
        /// The file.
        path: PathBuf,
        /// The row, from 0.
        row: usize,
        /// What is wrong.
        cause: String,
    },
}
