//! Errors when running a model over images.

use tch::TchError;

use crate::{
    data::DataError,
    distributed::DistributedError,
    libtorch::LibtorchError,
    model::{ModelError, weights::WeightsError},
};

/// Error when running a model over images. Training and inference wrap it.
#[derive(Debug, thiserror::Error)]
pub enum EvaluationError {
    /// Error in the images or labels.
    #[error(transparent)]
    Data(#[from] DataError),
    /// Error in the model.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// Error while loading or saving weights.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// Error in libtorch, such as a missing GPU or too little memory.
    #[error(transparent)]
    Libtorch(#[from] LibtorchError),
    /// Error between ranks.
    #[error(transparent)]
    Distributed(#[from] DistributedError),
    /// No image of a split decodes.
    #[error("no {split} image decodes; check data.path, or set data.on_bad_image = \"stop\" to see why")]
    NoImages {
        /// `training` or `validation`.
        split: &'static str,
    },
    /// The number of class weights does not match the number of classes.
    #[error("loss.class_weights: got {got} weights, want {want}, one per class")]
    ClassWeights {
        /// Number of weights in the config.
        got: usize,
        /// Number of classes in the data.
        want: usize,
    },
}

impl From<TchError> for EvaluationError {
    fn from(error: TchError) -> Self {
        Self::Libtorch(error.into())
    }
}
