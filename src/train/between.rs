//! Work between two steps: an evaluation, a checkpoint, the end of the run.
//!
//! The state alone determines the due work, and each part is done once. A run that is stopped in between does the rest
//! when it resumes.

use std::time::Instant;

use super::{Ending, Loss, Metrics, State, StopSignal, Tally, TrainError, evaluate::evaluate};
use crate::{
    checkpoint::{CheckpointError, CheckpointName, Manifest},
    config::OnError,
    disk,
};

impl State {
    /// Does the work due before the next step. Returns the reason if the run ends.
    pub(super) fn settle(&mut self, stop: &StopSignal) -> Result<Option<Ending>, TrainError> {
        let minutes = self.elapsed().as_secs_f64() / 60.0;
        self.clock.is_up = self.config.run.max_minutes.is_some_and(|most| minutes >= most);
        // A signal asks the process to end soon, so no evaluation follows it.
        let is_best = stop.signal().is_none() && self.is_evaluation_due() && self.evaluate(stop)?;
        let ending = stop.signal().map(Ending::Signal).or_else(|| self.ending());
        let ending = ending.or_else(|| self.early_stopping.should_stop().then_some(Ending::EarlyStopping));
        if self.is_checkpoint_due(ending, is_best) {
            self.is_checkpoint_asked_for = false;
            self.save_checkpoint()?;
        }
        self.hear_of_checkpoints(ending)?;
        Ok(ending)
    }

    /// Position of the run.
    pub(super) fn place(&self) -> CheckpointName {
        CheckpointName { step: self.step, epoch: self.epoch, is_settled: !self.is_evaluation_due() }
    }

    /// Reason for which the config asks for no further step.
    fn ending(&self) -> Option<Ending> {
        let run = &self.config.run;
        match self.step {
            0 => None,
            _ if self.stop_for.is_some() => self.stop_for.map(Ending::Finding),
            step if run.max_steps.is_some_and(|steps| step >= steps) => Some(Ending::MaxSteps),
            _ if run.max_epochs.is_some_and(|epochs| self.epoch >= epochs) => Some(Ending::MaxEpochs),
            _ => self.clock.is_up.then_some(Ending::MaxMinutes),
        }
    }

    /// Whether the previous step was the last one of a finished epoch.
    fn is_at_epoch_end(&self) -> bool {
        self.step > 0 && self.step == self.step_at_epoch_start
    }

    fn is_evaluation_due(&self) -> bool {
        let config = &self.config.evaluate;
        let by_steps = config.every_steps > 0 && self.step > 0 && self.step.is_multiple_of(config.every_steps);
        let by_epochs =
            config.every_epochs > 0 && self.is_at_epoch_end() && self.epoch.is_multiple_of(config.every_epochs);
        let by_end = config.is_on() && self.ending().is_some();
        (by_steps || by_epochs || by_end) && self.evaluated_at != Some(self.step)
    }

    /// Evaluates on the validation images. Returns whether the weights are among the best ones that checkpoints keep.
    /// If `stop` arrives during the evaluation, the evaluation has no effect.
    fn evaluate(&mut self, stop: &StopSignal) -> Result<bool, TrainError> {
        let started = Instant::now();
        // Device syncs here: untracked steps may have been skipped, and the running metrics are read.
        let skips = self.gradients.read_skips()?;
        self.judge_skips(skips, None)?;
        let training = self.tally.read(&self.classes)?;
        let run = || evaluate(&self.network, &self.validation, &Loss::plain(), &self.classes, self.numerics, stop);
        let Some(validation) = run()? else { return Ok(false) };
        let of_ema = match &self.ema {
            None => None,
            Some(ema) => match ema.instead(run)?? {
                None => return Ok(false),
                of_ema => of_ema,
            },
        };
        disk::point("evaluate");
        self.tally = Tally::new(self.classes.len(), self.device)?;
        self.evaluated_at = Some(self.step);
        let is_best = self.early_stopping.add(self.step, &validation);
        if let Some(plateau) = &mut self.plateau {
            plateau.add(validation.of(self.config.evaluate.metric));
        }
        if !self.explained.is_empty() {
            // An image that cannot be explained does not end the run.
            match self.explain() {
                Ok(pictures) => self.recorder.explanations(self.step, pictures),
                Err(error) => self.recorder.failed(&error),
            }
        }
        self.recorder.evaluation(self.step, self.epoch, self.elapsed(), &training, &validation, of_ema.as_ref());
        self.progress.evaluation(self.step, &training, &validation, of_ema.as_ref(), is_best);
        self.diagnose_evaluation(&training, &validation);
        if is_best {
            self.recorder.save_best(&self.network);
        }
        let is_kept = self.enters_best(&validation);
        self.last_validation = Some(validation.without_classes());
        // An existing checkpoint of this step does not contain the evaluation.
        self.saved_at = None;
        self.clock.evaluating += started.elapsed();
        Ok(is_kept)
    }

    /// Returns whether an evaluation is among the best ones that checkpoints keep, and if so, adds it to them.
    fn enters_best(&mut self, validation: &Metrics) -> bool {
        let config = &self.config.checkpoint;
        let figure = validation.of(config.metric);
        let better = |one: f64, other: f64| if config.metric.lower_is_better() { one < other } else { one > other };
        let place = self.best_figures.partition_point(|&earlier| !better(figure, earlier));
        let is_kept = figure.is_finite() && place < config.keep_best;
        if is_kept {
            self.best_figures.insert(place, figure);
        }
        self.best_figures.truncate(config.keep_best);
        is_kept
    }

    fn is_checkpoint_due(&self, ending: Option<Ending>, is_best: bool) -> bool {
        let config = &self.config.checkpoint;
        if self.checkpoints.is_none() || self.is_saved() {
            return false;
        }
        let is_multiple = |count: u64, every: u64| every > 0 && count.is_multiple_of(every);
        let is_new_step = self.saved_at.is_none_or(|saved| saved.step != self.step);
        let minutes = self.clock.saved.elapsed().as_secs_f64() / 60.0;
        // The checkpoint before the first step shows early whether checkpoints can be written.
        self.step == 0
            || ending.is_some()
            || is_best
            || self.is_checkpoint_asked_for
            || (is_new_step && is_multiple(self.step, config.every_steps))
            || (self.is_at_epoch_end() && is_multiple(self.epoch, config.every_epochs))
            || (config.every_minutes > 0.0 && minutes >= config.every_minutes)
    }

    /// Reports checkpoints that could not be written. Waits for the last one at the end of the run, and for the one
    /// before the first step, so that every recorded step has an earlier checkpoint.
    fn hear_of_checkpoints(&mut self, ending: Option<Ending>) -> Result<(), TrainError> {
        let Some(checkpoints) = &mut self.checkpoints else { return Ok(()) };
        let waits = ending.is_some() || self.step == 0;
        let mut finished = if waits { checkpoints.finish() } else { checkpoints.finished() };
        let last = finished.pop();
        for error in finished.into_iter().filter_map(Result::err) {
            self.cannot_save(error, false)?;
        }
        match last {
            // The sender of a signal relies on this checkpoint.
            Some(Err(error)) => self.cannot_save(error, self.step == 0 || matches!(ending, Some(Ending::Signal(_)))),
            Some(Ok(Manifest { step, epoch, number, .. })) => {
                tracing::debug!("wrote checkpoint {number} at step {step}, epoch {epoch}");
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn cannot_save(&mut self, error: CheckpointError, is_fatal: bool) -> Result<(), TrainError> {
        self.saved_at = None;
        if is_fatal || self.config.checkpoint.on_error == OnError::Stop {
            return Err(error.into());
        }
        self.recorder.failed(&error);
        Ok(())
    }
}
