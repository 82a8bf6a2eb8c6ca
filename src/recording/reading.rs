//! Measurements of a tracked step on the host.

use std::sync::Arc;

use serde::Serialize;

use crate::{
    diagnosis::Observation,
    gradient::{
        BackwardTimeline, DepthProfile, GradientStatistics, LayerStatistics, ParameterUpdate, RankStatistics,
        TensorStatistics,
    },
};

/// Measurements of a tracked step, on the host.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Reading {
    /// Optimizer step.
    pub step: u64,
    /// Finished epochs before the step.
    pub epoch: u64,
    /// Mean loss of the step's images.
    pub loss: f64,
    /// Accuracy on the training images since the last evaluation, or of multi-label data, fraction of exact matches.
    pub accuracy: f64,
    /// L2 norm of all gradients before clipping.
    pub total_norm: f64,
    /// Factor applied by clipping; see [`ClipOutcome::clip_coef`](crate::clipping::ClipOutcome::clip_coef).
    pub clip_coef: f64,
    /// L2 norm of all gradients after clipping.
    pub total_norm_after: f64,
    /// Fraction of clipped units or tensors; `None` if all share one factor.
    pub clipped_fraction: Option<f64>,
    /// At most ten parameters with the smallest clipping factors, most clipped first.
    pub most_clipped: Vec<(Arc<str>, f64)>,
    /// Number of steps skipped so far because a gradient was not finite.
    pub skipped_steps: u64,
    /// Number of consecutive skipped steps up to this one.
    pub skipped_in_a_row: u64,
    /// Gradient statistics per parameter; `None` without a monitor.
    pub gradients: Option<GradientStatistics>,
    /// Weight statistics per parameter, after the step; empty if not due, like all fields below.
    pub weights: Vec<TensorStatistics>,
    /// Update size per parameter.
    pub updates: Vec<ParameterUpdate>,
    /// Statistics per tapped layer.
    pub layers: Vec<LayerStatistics>,
    /// Gradient size per layer, from taps, or from parameter gradients if the model has no taps; `None` if not due.
    pub depth_profile: Option<DepthProfile>,
    /// Timeline of the backward pass of the last micro-batch.
    pub timeline: Option<BackwardTimeline>,
    /// First micro-batch with a non-finite gradient, if micro-batches are measured separately.
    pub bad_micro_batch: Option<usize>,
    /// Mean cosine between the gradients of micro-batches.
    pub micro_batch_cosine: Option<f64>,
    /// Running estimate of the gradient noise scale, in images.
    pub noise_scale: Option<f64>,
    /// Cosine with the gradients of the previous step.
    pub previous_cosine: Option<f64>,
    /// Statistics per rank of a data-parallel run; `None` with one process.
    pub ranks: Option<RankStatistics>,
}

impl Reading {
    /// Converts the reading to the input of the rules.
    pub fn observe(&self, learning_rate: f64) -> Observation<'_> {
        Observation {
            step: self.step,
            loss: self.loss,
            learning_rate,
            total_norm: self.total_norm,
            clip_coef: Some(self.clip_coef),
            skipped_in_a_row: self.skipped_in_a_row,
            previous_cosine: self.previous_cosine,
            ranks: self.ranks.as_ref(),
            ..Observation::of_statistics(
                self.gradients.as_ref(),
                &self.weights,
                &self.updates,
                &self.layers,
                self.depth_profile.as_ref(),
            )
        }
    }
}
