//! TheDeepChecker (Ben Braiek and Khomh, TOSEM 2022): checks before training, then at every tenth tracked step.
//!
//! Conditions are those of its checkers and hooks. The first tracked step stands for its checks before training.
//! Tracked steps stand for its iterations, and every tenth one ends a period. The tool trains on a single batch; here
//! the checks cover the whole run.

mod before;
mod layers;
mod training;

use serde::{Deserialize, Serialize};

use super::Sighting;
use crate::diagnosis::{Observation, Subject};

pub(super) const NOT_JUDGED: [(&str, &str); 9] = [
    ("SumReduction", "losses of batches of several sizes"),
    ("GradientCheck", "finite differences of the loss"),
    ("SingleBatchOverfit", "an extra training run on one batch"),
    ("BatchIndependence", "the gradient of one output with respect to another image"),
    ("SaturatedActivation", "a histogram of each unit's outputs"),
    ("ActivationRange", "the smallest and largest output of each layer"),
    ("NonRepresentativeLoss", "the accuracy of each batch"),
    ("LabelCorruption, AugmentationShift", "extra training runs with other data"),
    ("TrainEvalSwitch", "outputs of the same batch in both modes"),
];

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Deepchecker {
    readings: u64,
    training: training::Training,
}

impl Deepchecker {
    /// Tracked steps per period.
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
