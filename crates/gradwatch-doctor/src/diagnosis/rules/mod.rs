//! The rules, one per file: their inputs and their order.

pub(super) mod augmentation;
pub(super) mod batch_norm;
pub(super) mod class_weights;
pub(super) mod clipping;
mod context;
pub(super) mod dead_relu;
pub(super) mod denormal;
mod depth_ends;
pub(super) mod distribution_shift;
pub(super) mod dropout;
pub(super) mod epsilon;
pub(super) mod exploding;
pub(super) mod frozen_parameters;
pub(super) mod gradient_accumulation;
pub(super) mod initial_loss;
pub(super) mod input_not_normalized;
pub(super) mod label_imbalance;
pub(super) mod label_noise;
pub(super) mod label_smoothing;
pub(super) mod learning_rate;
pub(super) mod loss_diverging;
pub(super) mod loss_oscillating;
pub(super) mod loss_plateau;
pub(super) mod lost_images;
pub(super) mod missing_gradient;
pub(super) mod momentum;
#[cfg(test)]
mod noise;
pub(super) mod non_finite;
pub(super) mod overfitting;
pub(super) mod poor_initialization;
pub(super) mod rank_disagreement;
#[cfg(test)]
mod rank_runs;
pub(super) mod rank_spike;
pub(super) mod running_statistics;
pub(super) mod saturated;
pub(super) mod schedule;
pub(super) mod slow_convergence;
pub(super) mod starvation;
pub(super) mod straggler;
pub(super) mod unchanged_parameter;
pub(super) mod update_ratio;
pub(super) mod vanishing;
pub(super) mod weight_decay;
pub(super) mod weight_mismatch;
pub(super) mod wrong_loss;
pub(super) mod zero_gradient;

use std::{fmt::Debug, sync::LazyLock};

use serde::{Deserialize, Serialize};

use super::{
    Evaluation, Finding, Observation, Symptom,
    need::{Need, Ways},
};
use crate::{config::RuleName, number::Rounded};
pub(super) use context::RuleContext;

/// A rule for one kind of problem. Its state is part of a checkpoint.
pub(super) trait Rule: Debug {
    /// Name of the rule.
    fn name(&self) -> RuleName;

    /// Data that the rule needs.
    fn needs(&self) -> Ways;

    /// Rules whose problem can cause this one. A finding of this rule is merged into theirs.
    fn causes(&self) -> &'static [RuleName] {
        &[]
    }

    /// Whether a finding says that the run will not learn, so that a run which learns refutes it.
    fn is_refuted_by_learning(&self) -> bool {
        false
    }

    /// Why a finding no longer holds, if it does not. Called at each tracked step and evaluation without a symptom.
    fn recovery(&self, _finding: &Finding, _step: u64, context: &RuleContext<'_>) -> Option<String> {
        let level = context.learned().filter(|_| self.is_refuted_by_learning())?;
        let share = 100.0 * level / context.guess();
        Some(format!("the loss has fallen to {:.3}, {share:.0}% of that of a random guess", Rounded(level)))
    }

    /// Forgets what no longer holds after a label shuffle, such as the usual gradient norm.
    fn start_task(&mut self) {}

    /// Checks a tracked step. Returns a symptom if there is one.
    fn judge(&mut self, _seen: &Observation<'_>, _context: &RuleContext<'_>) -> Option<Symptom> {
        None
    }

    /// Checks an evaluation. Returns a symptom if there is one.
    fn judge_evaluation(&mut self, _seen: &Evaluation, _context: &RuleContext<'_>) -> Option<Symptom> {
        None
    }
}

/// Declares the state of all rules, in order: causes before their consequences.
macro_rules! rules {
    ($($(#[$meta:meta])* $field:ident: $rule:ty,)+) => {
        #[derive(Debug, Clone, Default, Serialize, Deserialize)]
        #[serde(default)]
        pub(super) struct Rules {
            $($(#[$meta])* $field: $rule,)+
        }

        impl Rules {
            pub(super) fn in_order(&mut self) -> Vec<&mut dyn Rule> {
                vec![$(&mut self.$field,)+]
            }
        }
    };
}

rules! {
    weight_mismatch: weight_mismatch::WeightMismatch,
    rank_disagreement: rank_disagreement::RankDisagreement,
    rank_spike: rank_spike::RankSpike,
    lost_images: lost_images::LostImages,
    augmentation: augmentation::Augmentation,
    #[serde(rename = "input_not_normalised")]
    input_not_normalized: input_not_normalized::InputNotNormalized,
    label_imbalance: label_imbalance::LabelImbalance,
    batch_norm: batch_norm::BatchNorm,
    label_smoothing: label_smoothing::LabelSmoothing,
    class_weights: class_weights::ClassWeights,
    schedule: schedule::Schedule,
    frozen_parameters: frozen_parameters::FrozenParameters,
    running_statistics: running_statistics::RunningStatistics,
    weight_decay: weight_decay::WeightDecay,
    clipping: clipping::Clipping,
    epsilon: epsilon::Epsilon,
    momentum: momentum::Momentum,
    dropout: dropout::Dropout,
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
    distribution_shift: distribution_shift::DistributionShift,
    label_noise: label_noise::LabelNoise,
    loss_diverging: loss_diverging::LossDiverging,
    loss_oscillating: loss_oscillating::LossOscillating,
    loss_plateau: loss_plateau::LossPlateau,
    slow_convergence: slow_convergence::SlowConvergence,
    overfitting: overfitting::Overfitting,
    starvation: starvation::Starvation,
    straggler: straggler::Straggler,
}

/// Properties of a rule that no run changes.
pub(super) struct Declaration {
    pub name: RuleName,
    pub needs: Ways,
    pub causes: &'static [RuleName],
}

/// Properties of all rules, in order: causes before their consequences.
pub(super) fn declarations() -> &'static [Declaration] {
    static DECLARED: LazyLock<Vec<Declaration>> = LazyLock::new(|| {
        let mut rules = Rules::default();
        let declare =
            |rule: &mut dyn Rule| Declaration { name: rule.name(), needs: rule.needs(), causes: rule.causes() };
        rules.in_order().into_iter().map(declare).collect()
    });
    &DECLARED
}

/// Whether findings of one rule can be a consequence of those of the other.
pub fn follows_from(symptom: RuleName, cause: RuleName) -> bool {
    let declared = declarations().iter().find(|rule| rule.name == symptom);
    declared.is_some_and(|rule| rule.causes.contains(&cause))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All rules with causes, and their causes.
    const RELATION: &[(&str, &str)] = &[
        ("rank_disagreement", "weight_mismatch"),
        ("rank_spike", "weight_mismatch"),
        ("input_not_normalized", "augmentation"),
        ("poor_initialization", "input_not_normalized"),
        (
            "unchanged_parameter",
            "input_not_normalized weight_decay clipping epsilon wrong_loss poor_initialization missing_gradient \
             learning_rate vanishing dead_relu saturated update_ratio exploding non_finite zero_gradient",
        ),
        ("gradient_accumulation", "weight_decay momentum wrong_loss unchanged_parameter"),
        (
            "learning_rate",
            "augmentation input_not_normalized batch_norm label_smoothing class_weights schedule \
             frozen_parameters running_statistics weight_decay clipping epsilon momentum dropout wrong_loss \
             poor_initialization gradient_accumulation vanishing dead_relu saturated exploding zero_gradient",
        ),
        (
            "vanishing",
            "input_not_normalized batch_norm running_statistics weight_decay clipping epsilon momentum wrong_loss \
             poor_initialization gradient_accumulation learning_rate dead_relu update_ratio exploding",
        ),
        (
            "dead_relu",
            "input_not_normalized batch_norm running_statistics weight_decay momentum wrong_loss \
             poor_initialization gradient_accumulation learning_rate update_ratio exploding label_noise",
        ),
        (
            "saturated",
            "input_not_normalized batch_norm running_statistics weight_decay momentum wrong_loss \
             poor_initialization gradient_accumulation learning_rate update_ratio exploding label_noise",
        ),
        (
            "update_ratio",
            "input_not_normalized batch_norm running_statistics weight_decay clipping epsilon momentum dropout \
             wrong_loss poor_initialization gradient_accumulation learning_rate exploding",
        ),
        (
            "exploding",
            "input_not_normalized batch_norm running_statistics weight_decay momentum dropout wrong_loss \
             poor_initialization unchanged_parameter gradient_accumulation learning_rate update_ratio",
        ),
        (
            "non_finite",
            "input_not_normalized batch_norm running_statistics weight_decay momentum dropout wrong_loss \
             poor_initialization gradient_accumulation learning_rate update_ratio exploding",
        ),
        (
            "zero_gradient",
            "input_not_normalized batch_norm running_statistics weight_decay clipping epsilon momentum wrong_loss \
             poor_initialization missing_gradient unchanged_parameter gradient_accumulation learning_rate \
             vanishing dead_relu saturated update_ratio exploding non_finite",
        ),
        (
            "denormal",
            "weight_decay clipping epsilon momentum poor_initialization learning_rate vanishing dead_relu \
             saturated",
        ),
        ("initial_loss", "input_not_normalized label_smoothing wrong_loss poor_initialization exploding"),
        (
            "label_noise",
            "rank_disagreement augmentation input_not_normalized label_imbalance batch_norm label_smoothing class_weights schedule \
             frozen_parameters running_statistics weight_decay clipping epsilon momentum dropout wrong_loss \
             poor_initialization gradient_accumulation learning_rate exploding non_finite \
             zero_gradient distribution_shift",
        ),
        (
            "loss_diverging",
            "input_not_normalized batch_norm label_smoothing class_weights running_statistics weight_decay \
             momentum dropout wrong_loss poor_initialization gradient_accumulation learning_rate update_ratio \
             exploding non_finite",
        ),
        (
            "loss_oscillating",
            "input_not_normalized batch_norm label_smoothing class_weights running_statistics weight_decay \
             momentum dropout wrong_loss poor_initialization gradient_accumulation learning_rate update_ratio \
             exploding non_finite",
        ),
        (
            "loss_plateau",
            "rank_disagreement augmentation input_not_normalized batch_norm label_smoothing class_weights schedule \
             frozen_parameters running_statistics weight_decay clipping epsilon momentum dropout wrong_loss \
             poor_initialization missing_gradient unchanged_parameter gradient_accumulation learning_rate \
             vanishing dead_relu saturated update_ratio exploding non_finite zero_gradient label_noise \
             loss_diverging",
        ),
        (
            "slow_convergence",
            "rank_disagreement augmentation input_not_normalized batch_norm label_smoothing class_weights schedule \
             frozen_parameters running_statistics weight_decay clipping epsilon momentum dropout wrong_loss \
             poor_initialization missing_gradient unchanged_parameter gradient_accumulation learning_rate \
             vanishing dead_relu saturated update_ratio exploding non_finite zero_gradient label_noise \
             loss_diverging loss_plateau",
        ),
        ("overfitting", "wrong_loss distribution_shift label_noise"),
    ];

    #[test]
    fn the_causes_of_all_rules_are_these_and_no_others() {
        let causes = |symptom: RuleName| {
            let causes = declarations().iter().map(|rule| rule.name).filter(|cause| follows_from(symptom, *cause));
            causes.map(RuleName::name).collect::<Vec<_>>().join(" ")
        };
        let relation = declarations().iter().map(|rule| (rule.name.name(), causes(rule.name)));
        let relation: Vec<_> = relation.filter(|(_, causes)| !causes.is_empty()).collect();
        assert_eq!(relation, RELATION.iter().map(|(rule, causes)| (*rule, (*causes).to_owned())).collect::<Vec<_>>());
    }
}
