//! The parts of a step, in the order of the training loop.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

use tch::Tensor;

use super::{Counters, State, StopSignal, TrainError, read_step::StepMeasurements};
use crate::{
    clipping::ClipOutcome,
    data::{Batch, Epoch},
    disk,
    evaluation::EvaluationError,
    gradient::{Due, GradientMeasurement, Measurement},
    libtorch::generator_state,
    optim::{Rates, UpdateOutcome},
    recording::Reading,
};

/// Time to wait for images after a stop request: a file system may never respond.
const PATIENCE: Duration = Duration::from_secs(2);

impl State {
    pub(super) fn start_epoch(&mut self) -> Epoch {
        let &Counters { epoch, next_batch, .. } = &self.counters;
        self.output.progress.start_epoch(epoch, (next_batch * self.config.data.batch_size) as u64);
        self.data.training.epoch(epoch, next_batch)
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
        let Counters { step, epoch, .. } = self.counters;
        for batch in &group {
            tracing::trace!(step, epoch, images = ?batch.indices, "micro-batch");
        }
        let images = group.iter().map(|batch| batch.len() as u64).sum();
        self.counters.next_batch = last.number + 1;
        self.counters.images += images;
        self.output.progress.add_images(images);
        Ok(Some(group))
    }

    /// Prepares monitoring of the step, and returns the measurements that are due.
    pub(super) fn start_step(&mut self, group: &[Batch]) -> Result<Due, TrainError> {
        let due = Due::at(self.counters.step, &self.config.monitor);
        self.gradients.start_step(due)?;
        self.model.random_at_step = if due.reading { Some(generator_state(self.model.device())?) } else { None };
        self.probe_noise(due, group)?;
        Ok(due)
    }

    /// Clips the gradients; `measured` contains their norms from backward. No sync.
    pub(super) fn clip(&mut self, measured: &Measurement) -> Result<ClipOutcome, TrainError> {
        self.optimization.clip(&mut self.gradients, measured)
    }

    /// Learning rate and momentum of this step. A skipped step does not advance the schedule. The host receives the
    /// outcome of the previous step now, while the device is busy with the passes of this step.
    pub(super) fn rates(&mut self) -> Result<Rates, TrainError> {
        self.optimization.receive_last_outcome(&mut self.counters)?;
        self.judge_unread_skips()?;
        Ok(self.optimization.rates(self.counters.taken_steps))
    }

    /// Updates the weights; see [`Optimization::take_step`](super::Optimization::take_step). No sync.
    pub(super) fn take_step(
        &mut self,
        rates: Rates,
        due: Due,
        clip: &ClipOutcome,
    ) -> Result<(UpdateOutcome, Tensor), TrainError> {
        self.optimization.take_step(&mut self.gradients, &self.counters, rates, due, clip)
    }

    /// Updates buffers, EMA, and loss scale after the weights of a step. A skipped step changes neither buffers nor
    /// EMA. No sync.
    pub(super) fn finish_update(&mut self, not_taken: &Tensor) -> Result<(), TrainError> {
        self.model.buffers.restore_where(not_taken)?;
        disk::point("step");
        if let Some(ema) = &mut self.model.ema {
            ema.update(self.counters.taken_steps, not_taken)?;
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
        let Counters { step, epoch, .. } = self.counters;
        let tally = &self.evaluations.tally;
        self.gradients.read(StepMeasurements { step, epoch, due, measurement, clip, update, tally })
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
        self.output.recorder.step(rates, &reading, due);
        self.output.progress.show(rates.learning_rate, &reading);
        self.diagnose(&reading, rates.learning_rate);
        if let Some(gradients) = &reading.gradients {
            self.judge.history.add(self.counters.step, gradients);
        }
        let skips = [reading.skipped_steps, reading.skipped_in_a_row];
        let is_new_skip = reading.skipped_steps > self.counters.skipped_steps;
        let culprit = if is_new_skip { self.find_non_finite(&reading, group)? } else { None };
        self.output.recent_steps.push(reading);
        self.dump_if_requested();
        self.judge_skips(skips, culprit)
    }

    /// Finishes an epoch, unless `stop` was requested while the run waited for images.
    pub(super) fn finish_epoch(&mut self, stop: &StopSignal) -> Result<(), TrainError> {
        if stop.signal().is_some() && self.counters.next_batch < self.data.training.batches_per_epoch() {
            return Ok(());
        }
        if self.counters.step == self.counters.step_at_epoch_start {
            return Err(EvaluationError::NoImages { split: "training" }.into());
        }
        self.output.progress.finish_epoch();
        self.counters.finish_epoch();
        self.unfreeze_if_due()
    }
}
