//! The parts of a step, in the order of the training loop.

use std::{
    ops::Range,
    time::{Duration, Instant},
};

use tch::Tensor;

use super::{
    Counters, State, StopSignal, TrainError,
    group::{Group, Size},
    read_step::StepMeasurements,
    sharing::ImagesOf,
};
use crate::{
    clipping::ClipOutcome,
    data::Epoch,
    disk,
    evaluation::{EvaluationError, Targets},
    gradient::{Due, GradientMeasurement, Measurement},
    libtorch::generator_state,
    model::{BatchStatistics, Pass},
    optim::{Rates, UpdateOutcome},
    recording::{Left, Reading},
};

/// Time to wait for images after a stop request: a file system may never respond.
const PATIENCE: Duration = Duration::from_secs(2);

impl State {
    pub(super) fn start_epoch(&mut self) -> Epoch {
        let &Counters { epoch, next_batch, .. } = &self.counters;
        if next_batch == 0 && self.config.data.label_shuffle_epochs.contains(&epoch) {
            tracing::info!("the labels of the training images are shuffled at the start of epoch {}", epoch + 1);
        }
        let left = self.left();
        self.output.progress.start_epoch(epoch, (next_batch * self.config.data.batch_size) as u64, left);
        let training = &self.data.training;
        let batches = training.batches_per_epoch();
        let (wanted, ranks) = (self.config.optimizer.accumulation_steps, &self.ranks);
        let of_group = |first: usize| {
            let own = ranks.share(0..wanted.min(batches - first));
            own.map(move |number| first + number)
        };
        training.part_of_epoch(epoch, (next_batch.min(batches)..batches).step_by(wanted).flat_map(of_group).collect())
    }

    /// What the limits of the config leave of the run.
    fn left(&self) -> Left {
        let Self { config, counters, .. } = self;
        let per_epoch = self.data.training.dataset().len() as f64;
        let used = (counters.next_batch * config.data.batch_size) as f64;
        let by_epochs =
            config.run.max_epochs.map(|epochs| epochs.saturating_sub(counters.epoch) as f64 * per_epoch - used);
        let per_step = (config.data.batch_size * config.optimizer.accumulation_steps) as f64;
        let by_steps = config.run.max_steps.map(|steps| steps.saturating_sub(counters.step) as f64 * per_step);
        let time = config.run.max_minutes.and_then(|minutes| Duration::try_from_secs_f64(60.0 * minutes).ok());
        Left {
            images: by_epochs.into_iter().chain(by_steps).fold(f64::INFINITY, f64::min),
            time: time.map(|time| time.saturating_sub(self.clock.elapsed())),
        }
    }

    /// Returns the micro-batches of the next step: `optimizer.accumulation_steps`, or fewer at the end of an epoch. Leaves
    /// out those without a decodable image. Returns `None` at the end of the epoch, or if `stop` was requested on any
    /// rank and its images do not arrive within [`PATIENCE`]; this loses no images.
    pub(super) fn next_group(&mut self, batches: &mut Epoch, stop: &StopSignal) -> Result<Option<Group>, TrainError> {
        loop {
            let first = self.counters.next_batch;
            let end = (first + self.config.optimizer.accumulation_steps).min(self.data.training.batches_per_epoch());
            if first >= end {
                return Ok(None);
            }
            let Some(group) = self.load_group(batches, first..end, stop)? else { return Ok(None) };
            let Counters { step, epoch, .. } = self.counters;
            for (_, batch) in &group.batches {
                tracing::trace!(step, epoch, images = ?batch.indices, "micro-batch");
            }
            let images = group.all_images();
            self.counters.next_batch = end;
            self.counters.images += images;
            self.output.progress.add_images(images);
            if images > 0 {
                return Ok(Some(group));
            }
        }
    }

    /// Loads this rank's micro-batches of a step, and learns the sizes of all of them.
    fn load_group(
        &mut self,
        batches: &mut Epoch,
        numbers: Range<usize>,
        stop: &StopSignal,
    ) -> Result<Option<Group>, TrainError> {
        if let Some(sharing) = &mut self.sharing {
            sharing.start_step(self.ranks.waited());
        }
        let asked = Instant::now();
        let gives_up = || stop.signal().is_some() && asked.elapsed() >= PATIENCE;
        let (mut own, mut sizes, mut has_given_up) = (Vec::new(), Vec::new(), 0.0);
        let passes_always = self.sharing.as_ref().is_some_and(|sharing| sharing.sync.is_some());
        for number in self.ranks.share(0..numbers.len()) {
            let Some(batch) = batches.next_or_empty(gives_up).transpose()? else {
                has_given_up = 1.0;
                break;
            };
            let is_empty = batch.indices.is_empty();
            // Batch normalization over all ranks needs a pass of every rank.
            let batch = if is_empty && passes_always { self.data.training.blank_batch() } else { batch };
            let weight = if is_empty { 0.0 } else { self.model.loss.weight_of(&batch) };
            sizes.extend([if is_empty { 0.0 } else { batch.len() as f64 }, weight]);
            own.extend((!is_empty || passes_always).then_some((number, batch)));
        }
        self.clock.waited += asked.elapsed();
        if let Some(sharing) = &mut self.sharing {
            sharing.finish_loading();
        }
        // Every rank says as much, whatever its share.
        let rounds = numbers.len().div_ceil(self.ranks.world());
        sizes.resize(2 * rounds, 0.0);
        if passes_always && own.len() < rounds {
            own.push((own.len() * self.ranks.world() + self.ranks.rank(), self.data.training.blank_batch()));
        }
        let told = self.ranks.gather(&[vec![has_given_up], sizes].concat())?;
        if told.iter().any(|rank| rank[0] > 0.0) {
            return Ok(None);
        }
        let world = self.ranks.world();
        let size = |number: usize| {
            let place = 1 + 2 * (number / world);
            let rank = &told[number % world];
            Size { images: rank[place] as u64, weight: rank[place + 1] }
        };
        let sizes: Vec<Size> = (0..numbers.len()).map(size).collect();
        Ok(Some(Group::new(own, &sizes, numbers)))
    }

    /// Prepares monitoring of the step, and returns the measurements that are due. All ranks share those of the
    /// gradients; rank 0 alone measures the rest, and reads.
    pub(super) fn start_step(&mut self, group: &Group) -> Result<Due, TrainError> {
        let due = Due::at(self.counters.step, &self.config.monitor);
        let Due { reading, distributions, .. } = due;
        let due = if self.ranks.is_first() { due } else { Due { reading, distributions, ..Due::default() } };
        self.gradients.start_step(due)?;
        if let Some(reducer) = &self.gradients.reducer {
            reducer.start(group.rounds(self.ranks.world()));
        }
        let keeps_state = due.reading && self.model.random_streams.is_none();
        self.model.random_at_step = if keeps_state { Some(generator_state(self.model.device())?) } else { None };
        if let Some(streams) = self.model.random_streams {
            streams.start_probe(self.counters.step);
        }
        self.probe_noise(due, group)?;
        Ok(due)
    }

    /// Prepares the passes of a micro-batch.
    pub(super) fn start_micro_batch(&self, number: usize, group: &Group) -> Result<(), TrainError> {
        if let Some(streams) = self.model.random_streams {
            streams.start_micro_batch(self.counters.step, number);
        }
        if let Some(sync) = self.sharing.as_ref().and_then(|sharing| sharing.sync.as_ref()) {
            sync.start(group.has_images(number));
        }
        if let Some(reducer) = &self.gradients.reducer {
            let is_last = group.batches.last().is_some_and(|(last, _)| *last == number);
            reducer.start_backward(number / self.ranks.world(), is_last)?;
        }
        Ok(())
    }

    /// Computes the logits of a micro-batch and the sum of its losses. The layers are measured if that is due.
    pub(super) fn forward(
        &self,
        images: &Tensor,
        targets: &Targets,
        due: Due,
    ) -> Result<(Tensor, Tensor), EvaluationError> {
        let tap = self.gradients.tap();
        let see = |seen: BatchStatistics<'_>| match &self.sharing {
            Some(sharing) => sharing.statistics.see(seen),
            None => Ok(()),
        };
        let mut pass = Pass::training();
        if due.layers {
            pass = pass.with_tap(&tap);
        }
        if let Some(sharing) = &self.sharing {
            pass = pass.with_statistics(&see);
            if let Some(sync) = &sharing.sync {
                pass = pass.with_sync(sync);
            }
        }
        self.model.forward(images, targets, &pass)
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

    /// Copies all measurements of the step to the host, if that is due. One device sync.
    pub(super) fn read(
        &mut self,
        due: Due,
        measurement: GradientMeasurement,
        clip: &ClipOutcome,
        update: UpdateOutcome,
    ) -> Result<Option<Reading>, TrainError> {
        if !due.reading || !self.ranks.is_first() {
            return Ok(None);
        }
        let Counters { step, epoch, .. } = self.counters;
        let (tally, training) = (&self.evaluations.tally, &self.data.training);
        let images_of = |batch: usize| training.indices(epoch, batch);
        let ranks = self.sharing.as_ref().map(|sharing| (sharing, &images_of as ImagesOf<'_>));
        self.gradients.read(StepMeasurements { step, epoch, due, measurement, clip, update, tally, ranks }).map(Some)
    }

    /// Records and diagnoses the reading of a tracked step.
    pub(super) fn record_step(
        &mut self,
        rates: Rates,
        due: Due,
        reading: Option<Reading>,
        group: &Group,
    ) -> Result<(), TrainError> {
        let Some(reading) = reading else { return Ok(()) };
        if let Some(recorder) = &mut self.output.recorder {
            recorder.step(rates, &reading, due);
        }
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

    /// Finishes an epoch, unless a stop was requested while the run waited for images.
    pub(super) fn finish_epoch(&mut self) -> Result<(), TrainError> {
        if self.counters.next_batch < self.data.training.batches_per_epoch() {
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
