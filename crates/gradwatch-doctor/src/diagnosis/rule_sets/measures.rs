//! Statistics of other tools, derived from gradwatch's statistics.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{
    diagnosis::{Evaluation, Observation, Subject},
    statistics::{Distribution, LayerStatistics, TensorStatistics},
};

/// E|z| over the root mean square of a normal z: sqrt(2 / pi).
const MEAN_ABS_OF_NORMAL: f64 = 0.797_884_560_802_865_4;
/// Mean of values spread evenly over the octave 1..2.
const MIDDLE: f64 = 1.5;

/// Mean absolute value of the elements; NaN if any element is not finite.
///
/// Computed from the histogram: exact if the values are spread evenly within each octave, within a few percent for
/// smooth distributions, and at worst 25% too small or 50% too large, if all values are at one end of an octave. The
/// result is clamped to bounds that hold for any distribution: at most the root mean square, at least the absolute
/// mean, and at least the mean square over the largest absolute value. Without a histogram, assumes a normal
/// distribution.
pub fn mean_abs(tensor: &TensorStatistics) -> f64 {
    if !tensor.is_finite() {
        return f64::NAN;
    }
    let rms = tensor.rms();
    let Some(distribution) = &tensor.distribution else { return MEAN_ABS_OF_NORMAL * rms };
    let octaves = |counts: &[u64]| {
        counts.iter().enumerate().map(|(octave, &count)| count as f64 * size(distribution, octave)).sum::<f64>()
    };
    let sum = MIDDLE * (octaves(&distribution.histogram.negative) + octaves(&distribution.histogram.positive));
    // If all elements are 0, this is 0 / 0, which `max` ignores.
    let least = rms.powi(2) / tensor.max_abs;
    (sum / tensor.elements.max(1) as f64).max(distribution.mean.abs()).max(least).min(rms)
}

/// Lower end of an octave.
fn size(distribution: &Distribution, octave: usize) -> f64 {
    2f64.powi(distribution.histogram.top - octave as i32)
}

/// 95th percentile minus 5th percentile, assuming that values are spread evenly within each octave.
pub(super) fn spread(distribution: &Distribution) -> f64 {
    quantile(distribution, 0.95) - quantile(distribution, 0.05)
}

fn quantile(distribution: &Distribution, share: f64) -> f64 {
    let octave = |octave: usize, count: &u64| (size(distribution, octave), *count);
    let negative = distribution.histogram.negative.iter().enumerate().map(|(index, count)| octave(index, count));
    let positive = distribution.histogram.positive.iter().enumerate().rev().map(|(index, count)| octave(index, count));
    let zeros = distribution.zeros + distribution.denormals;
    // Buckets with lower end, upper end, and count, from the lowest to the highest.
    let buckets = (negative.map(|(size, count)| (-2.0 * size, -size, count)))
        .chain([(0.0, 0.0, zeros)])
        .chain(positive.map(|(size, count)| (size, 2.0 * size, count)));
    let mut rank = share * (distribution.histogram.total() + zeros) as f64;
    let mut last = 0.0;
    for (low, high, count) in buckets.filter(|(_, _, count)| *count > 0) {
        if rank <= count as f64 {
            return low + (high - low) * rank / count as f64;
        }
        rank -= count as f64;
        last = high;
    }
    last
}

/// Fraction of the elements with an absolute value below `bound`, assuming an even spread within each octave.
pub(super) fn share_below(distribution: &Distribution, elements: u64, bound: f64) -> f64 {
    let below = |counts: &[u64]| {
        let of_one = |(octave, &count): (usize, &u64)| {
            let low = size(distribution, octave);
            count as f64 * ((bound - low) / low).clamp(0.0, 1.0)
        };
        counts.iter().enumerate().map(of_one).sum::<f64>()
    };
    let zeros = (distribution.zeros + distribution.denormals) as f64;
    let octaves = below(&distribution.histogram.negative) + below(&distribution.histogram.positive);
    (zeros + octaves) / elements.max(1) as f64
}

/// Estimates the fraction of dead ReLUs in a layer. Assumes that dead ReLUs are on for a fraction `inactivity` of the
/// inputs, and the others for half of them, as with symmetric inputs. With a fraction s of zero outputs, this means
/// that (2 s - 1) / (1 - 2 `inactivity`) of the ReLUs are dead.
///
/// Only s is measured. If the ReLUs of a healthy layer are on for a quarter of the inputs, this estimate reports half
/// of them as dead.
pub(super) fn dead_share(layer: &LayerStatistics, inactivity: f64) -> f64 {
    ((2.0 * layer.nonpositive_fraction - 1.0) / (1.0 - 2.0 * inactivity)).clamp(0.0, 1.0)
}

/// Mean absolute output of a layer: exact if no output is negative, otherwise assumes a normal distribution.
pub(super) fn mean_abs_output(layer: &LayerStatistics, is_never_negative: bool) -> f64 {
    if is_never_negative { layer.mean } else { layer.mean.abs().max(MEAN_ABS_OF_NORMAL * layer.rms) }
}

/// Whether the training loss of an evaluation is NaN or infinite. It was measured if the accuracy was.
pub(super) fn is_invalid(seen: &Evaluation) -> bool {
    seen.train_loss.is_infinite() || (seen.train_loss.is_nan() && !seen.train_accuracy.is_nan())
}

/// Planned number of evaluations; `None` if unknown.
pub(super) fn planned_evaluations(&Subject { config, facts }: &Subject<'_>) -> Option<u64> {
    let config = config?;
    let (run, evaluate) = (&config.run, &config.evaluate);
    let per_epoch = facts.steps_per_epoch;
    if per_epoch == 0 {
        let by_steps = run.max_steps.filter(|_| evaluate.every_steps > 0);
        return by_steps.map(|steps| steps.div_ceil(evaluate.every_steps)).or_else(|| {
            let epochs = run.max_epochs.filter(|_| evaluate.every_steps == 0 && run.max_steps.is_none())?;
            Some(epochs.div_ceil(evaluate.every_epochs))
        });
    }
    let steps = run.max_epochs.map(|epochs| epochs.saturating_mul(per_epoch)).into_iter().chain(run.max_steps).min()?;
    let by_epochs = per_epoch.saturating_mul(evaluate.every_epochs);
    let count = |interval: u64| steps.checked_div(interval).unwrap_or(0);
    let both = if evaluate.every_steps == 0 { 0 } else { least_common_multiple(by_epochs, evaluate.every_steps) };
    let is_last = |interval: u64| interval > 0 && steps.is_multiple_of(interval);
    // The last step is always evaluated.
    let last = u64::from(!is_last(by_epochs) && !is_last(evaluate.every_steps));
    Some(count(by_epochs) + count(evaluate.every_steps) - count(both) + last)
}

fn least_common_multiple(one: u64, other: u64) -> u64 {
    let (mut divisor, mut rest) = (one, other);
    while rest > 0 {
        (divisor, rest) = (rest, divisor % rest);
    }
    (one / divisor).saturating_mul(other)
}

/// Statistics of the last tracked step that measured them, for tools that check evaluations.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct LastReading {
    /// In the order of the forward pass, from the last tracked step with distributions if there was one.
    pub gradients: Vec<Tensor>,
    /// As for `gradients`.
    pub weights: Vec<Tensor>,
    pub layers: Vec<Layer>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Tensor {
    pub name: Arc<str>,
    /// See [`Facts::is_weight`](crate::diagnosis::Facts::is_weight).
    pub is_kernel: bool,
    pub elements: u64,
    /// NaN if any element is not finite.
    #[serde(deserialize_with = "crate::json::nan_from_null")]
    pub norm: f64,
    /// See [`mean_abs`].
    #[serde(deserialize_with = "crate::json::nan_from_null")]
    pub mean_abs: f64,
    /// `None` without a distribution.
    pub mean: Option<f64>,
    pub zeros: Option<u64>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Layer {
    pub name: Arc<str>,
    #[serde(deserialize_with = "crate::json::nan_from_null")]
    pub mean: f64,
    #[serde(deserialize_with = "crate::json::nan_from_null")]
    pub mean_abs: f64,
    #[serde(deserialize_with = "crate::json::nan_from_null")]
    pub nonpositive_fraction: f64,
    #[serde(deserialize_with = "crate::json::nan_from_null")]
    pub saturated_fraction: f64,
}

impl LastReading {
    pub(super) fn add_observation(&mut self, seen: &Observation<'_>, subject: &Subject<'_>) {
        let tensor = |tensor: &TensorStatistics| Tensor {
            name: Arc::clone(&tensor.name),
            is_kernel: subject.facts.is_weight(&tensor.name),
            elements: tensor.elements,
            norm: if tensor.is_finite() { tensor.norm } else { f64::NAN },
            mean_abs: mean_abs(tensor),
            mean: tensor.distribution.as_ref().filter(|_| tensor.is_finite()).map(|distribution| distribution.mean),
            zeros: tensor.distribution.as_ref().map(|distribution| distribution.zeros),
        };
        let take = |last: &mut Vec<Tensor>, tensors: &[TensorStatistics]| {
            let is_richer = |last: &[Tensor]| last.iter().all(|tensor| tensor.zeros.is_none());
            if tensors.iter().any(|tensor| tensor.distribution.is_some()) || is_richer(last) && !tensors.is_empty() {
                *last = tensors.iter().map(tensor).collect();
            }
        };
        take(&mut self.gradients, seen.gradients.map_or(&[], |gradients| &gradients.parameters));
        take(&mut self.weights, seen.weights);
        if !seen.layers.is_empty() {
            let is_never_negative = is_never_negative(subject);
            let layer = |layer: &LayerStatistics| Layer {
                name: Arc::clone(&layer.layer),
                mean: layer.mean,
                mean_abs: mean_abs_output(layer, is_never_negative),
                nonpositive_fraction: layer.nonpositive_fraction,
                saturated_fraction: layer.saturated_fraction,
            };
            self.layers = seen.layers.iter().map(layer).collect();
        }
    }
}

/// Whether the activation is known to have no negative outputs.
fn is_never_negative(subject: &Subject<'_>) -> bool {
    use crate::config::Activation::{Relu, Sigmoid, Softplus};
    matches!(subject.activation(), Some(Relu | Sigmoid | Softplus))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        diagnosis::fixture::{Case, distribution, layer},
        statistics::LogHistogram,
    };

    fn of(norm: f64, max_abs: f64, elements: u64, histogram: LogHistogram, zeros: u64) -> TensorStatistics {
        let distribution = Distribution { histogram, ..distribution(0, zeros) };
        TensorStatistics { name: "w".into(), elements, norm, max_abs, distribution: Some(distribution) }
    }

    #[test]
    fn the_mean_size_is_that_of_the_middles_of_octaves() {
        // 1, 1.5, -3, and 0: (2 * 1.5 + 1 * 3) / 4, compared with the true 5.5 / 4.
        let histogram = LogHistogram { top: 1, negative: vec![1], positive: vec![0, 2] };
        assert_eq!(mean_abs(&of(12.25f64.sqrt(), 3.0, 4, histogram, 1)), 1.5);
        // Four times 1, or 1.9: clamped by the root mean square, and by the mean square over the largest value.
        let histogram = LogHistogram { top: 0, negative: vec![2], positive: vec![2] };
        assert_eq!(mean_abs(&of(2.0, 1.0, 4, histogram.clone(), 0)), 1.0);
        assert!((mean_abs(&of(3.8, 1.9, 4, histogram, 0)) - 1.9).abs() < 1e-12);
        assert_eq!(mean_abs(&of(0.0, 0.0, 4, LogHistogram::default(), 4)), 0.0);
        let plain = TensorStatistics { distribution: None, ..of(2.0, 1.0, 4, LogHistogram::default(), 0) };
        assert!((mean_abs(&plain) - (2.0 / std::f64::consts::PI).sqrt()).abs() < 1e-12);
        assert!(mean_abs(&TensorStatistics { norm: f64::NAN, ..plain }).is_nan());
    }

    #[test]
    fn percentiles_and_shares_count_along_the_octaves() {
        // 10 in -2..-1, 80 zeros, 10 in 1..2: the 5th percentile is halfway into the first bucket, the 95th into the
        // last.
        let histogram = LogHistogram { top: 0, negative: vec![10], positive: vec![10] };
        let tensor = of(1.0, 2.0, 100, histogram, 80);
        let distribution = tensor.distribution.unwrap();
        assert_eq!(spread(&distribution), 3.0);
        assert_eq!(share_below(&distribution, 100, 1.0), 0.8);
        assert_eq!(share_below(&distribution, 100, 1.5), 0.9);
        assert_eq!(share_below(&distribution, 100, 8.0), 1.0);
    }

    #[test]
    fn dead_relus_are_those_that_make_more_than_half_of_the_outputs_zero() {
        let of = |nonpositive_fraction| LayerStatistics { nonpositive_fraction, ..layer("one") };
        assert_eq!(dead_share(&of(0.5), 0.0), 0.0);
        assert_eq!(dead_share(&of(0.75), 0.0), 0.5);
        // (1 - 0.25) / 2 + 0.25 * (1 - 0.1) = 0.6.
        assert!((dead_share(&of(0.6), 0.1) - 0.25).abs() < 1e-12);
    }

    #[test]
    fn planned_evaluations_are_those_of_epochs_and_steps_and_the_last() {
        let planned = |more: &str, steps_per_epoch| {
            let mut case = Case::new(more);
            case.facts.steps_per_epoch = steps_per_epoch;
            planned_evaluations(&case.subject())
        };
        assert_eq!(planned("", 0), Some(1));
        assert_eq!(planned("run.max_steps = 25\nevaluate.every_steps = 10", 0), Some(3));
        assert_eq!(planned("run.max_steps = 25", 0), None);
        // Evaluations at the end of the epoch (100) and every 40 steps: 40, 80, 100.
        assert_eq!(planned("evaluate.every_steps = 40", 100), Some(3));
        // 50 steps of an epoch of 100, with an evaluation every 25: 25 and 50.
        assert_eq!(planned("run.max_steps = 50\nevaluate.every_steps = 25", 100), Some(2));
        assert_eq!(planned("run.max_steps = 50", 100), Some(1));
        assert_eq!(planned_evaluations(&Subject { config: None, facts: &crate::diagnosis::Facts::default() }), None);
    }
}
