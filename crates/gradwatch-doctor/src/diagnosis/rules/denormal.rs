//! Gradients below the smallest normal number: they lose precision, and a CPU is 10 to 100 times slower with them.
//!
//! Known from shrinking weights (pytorch issues 19651, 21734, and 63853: convolutions 40 to 50 times slower).

use serde::{Deserialize, Serialize};

use super::{Need, Rule, RuleContext, Ways};
use crate::{
    config::RuleName,
    diagnosis::{Figure, Observation, Remedy, Severity, Symptom},
};

/// Fraction of the nonzero elements of all gradients.
const SHARE: f64 = 0.01;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(in super::super) struct Denormal {}

impl Rule for Denormal {
    fn name(&self) -> RuleName {
        RuleName::Denormal
    }

    fn needs(&self) -> Ways {
        &[&[Need::Gradients]]
    }

    fn causes(&self) -> &'static [RuleName] {
        &[
            RuleName::PoorInitialization,
            RuleName::LearningRate,
            RuleName::Vanishing,
            RuleName::DeadRelu,
            RuleName::Saturated,
            RuleName::WeightDecay,
            RuleName::Clipping,
            RuleName::Epsilon,
            RuleName::Momentum,
        ]
    }

    /// Towards a fit, more and more gradients are tiny.
    fn is_refuted_by_learning(&self) -> bool {
        true
    }

    fn judge(&mut self, seen: &Observation<'_>, context: &RuleContext<'_>) -> Option<Symptom> {
        let counted = || {
            let with_distribution = seen.gradients?.parameters.iter();
            Some(with_distribution.filter_map(|grad| Some((grad, grad.distribution.as_ref()?))))
        };
        let denormals: u64 = counted()?.map(|(_, distribution)| distribution.denormals).sum();
        if denormals == 0 || context.has_fitted(seen) {
            return None;
        }
        let others: u64 = counted()?.map(|(grad, distribution)| grad.elements - distribution.zeros).sum();
        let share = denormals as f64 / others as f64;
        if share <= SHARE {
            return None;
        }
        let layers =
            counted()?.filter(|(_, distribution)| distribution.denormals > 0).map(|(grad, _)| grad.name.clone());
        let figures = vec![Figure {
            name: "share of gradient elements that are denormal".into(),
            seen: share,
            expected: "0".into(),
        }];
        let cause = format!(
            "{:.0}% of the gradient elements are below the smallest normal number, lose precision, and slow down a \
             CPU",
            100.0 * share
        );
        let remedies = vec![Remedy::config("model.normalization", "batch", "keeps the gradients at a normal size")];
        Some(Symptom {
            severity: Severity::Warning,
            layers: layers.collect(),
            ranks: Vec::new(),
            figures,
            cause,
            remedies,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::fixture::{Case, distribution, gradients};

    #[test]
    fn one_in_a_hundred_is_too_many() {
        let is_told = |denormals: u64, zeros: u64| {
            let mut gradients = gradients(&[("a.weight", 1.0)]);
            gradients.parameters[0].elements = 1000;
            gradients.parameters[0].distribution = Some(distribution(denormals, zeros));
            let seen = Observation { loss: 2.3, gradients: Some(&gradients), ..Observation::default() };
            Denormal::default().judge(&seen, &Case::new("").context()).is_some()
        };
        assert!(!is_told(0, 1000) && !is_told(10, 0));
        assert!(is_told(11, 0) && is_told(10, 100));
    }
}
