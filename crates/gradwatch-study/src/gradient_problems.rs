//! Vanishing and exploding gradients by position in the network: at the first step and at the end of a run, and at the
//! first layer, the layers in the middle, and the last one.
//!
//! At a position, the size of a layer is the RMS of its weight's gradient, relative to the median layer, so that
//! a problem at one place does not depend on the scale of the network. This includes the classifier, which has no
//! activation to measure. For the network as a whole, the depth profile of dLoss/dz is compared from end to end, as the
//! rules `vanishing` and `exploding` do. The thresholds come from the rules. For comparison, the criteria of two rules
//! of SageMaker Debugger are applied to the parameters of the same layers: `VanishingGradient` and `ExplodingTensor`.

use std::sync::Arc;

use gradwatch_doctor::{
    config::{SagemakerRule, SagemakerRuleName},
    diagnosis::{Thresholds, mean_abs},
    statistics::{DepthProfile, GradientStatistics, TensorStatistics},
};

/// The times of a run, as in the names of columns.
const TIMES: [&str; 2] = ["initial", "final"];
const POSITIONS: [&str; 4] = ["first", "middle", "output", "any"];
/// Criteria of the network as a whole.
const OF_NETWORK: [&str; 2] = ["vanishing", "exploding"];
/// Criteria of each position.
const OF_POSITION: [&str; 4] = ["vanishing", "exploding", "sagemaker_vanishing", "sagemaker_exploding"];

/// A layer with a weight.
struct Layer<'a> {
    /// RMS of the weight's gradient.
    size: f64,
    /// Gradients of its parameters, if they were measured.
    gradients: Vec<&'a TensorStatistics>,
}

/// Names of the columns: at each time, those of the network, such as `initial_vanishing`, and those of each position,
/// such as `initial_first_vanishing`.
pub(crate) fn columns() -> Vec<String> {
    let of_position =
        POSITIONS.iter().flat_map(|position| OF_POSITION.map(|criterion| format!("{position}_{criterion}")));
    let of_time: Vec<String> = OF_NETWORK.into_iter().map(str::to_owned).chain(of_position).collect();
    TIMES.iter().flat_map(|time| of_time.iter().map(move |name| format!("{time}_{name}"))).collect()
}

/// Whether each criterion holds at a step, in the order of the [`columns`] of one time; `None` if the network has no
/// such layer, or the step has no such measurement. A position with several layers has the problem of any of them.
/// `weights` has the RMS of each layer's weight gradient, in the order of the forward pass; `total_norm` is the norm of
/// all gradients.
pub(crate) fn problems(
    profile: &DepthProfile,
    weights: &[(Arc<str>, f64)],
    gradients: Option<&GradientStatistics>,
    total_norm: f64,
) -> Vec<Option<bool>> {
    let gradients = gradients.map_or(&[][..], |gradients| &gradients.parameters);
    let layer = |(name, size): &(Arc<str>, f64)| Layer { size: *size, gradients: parameters(name, gradients) };
    let layers: Vec<Layer<'_>> = weights.iter().map(layer).collect();
    let (first, middle, last) = match &layers[..] {
        [first, middle @ .., last] => (std::slice::from_ref(first), middle, std::slice::from_ref(last)),
        // One layer is both.
        one => (one, &[][..], one),
    };
    let usual = median(&layers);
    let of_positions = [first, middle, last, &layers[..]].into_iter().flat_map(|layers| of_position(layers, usual));
    of_network(profile, total_norm).into_iter().chain(of_positions).collect()
}

/// Gradients of the parameters of a layer: those called `layer.weight`, `layer.bias`, and so on.
fn parameters<'a>(layer: &str, gradients: &'a [TensorStatistics]) -> Vec<&'a TensorStatistics> {
    let is_of_layer = |name: &str| {
        let last = name.strip_prefix(layer).and_then(|rest| rest.strip_prefix('.'));
        last.is_some_and(|last| !last.contains('.'))
    };
    gradients.iter().filter(|gradient| is_of_layer(&gradient.name)).collect()
}

fn of_network(profile: &DepthProfile, total_norm: f64) -> [Option<bool>; 2] {
    let sizes: Vec<f64> = profile.layers.iter().map(|(_, size)| *size).collect();
    let ends = sizes.first().copied().zip(sizes.last().copied());
    let is_finite = total_norm.is_finite() && sizes.iter().all(|size| size.is_finite());
    [
        ends.map(|(first, last)| is_finite && vanishes(first, last)),
        // A last layer without a gradient gives no ratio.
        ends.map(|(first, last)| !is_finite || last > 0.0 && explodes(first, last)),
    ]
}

fn of_position(layers: &[Layer<'_>], usual: f64) -> [Option<bool>; 4] {
    let sagemaker = SagemakerRule::new(SagemakerRuleName::VanishingGradient);
    let bound = sagemaker.and_then(|rule| rule.number("threshold")).unwrap_or(0.0);
    let gradients = || layers.iter().flat_map(|layer| &layer.gradients);
    [
        any(layers, |layer| vanishes(layer.size, usual)),
        any(layers, |layer| explodes(layer.size, usual)),
        // The mean of a gradient that is not finite is NaN, which is not below.
        any(gradients(), |gradient| mean_abs(gradient) < bound),
        any(gradients(), |gradient| !gradient.is_finite()),
    ]
}

/// Whether any item fulfills a criterion; `None` without items.
fn any<T>(all: impl IntoIterator<Item = T>, is_so: impl Fn(T) -> bool) -> Option<bool> {
    all.into_iter().map(is_so).reduce(|one, other| one | other)
}

fn vanishes(size: f64, usual: f64) -> bool {
    size == 0.0 || size < Thresholds::default().vanishing * usual
}

fn explodes(size: f64, usual: f64) -> bool {
    !size.is_finite() || size > Thresholds::default().exploding * usual
}

/// Median of the sizes above 0 that are finite, on a logarithmic scale: the geometric mean of two middle ones. NaN if
/// there are none.
fn median(layers: &[Layer<'_>]) -> f64 {
    let mut sizes: Vec<f64> =
        layers.iter().map(|layer| layer.size).filter(|size| size.is_finite() && *size > 0.0).collect();
    sizes.sort_unstable_by(f64::total_cmp);
    match (sizes.get(sizes.len().saturating_sub(1) / 2), sizes.get(sizes.len() / 2)) {
        (Some(lower), Some(upper)) => lower.sqrt() * upper.sqrt(),
        _ => f64::NAN,
    }
}

#[cfg(test)]
mod tests;
