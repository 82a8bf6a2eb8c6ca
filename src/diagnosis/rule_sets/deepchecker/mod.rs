//! TheDeepChecker (Ben Braiek and Khomh, TOSEM 2022): before training, then at every tenth step.
//!
//! Conditions are those of its checkers and hooks. What it checks before training is judged by the first reading;
//! readings are its iterations, over the whole run where it trains on a single batch, and every tenth one ends a
//! period.

mod before;
mod layers;
mod training;

use serde::{Deserialize, Serialize};

use super::Sighting;
use crate::diagnosis::{Observation, Subject};

pub(super) const NOT_JUDGED: [(&str, &str); 9] = [
    ("SumReduction", "the loss of batches of other sizes"),
    ("GradientCheck", "losses at finite differences"),
    ("SingleBatchOverfit", "a training run of its own on one batch"),
    ("BatchIndependence", "the gradient of one output by another's input"),
    ("SaturatedActivation", "a histogram of each unit's outputs"),
    ("ActivationRange", "the smallest and largest output of each layer"),
    ("NonRepresentativeLoss", "the accuracy of each batch"),
    ("LabelCorruption, AugmentationShift", "runs of its own with other data"),
    ("TrainEvalSwitch", "outputs of the same batch in both modes"),
];

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Deepchecker {
    readings: u64,
    training: training::Training,
}

impl Deepchecker {
    /// Readings of a period.
    const PERIOD: u64 = 10;

    pub(super) fn judge(&mut self, seen: &Observation<'_>, subject: &Subject<'_>) -> Vec<Sighting> {
        let mut sightings = if self.readings == 0 { before::judge(seen, subject) } else { Vec::new() };
        self.readings += 1;
        sightings.extend(self.training.add(seen, subject));
        if self.readings.is_multiple_of(Self::PERIOD) {
            sightings.extend(self.training.judge(seen, subject));
        }
        sightings
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::{
        fixture::Case,
        rule_sets::fixture::{flat, rules},
    };

    #[test]
    fn the_first_reading_and_every_tenth_are_judged() {
        let (mut case, mut rules_of, grads) = (Case::new(""), Deepchecker::default(), flat(1e-8));
        case.facts.class_counts = vec![10_000, 1, 1, 1];
        let mut judge = |step| {
            let seen = Observation { step, loss: 1.0, gradients: Some(&grads), ..Observation::default() };
            rules(&rules_of.judge(&seen, &case.subject()))
        };
        assert!(judge(0).contains(&"UnbalancedLabels"));
        assert!((1..9).all(|step| judge(step).is_empty()));
        assert_eq!(judge(9), ["VanishingGradient"]);
    }
}
