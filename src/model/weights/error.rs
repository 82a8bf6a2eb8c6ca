//! Why weights could not be saved or loaded.

use std::{fmt, io, path::PathBuf};

use tch::TchError;
use thiserror::Error;

use super::{Library, refusal::shown};
use crate::{
    disk::{TensorFileError, list},
    libtorch::first_line,
};

/// Why weights could not be saved or loaded. The model is as it was; so is the file, unless it was [`WeightsError::Io`]
/// while its folder was synced.
#[derive(Debug, Error)]
pub enum WeightsError {
    /// The file system refused.
    #[error("{}: cannot {doing} the weights: got {cause}; check the path{}", path.display(), and_space(doing))]
    Io {
        /// The file.
        path: PathBuf,
        /// What was being done to it.
        doing: &'static str,
        /// What the system said.
        cause: io::Error,
    },
    /// The file is no safetensors file, is cut short, or is of another model.
    #[error("{}: these are no weights of this model: {cause}; check model.* and the classes, or save it again", path.display())]
    Tensors {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: TensorFileError,
    },
    /// The file holds no weights that can be read.
    #[error("model.weights: {}: got {got}, want {want}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What it is.
        got: String,
        /// What it has to be.
        want: String,
    },
    /// The file has no state dict under this key.
    #[error("model.weights_key: {}: got {}, want {}", path.display(), shown(got), among(keys))]
    NoKey {
        /// The file.
        path: PathBuf,
        /// The key.
        got: String,
        /// Those that it has.
        keys: Vec<String>,
    },
    /// The weights are of another model.
    #[error(
        "model.weights: {}: these are weights of another model{}: {cause}; check model.name and the keys beside it{remedy}",
        path.display(),
        names.map_or_else(String::new, |library| format!(" (names of {library} translated)"))
    )]
    Mismatch {
        /// The file.
        path: PathBuf,
        /// Whose names were translated to ours.
        names: Option<Library>,
        /// What does not fit.
        cause: Box<TensorFileError>,
        /// What may help.
        remedy: Box<Remedy>,
    },
    /// libtorch failed, most often for want of memory. The model has a part of the weights.
    #[error("model.weights: libtorch could not take them: got {}", first_line(.0))]
    Torch(TchError),
}

// Not a #[source]: the message says it all, and the source is a page of C++ backtrace.
impl From<TchError> for WeightsError {
    fn from(error: TchError) -> Self {
        Self::Torch(error)
    }
}

/// Only what is written needs any.
fn and_space(doing: &str) -> &'static str {
    if doing == "read" { "" } else { " and the free space" }
}

/// Keys that a message lists; more of them are of no use.
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

/// What may help if weights are of another model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remedy {
    /// Whether a part could be loaded, if it were asked for.
    pub is_in_part: bool,
    /// Other state dicts in the file.
    pub other_keys: Vec<String>,
}

impl fmt::Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_in_part {
            f.write_str(", or set model.weights_strict = false to load what fits")?;
        }
        let keys: Vec<String> = self.other_keys.iter().map(|key| shown(key)).collect();
        if keys.is_empty() {
            Ok(())
        } else {
            write!(f, ", or take another state dict with model.weights_key: {}", list(&keys))
        }
    }
}
