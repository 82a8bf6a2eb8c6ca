//! Validation images that differ from the training images.
//!
//! In the first epoch, a network sees each training image for the first time, so its training accuracy is one on unknown
//! images: it cannot have memorized them. A validation accuracy far below it has another reason: images of another
//! kind, another preprocessing, or running statistics of batch normalization that lag behind.

use serde::{Deserialize, Serialize};

use super::{Need, Rule, RuleContext, Ways, running_statistics::explains_gap};
use crate::{
    config::RuleName,
    diagnosis::{Evaluation, Figure, Remedy, Severity, Symptom},
};

/// Training accuracy minus validation accuracy.
const GAP: f64 = 0.2;
/// Standard errors of the validation accuracy beyond that.
const ERRORS: f64 = 3.0;
/// Required consecutive evaluations.
const LOOKS: u32 = 2;
/// Epochs in which a network has not memorized its training images.
const EPOCHS: u64 = 2;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(in super::super) struct DistributionShift {
    looks: u32,
}

impl Rule for DistributionShift {
    fn name(&self) -> RuleName {
        RuleName::DistributionShift
    }

    fn needs(&self) -> Ways {
        &[&[Need::Evaluations, Need::InitialFacts]]
    }

    fn judge_evaluation(&mut self, seen: &Evaluation, context: &RuleContext<'_>) -> Option<Symptom> {
        let facts = context.facts;
        let is_new = facts.steps_per_epoch > 0 && seen.step <= EPOCHS * facts.steps_per_epoch;
        // With batch normalization, only the other kind of evaluation tells the two reasons apart.
        let is_of_images = match seen.batch_statistics_accuracy {
            Some(by_batch) => !explains_gap(seen, by_batch),
            None => !facts.has_running_statistics,
        };
        let gap = seen.train_accuracy - seen.validation_accuracy;
        // Standard error of an accuracy over this many images. An unknown number counts as many.
        let error = match facts.validation_images {
            0 => 0.0,
            images => (0.25 / images as f64).sqrt(),
        };
        self.looks = if is_new && is_of_images && gap > GAP + ERRORS * error { self.looks + 1 } else { 0 };
        if self.looks < LOOKS {
            return None;
        }
        let figures = vec![Figure {
            name: "training accuracy minus validation accuracy, in the first epochs".into(),
            seen: gap,
            expected: "about 0".into(),
        }];
        let cause = format!(
            "accuracy is {:.0}% on training images that the network sees for the first times, but {:.0}% on the \
             validation images: they are of another kind, or preprocessed differently",
            100.0 * seen.train_accuracy,
            100.0 * seen.validation_accuracy
        );
        let remedies = vec![
            Remedy::advice("data.path", "check where the validation images come from and how they are preprocessed"),
            Remedy::config("data.split_by", "name", "holds back a part of the training images instead"),
        ];
        Some(Symptom { severity: Severity::Warning, layers: Vec::new(), ranks: Vec::new(), figures, cause, remedies })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::fixture::{Case, evaluation};

    #[test]
    fn a_gap_before_anything_can_be_memorized_is_told() {
        let is_told = |step: u64, validation_accuracy: f64, by_batch: Option<f64>, has_running_statistics: bool| {
            let (mut case, mut rule) = (Case::new(""), DistributionShift::default());
            (case.facts.steps_per_epoch, case.facts.has_running_statistics) = (100, has_running_statistics);
            case.facts.validation_images = 1000;
            let seen = Evaluation {
                train_accuracy: 0.8,
                validation_accuracy,
                batch_statistics_accuracy: by_batch,
                ..evaluation(step)
            };
            assert!(rule.judge_evaluation(&seen, &case.context()).is_none());
            rule.judge_evaluation(&seen, &case.context()).is_some()
        };
        assert!(is_told(80, 0.3, None, false) && is_told(80, 0.3, Some(0.32), true));
        assert!(!is_told(80, 0.7, None, false), "they are as good");
        assert!(!is_told(500, 0.3, None, false), "it has seen its images five times");
        assert!(!is_told(80, 0.3, None, true) && !is_told(80, 0.3, Some(0.75), true), "the running statistics");
    }
}
