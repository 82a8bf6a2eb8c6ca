//! The bounds beyond which rules speak, in one place so that they can be chosen and tested together.

use super::rules::{
    dead_relu, exploding, initial_loss, input_not_normalised, label_imbalance, learning_rate, loss_diverging,
    loss_oscillating, loss_plateau, overfitting, poor_initialization, saturated, slow_convergence, update_ratio,
    vanishing,
};

/// Where each rule begins to speak. What a figure is of, and where its default comes from, each rule's file says.
#[derive(Debug, Clone, PartialEq)]
pub struct Thresholds {
    /// First layer's gradient over the last layer's: below it the gradient vanishes.
    pub vanishing: f64,
    /// The same: above it the gradient explodes.
    pub exploding: f64,
    /// Share of a layer's outputs at 0.
    pub dead_relu: f64,
    /// Share of a layer's inputs where the activation is flat.
    pub saturated: f64,
    /// The first loss over that of a guess.
    pub initial_loss: f64,
    /// Factor by which the variance of the weights is off.
    pub poor_initialization: f64,
    /// Median update ratio of the weights.
    pub update_ratio: f64,
    /// Median update ratio below which a run hardly moves.
    pub learning_rate: f64,
    /// Share by which the loss has to fall in a while.
    pub loss_plateau: f64,
    /// Rise of the loss over its best, in losses of a guess.
    pub loss_diverging: f64,
    /// Change of the loss from reading to reading, in losses of a guess.
    pub loss_oscillating: f64,
    /// Accuracy that an evaluation has to gain.
    pub slow_convergence: f64,
    /// Validation loss over its lowest.
    pub overfitting: f64,
    /// Mean or standard deviation of a channel.
    pub input_not_normalised: f64,
    /// The most frequent class over the rarest.
    pub label_imbalance: f64,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            vanishing: vanishing::WARNING,
            exploding: exploding::DEPTH_WARNING,
            dead_relu: dead_relu::WARNING,
            saturated: saturated::WARNING,
            initial_loss: initial_loss::TOO_LARGE,
            poor_initialization: poor_initialization::FACTOR,
            update_ratio: update_ratio::WARNING,
            learning_rate: learning_rate::TOO_SMALL,
            loss_plateau: loss_plateau::FALL,
            loss_diverging: loss_diverging::RISE,
            loss_oscillating: loss_oscillating::ROUGHNESS,
            slow_convergence: slow_convergence::GAIN,
            overfitting: overfitting::RISE,
            input_not_normalised: input_not_normalised::LARGEST,
            label_imbalance: label_imbalance::RATIO,
        }
    }
}
