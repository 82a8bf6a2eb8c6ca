//! Class frequencies so unequal that rare classes hardly count in the loss.
//!
//! The ratio is that of SageMaker's ClassImbalance: above 10, a network that never predicts the rare class loses
//! little. Of multi-label data, each class is compared with the images without it instead, and rare classes are usual.

use serde::{Deserialize, Serialize};

use super::{Need, Rule, RuleContext, Ways};
use crate::{
    config::{ClassBalance, RuleName},
    diagnosis::{Figure, Observation, Remedy, Severity, Symptom},
};

/// Images of the most frequent class over those of the rarest.
pub(in super::super) const RATIO: f64 = 10.0;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(in super::super) struct LabelImbalance {}

impl Rule for LabelImbalance {
    fn name(&self) -> RuleName {
        RuleName::LabelImbalance
    }

    fn needs(&self) -> Ways {
        &[&[Need::InitialFacts]]
    }

    fn judge(&mut self, seen: &Observation<'_>, context: &RuleContext<'_>) -> Option<Symptom> {
        let is_weighted = context.config.is_some_and(|config| config.loss.class_balance != ClassBalance::None);
        let counts = &context.facts.class_counts;
        let (most, least) = (counts.iter().max()?, counts.iter().min()?);
        // A class without images counts as half an image.
        let ratio = *most as f64 / (*least as f64).max(0.5);
        if seen.step > 0 || is_weighted || context.facts.is_multi_label() || ratio <= context.thresholds.label_imbalance
        {
            return None;
        }
        let figures = vec![Figure {
            name: "images of the most frequent class over those of the rarest".into(),
            seen: ratio,
            expected: "10 or less".into(),
        }];
        let cause = format!(
            "the most frequent class has {most} images and the rarest has {least}, so a network that never predicts \
             the rarest class loses little"
        );
        let remedies =
            vec![Remedy::config("loss.class_balance", "balanced", "gives every class the same weight in the loss")];
        Some(Symptom { severity: Severity::Warning, layers: Vec::new(), ranks: Vec::new(), figures, cause, remedies })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::fixture::Case;

    #[test]
    fn a_class_with_a_tenth_of_the_images_of_another_is_told_unless_the_loss_makes_up_for_it() {
        let is_told = |more: &str, counts: &[u64]| {
            let mut case = Case::new(more);
            case.facts.class_counts = counts.to_vec();
            let judge =
                |case: &Case| LabelImbalance::default().judge(&Observation::default(), &case.context()).is_some();
            let is_told = judge(&case);
            case.facts.multi_label_images = 600;
            assert!(!judge(&case), "of multi-label data");
            is_told
        };
        assert!(is_told("", &[500, 49]) && is_told("", &[500, 0]));
        assert!(!is_told("", &[500, 50]) && !is_told("", &[]));
        assert!(!is_told("loss.class_balance = \"balanced\"", &[500, 5]));
    }
}
