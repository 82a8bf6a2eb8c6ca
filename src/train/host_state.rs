//! What a run knows on the host beside its tensors, as a checkpoint keeps it.

use serde::{Deserialize, Serialize};

use super::{
    Metrics, data_identity::DataIdentity, early_stopping::SeenEvaluations, pictures::Pictures, tally::TallyCounts,
};
use crate::{
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
    /// Training and validation images that were left out because they do not decode.
    #[serde(default)]
    pub(super) bad_images: [Vec<u32>; 2],
    pub(super) pictures: Option<Pictures>,
    /// Whether a file of the run lacks entries.
    pub(super) is_incomplete: bool,
    /// Threads of an operation on the CPU, by which the last bits of sums go; `None` on other devices.
    #[serde(default)]
    pub(super) threads: Option<usize>,
}
