//! Inputs of the rules.

use super::Facts;
use crate::{
    config::{Activation, Config},
    statistics::{
        DepthProfile, GradientStatistics, LayerStatistics, ParameterUpdate, RankStatistics, TensorStatistics,
    },
};

/// Facts about a run before its first step.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The config; `None` if another program trained the run.
    pub config: Option<&'a Config>,
    /// Data and initial weights.
    pub facts: &'a Facts,
}

impl Subject<'_> {
    /// Activation function, if known.
    pub fn activation(&self) -> Option<Activation> {
        Some(self.config?.model.known()?.activation)
    }

    /// Number of label shuffles up to the start of a step; 0 if the steps of an epoch are unknown.
    pub(super) fn label_shuffles(&self, step: u64) -> usize {
        let epochs = self.config.map_or(&[][..], |config| &config.data.label_shuffle_epochs);
        let epoch = step.checked_div(self.facts.steps_per_epoch);
        epoch.map_or(0, |epoch| epochs.iter().filter(|shuffled| **shuffled <= epoch).count())
    }
}

/// Statistics of a tracked step. Values that were not measured are `None`, empty, or as noted, and rules ignore them.
#[derive(Debug, Clone, Default)]
pub struct Observation<'a> {
    /// Optimizer step.
    pub step: u64,
    /// Mean loss of the step's images; NaN if not measured.
    pub loss: f64,
    /// Learning rate of the step; NaN if not measured.
    pub learning_rate: f64,
    /// L2 norm of all gradients after the backward pass; 0 if not measured.
    pub total_norm: f64,
    /// Factor by which clipping scaled the gradients; `None` if not measured.
    pub clip_coef: Option<f64>,
    /// Consecutive skipped steps, including this one, because a gradient or update was not finite. Excludes steps in
    /// which a float16 loss scale is still being searched.
    pub skipped_in_a_row: u64,
    /// Gradient statistics per parameter.
    pub gradients: Option<&'a GradientStatistics>,
    /// Weight statistics per parameter, after the step.
    pub weights: &'a [TensorStatistics],
    /// Update size per parameter.
    pub updates: &'a [ParameterUpdate],
    /// Statistics per tapped layer.
    pub layers: &'a [LayerStatistics],
    /// Gradient size per layer.
    pub depth_profile: Option<DepthProfile>,
    /// Cosine with the gradients of the previous step.
    pub previous_cosine: Option<f64>,
    /// Fraction of the time since the last tracked step that training spent waiting for images.
    pub wait_fraction: Option<f64>,
    /// Statistics of each rank of a data-parallel run.
    pub ranks: Option<&'a RankStatistics>,
}

impl<'a> Observation<'a> {
    /// An observation with these statistics of tensors and layers. All other values are 0 or `None`.
    pub fn of_statistics(
        gradients: Option<&'a GradientStatistics>,
        weights: &'a [TensorStatistics],
        updates: &'a [ParameterUpdate],
        layers: &'a [LayerStatistics],
        depth_profile: Option<&DepthProfile>,
    ) -> Self {
        let depth_profile = depth_profile.cloned();
        Self { gradients, weights, updates, layers, depth_profile, ..Self::default() }
    }

    /// Whether loss and gradient were measured and are finite enough to take a step.
    pub fn has_finite_gradient(&self) -> bool {
        self.loss.is_finite() && self.total_norm > 0.0 && (self.total_norm.powi(2) as f32).is_finite()
    }

    /// Whether the step was taken, as far as it was measured.
    pub fn is_taken(&self) -> bool {
        self.skipped_in_a_row == 0 && (self.total_norm.powi(2) as f32).is_finite()
    }
}

/// Metrics of an evaluation. Values that were not measured are NaN.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Evaluation {
    /// Optimizer steps before the evaluation.
    pub step: u64,
    /// Mean loss of the training images since the last evaluation.
    pub train_loss: f64,
    /// Accuracy on these training images.
    pub train_accuracy: f64,
    /// Mean loss of the validation images.
    pub validation_loss: f64,
    /// Accuracy on the validation images.
    pub validation_accuracy: f64,
    /// Accuracy on validation images if batch normalization uses the statistics of each batch instead of the running
    /// ones; `None` if not measured.
    pub batch_statistics_accuracy: Option<f64>,
}

impl Default for Evaluation {
    fn default() -> Self {
        Self {
            step: 0,
            train_loss: f64::NAN,
            train_accuracy: f64::NAN,
            validation_loss: f64::NAN,
            validation_accuracy: f64::NAN,
            batch_statistics_accuracy: None,
        }
    }
}
