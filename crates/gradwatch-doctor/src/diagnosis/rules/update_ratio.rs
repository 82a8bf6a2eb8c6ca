//! Update size relative to weight size: 1e-3 to 1e-2 in healthy training.
//!
//! The healthy range is 1e-4 to 1e-1 (Nikanjam et al. 2022, TheDeepChecker). Above it, a few steps replace the weights.

use serde::{Deserialize, Serialize};

use super::{Need, Rule, RuleContext, Ways};
use crate::{
    config::{OptimizerName, RuleName},
    diagnosis::{Figure, Observation, Remedy, Severity, Symptom, course::median},
    number::two_digits,
    statistics::ParameterUpdate,
};

/// Median over the weights.
pub(in super::super) const WARNING: f64 = 0.1;
const CRITICAL: f64 = 1.0;
/// Required consecutive checks. In the first steps, weights that start at 0 move by their whole size.
const LOOKS: u32 = 3;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(in super::super) struct UpdateRatio {
    looks: u32,
}

impl Rule for UpdateRatio {
    fn name(&self) -> RuleName {
        RuleName::UpdateRatio
    }

    fn needs(&self) -> Ways {
        &[&[Need::Updates]]
    }

    fn causes(&self) -> &'static [RuleName] {
        &[
            RuleName::InputNotNormalized,
            RuleName::WrongLoss,
            RuleName::PoorInitialization,
            RuleName::GradientAccumulation,
            RuleName::LearningRate,
            RuleName::Exploding,
            RuleName::WeightDecay,
            RuleName::Clipping,
            RuleName::Epsilon,
            RuleName::Momentum,
            RuleName::Dropout,
            RuleName::BatchNorm,
            RuleName::RunningStatistics,
        ]
    }

    fn is_refuted_by_learning(&self) -> bool {
        true
    }

    fn judge(&mut self, seen: &Observation<'_>, context: &RuleContext<'_>) -> Option<Symptom> {
        let median = median_of_weights(seen.updates, context)?;
        let is_high = median * warming(seen.step, context) > context.thresholds.update_ratio;
        self.looks = if is_high { self.looks + 1 } else { 0 };
        if self.looks < LOOKS {
            return None;
        }
        let severity = if median > CRITICAL { Severity::Critical } else { Severity::Warning };
        let name = "median update ratio of the weights".into();
        let figures = vec![Figure { name, seen: median, expected: "0.1 or less, usually 0.001 to 0.01".into() }];
        let moved = two_digits(median);
        let cause = format!("a step moves the weights by {moved} of their size: the learning rate is too high");
        let later = median * warming(seen.step, context);
        let mut remedies: Vec<_> = Remedy::fitting_learning_rate(context, later).into_iter().collect();
        remedies.extend(Remedy::warm_up(context));
        Some(Symptom { severity, layers: Vec::new(), ranks: Vec::new(), figures, cause, remedies })
    }
}

/// Size of a later step of RMSprop over that of this one. Its average of squares starts at 0 and is not corrected, so that
/// the first steps are `1 / sqrt(1 - alpha)` times as large, ten times by default. 1 for other optimizers.
pub(super) fn warming(step: u64, context: &RuleContext<'_>) -> f64 {
    let optimizer = context.config.map(|config| &config.optimizer);
    optimizer
        .filter(|optimizer| optimizer.name == OptimizerName::Rmsprop)
        .map_or(1.0, |optimizer| (1.0 - optimizer.alpha.powf(step as f64 + 1.0)).sqrt())
}

/// Median update ratio of the weights that move. Excludes biases and gains, which are small and move by a large part of
/// their size, and weights of silent branches that start at 0. Also excludes weights that do not move, because they say
/// nothing about the learning rate.
pub(super) fn median_of_weights(updates: &[ParameterUpdate], context: &RuleContext<'_>) -> Option<f64> {
    let began_at_zero = |update: &ParameterUpdate| {
        let mut zeros = context.facts.parameters.iter().filter(|parameter| parameter.is_zero());
        context.has_silent_branches() && zeros.any(|parameter| parameter.name == update.name)
    };
    let weights =
        updates.iter().filter(|update| context.roles.is_weight(&update.name) && update.update_ratio.is_finite());
    let weights = weights.filter(|update| update.update_ratio > 0.0 && !began_at_zero(update));
    let ratios: Vec<f64> = weights.map(|update| update.update_ratio).collect();
    (!ratios.is_empty()).then(|| median(ratios))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::{
        ParameterFacts,
        fixture::{Case, update},
    };

    fn judged(ratios: &[f64]) -> Vec<Option<Severity>> {
        let case = Case::new("");
        let mut rule = UpdateRatio::default();
        let judge = |ratio: &f64| {
            // Ignores a bias that moves by its whole size, a weight that is 0, and weights that do not move.
            let still = ["c.weight", "d.weight"].map(|name| update(name, 0.0));
            let updates = [update("a.bias", 1.0), update("a.weight", *ratio), update("b.weight", f64::NAN)];
            let updates = [&updates[..], &still].concat();
            let seen = Observation { updates: &updates, ..Observation::default() };
            rule.judge(&seen, &case.context()).map(|symptom| symptom.severity)
        };
        ratios.iter().map(judge).collect()
    }

    #[test]
    fn the_first_steps_of_rmsprop_are_large_by_design() {
        let found = |optimizer: &str, ratio: f64| {
            let (case, mut rule) = (Case::new(&format!("optimizer.name = \"{optimizer}\"")), UpdateRatio::default());
            let updates = [update("a.weight", ratio)];
            (0..20).find(|&step| {
                let seen = Observation { step, updates: &updates, ..Observation::default() };
                rule.judge(&seen, &case.context()).is_some()
            })
        };
        // sqrt(1 - 0.99^n) is 0.1 at the first step and 0.4 at the 18th: 0.3 is as much as 0.12 then.
        assert_eq!((found("adam", 0.3), found("rmsprop", 0.3), found("rmsprop", 2.0)), (Some(2), Some(13), Some(2)));
    }

    #[test]
    fn weights_that_began_at_0_on_purpose_move_by_much_of_themselves() {
        let judge = |method: &str| {
            let mut case = Case::new(&format!("model.residual = true\nmodel.initialization = \"{method}\""));
            let zero = |name: &str| ParameterFacts { name: name.into(), shape: vec![4, 4], mean: 0.0, std: 0.0 };
            case.facts.parameters = vec![zero("a.weight"), zero("b.weight")];
            let updates = [update("a.weight", 1.0), update("b.weight", 0.5), update("c.weight", 1e-3)];
            median_of_weights(&updates, &case.context())
        };
        assert_eq!((judge("fixup"), judge("default")), (Some(1e-3), Some(0.5)));
    }

    #[test]
    fn weights_that_move_by_a_tenth_of_themselves_at_three_looks_are_told() {
        assert_eq!(judged(&[0.5, 0.5, 0.5, 2.0]), [None, None, Some(Severity::Warning), Some(Severity::Critical)]);
        assert_eq!(judged(&[0.5, 0.5, 0.01, 0.5]), [None; 4]);
        assert_eq!(judged(&[1e-3, 1e-9, 0.0]), [None; 3]);
    }
}
