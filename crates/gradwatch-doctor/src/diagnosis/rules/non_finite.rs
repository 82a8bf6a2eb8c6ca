//! NaN or infinite gradients. They never reach the weights, but their cause does not go away by itself.

use serde::{Deserialize, Serialize};

use super::{Need, Rule, RuleContext, Ways};
use crate::{
    config::{ClippingMode, Precision, RuleName},
    diagnosis::{Figure, Finding, Observation, Remedy, Severity, Symptom},
};

/// Steps with finite gradients after which a run that learns has recovered.
const QUIET: u64 = 100;
/// This many consecutive steps end most runs.
const IN_A_ROW: u64 = 3;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(in super::super) struct NonFinite {}

impl Rule for NonFinite {
    fn name(&self) -> RuleName {
        RuleName::NonFinite
    }

    fn needs(&self) -> Ways {
        &[&[Need::TotalNorm], &[Need::StepLoss]]
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
            RuleName::WeightDecay,
            RuleName::Momentum,
            RuleName::Dropout,
            RuleName::BatchNorm,
            RuleName::RunningStatistics,
        ]
    }

    fn recovery(&self, finding: &Finding, step: u64, context: &RuleContext<'_>) -> Option<String> {
        let level = context.learned().filter(|_| step >= finding.last_step + QUIET)?;
        Some(format!("all gradients have been finite for {QUIET} steps, and the loss has fallen to {level:.3}"))
    }

    fn judge(&mut self, seen: &Observation<'_>, context: &RuleContext<'_>) -> Option<Symptom> {
        let in_a_row = seen.skipped_in_a_row;
        let is_fp16 = context.config.is_some_and(|config| config.run.precision == Precision::Fp16);
        let severity = match in_a_row {
            0 => return None,
            count if count < IN_A_ROW => Severity::Warning,
            _ => Severity::Critical,
        };
        let first = seen.gradients.and_then(|gradients| gradients.first_non_finite());
        let is_of_update = seen.has_finite_gradient();
        // Event files of other programs may have a loss and no gradient.
        let is_of_loss = first.is_none() && seen.total_norm == 0.0 && !seen.loss.is_finite();
        let place = match first {
            _ if is_of_update => "the update of a finite gradient".to_owned(),
            Some(first) => format!("the gradient of {}", first.name),
            None if is_of_loss => "the loss".to_owned(),
            None => "the gradient".to_owned(),
        };
        let what =
            if is_of_loss { "consecutive steps with a loss that is not finite" } else { "consecutive skipped steps" };
        let figures = vec![Figure { name: what.into(), seen: in_a_row as f64, expected: "0".into() }];
        let how_often = if in_a_row == 1 { String::new() } else { format!(", {in_a_row} steps in a row") };
        // Other programs take such steps.
        let handling = match context.config {
            Some(_) => "; such steps are skipped",
            None => "; a step with such values destroys the weights",
        };
        let cause = format!("{place} is not finite{how_often}{handling}");
        let mut remedies = Vec::new();
        if !is_of_update && context.config.is_some_and(|config| config.clipping.mode == ClippingMode::None) {
            remedies.push(Remedy::config(
                "clipping.mode",
                "norm",
                "clips a gradient that is too large before it overflows",
            ));
        }
        remedies.extend(Remedy::lower_learning_rate(context, "makes the weights grow more slowly"));
        if is_fp16 && !is_of_update {
            remedies.push(Remedy::config("run.precision", "bf16", "has the range of float32"));
        }
        Some(Symptom {
            severity,
            layers: first.map(|first| first.name.clone()).into_iter().collect(),
            figures,
            cause,
            remedies,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::fixture::Case;

    fn severity(more: &str, skipped_in_a_row: u64) -> Option<Severity> {
        let case = Case::new(more);
        let seen = Observation { skipped_in_a_row, ..Observation::default() };
        NonFinite::default().judge(&seen, &case.context()).map(|symptom| symptom.severity)
    }

    #[test]
    fn one_is_a_warning_and_three_in_a_row_are_critical() {
        assert_eq!(
            [0, 1, 2, 3].map(|count| severity("", count)),
            [None, Some(Severity::Warning), Some(Severity::Warning), Some(Severity::Critical)]
        );
    }

    #[test]
    fn a_loss_scale_that_looks_for_its_size_is_healthy() {
        // The gradient overflows, but the step does not count as skipped.
        let case = Case::new("run.precision = \"fp16\"");
        let seen = Observation { total_norm: f64::INFINITY, skipped_in_a_row: 0, ..Observation::default() };
        assert_eq!(NonFinite::default().judge(&seen, &case.context()), None);
        assert_eq!(severity("run.precision = \"fp16\"", 3), Some(Severity::Critical));
    }

    #[test]
    fn a_gradient_that_is_finite_is_not_what_was_wrong_with_a_step() {
        let case = Case::new("");
        let seen = Observation { total_norm: 1e3, skipped_in_a_row: 1, ..Observation::default() };
        let symptom = NonFinite::default().judge(&seen, &case.context()).unwrap();
        assert!(
            symptom.cause.starts_with("the update of a finite gradient is not finite; such steps"),
            "{}",
            symptom.cause
        );
        let keys: Vec<String> = symptom.remedies.iter().map(|remedy| remedy.change.to_string()).collect();
        assert!(!keys.iter().any(|key| key.contains("clipping")), "{keys:?}");
    }
}
