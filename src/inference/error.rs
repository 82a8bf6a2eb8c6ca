//! Why a trained model cannot be used.

use std::{io, path::PathBuf};

use tch::TchError;

use crate::{
    config::{Architecture, ConfigError, Difference},
    data::DataError,
    libtorch::{LibtorchError, first_line},
    model::{ModelError, weights::WeightsError},
};

/// Why a trained model could not be opened or used. No file was changed.
#[derive(Debug, thiserror::Error)]
pub enum InferenceError {
    /// Neither a run's folder nor a TorchScript file.
    #[error("{} is no run: {missing} is not there; give the folder of a run, such as logs/NAME, or a TorchScript file", path.display())]
    NoRun {
        /// What was given.
        path: PathBuf,
        /// What would make it a run.
        missing: &'static str,
    },
    /// What a run knows of its images cannot be read.
    #[error("{}: {cause}; gradwatch resume on the run writes it anew", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// A file of a run's folder is a link, a pipe or the like, or the folder cannot be read.
    #[error("{} cannot be read: {cause}", path.display())]
    Elsewhere {
        /// The file or folder.
        path: PathBuf,
        /// What it is, and what to do.
        cause: io::Error,
    },
    /// The run has not saved such weights.
    #[error("{} is not there: {reason}", path.display())]
    NoWeights {
        /// The file.
        path: PathBuf,
        /// Why, and what to do.
        reason: String,
    },
    /// A TorchScript file that does not say what its classes are or what images it wants.
    #[error(
        "{}: got a TorchScript file without {missing} in it, want one of models/export.py or gradwatch export; or train with it, \
         and give the run",
        path.display()
    )]
    NoExtra {
        /// The file.
        path: PathBuf,
        /// The text that is not in it.
        missing: &'static str,
    },
    /// The model has no feature maps, by which Grad-CAM tells places apart.
    #[error(
        "{name} has no feature maps that tell where in an image something is; explain takes a model with convolutions or patches of our own"
    )]
    NoFeatureMaps {
        /// The model.
        name: Architecture,
    },
    /// A class that the model does not know.
    #[error("the model has no class {got:?}, want one of {want}")]
    UnknownClass {
        /// What was asked for.
        got: String,
        /// Those it has.
        want: String,
    },
    /// A key of what was trained is to be another.
    #[error(
        "--set {difference}: the model was trained with it; want a key that says where files are now, such as data.path or model.path"
    )]
    TrainedWith {
        /// The key.
        difference: Difference,
    },
    /// A file could not be written.
    #[error("{} cannot be written: {cause}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        cause: io::Error,
    },
    /// The run's config.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The images.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The model.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The weights.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// libtorch.
    #[error(transparent)]
    Libtorch(#[from] LibtorchError),
    /// libtorch failed in a pass, most often for want of memory.
    #[error("libtorch could not run the model: got {}; a smaller --batch-size may fit", first_line(.0))]
    Torch(TchError),
}

// Not a #[source]: the message says it all, and the source is a page of C++ backtrace.
impl From<TchError> for InferenceError {
    fn from(error: TchError) -> Self {
        Self::Torch(error)
    }
}
