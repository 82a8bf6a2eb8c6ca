//! A training loss that stays where a guess is: the net learns nothing of the images.
//!
//! A plateau further down may be the end of what there is to learn, or wait for a lower learning rate; one at the loss of a guess
//! is neither.

use serde::{Deserialize, Serialize};

use super::{Known, Rule};
use crate::{
    config::RuleName,
    diagnosis::{Figure, Observation, Remedy, Severity, Symptom},
};

/// Share by which the loss has to fall over [`BLOCKS`] blocks.
pub(in super::super) const FALL: f64 = 0.02;
/// Share of the loss of a guess.
const CHANCE: f64 = 0.95;
/// Blocks of ten readings that are looked at, and of which the first and the last so many are compared.
const BLOCKS: usize = 20;
const PART: usize = 5;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(in super::super) struct LossPlateau {}

/// The level of a loss that has stayed where a guess is.
pub(in super::super) fn level(known: &Known<'_>) -> Option<f64> {
    if !known.course.has_closed {
        return None;
    }
    let level = known.course.level(PART).filter(|level| *level > CHANCE * known.guess())?;
    let fall = known.course.fall(BLOCKS, PART)?;
    (fall.abs() < known.thresholds.loss_plateau).then_some(level)
}

impl Rule for LossPlateau {
    fn name(&self) -> RuleName {
        RuleName::LossPlateau
    }

    fn judge(&mut self, _seen: &Observation<'_>, known: &Known<'_>) -> Option<Symptom> {
        let level = level(known)?;
        let figures = vec![Figure {
            name: "loss of the last 50 readings".into(),
            seen: level,
            expected: format!("below that of a guess, {:.3}, and falling", known.guess()),
        }];
        let cause = format!(
            "the loss has stayed at {level:.3} for 200 readings, which is what a guess costs: nothing is learned"
        );
        let mut remedies = Vec::new();
        if known.has_no_normalization() {
            remedies.push(Remedy::new("model.normalization = \"batch\"", "signals and gradients keep their size"));
        }
        remedies.extend(Remedy::higher_learning_rate(known, "a start is slow where gradients are small"));
        Some(Symptom { severity: Severity::Warning, layers: Vec::new(), figures, cause, remedies })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::{Facts, fixture::Case};

    #[test]
    fn a_loss_that_stays_at_that_of_a_guess_for_200_readings_is_told() {
        let is_told = |losses: Vec<f64>| {
            let case = Case::with_losses(losses);
            LossPlateau::default().judge(&Observation::default(), &case.known()).is_some()
        };
        assert!(is_told(vec![2.31; 200]));
        assert!(!is_told(vec![2.31; 190]));
        // A plateau further down, and a loss that has begun to fall.
        assert!(!is_told(vec![1.5; 300]));
        assert!(!is_told((0..200).map(|reading| 2.4 - 0.001 * f64::from(reading)).collect()));
    }

    #[test]
    fn of_unknown_classes_what_the_run_began_with_is_that_of_a_guess_and_that_of_ten_at_least() {
        let is_told = |losses: Vec<f64>| {
            let case = Case { facts: Facts::default(), ..Case::with_losses(losses) };
            LossPlateau::default().judge(&Observation::default(), &case.known()).is_some()
        };
        assert!(is_told(vec![6.9; 200]) && is_told(vec![2.31; 200]));
        // A thousand classes of which much was learned, and a run that was not seen from its beginning.
        assert!(!is_told([vec![6.9; 10], vec![2.4; 300]].concat()));
        assert!(!is_told(vec![0.3; 300]));
    }
}
