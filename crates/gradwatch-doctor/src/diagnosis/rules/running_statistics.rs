//! Running statistics of batch normalization that do not fit the network.
//!
//! Training normalizes with the statistics of each batch, evaluation with their running mean, which moves by a tenth of
//! the difference per step, or a hundredth in MobileNetV3 and EfficientNet. In a short run, or with weights that move
//! fast, the running mean lags behind, and evaluation is far worse than training. Evaluating with the statistics of each
//! batch shows whether this is the reason.

use serde::{Deserialize, Serialize};

use super::{Need, Rule, RuleContext, Ways};
use crate::{
    config::{Normalization, RuleName},
    diagnosis::{Evaluation, Figure, Finding, Observation, Remedy, Severity, Symptom},
};

/// Training accuracy minus validation accuracy that matters.
pub(super) const GAP: f64 = 0.15;
/// Steps after which a running mean that moves by a hundredth of the difference per step has settled.
const SETTLED: u64 = 300;
/// Fraction of that gap that the statistics of each batch must close.
pub(super) const EXPLAINS: f64 = 0.5;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(in super::super) struct RunningStatistics {
    /// Whether they lagged behind at the last evaluation.
    is_behind: bool,
}

impl Rule for RunningStatistics {
    fn name(&self) -> RuleName {
        RuleName::RunningStatistics
    }

    fn needs(&self) -> Ways {
        &[&[Need::Evaluations, Need::ModelConfig]]
    }

    fn recovery(&self, finding: &Finding, _step: u64, _context: &RuleContext<'_>) -> Option<String> {
        let is_over = !self.is_behind && finding.severity == Severity::Info;
        is_over.then(|| "the running statistics have caught up with the weights".to_owned())
    }

    /// Frozen statistics of a network that was never trained are 0 and 1, whatever its layers put out.
    fn judge(&mut self, seen: &Observation<'_>, context: &RuleContext<'_>) -> Option<Symptom> {
        let model = context.model().filter(|_| seen.step == 0)?;
        let is_batch = matches!(model.normalization, Normalization::Batch | Normalization::AttentionBatch);
        let is_frozen = !model.freeze_batch_norm_statistics.is_empty() && !context.facts.has_running_statistics;
        if !is_batch || !is_frozen || model.weights.is_some() {
            return None;
        }
        let figures = vec![Figure {
            name: "batch normalizations that use their batch".into(),
            seen: 0.0,
            expected: "all".into(),
        }];
        let cause =
            "the running statistics of batch normalization are frozen at their initial mean 0 and variance 1, so \
                     it normalizes nothing"
                .into();
        let remedies = vec![Remedy::config(
            "model.freeze_batch_norm_statistics",
            false,
            "normalizes with the statistics of each batch",
        )];
        Some(Symptom { severity: Severity::Warning, layers: Vec::new(), ranks: Vec::new(), figures, cause, remedies })
    }

    fn judge_evaluation(&mut self, seen: &Evaluation, _context: &RuleContext<'_>) -> Option<Symptom> {
        // In the first steps, they lag behind by design.
        let explains = |by_batch: &f64| seen.step >= SETTLED && explains_gap(seen, *by_batch);
        let by_batch = seen.batch_statistics_accuracy.filter(explains);
        self.is_behind = by_batch.is_some();
        let by_batch = by_batch?;
        let figures = vec![
            Figure {
                name: "validation accuracy".into(),
                seen: seen.validation_accuracy,
                expected: "about the next".into(),
            },
            Figure {
                name: "validation accuracy with the statistics of each batch".into(),
                seen: by_batch,
                expected: "about the same".into(),
            },
        ];
        let cause = format!(
            "evaluation uses running statistics of batch normalization that lag behind the weights: accuracy is {:.0}% with \
             them and {:.0}% with the statistics of each batch",
            100.0 * seen.validation_accuracy,
            100.0 * by_batch
        );
        // More steps, or smaller ones, end this by themselves.
        Some(Symptom {
            severity: Severity::Info,
            layers: Vec::new(),
            ranks: Vec::new(),
            figures,
            cause,
            remedies: Vec::new(),
        })
    }
}

/// Whether the statistics of each batch close most of the gap between training and validation.
pub(super) fn explains_gap(seen: &Evaluation, by_batch: f64) -> bool {
    let gap = seen.train_accuracy - seen.validation_accuracy;
    gap > GAP && by_batch - seen.validation_accuracy > EXPLAINS * gap
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::fixture::{Case, evaluation};

    #[test]
    fn a_gap_that_the_statistics_of_each_batch_close_is_told() {
        let is_told = |step: u64, batch_statistics_accuracy: Option<f64>| {
            let seen = Evaluation {
                train_accuracy: 0.7,
                validation_accuracy: 0.1,
                batch_statistics_accuracy,
                ..evaluation(step)
            };
            RunningStatistics::default().judge_evaluation(&seen, &Case::new("").context()).is_some()
        };
        assert!(is_told(400, Some(0.65)) && !is_told(400, Some(0.2)) && !is_told(400, None));
        assert!(!is_told(40, Some(0.65)), "they need time");
    }

    #[test]
    fn statistics_frozen_before_any_training_are_told() {
        let is_told = |more: &str| {
            let case = Case::new(&format!("model.normalization = \"batch\"\n{more}"));
            RunningStatistics::default().judge(&Observation::default(), &case.context()).is_some()
        };
        assert!(is_told("model.freeze_batch_norm_statistics = true"));
        assert!(!is_told("") && !is_told("model.freeze_batch_norm_statistics = true\nmodel.weights = \"net.pth\""));
    }
}
