//! Clipping that leaves next to nothing of the gradient.
//!
//! Under clipping at a sensible threshold, the steps keep a useful size: a gradient norm of 20 clipped to 0.5 still
//! moves the weights. Adaptive optimizers divide by the size of the gradient, so a uniform factor does not matter to
//! them. The update ratio shows both.

use serde::{Deserialize, Serialize};

use super::{Need, Rule, RuleContext, Ways, learning_rate, update_ratio::median_of_weights};
use crate::{
    config::{ClippingConfig, ClippingMode, RuleName},
    diagnosis::{Figure, Observation, Remedy, Severity, Symptom},
    number::two_digits,
};

/// Factor by which clipping scales the gradients below which it decides the size of the steps.
const SMALL: f64 = 1e-2;
/// Factor of adaptive gradient clipping that counts as too tight. Published recipes use 0.01 to 0.16.
const TIGHT: f64 = 1e-3;
/// Required consecutive checks.
const LOOKS: u32 = 3;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(in super::super) struct Clipping {
    looks: u32,
    /// Last factor.
    coef: Option<f64>,
}

impl Rule for Clipping {
    fn name(&self) -> RuleName {
        RuleName::Clipping
    }

    fn needs(&self) -> Ways {
        &[&[Need::StepLoss, Need::Updates, Need::ModelConfig]]
    }

    fn is_refuted_by_learning(&self) -> bool {
        true
    }

    fn judge(&mut self, seen: &Observation<'_>, context: &RuleContext<'_>) -> Option<Symptom> {
        let clipping = &context.config?.clipping;
        self.coef = seen.clip_coef.filter(|coef| coef.is_finite()).or(self.coef);
        let (coef, ratio) = (self.coef?, median_of_weights(seen.updates, context)?);
        // AGC leaves the last layer alone, which may have most of the gradient.
        let is_tight = clipping.mode == ClippingMode::Agc && clipping.agc.clip_factor < TIGHT;
        let is_small = clipping.mode != ClippingMode::None
            && (coef < SMALL || is_tight && coef < 1.0)
            && ratio < learning_rate::TOO_SMALL
            && seen.is_taken()
            && context.has_learned_little(seen);
        self.looks = if is_small { self.looks + 1 } else { 0 };
        if self.looks < LOOKS {
            return None;
        }
        let figures = vec![
            Figure {
                name: "factor by which clipping scales the gradients".into(),
                seen: coef,
                expected: "0.01 or more".into(),
            },
            Figure { name: "median update ratio of the weights".into(), seen: ratio, expected: "0.001 to 0.01".into() },
        ];
        let cause = format!(
            "clipping multiplies the gradients by {}, so a step moves the weights by only {} of their size",
            two_digits(coef),
            two_digits(ratio)
        );
        let remedies = remedies(clipping);
        Some(Symptom { severity: Severity::Critical, layers: Vec::new(), ranks: Vec::new(), figures, cause, remedies })
    }
}

/// The usual threshold of the mode if it has one, and no clipping.
fn remedies(clipping: &ClippingConfig) -> Vec<Remedy> {
    let usual = match clipping.mode {
        ClippingMode::Norm => Some(("clipping.max_norm", 1.0, "clips only large gradients")),
        ClippingMode::Value => Some(("clipping.clip_value", 1.0, "clips only large elements")),
        ClippingMode::Agc => {
            Some(("clipping.agc.clip_factor", 0.01, "clips a unit's gradient to a hundredth of its weights"))
        }
        _ => None,
    };
    let none = Remedy::config("clipping.mode", "none", "leaves the gradients as they are");
    usual.map(|(key, value, why)| Remedy::config(key, value, why)).into_iter().chain([none]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::fixture::{Case, update};

    #[test]
    fn a_tiny_factor_counts_if_the_weights_hardly_move() {
        let is_told = |more: &str, coef: f64, ratio: f64| {
            let (case, mut rule, updates) = (Case::new(more), Clipping::default(), [update("a.weight", ratio)]);
            let seen = Observation { loss: 2.3, clip_coef: Some(coef), updates: &updates, ..Observation::default() };
            (0..LOOKS).filter_map(|_| rule.judge(&seen, &case.context())).last()
        };
        let norm = "clipping = { mode = \"norm\", max_norm = 1e-6 }";
        let symptom = is_told(norm, 1e-7, 1e-8).unwrap();
        let changes: Vec<String> = symptom.remedies.iter().map(|remedy| remedy.change.to_string()).collect();
        assert_eq!(changes, ["clipping.max_norm = 1", "clipping.mode = \"none\""]);
        assert!(is_told(norm, 1e-7, 1e-3).is_none(), "an adaptive optimizer");
        assert!(is_told(norm, 0.1, 1e-8).is_none(), "the gradient is not what clipping made small");
        assert!(is_told("", 1e-7, 1e-8).is_none());
    }
}
