//! Findings of the last report, to tell apart from those of the next one.

use super::Change;
use crate::{
    diagnosis::{Finding, FindingState},
    report::Report,
};

/// The findings that were told.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// One per rule, also those that are resolved. `None` before the first report.
    findings: Option<Vec<Finding>>,
}

impl Known {
    /// Compares a report with the last one. The first one tells all of its open findings. `is_reopened` says that files
    /// were cut back or replaced since, so that a finding of the same rule may be another one.
    pub(super) fn update(&mut self, report: &Report, is_reopened: bool) -> Vec<(Change, Finding)> {
        let known = self.findings.take();
        let is_first = known.is_none();
        let known = known.unwrap_or_default();
        let before = |finding: &Finding| known.iter().find(|known| known.rule == finding.rule);
        let mut news = Vec::new();
        for finding in report.ranked() {
            let change = match before(finding).filter(|before| before.is_open()) {
                None => Change::New,
                Some(before) if is_reopened && before.first_step != finding.first_step => Change::New,
                Some(before) if is_worse(before, finding) => Change::Worse,
                Some(_) => continue,
            };
            news.push((change, finding.clone()));
        }
        let is_told = |finding: &Finding| before(finding).is_some_and(|before| before.state == finding.state);
        let resolved = report.withdrawn.iter().filter(|finding| !is_first && !is_told(finding));
        news.extend(resolved.map(|finding| (Change::Resolved, finding.clone())));
        let is_in =
            |finding: &Finding| report.findings.iter().chain(&report.withdrawn).any(|other| other.rule == finding.rule);
        let gone = known.iter().filter(|known| known.is_open() && !is_in(known));
        news.extend(gone.map(|finding| (Change::Resolved, without(finding, report))));
        self.findings = Some(report.findings.iter().chain(&report.withdrawn).cloned().collect());
        news
    }
}

/// Whether a finding is more severe than before, or has reached another rank.
fn is_worse(before: &Finding, now: &Finding) -> bool {
    now.severity > before.severity || now.severity == before.severity && now.ranks.len() > before.ranks.len()
}

/// A finding that a report no longer has: it follows from another one, or the files were cut back or replaced.
fn without(finding: &Finding, report: &Report) -> Finding {
    let is_cause = |other: &&Finding| other.symptoms.iter().any(|(rule, _)| *rule == finding.rule);
    let reason = match report.findings.iter().find(is_cause) {
        Some(cause) => format!("it follows from {}", cause.rule),
        None => "the files no longer show it".into(),
    };
    let state = FindingState::Withdrawn { step: report.steps.saturating_sub(1), reason };
    Finding { state, ..finding.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        diagnosis::{RuleName, Severity},
        report::fixture::finding,
    };

    fn report(findings: &[Finding]) -> Report {
        let (findings, withdrawn) = findings.iter().cloned().partition(Finding::is_open);
        Report { findings, withdrawn, steps: 50, ..Report::default() }
    }

    fn told(known: &mut Known, findings: &[Finding], is_reopened: bool) -> Vec<(Change, RuleName)> {
        known
            .update(&report(findings), is_reopened)
            .into_iter()
            .map(|(change, finding)| (change, finding.rule))
            .collect()
    }

    fn withdrawn(finding: &Finding) -> Finding {
        Finding { state: FindingState::Withdrawn { step: 40, reason: "the loss has fallen".into() }, ..finding.clone() }
    }

    #[test]
    fn open_findings_are_told_once_then_when_they_get_worse_and_when_they_are_resolved() {
        let (mut known, warning) = (Known::default(), finding(RuleName::Vanishing, Severity::Warning, 5));
        let old = withdrawn(&finding(RuleName::LossPlateau, Severity::Warning, 1));
        // What was resolved before the start is the past.
        assert_eq!(told(&mut known, &[warning.clone(), old.clone()], false), [(Change::New, RuleName::Vanishing)]);
        assert_eq!(told(&mut known, &[warning.clone(), old.clone()], false), []);
        let critical = Finding { severity: Severity::Critical, ..warning.clone() };
        assert_eq!(told(&mut known, std::slice::from_ref(&critical), false), [(Change::Worse, RuleName::Vanishing)]);
        assert_eq!(told(&mut known, std::slice::from_ref(&warning), false), []);
        let resolved = withdrawn(&warning);
        assert_eq!(told(&mut known, std::slice::from_ref(&resolved), false), [(Change::Resolved, RuleName::Vanishing)]);
        assert_eq!(told(&mut known, &[resolved], false), []);
        assert_eq!(told(&mut known, &[warning], false), [(Change::New, RuleName::Vanishing)]);
    }

    #[test]
    fn another_rank_is_worse() {
        let (mut known, one) = (Known::default(), finding(RuleName::RankSpike, Severity::Warning, 5));
        let one = Finding { ranks: vec![1], ..one };
        told(&mut known, std::slice::from_ref(&one), false);
        let two = Finding { ranks: vec![1, 3], ..one };
        assert_eq!(told(&mut known, &[two], false), [(Change::Worse, RuleName::RankSpike)]);
    }

    #[test]
    fn a_finding_between_two_reports_is_told_when_it_is_resolved_already() {
        let mut known = Known::default();
        told(&mut known, &[], false);
        let short = withdrawn(&finding(RuleName::Exploding, Severity::Warning, 20));
        assert_eq!(told(&mut known, &[short], false), [(Change::Resolved, RuleName::Exploding)]);
    }

    #[test]
    fn a_finding_that_is_gone_has_a_reason_and_one_of_other_files_is_new() {
        let mut known = Known::default();
        // The fixture's vanishing gradient explains a plateau.
        let plateau = finding(RuleName::LossPlateau, Severity::Warning, 9);
        told(&mut known, &[plateau], false);
        let cause = finding(RuleName::Vanishing, Severity::Critical, 5);
        let news = known.update(&report(std::slice::from_ref(&cause)), false);
        assert_eq!(news[0].0, Change::New);
        assert!(news[1].1.to_string().ends_with("is withdrawn at step 49: it follows from vanishing"), "{}", news[1].1);
        let news = known.update(&report(&[]), true);
        assert!(news[0].1.to_string().ends_with("the files no longer show it"), "{}", news[0].1);
        told(&mut known, std::slice::from_ref(&cause), false);
        assert_eq!(told(&mut known, std::slice::from_ref(&cause), true), []);
        let other = Finding { first_step: 7, ..cause };
        assert_eq!(told(&mut known, &[other], true), [(Change::New, RuleName::Vanishing)]);
    }
}
