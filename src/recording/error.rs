//! Errors when recording a run.

use crate::{
    data::DataError, evaluation::EvaluationError, events::EventsError, inference::InferenceError,
    model::weights::WeightsError, picture::PictureError,
};

/// Error when recording a run.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// Error in the run folder or an event file.
    #[error(transparent)]
    Events(#[from] EventsError),
    /// Error while saving weights.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// Error while drawing a picture.
    #[error(transparent)]
    Picture(#[from] PictureError),
    /// Error while computing an explanation.
    #[error(transparent)]
    Inference(Box<InferenceError>),
    /// `evaluate.explain_classes` contains an unknown class.
    #[error("evaluate.explain_classes: got {got:?}, want classes of the data: {want}")]
    NoSuchClass {
        /// The unknown class.
        got: String,
        /// Known classes.
        want: String,
    },
}

// Boxed because it is larger than all other variants.
impl From<InferenceError> for RecordingError {
    fn from(error: InferenceError) -> Self {
        Self::Inference(error.into())
    }
}

/// For the picture of a batch.
impl From<EvaluationError> for RecordingError {
    fn from(error: EvaluationError) -> Self {
        InferenceError::from(error).into()
    }
}

/// For the images to explain.
impl From<DataError> for RecordingError {
    fn from(error: DataError) -> Self {
        InferenceError::from(error).into()
    }
}
