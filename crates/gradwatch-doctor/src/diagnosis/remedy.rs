//! Remedies of findings.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use super::{
    Finding,
    change::{Change, ChangeValue},
    rules::RuleContext,
};
use crate::{config::Config, number::two_digits};

/// Median update ratio of runs that train well: 1e-3 to 1e-2 over 22 families and seven optimizers, of which this is the
/// middle.
const HEALTHY_RATIO: f64 = 3e-3;
/// Largest factor by which to change a learning rate at once.
const MOST_CHANGE: f64 = 1e4;
/// Learning rates to recommend. Beyond them, something else is wrong with a run.
const RATES: RangeInclusive<f64> = 1e-8..=100.0;

/// A recommended change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Remedy {
    /// The change.
    pub change: Change,
    /// Effect of the change.
    pub why: String,
}

impl Remedy {
    /// Recommended changes of all findings, in their order, without duplicates.
    pub fn of_findings(findings: &[Finding]) -> Vec<Self> {
        let mut remedies: Vec<Self> = findings.iter().flat_map(|finding| &finding.remedies).cloned().collect();
        Self::without_duplicates(&mut remedies);
        remedies
    }

    /// Removes each change that was recommended before.
    pub fn without_duplicates(remedies: &mut Vec<Self>) {
        let mut known = Vec::new();
        remedies.retain(|remedy| {
            let is_new = !known.contains(&remedy.change);
            known.push(remedy.change.clone());
            is_new
        });
    }

    pub(super) fn config(key: &str, value: impl Into<ChangeValue>, why: &str) -> Self {
        Self { change: Change::config(key, value), why: why.to_owned() }
    }

    pub(super) fn advice(advice: &str, why: &str) -> Self {
        Self { change: Change::Advice(advice.to_owned()), why: why.to_owned() }
    }

    /// Recommends a warm-up, unless there is one.
    pub(super) fn warm_up(context: &RuleContext<'_>) -> Option<Self> {
        let has_none = |config: &Config| config.schedule.warmup_steps == 0 && config.schedule.warmup_epochs == 0.0;
        let why = "takes small steps while the gradients are large";
        context.config.is_none_or(has_none).then(|| Self::config("schedule.warmup_epochs", 1usize, why))
    }

    /// Recommends a tenth of the learning rate, unless it is known and cannot be lowered.
    pub(super) fn lower_learning_rate(context: &RuleContext<'_>, why: &str) -> Option<Self> {
        if context.config.is_none() {
            return Some(Self::advice("a tenth of the learning rate", why));
        }
        let (_, proposed) = proposed_rate(context, 0.1)?;
        Some(Self::config("optimizer.learning_rate", proposed, why))
    }

    /// Recommends ten times the learning rate, if it is known and can be raised.
    pub(super) fn higher_learning_rate(context: &RuleContext<'_>, why: &str) -> Option<Self> {
        let (_, proposed) = proposed_rate(context, 10.0)?;
        Some(Self::config("optimizer.learning_rate", proposed, why))
    }

    /// Recommends the learning rate that changes an update ratio of `ratio` to a healthy 3e-3, if the current one is
    /// known. The change is at least tenfold, so that it has a visible effect.
    pub(super) fn fitting_learning_rate(context: &RuleContext<'_>, ratio: f64) -> Option<Self> {
        let factor = match HEALTHY_RATIO / ratio {
            factor if factor > 1.0 => factor.clamp(10.0, MOST_CHANGE),
            factor => factor.clamp(1.0 / MOST_CHANGE, 0.1),
        };
        let (now, proposed) = proposed_rate(context, factor)?;
        let why = format!("moves the weights by about {} of their size per step", two_digits(ratio * proposed / now));
        Some(Self::config("optimizer.learning_rate", proposed, &why))
    }
}

/// Current learning rate, and the one that is `factor` times as high, within [`RATES`]. `None` if the rate is not
/// known, or cannot move in this direction.
fn proposed_rate(context: &RuleContext<'_>, factor: f64) -> Option<(f64, f64)> {
    let now = context.config?.optimizer.learning_rate;
    let proposed = (now * factor).clamp(*RATES.start(), *RATES.end());
    // Rounds to two digits, because more precision has no meaning.
    let rounded: f64 = format!("{proposed:.1e}").parse().unwrap_or(proposed);
    let moves = if factor > 1.0 { rounded > now } else { rounded < now };
    (now > 0.0 && factor.is_finite() && moves).then_some((now, rounded))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recommended_learning_rates_fit_the_step_and_have_two_digits() {
        let case = crate::diagnosis::fixture::Case::new("optimizer.learning_rate = 0.03");
        let context = case.context();
        let change = |remedy: Option<Remedy>| remedy.unwrap().change.to_string();
        assert_eq!(change(Remedy::higher_learning_rate(&context, "")), "optimizer.learning_rate = 0.3");
        assert_eq!(change(Remedy::lower_learning_rate(&context, "")), "optimizer.learning_rate = 0.003");
        // Update ratios of 0.5 and 1e-6 need learning rates of 0.006 and 3000 times the current one; 0.005 needs at most a
        // tenth.
        assert_eq!(change(Remedy::fitting_learning_rate(&context, 0.5)), "optimizer.learning_rate = 0.00018");
        assert_eq!(change(Remedy::fitting_learning_rate(&context, 1e-6)), "optimizer.learning_rate = 90");
        assert_eq!(change(Remedy::fitting_learning_rate(&context, 5e-3)), "optimizer.learning_rate = 0.003");
        assert_eq!(Remedy::fitting_learning_rate(&context, f64::NAN), None);
    }

    #[test]
    fn recommended_learning_rates_stay_within_bounds_and_say_what_they_reach() {
        let fitting = |rate: &str, ratio: f64| {
            let case = crate::diagnosis::fixture::Case::new(&format!("optimizer.learning_rate = {rate}"));
            let remedy = Remedy::fitting_learning_rate(&case.context(), ratio)?;
            Some((remedy.change.to_string().split_once(" = ")?.1.to_owned(), remedy.why))
        };
        let told = |rate: &str, why: &str| Some((rate.to_owned(), why.to_owned()));
        assert_eq!(fitting("0.03", 0.5), told("0.00018", "moves the weights by about 0.003 of their size per step"));
        // The factor is at most 1e4, and at least 10.
        assert_eq!(fitting("0.001", 1e-9), told("10", "moves the weights by about 1e-5 of their size per step"));
        assert_eq!(fitting("0.1", 5e-3), told("0.01", "moves the weights by about 5e-4 of their size per step"));
        assert_eq!(fitting("1e5", 1e4), told("10", "moves the weights by about 1 of their size per step"));
        // The bounds of the rate itself.
        assert_eq!(fitting("1", 1e-9), told("100", "moves the weights by about 1e-7 of their size per step"));
        assert_eq!(fitting("1e5", 1e-9), None);
        assert_eq!(fitting("1e-8", 0.5), None);
        assert_eq!(fitting("0", 0.5), None);
    }
}
