//! Batch normalization over too small batches.
//!
//! The mean and variance of n values per channel have a relative error of about 1/sqrt(n). With two images, the output
//! of a unit depends on the other image in the batch. Wu and He 2018 (Group Normalization, figure 1): ResNet-50's error
//! rises from 23.6% with 32 images per batch to 24.8% with 8, 27.3% with 4, and 34.7% with 2.

use serde::{Deserialize, Serialize};

use super::{Need, Rule, RuleContext, Ways};
use crate::{
    config::{Normalization, RuleName},
    diagnosis::{Figure, Observation, Remedy, Severity, Symptom},
    number::count,
};

/// Largest micro-batch that counts as too small, in images.
const TOO_FEW: usize = 4;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(in super::super) struct BatchNorm {}

impl Rule for BatchNorm {
    fn name(&self) -> RuleName {
        RuleName::BatchNorm
    }

    fn needs(&self) -> Ways {
        &[&[Need::InitialFacts, Need::ModelConfig]]
    }

    fn judge(&mut self, seen: &Observation<'_>, context: &RuleContext<'_>) -> Option<Symptom> {
        let images = context.facts.batch_size;
        let is_batch = context.model().is_some_and(|model| {
            matches!(model.normalization, Normalization::Batch | Normalization::AttentionBatch)
                && model.freeze_batch_norm_statistics.is_empty()
        });
        if seen.step > 0 || !is_batch || images == 0 || images > TOO_FEW {
            return None;
        }
        let figures =
            vec![Figure { name: "images per micro-batch".into(), seen: images as f64, expected: "16 or more".into() }];
        let these = if images == 1 { "this image" } else { "these images" };
        let cause = format!(
            "batch normalization computes its mean and variance over only {}, so they describe {these} rather than \
             the data",
            count(images, "image")
        );
        let remedies = vec![
            Remedy::config("model.normalization", "group", "normalizes each image separately"),
            Remedy::config("data.batch_size", 32usize, "averages over enough images"),
        ];
        Some(Symptom { severity: Severity::Warning, layers: Vec::new(), ranks: Vec::new(), figures, cause, remedies })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::fixture::Case;

    #[test]
    fn four_images_are_too_few_for_batch_normalization_and_for_no_other() {
        let is_told = |normalization: &str, batch_size| {
            let mut case = Case::new(&format!("model.normalization = \"{normalization}\""));
            case.facts.batch_size = batch_size;
            BatchNorm::default().judge(&Observation::default(), &case.context()).is_some()
        };
        assert!(is_told("batch", 2) && is_told("batch", 4));
        assert!(!is_told("batch\"\nmodel.freeze_batch_norm_statistics = true # \"", 2), "it takes none");
        assert!(!is_told("batch", 16) && !is_told("group", 2) && !is_told("none", 1) && !is_told("batch", 0));
    }
}
