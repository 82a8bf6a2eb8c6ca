//! What a run knows on the host beside its tensors, as a checkpoint keeps it.

use serde::{Deserialize, Serialize};

use super::{Metrics, TrainError, early_stopping::SeenEvaluations, pictures::Pictures, tally::TallyCounts};
use crate::{
    data::Dataset,
    diagnosis::{Diagnosis, Facts, RuleSet},
    gradient::{GradientHistory, NoiseScale},
    optim::PlateauCourse,
};

/// Counters and histories of a run. What a field is, the one of the same name in [`State`](super::State) says.
#[derive(Serialize, Deserialize)]
pub struct HostState {
    pub(super) data: DataIdentity,
    /// See [`Model::digest`](crate::model::Model::digest).
    #[serde(default)]
    pub(super) model: Option<String>,
    #[serde(default)]
    pub(super) weights: Option<String>,
    pub(super) epoch: u64,
    pub(super) step: u64,
    pub(super) step_at_epoch_start: u64,
    pub(super) next_batch: usize,
    pub(super) taken_steps: u64,
    #[serde(default)]
    pub(super) taken_before: u64,
    pub(super) skipped_steps: u64,
    pub(super) images: u64,
    pub(super) evaluated_at: Option<u64>,
    pub(super) last_validation: Option<Metrics>,
    pub(super) elapsed_secs: f64,
    pub(super) evaluating_secs: f64,
    pub(super) tally: TallyCounts,
    pub(super) evaluations: SeenEvaluations,
    pub(super) best_figures: Vec<f64>,
    pub(super) plateau: Option<PlateauCourse>,
    pub(super) history: GradientHistory,
    pub(super) noise_scale: NoiseScale,
    /// What the rules remember and what they found.
    #[serde(default)]
    pub(super) diagnosis: Option<Diagnosis>,
    /// What the rules of other tools remember.
    #[serde(default)]
    pub(super) rule_sets: Vec<RuleSet>,
    /// What the rules know beside the readings.
    #[serde(default)]
    pub(super) facts: Facts,
    pub(super) pictures: Option<Pictures>,
    /// Whether a file of the run lacks entries.
    pub(super) is_incomplete: bool,
}

/// What tells one set of images from another. Where they lie may change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct DataIdentity {
    training_images: usize,
    validation_images: usize,
    classes: Vec<String>,
    /// BLAKE3 of the labels of training and validation images, in their order.
    labels: String,
}

impl DataIdentity {
    pub(super) fn of(training: &Dataset, validation: &Dataset) -> Self {
        let mut hasher = blake3::Hasher::new();
        for label in training.labels().iter().chain(validation.labels()) {
            hasher.update(&label.to_le_bytes());
        }
        Self {
            training_images: training.len(),
            validation_images: validation.len(),
            classes: training.classes().to_vec(),
            labels: hasher.finalize().to_hex().to_string(),
        }
    }

    /// Images of an epoch.
    pub(super) fn training_images(&self) -> usize {
        self.training_images
    }

    /// Whether the images of `now` are these.
    pub(super) fn check(&self, now: &Self) -> Result<(), TrainError> {
        if self == now {
            return Ok(());
        }
        let text = |data: &Self| {
            let Self { training_images, validation_images, classes, labels } = data;
            let labels = &labels[..labels.len().min(8)];
            format!("{training_images} + {validation_images} images of {} classes, labels {labels}", classes.len())
        };
        Err(TrainError::OtherData { got: text(now), want: text(self) })
    }
}
