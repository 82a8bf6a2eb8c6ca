//! Accuracy that is low and hardly improves between evaluations.
//!
//! Follows AutoTrainer (ICSE 2021): best training and validation accuracy below 0.6, and no gain of 0.01 between
//! evaluations. Here the last three evaluations decide, so that the rule does not have to wait for the end of the run.
//! The accuracy threshold depends on that of a guess, so that a task with many classes is not flagged if it is far
//! better than a guess.

use serde::{Deserialize, Serialize};

use super::{Need, Rule, RuleContext, Ways};
use crate::{
    config::RuleName,
    diagnosis::{Evaluation, Figure, Finding, Remedy, Severity, Symptom},
};

/// Gain over the best accuracy so far that counts as progress.
pub(in super::super) const GAIN: f64 = 0.01;
/// Accuracy from which a run is not slow, as a fraction of the way from a guess to 1.
const SLOW: f64 = 0.5;
/// Steps without a gain. Evaluations may be a few steps apart.
const STEPS: u64 = 60;
/// Consecutive evaluations without a gain.
const LOOKS: u32 = 3;

/// Evaluations with a low accuracy that does not rise.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(in super::super) struct Stall {
    best: Option<f64>,
    looks: u32,
    /// Step of the last evaluation with a gain.
    gained_at: u64,
}

impl Stall {
    /// Adds an evaluation. Returns its accuracy and the gain over the best one if the last evaluations were all without
    /// a gain.
    pub(super) fn add(&mut self, seen: &Evaluation, context: &RuleContext<'_>) -> Option<(f64, f64)> {
        let chance = context.most_frequent()?;
        let accuracy = seen.train_accuracy.max(seen.validation_accuracy);
        if accuracy.is_nan() {
            return None;
        }
        let gain = accuracy - self.best.unwrap_or(0.0);
        let is_slow = accuracy < chance + SLOW * (1.0 - chance) && gain < context.thresholds.slow_convergence;
        // Small steps gain little by design.
        let is_warm_up = context.config.is_some_and(|config| {
            let schedule = &config.schedule;
            let epochs = schedule.warmup_epochs * context.facts.steps_per_epoch as f64;
            (seen.step as f64) < schedule.warmup_steps as f64 + epochs
        });
        if !is_slow || is_warm_up {
            self.gained_at = seen.step;
        }
        self.looks = if is_slow && !is_warm_up { self.looks + 1 } else { 0 };
        self.best = Some(self.best.map_or(accuracy, |best| best.max(accuracy)));
        (self.looks >= LOOKS && seen.step >= self.gained_at + STEPS).then_some((accuracy, gain))
    }
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(in super::super) struct SlowConvergence {
    #[serde(flatten)]
    stall: Stall,
}

impl Rule for SlowConvergence {
    fn name(&self) -> RuleName {
        RuleName::SlowConvergence
    }

    fn needs(&self) -> Ways {
        &[&[Need::Evaluations, Need::Classes]]
    }

    fn start_task(&mut self) {
        *self = Self::default();
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
            RuleName::LossPlateau,
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
            RuleName::RunningStatistics,
            RuleName::BatchNorm,
            RuleName::RankDisagreement,
        ]
    }

    fn recovery(&self, _finding: &Finding, _step: u64, _context: &RuleContext<'_>) -> Option<String> {
        let best = self.stall.best.filter(|_| self.stall.looks == 0)?;
        Some(format!("accuracy has risen to {:.1}%", 100.0 * best))
    }

    fn judge_evaluation(&mut self, seen: &Evaluation, context: &RuleContext<'_>) -> Option<Symptom> {
        let (accuracy, gain) = self.stall.add(seen, context)?;
        let figures = vec![Figure {
            name: "accuracy gain over the previous best".into(),
            seen: gain,
            expected: "0.01 or more".into(),
        }];
        let cause = format!(
            "accuracy is {:.1}% and gained less than {:.1} points in each of {LOOKS} consecutive evaluations",
            100.0 * accuracy,
            100.0 * context.thresholds.slow_convergence
        );
        let mut remedies: Vec<_> = Remedy::higher_learning_rate(context, "takes longer steps").into_iter().collect();
        remedies.push(Remedy::config("optimizer.name", "adamw", "takes steps of similar size for every parameter"));
        Some(Symptom { severity: Severity::Warning, layers: Vec::new(), ranks: Vec::new(), figures, cause, remedies })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::fixture::{Case, evaluation};

    fn judged(accuracies: &[f64]) -> Vec<bool> {
        judged_every(100, "", accuracies)
    }

    /// Checks evaluations that are this many steps apart.
    fn judged_every(steps: u64, more: &str, accuracies: &[f64]) -> Vec<bool> {
        let (case, mut rule) = (Case::new(more), SlowConvergence::default());
        let judge = |(step, &accuracy): (u64, &f64)| {
            let seen = Evaluation { train_accuracy: accuracy, validation_accuracy: accuracy, ..evaluation(step) };
            rule.judge_evaluation(&seen, &case.context()).is_some()
        };
        (0..).step_by(steps as usize).zip(accuracies).map(judge).collect()
    }

    #[test]
    fn evaluations_a_few_steps_apart_and_a_warm_up_may_gain_little() {
        assert!(judged_every(4, "", &[0.2; 15]).iter().all(|judged| !judged));
        assert!(judged_every(4, "", &[0.2; 30]).contains(&true));
        let warm_up = "schedule.warmup_steps = 1000";
        assert!(judged_every(100, warm_up, &[0.2; 10]).iter().all(|judged| !judged));
        assert!(judged_every(100, warm_up, &[0.2; 20]).contains(&true));
    }

    #[test]
    fn three_evaluations_without_a_gain_while_accuracy_is_low_are_told() {
        assert_eq!(judged(&[0.2, 0.2, 0.205, 0.2]), [false, false, false, true]);
        assert!(judged(&[0.2, 0.22, 0.24, 0.26, 0.28]).iter().all(|judged| !judged));
        assert!(judged(&[0.9, 0.9, 0.9, 0.9]).iter().all(|judged| !judged));
    }
}
