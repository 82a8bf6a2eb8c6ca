//! Parameters that have a gradient and do not move: not in the optimizer, at learning rate 0, or below f32 resolution.
//!
//! Invariant: a parameter with a gradient changes when a step is taken (after TrainCheck, OSDI 2025).

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Need, Rule, RuleContext, Ways};
use crate::{
    config::RuleName,
    diagnosis::{Figure, Observation, Remedy, Severity, Symptom},
    number::count,
};

/// Required consecutive checks, because a single step may round to nothing.
const LOOKS: u32 = 2;
/// Learning rate times gradient norm over weight norm below which f32 rounds the step away.
const RESOLUTION: f64 = 1e-6;
/// The same ratio above which rounding cannot keep every element in place, so that one check is enough.
const SURE: f64 = 1e-4;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(in super::super) struct UnchangedParameter {
    looks: u32,
}

impl Rule for UnchangedParameter {
    fn name(&self) -> RuleName {
        RuleName::UnchangedParameter
    }

    fn needs(&self) -> Ways {
        &[&[Need::Gradients, Need::Updates, Need::LearningRate]]
    }

    fn causes(&self) -> &'static [RuleName] {
        &[
            RuleName::InputNotNormalized,
            RuleName::WrongLoss,
            RuleName::PoorInitialization,
            RuleName::MissingGradient,
            RuleName::LearningRate,
            RuleName::Vanishing,
            RuleName::DeadRelu,
            RuleName::Saturated,
            RuleName::UpdateRatio,
            RuleName::Exploding,
            RuleName::NonFinite,
            RuleName::ZeroGradient,
            RuleName::Clipping,
            RuleName::Epsilon,
            RuleName::WeightDecay,
        ]
    }

    fn judge(&mut self, seen: &Observation<'_>, context: &RuleContext<'_>) -> Option<Symptom> {
        let gradients = seen.gradients.filter(|_| !seen.updates.is_empty())?;
        if !seen.is_taken() || seen.learning_rate <= 0.0 {
            return None;
        }
        let gradient_of = |name: &Arc<str>| gradients.parameters.iter().find(|grad| grad.name == *name);
        let weight_of = |name: &Arc<str>| seen.weights.iter().find(|weight| weight.name == *name);
        // A step too small for the precision of the weight moves nothing, which is correct.
        let step_of = |name: &Arc<str>| seen.learning_rate * gradient_of(name).map_or(0.0, |grad| grad.norm);
        let is_to_move = |name: &Arc<str>| {
            step_of(name) > 0.0 && weight_of(name).is_none_or(|weight| step_of(name) > RESOLUTION * weight.norm)
        };
        let unmoved = seen.updates.iter().filter(|update| update.norm == 0.0 && is_to_move(&update.name));
        let layers: Vec<_> = unmoved.map(|update| update.name.clone()).collect();
        self.looks = if layers.is_empty() { 0 } else { self.looks + 1 };
        let is_sure =
            layers.iter().any(|name| weight_of(name).is_some_and(|weight| step_of(name) > SURE * weight.norm));
        if self.looks < LOOKS && !is_sure {
            return None;
        }
        let of = seen.updates.len();
        let severity = if 2 * layers.len() >= of { Severity::Critical } else { Severity::Warning };
        let figures = vec![Figure {
            name: "parameters with a gradient that do not move".into(),
            seen: layers.len() as f64,
            expected: "0".into(),
        }];
        let verbs =
            if layers.len() == 1 { "has a gradient but does not move" } else { "have a gradient but do not move" };
        let cause = format!(
            "{} of {} {verbs}, first {}: the optimizer does not contain them, or their learning rate is 0",
            layers.len(),
            count(of, "parameter"),
            layers[0]
        );
        let mut remedies = Vec::new();
        if context
            .config
            .is_some_and(|config| config.optimizer.groups.iter().any(|group| group.learning_rate_scale == 0.0))
        {
            remedies.push(Remedy::config(
                "optimizer.groups",
                [],
                "trains all layers; a group with learning rate 0 does not learn, and freeze = true saves its cost",
            ));
        }
        Some(Symptom { severity, layers, ranks: Vec::new(), figures, cause, remedies })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::fixture::{Case, gradients, update};

    #[test]
    fn a_parameter_with_a_gradient_that_stays_where_it_is_is_told_at_the_second_look() {
        let case = Case::new("");
        let grads = gradients(&[("a", 1.0), ("b", 1.0), ("c", 0.0)]);
        let judge = |rule: &mut UnchangedParameter, moves: [f64; 3], skipped_in_a_row| {
            let updates = [update("a", moves[0]), update("b", moves[1]), update("c", moves[2])];
            let seen = Observation {
                learning_rate: 0.1,
                gradients: Some(&grads),
                updates: &updates,
                skipped_in_a_row,
                ..Observation::default()
            };
            rule.judge(&seen, &case.context()).map(|symptom| symptom.layers)
        };
        let mut rule = UnchangedParameter::default();
        // A parameter without a gradient does not move, and a skipped step moves none.
        assert_eq!(judge(&mut rule, [1.0, 1.0, 0.0], 0), None);
        assert_eq!(judge(&mut rule, [0.0, 0.0, 0.0], 1), None);
        assert_eq!(judge(&mut rule, [1.0, 0.0, 0.0], 0), None);
        assert_eq!(judge(&mut rule, [1.0, 0.0, 0.0], 0), Some(vec!["b".into()]));
    }

    #[test]
    fn one_look_is_enough_where_the_step_is_far_above_rounding() {
        let (case, grads) = (Case::new(""), gradients(&[("a", 1.0)]));
        let judged = |learning_rate: f64| {
            let (updates, weights) = ([update("a", 0.0)], gradients(&[("a", 100.0)]).parameters);
            let seen = Observation {
                learning_rate,
                gradients: Some(&grads),
                updates: &updates,
                weights: &weights,
                ..Observation::default()
            };
            let mut rule = UnchangedParameter::default();
            [(); 2].map(|()| rule.judge(&seen, &case.context()).is_some())
        };
        // Steps of 2e-4, 5e-5, and 5e-7 of the weight.
        assert_eq!([0.02, 0.005, 5e-5].map(judged), [[true, true], [false, true], [false, false]]);
    }
}
