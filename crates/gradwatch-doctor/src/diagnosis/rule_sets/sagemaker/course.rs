//! SageMaker's rules for the first sampled steps, the loss, and the evaluations.

use serde::{Deserialize, Serialize};

use super::sighting;
use crate::{
    config::{Activation, SagemakerRule},
    diagnosis::{
        Evaluation, Observation, Subject,
        rule_sets::{Sighting, measures::spread},
    },
};

/// State of `PoorWeightInitialization` over the first sampled steps.
///
/// The variance of an activation's inputs is not measured. For symmetric inputs, the mean square of (leaky) ReLU
/// outputs is half that of the inputs, so the ratios between layers are the same. For other activations, this condition
/// is not checked.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Initialization {
    looks: u64,
    best: Option<f64>,
    /// Consecutive checks without a new lowest loss.
    in_a_row: u64,
}

impl Initialization {
    pub(super) fn judge(
        &mut self,
        rule: &SagemakerRule,
        seen: &Observation<'_>,
        subject: &Subject<'_>,
    ) -> Option<Sighting> {
        if self.looks >= rule.count("steps")? {
            return None;
        }
        self.looks += 1;
        let stays = self.stays(rule, seen.loss);
        uneven(rule, seen, subject).or_else(|| narrow(rule, seen)).or(stays)
    }

    fn stays(&mut self, rule: &SagemakerRule, loss: f64) -> Option<Sighting> {
        if !loss.is_finite() {
            return None;
        }
        let is_better = self.best.is_none_or(|best| loss < best);
        self.in_a_row = if is_better { 0 } else { self.in_a_row + 1 };
        self.best = if is_better { Some(loss) } else { self.best };
        let patience = rule.count("patience")?;
        let meaning = "checks without a lower loss";
        (self.in_a_row >= patience).then(|| sighting(rule, meaning, self.in_a_row as f64, patience as f64))
    }
}

fn uneven(rule: &SagemakerRule, seen: &Observation<'_>, subject: &Subject<'_>) -> Option<Sighting> {
    if !matches!(subject.activation()?, Activation::Relu | Activation::LeakyRelu) {
        return None;
    }
    let squares = || seen.layers.iter().map(|layer| layer.rms.powi(2));
    let ratio = squares().reduce(f64::max)? / squares().reduce(f64::min)?;
    let bound = rule.number("threshold")?;
    (ratio > bound).then(|| sighting(rule, "largest / smallest variance of the pre-activations", ratio, bound))
}

fn narrow(rule: &SagemakerRule, seen: &Observation<'_>) -> Option<Sighting> {
    let gradients = seen.gradients?.parameters.iter().filter(|gradient| gradient.is_finite());
    let ranges = gradients.filter_map(|gradient| Some((gradient, spread(gradient.distribution.as_ref()?))));
    let (narrowest, range) = ranges.min_by(|(_, one), (_, other)| one.total_cmp(other))?;
    let bound = rule.number("distribution_range")?;
    let meaning = "5th to 95th percentile of a gradient";
    (range < bound).then(|| sighting(rule, meaning, range, bound).at(&narrowest.name))
}

/// Last loss to compare with.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Loss {
    last: Option<(u64, f64)>,
}

impl Loss {
    /// A falling loss must fall by at least `diff_percent`; a rising one may rise by at most
    /// `increase_threshold_percent`.
    pub(super) fn judge(&mut self, rule: &SagemakerRule, seen: &Observation<'_>) -> Option<Sighting> {
        let (steps, least) = (rule.count("num_steps")?, rule.number("diff_percent")?);
        let most = rule.number("increase_threshold_percent")?;
        if !seen.loss.is_finite() {
            return None;
        }
        let Some((_, before)) = self.last.filter(|(step, _)| seen.step >= step + steps) else {
            self.last = self.last.or(Some((seen.step, seen.loss)));
            return None;
        };
        self.last = Some((seen.step, seen.loss));
        let fall = 100.0 * (before - seen.loss) / before;
        if fall >= 0.0 && fall < least {
            return Some(sighting(rule, "loss decrease in percent", fall, least));
        }
        (-fall > most).then(|| sighting(rule, "loss increase in percent", -fall, most))
    }
}

/// Consecutive evaluations with a validation loss too far above the training loss.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Overfit {
    in_a_row: u64,
}

impl Overfit {
    pub(super) fn judge(&mut self, rule: &SagemakerRule, seen: &Evaluation) -> Option<Sighting> {
        let bound = rule.number("ratio_threshold")?;
        let ratio = (seen.validation_loss - seen.train_loss) / seen.train_loss;
        self.in_a_row = if ratio > bound { self.in_a_row + 1 } else { 0 };
        let meaning = "(validation loss - training loss) / training loss";
        (self.in_a_row >= rule.count("patience")?).then(|| sighting(rule, meaning, ratio, bound))
    }
}

/// Best losses for `Overtraining`, and the number of evaluations since. The rule raises an alarm if either stays the
/// same.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Overtraining {
    train: Best,
    validation: Best,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Best {
    loss: Option<f64>,
    in_a_row: u64,
}

impl Overtraining {
    pub(super) fn judge(&mut self, rule: &SagemakerRule, seen: &Evaluation) -> Option<Sighting> {
        let delta = rule.number("delta")?;
        let (train, validation) = (rule.count("patience_train")?, rule.count("patience_validation")?);
        let of_train = self.train.add(seen.train_loss, delta);
        let of_validation = self.validation.add(seen.validation_loss, delta);
        let judged = |meaning, looks: u64, patience: u64| {
            (looks >= patience).then(|| sighting(rule, meaning, looks as f64, patience as f64))
        };
        judged("evaluations without a better training loss", of_train, train)
            .or_else(|| judged("evaluations without a better validation loss", of_validation, validation))
    }
}

impl Best {
    fn add(&mut self, loss: f64, delta: f64) -> u64 {
        if loss.is_nan() {
            return 0;
        }
        let is_better = loss.is_finite() && self.loss.is_none_or(|best| loss < best - delta);
        self.loss = if is_better { Some(loss) } else { self.loss };
        self.in_a_row = if is_better { 0 } else { self.in_a_row + 1 };
        self.in_a_row
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::SagemakerRuleName as Name,
        diagnosis::{
            fixture::{Case, evaluation, layer},
            rule_sets::fixture::{flat, of, tensor},
        },
        statistics::LayerStatistics,
    };

    fn rule(name: Name) -> SagemakerRule {
        SagemakerRule::new(name).unwrap()
    }

    /// First check of these layers and this gradient.
    fn first_look(more: &str, rms: [f64; 2], gradient: f64) -> Option<&'static str> {
        let layers = rms.map(|rms| LayerStatistics { rms, ..layer("one") });
        let grads = of(vec![tensor("w", 1.0), tensor("v", gradient)]);
        let seen = Observation { loss: 2.3, layers: &layers, gradients: Some(&grads), ..Observation::default() };
        let judged =
            Initialization::default().judge(&rule(Name::PoorWeightInitialization), &seen, &Case::new(more).subject());
        judged.map(|judged| judged.meaning)
    }

    #[test]
    fn weights_are_drawn_poorly_where_layers_differ_or_gradients_are_narrow() {
        assert_eq!(first_look("", [1.0, 3.1], 1.0), None);
        // 3.2^2 = 10.24.
        let uneven = "largest / smallest variance of the pre-activations";
        assert_eq!(first_look("", [1.0, 3.2], 1.0), Some(uneven));
        assert_eq!(first_look("model.activation = \"tanh\"", [1.0, 3.2], 1.0), None);
        // All in the octave of 2^-12, both signs: -1.9 to 1.9 * 2^-12 is 0.00093; for 2^-11 it is twice that.
        assert_eq!(first_look("", [1.0, 1.0], 2f64.powi(-12)), Some("5th to 95th percentile of a gradient"));
        assert_eq!(first_look("", [1.0, 1.0], 2f64.powi(-11)), None);
    }

    #[test]
    fn of_the_first_ten_looks_five_without_a_lower_loss_are_told() {
        let judged = |losses: &[f64]| {
            let (mut rule_of, case, grads) = (Initialization::default(), Case::new(""), flat(1.0));
            let judge = |&loss: &f64| {
                let seen = Observation { loss, gradients: Some(&grads), ..Observation::default() };
                rule_of.judge(&rule(Name::PoorWeightInitialization), &seen, &case.subject()).is_some()
            };
            losses.iter().map(judge).position(|judged| judged)
        };
        assert_eq!(judged(&[2.0; 8]), Some(5));
        assert_eq!(judged(&[2.0, 2.0, 2.0, 2.0, 2.0, 1.9, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0]), None);
    }

    #[test]
    fn a_loss_has_to_fall_from_look_to_look() {
        let judged = |losses: &[f64]| {
            let mut loss_of = Loss::default();
            let judge = |(look, &loss): (usize, &f64)| {
                let seen = Observation { step: 500 * look as u64, loss, ..Observation::default() };
                loss_of.judge(&rule(Name::LossNotDecreasing), &seen).map(|judged| judged.bound)
            };
            losses.iter().enumerate().map(judge).collect::<Vec<_>>()
        };
        assert_eq!(judged(&[2.0, 1.99, 1.9895, 2.0]), [None, None, Some(0.1), None]);
        assert_eq!(judged(&[2.0, 2.09, 2.2]), [None, None, Some(5.0)]);
    }

    #[test]
    fn losses_are_compared_ten_steps_apart() {
        let mut loss_of = Loss::default();
        let mut judged = |step, loss| {
            loss_of
                .judge(&rule(Name::LossNotDecreasing), &Observation { step, loss, ..Observation::default() })
                .is_some()
        };
        assert!(!judged(0, 2.0) && !judged(9, 2.0) && judged(10, 2.0) && !judged(19, 2.0) && judged(20, 2.0));
    }

    #[test]
    fn overfit_and_overtraining_count_evaluations() {
        let mut overfit = Overfit::default();
        let mut judged = |train_loss, validation_loss| {
            let seen = Evaluation { train_loss, validation_loss, ..evaluation(1) };
            overfit.judge(&rule(Name::Overfit), &seen).is_some()
        };
        assert!(!judged(1.0, 1.09) && judged(1.0, 1.11) && !judged(f64::NAN, 1.0));
        let judged = |train: fn(u32) -> f64, validation: fn(u32) -> f64| {
            let mut overtraining = Overtraining::default();
            (0..20).position(|look| {
                let seen = Evaluation { train_loss: train(look), validation_loss: validation(look), ..evaluation(1) };
                overtraining.judge(&rule(Name::Overtraining), &seen).is_some()
            })
        };
        let (falls, stays) = (|look| 2.0 - 0.02 * f64::from(look), |look| 2.0 - 0.001 * f64::from(look % 3));
        assert_eq!((judged(falls, falls), judged(stays, falls), judged(falls, stays)), (None, Some(5), Some(10)));
    }
}
