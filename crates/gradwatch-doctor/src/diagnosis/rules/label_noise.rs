//! Labels that do not match the images: shuffled, or wrong for many images.
//!
//! If the labels are independent of the images, a healthy network learns only the class frequencies: the loss stays at
//! that of a guess, although gradients reach every layer and the weights move. Given enough time, the network memorizes
//! the training images but does not improve on others. Multi-label data is not judged: it has no accuracy, and a loss that
//! stays at the class frequencies for long is usual for rare classes.

use serde::{Deserialize, Serialize};

use super::{Need, Rule, RuleContext, Ways, depth_ends::DepthEnds, loss_plateau, update_ratio::median_of_weights};
use crate::{
    config::{AutoPolicy, RuleName},
    diagnosis::{Evaluation, Figure, Observation, Remedy, Severity, Symptom},
    number::{Rounded, two_digits},
};

/// Validation accuracy over that of a guess. Up to this ratio, the network has not learned to generalize.
const CHANCE: f64 = 1.4;
/// Training accuracy over validation accuracy. Above this ratio, the network memorizes images.
const BY_HEART: f64 = 1.3;
/// Training accuracy over the mean of the validation accuracy before and after. Wrong labels of a share s bring it down to
/// about 1 - s; dropout of 0.5 and noise hardly below 0.8.
const FALLS_SHORT: f64 = 0.72;
/// Validation accuracy over that of a guess from which a network knows something.
const LEARNED: f64 = 2.0;
/// Consecutive evaluations that must fall short.
const SHORT_LOOKS: u32 = 2;
/// Number of consecutive evaluations that must meet both conditions.
const LOOKS: u32 = 3;
/// Ratio of the first layer's gradient to the last layer's, if the gradient reaches every layer.
const REACHES: std::ops::Range<f64> = 0.05..20.0;
/// Distance that the weights have moved, in their own size, if all steps went the same way. Below it, a run may still be
/// at its start.
const MOVED: f64 = 0.2;
/// Median update ratio from which the weights move.
const MOVES: f64 = 1e-4;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(in super::super) struct LabelNoise {
    looks: u32,
    /// Validation accuracy at the last evaluation, and consecutive evaluations with training accuracy far below it.
    #[serde(default)]
    previous: Option<f64>,
    #[serde(default)]
    short: u32,
    /// Last ratio of the first layer's gradient to the last layer's, and last median update ratio.
    reach: Option<f64>,
    ratio: Option<f64>,
}

impl Rule for LabelNoise {
    fn name(&self) -> RuleName {
        RuleName::LabelNoise
    }

    fn needs(&self) -> Ways {
        &[&[Need::Evaluations, Need::Classes], &[Need::StepLoss, Need::DepthProfile, Need::Updates]]
    }

    fn start_task(&mut self) {
        *self = Self::default();
    }

    fn causes(&self) -> &'static [RuleName] {
        // The rule's own condition already excludes problems that keep gradients from the layers.
        &[
            RuleName::InputNotNormalized,
            RuleName::WrongLoss,
            RuleName::PoorInitialization,
            RuleName::GradientAccumulation,
            RuleName::LearningRate,
            RuleName::Exploding,
            RuleName::NonFinite,
            RuleName::ZeroGradient,
            RuleName::Augmentation,
            RuleName::LabelSmoothing,
            RuleName::LabelImbalance,
            RuleName::ClassWeights,
            RuleName::Schedule,
            RuleName::FrozenParameters,
            RuleName::WeightDecay,
            RuleName::Clipping,
            RuleName::Epsilon,
            RuleName::Momentum,
            RuleName::Dropout,
            RuleName::RunningStatistics,
            RuleName::DistributionShift,
            RuleName::BatchNorm,
            RuleName::RankDisagreement,
        ]
    }

    fn judge(&mut self, seen: &Observation<'_>, context: &RuleContext<'_>) -> Option<Symptom> {
        self.reach = seen
            .depth_profile
            .as_ref()
            .and_then(|profile| DepthEnds::of(profile, context))
            .map(|ends| ends.ratio)
            .or(self.reach);
        self.ratio = median_of_weights(seen.updates, context).or(self.ratio);
        let level = loss_plateau::level(context).filter(|_| !context.facts.is_multi_label())?;
        let (reach, ratio) = (self.reach?, self.ratio?);
        let moved = ratio * context.course.readings() as f64;
        if !REACHES.contains(&reach) || ratio < MOVES || moved < MOVED {
            return None;
        }
        let figures = vec![
            Figure {
                name: "median loss of the last 50 tracked steps".into(),
                seen: level,
                expected: format!("below {:.3}, the loss of a random guess", Rounded(context.guess())),
            },
            Figure { name: "median update ratio of the weights".into(), seen: ratio, expected: "0.001 to 0.01".into() },
        ];
        let level = Rounded(level);
        let cause = format!(
            "the loss has stayed at {level:.3}, the loss of a random guess, although the gradient reaches every layer \
             and a step moves the weights by {} of their size: the labels do not match the images",
            two_digits(ratio)
        );
        Some(symptom(figures, cause))
    }

    fn judge_evaluation(&mut self, seen: &Evaluation, context: &RuleContext<'_>) -> Option<Symptom> {
        let chance = context.most_frequent()?;
        let partly = self.partly_wrong(seen, chance, context);
        if partly.is_some() {
            return partly;
        }
        // Running statistics that lag behind are no fault of the labels. `max` ignores NaN.
        let known = seen.validation_accuracy.max(seen.batch_statistics_accuracy.unwrap_or(f64::NAN));
        let is_chance = known <= CHANCE * chance;
        let by_heart = seen.train_accuracy > BY_HEART * known.max(chance);
        self.looks = if is_chance && by_heart { self.looks + 1 } else { 0 };
        if self.looks < LOOKS {
            return None;
        }
        let figures = vec![
            Figure {
                name: "validation accuracy".into(),
                seen: seen.validation_accuracy,
                expected: format!("above {chance:.2}, the accuracy of a guess"),
            },
            Figure { name: "training accuracy".into(), seen: seen.train_accuracy, expected: "about the same".into() },
        ];
        let cause = format!(
            "training accuracy is {:.0}%, but validation accuracy is {:.0}%, no better than a guess: the labels do \
             not match the images, and the network memorizes the training images",
            100.0 * seen.train_accuracy,
            100.0 * seen.validation_accuracy
        );
        Some(symptom(figures, cause))
    }
}

impl LabelNoise {
    /// Some of the training labels are wrong: the network knows the validation images better, before and after, than the
    /// training images in between.
    fn partly_wrong(&mut self, seen: &Evaluation, chance: f64, context: &RuleContext<'_>) -> Option<Symptom> {
        let previous = self.previous.replace(seen.validation_accuracy).filter(|accuracy| *accuracy > LEARNED * chance);
        let around = previous.map(|previous| f64::midpoint(previous, seen.validation_accuracy));
        let is_short = around.is_some_and(|around| seen.train_accuracy < FALLS_SHORT * around);
        self.short = if is_short && !makes_training_harder(context) { self.short + 1 } else { 0 };
        if self.short < SHORT_LOOKS {
            return None;
        }
        let (train, around) = (seen.train_accuracy, around?);
        let figures = vec![Figure {
            name: "training accuracy over the validation accuracy before and after".into(),
            seen: train / around,
            expected: "1 or more".into(),
        }];
        let cause = format!(
            "accuracy is {:.0}% on the training images, but {:.0}% on the validation images before and after: a part of \
             the training labels is wrong",
            100.0 * train,
            100.0 * around
        );
        Some(Symptom { severity: Severity::Warning, ..symptom(figures, cause) })
    }
}

/// Whether dropout or augmentation explains a low training accuracy.
fn makes_training_harder(context: &RuleContext<'_>) -> bool {
    let Some(config) = context.config else { return false };
    let (augment, model) = (&config.data.augment, &config.model);
    let hides = augment.random_resized_crop || augment.cutout > 0 || augment.random_crop > 4;
    let changes = augment.auto.policy != AutoPolicy::None || augment.random_erasing.probability > 0.0;
    hides || changes || context.mixes() || model.dropout > 0.3 || model.stochastic_depth > 0.3
}

fn symptom(figures: Vec<Figure>, cause: String) -> Symptom {
    let remedies = vec![Remedy::advice("data.path", "check that images and labels are in the same order")];
    Symptom { severity: Severity::Critical, layers: Vec::new(), ranks: Vec::new(), figures, cause, remedies }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::fixture::{Case, evaluation, profile, update};

    #[test]
    fn a_loss_that_stays_at_that_of_a_guess_while_everything_moves_comes_of_the_labels() {
        let is_told_of = |multi_label_images: u64, losses: f64, reach: f64, ratio: f64| {
            let mut case = Case::with_losses([losses; 200]);
            case.facts.multi_label_images = multi_label_images;
            let updates = [update("a.weight", ratio)];
            let depth_profile = Some(profile(&[reach, 1.0]));
            let seen = Observation { depth_profile, updates: &updates, ..Observation::default() };
            LabelNoise::default().judge(&seen, &case.context()).is_some()
        };
        let is_told = |losses, reach, ratio| is_told_of(0, losses, reach, ratio);
        assert!(is_told(2.3, 0.5, 1e-3) && !is_told_of(100, 2.3, 0.5, 1e-3));
        assert!(!is_told(2.3, 0.01, 1e-3) && !is_told(2.3, 0.5, 1e-6) && !is_told(1.0, 0.5, 1e-3));
    }

    #[test]
    fn a_net_that_knows_its_training_images_and_guesses_at_others_has_wrong_labels() {
        let is_told_with = |train: f64, validation: f64, batch_statistics_accuracy: Option<f64>| {
            let seen = Evaluation {
                train_accuracy: train,
                validation_accuracy: validation,
                batch_statistics_accuracy,
                ..evaluation(100)
            };
            let (case, mut rule) = (Case::new(""), LabelNoise::default());
            assert!(rule.judge_evaluation(&seen, &case.context()).is_none());
            assert!(rule.judge_evaluation(&seen, &case.context()).is_none());
            rule.judge_evaluation(&seen, &case.context()).is_some()
        };
        let is_told = |train, validation| is_told_with(train, validation, None);
        assert!(is_told(0.2, 0.1) && is_told(0.9, 0.12));
        // With the statistics of each batch, the network does not guess.
        assert!(!is_told_with(0.23, 0.11, Some(0.26)) && is_told_with(0.23, 0.11, Some(0.11)));
        assert!(!is_told(0.11, 0.1) && !is_told(0.9, 0.6) && !is_told(f64::NAN, 0.1));
    }
}
