//! Saturated activations: most inputs are in the flat range of the activation, so hardly any gradient passes back.
//!
//! Flat means a derivative below a hundredth of its maximum; see [`Activation::saturation`]. At the thresholds of older
//! tools (sigmoid -23 and 17, tanh 9.5), the derivative is already below 1e-7.

use serde::{Deserialize, Serialize};

use super::{Need, Rule, RuleContext, Ways};
use crate::{
    config::{Activation, RuleName},
    diagnosis::{Figure, Observation, Remedy, Severity, Symptom},
};

/// Fraction of a layer's inputs. The first layer of a sigmoid network that trains reaches 0.5, that of a tanh network
/// 0.8.
pub(in super::super) const WARNING: f64 = 0.88;
const CRITICAL: f64 = 0.95;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(in super::super) struct Saturated {}

impl Rule for Saturated {
    fn name(&self) -> RuleName {
        RuleName::Saturated
    }

    fn needs(&self) -> Ways {
        &[&[Need::Activations, Need::ModelConfig]]
    }

    fn causes(&self) -> &'static [RuleName] {
        &[
            RuleName::InputNotNormalized,
            RuleName::WrongLoss,
            RuleName::PoorInitialization,
            RuleName::GradientAccumulation,
            RuleName::LearningRate,
            RuleName::UpdateRatio,
            RuleName::Exploding,
            RuleName::LabelNoise,
            RuleName::WeightDecay,
            RuleName::Momentum,
            RuleName::BatchNorm,
            RuleName::RunningStatistics,
        ]
    }

    fn is_refuted_by_learning(&self) -> bool {
        true
    }

    fn judge(&mut self, seen: &Observation<'_>, context: &RuleContext<'_>) -> Option<Symptom> {
        let activation = context.activation()?;
        if !activation.is_flat_on_both_sides() {
            return None;
        }
        let [low, high] = activation.saturation();
        let saturated = || seen.layers.iter().filter(|layer| layer.saturated_fraction > context.thresholds.saturated);
        let worst = saturated().max_by(|one, other| one.saturated_fraction.total_cmp(&other.saturated_fraction))?;
        let share = worst.saturated_fraction;
        let severity = if share > CRITICAL { Severity::Critical } else { Severity::Warning };
        let figures = vec![Figure {
            name: format!("share of inputs in the flat range of {activation} in {}", worst.layer),
            seen: share,
            expected: "0.88 or less".into(),
        }];
        let cause = format!(
            "{:.0}% of the inputs of {activation} in {} are below {low:.1} or above {high:.1}, where it is flat, so \
             hardly any gradient passes back",
            100.0 * share,
            worst.layer
        );
        let layers = saturated().map(|layer| layer.layer.clone()).collect();
        Some(Symptom { severity, layers, ranks: Vec::new(), figures, cause, remedies: remedies(context, activation) })
    }
}

fn remedies(context: &RuleContext<'_>, activation: Activation) -> Vec<Remedy> {
    let mut remedies = Vec::new();
    if context.has_no_normalization() {
        remedies.push(Remedy::config("model.normalization", "batch", "moves the inputs back to the steep range"));
    }
    remedies.push(Remedy::config("model.initialization", "xavier_normal", "keeps the inputs near 0"));
    remedies.extend(Remedy::lower_learning_rate(context, "makes the weights grow more slowly"));
    if activation != Activation::Relu {
        remedies.push(Remedy::config("model.activation", "relu", "is not flat for large inputs"));
    }
    remedies
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        diagnosis::fixture::{Case, layer},
        statistics::LayerStatistics,
    };

    fn severity(activation: &str, share: f64) -> Option<Severity> {
        let case = Case::new(&format!("model.activation = \"{activation}\""));
        let layers = [layer("one"), LayerStatistics { saturated_fraction: share, ..layer("two") }];
        let seen = Observation { layers: &layers, ..Observation::default() };
        let symptom = Saturated::default().judge(&seen, &case.context())?;
        assert_eq!(&*symptom.layers, ["two".into()]);
        Some(symptom.severity)
    }

    #[test]
    fn a_layer_most_of_whose_inputs_are_flat_is_saturated_unless_half_of_them_are_meant_to_be() {
        assert_eq!(severity("tanh", 0.8), None);
        assert_eq!(severity("tanh", 0.9), Some(Severity::Warning));
        assert_eq!(severity("sigmoid", 0.96), Some(Severity::Critical));
        assert_eq!(severity("relu", 0.99), None);
    }
}
