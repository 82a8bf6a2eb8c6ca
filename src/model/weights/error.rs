//! Errors when saving or loading weights.

use std::{fmt, io, path::PathBuf};

use tch::TchError;
use thiserror::Error;

use super::{Library, refusal::shown};
use crate::{
    disk::{TensorFileError, list},
    libtorch::first_line,
};

/// Reason why weights could not be saved or loaded. The model is unchanged, except after [`WeightsError::Torch`]. The
/// file is unchanged, unless [`WeightsError::Io`] occurred while its folder was synced.
#[derive(Debug, Error)]
pub enum WeightsError {
    /// Reading or writing failed.
    #[error("{}: cannot {doing} the weights: {cause}; check the path{}", path.display(), and_space(doing))]
    Io {
        /// The file.
        path: PathBuf,
        /// The failed operation.
        doing: &'static str,
        /// The system's error.
        cause: io::Error,
    },
    /// The file is not a safetensors file, is truncated, or belongs to another model.
    #[error(
        "{}: the weights do not fit this model: {cause}; check model.* and the classes, or save them again",
        path.display()
    )]
    Tensors {
        /// The file.
        path: PathBuf,
        /// The error.
        cause: TensorFileError,
    },
    /// The file does not contain readable weights.
    #[error("model.weights: {}: got {got}, want {want}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Actual contents.
        got: String,
        /// Expected contents.
        want: String,
    },
    /// The file does not have a state dict under this key.
    #[error("model.weights_key: {}: got {}, want {}", path.display(), shown(got), among(keys))]
    NoKey {
        /// The file.
        path: PathBuf,
        /// The requested key.
        got: String,
        /// Available keys.
        keys: Vec<String>,
    },
    /// The weights belong to another model.
    #[error(
        "model.weights: {}: the weights belong to another model{}: {cause}; check model.name and the other keys of \
         [model]{remedy}",
        path.display(),
        names.map_or_else(String::new, |library| format!(" (names of {library} translated)"))
    )]
    Mismatch {
        /// The file.
        path: PathBuf,
        /// Library whose names were translated to gradwatch's.
        names: Option<Library>,
        /// The differences.
        cause: Box<TensorFileError>,
        /// Possible fixes.
        remedy: Box<Remedy>,
    },
    /// libtorch failed, usually because it ran out of memory. The model may contain some of the weights.
    #[error("model.weights: libtorch error while loading: {}", first_line(.0))]
    Torch(TchError),
}

// Not a #[source]: the message is complete, and the source is a page of C++ backtrace.
impl From<TchError> for WeightsError {
    fn from(error: TchError) -> Self {
        Self::Torch(error)
    }
}

/// Only writing needs free space.
fn and_space(doing: &str) -> &'static str {
    if doing == "read" { "" } else { " and the free space" }
}

/// Maximum number of keys in a message.
const LISTED: usize = 16;

fn among(keys: &[String]) -> String {
    let names: Vec<String> = keys.iter().take(LISTED).map(|key| shown(key)).collect();
    match (&names[..], keys.len().saturating_sub(LISTED)) {
        ([], _) => "no key: the file is a single state dict".to_owned(),
        ([one], _) => format!("{one}, the only one in the file"),
        (names, 0) => format!("one of {}", names.join(", ")),
        (names, more) => format!("one of {} and {more} more", names.join(", ")),
    }
}

/// Possible fixes if weights belong to another model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remedy {
    /// Whether a partial load is possible.
    pub is_in_part: bool,
    /// Keys of other state dicts in the file.
    pub other_keys: Vec<String>,
}

impl fmt::Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_in_part {
            f.write_str(", or set model.weights_strict = false to load the tensors that fit")?;
        }
        let keys: Vec<String> = self.other_keys.iter().map(|key| shown(key)).collect();
        if keys.is_empty() {
            Ok(())
        } else {
            write!(f, ", or select another state dict with model.weights_key: {}", list(&keys))
        }
    }
}
