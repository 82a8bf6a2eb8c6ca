//! Bad initial weights: all equal, or with a variance far from the one that preserves the size of the signal.
//!
//! With variance 1 / fan_in, a layer preserves the size of its input (LeCun 1998). The variances that suit the
//! activations are within a factor of 3 of it (1/3 for torch's default, 2 for He). If an initialization has another
//! variance by design, that one is the reference. Normalization compensates for any variance, but not for equal
//! weights: then all units of a layer compute the same output and get the same gradient forever.

use serde::{Deserialize, Serialize};

use super::{Need, Rule, RuleContext, Ways};
use crate::{
    config::{InitializationMethod as Method, RuleName},
    diagnosis::{Figure, Observation, ParameterFacts, Remedy, Severity, Symptom},
    number::{Rounded, count, two_digits},
};

/// Largest deviation of variance times fan_in from its reference, in either direction, as a geometric mean over the
/// hidden layers.
pub(in super::super) const FACTOR: f64 = 16.0;
/// Above this factor, a network with a few layers does not train.
const CRITICAL: f64 = 256.0;
/// Standard deviation over the absolute mean below which weights count as equal.
const EQUAL: f64 = 1e-6;
/// Mean of a unit's sums in standard deviations. Below this, all units are off.
const SHIFT: f64 = -4.0;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(in super::super) struct PoorInitialization {}

impl Rule for PoorInitialization {
    fn name(&self) -> RuleName {
        RuleName::PoorInitialization
    }

    fn needs(&self) -> Ways {
        &[&[Need::InitialFacts]]
    }

    fn causes(&self) -> &'static [RuleName] {
        &[RuleName::InputNotNormalized]
    }

    fn is_refuted_by_learning(&self) -> bool {
        true
    }

    fn judge(&mut self, seen: &Observation<'_>, context: &RuleContext<'_>) -> Option<Symptom> {
        if seen.step > 0 || context.facts.parameters.is_empty() {
            return None;
        }
        // Pretrained weights may have any mean and variance.
        let is_drawn = context.model().is_none_or(|model| model.weights.is_none());
        let drawn = || shifted(context).or_else(|| off_scale(context));
        equal(context).or_else(|| drawn().filter(|_| is_drawn))
    }
}

fn remedies(context: &RuleContext<'_>) -> Vec<Remedy> {
    let method = if context
        .activation()
        .is_some_and(|activation| activation.gain() > 1.2 || activation.saturation()[0] == 0.0)
    {
        "kaiming_normal"
    } else {
        "xavier_normal"
    };
    vec![
        Remedy::config("model.initialization", method, "scales the weights for the activation and fan-in"),
        Remedy::config("model.initialization", "default", "uses the defaults of torch's layers"),
    ]
}

fn equal(context: &RuleContext<'_>) -> Option<Symptom> {
    let is_fixup = context.initialization().is_some_and(|initialization| initialization.method == Method::Fixup);
    let is_equal = |weight: &&ParameterFacts| {
        // Zero weights at the end of a branch get a different gradient for each input.
        let is_meant = is_fixup && weight.is_zero();
        weight.shape.iter().product::<i64>() > 1 && weight.std <= EQUAL * weight.mean.abs() && !is_meant
    };
    let equal: Vec<_> = context.facts.hidden_weights().filter(is_equal).collect();
    let first = equal.first()?;
    let figures = vec![Figure {
        name: format!("standard deviation of {}", first.name),
        seen: first.std,
        expected: "above 0".into(),
    }];
    let cause = format!(
        "all weights of {} are {:.3}{}: all units of a layer compute the same output and get the same gradient",
        first.name,
        Rounded(first.mean),
        if equal.len() > 1 {
            format!(", and the weights of {} are equal too", count(equal.len() - 1, "other layer"))
        } else {
            String::new()
        }
    );
    let layers = equal.iter().map(|weight| weight.name.clone()).collect();
    Some(Symptom {
        severity: Severity::Critical,
        layers,
        ranks: Vec::new(),
        figures,
        cause,
        remedies: remedies(context),
    })
}

/// For activations that are flat only below 0: their outputs are not negative, so negative weight means add up over the
/// inputs. Normalization removes this shift.
fn shifted(context: &RuleContext<'_>) -> Option<Symptom> {
    let is_one_sided = |[low, high]: [f64; 2]| low.is_finite() && high.is_infinite();
    let activation = context.activation().filter(|activation| is_one_sided(activation.saturation()))?;
    if !context.has_no_normalization() {
        return None;
    }
    // Mean of the sums over their standard deviation, for inputs with a mean of about their RMS.
    let shift = |weight: &ParameterFacts| weight.mean * weight.fan_in().sqrt() / weight.std;
    let shifted: Vec<_> = context.facts.hidden_weights().skip(1).filter(|weight| shift(weight) < SHIFT).collect();
    let worst = shifted.iter().min_by(|one, other| shift(one).total_cmp(&shift(other)))?;
    let figures = vec![Figure {
        name: format!("mean of the pre-activations of {} over their standard deviation", worst.name),
        seen: shift(worst),
        expected: "about 0".into(),
    }];
    let cause = format!(
        "the weights of {} have mean {:.3}, so its pre-activations are {:.1} standard deviations below 0, where \
         {activation} is flat",
        worst.name,
        worst.mean,
        -shift(worst)
    );
    let layers = shifted.iter().map(|weight| weight.name.clone()).collect();
    Some(Symptom {
        severity: Severity::Critical,
        layers,
        ranks: Vec::new(),
        figures,
        cause,
        remedies: remedies(context),
    })
}

fn off_scale(context: &RuleContext<'_>) -> Option<Symptom> {
    if !context.has_no_normalization() {
        return None;
    }
    let hidden: Vec<_> = context.facts.hidden_weights().collect();
    let over_expected =
        |weight: &&ParameterFacts| Some(weight.scale() / context.initialization()?.expected_scale(weight.fan_in())?);
    let logarithms = hidden.iter().map(over_expected).map(|scale| scale.map(f64::ln)).sum::<Option<f64>>()?;
    let mean = (logarithms / hidden.len() as f64).exp();
    let off = mean.max(1.0 / mean);
    if !off.is_finite() || off <= context.thresholds.poor_initialization {
        return None;
    }
    let severity = if off > CRITICAL { Severity::Critical } else { Severity::Warning };
    let figures = vec![Figure {
        name: "variance of the weights times fan-in, geometric mean over the hidden layers".into(),
        seen: mean,
        expected: "1/3 to 3".into(),
    }];
    let (word, what) = if mean > 1.0 { ("grows", "large") } else { ("shrinks", "small") };
    let cause = format!(
        "the variance of the weights times their fan-in is {} instead of about 1: the weights are too {what}, and the \
         signal {word} by a factor of {:.1} per layer",
        two_digits(mean),
        Rounded(off.sqrt())
    );
    let layers = hidden.iter().map(|weight| weight.name.clone()).collect();
    Some(Symptom { severity, layers, ranks: Vec::new(), figures, cause, remedies: remedies(context) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::fixture::Case;

    /// Checks three layers with 100 inputs each; the last one is the classifier.
    fn judged(more: &str, mean: f64, std: f64) -> Option<(Severity, usize)> {
        let mut case = Case::new(more);
        let weight = |name: &str| ParameterFacts { name: name.into(), shape: vec![50, 100], mean, std };
        case.facts.parameters = ["a.weight", "b.weight", "head.weight"].map(weight).to_vec();
        let symptom = PoorInitialization::default().judge(&Observation::default(), &case.context())?;
        Some((symptom.severity, symptom.layers.len()))
    }

    #[test]
    fn equal_weights_are_critical_with_any_normalization() {
        assert_eq!(judged("", 0.1, 0.0), Some((Severity::Critical, 2)));
        assert_eq!(judged("model.normalization = \"batch\"", 0.0, 0.0), Some((Severity::Critical, 2)));
    }

    #[test]
    fn the_variance_counts_where_nothing_makes_up_for_it() {
        // Variance times fan_in of He, LeCun, and torch's default: 2, 1, and 1/3.
        for std in [0.02f64.sqrt(), 0.1, (1.0 / 300f64).sqrt()] {
            assert_eq!(judged("", 0.0, std), None);
        }
        assert_eq!(judged("", 0.0, 0.01), Some((Severity::Warning, 2)));
        assert_eq!(judged("", 0.0, 1e-3), Some((Severity::Critical, 2)));
        assert_eq!(judged("", 0.0, 0.5), Some((Severity::Warning, 2)));
        assert_eq!(judged("model.normalization = \"batch\"", 0.0, 0.5), None);
        assert_eq!(judged("model.weights = \"net.pth\"", 0.0, 1e-3), None);
        assert_eq!(judged("model.weights = \"net.pth\"", 0.1, 0.0), Some((Severity::Critical, 2)));
    }

    #[test]
    fn what_an_initialization_has_by_design_is_no_fault_and_its_opposite_is() {
        let sigmoid = |method: &str| format!("model.activation = \"sigmoid\"\nmodel.initialization = \"{method}\"");
        let residual = "model.residual = true\nmodel.initialization = \"fixup\"";
        // 16 / fan_in; ten times that; a hundred times that.
        let centered = |std| judged(&sigmoid("centered_logistic"), 0.0, std);
        assert_eq!([0.4, 1.3, 4.0].map(centered), [None, None, Some((Severity::Warning, 2))]);
        assert_eq!(centered(0.05), Some((Severity::Warning, 2)));
        // 100 (0.08^2 + 0.1^2) = 1.64.
        assert_eq!(judged(&sigmoid("yilmaz_poli"), -0.08, 0.1), None);
        assert_eq!(judged(&sigmoid("lsuv"), 0.0, 0.6), None);
        assert_eq!(judged(residual, 0.0, 0.0), None);
        assert_eq!(judged(residual, 0.1, 0.0), Some((Severity::Critical, 2)));
        assert_eq!(judged("model.initialization = \"constant\"", 0.0, 0.0), Some((Severity::Critical, 2)));
    }

    #[test]
    fn a_mean_that_turns_every_unit_off_is_told_where_being_off_is_flat() {
        // The second layer's sums have mean -0.1 * 100 / (0.1 * 10) = -10 standard deviations.
        assert_eq!(judged("model.activation = \"relu\"", -0.1, 0.1), Some((Severity::Critical, 1)));
        assert_eq!(judged("model.activation = \"sigmoid\"", -0.1, 0.1), None);
        assert_eq!(judged("model.activation = \"relu\"", 0.01, 0.1), None);
    }
}
