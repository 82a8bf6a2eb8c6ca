//! A training loss that stays at that of a guess: the network learns nothing from the images.
//!
//! A plateau at a lower loss may be all there is to learn, or may need a lower learning rate. A plateau at the loss of
//! a guess is neither.

use serde::{Deserialize, Serialize};

use super::{Need, Rule, RuleContext, Ways};
use crate::{
    config::RuleName,
    diagnosis::{Figure, Observation, Remedy, Severity, Symptom},
    number::Rounded,
};

/// Relative decrease that the loss must reach over [`BLOCKS`] blocks.
pub(in super::super) const FALL: f64 = 0.02;
/// Fraction of the loss of a guess from which the loss counts as that of a guess.
const CHANCE: f64 = 0.95;
/// Number of blocks of ten tracked steps to check, and number of first and last blocks among them to compare.
const BLOCKS: usize = 20;
const PART: usize = 5;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(in super::super) struct LossPlateau {}

/// Level of a loss that stays at that of a guess.
pub(in super::super) fn level(context: &RuleContext<'_>) -> Option<f64> {
    if !context.course.has_closed {
        return None;
    }
    let level = context.course.level(PART).filter(|level| *level > CHANCE * context.guess())?;
    let fall = context.course.fall(BLOCKS, PART)?;
    (fall.abs() < context.thresholds.loss_plateau).then_some(level)
}

impl Rule for LossPlateau {
    fn name(&self) -> RuleName {
        RuleName::LossPlateau
    }

    fn needs(&self) -> Ways {
        &[&[Need::StepLoss]]
    }

    fn causes(&self) -> &'static [RuleName] {
        &[
            RuleName::InputNotNormalized,
            RuleName::WrongLoss,
            RuleName::PoorInitialization,
            RuleName::MissingGradient,
            RuleName::UnchangedParameter,
            RuleName::GradientAccumulation,
            RuleName::LearningRate,
            RuleName::Vanishing,
            RuleName::DeadRelu,
            RuleName::Saturated,
            RuleName::UpdateRatio,
            RuleName::Exploding,
            RuleName::NonFinite,
            RuleName::ZeroGradient,
            RuleName::LabelNoise,
            RuleName::LossDiverging,
            RuleName::Augmentation,
            RuleName::LabelSmoothing,
            RuleName::ClassWeights,
            RuleName::Schedule,
            RuleName::FrozenParameters,
            RuleName::WeightDecay,
            RuleName::Clipping,
            RuleName::Epsilon,
            RuleName::Momentum,
            RuleName::Dropout,
            RuleName::BatchNorm,
            RuleName::RunningStatistics,
            RuleName::RankDisagreement,
        ]
    }

    fn is_refuted_by_learning(&self) -> bool {
        true
    }

    fn judge(&mut self, _seen: &Observation<'_>, context: &RuleContext<'_>) -> Option<Symptom> {
        let level = level(context)?;
        let figures = vec![Figure {
            name: "median loss of the last 50 tracked steps".into(),
            seen: level,
            expected: format!("below {:.3}, the loss of a random guess, and falling", Rounded(context.guess())),
        }];
        let level = Rounded(level);
        let cause = format!(
            "the loss has stayed at {level:.3}, the loss of a random guess, for 200 tracked steps: the model learns \
             nothing"
        );
        let mut remedies = Vec::new();
        if context.has_no_normalization() {
            remedies.push(Remedy::config("model.normalization", "batch", "keeps the size of signals and gradients"));
        }
        remedies.extend(Remedy::higher_learning_rate(context, "speeds up a start with small gradients"));
        Some(Symptom { severity: Severity::Warning, layers: Vec::new(), ranks: Vec::new(), figures, cause, remedies })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::{Facts, fixture::Case};

    #[test]
    fn a_loss_that_stays_at_that_of_a_guess_for_200_readings_is_told() {
        let is_told = |losses: Vec<f64>| {
            let case = Case::with_losses(losses);
            LossPlateau::default().judge(&Observation::default(), &case.context()).is_some()
        };
        assert!(is_told(vec![2.31; 200]));
        assert!(!is_told(vec![2.31; 190]));
        // A plateau at a lower loss, and a loss that has started to fall.
        assert!(!is_told(vec![1.5; 300]));
        assert!(!is_told((0..200).map(|reading| 2.4 - 0.001 * f64::from(reading)).collect()));
    }

    #[test]
    fn of_unknown_classes_what_the_run_began_with_is_that_of_a_guess_and_that_of_ten_at_least() {
        let is_told = |losses: Vec<f64>| {
            let case = Case { facts: Facts::default(), ..Case::with_losses(losses) };
            LossPlateau::default().judge(&Observation::default(), &case.context()).is_some()
        };
        assert!(is_told(vec![6.9; 200]) && is_told(vec![2.31; 200]));
        // A thousand classes with much learned, and a run recorded only from its middle.
        assert!(!is_told([vec![6.9; 10], vec![2.4; 300]].concat()));
        assert!(!is_told(vec![0.3; 300]));
    }
}
