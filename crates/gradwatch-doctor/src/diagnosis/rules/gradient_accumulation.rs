//! Gradients that are never cleared: each step adds to the sum of all previous ones, which keeps growing.
//!
//! In a healthy run, the gradient norm drops by a tenth below its maximum within a few tracked steps, because batches
//! differ by a fifth, or within 32 if the batches are so large that they hardly differ. The norm of a sum never does.
//! It grows at once if the gradients keep their size, and slowly if they shrink; a long sum makes the loss overshoot,
//! and jumps with the gradients that follow. On the first 60 steps of training loops on Fashion-MNIST (MLP and CNN,
//! torch's and He's initialization, SGD with momentum 0 and 0.9, Adam, batches of 64 to 3000, learning rates up to ten
//! times too high), these thresholds detect 209 of 224 loops that never clear, and none of 280 that do.

use serde::{Deserialize, Serialize};

use super::{Need, Rule, RuleContext, Ways};
use crate::{
    config::RuleName,
    diagnosis::{Figure, Observation, Remedy, Severity, Symptom},
};

/// Required tracked steps after the first: for a norm that only rises, to [`GROWTH`] times the first; for one that
/// falls a little on the way; and for one that grows to [`LITTLE`]. Intentionally accumulated micro-batches are fewer,
/// even if each of them is recorded.
const RISING: u32 = 12;
const WAVERING: u32 = 24;
const SLOW: u32 = 50;
const GROWTH: f64 = 3.0;
const LITTLE: f64 = 1.3;
/// Norm over the highest previous norm.
const FALL: f64 = 0.9;
/// Largest ratio of the norm's growth to the number of summands. A norm that grows faster is an explosion, not a sum.
const MOST: f64 = 10.0;
/// Second norm over the first, or loss over its minimum. The gradient of a network that leaves a plateau grows too, but
/// not at once, and not together with its loss.
const AT_ONCE: f64 = 1.15;
const OVERSHOT: f64 = 1.1;
/// Cosine with the previous gradient, if known, while there are few summands. Sums have 0.85 or more; healthy runs 0.1
/// to 0.7.
const COSINE: f64 = 0.8;
const FEW: u64 = 4;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(in super::super) struct GradientAccumulation {
    /// Step and norm of the first tracked step.
    start: Option<(u64, f64)>,
    highest: f64,
    /// Tracked steps after the first.
    readings: u32,
    has_fallen: bool,
    last: f64,
    grew_at_once: bool,
    is_over: bool,
}

impl Rule for GradientAccumulation {
    fn name(&self) -> RuleName {
        RuleName::GradientAccumulation
    }

    fn needs(&self) -> Ways {
        &[&[Need::TotalNorm]]
    }

    fn start_task(&mut self) {
        // A gradient that grows with the new task is no sum over steps.
        self.is_over = true;
    }

    fn causes(&self) -> &'static [RuleName] {
        // If a parameter is not in the optimizer, its zero_grad does not clear the gradient.
        &[RuleName::WrongLoss, RuleName::UnchangedParameter, RuleName::WeightDecay, RuleName::Momentum]
    }

    fn judge(&mut self, seen: &Observation<'_>, context: &RuleContext<'_>) -> Option<Symptom> {
        let norm = seen.total_norm;
        if self.is_over || norm == 0.0 {
            return None;
        }
        let Some((start, first)) = self.start else {
            // Some programs count steps from 1.
            self.is_over = seen.step > 1 || !norm.is_finite();
            if !self.is_over {
                (self.start, self.highest, self.last) = (Some((seen.step, norm)), norm, norm);
            }
            return None;
        };
        let (summands, growth) = (seen.step.saturating_sub(start) + 1, norm / first);
        let is_sum = norm >= FALL * self.highest && growth <= MOST * summands as f64;
        let turns = summands <= FEW && seen.previous_cosine.is_some_and(|cosine| cosine < COSINE);
        if !is_sum || turns {
            self.is_over = true;
            return None;
        }
        self.readings += 1;
        self.grew_at_once |= self.readings == 1 && growth >= AT_ONCE;
        self.has_fallen |= norm < self.last;
        (self.last, self.highest) = (norm, norm.max(self.highest));
        let is_told = self.is_long_enough(growth) && (self.grew_at_once || has_overshot(context));
        is_told.then(|| symptom(growth, summands))
    }
}

impl GradientAccumulation {
    fn is_long_enough(&self, growth: f64) -> bool {
        let least = if self.has_fallen { WAVERING } else { RISING };
        growth >= GROWTH && self.readings >= least || growth >= LITTLE && self.readings >= SLOW
    }
}

fn has_overshot(context: &RuleContext<'_>) -> bool {
    context.course.level(1).is_some_and(|level| level > OVERSHOT * context.course.best)
}

fn symptom(growth: f64, summands: u64) -> Symptom {
    let figures = vec![
        Figure { name: "gradient norm over the first one".into(), seen: growth, expected: "about 1".into() },
        Figure { name: "steps without a drop".into(), seen: summands as f64, expected: "a few".into() },
    ];
    let cause = format!(
        "the gradient norm rose over {summands} steps to {growth:.1} times the first one and hardly ever dropped, like \
         a sum: gradients accumulate and are never cleared"
    );
    let remedies =
        vec![Remedy::advice("zero_grad() before each backward", "gives each step the gradient of its own images only")];
    Symptom { severity: Severity::Critical, layers: Vec::new(), ranks: Vec::new(), figures, cause, remedies }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::fixture::Case;

    /// Returns the step at which the rule reports norms (each with its cosine) of every `every`-th step, in a run with
    /// these losses.
    fn judged(every: u64, losses: &[f64], readings: impl IntoIterator<Item = (f64, Option<f64>)>) -> Option<u64> {
        let (case, mut rule) = (Case::with_losses(losses.iter().copied()), GradientAccumulation::default());
        let mut judge = |(index, (total_norm, previous_cosine))| {
            let step = every * index as u64;
            let seen = Observation { step, total_norm, previous_cosine, ..Observation::default() };
            rule.judge(&seen, &case.context()).map(|_| step)
        };
        readings.into_iter().enumerate().find_map(&mut judge)
    }

    fn told_at(norms: impl IntoIterator<Item = f64>) -> Option<u64> {
        judged(1, &[], norms.into_iter().map(|norm| (norm, None)))
    }

    #[test]
    fn norms_that_only_rise_are_told_at_the_twelfth_reading_and_those_that_waver_at_the_twenty_fourth() {
        assert_eq!(told_at((1..60).map(f64::from)), Some(12));
        // Orthogonal gradients; then one tracked step in ten.
        assert_eq!(told_at((1..60).map(|count| f64::from(count).sqrt())), Some(12));
        assert_eq!(judged(10, &[], (0..60).map(|count| (f64::from(10 * count + 1), None))), Some(120));
        // The norm falls by a hundredth at the sixth tracked step.
        let wavering = (1..60).map(|count| if count == 7 { 5.94 } else { f64::from(count) });
        assert_eq!(told_at(wavering), Some(24));
    }

    #[test]
    fn norms_that_hardly_grow_are_told_at_the_fiftieth_reading_where_the_loss_has_overshot() {
        let norms = || (0..80).map(|index| (1.0 + 0.01 * f64::from(index), None));
        let overshot = [[2.0; 10], [2.5; 10]].concat();
        assert_eq!(judged(1, &overshot, norms()), Some(50));
        assert_eq!(judged(1, &[2.0; 20], norms()), None);
        // A network that leaves a plateau.
        let escape = || (0..80).map(|index| (1.1f64.powi(index), None));
        assert_eq!((judged(1, &[2.0; 20], escape()), judged(1, &overshot, escape())), (None, Some(12)));
    }

    #[test]
    fn norms_that_fall_or_explode_are_not() {
        assert_eq!(told_at((1..60).map(|step| f64::from(step % 7))), None);
        assert_eq!(told_at((1..60).map(|step| 4f64.powi(step))), None);
        // Eight micro-batches per step, each recorded separately.
        assert_eq!(told_at((0..60).map(|micro_batch| f64::from(micro_batch % 8 + 1))), None);
    }

    #[test]
    fn first_gradients_that_turn_are_no_sum_and_later_ones_may() {
        let with = |turn: usize| {
            let cosine = move |index| Some(if index == turn { 0.5 } else { 0.95 });
            judged(1, &[], (1..30).map(f64::from).enumerate().map(|(index, norm)| (norm, cosine(index))))
        };
        assert_eq!((with(2), with(6)), (None, Some(12)));
    }

    #[test]
    fn a_run_that_is_seen_from_its_middle_on_is_not_judged() {
        let from = |first: u64| {
            let (case, mut rule) = (Case::new(""), GradientAccumulation::default());
            (0..30).any(|index| {
                let seen =
                    Observation { step: first + index, total_norm: index as f64 + 1.0, ..Observation::default() };
                rule.judge(&seen, &case.context()).is_some()
            })
        };
        assert!(from(0) && from(1) && !from(2));
    }
}
