//! TheDeepChecker's checks before training: images, labels, weights, biases, and the first loss.

use crate::{
    config::Activation,
    diagnosis::{Facts, Observation, ParameterFacts, Subject, rule_sets::Sighting},
};

/// Variance ratio from which two variances count as different; the tool's threshold for a significance level of 0.1.
pub(super) const F_CRITICAL: f64 = 2.705_54;
/// Variance below which weights count as all equal.
const EQUAL: f64 = 1e-8;
/// Minimum of exp(entropy of the labels) over the number of classes.
const PERPLEXITY: f64 = 0.5;
/// Largest relative deviation of the first loss from ln C.
const LOSS: f64 = 1.0;
/// Largest deviation of the images' mean and standard deviation from 0 and 1.
const NORMALIZED: f64 = 0.01;

pub(super) fn judge(seen: &Observation<'_>, subject: &Subject<'_>) -> Vec<Sighting> {
    let facts = subject.facts;
    let activation = subject.activation();
    [
        images(facts),
        labels(facts),
        equal_weights(facts),
        weights(facts, activation),
        biases(facts),
        initial_loss(seen.loss, facts),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The tool accepts images that range from -1 or 0 to 1, and images with mean 0 and standard deviation 1. The smallest
/// and largest values are not measured here. Values between -1 and 1 have a mean^2 + variance of at most 1, so only
/// images above that are reported, and images with a narrower range pass too. The statistics are those of one batch,
/// whose mean may deviate by 1 / sqrt(n) from that of all images.
fn images(facts: &Facts) -> Option<Sighting> {
    if let Some(channel) = facts.channels.iter().find(|channel| channel.std == 0.0) {
        return Some(Sighting::of_model("ConstantInput", "standard deviation of a channel", channel.std, 0.0));
    }
    let error = if facts.batch_size == 0 { 0.0 } else { 1.0 / (facts.batch_size as f64).sqrt() };
    let is_normalized = |mean: f64, std: f64| mean.abs().max((std - 1.0).abs()) <= NORMALIZED + error;
    let square = |mean: f64, std: f64| mean.powi(2) + std.powi(2);
    let off = facts
        .channels
        .iter()
        .find(|channel| square(channel.mean, channel.std) > 1.0 && !is_normalized(channel.mean, channel.std))?;
    let meaning = "mean square of a channel that is not in -1..1 and not standardized";
    Some(Sighting::of_model("UnnormalizedInput", meaning, square(off.mean, off.std), 1.0))
}

/// `None` for multi-label data, whose classes do not exclude each other.
fn perplexity(facts: &Facts) -> Option<f64> {
    let is_known = facts.class_counts.iter().sum::<u64>() > 0 && !facts.is_multi_label();
    is_known.then(|| facts.guess().exp() / facts.class_counts.len() as f64)
}

fn labels(facts: &Facts) -> Option<Sighting> {
    let balance = perplexity(facts).filter(|balance| *balance < PERPLEXITY)?;
    Some(Sighting::of_model("UnbalancedLabels", "perplexity of the labels / classes", balance, PERPLEXITY))
}

fn kernels(facts: &Facts) -> impl Iterator<Item = &ParameterFacts> {
    facts.parameters.iter().filter(|parameter| parameter.is_weight())
}

fn equal_weights(facts: &Facts) -> Option<Sighting> {
    let equal = kernels(facts).find(|weight| weight.std.powi(2) <= EQUAL)?;
    Some(Sighting::of_model("UnbrokenSymmetry", "variance of a weight", equal.std.powi(2), EQUAL).at(&equal.name))
}

/// Suitable variances for an activation: He for ReLU, Glorot for tanh, LeCun for sigmoid, and any of these for others.
fn wanted(weight: &ParameterFacts, activation: Option<Activation>) -> Vec<f64> {
    let fan_in = weight.fan_in();
    let spatial = weight.shape.iter().skip(2).product::<i64>();
    let fan_out = weight.shape.first().map_or(0, |outputs| outputs * spatial) as f64;
    let (he, glorot, lecun) = (2.0 / fan_in, 2.0 / (fan_in + fan_out), 1.0 / fan_in);
    match activation {
        Some(Activation::Relu) => vec![he],
        Some(Activation::Tanh) => vec![glorot],
        Some(Activation::Sigmoid) => vec![lecun],
        _ => vec![he, glorot, lecun],
    }
}

fn weights(facts: &Facts, activation: Option<Activation>) -> Option<Sighting> {
    kernels(facts).filter(|weight| weight.std.powi(2) > EQUAL).find_map(|weight| {
        let ratio = |wanted: f64| {
            let ratio = weight.std.powi(2) / wanted;
            ratio.max(1.0 / ratio)
        };
        let nearest = wanted(weight, activation).into_iter().map(ratio).fold(f64::INFINITY, f64::min);
        let meaning = "ratio of the variance to the recommended one";
        (nearest > F_CRITICAL)
            .then(|| Sighting::of_model("WeightInitialization", meaning, nearest, F_CRITICAL).at(&weight.name))
    })
}

/// With balanced labels, all biases must be 0. With unbalanced labels, the last bias must not be 0.
fn biases(facts: &Facts) -> Option<Sighting> {
    const RULE: &str = "BiasInitialization";
    kernels(facts).next()?;
    let biases = || facts.parameters.iter().filter(|parameter| parameter.name.ends_with("bias"));
    let Some(last) = biases().next_back() else {
        return Some(Sighting::of_model(RULE, "number of biases", 0.0, 1.0));
    };
    if perplexity(facts).is_some_and(|balance| balance < PERPLEXITY) {
        let meaning = "mean of the last bias (the labels are unbalanced)";
        return (last.mean == 0.0).then(|| Sighting::of_model(RULE, meaning, 0.0, 0.0).at(&last.name));
    }
    let off = biases().find(|bias| bias.mean != 0.0)?;
    Some(Sighting::of_model(RULE, "mean of a bias", off.mean, 0.0).at(&off.name))
}

fn initial_loss(loss: f64, facts: &Facts) -> Option<Sighting> {
    let expected = (facts.classes as f64).ln();
    let error = (loss - expected).abs() / expected;
    let meaning = "|loss - ln classes| / ln classes";
    let is_judged = facts.classes > 1 && !facts.is_multi_label();
    (is_judged && error >= LOSS).then(|| Sighting::of_model("InitialLoss", meaning, error, LOSS))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::ChannelFacts;

    fn parameter(name: &str, shape: &[i64], mean: f64, variance: f64) -> ParameterFacts {
        ParameterFacts { name: name.into(), shape: shape.to_vec(), mean, std: variance.sqrt() }
    }

    #[test]
    fn images_that_can_be_neither_within_1_nor_standardized_are_told() {
        let judged = |mean, std, batch_size| {
            let facts = Facts { channels: vec![ChannelFacts { mean, std }], batch_size, ..Facts::default() };
            images(&facts).map(|judged| judged.rule)
        };
        assert_eq!(judged(0.286, 0.353, 0), None);
        assert_eq!(judged(73.0, 90.0, 0), Some("UnnormalizedInput"));
        assert_eq!(judged(0.5, 0.0, 0), Some("ConstantInput"));
        // The mean of a batch of 100 may deviate by 0.1.
        assert_eq!((judged(0.1, 1.05, 100), judged(0.1, 1.05, 0)), (None, Some("UnnormalizedInput")));
    }

    #[test]
    fn labels_are_balanced_by_their_perplexity() {
        let judged =
            |class_counts: &[u64]| labels(&Facts { class_counts: class_counts.to_vec(), ..Facts::default() }).is_some();
        // Two equally frequent classes out of four: 2 / 4.
        assert!(!judged(&[50, 50, 0, 0]) && !judged(&[]));
        assert!(judged(&[60, 40, 0, 0]));
        let multi_label = Facts { class_counts: vec![60, 40, 0, 0], multi_label_images: 70, ..Facts::default() };
        assert!(labels(&multi_label).is_none());
    }

    #[test]
    fn each_activation_asks_for_a_variance_within_a_factor_of_2_7() {
        let judged = |activation, variance| {
            // fan_in 8 * 9, fan_out 16 * 9.
            let facts = Facts { parameters: vec![parameter("w", &[16, 8, 3, 3], 0.0, variance)], ..Facts::default() };
            weights(&facts, activation).is_some()
        };
        let relu = Some(Activation::Relu);
        assert!(!judged(relu, 2.0 / 72.0) && !judged(relu, 2.0 / 72.0 / 2.7) && judged(relu, 2.0 / 72.0 / 2.71));
        assert!(!judged(Some(Activation::Tanh), 2.0 / 216.0 * 2.7) && judged(Some(Activation::Tanh), 2.0 / 72.0));
        assert!(!judged(Some(Activation::Sigmoid), 1.0 / 72.0) && judged(Some(Activation::Sigmoid), 2.8 / 72.0));
        // Other activations accept any of the three variances: from Glorot's / 2.7 to He's * 2.7.
        assert!(!judged(None, 2.0 / 216.0 / 2.7) && !judged(None, 5.4 / 72.0) && judged(None, 5.5 / 72.0));
    }

    #[test]
    fn weights_that_are_all_equal_are_told_as_such_and_not_of_their_variance() {
        let judged = |variance| {
            let facts = Facts { parameters: vec![parameter("w", &[10, 10], 0.1, variance)], ..Facts::default() };
            (equal_weights(&facts).is_some(), weights(&facts, Some(Activation::Relu)).is_some())
        };
        assert_eq!((judged(0.0), judged(0.2), judged(1e-7)), ((true, false), (false, false), (false, true)));
    }

    #[test]
    fn biases_are_zero_unless_labels_are_unbalanced() {
        let judged = |mean, class_counts: &[u64]| {
            let parameters = vec![parameter("a.weight", &[2, 2], 0.0, 1.0), parameter("a.bias", &[2], mean, 0.0)];
            biases(&Facts { parameters, class_counts: class_counts.to_vec(), ..Facts::default() }).is_some()
        };
        assert!(!judged(0.0, &[50, 50]) && judged(0.1, &[50, 50]) && judged(0.1, &[]));
        assert!(judged(0.0, &[1000, 1, 1, 1]) && !judged(0.1, &[1000, 1, 1, 1]));
        let parameters = vec![parameter("a.weight", &[2, 2], 0.0, 1.0)];
        assert!(biases(&Facts { parameters, ..Facts::default() }).is_some());
        assert!(biases(&Facts::default()).is_none());
    }

    #[test]
    fn the_first_loss_is_less_than_twice_that_of_a_guess() {
        let judged = |loss| initial_loss(loss, &Facts { classes: 10, ..Facts::default() }).is_some();
        // 2 ln 10 = 4.605.
        assert!(!judged(4.6) && judged(4.61) && !judged(0.1) && !judged(f64::NAN));
        assert!(initial_loss(40.0, &Facts::default()).is_none());
        assert!(initial_loss(40.0, &Facts { classes: 10, multi_label_images: 70, ..Facts::default() }).is_none());
    }
}
