//! Batch normalization over batches that are too small for it.
//!
//! Mean and variance of n values per channel have a relative error of about 1/sqrt(n): of two images, what a unit says depends on
//! which other image it met. Wu and He 2018 (Group Normalization, figure 1): ResNet-50's error rises from 23.6 % at 32 images a
//! batch to 24.8 at 8, 27.3 at 4 and 34.7 at 2.

use serde::{Deserialize, Serialize};

use super::{Known, Rule};
use crate::{
    config::{Normalization, RuleName},
    diagnosis::{Figure, Observation, Remedy, Severity, Symptom},
};

/// Images of a micro-batch.
const TOO_FEW: usize = 4;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(in super::super) struct BatchNorm {}

impl Rule for BatchNorm {
    fn name(&self) -> RuleName {
        RuleName::BatchNorm
    }

    fn judge(&mut self, seen: &Observation<'_>, known: &Known<'_>) -> Option<Symptom> {
        let images = known.facts.batch_size;
        let is_batch = known.model().is_some_and(|model| {
            matches!(model.normalization, Normalization::Batch | Normalization::AttentionBatch)
                && model.freeze_batch_norm_statistics.is_empty()
        });
        if seen.step > 0 || !is_batch || images == 0 || images > TOO_FEW {
            return None;
        }
        let figures =
            vec![Figure { name: "images of a micro-batch".into(), seen: images as f64, expected: "16 or more".into() }];
        let cause = format!(
            "batch normalization takes its mean and variance over {images} image(s) at a time, which say more of those images than \
             of the data"
        );
        let remedies = vec![
            Remedy::new("model.normalization = \"group\"", "it looks at one image at a time"),
            Remedy::new("data.batch_size = 32", "enough images for a mean"),
        ];
        Some(Symptom { severity: Severity::Warning, layers: Vec::new(), figures, cause, remedies })
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
            BatchNorm::default().judge(&Observation::default(), &case.known()).is_some()
        };
        assert!(is_told("batch", 2) && is_told("batch", 4));
        assert!(!is_told("batch\"\nmodel.freeze_batch_norm_statistics = true # \"", 2), "it takes none");
        assert!(!is_told("batch", 16) && !is_told("group", 2) && !is_told("none", 1) && !is_told("batch", 0));
    }
}
