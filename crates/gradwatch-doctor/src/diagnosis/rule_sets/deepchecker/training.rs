//! TheDeepChecker's checks during training.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::layers;
use crate::{
    diagnosis::{
        Facts, Observation, Subject,
        rule_sets::{
            Sighting,
            measures::{mean_abs, share_below},
        },
    },
    statistics::TensorStatistics,
};

/// Values per window: four ratios of a value to the previous one.
const WINDOW: usize = 5;
/// Mean absolute values of gradients.
const VANISHING: f64 = 1e-6;
const EXPLODING: f64 = 1e6;
/// Ratios between consecutive values that count as shrinking or growing too fast.
const SHRINKING: f64 = 0.5;
const GROWING: f64 = 2.0;
/// Mean absolute value of a weight or bias.
const DIVERGING: f64 = 1e8;
/// Largest absolute value of a dead weight, and maximum fraction of dead or negative weights.
const DEAD: f64 = 1e-5;
const MOST: f64 = 0.95;
/// Upper and lower limit of log10(update / weight).
const FAST: f64 = -1.0;
const SLOW: f64 = -4.0;
/// Minimum relative decrease of the loss between periods; number of periods to keep; minimum smoothness of the loss.
const FALL: f64 = 0.05;
const COURSE: usize = 50;
const SMOOTH: f64 = 0.5;
/// Norm of the weight decay over that of the gradient.
const OVERWHELMING: f64 = 2.0;

/// State between tracked steps.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Training {
    /// Mean absolute values of each gradient, weight, and bias: the last [`WINDOW`] finite ones.
    sizes: BTreeMap<String, VecDeque<f64>>,
    /// Norm of the weight decay over that of the gradient, per weight.
    decays: BTreeMap<String, VecDeque<f64>>,
    /// Sum and count of log10(update / weight) in this period.
    updates: BTreeMap<String, (f64, u64)>,
    /// Sum and count of the losses in this period.
    open: (f64, u64),
    /// Mean losses of the last periods.
    losses: VecDeque<f64>,
}

fn push(values: &mut VecDeque<f64>, value: f64, most: usize) {
    if values.len() == most {
        values.pop_front();
    }
    values.push_back(value);
}

/// Extreme ratio of each value to the previous one: the smallest for `f64::min`; `None` until the window is full.
fn ratio(values: &VecDeque<f64>, extreme: fn(f64, f64) -> f64) -> Option<f64> {
    let last = values.range(values.len().checked_sub(WINDOW)?..);
    last.clone().zip(last.skip(1)).map(|(before, now)| now / before).reduce(extreme)
}

impl Training {
    /// Adds a tracked step. Reports non-finite values and excessive weight decay.
    pub(super) fn add(&mut self, seen: &Observation<'_>, subject: &Subject<'_>) -> Vec<Sighting> {
        let gradients = seen.gradients.map_or(&[][..], |gradients| &gradients.parameters);
        // A loss that was not measured is NaN too.
        let is_lost = seen.loss.is_infinite() || seen.loss.is_nan() && !seen.total_norm.is_finite();
        let infinite = gradients.iter().chain(seen.weights).find(|tensor| !tensor.is_finite());
        let numerical = infinite
            .map(|tensor| numerical("norm of a non-finite tensor", tensor.norm).at(&tensor.name))
            .or_else(|| is_lost.then(|| numerical("loss", seen.loss)));
        if seen.loss.is_finite() {
            self.open = (self.open.0 + seen.loss, self.open.1 + 1);
        }
        for (kind, tensor) in gradients
            .iter()
            .map(|tensor| ("gradient", tensor))
            .chain(seen.weights.iter().map(|tensor| ("weight", tensor)))
        {
            if tensor.is_finite() {
                push(self.sizes.entry(format!("{kind} {}", tensor.name)).or_default(), mean_abs(tensor), WINDOW);
            }
        }
        // Weights are measured after the step. The update changes their norm by at most this ratio.
        for update in seen.updates.iter().filter(|update| update.update_ratio.is_finite()) {
            let logarithm = if update.update_ratio > 0.0 { update.update_ratio.log10() } else { 0.0 };
            let (sum, count) = self.updates.entry(update.name.to_string()).or_default();
            (*sum, *count) = (*sum + logarithm, *count + 1);
        }
        numerical.into_iter().chain(self.decay(gradients, seen, subject)).collect()
    }

    /// Checks weight decay, if the optimizer adds it to the gradient.
    fn decay(
        &mut self,
        gradients: &[TensorStatistics],
        seen: &Observation<'_>,
        subject: &Subject<'_>,
    ) -> Option<Sighting> {
        let optimizer = &subject.config?.optimizer;
        if optimizer.weight_decay == 0.0 || optimizer.name.has_decoupled_decay() {
            return None;
        }
        let mut found = None;
        for gradient in gradients.iter().filter(|gradient| subject.facts.is_weight(&gradient.name)) {
            let Some(weight) = seen.weights.iter().find(|weight| weight.name == gradient.name) else { continue };
            let ratio = optimizer.weight_decay * weight.norm / gradient.norm;
            let ratios = self.decays.entry(gradient.name.to_string()).or_default();
            // A checkpoint cannot store infinities.
            push(ratios, if ratio.is_nan() { 0.0 } else { ratio.min(f64::MAX) }, WINDOW);
            if ratios.len() == WINDOW && ratios.iter().all(|ratio| *ratio >= OVERWHELMING) {
                let meaning = "weight decay / gradient";
                found = found.or_else(|| {
                    Some(
                        Sighting::of_model("OverwhelmingRegularization", meaning, ratio, OVERWHELMING)
                            .at(&gradient.name),
                    )
                });
            }
        }
        found
    }

    /// Runs the checks at the end of a period.
    pub(super) fn judge(&mut self, seen: &Observation<'_>, subject: &Subject<'_>) -> Vec<Sighting> {
        let facts = subject.facts;
        let mut sightings = Vec::new();
        for gradient in seen.gradients.iter().flat_map(|gradients| &gradients.parameters) {
            if facts.is_weight(&gradient.name) && gradient.is_finite() {
                sightings.extend(self.of_gradient(gradient));
            }
        }
        for weight in seen.weights.iter().filter(|weight| weight.is_finite()) {
            sightings.extend(self.of_weight(weight, facts));
        }
        sightings.extend(self.of_updates(facts));
        let activation = subject.activation();
        sightings.extend(seen.layers.iter().flat_map(|layer| layers::judge(layer, activation)));
        sightings.extend(self.of_losses());
        sightings
    }

    fn of_gradient(&self, gradient: &TensorStatistics) -> Option<Sighting> {
        let sizes = self.sizes.get(&format!("gradient {}", gradient.name))?;
        let size = *sizes.back()?;
        let judged =
            |rule, meaning, seen, bound| Some(Sighting::of_model(rule, meaning, seen, bound).at(&gradient.name));
        let (slowest, fastest) = (ratio(sizes, f64::max), ratio(sizes, f64::min));
        match (slowest, fastest) {
            _ if size < VANISHING => judged("VanishingGradient", "mean |g|", size, VANISHING),
            _ if size > EXPLODING => judged("ExplodingGradient", "mean |g|", size, EXPLODING),
            (Some(ratio), _) if ratio <= SHRINKING => {
                judged("VanishingGradient", "mean |g| / previous mean |g|", ratio, SHRINKING)
            }
            (_, Some(ratio)) if ratio >= GROWING => {
                judged("ExplodingGradient", "mean |g| / previous mean |g|", ratio, GROWING)
            }
            _ => None,
        }
    }

    /// Checks the weight of a layer, or its bias.
    fn of_weight(&self, weight: &TensorStatistics, facts: &Facts) -> Vec<Sighting> {
        let Some(sizes) = self.sizes.get(&format!("weight {}", weight.name)) else { return Vec::new() };
        let judged = |rule, meaning, seen, bound| Sighting::of_model(rule, meaning, seen, bound).at(&weight.name);
        let size = sizes.back().copied().unwrap_or(0.0);
        let (by_size, by_growth) = (size > DIVERGING, ratio(sizes, f64::min).filter(|ratio| *ratio >= GROWING));
        let diverging = if by_size {
            Some(judged("DivergingParameter", "mean |w|", size, DIVERGING))
        } else {
            by_growth.map(|ratio| judged("DivergingParameter", "mean |w| / previous mean |w|", ratio, GROWING))
        };
        let mut sightings = Vec::from_iter(diverging);
        if let Some(distribution) = weight.distribution.as_ref().filter(|_| facts.is_weight(&weight.name)) {
            let negative = distribution.histogram.negative.iter().sum::<u64>() as f64 / weight.elements.max(1) as f64;
            let dead = share_below(distribution, weight.elements, DEAD);
            let negative = (negative > MOST).then(|| judged("NegativeWeights", "share of weights < 0", negative, MOST));
            let dead = (dead > MOST).then(|| judged("DeadWeights", "share of weights with |w| < 1e-5", dead, MOST));
            sightings.extend(negative.into_iter().chain(dead));
        }
        sightings
    }

    /// Uses the norms of updates and weights instead of the tool's mean absolute values. Both ratios are equal if
    /// update and weight have the same distribution, and within a factor of 2 for common distributions.
    fn of_updates(&mut self, facts: &Facts) -> Vec<Sighting> {
        let means = std::mem::take(&mut self.updates).into_iter().filter(|(name, _)| facts.is_weight(name));
        let judge = |(name, (sum, count)): (String, (f64, u64))| {
            let mean = sum / count as f64;
            let (rule, bound) = match mean {
                0.0 => ("UntrainedWeight", 0.0),
                _ if mean > FAST => ("FastUpdates", FAST),
                _ if mean < SLOW => ("SlowUpdates", SLOW),
                _ => return None,
            };
            Some(Sighting::of_model(rule, "mean of log10(update / weight)", mean, bound).at(&name.into()))
        };
        means.filter_map(judge).collect()
    }

    fn of_losses(&mut self) -> Vec<Sighting> {
        let (sum, count) = std::mem::take(&mut self.open);
        if count == 0 {
            return Vec::new();
        }
        push(&mut self.losses, sum / count as f64, COURSE);
        let judged = |rule, meaning, seen, bound| Sighting::of_model(rule, meaning, seen, bound);
        let fall = ratio(&self.losses, f64::min).map(|ratio| 1.0 - ratio).filter(|fall| *fall < FALL);
        let rise = ratio(&self.losses, f64::min).filter(|ratio| *ratio >= GROWING);
        let smoothness = smoothness(&self.losses);
        [
            fall.map(|fall| judged("StagnatedLoss", "largest loss decrease between periods", fall, FALL)),
            rise.map(|rise| judged("DivergingLoss", "loss of a period / loss of the previous one", rise, GROWING)),
            (smoothness < SMOOTH).then(|| judged("FluctuatingLoss", "smoothness of the loss", smoothness, SMOOTH)),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

fn numerical(meaning: &'static str, seen: f64) -> Sighting {
    Sighting::of_model("NumericalInstability", meaning, seen, f64::MAX)
}

/// 1 minus the fraction of values at which the direction changes between rising and not rising.
fn smoothness(values: &VecDeque<f64>) -> f64 {
    let rises: Vec<bool> = values.iter().zip(values.iter().skip(1)).map(|(before, now)| now > before).collect();
    let turns = rises.windows(2).filter(|pair| pair[0] != pair[1]).count();
    (values.len() - turns) as f64 / values.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::{
        fixture::{Case, update},
        rule_sets::fixture::{of, rules, tensor},
    };

    /// Checks one gradient or weight with these absolute values over time.
    fn after(sizes: &[f64], is_weight: bool) -> Vec<&'static str> {
        let (case, mut training) = (Case::new(""), Training::default());
        let mut judged = Vec::new();
        for &size in sizes {
            let (grads, weights) = (of(vec![tensor("a.weight", size)]), [tensor("a.weight", size)]);
            let seen = if is_weight {
                Observation { loss: f64::NAN, weights: &weights, ..Observation::default() }
            } else {
                Observation { loss: f64::NAN, gradients: Some(&grads), ..Observation::default() }
            };
            judged = training.add(&seen, &case.subject());
            if judged.is_empty() {
                judged = training.judge(&seen, &case.subject());
            }
        }
        rules(&judged)
    }

    #[test]
    fn gradients_vanish_and_explode_by_size_and_by_four_ratios_in_a_row() {
        let gradients = |sizes: &[f64]| after(sizes, false);
        assert_eq!(gradients(&[0.9e-6]), ["VanishingGradient"]);
        assert!(gradients(&[1.1e-6]).is_empty() && gradients(&[0.9e6]).is_empty());
        assert_eq!(gradients(&[1.1e6]), ["ExplodingGradient"]);
        assert_eq!(gradients(&[16.0, 8.0, 4.0, 2.0, 1.0]), ["VanishingGradient"]);
        assert_eq!(gradients(&[1.0, 2.0, 4.0, 8.0, 16.0]), ["ExplodingGradient"]);
        assert!(gradients(&[8.0, 4.0, 2.0, 1.0]).is_empty() && gradients(&[1.0, 2.0, 3.0, 6.0, 12.0]).is_empty());
    }

    #[test]
    fn what_is_not_finite_is_told_at_once() {
        assert_eq!(after(&[f64::NAN], false), ["NumericalInstability"]);
        let case = Case::new("");
        let judged = |loss| {
            let seen = Observation { loss, total_norm: 1.0, ..Observation::default() };
            rules(&Training::default().add(&seen, &case.subject()))
        };
        assert_eq!(judged(f64::INFINITY), ["NumericalInstability"]);
        assert!(judged(1e9).is_empty());
    }

    #[test]
    fn weights_diverge_die_or_are_all_negative() {
        let weights = |sizes: &[f64]| after(sizes, true);
        assert_eq!(weights(&[1.1e8]), ["DivergingParameter"]);
        assert_eq!(weights(&[1.0, 2.0, 4.0, 8.0, 16.0]), ["DivergingParameter"]);
        assert!(weights(&[1.0, 1.5, 3.0, 6.0, 12.0]).is_empty());
        // All values are in the octave of 2^-18, 3.8e-6 to 7.6e-6.
        assert_eq!(weights(&[5e-6]), ["DeadWeights"]);
        assert!(weights(&[2e-5]).is_empty());
        let negative = |count: u64| {
            let mut weight = tensor("a.weight", 1.0);
            let histogram = &mut weight.distribution.as_mut().unwrap().histogram;
            (histogram.negative, histogram.positive) = (vec![count], vec![100 - count]);
            let seen = Observation { weights: &[weight], loss: f64::NAN, ..Observation::default() };
            let (case, mut training) = (Case::new(""), Training::default());
            training.add(&seen, &case.subject());
            rules(&training.judge(&seen, &case.subject()))
        };
        assert_eq!((negative(96), negative(95)), (vec!["NegativeWeights"], vec![]));
    }

    #[test]
    fn updates_are_judged_by_the_mean_of_their_logarithms() {
        let judged = |ratios: &[f64]| {
            let (case, mut training) = (Case::new(""), Training::default());
            for &ratio in ratios {
                let updates = [update("a.weight", ratio), update("a.bias", 1.0)];
                let seen = Observation { updates: &updates, loss: f64::NAN, ..Observation::default() };
                training.add(&seen, &case.subject());
            }
            rules(&training.judge(&Observation { loss: f64::NAN, ..Observation::default() }, &case.subject()))
        };
        assert!(judged(&[1e-3, 1e-2]).is_empty());
        // The mean of 0 and -1.9; the mean of -3.9 and -4.3.
        assert_eq!(judged(&[1.0, 10f64.powf(-1.9)]), ["FastUpdates"]);
        assert_eq!(judged(&[10f64.powf(-3.9), 10f64.powf(-4.3)]), ["SlowUpdates"]);
        assert_eq!(judged(&[0.0, 0.0]), ["UntrainedWeight"]);
    }

    /// Checks each period. Losses are constant within a period.
    fn of_losses(losses: &[f64]) -> Vec<Vec<&'static str>> {
        let (case, mut training) = (Case::new(""), Training::default());
        let period = |&loss: &f64| {
            let seen = Observation { loss, ..Observation::default() };
            (0..10).for_each(|_| drop(training.add(&seen, &case.subject())));
            rules(&training.judge(&seen, &case.subject()))
        };
        losses.iter().map(period).collect()
    }

    #[test]
    fn losses_stagnate_diverge_and_fluctuate_from_period_to_period() {
        let none = Vec::<&str>::new;
        let fifth = |rule| [none(), none(), none(), none(), vec![rule]];
        assert_eq!(of_losses(&[2.0, 1.95, 1.9, 1.85, 1.8]), fifth("StagnatedLoss"));
        assert!(of_losses(&[2.0, 1.95, 1.9, 1.8, 1.75]).concat().is_empty());
        let diverging = of_losses(&[1.0, 2.0, 4.0, 8.0, 16.0]).concat();
        assert_eq!(diverging, ["StagnatedLoss", "DivergingLoss"]);
        // Three changes of direction in five values.
        assert_eq!(of_losses(&[1.0, 2.0, 1.0, 2.0, 1.0]), fifth("FluctuatingLoss"));
        assert!(of_losses(&[1.0, 0.9, 0.8, 0.9, 0.8]).concat().is_empty());
    }

    #[test]
    fn weight_decay_overwhelms_gradients_where_it_is_twice_as_large_five_times() {
        let judged = |more: &str, size| {
            let (case, mut training) = (Case::new(more), Training::default());
            let (grads, weights) = (of(vec![tensor("a.weight", size)]), [tensor("a.weight", 1.0)]);
            let seen = Observation { gradients: Some(&grads), weights: &weights, ..Observation::default() };
            (0..6).map(|_| rules(&training.add(&seen, &case.subject()))).position(|judged| !judged.is_empty())
        };
        assert_eq!(judged("optimizer.weight_decay = 0.1", 0.05), Some(4));
        assert_eq!(judged("optimizer.weight_decay = 0.1", 0.051), None);
        assert_eq!(judged("optimizer.name = \"adamw\"\noptimizer.weight_decay = 0.1", 0.05), None);
    }
}
