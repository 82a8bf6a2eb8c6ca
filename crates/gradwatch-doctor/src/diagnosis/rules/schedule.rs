//! A schedule that does not fit the length of the run: the learning rate never gets near its peak, or leaves it early.

use serde::{Deserialize, Serialize};

use super::{Need, Rule, RuleContext, Ways};
use crate::{
    config::{Config, RuleName, ScheduleName},
    diagnosis::{Facts, Figure, Observation, Remedy, Severity, Symptom},
    number::{Rounded, two_digits},
};

/// Fraction of its peak that the learning rate must reach.
const PEAK: f64 = 0.5;
/// Fraction of the highest learning rate so far below which hardly anything is learned.
const SPENT: f64 = 1e-2;
/// Fraction of the run before which the learning rate should not be spent.
const EARLY: f64 = 0.5;
/// Required consecutive tracked steps.
const LOOKS: u32 = 10;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(in super::super) struct Schedule {
    highest: f64,
    looks: u32,
}

impl Rule for Schedule {
    fn name(&self) -> RuleName {
        RuleName::Schedule
    }

    fn needs(&self) -> Ways {
        &[&[Need::InitialFacts, Need::ModelConfig], &[Need::StepLoss, Need::LearningRate, Need::ModelConfig]]
    }

    fn is_refuted_by_learning(&self) -> bool {
        true
    }

    fn judge(&mut self, seen: &Observation<'_>, context: &RuleContext<'_>) -> Option<Symptom> {
        let config = context.config?;
        let steps = steps(config, context.facts)?;
        if seen.step == 0 {
            return short_of_peak(config, context.facts, steps);
        }
        self.highest = self.highest.max(seen.learning_rate);
        let share = seen.learning_rate / self.highest;
        // An evaluation decides about the decay of `plateau`.
        let is_planned = !matches!(config.schedule.name, ScheduleName::Constant | ScheduleName::Plateau);
        let is_spent =
            is_planned && share < SPENT && (seen.step as f64) < EARLY * steps && context.has_learned_little(seen);
        self.looks = if is_spent { self.looks + 1 } else { 0 };
        if self.looks < LOOKS {
            return None;
        }
        let figures = vec![Figure {
            name: "learning rate over its highest value".into(),
            seen: share,
            expected: "near 1 in the first half of the run".into(),
        }];
        let cause = format!(
            "at step {} of {steps:.0}, the learning rate has fallen to {} of its highest value, before the run has \
             learned anything: the schedule is too short for the run",
            seen.step,
            two_digits(share)
        );
        let remedies = vec![
            Remedy::config("schedule.name", "constant", "keeps the learning rate"),
            Remedy::config("schedule.name", "cosine", "lowers it over the whole run"),
        ];
        Some(Symptom { severity: Severity::Critical, layers: Vec::new(), ranks: Vec::new(), figures, cause, remedies })
    }
}

/// Planned steps of the run; `None` if only the time limits it.
fn steps(config: &Config, facts: &Facts) -> Option<f64> {
    let by_epochs = config.run.max_epochs.filter(|_| facts.steps_per_epoch > 0);
    let by_epochs = by_epochs.map(|epochs| epochs as f64 * facts.steps_per_epoch as f64);
    let by_steps = config.run.max_steps.map(|steps| steps as f64);
    by_epochs.into_iter().chain(by_steps).reduce(f64::min)
}

/// A warm-up that the run does not live to see the end of.
fn short_of_peak(config: &Config, facts: &Facts, steps: f64) -> Option<Symptom> {
    let schedule = &config.schedule;
    let warmup = schedule.warmup_steps as f64 + schedule.warmup_epochs * facts.steps_per_epoch as f64;
    let peak = config.optimizer.learning_rate;
    let reached = schedule.warmup_learning_rate + (peak - schedule.warmup_learning_rate) * (steps / warmup).min(1.0);
    let share = reached / peak;
    if warmup <= steps || share.is_nan() || share >= PEAK {
        return None;
    }
    let figures = vec![Figure {
        name: "highest learning rate of the run over optimizer.learning_rate".into(),
        seen: share,
        expected: "1".into(),
    }];
    let cause = format!(
        "the warm-up takes {warmup:.0} steps, but the run ends after {steps:.0}: the learning rate only gets to {}, \
         {:.1}% of its peak",
        two_digits(reached),
        Rounded(100.0 * share)
    );
    let fitting = (steps / 20.0).floor() as usize;
    let mut remedies = Vec::new();
    if schedule.warmup_steps > 0 {
        remedies.push(Remedy::config("schedule.warmup_steps", fitting, "warms up for a twentieth of the run"));
    } else {
        remedies.push(Remedy::config("schedule.warmup_epochs", 0.0, "starts at the peak"));
    }
    Some(Symptom { severity: Severity::Critical, layers: Vec::new(), ranks: Vec::new(), figures, cause, remedies })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::fixture::Case;

    fn case(more: &str) -> Case {
        let mut case = Case::new(more);
        case.facts.steps_per_epoch = 200;
        case
    }

    #[test]
    fn a_warm_up_longer_than_the_run_is_told_before_the_first_step() {
        let judge = |more: &str| Schedule::default().judge(&Observation::default(), &case(more).context());
        let symptom = judge("schedule.warmup_steps = 100000").unwrap();
        assert!(symptom.cause.contains("takes 100000 steps, but the run ends after 200"), "{}", symptom.cause);
        assert_eq!(symptom.remedies[0].change.to_string(), "schedule.warmup_steps = 10");
        assert!(judge("schedule.warmup_steps = 100").is_none() && judge("").is_none());
        // 200 of 300 steps: two thirds of the peak.
        assert!(judge("schedule.warmup_steps = 300").is_none());
        assert!(judge("schedule.warmup_epochs = 3.0").is_some());
        // Without a known number of steps.
        assert!(
            Schedule::default()
                .judge(&Observation::default(), &Case::new("schedule.warmup_steps = 9").context())
                .is_none()
        );
    }

    #[test]
    fn a_rate_that_is_spent_early_in_a_run_that_has_not_learned_is_told() {
        let is_told = |more: &str, loss: f64| {
            let (case, mut rule) = (case(more), Schedule::default());
            (1..60u64).any(|step| {
                let learning_rate = if step < 20 { 0.1 } else { 1e-4 };
                rule.judge(&Observation { step, loss, learning_rate, ..Observation::default() }, &case.context())
                    .is_some()
            })
        };
        let multistep = "schedule = { name = \"multistep\", milestones = [0.1] }";
        assert!(is_told(multistep, 2.2) && !is_told(multistep, 0.5) && !is_told("", 2.2));
    }
}
