//! Work between two steps: an evaluation, a checkpoint, the end of the run.
//!
//! The state alone determines the due work, and each part is done once. A run that is stopped in between does the rest
//! when it resumes.

use super::{Counters, State, StopSignal, TrainError};
use crate::{
    checkpoint::{CheckpointError, CheckpointName, Manifest},
    config::OnError,
    recording::Ending,
};

impl State {
    /// Does the work due before the next step. Returns the reason if the run ends.
    pub(super) fn run_due_work(&mut self, stop: &StopSignal) -> Result<Option<Ending>, TrainError> {
        let minutes = self.clock.elapsed().as_secs_f64() / 60.0;
        self.clock.is_time_up = self.config.run.max_minutes.is_some_and(|most| minutes >= most);
        let mut agreed = self.agree(stop, false)?;
        if agreed.evaluates {
            let is_best = self.evaluate(stop)?;
            agreed = self.agree(stop, is_best)?;
        }
        // Before a checkpoint: the weights of a run that goes wrong are none to resume from.
        let is_stopped = matches!(agreed.ending, Some(Ending::Signal(_)));
        if let Some(ending) = self.repair_ending().filter(|_| !is_stopped) {
            return Ok(Some(ending));
        }
        if agreed.saves {
            self.judge.is_checkpoint_requested = false;
            self.save_checkpoint()?;
        }
        self.receive_checkpoint_results(agreed.ending)?;
        if agreed.ending.is_some() {
            self.gather_bad_images()?;
        }
        Ok(agreed.ending)
    }

    /// Position of the run.
    pub(super) fn checkpoint_name(&self) -> CheckpointName {
        CheckpointName { step: self.counters.step, epoch: self.counters.epoch, is_settled: !self.is_evaluation_due() }
    }

    /// Reason for which the config asks for no further step.
    pub(super) fn ending(&self) -> Option<Ending> {
        let run = &self.config.run;
        match self.counters.step {
            0 => None,
            _ if self.judge.stop_for.is_some() => self.judge.stop_for.map(Ending::Finding),
            step if run.max_steps.is_some_and(|steps| step >= steps) => Some(Ending::MaxSteps),
            _ if run.max_epochs.is_some_and(|epochs| self.counters.epoch >= epochs) => Some(Ending::MaxEpochs),
            _ => self.clock.is_time_up.then_some(Ending::MaxMinutes),
        }
    }

    pub(super) fn is_evaluation_due(&self) -> bool {
        let (config, counters) = (&self.config.evaluate, &self.counters);
        let &Counters { step, epoch, .. } = counters;
        let by_steps = config.every_steps > 0 && step > 0 && step.is_multiple_of(config.every_steps);
        let by_epochs =
            config.every_epochs > 0 && counters.is_at_epoch_end() && epoch.is_multiple_of(config.every_epochs);
        let by_end = config.is_on() && self.ending().is_some();
        (by_steps || by_epochs || by_end) && counters.evaluated_at != Some(step)
    }

    pub(super) fn is_checkpoint_due(&self, is_ending: bool, is_best: bool) -> bool {
        let config = &self.config.checkpoint;
        if self.output.checkpoints.is_none() || self.is_saved() {
            return false;
        }
        let is_multiple = |count: u64, every: u64| every > 0 && count.is_multiple_of(every);
        let is_new_step = self.output.saved_at.is_none_or(|saved| saved.step != self.counters.step);
        let minutes = self.clock.saved.elapsed().as_secs_f64() / 60.0;
        // The checkpoint before the first step shows early whether checkpoints can be written.
        self.counters.step == 0
            || is_ending
            || is_best
            || self.judge.is_checkpoint_requested
            || (is_new_step && is_multiple(self.counters.step, config.every_steps))
            || (self.counters.is_at_epoch_end() && is_multiple(self.counters.epoch, config.every_epochs))
            || (config.every_minutes > 0.0 && minutes >= config.every_minutes)
    }

    /// Reports checkpoints that could not be written. Waits for the last one at the end of the run, and for the one
    /// before the first step, so that every recorded step has an earlier checkpoint.
    fn receive_checkpoint_results(&mut self, ending: Option<Ending>) -> Result<(), TrainError> {
        let Some(checkpoints) = &mut self.output.checkpoints else { return Ok(()) };
        let waits = ending.is_some() || self.counters.step == 0;
        let mut finished = if waits { checkpoints.finish() } else { checkpoints.finished() };
        let last = finished.pop();
        for error in finished.into_iter().filter_map(Result::err) {
            self.handle_failed_checkpoint(error, false)?;
        }
        match last {
            // The sender of a signal relies on this checkpoint.
            Some(Err(error)) => self
                .handle_failed_checkpoint(error, self.counters.step == 0 || matches!(ending, Some(Ending::Signal(_)))),
            Some(Ok(Manifest { step, epoch, number, .. })) => {
                tracing::debug!("wrote checkpoint {number} at step {step}, epoch {epoch}");
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn handle_failed_checkpoint(&mut self, error: CheckpointError, is_fatal: bool) -> Result<(), TrainError> {
        self.output.saved_at = None;
        if is_fatal || self.config.checkpoint.on_error == OnError::Stop {
            return Err(error.into());
        }
        self.output.report_failure(&error);
        Ok(())
    }
}
