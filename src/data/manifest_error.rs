//! Reasons why a CSV manifest cannot be used.

use std::{io, path::PathBuf};

/// Reason why a CSV manifest cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// The header of a manifest lacks a column.
    #[error("{path} lacks the column `{column}`: got the header `{got}`, want `path,label` or `path,label,split`")]
    Header {
        /// The manifest.
        path: PathBuf,
        /// The missing column.
        column: &'static str,
        /// The columns found.
        got: String,
    },
    /// A row of a manifest cannot be used.
    #[error("{path}, line {line}: {cause}")]
    Row {
        /// The manifest.
        path: PathBuf,
        /// Line number, from 1; 0 if the parser does not know it.
        line: u64,
        /// The error.
        cause: String,
    },
    /// No image of a split of multi-label data has a class.
    #[error("{path}: no {split} image has a label: fill the column `label`")]
    NoLabels {
        /// The manifest.
        path: PathBuf,
        /// `training` or `validation`.
        split: &'static str,
    },
    /// Images listed in a manifest are missing or not regular files.
    #[error(
        "{path}: {count} of {of} images cannot be read, first {first}: {cause}; paths are relative to the folder of \
         the CSV file: fix its rows, or set data.on_bad_image = \"skip\""
    )]
    MissingImages {
        /// The manifest.
        path: PathBuf,
        /// Number of images that cannot be read.
        count: usize,
        /// Total number of images.
        of: usize,
        /// The first image that cannot be read.
        first: PathBuf,
        /// The system's error for that image.
        cause: io::Error,
    },
}
