//! Errors when using a trained model.

use std::{io, path::PathBuf};

use tch::TchError;

use crate::{
    config::{Architecture, ConfigError, Difference},
    data::DataError,
    evaluation::EvaluationError,
    libtorch::{LibtorchError, first_line},
    model::{ModelError, weights::WeightsError},
};

/// Reason why a trained model could not be opened or used. No file was changed.
#[derive(Debug, thiserror::Error)]
pub enum InferenceError {
    /// The path is neither a run's folder nor a TorchScript file.
    #[error(
        "{} is not a run folder: {missing} is missing; give a run folder, such as logs/NAME; predict and export also \
         accept a TorchScript file",
        path.display()
    )]
    NoRun {
        /// The given path.
        path: PathBuf,
        /// The missing file of a run.
        missing: &'static str,
    },
    /// The run's classes or preprocessing cannot be read.
    #[error("{}: {cause}; gradwatch resume writes it again", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The error.
        cause: String,
    },
    /// A file in a run's folder is a link, a pipe, or similar, or the folder cannot be read.
    #[error("{} cannot be read", path.display())]
    Elsewhere {
        /// The file or folder.
        path: PathBuf,
        /// The kind of entry, and how to fix it.
        #[source]
        cause: io::Error,
    },
    /// The run has not saved these weights.
    #[error("{} does not exist: {reason}", path.display())]
    NoWeights {
        /// The file.
        path: PathBuf,
        /// The reason, and how to fix it.
        reason: String,
    },
    /// A TorchScript file does not contain its classes or its preprocessing.
    #[error(
        "{}: got a TorchScript file without {missing}, want one from models/export.py or gradwatch export; or train \
         with it and give the run folder",
        path.display()
    )]
    NoExtra {
        /// The file.
        path: PathBuf,
        /// The missing text.
        missing: &'static str,
    },
    /// The model has no feature maps, which Grad-CAM needs.
    #[error(
        "{name} has no feature maps with image positions; explain needs a built-in model with convolutions or patches"
    )]
    NoFeatureMaps {
        /// The model.
        name: Architecture,
    },
    /// The model does not have this class.
    #[error("the model has no class {got:?}, want one of {want}")]
    UnknownClass {
        /// The requested class.
        got: String,
        /// The model's classes.
        want: String,
    },
    /// An override would change a key that the model was trained with.
    #[error(
        "--set {difference}: the model was trained with another value; want a key with the location of a file, such as \
         data.path or model.path"
    )]
    TrainedWith {
        /// The key.
        difference: Difference,
    },
    /// A file could not be written.
    #[error("{} cannot be written", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's error.
        #[source]
        cause: io::Error,
    },
    /// The run's config is invalid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Error in the images, the model, its weights, or libtorch.
    #[error(transparent)]
    Evaluation(#[from] EvaluationError),
    /// libtorch failed in a forward or backward pass, usually because it ran out of memory.
    #[error("libtorch error in the model: {}; a smaller --batch-size may fit", first_line(.0))]
    Torch(TchError),
}

// Not a #[source]: the message is complete, and the source is a page of C++ backtrace.
impl From<TchError> for InferenceError {
    fn from(error: TchError) -> Self {
        Self::Torch(error)
    }
}

impl From<DataError> for InferenceError {
    fn from(error: DataError) -> Self {
        Self::Evaluation(error.into())
    }
}

impl From<ModelError> for InferenceError {
    fn from(error: ModelError) -> Self {
        Self::Evaluation(error.into())
    }
}

impl From<WeightsError> for InferenceError {
    fn from(error: WeightsError) -> Self {
        Self::Evaluation(error.into())
    }
}

impl From<LibtorchError> for InferenceError {
    fn from(error: LibtorchError) -> Self {
        Self::Evaluation(error.into())
    }
}
