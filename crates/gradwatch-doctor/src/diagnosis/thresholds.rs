//! Thresholds of the rules, in one place so that they can be chosen and tested together.

use super::rules::{
    dead_relu, exploding, initial_loss, input_not_normalized, label_imbalance, learning_rate, loss_diverging,
    loss_oscillating, loss_plateau, overfitting, poor_initialization, rank_disagreement, rank_spike, saturated,
    slow_convergence, straggler, update_ratio, vanishing,
};

/// Threshold of each rule. The file of the rule defines the measured value and gives the source of the default.
#[derive(Debug, Clone, PartialEq)]
pub struct Thresholds {
    /// Minimum ratio of the first layer's gradient to the last layer's. Below it, the gradient vanishes.
    pub vanishing: f64,
    /// Maximum of the same ratio. Above it, the gradient explodes.
    pub exploding: f64,
    /// Fraction of a layer's outputs at 0.
    pub dead_relu: f64,
    /// Fraction of a layer's inputs at which the activation is flat.
    pub saturated: f64,
    /// First loss over the loss of a random guess.
    pub initial_loss: f64,
    /// Factor by which the variance of the weights deviates.
    pub poor_initialization: f64,
    /// Median update ratio of the weights.
    pub update_ratio: f64,
    /// Median update ratio below which the weights hardly move.
    pub learning_rate: f64,
    /// Relative decrease of the loss that counts as progress.
    pub loss_plateau: f64,
    /// Rise of the loss above its minimum, in units of the loss of a guess.
    pub loss_diverging: f64,
    /// Change of the loss between tracked steps, in units of the loss of a guess.
    pub loss_oscillating: f64,
    /// Accuracy that an evaluation must gain.
    pub slow_convergence: f64,
    /// Validation loss over its minimum.
    pub overfitting: f64,
    /// Absolute mean or standard deviation of a channel.
    pub input_not_normalized: f64,
    /// Images of the most frequent class over those of the rarest.
    pub label_imbalance: f64,
    /// Factor by which a rank's gradient norm or loss differs from that of the other ranks.
    pub rank_spike: f64,
    /// Share by which a rank takes longer than the other ranks.
    pub straggler: f64,
    /// Mean cosine below 0 between the gradients of the ranks, as a share of the largest possible disagreement.
    pub rank_disagreement: f64,
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
            input_not_normalized: input_not_normalized::LARGEST,
            label_imbalance: label_imbalance::RATIO,
            rank_spike: rank_spike::FACTOR,
            straggler: straggler::SHARE,
            rank_disagreement: rank_disagreement::SHARE,
        }
    }
}
