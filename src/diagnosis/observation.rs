//! What rules judge by.

use super::Facts;
use crate::{
    config::{Activation, Config},
    gradient::{DepthProfile, GradientStatistics, LayerStatistics, ParameterUpdate, TensorStatistics},
};

/// What is known of a run before its first step.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The whole experiment; `None` where another program trained.
    pub config: Option<&'a Config>,
    /// The data, and the weights as they were drawn.
    pub facts: &'a Facts,
}

impl Subject<'_> {
    /// The function between layers, where it is known.
    pub fn activation(&self) -> Option<Activation> {
        Some(self.config?.model.known()?.activation)
    }
}

/// What a reading says. What was not looked at is `None` or empty, and no rule judges by it.
#[derive(Debug, Clone, Default)]
pub struct Observation<'a> {
    /// The step.
    pub step: u64,
    /// Mean loss of the step's images; NaN where it was not seen.
    pub loss: f64,
    /// Learning rate of the step; NaN where it was not seen.
    pub learning_rate: f64,
    /// L2 norm of all gradients as backward left them; 0 where it was not seen.
    pub total_norm: f64,
    /// Steps in a row, this one included, that could not be taken, since their gradient or update was not finite; those with which
    /// a float16 loss scale looks for its size apart.
    pub skipped_in_a_row: u64,
    /// Each parameter's gradient.
    pub gradients: Option<&'a GradientStatistics>,
    /// Each parameter after the step.
    pub weights: &'a [TensorStatistics],
    /// How far the step moved each parameter.
    pub updates: &'a [ParameterUpdate],
    /// Each tapped layer.
    pub layers: &'a [LayerStatistics],
    /// The gradient's size from layer to layer.
    pub depth_profile: Option<DepthProfile>,
    /// Cosine with the gradients of the step before.
    pub previous_cosine: Option<f64>,
    /// Share of the time since the last reading in which training waited for images.
    pub wait_fraction: Option<f64>,
}

impl Observation<'_> {
    /// Whether loss and gradient were seen, and are what a step can be taken with.
    pub fn has_finite_gradient(&self) -> bool {
        self.loss.is_finite() && self.total_norm > 0.0 && (self.total_norm.powi(2) as f32).is_finite()
    }

    /// Whether the step moved the weights, as far as it was seen.
    pub fn is_taken(&self) -> bool {
        self.skipped_in_a_row == 0 && (self.total_norm.powi(2) as f32).is_finite()
    }
}

/// What an evaluation says. What was not looked at is NaN.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Evaluation {
    /// Steps before it.
    pub step: u64,
    /// Mean loss of the training images since the last evaluation.
    pub train_loss: f64,
    /// Share of right first guesses among them.
    pub train_accuracy: f64,
    /// Mean loss of the validation images.
    pub validation_loss: f64,
    /// Share of right first guesses among them.
    pub validation_accuracy: f64,
}
