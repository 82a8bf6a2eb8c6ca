//! The whole mutable state of a training run.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

use tch::{Device, Tensor};

use super::{
    Buffers, EarlyStopping, Gradients, HostState, Loss, Messenger, Metrics, Numerics, Progress, Reading, RecentSteps,
    Recorder, StopSignal, Tally, TrainError, data_identity::DataIdentity, frozen::HeldBack, reading::Seen,
    run_clock::RunClock,
};
use crate::{
    checkpoint::{CheckpointName, CheckpointWriter},
    clipping::{ClipOutcome, Clipping},
    config::{Config, RuleName},
    data::{Batch, Epoch, Loader, PixelScale},
    diagnosis::{Diagnosis, Facts, RuleSet},
    disk,
    gradient::{Due, GradientHistory, GradientMeasurement, Measurement},
    libtorch::{LateScalar, generator_state},
    model::Network,
    optim::{Ema, Headroom, Optimizer, Plateau, Rates, Schedule, StepControl, UpdateOutcome},
};

/// Time to wait for images after a stop request: a file system may never respond.
const PATIENCE: Duration = Duration::from_secs(2);

/// Reason for the end of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The run reached `run.max_epochs`.
    MaxEpochs,
    /// The run reached `run.max_steps`.
    MaxSteps,
    /// The run reached `run.max_minutes`.
    MaxMinutes,
    /// `early_stopping.patience` ran out.
    EarlyStopping,
    /// This rule reported a finding listed in `diagnosis.stop_at`.
    Finding(RuleName),
    /// The process received this signal.
    Signal(i32),
}

/// A training run.
pub struct State {
    /// The whole config.
    pub config: Config,
    /// Device of the tensors.
    pub device: Device,
    /// Pixel normalization.
    pub(super) scale: PixelScale,
    /// Validation images to explain at evaluations.
    pub(super) explained: Vec<u32>,
    /// Names of the classes.
    pub classes: Vec<String>,
    /// The model with its parameters.
    pub network: Network,
    /// Dtypes and math settings of the passes.
    pub numerics: Numerics,
    /// Training loss.
    pub loss: Loss,
    /// The optimizer with its state.
    pub optimizer: Optimizer,
    /// Gradient clipping.
    pub clipping: Clipping,
    /// Exponential moving average (EMA) of the weights.
    pub ema: Option<Ema>,
    /// Adapts the learning rate to evaluation results, if the schedule uses them.
    pub plateau: Option<Plateau>,
    /// Learning rate and momentum per applied step.
    pub schedule: Schedule,
    /// Parameters, hooks, and the sums of the step.
    pub gradients: Gradients,
    /// The model's buffers, restored after a skipped step.
    pub buffers: Buffers,
    /// Loader of the training images.
    pub training: Loader,
    /// Loader of the validation images.
    pub validation: Loader,
    /// Running sums over the training images since the last evaluation.
    pub tally: Tally,
    /// Gradient history of the run so far.
    pub history: GradientHistory,
    /// Diagnosis of the run; `None` if it is off.
    pub diagnosis: Option<Diagnosis>,
    /// Rule sets of other tools, evaluated as well.
    pub rule_sets: Vec<RuleSet>,
    /// Facts about the run that the rules use in addition to readings.
    pub facts: Facts,
    /// Sends findings to commands and webhooks.
    pub(super) messenger: Messenger,
    /// The most recent readings.
    pub recent: RecentSteps,
    /// Tracks the best evaluation so far.
    pub early_stopping: EarlyStopping,
    /// Writes checkpoints; `None` if they are off. Declared before `recorder`, whose lock must be released last.
    pub checkpoints: Option<CheckpointWriter<HostState>>,
    /// The run's files.
    pub recorder: Recorder,
    /// Progress output on the terminal.
    pub progress: Progress,
    /// Finished epochs.
    pub epoch: u64,
    /// Optimizer steps, applied or skipped.
    pub step: u64,
    /// Applied steps, not including the most recent step, whose outcome the host has not received yet. After a
    /// checkpoint, and until the next step, it includes all steps.
    pub taken_steps: u64,
    /// Steps skipped because a gradient was not finite, as of the last reading.
    pub skipped_steps: u64,
    /// Training images processed.
    pub images: u64,
    /// The latest evaluation, over all classes.
    pub last_validation: Option<Metrics>,
    /// The rule whose finding stops the run.
    pub(super) stop_for: Option<RuleName>,
    /// Whether a finding requested a checkpoint that is not saved yet.
    pub(super) is_checkpoint_asked_for: bool,
    /// Whether a finding requested a dump of the last readings.
    pub(super) is_dump_asked_for: bool,
    /// Identity of the run's images.
    pub(super) data: DataIdentity,
    /// BLAKE3 hash, in hexadecimal, of the initial weights.
    pub(super) weights: Option<String>,
    /// Parameters that are still frozen.
    pub(super) held_back: HeldBack,
    /// Steps applied before the current optimizer was created.
    pub(super) taken_before: u64,
    pub(super) step_at_epoch_start: u64,
    /// Index of the next batch of the current epoch, including skipped batches.
    pub(super) next_batch: usize,
    /// The best evaluation results that checkpoints keep, best first.
    pub(super) best_figures: Vec<f64>,
    /// The last checkpoint of this session, or the one it started from.
    pub(super) saved_at: Option<CheckpointName>,
    /// State of the device's random generator before the first draw of the current step.
    pub(super) random_at_step: Option<Tensor>,
    /// Gradient norm of the previous step; infinite if it was skipped.
    pub(super) last_step: Option<LateScalar>,
    /// Consecutive skipped steps, as far as the host knows.
    pub(super) skips_heard_of: u64,
    /// Distance of the weights from the f32 maximum.
    pub(super) headroom: Headroom,
    pub(super) evaluated_at: Option<u64>,
    pub(super) clock: RunClock,
}

impl State {
    /// Wall time of training so far, over all sessions of the run.
    pub fn elapsed(&self) -> Duration {
        self.clock.elapsed()
    }

    /// The part of [`elapsed`](Self::elapsed) spent in evaluations.
    pub fn evaluating(&self) -> Duration {
        self.clock.evaluating
    }

    /// Whether the latest checkpoint matches the current step, so that the run can resume from here.
    pub fn is_saved(&self) -> bool {
        self.saved_at == Some(self.place())
    }

    pub(super) fn start_epoch(&mut self) -> Epoch {
        self.progress.start_epoch(self.epoch, (self.next_batch * self.config.data.batch_size) as u64);
        self.training.epoch(self.epoch, self.next_batch)
    }

    /// Returns the micro-batches of the next step: `optimizer.accumulation_steps`, or fewer at the end of an epoch.
    /// Returns `None` if `stop` was requested and the images do not arrive within [`PATIENCE`]; this loses no images.
    pub(super) fn next_group(
        &mut self,
        batches: &mut Epoch,
        stop: &StopSignal,
    ) -> Result<Option<Vec<Batch>>, TrainError> {
        let asked = Instant::now();
        let wanted = self.config.optimizer.accumulation_steps;
        let has_given_up = Cell::new(false);
        let gives_up = || {
            has_given_up.set(stop.signal().is_some() && asked.elapsed() >= PATIENCE);
            has_given_up.get()
        };
        let next = || batches.next_unless(gives_up);
        let group = std::iter::from_fn(next).take(wanted).collect::<Result<Vec<_>, _>>()?;
        self.clock.waited += asked.elapsed();
        if has_given_up.get() {
            return Ok(None);
        }
        let Some(last) = group.last() else { return Ok(None) };
        self.next_batch = last.number + 1;
        let (step, epoch) = (self.step, self.epoch);
        for batch in &group {
            tracing::trace!(step, epoch, images = ?batch.indices, "micro-batch");
        }
        let images = group.iter().map(|batch| batch.labels.len() as u64).sum();
        self.images += images;
        self.progress.add_images(images);
        Ok(Some(group))
    }

    /// Prepares monitoring of the step, and returns the measurements that are due.
    pub(super) fn start_step(&mut self, group: &[Batch]) -> Result<Due, TrainError> {
        let due = self.config.monitor.due(self.step);
        self.gradients.start_step(due)?;
        self.random_at_step = if due.reading { Some(generator_state(self.device)?) } else { None };
        self.probe_noise(due, group)?;
        Ok(due)
    }

    /// Clips the gradients; `seen` contains their norms from backward. No sync.
    pub(super) fn clip(&mut self, seen: &Measurement) -> Result<ClipOutcome, TrainError> {
        let reached = self.gradients.reached();
        let usable = self.gradients.usable(seen, &reached)?;
        Ok(self.clipping.clip(&reached.with(usable.as_ref().unwrap_or(seen)))?)
    }

    /// Learning rate and momentum of this step. A skipped step does not advance the schedule. The host receives the
    /// outcome of the previous step now, while the device is busy with the passes of this step.
    pub(super) fn rates(&mut self) -> Result<Rates, TrainError> {
        self.hear_of_last_step()?;
        self.judge_unread_skips()?;
        let rates = self.schedule.at(self.taken_steps);
        let scale = self.plateau.as_ref().map_or(1.0, Plateau::scale);
        Ok(Rates { learning_rate: rates.learning_rate * scale, ..rates })
    }

    /// Receives whether the previous step was applied.
    pub(super) fn hear_of_last_step(&mut self) -> Result<(), TrainError> {
        let Some(norm) = self.last_step.take() else { return Ok(()) };
        let norm = norm.receive()?;
        if norm.is_finite() {
            self.taken_steps += 1;
            self.headroom.took(norm);
            self.skips_heard_of = 0;
        } else {
            self.skips_heard_of += 1;
        }
        Ok(())
    }

    /// Updates the weights, unless the gradient or the update is not finite: then weights and optimizer state stay
    /// unchanged. Returns the size of the update, and 1 (`[]`, f32) if the step was skipped. No sync.
    pub(super) fn take_step(
        &mut self,
        rates: Rates,
        due: Due,
        clip: &ClipOutcome,
    ) -> Result<(UpdateOutcome, Tensor), TrainError> {
        // Clipping by one factor, and skipping a step with a non-finite gradient, happen inside the fused kernel.
        let grad_scale = clip.grad_scale()?;
        let control = StepControl {
            grad_scale: grad_scale.as_ref(),
            found_inf: Some(&clip.found_inf),
            measures_updates: due.weights,
            is_first_step: self.taken_steps == self.taken_before,
        };
        let (update, not_taken) = if self.headroom.has_room(rates)? {
            (self.optimizer.step(rates, &control)?, clip.found_inf.shallow_clone())
        } else {
            let (update, rejection) = self.optimizer.step_or_put_back(rates, &control)?;
            (update, self.gradients.reject(&clip.found_inf, rejection)?)
        };
        self.headroom.look_if_near(&self.optimizer)?;
        let norm = self.gradients.count_step(&not_taken, &clip.total_norm)?;
        self.last_step = Some(LateScalar::send(&norm)?);
        Ok((update, not_taken))
    }

    /// Updates buffers, EMA, and loss scale after the weights of a step. A skipped step changes neither buffers nor
    /// EMA. No sync.
    pub(super) fn finish_update(&mut self, not_taken: &Tensor) -> Result<(), TrainError> {
        self.buffers.restore_where(not_taken)?;
        disk::point("step");
        if let Some(ema) = &mut self.ema {
            ema.update(self.taken_steps, not_taken)?;
        }
        self.gradients.update_scale()
    }

    /// Copies all measurements of the step to the host. One device sync.
    pub(super) fn read(
        &mut self,
        due: Due,
        measurement: GradientMeasurement,
        clip: &ClipOutcome,
        update: UpdateOutcome,
    ) -> Result<Reading, TrainError> {
        let (step, epoch, tally) = (self.step, self.epoch, &self.tally);
        self.gradients.read(Seen { step, epoch, due, measurement, clip, update, tally })
    }

    /// Records and diagnoses the reading of a tracked step.
    pub(super) fn record_step(
        &mut self,
        rates: Rates,
        due: Due,
        reading: Option<Reading>,
        group: &[Batch],
    ) -> Result<(), TrainError> {
        let Some(reading) = reading else { return Ok(()) };
        self.recorder.step(rates, &reading, due);
        self.progress.show(rates.learning_rate, &reading);
        self.diagnose(&reading, rates.learning_rate);
        if let Some(gradients) = &reading.gradients {
            self.history.add(self.step, gradients);
        }
        let skips = [reading.skipped_steps, reading.skipped_in_a_row];
        let culprit = if reading.skipped_steps > self.skipped_steps { self.culprit(&reading, group)? } else { None };
        self.recent.push(reading);
        self.dump_if_asked();
        self.judge_skips(skips, culprit)
    }

    /// Finishes an epoch, unless `stop` was requested while the run waited for images.
    pub(super) fn finish_epoch(&mut self, stop: &StopSignal) -> Result<(), TrainError> {
        if stop.signal().is_some() && self.next_batch < self.training.batches_per_epoch() {
            return Ok(());
        }
        if self.step == self.step_at_epoch_start {
            return Err(TrainError::NoImages { split: "training" });
        }
        self.progress.finish_epoch();
        self.epoch += 1;
        self.next_batch = 0;
        self.step_at_epoch_start = self.step;
        self.release_if_due()
    }
}
