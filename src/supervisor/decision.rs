//! Decides what follows after training has stopped.

use std::path::Path;

use super::{Supervisor, SupervisorError};
use crate::{
    checkpoint::{CheckpointError, FOLDER, list},
    config::{Config, RuleName, Severity},
    diagnosis::{Finding, Remedy, WeightTransfer},
    recording::Ending,
    repair::{Candidate, Found, Proposal, RepairHistory, RepairRecord, Trial},
    train::{State, TrainError, is_healthy},
};

/// What follows after training has stopped.
#[derive(Debug, PartialEq)]
pub enum Next {
    /// The run ends.
    End,
    /// The run trains on as it is.
    TrainOn,
    /// The run ends as it is, because nothing repairs a finding of the rule.
    GiveUp(RuleName),
    /// The run returns to an earlier step. Close its files, [`add`](Supervisor::add) these records, and complete the
    /// return.
    Return(Vec<RepairRecord>),
}

/// Where and why a run stopped.
struct Stop<'a> {
    step: u64,
    /// Why the change on trial is no repair.
    reason: String,
    config: &'a Config,
    /// Steps of the whole run.
    total_steps: u64,
}

impl Supervisor {
    /// Decides what follows after [`train`](crate::train::train) has returned `outcome`.
    ///
    /// # Errors
    /// If a checkpoint cannot be read, or the decision cannot be written.
    pub fn decide(&mut self, state: &mut State, outcome: &Result<Ending, TrainError>) -> Result<Next, SupervisorError> {
        if self.watch(&state.config).is_none() {
            return Ok(Next::End);
        }
        match outcome {
            Ok(Ending::TrialOver) => {
                self.keep(state)?;
                Ok(Next::TrainOn)
            }
            Ok(Ending::Repair(_)) => self.repair(state, None),
            Err(error @ (TrainError::NonFinite { .. } | TrainError::NonFiniteUpdate { .. })) => {
                self.repair(state, Some(error))
            }
            Ok(Ending::Signal(_) | Ending::Unrepaired(_)) | Err(_) => Ok(Next::End),
            Ok(_) => {
                self.keep(state)?;
                Ok(Next::End)
            }
        }
    }

    /// Keeps the change on trial, if there is one.
    fn keep(&mut self, state: &mut State) -> Result<(), SupervisorError> {
        if let Some(trial) = self.history.open_trial().map(|trial| trial.trial) {
            let record = RepairRecord::Kept { trial, step: state.counters().step };
            self.record(state, vec![record])?;
        }
        Ok(())
    }

    fn record(&mut self, state: &mut State, records: Vec<RepairRecord>) -> Result<(), SupervisorError> {
        if let Some(folder) = state.run_folder() {
            self.add(folder, records)?;
        }
        state.watch_repairs(self.watch(&state.config));
        Ok(())
    }

    fn repair(&mut self, state: &mut State, error: Option<&TrainError>) -> Result<Next, SupervisorError> {
        // Otherwise, retention may remove the checkpoint to return to.
        state.settle_checkpoints();
        let findings = match error {
            Some(_) => state.open_findings_to_repair(),
            None => state.findings_to_repair(),
        };
        let findings: Vec<Finding> = findings.into_iter().cloned().collect();
        let reason = match (error, findings.first()) {
            (Some(error), _) => error.to_string(),
            (None, Some(Finding { rule, severity, cause, .. })) => format!("{rule} ({severity}): {cause}"),
            (None, None) => return Ok(Next::TrainOn),
        };
        let stop = Stop { step: state.counters().step, reason, config: &state.config, total_steps: total_steps(state) };
        let found = self.found(&findings, &stop);
        if let Some(trial) = self.history.open_trial().cloned() {
            let reachable = self.reachable(state.folder(), &trial)?;
            let records = self.after_failure(&trial, reachable, found, &stop)?;
            if !is_final(&records) {
                return Ok(Next::Return(records));
            }
            // A run that is resumed after its end must not lose the steps since the last checkpoint.
            state.save_now()?;
            self.record(state, records)?;
            return Ok(Next::GiveUp(trial.found.rule));
        }
        let Some(found) = found else { return Ok(Next::End) };
        let healthy_step = healthy_step(state.folder(), found.first_step, state.config.repair.severity)?;
        let candidates = match &self.chooser {
            Some(_) => Candidate::all_of(&found).collect(),
            None => candidates(&findings, stop.step),
        };
        match choose(&self.history, candidates, healthy_step, &stop) {
            Ok(trial) => Ok(Next::Return(vec![RepairRecord::Trial(trial)])),
            // The error is that of the run.
            Err(_) if error.is_some() => Ok(Next::End),
            Err(reason) => {
                let record = RepairRecord::NoRemedy { rule: found.rule, step: stop.step, reason };
                self.record(state, vec![record])?;
                Ok(Next::TrainOn)
            }
        }
    }

    /// The first finding, with the changes to try for all of them, best first.
    fn found(&self, findings: &[Finding], stop: &Stop<'_>) -> Option<Found> {
        let remedies = match &self.chooser {
            Some(choose) => choose(findings, stop.config),
            None => Remedy::of_findings(findings),
        };
        findings.first().map(|finding| found(finding, stop.step, remedies))
    }

    /// Undoes a change that is no repair, and tries the next one or gives up. Returns the records to add. The run can return to the checkpoint of
    /// `healthy_step`. `found` is the finding that the run had with the change.
    fn after_failure(
        &self,
        trial: &Trial,
        healthy_step: Option<u64>,
        found: Option<Found>,
        stop: &Stop<'_>,
    ) -> Result<Vec<RepairRecord>, SupervisorError> {
        let undone = RepairRecord::Undone {
            trial: trial.trial,
            step: stop.step,
            reason: stop.reason.clone(),
            found: found.clone().map(Box::new),
        };
        let history = self.history.with(undone.clone());
        let config = history.apply_to(stop.config)?;
        let before = Stop { config: &config, reason: stop.reason.clone(), ..*stop };
        let candidates = match &self.chooser {
            Some(_) => Candidate::all_of(&trial.found).collect(),
            None => history.next_candidates(trial, found.as_ref()),
        };
        Ok(match choose(&history, candidates, healthy_step, &before) {
            Ok(next) => vec![undone, RepairRecord::Trial(next)],
            Err(reason) => {
                let gave_up = |reason| RepairRecord::GaveUp {
                    trial: trial.trial,
                    rule: trial.found.rule,
                    step: stop.step,
                    from_step: healthy_step,
                    reason,
                };
                // Without a checkpoint to return to, a run that has trained with the change ends with it.
                if healthy_step.is_none() && stop.step > trial.from_step.unwrap_or(0) {
                    vec![gave_up(format!("{reason}; the last change ended with {}", stop.reason))]
                } else {
                    vec![undone, gave_up(reason)]
                }
            }
        })
    }

    /// Undoes a change with which the run cannot start, because of `reason`. Returns the records to add. A run that no
    /// longer repairs itself tries no other change.
    pub(super) fn after_failed_start(
        &self,
        run: &Path,
        config: &Config,
        reason: String,
    ) -> Result<Vec<RepairRecord>, SupervisorError> {
        let Some(trial) = self.history.open_trial().cloned() else { return Ok(Vec::new()) };
        let reachable = self.reachable(run, &trial)?;
        let step = trial.from_step.unwrap_or(0);
        if self.watch(config).is_none() {
            return Ok(vec![RepairRecord::Undone { trial: trial.trial, step, reason, found: None }]);
        }
        let stop = Stop { step, reason, config, total_steps: u64::MAX };
        self.after_failure(&trial, reachable, None, &stop)
    }
}

/// The first change that is allowed, has not failed, and is not too expensive, as a trial; otherwise why there is none.
/// Tries all changes from the last healthy checkpoint before it starts again with one.
fn choose(
    history: &RepairHistory,
    candidates: Vec<Candidate>,
    healthy_step: Option<u64>,
    stop: &Stop<'_>,
) -> Result<Trial, String> {
    let repair = &stop.config.repair;
    let trials = history.trials().count();
    let allowed: Vec<(Found, Proposal)> = candidates
        .into_iter()
        .filter_map(|Candidate { found, remedy, with }| Some((found, Proposal::together(&remedy, &with, stop.config)?)))
        .collect();
    // A run that has just begun loses little, and the rules see the change from its first step.
    let is_long = |found: &Found| found.found_at > 2 * repair.trial_steps;
    let of_checkpoint = allowed.iter().filter(|(found, one)| one.weights != WeightTransfer::New && is_long(found));
    let of_checkpoint =
        healthy_step.into_iter().flat_map(|step| of_checkpoint.clone().map(move |one| (one, Some(step))));
    let all = of_checkpoint.chain(allowed.iter().map(|proposal| (proposal, None)));
    let mut left = all.filter(|((_, one), from_step)| !history.has_failed(&one.changes(), *from_step)).peekable();
    if left.peek().is_none() {
        return Err("no recommended change is left that repair.allow permits".to_owned());
    }
    if trials >= repair.max_repairs {
        return Err(format!("repair.max_repairs = {} changes were tried", repair.max_repairs));
    }
    let budget = repair.budget * stop.total_steps as f64;
    // A run that has started again loses all steps since then.
    let kept = |from_step: Option<u64>| from_step.filter(|_| history.stored().is_none()).unwrap_or(0);
    let lost = |from_step: Option<u64>| stop.step.saturating_sub(kept(from_step));
    let is_affordable = |from_step| (history.discarded() + lost(from_step)) as f64 <= budget;
    let Some(((found, proposal), from_step)) = left.find(|(_, from_step)| is_affordable(*from_step)) else {
        return Err(format!(
            "another trial would discard more than repair.budget = {} of the steps of the run",
            repair.budget
        ));
    };
    Ok(Trial {
        trial: trials as u32 + 1,
        until_step: found.found_at.saturating_add(repair.trial_steps),
        found: found.clone(),
        remedy: proposal.remedy.clone(),
        with: proposal.with.clone(),
        settings: proposal.settings.clone(),
        weights: proposal.weights,
        from_step,
        healthy_step,
        discarded: lost(from_step),
    })
}

/// The changes recommended for each finding.
fn candidates(findings: &[Finding], found_at: u64) -> Vec<Candidate> {
    let founds = findings.iter().map(|finding| found(finding, found_at, finding.remedies.clone()));
    founds.flat_map(|found| Candidate::all_of(&found).collect::<Vec<_>>()).collect()
}

/// A finding, with the changes to try for it. `found_at`: optimizer steps taken when the run stopped for it.
fn found(finding: &Finding, found_at: u64, remedies: Vec<Remedy>) -> Found {
    let &Finding { rule, severity, first_step, .. } = finding;
    Found { rule, severity, first_step, found_at, cause: finding.cause.clone(), remedies }
}

/// The first trial of a run that has ended, in the folder `run`; otherwise why there is none.
pub(super) fn plan(
    run: &Path,
    findings: &[Finding],
    config: &Config,
) -> Result<Result<Trial, String>, SupervisorError> {
    let Some(finding) = findings.first() else {
        return Ok(Err(format!("no finding is open that is {} or worse", config.repair.severity)));
    };
    // The trial must last as long as it took to find the problem, not as long as the run that trained on with it.
    let found_at = finding.evidence.first().map_or(finding.first_step, |evidence| evidence.step) + 1;
    let healthy_step = healthy_step(run, finding.first_step, config.repair.severity)?;
    // The original run stays as it is, so its steps are not discarded.
    let stop = Stop { step: 0, reason: String::new(), config, total_steps: u64::MAX };
    Ok(choose(&RepairHistory::default(), candidates(findings, found_at), healthy_step, &stop))
}

/// Steps of the whole run; without a limit if only its time is limited.
fn total_steps(state: &State) -> u64 {
    let run = &state.config.run;
    let has_length = run.max_steps.is_some() || run.max_epochs.is_some();
    if has_length { state.optimization().total_steps() } else { u64::MAX }
}

/// Whether the run gives up without a step to return to.
pub(super) fn is_final(records: &[RepairRecord]) -> bool {
    matches!(records.last(), None | Some(RepairRecord::GaveUp { from_step: None, .. }))
}

/// Step of the newest checkpoint from before the finding, in which no finding to repair was open; `None` if there is
/// none, or only the one before the first step, which has no trained weights.
fn healthy_step(run: &Path, first_step: u64, severity: Severity) -> Result<Option<u64>, CheckpointError> {
    let found = list(&run.join(FOLDER))?;
    for (name, path) in found.iter().rev().filter(|(name, _)| name.step > 0 && name.step < first_step) {
        if is_healthy(path, severity)? {
            return Ok(Some(name.step));
        }
    }
    Ok(None)
}
