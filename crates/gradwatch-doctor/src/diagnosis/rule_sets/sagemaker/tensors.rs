//! SageMaker's rules for single tensors and layers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::sighting;
use crate::{
    config::{Activation, SagemakerRule},
    diagnosis::{
        Observation, Subject,
        rule_sets::{
            Sighting,
            measures::{dead_share, mean_abs},
        },
    },
    statistics::TensorStatistics,
};

fn gradients<'a>(seen: &Observation<'a>) -> &'a [TensorStatistics] {
    seen.gradients.map_or(&[], |gradients| &gradients.parameters)
}

/// Gradients and weights.
fn tensors<'a>(seen: &Observation<'a>) -> impl Iterator<Item = &'a TensorStatistics> {
    gradients(seen).iter().chain(seen.weights)
}

/// See [`mean_abs`] for the error of mean |g|.
pub(super) fn vanishing_gradient(rule: &SagemakerRule, seen: &Observation<'_>) -> Option<Sighting> {
    let bound = rule.number("threshold")?;
    let sizes = gradients(seen).iter().map(|gradient| (gradient, mean_abs(gradient)));
    let (smallest, size) =
        sizes.filter(|(_, size)| *size < bound).min_by(|(_, one), (_, other)| one.total_cmp(other))?;
    Some(sighting(rule, "mean |g|", size, bound).at(&smallest.name))
}

pub(super) fn exploding_tensor(rule: &SagemakerRule, seen: &Observation<'_>) -> Option<Sighting> {
    let only_nan = rule.flag("only_nan");
    let is_off = |value: f64| if only_nan { value.is_nan() } else { !value.is_finite() };
    let meaning = if only_nan { "norm of a tensor with NaN" } else { "norm of a non-finite tensor" };
    if let Some(tensor) = tensors(seen).find(|tensor| is_off(tensor.norm)) {
        return Some(sighting(rule, meaning, tensor.norm, f64::MAX).at(&tensor.name));
    }
    // A loss that was not measured is NaN too.
    let is_lost = seen.loss.is_infinite() && !only_nan || seen.loss.is_nan() && !seen.total_norm.is_finite();
    is_lost.then(|| sighting(rule, "non-finite loss", seen.loss, f64::MAX))
}

/// The activity of single units is not measured; [`dead_share`] estimates the fraction of dead ones.
pub(super) fn dead_relu(rule: &SagemakerRule, seen: &Observation<'_>, subject: &Subject<'_>) -> Option<Sighting> {
    if subject.activation()? != Activation::Relu {
        return None;
    }
    let (inactivity, bound) = (rule.number("threshold_inactivity")? / 100.0, rule.number("threshold_layer")?);
    let dead = seen.layers.iter().map(|layer| (layer, 100.0 * dead_share(layer, inactivity)));
    let (layer, percent) = dead.max_by(|(_, one), (_, other)| one.total_cmp(other))?;
    (percent > bound).then(|| sighting(rule, "dead ReLUs in percent", percent, bound).at(&layer.layer))
}

/// Checks the update of the last step instead of the change since the last save, and root mean squares instead of
/// single elements.
pub(super) fn weight_update_ratio(rule: &SagemakerRule, seen: &Observation<'_>) -> Option<Sighting> {
    let (large, small) = (rule.number("large_threshold")?, rule.number("small_threshold")?);
    let epsilon = rule.number("epsilon")?;
    let ratio = |weight: &TensorStatistics| {
        let update = seen.updates.iter().find(|update| update.name == weight.name)?;
        Some(update.norm / (weight.norm + epsilon * (weight.elements as f64).sqrt()))
    };
    seen.weights.iter().find_map(|weight| {
        let ratio = ratio(weight)?;
        let bound = if ratio > large { large } else { small };
        (ratio > large || ratio < small).then(|| sighting(rule, "update / weight", ratio, bound).at(&weight.name))
    })
}

pub(super) fn all_zero(rule: &SagemakerRule, seen: &Observation<'_>) -> Option<Sighting> {
    let bound = rule.number("threshold")?;
    // A norm of 0 means all zeros, even without a distribution.
    let percent = |tensor: &TensorStatistics| match tensor.zero_fraction() {
        Some(share) => 100.0 * share,
        None if tensor.norm == 0.0 => 100.0,
        None => 0.0,
    };
    let zero = tensors(seen).find(|tensor| tensor.elements > 0 && percent(tensor) >= bound)?;
    Some(sighting(rule, "zero elements in percent", percent(zero), bound).at(&zero.name))
}

pub(super) fn tensor_variance(rule: &SagemakerRule, seen: &Observation<'_>) -> Option<Sighting> {
    let (most, least) = (rule.number("max_threshold"), rule.number("min_threshold"));
    tensors(seen).find_map(|tensor| {
        let variance = tensor.distribution.as_ref()?.std.powi(2);
        let bound = most.filter(|most| variance > *most).or(least.filter(|least| variance < *least))?;
        Some(sighting(rule, "variance", variance, bound).at(&tensor.name))
    })
}

/// Tensor statistics at the last check, and the number of consecutive checks with the same values.
///
/// SageMaker compares single elements. Here the root mean square and the largest absolute value are compared. If all
/// elements are close, these are too. The reverse may be false: elements may change while both statistics stay the
/// same.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Unchanged {
    tensors: BTreeMap<String, LastTensor>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct LastTensor {
    rms: f64,
    max_abs: f64,
    in_a_row: u64,
}

impl Unchanged {
    pub(super) fn judge(&mut self, rule: &SagemakerRule, seen: &Observation<'_>) -> Option<Sighting> {
        let (looks, rtol, atol) = (rule.count("num_steps")?, rule.number("rtol")?, rule.number("atol")?);
        // As numpy.allclose of the previous and the current check.
        let is_close = |one: f64, other: f64| (one - other).abs() <= atol + rtol * other.abs();
        let mut add = |key: String, rms: f64, max_abs: f64| {
            if !rms.is_finite() || !max_abs.is_finite() {
                self.tensors.remove(&key);
                return 0;
            }
            let last = self.tensors.get(&key).filter(|last| is_close(last.rms, rms) && is_close(last.max_abs, max_abs));
            let in_a_row = last.map_or(1, |last| last.in_a_row + 1);
            self.tensors.insert(key, LastTensor { rms, max_abs, in_a_row });
            in_a_row
        };
        let mut found = None;
        for (kind, tensors) in [("gradient", gradients(seen)), ("weight", seen.weights)] {
            for tensor in tensors {
                let in_a_row = add(format!("{kind} {}", tensor.name), tensor.rms(), tensor.max_abs);
                if in_a_row >= looks && found.is_none() {
                    let meaning = "consecutive checks with the same values";
                    found = Some(sighting(rule, meaning, in_a_row as f64, looks as f64).at(&tensor.name));
                }
            }
        }
        let in_a_row = add("loss".to_owned(), seen.loss, seen.loss);
        let loss = || sighting(rule, "consecutive checks with the same loss", in_a_row as f64, looks as f64);
        found.or_else(|| (in_a_row >= looks).then(loss))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{Config, SagemakerRuleName as Name},
        diagnosis::{
            fixture::{Case, layer, update},
            rule_sets::fixture::{of, tensor},
        },
        statistics::LayerStatistics,
    };

    fn rule(name: Name) -> SagemakerRule {
        SagemakerRule::new(name).unwrap()
    }

    fn changed(more: &str) -> SagemakerRule {
        let toml = format!(
            "run.max_epochs = 1\ndata.source = \"synthetic\"\nmodel.name = \"mlp\"\n[[diagnosis.sagemaker]]\nrule = {more}"
        );
        Config::parse(&toml, "test").unwrap().diagnosis.sagemaker.remove(0)
    }

    fn of_gradients(sizes: &[f64], judge: impl Fn(&Observation<'_>) -> Option<Sighting>) -> Option<(String, f64)> {
        let grads = of(sizes.iter().enumerate().map(|(index, size)| tensor(&index.to_string(), *size)).collect());
        let seen = Observation { gradients: Some(&grads), loss: 1.0, ..Observation::default() };
        judge(&seen).map(|sighting| (sighting.place.unwrap().to_string(), sighting.seen))
    }

    #[test]
    fn the_smallest_gradient_below_the_threshold_vanishes() {
        let judged =
            |sizes: &[f64]| of_gradients(sizes, |seen| vanishing_gradient(&rule(Name::VanishingGradient), seen));
        assert_eq!(judged(&[1e-3, 1.1e-7]), None);
        let (place, seen) = judged(&[9e-8, 1e-3, 3e-9]).unwrap();
        assert!(place == "2" && (seen - 3e-9).abs() < 1e-18, "{place} {seen}");
        // The rule ignores NaN, because NaN < threshold is false.
        assert_eq!(judged(&[f64::NAN]), None);
    }

    #[test]
    fn only_what_is_not_finite_explodes_whatever_its_size() {
        let judged =
            |size, rule: &SagemakerRule| of_gradients(&[1.0, size], |seen| exploding_tensor(rule, seen)).is_some();
        let only_nan = changed("\"ExplodingTensor\"\nonly_nan = true");
        assert!(!judged(1e30, &rule(Name::ExplodingTensor)));
        assert!(judged(f64::INFINITY, &rule(Name::ExplodingTensor)) && !judged(f64::INFINITY, &only_nan));
        assert!(judged(f64::NAN, &rule(Name::ExplodingTensor)) && judged(f64::NAN, &only_nan));
        let lost = |loss, total_norm| {
            let seen = Observation { loss, total_norm, ..Observation::default() };
            exploding_tensor(&rule(Name::ExplodingTensor), &seen).is_some()
        };
        assert!(lost(f64::INFINITY, 1.0) && lost(f64::NAN, f64::NAN) && !lost(f64::NAN, 1.0));
    }

    #[test]
    fn relus_are_dead_where_more_than_half_of_a_layer_must_be() {
        // (2 s - 1) / 0.98 is 50% at s = 0.745.
        let judged = |more: &str, share| {
            let layers = [layer("one"), LayerStatistics { nonpositive_fraction: share, ..layer("two") }];
            let seen = Observation { layers: &layers, ..Observation::default() };
            dead_relu(&rule(Name::DeadRelu), &seen, &Case::new(more).subject())
                .map(|judged| judged.place.unwrap().to_string())
        };
        assert_eq!(judged("", 0.74), None);
        assert_eq!(judged("", 0.75).as_deref(), Some("two"));
        assert_eq!(judged("model.activation = \"tanh\"", 0.75), None);
    }

    #[test]
    fn updates_are_too_large_or_too_small_for_their_weights() {
        // A weight with norm 10 and 100 elements.
        let judged = |norm: f64| {
            let (weights, mut updates) = ([tensor("w", 1.0)], [update("w", 0.0)]);
            updates[0].norm = norm;
            let seen = Observation { weights: &weights, updates: &updates, ..Observation::default() };
            weight_update_ratio(&rule(Name::WeightUpdateRatio), &seen).map(|judged| judged.bound)
        };
        assert_eq!([99.0, 101.0, 2e-7, 0.9e-7].map(judged), [None, Some(10.0), None, Some(1e-8)]);
    }

    #[test]
    fn all_elements_have_to_be_zero_unless_the_threshold_is_lower() {
        let half = |rule: &SagemakerRule, zeros| {
            let mut tensor = tensor("w", 1.0);
            tensor.distribution.as_mut().unwrap().zeros = zeros;
            all_zero(rule, &Observation { weights: &[tensor], ..Observation::default() }).is_some()
        };
        assert!(half(&rule(Name::AllZero), 100) && !half(&rule(Name::AllZero), 99));
        assert!(half(&changed("\"AllZero\"\nthreshold = 50"), 50));
    }

    #[test]
    fn variances_have_no_bounds_of_their_own() {
        let judged = |rule: &SagemakerRule, size| of_gradients(&[size], |seen| tensor_variance(rule, seen)).is_some();
        assert!(!judged(&rule(Name::TensorVariance), 1e9));
        let bounded = changed("\"TensorVariance\"\nmax_threshold = 10\nmin_threshold = 1e-5");
        assert!([4.0, 1e-3].map(|size| judged(&bounded, size)).iter().all(|judged| *judged));
        assert!(!judged(&bounded, 1.0));
    }

    #[test]
    fn a_tensor_is_unchanged_at_its_third_look() {
        let judged = |sizes: [f64; 3]| {
            let mut unchanged = Unchanged::default();
            sizes.map(|size| {
                let weights = [tensor("w", size)];
                let seen = Observation { weights: &weights, loss: size, ..Observation::default() };
                unchanged.judge(&rule(Name::UnchangedTensor), &seen).is_some()
            })
        };
        assert_eq!(judged([1.0, 1.0, 1.0 + 0.9e-5]), [false, false, true]);
        assert_eq!(judged([1.0, 1.0, 1.0 + 1.1e-5]), [false, false, false]);
        assert_eq!(judged([f64::NAN; 3]), [false, false, false]);
    }
}
