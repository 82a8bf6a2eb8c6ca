//! TheDeepChecker's checks of activations.

use super::before::F_CRITICAL;
use crate::{
    config::Activation,
    diagnosis::rule_sets::{Sighting, measures::dead_share},
    statistics::LayerStatistics,
};

/// Fraction of near-zero outputs that makes a unit dead, and fraction of a layer's units.
const MOST: f64 = 0.95;
const HALF: f64 = 0.5;
/// Smallest and largest standard deviation of outputs.
const NARROW: f64 = 0.5;
const WIDE: f64 = 2.0;

/// A unit is dead if 95% of its outputs are below 1e-5. Only ReLUs are checked, because other activations have outputs
/// below 0. [`dead_share`] estimates the fraction of dead units from the statistics of the whole layer.
pub(super) fn judge(layer: &LayerStatistics, activation: Option<Activation>) -> Vec<Sighting> {
    let judged = |rule, meaning, seen, bound| Sighting::of_model(rule, meaning, seen, bound).at(&layer.layer);
    let dead = dead_share(layer, 1.0 - MOST);
    let is_dead = activation == Some(Activation::Relu) && dead > HALF;
    let variance = (layer.rms.powi(2) - layer.mean.powi(2)).max(0.0);
    let bound = match variance {
        _ if NARROW.powi(2) / variance > F_CRITICAL => Some(NARROW),
        _ if variance / WIDE.powi(2) > F_CRITICAL => Some(WIDE),
        _ => None,
    };
    let std = bound.map(|bound| judged("UnstableActivation", "standard deviation of outputs", variance.sqrt(), bound));
    is_dead.then(|| judged("DeadActivation", "share of dead units", dead, HALF)).into_iter().chain(std).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::{fixture::layer, rule_sets::fixture::rules};

    #[test]
    fn layers_are_dead_or_of_a_size_that_does_not_last() {
        let judged = |nonpositive_fraction, rms, activation| {
            rules(&judge(&LayerStatistics { nonpositive_fraction, mean: 0.0, rms, ..layer("one") }, Some(activation)))
        };
        // (2 s - 1) / 0.9 is 0.5 at 0.725.
        assert_eq!(judged(0.73, 1.0, Activation::Relu), ["DeadActivation"]);
        assert!(judged(0.72, 1.0, Activation::Relu).is_empty() && judged(0.9, 1.0, Activation::Tanh).is_empty());
        // 0.5 / sqrt(2.70554) = 0.30398, 2 sqrt(2.70554) = 3.2897.
        assert_eq!(judged(0.5, 0.303, Activation::Relu), ["UnstableActivation"]);
        assert_eq!(judged(0.5, 3.29, Activation::Relu), ["UnstableActivation"]);
        assert!(judged(0.5, 0.305, Activation::Relu).is_empty() && judged(0.5, 3.28, Activation::Relu).is_empty());
    }
}
