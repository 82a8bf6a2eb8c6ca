//! A validation loss that rises over its lowest while the training loss goes on falling.

use serde::{Deserialize, Serialize};

use super::{Known, Rule};
use crate::{
    config::{Augment, RuleName},
    diagnosis::{Evaluation, Figure, Remedy, Severity, Symptom},
};

/// Validation loss over its lowest.
pub(in super::super) const RISE: f64 = 1.25;
/// So much of it, the best weights are long gone.
const CRITICAL: f64 = 2.0;
/// Evaluations in a row.
const LOOKS: u32 = 2;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(in super::super) struct Overfitting {
    /// The lowest validation loss, and its step.
    lowest: Option<(f64, u64)>,
    /// The lowest training loss.
    train: Option<f64>,
    looks: u32,
}

impl Rule for Overfitting {
    fn name(&self) -> RuleName {
        RuleName::Overfitting
    }

    fn judge_evaluation(&mut self, seen: &Evaluation, known: &Known<'_>) -> Option<Symptom> {
        let (loss, train) = (seen.validation_loss, seen.train_loss);
        if !(loss.is_finite() && train.is_finite()) {
            return None;
        }
        let is_falling = self.train.is_none_or(|lowest| train <= lowest);
        self.train = Some(self.train.map_or(train, |lowest| lowest.min(train)));
        let (lowest, step) = *self.lowest.get_or_insert((loss, seen.step));
        if loss < lowest {
            self.lowest = Some((loss, seen.step));
        }
        let rise = loss / lowest;
        self.looks = if rise > known.thresholds.overfitting && is_falling { self.looks + 1 } else { 0 };
        if self.looks < LOOKS {
            return None;
        }
        let severity = if rise > CRITICAL { Severity::Critical } else { Severity::Warning };
        let figures = vec![
            Figure { name: "validation loss over its lowest".into(), seen: rise, expected: "about 1".into() },
            Figure {
                name: "training loss".into(),
                seen: train,
                expected: format!("about the validation loss, {loss:.3}"),
            },
        ];
        let cause = format!(
            "the validation loss was lowest at step {step} with {lowest:.3} and has risen to {loss:.3}, while the training loss fell to \
             {train:.3}: the training images are learned by heart"
        );
        Some(Symptom { severity, layers: Vec::new(), figures, cause, remedies: remedies(known) })
    }
}

fn remedies(known: &Known<'_>) -> Vec<Remedy> {
    let mut remedies = vec![Remedy::new("early_stopping.patience = 3", "ends the run soon after its best")];
    let Some(config) = known.config else { return remedies };
    let Augment { random_crop, hflip, .. } = config.data.augment;
    if random_crop == 0 && hflip == 0.0 {
        remedies.push(Remedy::new("data.augment.random_crop = 2", "images that are never twice the same"));
    }
    if config.model.dropout == 0.0 {
        remedies.push(Remedy::new("model.dropout = 0.2", "no unit can count on another"));
    }
    remedies
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::fixture::{Case, evaluation};

    fn told(losses: &[(f64, f64)]) -> Vec<Option<Severity>> {
        let (case, mut rule) = (Case::new(""), Overfitting::default());
        let judge = |&(train_loss, validation_loss): &(f64, f64)| {
            let seen = Evaluation { train_loss, validation_loss, ..evaluation(100) };
            rule.judge_evaluation(&seen, &case.known()).map(|symptom| symptom.severity)
        };
        losses.iter().map(judge).collect()
    }

    #[test]
    fn a_validation_loss_that_rises_at_two_evaluations_while_training_gains_is_told() {
        let rises = [(1.0, 1.0), (0.5, 0.8), (0.2, 1.1), (0.1, 1.2), (0.05, 1.9)];
        assert_eq!(told(&rises), [None, None, None, Some(Severity::Warning), Some(Severity::Critical)]);
        // Both rise: the run diverges, which is something else.
        assert_eq!(told(&[(1.0, 1.0), (0.5, 0.8), (0.9, 1.3), (1.2, 1.4)]), [None; 4]);
        assert_eq!(told(&[(1.0, 1.0), (0.5, 0.8), (0.4, 0.9), (0.3, 0.85)]), [None; 4]);
    }
}
