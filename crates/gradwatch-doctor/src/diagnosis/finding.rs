//! Findings of the rules.

use std::{borrow::Borrow, cmp::Reverse, fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{Remedy, RuleName};
pub use crate::config::Severity;

/// A measured value and its healthy range.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// Description of the value.
    pub name: String,
    /// Measured value.
    #[serde(deserialize_with = "crate::json::nan_from_null")]
    pub seen: f64,
    /// Value in a healthy run.
    pub expected: String,
}

/// Result of a rule at one step.
#[derive(Debug, Clone, PartialEq)]
pub struct Symptom {
    /// Severity.
    pub severity: Severity,
    /// Affected layers; empty if the whole model is affected.
    pub layers: Vec<Arc<str>>,
    /// Affected ranks of a data-parallel run; empty if all ranks are affected.
    pub ranks: Vec<usize>,
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
    #[serde(deserialize_with = "crate::json::nan_from_null")]
    pub value: f64,
}

/// Whether a finding still holds.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingState {
    /// It holds.
    #[default]
    Open,
    /// It holds, and has become more severe or reached another rank since it was found.
    Worsening,
    /// It no longer holds.
    Withdrawn {
        /// Optimizer step.
        step: u64,
        /// What refutes it.
        reason: String,
    },
}

/// All symptoms of one rule in a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// Name of the rule.
    pub rule: RuleName,
    /// Whether it still holds.
    #[serde(default)]
    pub state: FindingState,
    /// Highest severity so far.
    pub severity: Severity,
    /// Affected layers at the highest severity.
    pub layers: Vec<Arc<str>>,
    /// Affected ranks of a data-parallel run, in ascending order; empty if all ranks are affected.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ranks: Vec<usize>,
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
        let Symptom { severity, layers, mut ranks, figures, cause, remedies } = symptom;
        ranks.sort_unstable();
        Self {
            rule,
            state: FindingState::Open,
            severity,
            layers,
            ranks,
            first_step: step,
            last_step: step,
            figures,
            cause,
            remedies,
            evidence: evidence.into_iter().collect(),
            symptoms: Vec::new(),
        }
    }

    /// Whether the finding holds.
    pub fn is_open(&self) -> bool {
        !matches!(self.state, FindingState::Withdrawn { .. })
    }

    pub(super) fn withdraw(&mut self, step: u64, reason: String) {
        self.state = FindingState::Withdrawn { step, reason };
    }

    /// Adds the symptom of a later step. Returns whether it is worse than all earlier ones, concerns another rank, or
    /// reopens the finding.
    pub(super) fn add(&mut self, step: u64, symptom: Symptom) -> bool {
        self.last_step = step;
        let is_reopened = !self.is_open();
        if is_reopened {
            self.state = FindingState::Open;
        }
        if let Some(figure) = symptom.figures.first() {
            if self.evidence.len() == 2 * Self::KEPT {
                self.evidence.remove(Self::KEPT);
            }
            self.evidence.push(Evidence { step, value: figure.seen });
        }
        let Symptom { severity, layers, ranks, figures, cause, remedies } = symptom;
        let ranks_before = self.ranks.len();
        self.ranks.extend(ranks);
        self.ranks.sort_unstable();
        self.ranks.dedup();
        let is_wider = self.ranks.len() > ranks_before && severity == self.severity;
        if severity <= self.severity && !is_wider {
            return is_reopened;
        }
        self.state = FindingState::Worsening;
        (self.severity, self.layers, self.figures) = (severity, layers, figures);
        (self.cause, self.remedies) = (cause, remedies);
        true
    }

    /// Affected layers and ranks as part of a sentence; empty if all of them are affected.
    pub(crate) fn place(&self) -> String {
        let layers = match &self.layers[..] {
            [] => String::new(),
            [one] => format!(" in {one}"),
            [first, .., last] => format!(" in {first} to {last}"),
        };
        match &self.ranks[..] {
            [] => layers,
            ranks => format!("{layers} ({})", rank_list(ranks)),
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

/// Sorts findings: that of the rule of the root cause first, then the most severe ones.
pub fn root_cause_first<F: Borrow<Finding>>(findings: &mut [F], root_cause: Option<RuleName>) {
    findings.sort_by_key(|finding| {
        let finding = finding.borrow();
        (Some(finding.rule) != root_cause, Reverse(finding.severity))
    });
}

/// Numbers of ranks as text: `rank 2`, or `ranks 0, 1, 2, 3 and 4 more`.
pub(crate) fn rank_list(ranks: &[usize]) -> String {
    const NAMED: usize = 4;
    let named = ranks.iter().take(NAMED).map(usize::to_string).collect::<Vec<_>>().join(", ");
    match ranks.len() {
        1 => format!("rank {named}"),
        count if count <= NAMED => format!("ranks {named}"),
        count => format!("ranks {named} and {} more", count - NAMED),
    }
}

impl fmt::Display for Finding {
    /// One line: rule, severity, first step, layers, cause, and recommended changes; or why it is withdrawn.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = self.place();
        if let FindingState::Withdrawn { step, reason } = &self.state {
            let Self { rule, first_step, .. } = self;
            return write!(f, "{rule}, found at step {first_step}{place}, is withdrawn at step {step}: {reason}");
        }
        write!(f, "{} ({}) since step {}{place}: {}", self.rule, self.severity, self.first_step, self.cause)?;
        if let Some(remedy) = self.remedies.first() {
            write!(f, "; try {}: {}", remedy.change, remedy.why)?;
        }
        let more = self.remedies.iter().skip(1).map(|remedy| remedy.change.to_string()).collect::<Vec<_>>();
        if more.is_empty() { Ok(()) } else { write!(f, "; or {}", more.join("; or ")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn symptom(severity: Severity, seen: f64) -> Symptom {
        let figures = vec![Figure { name: "ratio".into(), seen, expected: "about 1".into() }];
        let remedies = vec![Remedy::config("a", 1usize, "it helps"), Remedy::config("b", 2usize, "it helps too")];
        Symptom {
            severity,
            layers: vec!["one".into(), "two".into()],
            ranks: Vec::new(),
            figures,
            cause: "it is so".into(),
            remedies,
        }
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
    fn a_finding_collects_its_ranks_and_another_rank_is_news() {
        let on = |ranks: &[usize], severity| Symptom { ranks: ranks.to_vec(), ..symptom(severity, 0.0) };
        let mut finding = Finding::new(RuleName::NonFinite, 3, on(&[5], Severity::Warning));
        assert_eq!(finding.place(), " in one to two (rank 5)");
        assert!(!finding.add(4, on(&[5], Severity::Warning)));
        assert!(finding.add(5, on(&[1, 5], Severity::Warning)));
        // A milder symptom takes nothing back.
        assert!(finding.add(6, on(&[1], Severity::Critical)) && !finding.add(7, on(&[2], Severity::Warning)));
        assert_eq!((&finding.ranks[..], finding.severity), (&[1, 2, 5][..], Severity::Critical));
        finding.add(8, on(&[0, 9], Severity::Critical));
        assert_eq!(rank_list(&finding.ranks), "ranks 0, 1, 2, 5 and 1 more");
        let text = serde_json::to_string(&finding).unwrap();
        assert_eq!(serde_json::from_str::<Finding>(&text).unwrap().ranks, [0, 1, 2, 5, 9]);
    }

    #[test]
    fn a_finding_says_everything_in_one_line() {
        let finding = Finding::new(RuleName::Vanishing, 3, symptom(Severity::Warning, 0.0));
        let want = "vanishing (warning) since step 3 in one to two: it is so; try a = 1: it helps; or b = 2";
        assert_eq!(finding.to_string(), want);
    }
}
