//! The splits of a data set.

use std::path::Path;
use std::sync::Arc;

use super::{DataError, Dataset};

/// The training and validation images of a data set, with the same shape and classes.
#[derive(Debug, Clone)]
pub struct Splits {
    /// Images for training.
    pub train: Arc<Dataset>,
    /// Images for validation.
    pub validation: Arc<Dataset>,
}

/// Rejects a split without images, naming it and its source. Of training and validation: the sources, and the numbers of
/// images.
pub(super) fn check_not_empty(sources: [&Path; 2], images: [usize; 2]) -> Result<(), DataError> {
    let splits = ["training", "validation"].into_iter().zip(sources).zip(images);
    match splits.into_iter().find(|(_, images)| *images == 0) {
        Some(((split, source), _)) => Err(DataError::Empty { path: source.to_owned(), split }),
        None => Ok(()),
    }
}
