//! Weight decay that outweighs the gradient: the weights shrink, whatever the images say.
//!
//! An L2 penalty adds `weight_decay * w` to the gradient; decoupled decay multiplies the weights by
//! `1 - learning_rate * weight_decay` at each step. In balance, decay takes away what the gradient adds, so a ratio near
//! 1 is normal late in training. Before a run has learned anything, the ratio is far below 1.

use serde::{Deserialize, Serialize};

use super::{Need, Rule, RuleContext, Ways, update_ratio::median_of_weights};
use crate::{
    config::{OptimizerConfig, OptimizerName, RuleName},
    diagnosis::{Figure, Observation, Remedy, Severity, Symptom, course::median},
    number::two_digits,
};

/// Decay over gradient, median over the weights, above which decay decides the direction of a step.
const OUTWEIGHS: f64 = 1.0;
/// Decoupled decay over the update above which it is most of the update.
const PART: f64 = 0.5;
/// Part of the weights that decay removes per step, below which nothing happens within a thousand steps.
const FAST: f64 = 2e-3;
/// Largest decay of recipes, as an L2 penalty and decoupled (0.3 for vision transformers). With such a decay, a high
/// learning rate is the cause.
const ORDINARY: [f64; 2] = [5e-3, 0.5];
/// Required consecutive checks.
const LOOKS: u32 = 2;
/// Decay to recommend: that of ImageNet recipes for an L2 penalty and for decoupled decay.
const USUAL: [f64; 2] = [1e-4, 1e-2];

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(in super::super) struct WeightDecay {
    looks: u32,
}

impl Rule for WeightDecay {
    fn name(&self) -> RuleName {
        RuleName::WeightDecay
    }

    fn needs(&self) -> Ways {
        &[&[Need::Gradients, Need::Updates, Need::LearningRate, Need::ModelConfig]]
    }

    fn is_refuted_by_learning(&self) -> bool {
        true
    }

    fn judge(&mut self, seen: &Observation<'_>, context: &RuleContext<'_>) -> Option<Symptom> {
        let optimizer = &context.config?.optimizer;
        let ordinary = ORDINARY[usize::from(optimizer.name.has_decoupled_decay())];
        if optimizer.weight_decay <= ordinary || seen.weights.is_empty() || seen.updates.is_empty() {
            return None;
        }
        let ratio = median_of_weights(seen.updates, context)?;
        let speed = speed(optimizer, seen, ratio);
        // The comparison of all weights with their gradients comes last, because hardly any run gets there.
        let pull = (speed > FAST && context.has_learned_little(seen)).then(|| pull(optimizer, seen, ratio, context));
        // The update contains a decoupled decay, so that the ratio cannot be much above 1.
        let most = if optimizer.name.has_decoupled_decay() { PART } else { OUTWEIGHS };
        let pull = pull.flatten().filter(|pull| *pull > most);
        self.looks = if pull.is_some() { self.looks + 1 } else { 0 };
        let pull = pull?;
        if self.looks < LOOKS {
            return None;
        }
        let figures = vec![
            Figure {
                name: "weight decay over gradient or update, median over the weights".into(),
                seen: pull,
                expected: "far below 1".into(),
            },
            Figure {
                name: "part of the weights that decay removes per step".into(),
                seen: speed,
                expected: "below 0.001".into(),
            },
        ];
        let of = if optimizer.name.has_decoupled_decay() { "update" } else { "gradient" };
        let cause = format!(
            "weight decay is {} times as large as the {of} and removes {} of the weights at each step: the weights \
             shrink instead of learning",
            two_digits(pull),
            two_digits(speed)
        );
        let usual = USUAL[usize::from(optimizer.name.has_decoupled_decay())];
        let lower = usual.min(optimizer.weight_decay * 1e-2);
        let remedies = vec![Remedy::config("optimizer.weight_decay", lower, "leaves the weights to the gradient")];
        Some(Symptom { severity: Severity::Critical, layers: Vec::new(), ranks: Vec::new(), figures, cause, remedies })
    }
}

/// Part of the weights that decay removes per step. `ratio` is the median update ratio of the weights.
fn speed(optimizer: &OptimizerConfig, seen: &Observation<'_>, ratio: f64) -> f64 {
    let decay = seen.learning_rate * optimizer.weight_decay;
    match optimizer.name {
        name if name.has_decoupled_decay() => decay,
        OptimizerName::Sgd => decay / (1.0 - optimizer.momentum),
        // The step has the size of the learning rate, whatever the gradient is.
        _ => ratio,
    }
}

/// Decay over update if it is decoupled, and else over the gradient: median over the weights.
fn pull(optimizer: &OptimizerConfig, seen: &Observation<'_>, ratio: f64, context: &RuleContext<'_>) -> Option<f64> {
    if optimizer.name.has_decoupled_decay() {
        return Some(seen.learning_rate * optimizer.weight_decay / ratio);
    }
    let gradients = &seen.gradients?.parameters;
    let pairs = seen.weights.iter().filter(|weight| context.roles.is_weight(&weight.name)).filter_map(|weight| {
        let gradient = gradients.iter().find(|gradient| gradient.name == weight.name)?;
        Some(optimizer.weight_decay * weight.norm / gradient.norm)
    });
    Some(median(pairs.filter(|pull| !pull.is_nan()).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::fixture::{Case, gradients, update, weights};

    fn is_told(more: &str, gradient: f64, ratio: f64, loss: f64) -> bool {
        let (case, mut rule) = (Case::new(more), WeightDecay::default());
        let (gradients, updates) = (gradients(&[("a.weight", gradient)]), [update("a.weight", ratio)]);
        let weights = weights(&[("a.weight", 2.0)]);
        let seen = Observation {
            loss,
            learning_rate: 0.1,
            gradients: Some(&gradients),
            weights: &weights,
            updates: &updates,
            ..Observation::default()
        };
        assert!(rule.judge(&seen, &case.context()).is_none());
        rule.judge(&seen, &case.context()).is_some()
    }

    #[test]
    fn a_decay_that_outweighs_the_gradient_of_a_run_that_does_not_learn_is_told() {
        // 0.5 * 2 against 0.1: ten times; 0.1 * 0.5 / (1 - 0.9) of the weights per step.
        assert!(is_told("optimizer.weight_decay = 0.5", 0.1, 1e-2, 2.3));
        assert!(!is_told("optimizer.weight_decay = 0.5", 0.1, 1e-2, 0.1), "it has learned");
        assert!(!is_told("optimizer.weight_decay = 0.5", 10.0, 1e-2, 2.3), "the gradient is larger");
        // A vanishing gradient is small beside any decay, but this one takes thousands of steps.
        assert!(!is_told("optimizer.weight_decay = 1e-4", 1e-9, 1e-9, 2.3));
        assert!(!is_told("optimizer.weight_decay = 0.0", 0.0, 1e-2, 2.3));
    }

    #[test]
    fn a_decoupled_decay_counts_as_part_of_the_update() {
        let adamw = |decay: &str| format!("optimizer = {{ name = \"adamw\", weight_decay = {decay} }}");
        // 0.1 * 10 per step.
        assert!(is_told(&adamw("10.0"), 1.0, 0.9, 2.3));
        assert!(!is_told(&adamw("0.01"), 1.0, 2e-3, 2.3));
        // 0.1 * 0.1 per step is most of this update because of the learning rate, not because of the decay.
        assert!(!is_told(&adamw("0.1"), 1.0, 1e-2, 2.3));
    }
}
