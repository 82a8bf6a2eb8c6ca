//! The rules, one per file: their inputs, their order, and which findings follow from which.

pub(super) mod batch_norm;
pub(super) mod dead_relu;
pub(super) mod denormal;
mod depth_ends;
pub(super) mod exploding;
pub(super) mod gradient_accumulation;
pub(super) mod initial_loss;
pub(super) mod input_not_normalised;
pub(super) mod label_imbalance;
pub(super) mod label_noise;
pub(super) mod learning_rate;
pub(super) mod loss_diverging;
pub(super) mod loss_oscillating;
pub(super) mod loss_plateau;
pub(super) mod lost_images;
pub(super) mod missing_gradient;
pub(super) mod non_finite;
pub(super) mod overfitting;
pub(super) mod poor_initialization;
pub(super) mod saturated;
pub(super) mod slow_convergence;
pub(super) mod starvation;
pub(super) mod unchanged_parameter;
pub(super) mod update_ratio;
pub(super) mod vanishing;
pub(super) mod wrong_loss;
pub(super) mod zero_gradient;

use std::fmt::Debug;

use serde::{Deserialize, Serialize};

use super::{Evaluation, Facts, Observation, Symptom, Thresholds, course::LossCourse};
use crate::config::{Activation, Config, Initialization, ModelConfig, Normalization, RuleName};

/// Inputs of a rule besides the tracked step.
#[derive(Clone, Copy)]
pub(super) struct Known<'a> {
    pub config: Option<&'a Config>,
    pub facts: &'a Facts,
    pub course: &'a LossCourse,
    pub thresholds: &'a Thresholds,
}

impl<'a> Known<'a> {
    /// See [`ModelConfig::known`].
    pub fn model(&self) -> Option<&'a ModelConfig> {
        self.config?.model.known()
    }

    pub fn activation(&self) -> Option<Activation> {
        self.model().map(|model| model.activation)
    }

    pub fn initialization(&self) -> Option<&'a Initialization> {
        self.model().map(|model| &model.initialization)
    }

    /// Whether residual branches start at 0. Until the first steps have moved the end of a branch, no gradient reaches
    /// its inside, which is correct.
    pub fn has_silent_branches(&self) -> bool {
        self.initialization().is_some_and(Initialization::has_silent_branches)
    }

    /// See [`Facts::guess`]. If nothing is known about the classes, the first loss, but at least the loss of a guess
    /// over ten classes: a run with a thousand classes may end where a run with ten starts.
    pub fn guess(&self) -> f64 {
        let guess = self.facts.guess();
        // `max` of NaN and a number is the number.
        if guess > 0.0 { guess } else { 10f64.ln().max(self.course.first) }
    }

    /// Accuracy of predicting the most frequent class for every image.
    pub fn most_frequent(&self) -> Option<f64> {
        let Facts { classes, class_counts, .. } = self.facts;
        match class_counts.iter().sum::<u64>() {
            0 => (*classes > 0).then(|| 1.0 / *classes as f64),
            images => Some(*class_counts.iter().max()? as f64 / images as f64),
        }
    }

    /// Whether the model is known to have no normalization.
    pub fn has_no_normalization(&self) -> bool {
        self.model().is_some_and(|model| model.normalization == Normalization::None)
    }
}

/// A rule for one kind of problem. Its state is part of a checkpoint.
pub(super) trait Rule: Debug {
    /// Name of the rule.
    fn name(&self) -> RuleName;

    /// Checks a tracked step. Returns a symptom if there is one.
    fn judge(&mut self, _seen: &Observation<'_>, _known: &Known<'_>) -> Option<Symptom> {
        None
    }

    /// Checks an evaluation. Returns a symptom if there is one.
    fn judge_evaluation(&mut self, _seen: &Evaluation, _known: &Known<'_>) -> Option<Symptom> {
        None
    }
}

/// Declares the state of all rules, in order: causes before their consequences.
macro_rules! rules {
    ($($field:ident: $rule:ty,)+) => {
        #[derive(Debug, Clone, Default, Serialize, Deserialize)]
        #[serde(default)]
        pub(super) struct Rules {
            $($field: $rule,)+
        }

        impl Rules {
            pub(super) fn in_order(&mut self) -> Vec<&mut dyn Rule> {
                vec![$(&mut self.$field,)+]
            }
        }
    };
}

rules! {
    lost_images: lost_images::LostImages,
    input_not_normalised: input_not_normalised::InputNotNormalised,
    label_imbalance: label_imbalance::LabelImbalance,
    batch_norm: batch_norm::BatchNorm,
    wrong_loss: wrong_loss::WrongLoss,
    poor_initialization: poor_initialization::PoorInitialization,
    missing_gradient: missing_gradient::MissingGradient,
    unchanged_parameter: unchanged_parameter::UnchangedParameter,
    gradient_accumulation: gradient_accumulation::GradientAccumulation,
    learning_rate: learning_rate::LearningRate,
    vanishing: vanishing::Vanishing,
    dead_relu: dead_relu::DeadRelu,
    saturated: saturated::Saturated,
    update_ratio: update_ratio::UpdateRatio,
    exploding: exploding::Exploding,
    non_finite: non_finite::NonFinite,
    zero_gradient: zero_gradient::ZeroGradient,
    denormal: denormal::Denormal,
    initial_loss: initial_loss::InitialLoss,
    label_noise: label_noise::LabelNoise,
    loss_diverging: loss_diverging::LossDiverging,
    loss_oscillating: loss_oscillating::LossOscillating,
    loss_plateau: loss_plateau::LossPlateau,
    slow_convergence: slow_convergence::SlowConvergence,
    overfitting: overfitting::Overfitting,
    starvation: starvation::Starvation,
}

/// Whether one finding can be a consequence of the other.
pub(super) fn follows_from(symptom: RuleName, cause: RuleName) -> bool {
    use RuleName as R;
    /// Problems that keep a network from learning, so that its loss does not fall.
    const OBSTACLES: [RuleName; 13] = [
        R::WrongLoss,
        R::InputNotNormalised,
        R::PoorInitialization,
        R::UnchangedParameter,
        R::MissingGradient,
        R::GradientAccumulation,
        R::LearningRate,
        R::Vanishing,
        R::DeadRelu,
        R::Saturated,
        R::Exploding,
        R::NonFinite,
        R::ZeroGradient,
    ];
    /// Problems that make steps too long or gradients too large.
    const DRIVES: [RuleName; 7] = [
        R::WrongLoss,
        R::InputNotNormalised,
        R::PoorInitialization,
        R::GradientAccumulation,
        R::LearningRate,
        R::UpdateRatio,
        R::Exploding,
    ];
    let among = |causes: &[RuleName]| causes.contains(&cause);
    match symptom {
        R::InitialLoss => among(&[R::WrongLoss, R::InputNotNormalised, R::PoorInitialization, R::Exploding]),
        R::PoorInitialization => among(&[R::InputNotNormalised]),
        // If a parameter is not in the optimizer, its zero_grad does not clear the gradient.
        R::GradientAccumulation => among(&[R::WrongLoss, R::UnchangedParameter]),
        R::LearningRate => among(&[
            R::WrongLoss,
            R::InputNotNormalised,
            R::PoorInitialization,
            R::GradientAccumulation,
            R::Vanishing,
            R::DeadRelu,
            R::Saturated,
            R::ZeroGradient,
            R::Exploding,
        ]),
        R::UpdateRatio => among(&DRIVES) && cause != R::UpdateRatio,
        // As for `GradientAccumulation`.
        R::Exploding => cause == R::UnchangedParameter || among(&DRIVES) && cause != R::Exploding,
        R::NonFinite => among(&DRIVES),
        R::Vanishing => among(&[
            R::WrongLoss,
            R::InputNotNormalised,
            R::PoorInitialization,
            R::DeadRelu,
            R::LearningRate,
            R::UpdateRatio,
            R::Exploding,
            R::GradientAccumulation,
        ]),
        R::DeadRelu | R::Saturated => among(&[
            R::WrongLoss,
            R::InputNotNormalised,
            R::PoorInitialization,
            R::LearningRate,
            R::UpdateRatio,
            R::Exploding,
            R::GradientAccumulation,
            R::LabelNoise,
        ]),
        R::ZeroGradient => among(&OBSTACLES) && cause != R::ZeroGradient || cause == R::UpdateRatio,
        R::UnchangedParameter => {
            let is_no_cause = among(&[R::UnchangedParameter, R::GradientAccumulation]);
            (among(&OBSTACLES) || among(&DRIVES)) && !is_no_cause
        }
        R::Denormal => among(&[R::Vanishing, R::DeadRelu, R::PoorInitialization, R::Saturated, R::LearningRate]),
        R::LossDiverging | R::LossOscillating => among(&DRIVES) || cause == R::NonFinite,
        // The rule's own condition already excludes problems that keep gradients from the layers.
        R::LabelNoise => among(&DRIVES) || among(&[R::NonFinite, R::ZeroGradient]),
        R::LossPlateau | R::SlowConvergence => {
            let is_earlier = among(&[R::LossDiverging, R::LossPlateau, R::LabelNoise]) && cause != symptom;
            among(&OBSTACLES) || among(&DRIVES) || is_earlier
        }
        R::Overfitting => among(&[R::WrongLoss, R::LabelNoise]),
        _ => false,
    }
}
