//! Gradients that are never cleared: each step adds to the sum of all before, and the norm grows with every step.
//!
//! The mean gradient of the first steps hardly turns, so that a sum of t of them is (t + 1) / t times as long one step later. In
//! healthy training a norm falls as often as it rises: so many rises in a row are no chance.

use serde::{Deserialize, Serialize};

use super::{Known, Rule};
use crate::{
    config::RuleName,
    diagnosis::{Figure, Observation, Remedy, Severity, Symptom},
};

/// Rises in a row, from the first step on.
const RISES: u32 = 12;
/// Where the cosine with the gradient of the step before is known, it is near 1.
const COSINE: f64 = 0.8;
/// The norm after them over the first: a sum of steps that turn at random grows with the root of their number.
const GROWTH: f64 = 3.0;
/// A rise from one reading to the next that is too much for one more summand.
const JUMP: f64 = 3.0;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(in super::super) struct GradientAccumulation {
    first: f64,
    last: f64,
    rises: u32,
    is_over: bool,
}

impl Rule for GradientAccumulation {
    fn name(&self) -> RuleName {
        RuleName::GradientAccumulation
    }

    fn judge(&mut self, seen: &Observation<'_>, _known: &Known<'_>) -> Option<Symptom> {
        if self.is_over || seen.total_norm == 0.0 {
            return None;
        }
        let norm = seen.total_norm;
        if self.last == 0.0 {
            (self.first, self.last) = (norm, norm);
            self.is_over = seen.step > 0;
            return None;
        }
        let turns = seen.previous_cosine.is_some_and(|cosine| cosine < COSINE);
        if turns || norm <= self.last || norm > JUMP * self.last || !norm.is_finite() {
            self.is_over = true;
            return None;
        }
        (self.last, self.rises) = (norm, self.rises + 1);
        if self.rises < RISES || norm < GROWTH * self.first {
            return None;
        }
        let (rises, growth) = (self.rises, norm / self.first);
        let figures = vec![
            Figure { name: "rises of the gradient norm in a row".into(), seen: rises.into(), expected: "a few".into() },
            Figure { name: "gradient norm over the first".into(), seen: growth, expected: "about 1".into() },
        ];
        let cause = format!(
            "the gradient norm rose at each of the first {rises} steps, to {growth:.1} times the first: gradients are added up \
             and never cleared"
        );
        let remedies =
            vec![Remedy::new("zero_grad() before each backward", "each step has the gradient of its own images")];
        Some(Symptom { severity: Severity::Critical, layers: Vec::new(), figures, cause, remedies })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::fixture::Case;

    fn told_at(norms: impl IntoIterator<Item = f64>) -> Option<usize> {
        let (case, mut rule) = (Case::new(""), GradientAccumulation::default());
        let mut judge = |(step, total_norm)| {
            rule.judge(&Observation { step, total_norm, ..Observation::default() }, &case.known()).is_some()
        };
        norms.into_iter().enumerate().position(|(step, norm)| judge((step as u64, norm)))
    }

    #[test]
    fn norms_that_only_rise_are_told_at_the_twelfth_rise() {
        assert_eq!(told_at((1..30).map(f64::from)), Some(12));
    }

    #[test]
    fn norms_that_fall_once_or_hardly_grow_are_not() {
        assert_eq!(told_at((1..40).map(|step| f64::from(step % 7))), None);
        assert_eq!(told_at((1..40).map(|step| 1.0 + 0.001 * f64::from(step))), None);
        assert_eq!(told_at((1..40).map(|step| 4f64.powi(step))), None);
    }
}
