//! Dead ReLUs: a layer that is off for nearly every input, and gets no gradient to turn it on again. Other functions that
//! are flat below 0, such as GELU and SiLU, can die in the same way, farther below 0.
//!
//! Healthy ReLU layers are off for 50 to 90% of their inputs, sparse ones for more. Tools with a threshold of 70%
//! zeros flag a third of healthy runs.

use serde::{Deserialize, Serialize};

use super::{Need, Rule, RuleContext, Ways};
use crate::{
    config::{Activation, RuleName},
    diagnosis::{Figure, Observation, Remedy, Severity, Symptom},
    statistics::LayerStatistics,
};

/// Fraction of a layer's outputs at 0.
pub(in super::super) const WARNING: f64 = 0.98;
const CRITICAL: f64 = 0.9999;
/// Required consecutive checks, because a layer may be off for one batch.
const LOOKS: u32 = 2;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(in super::super) struct DeadRelu {
    looks: u32,
}

impl Rule for DeadRelu {
    fn name(&self) -> RuleName {
        RuleName::DeadRelu
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
        let activation = context.activation().filter(|activation| activation.is_flat_below())?;
        let is_relu = matches!(activation, Activation::Relu | Activation::Relu6);
        // ReLU6 is flat above 6 too, where it is not off.
        let share_of =
            |layer: &LayerStatistics| if is_relu { layer.nonpositive_fraction } else { layer.saturated_fraction };
        if seen.layers.is_empty() {
            return None;
        }
        let dead = || seen.layers.iter().filter(|layer| share_of(layer) > context.thresholds.dead_relu);
        let Some(worst) = dead().max_by(|one, other| share_of(one).total_cmp(&share_of(other))) else {
            self.looks = 0;
            return None;
        };
        self.looks += 1;
        let share = share_of(worst);
        // A layer that is completely off at step 0 was initialized that way.
        if self.looks < LOOKS && !(seen.step == 0 && share > CRITICAL) {
            return None;
        }
        let severity = if share > CRITICAL { Severity::Critical } else { Severity::Warning };
        let (layer, percent) = (&worst.layer, 100.0 * share);
        let (name, off) = if is_relu {
            (
                format!("share of outputs at 0 in {layer}"),
                format!("the ReLUs of {layer} output 0 for {percent:.2}% of their inputs"),
            )
        } else {
            let low = activation.saturation()[0];
            (
                format!("share of inputs in the flat range of {activation} in {layer}"),
                format!("{percent:.2}% of the inputs of {activation} in {layer} are below {low:.1}, where it is flat"),
            )
        };
        let figures = vec![Figure { name, seen: share, expected: "0.98 or less".into() }];
        let cause = format!("{off}, and a unit that is off gets no gradient to turn it on again");
        let mut remedies = vec![
            Remedy::config(
                "model.activation",
                "leaky_relu",
                "passes a hundredth of the gradient if the input is negative",
            ),
            Remedy::config("model.normalization", "batch", "moves half of the inputs above 0 again"),
        ];
        remedies.extend(Remedy::lower_learning_rate(context, "large steps push units below 0"));
        Some(Symptom {
            severity,
            layers: dead().map(|layer| layer.layer.clone()).collect(),
            ranks: Vec::new(),
            figures,
            cause,
            remedies,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::fixture::{Case, layer};

    fn judged(activation: &str, shares: &[f64]) -> Vec<Option<Severity>> {
        let case = Case::new(&format!("model.activation = \"{activation}\""));
        let mut rule = DeadRelu::default();
        let judge = |share: &f64| {
            let dead = match activation {
                "relu" | "relu6" => LayerStatistics { nonpositive_fraction: *share, ..layer("two") },
                _ => LayerStatistics { saturated_fraction: *share, nonpositive_fraction: 1.0, ..layer("two") },
            };
            let layers = [layer("one"), dead];
            let seen = Observation { step: 1, layers: &layers, ..Observation::default() };
            rule.judge(&seen, &case.context()).map(|symptom| symptom.severity)
        };
        shares.iter().map(judge).collect()
    }

    #[test]
    fn a_layer_that_is_off_at_two_looks_is_dead_and_a_sparse_one_is_not() {
        assert_eq!(judged("relu", &[0.99, 0.99, 1.0]), [None, Some(Severity::Warning), Some(Severity::Critical)]);
        assert_eq!(judged("relu", &[0.9, 0.95, 0.97]), [None; 3]);
        assert_eq!(judged("relu", &[0.99, 0.9, 0.99]), [None; 3]);
    }

    #[test]
    fn every_function_that_is_flat_below_0_alone_can_die() {
        let dead = [None, Some(Severity::Critical)];
        for activation in ["relu6", "gelu", "silu", "mish", "hardswish", "elu", "selu", "softplus"] {
            assert_eq!(judged(activation, &[1.0, 1.0]), dead, "{activation}");
            assert_eq!(judged(activation, &[0.5, 0.5]), [None; 2], "{activation}");
        }
        // These have a gradient below 0, or are flat on both sides, which is another rule's case.
        for activation in ["leaky_relu", "tanh", "sigmoid", "hardtanh"] {
            assert_eq!(judged(activation, &[1.0, 1.0]), [None; 2], "{activation}");
        }
    }
}
