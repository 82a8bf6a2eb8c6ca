//! Weights that were drawn wrongly: all equal, or far from the variance that keeps a signal's size.
//!
//! With variance 1 / fan_in a layer keeps the size of what goes through it (LeCun 1998); what activations ask for lies within a
//! factor of 3 of that (torch's own 1/3, He's 2). What an initialization has otherwise by design counts as that 1. Normalization makes up for any variance, but not for weights that are equal:
//! then every unit of a layer computes the same, and gets the same gradient, for ever.

use serde::{Deserialize, Serialize};

use super::{Known, Rule};
use crate::{
    config::{InitializationMethod as Method, RuleName},
    diagnosis::{Figure, Observation, ParameterFacts, Remedy, Severity, Symptom, number::two_digits},
};

/// Variance times fan_in against 1, either way: the geometric mean over the hidden layers.
pub(in super::super) const FACTOR: f64 = 16.0;
/// So far off, a net of a few layers does not train.
const CRITICAL: f64 = 256.0;
/// Standard deviation over the mean below which weights are equal.
const EQUAL: f64 = 1e-6;
/// Sums whose mean lies so many standard deviations below 0 turn every unit off.
const SHIFT: f64 = -4.0;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(in super::super) struct PoorInitialization {}

impl Rule for PoorInitialization {
    fn name(&self) -> RuleName {
        RuleName::PoorInitialization
    }

    fn judge(&mut self, seen: &Observation<'_>, known: &Known<'_>) -> Option<Symptom> {
        if seen.step > 0 || known.facts.parameters.is_empty() {
            return None;
        }
        // What training made of weights has any mean and variance.
        let is_drawn = known.model().is_none_or(|model| model.weights.is_none());
        let drawn = || shifted(known).or_else(|| off_scale(known));
        equal(known).or_else(|| drawn().filter(|_| is_drawn))
    }
}

fn remedies(known: &Known<'_>) -> Vec<Remedy> {
    let method =
        if known.activation().is_some_and(|activation| activation.gain() > 1.2 || activation.saturation()[0] == 0.0) {
            "kaiming_normal"
        } else {
            "xavier_normal"
        };
    vec![
        Remedy::new(format!("model.initialization = \"{method}\""), "weights as large as activation and fan ask for"),
        Remedy::new("model.initialization = \"default\"", "what torch's own layers do"),
    ]
}

fn equal(known: &Known<'_>) -> Option<Symptom> {
    let is_fixup = known.initialization().is_some_and(|initialization| initialization.method == Method::Fixup);
    let is_equal = |weight: &&ParameterFacts| {
        // What ends a branch at 0 gets as many gradients as it has inputs.
        let is_meant = is_fixup && weight.is_zero();
        weight.shape.iter().product::<i64>() > 1 && weight.std <= EQUAL * weight.mean.abs() && !is_meant
    };
    let equal: Vec<_> = known.facts.hidden_weights().filter(is_equal).collect();
    let first = equal.first()?;
    let figures = vec![Figure {
        name: format!("standard deviation of {}", first.name),
        seen: first.std,
        expected: "above 0".into(),
    }];
    let cause = format!(
        "all weights of {} are {:.3}{}: every unit of a layer computes the same and learns the same",
        first.name,
        first.mean,
        if equal.len() > 1 {
            format!(", and those of {} other layer(s) are equal too", equal.len() - 1)
        } else {
            String::new()
        }
    );
    let layers = equal.iter().map(|weight| weight.name.clone()).collect();
    Some(Symptom { severity: Severity::Critical, layers, figures, cause, remedies: remedies(known) })
}

/// Behind activations that are flat below 0 alone, means below 0 add up over the inputs, which are not; normalization takes them
/// out again.
fn shifted(known: &Known<'_>) -> Option<Symptom> {
    let is_one_sided = |[low, high]: [f64; 2]| low.is_finite() && high.is_infinite();
    let activation = known.activation().filter(|activation| is_one_sided(activation.saturation()))?;
    if !known.has_no_normalization() {
        return None;
    }
    // The sums' mean over their standard deviation, for inputs whose mean is about their RMS.
    let shift = |weight: &ParameterFacts| weight.mean * weight.fan_in().sqrt() / weight.std;
    let shifted: Vec<_> = known.facts.hidden_weights().skip(1).filter(|weight| shift(weight) < SHIFT).collect();
    let worst = shifted.iter().min_by(|one, other| shift(one).total_cmp(&shift(other)))?;
    let figures = vec![Figure {
        name: format!("mean of the sums of {} over their standard deviation", worst.name),
        seen: shift(worst),
        expected: "about 0".into(),
    }];
    let cause = format!(
        "the weights of {} have mean {:.3}, so that its sums lie {:.1} standard deviations below 0, where {activation} is flat",
        worst.name,
        worst.mean,
        -shift(worst)
    );
    let layers = shifted.iter().map(|weight| weight.name.clone()).collect();
    Some(Symptom { severity: Severity::Critical, layers, figures, cause, remedies: remedies(known) })
}

fn off_scale(known: &Known<'_>) -> Option<Symptom> {
    if !known.has_no_normalization() {
        return None;
    }
    let hidden: Vec<_> = known.facts.hidden_weights().collect();
    let over_expected =
        |weight: &&ParameterFacts| Some(weight.scale() / known.initialization()?.expected_scale(weight.fan_in())?);
    let logarithms = hidden.iter().map(over_expected).map(|scale| scale.map(f64::ln)).sum::<Option<f64>>()?;
    let mean = (logarithms / hidden.len() as f64).exp();
    let off = mean.max(1.0 / mean);
    if !off.is_finite() || off <= known.thresholds.poor_initialization {
        return None;
    }
    let severity = if off > CRITICAL { Severity::Critical } else { Severity::Warning };
    let figures = vec![Figure {
        name: "variance of the weights times fan_in, geometric mean of the hidden layers".into(),
        seen: mean,
        expected: "1/3 to 3".into(),
    }];
    let (word, what) = if mean > 1.0 { ("grows", "large") } else { ("shrinks", "small") };
    let cause = format!(
        "the variance of the weights times their fan_in is {} instead of about 1: the weights are too {what}, and the \
         signal {word} {:.1}-fold at each layer",
        two_digits(mean),
        off.sqrt()
    );
    let layers = hidden.iter().map(|weight| weight.name.clone()).collect();
    Some(Symptom { severity, layers, figures, cause, remedies: remedies(known) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::fixture::Case;

    /// What is said of three layers of 100 inputs, the last of them the classifier.
    fn told(more: &str, mean: f64, std: f64) -> Option<(Severity, usize)> {
        let mut case = Case::new(more);
        let weight = |name: &str| ParameterFacts { name: name.into(), shape: vec![50, 100], mean, std };
        case.facts.parameters = ["a.weight", "b.weight", "head.weight"].map(weight).to_vec();
        let symptom = PoorInitialization::default().judge(&Observation::default(), &case.known())?;
        Some((symptom.severity, symptom.layers.len()))
    }

    #[test]
    fn equal_weights_are_critical_with_any_normalization() {
        assert_eq!(told("", 0.1, 0.0), Some((Severity::Critical, 2)));
        assert_eq!(told("model.normalization = \"batch\"", 0.0, 0.0), Some((Severity::Critical, 2)));
    }

    #[test]
    fn the_variance_counts_where_nothing_makes_up_for_it() {
        // He, LeCun, torch's own: variance times fan_in of 2, 1 and 1/3.
        for std in [0.02f64.sqrt(), 0.1, (1.0 / 300f64).sqrt()] {
            assert_eq!(told("", 0.0, std), None);
        }
        assert_eq!(told("", 0.0, 0.01), Some((Severity::Warning, 2)));
        assert_eq!(told("", 0.0, 1e-3), Some((Severity::Critical, 2)));
        assert_eq!(told("", 0.0, 0.5), Some((Severity::Warning, 2)));
        assert_eq!(told("model.normalization = \"batch\"", 0.0, 0.5), None);
        assert_eq!(told("model.weights = \"net.pth\"", 0.0, 1e-3), None);
        assert_eq!(told("model.weights = \"net.pth\"", 0.1, 0.0), Some((Severity::Critical, 2)));
    }

    #[test]
    fn what_an_initialization_has_by_design_is_no_fault_and_its_opposite_is() {
        let sigmoid = |method: &str| format!("model.activation = \"sigmoid\"\nmodel.initialization = \"{method}\"");
        let residual = "model.residual = true\nmodel.initialization = \"fixup\"";
        // 16 / fan_in, ten times too much of it, and what He's weights have, which is as far off.
        let centred = |std| told(&sigmoid("centred_logistic"), 0.0, std);
        assert_eq!([0.4, 1.3, 4.0].map(centred), [None, None, Some((Severity::Warning, 2))]);
        assert_eq!(centred(0.05), Some((Severity::Warning, 2)));
        // 100 (0.08^2 + 0.1^2) = 1.64.
        assert_eq!(told(&sigmoid("yilmaz_poli"), -0.08, 0.1), None);
        assert_eq!(told(&sigmoid("lsuv"), 0.0, 0.6), None);
        assert_eq!(told(residual, 0.0, 0.0), None);
        assert_eq!(told(residual, 0.1, 0.0), Some((Severity::Critical, 2)));
        assert_eq!(told("model.initialization = \"constant\"", 0.0, 0.0), Some((Severity::Critical, 2)));
    }

    #[test]
    fn a_mean_that_turns_every_unit_off_is_told_where_being_off_is_flat() {
        // The second layer's sums lie at -0.1 * 100 / (0.1 * 10) = -10 deviations.
        assert_eq!(told("model.activation = \"relu\"", -0.1, 0.1), Some((Severity::Critical, 1)));
        assert_eq!(told("model.activation = \"sigmoid\"", -0.1, 0.1), None);
        assert_eq!(told("model.activation = \"relu\"", 0.01, 0.1), None);
    }
}
