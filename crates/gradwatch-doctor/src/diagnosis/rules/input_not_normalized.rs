//! Images whose mean and standard deviation are far from 0 and 1.
//!
//! Pixels in 0..=1 (mean 0.3, standard deviation 0.35) train well. Raw bytes do not: Fashion-MNIST's mean of 73 and
//! standard deviation of 90 make the first layer's sums a hundred times larger than initializations assume. Tools with
//! a threshold of 0.2 on the mean (SageMaker's CheckInputImages) also flag pixels in 0..=1.

use serde::{Deserialize, Serialize};

use super::{Need, Rule, RuleContext, Ways};
use crate::{
    config::RuleName,
    diagnosis::{Figure, Observation, Remedy, Severity, Symptom},
    number::Rounded,
};

/// Largest absolute mean, and largest standard deviation, of a channel.
pub(in super::super) const LARGEST: f64 = 4.0;
/// Smallest standard deviation of a channel.
const SMALLEST: f64 = 0.02;
/// Above this, hardly any initialization works.
const CRITICAL: f64 = 50.0;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(in super::super) struct InputNotNormalized {}

impl Rule for InputNotNormalized {
    fn name(&self) -> RuleName {
        RuleName::InputNotNormalized
    }

    fn needs(&self) -> Ways {
        &[&[Need::InitialFacts]]
    }

    fn causes(&self) -> &'static [RuleName] {
        &[RuleName::Augmentation]
    }

    fn judge(&mut self, seen: &Observation<'_>, context: &RuleContext<'_>) -> Option<Symptom> {
        if seen.step > 0 {
            return None;
        }
        let largest = context.thresholds.input_not_normalized;
        let size = |channel: &super::super::ChannelFacts| channel.mean.abs().max(channel.std);
        let is_off = |channel: &&super::super::ChannelFacts| {
            let size = size(channel);
            !size.is_finite() || size > largest || channel.std < SMALLEST
        };
        let worst =
            context.facts.channels.iter().filter(is_off).max_by(|one, other| size(one).total_cmp(&size(other)))?;
        let severity = if size(worst) <= CRITICAL { Severity::Warning } else { Severity::Critical };
        let figures = vec![
            Figure { name: "mean of a channel".into(), seen: worst.mean, expected: "about 0".into() },
            Figure { name: "standard deviation of a channel".into(), seen: worst.std, expected: "about 1".into() },
        ];
        let cause = format!(
            "the images have mean {:.3} and standard deviation {:.3}, but initializations assume 0 and 1",
            Rounded(worst.mean),
            Rounded(worst.std)
        );
        let remedies = vec![Remedy::config(
            "data.normalize",
            "computed",
            "scales them to mean 0 and standard deviation 1, computed from the training images",
        )];
        Some(Symptom { severity, layers: Vec::new(), ranks: Vec::new(), figures, cause, remedies })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::{ChannelFacts, fixture::Case};

    fn severity(mean: f64, std: f64) -> Option<Severity> {
        let mut case = Case::new("");
        case.facts.channels = vec![ChannelFacts { mean: 0.0, std: 1.0 }, ChannelFacts { mean, std }];
        InputNotNormalized::default().judge(&Observation::default(), &case.context()).map(|symptom| symptom.severity)
    }

    #[test]
    fn raw_bytes_are_told_and_pixels_of_0_to_1_are_not() {
        assert_eq!(severity(73.0, 90.0), Some(Severity::Critical));
        assert_eq!(severity(-12.0, 1.0), Some(Severity::Warning));
        assert_eq!(severity(0.0, 0.001), Some(Severity::Warning));
        assert_eq!(severity(f64::NAN, f64::NAN), Some(Severity::Critical));
        assert_eq!(severity(0.286, 0.353), None);
        assert_eq!(severity(0.5, 0.25), None);
    }
}
