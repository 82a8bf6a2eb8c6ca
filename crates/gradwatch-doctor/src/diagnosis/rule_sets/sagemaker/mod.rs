//! Rules of Amazon SageMaker Debugger.
//!
//! Conditions and defaults are those of the developer guide and of smdebug-rulesconfig; the code of the rules is closed
//! source. The rules check steps that are multiples of `save_interval`, which is 500 unless the rule has another
//! default. They ignore tracked steps in between, and statistics that were not measured at such a step. `Overfit` and
//! `Overtraining` check every evaluation. The checked tensors are gradients, weights, and the loss.

mod course;
mod tensors;

use serde::{Deserialize, Serialize};

use super::Sighting;
use crate::{
    config::{SagemakerRule, SagemakerRuleName as Name},
    diagnosis::{Evaluation, Observation, Subject},
};

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Sagemaker {
    rules: Vec<SagemakerRule>,
    initialization: course::Initialization,
    unchanged: tensors::Unchanged,
    loss: course::Loss,
    overfit: course::Overfit,
    overtraining: course::Overtraining,
}

/// Rules, and parts of rules, that are not checked.
pub(super) fn not_judged() -> Vec<(&'static str, &'static str)> {
    let rules = Name::ALL.iter().filter_map(|rule| Some((rule.name(), rule.needs()?)));
    let parts = [
        (Name::ClassImbalance.name(), "the error rate of each class"),
        (Name::WeightUpdateRatio.name(), "weights num_steps apart; gradwatch checks the update of the last step"),
    ];
    rules.chain(parts).collect()
}

impl Sagemaker {
    pub(super) fn new(changes: &[SagemakerRule]) -> Self {
        let rule = |name: &Name| {
            changes.iter().find(|changed| changed.rule == *name).cloned().or_else(|| SagemakerRule::new(*name))
        };
        Self {
            rules: Name::ALL.iter().filter_map(rule).collect(),
            initialization: course::Initialization::default(),
            unchanged: tensors::Unchanged::default(),
            loss: course::Loss::default(),
            overfit: course::Overfit::default(),
            overtraining: course::Overtraining::default(),
        }
    }

    pub(super) fn judge(&mut self, seen: &Observation<'_>, subject: &Subject<'_>) -> Vec<Sighting> {
        let Self { rules, initialization, unchanged, loss, .. } = self;
        let judge = |rule: &SagemakerRule| match rule.rule {
            Name::VanishingGradient => tensors::vanishing_gradient(rule, seen),
            Name::ExplodingTensor => tensors::exploding_tensor(rule, seen),
            Name::DeadRelu => tensors::dead_relu(rule, seen, subject),
            Name::PoorWeightInitialization => initialization.judge(rule, seen, subject),
            Name::WeightUpdateRatio => tensors::weight_update_ratio(rule, seen),
            Name::UnchangedTensor => unchanged.judge(rule, seen),
            Name::AllZero => tensors::all_zero(rule, seen),
            Name::TensorVariance => tensors::tensor_variance(rule, seen),
            Name::LossNotDecreasing => loss.judge(rule, seen),
            Name::ClassImbalance => class_imbalance(rule, subject),
            Name::CheckInputImages => check_input_images(rule, subject),
            _ => None,
        };
        rules.iter().filter(|rule| rule.looks_at(seen.step)).filter_map(judge).collect()
    }

    pub(super) fn judge_evaluation(&mut self, seen: &Evaluation) -> Vec<Sighting> {
        let Self { rules, overfit, overtraining, .. } = self;
        let judge = |rule: &SagemakerRule| match rule.rule {
            Name::Overfit => overfit.judge(rule, seen),
            Name::Overtraining => overtraining.judge(rule, seen),
            _ => None,
        };
        let judged = rules.iter().filter(|rule| matches!(rule.rule, Name::Overfit | Name::Overtraining));
        judged.filter(|rule| rule.looks_at(seen.step)).filter_map(judge).collect()
    }
}

fn sighting(rule: &SagemakerRule, meaning: &'static str, seen: f64, bound: f64) -> Sighting {
    Sighting::of_model(rule.rule.name(), meaning, seen, bound)
}

/// SageMaker counts the labels of 500 images or more; here all labels are known. Like SageMaker, ignores classes
/// without images. Multi-label data has no such ratio.
fn class_imbalance(rule: &SagemakerRule, subject: &Subject<'_>) -> Option<Sighting> {
    let bound = rule.number("threshold_imbalance")?;
    let counts = || subject.facts.class_counts.iter().filter(|count| **count > 0);
    let ratio = *counts().max()? as f64 / *counts().min()? as f64;
    let is_judged = !subject.facts.is_multi_label();
    (is_judged && ratio > bound).then(|| sighting(rule, "largest class / smallest class", ratio, bound))
}

/// SageMaker computes the mean over 500 images or more; here it is that of the first batch.
fn check_input_images(rule: &SagemakerRule, subject: &Subject<'_>) -> Option<Sighting> {
    let bound = rule.number("threshold_mean")?;
    let off = subject.facts.channels.iter().map(|channel| channel.mean.abs()).find(|mean| *mean > bound)?;
    Some(sighting(rule, "|mean| of a channel", off, bound))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::{
        ChannelFacts,
        fixture::Case,
        rule_sets::fixture::{epoch, flat, rules},
    };

    #[test]
    fn data_are_judged_at_the_first_step() {
        let mut case = Case::new("");
        let judged = |case: &Case, step| {
            let seen = Observation { step, loss: f64::NAN, ..Observation::default() };
            rules(&Sagemaker::new(&[]).judge(&seen, &case.subject()))
        };
        case.facts.class_counts = vec![100, 0, 10];
        case.facts.channels = vec![ChannelFacts { mean: -0.2, std: 1.0 }];
        assert!(judged(&case, 0).is_empty());
        case.facts.class_counts = vec![101, 0, 10];
        case.facts.channels.push(ChannelFacts { mean: -0.21, std: 1.0 });
        assert_eq!(judged(&case, 0), ["ClassImbalance", "CheckInputImages"]);
        assert!(judged(&case, 499).is_empty());
        case.facts.multi_label_images = 105;
        assert_eq!(judged(&case, 0), ["CheckInputImages"]);
    }

    #[test]
    fn each_rule_has_its_own_looks() {
        let case = Case::new("");
        let grads = flat(1e-8);
        let weights = [crate::diagnosis::rule_sets::fixture::tensor("a.weight", 1.0)];
        let updates = [crate::diagnosis::fixture::update("a.weight", 1e-12)];
        let judged = |step| {
            let seen = Observation {
                step,
                loss: f64::NAN,
                gradients: Some(&grads),
                weights: &weights,
                updates: &updates,
                ..Observation::default()
            };
            rules(&Sagemaker::new(&[]).judge(&seen, &case.subject()))
        };
        assert!(judged(99).is_empty() && judged(499).is_empty());
        assert_eq!(judged(100), ["WeightUpdateRatio"]);
        assert_eq!(judged(500), ["VanishingGradient", "PoorWeightInitialization", "WeightUpdateRatio"]);
    }

    #[test]
    fn evaluations_are_looked_at_whatever_their_step() {
        let mut rules_of = Sagemaker::new(&[]);
        let worse = Evaluation { validation_loss: 1.2, ..epoch(77, 1.0, 0.5) };
        assert_eq!(rules(&rules_of.judge_evaluation(&worse)), ["Overfit"]);
    }

    #[test]
    fn rules_that_need_other_data_are_listed() {
        let listed = not_judged();
        for name in ["SaturatedActivation", "StalledTrainingRule", "Confusion", "NLPSequenceRatio", "TreeDepth"] {
            assert!(listed.iter().any(|(rule, _)| *rule == name), "{name}");
        }
        assert_eq!(Sagemaker::new(&[]).rules.len(), 13);
    }
}
