//! A training loss that changes between tracked steps by a large part of the loss of a guess.
//!
//! The noise of batches of 16 to 128 images changes a loss by 2 to 10% of ln C. Too long steps between the walls of a
//! valley change it by more, for a long time.

use serde::{Deserialize, Serialize};

use super::{Need, Rule, RuleContext, Ways};
use crate::{
    config::RuleName,
    diagnosis::{Figure, Observation, Remedy, Severity, Symptom, course::median},
    number::Rounded,
};

/// Median change between tracked steps, in units of the loss of a guess (ln C).
pub(in super::super) const ROUGHNESS: f64 = 0.4;
/// Change over the noise of a batch.
const ABOVE_NOISE: f64 = 2.5;
/// Number of blocks of ten tracked steps to take the median over.
const BLOCKS: usize = 5;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(in super::super) struct LossOscillating {}

impl Rule for LossOscillating {
    fn name(&self) -> RuleName {
        RuleName::LossOscillating
    }

    fn needs(&self) -> Ways {
        &[&[Need::StepLoss]]
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
            RuleName::NonFinite,
            RuleName::WeightDecay,
            RuleName::Momentum,
            RuleName::Dropout,
            RuleName::ClassWeights,
            RuleName::BatchNorm,
            RuleName::RunningStatistics,
            RuleName::LabelSmoothing,
        ]
    }

    fn is_refuted_by_learning(&self) -> bool {
        true
    }

    fn judge(&mut self, _seen: &Observation<'_>, context: &RuleContext<'_>) -> Option<Symptom> {
        if !context.course.has_closed {
            return None;
        }
        let change = median(context.course.last(BLOCKS)?.map(|block| block.roughness).collect());
        let share = change / context.guess();
        // The mean of n losses varies by about their size over the root of n.
        let level = context.course.level(BLOCKS)?;
        let batch_size = Some(context.facts.batch_size).filter(|images| *images > 0);
        let noise = batch_size.map_or(0.0, |images| level / (images as f64).sqrt());
        if share <= context.thresholds.loss_oscillating || change <= ABOVE_NOISE * noise {
            return None;
        }
        let figures = vec![Figure {
            name: "median change of the loss between tracked steps".into(),
            seen: change,
            expected: format!("{:.2} or less", Rounded(context.thresholds.loss_oscillating * context.guess())),
        }];
        let cause = format!(
            "the loss changes by {:.2} from one tracked step to the next, {:.0}% of the loss of a random guess: \
             the steps overshoot",
            Rounded(change),
            Rounded(100.0 * share)
        );
        let mut remedies: Vec<_> =
            Remedy::lower_learning_rate(context, "smaller steps do not overshoot").into_iter().collect();
        if let Some(config) = context.config {
            let larger = 4 * config.data.batch_size;
            remedies.push(Remedy::config("data.batch_size", larger, "halves the noise"));
        }
        Some(Symptom { severity: Severity::Warning, layers: Vec::new(), ranks: Vec::new(), figures, cause, remedies })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::fixture::Case;

    #[test]
    fn leaps_by_nearly_half_of_a_guess_are_told_and_noise_is_not() {
        let is_told = |leap: f64| {
            let case = Case::with_losses((0..60).map(|reading| 2.0 + leap * f64::from(reading % 2)));
            LossOscillating::default().judge(&Observation::default(), &case.context()).is_some()
        };
        assert!(is_told(1.0) && !is_told(0.8));
    }
}
