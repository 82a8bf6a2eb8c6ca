//! Labels that do not go with the images: shuffled, or wrong for many.
//!
//! A healthy net whose labels say nothing of its images learns how frequent each class is and no more; given time it learns the
//! training images by heart, and does not do better on others.

use serde::{Deserialize, Serialize};

use super::{Known, Rule};
use crate::{
    config::RuleName,
    diagnosis::{Evaluation, Figure, Remedy, Severity, Symptom},
};

/// Validation accuracy over that of a guess, up to which nothing was learned that holds.
const CHANCE: f64 = 1.4;
/// Training accuracy over the validation accuracy from which on images are learned by heart.
const BY_HEART: f64 = 1.3;
/// Evaluations at which both hold.
const LOOKS: u32 = 1;
/// Optimizer steps without which nothing is to be expected.
const LEAST_STEPS: u64 = 50;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(in super::super) struct LabelNoise {
    looks: u32,
}

impl Rule for LabelNoise {
    fn name(&self) -> RuleName {
        RuleName::LabelNoise
    }

    fn judge_evaluation(&mut self, seen: &Evaluation, known: &Known<'_>) -> Option<Symptom> {
        let chance = known.most_frequent()?;
        let is_chance = seen.validation_accuracy <= CHANCE * chance;
        let by_heart = seen.train_accuracy > BY_HEART * seen.validation_accuracy.max(chance);
        self.looks = if is_chance && by_heart && seen.step >= LEAST_STEPS { self.looks + 1 } else { 0 };
        if self.looks < LOOKS {
            return None;
        }
        let figures = vec![
            Figure {
                name: "validation accuracy".into(),
                seen: seen.validation_accuracy,
                expected: format!("above that of a guess, {chance:.2}"),
            },
            Figure { name: "training accuracy".into(), seen: seen.train_accuracy, expected: "about the same".into() },
        ];
        let cause = format!(
            "training accuracy is {:.0} % and validation accuracy {:.0} %, that of a guess: the labels do not go with the images, \
             which are learned by heart",
            100.0 * seen.train_accuracy,
            100.0 * seen.validation_accuracy
        );
        let remedies =
            vec![Remedy::new("data.path", "look whether images and labels are in the same order in both splits")];
        Some(Symptom { severity: Severity::Critical, layers: Vec::new(), figures, cause, remedies })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::fixture::{Case, evaluation};

    #[test]
    fn a_net_that_knows_its_training_images_and_guesses_at_others_has_wrong_labels() {
        let is_told = |train: f64, validation: f64| {
            let seen = Evaluation { train_accuracy: train, validation_accuracy: validation, ..evaluation(100) };
            LabelNoise::default().judge_evaluation(&seen, &Case::new("").known()).is_some()
        };
        assert!(is_told(0.2, 0.1) && is_told(0.9, 0.12));
        assert!(!is_told(0.11, 0.1) && !is_told(0.9, 0.6) && !is_told(f64::NAN, 0.1));
    }
}
