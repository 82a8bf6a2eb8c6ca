//! The training loop: forward, backward, measure, clip, step, write.

mod agreement;
mod buffers;
mod checkpoint_contents;
mod counters;
mod data_identity;
mod due_work;
mod early_stopping;
mod error;
mod evaluations;
mod fitting;
mod frozen;
mod gradients;
mod group;
mod health;
mod host_state;
mod initial_facts;
mod initial_measurement;
mod judge;
mod kernel_choice;
mod optimization;
mod output;
mod probes;
mod random_streams;
mod rank_telemetry;
mod rate_steps;
mod read_step;
mod repair_watch;
mod resume;
mod run_clock;
mod running_statistics;
mod setup;
mod sharing;
mod skips;
mod start;
mod state;
mod step;
mod stop;
mod threads;
mod training_data;
mod training_model;

pub use buffers::Buffers;
pub use counters::Counters;
pub use early_stopping::{Best, EarlyStopping};
pub use error::TrainError;
pub use gradients::Gradients;
pub use health::is_healthy;
pub use initial_measurement::InitialMeasurement;
pub use optimization::Optimization;
pub use rate_steps::{RateStep, prepare_for_rates, train_at_rates};
pub use repair_watch::RepairWatch;
pub use resume::{Resume, loaded_config};
pub use setup::{Prepared, check_repair, prepare, prepare_on_ranks, prepare_to_resume};
pub use state::State;
pub use stop::{PREEMPTED, StopSignal};
pub use training_model::TrainingModel;

use crate::{libtorch::clear_grads, recording::Ending};
use group::Group;

/// Trains until the run ends, `stop` has a signal, or an error occurs.
///
/// # Errors
/// See [`TrainError`].
pub fn train(state: &mut State, stop: &StopSignal) -> Result<Ending, TrainError> {
    stop.begin();
    // A run that was stopped between two steps may have unfinished work there.
    if let Some(ending) = state.run_due_work(stop)? {
        return Ok(ending);
    }
    loop {
        let mut batches = state.start_epoch();
        while let Some(group) = state.next_group(&mut batches, stop)? {
            run_step(state, &group)?;
            // Then evaluate, save a checkpoint, and end, each when due.
            if let Some(ending) = state.run_due_work(stop)? {
                return Ok(ending);
            }
        }
        state.finish_epoch()?;
        if let Some(ending) = state.run_due_work(stop)? {
            return Ok(ending);
        }
    }
}

/// Takes one step: forward, backward, measure, clip, update, write.
fn run_step(state: &mut State, group: &Group) -> Result<(), TrainError> {
    // Decide which statistics this step measures.
    let due = state.start_step(group)?;

    // Micro-batches: each adds its part of the mean over the whole group. The hooks fire inside backward.
    state.model.buffers.save()?;
    for (number, batch) in &group.batches {
        state.start_micro_batch(*number, group)?;
        let (images, targets) = state.model.numerics.to_device(batch)?;
        let (logits, loss_sum) = state.forward(&images, &targets, due)?;
        state.gradients.backward(&group.share_of(*number, &loss_sum)?, batch.len())?;
        state.count(*number, batch, group, &logits, &targets, &loss_sum)?;
    }
    // Other ranks have the other micro-batches. The sums begin inside backward, and end here.
    state.reduce(group)?;

    // Measure the gradients after removing a float16 loss scale. The statistics stay on the device.
    state.gradients.unscale()?;
    let measurement = state.gradients.measure(due)?;
    let clip = state.clip(&measurement.grads)?;

    // A non-finite gradient or update never reaches the weights.
    let rates = state.rates()?;
    let (update, not_taken) = state.take_step(rates, due, &clip)?;
    state.finish_update(&not_taken)?;
    state.check_weights()?;

    // Device sync here, on tracked steps only: one copy to the host.
    let reading = state.read(due, measurement, &clip, update)?;
    clear_grads(state.gradients.params())?;
    state.record_step(rates, due, reading, group)?;
    state.counters.step += 1;
    Ok(())
}
