//! A training loss that rises above its minimum and stays there.

use serde::{Deserialize, Serialize};

use super::{Need, Rule, RuleContext, Ways};
use crate::{
    config::RuleName,
    diagnosis::{Figure, Observation, Remedy, Severity, Symptom},
    number::Rounded,
};

/// Rise above the best block, in units of the loss of a guess (ln C), which is 2.3 for ten classes.
pub(in super::super) const RISE: f64 = 0.5;
/// Number of blocks that must stay above it.
const BLOCKS: usize = 3;
/// Loss over that of a guess above which the run has lost everything.
const CRITICAL: f64 = 2.0;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(in super::super) struct LossDiverging {}

impl Rule for LossDiverging {
    fn name(&self) -> RuleName {
        RuleName::LossDiverging
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
            RuleName::BatchNorm,
            RuleName::RunningStatistics,
            RuleName::ClassWeights,
            RuleName::LabelSmoothing,
        ]
    }

    fn is_refuted_by_learning(&self) -> bool {
        true
    }

    fn judge(&mut self, _seen: &Observation<'_>, context: &RuleContext<'_>) -> Option<Symptom> {
        let course = context.course;
        if !course.has_closed {
            return None;
        }
        let guess = context.guess();
        let lowest = course.last(BLOCKS)?.map(|block| block.loss).fold(f64::INFINITY, f64::min);
        if lowest - course.best <= context.thresholds.loss_diverging * guess {
            return None;
        }
        let severity = if lowest > CRITICAL * guess { Severity::Critical } else { Severity::Warning };
        let figures = vec![Figure {
            name: "lowest loss of the last 30 tracked steps".into(),
            seen: lowest,
            expected: format!("about {:.3}, the best so far", Rounded(course.best)),
        }];
        let [best, lowest] = [course.best, lowest].map(Rounded);
        let cause = format!("the loss rose from {best:.3} to {lowest:.3} or more and stays there: training diverges");
        let mut remedies: Vec<_> =
            Remedy::lower_learning_rate(context, "smaller steps do not overshoot").into_iter().collect();
        if context.is_unclipped() {
            remedies.push(Remedy::config("clipping.mode", "norm", "limits the damage of a single large gradient"));
        }
        Some(Symptom { severity, layers: Vec::new(), ranks: Vec::new(), figures, cause, remedies })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::fixture::Case;

    fn last(losses: impl IntoIterator<Item = f64>) -> Option<Severity> {
        let case = Case::with_losses(losses);
        LossDiverging::default().judge(&Observation::default(), &case.context()).map(|symptom| symptom.severity)
    }

    #[test]
    fn a_loss_that_stays_far_above_its_best_is_told_and_a_spike_is_not() {
        let fell = || (0..50).map(|reading| 2.3 - 0.02 * f64::from(reading));
        assert_eq!(last(fell().chain([2.6; 30])), Some(Severity::Warning));
        assert_eq!(last(fell().chain([5.0; 30])), Some(Severity::Critical));
        assert_eq!(last(fell().chain([5.0; 20])), None);
        assert_eq!(last(fell().chain([5.0; 20]).chain([1.3; 10])), None);
        assert_eq!(last(fell()), None);
    }
}
