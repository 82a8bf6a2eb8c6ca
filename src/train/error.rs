//! Errors that keep a run from starting or continuing.

use std::path::PathBuf;

use crate::{
    checkpoint::CheckpointError,
    config::{Architecture, ConfigError, Difference},
    data::{DataError, ImageShape},
    distributed::DistributedError,
    evaluation::EvaluationError,
    events::EventsError,
    gradient::GradientError,
    libtorch::LibtorchError,
    model::{ModelError, weights::WeightsError},
    optim::OptimError,
    recording::RecordingError,
};

/// Error that keeps a run from starting or continuing. Queued events are on disk once the [`State`](super::State) has
/// dropped.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// Error in the images, the model, its weights, or libtorch.
    #[error(transparent)]
    Evaluation(#[from] EvaluationError),
    /// Error in the files of the run.
    #[error(transparent)]
    Recording(#[from] RecordingError),
    /// Error while measuring gradients.
    #[error(transparent)]
    Gradient(#[from] GradientError),
    /// Error in the optimizer.
    #[error(transparent)]
    Optim(#[from] OptimError),
    /// Error in a checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// Error in the config of a checkpoint.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The config describes another experiment than the checkpoint.
    #[error(
        "checkpoint {} belongs to another experiment: {}; restore these keys, or allow each change: {}",
        checkpoint.display(), list(differences, Difference::to_string, "; "),
        list(differences, |difference| format!("--allow-change {}", difference.key), " ")
    )]
    Changed {
        /// The checkpoint.
        checkpoint: PathBuf,
        /// Keys that differ but must not.
        differences: Vec<Difference>,
    },
    /// Error between ranks.
    #[error(transparent)]
    Distributed(#[from] DistributedError),
    /// A run on several ranks cannot repair itself.
    #[error("repair.mode: got \"auto\" on {ranks} ranks, want one rank, or repair.mode = \"advise\"")]
    RepairOnRanks {
        /// Number of ranks.
        ranks: usize,
    },
    /// A TorchScript program updates buffers in a way that is not known.
    #[error(
        "several ranks cannot train this TorchScript program, because it has buffers, such as {name}, whose updates are \
         inside the program; train it on one rank"
    )]
    RankBuffers {
        /// The first buffer.
        name: String,
    },
    /// The checkpoint is of a version whose random numbers depend on the number of ranks.
    #[error(
        "the run was started by an earlier version, whose random numbers are those of one rank; resume it on one rank"
    )]
    RankStreams,
    /// The images differ from those of the checkpoint.
    #[error(
        "the checkpoint was saved with other images: {what}; restore them, set their new location with --set \
         data.path=NEW, or allow the change with --allow-change data.files"
    )]
    OtherData {
        /// Description of the differences.
        what: String,
    },
    /// The classes differ from those of the checkpoint.
    #[error("the checkpoint does not match the data")]
    OtherClasses(#[source] DataError),
    /// The model file differs from that of the checkpoint.
    #[error("model.path: the run started with another file (got BLAKE3 {got}, want {want}); restore that file")]
    OtherModel {
        /// Hash of the current file; "none" for a built-in model.
        got: String,
        /// Hash in the checkpoint.
        want: String,
    },
    /// A batch, or half of one, is a single image, for which batch normalization has no variance.
    #[error(
        "{what} has one image ({images} images in batches of {batch_size}), and batch normalization cannot compute a \
         variance over one image; {remedy}"
    )]
    SingleImage {
        /// Affected batches.
        what: &'static str,
        /// Number of training images.
        images: usize,
        /// Images per batch.
        batch_size: usize,
        /// Config changes that help.
        remedy: &'static str,
    },
    /// The model takes images of one size only.
    #[error(
        "data.train_image_size: model {name} cannot train on images of {got} because it is built for {want}; remove the key or \
         choose a model that averages its feature maps, such as resnet18"
    )]
    TrainingSize {
        /// The model.
        name: Architecture,
        /// Shape of the training images.
        got: ImageShape,
        /// Shape of the evaluated images.
        want: ImageShape,
    },
    /// The patterns of a group match no parameter.
    #[error("optimizer.groups: no parameter matches {patterns}; want a pattern that matches one of {names}")]
    NoSuchParameters {
        /// Patterns of the group.
        patterns: String,
        /// Names of the parameters, or some of them.
        names: String,
    },
    /// A pattern matches no batch normalization.
    #[error(
        "model.freeze_batch_norm_statistics: no batch normalization matches {pattern}; want a pattern that matches one \
         of {names}"
    )]
    NoSuchStatistics {
        /// The pattern.
        pattern: String,
        /// Names of the batch normalizations, or some of them.
        names: String,
    },
    /// The model has no feature maps for Grad-CAM.
    #[error(
        "evaluate.explain_images: {name} has no feature maps for Grad-CAM; set it to 0, or use a model with \
         convolutions or patches"
    )]
    NoFeatureMaps {
        /// Name of the model.
        name: Architecture,
    },
    /// Every parameter is frozen.
    #[error("optimizer.groups: every parameter is frozen; remove freeze from a group")]
    NothingToTrain,
    /// `optimizer.head_only_epochs` is set, but the model has no trainable head.
    #[error(
        "optimizer.head_only_epochs: the model has no trainable head; remove it from frozen groups, or remove the key"
    )]
    NoHead,
    /// Too many consecutive steps had a non-finite gradient.
    #[error(
        "step {step}: {in_a_row} consecutive steps had a gradient that is not finite, first in {parameter}; \
         {weights}; {remedy}"
    )]
    NonFinite {
        /// The last step.
        step: u64,
        /// Number of consecutive skipped steps.
        in_a_row: u64,
        /// First parameter with a non-finite gradient.
        parameter: String,
        /// What happened to the weights.
        weights: &'static str,
        /// Recommended change.
        remedy: String,
    },
    /// Too many consecutive steps had a non-finite update from a finite gradient.
    #[error(
        "step {step}: a finite gradient gave an update that is not finite in {parameter}, the last of {in_a_row} \
         consecutive skipped steps; the weights are those of the last finite step; {remedy}"
    )]
    NonFiniteUpdate {
        /// The last step.
        step: u64,
        /// Number of consecutive skipped steps.
        in_a_row: u64,
        /// The parameter, or its optimizer state.
        parameter: String,
        /// Recommended change.
        remedy: String,
    },
}

fn list(differences: &[Difference], text: impl Fn(&Difference) -> String, between: &str) -> String {
    differences.iter().map(text).collect::<Vec<_>>().join(between)
}

/// Wraps an error of an inner module in the variant of [`TrainError`] that contains it.
macro_rules! wrap {
    ($($inner:ty => $variant:ident),+ $(,)?) => {
        $(impl From<$inner> for TrainError {
            fn from(error: $inner) -> Self {
                Self::$variant(error.into())
            }
        })+
    };
}

wrap! {
    DataError => Evaluation,
    ModelError => Evaluation,
    WeightsError => Evaluation,
    LibtorchError => Evaluation,
    tch::TchError => Evaluation,
    EventsError => Recording,
}
