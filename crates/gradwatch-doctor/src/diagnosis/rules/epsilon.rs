//! A number added to the denominator of an adaptive optimizer that outweighs the gradient.
//!
//! Adam divides by the RMS of the gradient plus eps. As long as eps is far below that RMS, a step has the size of the
//! learning rate; above it, the step shrinks with the gradient.

use serde::{Deserialize, Serialize};

use super::{Need, Rule, RuleContext, Ways, learning_rate, update_ratio::median_of_weights};
use crate::{
    config::RuleName,
    diagnosis::{Figure, Observation, Remedy, Severity, Symptom, course::median},
    number::two_digits,
};

/// eps over the RMS of the gradient, median over the weights.
const OUTWEIGHS: f64 = 10.0;
/// Smallest eps to blame. At the usual 1e-8, the gradient is what is wrong.
const LARGE: f64 = 1e-6;
/// Tracked steps after which small steps count, and not just tiny ones.
const LATE: u64 = 60;
/// Required consecutive checks.
const LOOKS: u32 = 3;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(in super::super) struct Epsilon {
    looks: u32,
}

impl Rule for Epsilon {
    fn name(&self) -> RuleName {
        RuleName::Epsilon
    }

    fn needs(&self) -> Ways {
        &[&[Need::Gradients, Need::Updates, Need::ModelConfig]]
    }

    fn is_refuted_by_learning(&self) -> bool {
        true
    }

    fn judge(&mut self, seen: &Observation<'_>, context: &RuleContext<'_>) -> Option<Symptom> {
        let optimizer = &context.config?.optimizer;
        if !optimizer.name.has_eps() || optimizer.eps < LARGE {
            return None;
        }
        let (gradients, ratio) = (seen.gradients?, median_of_weights(seen.updates, context)?);
        let weights = gradients.parameters.iter().filter(|gradient| context.roles.is_weight(&gradient.name));
        let share = optimizer.eps / median(weights.map(|gradient| gradient.rms()).collect());
        // Steps that are not tiny need time to show that they lead nowhere.
        let is_late = context.course.readings() >= LATE;
        let most = if is_late { learning_rate::SLOW } else { learning_rate::TOO_SMALL };
        let is_large = share > OUTWEIGHS && ratio < most && context.has_learned_little(seen);
        self.looks = if is_large { self.looks + 1 } else { 0 };
        if self.looks < LOOKS {
            return None;
        }
        let figures = vec![
            Figure { name: "eps over the RMS of the gradient".into(), seen: share, expected: "far below 1".into() },
            Figure { name: "median update ratio of the weights".into(), seen: ratio, expected: "0.001 to 0.01".into() },
        ];
        let cause = format!(
            "optimizer.eps is {} times the RMS of the gradient, so a step moves the weights by only {} of their size",
            two_digits(share),
            two_digits(ratio)
        );
        let remedies = vec![Remedy::config("optimizer.eps", 1e-8, "lets steps have the size of the learning rate")];
        Some(Symptom { severity: Severity::Critical, layers: Vec::new(), ranks: Vec::new(), figures, cause, remedies })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::fixture::{Case, gradients, update};

    #[test]
    fn small_steps_count_once_they_have_led_nowhere() {
        let mut case = Case::new("optimizer = { name = \"adam\", eps = 10.0 }");
        let (mut rule, updates) = (Epsilon::default(), [update("a.weight", 1e-4)]);
        let gradients = gradients(&[("a.weight", 1e-3)]);
        let told_at = (0..100).find(|_| {
            case.course.add(2.3);
            let seen =
                Observation { loss: 2.3, gradients: Some(&gradients), updates: &updates, ..Observation::default() };
            rule.judge(&seen, &case.context()).is_some()
        });
        assert_eq!(told_at, Some(LATE + u64::from(LOOKS) - 2));
    }

    #[test]
    fn a_large_eps_counts_if_the_weights_hardly_move() {
        let is_told = |more: &str, ratio: f64| {
            let (case, mut rule, updates) = (Case::new(more), Epsilon::default(), [update("a.weight", ratio)]);
            let gradients = gradients(&[("a.weight", 1e-3)]);
            let seen =
                Observation { loss: 2.3, gradients: Some(&gradients), updates: &updates, ..Observation::default() };
            (0..LOOKS).any(|_| rule.judge(&seen, &case.context()).is_some())
        };
        let adam = |eps: &str| format!("optimizer = {{ name = \"adam\", eps = {eps} }}");
        assert!(is_told(&adam("10.0"), 1e-7) && !is_told(&adam("10.0"), 1e-4));
        assert!(!is_told(&adam("10.0"), 1e-3) && !is_told(&adam("1e-8"), 1e-7));
        assert!(!is_told("optimizer = { name = \"sgd\", eps = 10.0 }", 1e-7));
    }
}
