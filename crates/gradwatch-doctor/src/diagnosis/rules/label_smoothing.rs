//! Label smoothing that leaves next to nothing of the label.
//!
//! Smoothing of 0.1 is usual (Szegedy et al. 2016). At 1, all classes are equally right.

use serde::{Deserialize, Serialize};

use super::{Need, Rule, RuleContext, Ways};
use crate::{
    config::RuleName,
    diagnosis::{Figure, Observation, Remedy, Severity, Symptom},
};

/// Smoothing that counts as too much, and as far too much.
const WARNING: f64 = 0.5;
const CRITICAL: f64 = 0.9;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(in super::super) struct LabelSmoothing {}

impl Rule for LabelSmoothing {
    fn name(&self) -> RuleName {
        RuleName::LabelSmoothing
    }

    fn needs(&self) -> Ways {
        &[&[Need::StepLoss, Need::ModelConfig]]
    }

    fn judge(&mut self, seen: &Observation<'_>, context: &RuleContext<'_>) -> Option<Symptom> {
        let smoothing = context.config?.loss.label_smoothing;
        if seen.step > 0 || smoothing <= WARNING {
            return None;
        }
        let severity = if smoothing >= CRITICAL { Severity::Critical } else { Severity::Warning };
        let figures =
            vec![Figure { name: "loss.label_smoothing".into(), seen: smoothing, expected: "0 to 0.2".into() }];
        let cause = format!(
            "label smoothing gives {:.0}% of each label to all classes alike, so little is left to learn",
            100.0 * smoothing
        );
        let remedies = vec![Remedy::config("loss.label_smoothing", 0.1, "keeps nine tenths of each label")];
        Some(Symptom { severity, layers: Vec::new(), ranks: Vec::new(), figures, cause, remedies })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::fixture::Case;

    #[test]
    fn more_than_half_is_too_much() {
        let severity = |smoothing: &str| {
            let case = Case::new(&format!("loss.label_smoothing = {smoothing}"));
            LabelSmoothing::default().judge(&Observation::default(), &case.context()).map(|symptom| symptom.severity)
        };
        assert_eq!(
            ["0.1", "0.5", "0.6", "0.95"].map(severity),
            [None, None, Some(Severity::Warning), Some(Severity::Critical)]
        );
    }
}
