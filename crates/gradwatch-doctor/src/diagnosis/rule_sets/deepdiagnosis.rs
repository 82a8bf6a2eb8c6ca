//! DeepDiagnosis (Wardat et al., ICSE 2022): checks every epoch, and stops at the first symptom.
//!
//! Conditions and order are those of its callback: layers in the order of the forward pass, then loss and accuracy,
//! then gradients and weights from the last layer back. An evaluation counts as an epoch, with the last tracked step
//! instead of a pass over the first batch. The tool checks whether more than half of the inputs of tanh or sigmoid are
//! beyond 5; here the fraction beyond 3 (tanh) or 6 (sigmoid) is used instead.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    Sighting,
    measures::{self, LastReading, Layer, Tensor},
};
use crate::{
    config::Activation,
    diagnosis::{Evaluation, Observation, Subject},
};

/// Epochs without a change after which a tensor or loss is reported, and epochs for an accuracy.
const UNCHANGED: u64 = 5;
const SAME_ACCURACY: u64 = 20;
/// Fraction of a layer's ReLU outputs at 0.
const DEAD: f64 = 0.7;
/// Fraction of saturated inputs.
const SATURATED: f64 = 0.5;
const VANISHING: f64 = 1e-7;

pub(super) const NOT_JUDGED: [(&str, &str); 2] = [
    ("OutOfRange", "outputs of a softmax; gradwatch computes the loss from the logits"),
    ("FixTree", "the smallest and largest input; symptoms are reported without the change that the tool suggests"),
];

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Deepdiagnosis {
    last: LastReading,
    epochs: u64,
    has_spoken: bool,
    series: BTreeMap<String, Series>,
}

/// Values of one statistic since its last check.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Series {
    first: f64,
    is_constant: bool,
}

impl Deepdiagnosis {
    pub(super) fn judge(&mut self, seen: &Observation<'_>, subject: &Subject<'_>) -> Vec<Sighting> {
        if !self.has_spoken {
            self.last.add_observation(seen, subject);
        }
        Vec::new()
    }

    pub(super) fn judge_evaluation(&mut self, seen: &Evaluation, subject: &Subject<'_>) -> Vec<Sighting> {
        if self.has_spoken {
            return Vec::new();
        }
        self.epochs += 1;
        self.follow(seen);
        let is_fifth = self.epochs.is_multiple_of(UNCHANGED);
        let is_last = measures::planned_evaluations(subject) == Some(self.epochs);
        let activation = subject.activation();
        let symptom = (self.last.layers.iter())
            .find_map(|layer| of_layer(layer, activation, is_last, is_fifth))
            .or_else(|| self.unchanged_layer().filter(|_| is_fifth))
            .or_else(|| self.of_loss(seen, is_fifth))
            .or_else(|| self.of_accuracy(seen))
            .or_else(|| self.of_kernels())
            .or_else(|| self.unchanged_kernel().filter(|_| is_fifth));
        if is_fifth {
            self.series.retain(|name, _| name == "accuracy");
        }
        if self.epochs.is_multiple_of(SAME_ACCURACY) {
            self.series.clear();
        }
        self.has_spoken = symptom.is_some();
        symptom.into_iter().collect()
    }

    /// Adds the current value of every statistic that must change.
    fn follow(&mut self, seen: &Evaluation) {
        let Self { last, series, .. } = self;
        let mut add = |name: String, value: f64| {
            // NaN equals nothing. The placeholder 0 is never compared.
            let start = Series { first: if value.is_finite() { value } else { 0.0 }, is_constant: value.is_finite() };
            let series = series.entry(name).or_insert(start);
            series.is_constant &= value == series.first;
        };
        last.layers.iter().for_each(|layer| add(format!("layer {}", layer.name), layer.mean));
        for (kind, tensors) in [("gradient", &last.gradients), ("weight", &last.weights)] {
            for tensor in kernels(tensors) {
                add(format!("{kind} {}", tensor.name), tensor.mean.unwrap_or(f64::NAN));
            }
        }
        add("loss".to_owned(), seen.train_loss);
        add("accuracy".to_owned(), seen.train_accuracy);
    }

    fn is_constant(&self, name: &str) -> bool {
        self.series.get(name).is_some_and(|series| series.is_constant)
    }

    fn unchanged_layer(&self) -> Option<Sighting> {
        let same = self.last.layers.iter().find(|layer| self.is_constant(&format!("layer {}", layer.name)))?;
        Some(unchanged("epochs with the same mean output").at(&same.name))
    }

    fn unchanged_kernel(&self) -> Option<Sighting> {
        let same = |kind: &str, tensors: &'_ [Tensor], meaning| {
            let mut kernels = kernels(tensors).rev();
            let same = kernels.find(|tensor| self.is_constant(&format!("{kind} {}", tensor.name)))?;
            Some(unchanged(meaning).at(&same.name))
        };
        same("gradient", &self.last.gradients, "epochs with the same mean gradient")
            .or_else(|| same("weight", &self.last.weights, "epochs with the same mean weight"))
    }

    fn of_loss(&self, seen: &Evaluation, is_fifth: bool) -> Option<Sighting> {
        if measures::is_invalid(seen) {
            return Some(Sighting::of_model("InvalidLoss", "training loss", seen.train_loss, f64::MAX));
        }
        let meaning = "epochs with the same training loss";
        let told = || Sighting::of_model("LossNotDecreasing", meaning, UNCHANGED as f64, UNCHANGED as f64);
        (is_fifth && self.is_constant("loss")).then(told)
    }

    fn of_accuracy(&self, seen: &Evaluation) -> Option<Sighting> {
        if seen.train_accuracy == 0.0 {
            return Some(Sighting::of_model("InvalidAccuracy", "training accuracy", 0.0, 0.0));
        }
        let meaning = "epochs with the same training accuracy";
        let bound = SAME_ACCURACY as f64;
        (self.epochs.is_multiple_of(SAME_ACCURACY) && self.is_constant("accuracy"))
            .then(|| Sighting::of_model("AccuracyNotIncreasing", meaning, bound, bound))
    }

    /// Checks gradients and weights, from the last layer back.
    fn of_kernels(&self) -> Option<Sighting> {
        let gradients = &self.last.gradients;
        kernels(gradients).rev().find_map(|gradient| {
            let vanishing = || Sighting::of_model("VanishingGradient", "mean |g|", gradient.mean_abs, VANISHING);
            let weight = || {
                let weight = self.last.weights.iter().find(|weight| weight.name == gradient.name)?;
                numerical("mean of a weight", mean(weight)).map(|sighting| sighting.at(&weight.name))
            };
            numerical("mean of a gradient", mean(gradient))
                .or_else(|| (gradient.mean_abs < VANISHING).then(vanishing))
                .map(|sighting| sighting.at(&gradient.name))
                .or_else(weight)
        })
    }
}

fn kernels(tensors: &[Tensor]) -> impl DoubleEndedIterator<Item = &Tensor> {
    tensors.iter().filter(|tensor| tensor.is_kernel)
}

/// The mean, if known. Without a distribution, the norm if it is 0 or NaN.
fn mean(tensor: &Tensor) -> Option<f64> {
    tensor.mean.or_else(|| Some(tensor.norm).filter(|norm| *norm == 0.0 || norm.is_nan()))
}

/// Reports a mean that is NaN, infinite, or exactly 0.
fn numerical(meaning: &'static str, mean: Option<f64>) -> Option<Sighting> {
    let mean = mean.filter(|mean| !mean.is_finite() || *mean == 0.0)?;
    Some(Sighting::of_model("NumericalError", meaning, mean, 0.0))
}

fn unchanged(meaning: &'static str) -> Sighting {
    Sighting::of_model("UnchangedTensor", meaning, UNCHANGED as f64, UNCHANGED as f64)
}

fn of_layer(layer: &Layer, activation: Option<Activation>, is_last: bool, is_fifth: bool) -> Option<Sighting> {
    let is_dead = is_last && activation == Some(Activation::Relu) && layer.nonpositive_fraction >= DEAD;
    let dead = || Sighting::of_model("DeadNode", "share of outputs at 0", layer.nonpositive_fraction, DEAD);
    let is_flat = matches!(activation, Some(Activation::Tanh | Activation::Sigmoid));
    let is_saturated = is_fifth && is_flat && layer.saturated_fraction > SATURATED;
    let meaning = "share of inputs where the activation is flat";
    let saturated = || Sighting::of_model("SaturatedActivation", meaning, layer.saturated_fraction, SATURATED);
    numerical("mean output", Some(layer.mean))
        .or_else(|| is_dead.then(dead))
        .or_else(|| is_saturated.then(saturated))
        .map(|sighting| sighting.at(&layer.name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        diagnosis::{
            fixture::layer,
            rule_sets::fixture::{epoch, of, run_of, tensor, with_mean},
        },
        statistics::{LayerStatistics, TensorStatistics},
    };

    /// Runs tracked steps and evaluations with changing values, as in a healthy run. Returns the first symptom and its
    /// epoch.
    fn judged(
        (length, more): (u64, &str),
        epochs: u32,
        layers: impl Fn(f64) -> LayerStatistics,
        gradient: impl Fn(f64) -> TensorStatistics,
        evaluation: impl Fn(f64) -> Evaluation,
    ) -> Option<(u32, &'static str)> {
        let (case, mut rules_of) = (run_of(length, more), Deepdiagnosis::default());
        let mut symptoms = (1..=epochs).flat_map(|index| {
            // A value that changes every epoch.
            let moving = 1.0 + 0.01 * f64::from(index);
            let (grads, layers) = (of(vec![gradient(moving)]), [layers(moving)]);
            let seen = Observation { gradients: Some(&grads), layers: &layers, ..Observation::default() };
            rules_of.judge(&seen, &case.subject());
            let judged = rules_of.judge_evaluation(&evaluation(moving), &case.subject());
            judged.into_iter().map(move |judged| (index, judged.rule)).collect::<Vec<_>>()
        });
        let first = symptoms.next();
        assert!(symptoms.next().is_none());
        first
    }

    const LONG: (u64, &str) = (100, "");

    fn healthy_layer(moving: f64) -> LayerStatistics {
        LayerStatistics { mean: 0.4 * moving, ..layer("one") }
    }

    fn healthy_gradient(moving: f64) -> TensorStatistics {
        with_mean(tensor("a.weight", 1e-3), 1e-5 * moving)
    }

    fn healthy_epoch(moving: f64) -> Evaluation {
        epoch(1, 1.0 / moving, 0.5 * moving)
    }

    fn of_layers(run: (u64, &str), layers: impl Fn(f64) -> LayerStatistics) -> Option<(u32, &'static str)> {
        judged(run, 7, layers, healthy_gradient, healthy_epoch)
    }

    #[test]
    fn a_healthy_run_has_no_symptom() {
        assert_eq!(judged(LONG, 40, healthy_layer, healthy_gradient, healthy_epoch), None);
    }

    #[test]
    fn a_mean_of_exactly_zero_is_a_numerical_error_as_nan_is() {
        let numerical = Some((1, "NumericalError"));
        for mean in [0.0, f64::NAN] {
            assert_eq!(of_layers(LONG, |_| LayerStatistics { mean, ..layer("one") }), numerical);
            let gradient = |_: f64| with_mean(tensor("a.weight", 1e-3), mean);
            assert_eq!(judged(LONG, 7, healthy_layer, gradient, healthy_epoch), numerical);
        }
    }

    #[test]
    fn nodes_are_dead_at_the_last_epoch_and_of_relus_alone() {
        let layers =
            |share: f64| move |moving| LayerStatistics { nonpositive_fraction: share, ..healthy_layer(moving) };
        assert_eq!(of_layers((7, ""), layers(0.7)), Some((7, "DeadNode")));
        assert_eq!(of_layers((7, ""), layers(0.69)), None);
        assert_eq!(of_layers((8, ""), layers(0.9)), None);
        assert_eq!(of_layers((7, "model.activation = \"elu\""), layers(0.9)), None);
    }

    #[test]
    fn saturation_is_looked_for_at_every_fifth_epoch() {
        let layers = |share: f64| move |moving| LayerStatistics { saturated_fraction: share, ..healthy_layer(moving) };
        let tanh = (100, "model.activation = \"tanh\"");
        assert_eq!(of_layers(tanh, layers(0.51)), Some((5, "SaturatedActivation")));
        assert_eq!(of_layers(tanh, layers(0.5)), None);
        assert_eq!(of_layers(LONG, layers(0.9)), None);
    }

    #[test]
    fn what_stays_the_same_for_five_epochs_is_unchanged() {
        let unchanged = Some((5, "UnchangedTensor"));
        assert_eq!(of_layers(LONG, |_| layer("one")), unchanged);
        let gradient = |_: f64| with_mean(tensor("a.weight", 1e-3), 1e-5);
        assert_eq!(judged(LONG, 7, healthy_layer, gradient, healthy_epoch), unchanged);
        // The fourth epoch has another value.
        let once = |moving: f64| LayerStatistics { mean: if moving == 1.04 { 0.5 } else { 0.4 }, ..layer("one") };
        assert_eq!(of_layers(LONG, once), None);
    }

    #[test]
    fn losses_and_accuracies_are_judged_by_their_values_and_by_staying_the_same() {
        let epochs = |loss: fn(f64) -> f64, accuracy: fn(f64) -> f64| {
            judged(LONG, 25, healthy_layer, healthy_gradient, |moving| epoch(1, loss(moving), accuracy(moving)))
        };
        assert_eq!(epochs(|_| f64::NAN, |moving| moving), Some((1, "InvalidLoss")));
        assert_eq!(epochs(|_| 2.3, |moving| moving), Some((5, "LossNotDecreasing")));
        assert_eq!(epochs(|moving| moving, |_| 0.0), Some((1, "InvalidAccuracy")));
        assert_eq!(epochs(|moving| moving, |_| 0.1), Some((20, "AccuracyNotIncreasing")));
    }

    #[test]
    fn a_gradient_vanishes_by_its_mean_size() {
        let of_size = |size: f64| {
            let gradient = move |moving: f64| with_mean(tensor("a.weight", size), 1e-3 * size * moving);
            judged(LONG, 7, healthy_layer, gradient, healthy_epoch)
        };
        assert_eq!((of_size(0.9e-7), of_size(1.1e-7)), (Some((1, "VanishingGradient")), None));
    }
}
