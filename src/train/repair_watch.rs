//! Stops training where a repair has to decide.

use super::State;
use crate::{
    config::{Config, RepairConfig, RepairMode, RuleName},
    diagnosis::{Finding, root_cause_first},
    recording::Ending,
    repair::{Outcome, Proposal, RepairHistory, Trial},
};

/// What a run that repairs itself knows of its repairs while it trains.
#[derive(Debug, Clone, PartialEq)]
pub struct RepairWatch {
    /// Optimizer steps after which the change on trial stays; `None` without one.
    pub decide_at: Option<u64>,
    /// Rules whose findings no allowed change may repair.
    without_remedy: Vec<RuleName>,
    /// The step of the checkpoint to which a trial returns. Retention keeps it.
    pub(super) return_to: Option<u64>,
    /// Findings that a change is repairing or has repaired.
    graces: Vec<Grace>,
}

/// Symptoms of a rule that do not count: a change needs time to take effect, and a finding that a change has repaired may
/// stay open.
#[derive(Debug, Clone, PartialEq)]
struct Grace {
    rule: RuleName,
    /// Optimizer steps before which symptoms do not count.
    from: u64,
    /// Optimizer steps before which the rule does not count.
    until: u64,
}

impl Grace {
    /// After a return to a checkpoint, the rule still knows the steps before. A network that starts again with new weights
    /// must do without grace.
    fn of(trial: &Trial, outcome: &Outcome) -> Option<Self> {
        let rule = trial.found.rule;
        match (outcome, trial.from_step) {
            (Outcome::Kept(step), _) => Some(Self { rule, from: *step, until: *step }),
            (Outcome::Open, Some(step)) => {
                Some(Self { rule, from: step.midpoint(trial.until_step), until: trial.until_step })
            }
            (Outcome::Open, None) | (Outcome::Undone(..) | Outcome::Failed(_), _) => None,
        }
    }

    fn is_over(&self, finding: &Finding, step: u64) -> bool {
        self.rule != finding.rule || (step >= self.until && finding.last_step >= self.from)
    }
}

impl RepairWatch {
    /// What follows from the records of a run; `None` if the run does not repair itself.
    pub fn of(config: &Config, history: &RepairHistory) -> Option<Self> {
        if config.repair.mode != RepairMode::Auto || !config.diagnosis.enabled {
            return None;
        }
        let trial = history.open_trial();
        Some(Self {
            decide_at: trial.map(|trial| trial.until_step),
            without_remedy: RuleName::ALL.iter().copied().filter(|rule| history.is_without_remedy(*rule)).collect(),
            return_to: history.last_trial().and_then(|trial| trial.from_step),
            graces: history.trials().filter_map(|(trial, outcome)| Grace::of(trial, &outcome)).collect(),
        })
    }

    fn is_for(&self, finding: &Finding, config: &RepairConfig) -> bool {
        finding.severity >= config.severity && !self.without_remedy.contains(&finding.rule)
    }
}

impl State {
    /// Sets what the run knows of its repairs; `None` if it does not repair itself.
    pub fn watch_repairs(&mut self, watch: Option<RepairWatch>) {
        self.repairs = watch;
    }

    /// Writes the repairs so far to TensorBoard.
    pub(crate) fn record_repairs(&mut self, history: &RepairHistory) {
        if let Some(recorder) = self.output.recorder.as_mut().filter(|_| !history.records().is_empty()) {
            recorder.repairs(self.counters.step, history);
        }
    }

    /// The open findings to repair, the root cause first.
    pub(crate) fn open_findings_to_repair(&self) -> Vec<&Finding> {
        let (Some(watch), Some(diagnosis)) = (&self.repairs, &self.judge.diagnosis) else { return Vec::new() };
        let root = diagnosis.root_cause().map(|finding| finding.rule);
        let is_to_repair = |finding: &&Finding| watch.is_for(finding, &self.config.repair);
        let mut findings: Vec<&Finding> = diagnosis.open_findings().filter(is_to_repair).collect();
        root_cause_first(&mut findings, root);
        findings
    }

    /// Those of them for which the run stops. One from before the first step must still hold after
    /// `diagnosis.confirm_steps`.
    pub(crate) fn findings_to_repair(&self) -> Vec<&Finding> {
        let mut findings = self.open_findings_to_repair();
        let step = self.counters.step;
        findings.retain(|finding| {
            let is_confirmed = finding.first_step > 0 || step >= self.config.diagnosis.confirm_steps;
            is_confirmed
                && self.repairs.iter().flat_map(|watch| &watch.graces).all(|grace| grace.is_over(finding, step))
        });
        findings
    }

    /// Logs the change that a repair would try first, if the run asks for that.
    pub(super) fn advise(&self, finding: &Finding) {
        let repair = &self.config.repair;
        if repair.mode != RepairMode::Advise || finding.severity < repair.severity {
            return;
        }
        match finding.remedies.iter().find_map(|remedy| Proposal::of(remedy, &self.config)) {
            Some(Proposal { remedy, weights, .. }) => {
                tracing::warn!(
                    "for {}, repair.mode = \"auto\" would set {}, which {weights}",
                    finding.rule,
                    remedy.change
                );
            }
            None => tracing::warn!("repair.allow permits no change that is recommended for {}", finding.rule),
        }
    }

    /// Why a repair has to decide before the next step.
    pub(super) fn repair_ending(&self) -> Option<Ending> {
        let watch = self.repairs.as_ref()?;
        if let Some(finding) = self.findings_to_repair().first() {
            return Some(Ending::Repair(finding.rule));
        }
        watch.decide_at.filter(|step| self.counters.step >= *step).map(|_| Ending::TrialOver)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_counts_again_if_it_still_shows_after_a_change_had_its_time() {
        let grace = Grace { rule: RuleName::Momentum, from: 45, until: 70 };
        let finding = |rule: &str, last_step: u64| -> Finding {
            let json = serde_json::json!({
                "rule": rule, "severity": "critical", "layers": [], "first_step": 3, "last_step": last_step,
                "figures": [], "cause": "", "remedies": [], "evidence": [], "symptoms": [],
            });
            serde_json::from_value(json).unwrap()
        };
        assert!(!grace.is_over(&finding("momentum", 60), 69), "the trial is not over");
        assert!(grace.is_over(&finding("momentum", 60), 70));
        assert!(!grace.is_over(&finding("momentum", 44), 70), "it has gone");
        assert!(grace.is_over(&finding("exploding", 44), 50), "it is another one");
    }
}
