//! The findings of a run from its `findings.jsonl`, without running the rules again.

use super::{Diagnosis, Finding};

impl Diagnosis {
    /// Rebuilds the findings from what [`judge`](Self::judge) and [`judge_evaluation`](Self::judge_evaluation) returned
    /// over a run, in that order. Each finding is as it was last reported, so its last step may be too early. The rules
    /// start anew.
    pub fn of_news(news: impl IntoIterator<Item = Finding>) -> Self {
        let mut findings: Vec<Finding> = Vec::new();
        for finding in news {
            match findings.iter_mut().find(|known| known.rule == finding.rule) {
                Some(known) => *known = finding,
                None => {
                    // A new finding takes the place of its consequences.
                    let is_in = |rule| finding.symptoms.iter().any(|(symptom, _)| *symptom == rule);
                    findings.retain(|earlier| !(earlier.is_open() && is_in(earlier.rule)));
                    findings.push(finding);
                }
            }
        }
        Self { findings, ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::{
        Observation, RuleName, Severity,
        fixture::{Case, profile},
    };

    /// Diagnoses a run, and checks that the news alone lead to the same findings.
    fn check(case: &Case, seen: impl IntoIterator<Item = Observation<'static>>) -> Diagnosis {
        let mut diagnosis = Diagnosis::default();
        let news: Vec<Finding> = seen.into_iter().flat_map(|seen| diagnosis.judge(&seen, &case.subject())).collect();
        let rebuilt = Diagnosis::of_news(news);
        let facts = |diagnosis: &Diagnosis| -> Vec<(RuleName, Severity, u64, bool)> {
            let fact = |finding: &Finding| (finding.rule, finding.severity, finding.first_step, finding.is_open());
            diagnosis.findings().iter().map(fact).collect()
        };
        assert_eq!(facts(&rebuilt), facts(&diagnosis));
        let root = |diagnosis: &Diagnosis| diagnosis.root_cause().map(|finding| finding.rule);
        assert_eq!(root(&rebuilt), root(&diagnosis));
        rebuilt
    }

    #[test]
    fn a_finding_that_got_worse_is_one_and_has_its_last_severity() {
        let seen = (0..40).map(|step| {
            let (loss, total_norm) = if step < 30 { (2.0, 1.0) } else { (3.0, 1e6) };
            Observation { step, loss, total_norm, ..Observation::default() }
        });
        let rebuilt = check(&Case::new(""), seen);
        assert_eq!(rebuilt.findings()[0].severity, Severity::Critical);
    }

    #[test]
    fn a_consequence_that_was_found_before_its_cause_is_no_finding_of_its_own() {
        let seen = (0..203).map(|step| {
            let depth_profile = (step >= 200).then(|| profile(&[1e-6, 1e-3, 1.0]));
            Observation { step, loss: 2.31, depth_profile, ..Observation::default() }
        });
        let rebuilt = check(&Case::new("model.activation = \"sigmoid\""), seen);
        let rules: Vec<RuleName> = rebuilt.findings().iter().map(|finding| finding.rule).collect();
        assert_eq!(rules, [RuleName::Vanishing]);
    }

    #[test]
    fn a_finding_that_is_withdrawn_stays_withdrawn() {
        // A spike of three steps, then a loss that falls.
        let seen = (0..140).map(|step| {
            let (loss, total_norm) = match step {
                30..33 => (3.0, 1e6),
                0..30 => (2.3, 1.0),
                _ => (0.5, 1.0),
            };
            Observation { step, loss, total_norm, ..Observation::default() }
        });
        let rebuilt = check(&Case::new(""), seen);
        assert!(!rebuilt.findings()[0].is_open() && rebuilt.root_cause().is_none());
    }
}
