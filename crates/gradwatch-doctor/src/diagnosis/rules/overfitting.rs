//! Memorized training images: validation falls behind training, or gets worse.

use serde::{Deserialize, Serialize};

use super::{Need, Rule, RuleContext, Ways, running_statistics::explains_gap};
use crate::{
    config::{Augment, RuleName},
    diagnosis::{Evaluation, Figure, Remedy, Severity, Symptom},
    number::Rounded,
};

/// Validation loss over its minimum.
pub(in super::super) const RISE: f64 = 1.25;
/// Above this ratio, the best weights were much earlier.
const CRITICAL: f64 = 2.0;
/// Required consecutive evaluations. With batch normalization, a single evaluation may be an outlier.
const LOOKS: u32 = 3;
/// Rise of the validation loss below which it costs nothing, as a share of the loss of a guess: a run that has learned
/// everything has losses near 0, which double by chance.
const NOTICEABLE: f64 = 0.01;
/// Training accuracy below which nothing is memorized yet.
const KNOWN: f64 = 0.9;
/// Training accuracy and its lead over validation for which one evaluation is enough.
const BY_HEART: f64 = 0.95;
const AHEAD: f64 = 0.15;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(in super::super) struct Overfitting {
    /// Lowest validation loss and its step.
    lowest: Option<(f64, u64)>,
    /// Lowest training loss.
    train: Option<f64>,
    looks: u32,
}

impl Rule for Overfitting {
    fn name(&self) -> RuleName {
        RuleName::Overfitting
    }

    fn needs(&self) -> Ways {
        &[&[Need::Evaluations]]
    }

    fn start_task(&mut self) {
        *self = Self::default();
    }

    fn causes(&self) -> &'static [RuleName] {
        &[RuleName::WrongLoss, RuleName::LabelNoise, RuleName::DistributionShift]
    }

    fn judge_evaluation(&mut self, seen: &Evaluation, context: &RuleContext<'_>) -> Option<Symptom> {
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
        let is_known = seen.train_accuracy.is_nan() || seen.train_accuracy > KNOWN;
        let is_noticeable = loss - lowest > NOTICEABLE * context.guess();
        let rises = rise > context.thresholds.overfitting && is_noticeable && is_falling && is_known;
        self.looks = if rises { self.looks + 1 } else { 0 };
        let ahead = seen.train_accuracy - seen.validation_accuracy;
        let is_of_statistics = seen.batch_statistics_accuracy.is_some_and(|by_batch| explains_gap(seen, by_batch));
        let is_by_heart = seen.train_accuracy > BY_HEART && ahead > AHEAD && !is_of_statistics;
        if !is_by_heart && self.looks < LOOKS {
            return None;
        }
        let severity = if rise > CRITICAL { Severity::Critical } else { Severity::Warning };
        let mut figures =
            vec![Figure { name: "validation loss over its minimum".into(), seen: rise, expected: "about 1".into() }];
        figures.extend(ahead.is_finite().then(|| Figure {
            name: "training accuracy minus validation accuracy".into(),
            seen: ahead,
            expected: format!("{AHEAD} or less"),
        }));
        let cause = if is_by_heart {
            format!(
                "the network classifies {:.0}% of the training images correctly, but only {:.0}% of the validation \
                 images: it memorizes the training images",
                100.0 * seen.train_accuracy,
                100.0 * seen.validation_accuracy
            )
        } else {
            let [lowest, loss, train] = [lowest, loss, train].map(Rounded);
            format!(
                "the validation loss rose from its minimum of {lowest:.3} at step {step} to {loss:.3}, while the \
                 training loss fell to {train:.3}: the network memorizes the training images"
            )
        };
        Some(Symptom { severity, layers: Vec::new(), ranks: Vec::new(), figures, cause, remedies: remedies(context) })
    }
}

fn remedies(context: &RuleContext<'_>) -> Vec<Remedy> {
    let mut remedies = vec![Remedy::config("early_stopping.patience", 3usize, "ends the run soon after its best")];
    let Some(config) = context.config else { return remedies };
    let Augment { random_crop, hflip, .. } = config.data.augment;
    if random_crop == 0 && hflip == 0.0 {
        remedies.push(Remedy::config("data.augment.random_crop", 2usize, "varies the training images"));
    }
    if config.model.dropout == 0.0 {
        remedies.push(Remedy::config("model.dropout", 0.2, "keeps units from relying on each other"));
    }
    remedies
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::fixture::{Case, evaluation};

    fn judged(losses: &[(f64, f64)]) -> Vec<Option<Severity>> {
        let (case, mut rule) = (Case::new(""), Overfitting::default());
        let judge = |&(train_loss, validation_loss): &(f64, f64)| {
            let seen = Evaluation { train_loss, validation_loss, ..evaluation(100) };
            rule.judge_evaluation(&seen, &case.context()).map(|symptom| symptom.severity)
        };
        losses.iter().map(judge).collect()
    }

    #[test]
    fn a_validation_loss_that_rises_at_three_evaluations_while_training_gains_is_told() {
        let rises = [(1.0, 1.0), (0.5, 0.8), (0.2, 1.1), (0.1, 1.2), (0.09, 1.2), (0.05, 1.9)];
        assert_eq!(judged(&rises)[3..], [None, Some(Severity::Warning), Some(Severity::Critical)]);
        // If both losses rise, the run diverges, which is another problem.
        assert_eq!(judged(&[(1.0, 1.0), (0.5, 0.8), (0.9, 1.3), (1.2, 1.4)]), [None; 4]);
        assert_eq!(judged(&[(1.0, 1.0), (0.5, 0.8), (0.4, 0.9), (0.3, 0.85)]), [None; 4]);
        // A perfect run, whose losses are next to nothing.
        let perfect = [(1e-3, 1e-4), (9e-4, 3e-4), (8e-4, 4e-4), (7e-4, 5e-4), (6e-4, 6e-4)];
        assert_eq!(judged(&perfect), [None; 5]);
    }

    #[test]
    fn losses_alone_are_judged_without_figures_of_an_unknown_accuracy() {
        let (case, mut rule) = (Case::new(""), Overfitting::default());
        let judge = |(train_loss, validation_loss): (f64, f64)| {
            let (train_accuracy, validation_accuracy) = (f64::NAN, f64::NAN);
            let seen =
                Evaluation { train_loss, validation_loss, train_accuracy, validation_accuracy, ..evaluation(100) };
            rule.judge_evaluation(&seen, &case.context())
        };
        let rises = [(1.0, 1.0), (0.5, 0.8), (0.2, 1.1), (0.1, 1.2), (0.09, 1.2)];
        let told = rises.map(judge);
        let figures = &told[4].as_ref().unwrap().figures;
        assert!(figures.len() == 1 && figures[0].seen > 1.4, "{figures:?}");
    }

    #[test]
    fn training_images_that_are_known_far_better_than_others_are_told_at_once() {
        let is_told = |train: f64, validation: f64| {
            let losses = Evaluation { train_loss: 0.1, validation_loss: 1.0, ..evaluation(100) };
            let seen = Evaluation { train_accuracy: train, validation_accuracy: validation, ..losses };
            Overfitting::default().judge_evaluation(&seen, &Case::new("").context()).is_some()
        };
        assert!(is_told(0.97, 0.8) && !is_told(0.97, 0.85) && !is_told(0.9, 0.6));
    }
}
