//! Host state of a run outside its tensors, as stored in a checkpoint.

use serde::{Deserialize, Serialize};

use super::{
    Metrics, data_identity::DataIdentity, early_stopping::SeenEvaluations, pictures::Pictures, tally::TallyCounts,
};
use crate::{
    diagnosis::{Diagnosis, Facts, RuleSet},
    gradient::{GradientHistory, NoiseScale},
    optim::PlateauCourse,
};

/// Counters and histories of a run. The fields of the same name in [`State`](super::State) describe them.
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
    /// State and findings of the rules.
    #[serde(default)]
    pub(super) diagnosis: Option<Diagnosis>,
    /// State of the rule sets of other tools.
    #[serde(default)]
    pub(super) rule_sets: Vec<RuleSet>,
    /// Facts for the rules.
    #[serde(default)]
    pub(super) facts: Facts,
    /// Training and validation images that are skipped because they do not decode.
    #[serde(default)]
    pub(super) bad_images: [Vec<u32>; 2],
    pub(super) pictures: Option<Pictures>,
    /// Whether entries are missing in a file of the run.
    pub(super) is_incomplete: bool,
    /// Threads per CPU operation, which affect the last bits of sums; `None` on other devices.
    #[serde(default)]
    pub(super) threads: Option<usize>,
}
