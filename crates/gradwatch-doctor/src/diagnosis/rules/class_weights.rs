//! Class weights that let a few classes decide the loss.
//!
//! Weights inverse to the frequencies give every class the same share of the loss. Weights that make one class count
//! fifty times as much as another train a network that answers with that class.

use serde::{Deserialize, Serialize};

use super::{Need, Rule, RuleContext, Ways};
use crate::{
    config::{ClassBalance, RuleName},
    diagnosis::{Figure, Observation, Remedy, Severity, Symptom},
    number::Rounded,
};

/// Largest share of a class in the loss over the smallest.
const RATIO: f64 = 50.0;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(in super::super) struct ClassWeights {}

impl Rule for ClassWeights {
    fn name(&self) -> RuleName {
        RuleName::ClassWeights
    }

    fn needs(&self) -> Ways {
        &[&[Need::InitialFacts, Need::ModelConfig]]
    }

    fn judge(&mut self, seen: &Observation<'_>, context: &RuleContext<'_>) -> Option<Symptom> {
        let loss = &context.config?.loss;
        let counts = &context.facts.class_counts;
        if seen.step > 0 || loss.class_balance != ClassBalance::Given || counts.len() != loss.class_weights.len() {
            return None;
        }
        let shares = || counts.iter().zip(&loss.class_weights).map(|(count, weight)| *count as f64 * weight);
        let (most, least) =
            (shares().fold(0.0, f64::max), shares().filter(|share| *share > 0.0).fold(f64::INFINITY, f64::min));
        let ratio = most / least;
        if ratio.is_nan() || ratio <= RATIO {
            return None;
        }
        let figures = vec![Figure {
            name: "largest share of a class in the loss over the smallest".into(),
            seen: ratio,
            expected: "about 1".into(),
        }];
        let cause = format!(
            "loss.class_weights make one class count {:.0} times as much as another, so the loss hardly depends on the \
             other",
            Rounded(ratio)
        );
        let remedies =
            vec![Remedy::config("loss.class_balance", "balanced", "gives every class the same weight in the loss")];
        Some(Symptom { severity: Severity::Warning, layers: Vec::new(), ranks: Vec::new(), figures, cause, remedies })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::fixture::Case;

    #[test]
    fn weights_count_together_with_the_frequencies() {
        let is_told = |weights: [f64; 2], counts: [u64; 2]| {
            let mut case = Case::new("");
            (case.config.loss.class_balance, case.config.loss.class_weights) = (ClassBalance::Given, weights.to_vec());
            case.facts.class_counts = counts.to_vec();
            ClassWeights::default().judge(&Observation::default(), &case.context()).is_some()
        };
        assert!(is_told([1000.0, 1.0], [50, 50]));
        assert!(!is_told([100.0, 1.0], [1, 100]) && !is_told([3.0, 1.0], [50, 50]) && !is_told([1.0, 0.0], [50, 50]));
    }
}
