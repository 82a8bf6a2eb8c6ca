//! AutoTrainer (Zhang et al., ICSE 2021, and its extension of 2024): checks every third epoch, from 30% of the epochs.
//!
//! Conditions and order are those of its monitor. An evaluation counts as an epoch. The rules check the first
//! evaluation, the fourth, and so on, with the gradients and weights of the last tracked step instead of an extra pass
//! over a fixed batch. Gradient symptoms are stored, and reported once the accuracy does not converge. AutoTrainer then
//! stops and repairs the run; here the run continues.

use serde::{Deserialize, Serialize};

use super::{
    Sighting,
    measures::{self, LastReading},
};
use crate::diagnosis::{Evaluation, Observation, Subject};

/// Epochs between checks.
const GAP: u64 = 3;
/// Fraction of the epochs before which accuracy is not checked, and fraction before which layers are not.
const JUDGED: f64 = 0.3;
const PROBED: f64 = 0.5;
/// First kernel's gradient norm over the last's, and the first's gradient norm alone.
const VANISHING: (f64, f64) = (1e-3, 1e-4);
const EXPLODING: f64 = 70.0;
/// Fraction of gradient elements that are 0.
const DYING: f64 = 0.7;
/// Size of an accuracy swing, and maximum fraction of epochs with one.
const OSCILLATING: (f64, f64) = (0.03, 0.2);
/// Accuracy of a run that has converged (from the paper; its scripts use 0.7), and minimum gain between epochs.
const SLOW: (f64, f64) = (0.6, 0.01);
const LARGE_LOSS: f64 = 1e3;
/// Mean absolute output of a layer.
const ABNORMAL: f64 = 10.0;

pub(super) const NOT_JUDGED: [(&str, &str); 3] = [
    ("ImproperActivation", "outputs of a softmax; gradwatch computes the loss from the logits"),
    ("ImproperLoss", "a choice of losses; gradwatch has only cross-entropy"),
    ("Overfit", "nothing; AutoTrainer computes it but does not report it"),
];

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Autotrainer {
    last: LastReading,
    epochs: u64,
    train: Vec<f64>,
    validation: Vec<f64>,
    /// Whether any loss was NaN, infinite, or large.
    is_lost: bool,
    /// First value of each gradient symptom.
    dying: Option<f64>,
    exploding: Option<f64>,
    vanishing: Option<f64>,
    has_not_converged: bool,
    is_slow: bool,
}

impl Autotrainer {
    pub(super) fn judge(&mut self, seen: &Observation<'_>, subject: &Subject<'_>) -> Vec<Sighting> {
        self.last.add_observation(seen, subject);
        Vec::new()
    }

    pub(super) fn judge_evaluation(&mut self, seen: &Evaluation, subject: &Subject<'_>) -> Vec<Sighting> {
        self.epochs += 1;
        self.train.extend(Some(seen.train_accuracy).filter(|accuracy| accuracy.is_finite()));
        self.validation.extend(Some(seen.validation_accuracy).filter(|accuracy| accuracy.is_finite()));
        let largest = seen.train_loss.max(seen.validation_loss);
        self.is_lost |= measures::is_invalid(seen) || largest >= LARGE_LOSS;
        if !(self.epochs - 1).is_multiple_of(GAP) {
            return Vec::new();
        }
        let is_finite = self.look_at_gradients();
        if self.is_lost {
            let loss = Sighting::of_model("InvalidLoss", "loss", largest, LARGE_LOSS);
            let gradient = || {
                Sighting::of_model("ExplodingGradient", "norm of a non-finite gradient or weight", f64::NAN, EXPLODING)
            };
            return [Some(loss), (!is_finite).then(gradient)].into_iter().flatten().collect();
        }
        // If the planned length is unknown, the third epoch counts as 30% of the run.
        let planned = measures::planned_evaluations(subject).map_or(GAP as f64 / JUDGED, |planned| planned as f64);
        let share = self.epochs as f64 / planned;
        if share < JUDGED {
            return Vec::new();
        }
        let abnormal = self.abnormal_layer().filter(|_| share >= PROBED);
        let converging = self.look_at_accuracy(abnormal.is_some());
        [abnormal, converging, self.oscillating()].into_iter().flatten().collect()
    }

    /// Stores gradient symptoms. Returns whether all gradients and weights are finite.
    fn look_at_gradients(&mut self) -> bool {
        let LastReading { gradients, weights, .. } = &self.last;
        if gradients.iter().chain(weights).any(|tensor| !tensor.norm.is_finite()) {
            return false;
        }
        let mut kernels = gradients.iter().filter(|gradient| gradient.is_kernel);
        let first = kernels.next().map(|first| first.norm);
        if let (Some(first), Some(last)) = (first, kernels.next_back()) {
            // A checkpoint cannot store infinities.
            let ratio = (first / last.norm).min(f64::MAX);
            let vanishes = ratio < VANISHING.0 && first < VANISHING.1;
            self.vanishing = self.vanishing.or(vanishes.then_some(ratio));
            self.exploding = self.exploding.or((first / last.norm > EXPLODING).then_some(ratio));
        }
        let zeros = gradients.iter().map(|gradient| gradient.zeros).sum::<Option<u64>>();
        let elements = gradients.iter().map(|gradient| gradient.elements).sum::<u64>();
        if let Some(zeros) = zeros.filter(|_| elements > 0) {
            let share = zeros as f64 / elements as f64;
            self.dying = self.dying.or((share >= DYING).then_some(share));
        }
        true
    }

    /// Returns the first matching symptom if the accuracy does not converge.
    fn look_at_accuracy(&mut self, is_abnormal: bool) -> Option<Sighting> {
        if self.train.is_empty() || self.validation.is_empty() {
            return None;
        }
        let best = |accuracies: &[f64]| accuracies.iter().copied().fold(0.0, f64::max);
        let gain = |accuracies: &[f64]| accuracies.windows(2).map(|pair| pair[1] - pair[0]).fold(0.0, f64::max);
        let best = best(&self.train).max(best(&self.validation));
        let gain = gain(&self.train).max(gain(&self.validation));
        self.has_not_converged |= best < SLOW.0;
        self.is_slow |= gain < SLOW.1;
        if !self.has_not_converged && !self.is_slow {
            return None;
        }
        let of_gradients = [
            ("DyingRelu", "share of gradient elements that are 0", self.dying, DYING),
            ("ExplodingGradient", "first |g| / last |g|", self.exploding, EXPLODING),
            ("VanishingGradient", "first |g| / last |g|", self.vanishing, VANISHING.0),
        ];
        let of_gradients = of_gradients
            .into_iter()
            .find_map(|(rule, meaning, seen, bound)| Some(Sighting::of_model(rule, meaning, seen?, bound)));
        let is_slow = self.has_not_converged && self.is_slow && !is_abnormal;
        let slow = || Sighting::of_model("SlowConvergence", "largest accuracy gain between epochs", gain, SLOW.1);
        of_gradients.or_else(|| is_slow.then(slow))
    }

    /// Counts swings of the training accuracy: the n-th local maximum minus the n-th local minimum.
    fn oscillating(&self) -> Option<Sighting> {
        let turns = |is_turn: fn(f64, f64, f64) -> bool| {
            self.train.windows(3).filter(move |three| is_turn(three[0], three[1], three[2])).map(|three| three[1])
        };
        let highs = turns(|before, here, after| here >= before && here >= after);
        let lows = turns(|before, here, after| here <= before && here <= after);
        let swings = highs.zip(lows).filter(|(high, low)| high - low >= OSCILLATING.0).count() as f64;
        let share = swings / self.train.len().max(1) as f64;
        let meaning = "share of epochs with an accuracy swing";
        (share >= OSCILLATING.1).then(|| Sighting::of_model("OscillatingLoss", meaning, share, OSCILLATING.1))
    }

    fn abnormal_layer(&self) -> Option<Sighting> {
        let layer = self.last.layers.iter().find(|layer| layer.mean_abs >= ABNORMAL)?;
        Some(Sighting::of_model("AbnormalData", "mean |output|", layer.mean_abs, ABNORMAL).at(&layer.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        diagnosis::{
            fixture::layer,
            rule_sets::fixture::{epoch, of, rules, run_of, tensor},
        },
        statistics::{LayerStatistics, TensorStatistics},
    };

    /// Checks a run of ten epochs with these accuracies, and with gradients of a first and a last kernel.
    fn judged(gradients: [TensorStatistics; 2], accuracies: &[f64]) -> Vec<Vec<&'static str>> {
        let (case, mut rules_of) = (run_of(10, ""), Autotrainer::default());
        let grads = of(gradients.to_vec());
        rules_of.judge(&Observation { gradients: Some(&grads), ..Observation::default() }, &case.subject());
        let judge = |(index, &accuracy): (usize, &f64)| {
            rules(&rules_of.judge_evaluation(&epoch(index as u64, 1.0, accuracy), &case.subject()))
        };
        accuracies.iter().enumerate().map(judge).collect()
    }

    /// The norms are ten times these values.
    fn kernels(first: f64, last: f64) -> [TensorStatistics; 2] {
        [tensor("a.weight", first), tensor("z.weight", last)]
    }

    #[test]
    fn gradients_are_told_at_the_fourth_epoch_of_ten_and_only_of_a_run_that_does_not_converge() {
        let vanishing = kernels(0.9e-5, 1.0);
        let bad = judged(vanishing.clone(), &[0.1, 0.2, 0.3, 0.4, 0.5]);
        let none = Vec::<&str>::new;
        assert_eq!(bad, [none(), none(), none(), vec!["VanishingGradient"], none()]);
        assert!(judged(vanishing, &[0.1, 0.3, 0.5, 0.65]).concat().is_empty());
    }

    #[test]
    fn a_gradient_vanishes_where_ratio_and_norm_are_small_and_explodes_by_the_ratio_alone() {
        let slow = [0.1, 0.2, 0.3, 0.4];
        // A ratio of 0.9e-4 with a norm of 9e-4.
        assert!(judged(kernels(0.9e-4, 1.0), &slow).concat().is_empty());
        // A norm of 9e-6 with a ratio of 0.009.
        assert!(judged(kernels(0.9e-6, 1e-4), &slow).concat().is_empty());
        assert_eq!(judged(kernels(71.0, 1.0), &slow).concat(), ["ExplodingGradient"]);
        assert!(judged(kernels(69.0, 1.0), &slow).concat().is_empty());
    }

    #[test]
    fn zeros_come_before_what_they_make_of_the_ratio() {
        let with_zeros = |zeros| {
            let mut gradients = kernels(71.0, 1.0);
            gradients[1].distribution.as_mut().unwrap().zeros = zeros;
            gradients[0].distribution.as_mut().unwrap().zeros = 60;
            judged(gradients, &[0.1, 0.2, 0.3, 0.4]).concat()
        };
        // 60 + 80 of 200 elements.
        assert_eq!(with_zeros(80), ["DyingRelu"]);
        assert_eq!(with_zeros(79), ["ExplodingGradient"]);
    }

    #[test]
    fn accuracy_that_is_low_and_gains_nothing_converges_slowly() {
        let healthy = kernels(1.0, 1.0);
        assert_eq!(judged(healthy.clone(), &[0.1, 0.105, 0.11, 0.11]).concat(), ["SlowConvergence"]);
        assert!(judged(healthy.clone(), &[0.1, 0.105, 0.11, 0.13]).concat().is_empty());
        assert!(judged(healthy, &[0.65, 0.65, 0.65, 0.65]).concat().is_empty());
    }

    #[test]
    fn swings_of_a_fifth_of_the_epochs_oscillate() {
        let healthy = kernels(1.0, 1.0);
        // Maxima of 0.8 and 0.8, a minimum of 0.7: one swing in four epochs.
        assert_eq!(judged(healthy.clone(), &[0.7, 0.8, 0.7, 0.8]).concat(), ["OscillatingLoss"]);
        assert!(judged(healthy, &[0.7, 0.72, 0.7, 0.8]).concat().is_empty());
    }

    #[test]
    fn losses_that_are_lost_are_told_at_any_look() {
        let (case, mut rules_of) = (run_of(100, ""), Autotrainer::default());
        assert!(rules_of.judge_evaluation(&epoch(1, 999.0, 0.1), &case.subject()).is_empty());
        assert!(rules_of.judge_evaluation(&epoch(2, 1000.0, 0.1), &case.subject()).is_empty());
        assert!(rules_of.judge_evaluation(&epoch(3, 1.0, 0.1), &case.subject()).is_empty());
        let grads = of(vec![tensor("a.weight", f64::NAN)]);
        rules_of.judge(&Observation { gradients: Some(&grads), ..Observation::default() }, &case.subject());
        let judged = rules_of.judge_evaluation(&epoch(4, 1.0, 0.1), &case.subject());
        assert_eq!(rules(&judged), ["InvalidLoss", "ExplodingGradient"]);
    }

    #[test]
    fn layers_are_probed_from_half_of_the_epochs_on() {
        let judged = |mean| {
            let (case, mut rules_of) = (run_of(10, ""), Autotrainer::default());
            let layers = [LayerStatistics { mean, rms: 20.0, ..layer("one") }];
            rules_of.judge(&Observation { layers: &layers, ..Observation::default() }, &case.subject());
            let judge =
                |index| rules(&rules_of.judge_evaluation(&epoch(index, 1.0, 0.1 * index as f64), &case.subject()));
            (1..=7).map(judge).position(|told| told == ["AbnormalData"])
        };
        assert_eq!((judged(10.0), judged(9.9)), (Some(6), None));
    }

    #[test]
    fn where_the_length_of_a_run_is_not_known_the_third_epoch_is_early_enough() {
        let facts = crate::diagnosis::Facts::default();
        let (subject, mut rules_of) = (Subject { config: None, facts: &facts }, Autotrainer::default());
        let mut judge = |index| rules(&rules_of.judge_evaluation(&epoch(index, 1.0, 0.1), &subject));
        assert_eq!((1..=4).map(&mut judge).position(|told| told == ["SlowConvergence"]), Some(3));
    }
}
