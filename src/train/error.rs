//! Why a run cannot start or go on.

use std::path::PathBuf;

use crate::{
    checkpoint::CheckpointError,
    config::{Architecture, ConfigError, Difference},
    data::DataError,
    events::EventsError,
    gradient::GradientError,
    inference::InferenceError,
    libtorch::LibtorchError,
    model::{ModelError, weights::WeightsError},
    optim::OptimError,
    picture::PictureError,
};

/// Why a run could not start or go on. What was queued for the event file is on
/// disk when the [`State`](super::State) has dropped.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The images or labels.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The model.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// Saving weights, or loading those to start from.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// Reading gradients.
    #[error(transparent)]
    Gradient(#[from] GradientError),
    /// The optimizer.
    #[error(transparent)]
    Optim(#[from] OptimError),
    /// The run's folder and event file.
    #[error(transparent)]
    Events(#[from] EventsError),
    /// A checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The config in a checkpoint.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The config is of another experiment than the checkpoint.
    #[error(
        "checkpoint {} is of another experiment: {}; take these keys back, or permit each: {}",
        checkpoint.display(), list(differences, Difference::to_string, "; "),
        list(differences, |difference| format!("--allow-change {}", difference.key), " ")
    )]
    Changed {
        /// The checkpoint.
        checkpoint: PathBuf,
        /// The keys that may not differ, and do.
        differences: Vec<Difference>,
    },
    /// The images are not those of the checkpoint.
    #[error(
        "the checkpoint is of other images: {what}; put them back, give their place with --set data.path=NEW, or permit it with \
         --allow-change data.files"
    )]
    OtherData {
        /// What differs.
        what: String,
    },
    /// The classes are not those of the checkpoint.
    #[error("the checkpoint does not fit: {0}")]
    OtherClasses(DataError),
    /// The model's file is not that of the checkpoint.
    #[error(
        "model.path: the file is another than the run was begun with (got BLAKE3 {got}, want {want}); put that file back"
    )]
    OtherModel {
        /// Of the file there is; of no file where the layers are our own.
        got: String,
        /// Of the checkpoint's.
        want: String,
    },
    /// libtorch, e.g. a missing GPU or too little memory.
    #[error(transparent)]
    Libtorch(#[from] LibtorchError),
    /// The loss has a weight for some other number of classes.
    #[error("loss.class_weights: got {got} weights, want {want}, one per class")]
    ClassWeights {
        /// Weights in the config.
        got: usize,
        /// Classes of the data.
        want: usize,
    },
    /// Every image of a split is bad and was skipped.
    #[error("no {split} image decodes; check data.path, or set data.on_bad_image = \"stop\" to see why")]
    NoImages {
        /// `training` or `validation`.
        split: &'static str,
    },
    /// A batch, or a half of one, is a single image, which the model cannot normalise.
    #[error(
        "{what} is one image ({images} images in batches of {batch_size}), over which batch normalization has no variance; \
         {remedy}"
    )]
    SingleImage {
        /// What is one.
        what: &'static str,
        /// Training images.
        images: usize,
        /// Images per batch.
        batch_size: usize,
        /// The keys that change it.
        remedy: &'static str,
    },
    /// A group of parameters without any.
    #[error("optimizer.groups: no parameter is named {patterns}; want a pattern of one of {names}")]
    NoSuchParameters {
        /// The group's patterns.
        patterns: String,
        /// The names that there are, or some of them.
        names: String,
    },
    /// A pattern of batch normalization that fits none.
    #[error(
        "model.freeze_batch_norm_statistics: no batch normalization is named {pattern}; want a pattern of one of {names}"
    )]
    NoSuchStatistics {
        /// The pattern.
        pattern: String,
        /// The names that there are, or some of them.
        names: String,
    },
    /// Images are to be explained whose class there is not.
    #[error("evaluate.explain_classes: got {got:?}, want classes of the data: {want}")]
    NoSuchClass {
        /// The class.
        got: String,
        /// Those there are.
        want: String,
    },
    /// Images are to be explained by a model that cannot say where in an image something is.
    #[error(
        "evaluate.explain_images: {name} has no feature maps for Grad-CAM; set it to 0, or take a model with convolutions or patches"
    )]
    NoFeatureMaps {
        /// The model.
        name: Architecture,
    },
    /// An explanation cannot be computed.
    #[error(transparent)]
    Inference(Box<InferenceError>),
    /// A picture cannot be drawn.
    #[error(transparent)]
    Picture(#[from] PictureError),
    /// Every parameter is frozen.
    #[error("optimizer.groups: every parameter is frozen; leave freeze out of a group")]
    NothingToTrain,
    /// The head alone is to be trained, and there is none.
    #[error(
        "optimizer.head_only_epochs: the model has no head that takes a gradient; leave it out of frozen groups, or remove the key"
    )]
    NoHead,
    /// No step can be taken any more.
    #[error(
        "step {step}: {in_a_row} steps in a row had a gradient that is not finite, first in {parameter}; the weights are \
         as the last finite step left them; {remedy}"
    )]
    NonFinite {
        /// The last step.
        step: u64,
        /// Steps that were skipped in a row.
        in_a_row: u64,
        /// The first parameter with a non-finite gradient.
        parameter: String,
        /// What to change.
        remedy: String,
    },
    /// Gradients are finite, and no step can be taken with them.
    #[error(
        "step {step}: a finite gradient gave an update that is not finite in {parameter}, the last of {in_a_row} steps in a row \
         that could not be taken; the weights are as the last finite step left them; {remedy}"
    )]
    NonFiniteUpdate {
        /// The last step.
        step: u64,
        /// Steps that were not taken in a row.
        in_a_row: u64,
        /// The parameter, or what the optimizer remembers of it.
        parameter: String,
        /// What to change.
        remedy: String,
    },
}

fn list(differences: &[Difference], text: impl Fn(&Difference) -> String, between: &str) -> String {
    differences.iter().map(text).collect::<Vec<_>>().join(between)
}

// In a box: it is larger than all others.
impl From<InferenceError> for TrainError {
    fn from(error: InferenceError) -> Self {
        Self::Inference(error.into())
    }
}

impl From<tch::TchError> for TrainError {
    fn from(error: tch::TchError) -> Self {
        Self::Libtorch(error.into())
    }
}
