//! Findings of the rules.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{RuleName, rules::Known};
pub use crate::config::Severity;
use crate::disk::nan_from_null;

/// Update ratio in healthy training.
const HEALTHY_RATIO: f64 = 1e-3;
/// Largest factor by which to change a learning rate at once.
const MOST_CHANGE: f64 = 1e4;

/// A measured value and its healthy range.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// Description of the value.
    pub name: String,
    /// Measured value.
    #[serde(deserialize_with = "nan_from_null")]
    pub seen: f64,
    /// Value in a healthy run.
    pub expected: String,
}

/// A recommended change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remedy {
    /// Config line, such as `model.activation = "relu"`.
    pub change: String,
    /// Effect of the change.
    pub why: String,
}

impl Remedy {
    pub(super) fn new(change: impl Into<String>, why: &str) -> Self {
        Self { change: change.into(), why: why.to_owned() }
    }

    /// Recommends a tenth of the learning rate, if it is known.
    pub(super) fn lower_learning_rate(known: &Known<'_>, why: &str) -> Option<Self> {
        Some(Self::learning_rate(known.config?.optimizer.learning_rate / 10.0, why))
    }

    /// Recommends ten times the learning rate, if it is known.
    pub(super) fn higher_learning_rate(known: &Known<'_>, why: &str) -> Option<Self> {
        Some(Self::learning_rate(known.config?.optimizer.learning_rate * 10.0, why))
    }

    /// Recommends the learning rate that changes an update ratio of `ratio` to a healthy 1e-3, if the current one is
    /// known. The change is at least tenfold, so that it has a visible effect.
    pub(super) fn fitting_learning_rate(known: &Known<'_>, ratio: f64) -> Option<Self> {
        let now = known.config?.optimizer.learning_rate;
        let factor = match HEALTHY_RATIO / ratio {
            factor if factor > 1.0 => factor.clamp(10.0, MOST_CHANGE),
            factor => factor.clamp(1.0 / MOST_CHANGE, 0.1),
        };
        (now > 0.0 && factor.is_finite())
            .then(|| Self::learning_rate(now * factor, "moves the weights by about a thousandth per step"))
    }

    /// Rounds to two digits, because more precision has no meaning.
    fn learning_rate(value: f64, why: &str) -> Self {
        let rounded = format!("{value:.1e}").parse().unwrap_or(value);
        Self::new(format!("optimizer.learning_rate = {rounded}"), why)
    }
}

/// Result of a rule at one step.
#[derive(Debug, Clone, PartialEq)]
pub struct Symptom {
    /// Severity.
    pub severity: Severity,
    /// Affected layers; empty if the whole model is affected.
    pub layers: Vec<Arc<str>>,
    /// Measured values. The evidence of a finding follows the first one.
    pub figures: Vec<Figure>,
    /// Cause, in one sentence.
    pub cause: String,
    /// Recommended changes, best first.
    pub remedies: Vec<Remedy>,
}

/// A measured value at one step.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// Optimizer step.
    pub step: u64,
    /// The finding's first figure at that step.
    #[serde(deserialize_with = "nan_from_null")]
    pub value: f64,
}

/// All symptoms of one rule in a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// Name of the rule.
    pub rule: RuleName,
    /// Highest severity so far.
    pub severity: Severity,
    /// Affected layers at the highest severity.
    pub layers: Vec<Arc<str>>,
    /// First step with the symptom.
    pub first_step: u64,
    /// Last step with the symptom or one of its consequences.
    pub last_step: u64,
    /// Measured values at the highest severity.
    pub figures: Vec<Figure>,
    /// Cause, in one sentence.
    pub cause: String,
    /// Recommended changes, best first.
    pub remedies: Vec<Remedy>,
    /// Values at the first and last steps with the symptom.
    pub evidence: Vec<Evidence>,
    /// Consequences of this finding, with the first step of each.
    pub symptoms: Vec<(RuleName, u64)>,
}

impl Finding {
    /// Number of first steps to keep as evidence, and number of last steps.
    const KEPT: usize = 8;

    pub(super) fn new(rule: RuleName, step: u64, symptom: Symptom) -> Self {
        let evidence = symptom.figures.first().map(|figure| Evidence { step, value: figure.seen });
        let Symptom { severity, layers, figures, cause, remedies } = symptom;
        Self {
            rule,
            severity,
            layers,
            first_step: step,
            last_step: step,
            figures,
            cause,
            remedies,
            evidence: evidence.into_iter().collect(),
            symptoms: Vec::new(),
        }
    }

    /// Adds the symptom of a later step. Returns whether it is worse than all earlier ones.
    pub(super) fn add(&mut self, step: u64, symptom: Symptom) -> bool {
        self.last_step = step;
        if let Some(figure) = symptom.figures.first() {
            if self.evidence.len() == 2 * Self::KEPT {
                self.evidence.remove(Self::KEPT);
            }
            self.evidence.push(Evidence { step, value: figure.seen });
        }
        if symptom.severity <= self.severity {
            return false;
        }
        let Symptom { severity, layers, figures, cause, remedies } = symptom;
        (self.severity, self.layers, self.figures) = (severity, layers, figures);
        (self.cause, self.remedies) = (cause, remedies);
        true
    }

    /// Affected layers as part of a sentence; empty if the whole model is affected.
    pub(crate) fn place(&self) -> String {
        match &self.layers[..] {
            [] => String::new(),
            [one] => format!(" in {one}"),
            [first, .., last] => format!(" in {first} to {last}"),
        }
    }

    /// Merges an earlier finding that follows from this one, and takes over its first step.
    pub(super) fn absorb(&mut self, earlier: &Self) {
        self.first_step = self.first_step.min(earlier.first_step);
        self.symptoms.push((earlier.rule, earlier.first_step));
        for &(rule, step) in earlier.symptoms.iter().filter(|(rule, _)| *rule != self.rule) {
            if !self.symptoms.iter().any(|(known, _)| *known == rule) {
                self.symptoms.push((rule, step));
            }
        }
    }

    pub(super) fn fold(&mut self, rule: RuleName, step: u64) {
        self.last_step = step;
        if !self.symptoms.iter().any(|(known, _)| *known == rule) {
            self.symptoms.push((rule, step));
        }
    }
}

impl fmt::Display for Finding {
    /// One line: rule, severity, first step, layers, cause, and recommended changes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = self.place();
        write!(f, "{} ({}) since step {}{place}: {}", self.rule, self.severity, self.first_step, self.cause)?;
        if let Some(remedy) = self.remedies.first() {
            write!(f, "; try {}: {}", remedy.change, remedy.why)?;
        }
        let more = self.remedies.iter().skip(1).map(|remedy| remedy.change.as_str()).collect::<Vec<_>>();
        if more.is_empty() { Ok(()) } else { write!(f, "; or {}", more.join("; or ")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn symptom(severity: Severity, seen: f64) -> Symptom {
        let figures = vec![Figure { name: "ratio".into(), seen, expected: "about 1".into() }];
        let remedies = vec![Remedy::new("a = 1", "it helps"), Remedy::new("b = 2", "it helps too")];
        Symptom { severity, layers: vec!["one".into(), "two".into()], figures, cause: "it is so".into(), remedies }
    }

    #[test]
    fn a_finding_keeps_its_worst_its_first_steps_and_its_last() {
        let mut finding = Finding::new(RuleName::Vanishing, 0, symptom(Severity::Warning, 0.0));
        for step in 1..100 {
            let severity = if step == 50 { Severity::Critical } else { Severity::Warning };
            assert_eq!(finding.add(step, symptom(severity, step as f64)), step == 50);
        }
        let steps: Vec<u64> = finding.evidence.iter().map(|evidence| evidence.step).collect();
        assert_eq!(steps, (0..8).chain(92..100).collect::<Vec<u64>>());
        assert_eq!((finding.severity, finding.figures[0].seen), (Severity::Critical, 50.0));
        assert_eq!((finding.first_step, finding.last_step), (0, 99));
    }

    #[test]
    fn a_finding_says_everything_in_one_line() {
        let finding = Finding::new(RuleName::Vanishing, 3, symptom(Severity::Warning, 0.0));
        let want = "vanishing (warning) since step 3 in one to two: it is so; try a = 1: it helps; or b = 2";
        assert_eq!(finding.to_string(), want);
    }

    #[test]
    fn recommended_learning_rates_fit_the_step_and_have_two_digits() {
        let case = crate::diagnosis::fixture::Case::new("optimizer.learning_rate = 0.03");
        let known = case.known();
        let change = |remedy: Option<Remedy>| remedy.unwrap().change;
        assert_eq!(change(Remedy::higher_learning_rate(&known, "")), "optimizer.learning_rate = 0.3");
        assert_eq!(change(Remedy::lower_learning_rate(&known, "")), "optimizer.learning_rate = 0.003");
        // Update ratios of 0.5 and 1e-6 need learning rates of 1/500 and 1000 times the current one; 0.005 needs at
        // least a tenth.
        assert_eq!(change(Remedy::fitting_learning_rate(&known, 0.5)), "optimizer.learning_rate = 0.00006");
        assert_eq!(change(Remedy::fitting_learning_rate(&known, 1e-6)), "optimizer.learning_rate = 30");
        assert_eq!(change(Remedy::fitting_learning_rate(&known, 5e-3)), "optimizer.learning_rate = 0.003");
        assert_eq!(Remedy::fitting_learning_rate(&known, f64::NAN), None);
    }
}
