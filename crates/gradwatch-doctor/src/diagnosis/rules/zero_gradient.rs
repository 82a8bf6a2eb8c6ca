//! Weights whose gradient is exactly 0.

use serde::{Deserialize, Serialize};

use super::{Need, Rule, RuleContext, Ways};
use crate::{
    config::RuleName,
    diagnosis::{Figure, Observation, Severity, Symptom},
    statistics::TensorStatistics,
};

/// Required consecutive checks, because one batch may not use a layer.
const LOOKS: u32 = 2;
/// Steps after which residual branches that start at 0 must have a gradient: one for the end of the branch, one more if
/// the classifier is 0 too, and some for skipped or warm-up steps.
const SILENT_STEPS: u64 = 10;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(in super::super) struct ZeroGradient {
    looks: u32,
}

impl Rule for ZeroGradient {
    fn name(&self) -> RuleName {
        RuleName::ZeroGradient
    }

    fn needs(&self) -> Ways {
        &[&[Need::Gradients]]
    }

    fn causes(&self) -> &'static [RuleName] {
        &[
            RuleName::InputNotNormalized,
            RuleName::WrongLoss,
            RuleName::PoorInitialization,
            RuleName::MissingGradient,
            RuleName::UnchangedParameter,
            RuleName::GradientAccumulation,
            RuleName::LearningRate,
            RuleName::Vanishing,
            RuleName::DeadRelu,
            RuleName::Saturated,
            RuleName::UpdateRatio,
            RuleName::Exploding,
            RuleName::NonFinite,
            RuleName::WeightDecay,
            RuleName::Clipping,
            RuleName::Epsilon,
            RuleName::Momentum,
            RuleName::BatchNorm,
            RuleName::RunningStatistics,
        ]
    }

    fn judge(&mut self, seen: &Observation<'_>, context: &RuleContext<'_>) -> Option<Symptom> {
        let is_silent = seen.step < SILENT_STEPS && context.has_silent_branches();
        let gradients = seen.gradients.filter(|_| !is_silent && !context.has_fitted(seen))?;
        // A bias before a normalization has no gradient and needs none. The shape distinguishes weights from biases.
        let is_weight = |grad: &&TensorStatistics| context.roles.is_weight(&grad.name);
        let is_zero = |grad: &&TensorStatistics| grad.norm == 0.0 && grad.elements > 0;
        let zero = || gradients.parameters.iter().filter(is_zero).filter(is_weight);
        let layers: Vec<_> = zero().map(|grad| grad.name.clone()).collect();
        self.looks = if layers.is_empty() { 0 } else { self.looks + 1 };
        if self.looks < LOOKS {
            return None;
        }
        let figures = vec![Figure {
            name: "weights whose gradient is 0".into(),
            seen: layers.len() as f64,
            expected: "0".into(),
        }];
        let cause = match &layers[..] {
            [one] => {
                format!("the gradient of {one} is exactly 0: no gradient flows back to it, so it does not change")
            }
            all => format!(
                "the gradient of {} weights is exactly 0, first {}: no gradient flows back to them, so they do not \
                 change",
                all.len(),
                all[0]
            ),
        };
        Some(Symptom { severity: Severity::Critical, layers, ranks: Vec::new(), figures, cause, remedies: Vec::new() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::fixture::{Case, gradients};

    #[test]
    fn branches_that_begin_at_0_have_some_steps_to_let_a_gradient_through() {
        let case = Case::new("model.residual = true\nmodel.initialization.skip_init = true");
        let gradients = gradients(&[("a.weight", 0.0)]);
        let mut rule = ZeroGradient::default();
        let mut judge = |step| {
            let seen = Observation { step, loss: 2.3, gradients: Some(&gradients), ..Observation::default() };
            rule.judge(&seen, &case.context()).is_some()
        };
        assert_eq!((0..20).find(|step| judge(*step)), Some(SILENT_STEPS + 1));
    }

    #[test]
    fn a_perfect_fit_is_no_fault() {
        let (case, mut rule, gradients) = (Case::new(""), ZeroGradient::default(), gradients(&[("a.weight", 0.0)]));
        let mut judge = |loss| {
            let seen = Observation { loss, gradients: Some(&gradients), ..Observation::default() };
            (0..3).any(|_| rule.judge(&seen, &case.context()).is_some())
        };
        assert!(!judge(0.0) && !judge(1e-4) && judge(0.1));
    }

    #[test]
    fn a_weight_without_any_gradient_at_two_looks_is_told_and_a_bias_is_not() {
        let (case, mut rule) = (Case::new(""), ZeroGradient::default());
        let mut judge = |norms: &[(&str, f64)]| {
            let gradients = gradients(norms);
            let seen = Observation { loss: 2.3, gradients: Some(&gradients), ..Observation::default() };
            rule.judge(&seen, &case.context()).map(|symptom| symptom.layers)
        };
        assert_eq!(judge(&[("a.weight", 0.0), ("a.bias", 0.0)]), None);
        assert_eq!(judge(&[("a.weight", 0.0), ("a.bias", 0.0)]), Some(vec!["a.weight".into()]));
        assert_eq!(judge(&[("a.weight", 1e-30), ("a.bias", 0.0)]), None);
        assert_eq!(judge(&[("a.weight", 0.0), ("a.bias", 0.0)]), None);
    }
}
