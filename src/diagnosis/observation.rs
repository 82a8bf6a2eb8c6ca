//! What rules judge by.

use crate::{
    config::Config,
    gradient::{DepthProfile, GradientStatistics, LayerStatistics, ParameterUpdate},
};

/// What is known of a run before its first step.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The whole experiment.
    pub config: &'a Config,
    /// How many classes there are.
    pub classes: usize,
}

/// What a reading says. What was not looked at is `None` or empty, and no rule judges by it.
#[derive(Debug, Clone, Default)]
pub struct Observation<'a> {
    /// The step.
    pub step: u64,
    /// Mean loss of the step's images.
    pub loss: f64,
    /// Learning rate of the step.
    pub learning_rate: f64,
    /// L2 norm of all gradients as backward left them.
    pub total_norm: f64,
    /// Steps in a row, this one included, whose gradient was not finite.
    pub skipped_in_a_row: u64,
    /// Each parameter's gradient.
    pub gradients: Option<&'a GradientStatistics>,
    /// How far the step moved each parameter.
    pub updates: &'a [ParameterUpdate],
    /// Each tapped layer.
    pub layers: &'a [LayerStatistics],
    /// The gradient's size from layer to layer.
    pub depth_profile: Option<DepthProfile>,
}
