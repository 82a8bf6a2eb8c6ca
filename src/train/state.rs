//! All that changes while a run trains, in one struct.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

use tch::{Device, Kind, Tensor};

use super::{
    Buffers, EarlyStopping, Gradients, HostState, Loss, Messenger, Metrics, Numerics, Progress, Reading, RecentSteps,
    Recorder, StopSignal, Tally, TrainError, data_identity::DataIdentity, evaluate::to_device, frozen::HeldBack,
    reading::Seen, run_clock::RunClock,
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

/// How long images are waited for after the run was asked to end: a file system may never answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Why a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// `run.max_epochs` were trained.
    MaxEpochs,
    /// `run.max_steps` were taken.
    MaxSteps,
    /// `run.max_minutes` have passed.
    MaxMinutes,
    /// `early_stopping.patience` ran out.
    EarlyStopping,
    /// This rule found what `diagnosis.stop_at` names.
    Finding(RuleName),
    /// This signal came.
    Signal(i32),
}

/// A run in training.
pub struct State {
    /// The whole experiment.
    pub config: Config,
    /// Where tensors live.
    pub device: Device,
    /// How pixels are shifted and scaled.
    pub(super) scale: PixelScale,
    /// Validation images that are explained at evaluations.
    pub(super) explained: Vec<u32>,
    /// Names of the classes.
    pub classes: Vec<String>,
    /// The model with its parameters.
    pub network: Network,
    /// In which numbers the passes compute.
    pub numerics: Numerics,
    /// The loss that is trained on.
    pub loss: Loss,
    /// The optimizer with its state.
    pub optimizer: Optimizer,
    /// How gradients are kept small.
    pub clipping: Clipping,
    /// The average of the weights.
    pub ema: Option<Ema>,
    /// What evaluations do to the learning rate, where the schedule goes by them.
    pub plateau: Option<Plateau>,
    /// Learning rate and momentum per step that was taken.
    pub schedule: Schedule,
    /// Parameters, hooks, and the step's sums.
    pub gradients: Gradients,
    /// The model's buffers, to be put back after a skipped step.
    pub buffers: Buffers,
    /// Training images.
    pub training: Loader,
    /// Validation images.
    pub validation: Loader,
    /// Running sums over the training images since the last evaluation.
    pub tally: Tally,
    /// What the gradients did so far.
    pub history: GradientHistory,
    /// What is wrong with the run; `None` where nobody asks.
    pub diagnosis: Option<Diagnosis>,
    /// The rules of other tools that are asked too.
    pub rule_sets: Vec<RuleSet>,
    /// What its rules know of the run beside the readings.
    pub facts: Facts,
    /// Commands and webhooks that are told of findings.
    pub(super) messenger: Messenger,
    /// The last readings.
    pub recent: RecentSteps,
    /// The best evaluation so far.
    pub early_stopping: EarlyStopping,
    /// Writes checkpoints; `None` where none are asked for. It stands before the run's files, whose lock goes last.
    pub checkpoints: Option<CheckpointWriter<HostState>>,
    /// The run's files.
    pub recorder: Recorder,
    /// The terminal.
    pub progress: Progress,
    /// Epochs that were finished.
    pub epoch: u64,
    /// Optimizer steps that were taken or skipped.
    pub step: u64,
    /// Steps that were taken, as of the last but one; between two steps, once a checkpoint was saved, of all.
    pub taken_steps: u64,
    /// Steps that were skipped because a gradient was not finite, as of the last reading.
    pub skipped_steps: u64,
    /// Training images that were seen.
    pub images: u64,
    /// The latest evaluation, of all classes together.
    pub last_validation: Option<Metrics>,
    /// The rule whose finding ends the run.
    pub(super) stop_for: Option<RuleName>,
    /// Whether a finding asked for a checkpoint that is not saved yet.
    pub(super) is_checkpoint_asked_for: bool,
    /// Whether a finding asked for the last readings.
    pub(super) is_dump_asked_for: bool,
    /// Which images the run is about.
    pub(super) data: DataIdentity,
    /// BLAKE3, in hexadecimal digits, of the weights that the run started from.
    pub(super) weights: Option<String>,
    /// Parameters that are not trained yet.
    pub(super) held_back: HeldBack,
    /// Steps that were taken before the optimizer began.
    pub(super) taken_before: u64,
    pub(super) step_at_epoch_start: u64,
    /// Batches of the running epoch that were trained on, skipped ones included.
    pub(super) next_batch: usize,
    /// The best evaluations that checkpoints keep, the best first.
    pub(super) best_figures: Vec<f64>,
    /// The last checkpoint of this session, or the one it began with.
    pub(super) saved_at: Option<CheckpointName>,
    /// The device's generator as it was before the current step's first draw.
    pub(super) random_at_step: Option<Tensor>,
    /// The norm of the gradients of the step before; infinite where that was not taken.
    pub(super) last_step: Option<LateScalar>,
    /// Steps in a row that were not taken, as far as the host has heard of them.
    pub(super) skips_heard_of: u64,
    /// How far the weights are from the end of f32.
    pub(super) headroom: Headroom,
    pub(super) evaluated_at: Option<u64>,
    pub(super) clock: RunClock,
}

impl State {
    /// Wall time of training so far, over all sessions of the run.
    pub fn elapsed(&self) -> Duration {
        self.clock.elapsed()
    }

    /// The share of it that evaluations took.
    pub fn evaluating(&self) -> Duration {
        self.clock.evaluating
    }

    /// Whether the run can be resumed where it is.
    pub fn is_saved(&self) -> bool {
        self.saved_at == Some(self.place())
    }

    pub(super) fn start_epoch(&mut self) -> Epoch {
        self.progress.start_epoch(self.epoch, (self.next_batch * self.config.data.batch_size) as u64);
        self.training.epoch(self.epoch, self.next_batch)
    }

    /// The micro-batches of the next step: `optimizer.accumulation_steps`, fewer at the end of an epoch. None if `stop` came and they
    /// are not there after [`PATIENCE`]: then it is as if they had not been asked for.
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

    pub(super) fn to_device(&self, batch: &Batch) -> Result<(Tensor, Tensor), TrainError> {
        let (images, labels) = to_device(batch, self.device)?;
        Ok((self.numerics.lay_out(images)?, labels))
    }

    /// Readies what watches the step, and says what it is looked at for.
    pub(super) fn start_step(&mut self, group: &[Batch]) -> Result<Due, TrainError> {
        let due = self.config.monitor.due(self.step);
        self.gradients.start_step(due)?;
        self.random_at_step = if due.reading { Some(generator_state(self.device)?) } else { None };
        self.probe_noise(due, group)?;
        Ok(due)
    }

    /// Clips the gradients, on whose norms as backward left them `seen` is. No sync.
    pub(super) fn clip(&mut self, seen: &Measurement) -> Result<ClipOutcome, TrainError> {
        let reached = self.gradients.reached();
        let usable = self.gradients.usable(seen, &reached)?;
        Ok(self.clipping.clip(&reached.with(usable.as_ref().unwrap_or(seen)))?)
    }

    /// Learning rate and momentum of this step. A skipped step does not move them on: whether the one before was skipped is
    /// received now, when the device has this step's passes to do.
    pub(super) fn rates(&mut self) -> Result<Rates, TrainError> {
        self.hear_of_last_step()?;
        self.judge_unread_skips()?;
        let rates = self.schedule.at(self.taken_steps);
        let scale = self.plateau.as_ref().map_or(1.0, Plateau::scale);
        Ok(Rates { learning_rate: rates.learning_rate * scale, ..rates })
    }

    /// Whether the step before was taken.
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

    /// Moves the weights, unless the gradient or what came of it is not finite: then they, and all that the optimizer remembers, are
    /// as before. Returns how far they moved, and 1 (`[]`, f32) where the step was not taken. No sync.
    pub(super) fn take_step(
        &mut self,
        rates: Rates,
        due: Due,
        clip: &ClipOutcome,
    ) -> Result<(UpdateOutcome, Tensor), TrainError> {
        // Clipping by one factor and the skip of a step whose gradient is not finite happen inside the fused kernel.
        let grad_scale = clip.grad_scale()?;
        let control = StepControl {
            grad_scale: grad_scale.as_ref(),
            found_inf: Some(&clip.found_inf),
            measures_updates: due.weights,
            is_first_step: self.taken_steps == self.taken_before,
        };
        let (update, found_inf) = if self.headroom.has_room(rates)? {
            (self.optimizer.step(rates, &control)?, clip.found_inf.shallow_clone())
        } else {
            let (update, rejection) = self.optimizer.step_or_put_back(rates, &control)?;
            (update, self.gradients.reject(&clip.found_inf, rejection)?)
        };
        self.headroom.look_if_near(&self.optimizer)?;
        // The norm of a step that was taken is a number.
        let norm = clip.total_norm.f_masked_fill(&found_inf.f_to_kind(Kind::Bool)?, f64::INFINITY)?;
        self.last_step = Some(LateScalar::send(&norm)?);
        Ok((update, found_inf))
    }

    /// What follows the weights of a step: buffers, average, loss scale. A skipped step leaves the first two. No sync.
    pub(super) fn finish_update(&mut self, found_inf: &Tensor) -> Result<(), TrainError> {
        self.buffers.restore_where(found_inf)?;
        disk::point("step");
        if let Some(ema) = &mut self.ema {
            ema.update(self.taken_steps, found_inf)?;
        }
        self.gradients.update_scale()
    }

    /// Brings everything that the step left on the device to the host. One device sync.
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

    /// Writes, keeps and judges what a tracked step read.
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

    /// Ends an epoch, unless `stop` came while its images were waited for.
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
