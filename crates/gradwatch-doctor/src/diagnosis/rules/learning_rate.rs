//! A learning rate that is too high or too low for the whole run.
//!
//! Too high: in the first steps, the loss jumps above its initial value while a step moves the weights by more than
//! 1e-2 of their size (healthy: about 1e-3; TheDeepChecker's range is 1e-4 to 1e-1); or a step leaves little of the
//! initial weights; or the weights move by more than 2e-2 per step, and the run has learned nothing; or by more than
//! 1e-2, and the accuracy is low and does not rise. Too low: at its full height, a step moves them by less than 5e-5, and
//! the loss is still more than half of that of a guess; or, after 150 tracked steps, by less than 4e-4, and the run has
//! learned nothing.

use serde::{Deserialize, Serialize};

use super::{
    Need, Rule, RuleContext, Ways,
    slow_convergence::Stall,
    update_ratio::{median_of_weights, warming},
};
use crate::{
    config::{OptimizerName, RuleName},
    diagnosis::{Evaluation, Figure, Observation, Remedy, Severity, Symptom},
    number::{Rounded, two_digits},
};

/// Median update ratio of the weights.
pub(in super::super) const TOO_SMALL: f64 = 5e-5;
/// Median update ratio above which it explains a jump of the loss.
const LARGE: f64 = 1e-2;
/// Median update ratio at the start above which a step has replaced the initial weights.
const REPLACED: f64 = 0.5;
/// Median update ratio that is large for a run that has learned nothing after this many tracked steps.
const STUCK: f64 = 2e-2;
const STUCK_AFTER: u64 = 60;
const STUCK_LOOKS: u32 = 3;
/// Fraction of the loss of a guess above which a run has hardly learned anything.
const UNLEARNED: f64 = 0.5;
/// Loss over that of the first tracked step, or over that of a guess if it is higher.
const LEAP: f64 = 2.0;
/// Number of first tracked steps that count as the start.
const BEGINNING: u64 = 50;
/// Consecutive checks with small updates.
const LOOKS: u32 = 5;
/// Median update ratio that is small for a run that has learned nothing after this many tracked steps: its loss is still
/// more than this part of that of a guess at as many checks.
pub(in super::super) const SLOW: f64 = 4e-4;
const LATE: u64 = 150;
const NOTHING: f64 = 0.93;
const SLOW_LOOKS: u32 = 2;
/// Fraction of the highest learning rate, so far or of the schedule, from which it counts as full: neither warm-up nor
/// end.
const FULL: f64 = 0.5;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(in super::super) struct LearningRate {
    /// Tracked steps so far.
    readings: u64,
    /// Consecutive tracked steps with a jump of the loss.
    leaps: u32,
    /// Consecutive checks with small updates.
    small: u32,
    /// Consecutive checks with updates that are small for a run that has learned nothing.
    #[serde(default)]
    slow: u32,
    /// Consecutive checks with large updates of a run that has learned nothing.
    #[serde(default)]
    stuck: u32,
    #[serde(default)]
    stall: Stall,
    /// Last median update ratio; the largest one, of RMSprop without its large start; and the last one like that.
    ratio: Option<f64>,
    #[serde(default)]
    largest: f64,
    #[serde(default)]
    later: Option<f64>,
    highest: f64,
}

impl Rule for LearningRate {
    fn name(&self) -> RuleName {
        RuleName::LearningRate
    }

    /// The loss shows a rate that is too high, the updates one that is too low.
    fn needs(&self) -> Ways {
        &[&[Need::StepLoss, Need::Updates]]
    }

    fn start_task(&mut self) {
        *self = Self::default();
    }

    fn causes(&self) -> &'static [RuleName] {
        &[
            RuleName::InputNotNormalized,
            RuleName::WrongLoss,
            RuleName::PoorInitialization,
            RuleName::GradientAccumulation,
            RuleName::Vanishing,
            RuleName::DeadRelu,
            RuleName::Saturated,
            RuleName::Exploding,
            RuleName::ZeroGradient,
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
        ]
    }

    fn is_refuted_by_learning(&self) -> bool {
        true
    }

    fn judge(&mut self, seen: &Observation<'_>, context: &RuleContext<'_>) -> Option<Symptom> {
        self.readings += 1;
        let peak = context.config.map_or(0.0, |config| config.optimizer.learning_rate);
        self.highest = self.highest.max(seen.learning_rate).max(peak);
        let ratio = median_of_weights(seen.updates, context);
        self.ratio = ratio.or(self.ratio);
        let later = ratio.map(|ratio| ratio * warming(seen.step, context));
        self.later = later.or(self.later);
        self.largest = self.largest.max(later.unwrap_or(0.0));
        self.too_high(seen, context)
            .or_else(|| self.stuck(seen, ratio?, context))
            .or_else(|| self.too_low(seen, ratio?, context))
    }

    fn judge_evaluation(&mut self, seen: &Evaluation, context: &RuleContext<'_>) -> Option<Symptom> {
        let (accuracy, _) = self.stall.add(seen, context)?;
        let ratio = self.ratio.filter(|ratio| *ratio > LARGE)?;
        let cause = format!(
            "accuracy is {:.1}% and does not rise while a step moves the weights by {} of their size: the learning \
             rate is too high",
            100.0 * accuracy,
            two_digits(ratio)
        );
        Some(too_high_symptom(cause, vec![ratio_figure(ratio)], ratio, context))
    }
}

fn ratio_figure(ratio: f64) -> Figure {
    Figure { name: "median update ratio of the weights".into(), seen: ratio, expected: "0.001 to 0.01".into() }
}

fn too_high_symptom(cause: String, figures: Vec<Figure>, ratio: f64, context: &RuleContext<'_>) -> Symptom {
    let fitting = Remedy::fitting_learning_rate(context, ratio);
    let lower = || Remedy::lower_learning_rate(context, "smaller steps do not overshoot");
    let mut remedies: Vec<_> = fitting.or_else(lower).into_iter().collect();
    remedies.extend(Remedy::warm_up(context));
    if context.is_unclipped() {
        let why = "clips a unit's gradient to a hundredth of its weights";
        remedies.push(Remedy::config("clipping.mode", "agc", why));
    }
    Symptom { severity: Severity::Critical, layers: Vec::new(), ranks: Vec::new(), figures, cause, remedies }
}

impl LearningRate {
    fn too_high(&mut self, seen: &Observation<'_>, context: &RuleContext<'_>) -> Option<Symptom> {
        let course = context.course;
        let base = course.first.max(context.guess());
        let is_beginning = self.readings <= BEGINNING;
        // A loss that was not measured is NaN too. A NaN without an earlier jump has another cause, such as the images.
        let is_broken = seen.loss.is_nan() && seen.skipped_in_a_row > 0 && self.leaps > 0;
        let has_leapt = self.readings > 1 && is_beginning && (seen.loss > LEAP * base || is_broken);
        self.leaps = if has_leapt { self.leaps + 1 } else { 0 };
        let ratio = self.ratio.unwrap_or(f64::NAN);
        let is_replaced = is_beginning && ratio > REPLACED;
        let is_large = self.ratio.is_none() || ratio > LARGE;
        let has_overshot = is_large && self.leaps >= 2;
        if !(is_replaced || has_overshot) {
            return None;
        }
        let moved = format!("a step moves the weights by {} of their size", two_digits(ratio));
        let cause = match (is_replaced, self.ratio) {
            (true, _) => format!("{moved}, so little of the initial weights is left: the learning rate is too high"),
            (false, ratio) => format!(
                "the loss jumped from {:.2} to {:.3} within {} tracked steps{}: the learning rate is too high",
                Rounded(course.first),
                Rounded(seen.loss),
                self.readings,
                ratio.map(|_| format!(", and {moved}")).unwrap_or_default()
            ),
        };
        let loss = Figure {
            name: "loss".into(),
            seen: seen.loss,
            expected: format!("below the first, {:.2}", Rounded(course.first)),
        };
        Some(too_high_symptom(cause, vec![ratio_figure(ratio), loss], self.later.unwrap_or(ratio), context))
    }

    /// Steps so large that nothing is learned, although the loss does not jump.
    fn stuck(&mut self, seen: &Observation<'_>, ratio: f64, context: &RuleContext<'_>) -> Option<Symptom> {
        let level = context.course.level(2).filter(|level| *level > NOTHING * context.guess());
        let is_stuck = self.readings >= STUCK_AFTER && ratio > STUCK && level.is_some() && seen.is_taken();
        self.stuck = if is_stuck { self.stuck + 1 } else { 0 };
        let level = level.filter(|_| self.stuck >= STUCK_LOOKS)?;
        let cause = format!(
            "after {} tracked steps that move the weights by {} of their size, the loss is still {:.3}, no better than \
             a random guess: the learning rate is too high",
            self.readings,
            two_digits(ratio),
            Rounded(level)
        );
        Some(too_high_symptom(cause, vec![ratio_figure(ratio)], ratio, context))
    }

    fn too_low(&mut self, seen: &Observation<'_>, ratio: f64, context: &RuleContext<'_>) -> Option<Symptom> {
        let is_full = seen.learning_rate.is_nan() || seen.learning_rate >= FULL * self.highest;
        let ratio = ratio / rectification(seen.step, context)?;
        // After learning, small updates are normal.
        let is_unlearned = seen.loss.is_nan() || seen.loss > UNLEARNED * context.guess();
        let is_small = ratio < context.thresholds.learning_rate && is_unlearned && seen.is_taken();
        // In branches that start at 0, the gradient grows slowly.
        let is_silent = self.readings <= BEGINNING && context.has_silent_branches();
        self.small = if is_small && is_full && !is_silent { self.small + 1 } else { 0 };
        // Small steps that are not tiny need time to show that they lead nowhere.
        let is_late =
            self.readings >= LATE && context.course.level(1).is_some_and(|level| level > NOTHING * context.guess());
        let is_slow = is_late && ratio < SLOW && is_full && seen.is_taken();
        self.slow = if is_slow { self.slow + 1 } else { 0 };
        if self.small < LOOKS && self.slow < SLOW_LOOKS {
            return None;
        }
        if self.largest > LARGE {
            let cause = format!(
                "a step moved the weights by {} of their size, and moves them by {} now, because hardly any gradient is \
                 left: the learning rate was too high",
                two_digits(self.largest),
                two_digits(ratio)
            );
            return Some(too_high_symptom(cause, vec![ratio_figure(self.largest)], self.largest, context));
        }
        let figures = vec![Figure {
            name: "median update ratio of the weights".into(),
            seen: ratio,
            expected: "0.0001 or more, usually 0.001 to 0.01".into(),
        }];
        let cause = format!(
            "a step moves the weights by {} of their size, so a substantial change takes {:.0e} steps: the learning \
             rate is too low",
            two_digits(ratio),
            1.0 / ratio
        );
        let remedies = Remedy::fitting_learning_rate(context, ratio).into_iter().collect();
        Some(Symptom { severity: Severity::Warning, layers: Vec::new(), ranks: Vec::new(), figures, cause, remedies })
    }
}

/// Fraction of its full size that RAdam's step has by design (Liu et al. 2020, algorithm 2); `None` in the first steps,
/// which are those of SGD. 1 for other optimizers.
fn rectification(step: u64, context: &RuleContext<'_>) -> Option<f64> {
    let Some(optimizer) = context.config.map(|config| &config.optimizer) else { return Some(1.0) };
    if optimizer.name != OptimizerName::Radam {
        return Some(1.0);
    }
    let (beta, count) = (optimizer.betas[1], step as f64 + 1.0);
    let limit = 2.0 / (1.0 - beta) - 1.0;
    let length = limit - 2.0 * count * beta.powf(count) / (1.0 - beta.powf(count));
    let square = (length - 4.0) * (length - 2.0) * limit / ((limit - 4.0) * (limit - 2.0) * length);
    (length > 5.0).then(|| square.sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::fixture::{Case, evaluation, update};

    /// Checks the rule at tracked steps (loss, median update ratio, learning rate).
    fn judged(readings: &[(f64, f64, f64)]) -> Vec<Option<Severity>> {
        let (mut case, mut rule) = (Case::new("optimizer.learning_rate = 0.1"), LearningRate::default());
        let judge = |&(loss, ratio, learning_rate): &(f64, f64, f64)| {
            case.course.add(loss);
            let updates = [update("a.weight", ratio)];
            let seen = Observation { loss, learning_rate, updates: &updates, ..Observation::default() };
            rule.judge(&seen, &case.context()).map(|symptom| symptom.severity)
        };
        readings.iter().map(judge).collect()
    }

    #[test]
    fn a_loss_that_leaps_while_the_weights_move_far_comes_of_too_high_a_rate() {
        let leap = [(2.3, 0.1, 1.0), (9.0, 0.1, 1.0), (9.0, 0.1, 1.0)];
        assert_eq!(judged(&leap), [None, None, Some(Severity::Critical)]);
        assert_eq!(judged(&leap.map(|(loss, _, rate)| (loss, 1e-3, rate))), [None; 3]);
        assert_eq!(judged(&[(2.3, 0.1, 1.0), (9.0, 0.1, 1.0), (2.0, 0.1, 1.0)]), [None; 3]);
    }

    #[test]
    fn a_run_that_learns_nothing_with_large_steps_has_too_high_a_rate_although_its_loss_does_not_jump() {
        // The first 59 tracked steps may be those of a hard start, and the two after them count as a coincidence.
        let found = |ratio, loss| judged(&[(loss, ratio, 0.1); 70]).iter().position(Option::is_some);
        assert_eq!(found(0.03, 2.3), Some(61));
        assert_eq!(found(0.015, 2.3), None);
        assert_eq!(found(0.03, 1.9), None);
    }

    #[test]
    fn an_accuracy_that_is_low_and_does_not_rise_while_steps_are_large_comes_of_too_high_a_rate() {
        let remedy = |ratio: f64| {
            let (mut case, mut rule) = (Case::new("optimizer.learning_rate = 0.1"), LearningRate::default());
            case.course.add(1.9);
            let updates = [update("a.weight", ratio)];
            let seen = Observation { loss: 1.9, learning_rate: 0.1, updates: &updates, ..Observation::default() };
            assert!(rule.judge(&seen, &case.context()).is_none());
            let mut evaluated = |step| {
                let seen = Evaluation { train_accuracy: 0.3, validation_accuracy: 0.3, ..evaluation(step) };
                rule.judge_evaluation(&seen, &case.context())
            };
            let found = [100, 200, 300, 400].map(&mut evaluated).into_iter().flatten().next()?;
            Some(found.remedies[0].change.to_string())
        };
        assert_eq!(remedy(0.03).as_deref(), Some("optimizer.learning_rate = 0.01"));
        assert_eq!(remedy(0.005), None);
    }

    #[test]
    fn a_gradient_that_has_still_to_come_into_branches_that_begin_at_0_is_no_low_rate() {
        let mut case =
            Case::new("model.residual = true\nmodel.initialization = \"fixup\"\noptimizer.learning_rate = 0.1");
        case.course.add(2.3);
        let mut rule = LearningRate::default();
        let updates = [update("a.weight", 1e-6)];
        let seen = Observation { loss: 2.3, learning_rate: 0.1, updates: &updates, ..Observation::default() };
        let told_at = (1..100).find(|_| rule.judge(&seen, &case.context()).is_some());
        assert_eq!(told_at, Some(BEGINNING + u64::from(LOOKS)));
    }

    #[test]
    fn a_network_that_large_steps_have_killed_does_not_need_larger_ones() {
        let (mut case, mut rule) = (Case::new("optimizer.learning_rate = 0.6"), LearningRate::default());
        let mut judge = |ratio: f64| {
            case.course.add(2.3);
            let updates = [update("a.weight", ratio)];
            let seen = Observation { loss: 2.3, learning_rate: 0.6, updates: &updates, ..Observation::default() };
            rule.judge(&seen, &case.context())
        };
        assert!(judge(0.06).is_none());
        let found = (0..10).find_map(|_| judge(1e-6)).unwrap();
        assert_eq!(found.severity, Severity::Critical);
        assert_eq!(found.remedies[0].change.to_string(), "optimizer.learning_rate = 0.03");
    }

    #[test]
    fn a_first_step_that_leaves_little_of_the_weights_is_told_at_once() {
        assert_eq!(judged(&[(2.3, 0.9, 1.0)]), [Some(Severity::Critical)]);
    }

    #[test]
    fn weights_that_hardly_move_at_five_looks_come_of_too_low_a_rate_unless_it_is_to_be_low() {
        let small = (2.3, 1e-6, 0.1);
        assert_eq!(judged(&[small; 5])[3..], [None, Some(Severity::Warning)]);
        let tail: Vec<_> = std::iter::once((2.3, 1e-3, 0.1)).chain([(0.5, 1e-6, 1e-4); 9]).collect();
        assert!(judged(&tail).iter().all(Option::is_none));
        assert!(judged(&[(2.3, 1e-4, 0.1); 9]).iter().all(Option::is_none));
        assert!(judged(&[(0.1, 1e-6, 0.1); 9]).iter().all(Option::is_none));
    }
}
