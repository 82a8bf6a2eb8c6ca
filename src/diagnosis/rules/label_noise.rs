//! Labels that do not go with the images: shuffled, or wrong for many.
//!
//! A healthy net whose labels say nothing of its images learns how frequent each class is and no more: the loss stays at that of a
//! guess, although gradients reach every layer and the weights move. Given time it learns the training images by heart, and does
//! not do better on others.

use serde::{Deserialize, Serialize};

use super::{Known, Rule, depth_ends::DepthEnds, loss_plateau, update_ratio::median_of_weights};
use crate::{
    config::RuleName,
    diagnosis::{Evaluation, Figure, Observation, Remedy, Severity, Symptom, number::two_digits},
};

/// Validation accuracy over that of a guess, up to which nothing was learned that holds.
const CHANCE: f64 = 1.4;
/// Training accuracy over the validation accuracy from which on images are learned by heart.
const BY_HEART: f64 = 1.3;
/// Evaluations in a row at which both hold.
const LOOKS: u32 = 3;
/// First layer's gradient over the last layer's between which it reaches every layer.
const REACHES: std::ops::Range<f64> = 0.05..20.0;
/// Median update ratio of weights that move.
const MOVES: f64 = 1e-4;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(in super::super) struct LabelNoise {
    looks: u32,
    /// The last first-over-last ratio of the gradient, and the last median update ratio.
    reach: Option<f64>,
    ratio: Option<f64>,
}

impl Rule for LabelNoise {
    fn name(&self) -> RuleName {
        RuleName::LabelNoise
    }

    fn judge(&mut self, seen: &Observation<'_>, known: &Known<'_>) -> Option<Symptom> {
        self.reach = seen
            .depth_profile
            .as_ref()
            .and_then(|profile| DepthEnds::of(profile, known))
            .map(|ends| ends.ratio)
            .or(self.reach);
        self.ratio = median_of_weights(seen.updates, known).or(self.ratio);
        let level = loss_plateau::level(known)?;
        let (reach, ratio) = (self.reach?, self.ratio?);
        if !REACHES.contains(&reach) || ratio < MOVES {
            return None;
        }
        let figures = vec![
            Figure {
                name: "loss of the last 50 readings".into(),
                seen: level,
                expected: format!("below that of a guess, {:.3}", known.guess()),
            },
            Figure {
                name: "median update ratio of the weights".into(),
                seen: ratio,
                expected: "about 0.001, as it is".into(),
            },
        ];
        let cause = format!(
            "the loss has stayed at {level:.3}, what a guess costs, although the gradient reaches every layer and a step moves the \
             weights by {}: the labels do not go with the images",
            two_digits(ratio)
        );
        Some(symptom(figures, cause))
    }

    fn judge_evaluation(&mut self, seen: &Evaluation, known: &Known<'_>) -> Option<Symptom> {
        let chance = known.most_frequent()?;
        let is_chance = seen.validation_accuracy <= CHANCE * chance;
        let by_heart = seen.train_accuracy > BY_HEART * seen.validation_accuracy.max(chance);
        self.looks = if is_chance && by_heart { self.looks + 1 } else { 0 };
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
        Some(symptom(figures, cause))
    }
}

fn symptom(figures: Vec<Figure>, cause: String) -> Symptom {
    let remedies = vec![Remedy::new("data.path", "look whether images and labels are in the same order")];
    Symptom { severity: Severity::Critical, layers: Vec::new(), figures, cause, remedies }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::fixture::{Case, evaluation, profile, update};

    #[test]
    fn a_loss_that_stays_at_that_of_a_guess_while_everything_moves_comes_of_the_labels() {
        let is_told = |losses: f64, reach: f64, ratio: f64| {
            let case = Case::with_losses([losses; 200]);
            let updates = [update("a.weight", ratio)];
            let depth_profile = Some(profile(&[reach, 1.0]));
            let seen = Observation { depth_profile, updates: &updates, ..Observation::default() };
            LabelNoise::default().judge(&seen, &case.known()).is_some()
        };
        assert!(is_told(2.3, 0.5, 1e-3));
        assert!(!is_told(2.3, 0.01, 1e-3) && !is_told(2.3, 0.5, 1e-6) && !is_told(1.0, 0.5, 1e-3));
    }

    #[test]
    fn a_net_that_knows_its_training_images_and_guesses_at_others_has_wrong_labels() {
        let is_told = |train: f64, validation: f64| {
            let seen = Evaluation { train_accuracy: train, validation_accuracy: validation, ..evaluation(100) };
            let (case, mut rule) = (Case::new(""), LabelNoise::default());
            assert!(rule.judge_evaluation(&seen, &case.known()).is_none());
            assert!(rule.judge_evaluation(&seen, &case.known()).is_none());
            rule.judge_evaluation(&seen, &case.known()).is_some()
        };
        assert!(is_told(0.2, 0.1) && is_told(0.9, 0.12));
        assert!(!is_told(0.11, 0.1) && !is_told(0.9, 0.6) && !is_told(f64::NAN, 0.1));
    }
}
