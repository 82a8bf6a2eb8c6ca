//! Steps at given learning rates, for a learning rate range test.

use tracing::subscriber::{NoSubscriber, with_default};

use super::{Prepared, State, StopSignal, TrainError, initial_facts::class_facts, prepare, run_step};
use crate::{
    config::{Config, DiagnosisConfig, EmaConfig, MonitorConfig, MonitorPreset, ScheduleConfig},
    optim::{Schedule, Span},
};

/// A step at a given learning rate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RateStep {
    /// Learning rate of the update.
    pub learning_rate: f64,
    /// Mean loss of the step's images before the update.
    pub loss: f64,
    /// L2 norm of all gradients before clipping.
    pub total_norm: f64,
}

/// Checks an experiment, like [`prepare`], and leaves out what a range test does not use: schedule, warm-up, averaged
/// weights, evaluations, diagnosis, and monitoring.
///
/// # Errors
/// As for [`prepare`].
pub fn prepare_for_rates(config: Config) -> Result<Prepared, TrainError> {
    prepare(bare(config))
}

/// Trains a new model of `config` for one step at each of `rates`; see [`Prepared::train_at_rates`].
///
/// # Errors
/// As for [`prepare`] and [`Prepared::train_at_rates`].
pub fn train_at_rates(config: Config, rates: &[f64], goes_on: impl FnMut(RateStep) -> bool) -> Result<(), TrainError> {
    prepare_for_rates(config)?.train_at_rates(rates, goes_on)
}

/// The config without the parts of a run that a range test leaves out.
fn bare(config: Config) -> Config {
    let monitor = MonitorConfig { every_steps: 1, recent_steps: 1, ..MonitorConfig::new(MonitorPreset::Off) };
    Config {
        monitor: MonitorConfig { kernels: config.monitor.kernels, ..monitor },
        diagnosis: DiagnosisConfig { enabled: false, ..config.diagnosis },
        ema: EmaConfig { decay: 0.0, ..config.ema },
        schedule: ScheduleConfig::default(),
        ..config
    }
}

impl Prepared {
    /// Loss of the best guess that ignores the images, if the loss does not weigh the classes.
    pub fn guess(&self) -> f64 {
        class_facts(&self.training).guess()
    }

    /// Trains for one step at each of `rates`, in order, until `goes_on` returns false. Repeats a step that was skipped
    /// because of its gradient with the next batch. Everything else is as in [`train`]. Writes nothing.
    ///
    /// [`train`]: super::train()
    ///
    /// # Errors
    /// If images cannot be read, or libtorch reports an error; [`TrainError::NonFinite`] or
    /// [`TrainError::NonFiniteUpdate`] if too many steps in a row are skipped.
    pub fn train_at_rates(self, rates: &[f64], goes_on: impl FnMut(RateStep) -> bool) -> Result<(), TrainError> {
        // Skipped steps end the test, so warnings about them would repeat its result.
        with_default(NoSubscriber::new(), || self.take_steps(rates, goes_on))
    }

    fn take_steps(self, rates: &[f64], mut goes_on: impl FnMut(RateStep) -> bool) -> Result<(), TrainError> {
        // A follower has no run folder and writes no files.
        let mut state = self.follow(None)?;
        let mut rates = rates.iter();
        let Some(mut learning_rate) = rates.next() else { return Ok(()) };
        loop {
            let mut batches = state.start_epoch();
            while let Some(group) = state.next_group(&mut batches, &StopSignal::default())? {
                state.set_learning_rate(*learning_rate);
                let skipped = state.counters.skipped_steps;
                run_step(&mut state, &group)?;
                let Some(reading) = state.recent_steps().readings().last() else { continue };
                // In float16, the first steps search for the loss scale.
                if reading.skipped_steps > skipped && reading.loss.is_finite() {
                    continue;
                }
                let (loss, total_norm) = (reading.loss, reading.total_norm);
                let goes_on = goes_on(RateStep { learning_rate: *learning_rate, loss, total_norm });
                match rates.next() {
                    Some(next) if goes_on => learning_rate = next,
                    _ => return Ok(()),
                }
            }
            state.finish_epoch()?;
        }
    }
}

impl State {
    /// Takes the next steps at this learning rate. The schedule must be constant.
    fn set_learning_rate(&mut self, learning_rate: f64) {
        self.config.optimizer.learning_rate = learning_rate;
        let span = Span { steps_per_epoch: 1, total_steps: 1 };
        self.optimization.schedule = Schedule::new(&self.config.schedule, &self.config.optimizer, span);
    }
}
