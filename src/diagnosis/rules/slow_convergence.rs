//! Accuracy that gains next to nothing from evaluation to evaluation, and is still low.
//!
//! After AutoTrainer (ICSE 2021): best accuracy of training and validation below 0.6, and no gain of 0.01 between evaluations. Here
//! it is one of each evaluation of the last three, so that it need not wait for the end, and a task of many classes is not called
//! slow for what is far above a guess.

use serde::{Deserialize, Serialize};

use super::{Known, Rule};
use crate::{
    config::RuleName,
    diagnosis::{Evaluation, Figure, Remedy, Severity, Symptom},
};

/// Accuracy that a fresh evaluation has to be above the best before it.
pub(in super::super) const GAIN: f64 = 0.01;
/// Accuracy from which on a run is not slow: so much of the way from a guess to 1.
const SLOW: f64 = 0.5;
/// Evaluations in a row without a gain.
const LOOKS: u32 = 3;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(in super::super) struct SlowConvergence {
    best: Option<f64>,
    looks: u32,
}

impl Rule for SlowConvergence {
    fn name(&self) -> RuleName {
        RuleName::SlowConvergence
    }

    fn judge_evaluation(&mut self, seen: &Evaluation, known: &Known<'_>) -> Option<Symptom> {
        let chance = known.most_frequent()?;
        let accuracy = seen.train_accuracy.max(seen.validation_accuracy);
        if accuracy.is_nan() {
            return None;
        }
        let gain = accuracy - self.best.unwrap_or(0.0);
        let is_slow = accuracy < chance + SLOW * (1.0 - chance) && gain < known.thresholds.slow_convergence;
        self.looks = if is_slow { self.looks + 1 } else { 0 };
        self.best = Some(self.best.map_or(accuracy, |best| best.max(accuracy)));
        if self.looks < LOOKS {
            return None;
        }
        let figures = vec![Figure {
            name: "gain of accuracy since the best before".into(),
            seen: gain,
            expected: "0.01 or more".into(),
        }];
        let cause = format!(
            "accuracy is {:.1} % and has gained less than {:.1} points at each of {LOOKS} evaluations",
            100.0 * accuracy,
            100.0 * known.thresholds.slow_convergence
        );
        let mut remedies: Vec<_> = Remedy::higher_learning_rate(known, "longer steps").into_iter().collect();
        remedies.push(Remedy::new("optimizer.name = \"adamw\"", "steps of the same size for every parameter"));
        Some(Symptom { severity: Severity::Warning, layers: Vec::new(), figures, cause, remedies })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::fixture::{Case, evaluation};

    fn told(accuracies: &[f64]) -> Vec<bool> {
        let (case, mut rule) = (Case::new(""), SlowConvergence::default());
        let judge = |&accuracy: &f64| {
            let seen = Evaluation { train_accuracy: accuracy, validation_accuracy: accuracy, ..evaluation(100) };
            rule.judge_evaluation(&seen, &case.known()).is_some()
        };
        accuracies.iter().map(judge).collect()
    }

    #[test]
    fn three_evaluations_without_a_gain_while_accuracy_is_low_are_told() {
        assert_eq!(told(&[0.2, 0.2, 0.205, 0.2]), [false, false, false, true]);
        assert!(told(&[0.2, 0.22, 0.24, 0.26, 0.28]).iter().all(|told| !told));
        assert!(told(&[0.9, 0.9, 0.9, 0.9]).iter().all(|told| !told));
    }
}
