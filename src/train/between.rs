//! What is due between two steps: an evaluation, a checkpoint, the end of the run.
//!
//! What is due follows from the state alone and is done once, so that a run that was stopped on the way does the rest when it is
//! resumed.

use std::time::Instant;

use super::{Ending, Loss, Metrics, State, StopSignal, Tally, TrainError, evaluate::evaluate};
use crate::{
    checkpoint::{CheckpointError, CheckpointName, Manifest},
    config::OnError,
    disk,
};

impl State {
    /// Does what is due before the next step, and says whether there is to be none.
    pub(super) fn settle(&mut self, stop: &StopSignal) -> Result<Option<Ending>, TrainError> {
        let minutes = self.elapsed().as_secs_f64() / 60.0;
        self.clock.is_up = self.config.run.max_minutes.is_some_and(|most| minutes >= most);
        // Who sends a signal wants the process gone, so that it is not followed by an evaluation.
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

    /// Where the run is.
    pub(super) fn place(&self) -> CheckpointName {
        CheckpointName { step: self.step, epoch: self.epoch, is_settled: !self.is_evaluation_due() }
    }

    /// Why the config wants no further step.
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

    /// Whether the step before was the last of an epoch that has been finished.
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

    /// Looks at the validation images; whether the weights are among the best that checkpoints keep. Where `stop` comes on the
    /// way, it is as if nothing had been looked at.
    fn evaluate(&mut self, stop: &StopSignal) -> Result<bool, TrainError> {
        let started = Instant::now();
        // Device syncs here: the steps that no reading saw may have been skipped, and the running figures are read.
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
            // A run is not the worse for an image that cannot be explained.
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
        // A checkpoint of this very place does not know it yet.
        self.saved_at = None;
        self.clock.evaluating += started.elapsed();
        Ok(is_kept)
    }

    /// Whether an evaluation is one of the best that checkpoints keep; if so, it is one of those from now on.
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
        // The one before the first step shows at once whether checkpoints can be written at all.
        self.step == 0
            || ending.is_some()
            || is_best
            || self.is_checkpoint_asked_for
            || (is_new_step && is_multiple(self.step, config.every_steps))
            || (self.is_at_epoch_end() && is_multiple(self.epoch, config.every_epochs))
            || (config.every_minutes > 0.0 && minutes >= config.every_minutes)
    }

    /// Tells of checkpoints that could not be written. It waits for the last one at the end of the run, and for the one before the
    /// first step: no step is on record that no checkpoint leads to.
    fn hear_of_checkpoints(&mut self, ending: Option<Ending>) -> Result<(), TrainError> {
        let Some(checkpoints) = &mut self.checkpoints else { return Ok(()) };
        let waits = ending.is_some() || self.step == 0;
        let mut finished = if waits { checkpoints.finish() } else { checkpoints.finished() };
        let last = finished.pop();
        for error in finished.into_iter().filter_map(Result::err) {
            self.cannot_save(error, false)?;
        }
        match last {
            // Who sends a signal counts on this one.
            Some(Err(error)) => self.cannot_save(error, self.step == 0 || matches!(ending, Some(Ending::Signal(_)))),
            Some(Ok(Manifest { step, epoch, number, .. })) => {
                tracing::debug!("checkpoint {number} at step {step}, epoch {epoch}, is on the disk");
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
