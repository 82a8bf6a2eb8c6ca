//! Decides what follows after training has stopped.

use std::path::Path;

use super::{Supervisor, SupervisorError};
use crate::{
    checkpoint::{CheckpointError, FOLDER, list},
    config::{Config, RuleName, Severity},
    diagnosis::{Finding, Remedy, WeightTransfer},
    recording::Ending,
    repair::{Proposal, RepairHistory, RepairRecord, Trial},
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
            self.record(state, record)?;
        }
        Ok(())
    }

    fn record(&mut self, state: &mut State, record: RepairRecord) -> Result<(), SupervisorError> {
        if let Some(folder) = state.run_folder() {
            self.add(folder, vec![record])?;
        }
        state.watch_repairs(self.watch(&state.config));
        Ok(())
    }

    fn repair(&mut self, state: &mut State, error: Option<&TrainError>) -> Result<Next, SupervisorError> {
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
        let remedies = self.remedies(&findings, &state.config);
        if let Some(trial) = self.history.open_trial().cloned() {
            return match self.after_failure(&trial, remedies, &stop)? {
                Next::Return(records) if is_final(&records) => {
                    // A run that is resumed after its end must not lose the steps since the last checkpoint.
                    state.save_now()?;
                    records.into_iter().try_for_each(|record| self.record(state, record))?;
                    Ok(Next::GiveUp(trial.rule))
                }
                next => Ok(next),
            };
        }
        let Some(finding) = findings.first() else { return Ok(Next::End) };
        let found = Found {
            rule: finding.rule,
            severity: finding.severity,
            first_step: finding.first_step,
            found_at: stop.step,
            cause: finding.cause.clone(),
            remedies,
            healthy_step: healthy_step(state.folder(), finding.first_step, state.config.repair.severity)?,
        };
        match choose(&self.history, found, &stop) {
            Ok(trial) => Ok(Next::Return(vec![RepairRecord::Trial(trial)])),
            // The error is that of the run.
            Err(_) if error.is_some() => Ok(Next::End),
            Err(reason) => {
                let record = RepairRecord::NoRemedy { rule: finding.rule, step: stop.step, reason };
                self.record(state, record)?;
                Ok(Next::TrainOn)
            }
        }
    }

    /// Changes to try for the findings, best first.
    fn remedies(&self, findings: &[Finding], config: &Config) -> Vec<Remedy> {
        match &self.chooser {
            Some(choose) => choose(findings, config),
            None => Remedy::of_findings(findings),
        }
    }

    /// Undoes a change that is no repair. Tries the next one, or gives up. `more` are changes recommended for the findings
    /// with the change.
    fn after_failure(&self, trial: &Trial, more: Vec<Remedy>, stop: &Stop<'_>) -> Result<Next, SupervisorError> {
        let undone = RepairRecord::Undone { trial: trial.trial, step: stop.step, reason: stop.reason.clone() };
        let history = self.history.with(undone.clone());
        let config = history.apply_to(stop.config)?;
        let stop = Stop { config: &config, reason: stop.reason.clone(), ..*stop };
        let (mut remedies, next) = (trial.remedies.clone(), trial.next_rate().filter(|_| self.chooser.is_none()));
        // A step in the same direction comes first, and further ones after all other changes.
        let is_next_of = |other: &Trial| other.next_rate().is_some_and(|next| next.change == trial.remedy.change);
        let was_next = self.history.trials().any(|(other, _)| other.trial != trial.trial && is_next_of(other));
        match next {
            Some(next) if !was_next => remedies.insert(0, next),
            next => remedies.extend(next),
        }
        remedies.extend(more);
        Remedy::without_duplicates(&mut remedies);
        let &Trial { rule, severity, first_step, found_at, .. } = trial;
        // A trial from the beginning has removed the checkpoints.
        let healthy_step = trial.from_step.and(trial.healthy_step);
        let found = Found { rule, severity, first_step, found_at, cause: trial.cause.clone(), remedies, healthy_step };
        Ok(Next::Return(match choose(&history, found, &stop) {
            Ok(next) => vec![undone, RepairRecord::Trial(next)],
            Err(reason) => {
                vec![
                    undone,
                    RepairRecord::GaveUp { trial: trial.trial, rule, step: stop.step, from_step: healthy_step, reason },
                ]
            }
        }))
    }

    /// Undoes a change with which the run cannot start, because of `reason`. Returns the records to add.
    ///
    /// # Errors
    /// If the config is not valid without the change.
    pub fn after_failed_start(&self, config: &Config, reason: String) -> Result<Vec<RepairRecord>, SupervisorError> {
        let Some(trial) = self.history.open_trial().cloned() else { return Ok(Vec::new()) };
        let step = trial.from_step.unwrap_or(0);
        let stop = Stop { step, reason, config, total_steps: u64::MAX };
        match self.after_failure(&trial, Vec::new(), &stop)? {
            Next::Return(records) => Ok(records),
            _ => Ok(Vec::new()),
        }
    }
}

/// The first change that is allowed, has not failed, and is not too expensive, as a trial; otherwise why there is none.
/// Tries all changes from the last healthy checkpoint before it starts again with one.
fn choose(history: &RepairHistory, found: Found, stop: &Stop<'_>) -> Result<Trial, String> {
    let repair = &stop.config.repair;
    let trials = history.trials().count();
    let allowed = found.remedies.iter().filter_map(|remedy| Proposal::of(remedy, stop.config));
    let allowed: Vec<Proposal> = allowed.collect();
    let of_checkpoint = allowed.iter().filter(|proposal| proposal.weights == WeightTransfer::Kept);
    // A run that has just begun loses little, and the rules see the change from its first step.
    let healthy = found.healthy_step.filter(|_| found.found_at > 2 * repair.trial_steps);
    let of_checkpoint = healthy.into_iter().flat_map(|step| of_checkpoint.clone().map(move |one| (one, Some(step))));
    let candidates = of_checkpoint.chain(allowed.iter().map(|proposal| (proposal, None)));
    let mut candidates =
        candidates.filter(|(proposal, from_step)| !history.has_failed(&proposal.remedy.change, *from_step)).peekable();
    if candidates.peek().is_none() {
        return Err("no recommended change is left that repair.allow permits".to_owned());
    }
    if trials >= repair.max_repairs {
        return Err(format!("repair.max_repairs = {} changes were tried", repair.max_repairs));
    }
    let budget = repair.budget * stop.total_steps as f64;
    let lost = |from_step: Option<u64>| stop.step.saturating_sub(from_step.unwrap_or(0));
    let is_affordable = |from_step| (history.discarded() + lost(from_step)) as f64 <= budget;
    let Some((proposal, from_step)) = candidates.find(|(_, from_step)| is_affordable(*from_step)) else {
        return Err(format!(
            "another trial would discard more than repair.budget = {} of the steps of the run",
            repair.budget
        ));
    };
    let Found { rule, severity, first_step, found_at, cause, healthy_step, .. } = found;
    Ok(Trial {
        trial: trials as u32 + 1,
        rule,
        severity,
        first_step,
        found_at,
        cause,
        remedy: proposal.remedy.clone(),
        settings: proposal.settings.clone(),
        weights: proposal.weights,
        from_step,
        healthy_step,
        until_step: found_at.saturating_add(repair.trial_steps),
        discarded: lost(from_step),
        remedies: found.remedies.clone(),
    })
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
    let remedies = Remedy::of_findings(findings);
    let found = Found {
        rule: finding.rule,
        severity: finding.severity,
        first_step: finding.first_step,
        // The trial must last as long as it took to find the problem, not as long as the run that went on with it.
        found_at: finding.evidence.first().map_or(finding.first_step, |evidence| evidence.step) + 1,
        cause: finding.cause.clone(),
        remedies,
        healthy_step: healthy_step(run, finding.first_step, config.repair.severity)?,
    };
    // The original run stays as it is, so its steps are not discarded.
    let stop = Stop { step: 0, reason: String::new(), config, total_steps: u64::MAX };
    Ok(choose(&RepairHistory::default(), found, &stop))
}

/// Steps of the whole run; without a limit if only its time is limited.
fn total_steps(state: &State) -> u64 {
    let run = &state.config.run;
    let has_length = run.max_steps.is_some() || run.max_epochs.is_some();
    if has_length { state.optimization().total_steps() } else { u64::MAX }
}

/// Whether the run gives up without a step to return to.
fn is_final(records: &[RepairRecord]) -> bool {
    matches!(records.last(), Some(RepairRecord::GaveUp { from_step: None, .. }))
}

/// A finding to repair.
struct Found {
    rule: RuleName,
    severity: Severity,
    first_step: u64,
    found_at: u64,
    cause: String,
    /// Recommended changes, best first.
    remedies: Vec<Remedy>,
    healthy_step: Option<u64>,
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
